"""What all task descriptors share: from tasks to stacked rows, and sums over the rows of a task.

A descriptor is a transformer whose samples are tasks: ``fit(tasks)``, ``transform(tasks)`` of shape
``(n_tasks, n_descriptors)``. It works on :class:`DescribedTable`, all rows stacked task after task,
so that no built-in statistic needs a loop over tasks.

Statistics of few rows are drawn towards those of all meta-train rows, as if the task had
``prior_rows`` more rows that look like these. So every entry is finite at 0, 1 and 2 rows, and
without rows it is the pooled value.
"""

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from ..learners import numeric_columns, numeric_places
from ..tasks.rows import n_rows_of
from ..tasks.side import stack_side
from ..tasks.table import TaskTable
from ..tasks.task import Task, as_tasks
from ..tasks.validation import (
    as_table,
    as_weight,
    check_known,
    check_target,
    column_names,
    task_label,
    with_address,
)
from ..versions import Versioned

__all__ = ["DescribedTable", "TaskDescriptor", "as_described", "looks_at", "sums"]


@dataclass(frozen=True, eq=False)
class DescribedTable(TaskTable):
    """A TaskTable with what descriptors need besides.

    Parameters
    ----------
    descriptors : ndarray of shape (n_tasks, n_side), dtype object, default=None
        Side information; None where it is missing.
    classes : ndarray of shape (n_classes,), default=None
        The classes, where y holds labels; None where it holds numbers.
    feature_names : list of str, default=None
    side_names : list, default=None
        What the columns of ``descriptors`` are called.
    """

    classes: Any = None
    feature_names: Any = None
    side_names: Any = None

    @classmethod
    def of(cls, table, **more):
        """A TaskTable with more fields."""
        return cls(**{f.name: getattr(table, f.name) for f in fields(TaskTable)}, **more)

    def __len__(self):
        return self.n_tasks

    def __iter__(self):
        """The tasks, as transformers of other people expect them."""
        return (self.as_task(t) for t in range(self.n_tasks))

    def as_task(self, t):
        """Task ``t`` as users know tasks."""
        X, y, weight = self.task(t)
        side = None if self.descriptors is None else self.descriptors[t]
        if side is not None and self.side_names is not None:
            side = dict(zip(self.side_names, side, strict=True))
        id_ = None if self.ids is None else self.ids[t]
        return Task(X, y, id=id_, sample_weight=weight, descriptor=side)

    @cached_property
    def numbers(self):
        """The numeric columns of X; NaN where they are missing."""
        return numeric_columns(self.X, self.numeric)

    @cached_property
    def numeric(self):
        """Places of these columns."""
        return numeric_places(self.X)

    @cached_property
    def targets(self):
        """Targets as columns of numbers: y itself, or one indicator for each class."""
        if self.classes is None:
            return np.asarray(self.y, dtype=np.float64).reshape(len(self.y), 1)
        return (np.asarray(self.y)[:, None] == self.classes).astype(np.float64)

    @property
    def target_names(self):
        return ["y"] if self.classes is None else [f"y={label}" for label in self.classes]

    @property
    def number_names(self):
        """Names of the columns of ``numbers``."""
        names = column_names(self.X)
        if names is not None:
            return [str(names[j]) for j in self.numeric]
        if self.feature_names is not None:
            return list(map(str, self.feature_names))
        return [f"x{j}" for j in range(self.numbers.shape[1])]


def as_described(tasks, classes=None, labels=False, side_names=None, n_side=None):
    """Tasks in any form that ``meta_fit`` accepts as a DescribedTable.

    Labels that are not numbers are classes; so are all where ``classes`` are given or ``labels``
    is set. The last two arguments are what side information must look like, if it is known.
    """
    if isinstance(tasks, DescribedTable):
        table = tasks
    else:
        given = list(as_tasks(tasks))
        if not given:
            raise ValueError(f"no tasks: got an empty {type(tasks).__name__}.")
        table = _read(given, labels or classes is not None, side_names, n_side)
    if classes is None and (labels or table.y.dtype.kind in "OUSb"):
        classes = np.unique(table.y)
    if table.classes is None and classes is not None:
        table = replace(table, classes=classes)
        check_known(table.y, np.asarray(classes), table.where, "; known classes are")
    return table


