r"""A prior of a network's linear coefficients that depends on side information.

    theta_t ~ N(B [1, s_t], Sigma),     p(y | theta) ~ exp(-loss(y, X theta) / phi)

for any loss with curvature: the hierarchical generalised linear model of ``laplace.py`` in the
parameters of a :class:`Network`, descriptors standardised. ``phi`` is estimated where the loss is
of numbers, and 1 where it is of labels or counts; losses that are no log-likelihood (hinges) stand
for one. The meta-model's prior takes the place of the estimator's own penalty; slopes and what they
owe to the descriptors have a penalty themselves, of precision :data:`PRECISION` in standardised
units, since there may be more of them than rows. So B has no part outside the span of the s_t:
where these have more entries than there are tasks, it is learned in it.

References
----------
Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased
regularization and fine tuning, NeurIPS.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..kernels.families import family_of
from ..kernels.network import Batch
from ..kernels.scaling import mean_and_std, nonzero_scale
from .laplace import LaplaceModel, fit_laplace, posterior

__all__ = ["ConditionalPrior", "fit_prior", "posterior_modes", "posterior_rows"]

PRECISION = 1.0
MAX_FULL = 30  # rows of a full covariance
MIN_VARIANCE = 1e-4  # in standardised units


@dataclass(frozen=True, eq=False)
class ConditionalPrior:
    """The meta-model.

    Parameters
    ----------
    model : LaplaceModel
        In units of standardised data and descriptors.
    s_mean, s_scale : ndarray of shape (n_descriptors,)
    nu : float, default=0
        Strength of the regularisation, in tasks.
    scores : dict
        Empty: strengths are not compared.
    """

    model: LaplaceModel
    s_mean: np.ndarray
    s_scale: np.ndarray
    nu: float = 0.0
    scores: dict = field(default_factory=dict)

    def standardized(self, S):
        return (S - self.s_mean) / self.s_scale


@dataclass(frozen=True, eq=False)
class _Counted:
    """Rows whose weights are repetitions."""

    tasks: np.ndarray
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, tasks, batch: Batch, n_rows):
        return cls(tasks, batch.X, batch.y, batch.weight * n_rows[:, None], batch.offset)


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
    """Learn B, Sigma and phi.

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
        Strength, in tasks, of the pull of the covariance towards a fit with one variance; "auto":
        one more than it has rows.
    precision : float, default=1
        Of slopes, and what coefficients owe to descriptors, around 0.
    centred : bool, default=False
        Whether the means of coefficients are 0 where the descriptors are at their means.
    report : callable, default=None
        ``report(get_prior)`` after each iteration; True means stop.
    **settings : dict
        Of :func:`fit_laplace`.

    Returns
    -------
    ConditionalPrior
        Of a single task with Sigma = 0.
    """
    mean, std = mean_and_std(S)
    scale = nonzero_scale(std, mean)
    S, basis = (S - mean) / scale, None
    if S.shape[1] > len(S):
        basis = np.linalg.qr(S.T)[0]
        S = S @ basis
    n_coefs, n_outputs = network.intercept + network.sizes[0], network.sizes[1]
    shape = (n_coefs, n_outputs, 1 + S.shape[1])
    strength = np.full(shape, float(precision))
    strength[: int(network.intercept), :, 0] = 0.0
    settings |= {
        "random": random,
        "intercept": network.intercept,
        "mean_precision": strength.reshape(-1, shape[2]),
    }
    if centred:
        settings["free"] = np.tile(np.arange(shape[2]) > 0, (n_coefs * n_outputs, 1))
    rows = [_Counted.of(*batch) for batch in batches]
    data = rows, S, family_of(network.loss)
    nu, n_before = 0.0, 0
    size = (n_coefs if random is None else len(random)) * n_outputs
    if covariance == "full" and size > MAX_FULL:
        covariance = "diag"
    if regularization is not None and size and len(S) > 1 and covariance != "spherical":
        one = fit_laplace(*data, covariance="spherical", **settings)
        variance = max(float(np.diag(one.covariance).mean()), MIN_VARIANCE)
        nu = size + 1.0 if regularization == "auto" else float(regularization)
        settings |= {"prior_dof": nu, "prior_scale": variance * np.eye(size)}
        settings["start"] = replace(one, factor=np.sqrt(variance) * np.eye(size))
        n_before = one.n_iter

    def prior(model):
        if basis is not None:
            B = np.concatenate([model.B[:, :1], model.B[:, 1:] @ basis.T], axis=1)
            model = replace(model, B=B)
        return ConditionalPrior(model, mean, scale, nu)

    if report is not None:
        settings["callback"] = lambda get: report(lambda: prior(get()))
    model = fit_laplace(*data, covariance=covariance, **settings)
    return prior(replace(model, n_iter=n_before + model.n_iter))


def posterior_rows(prior, network, batches, S):
    """Posterior modes of the parameters of all tasks, and covariances of the random ones.

    Arguments as of :func:`posterior_modes`; the covariance has the shape
    (n_tasks, n_random * n_outputs, n_random * n_outputs).
    """
    counted = (_Counted.of(*batch) for batch in batches)
    theta, covariance = posterior(prior.model, counted, prior.standardized(S))
    missing = network.n_params - theta.shape[1]
    return np.concatenate([np.zeros((len(S), missing)), theta], axis=1), covariance


def posterior_modes(prior, network, batches, S):
    """Posterior modes of the parameters of all tasks.

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
    """
    return posterior_rows(prior, network, batches, S)[0]
