"""Classifiers that want their labels to be 0 to k - 1, as those of XGBoost do."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.utils.metaestimators import available_if

from ..versions import Versioned

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


class EncodedClassifier(ClassifierMixin, Versioned, BaseEstimator):
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

    def fit(self, X, y):
        """Do nothing: the estimator is fitted already, and frozen."""
        return self

    def __sklearn_is_fitted__(self):
        return True

    @property
    def classes_(self):
        """The labels."""
        return self.classes

    @property
    def n_features_in_(self):
        """Number of columns of X."""
        return self.estimator.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns of X, where it was fitted on a dataframe."""
        return self.estimator.feature_names_in_

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
