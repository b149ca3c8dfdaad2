"""Episodes as arrays: supports and queries of a batch of tasks, drawn without a loop over tasks."""

from dataclasses import dataclass

import numpy as np

__all__ = ["EpisodeSampler", "all_rows"]


@dataclass(frozen=True, eq=False)
class EpisodeSampler:
    """Draws episodes from the tasks of a table.

    Parameters
    ----------
    learner : GradientLearner
    table : TaskTable
    y : ndarray of shape (n_rows, n_outputs)
        Encoded targets.
    n_shots : (int, int)
        Smallest and largest number of support rows; every batch draws one from between.
    n_query : int or None
        Most query rows; None: all that are left.
    keep_query : bool, default=True
        Whether a task keeps at least half of its rows (rounded up) for the query, however many
        shots are asked for, unless its support is fixed.
    """

    learner: object
    table: object
    y: np.ndarray
    n_shots: tuple
    n_query: object = None
    keep_query: bool = True

    def draw(self, tasks, rng):
        """Supports and queries of some tasks.

        Parameters
        ----------
        tasks : ndarray of shape (n_batch,)
        rng : numpy.random.Generator

        Returns
        -------
        support, query : Batch
        n_support : ndarray of shape (n_batch,)
            Total weight of the support rows of every task.
        """
        sizes = self.table.sizes[tasks]
        place = np.arange(int(sizes.max()))
        low, high = self.n_shots
        n_shots = low if low == high else int(rng.integers(low, high + 1))
        rows = self.table.offsets[tasks][:, None] + place
        keys = rng.random(rows.shape)
        most = sizes // 2 if self.keep_query else sizes
        n_support, start = np.minimum(n_shots, most), None
        if self.table.role is not None:  # fixed supports come first, then free rows, then queries
            role = self.table.role[np.minimum(rows, len(self.table.role) - 1)]
            keys += np.where(role == 1, 0, np.where(role == 0, 1, 2))
            real = place < sizes[:, None]
            n_fixed = ((role == 1) & real).sum(axis=1)
            fixed = ((role > 0) & real).any(axis=1)
            n_support = np.where(fixed, np.minimum(n_shots, n_fixed), n_support)
            start = np.where(fixed, n_fixed, n_support)
        start = n_support if start is None else start
        keys[place >= sizes[:, None]] = np.inf
        rows = np.take_along_axis(rows, np.argsort(keys, axis=1), axis=1)
        stop = sizes if self.n_query is None else np.minimum(sizes, start + self.n_query)
        support, weight = self._batch(rows, place < n_support[:, None])
        query, _ = self._batch(rows, (place >= start[:, None]) & (place < stop[:, None]))
        return support, query, weight

    def _batch(self, rows, real):
        """Gather the rows that are real; columns that no task uses are left out."""
        used = np.flatnonzero(real.any(axis=0))
        if len(used) == 0:
            used = np.zeros(1, dtype=np.intp)
        real = real[:, used]
        index = np.where(real, rows[:, used], 0)
        weight = real.astype(np.float64)
        if self.table.sample_weight is not None:
            weight *= self.table.sample_weight[index]
        return self.learner.batch(self.table.X[index], self.y[index], weight), weight.sum(axis=1)


def all_rows(learner, padded):
    """All rows of a padded batch of tasks, as the network takes them, and their total weights."""
    batch = learner.batch(padded.X, learner.encode(padded.y), padded.weight)
    return batch, padded.weight.sum(axis=1)
