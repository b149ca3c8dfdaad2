"""A linear pool of fitted estimators as one fitted estimator: what ``estimator_`` of a stack is."""

import numpy as np
from sklearn.base import ClassifierMixin

from .blackbox import ask
from .blend import BlendRegressor, _Blend

__all__ = ["PoolClassifier", "pool"]


def pool(models, weights, classes):
    """The weighted mean of the predictions of fitted estimators, as an estimator.

    Parameters
    ----------
    models : list of estimator
    weights : ndarray of shape (n_models,)
        Of sum 1.
    classes : ndarray or None
        Of classifiers, whose probabilities are averaged.
    """
    used = np.flatnonzero(weights)
    if len(used) == 1:
        return models[used[0]]
    kind = BlendRegressor if classes is None else PoolClassifier
    estimator = kind([models[m] for m in used], weights[used])
    estimator.offset_ = np.zeros(1)
    if classes is not None:
        estimator.classes_ = classes
    return estimator


class PoolClassifier(ClassifierMixin, _Blend):
    """``p(y | x) = sum_m v_m p_m(y | x)``.

    Parameters
    ----------
    models : list of estimator
        Fitted classifiers.
    weights : ndarray of shape (n_models,)
        Their weights.
    """

    def predict_proba(self, X):
        """Predict class probabilities."""
        p = [ask(model, "predict_proba", X, self.classes_) for model in self.models]
        return np.tensordot(self.weights, np.stack(p), axes=1)

    def predict(self, X):
        """Predict labels."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
