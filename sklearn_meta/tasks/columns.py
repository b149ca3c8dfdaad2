"""Tasks of differing columns: they meet on shared names, in a frame in which what is absent is NaN.

The frame has the names of all sources. A column that is missing throughout a task is absent from
it.
"""

from dataclasses import dataclass, replace

import numpy as np

from .task import as_tasks
from .validation import as_table, column_names, plain, task_label

__all__ = ["View", "aligned", "aligned_tasks", "presence"]


@dataclass(frozen=True, eq=False)
class View:
    """How rows of the frame become rows of a model.

    Parameters
    ----------
    kept : ndarray of int
        The columns that the model sees.
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

    def rows(self, X):
        """The rows as the model sees them."""
        X = np.ascontiguousarray(X[:, self.kept])
        return np.where(np.isnan(X), self.fill, X)


def aligned(X, names, label):
    """A dataframe with the columns ``names``; those that it does not have are NaN."""
    X = as_table(X)
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


def aligned_tasks(tasks, names):
    """Tasks with the columns ``names``; None: those of all, in the order in which they appear."""
    labelled = [(task, task_label(task.id, t)) for t, task in enumerate(as_tasks(tasks))]
    if names is None:
        for task, label in labelled:
            if column_names(task.X) is None:
                raise TypeError(
                    f"{label}: its X is an array without column names, and "
                    'columns="shared" matches names. Pass a dataframe.'
                )
        names = list(dict.fromkeys(name for task, _ in labelled for name in column_names(task.X)))
    return [replace(task, X=aligned(task.X, names, label)) for task, label in labelled]


def presence(table):
    """Which columns each task has, shape (n_tasks, n_columns); in these no value may be missing."""
    missing = np.isnan(table.X)
    has = np.stack([~part.all(axis=0) for part in np.split(missing, table.offsets[1:-1])])
    gaps = np.argwhere(missing & has[table.codes])
    if len(gaps):
        i, j = gaps[0]
        raise ValueError(
            f"{table.where(int(i))}: column {plain(j)} of X contains NaN. Impute it, drop the row, "
            "or leave the column out of the whole task."
        )
    return has
