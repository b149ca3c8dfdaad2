"""Estimators of any other kind: the parameters of a task are the fitted estimator itself."""

import copy
from dataclasses import dataclass

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from ..tasks.rows import n_rows_of, safe_indexing
from .base import TaskwiseLearner
from .sharing import once

__all__ = ["BlackBoxLearner", "Fitted", "ask", "classes_of", "label_shares", "numbers", "placed"]

LIKELY = 0.9  # a label says that its class is likely, not that it is certain


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted estimator as a parameter: no sequence, as an ensemble is, that arrays take apart."""

    estimator: object


class BlackBoxLearner(TaskwiseLearner):
    """An estimator without parameters that this package knows.

    Its parameter rows are arrays of dtype object with one :class:`Fitted` each, so algorithms
    that only fit and predict work with it, and those that compute with parameters do not.
    """

    checks_rows = False

    def fit_one(self, X, y, sample_weight=None, fit_params=None):
        if fit_params:
            return super().fit_one(X, y, sample_weight, fit_params)
        fit = super().fit_one
        return once(lambda: fit(X, y, sample_weight), self.estimator, X, y, sample_weight)

    def read(self, fitted, class_prior=None, n_rows=1):
        row = np.empty(1, dtype=object)
        row[0] = Fitted(fitted)
        return row

    def constant(self, value):
        if self.classes is None:
            dummy = DummyRegressor(strategy="constant", constant=np.array([value]))
            return self.read(dummy.fit(np.zeros((1, 1)), np.zeros(1)))
        dummy = DummyClassifier(strategy="prior")
        X = np.zeros((len(self.classes), 1))
        return self.read(dummy.fit(X, self.classes, sample_weight=np.maximum(value, 1e-12)))

    def make_estimator(self, row):
        return self.wrap(copy.copy(row[0].estimator))

    def predict(self, method, params, X, index):
        if len(params) == 1:
            return self._one(method, params[0, 0], X)
        out = None
        order = np.argsort(index, kind="stable")
        models, first = np.unique(index[order], return_index=True)
        for model, rows in zip(models, np.split(order, first[1:]), strict=True):
            try:
                part = self._one(method, params[model, 0], safe_indexing(X, rows))
            except Exception as error:
                error.rows = rows  # whose they are, the caller knows
                raise
            if out is None:
                out = np.empty((len(X), *part.shape[1:]), dtype=part.dtype)
            out[rows] = part
        return out

    def _one(self, method, model, X):
        return ask(model.estimator, method, X, self.classes)


def ask(model, method, X, classes):
    """What a fitted estimator says, with a column for each of ``classes``.

    It may have seen some of the classes only; ``classes`` is None for a regressor.
    """
    if isinstance(model, DummyClassifier) and method == "decision_function":
        scores = np.log(model.predict_proba(X))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
    values = np.asarray(getattr(model, method)(X))
    if classes is None:
        return values
    if method == "predict":  # labels of some classes may be shorter strings, or a column
        return values.ravel().astype(classes.dtype, copy=False)
    seen = classes_of(model, classes)
    if len(seen) == 1 and (method == "predict_proba" or len(classes) > 1):
        values = np.ones((len(values), 1), dtype=values.dtype)  # some have a column for no class
    if len(seen) == len(classes):
        return values
    if values.ndim == 1:  # two classes of more: one score
        values = np.stack([-values, values], axis=1)
    absent = 0.0 if method == "predict_proba" else values.min(axis=1, keepdims=True) - 1.0
    return placed(values, seen, classes, absent)


def placed(values, seen, classes, absent):
    """Columns of the classes that were seen among those of all; ``absent`` in the others."""
    out = np.empty((len(values), len(classes)), dtype=values.dtype)
    out[:] = absent
    out[:, np.searchsorted(classes, seen)] = values
    return out


def numbers(model, X):
    """Predictions of a fitted regressor as a column; an error if they are not finite numbers."""
    values = np.asarray(model.predict(X), dtype=np.float64).reshape(n_rows_of(X), 1)
    bad = ~np.isfinite(values[:, 0])
    if bad.any():
        error = ValueError(
            f"{type(model).__name__} predicts {values[bad.argmax(), 0]} for {bad.sum()} of "
            f"{len(bad)} rows. Wrap an estimator that predicts a number for every row."
        )
        error.rows = np.flatnonzero(bad)
        raise error
    return values


def classes_of(model, classes):
    """The classes of a fitted classifier; ``classes`` if it does not say which it has seen."""
    return getattr(model, "classes_", classes)


def label_shares(model, X, classes):
    """Class shares, up to a factor, of a classifier that has labels to give and nothing else."""
    labels = np.asarray(model.predict(X)).reshape(-1, 1)
    return np.where(labels == classes_of(model, classes), LIKELY, 1 - LIKELY)