def _read(tasks, labels, side_names, n_side):
    blocks, targets, weights = [], [], []
    names = [task_label(task.id, t) for t, task in enumerate(tasks)]
    for task, name in zip(tasks, names, strict=True):
        try:
            X = as_table(task.X)
            text = np.asarray(task.y).dtype.kind in "OUSb"
            y = check_target(task.y, classifier=labels or text, where=lambda i: f"row {i}")
            if len(y) != n_rows_of(X):
                raise ValueError(f"X has {n_rows_of(X)} rows and y {len(y)}.")
            weights.append(as_weight(task.sample_weight, len(y), all_zero=True))
        except (TypeError, ValueError) as error:
            raise with_address(error, name) from error
        blocks.append(X)
        targets.append(y)
    side, side_names = stack_side([task.descriptor for task in tasks], names, side_names, n_side)
    return DescribedTable.from_tasks(
        tasks, blocks, targets, weights, descriptors=side, side_names=side_names
    )


def sums(values, table):
    """Sums of ``values`` (n_rows, ...) over the rows of every task; 0 of a task without rows."""
    out = np.zeros((table.n_tasks, *values.shape[1:]))
    some = np.flatnonzero(table.sizes)
    if len(some):
        out[some] = np.add.reduceat(values, table.offsets[some], axis=0)
    return out


class TaskDescriptor(TransformerMixin, Versioned, BaseEstimator):
    """Base of the descriptors.

    A subclass has ``_fit``, ``_describe`` and ``_names``.
    """

    _labels = False  # whether y holds labels even where they are numbers

    @abstractmethod
    def _fit(self, table):
        """Learn from a DescribedTable; set attributes."""

    @abstractmethod
    def _describe(self, table):
        """Vectors of shape (n_tasks, n_descriptors)."""

    @abstractmethod
    def _names(self):
        """Names of the entries."""

    def fit(self, tasks, y=None) -> Self:
        """Learn what the statistics of few rows are drawn towards.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The meta-train tasks.
        y : None
            Ignored; it is there for Pipeline.

        Returns
        -------
        self : object
            The descriptor.
        """
        self._validate_params()
        table = as_described(tasks, labels=self._labels)
        self.classes_ = table.classes
        self.side_names_ = table.side_names
        self.n_side_ = None if table.descriptors is None else table.descriptors.shape[1]
        self._fit(table)
        return self

    def fit_transform(self, tasks, y=None):
        """Learn from tasks and describe them.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The meta-train tasks.
        y : None
            Ignored; it is there for Pipeline.

        Returns
        -------
        ndarray of shape (n_tasks, n_descriptors)
            Or a dataframe. Entries that need a fitted model (:class:`LandmarkDescriptor`) come
            from models that have not seen the task, as those of a new task do.
        """
        table = as_described(tasks, labels=self._labels)
        if table.origin is None:
            table = replace(table, origin=np.arange(len(table.y)))
        return self.fit(table).transform(table)

    def transform(self, tasks) -> Any:
        """Describe tasks.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The tasks; their rows are all that is known of them.

        Returns
        -------
        ndarray of shape (n_tasks, n_descriptors)
            Or a dataframe, see :meth:`set_output`.
        """
        check_is_fitted(self)
        return self._describe(
            as_described(tasks, self.classes_, False, self.side_names_, self.n_side_)
        )

    def get_feature_names_out(self, input_features=None) -> NDArray[Any]:
        """Names of the entries.

        Parameters
        ----------
        input_features : None
            Ignored; it is there for Pipeline.

        Returns
        -------
        ndarray of str
            In the order of the entries.
        """
        check_is_fitted(self)
        return np.array(self._names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags

    def _filled(self, table):
        """Numeric columns, with the means over meta-train rows where they are missing."""
        if len(table.y) == 0:
            return np.zeros((0, len(self.fill_)))
        x = table.numbers
        if x.shape[1] != len(self.fill_):
            raise ValueError(
                f"the tasks have {x.shape[1]} numeric columns, expected {len(self.fill_)}: "
                f"{', '.join(self.number_names_)}."
            )
        return np.where(np.isnan(x), self.fill_, x)

    def _rows(self, table):
        """Numeric columns and targets."""
        return np.concatenate([self._filled(table), table.targets], axis=1)

    def _set_fill(self, table):
        x, w = table.numbers, table.weights[:, None]
        known = ~np.isnan(x)
        mass = np.maximum((w * known).sum(axis=0), np.finfo(float).tiny)
        self.fill_ = np.where(known, w * x, 0.0).sum(axis=0) / mass
        self.number_names_ = table.number_names
        self.target_names_ = table.target_names


def looks_at(descriptor):
    """What a descriptor looks at: the "rows" of a task, their "inputs", or "side" information."""
    if isinstance(descriptor, Pipeline):
        return looks_at(descriptor.steps[0][1])
    if isinstance(descriptor, FeatureUnion):
        parts = {looks_at(part) for _, part in descriptor.transformer_list}
        return next(what for what in ("rows", "inputs", "side") if what in parts)
    return getattr(descriptor, "uses", "rows")
