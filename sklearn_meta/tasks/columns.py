"""Tasks of differing columns: they meet on shared names, in a frame in which what is absent is NaN.

The frame has the names of all sources. A column that is missing throughout a task is absent from
it.
"""

from dataclasses import dataclass, replace

import numpy as np

from .validation import column_names, plain, task_label

__all__ = ["View", "aligned", "check_gaps", "present", "shared_names", "without_company"]


@dataclass(frozen=True, eq=False)
class View:
    """How rows of the frame become rows of the model of one target.

    Parameters
    ----------
    kept : ndarray of int
        The columns that the target has.
    fill : ndarray of shape (n_kept,)
        What a missing value counts as.
    """

    kept: np.ndarray
    fill: np.ndarray

    @classmethod
    def of(cls, X, kept):
        """Some columns of rows; missing values count as the means of these rows."""
        known = ~np.isnan(X[:, kept])
        total = np.where(known, X[:, kept], 0.0).sum(axis=0)
        return cls(kept, total / np.maximum(known.sum(axis=0), 1))

    @classmethod
    def of_all(cls, X):
        """All columns."""
        return cls.of(X, np.arange(X.shape[1]))

    def rows(self, X):
        """The rows as the model sees them."""
        X = X[:, self.kept]
        return np.where(np.isnan(X), self.fill, X)

    def blind(self, table):
        """Places of the tasks that have none of the columns."""
        rows = np.split(table.X[:, self.kept], table.offsets[1:-1])
        return [t for t, part in enumerate(rows) if len(part) and not present(part).any()]

    def table(self, table):
        """A table as the model sees it."""
        return replace(table, X=self.rows(table.X))


def shared_names(tasks):
    """Names of the columns of all tasks, in the order in which they first appear."""
    names = {}
    for t, task in enumerate(tasks):
        own = column_names(task.X)
        if own is None:
            raise TypeError(
                f"{task_label(task.id, t)}: its X is an array without column names, and "
                'columns="shared" matches names. Pass a dataframe.'
            )
        names.update(dict.fromkeys(own))
    return list(names)


def aligned(X, names, label):
    """A dataframe with the columns ``names``; those that it does not have are NaN."""
    own = column_names(X)
    if own is None:
        return X
    if not set(own) & set(names):
        raise ValueError(
            f"{label}: X shares no column with the sources; it has {own[:8]}, they have "
            f"{list(names)[:8]}. Rename its columns."
        )
    nothing = np.full(len(X), np.nan)
    return type(X)({n: X[n] if n in own else nothing for n in names})


def present(X):
    """Mask of the columns that are not missing throughout."""
    return ~np.isnan(X).all(axis=0) if len(X) else np.ones(X.shape[1], dtype=bool)


def check_gaps(table):
    """A value may be missing only where its column is absent from the task."""
    for t in range(table.n_tasks):
        X, _, _ = table.task(t)
        gaps = np.isnan(X) & present(X)
        if gaps.any():
            i, j = np.argwhere(gaps)[0]
            raise ValueError(
                f"{table.where(int(table.offsets[t]) + int(i))}: column {plain(j)} of X contains "
                "NaN. Impute it, drop the row, or leave the column out of the whole task."
            )


def without_company(table):
    """Places of the tasks that share no column with another."""
    has = np.stack([present(X) for X in np.split(table.X, table.offsets[1:-1])])
    alone = np.flatnonzero(~(has & (has.sum(axis=0) > 1)).any(axis=1))
    if len(alone) == table.n_tasks > 1:
        raise ValueError("no two sources share a column. Rename columns.")
    return alone if table.n_tasks > 1 else alone[:0]
