"""A Gaussian process over tasks, around the mean function of any regressor.

    y = f(x) + beta'(x - m_t) + g_t(x) + e,   g_t ~ GP(0, k),   e ~ N(0, sigma² / w)

Tasks share f, the wrapped estimator, fitted once on the pooled rows, and the slopes beta, by which
rows of one task differ more or less than f says from all rows together; m_t is the mean of the rows
of a task. What each has of its own is g_t; how large, how linear and how smooth that is, the
parameters of k, is learned over tasks from the residuals of mean functions that have not seen them
(``priors/process.py``). Adaptation is the posterior of g_t given the support rows, in closed form.
"""

from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.gaussian_process.kernels import Kernel

from ..base import BaseMetaEstimator, Needs, learned, with_parameters
from ..base.docstrings import documented
from ..base.intervals import DeviationMixin, warn_of_few_tasks
from ..base.weights import WeightedFitMixin
from ..kernels.covariance import TaskKernel
from ..kernels.gaussian_process import posteriors
from ..kernels.scaling import Scaling, nonzero_scale
from ..learners import BlackBoxLearner, last_step
from ..learners.head import BodyAndHeadRegressor
from ..learners.privates import Interval
from ..priors.process import ProcessPrior, half_widths, learn_process
from ..tasks.supports import take_rows
from ..tasks.table import TaskTable, padded_batches

__all__ = ["GaussianProcessMeta"]

MAX_ROWS = 40  # of a task that the kernel is learned from,
MAX_CELLS = 2**20  # and entries of all covariance matrices
DIGITS = 10  # of standardised rows
MAX_KNOWN = 2000  # rows of a task that it is adapted to
BATCH_CELLS = 2**22  # entries of covariance matrices that are there at a time
PRIOR_SD = 2.0  # of the logarithms of parameters of scikit-learn's kernels


@dataclass(frozen=True, eq=False)
class ScikitLearnKernel:
    """A kernel of scikit-learn, for many tasks."""

    kernel: Kernel

    def prior(self):
        """Mean of theta, what the kernel was given with, and the product with a weak precision."""
        return self.kernel.theta, lambda u: u / PRIOR_SD**2

    def bounds(self):
        """Bounds of theta."""
        return self.kernel.bounds

    def at(self, theta):
        """The kernel with these parameters."""
        return self.kernel.clone_with_theta(theta)

    def __call__(self, theta, X, Z):
        """Covariances of rows X and Z, shape (..., n, m), of rows of shape (..., n, d)."""
        return _of_each(self.at(theta), X, Z)

    def within(self, theta, X):
        """Covariances of rows of each task among themselves."""
        return _of_each(self.at(theta), X)

    def diag(self, theta, X):
        """Variances of rows."""
        return _of_each(self.at(theta).diag, X)

    def with_pullback(self, theta, X):
        """Covariances K, and the function from G to ``sum(G * dK / d theta)``."""
        kernel = self.at(theta)
        K, slopes = zip(*(kernel(own, eval_gradient=True) for own in X), strict=True)

        def pullback(G):
            return np.einsum("tnm,tnmp->p", G, np.array(slopes))

        return np.array(K), pullback


def _of_each(function, *rows):
    """A function of rows, or of the rows of each task."""
    if rows[0].ndim == 2:
        return function(*rows)
    return np.array([function(*own) for own in zip(*rows, strict=True)])


