r"""A prior of a network's linear coefficients that depends on side information.

    theta_t ~ N(B [1, s_t], Sigma),     p(y | theta) ~ exp(-loss(y, X theta) / phi)

for any loss with curvature: the hierarchical generalised linear model of ``laplace.py`` in the
parameters of a :class:`Network`, descriptors standardised. ``phi`` is estimated where the loss is
of numbers, and 1 where it is of labels or counts; losses that are no log-likelihood (hinges) stand
for one. The meta-model's prior takes the place of the estimator's own penalty; slopes and what they
owe to the descriptors have a penalty themselves, of precision :data:`PRECISION` in standardised
units, since there may be more of them than rows. So B has no part outside the span of the s_t:
where these have more entries than there are tasks, it is learned in it.

With a log link the mean of a task without rows is ``exp(m + V / 2)`` of raw predictions N(m, V). It
is too large where slopes are not as normal as that and x is far from its mean: so means are
``exp(m + c V / 2)``, with the c of least deviance on the tasks.

The covariance is pulled towards a fit with two variances, as in ``regularization.py``. Where tasks
have fewer labels than random coefficients, Laplace's approximation may be greatest for variances
that tell all labels apart. So rows are left out (``left_out_densities``), and where they are
predicted better without slopes that vary, by more than the standard error over tasks, none do.

References
----------
Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased
regularization and fine tuning, NeurIPS.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
from scipy.optimize import bisect

from ..kernels.families import PoissonFamily, QuasiPoissonFamily, family_of
from ..kernels.predictive import predictor_moments
from ..kernels.scaling import mean_and_std, nonzero_scale
from .laplace import LaplaceModel, fit_laplace, posterior, predictive_scores
from .regularization import ROUGH, gain

__all__ = ["ConditionalPrior", "fit_prior", "posterior_modes", "with_means_of"]

PRECISION = 1.0
MAX_FULL = 30  # rows of a full covariance
MIN_VARIANCE = 1e-4  # in standardised units
MAX_RAW = 300.0  # its exponential, times what it may meet, is a number


@dataclass(frozen=True, eq=False)
class ConditionalPrior:
    """The meta-model."""

    model: LaplaceModel  # in units of standardised data and descriptors
    s_mean: np.ndarray  # (n_descriptors,)
    s_scale: np.ndarray  # (n_descriptors,)
    nu: float = 0.0  # strength of the regularisation, in tasks; infinite where slopes do not vary
    # by strength of what was compared, log densities per row, without rows and given all others
    scores: dict = field(default_factory=dict)
    spread: float = 1.0  # share of the variance of raw predictions in means with a log link
    pooled: np.ndarray = None  # parameter row of a pooled fit
    pull: object = None  # Pull: what predictions of tasks with few rows take from it
    calibration: object = None  # Calibration: of intervals, where there are enough tasks

    def standardized(self, S):
        return (S - self.s_mean) / self.s_scale


def _counted(tasks, batch, n_rows):
    """Rows whose weights are repetitions."""
    weight = batch.weight * n_rows[:, None]
    return SimpleNamespace(tasks=tasks, X=batch.X, y=batch.y, weight=weight, offset=batch.offset)


def fit_prior(
    network,
    batches,
    S,
    *,
    random=None,
    covariance="diag",
    regularization=None,
    precision=PRECISION,
    centred=False,
    report=None,
    **settings,
):
    """Learn B, Sigma and phi: a ConditionalPrior, of a single task with Sigma = 0.

    Parameters
    ----------
    network : Network
        A linear one.
    batches : list of (tasks, Batch, n_rows)
        Supports of all tasks, in batches.
    S : ndarray of shape (n_tasks, n_descriptors)
    random : ndarray of shape (n_random,), default=None
        Positions of the coefficients that vary; all if None.
    covariance : {"diag", "full", "spherical"}, default="diag"
        A full one of more than :data:`MAX_FULL` numbers is diagonal.
    regularization : float or "auto", default=None
        Strength, in tasks, of the pull of the covariance towards a fit with two variances, of
        intercepts and of slopes. "auto": one more than it has rows, and slopes do not vary where
        rows that are left out are surely predicted better so.
    precision : float, default=1
        Of slopes, and what coefficients owe to descriptors, around 0.
    centred : bool, default=False
        Whether the means of coefficients are 0 where the descriptors are at their means.
    report : callable, default=None
        ``report(get_prior)`` after each iteration; True means stop.
    **settings : dict
        Of :func:`fit_laplace`.
    """
    mean, std = mean_and_std(S)
    scale = nonzero_scale(std, mean)
    S, basis = _in_span((S - mean) / scale)
    n_coefs, n_outputs = network.intercept + network.sizes[0], network.sizes[1]
    settings |= _of_means(network, 1 + S.shape[1], precision)
    if centred:
        free = np.arange(1 + S.shape[1]) > 0
        settings["free"] = np.tile(free, (n_coefs * n_outputs, 1))
    rows = [_counted(*batch) for batch in batches]
    data = rows, S, family_of(network.loss)
    random = np.arange(n_coefs) if random is None else random

    def prior(model, *rest):
        return ConditionalPrior(_with_slopes(model, basis.T), mean, scale, *rest)

    if report is not None:
        settings["callback"] = lambda get: report(lambda: prior(get()))
    if covariance == "full" and len(random) * n_outputs > MAX_FULL:
        covariance = "diag"
    nu, model = _fit(data, random, n_outputs, covariance, regularization, settings)
    scores, beside_intercept = {}, network.intercept and len(random) > 1 and random[0] == 0
    if regularization == "auto" and nu > 0 and beside_intercept:
        settings["callback"] = None
        _, level = _fit(data, random[:1], n_outputs, covariance, regularization, settings)
        nu, model, scores = _surely_better(data, nu, model, level)
    spread = _spread(model, *data[:2]) if nu > 0 and model.family.log_link else 1.0
    return prior(model, nu, scores, spread)


def _of_means(network, n_columns, precision):
    """Settings of :func:`fit_laplace` for B with so many columns."""
    strength = np.full((network.intercept + network.sizes[0], network.sizes[1], n_columns), 1.0)
    strength[: int(network.intercept), :, 0] = 0.0
    strength *= precision
    return {
        "intercept": network.intercept,
        "mean_precision": strength.reshape(-1, n_columns),
    }


def _in_span(S):
    """Descriptors in an orthonormal basis of their span, where tasks are fewer; the basis."""
    basis = np.eye(S.shape[1]) if S.shape[1] <= len(S) else np.linalg.qr(S.T)[0]
    return S @ basis, basis


def _with_slopes(model, basis):
    """A model of descriptors in another basis."""
    B = np.concatenate([model.B[:, :1], model.B[:, 1:] @ basis], axis=1)
    return replace(model, B=B)


def with_means_of(prior, network, batches, S):
    """The prior with the B of other tasks, at its own Sigma; arguments as of :func:`fit_prior`."""
    rows, model = [_counted(*batch) for batch in batches], prior.model
    S, basis = _in_span(prior.standardized(S))
    model = fit_laplace(
        rows,
        S,
        model.family,
        random=model.random,
        covariance="fixed",
        start=_with_slopes(model, basis),
        tol=ROUGH["tol"],
        **_of_means(network, 1 + S.shape[1], PRECISION),
    )
    return replace(prior, model=_with_slopes(model, basis.T))


def _surely_better(data, nu, model, level):
    """The model, or that whose slopes do not vary; its strength, and the scores of both."""
    of_tasks = [predictive_scores(one, *data[:2]) for one in (model, level)]
    scores = dict(zip((nu, np.inf), np.nanmean(of_tasks, axis=1).tolist(), strict=True))
    if gain(of_tasks[1], of_tasks[0]) <= 1:
        return nu, model, scores
    factor = np.zeros_like(model.factor)
    factor[: len(level.factor), : len(level.factor)] = level.factor
    settings = {"random": model.random, "factor": factor, "n_iter": model.n_iter + level.n_iter}
    return np.inf, replace(level, **settings), scores


def _spread(model, batches, S):
    """c in [0, 1] of least deviance, over tasks, of ``exp(m + c V / 2)`` without their rows."""
    modes, covariance = posterior(model, [], S)
    m, V, y, share = [], [], [], []
    for batch in batches:
        real = batch.weight > 0
        task = np.repeat(batch.tasks, real.sum(axis=1))
        moments = predictor_moments(
            batch.X[real], task, modes, covariance, model.random, intercept=model.intercept
        )
        offset = 0.0 if batch.offset is None else batch.offset[real].reshape(-1)
        m.append(moments[0][:, 0] + offset)
        V.append(moments[1][:, 0, 0])
        y.append(batch.y[real].reshape(-1))
        share.append((batch.weight / np.maximum(batch.weight.sum(axis=1), 1e-300)[:, None])[real])
    m, V, y, share = map(np.concatenate, (m, V, y, share))

    def slope(c):
        r = np.minimum(m + 0.5 * c * V, MAX_RAW)[None, None]
        return np.sum(share * V * model.family.derivatives(r, y[None, None])[1][0, 0])

    if slope(1.0) <= 0:
        return 1.0
    return 0.0 if slope(0.0) >= 0 else float(bisect(slope, 0.0, 1.0, xtol=1e-9))


def _fit(data, random, n_outputs, covariance, regularization, settings):
    """The strength of the regularisation, and the fit; counts vary no less than a Poisson's."""
    if regularization is not None and data[2] == PoissonFamily():
        quasi = *data[:2], QuasiPoissonFamily()
        nu, model = _fit_family(quasi, random, n_outputs, covariance, regularization, **settings)
        if model.dispersion > 1:
            return nu, model
    return _fit_family(data, random, n_outputs, covariance, regularization, **settings)


