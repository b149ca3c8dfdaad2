"""What candidates predict for tasks that they have not seen, after k of their rows.

Tasks are left out by folds. A left-out task is shuffled (several times, where there are few tasks);
of its rows the first k are the support, nested for growing k, and the others judge.
"""

import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn.base import clone

from ..kernels.pooling import LogPool, SquaredPool, bagged_weights
from ..learners.sharing import sharing
from ..tasks.supports import take_rows
from .members import Member

__all__ = ["Judged", "leave_tasks_out", "seconds_of"]

MAX_QUERY = 100  # rows that judge a task, after each number of rows
EPISODES = 200  # where tasks are fewer, they are shuffled several times,
MAX_REPEATS = 4  # at most so often
MAX_TASKS = 2000  # that are judged
MIN_TASKS = 5  # for a number of rows to be judged at
PROBE_TASKS = 10  # at least, that seconds are measured on


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions of left-out rows after k rows of their task; arrays with an entry a row."""

    F: np.ndarray  # (n_rows, n_candidates): predictions, or probabilities of the true class
    y: np.ndarray
    tasks: np.ndarray  # positions in the table of all tasks
    folds: np.ndarray
    weight: np.ndarray

    @classmethod
    def joined(cls, parts):
        """Those of several folds together."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def pool(self, classes):
        """The loss of their pools."""
        tasks = np.unique(self.tasks, return_inverse=True)[1]
        if classes is None:
            return SquaredPool.of(self.F, self.y, tasks, self.weight)
        return LogPool.of(self.F, tasks, self.weight)

    def of(self, candidates):
        """Those of some candidates, by position."""
        return replace(self, F=self.F[:, candidates])

    def stacked(self, seed):
        """Predictions of the pool, with weights from the tasks of the other folds."""
        out = np.empty(len(self.y))
        for fold in np.unique(self.folds):
            own = self.folds == fold
            others = Judged(*(values[~own] for values in vars(self).values()))
            known = others if len(others.y) else self  # a single fold
            weights = bagged_weights(known.pool(None), np.random.default_rng([seed, fold]))
            out[own] = self.F[own] @ weights
        return out

    def mean_by_task(self, values):
        """Weighted means over the rows of every task."""
        codes = np.unique(self.tasks, return_inverse=True)[1]
        return np.bincount(codes, self.weight * values) / np.bincount(codes, self.weight)

    def split(self, values):
        """The values of every task: a list of arrays."""
        order = np.argsort(self.tasks, kind="stable")
        return np.split(values[order], np.cumsum(np.unique(self.tasks, return_counts=True)[1])[:-1])


def take_tasks(table, tasks):
    """Some tasks of a table, as tasks that nothing has seen."""
    sizes = table.sizes[tasks]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.arange(offsets[-1]) + np.repeat(table.offsets[tasks] - offsets[:-1], sizes)
    return replace(take_rows(table, rows, offsets, tasks), origin=None)


def leave_tasks_out(candidates, table, shots, folds, *, classes, seed, n_jobs, on_fold):
    """Fit every candidate on the tasks of each training fold, and predict the others.

    ``on_fold`` is called whenever a fold is done. Returns what is :class:`Judged` by number of
    rows, for those that enough tasks have more rows than, and errors of candidates that could not
    be fitted or predict by name; their predictions are NaN.
    """
    largest = sum(len(test) for _, test in folds)
    rng = np.random.default_rng(seed)
    chosen = np.ones(table.n_tasks, dtype=bool)
    if largest > MAX_TASKS:
        chosen[rng.permutation(table.n_tasks)[MAX_TASKS:]] = False
    parts = []
    one_by_one = get_active_backend()[0].supports_return_generator  # Ray's does not
    for part in Parallel(n_jobs=n_jobs, return_as="generator" if one_by_one else "list")(
        delayed(_one_fold)(candidates, table, shots, train, test[chosen[test]], classes, seed, f)
        for f, (train, test) in enumerate(folds)
    ):
        parts.append(part)
        on_fold()
    judged = {}
    for k in shots:
        of_folds = [part[k] for part, _ in parts if k in part]
        n_tasks = sum(len(np.unique(one.tasks)) for one in of_folds)
        if n_tasks >= min(MIN_TASKS, table.n_tasks):
            judged[k] = Judged.joined(of_folds)
    failures = {name: error for _, failed in parts for name, error in failed.items()}
    return judged, failures


def seconds_of(candidates, table, seed):
    """What one fit of every candidate on all tasks will take, measured on a tenth of them."""
    n_tasks = min(table.n_tasks, max(PROBE_TASKS, table.n_tasks // 10))
    chosen = np.random.default_rng(seed).permutation(table.n_tasks)[:n_tasks]
    part, seconds = take_tasks(table, np.sort(chosen)), []
    for _, candidate in candidates:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                clone(candidate).meta_fit(part)
            except (ArithmeticError, TypeError, ValueError):
                pass  # it fails again where errors are raised
        seconds.append(time.process_time() - start)
    return np.array(seconds) * len(table.y) / len(part.y)


def _one_fold(candidates, table, shots, train, test, classes, seed, fold):
    test = test[table.sizes[test] > 0]
    train = take_tasks(table, train)
    known = np.ones(len(table.y), dtype=bool)
    if classes is not None:  # nobody can tell a class from examples of others
        known = np.isin(table.y, np.unique(train.y))
    repeats = int(np.clip(EPISODES // table.n_tasks, 1, MAX_REPEATS))
    test = np.repeat(test, repeats)
    orders = [_order(table, t, known, [seed, t, i % repeats]) for i, t in enumerate(test)]
    episodes = {k: _episodes(table, test, orders, k) for k in shots}
    episodes = {k: episode for k, episode in episodes.items() if len(episode[1].y)}
    F = {k: np.full((len(q.y), len(candidates)), np.nan) for k, (_, q) in episodes.items()}
    failures = {}
    with sharing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for c, (name, candidate) in enumerate(candidates):
            try:
                member = Member(name, clone(candidate).meta_fit(train))
                for k, (support, query) in episodes.items():
                    F[k][:, c] = _predicted(member, support, query, classes)
            except (ArithmeticError, TypeError, ValueError) as error:
                failures[name] = error
    judged = {}
    for k, (_, query) in episodes.items():
        of_fold = np.full(len(query.y), fold)
        judged[k] = Judged(F[k], query.y, query.ids[query.codes], of_fold, query.weights)
    return judged, failures


def _predicted(member, support, query, classes):
    params = member.adapt(support)
    values = member.predict(params, query.X, query.codes, classes)
    if classes is not None:
        values = values[np.arange(len(values)), np.searchsorted(classes, query.y)]
    if not np.isfinite(values).all():
        raise ValueError("it predicts what is not a finite number.")
    return values


def _order(table, t, known, seed):
    """The rows of a task, shuffled."""
    order = np.random.default_rng(seed).permutation(table.sizes[t]) + table.offsets[t]
    return order[known[order]]


def _episodes(table, tasks, orders, k):
    """Supports of k rows, and the rows that judge: two tables with positions of tasks as ids."""
    tasks = np.array([t for t, order in zip(tasks, orders, strict=True) if len(order) > k], int)
    orders = [order for order in orders if len(order) > k]
    support = _as_table(table, tasks, [order[:k] for order in orders])
    return support, _as_table(table, tasks, [order[k : k + MAX_QUERY] for order in orders])


def _as_table(table, tasks, rows):
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.intp)
    rows = np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)
    return replace(take_rows(table, rows, offsets, tasks), ids=tasks, origin=None)
