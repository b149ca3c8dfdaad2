"""Any function of a task as a descriptor."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral

import numpy as np

from ..learners import in_chunks
from ..learners.privates import N_JOBS, Interval, StrOptions
from ..tasks.validation import have_squares
from ._base import TaskDescriptor

__all__ = ["FunctionDescriptor"]


class FunctionDescriptor(TaskDescriptor):
    """Describe tasks by a function of yours.

    Parameters
    ----------
    func : callable
        ``func(task)`` with a :class:`~sklearn_meta.Task` returns a number, a vector, or a mapping
        of names to numbers, of the same length for every task. Inside an algorithm the task has the
        rows behind the transformers of a Pipeline, in :class:`~sklearn_meta.HierarchicalBayes`
        around an estimator without coefficients with its predictions as the first columns, and
        ``task.descriptor`` is its side information: a mapping where tasks or
        columns have names, else an array, with None where a value is missing.
    min_rows : int, default=0
        Tasks with fewer rows are described by the mean over the tasks of ``fit``, and ``func`` does
        not see them; nor does it see a task of which nothing is known, neither rows nor side
        information.
    uses : {"rows", "inputs", "side"}, default="rows"
        What it looks at: the rows, their X only (``task.y`` is None), or ``task.descriptor`` only
        (``task`` has no rows). Only where it may look at y must
        :class:`~sklearn_meta.HierarchicalBayes` hold rows back from it.
    n_jobs : int, default=None
        Number of workers, as in joblib; each takes chunks of tasks.

    Attributes
    ----------
    mean_ : ndarray of shape (n_descriptors,)
        Mean over the tasks of ``fit`` that have enough rows.

    See Also
    --------
    SideInformation : Side information without a function.

    Examples
    --------
    >>> from sklearn_meta.descriptors import FunctionDescriptor
    >>> tasks = [([[0.0], [2.0]], [1.0, 3.0]), ([[1.0], [1.0]], [0.0, 0.0])]
    >>> descriptor = FunctionDescriptor(lambda task: {"top": max(task.y)}, min_rows=1).fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['top'], dtype=object)
    >>> descriptor.transform(tasks)
    array([[3.],
           [0.]])
    """

    _parameter_constraints: dict = {
        "func": [callable],
        "min_rows": [Interval(Integral, 0, None, closed="left")],
        "uses": [StrOptions({"rows", "inputs", "side"})],
        "n_jobs": N_JOBS,
    }

    def __init__(self, func, *, min_rows=0, uses="rows", n_jobs=None) -> None:
        self.func = func
        self.min_rows = min_rows
        self.uses = uses
        self.n_jobs = n_jobs

    def _fit(self, table):
        known = np.flatnonzero(self._known(table))
        if len(known) == 0:
            raise ValueError(
                f"no task has side information, or min_rows={self.min_rows} rows and at least one: "
                "there is nothing to describe."
            )
        vars(self).pop("names_", None)
        rows, names = self._call(table, known, None)
        self.names_ = names or [f"f{j}" for j in range(rows.shape[1])]
        self._keyed = names is not None
        self.mean_ = rows.mean(axis=0)

    def _known(self, table):
        """Which tasks the function may see."""
        side = np.zeros(table.n_tasks, dtype=bool)
        if table.descriptors is not None:
            side = np.array([any(v is not None for v in row) for row in table.descriptors])
        if self.uses == "side":
            return side
        return (table.sizes >= self.min_rows) & (side | (table.sizes > 0))

    def _describe(self, table):
        out = np.repeat(self.mean_[None], table.n_tasks, axis=0)
        known = np.flatnonzero(self._known(table))
        if len(known):
            out[known] = self._call(table, known, self.names_)[0]
        return out

    def _call(self, table, tasks, names):
        """The vectors of some tasks, and their names if ``func`` gives them."""
        described = [_task(table, t, self.uses) for t in tasks]
        vectors = in_chunks(_describe, described, self.n_jobs, self.func)
        keys = names if names and self._keyed else None
        length = None if names is None else len(names)
        for t, vector in zip(tasks, vectors, strict=True):
            label = table.label(t)
            if isinstance(vector, Exception):
                raise ValueError(
                    f"{label}: {type(vector).__name__} in the descriptor function: "
                    f"{str(vector).rstrip('.')}.{self._way(table, t)}"
                ) from vector
            own, vector = vector
            if length is None:
                keys, length = own, len(vector)
            if own != keys or len(vector) != length:
                found = own if own is not None else f"{len(vector)} entries"
                expected = keys if keys is not None else f"{length}"
                raise ValueError(
                    f"{label}: the descriptor function returned {found}, expected {expected}: it "
                    "must be the same for every task."
                )
            if not have_squares(vector).all():
                j = int(np.argmin(have_squares(vector)))
                way = " Use other units." if np.isfinite(vector[j]) else self._way(table, t)
                raise ValueError(
                    f"{label}: the descriptor function returned {vector[j]} as entry "
                    f"{keys[j] if keys else j!r} for {table.sizes[t]} rows; its values "
                    f"must be finite, as must their squares.{way}"
                )
        return np.array([vector for _, vector in vectors]), keys

    def _way(self, table, t):
        n_rows = table.sizes[t]
        if n_rows > 2 or self.uses == "side":
            return ""
        return (
            f" The task has {n_rows} rows; FunctionDescriptor(func, min_rows={n_rows + 1}) "
            "describes so small tasks by the mean."
        )

    def _names(self):
        return list(map(str, self.names_))


def _task(table, t, uses):
    task = table.as_task(t)
    if uses == "side":
        return task.rows(slice(0, 0))
    return task if uses == "rows" else replace(task, y=None)


def _describe(task, func):
    """Names and vector of a task, or the exception that the function raised."""
    try:
        value, names = func(task), None
        if isinstance(value, Mapping):
            names, value = list(value), list(value.values())
        vector = np.atleast_1d(np.asarray(value, dtype=np.float64))
        if vector.ndim != 1:
            raise ValueError(f"it returned an array of shape {vector.shape}, not a vector.")
    except Exception as error:  # told apart from others by the task that it is about
        return error
    return names, vector
