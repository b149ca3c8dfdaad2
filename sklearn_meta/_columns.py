"""Sources and targets of differing columns: a common frame, in which what is absent is NaN.

With ``columns="shared"`` the frame has the names of all sources; with a projection it is as wide as
the widest array. A column that is missing throughout a task is absent from it.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .tasks.validation import column_names, plain, task_label, with_address

__all__ = [
    "View",
    "Viewed",
    "aligned",
    "behind",
    "check_gaps",
    "in_view",
    "mean_where_present",
    "narrowed",
    "padded",
    "present",
    "projected",
    "shared_names",
    "without",
]


@dataclass(frozen=True, eq=False)
class View:
    """How rows of the common frame become rows of the model of one target.

    Parameters
    ----------
    kept : ndarray of int
        The columns that the target has.
    fill : ndarray of shape (n_kept,)
        What a missing value counts as.
    exact : bool
        Whether rows must have these columns and no others.
    """

    kept: np.ndarray
    fill: np.ndarray
    exact: bool = False

    def rows(self, X):
        """The rows as the model sees them."""
        if self.exact and len(X):
            width = int(np.sum(present(X)))
            if width != len(self.kept):
                raise ValueError(
                    f"X has {width} columns, and the task that predicts has {len(self.kept)}. "
                    "Adapt to some rows of the new task first: its projection is fitted on them."
                )
        X = X[:, self.kept]
        return np.where(np.isnan(X), self.fill, X)


class Viewed:
    """A fitted model behind a view of its rows.

    Parameters
    ----------
    model : estimator
    view : View
    """

    def __init__(self, model, view):
        self.model, self.view = model, view

    @property
    def classes_(self):
        """The classes of the model."""
        return self.model.classes_

    def predict(self, X):
        """Targets or labels."""
        return self.model.predict(self.view.rows(X))

    def predict_proba(self, X):
        """Class probabilities."""
        return self.model.predict_proba(self.view.rows(X))

    def decision_function(self, X):
        """Decision values."""
        return self.model.decision_function(self.view.rows(X))


def shared_names(tasks):
    """Names of the columns of all tasks, in the order in which they first appear."""
    names = {}
    for t, task in enumerate(tasks):
        own = column_names(task.X)
        if own is None:
            raise TypeError(
                f"{task_label(task.id, t)}: its X is an array without column names, and "
                'columns="shared" matches names. Pass a dataframe, or set projection.'
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
            f"{list(names)[:8]}. Rename its columns, or set projection."
        )
    nothing = np.full(len(X), np.nan)
    return type(X)({n: X[n] if n in own else nothing for n in names})


def padded(X, width):
    """An array with columns of NaN behind its own, up to ``width``."""
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] >= width:
        return X
    return np.hstack([X, np.full((len(X), width - X.shape[1]), np.nan)])


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


def mean_where_present(X):
    """Means of the columns, over the rows that have them."""
    known = ~np.isnan(X)
    return np.where(known, X, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def in_view(table, view):
    """The table of some tasks as a target with this view sees them, and who has nothing to show.

    Returns
    -------
    TaskTable
    blind : list of int
        Tasks that have none of the columns.
    """
    X = table.X[:, view.kept]
    rows = np.split(X, table.offsets[1:-1])
    blind = [t for t, part in enumerate(rows) if not present(part).any()]
    return replace(table, X=np.where(np.isnan(X), view.fill, X)), blind


def without(table, dropped):
    """The table without some tasks."""
    kept = np.setdiff1d(np.arange(table.n_tasks), dropped)
    rows = np.isin(table.codes, kept)
    offsets = np.concatenate([[0], np.cumsum(table.sizes[kept])])
    parts = {
        name: None if getattr(table, name) is None else getattr(table, name)[rows]
        for name in ("X", "y", "sample_weight", "row_numbers", "role")
    }
    ids = kept.astype(object) if table.ids is None else table.ids[kept]
    return replace(table, offsets=offsets, ids=ids, **parts)


def narrowed(learner, view):
    """The learner of tasks that have only some columns."""
    learner = copy.copy(learner)
    learner.n_features = len(view.kept)
    if learner.feature_names is not None:
        learner.feature_names = learner.feature_names[view.kept]
    return learner


def projected(table, projection):
    """Every task by a projection that is fitted on its rows.

    Returns
    -------
    TaskTable
    projections : list of transformer
    kept : list of ndarray
        The columns that each task has.
    """
    blocks, projections, columns = [], [], []
    for t in range(table.n_tasks):
        X, y, _ = table.task(t)
        kept = np.flatnonzero(present(X))
        fitted = clone(projection)
        try:
            blocks.append(np.asarray(fitted.fit(X[:, kept], y).transform(X[:, kept]), dtype=float))
        except ValueError as error:
            raise with_address(
                ValueError(f"the projection cannot be fitted on its rows: {error}"), table.label(t)
            ) from error
        if blocks[-1].shape[1] != blocks[0].shape[1]:
            raise ValueError(
                f"{table.label(t)}: the projection gives {blocks[-1].shape[1]} columns, and "
                f"{blocks[0].shape[1]} for the first task. Fix their number."
            )
        projections.append(fitted)
        columns.append(kept)
    return replace(table, X=np.concatenate(blocks)), projections, columns


def behind(projection, model):
    """A fitted model behind a fitted projection."""
    return Pipeline([("projection", projection), ("model", model)])