def _fit_family(data, random, n_outputs, covariance, regularization, **settings):
    nu, n_before, size = 0.0, 0, len(random) * n_outputs
    settings["random"] = random
    if regularization is not None and size and len(data[1]) > 1 and covariance != "spherical":
        two = fit_laplace(*data, covariance="two", **settings | {"callback": None})
        Sigma0 = np.diag(np.maximum(np.diag(two.covariance), MIN_VARIANCE))
        nu = size + 1.0 if regularization == "auto" else float(regularization)
        settings |= {"prior_dof": nu, "prior_scale": Sigma0}
        settings["start"] = replace(two, factor=np.sqrt(Sigma0))
        n_before = two.n_iter
    model = fit_laplace(*data, covariance=covariance, **settings)
    return nu, replace(model, n_iter=n_before + model.n_iter)


def posterior_modes(prior, network, batches, S):
    """Posterior modes of the parameters of all tasks, and covariances of the random ones.

    Parameters
    ----------
    prior : ConditionalPrior
    network : Network
    batches : iterable of (tasks, Batch, n_rows)
        Their supports.
    S : ndarray of shape (n_tasks, n_descriptors)

    Returns
    -------
    theta : ndarray of shape (n_tasks, n_params)
        Intercepts of 0 where the network has none.
    covariance : ndarray of shape (n_tasks, n_random * n_outputs, n_random * n_outputs)
    """
    counted = (_counted(*batch) for batch in batches)
    theta, covariance = posterior(prior.model, counted, prior.standardized(S))
    missing = network.n_params - theta.shape[1]
    return np.concatenate([np.zeros((len(S), missing)), theta], axis=1), covariance
