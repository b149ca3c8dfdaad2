"""Targets as learners and algorithms take them: numbers, shared classes, or classes of each task.

Where every task has labels of its own (N-way tasks, ``classes="per_task"``), all below sees the
places 0 to N-1 of labels instead of labels. Here one becomes the other: labels of the meta-train
tasks are forgotten, those of the current task are ``classes_``, those of remembered tasks are kept
by their side. What learners make of places is in ``learners/narrow.py``.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from ..learners import has_class_outputs, last_step, make_narrow, predict_narrow, predict_places
from ..tasks.classes import of_one_type, task_classes
from ..tasks.validation import check_known, plain

__all__ = ["Numbers", "OwnClasses", "SharedClasses", "check_own_classes"]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Targets of a regressor."""

    outputs: np.ndarray = None  # the classes that the learner tells apart, if it does

    @classmethod
    def of(cls, table):
        """What the targets of the meta-train tasks are, and the table as learners take it."""
        return cls(), table

    def check(self, table):
        """Refuse labels that are not known; the table as learners take it."""
        return table

    def restored(self, table):
        """The table with targets as they came."""
        return table

    def make_estimators(self, learner, table, params):
        """The adapted models of the tasks of a table."""
        return [learner.make_estimator(row) for row in params]

    @property
    def classes(self):
        """The classes of a task that nothing is known of; None where it has none."""
        return self.outputs


class SharedClasses(Numbers):
    """The same classes in every task, of which a task may miss some."""

    @classmethod
    def of(cls, table):
        try:
            _check_one_type(table)
            check_classification_targets(table.y)
        except ValueError as error:
            bad = np.flatnonzero(table.y != np.round(table.y)) if table.y.dtype.kind == "f" else []
            where = f"{table.where(bad[0])}: y is {plain(table.y[bad[0]])!r}. " if len(bad) else ""
            way = "For numbers, take MetaRegressor or wrap a regressor."
            raise ValueError(f"{where}{error} {way}") from error
        return cls(np.unique(table.y)), table

    def check(self, table):
        saying = ", a class that no meta-train task has; known are"
        check_known(table.y, self.outputs, table.where, saying)
        return table


class OwnClasses(Numbers):
    """Classes of its own for every task."""

    classes = None

    @classmethod
    def of(cls, table):
        classes, places = task_classes(table)
        most = classes.counts.max()
        if most < 2:
            raise ValueError(
                f"{table.label(0)} has one class only, {plain(classes.of(0)[0])!r}, and no "
                "meta-train task has more; a classifier needs tasks of at least two classes."
            )
        return cls(np.arange(most)), replace(table, y=places, own_classes=classes)

    def check(self, table):
        classes, places = task_classes(table)
        n_way = len(self.outputs)
        if classes.counts.max(initial=0) > n_way:
            t = int(np.argmax(classes.counts))
            name = "the task" if table.n_tasks == 1 and table.ids is None else table.label(t)
            raise ValueError(
                f"{name} has {classes.counts[t]} classes, {classes.of(t).tolist()}, and no task of "
                f"the first meta-training had more than {n_way}. Meta-train on tasks of as many "
                "classes."
            )
        return replace(table, y=places, own_classes=classes)

    def restored(self, table):
        return replace(table, y=table.own_classes.labels[table.codes, table.y], own_classes=None)

    def make_estimators(self, learner, table, params):
        return [make_narrow(learner, row, table.own_classes.of(t)) for t, row in enumerate(params)]

    def predict_one(self, learner, method, params, X, classes):
        """Predict rows of the task with these classes."""
        index = np.zeros(len(X), dtype=np.intp)
        return predict_narrow(learner, method, params, X, index, classes)

    def predict(self, learner, method, memory, X, task):
        """Predict rows, each of a remembered task, by its position."""
        classes = memory.classes
        out = predict_places(learner, method, memory.params, X, task, classes.counts)
        return of_one_type(classes.labels[task, out]) if method == "predict" else out


def check_own_classes(estimator):
    """Whether tasks can have classes of their own around an estimator; an error if not."""
    if not has_class_outputs(estimator):
        raise ValueError(
            "classes='per_task' works with LogisticRegression, SGDClassifier(loss='log_loss') and "
            f"MLPClassifier, alone or at the end of a Pipeline; got "
            f"{type(last_step(estimator)).__name__}. With other estimators all tasks have the same "
            "classes: classes='shared'."
        )


def _check_one_type(table):
    """Labels must be all text or all numbers, to be put in order."""
    if table.y.dtype.kind != "O":
        return
    text = np.array([isinstance(label, str) for label in table.y])
    if text.any() and not text.all():
        i = int(np.argmax(text != text[0]))
        raise ValueError(
            f"{table.where(i)}: y is {plain(table.y[i])!r}, and {plain(table.y[0])!r} in row 0: "
            "labels must be all strings or all numbers."
        )
