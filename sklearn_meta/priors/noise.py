r"""Noise of a variance that differs between tasks.

    e_t ~ N(0, sigma_t² I),   sigma_t² ~ scaled inverse chi-squared (d0, s0²)

d0 and s0² maximise the marginal likelihood of the tasks, each an integral over log sigma_t² by the
trapezoidal rule, at the mean and covariance of coefficients that a common noise gave. What is known
of a task's own variance after n rows is again scaled inverse chi-squared, with

    d_t = d0 + n - f_t,   sigma_t² = (d0 s0² + |y - X w|²) / d_t,

w the posterior mean of the coefficients given sigma_t², ``f_t = tr(X'X V) / sigma_t²`` the rows
that they take up, V their covariance: a fixed point, which is the mode of the approximate posterior
that is a product of one of w and one of sigma_t². Noise of another variance is another weight of
rows.

References
----------
Smyth (2004), Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments, Statistical Applications in Genetics and Molecular Biology 3.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.optimize
from scipy.special import gammaln, logsumexp

from ..kernels.mixed_model import log_densities

__all__ = ["TaskNoise", "learn_noise"]

NODES = np.linspace(-5.0, 5.0, 41)  # log sigma_t², from that of the common noise
FREEDOM = (1.0, 100.0)  # of d0; beyond it all tasks have the same noise
N_STEPS = 10


@dataclass(frozen=True, eq=False)
class TaskNoise:
    """The prior of the variances."""

    freedom: float  # d0
    scale: float  # s0², in standardised units

    @staticmethod
    def mean(sigma2, freedom):
        """Means of variances; finite, by at least three degrees of freedom."""
        return sigma2 * freedom / np.maximum(freedom - 2, freedom / 3)

    def posterior(self, prior, model, moments):
        """What is known of the coefficients and of the noise of every task.

        Their means (n_coefs, n_tasks) and covariances, and variances and degrees of freedom of the
        noise. Model and moments are in the units of the prior.
        """
        G, g, n = moments.G, moments.g, moments.n
        sigma2, freedom = np.full(len(n), self.scale), np.full(len(n), self.freedom)
        for _ in range(N_STEPS):
            w, V = prior.posterior_of(model, moments, precision=model.sigma2 / sigma2)
            rss = moments.yy - np.einsum("it,it->t", w, 2 * g - np.einsum("ijt,jt->it", G, w))
            used = np.einsum("ijt,ijt->t", G, V) / sigma2
            freedom = self.freedom + np.maximum(n - used, 0.0)
            sigma2 = (self.freedom * self.scale + np.maximum(rss, 0.0)) / freedom
        return w, V, sigma2, freedom


def learn_noise(prior):
    """d0 and s0² of the meta-train tasks of a prior that was learned with a common noise."""
    model, moments = prior.model, prior.training()
    values = model.sigma2 * np.exp(NODES)
    L = [
        log_densities(
            replace(model, sigma2=v, factor=model.factor * np.sqrt(model.sigma2 / v)), moments
        )
        for v in values
    ]

    def lost(free):
        log_prior = _log_density(NODES, np.exp(free[0]), free[1])
        return -logsumexp(np.array(L) + log_prior[:, None], axis=0).sum() / moments.n_tasks

    bounds = [np.log(FREEDOM), (NODES[0], NODES[-1])]
    found = scipy.optimize.minimize(lost, [np.log(10.0), 0.0], bounds=bounds, method="L-BFGS-B")
    return TaskNoise(float(np.exp(found.x[0])), float(model.sigma2 * np.exp(found.x[1])))


def _log_density(x, d, x0):
    """Of ``log sigma²``, where ``sigma²`` is scaled inverse chi-squared (d, exp(x0))."""
    half = d / 2
    return half * np.log(half) - gammaln(half) - half * (x - x0 + np.exp(x0 - x))
