"""The private helpers of scikit-learn for parameters of estimators, in one place.

Those for rows and columns are in ``tasks/rows.py``.
"""

from numbers import Integral

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import _BaseComposition as Composition

__all__ = ["N_JOBS", "Composition", "HasMethods", "Interval", "StrOptions", "set_random_states"]

# what n_jobs may be: more workers than this no machine has, and joblib cannot count them
N_JOBS = [
    Interval(Integral, None, -1, closed="right"),
    Interval(Integral, 1, 2**16, closed="both"),
    None,
]


def set_random_states(estimator, random_state):
    """Seed an estimator and all that it holds; what they are imported from is large."""
    from sklearn.ensemble._base import _set_random_states

    _set_random_states(estimator, random_state)
