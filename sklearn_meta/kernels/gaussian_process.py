r"""Gaussian processes of many tasks at once: likelihood, its exact gradient, and the posterior.

    r_t = Phi_t beta + g_t(X_t) + e_t,   g_t ~ GP(0, k),   e_t ~ N(0, sigma² W_t^-1)
    Phi_t = X_t - 1 m_t',   C = K + sigma² W^-1

    log p(r_t) = -1/2 q' C^-1 q - 1/2 log|C| - n/2 log 2 pi,   q = r - Phi beta
    d log p(r_t) = 1/2 tr((alpha alpha' - C^-1) dC),   alpha = C^-1 q

The slopes beta are shared by all tasks, and act within them: m_t is the mean of the rows of a task.
They are what rows of one task have in common with those of others, but tasks as wholes have not.
beta ~ N(0, v I) is at its best for every k, by generalised least squares, so its gradient is 0.

A batch of tasks is ``(X, r, weight)``, X of shape (n_tasks, n_rows, n_features), the others
(n_tasks, n_rows); a weight of 0 marks padding. W holds the weights of rows. A weight of 2 means
that the row is there twice: a factor of the likelihood that depends on sigma alone accounts for the
second. The parameters are ``psi = [theta of the kernel, log sigma²]``.

For a new row z the mean m of its task is that of the n known rows and of itself. With
``u = k(z, X) C^-1 1``, which is how well the known rows tell a constant,

    E[r(z)] = k(z, X) C^-1 (r - Phi beta) + (z - m)' beta (n + u) / (n + 1)
    Var[g(z)] = k(z, z) - k(z, X) C^-1 k(X, z)

which are 0 and k(z, z) where no row is known.

References
----------
Rasmussen, Williams (2006), Gaussian processes for machine learning, algorithm 2.1 and equations
2.30 and 5.9. Mundlak (1978), On the pooling of time series and cross section data, Econometrica 46,
for slopes within and between tasks.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Posterior", "Process", "log_likelihood", "posteriors", "predictive"]

LOG_2PI = np.log(2 * np.pi)


@dataclass(frozen=True, eq=False)
class Process:
    """A kernel with its parameters, noise, and slopes within tasks."""

    kernel: object  # TaskKernel, or what has its methods
    psi: np.ndarray  # (n_params + 1,)
    slopes: np.ndarray  # (n_features,): beta

    @property
    def noise(self):
        """sigma²."""
        return np.exp(self.psi[-1])

    def covariance(self, X, Z):
        return self.kernel(self.psi[:-1], X, Z)


def log_likelihood(kernel, psi, batches, slope_variance=0.0):
    """Sum over tasks of log marginal likelihoods, its gradient in psi, and beta.

    The value is that of the likelihood plus ``-beta'beta / 2 v``, v the variance of slopes; 0:
    there are no slopes within tasks.
    """
    sigma2 = np.exp(psi[-1])
    parts = [_factored(kernel, psi, batch) for batch in batches]
    slopes = np.zeros(batches[0][0].shape[-1])
    if slope_variance > 0:
        A = np.eye(len(slopes)) / slope_variance
        b = np.zeros(len(slopes))
        for (_, r, _), (Phi, _, inverse, *_) in zip(batches, parts, strict=True):
            of_slopes = inverse @ Phi
            A += np.einsum("tni,tnj->ij", Phi, of_slopes, optimize=True)
            b += np.einsum("tni,tn->i", of_slopes, r)
        slopes = np.linalg.solve(A, b)
    value = -0.5 * slopes @ slopes / slope_variance if slope_variance > 0 else 0.0
    gradient = np.zeros(len(psi))
    for (_, r, weight), (Phi, L, inverse, real, pullback) in zip(batches, parts, strict=True):
        q = r - Phi @ slopes
        alpha = np.einsum("tnm,tm->tn", inverse, q)
        n_rows, repeated = real.sum(), weight.sum() - real.sum()
        value -= 0.5 * np.vdot(q, alpha) + np.log(np.einsum("tnn->tn", L)).sum()
        value -= 0.5 * (n_rows * LOG_2PI + repeated * (LOG_2PI + psi[-1]))
        value -= 0.5 * np.log(weight[real]).sum()
        G = 0.5 * (alpha[:, :, None] * alpha[:, None, :] - inverse)
        G *= real[:, :, None] & real[:, None, :]
        of_noise = np.einsum("tnn->tn", G)[real] / weight[real]
        gradient[-1] += sigma2 * of_noise.sum() - 0.5 * repeated
        gradient[:-1] += pullback(G)
    return value, gradient, slopes


def _factored(kernel, psi, batch):
    """Phi, the Cholesky factor of C, its inverse, which rows are real, and the pullback of K."""
    X, _, weight = batch
    real = weight > 0
    K, pullback = kernel.with_pullback(psi[:-1], X)
    C = _with_noise(K, weight, np.exp(psi[-1]))
    return _within(X, weight)[0], np.linalg.cholesky(C), np.linalg.inv(C), real, pullback


def _within(X, weight):
    """Phi, 0 in rows of padding, and the means m of shape (n_tasks, n_features)."""
    total = np.maximum(weight.sum(axis=1), np.finfo(float).tiny)
    m = np.einsum("tn,tni->ti", weight, X) / total[:, None]
    return (X - m[:, None]) * (weight > 0)[:, :, None], m


def _with_noise(K, weight, sigma2):
    """C; rows of padding are independent, with variance 1."""
    real = weight > 0
    if not real.all():
        K = K * (real[:, :, None] & real[:, None, :])
    i = np.arange(K.shape[1])
    K[:, i, i] += np.where(real, sigma2 / np.where(real, weight, 1.0), 1.0)
    return K


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of the function of a task."""

    X: np.ndarray  # (n_rows, n_features)
    weight: np.ndarray  # (n_rows,): above 0
    alpha: np.ndarray  # (n_rows, 2): ``C^-1 (r - Phi beta)`` and ``C^-1 1``
    centre: np.ndarray  # (n_features,): m

    def mean(self, process, Z):
        """Expected values at rows Z, shape (n,)."""
        n = self.weight.sum()
        if n == 0:
            return np.zeros(len(Z))
        mean, u = (process.covariance(Z, self.X) @ self.alpha).T
        return mean + (Z - self.centre) @ process.slopes * (n + u) / (n + 1)

    def variance(self, process, Z):
        """Variances of the function at rows Z, without noise, shape (n,)."""
        batch = self.X[None], np.zeros((1, len(self.X))), self.weight[None]
        return predictive(process, batch, Z[None])[1][0]


