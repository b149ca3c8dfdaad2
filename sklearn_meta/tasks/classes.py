"""N-way tasks: every task has its own labels.

The labels of task t in their order, ``c_0 < c_1 < ... < c_(n_t - 1)``, are the outputs 0 to
n_t - 1 of a learner with ``N = max_t n_t`` outputs. That outputs carry no meaning is the business
of ``kernels/episodes.py``, that some are left over that of ``learners/narrow.py``.
"""

from dataclasses import dataclass

import numpy as np

from .validation import plain

__all__ = ["TaskClasses", "of_one_type", "task_classes"]


@dataclass(frozen=True, eq=False)
class TaskClasses:
    """The labels of every task, in order."""

    labels: np.ndarray  # (n_tasks, n_most): those of tasks with fewer end in copies of the last
    counts: np.ndarray  # (n_tasks,): number of classes of every task

    def __getitem__(self, tasks):
        return TaskClasses(self.labels[tasks], self.counts[tasks])

    def of(self, t):
        """The labels of task t."""
        return of_one_type(self.labels[t, : self.counts[t]])

    def put(self, at, n_tasks, other):
        """These labels for ``n_tasks`` tasks, those at the places ``at`` taken from ``other``."""
        width = max(self.labels.shape[1], other.labels.shape[1])
        old, new = _widened(self.labels, width), _widened(other.labels, width)
        same = old.dtype.kind == new.dtype.kind
        labels = np.empty((n_tasks, width), np.result_type(old, new) if same else object)
        labels[: len(old)] = old
        labels[at] = new
        counts = np.zeros(n_tasks, dtype=np.intp)
        counts[: len(old)] = self.counts
        counts[at] = other.counts
        return TaskClasses(labels, counts)


def _widened(labels, width):
    return labels[:, np.minimum(np.arange(width), labels.shape[1] - 1)]


def of_one_type(labels):
    """Labels in an array of their own type, where it was that of Python objects."""
    if labels.dtype.kind == "O" and len({isinstance(label, str) for label in labels}) == 1:
        return np.array(labels.tolist())
    return labels


def task_classes(table):
    """The labels of every task, a TaskClasses, and the place of each row's label among them.

    Raises
    ------
    ValueError
        For a task without rows, numbers that are no labels, and text beside numbers in a task.
    """
    if (table.sizes == 0).any():
        t = int(np.argmin(table.sizes))
        name = "the task" if table.n_tasks == 1 and table.ids is None else table.label(t)
        raise ValueError(
            f"{name} has no rows, and with classes='per_task' the labels of a task are known only "
            "from its rows. Adapt to at least one row of each of its classes."
        )
    rank = _ranks(table)
    _, row, position = np.unique(
        table.codes * (1 + rank.max(initial=0)) + rank, return_index=True, return_inverse=True
    )
    counts = np.bincount(table.codes[row], minlength=table.n_tasks)
    first = np.cumsum(counts) - counts
    column = np.minimum(np.arange(counts.max(initial=1)), counts[:, None] - 1)
    classes = TaskClasses(table.y[row[first[:, None] + column]], counts)
    return classes, position - first[table.codes]


def _ranks(table):
    """The place of every row's label among those of all tasks, numbers before text."""
    y = table.y
    if y.dtype.kind != "O":
        _check_numbers(y, np.arange(len(y)), table)
        return np.unique(y, return_inverse=True)[1]
    text = np.fromiter((isinstance(label, str) for label in y), dtype=bool, count=len(y))
    first = table.offsets[:-1][table.codes]
    bad = np.flatnonzero(text != text[first])
    if len(bad):
        i = bad[0]
        raise ValueError(
            f"{table.where(i)}: y is {plain(y[i])!r}, and {plain(y[first[i]])!r} in the first row "
            "of this task: labels of a task must be all strings or all numbers."
        )
    rank, n_before = np.empty(len(y), dtype=np.intp), 0
    for rows in (np.flatnonzero(~text), np.flatnonzero(text)):
        values = np.array(y[rows].tolist())
        _check_numbers(values, rows, table)
        distinct, own = np.unique(values, return_inverse=True)
        rank[rows] = own + n_before
        n_before += len(distinct)
    return rank


def _check_numbers(values, rows, table):
    """Check that labels are text, or numbers without fractions."""
    if values.ndim != 1 or values.dtype.kind not in "biufUMm":
        raise ValueError(f"{table.where(rows[0])}: y is neither a string nor a number.")
    bad = np.flatnonzero(values != np.round(values)) if values.dtype.kind == "f" else []
    if len(bad):
        raise ValueError(
            f"{table.where(rows[bad[0]])}: y is {plain(values[bad[0]])!r}. Unknown label type: "
            "continuous. For numbers, take MetaRegressor or wrap a regressor."
        )
