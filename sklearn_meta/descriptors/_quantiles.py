r"""Quantiles of the rows of a task.

The p-quantile of ``n`` rows interpolates linearly between order statistics at ``p (n - 1)``. It is
drawn towards the quantile of all rows, ``(n q_t + k q) / (n + k)``. Row weights say only which rows
are there.
"""

from numbers import Real

import numpy as np

from ..learners.privates import Interval
from ._base import TaskDescriptor

__all__ = ["QuantileDescriptor"]


class QuantileDescriptor(TaskDescriptor):
    """Number of rows, and quantiles of every numeric feature and of the target.

    Parameters
    ----------
    quantiles : array-like of float, default=(0.1, 0.5, 0.9)
        Between 0 and 1.
    prior_rows : float, default=1.0
        Quantiles are drawn towards the pooled ones as if the task had so many more rows.

    Attributes
    ----------
    quantiles_ : ndarray of shape (n_quantiles, n_features + n_targets)
        Quantiles of all rows of ``fit``.
    classes_ : ndarray or None
        The classes, where y holds labels; the target then has no quantiles.

    See Also
    --------
    MomentsDescriptor : Means, deviations and correlations.

    Examples
    --------
    >>> from sklearn_meta.descriptors import QuantileDescriptor
    >>> tasks = [([[0.0], [2.0]], [1.0, 3.0]), ([[1.0], [1.0]], [0.0, 0.0])]
    >>> descriptor = QuantileDescriptor(quantiles=[0.5]).fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['log_n_rows', 'q0.5_x0', 'q0.5_y'], dtype=object)
    >>> descriptor.transform([([[3.0]], [7.5])])
    array([[0.69, 2.  , 4.  ]])
    """

    _parameter_constraints: dict = {
        "quantiles": ["array-like"],
        "prior_rows": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, quantiles=(0.1, 0.5, 0.9), prior_rows=1.0) -> None:
        self.quantiles = quantiles
        self.prior_rows = prior_rows

    def _rows(self, table):
        return super()._rows(table) if table.classes is None else self._filled(table)

    def _fit(self, table):
        p = np.asarray(self.quantiles, dtype=np.float64)
        if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"quantiles={self.quantiles!r} must be numbers between 0 and 1.")
        self._set_fill(table)
        seen = table.weights > 0
        self.quantiles_ = np.quantile(self._rows(table)[seen], p, axis=0)

    def _describe(self, table):
        p = np.asarray(self.quantiles, dtype=np.float64)
        seen = table.weights > 0
        z, codes = self._rows(table)[seen], table.codes[seen]
        n = np.bincount(codes, minlength=table.n_tasks)
        start = np.concatenate([[0], np.cumsum(n)[:-1]])
        at = p * np.maximum(n - 1, 0)[:, None]  # (n_tasks, n_quantiles)
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, np.maximum(n - 1, 0)[:, None])
        out = np.repeat(self.quantiles_[None], table.n_tasks, axis=0)
        some = n > 0
        share = (n / (n + self.prior_rows))[some, None]
        first = start[some, None]
        for j in range(z.shape[1]):
            ordered = z[np.lexsort((z[:, j], codes)), j]
            a, b = ordered[first + low[some]], ordered[first + high[some]]
            own = a + (at - low)[some] * (b - a)
            out[some, :, j] += share * (own - out[some, :, j])
        return np.concatenate([np.log1p(n)[:, None], out.reshape(len(n), -1)], axis=1)

    def _names(self):
        names = [*self.number_names_, *(self.target_names_ if self.classes_ is None else [])]
        return ["log_n_rows"] + [f"q{p:g}_{name}" for p in self.quantiles for name in names]