def predictive(process, batch, Z):
    """Means and variances, (n_tasks, n), of functions at rows Z (n_tasks, n, n_features)."""
    X, r, weight = batch
    variance = process.kernel.diag(process.psi[:-1], Z)
    if r.size == 0:
        return np.zeros(Z.shape[:2]), variance
    (Phi, m), n = _within(X, weight), weight.sum(axis=1)[:, None]
    C = _with_noise(process.kernel.within(process.psi[:-1], X), weight, process.noise)
    k = process.covariance(X, Z) * (weight > 0)[:, :, None]
    V = np.linalg.solve(C, k)  # V'1 is u: rows of padding are 0
    mean = np.einsum("tnm,tn->tm", V, r - Phi @ process.slopes)
    within = (Z - m[:, None]) @ process.slopes
    mean += within * (n + V.sum(axis=1)) / (n + 1)
    return mean, np.maximum(variance - np.einsum("tnm,tnm->tm", k, V), 0.0)


def posteriors(process, batch):
    """The posterior of every task of a batch, a list of Posterior."""
    X, r, weight = batch
    real = weight > 0
    Phi, m = _within(X, weight)
    targets = np.stack([r - Phi @ process.slopes, real], axis=2)
    if r.size:
        C = _with_noise(process.kernel.within(process.psi[:-1], X), weight, process.noise)
        targets = np.linalg.solve(C, targets)
    parts = zip(X, weight, targets, m, real, strict=True)
    return [Posterior(x[own], w[own], a[own], centre) for x, w, a, centre, own in parts]
