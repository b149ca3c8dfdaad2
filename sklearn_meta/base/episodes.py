"""Episodes as arrays: supports and queries of a batch of tasks, drawn without a loop over tasks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..kernels.episodes import permuted, shots_per_class
from ..kernels.network import Batch, mean_weight
from ..learners import GradientLearner
from ..tasks.table import TaskTable, padded_batches

__all__ = ["EpisodeSampler", "all_rows"]


@dataclass(frozen=True, eq=False)
class EpisodeSampler:
    """Draws episodes from the tasks of a table.

    Where each task has its own classes (``codes``), supports have ``n_shots`` rows of each class
    (not without ``keep_query``: minibatches are drawn from all rows), and the outputs of each
    episode are permuted, see ``kernels/episodes.py``.
    """

    learner: GradientLearner
    table: TaskTable
    y: np.ndarray  # encoded targets (n_rows, n_outputs)
    n_shots: tuple  # fewest and most support rows; every batch draws a number, or every task
    n_query: int = None  # most query rows; None: all that are left
    keep_query: bool = True  # half of a task's rows (rounded up), unless its support is fixed
    codes: np.ndarray = None  # (n_rows,): which of the classes of its task a row is of
    each: bool = False  # whether tasks draw numbers of shots; a shared one needs no padding

    def permutations(self, tasks, rng):
        """Which class is which output in an episode of every task; None if always the same."""
        if self.codes is None:
            return None
        n_way = len(self.learner.classes)
        return np.argsort(rng.random((len(tasks), n_way)), axis=1)

    def draw(self, tasks, rng, permutations=None):
        """Supports and queries of some tasks, and the total weight of each support (n_batch,).

        Without ``permutations`` (of :meth:`permutations`) there are new ones.
        """
        sizes = self.table.sizes[tasks]
        place = np.arange(int(sizes.max()))
        low, high = self.n_shots
        n_shots = low
        if low < high:
            n_shots = rng.integers(low, high + 1, size=(len(tasks) if self.each else 1))
        keys = rng.random((len(tasks), len(place)))
        most = sizes // 2 if self.keep_query else sizes
        n_support = np.minimum(n_shots, most)
        start, first_row = n_support, self.table.offsets[tasks][:, None]
        real = place < sizes[:, None]
        may, half = real, np.ones(len(tasks), dtype=bool)  # rows for supports, of them at most half
        if self.table.role is not None:  # fixed supports come first, then free rows, then queries
            role = self.table.role[np.minimum(first_row + place, len(self.table.role) - 1)]
            keys += np.where(role == 1, 0, np.where(role == 0, 1, 2))
            n_fixed = ((role == 1) & real).sum(axis=1)
            fixed = ((role > 0) & real).any(axis=1)
            n_support = np.where(fixed, np.minimum(n_shots, n_fixed), n_support)
            start = np.where(fixed, n_fixed, n_support)
            may, half = real & ((role == 1) | ~fixed[:, None]), ~fixed
        if self.codes is not None and self.keep_query:
            n_way = len(self.learner.classes)
            codes = self.codes[np.minimum(first_row + place, len(self.codes) - 1)]
            codes = np.where(may, codes, n_way)
            chosen = shots_per_class(keys, codes, n_way, np.reshape(n_shots, (-1, 1)), half)
            keys += ~chosen
            n_support = chosen.sum(axis=1)
            start = np.where(half, n_support, start)
        keys[~real] = np.inf
        rows = first_row + np.argsort(keys, axis=1)
        stop = sizes if self.n_query is None else np.minimum(sizes, start + self.n_query)
        support, weight = self._batch(rows, np.zeros_like(sizes), n_support)
        query, _ = self._batch(rows, start, stop)
        if self.codes is not None:
            if permutations is None:
                permutations = self.permutations(tasks, rng)
            support, query = permuted(support, permutations), permuted(query, permutations)
        return support, query, weight

    @cached_property
    def _units(self):
        """All rows of the table, as those of one task, in the units of the network."""
        weight = np.ones((1, len(self.y)))
        return self.learner.batch(self.table.X[None], self.y[None], weight)

    def _batch(self, rows, start, stop):
        """Gather the rows from start to stop of every task, at least one column."""
        lo = min(int(start.min()), rows.shape[1] - 1)
        hi = max(int(stop.max()), lo + 1)
        index, place = rows[:, lo:hi], np.arange(lo, hi)
        real = (place >= start[:, None]) & (place < stop[:, None])
        weight = real.astype(np.float64)
        if not real.all():  # padding may be beyond the table
            index = np.where(real, index, 0)
        if self.table.sample_weight is not None:
            weight *= self.table.sample_weight[index]
        units, total = self._units, weight.sum(axis=1)
        offset = None if units.offset is None else units.offset[0, index]
        X, y = units.X[0, index], units.y[0, index]
        return Batch(X, y, mean_weight(weight).astype(X.dtype, copy=False), offset), total


def all_rows(learner, table):
    """Batches of all rows as the network takes them: places of tasks, Batch, total weights."""
    for padded in padded_batches(table):
        batch = learner.batch(padded.X, learner.encode(padded.y), padded.weight)
        yield padded.tasks, batch, padded.weight.sum(axis=1)
