"""Rows of many tasks as one table, and as padded batches.

Everything below the border works on one form, :class:`TaskTable`: all rows stacked, task after
task, with offsets; and computes on :class:`PaddedBatch`: tasks of similar size as one array
``(n_tasks, n_rows, n_features)`` with row weights, where weight 0 marks padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .frames import SavesFrames
from .ids import as_ids, factorize_ids, missing_ids
from .libraries import in_memory
from .rows import n_rows_of, ranges, safe_indexing
from .task import Task
from .validation import as_table, concat_rows, plain, split_columns, task_label

__all__ = [
    "PaddedBatch",
    "TaskTable",
    "check_ids",
    "constant_within_tasks",
    "distinct_rows",
    "merged",
    "padded_batches",
    "rows_of_tasks",
    "split_ids",
    "tasks_from_table",
]


def tasks_from_table(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    task_column: str | int | None = None,
    descriptor_columns: Sequence[str | int] | None = None,
) -> list[Task]:
    """Split a long table into a list of tasks.

    Parameters
    ----------
    X : array-like or dataframe of shape (n_rows, n_columns)
        The rows of all tasks.
    y : array-like of shape (n_rows,)
        Their targets.
    groups : array-like of shape (n_rows,), default=None
        The task id of every row.
    task_column : str or int, default=None
        Or the column of ``X`` that holds it; it is taken out of ``X``.
    descriptor_columns : list of str or int, default=None
        Columns that are constant within a task; they become its ``descriptor``.

    Returns
    -------
    list of Task
        In the order in which the ids first appear.

    Examples
    --------
    >>> from sklearn_meta import tasks_from_table
    >>> X = [[1.0, 7], [2.0, 7], [3.0, 8]]
    >>> tasks_from_table(X, [0.1, 0.2, 0.3], task_column=1)
    [Task(id=7.0, n_rows=2), Task(id=8.0, n_rows=1)]
    """
    X, ids, side = split_ids(as_table(X), groups, task_column, descriptor_columns)
    y = np.asarray(in_memory(y, "y"))
    if y.ndim == 0 or len(y) != n_rows_of(X):
        found = f"has {len(y)}" if y.ndim else f"is {y.item()!r}"
        raise ValueError(f"X has {n_rows_of(X)} rows, and y {found}.")
    unique, codes = factorize_ids(ids)
    sizes = np.bincount(codes, minlength=len(unique))
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(sizes))[:-1]
    descriptors = [None] * len(unique)
    if side is not None:
        names = getattr(side, "columns", descriptor_columns)
        table = constant_within_tasks(np.asarray(side), codes, unique, list(names))
        descriptors = [dict(zip(names, row, strict=True)) for row in table]
    return [
        Task(safe_indexing(X, index), y[index], id=plain(id_), descriptor=s)
        for id_, index, s in zip(unique, rows, descriptors, strict=True)
    ]


def split_ids(X, groups, task_column, descriptor_columns=None):
    """As :func:`split_columns`, with an id for every row: from a column, or from ``groups``."""
    X, ids, side = split_columns(X, task_column, descriptor_columns)
    if ids is None:
        if groups is None:
            raise ValueError("Pass the task ids: groups= (an array) or task_column= (a column).")
        ids = as_ids(groups)
    check_ids(ids, n_rows_of(X))
    return X, ids, side


def check_ids(ids, n_rows):
    """Check that every row has a task id."""
    if len(ids) != n_rows:
        raise ValueError(f"there are {len(ids)} task ids for {n_rows} rows of X.")
    missing = np.flatnonzero(missing_ids(ids))
    if len(missing):
        some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise ValueError(
            f"the task id of {len(missing)} row(s) is missing (row numbers {some}). Give these "
            "rows an id or drop them; a missing id is allowed only in predict, where the "
            "meta-model answers."
        )


def constant_within_tasks(values, codes, ids, names):
    """The descriptor columns of a long table as one row per task; an error where they vary."""
    first = np.unique(codes, return_index=True)[1]
    table = values[first]
    varies = table[codes] != values
    if values.dtype.kind == "f":
        varies &= ~(np.isnan(table[codes]) & np.isnan(values))
    if np.any(varies):
        i, j = np.argwhere(varies)[0]
        raise ValueError(
            f"{task_label(ids[codes[i]], codes[i])}: descriptor column {names[j]!r} is not "
            f"constant: {table[codes[i], j]} and {values[i, j]}. A descriptor describes the task "
            "as a whole; use the column as a feature instead."
        )
    return table


def distinct_rows(table):
    """The distinct rows of an array, and which of them each row is."""
    if table.dtype != object:
        distinct, index = np.unique(table, axis=0, return_inverse=True)
        return distinct, index.ravel()
    keys = np.empty(len(table), dtype=object)
    keys[:] = [tuple(row) for row in table]
    _, index = factorize_ids(keys)
    return table[np.unique(index, return_index=True)[1]], index


@dataclass(frozen=True, eq=False)
class TaskTable(SavesFrames):
    """Rows of many tasks, stored task after task."""

    X: Any  # array or dataframe of shape (n_rows, n_features)
    y: Any  # (n_rows,)
    offsets: Any  # (n_tasks + 1,): task t is ``X[offsets[t]:offsets[t + 1]]``
    ids: Any = None  # (n_tasks,)
    sample_weight: Any = None  # (n_rows,)
    descriptors: Any = None  # (n_tasks, n_descriptors)
    row_numbers: Any = None  # (n_rows,): places in the user's table; None where tasks were given
    role: Any = None  # (n_rows,), int8: for episodes, 0 anything, 1 support only, 2 query only
    own_classes: Any = None  # TaskClasses, where each task has its own, and y places among these
    # (n_rows,): which row of the table that the learner and the descriptor were fitted on it is;
    # -1 for a row that they have not seen, and None where they have seen none
    origin: Any = None

    @classmethod
    def from_rows(cls, X, y, ids=None, sample_weight=None, side=None, side_names=None):
        """Sort the rows of a long table by task (the order of rows within a task stays)."""
        n_rows = n_rows_of(X)
        one = np.full(1, None), np.zeros(n_rows, dtype=np.intp)
        unique, codes = one if ids is None else factorize_ids(ids)
        descriptors = None
        if side is not None and n_rows:
            descriptors = constant_within_tasks(side, codes, unique, side_names)
        if ids is None:
            return cls(X, y, np.array([0, n_rows]), None, sample_weight, descriptors)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(unique)))])
        if (codes[1:] >= codes[:-1]).all():
            return cls(X, y, offsets, unique, sample_weight, descriptors, np.arange(n_rows))
        order = np.argsort(codes, kind="stable")
        weight = None if sample_weight is None else sample_weight[order]
        return cls(safe_indexing(X, order), y[order], offsets, unique, weight, descriptors, order)

    @classmethod
    def from_tasks(cls, tasks, blocks, targets, weights, **more):
        """Stack what was read of tasks: tables, targets, and weights or None."""
        offsets = np.concatenate([[0], np.cumsum([len(y) for y in targets], dtype=np.intp)])
        ids = np.empty(len(tasks), dtype=object)
        ids[:] = [task.id for task in tasks]
        weight = None
        if any(w is not None for w in weights):
            pairs = zip(weights, targets, strict=True)
            weight = np.concatenate([np.ones(len(y)) if w is None else w for w, y in pairs])
        return cls(concat_rows(blocks), np.concatenate(targets), offsets, ids, weight, **more)

    @property
    def n_tasks(self):
        return len(self.offsets) - 1

    @property
    def sizes(self):
        """Number of rows of every task."""
        return np.diff(self.offsets)

    @property
    def codes(self):
        """The position of the task of every row."""
        return np.repeat(np.arange(self.n_tasks), self.sizes)

    @property
    def weights(self):
        """Row weights, 1 where none are given."""
        return np.ones(len(self.y)) if self.sample_weight is None else self.sample_weight

    def sums(self, values):
        """Sums of values of rows over every task."""
        return np.bincount(self.codes, values, minlength=self.n_tasks)

    def label(self, t):
        """How messages call task ``t``."""
        return task_label(None if self.ids is None else self.ids[t], t)

    def where(self, i):
        """How messages call row ``i``: the task, and the row as the user counts it."""
        t = int(np.searchsorted(self.offsets, i, side="right")) - 1
        row = f"row {i - self.offsets[t] if self.row_numbers is None else self.row_numbers[i]}"
        return row if self.n_tasks == 1 and self.ids is None else f"{self.label(t)}, {row}"

    def task(self, t):
        """Rows, targets and weights of one task."""
        rows = slice(int(self.offsets[t]), int(self.offsets[t + 1]))
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        y = None if self.y is None else self.y[rows]
        return safe_indexing(self.X, rows), y, weight

    def without_weightless(self, keeps_tasks):
        """The table without rows of weight 0, and, unless it keeps tasks, those of such rows only.

        Weights are then None where all others are 1.
        """
        if self.sample_weight is None:
            return self
        weight = self.sample_weight
        kept = np.flatnonzero(weight > 0)
        table = self
        if len(kept) < len(weight):
            codes = self.codes[kept]
            sizes = np.bincount(codes, minlength=self.n_tasks)
            tasks, numbers = np.arange(self.n_tasks), self.row_numbers
            if numbers is None:
                numbers, _ = ranges(self.sizes)
            else:  # tasks stand in the order in which they first appear
                first = np.full(self.n_tasks, len(weight))
                np.minimum.at(first, codes, numbers[kept])
                tasks = np.argsort(first, kind="stable")
                kept = kept[np.argsort(np.argsort(tasks)[codes], kind="stable")]
            if not keeps_tasks:
                tasks = tasks[sizes[tasks] > 0]
            offsets = np.concatenate([[0], np.cumsum(sizes[tasks])])
            table = replace(self, row_numbers=numbers).take(kept, offsets, tasks)
        ones = (table.sample_weight == 1).all()
        return replace(table, sample_weight=None) if ones else table

    def block(self, start, stop):
        """The tasks ``start`` to ``stop`` as a table (a view)."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return self.take(rows, offsets, slice(start, stop))

    def take(self, rows, offsets, tasks):
        """A table of some rows, task after task, which ``offsets`` cut into tasks.

        ``tasks`` are those whose ids and descriptors they have; rows and tasks are places or
        slices.
        """

        def part(values, index):
            return None if values is None else values[index]

        return TaskTable(
            safe_indexing(self.X, rows),
            self.y[rows],
            offsets,
            part(self.ids, tasks),
            part(self.sample_weight, rows),
            part(self.descriptors, tasks),
            part(self.row_numbers, rows),
            part(self.role, rows),
            part(self.own_classes, tasks),
            part(self.origin, rows),
        )

    def as_one(self, rows):
        """A table of some rows as one task."""
        return self.take(rows, np.array([0, len(rows)]), slice(0, 1))


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Tasks of similar size as arrays with a task axis."""

    tasks: np.ndarray  # (n_batch,): positions of the tasks in their table
    X: np.ndarray  # (n_batch, n_rows, n_features)
    y: np.ndarray  # (n_batch, n_rows)
    weight: np.ndarray  # (n_batch, n_rows): 0 for padding, which is 0 in X, and in y if numbers


def padded_batches(table, max_cells=2**20):
    """Cut a table with numeric X into padded batches of tasks of similar size.

    Tasks are bucketed so that the longest of a batch has at most a quarter more rows (or one more)
    than the shortest, and a batch holds at most ``max_cells`` numbers (or one task).
    """
    sizes = table.sizes
    order = np.argsort(sizes, kind="stable")
    sorted_sizes = sizes[order]
    start = 0
    while start < len(order):
        shortest = int(sorted_sizes[start])
        longest = shortest + max(1, shortest // 4)
        stop = int(np.searchsorted(sorted_sizes, longest, side="right"))
        n_pad = int(sorted_sizes[stop - 1])
        step = max(1, int(max_cells // max(1, n_pad * table.X.shape[1])))
        for lo in range(start, stop, step):
            part = slice(lo, min(lo + step, stop))
            yield _pad(table, order[part], sorted_sizes[part], n_pad)
        start = stop


def _pad(table, tasks, sizes, n_rows):
    n_features = table.X.shape[1]
    first = table.offsets[tasks[0]]
    if (sizes == n_rows).all() and (np.diff(tasks) == 1).all():  # no copy needed
        rows = slice(first, first + len(tasks) * n_rows)
        shape = (len(tasks), n_rows)
        weight = np.ones(shape) if table.sample_weight is None else table.sample_weight[rows]
        return PaddedBatch(
            tasks,
            table.X[rows].reshape(*shape, n_features),
            table.y[rows].reshape(shape),
            weight.reshape(shape),
        )
    row = np.arange(n_rows)
    real = row < sizes[:, None]
    index = np.where(real, table.offsets[tasks][:, None] + row, 0)
    weight = real.astype(np.float64)
    if table.sample_weight is not None:
        weight *= table.sample_weight[index]
    X = table.X[index] * real[:, :, None] if len(table.X) else np.zeros((*real.shape, n_features))
    y = table.y[index] if len(table.y) else np.zeros(real.shape)
    if y.dtype.kind == "f":
        y = y * real
    return PaddedBatch(tasks, X, y, weight)


def rows_of_tasks(blocks, at):
    """The rows of tasks that stand in several tables, as one table.

    ``at``, of shape (n_tasks, 2), has the table of every task and its place there; -1 for a task
    without rows.
    """
    used = np.unique(at[at[:, 0] >= 0, 0])
    if len(used) == 0:
        return None
    parts, codes, side = [], [], None
    for b in used:
        tasks = np.flatnonzero(at[:, 0] == b)
        table, place = blocks[b], at[tasks, 1]
        rows, of = ranges(table.sizes[place])
        parts.append((table, table.offsets[place][of] + rows))
        codes.append(tasks[of])
    if all(blocks[b].descriptors is not None for b in used):
        some = blocks[used[0]].descriptors
        side = np.full((len(at), some.shape[1]), None, dtype=some.dtype)
        for b in used:
            side[at[:, 0] == b] = blocks[b].descriptors[at[at[:, 0] == b, 1]]
    return _by_task(parts, np.concatenate(codes), len(at), descriptors=side)


def merged(seen, more):
    """Tables of the same tasks as one: of every task the rows of the first, then of the second."""
    side = more.descriptors
    if side is None:
        side = seen.descriptors
    elif seen.descriptors is not None and side.dtype == object:
        unknown = np.array([all(v is None for v in row) for row in side])
        side = np.where(unknown[:, None], seen.descriptors, side)
    parts = [(table, np.arange(len(table.y))) for table in (seen, more)]
    codes = np.concatenate([seen.codes, more.codes])
    return _by_task(parts, codes, more.n_tasks, ids=more.ids, descriptors=side)


def _by_task(parts, codes, n_tasks, **tasks):
    """Some rows of several tables, in the order of their tasks."""

    def joined(name, missing):
        known = [(getattr(table, name), rows) for table, rows in parts]
        if all(values is None for values, _ in known):
            return None
        filled = [np.full(len(rows), missing) if v is None else v[rows] for v, rows in known]
        return np.concatenate(filled)[order]

    order = np.argsort(codes, kind="stable")
    X = concat_rows([safe_indexing(table.X, rows) for table, rows in parts])
    return TaskTable(
        safe_indexing(X, order),
        joined("y", None),
        np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_tasks))]),
        sample_weight=joined("sample_weight", 1.0),
        origin=joined("origin", -1),
        **tasks,
    )