@dataclass(frozen=True, eq=False)
class MetaModel:
    """What was learned."""

    prior: ProcessPrior  # of functions of standardised features, in units of ``scale``
    scaling: Scaling  # of ``[f(x), x]``, to what the kernel sees
    scale: float  # root mean square of the residuals

    def mean(self, posterior, Z):
        """Predictions of a task."""
        return Z[:, 0] + self.scale * self._in_blocks(posterior.mean, posterior, Z)

    def variance(self, posterior, Z):
        """Variances of its function, in units of ``scale``."""
        return self._in_blocks(posterior.variance, posterior, Z)

    def _in_blocks(self, function, posterior, Z):
        step = max(1, BATCH_CELLS // max(1, len(posterior.alpha)))
        starts = range(0, max(1, len(Z)), step)
        rows = (self.scaling.features(Z[lo : lo + step]) for lo in starts)
        return np.concatenate([function(self.prior, X) for X in rows])

    def deviation(self, variance):
        """Standard deviations of new targets, in the units of the data."""
        return self.scale * np.sqrt(variance + self.prior.noise)


class ProcessPredictor(BlackBoxLearner):
    """Predicts by the posteriors that parameter rows hold, around the body of a HeadLearner."""

    def __init__(self, learner, model) -> None:
        super().__init__(
            learner.estimator, n_features=learner.n_features, steps=learner.steps, name=learner.name
        )
        self.body, self.fill, self.dtype = learner.body, learner.fill, learner.x_dtype
        self.numeric, self.model = learner.numeric, model

    def make_estimator(self, row):
        estimator = GaussianProcessModel(self.body)
        estimator.model_, estimator.posterior_ = self.model, row[0]
        estimator.fill_, estimator.numeric_ = self.fill, self.numeric
        estimator.dtype_ = self.dtype
        return self.wrap(estimator)

    def _one(self, method, posterior, Z):
        mean = self.model.mean(posterior, Z)
        if method == "predict":
            return mean.astype(self.dtype, copy=False)
        return np.stack([mean, self.model.variance(posterior, Z)], axis=1)


class GaussianProcessModel(BodyAndHeadRegressor):
    """``predict(x) = f(x) + E[g_t(x)]``: a fitted mean function and what is known of one task.

    Parameters
    ----------
    body : estimator
        The fitted mean function.
    """

    def __sklearn_is_fitted__(self):
        return hasattr(self, "posterior_")

    def predict(self, X, return_std=False):
        """Predict targets.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_features)
        return_std : bool, default=False

        Returns
        -------
        y : ndarray of shape (n_rows,)
        std : ndarray of shape (n_rows,)
            Standard deviation of a new target, only with ``return_std``.
        """
        Z = self._features(X)
        mean = self.model_.mean(self.posterior_, Z).astype(self.dtype_, copy=False)
        if not return_std:
            return mean
        std = self.model_.deviation(self.model_.variance(self.posterior_, Z))
        return mean, std.astype(self.dtype_, copy=False)


@documented
@with_parameters
class GaussianProcessMeta(DeviationMixin, WeightedFitMixin, BaseMetaEstimator):
    r"""Gaussian process on the residuals of a pooled model, its kernel learned over tasks.

    .. math:: y = f(x) + \beta^\top (x - m_t) + g_t(x) + e,
        \quad g_t \sim GP(0, k), \quad e \sim N(0, \sigma^2)

    ``meta_fit`` fits the mean function f, any regressor, on the pooled rows, and learns the kernel
    k, the noise :math:`\sigma^2` and the slopes within tasks :math:`\beta` by the sum of the log
    marginal likelihoods of all tasks. ``adapt`` is the posterior of :math:`g_t` given the support
    rows, in closed form; without rows, predictions are those of f.

    Parameters
    ----------
    estimator : estimator, default=None
        The mean function: any regressor, or a Pipeline that ends with one. None: ``Ridge()``.
    kernel : Kernel, default=None
        A kernel of :mod:`sklearn.gaussian_process.kernels`, for standardised ``[f(x), x]`` and
        residuals in units of their root mean square; noise is added to it. Slower. None: an offset
        and what comes with it, slopes, and a smooth function,

        .. math:: k(x, z) = a^2 (1 + c^\top x) (1 + c^\top z) + \sum_j b_j^2 x_j z_j
            + s^2 m_{5/2}\Big(\sqrt{\textstyle\sum_j (x_j - z_j)^2 / l_j^2}\Big)

        with Matérn's :math:`m_{5/2}`.
    {ids}
    max_iter : int, default=200
        Most iterations of L-BFGS.
    tol : float, default=1e-4
        Stop when no entry of the gradient of the log likelihood per row exceeds it.
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator.
    n_jobs : int, default=None
        Number of threads that adapt tasks, as in joblib; used for more than 16,384 tasks.

    Attributes
    ----------
    hyperparameters_ : dict of str to float or ndarray
        Parameters of the kernel, for standardised ``[f(x), x]`` and residuals in units of
        ``residual_scale_``: ``offset_variance`` :math:`a^2`, ``slope_variances`` :math:`b^2`,
        ``smooth_variance`` :math:`s^2`, ``length_scales`` l, ``tilt`` c; those of ``kernel``, where
        it was given, by their names there.
    slopes_ : ndarray of shape (1 + n_numeric,)
        :math:`\beta`, in the same units.
    kernel_ : Kernel
        The learned kernel, where ``kernel`` was given.
    noise_variance_ : float
        :math:`\sigma^2`, in the units of the data.
    residual_scale_ : float
        Root mean square of the residuals of the mean function on tasks that it has not seen.
    log_likelihood_ : float
        Sum of the log marginal likelihoods of the rows that the kernel was learned from, of
        residuals in units of ``residual_scale_``.
    n_iter_ : int
        Iterations of L-BFGS.
    estimator_ : estimator
        The adapted model of the current task, with ``predict(X, return_std=False)``.
    {task_ids_}
    {table}

    See Also
    --------
    HierarchicalBayes : Where tasks differ in offset and slopes only, which may be correlated.

    Notes
    -----
    The kernel sees f(x), which stands for columns that are not numbers, and those that are. Missing
    values count as the mean. It is learned from at most 40 rows of a task, and from as many tasks
    as have a million entries in their covariance matrices. Logarithms of its parameters have a weak
    normal prior; those of one kind, as the length scales, scatter around a common level.

    Slopes within tasks are for what all rows together do not tell: wages rise with the years of a
    person, while persons seen in later years may earn less. The mean :math:`m_t` is that of the
    known rows and of the one to predict, so that the slopes say nothing where no row is known.

    ``sample_weight`` divides the variance of noise, and goes to the ``fit`` of the mean function;
    transformers of a Pipeline do not see it.

    Cost: ``O(n_rows**3)`` for a task, in each iteration and in ``adapt``; ``return_std`` takes as
    much again. Of a task of more than 2,000 rows so many, drawn at random, are adapted to.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian processes for machine learning. Bonilla, Chai, Williams
    (2007), Multi-task Gaussian process prediction, NeurIPS 20.

    Examples
    --------
    >>> from sklearn_meta import GaussianProcessMeta
    >>> from sklearn_meta.datasets import make_sinusoid_tasks
    >>> tasks = make_sinusoid_tasks(n_tasks=60, n_rows=20, random_state=0)
    >>> model = GaussianProcessMeta().meta_fit(tasks[:59])
    >>> new = tasks[59]
    >>> model.adapt(new.X[:10], new.y[:10]).score(new.X[10:], new.y[10:]) > 0.9
    True
    """

    estimator: Any = None
    _: KW_ONLY
    kernel: Kernel | None = None
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    max_iter: int = 200
    tol: float = 1e-4
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "kernel": [Kernel, None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    # -- learn and adapt ---------------------------------------------------------------------------

    def _check_wrapped(self, estimator):
        if is_classifier(estimator):
            raise ValueError(
                f"GaussianProcessMeta predicts numbers; {type(last_step(estimator)).__name__} is a "
                "classifier. Wrap a regressor, or use HierarchicalBayes, BatchMetaLearner or MAML."
            )

    def _needs(self):
        return Needs(
            body=True,
            fits=False,
            n_epochs=None,
            why_not="The mean function is fitted on all tasks at once; meta_fit on all of them.",
        )

    def _learn(self, learner, tables, meta_model, fit_params, report):
        (table,) = tables
        r = table.y - table.X[:, 0]
        weight = table.sample_weight
        size = np.sqrt(np.average(r**2, weights=weight))
        scale = float(nonzero_scale(size, np.abs(table.y).max()))
        scaling = Scaling.of(table.X, weight=weight)
        X = scaling.features(table.X)
        kernel = TaskKernel(X.shape[1])
        if self.kernel is not None:
            kernel = ScikitLearnKernel(self.kernel)
        some = some_rows(replace(table, X=X, y=r / scale))
        batches = [(batch.X, batch.y, batch.weight) for batch in padded_batches(some)]
        prior = learn_process(
            kernel,
            batches,
            max_iter=self.max_iter,
            tol=self.tol,
            callback=lambda prior: report(lambda: MetaModel(prior(), scaling, scale)),
        )
        self._check_converged(prior, "Raise max_iter or tol.")
        return MetaModel(prior, scaling, scale)

    def _adapt(self, learner, meta_model, table, fit_params):
        rows = np.empty((table.n_tasks, 1), dtype=object)
        table = at_most(table, MAX_KNOWN)
        X = meta_model.scaling.features(table.X)
        residuals = replace(table, X=X, y=(table.y - table.X[:, 0]) / meta_model.scale)
        for batch in padded_batches(residuals):
            n_rows = batch.y.shape[1]
            step = max(1, BATCH_CELLS // max(1, n_rows**2))
            for lo in range(0, len(batch.tasks), step):
                own = slice(lo, lo + step)
                part = batch.X[own], batch.y[own], batch.weight[own]
                rows[batch.tasks[own], 0] = posteriors(meta_model.prior, part)
        return rows

    def _predictor(self, learner, meta_model):
        return ProcessPredictor(learner, meta_model)

    # -- predictions -------------------------------------------------------------------------------

    def _deviations(self, X, groups):
        mean, variance, _ = self._moments(X, groups)
        mean = mean.astype(self._predicts.dtype, copy=False)
        return mean, self.meta_model_.deviation(variance)

    def _centres(self, X, groups, level):
        """Intervals of Student's t; the mean function has not seen the tasks that calibrate."""
        mean, variance, n_rows = self._moments(X, groups)
        warn_of_few_tasks(self.n_tasks_, level)
        meta_model = self.meta_model_
        half = meta_model.scale * half_widths(meta_model.prior, variance, n_rows, level)
        return mean, half, self._predicts.dtype

    def _moments(self, X, groups):
        """Means, variances of functions in units of residuals, and how many rows are known."""
        X, params, index = self._query(X, groups)
        mean, variance = self._predicts.predict("moments", params, X, index).T
        n_rows = np.array([posterior.weight.sum() for posterior in params[:, 0]])
        return mean, variance, n_rows[index]

    # -- what was learned --------------------------------------------------------------------------

    def _facts(self):
        return super()._facts() | {
            "Noise, standard deviation": np.sqrt(self.noise_variance_),
            **{f"Kernel: {name}": value for name, value in self.hyperparameters_.items()},
        }

    @property
    def kernel_(self):
        """The learned kernel of scikit-learn."""
        prior = self._learned("prior")
        if not isinstance(prior.kernel, ScikitLearnKernel):
            raise AttributeError("kernel_ is there where a kernel was given; see hyperparameters_.")
        return prior.kernel.at(prior.psi[:-1])

    @property
    def hyperparameters_(self):
        """Parameters of the kernel."""
        prior = self._learned("prior")
        if isinstance(prior.kernel, ScikitLearnKernel):
            kernel = self.kernel_
            return {h.name: kernel.get_params()[h.name] for h in kernel.hyperparameters}
        names = ("offset_variance", "slope_variances", "smooth_variance", "length_scales", "tilt")
        return dict(zip(names, prior.kernel.split(prior.psi[:-1]), strict=True))

    slopes_ = learned("prior.slopes", "Slopes within tasks.")
    residual_scale_ = learned("scale", "Root mean square of the residuals of the mean function.")

    @property
    def noise_variance_(self):
        """Variance of the noise."""
        return float(self._learned("prior").noise * self.meta_model_.scale**2)

    log_likelihood_ = learned("prior.log_likelihood", "Sum of log marginal likelihoods.")
    n_iter_ = learned("prior.n_iter", "Iterations of the optimiser.")


def at_most(table, n_rows):
    """The table with so many rows of each task, whatever their order, where it has more."""
    if table.sizes.max(initial=0) <= n_rows:
        return table
    parts = []
    for t, first in enumerate(table.offsets[:-1]):
        X, y, weight = table.task(t)
        own = np.arange(len(y)) if weight is None else np.flatnonzero(weight > 0)
        if len(own) > n_rows:
            own = own[np.lexsort((y[own], *X[own].T))]
            own = np.sort(np.random.default_rng(0).permutation(own)[:n_rows])
        parts.append(first + own)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in parts])])
    return take_rows(table, np.concatenate(parts), offsets, np.arange(table.n_tasks))


def some_rows(table):
    """The rows that a kernel is learned from, whatever the order of tasks and of rows in them.

    Rows that are alike are one, with the sum of their weights. They are rounded, since hundreds of
    iterations would make something of the rounding errors of another order.
    """
    rng = np.random.default_rng(0)
    weight = table.weights
    size, total = table.sums(weight), table.sums(weight * table.y)
    parts, n_cells = [], 0
    for t in rng.permutation(np.lexsort((total, size))):
        own = np.arange(table.offsets[t], table.offsets[t + 1])
        own = own[weight[own] > 0]
        rows = np.column_stack([table.X[own], table.y[own]]).round(DIGITS)
        rows, place = np.unique(rows, axis=0, return_inverse=True)
        some = rng.permutation(len(rows))[:MAX_ROWS]
        parts.append((rows[some], np.bincount(place, weight[own], minlength=len(rows))[some]))
        n_cells += len(some) ** 2
        if n_cells >= MAX_CELLS:
            break
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows, _ in parts])])
    rows, weight = (np.concatenate(values) for values in zip(*parts, strict=True))
    return TaskTable(rows[:, :-1], rows[:, -1], offsets, sample_weight=weight)
