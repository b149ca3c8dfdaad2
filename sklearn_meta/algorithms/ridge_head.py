r"""A representation that is learned over tasks, with a last layer that is solved for each.

    y = w_t' [1, phi(x)] + e,   w_t ~ N(m, L L'),   e ~ N(0, sigma²)

phi is the body of a perceptron, trained through the solve together with the prior of w_t: the
gradient is in ``kernels/ridge_head.py``, the prior in ``priors/ridge_head.py``. With features that
are fixed it is hierarchical Bayes over features.
"""

from dataclasses import KW_ONLY, replace

import numpy as np
from sklearn.base import is_classifier
from sklearn.neural_network import MLPRegressor

from ..base import learned, with_parameters
from ..base.embedding import EmbeddingMetaEstimator, Representation
from ..base.episodes import EpisodeSampler
from ..base.gradient_docs import documented
from ..base.intervals import DeviationMixin
from ..base.moments import gather_moments, warn_of_one_task
from ..base.probe import draw_probe
from ..kernels.body import Body
from ..kernels.mixed_model import MixedModel
from ..kernels.network import Batch
from ..kernels.ridge_head import Head, codes, evidence_loss, query_loss
from ..kernels.scaling import Scaling
from ..learners import has_class_outputs, is_squared_linear, last_step
from ..learners.privates import StrOptions
from ..priors.gaussian import GaussianPrior
from ..priors.intervals import half_widths
from ..priors.prototypes import temperature
from ..priors.ridge_head import HeadPrior, Rows, learn_head
from ..tasks.table import padded_batches

__all__ = ["RidgeHead"]

MAX_TASKS = 2000  # that the prior of a last layer is learned from in closed form
MAX_HELD = 400  # that intervals are calibrated on
LEVELS = (1, 2, 5, 10, 20)  # shots that the scale of classes is learned for


