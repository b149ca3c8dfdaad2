"""Rows and columns of arrays and dataframes of any library, as scikit-learn reads them.

Its helpers for containers are private but documented, stable for years, and used by other
libraries; should one move, this file and ``learners/privates.py`` are the only ones to change.
"""

from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils.validation import _get_feature_names as get_feature_names
from sklearn.utils.validation import _num_features as num_features
from sklearn.utils.validation import _num_samples as n_rows_of

__all__ = ["get_feature_names", "n_rows_of", "num_features", "safe_indexing"]
