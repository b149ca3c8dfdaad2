"""A fitted candidate as seen from below the border: tables to parameter rows to predictions."""

from dataclasses import dataclass

import numpy as np

from ..base import BaseMetaEstimator
from ..learners import classes_of
from ..learners.blend import blend
from ..learners.sharing import sharing
from ..tasks.table import TaskTable

__all__ = ["Member", "Stack"]


@dataclass(frozen=True, eq=False)
class Member:
    """A candidate that has learned its meta-model."""

    name: str
    model: BaseMetaEstimator

    @property
    def width(self):
        """Length of its parameter rows."""
        return self.model._zero_shot(None)[0].shape[1]

    def adapt(self, table):
        """Parameter rows of the tasks of a table of shape (n_tasks, n_params)."""
        model = self.model
        return model._adapt_table(model._transformed(model._labels.check(table)), {})

    def predict(self, params, X, index, classes):
        """Predictions of shape (n_rows,), or probabilities with a column for each class."""
        model = self.model
        X = model._transformed(TaskTable.from_rows(X, None)).X
        if classes is None:
            return np.asarray(model._predicts.predict("predict", params, X, index))
        p = np.zeros((len(X), len(classes)))
        known = np.searchsorted(classes, classes_of(model, classes))
        p[:, known] = model._predicts.predict("predict_proba", params, X, index)
        return p


class Stack:
    """The predictor of a stack, behind the transformers of a learner.

    A parameter row holds those of the members side by side, and the number of rows of the task.
    """

    def __init__(self, learner, model) -> None:
        self.learner, self.members, self.model = learner, model.members, model
        self.classes = learner.classes

    def rows(self, table):
        """Parameter rows of the tasks of a table."""
        n_rows = table.sums(table.weights > 0)[:, None]
        return np.concatenate([*(member.adapt(table) for member in self.members), n_rows], axis=1)

    def parts(self, params):
        """The parameter rows of every member, and the weights of shape (n_rows, n_members)."""
        widths = [member.width for member in self.members]
        *parts, n_rows = np.split(params, np.cumsum(widths), axis=1)
        if params.dtype == object:
            parts = [_of_one_type(part) for part in parts]
        return parts, self.model.weights_at(n_rows[:, 0].astype(np.float64))

    def predict(self, method, params, X, index):
        """Predict rows, each with its own parameters."""
        parts, weights = self.parts(params)
        total = 0.0
        with sharing():
            for member, part, own in zip(self.members, parts, weights.T, strict=True):
                if own.any():
                    values = member.predict(part, X, index, self.classes)
                    total = total + (own[index] * values.T).T
        if getattr(X, "dtype", None) == np.float32:
            total = total.astype(np.float32)
        if method == "predict" and self.classes is not None:
            return self.classes[total.argmax(axis=1)]
        return total

    def make_estimator(self, row):
        """The fitted estimator of one parameter row."""
        parts, (weights,) = self.parts(row[None])
        used = np.flatnonzero(weights)
        models = [self.members[c].model._predicts.make_estimator(parts[c][0]) for c in used]
        return self.learner.wrap(blend(models, weights[used], self.classes, pooled=True))


def _of_one_type(part):
    """Numbers again, where they stood beside objects."""
    try:
        return part.astype(np.float64)
    except (TypeError, ValueError):
        return part
