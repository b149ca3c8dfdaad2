"""Models that are made of fitted ones, and have nothing left to fit."""

from sklearn.base import BaseEstimator

from ..versions import Versioned

__all__ = ["Frozen"]


class Frozen(Versioned, BaseEstimator):
    """A model around others; its columns are those of the first, ``_inside``."""

    def fit(self, X, y):
        """Do nothing: what is inside is fitted already, and frozen."""
        return self

    @property
    def n_features_in_(self):
        """Number of columns of X."""
        return self._inside.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns of X, where what is inside was fitted on a dataframe."""
        return self._inside.feature_names_in_
