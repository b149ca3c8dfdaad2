"""Estimators whose tasks may have labels of their own (N-way tasks): ``classes="per_task"``.

Learners and algorithms below see places 0 to N-1 of labels instead of labels. This is where one
becomes the other: labels of the meta-train tasks are forgotten, those of the current task are
``classes_``, those of remembered tasks are kept by their side. What learners make of places is in
``learners/narrow.py``.
"""

from dataclasses import replace

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ..learners import has_class_outputs, last_step
from ..learners.narrow import make_narrow, predict_narrow, predict_places
from ..learners.privates import StrOptions
from ..tasks.classes import TaskClasses, of_one_type, task_classes
from ..tasks.ids import missing_ids
from ..tasks.rows import n_rows_of
from ..tasks.task import as_tasks, is_task_collection
from ..tasks.validation import plain
from .meta_estimator import BaseMetaEstimator

__all__ = ["OwnClassesMixin"]

UNKNOWN = "labels of a task are known only from its rows"


class OwnClassesMixin(BaseMetaEstimator):
    """A meta-estimator with a parameter ``classes``."""

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "classes": [StrOptions({"shared", "per_task"})],
    }

    # -- learning --

    def _start(self):
        if self._continued() is None:
            self._own_classes = self.classes == "per_task"
        return super()._start()

    def _check_wrapped(self, estimator):
        super()._check_wrapped(estimator)
        if self._own_classes and not has_class_outputs(estimator):
            raise ValueError(
                "classes='per_task' works with LogisticRegression, SGDClassifier(loss='log_loss') "
                "and MLPClassifier, alone or at the end of a Pipeline; got "
                f"{type(last_step(estimator)).__name__}. With other estimators all tasks have the "
                "same classes: classes='shared'."
            )

    def _set_classes(self, table):
        if not self._own_classes:
            return super()._set_classes(table)
        vars(self).pop("classes_", None)
        classes, places = task_classes(table)
        if classes.counts.max() < 2:
            raise ValueError(
                f"{table.label(0)} has one class only, {plain(classes.of(0)[0])!r}, and no "
                "meta-train task has more; a classifier needs tasks of at least two classes."
            )
        return replace(table, y=places, own_classes=classes)

    def _outputs(self, table):
        if table.own_classes is None:
            return super()._outputs(table)
        return np.arange(table.own_classes.counts.max())

    def _set_meta_model(self, meta_model, n_tasks):
        super()._set_meta_model(meta_model, n_tasks)
        if self._own_classes:  # there is no model of no task
            del self.estimator_
            vars(self).pop("classes_", None)

    def _zero_shot_state(self, meta_model):
        state = super()._zero_shot_state(meta_model)
        return state | {"_remembered_classes": None} if self._own_classes else state

    # -- adapting --

    def _check_labels(self, table):
        if not self._own_classes:
            return super()._check_labels(table)
        classes, places = task_classes(table)
        n_way = len(self.learner_.classes)
        if classes.counts.max(initial=0) > n_way:
            t = int(np.argmax(classes.counts))
            name = "the task" if table.n_tasks == 1 and table.ids is None else table.label(t)
            raise ValueError(
                f"{name} has {classes.counts[t]} classes, {classes.of(t).tolist()}, and no task of "
                f"the first meta-training had more than {n_way}. Meta-train on tasks of as many "
                "classes."
            )
        return replace(table, y=places, own_classes=classes)

    def _make_estimators(self, table, params):
        if table.own_classes is None:
            return super()._make_estimators(table, params)
        return [
            make_narrow(self.learner_, row, table.own_classes.of(t)) for t, row in enumerate(params)
        ]

    def _set_current(self, table, params):
        super()._set_current(table, params)
        if table.own_classes is not None:
            self.classes_ = table.own_classes.of(0)

    def _remember(self, table, params):
        super()._remember(table, params)
        if table.own_classes is not None:
            before = self._remembered_classes
            if before is None:
                before = TaskClasses(table.own_classes.labels[:0], table.own_classes.counts[:0])
            at = self._remembered_ids.positions(table.ids)
            n_tasks = len(self._remembered_ids)
            self._remembered_classes = before.put(at, n_tasks, table.own_classes)

    # -- predicting --

    def _predict(self, method, X, groups):
        check_is_fitted(self)
        if not self._own_classes:
            return super()._predict(method, X, groups)
        X, ids, _, where = self._read_query(X, groups)
        if ids is None:
            if self._current is None:
                hint = ", or pass the ids of remembered tasks" if len(self._remembered_ids) else ""
                raise NotFittedError(f"adapt first{hint}: {UNKNOWN} (classes='per_task').")
            index = np.zeros(len(X), dtype=np.intp)
            return predict_narrow(self.learner_, method, self._current, X, index, self.classes_)
        task = self._remembered_ids.positions(ids)
        if (task < 0).any():
            i = int(np.argmax(task < 0))
            name = f"the task id {plain(ids[i])!r} is unknown"
            if missing_ids(ids[i : i + 1])[0]:
                name = "the task id is missing"
            raise ValueError(f"row {i}: {name}: adapt to rows of this task first, since {UNKNOWN}.")
        classes = self._remembered_classes
        out = predict_places(self.learner_, method, self._remembered, X, task, classes.counts)
        return of_one_type(classes.labels[task, out]) if method == "predict" else out

    def score(self, X, y=None, *, groups=None, sample_weight=None):
        if not self._own_classes:
            return super().score(X, y, groups=groups, sample_weight=sample_weight)
        if not is_task_collection(X):
            right = np.asarray(self.predict(X, groups=groups), dtype=object) == _objects(y)
            return float(np.average(right, weights=sample_weight))
        right, weights = [], []
        for task in as_tasks(X):
            n_rows = n_rows_of(task.X)
            ids = None if task.id is None else [task.id] * n_rows
            right.append(self.predict(task.X, groups=ids).astype(object) == _objects(task.y))
            weights.append(np.ones(n_rows) if task.sample_weight is None else task.sample_weight)
        return float(np.average(np.concatenate(right), weights=np.concatenate(weights)))

    score.__doc__ = BaseMetaEstimator.score.__doc__


def _objects(y):
    """Labels as Python objects, which compare whatever they are."""
    return np.asarray(y, dtype=object)
