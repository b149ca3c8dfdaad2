"""Weighted blends of fitted estimators of any kind as one fitted estimator.

A blend is ``sum_m v_m f_m(x) + b`` of raw predictions: targets of a regressor and, of a classifier,
logarithms of probabilities, or decision values where it has no probabilities. A linear pool of
classifiers is ``sum_m v_m p_m(x)``.
"""

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin

from .blackbox import ask, classes_of, label_shares, numbers, placed
from .frozen import Frozen

__all__ = [
    "MIN_PROBABILITY",
    "BlendClassifier",
    "BlendRegressor",
    "PoolClassifier",
    "blend",
    "raw_scores",
]

MIN_PROBABILITY = 1e-4


def raw_scores(model, X, classes):
    """Raw predictions of a fitted estimator, shape (n_rows, 1) or (n_rows, n_classes).

    Those of classes that it has not seen are least; ``classes`` are sorted, and None for a
    regressor.
    """
    if classes is None:
        return numbers(model, X)
    absent = np.log(MIN_PROBABILITY)
    if hasattr(model, "predict_proba") and not isinstance(model, BlendClassifier):
        own = np.log(np.clip(model.predict_proba(X), MIN_PROBABILITY, None))
    elif not hasattr(model, "decision_function"):
        own = np.log(label_shares(model, X, classes))
    else:
        own = np.asarray(model.decision_function(X), dtype=np.float64)
        if own.ndim == 1:
            own = np.stack([np.zeros(len(own)), own], axis=1)
        absent += own.min(axis=1, keepdims=True)
    return placed(own.astype(np.float64), classes_of(model, classes), classes, absent)


def blend(models, weights, classes, offset=0.0, pooled=False):
    """The blend of fitted estimators as one fitted estimator; ``pooled``: of their probabilities.

    Weights have the shape (n_models,), the offset (n_outputs,); ``classes`` are None for
    regressors.
    """
    used = np.flatnonzero(weights)
    if len(used) == 1 and not np.any(offset):
        return models[used[0]]
    kind = PoolClassifier if pooled else BlendClassifier
    kind = BlendRegressor if classes is None else kind
    estimator = kind([models[m] for m in used], weights[used] / np.sum(weights))
    estimator.offset_ = np.atleast_1d(offset).astype(np.float64)
    if classes is not None:
        estimator.classes_ = classes
    return estimator


class _Blend(Frozen):
    """A blend of fitted models.

    Parameters
    ----------
    models : list of estimator
        Fitted.
    weights : ndarray of shape (n_models,)
    """

    def __init__(self, models, weights):
        self.models = models
        self.weights = weights

    @property
    def _inside(self):
        return self.models[0]

    def _raw(self, X):
        raw = [raw_scores(model, X, getattr(self, "classes_", None)) for model in self.models]
        return np.tensordot(self.weights, np.stack(raw), axes=1) + self.offset_


class BlendRegressor(RegressorMixin, _Blend):
    """``predict(x) = sum_m v_m f_m(x) + b``, see :mod:`sklearn_meta.learners.blend`."""

    def predict(self, X):
        """Predict targets."""
        return self._raw(X)[:, 0]


class BlendClassifier(ClassifierMixin, _Blend):
    """Blended log-probabilities or decision values, see :mod:`sklearn_meta.learners.blend`."""

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


class PoolClassifier(ClassifierMixin, _Blend):
    """``p(y | x) = sum_m v_m p_m(y | x)``, see :mod:`sklearn_meta.learners.blend`."""

    def predict_proba(self, X):
        """Predict class probabilities."""
        p = [ask(model, "predict_proba", X, self.classes_) for model in self.models]
        return np.tensordot(self.weights, np.stack(p), axes=1)

    def predict(self, X):
        """Predict labels."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
