"""Rows and columns of arrays and dataframes of any library, as scikit-learn reads them.

Its helpers for containers are private but documented, stable for years, and used by other
libraries; should one move, this file and ``learners/privates.py`` are the only ones to change.
"""

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _get_feature_names as get_feature_names
from sklearn.utils.validation import _num_features as num_features
from sklearn.utils.validation import _num_samples as n_rows_of

__all__ = ["get_feature_names", "n_rows_of", "num_features", "ranges", "safe_indexing", "unmasked"]


def safe_indexing(X, index, axis=0):
    """Some rows, or columns; of arrays without looking for dataframes, which takes longer."""
    if isinstance(X, np.ndarray) and axis == 0:
        return X[index]
    return _safe_indexing(X, index, axis=axis)


def unmasked(values):
    """A masked array as a plain one, NaN (None if not numbers) where it is masked; others as is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not np.ma.is_masked(values):
        return np.asarray(values.data)
    if values.dtype.kind == "f":
        return values.filled(np.nan)
    out = np.array(values.data, dtype=object)
    out[np.ma.getmaskarray(values)] = None
    return out


def ranges(lengths):
    """0, 1, ..., n - 1 for every length n, one after the other; and which length it was."""
    of = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths), of
