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

from .base import BaseMetaEstimator, Needs
from .base.described import DescriptorMixin, describe
from .base.moments import gather_moments, posterior_rows
from .learners import is_squared_linear, last_step
from .learners.privates import HasMethods, Interval, StrOptions
from .priors.gaussian import GaussianPrior, learn_gaussian

__all__ = ["HierarchicalBayes"]

MAX_SHOTS = 20  # of the supports that a descriptor of rows is learned from


@dataclass(frozen=True, eq=False)
class MetaModel:
    """What was learned.

    Parameters
    ----------
    prior : GaussianPrior
    descriptor : transformer or None
        What makes ``s_t`` of a task, fitted; None: side information as it is.
    """

    prior: GaussianPrior
    descriptor: object = None


class HierarchicalBayes(DescriptorMixin, BaseMetaEstimator):
    r"""Linear model whose coefficients vary between tasks around a learned prior.

    .. math:: y = X w_t + e, \quad w_t \sim N(m + M s_t, \Sigma), \quad e \sim N(0, \sigma^2 I)

    for rows :math:`X` (with an intercept) of task :math:`t` with side information :math:`s_t`.
    ``meta_fit`` finds the prior :math:`m, M, \Sigma` and the noise :math:`\sigma^2` by restricted
    maximum likelihood; ``adapt`` is the posterior of :math:`w_t` in closed form (the BLUP). This is
    the linear mixed model of lme4, seen as meta-learning, and agrees with it with
    ``regularization=None``.

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
    regularization : float, "auto" or None, default="auto"
        How strongly :math:`\Sigma` and :math:`\sigma^2` are pulled towards a fit with two
        variances, one of intercepts and one of standardised slopes: as if so many tasks had been
        seen that are as this fit says. "auto": the strength, of a few, that predicts tasks that
        were left out best. None: plain likelihood, the digits of lme4. Fixed slopes that are many
        for the tasks have a prior of their own, but with None.
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
    regularization_ : float
        The strength that was used, in tasks; infinite where two variances are all there is.
    regularization_scores_ : dict of float to float
        Log score per row, on tasks that were left out, of every strength that was tried.
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
    of Statistical Software 67. Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative
    prior for point estimation of covariance matrices in hierarchical models, Journal of Educational
    and Behavioral Statistics 40 (for ``regularization``). Denevi, Pontil, Ciliberto (2020), The
    advantage of conditional meta-learning for biased regularization and fine tuning, NeurIPS (for
    :math:`m + M s_t`).

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

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "random_effects": [StrOptions({"all", "intercept"}), "array-like"],
        "covariance": [StrOptions({"full", "diag", "spherical"})],
        "regularization": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
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
        regularization="auto",
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
        self.regularization = regularization
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

    def _needs(self):
        side = "numbers" if self.descriptor is None else "objects"
        return Needs(side=side, fits=False, goes_on=True, streams=True, n_epochs=None)

    # -- learn and adapt ---------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        descriptor = prior = None
        if meta_model is not None:
            descriptor, prior = meta_model.descriptor, meta_model.prior
        if self.descriptor is not None:
            descriptor, tables = self._vectors(learner, tables, descriptor, (0, MAX_SHOTS))
        prior = learn_gaussian(
            *gather_moments(tables, prior),
            self._random(learner),
            intercept=learner.fit_intercept,
            standardize=self.standardize,
            covariance=self.covariance,
            regularization=self.regularization,
            reml=self.method == "reml",
            max_iter=self.max_iter,
            tol=self.tol,
            callback=lambda prior: report(lambda: MetaModel(prior(), descriptor)),
        )
        if not prior.model.converged:
            warnings.warn(
                f"HierarchicalBayes stopped after {prior.model.n_iter} iterations before it "
                "converged. Raise max_iter or tol, let fewer coefficients vary (random_effects), "
                'or use covariance="diag".',
                ConvergenceWarning,
                stacklevel=2,
            )
        return MetaModel(prior, descriptor)

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

    def _adapt(self, learner, meta_model, table, fit_params):
        if meta_model.descriptor is not None:
            table = replace(table, origin=None)  # as a new task, which coefficients adapt to
            S = describe(meta_model.descriptor, self._described(learner, table))
            table = replace(table, descriptors=S)
        coefs, covariance = posterior_rows(meta_model.prior, table)
        return np.concatenate([coefs, covariance], axis=1).astype(learner.dtype, copy=False)

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
        if not return_std:
            return self._predict("predict", X, groups)
        X, ids, side, _ = self._read_query(X, groups)
        params, index = self._params_of(X, ids, side)
        mean = self.learner_.predict("predict", params, X, index)
        covariance = params[:, 1 + self.learner_.n_features :]
        std = self._learned("prior").predictive_deviation(covariance, X, index)
        return mean, std.astype(mean.dtype, copy=False)

    # -- what was learned, in the units of the data ------------------------------------------------

    @property
    def prior_mean_(self):
        """Prior mean of the coefficients (intercept first) where the side information is 0."""
        prior = self._learned("prior")
        return prior.mean_at(np.zeros(len(prior.s_mean)))

    @property
    def prior_covariance_(self):
        """Prior covariance of the coefficients; 0 in rows and columns of fixed effects."""
        return self._learned("prior").covariance()

    @property
    def descriptor_coef_(self):
        """What one unit of each descriptor adds to the prior mean."""
        return self._learned("prior").side_coefs()

    @property
    def noise_variance_(self):
        """Variance of the noise."""
        return self._learned("prior").noise_variance()

    @property
    def log_likelihood_(self):
        """Log (restricted) likelihood of the data as they came, comparable with lme4's."""
        return self._learned("prior").log_likelihood()

    @property
    def regularization_(self):
        """Strength of the regularisation, in tasks."""
        return self._learned("prior").nu

    @property
    def regularization_scores_(self):
        """Log score of every strength that was tried."""
        return dict(self._learned("prior").scores)

    @property
    def n_iter_(self):
        """Iterations of the optimiser."""
        return self._learned("prior").model.n_iter

    @property
    def task_coefs_(self):
        """Posterior means of the coefficients of the remembered tasks, ordered as ``task_ids_``."""
        first = 0 if self._learned("prior").intercept else 1
        if self._memory.params is None:
            raise AttributeError("no tasks are remembered; fit or adapt with task ids.")
        return self._memory.params[:, first : 1 + self.learner_.n_features]
