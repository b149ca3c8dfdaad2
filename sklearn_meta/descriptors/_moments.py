r"""Means, standard deviations and correlations with the target, of the rows of a task.

With ``n`` rows (or their total weight), ``k`` prior rows, and pooled values ``m`` (mean), ``C``
(covariance within tasks),

    mean   (sum_i z_i + k m) / (n + k)
    cov    (sum_i (z_i - z̄)(z_i - z̄)' + k C) / (n + k)

over ``z = [x, y]``; standard deviations and correlations are those of this covariance, which is
positive definite where C is.
"""

from numbers import Real

import numpy as np

from ..learners.privates import Interval
from ._base import TaskDescriptor, sums

__all__ = ["MomentsDescriptor"]


class MomentsDescriptor(TaskDescriptor):
    """Number of rows, means, standard deviations and correlations of X with y.

    The target of a classification task counts as one 0/1 column for each class.

    Parameters
    ----------
    prior_rows : float, default=1.0
        Moments are drawn towards the pooled ones as if the task had so many more rows.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features + n_targets,)
        Means over all rows of ``fit``.
    covariance_ : ndarray of shape (n_features + n_targets,) and (n_features, n_targets)
        Pooled within-task variances, and covariances of features with targets.
    classes_ : ndarray or None
        The classes, where y holds labels.

    See Also
    --------
    QuantileDescriptor : Quantiles in place of moments.

    Examples
    --------
    >>> from sklearn_meta.descriptors import MomentsDescriptor
    >>> tasks = [([[0.0], [2.0]], [1.0, 3.0]), ([[1.0], [1.0]], [0.0, 0.0])]
    >>> descriptor = MomentsDescriptor().fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['log_n_rows', 'mean_x0', 'mean_y', 'std_x0', 'std_y', 'corr_x0_y'], dtype=object)
    >>> descriptor.transform([([[3.0]], [7.0])]).round(2)
    array([[0.69, 2.  , 4.  , 0.71, 0.71, 1.  ]])
    """

    _parameter_constraints: dict = {"prior_rows": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, prior_rows=1.0) -> None:
        self.prior_rows = prior_rows

    def _fit(self, table):
        self._set_fill(table)
        z, w = self._rows(table), table.weights[:, None]
        self.mean_ = (w * z).sum(axis=0) / w.sum()
        n, _, variance, covariance = self._scatter(table)
        dof = max(n.sum() - (n > 0).sum(), 1.0)
        self.covariance_ = variance.sum(axis=0) / dof, covariance.sum(axis=0) / dof

    def _scatter(self, table):
        """Total weight, mean, and sums of squares and products about the mean, of every task."""
        z, w = self._rows(table) - self.mean_, table.weights[:, None]
        n = sums(w, table)[:, 0]
        mean = sums(w * z, table) / np.where(n > 0, n, 1.0)[:, None]
        z = z - mean[table.codes]
        d = len(self.fill_)
        wx = w * z[:, :d]
        products = [sums(wx * z[:, [d + j]], table) for j in range(table.targets.shape[1])]
        return n, mean, sums(w * z * z, table), np.stack(products, axis=2)

    def _describe(self, table):
        n, mean, variance, covariance = self._scatter(table)
        k, d = self.prior_rows, len(self.fill_)
        share = (n / (n + k))[:, None]
        variance = (variance + k * self.covariance_[0]) / (n + k)[:, None]
        covariance = (covariance + k * self.covariance_[1]) / (n + k)[:, None, None]
        std = np.sqrt(variance)
        scale = std[:, :d, None] * std[:, None, d:]
        correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
        correlation = np.clip(correlation, -1, 1).reshape(len(n), -1)
        return np.concatenate(
            [np.log1p(n)[:, None], self.mean_ + share * mean, std, correlation], axis=1
        )

    def _names(self):
        x, y = self.number_names_, self.target_names_
        return (
            ["log_n_rows"]
            + [f"mean_{name}" for name in [*x, *y]]
            + [f"std_{name}" for name in [*x, *y]]
            + [f"corr_{a}_{b}" for a in x for b in y]
        )
