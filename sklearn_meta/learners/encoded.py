"""Classifiers that want their labels to be 0 to k - 1, as those of XGBoost do."""

import numpy as np
from sklearn.base import ClassifierMixin, clone, is_classifier
from sklearn.utils.metaestimators import available_if

from .frozen import Frozen

__all__ = ["EncodedClassifier", "fitted"]


def fitted(estimator, X, y, fit_params):
    """Fit a clone of an estimator; on the places of the labels, if it refuses the labels."""
    try:
        return clone(estimator).fit(X, y, **fit_params)
    except ValueError:
        if not is_classifier(estimator):
            raise
        classes, codes = np.unique(y, return_inverse=True)
        if np.array_equal(classes, np.arange(len(classes))):
            raise
        try:
            return EncodedClassifier(clone(estimator).fit(X, codes, **fit_params), classes)
        except Exception:  # it was not the labels
            pass
        raise


def _has(method):
    return available_if(lambda self: hasattr(self.estimator, method))


class EncodedClassifier(ClassifierMixin, Frozen):
    """A classifier that was fitted on the places of labels, and predicts the labels.

    Parameters
    ----------
    estimator : estimator
        Fitted on labels 0 to k - 1.
    classes : ndarray of shape (k,)
        What they stand for, in this order.
    """

    def __init__(self, estimator, classes):
        self.estimator = estimator
        self.classes = classes

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        """The labels."""
        return self.classes

    @property
    def _inside(self):
        return self.estimator

    def predict(self, X):
        """Predict labels."""
        return self.classes[np.asarray(self.estimator.predict(X)).ravel().astype(np.intp)]

    @_has("predict_proba")
    def predict_proba(self, X):
        """Predict class probabilities."""
        return self.estimator.predict_proba(X)

    @_has("decision_function")
    def decision_function(self, X):
        """Predict decision values."""
        return self.estimator.decision_function(X)
