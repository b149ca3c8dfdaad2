"""Hierarchical Bayes, the closed form of meta-learning: a linear mixed model.

    y = X w_t + e,   w_t ~ N(m + M s_t, Sigma),   e ~ N(0, sigma² I)

The prior of the coefficients is learned from the meta-train tasks by (restricted) maximum
likelihood; adaptation is the posterior of ``w_t`` given the support rows. The mathematics is in
``kernels/mixed_model.py``; this file turns estimators into it and back.
"""

import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

from .base import BaseMetaEstimator
from .base.described import DescriptorMixin, describe
from .kernels.mixed_model import MixedModel, Moments, fit_mixed_model, posterior
from .kernels.scaling import Scaling, nonzero_scale
from .learners import is_squared_linear, last_step
from .learners.privates import HasMethods, Interval, StrOptions
from .tasks.table import padded_batches

__all__ = ["HierarchicalBayes"]

MOST_SHOTS = 20  # of the supports that a descriptor of rows is learned from


@dataclass(frozen=True, eq=False)
class Prior:
    """The meta-model: a fitted mixed model and the units that it works in.

    Parameters
    ----------
    model : MixedModel
        In standardised units.
    moments : Moments
        Of all meta-train tasks, of ``[1, x - shift, y - shift]``; partial_meta_fit adds to them.
    shift : ndarray of shape (n_features + 1,)
        Where the data were moved to, to keep sums of squares exact.
    scaling : Scaling
        From the data to standardised units.
    s_mean, s_scale : ndarray of shape (n_descriptors,)
        The same for the descriptors.
    intercept : bool
    descriptor : transformer or None
        What makes ``s_t`` of a task, fitted; None: side information as it is.
    """

    model: MixedModel
    moments: Moments
    shift: np.ndarray
    scaling: Scaling
    s_mean: np.ndarray
    s_scale: np.ndarray
    intercept: bool
    descriptor: object = None

    def standardized(self, moments):
        """Moments of shifted data in standardised units."""
        scaling = self.scaling
        mean = np.append(scaling.x_mean, scaling.y_mean) - self.shift
        scaled = moments.rescaled(mean, np.append(scaling.x_scale, scaling.y_scale))
        return replace(scaled, S=(moments.S - self.s_mean[:, None]) / self.s_scale[:, None])

    def jacobian(self):
        """The linear part of the map from standardised coefficients to those of the data."""
        scaling = self.scaling
        J = np.diag(np.append(1.0, 1.0 / scaling.x_scale)) * scaling.y_scale
        J[0, 1:] = -scaling.y_scale * scaling.x_mean / scaling.x_scale
        return J if self.intercept else J[1:, 1:]

    def coefs(self, w):
        """Coefficients of the data, shape (..., n_coefs), from standardised ones."""
        if not self.intercept:
            return w @ self.jacobian().T
        coef, intercept = self.scaling.unfold(w[..., 1:], w[..., 0])
        return np.concatenate([intercept[..., None], coef], axis=-1)


def warn_of_one_task():
    """Nothing can be learned about how tasks differ."""
    warnings.warn(
        "A single task says nothing about how tasks differ: the prior covariance is 0, and "
        "adaptation will change nothing. Pass several tasks, or the ids of a long table.",
        UserWarning,
        stacklevel=3,
    )


def _name_the_largest(table):
    """Raise the error for numbers whose squares overflow."""
    rows = np.column_stack([table.X, table.y])
    i, j = np.unravel_index(np.argmax(np.abs(rows)), rows.shape)
    what = "y" if j == table.X.shape[1] else f"column {j} of X"
    raise ValueError(
        f"{table.where(i)}: {what} holds {rows[i, j]:g}, whose square is not a finite number. Use "
        "other units, or drop the row."
    )


