r"""Ridge coefficients of the rows of a task, drawn towards those of all rows.

On features and targets standardised over all rows, with the pooled solution ``w0``,

    w_t = argmin |y - [1, X] w|² + alpha |w - w0|² = w0 + (G_t + alpha I)^{-1} (g_t - G_t w0),

``G_t = [1, X]'[1, X]`` and ``g_t = [1, X]'y`` of the task: all that is needed of its rows.
"""

from numbers import Real

import numpy as np

from ..kernels.scaling import Scaling
from ..learners.privates import Interval
from ..tasks.table import TaskTable, padded_batches
from ._base import TaskDescriptor

__all__ = ["RidgeDescriptor"]


class RidgeDescriptor(TaskDescriptor):
    """Intercept and coefficients of a ridge regression on the rows of a task.

    The target of a classification task counts as one 0/1 column for each class. For the principal
    components of per-task coefficients: ``make_pipeline(RidgeDescriptor(), PCA(2))``.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty on the distance to the pooled coefficients, in rows: features and
        targets are standardised.

    Attributes
    ----------
    coef_ : ndarray of shape (1 + n_features, n_targets)
        The pooled coefficients, intercept first, in standardised units; so are the descriptors.
    classes_ : ndarray or None
        The classes, where y holds labels.

    See Also
    --------
    MomentsDescriptor : Marginal statistics.

    Examples
    --------
    >>> from sklearn_meta.descriptors import RidgeDescriptor
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> descriptor = RidgeDescriptor().set_output(transform="default").fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['intercept_y', 'coef_x0_y', 'coef_x1_y'], dtype=object)
    >>> descriptor.transform(tasks[:4]).shape
    (4, 3)
    """

    _parameter_constraints: dict = {"alpha": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, alpha=1.0) -> None:
        self.alpha = alpha

    def _fit(self, table):
        self._set_fill(table)
        self.scaling_ = Scaling.of(self._rows(table), weight=table.weights)
        M = self._moments(table).sum(axis=0)
        p = 1 + len(self.fill_)
        self.coef_ = np.linalg.solve(M[:p, :p] + self.alpha * np.eye(p), M[:p, p:])

    def _moments(self, table):
        """``sum_i z_i z_i'`` of ``z = [1, x, y]`` of every task."""
        z = self.scaling_.features(self._rows(table))
        Z = np.concatenate([np.ones((len(z), 1)), z], axis=1)
        rows = TaskTable(Z, np.zeros(len(Z)), table.offsets, sample_weight=table.sample_weight)
        M = np.zeros((table.n_tasks, Z.shape[1], Z.shape[1]))
        for batch in padded_batches(rows):
            own = batch.X * np.sqrt(batch.weight)[..., None]
            M[batch.tasks] = np.swapaxes(own, 1, 2) @ own
        return M

    def _describe(self, table):
        M, p = self._moments(table), 1 + len(self.fill_)
        G = M[:, :p, :p]
        error = M[:, :p, p:] - G @ self.coef_
        coef = self.coef_ + np.linalg.solve(G + self.alpha * np.eye(p), error)
        return coef.reshape(table.n_tasks, -1)

    def _names(self):
        return [
            f"{'intercept' if x is None else f'coef_{x}'}_{y}"
            for x in [None, *self.number_names_]
            for y in self.target_names_
        ]
