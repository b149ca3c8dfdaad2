r"""A prior of a network's linear coefficients that depends on side information.

    theta_t ~ N(B [1, s_t], Sigma),     p(y | theta) ~ exp(-loss(y, X theta) / phi)

for any loss with curvature: the hierarchical generalised linear model of ``laplace.py`` in the
parameters of a :class:`Network`, descriptors standardised. ``phi`` is estimated where the loss is
of numbers, and 1 where it is of labels or counts; losses that are no log-likelihood (hinges) stand
for one. The meta-model's prior takes the place of the estimator's own penalty; slopes and what they
owe to the descriptors have a penalty themselves, of precision :data:`PRECISION` in standardised
units, since there may be more of them than rows.

References
----------
Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased
regularization and fine tuning, NeurIPS.
"""

from dataclasses import dataclass

import numpy as np

from ..kernels.families import family_of
from ..kernels.network import Batch
from ..kernels.scaling import nonzero_scale
from .laplace import LaplaceModel, fit_laplace, posterior

__all__ = ["ConditionalPrior", "fit_prior", "posterior_modes"]

PRECISION = 1.0


@dataclass(frozen=True, eq=False)
class ConditionalPrior:
    """The meta-model.

    Parameters
    ----------
    model : LaplaceModel
        In units of standardised data and descriptors.
    s_mean, s_scale : ndarray of shape (n_descriptors,)
    """

    model: LaplaceModel
    s_mean: np.ndarray
    s_scale: np.ndarray

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


def fit_prior(network, batches, S, *, covariance="diag", report=None):
    """Learn B, Sigma and phi.

    Parameters
    ----------
    network : Network
        A linear one.
    batches : list of (tasks, Batch, n_rows)
        Supports of all tasks, in batches.
    S : ndarray of shape (n_tasks, n_descriptors)
    covariance : {"diag", "full", "spherical"}, default="diag"
    report : callable, default=None
        ``report(get_prior)`` after each iteration; True means stop.

    Returns
    -------
    ConditionalPrior
        Of a single task with Sigma = 0.
    """
    mean = S.mean(axis=0)
    scale = nonzero_scale(S.std(axis=0), mean)
    n_coefs = network.intercept + network.sizes[0]
    precision = np.full((n_coefs, network.sizes[1], 1 + S.shape[1]), PRECISION)
    precision[: int(network.intercept), :, 0] = 0.0
    model = fit_laplace(
        [_Counted.of(*batch) for batch in batches],
        (S - mean) / scale,
        family_of(network.loss),
        intercept=network.intercept,
        covariance=covariance,
        mean_precision=precision.reshape(-1, 1 + S.shape[1]),
        callback=report and (lambda get: report(lambda: ConditionalPrior(get(), mean, scale))),
    )
    return ConditionalPrior(model, mean, scale)


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
    counted = (_Counted.of(*batch) for batch in batches)
    theta, _ = posterior(prior.model, counted, prior.standardized(S))
    missing = network.n_params - theta.shape[1]
    return np.concatenate([np.zeros((len(S), missing)), theta], axis=1)
