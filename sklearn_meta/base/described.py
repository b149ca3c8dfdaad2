"""Descriptors inside an estimator: side information as it comes, and the vectors made of it.

With a ``descriptor`` the side information of tasks is a table of objects, one row per task, None
where it is missing (``TaskTable.descriptors``); without, it is a table of numbers, as the base
class reads it.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline, make_union

from ..descriptors import DescribedTable, FunctionDescriptor, TaskDescriptor, looks_at
from ..learners.privates import HasMethods
from ..tasks.supports import draw_episodes, take_rows
from ..tasks.validation import have_squares, with_hint

__all__ = [
    "DescriptorMixin",
    "check_descriptor",
    "describe",
    "descriptor_names",
    "fit_descriptor",
]


def check_descriptor(descriptor):
    """A transformer over tasks out of what users may pass as ``descriptor``."""
    if isinstance(descriptor, (list, tuple)):
        if not descriptor:
            raise ValueError("descriptor is an empty list; None means the default.")
        return make_union(*(check_descriptor(part) for part in descriptor))
    if hasattr(descriptor, "fit") and hasattr(descriptor, "transform"):
        if isinstance(descriptor, type):
            raise TypeError(
                f"descriptor={descriptor.__name__} is a class; pass an instance, "
                f"{descriptor.__name__}()."
            )
        return clone(descriptor)
    if isinstance(descriptor, Callable):
        return FunctionDescriptor(descriptor)
    raise TypeError(
        f"descriptor={descriptor!r} is neither a transformer over tasks (see "
        "sklearn_meta.descriptors), nor a function of a task, nor a list of these."
    )


def fit_descriptor(descriptor, table):
    """Fit a descriptor on a DescribedTable."""
    try:
        return descriptor.fit(table)
    except (TypeError, ValueError) as error:
        first = descriptor.steps[0][1] if isinstance(descriptor, Pipeline) else descriptor
        hint = (
            f" Is {first!r} a transformer over tasks? If it is over rows of numbers, put it behind "
            f"one: make_pipeline(SideInformation(), {first!r})."
        )
        ours = isinstance(first, (TaskDescriptor, FeatureUnion))
        raise with_hint(error, "" if ours else hint) from error


def describe(descriptor, table):
    """The vectors (n_tasks, n_descriptors) of a DescribedTable by a fitted descriptor, checked."""
    S = descriptor.transform(table)
    S = S.toarray() if hasattr(S, "toarray") else np.asarray(S)
    name = type(descriptor).__name__
    if S.ndim != 2 or len(S) != table.n_tasks:
        raise ValueError(
            f"descriptor {name} gave an array of shape {S.shape} for {table.n_tasks} tasks; "
            "expected one row for each."
        )
    S = S.astype(np.float64, copy=False)
    if not have_squares(S).all():
        t, j = np.argwhere(~have_squares(S))[0]
        raise ValueError(
            f"{table.label(t)}: entry {descriptor_names(descriptor, S.shape[1])[j]!r} of its "
            f"descriptor by {name} is {S[t, j]} for {table.sizes[t]} rows; entries must be "
            "finite, as must their squares: impute, or use other units."
        )
    return S


def descriptor_names(descriptor, n_descriptors):
    """Names of the entries of a fitted descriptor."""
    try:
        names = [str(name) for name in descriptor.get_feature_names_out()]
    except (AttributeError, ValueError):  # a step that gives no names
        names = []
    return names if len(names) == n_descriptors else [f"s{j}" for j in range(n_descriptors)]


class DescriptorMixin:
    """For estimators with the parameters ``descriptor`` and ``descriptor_columns``."""

    _parameter_constraints = {
        "descriptor": [HasMethods(["fit", "transform"]), callable, list, tuple, None],
        "descriptor_columns": ["array-like", None],
    }

    def _vectors(self, learner, tables, descriptor, n_shots):
        """The descriptor, fitted on the first table, and tables with numbers for side information.

        A descriptor that is not None is fitted already. Where it looks at targets, the tables hold
        the rows that it has not seen.
        """
        tables = iter(tables)
        first = next(tables)
        rng = np.random.default_rng(self._seed())
        if descriptor is None:
            descriptor = self._make_descriptor(learner)
            fit_descriptor(descriptor, self._described(learner, first))

        def described():
            for table in chain([first], tables):
                yield self._with_vectors(learner, table, descriptor, n_shots, rng)

        return descriptor, described()

    def _make_descriptor(self, learner):
        """The descriptor, not fitted."""
        return check_descriptor(self.descriptor)

    def _with_vectors(self, learner, table, descriptor, n_shots, rng):
        seen = looks_at(descriptor)
        if seen == "side":
            S = describe(descriptor, self._described(learner, table))
            return replace(table, descriptors=S)
        episodes = draw_episodes(table, n_shots, 1, rng)
        support = take_rows(table, episodes.support, episodes.support_offsets, episodes.tasks)
        S = describe(descriptor, self._described(learner, support))
        if seen == "inputs" and len(episodes.tasks) == table.n_tasks:
            return replace(table, descriptors=S)  # nothing has been said of the targets
        query = take_rows(table, episodes.query, episodes.query_offsets, episodes.tasks)
        return replace(query, descriptors=S)

    def _described(self, learner, table):
        """A TaskTable with what descriptors need to know."""
        names = self._descriptor_names
        if names is None and self.descriptor_columns is not None:
            names = list(self.descriptor_columns)
        seen = {"classes": learner.classes, "feature_names": learner.feature_names}
        return DescribedTable.of(table, side_names=names, **seen)