@documented
@with_parameters
class RidgeHead(DeviationMixin, EmbeddingMetaEstimator):
    r"""A learned representation whose last layer is solved in closed form for each task.

    .. math:: y = w_t^\top [1, \varphi(x)] + e, \quad w_t \sim N(m, S), \quad e \sim N(0, \sigma^2)

    The hidden layers :math:`\varphi` of a perceptron are the same in all tasks. ``meta_fit`` trains
    them through the solve, with exact gradients, together with the prior :math:`m, S, \sigma^2` of
    the last layer; ``adapt`` is the posterior of :math:`w_t`, which takes no steps and no rate.
    Classes are regressed on by codes of 0 and 1, with a learned scale (R2-D2); for numbers the
    predictive variance is known (ALPaCA).

    Parameters
    ----------
    estimator : estimator, default=None
        ``MLPRegressor`` or ``MLPClassifier``, whose hidden layers and activation are those of the
        body. Or a linear one with squared loss, or a linear classifier with class outputs
        (``LinearDiscriminantAnalysis``, ``LogisticRegression``): then features are fixed, those
        of ``body`` or the columns themselves, and this is ``HierarchicalBayes`` over features, with
        a prior that is learned by expectation maximisation. Alone or at the end of a Pipeline.
        Their own penalties are not used. None: tanh and two layers of 40.
    {body}
    classes : {"shared", "per_task"}, default="shared"
        Whether all tasks have the same classes, or every task has labels of its own (N-way tasks).
    n_shots : int, range or (int, int), default=(1, 10)
        Support rows of an episode in training: of each class, with ``classes="per_task"``. Of a
        range, each batch draws one number.
    {training}
    init : {"pooled", "random"}, default="random"
        Where training starts: at a fit on the pooled rows, or as the perceptron draws its first
        weights.
    {early}
    standardize : bool, default=True
        Whether to work on features (and targets that are numbers) standardised over the meta-train
        rows; predictions are always in the units of the data.
    {seeds}
    objective : {"query", "evidence"}, default="query"
        What trains a body: the predictive likelihood of the query rows given the support (for
        classes their log loss), or the likelihood of all rows of an episode together.
    covariance : {"full", "diag"}, default="full"
        The form of :math:`S`.

    Attributes
    ----------
    prior_mean_ : ndarray of shape (1 + n_features, n_outputs)
        :math:`m`, the constant first, in the units of the body.
    prior_covariance_ : ndarray of shape (1 + n_features, 1 + n_features)
        :math:`S`.
    noise_variance_ : float
        :math:`\sigma^2`, in the units of y.
    {trained}

    See Also
    --------
    HierarchicalBayes : The linear model itself, with its regularisation and side information.
    MAML : All layers adapt, by gradient steps.
    PrototypeClassifier : Class means instead of a regression.

    Notes
    -----
    Of numbers, and wherever features are fixed, the prior is at the end learned anew for the body
    that was found, by as many steps of expectation maximisation as make tasks that were left out
    most likely.

    References
    ----------
    Bertinetto, Henriques, Torr, Vedaldi (2019), Meta-learning with differentiable closed-form
    solvers, ICLR. Harrison, Sharma, Pavone (2018), Meta-learning priors for efficient online
    Bayesian regression, WAFR.

    Examples
    --------
    >>> from sklearn_meta import RidgeHead
    >>> from sklearn_meta.datasets import make_sinusoid_tasks
    >>> tasks = make_sinusoid_tasks(201, random_state=0)
    >>> model = RidgeHead(max_iter=300, random_state=0).meta_fit(tasks[:200])
    >>> new = tasks[200]
    >>> model.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > 0.9
    True
    """

    _: KW_ONLY
    init: str = "random"
    objective: str = "query"
    covariance: str = "full"

    _parameter_constraints = {
        "objective": [StrOptions({"query", "evidence"})],
        "covariance": [StrOptions({"full", "diag"})],
    }

    def _default_estimator(self):
        return MLPRegressor(hidden_layer_sizes=(40, 40), activation="tanh")

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        squared = is_squared_linear(last) or (
            type(last) is MLPRegressor and last.loss == "squared_error"
        )
        if not (has_class_outputs(last) if is_classifier(last) else squared):
            raise ValueError(
                "RidgeHead works with MLPRegressor, MLPClassifier, linear regressors with squared "
                "loss, LinearDiscriminantAnalysis, LogisticRegression and "
                f"SGDClassifier(loss='log_loss'), alone or at the end of a Pipeline; got {last!r}."
            )
        for name, value in (("fit_intercept", True), ("positive", False)):
            if getattr(last, name, value) != value:
                raise ValueError(
                    f"RidgeHead learns a prior of all coefficients, the intercept included; set "
                    f"{type(last).__name__}({name}={value})."
                )

    # -- training ----------------------------------------------------------------------------------

    def _head(self, learner):
        body = Body(learner.network)
        n_means = 1 if self._own_classes else learner.n_outputs
        return body, Head(body.n_features, n_means, self.covariance == "diag")

    def _start_of(self, learner, theta):
        body, head = self._head(learner)
        start = head.start(1 / np.sqrt(body.n_features + 1), theta.dtype)
        return np.concatenate([theta[: body.n_params], start])

    def _meta_gradient(self, learner, meta_model, episode):
        support, query, n_rows = episode
        body, head = self._head(learner)
        loss = None if learner.classes is None else learner.network.loss
        with np.errstate(over="ignore", invalid="ignore"):
            if self.objective == "query":
                return query_loss(body, head, meta_model.theta, support, query, n_rows, loss)
            both, total = _together(support, query, n_rows)
            return evidence_loss(body, head, meta_model.theta, both, total, loss is not None)

    def _finished(self, learner, model, table, rng):
        if table.n_tasks == 1:
            warn_of_one_task()
        _, head = self._head(learner)
        m, L, log_sigma, _ = head.unpack(model.theta.astype(np.float64))
        prior = HeadPrior(m, L, float(np.exp(2 * log_sigma)))
        if table.n_tasks == 1 or learner.classes is None or not self._has_body(learner):
            some = _some(table, MAX_TASKS, rng)
            tasks, batches, _ = zip(*self._rows(learner, model, some), strict=True)
            wide = HeadPrior(0 * m, np.eye(len(L)), 1.0)  # from where it converges fastest
            prior = learn_head(wide, batches, tasks, rng, self.covariance == "diag")
        if table.n_tasks == 1:  # nothing is known of how tasks differ
            prior = replace(prior, L=0 * prior.L)
        if learner.classes is None:
            prior = replace(prior, gaussian=self._gaussian(learner, model, prior, table, rng))
        else:
            prior = self._calibrated(learner, model, prior, table, rng)
        return Representation(**{**vars(model), "prior": prior})

    def _rows(self, learner, model, table):
        """Batches of tasks: their numbers, features and codes, and total weights."""
        Z = self._features(learner, model, table.X).astype(np.float64)
        places = table.y if table.own_classes is not None else None
        for padded in padded_batches(replace(table, X=Z)):
            y = learner.encode(padded.y if places is None else padded.y.astype(np.intp))
            y = y.astype(np.float64)
            y = codes(y) if learner.classes is not None else y
            yield padded.tasks, Rows.of(padded.X, y, padded.weight), padded.weight.sum(axis=1)

    def _gaussian(self, learner, model, prior, table, rng):
        """The same prior as one of linear models, whose intervals are known."""
        some = _some(table, MAX_HELD, rng)
        Z = self._features(learner, model, some.X).astype(np.float64)
        y = learner.units.target(some.y).astype(np.float64)
        moments, shift, held = gather_moments(
            [replace(some, X=Z, y=y, descriptors=np.zeros((some.n_tasks, 0)))]
        )
        d = len(prior.L)
        sigma = np.sqrt(prior.sigma2)
        fitted = MixedModel(
            B=prior.m,
            factor=prior.L / sigma,
            sigma2=prior.sigma2,
            random=np.arange(d),
            deviance=np.nan,
            dof=float(len(table.y)),
            kept=np.arange(d),
            reml=False,
            n_iter=prior.n_steps,
            converged=True,
            B_covariance=prior.L @ prior.L.T / table.n_tasks,
        )
        settings = {"covariance": self.covariance, "reml": False, "start": fitted}
        none = np.zeros(0)
        scaling = Scaling.identity(d - 1)
        return GaussianPrior(
            fitted, moments, shift, scaling, none, none, True, held, settings=settings
        )

    def _calibrated(self, learner, model, prior, table, rng):
        """The scale of the scores of classes for some numbers of rows."""
        own = None if table.own_classes is None else table.y
        y = learner.encode(table.y)
        sampler = EpisodeSampler(learner, table, y, (1, 1), None, True, own)
        body = Body(learner.network)
        levels = {}
        for k in LEVELS:
            support, query, n_rows = draw_probe(sampler, np.arange(table.n_tasks), k, rng)
            phi = body.features(model.theta[: body.n_params], support.X).astype(np.float64)
            weight = support.weight * n_rows[:, None]
            w, _ = prior.posterior(Rows.of(phi, codes(support.y.astype(np.float64)), weight))
            phi = body.features(model.theta[: body.n_params], query.X)
            scores = phi @ w[:, 1:] + w[:, :1]
            target, real = query.y.argmax(axis=2), query.weight > 0
            if scores.shape[2] == 1:
                scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
                target = query.y[..., 0].astype(np.intp)
            if real.any():
                scores = scores[real]
                fit = temperature(scores, 0 * scores, target[real], query.weight[real])
                levels[float(n_rows.mean())] = fit[0]
        shots = np.array(sorted(levels)) if levels else np.zeros(1)
        return replace(prior, shots=shots, log_scale=np.array([levels.get(k, 0.0) for k in shots]))

    # -- adaptation --------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        body = Body(learner.network)
        prior, d, K = meta_model.prior, body.n_features + 1, learner.n_outputs
        regressor = learner.classes is None
        width = d * K + (d * (d + 1) // 2 + 1 if regressor else 0)
        out = np.empty((table.n_tasks, width), dtype=learner.dtype)
        upper = np.triu_indices(d)
        for tasks, rows, n_rows in self._rows(learner, meta_model, table):
            w, V = prior.posterior(rows)
            w = np.broadcast_to(w, (len(tasks), d, K))
            if regressor:
                own = [w[..., 0], V[:, *upper], n_rows[:, None]]
                out[tasks] = np.concatenate(own, axis=1)
            else:
                log_scale = np.interp(np.log1p(n_rows), np.log1p(prior.shots), prior.log_scale)
                out[tasks] = (np.exp(log_scale)[:, None, None] * w).reshape(len(tasks), -1)
        return out

    # -- predictions -------------------------------------------------------------------------------

    def _deviations(self, X, groups):
        mean, of_coefs, _, prior = self._predictive(X, groups)
        return mean, self.learner_.units.y_scale * prior.deviation(of_coefs)

    def _centres(self, X, groups, level):
        """The fold of a task is left out of the prior of the last layer; the body has seen it."""
        mean, of_coefs, n_rows, prior = self._predictive(X, groups)
        half = self.learner_.units.y_scale * half_widths(prior, of_coefs, n_rows, level)
        return mean, half.astype(mean.dtype, copy=False), mean.dtype

    def _predictive(self, X, groups):
        """Means, what the last layer adds to standardised variances, numbers of known rows."""
        X, params, index = self._query(X, groups)
        mean = self._predicts.predict("predict", params, X, index)
        prior = self._learned("prior").gaussian
        Z = self._features(self.learner_, self.meta_model_, X).astype(np.float64)
        covariance = params[:, Z.shape[1] + 1 : -1]
        return mean, prior.of_coefs(covariance, Z, index), params[index, -1], prior

    # -- what was learned --------------------------------------------------------------------------

    prior_mean_ = learned("prior.m", "Prior mean of the last layer.")
    prior_covariance_ = learned("prior.L", "Prior covariance of the last layer.", lambda L: L @ L.T)

    @property
    def noise_variance_(self):
        """Variance of the noise."""
        scale = self.learner_.units.y_scale if self.learner_.classes is None else 1.0
        return float(self._learned("prior").sigma2 * scale**2)


def _some(table, most, rng):
    """At most so many of the tasks of a table."""
    if table.n_tasks <= most:
        return table
    start = rng.integers(table.n_tasks - most + 1)
    return table.block(start, start + most)


def _together(support, query, n_rows):
    """Supports and queries as rows of one batch, and total weights."""
    n_query = (query.weight > 0).sum(axis=1)
    total = n_rows + n_query
    weight = [support.weight * n_rows[:, None], query.weight * n_query[:, None]]
    weight = np.concatenate(weight, axis=1) / np.maximum(total, 1)[:, None]
    X, y = (np.concatenate(pair, axis=1) for pair in ((support.X, query.X), (support.y, query.y)))
    return Batch(X, y, weight.astype(X.dtype, copy=False)), total
