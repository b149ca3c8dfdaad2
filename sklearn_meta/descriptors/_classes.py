r"""Shares of the classes in a task, and the means of its features in each class.

    share_c   (n_c + k pi_c) / (n + k)
    mean_c    (sum_{i: y_i = c} x_i + k m_c) / (n_c + k)

with the pooled shares ``pi_c`` and class means ``m_c`` and ``k`` prior rows.
"""

from numbers import Real

import numpy as np

from ..learners.privates import Interval
from ._base import TaskDescriptor, sums

__all__ = ["ClassDescriptor"]


class ClassDescriptor(TaskDescriptor):
    """Number of rows, class shares, and class means of the numeric features.

    Parameters
    ----------
    prior_rows : float, default=1.0
        Shares and means are drawn towards the pooled ones as if the task had so many more rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes; all labels of ``fit``, numbers included.
    share_ : ndarray of shape (n_classes,)
        Pooled shares.
    mean_ : ndarray of shape (n_classes, n_features)
        Pooled class means.

    See Also
    --------
    MomentsDescriptor : For numeric targets.

    Examples
    --------
    >>> from sklearn_meta.descriptors import ClassDescriptor
    >>> tasks = [([[0.0], [2.0]], ["a", "b"]), ([[1.0], [1.0]], ["a", "a"])]
    >>> descriptor = ClassDescriptor().fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['log_n_rows', 'share_a', 'share_b', 'mean_x0_a', 'mean_x0_b'],
          dtype=object)
    >>> descriptor.transform([([[0.0]], ["b"])]).round(3)
    array([[0.693, 0.375, 0.625, 0.667, 1.   ]])
    """

    _labels = True

    _parameter_constraints: dict = {"prior_rows": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, prior_rows=1.0) -> None:
        self.prior_rows = prior_rows

    def _fit(self, table):
        self._set_fill(table)
        weighted = table.targets * table.weights[:, None]
        count = weighted.sum(axis=0)
        x = self._filled(table)
        everywhere = (table.weights @ x) / table.weights.sum()
        self.share_ = count / count.sum()
        mass = np.maximum(count, np.finfo(float).tiny)[:, None]
        self.mean_ = np.where(count[:, None] > 0, weighted.T @ x / mass, everywhere)

    def _describe(self, table):
        k, x = self.prior_rows, self._filled(table)
        count = sums(table.targets * table.weights[:, None], table)
        n = count.sum(axis=1, keepdims=True)
        means = []
        for c in range(len(self.classes_)):
            total = sums(x * (table.targets[:, c] * table.weights)[:, None], table)
            means.append((total + k * self.mean_[c]) / (count[:, [c]] + k))
        share = (count + k * self.share_) / (n + k)
        means = np.stack(means, axis=2).reshape(table.n_tasks, -1)
        return np.concatenate([np.log1p(n), share, means], axis=1)

    def _names(self):
        labels = [str(label) for label in self.classes_]
        return (
            ["log_n_rows"]
            + [f"share_{label}" for label in labels]
            + [f"mean_{name}_{label}" for name in self.number_names_ for label in labels]
        )
