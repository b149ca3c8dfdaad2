r"""Gaussian processes of many tasks at once: likelihood, its exact gradient, and the posterior.

    r_t = g_t(X_t) + e_t,   g_t ~ GP(0, k),   e_t ~ N(0, sigma² W_t^-1),   C = K + sigma² W^-1

    log p(r_t) = -1/2 r' C^-1 r - 1/2 log|C| - n/2 log 2 pi
    d log p(r_t) = 1/2 tr((alpha alpha' - C^-1) dC),   alpha = C^-1 r

    g(z) | r ~ N(k(z, X) alpha, k(z, z) - k(z, X) C^-1 k(X, z))

W holds the weights of rows. A weight of 2 means that the row is there twice: a factor of the
likelihood that depends on sigma alone accounts for the second. The parameters are
``psi = [theta of the kernel, log sigma²]``.

References
----------
Rasmussen, Williams (2006), Gaussian processes for machine learning, algorithm 2.1 and equations
2.30 and 5.9.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

__all__ = ["Posterior", "log_likelihood", "posteriors"]

LOG_2PI = np.log(2 * np.pi)


def log_likelihood(kernel, psi, batches):
    """Sum over tasks of log marginal likelihoods, and its gradient.

    Parameters
    ----------
    kernel : TaskKernel
        Or what has its methods.
    psi : ndarray of shape (n_params + 1,)
    batches : list of (X, r, weight)
        Padded batches: X of shape (n_tasks, n_rows, n_features), the others (n_tasks, n_rows). A
        weight of 0 marks padding.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_params + 1,)
    """
    value, gradient = 0.0, np.zeros(len(psi))
    sigma2 = np.exp(psi[-1])
    for X, r, weight in batches:
        real = weight > 0
        K, pullback = kernel.with_pullback(psi[:-1], X)
        of_noise = np.where(real, sigma2 / np.where(real, weight, 1.0), 0.0)
        C = _with_noise(K, real, of_noise)
        L = np.linalg.cholesky(C)
        inverse = np.linalg.inv(C)
        alpha = np.einsum("tnm,tm->tn", inverse, r)
        n_rows, repeated = real.sum(), weight.sum() - real.sum()
        value -= 0.5 * np.vdot(r, alpha) + np.log(np.einsum("tnn->tn", L)).sum()
        value -= 0.5 * (n_rows * LOG_2PI + repeated * (LOG_2PI + psi[-1]))
        value -= 0.5 * np.log(weight[real]).sum()
        G = 0.5 * (alpha[:, :, None] * alpha[:, None, :] - inverse)
        G *= real[:, :, None] & real[:, None, :]
        gradient[-1] += np.vdot(np.einsum("tnn->tn", G), of_noise) - 0.5 * repeated
        gradient[:-1] += pullback(G)
    return value, gradient


def _with_noise(K, real, of_noise):
    """C; rows of padding are independent, with variance 1."""
    if not real.all():
        K = K * (real[:, :, None] & real[:, None, :])
    i = np.arange(K.shape[1])
    K[:, i, i] += np.where(real, of_noise, 1.0)
    return K


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of the function of a task.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
        Above 0.
    alpha : ndarray of shape (n_rows,)
    """

    X: np.ndarray
    weight: np.ndarray
    alpha: np.ndarray

    def mean(self, kernel, psi, Z):
        """Expected values at rows Z, shape (n,)."""
        if len(self.alpha) == 0:
            return np.zeros(len(Z))
        return kernel(psi[:-1], Z, self.X) @ self.alpha

    def variance(self, kernel, psi, Z):
        """Variances of the function at rows Z, without noise, shape (n,)."""
        prior = kernel.diag(psi[:-1], Z)
        if len(self.alpha) == 0:
            return prior
        C = kernel.within(psi[:-1], self.X)
        C[np.diag_indices(len(C))] += np.exp(psi[-1]) / self.weight
        L = cholesky(C, lower=True, overwrite_a=True, check_finite=False)
        V = solve_triangular(L, kernel(psi[:-1], self.X, Z), lower=True, check_finite=False)
        return np.maximum(prior - np.einsum("nm,nm->m", V, V), 0.0)


def posteriors(kernel, psi, batch):
    """The posterior of every task of a padded batch.

    Parameters
    ----------
    kernel : TaskKernel
    psi : ndarray of shape (n_params + 1,)
    batch : (X, r, weight)

    Returns
    -------
    list of Posterior
    """
    X, r, weight = batch
    real, alpha = weight > 0, r
    if r.size:
        of_noise = np.where(real, np.exp(psi[-1]) / np.where(real, weight, 1.0), 0.0)
        C = _with_noise(kernel.within(psi[:-1], X), real, of_noise)
        alpha = np.linalg.solve(C, r[:, :, None])[:, :, 0]
    parts = zip(X, weight, alpha, real, strict=True)
    return [Posterior(x[own], w[own], a[own]) for x, w, a, own in parts]