class HierarchicalBayes(DescriptorMixin, BaseMetaEstimator):
    r"""Linear model whose coefficients vary between tasks around a learned prior.

    .. math:: y = X w_t + e, \quad w_t \sim N(m + M s_t, \Sigma), \quad e \sim N(0, \sigma^2 I)

    for rows :math:`X` (with an intercept) of task :math:`t` with side information :math:`s_t`.
    ``meta_fit`` finds the prior :math:`m, M, \Sigma` and the noise :math:`\sigma^2` by restricted
    maximum likelihood; ``adapt`` is the posterior of :math:`w_t` in closed form (the BLUP). This is
    the linear mixed model of lme4, seen as meta-learning, and agrees with it; of more than two
    random coefficients with ``correlation_prior=1``.

    Parameters
    ----------
    estimator : estimator, default=None
        A linear regressor with squared loss (``LinearRegression``, ``Ridge``, ``Lasso``,
        ``ElasticNet``, ``SGDRegressor``), or a Pipeline that ends with one. The learned prior takes
        the place of its penalty; ``estimator_`` is of its class. None: ``LinearRegression()``.
    random_effects : {"all", "intercept"} or list, default="all"
        Which coefficients vary between tasks: all, the intercept only, or those of a list of
        feature names or indices (those that the transformers of a Pipeline give), in which
        ``"intercept"`` stands for the intercept. The others are fixed effects, the same in all
        tasks of equal descriptor.
    covariance : {"full", "diag", "spherical"}, default="full"
        The form of the prior covariance: any; no correlations; one common variance. The last two
        depend on the units: they are meant in standardised ones, unless ``standardize=False``.
    correlation_prior : float or "auto", default="auto"
        Concentration :math:`\eta \ge 1` of an LKJ prior on the correlations R of a full
        covariance, :math:`p(R) \propto |R|^{\eta - 1}`. 1: none, as in lme4. Larger values pull
        correlations to 0, towards ``covariance="diag"``. "auto": half the number of random
        coefficients, at least 1, so that nothing changes with one or two of them. Correlations
        depend on where features are 0; this is of those with features centred at their means.
    method : {"reml", "ml"}, default="reml"
        Restricted or plain maximum likelihood.
    task_column : str or int, default=None
        The column of X that holds the task id; it is taken out before the estimator sees X.
    descriptor_columns : list of str or int, default=None
        Columns of X, constant within a task, that are its side information :math:`s_t`; they are
        taken out before the estimator sees X. Else side information comes with the tasks.
    descriptor : transformer, callable or list of these, default=None
        What makes the vector :math:`s_t` of a task, see :mod:`sklearn_meta.descriptors`: a feature
        map of its side information, which may then hold categories and missing values, or
        statistics of its support. None: the side information as it is, in numbers.
    standardize : bool, default=True
        Whether to work on features and targets standardised over the meta-train rows (where the
        intercept does not vary, features that do are scaled but not centred, so that it does not).
        Changes nothing for ``covariance="full"``.
    max_iter : int, default=1000
        Most iterations of L-BFGS.
    tol : float, default=1e-8
        Stop when no entry of the gradient of the deviance per row exceeds it.
    random_state : int, RandomState instance or None, default=None
        Draws the supports of a ``descriptor`` that looks at rows; not used otherwise.
    n_jobs : int, default=None
        Number of threads that adapt tasks, as in joblib; used for more than 16,384 tasks.

    Attributes
    ----------
    prior_mean_ : ndarray of shape (n_coefs,)
        :math:`m`, the prior mean where the side information is 0, in the units of the data:
        intercept first (unless ``estimator`` has none), then features in order.
    prior_covariance_ : ndarray of shape (n_coefs, n_coefs)
        :math:`\Sigma`, in the same order; rows and columns of fixed effects are 0.
    descriptor_coef_ : ndarray of shape (n_coefs, n_descriptors)
        :math:`M`.
    noise_variance_ : float
        :math:`\sigma^2`.
    log_likelihood_ : float
        Of the data as they came; restricted with ``method="reml"``, and comparable with lme4's.
    task_coefs_ : ndarray of shape (n_tasks, n_coefs)
        Posterior means of the remembered tasks, in the order of ``task_ids_``.
    task_ids_ : ndarray of shape (n_tasks,)
        Ids of the remembered tasks.
    estimator_ : estimator
        The adapted model of the current task: its coefficients are the posterior mean.
    n_iter_ : int
        Iterations of L-BFGS.
    n_tasks_ : int
        Number of meta-train tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.

    See Also
    --------
    Pooled : One model on all rows.
    Independent : One model per task.

    Notes
    -----
    Cost: one pass over the rows for ``X'X, X'y, y'y`` of every task, then
    ``O(n_tasks * n_coefs**3)`` for each of some ten to a few hundred iterations. The variances may
    be exactly 0. A single meta-train task says nothing of how tasks differ: the prior covariance
    then is 0, and a warning says so. Where side information is not known at prediction (an unknown
    id), its mean is assumed. A ``descriptor`` that looks at rows sees a random part of the rows of
    a meta-train task, at most half of them and at most 20, and the likelihood is that of the
    others: so it does not explain targets that it has seen.

    References
    ----------
    Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4, Journal
    of Statistical Software 67. Lewandowski, Kurowicka, Joe (2009), Generating random correlation
    matrices based on vines and extended onion method, Journal of Multivariate Analysis 100 (for
    ``correlation_prior``). Denevi, Pontil, Ciliberto (2020), The advantage of conditional
    meta-learning for biased regularization and fine tuning, NeurIPS (for :math:`m + M s_t`).

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, n_rows=20, n_features=2, random_state=0)
    >>> model = HierarchicalBayes().meta_fit(tasks[:99])
    >>> new = tasks[99]
    >>> model.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > 0.3
    True
    """

    _incremental = True
    _uses_descriptors = True
    _standardizes = False  # sufficient statistics are, not rows

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "random_effects": [StrOptions({"all", "intercept"}), "array-like"],
        "covariance": [StrOptions({"full", "diag", "spherical"})],
        "correlation_prior": [Interval(Real, 1, None, closed="left"), StrOptions({"auto"})],
        "method": [StrOptions({"reml", "ml"})],
        "descriptor_columns": ["array-like", None],
        "descriptor": [HasMethods(["fit", "transform"]), callable, list, tuple, None],
        "standardize": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        random_effects="all",
        covariance="full",
        correlation_prior="auto",
        method="reml",
        task_column=None,
        descriptor_columns=None,
        descriptor=None,
        standardize=True,
        max_iter=1000,
        tol=1e-8,
        random_state=None,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.random_effects = random_effects
        self.covariance = covariance
        self.correlation_prior = correlation_prior
        self.method = method
        self.task_column = task_column
        self.descriptor_columns = descriptor_columns
        self.descriptor = descriptor
        self.standardize = standardize
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X, y=None, *, groups=None, sample_weight=None):
        """Learn from a long table: meta-train on its tasks, then adapt to each and remember it.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns), or list of Task
            The rows of all tasks. A list of :class:`Task` is handed to :meth:`meta_fit`.
        y : array-like of shape (n_rows,)
            The targets.
        groups : array-like of shape (n_rows,), default=None
            The task id of every row. Not needed with ``task_column``. Without any ids all rows
            are one task.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights; a weight of 2 means that the row is there twice.

        Returns
        -------
        self : object
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._fit(X, y, groups, weights)

    # -- the wrapped estimator ---------------------------------------------------------------------

    def _default_estimator(self):
        return LinearRegression()

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        name = type(last).__name__
        if not is_squared_linear(last):
            raise ValueError(
                f"HierarchicalBayes needs a linear regressor with squared loss: LinearRegression, "
                f"Ridge, Lasso, ElasticNet or SGDRegressor(loss='squared_error'), or a Pipeline "
                f"that ends with one; got {name}. Pooled and Independent take any estimator."
            )
        if getattr(last, "positive", False):
            raise ValueError(
                f"HierarchicalBayes cannot keep coefficients positive; set {name}(positive=False)."
            )

    def _route_fit_params(self, estimator, fit_params, groups):
        return {}, fit_params  # the wrapped estimator is never fitted

    def get_metadata_routing(self):
        """Metadata routing of this object: ``groups`` and ``sample_weight`` are its own.

        Returns
        -------
        MetadataRequest
        """
        return self._get_metadata_request()

    def _n_epochs(self):
        return None

    # -- learn and adapt ---------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        if self.descriptor is None:
            return self._learn_prior(learner, tables, meta_model, report)
        fitted = None if meta_model is None else meta_model.descriptor
        descriptor, tables = self._vectors(learner, tables, fitted, (0, MOST_SHOTS))
        prior = self._learn_prior(learner, tables, meta_model, report)
        return replace(prior, descriptor=descriptor)

    def _learn_prior(self, learner, tables, meta_model, report):
        """The prior from tables whose descriptors are numbers."""
        moments = None if meta_model is None else meta_model.moments
        shift = None if meta_model is None else meta_model.shift
        for table in tables:
            if shift is None:
                shift = np.append(table.X.mean(axis=0), table.y.mean()).astype(np.float64)
            more = self._moments(table, shift)
            if moments is None:
                moments = more
            elif more.S.shape[0] != moments.S.shape[0]:
                raise ValueError("these tasks have other descriptors than those before.")
            else:
                moments = moments.concatenate(more)
        if moments.n_tasks == 1:
            warn_of_one_task()
        prior = self._units(learner, moments, shift)
        random = self._random(learner)
        model = fit_mixed_model(
            prior.standardized(moments),
            random,
            intercept=prior.intercept,
            covariance=self.covariance,
            eta=self._concentration(random),
            reml=self.method == "reml",
            max_iter=self.max_iter,
            tol=self.tol,
            callback=lambda model: report(lambda: replace(prior, model=model())),
        )
        if not model.converged:
            warnings.warn(
                f"HierarchicalBayes stopped after {model.n_iter} iterations before it converged. "
                "Raise max_iter or tol, let fewer coefficients vary (random_effects), or use "
                'covariance="diag".',
                ConvergenceWarning,
                stacklevel=2,
            )
        return replace(prior, model=model)

    def _concentration(self, random):
        """eta of the prior on correlations."""
        if self.correlation_prior == "auto":
            return max(1.0, len(random) / 2)
        return self.correlation_prior

    def _moments(self, table, shift):
        n_features = table.X.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):
            moments = Moments.from_batches(
                padded_batches(table), table.n_tasks, n_features, shift, table.descriptors
            )
            if not np.isfinite(moments.M.sum()):
                _name_the_largest(table)
        return moments

    def _random(self, learner):
        """Positions of the random coefficients; the intercept, where there is one, is 0."""
        intercept = learner.fit_intercept
        n_coefs = learner.n_features + intercept
        if isinstance(self.random_effects, str):
            if self.random_effects == "all":
                return np.arange(n_coefs)
            effects = ["intercept"]
        else:
            effects = list(self.random_effects)
        names = None if learner.feature_names is None else list(learner.feature_names)
        positions = []
        for effect in effects:
            if names is not None and effect in names:
                position = names.index(effect) + intercept
            elif effect == "intercept" and intercept:
                position = 0
            elif isinstance(effect, Integral) and 0 <= effect < learner.n_features:
                position = int(effect) + intercept
            else:
                known = (["intercept"] if intercept else []) + (
                    names or [f"0 to {learner.n_features - 1}"]
                )
                raise ValueError(
                    f"random_effects names {effect!r}, which is no coefficient; known are "
                    f"{', '.join(map(str, known))}."
                )
            positions.append(position)
        return np.unique(np.array(positions, dtype=np.intp))

    def _units(self, learner, moments, shift):
        """The prior without its model: how data and standardised units belong together."""
        intercept = learner.fit_intercept
        _, mean, scale = moments.pooled()
        mean = mean + shift
        scale = nonzero_scale(scale, mean)
        # units are nothing to a full covariance; a prior on its correlations is meant in these
        standardize = self.standardize or self.covariance == "full"
        if not standardize:
            scale = np.ones_like(scale)
        if not (standardize and intercept):
            mean = np.zeros_like(mean)
        elif 0 not in self._random(learner):  # to centre a feature moves variation to the intercept
            mean[self._random(learner) - 1] = 0.0
        scaling = Scaling(mean[:-1], scale[:-1], mean[-1], scale[-1])
        s_mean = moments.S.mean(axis=1)
        s_scale = nonzero_scale(moments.S.std(axis=1), s_mean)
        return Prior(None, moments, shift, scaling, s_mean, s_scale, intercept)

    def _adapt(self, learner, meta_model, table, fit_params):
        prior = meta_model
        if prior.descriptor is not None:
            S = describe(prior.descriptor, self._described(learner, table))
            table = replace(table, descriptors=S)
        moments = self._moments(table, prior.shift)
        if table.descriptors is None:
            S = np.repeat(prior.s_mean[:, None], table.n_tasks, axis=1)
            moments = replace(moments, S=S)
        w, C = posterior(prior.model, prior.standardized(moments), intercept=prior.intercept)
        coefs = prior.coefs(w.T)
        if not prior.intercept:
            coefs = np.concatenate([np.zeros((len(coefs), 1)), coefs], axis=1)
        packed = C[np.triu_indices(len(C))].T  # in standardised units
        return np.concatenate([coefs, packed], axis=1).astype(learner.dtype, copy=False)

    # -- predictions -------------------------------------------------------------------------------

    def predict(self, X, *, groups=None, return_std=False):
        """Predict each row by the model of its task.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        groups : array-like of shape (n_rows,), default=None
            Task ids. A remembered id: that task's adapted model; an unknown or missing id: the
            meta-model. Without ids: the task last given to :meth:`adapt` without ids, else the
            meta-model.
        return_std : bool, default=False
            Whether to return the predictive standard deviation, too.

        Returns
        -------
        y : ndarray of shape (n_rows,)
            Means.
        std : ndarray of shape (n_rows,)
            Only with ``return_std``: the deviation of a new target, of noise and of what is not
            known of the coefficients of the task (their prior is taken as known), in the units
            of y.
        """
        X, params, index, _ = self._rows_and_params(X, groups)
        n_coefs = 1 + self.learner_.n_features
        mean = self.learner_.predict("predict", params, X, index)
        if not return_std:
            return mean
        prior = self.meta_model_
        random, scaling = prior.model.random, prior.scaling
        Z = np.concatenate([np.ones((len(X), 1)), scaling.features(X)], axis=1)
        Z = Z[:, random + (not prior.intercept)]
        i, j = np.triu_indices(len(random))
        variance = np.full(len(X), prior.model.sigma2)
        for k in range(len(i)):
            both = params[index, n_coefs + k] * Z[:, i[k]] * Z[:, j[k]]
            variance += both if i[k] == j[k] else 2 * both
        std = scaling.y_scale * np.sqrt(np.maximum(variance, 0.0))
        return mean, std.astype(mean.dtype, copy=False)

    # -- what was learned, in the units of the data ------------------------------------------------

    def _prior_attribute(self, compute):
        return compute(self._fitted_meta_model())

    @property
    def prior_mean_(self):
        """Prior mean of the coefficients (intercept first) where the side information is 0."""

        def compute(prior):
            at_zero = np.append(1.0, -prior.s_mean / prior.s_scale)
            return prior.coefs(prior.model.B @ at_zero)

        return self._prior_attribute(compute)

    @property
    def prior_covariance_(self):
        """Prior covariance of the coefficients; 0 in rows and columns of fixed effects."""

        def compute(prior):
            J = prior.jacobian()[:, prior.model.random] @ prior.model.factor
            return prior.model.sigma2 * J @ J.T

        return self._prior_attribute(compute)

    @property
    def descriptor_coef_(self):
        """What one unit of each descriptor adds to the prior mean."""
        return self._prior_attribute(
            lambda prior: prior.jacobian() @ (prior.model.B[:, 1:] / prior.s_scale)
        )

    @property
    def noise_variance_(self):
        """Variance of the noise."""
        return self._prior_attribute(
            lambda prior: float(prior.model.sigma2 * prior.scaling.y_scale**2)
        )

    @property
    def log_likelihood_(self):
        """Log (restricted) likelihood of the data as they came, comparable with lme4's."""

        def compute(prior):
            model, scaling = prior.model, prior.scaling
            deviance = model.deviance + 2 * model.dof * np.log(scaling.y_scale)
            if model.reml:  # log|P| in the units of the data
                x_scale = np.append(1.0, scaling.x_scale)[0 if prior.intercept else 1 :]
                unit = np.outer(x_scale, np.append(1.0, prior.s_scale)).ravel()
                deviance += 2 * np.log(unit[model.kept]).sum()
            return float(-deviance / 2)

        return self._prior_attribute(compute)

    @property
    def n_iter_(self):
        """Iterations of the optimiser."""
        return self._prior_attribute(lambda prior: prior.model.n_iter)

    @property
    def task_coefs_(self):
        """Posterior means of the coefficients of the remembered tasks, ordered as ``task_ids_``."""

        def compute(prior):
            if self._remembered is None:
                raise AttributeError("no tasks are remembered; fit or adapt with task ids.")
            first = 0 if prior.intercept else 1
            return self._remembered[:, first : 1 + self.learner_.n_features]

        return self._prior_attribute(compute)
