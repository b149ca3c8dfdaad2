r"""Learners that see what kind of task a row belongs to: rows ``[x, s]``, s the task descriptor.

The parameter row of a task is its vector s, in standardised units; the fitted estimators are the
same for all tasks. Several of them are averaged: their predictions or class probabilities, whose
log-odds then are the decision values; else their decision values. Labels are those of the largest
of these, or by vote where there are none.
"""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..tasks.validation import column_names
from ..versions import Versioned
from .base import Learner
from .blackbox import ask

__all__ = ["ConditionedClassifier", "ConditionedLearner", "ConditionedRegressor", "with_columns"]


MIN_PROBABILITY = 1e-15  # probabilities whose logarithm is taken


def with_columns(X, S, names):
    """Rows X with the columns of S behind their own.

    A dataframe stays one where its columns have names; ``names`` are those of the columns of S.
    """
    own = column_names(X)
    if own is not None and all(isinstance(name, str) for name in own):
        taken, columns = set(own), {name: X[name] for name in own}
        for j, name in enumerate(names):
            while name in taken:
                name = f"task_{name}"
            taken.add(name)
            columns[name] = S[:, j]
        return type(X)(columns)
    X = np.asarray(X)
    dtype = X.dtype if X.dtype.kind in "fO" else np.float64
    return np.concatenate([X.astype(dtype, copy=False), S.astype(dtype)], axis=1)


def _averaged(models, method, Z, classes):
    """The mean of what several models say of the same rows."""
    if len(models) == 1:
        return ask(models[0], method, Z, classes)
    if method == "decision_function" and hasattr(models[0], "predict_proba"):
        p = np.maximum(_averaged(models, "predict_proba", Z, classes), MIN_PROBABILITY)
        return np.log(p[:, 1]) - np.log(p[:, 0]) if p.shape[1] == 2 else np.log(p)
    if method != "predict" or classes is None:
        said = [ask(model, method, Z, classes) for model in models]
        return np.mean(said, axis=0, dtype=said[0].dtype)
    for scores in ("predict_proba", "decision_function"):
        if hasattr(models[0], scores):
            mean = _averaged(models, scores, Z, classes)
            best = mean.argmax(axis=1) if mean.ndim == 2 else (mean > 0).astype(np.intp)
            return classes[best]
    labels = np.stack([ask(model, method, Z, classes) for model in models], axis=1)
    return classes[(labels[:, :, None] == classes).sum(axis=1).argmax(axis=1)]


class _Conditioned(Versioned, BaseEstimator):
    """Fitted estimators and the vector s of one task.

    Parameters
    ----------
    estimators : tuple of estimators
        Fitted on rows ``[x, s]``; what they say is averaged.
    descriptor : ndarray of shape (n_descriptors,)
        The vector s of the task, in the units that the estimators were trained on.
    """

    def __init__(self, estimators, descriptor):
        self.estimators = estimators
        self.descriptor = descriptor

    def fit(self, X, y):
        """Do nothing: the estimators are fitted already, on the rows of all tasks."""
        return self

    def _say(self, method, X):
        check_is_fitted(self)
        n_rows = len(X)
        if n_rows and not self.raw_:
            X = np.asarray(X)
        S = np.repeat(self.descriptor[None], n_rows, axis=0)
        Z = with_columns(X, S, self.descriptor_names_)
        return _averaged(self.estimators, method, Z, getattr(self, "classes_", None))


def _has(method):
    return available_if(lambda self: hasattr(self.estimators[0], method))


class ConditionedRegressor(RegressorMixin, _Conditioned):
    """A regressor of rows ``[x, s]`` with s fixed, see :mod:`sklearn_meta.learners.conditioned`."""

    def predict(self, X):
        """Predict targets."""
        return self._say("predict", X)


class ConditionedClassifier(ClassifierMixin, _Conditioned):
    """A classifier of rows ``[x, s]`` with s fixed, see the module."""

    def predict(self, X):
        """Predict labels."""
        return self._say("predict", X)

    @_has("predict_proba")
    def predict_proba(self, X):
        """Predict class probabilities."""
        return self._say("predict_proba", X)

    @_has("decision_function")
    def decision_function(self, X):
        """Predict decision values."""
        return self._say("decision_function", X)


class ConditionedLearner(Learner):
    """Any estimator on rows ``[x, s]``; the parameter row of a task is s.

    ``models`` are the wrapped estimator, fitted on such rows; ``raw`` tells whether these are
    dataframes as the user gave them. Further parameters as of :class:`Learner`.
    """

    def __init__(self, estimator, *, models, descriptor_names, raw, checks_rows, **learner_params):
        super().__init__(estimator, **learner_params)
        self.checks_rows = checks_rows
        self.models = models
        self.descriptor_names = descriptor_names
        self.raw = raw

    def make_estimator(self, row):
        kind = ConditionedRegressor if self.classes is None else ConditionedClassifier
        estimator = kind(self.models, np.array(row))
        estimator.n_features_in_ = self.n_features
        estimator.descriptor_names_ = self.descriptor_names
        estimator.raw_ = self.raw
        if self.feature_names is not None:
            estimator.feature_names_in_ = self.feature_names
        if self.classes is not None:
            estimator.classes_ = self.classes
        return self.wrap(estimator)

    def predict(self, method, params, X, index):
        S = params[index] if len(params) > 1 else np.repeat(params, len(X), axis=0)
        return _averaged(
            self.models, method, with_columns(X, S, self.descriptor_names), self.classes
        )
