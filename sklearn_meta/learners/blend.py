"""Weighted blends of fitted estimators of any kind, in the space of raw predictions.

Raw predictions ``f`` are targets of a regressor and, of a classifier, logarithms of probabilities,
or decision values where it has no probabilities. A blend is ``sum_m v_m f_m(x) + b``. Models that
do not know a class do not vote on it.
"""

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from .blackbox import classes_of, label_shares, numbers

__all__ = [
    "MIN_PROBABILITY",
    "BlendClassifier",
    "BlendRegressor",
    "ClasswiseClassifier",
    "blend",
    "raw_scores",
]

MIN_PROBABILITY = 1e-4


def raw_scores(model, X, classes):
    """Raw predictions of a fitted estimator; NaN for classes that it says nothing about.

    Parameters
    ----------
    model : estimator
    X : array or dataframe of shape (n_rows, n_features)
    classes : ndarray of shape (n_classes,) or None
        Sorted; None for a regressor.

    Returns
    -------
    ndarray of shape (n_rows, 1) or (n_rows, n_classes)
    """
    if classes is None:
        return numbers(model, X)
    absent = np.log(MIN_PROBABILITY)
    if isinstance(model, ClasswiseClassifier):
        own, absent = np.log(np.clip(model.posteriors(X), MIN_PROBABILITY, None)), np.nan
    elif hasattr(model, "predict_proba") and not isinstance(model, BlendClassifier):
        own = np.log(np.clip(model.predict_proba(X), MIN_PROBABILITY, None))
    elif not hasattr(model, "decision_function"):
        own = np.log(label_shares(model, X, classes))
    else:
        own = np.asarray(model.decision_function(X), dtype=np.float64)
        if own.ndim == 1:
            own = np.stack([np.zeros(len(own)), own], axis=1)
        absent += own.min(axis=1, keepdims=True)
    raw = np.empty((len(own), len(classes)))
    raw[:] = absent
    raw[:, np.searchsorted(classes, classes_of(model, classes))] = own
    return raw


def blend(models, weights, offset, classes):
    """The blend of fitted estimators as one fitted estimator.

    Parameters
    ----------
    models : list of estimator
    weights : ndarray of shape (n_models,)
    offset : ndarray of shape (n_outputs,)
    classes : ndarray or None
    """
    used = [m for m, w in enumerate(weights) if w > 0]
    if len(used) == 1 and not np.any(offset):
        return models[used[0]]
    kind = BlendRegressor if classes is None else BlendClassifier
    estimator = kind([models[m] for m in used], np.asarray(weights)[used] / np.sum(weights))
    estimator.offset_ = np.array(offset, dtype=np.float64)
    if classes is not None:
        estimator.classes_ = classes
    return estimator


class _Blend(BaseEstimator):
    """A blend of fitted models."""

    def __init__(self, models, weights):
        self.models = models
        self.weights = weights

    def fit(self, X, y):
        """Do nothing: the models are fitted already, and frozen."""
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    @property
    def n_features_in_(self):
        """Number of columns of X."""
        return self.models[0].n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns of X, where the models were fitted on a dataframe."""
        return self.models[0].feature_names_in_

    def _raw(self, X):
        classes = getattr(self, "classes_", None)
        total = mass = 0.0
        for model, weight in zip(self.models, self.weights, strict=True):
            raw = raw_scores(model, X, classes)
            known = ~np.isnan(raw)
            total = total + weight * np.where(known, raw, 0.0)
            mass = mass + weight * known
        unknown = np.log(MIN_PROBABILITY)
        raw = np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), unknown)
        return raw + self.offset_


class BlendRegressor(RegressorMixin, _Blend):
    """``predict(x) = sum_m v_m f_m(x) + b``, see :mod:`sklearn_meta.learners.blend`.

    Parameters
    ----------
    models : list of estimator
        Fitted regressors.
    weights : ndarray of shape (n_models,)
        Their weights.
    """

    def predict(self, X):
        """Predict targets."""
        return self._raw(X)[:, 0]


class BlendClassifier(ClassifierMixin, _Blend):
    """Blended log-probabilities or decision values, see :mod:`sklearn_meta.learners.blend`.

    Parameters
    ----------
    models : list of estimator
        Fitted classifiers.
    weights : ndarray of shape (n_models,)
        Their weights.
    """

    def decision_function(self, X):
        """Log-odds of two classes, logarithms of probabilities up to a constant of more."""
        raw = self._raw(X)
        return raw[:, 1] - raw[:, 0] if raw.shape[1] == 2 else raw

    def predict_proba(self, X):
        """Predict class probabilities."""
        return softmax(self._raw(X), axis=1)

    def predict(self, X):
        """Predict labels."""
        return self.classes_[self._raw(X).argmax(axis=1)]


class ClasswiseClassifier(ClassifierMixin, BaseEstimator):
    """One fitted classifier for each class against the rest.

    Parameters
    ----------
    models : list of estimator
        The one of class c has the classes False and True; a model of a single class is a constant.
    classes : ndarray of shape (n_classes,)
        The classes, in the order of the models.
    """

    def __init__(self, models, classes):
        self.models = models
        self.classes = classes

    def fit(self, X, y):
        """Do nothing: the models are fitted already, and frozen."""
        return self

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        """The classes."""
        return self.classes

    def posteriors(self, X):
        """Probability of each class against the rest; they need not sum to 1."""
        columns = []
        for model in self.models:
            raw = raw_scores(model, X, np.array([False, True]))
            columns.append(softmax(raw, axis=1)[:, 1])
        return np.stack(columns, axis=1)

    def predict_proba(self, X):
        """Predict class probabilities: the posteriors, scaled to sum to 1."""
        p = self.posteriors(X) + MIN_PROBABILITY
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, X):
        """Predict labels: the class of the greatest posterior."""
        return self.classes[self.posteriors(X).argmax(axis=1)]
