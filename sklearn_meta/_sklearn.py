"""The private helpers of scikit-learn that this package relies on, in one place.

They are used by other libraries, too, and have been stable for years; should one move, this is the
only file to change. Private *attributes of estimators* are the business of ``learners/``.
"""

from sklearn.ensemble._base import _set_random_states as set_random_states
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _get_feature_names as get_feature_names
from sklearn.utils.validation import _num_features as num_features
from sklearn.utils.validation import _num_samples as n_rows_of

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "get_feature_names",
    "n_rows_of",
    "num_features",
    "safe_indexing",
    "set_random_states",
]
