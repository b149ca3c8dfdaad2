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

    Notes
    -----
    A task gives at least half of its rows (rounded down) to the query, however many shots are
    asked for.
    """

    learner: object
    table: object
    y: np.ndarray
    n_shots: tuple
    n_query: object = None

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
        longest = int(sizes.max())
        low, high = self.n_shots
        n_shots = low if low == high else int(rng.integers(low, high + 1))
        keys = rng.random((len(tasks), longest))
        keys[np.arange(longest) >= sizes[:, None]] = 2.0
        order = np.argsort(keys, axis=1)
        k = np.minimum(n_shots, sizes // 2)
        rest = sizes - k if self.n_query is None else np.minimum(sizes - k, self.n_query)
        rows = self.table.offsets[tasks][:, None] + order
        place = np.arange(longest)
        support, n_support = self._batch(rows, place < k[:, None])
        query, _ = self._batch(rows, (place >= k[:, None]) & (place < (k + rest)[:, None]))
        return support, query, n_support

    def _batch(self, rows, real):
        """Gather the real ones of the rows; columns that no task uses are left out."""
        used = np.flatnonzero(real.any(axis=0))
        if len(used) == 0:
            used = np.zeros(1, dtype=np.intp)
        real = real[:, used]
        index = np.where(real, rows[:, used], 0)
        weight = real.astype(np.float64)
        if self.table.sample_weight is not None:
            weight *= self.table.sample_weight[index]
        return self.learner.batch(self.table.X[index], self.y[index], weight), weight.sum(axis=1)


def all_rows(learner, batch):
    """All rows of a padded batch of tasks as the network takes them."""
    y = learner.encode(batch.y)
    return learner.batch(batch.X, y, batch.weight), batch.weight.sum(axis=1)
