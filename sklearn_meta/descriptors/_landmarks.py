r"""Landmarks: how well models of all tasks do on the rows of one task, and where they are wrong.

With the residuals ``r_i = y_i - f(x_i)`` of a model f that was fitted on the rows of all tasks (of
a classifier: class indicator minus probability), ``n`` rows of task t, and the variances of the
residuals within tasks, ``s²``, and of their means between tasks, ``tau²``,

    offset  sum_i r_i / (n + s²/tau²)          the posterior mean of the task's own offset
    error   sqrt((sum_i r_i² + k v) / (n + k)) v: mean squared residual of all rows, k = s²/tau²

``s²`` and ``tau²`` come from an analysis of variance of out-of-fold residuals, folds by task:
rows of meta-train tasks are always described by models that have not seen their task, so that
their offsets look like those of a new task.

References
----------
Pfahringer, Bensusan, Giraud-Carrier (2000), Meta-learning by landmarking various learning
algorithms, ICML. Henderson (1953), Estimation of variance and covariance components, Biometrics 9.
"""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..learners import body_raw, fit_out_of_fold
from ..learners.privates import HasMethods, Interval, StrOptions, set_random_states
from ..tasks.rows import safe_indexing
from ._base import TaskDescriptor, sums

__all__ = ["LandmarkDescriptor"]


class LandmarkDescriptor(TaskDescriptor):
    """Number of rows, shrunken mean residual, and error on them, of a model of all tasks.

    Of a binary classifier there is one residual, that of the second class; of several classes one
    for each.

    Parameters
    ----------
    estimator : estimator, default=None
        The model, a regressor or a classifier. None: ``Ridge()`` or ``LogisticRegression()`` on
        standardised features.
    prior_rows : float or "auto", default="auto"
        Rows that a task must have for its own residuals to weigh as much as those of all tasks;
        ``"auto"`` finds the number for every residual by an analysis of variance.
    cv : int, default=5
        Number of folds of tasks for the residuals of the tasks of ``fit``.
    random_state : int, RandomState instance or None, default=None
        Seeds the estimator.

    Attributes
    ----------
    estimator_ : estimator
        The model, fitted on the rows of all tasks.
    prior_rows_ : ndarray of shape (n_residuals,)
        The number of prior rows of every residual; infinite where tasks do not differ.
    error_ : ndarray of shape (n_residuals,)
        Root mean squared residual of all rows, out of fold.
    classes_ : ndarray or None
        The classes, of a classifier.

    See Also
    --------
    RidgeDescriptor : Coefficients of the rows of a task.

    Examples
    --------
    >>> from sklearn_meta.descriptors import LandmarkDescriptor
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> descriptor = LandmarkDescriptor().fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['log_n_rows', 'offset_y', 'error_y'], dtype=object)
    >>> descriptor.transform(tasks[:4]).shape
    (4, 3)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "prior_rows": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator=None, *, prior_rows="auto", cv=5, random_state=None) -> None:
        self.estimator = estimator
        self.prior_rows = prior_rows
        self.cv = cv
        self.random_state = random_state

    @property
    def _labels(self):
        return self.estimator is not None and is_classifier(self.estimator)

    def _fit(self, table):
        estimator = self.estimator
        if estimator is None:
            last = Ridge() if table.classes is None else LogisticRegression(max_iter=1000)
            estimator = make_pipeline(StandardScaler(), last)
        elif table.classes is not None and not is_classifier(estimator):
            raise ValueError(
                f"y holds labels ({table.classes[:3].tolist()}, ...), and {estimator} is not a "
                "classifier."
            )
        estimator = clone(estimator)
        if self.random_state is not None:
            set_random_states(estimator, self.random_state)
        self.estimator_, raw = fit_out_of_fold(
            estimator,
            table.X,
            table.y,
            table.codes,
            sample_weight=table.sample_weight,
            classes=table.classes,
            n_folds=self.cv,
        )
        self._out_of_fold = self._residuals(raw, table.targets)
        self._shrink(self._out_of_fold, table)
        names = table.target_names
        self.names_ = names[1:] if len(names) == 2 else names

    def _residuals(self, raw, targets):
        if self.classes_ is None:
            return targets - raw
        if raw.shape[1] == 1:
            return targets[:, 1:] - expit(raw)
        return targets - softmax(raw, axis=1)

    def _shrink(self, r, table):
        """Variances of residuals within and between tasks, by Henderson's first method."""
        w = table.weights[:, None]
        n = sums(w, table)
        total, n_tasks = n.sum(), int((n > 0).sum())
        mean = sums(w * r, table) / np.where(n > 0, n, 1.0)
        grand = (w * r).sum(axis=0) / total
        within = (w * (r - mean[table.codes]) ** 2).sum(axis=0) / max(total - n_tasks, 1.0)
        between = (n * (mean - grand) ** 2).sum(axis=0) / max(n_tasks - 1, 1)
        size = (total - (n**2).sum() / total) / max(n_tasks - 1, 1)  # of a typical task
        tau2 = np.maximum(between - within, 0.0) / max(size, 1.0)
        self.error_ = np.sqrt((w * r**2).sum(axis=0) / total)
        if self.prior_rows == "auto":
            with np.errstate(divide="ignore", over="ignore"):
                self.prior_rows_ = np.where(tau2 > 0, within / np.where(tau2 > 0, tau2, 1), np.inf)
        else:
            self.prior_rows_ = np.full(r.shape[1], float(self.prior_rows))

    def _describe(self, table):
        r = np.zeros((len(table.y), len(self.error_)))
        new = np.ones(len(table.y), dtype=bool) if table.origin is None else table.origin < 0
        if not new.all():
            r[~new] = self._out_of_fold[table.origin[~new]]
        if new.any():
            X = table.X if new.all() else safe_indexing(table.X, np.flatnonzero(new))
            raw = body_raw(self.estimator_, X, table.classes)
            r[new] = self._residuals(raw, table.targets[new])
        w, k = table.weights[:, None], self.prior_rows_
        n = sums(w, table)
        offset = sums(w * r, table) / np.maximum(n + k, np.finfo(float).tiny)
        share = np.divide(1.0, n + k, out=np.zeros(offset.shape), where=n + k > 0)
        k = np.where(np.isinf(k), 0.0, k)
        with np.errstate(invalid="ignore"):
            error = (sums(w * r**2, table) + k * self.error_**2) * share
        error = np.sqrt(np.where(share > 0, error, self.error_**2))
        return np.concatenate([np.log1p(n), offset, error], axis=1)

    def _names(self):
        return (
            ["log_n_rows"]
            + [f"offset_{name}" for name in self.names_]
            + [f"error_{name}" for name in self.names_]
        )
