r"""A Gaussian prior of linear models, learned over tasks, in the units of the data.

    y = X w_t + e,   w_t ~ N(m + M s_t, Sigma),   e ~ N(0, sigma² I)

The prior is learned from the moments of every task (:mod:`..kernels.mixed_model`) in units in which
variances are comparable: features, target and side information s standardised over all rows,

    x_raw = x_mean + x_scale * x,   y_raw = y_mean + y_scale * y,   w_raw = J w + offset.

``shift`` is where the data were moved to before their squares were summed, so that these stay exact
for data far from 0. More tasks add their moments, and the prior is learned anew from all.

Where s has more entries than there are tasks, M has a prior ``N(0, tau² I)``, and tasks tell of it
only in the span of theirs. With U an orthonormal basis of this the model sees ``[U's, |s - UU's|]``
in place of s, the same model: the last entry, 0 in training, brings in ``tau² |s - UU's|²``, what M
adds to the variance of other tasks.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..kernels.mixed_model import MixedModel, Moments, fit_mixed_model, posterior
from ..kernels.scaling import Scaling, mean_and_std, nonzero_scale
from .context import Context, context_of, posterior_in_context, surely_better
from .noise import TaskNoise, learn_noise
from .pull import MIN_TASKS, Pull, learn_pull, with_pooled
from .regularization import ROUGH, Held, fit_regularized, refit, two_of

__all__ = ["GaussianPrior", "learn_gaussian"]


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """A learned prior and the units that it works in."""

    model: MixedModel  # in standardised units
    moments: Moments  # of all meta-train tasks, of [1, x - shift, y - shift]
    shift: np.ndarray  # (n_features + 1,)
    scaling: Scaling  # from the data to standardised units
    s_mean: np.ndarray  # (n_descriptors,): the same for the side information
    s_scale: np.ndarray  # (n_descriptors,)
    intercept: bool
    held: Held = None  # what regularisation is chosen on
    nu: float = 0.0  # strength of the regularisation, in tasks
    scores: dict = field(default_factory=dict)  # log score of every strength that was tried
    two: str = None  # the covariance that the regularised one is pulled to,
    variances: np.ndarray = None  # (n_random,): and its diagonal
    settings: dict = field(default_factory=dict)  # of the fit, for fits on fewer tasks
    context: Context = None  # where the mean of the intercept depends on the means of features
    pull: Pull = None  # of prior means of tasks with few rows to pooled least squares
    noise: TaskNoise = None  # where the variance of the noise differs between tasks
    s_basis: np.ndarray = None  # (n_descriptors, n_tasks): U, where entries are more than tasks

    @property
    def n_coefs(self):
        """Coefficients of rows, without contextual effects."""
        return len(self.scaling.x_scale) + self.intercept

    def mean_of_units(self):
        """What is subtracted from shifted ``[x, y]`` to standardise them."""
        return np.append(self.scaling.x_mean, self.scaling.y_mean) - self.shift

    def scale_of_units(self):
        """What they are then divided by."""
        return np.append(self.scaling.x_scale, self.scaling.y_scale)

    def standardized(self, moments):
        """Moments of shifted data in standardised units."""
        scaled = moments.rescaled(self.mean_of_units(), self.scale_of_units())
        return replace(scaled, S=self.side(moments.S), intercept=self.intercept)

    def side(self, S):
        """Side information, shape (n_descriptors, n_tasks), as the model sees it."""
        S = (S - self.s_mean[:, None]) / self.s_scale[:, None]
        if self.s_basis is None:
            return S
        inside = self.s_basis.T @ S
        return np.vstack([inside, np.linalg.norm(S - self.s_basis @ inside, axis=0)])

    def jacobian(self):
        """J, from standardised coefficients to those of the data."""
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

    def mean_at(self, s):
        """The prior mean, shape (n_coefs,), of tasks with side information s."""
        B = self.model.B[: self.n_coefs]
        return self.coefs(B @ np.append(1.0, self.side(s[:, None])))

    def contextual_coefs(self):
        """What one unit of the mean of every feature adds to the intercept of its task."""
        if self.context is None:
            return np.zeros(len(self.scaling.x_scale))
        coefs = self.context.Q @ self.model.B[self.n_coefs :, 0]
        return coefs * self.scaling.y_scale / self.scaling.x_scale

    def training(self, tasks=None):
        """Moments of the meta-train tasks, or of some of them, as the model sees them."""
        moments = self.plain(tasks)
        return moments if self.context is None else self.context.augmented(moments)

    def plain(self, tasks=None):
        """The same without contextual effects."""
        return self.standardized(self.moments if tasks is None else self.moments.of(tasks))

    def covariance(self):
        """Sigma, shape (n_coefs, n_coefs); 0 in rows and columns of fixed effects."""
        J = self.jacobian()[:, self.model.random] @ self.model.factor
        return self.model.sigma2 * J @ J.T

    def noise_variance(self):
        """sigma²."""
        sigma2 = self.model.sigma2 if self.noise is None else self.noise.scale
        return float(sigma2 * self.scaling.y_scale**2)

    def side_coefs(self):
        """M, shape (n_coefs, n_descriptors)."""
        M = self.model.B[: self.n_coefs, 1:]
        if self.s_basis is not None:
            M = M[:, :-1] @ self.s_basis.T
        return self.jacobian() @ (M / self.s_scale)

    def log_likelihood(self):
        """Log (restricted) likelihood of the data as they came."""
        model, scaling = self.model, self.scaling
        deviance = model.deviance + 2 * model.dof * np.log(scaling.y_scale)
        if model.reml:  # log|P| in the units of the data, of what has no prior
            x_scale = np.append(1.0, scaling.x_scale)[0 if self.intercept else 1 :]
            x_scale = np.append(x_scale, np.ones(len(model.B) - self.n_coefs))
            unit = np.outer(x_scale, np.append(1.0, self.s_scale)).ravel()
            flat = model.kept if model.slopes is None else np.setdiff1d(model.kept, model.slopes)
            deviance += 2 * np.log(unit[flat]).sum()
        return float(-deviance / 2)

    def without_side(self):
        """The prior of tasks whose side information is not known: its variance counts."""
        n_coefs, q = self.model.B.shape
        if q == 1 or self.moments.n_tasks < 2:
            return self
        S = self.side(self.moments.S)
        M, factor = self.model.B[:, 1:], np.zeros((n_coefs, n_coefs))
        factor[np.ix_(self.model.random, self.model.random)] = self.model.factor
        of_side = M @ np.atleast_2d(np.cov(S)) @ M.T / self.model.sigma2
        values, vectors = np.linalg.eigh(factor @ factor.T + of_side)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
        return replace(self, model=replace(self.model, factor=factor, random=np.arange(n_coefs)))

    def posterior(self, moments):
        """Posterior of the coefficients of every task, given moments of shifted data.

        Returns
        -------
        coefs : ndarray of shape (n_tasks, 1 + n_features)
            Means, in the units of the data; the intercept is 0 where there is none.
        covariance : ndarray of shape (n_tasks, n_coefs * (n_coefs + 1) / 2)
            Upper triangles of their covariances, in standardised units.
        noise : ndarray of shape (n_tasks, 0 or 2)
            Its variance, standardised, and degrees of freedom, where every task has its own.
        """
        moments, noise = self.standardized(moments), np.empty((moments.n_tasks, 0))
        if self.noise is None:
            w, C = self.posterior_of(self.model, moments)
        else:
            w, C, *noise = self.noise.posterior(self, self.model, moments)
            noise = np.stack(noise, axis=1)
        coefs = self.coefs(w.T)
        if not self.intercept:
            coefs = np.concatenate([np.zeros((len(coefs), 1)), coefs], axis=1)
        return coefs, C[np.triu_indices(len(C))].T, noise

    def predictive_of(self, model, moments):
        """Means, covariances, variances of the noise and their degrees of freedom."""
        if self.noise is not None:
            return self.noise.posterior(self, model, moments)
        noise = (np.full(moments.n_tasks, v) for v in (model.sigma2, self.n_left))
        return *self.posterior_of(model, moments), *noise

    @property
    def n_left(self):
        """Degrees of freedom of noise that tasks have in common: rows beyond one of each."""
        return self.moments.n.sum() - self.moments.n_tasks

    def mean_of(self, model, moments, pull):
        """The means of :meth:`posterior_of` alone."""
        return self.posterior_of(model, moments, pull, with_covariance=False)[0]

    def posterior_of(self, model, moments, pull=None, precision=None, *, with_covariance=True):
        """Means and covariances of a model of these units, given moments in these units.

        ``pull`` takes the place of that of the prior, in every task; ``precision`` is that of its
        rows, relative to that of the noise of the model.
        """
        if pull is None:
            pull = 0.0 if self.pull is None else self.pull(moments.n)
        if self.context is not None:
            return posterior_in_context(
                model, self.context, moments, pull, precision, with_covariance
            )
        means = None
        if model.pooled is not None:
            means = model.B @ moments.s + pull * ((model.pooled - model.B) @ moments.s)
        if precision is not None:
            moments = moments.weighted(precision)
        return posterior(model, moments, means=means, with_covariance=with_covariance)

    def of_coefs(self, covariance, X, index):
        """What the coefficients of their tasks add to the variance of predictions, standardised.

        The covariance is as of :meth:`posterior`; ``index`` are the tasks of the rows X.
        """
        Z = self.scaling.features(X)
        if self.intercept:
            Z = np.concatenate([np.ones((len(X), 1)), Z], axis=1)
        variance = np.zeros(len(X))
        for k, (i, j) in enumerate(zip(*np.triu_indices(Z.shape[1]), strict=True)):
            both = covariance[index, k] * Z[:, i] * Z[:, j]
            variance += both if i == j else 2 * both
        return np.maximum(variance, 0.0)

    def deviation(self, of_coefs, noise=None):
        """Standard deviations of new targets; noise as :meth:`posterior` has it."""
        sigma2 = self.model.sigma2
        if self.noise is not None:
            sigma2 = self.noise.mean(*noise.T)
        return self.scaling.y_scale * np.sqrt(of_coefs + sigma2)


def learn_gaussian(
    moments,
    shift,
    held,
    random,
    *,
    intercept=True,
    standardize=True,
    covariance="full",
    regularization="auto",
    contextual=False,
    per_task=False,
    callback=None,
    **settings,
):
    """Learn a GaussianPrior.

    Parameters
    ----------
    moments : Moments
        Of ``[1, x - shift, y - shift]``.
    shift : ndarray of shape (n_features + 1,)
    held : Held or None
        In the units of the moments.
    random : ndarray of shape (n_random,)
        Positions of the coefficients that vary between tasks.
    intercept : bool, default=True
        Whether there is one; it is coefficient 0 then.
    standardize : bool, default=True
        Whether to work in standardised units; features whose coefficients vary are scaled but not
        centred where the intercept does not vary, so that it still does not. A full covariance,
        to which units are nothing, is always learned in these.
    covariance : {"full", "diag", "spherical"}, default="full"
    regularization : float, "auto" or None, default="auto"
        Strength in tasks, see :mod:`.regularization`; None: plain likelihood.
    contextual : {"auto", True, False}, default=False
        Whether the prior mean of the intercept depends on the means of features, see
        :mod:`.context`.
    per_task : bool, default=False
        Whether the variance of the noise differs between tasks, see :mod:`.noise`.
    callback : callable, default=None
        ``callback(get_prior)`` after each iteration; True stops.
    **settings : dict
        Of :func:`fit_mixed_model`.
    """
    _, mean, scale = moments.pooled()
    mean = mean + shift
    constant = nonzero_scale(scale, mean) != scale
    scale = np.where(constant, 1.0, scale)
    if not (standardize or covariance == "full"):
        scale = np.ones_like(scale)
    if intercept:  # a column that is constant but for rounding adds nothing to it
        scale[:-1][constant[:-1]] = np.inf
    if not (standardize or covariance == "full") or not intercept:
        mean = np.zeros_like(mean)
    elif 0 not in random:  # to centre a feature moves variation to the intercept
        mean[random - 1] = 0.0
    if settings.get("centred"):
        mean[-1] = 0.0  # without rows, 0 is predicted
    scaling = Scaling(mean[:-1], scale[:-1], mean[-1], scale[-1])
    s_mean, s_std = mean_and_std(moments.S.T)
    s_scale = nonzero_scale(s_std, s_mean)
    prior = GaussianPrior(None, moments, shift, scaling, s_mean, s_scale, intercept, held)
    if len(s_mean) > moments.n_tasks + 1 and regularization is not None:
        prior = replace(prior, s_basis=np.linalg.qr(prior.side(moments.S))[0])
    prior = replace(prior, settings={"covariance": covariance, **settings})
    settings |= {"covariance": covariance}
    if callback is not None:
        settings["callback"] = lambda model: callback(lambda: replace(prior, model=model()))
    standardized = prior.standardized(moments)
    context = None
    if contextual and intercept and 0 in random and not len(s_mean):
        context = context_of(standardized)
    if contextual is True:
        prior, context = replace(prior, context=context), None
        standardized = prior.training()
    if regularization is None:
        if prior.context is not None:
            settings["slopes"] = prior.n_coefs + np.arange(len(prior.context.rho))
        prior = replace(prior, model=fit_mixed_model(standardized, random, **settings))
        return prior if not per_task else replace(prior, noise=learn_noise(prior))
    prior = _regularized(prior, standardized, random, regularization, settings)
    if context is not None and len(held.tasks) >= MIN_TASKS and held.weight.any():
        plain, other = _gated(prior, context, random, settings)
        if surely_better(plain, other):
            prior = _regularized(other, other.training(), random, prior.nu, settings)
    if contextual == "auto":
        prior = replace(prior, model=with_pooled(prior.model, standardized))
        prior = replace(prior, pull=learn_pull(prior, held.tasks))
    return prior if not per_task else replace(prior, noise=learn_noise(prior))


def _regularized(prior, moments, random, nu, settings):
    """The prior, learned from moments as it sees them; scores are kept where nu is given."""
    held = prior.held
    if held is not None:
        held = held.transformed(prior.mean_of_units(), prior.scale_of_units())
    n_contexts = 0 if prior.context is None else len(prior.context.rho)
    two, model, nu, scores = fit_regularized(
        moments, random, nu, held, n_contexts=n_contexts, **settings
    )
    return replace(
        prior,
        model=model,
        nu=nu,
        scores=scores or prior.scores,
        two=two_of(settings["covariance"], random, prior.intercept),
        variances=two.sigma2 * np.diag(two.factor) ** 2,
    )


def _gated(prior, context, random, settings):
    """Priors without contextual effects and with them, of the same strength of regularisation.

    Both are fits to the tasks that are held back.
    """
    tasks, plain, other = prior.held.tasks, prior, replace(prior, context=context)
    settings = settings | ROUGH | {"callback": None}
    if len(tasks) < prior.moments.n_tasks:
        plain = replace(prior, model=refit(prior, prior.training(tasks)))
    return plain, _regularized(other, other.training(tasks), random, prior.nu, settings)
