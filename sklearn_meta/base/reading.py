"""From what users hand over to tables of tasks: the border, where everything is checked once."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data

from ..learners import has_network, takes_numbers_only
from ..tasks.ids import as_ids, factorize_ids, missing_ids
from ..tasks.rows import n_rows_of
from ..tasks.side import stack_descriptors, stack_side, without_missing
from ..tasks.table import TaskTable, check_ids, constant_within_tasks
from ..tasks.task import as_tasks, chunks, fixed_support
from ..tasks.validation import (
    addressed,
    as_counts,
    as_table,
    as_weight,
    check_columns,
    check_features,
    check_finite,
    check_no_text,
    check_target,
    check_times,
    column_names,
    concat_rows,
    split_columns,
    taken_columns,
    task_label,
    with_address,
    with_hint,
)

__all__ = ["ReadingMixin", "row_label", "targets_of"]


class ReadingMixin:
    """How an algorithm reads rows, ids, targets, weights and descriptors."""

    def _wrapped(self):
        return self._default_estimator() if self.estimator is None else self.estimator

    def _takes_raw_rows(self, X):
        """Whether rows go to the wrapped estimator as they come: it does its own checks."""
        estimator, needs = self._wrapped(), self._needs()
        own = has_network(estimator, needs.gradients) and not needs.body
        return isinstance(estimator, Pipeline) or (column_names(X) is not None and not own)

    def _columns(self):
        columns = {"task_column": self.task_column}
        if self._needs().side:
            columns["descriptor_columns"] = self.descriptor_columns
        return columns

    def _feature_names(self):
        """Names of the columns that the learner sees, where the user gave a dataframe."""
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return None
        columns = [self.task_column, *(getattr(self, "descriptor_columns", None) or ())]
        taken = {names[c] if isinstance(c, Integral) else c for c in columns if c is not None}
        return np.array([n for n in names if n not in taken], dtype=object)

    def _taken_columns(self, error):
        """A hint where an error is about a column that transformers inside cannot see."""
        if "not columns" not in str(error) and "not a column" not in str(error):
            return ""
        for role in ("task_column", "descriptor_columns"):
            value = getattr(self, role, None)
            names = [value] if isinstance(value, (str, Integral)) else value or []
            named = [name for name in names if isinstance(name, str) and repr(name) in str(error)]
            if named:
                return (
                    f" Column {named[0]!r} is taken out before the estimator sees X, since it is "
                    f"named in {role}. Leave it out of the transformers inside, or give X a copy "
                    f"of it under another name, as in X.assign(copy=X[{named[0]!r}])."
                )
        return ""

    def _warn_of_features_as_ids(self, ids):
        """Numbers with fractions that hardly repeat are a feature, which another wrapper chose."""
        if self.task_column is None or ids.dtype.kind != "f":
            return
        bad = np.flatnonzero((ids != np.floor(ids)) & np.isfinite(ids))
        if len(bad) and 2 * len(np.unique(ids)) > len(ids) > 2:
            warnings.warn(
                f"task_column={self.task_column!r} holds numbers with fractions, such as "
                f"{ids[bad[0]]:g}, that hardly repeat: it looks like a feature. A BaggingRegressor "
                "with max_features below 1 chooses columns, so that the index of the id moves: "
                "keep max_features=1.0.",
                UserWarning,
                stacklevel=6,
            )

    def _warn_of_two_ids(self, ids, groups):
        """Groups of tasks may be what a splitter keeps together; groups that cut tasks are not."""
        codes, parts = factorize_ids(ids)[1], factorize_ids(_ids_of(groups, len(ids)))[1]
        apart = parts != parts[np.unique(codes, return_index=True)[1]][codes]
        if apart.any():
            i = int(np.argmax(apart))
            warnings.warn(
                f"task_column={self.task_column!r} holds the task ids, and groups, which is not "
                f"used, cuts {task_label(ids[i], 0)} at row {i}. Leave groups out, or set "
                "task_column=None.",
                UserWarning,
                stacklevel=6,
            )

    def _check_as_fitted(self, taken, reset, learns=True):
        """Refuse parameters that make rows mean something else than they did in meta-training.

        What ``predict`` does is up to what was learned, whatever estimator is set now.
        """
        kind, needs = "classifier" if is_classifier(self) else "regressor", self._needs()
        how = needs.gradients, needs.body, needs.side
        if reset:
            self._read_as = taken, kind, how
            return
        if self._read_as == (taken, kind, how) or not learns and self._read_as[0] == taken:
            return
        before, was, _ = self._read_as
        if learns and kind != was:
            what = f"the estimator is a {kind} now, and was a {was}"
        elif taken[0] != before[0]:
            what = f"task_column={self.task_column!r} is not what it was"
        elif taken[1] != before[1]:
            what = f"descriptor_columns={self.descriptor_columns!r} is not what it was"
        else:
            what = "parameters were changed"
        raise ValueError(
            f"{what} when this {type(self).__name__} was fitted. Fit it again, or set the "
            "parameter back."
        )

    def _read_rows(self, X, y, groups, fit_params, *, reset, min_rows=1, labelled=True):
        """Read a long table, the rows of one task, or rows to predict.

        Returns X without the id and descriptor columns, y, ids, side information and weights of
        rows; all but X may be None.
        """
        if labelled and y is None:
            if isinstance(X, (list, tuple)) and len(X) == 0:
                raise ValueError(f"no tasks: got an empty {type(X).__name__}.")
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pairs "
                "(X, y) go to meta_fit."
            )
        X = as_table(X)
        try:
            validate_data(self, X, reset=reset, skip_check_array=True)
        except ValueError as error:
            known = reset or self.task_column is None
            hint = f" One of the columns is the task id (task_column={self.task_column!r})."
            raise with_hint(error, "" if known else hint) from error
        if self.task_column is None and column_names(X) is not None:
            name = getattr(groups, "name", None)
            if name is not None and name in column_names(X):
                raise ValueError(
                    f"groups is named {name!r}, and X has a column of this name: the task id would "
                    f"be used as a feature. Drop the column from X, or pass task_column={name!r}."
                )
        self._check_as_fitted(taken_columns(X, **self._columns()), reset, learns=labelled)
        X, ids, side = split_columns(X, **self._columns())
        n_rows = n_rows_of(X)
        if ids is None and groups is not None:
            ids = _ids_of(groups, n_rows)
        if ids is not None and labelled:
            check_ids(ids, n_rows)
            if groups is not None and self.task_column is not None:
                self._warn_of_two_ids(ids, groups)
            if reset:
                self._warn_of_features_as_ids(ids)

        where = partial(row_label, ids)
        X = self._check_X(X, where, min_rows)
        if side is not None:
            side = self._check_side(side, where)
        weight = None
        if labelled:
            y = targets_of(n_rows, y, is_classifier(self), where)
            weight = fit_params.pop("sample_weight", None)
            weight = as_counts(as_weight(weight, n_rows, where=where, all_zero=min_rows == 0))
        return X, y, ids, side, weight

    def _check_X(self, X, where, min_rows):
        allow_nan = get_tags(self._wrapped()).input_tags.allow_nan
        if self._takes_raw_rows(X):
            if min_rows and 0 in X.shape:
                check_features(X, where=where, min_rows=min_rows)  # raises
            if takes_numbers_only(self._wrapped()):
                check_features(X, where=where, allow_nan=allow_nan, min_rows=0)
                check_no_text(X, where)
            elif not isinstance(self._wrapped(), Pipeline):
                check_times(X)
                if not allow_nan:
                    check_finite(X, where)
            return X
        return check_features(X, where=where, allow_nan=allow_nan, min_rows=min_rows)

    def _check_side(self, side, where):
        """The descriptor columns of rows as an array."""
        if self._needs().side == "objects":
            return without_missing(np.asarray(side, dtype=object))
        try:
            return check_features(side, where=where, dtype=(np.float64,), min_rows=0)
        except (TypeError, ValueError) as error:
            hint = " Descriptors of text need a feature map: descriptor=SideInformation()."
            raise with_hint(error, hint if "float" in str(error) else "") from error

    def _as_task_table(self, X, y, ids, weight, side, reset=False):
        if not self._needs().side:
            return TaskTable.from_rows(X, y, ids, weight)
        if reset:
            self._descriptor_names = None
            self.n_descriptors_in_ = 0 if side is None else side.shape[1]
        names = None if side is None else list(self.descriptor_columns)
        return TaskTable.from_rows(X, y, ids, weight, side, names)

    def _seen_rows(self, table, keeps_tasks):
        """The table without rows of weight 0, see :meth:`TaskTable.without_weightless`."""
        seen = table.without_weightless(keeps_tasks)
        if len(seen.y) < len(table.y) and not keeps_tasks and is_classifier(self):
            if len(set(seen.y.tolist())) < 2 <= len(set(table.y.tolist())):
                raise ValueError(
                    "only one class is left after rows with a sample_weight of zero are dropped; a "
                    "classifier needs at least two."
                )
        return seen

    def _take_table(self, table):
        """A table that another object has read, of which this one is a part."""
        validate_data(self, table.X, reset=True, skip_check_array=True)
        self._check_as_fitted(taken_columns(table.X, **self._columns()), reset=True)
        if self._needs().side:
            self._descriptor_names, self.n_descriptors_in_ = None, 0
        return replace(table, descriptors=None)

    def _read_tasks(self, tasks, size, *, reset, min_rows=1):
        """Read tasks as tables of a ``size``, see :func:`chunks` (one table if None)."""
        iterator, position = as_tasks(tasks), 0
        for chunk in [list(iterator)] if size is None else chunks(iterator, *size):
            if chunk:
                yield self._read_chunk(chunk, position, reset and position == 0, min_rows)
                position += len(chunk)
        if position == 0:
            once = " An iterator can be read only once; pass a list to use the tasks again."
            hint = once if isinstance(tasks, Iterator) else ""
            raise ValueError(f"no tasks: got an empty {type(tasks).__name__}.{hint}")

    def _read_chunk(self, tasks, position, reset, min_rows):
        labels = [task_label(task.id, position + i) for i, task in enumerate(tasks)]
        blocks, targets, weights, sides, supports = [], [], [], [], []
        columns, classifier = self._columns(), is_classifier(self)
        for i, (task, label) in enumerate(zip(tasks, labels, strict=True)):
            try:
                X = as_table(task.X)
                if reset and i == 0:
                    validate_data(self, X, reset=True, skip_check_array=True)
                names = getattr(self, "feature_names_in_", None)
                check_columns(X, (names, self.n_features_in_), label)
                if i == 0:
                    self._check_as_fitted(taken_columns(X, **columns), reset)
                X, _, side = split_columns(X, **columns)
                n_rows = n_rows_of(X)
                if task.y is None:
                    raise ValueError("y is None; every task needs its targets.")
                y = targets_of(n_rows, task.y, classifier)
                if n_rows < min_rows:
                    raise ValueError("it has no rows. Leave it out of the tasks.")
                supports.append(fixed_support(task))
                weights.append(as_weight(task.sample_weight, n_rows, all_zero=min_rows == 0))
            except (TypeError, ValueError) as error:
                raise with_address(error, label) from error
            blocks.append(X)
            targets.append(y)
            sides.append(side)
        kinds = {y.dtype.kind for y in targets}
        own_classes = self._needs().own_classes if reset else self._own_classes
        mixed = len(kinds) > 1 if own_classes else len({kind in "US" for kind in kinds}) == 2
        if mixed:  # NumPy would make all of them text, or all numbers of one type
            targets = [y.astype(object) for y in targets]
        table = TaskTable.from_tasks(tasks, blocks, targets, weights)
        table = replace(
            table,
            X=self._check_X(table.X, table.where, min_rows),
            sample_weight=as_counts(table.sample_weight),
            role=_roles(supports, table.sizes),
        )
        if self._needs().side:
            descriptors = self._chunk_descriptors(tasks, labels, sides, table, reset)
            table = replace(table, descriptors=descriptors)
        return self._seen_rows(table, keeps_tasks=min_rows == 0)

    def _chunk_descriptors(self, tasks, labels, sides, table, reset):
        if sides[0] is None:
            descriptors = [task.descriptor for task in tasks]
            return self._stacked_descriptors(descriptors, labels, reset)
        side = self._check_side(concat_rows(sides), table.where)
        self.n_descriptors_in_ = side.shape[1]
        ids = np.arange(table.n_tasks) if table.ids is None else table.ids
        return constant_within_tasks(side, table.codes, ids, list(self.descriptor_columns))

    def _given_descriptor(self, descriptor, table):
        """The argument of ``adapt`` as a table of descriptors."""
        if descriptor is None and self._needs().side == "objects":  # missing, in every task
            return self._stacked_descriptors([None] * table.n_tasks, [None] * table.n_tasks)
        if descriptor is None and self.n_descriptors_in_ == 0:
            return None
        if table.n_tasks != 1:
            raise ValueError(
                f"descriptor= describes one task, and X holds {table.n_tasks}. Use "
                "descriptor_columns, or adapt to one task at a time."
            )
        label = "this task" if table.ids is None else table.label(0)
        return self._stacked_descriptors([descriptor], [label])

    def _stacked_descriptors(self, descriptors, labels, reset=False):
        """Descriptors as a table; checked against those of meta-training unless ``reset``."""
        objects = self._needs().side == "objects"
        if reset:
            stacked, names = (stack_side if objects else stack_descriptors)(descriptors, labels)
            self._descriptor_names = names
            self.n_descriptors_in_ = 0 if stacked is None else stacked.shape[1]
            return stacked
        if objects:
            return self._stacked_objects(descriptors, labels)
        stacked, names = stack_descriptors(descriptors, labels, self._descriptor_names)
        n_found = 0 if stacked is None else stacked.shape[1]
        if n_found != self.n_descriptors_in_ or (n_found and names != self._descriptor_names):
            now, then = (
                f" ({n})" if n is not None else "" for n in (names, self._descriptor_names)
            )
            raise ValueError(
                f"{labels[0]}: its descriptor has {n_found} entries{now}, and those of the "
                f"meta-train tasks had {self.n_descriptors_in_}{then}. Pass descriptor= as in "
                "meta-training."
            )
        return stacked

    def _stacked_objects(self, descriptors, labels):
        if self.n_descriptors_in_ == 0:
            for s, label in zip(descriptors, labels, strict=True):
                if s is not None:
                    raise ValueError(
                        f"{label}: it has a descriptor, and the meta-train tasks had none. Leave "
                        "it out, or meta-train on tasks that have one."
                    )
            return None
        names = self._descriptor_names
        return stack_side(descriptors, labels, names, self.n_descriptors_in_)[0]

    def _transformed(self, table, where=None):
        """The table with its rows taken through the frozen transformers."""
        if n_rows_of(table.X) == 0:
            return replace(table, X=np.empty((0, self.learner_.n_features)))
        where = where or table.where
        try:
            X = self.learner_.transform(table.X, table.origin)
        except Exception as error:
            if hasattr(error, "rows"):
                raise with_address(error, where(error.rows[0])) from error
            raise addressed(error, table.X, where) from error
        return self._checked(table, X, where)

    def _checked(self, table, X, where):
        if getattr(getattr(X, "dtype", None), "kind", "") == "c":
            raise addressed(ValueError("Complex data not supported"), table.X, where)
        if self.learner_.checks_rows:
            try:
                X = check_features(X, where=where)
            except ValueError as error:  # in the columns before the transformers, if it is there
                raise addressed(error, table.X, where, transformed=True) from error
        return replace(table, X=X)


def row_label(ids, i):
    """How messages call row ``i``: by the id of its task, too, where it has one."""
    named = ids is not None and not missing_ids(ids[i : i + 1])[0]
    return f"{task_label(ids[i], 0)}, row {i}" if named else f"row {i}"


def targets_of(n_rows, y, classifier, where=lambda i: f"row {i}"):
    """The targets of so many rows, checked."""
    y = check_target(y, classifier=classifier, where=where)
    if len(y) != n_rows:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {n_rows} rows and "
            f"y {len(y)}."
        )
    return y


def _ids_of(groups, n_rows):
    ids = as_ids(groups)
    if len(ids) != n_rows:
        raise ValueError(f"groups has {len(ids)} entries for {n_rows} rows of X.")
    return ids


def _roles(supports, sizes):
    """What episodes may use each row for (``TaskTable.role``); None if every row for anything."""
    if all(mask is None for mask in supports):
        return None
    roles = [
        np.zeros(n, dtype=np.int8) if mask is None else np.where(mask, 1, 2)
        for mask, n in zip(supports, sizes, strict=True)
    ]
    return np.concatenate(roles).astype(np.int8)
