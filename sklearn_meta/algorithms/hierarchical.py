"""Hierarchical Bayes, the closed form of meta-learning: a (generalised) linear mixed model.

    y ~ family(x'w_t),   w_t ~ N(m + M s_t, Sigma)

The prior of the coefficients is learned from the meta-train tasks by maximum likelihood; adaptation
is the posterior of ``w_t`` given the support rows. With squared loss both are in closed form
(``priors/gaussian.py``), with other losses by Laplace's approximation (``priors/laplace.py``). An
estimator without coefficients is a frozen body f, and the model is that of a head on ``[1, f(x),
x]`` that is added to it, with means of 0.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.linear_model import LinearRegression
from sklearn.svm import LinearSVC

from ..base import BaseMetaEstimator, Needs, learned, with_parameters
from ..base.described import DescriptorMixin, describe
from ..base.docstrings import documented
from ..base.generalized import GeneralizedPredictor, generalized_rows, learn_generalized
from ..base.intervals import DeviationMixin, warn_of_few_tasks
from ..base.moments import gather_moments, posterior_rows, warn_of_one_task
from ..base.singular import warn_of_singular_fit, warn_of_singular_generalized
from ..base.summaries import SummariesMixin
from ..base.weights import WeightedFitMixin
from ..learners import HeadLearner, has_curvature, has_network, is_squared_linear, last_step
from ..learners.privates import Interval, StrOptions
from ..priors.conditional import ConditionalPrior
from ..priors.gaussian import GaussianPrior, learn_gaussian
from ..priors.intervals import half_widths

__all__ = ["HierarchicalBayes"]

MAX_SHOTS = 20  # of the supports that a descriptor of rows is learned from
WAY_OUT = (
    'Raise max_iter or tol, let fewer coefficients vary (random_effects), or use covariance="diag".'
)


@dataclass(frozen=True, eq=False)
class MetaModel:
    """What was learned."""

    prior: GaussianPrior | ConditionalPrior  # the first with squared loss
    descriptor: object = None  # makes ``s_t`` of a task, fitted; None: side information as it is


@documented
@with_parameters
class HierarchicalBayes(
    SummariesMixin, DeviationMixin, WeightedFitMixin, DescriptorMixin, BaseMetaEstimator
):
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
        Any regressor or classifier, or a Pipeline that ends with one. Linear ones with squared
        loss (``LinearRegression``, ``Ridge``, ``Lasso``, ``ElasticNet``, ``SGDRegressor``) are in
        closed form; those with another likelihood (``LogisticRegression``, ``PoissonRegressor``,
        ``GammaRegressor``, ``TweedieRegressor``, ``HuberRegressor``) by Laplace's approximation.
        The learned prior takes the place of their penalty; ``estimator_`` is of their class. Every
        other estimator f, fitted once on the pooled rows, is a frozen body, and the model that of a
        head on ``[1, f(x), x]``, learned out of fold; without rows, predictions are those of the
        body. None: ``LinearRegression()``.
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
        were left out best; with another loss than the squared one, one task more than there are
        random coefficients, and no slopes that vary where rows that are left out are surely
        predicted better so. None: plain likelihood, the digits of lme4. Fixed slopes that are many
        for the tasks have a prior of their own, but with None.
    contextual_effects : {"auto", True, False}, default="auto"
        Whether the prior mean of the intercept depends on the mean features of a task,
        :math:`w_t | \mu_t \sim N(m + e_0 \gamma' \mu_t, \Sigma)`, where slopes within tasks
        differ from slopes between them. :math:`\mu_t` is known from the rows of the task, few as
        they are, and from the row to predict. "auto": if tasks that were left out are surely
        predicted better, given 0, 1, 5 and 20 of their rows; the prior mean of tasks with few rows
        is then also pulled to pooled least squares, by as much as predicts these tasks best.
        Neither with ``regularization=None``, nor where there is no intercept that varies, or a
        body. With another loss than the squared one predictions of tasks with few rows are
        averaged with those of the estimator fitted on all rows, by as much as predicts tasks that
        were left out best.
    method : {"reml", "ml"}, default="reml"
        Restricted or plain maximum likelihood.
    noise : {"shared", "per_task"}, default="shared"
        With squared loss, whether the noise has the same variance in all tasks, or one of its own
        in each, :math:`\sigma_t^2` scaled inverse chi-squared, of which the rows of the task tell:
        intervals and shrinkage are then those of the task. Without rows an interval is that of an
        average task, whatever the noise.
    n_quadrature : int, default=1
        Nodes of adaptive Gauss-Hermite quadrature in the likelihood, for a single random
        coefficient and another loss than the squared one; 1 is Laplace's approximation.
    {ids}
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
    tol : float, default=1e-6
        With squared loss, stop when the variances are this close to the optimum, in standard
        errors, or as close as rounding allows.
    random_state : int, RandomState instance or None, default=None
        Draws the supports of a ``descriptor`` that looks at rows; not used otherwise.
    n_jobs : int, default=None
        Number of threads that adapt tasks, as in joblib; used for more than 16,384 tasks.

    Attributes
    ----------
    coef_names_ : ndarray of str of shape (n_coefs,)
        Names of the coefficients: "intercept", then the features as the estimator sees them, after
        transformers of a Pipeline.
    prior_mean_ : ndarray of shape (n_coefs,)
        :math:`m`, the prior mean where the side information is 0, in the units of the data:
        intercept first (unless ``estimator`` has none), then features in order.
    prior_covariance_ : ndarray of shape (n_coefs, n_coefs)
        :math:`\Sigma`, in the same order; rows and columns of fixed effects are 0.
    descriptor_coef_ : ndarray of shape (n_coefs, n_descriptors)
        :math:`M`.
    contextual_effects_ : bool
        Whether there are contextual effects.
    contextual_coef_ : ndarray of shape (n_features,)
        :math:`\gamma`: what one unit of the mean of each feature adds to the intercept of a task;
        0 where there are none. ``prior_mean_`` is that of tasks with average features.
    noise_variance_ : float
        :math:`\sigma^2`; with ``noise="per_task"`` the scale of its prior, the harmonic mean. With
        another loss the dispersion; of counts at least 1, and 1 with ``regularization=None``.
    noise_freedom_ : float
        Degrees of freedom of the prior of the noise; few mean that it differs much between tasks.
        Infinite with ``noise="shared"``.
    log_likelihood_ : float
        Of the data as they came; restricted with ``method="reml"``, and comparable with lme4's.
    task_coefs_ : ndarray of shape (n_tasks, n_coefs)
        Posterior means of the remembered tasks, in the order of ``task_ids_``.
    estimator_ : estimator
        The adapted model of the current task: its coefficients are the posterior mean.
    regularization_ : float
        The strength that was used, in tasks; infinite where two variances are all there is (with
        another loss, that of the intercept).
    regularization_scores_ : dict of float to float
        Log score per row, on tasks (with another loss, rows) that were left out, of every strength
        that was tried.
    n_iter_ : int
        Iterations of L-BFGS.
    {tasks}

    See Also
    --------
    Pooled : One model on all rows.
    Independent : One model per task.

    Notes
    -----
    Cost: one pass over the rows for ``X'X, X'y, y'y`` of every task, then
    ``O(n_tasks * n_coefs**3)`` for each of some ten to a hundred iterations. The variances may
    be exactly 0; a :class:`~sklearn_meta.exceptions.SingularFitWarning` says where one is not
    identified, and, with ``regularization=None``, where it is 0. A single meta-train task says
    nothing of how tasks differ: the prior covariance then is 0, and a warning says so. Where side
    information is not known at prediction (an unknown id), its mean is assumed. A ``descriptor``
    that looks at rows sees a random part of the rows of a meta-train task, at most half of them and
    at most 20, and the likelihood is that of the others: so it does not explain targets that it has
    seen.

    References
    ----------
    Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4, Journal
    of Statistical Software 67. Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative
    prior for point estimation of covariance matrices in hierarchical models, Journal of Educational
    and Behavioral Statistics 40 (for ``regularization``). Smyth (2004), Linear models and empirical
    Bayes methods for assessing differential expression, Statistical Applications in Genetics and
    Molecular Biology 3 (for ``noise``). Mundlak (1978), On the pooling of time series and cross
    section data, Econometrica 46 (for ``contextual_effects``). Denevi, Pontil, Ciliberto (2020),
    The advantage of conditional meta-learning for biased regularization and fine tuning, NeurIPS
    (for :math:`m + M s_t`).

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

    estimator: Any = None
    _: KW_ONLY
    random_effects: str | Sequence[str | int] = "all"
    covariance: str = "full"
    regularization: float | str | None = "auto"
    contextual_effects: bool | str = "auto"
    method: str = "reml"
    noise: str = "shared"
    n_quadrature: int = 1
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    descriptor_columns: Sequence[str | int] | None = None
    descriptor: Any = None
    standardize: bool = True
    max_iter: int = 1000
    tol: float = 1e-6
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "random_effects": [StrOptions({"all", "intercept"}), "array-like"],
        "covariance": [StrOptions({"full", "diag", "spherical"})],
        "regularization": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), None],
        "contextual_effects": [StrOptions({"auto"}), "boolean"],
        "method": [StrOptions({"reml", "ml"})],
        "noise": [StrOptions({"shared", "per_task"})],
        "n_quadrature": [Interval(Integral, 1, None, closed="left")],
        "standardize": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    # -- the wrapped estimator ---------------------------------------------------------------------

    def _default_estimator(self):
        return LinearRegression()

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        name = type(last).__name__
        if not has_network(last, False):
            return
        if getattr(last, "positive", False):
            raise ValueError(
                f"HierarchicalBayes cannot keep coefficients positive; set {name}(positive=False)."
            )
        if not has_curvature(last) or isinstance(last, LinearSVC):
            raise ValueError(
                f"HierarchicalBayes needs a likelihood, and the loss of {last} is none. Use "
                f"{'LogisticRegression()' if is_classifier(last) else 'LinearRegression()'}."
            )

    @property
    def _gaussian(self):
        """Whether the model is linear with squared loss: of the estimator, or of its head."""
        last = last_step(self._wrapped())
        if has_network(last, False):
            return is_squared_linear(last)
        return not is_classifier(last)

    def _warn_of_no_ids(self):
        """Learning from one task warns itself."""

    def _needs(self):
        last = last_step(self._wrapped())
        closed = is_squared_linear(last)
        return Needs(
            gradients=not closed,
            body=not has_network(last, False),  # which then keeps no parameters of its own
            standardized=not closed and self.standardize,
            side="numbers" if self.descriptor is None else "objects",
            fits=False,
            goes_on=closed,
            why_not=""
            if closed
            else f"{type(last).__name__} has no squared loss, so that what was learned cannot be "
            "added to; meta_fit on all tasks.",
            streams=closed,
            sums=closed and self.descriptor is None,
            n_epochs=None,
        )

    # -- learn and adapt ---------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        descriptor = prior = None
        if meta_model is not None:
            descriptor, prior = meta_model.descriptor, meta_model.prior
        if self.descriptor is not None:
            descriptor, tables = self._vectors(learner, tables, descriptor, (0, MAX_SHOTS))
        contextual = self._contextual(learner)
        if self.noise == "per_task" and not self._gaussian:
            raise ValueError(
                'noise="per_task" is for squared loss; other losses have one dispersion for all '
                'tasks. Set noise="shared".'
            )
        if not self._gaussian:
            prior = self._learn_generalized(learner, tables, descriptor, report)
            return MetaModel(prior, descriptor)
        tables = (self._residuals(learner, table) for table in tables)
        prior = self._learn_prior(
            learner,
            *gather_moments(tables, prior),
            contextual=contextual,
            callback=lambda prior: report(lambda: MetaModel(prior(), descriptor)),
        )
        return MetaModel(prior, descriptor)

    def _learn_sums(self, learner, moments, shift, held):
        contextual = self._contextual(learner)
        if contextual is True:
            raise ValueError("contextual_effects=True needs rows, not sums; use meta_fit.")
        prior = self._learn_prior(learner, moments, shift, held, contextual=contextual)
        return MetaModel(prior, None)

    def _learn_prior(self, learner, moments, shift, held, **settings):
        prior = learn_gaussian(
            moments,
            shift,
            held,
            self._random(learner),
            intercept=learner.network.intercept,
            standardize=self.standardize,
            covariance=self.covariance,
            regularization=self.regularization,
            per_task=self.noise == "per_task",
            reml=self.method == "reml",
            max_iter=self.max_iter,
            tol=self.tol,
            centred=isinstance(learner, HeadLearner),
            **settings,
        )
        self._check_converged(prior.model, WAY_OUT)
        warn_of_singular_fit(prior, self._names(learner), self.regularization is None)
        return prior

    def _names(self, learner):
        """Names of the coefficients of one output."""
        names = learner.column_names(self._feature_names())
        names = names or [f"x{j}" for j in range(learner.n_features)]
        return ["intercept"] * learner.network.intercept + names

    def _contextual(self, learner):
        """Whether the prior mean depends on where the rows of a task lie."""
        head, wanted = isinstance(learner, HeadLearner), self.contextual_effects
        side = self.descriptor is not None or self.n_descriptors_in_ > 0
        varies = learner.network.intercept and 0 in self._random(learner)
        if wanted is True and (head or side or not (varies and self._gaussian)):
            raise ValueError(
                "contextual_effects=True is for linear estimators with squared loss, an intercept "
                "that varies between tasks, and no side information. Set "
                'contextual_effects="auto", which leaves them out where they cannot be.'
            )
        return False if head or (wanted == "auto" and self.regularization is None) else wanted

    def _learn_generalized(self, learner, tables, descriptor, report):
        (table,) = tables
        if table.n_tasks == 1:
            warn_of_one_task()
        plain = self.regularization is None
        settings = {"precision": 0.0} if plain else {"regularization": self.regularization}
        prior = learn_generalized(
            learner,
            table,
            plain=plain,
            pooled=self.contextual_effects == "auto",
            random=self._random(learner),
            covariance=self.covariance,
            n_quadrature=self.n_quadrature,
            max_iter=self.max_iter,
            report=lambda prior: report(lambda: MetaModel(prior(), descriptor)),
            **settings,
        )
        self._check_converged(prior.model, WAY_OUT)
        n_rows = table.sums(table.weights > 0).astype(np.intp)
        warn_of_singular_generalized(prior, n_rows, self._names(learner), plain)
        return prior

    def _residuals(self, learner, table):
        """What a head is fitted on: the targets less the predictions of the body."""
        if not isinstance(learner, HeadLearner) or len(table.y) == 0:
            return table
        return replace(table, y=table.y - table.X[:, 0])

    def _random(self, learner):
        """Positions of the random coefficients; the intercept, where there is one, is 0."""
        intercept = learner.network.intercept
        n_coefs = learner.n_features + intercept
        if isinstance(self.random_effects, str):
            if self.random_effects == "all":
                return np.arange(n_coefs)
            effects = ["intercept"]
        else:
            effects = list(self.random_effects)
        names = learner.column_names(self._feature_names())
        positions = []
        for effect in effects:
            if names is not None and effect in names:
                position = names.index(effect) + intercept
            elif effect == "intercept" and intercept:
                position = 0
            elif _is_index(effect) and 0 <= effect < learner.n_features:
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
        if not self._gaussian:
            return generalized_rows(learner, meta_model.prior, table)
        coefs, covariance, noise = posterior_rows(meta_model.prior, self._residuals(learner, table))
        rows = [coefs, covariance, noise, table.sums(table.weights)[:, None]]
        return np.concatenate(rows, axis=1).astype(learner.dtype, copy=False)

    def _predictor(self, learner, meta_model):
        return learner if self._gaussian else GeneralizedPredictor(learner, meta_model.prior)

    # -- predictions -------------------------------------------------------------------------------

    def _deviations(self, X, groups):
        X, params, index = self._query(X, groups)
        if not self._gaussian:
            return self._predicts.with_deviation(params, X, index)
        prior, (covariance, noise) = self._learned("prior"), self._variances(params)
        std = prior.deviation(prior.of_coefs(covariance, X, index), noise[index])
        return self._predicts.predict("predict", params, X, index), std

    def _variances(self, params):
        """Posterior covariances in parameter rows, and the noise where tasks have their own."""
        rest = params[:, 1 + self.learner_.n_features : -1].astype(np.float64)
        n_noise = 2 if self._learned("prior").noise is not None else 0
        return np.split(rest, [rest.shape[1] - n_noise], axis=1)

    def _has_intervals(self):
        return self._gaussian or not (is_classifier(self) or self.regularization is None)

    def _centres(self, X, groups, level):
        """Intervals of Student's t; the prior is learned without the fold of a task."""
        X, params, index = self._query(X, groups)
        prior = self._learned("prior")
        if not self._gaussian:
            warn_of_few_tasks(self.n_tasks_, level)
            return *self._predicts.interval(params, X, index, level), params.dtype
        warn_of_few_tasks(prior.moments.n_tasks, level)
        mean = self.learner_.predict("predict", params, X, index).astype(np.float64)
        covariance, noise = self._variances(params)
        of_coefs = prior.of_coefs(covariance, X, index)
        half = half_widths(prior, of_coefs, params[index, -1], level, noise[index])
        return mean, prior.scaling.y_scale * half, params.dtype

    # -- what was learned, in the units of the data ------------------------------------------------

    @property
    def coef_names_(self):
        """Names of the coefficients, in the order of ``prior_mean_``."""
        self._learned("prior")
        learner = self.learner_
        names = self._names(learner)
        if learner.n_outputs > 1:
            names = [f"{name}[{c}]" for name in names for c in learner.classes]
        return np.array(names, dtype=object)

    def _facts(self):
        prior = {
            "Coefficient": self.coef_names_,
            "Mean": self.prior_mean_,
            "Standard deviation between tasks": np.sqrt(np.diag(self.prior_covariance_)),
        }
        return super()._facts() | {
            "Regularization, in tasks": self.regularization_,
            "Noise, standard deviation": np.sqrt(self.noise_variance_) if self._gaussian else None,
            "Prior": prior,
        }

    @property
    def prior_mean_(self):
        """Prior mean of the coefficients (intercept first) where the side information is 0."""
        prior = self._learned("prior")
        if not self._gaussian:
            s = -prior.s_mean / prior.s_scale
            return self._in_units(prior.model.means(s[None])[0])
        return prior.mean_at(np.zeros(len(prior.s_mean)))

    @property
    def prior_covariance_(self):
        """Prior covariance of the coefficients; 0 in rows and columns of fixed effects."""
        prior = self._learned("prior")
        if self._gaussian:
            return prior.covariance()
        model, k = prior.model, prior.model.n_outputs
        random = (model.random[:, None] * k + np.arange(k)).ravel()
        J = self._in_units(np.eye(len(model.B))[random]) - self._in_units(np.zeros(len(model.B)))
        return J.T @ model.covariance @ J

    def _in_units(self, theta):
        """Coefficients in the units of the data, from those of the network."""
        learner = self.learner_
        missing = learner.network.n_params - theta.shape[-1]
        theta = np.concatenate([np.zeros((*theta.shape[:-1], missing)), theta], axis=-1)
        rows = learner.rows(np.atleast_2d(theta))[:, missing:]
        return rows.reshape(*theta.shape[:-1], rows.shape[1])

    @property
    def descriptor_coef_(self):
        """What one unit of each descriptor adds to the prior mean."""
        prior = self._learned("prior")
        if self._gaussian:
            return prior.side_coefs()
        M = prior.model.B[:, 1:].T / prior.s_scale[:, None]
        return (self._in_units(M) - self._in_units(np.zeros(M.shape[1]))).T

    @property
    def contextual_coef_(self):
        """What one unit of the mean of each feature adds to the intercept of its task."""
        return self._learned("prior").contextual_coefs()

    @property
    def contextual_effects_(self):
        """Whether they are used."""
        return getattr(self._learned("prior"), "context", None) is not None

    @property
    def noise_variance_(self):
        """Variance of the noise; with other losses than the squared one, the dispersion."""
        prior = self._learned("prior")
        return prior.noise_variance() if self._gaussian else prior.model.dispersion

    @property
    def noise_freedom_(self):
        """Degrees of freedom of the prior of the noise."""
        noise = getattr(self._learned("prior"), "noise", None)
        return np.inf if noise is None else noise.freedom

    @property
    def log_likelihood_(self):
        """Log (restricted) likelihood of the data as they came, comparable with lme4's."""
        prior = self._learned("prior")
        return prior.log_likelihood() if self._gaussian else prior.model.log_likelihood

    regularization_ = learned("prior.nu", "Strength of the regularisation, in tasks.")
    regularization_scores_ = learned("prior.scores", "Log scores of the strengths tried.", dict)
    n_iter_ = learned("prior.model.n_iter", "Iterations of the optimiser.")

    @property
    def task_coefs_(self):
        """Posterior means of the coefficients of the remembered tasks, ordered as ``task_ids_``."""
        self._learned("prior")
        learner = self.learner_
        first = 0 if learner.network.intercept else learner.n_outputs
        if self._memory.params is None:
            raise AttributeError("no tasks are remembered; fit or adapt with task ids.")
        return self._memory.params[:, first : learner.network.n_params]


def _is_index(effect):
    return isinstance(effect, Integral) and not isinstance(effect, bool)
