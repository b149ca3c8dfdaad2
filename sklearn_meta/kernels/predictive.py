r"""Predictions averaged over a Gaussian posterior of the coefficients.

The raw predictions of a row are ``eta ~ N(m, V)`` with ``m = x'w``, ``V = z'Sigma_t z`` of the
posterior, or the prior, of its task. Then

    logistic:    p = E expit(eta), by Gauss-Hermite quadrature with :data:`NODES` nodes
    softmax:     p = E softmax(eta), over :data:`POINTS` quasi-random points, the same in every call
    log link:    E exp(eta) = exp(m + V / 2).

The classes of a row are taken in the order of their m, so that relabelling them changes nothing.
Twenty nodes are off by 2e-4 where the standard deviation is 3; the probit approximation by 1e-2.

References
----------
Liu, Pierce (1994), A note on Gauss-Hermite quadrature, Biometrika 81. Joe, Kuo (2008), Constructing
Sobol sequences with better two-dimensional projections, SIAM J. Scientific Computing 30.
"""

from functools import cache

import numpy as np
from scipy.special import expit, ndtri
from scipy.stats import qmc

__all__ = [
    "normal_nodes",
    "predictive_mean",
    "predictive_probabilities",
    "predictive_softmax",
    "predictor_moments",
    "symmetric_roots",
]

NODES = 20
POINTS = 256
CELLS = 2**20
MAX_EXPONENT = 700.0


def predictor_moments(X, task, mode, covariance, random, *, intercept=True, n_outputs=1):
    """Means (n_rows, n_outputs) and covariances of the raw predictions of rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    task : ndarray of shape (n_rows,)
        Place of the task of each row.
    mode : ndarray of shape (n_tasks, n_coefs * n_outputs)
    covariance : ndarray of shape (n_tasks, n_random * n_outputs, n_random * n_outputs)
    random : ndarray of shape (n_random,)
        Positions of the random coefficients, the intercept counting as the first.
    """
    if intercept:
        X = np.concatenate([np.ones((len(X), 1)), X], axis=1)
    n, K, r = len(X), n_outputs, len(random)
    mean, variance = np.empty((n, K)), np.zeros((n, K, K))
    step = max(1, CELLS // max(1, X.shape[1] * K, (r * K) ** 2))
    for part in (slice(i, i + step) for i in range(0, n, step)):
        x, at = X[part], task[part]
        mean[part] = np.einsum("nj,njk->nk", x, mode[at].reshape(len(x), -1, K))
        if r:
            V, z = covariance[at].reshape(len(x), r, K, r, K), x[:, random]
            half = np.einsum("nj,njkil->nkil", z, V)
            variance[part] = np.einsum("nkil,ni->nkl", half, z)
    return mean, variance


@cache
def normal_nodes(n_outputs):
    """Points and weights of expectations over standard normal variables.

    Returns
    -------
    points : ndarray of shape (n_points, n_outputs)
        Of Gauss-Hermite quadrature for one output, else quasi-random.
    weights : ndarray of shape (n_points,)
    """
    if n_outputs == 1:
        x, w = np.polynomial.hermite.hermgauss(NODES)
        return np.sqrt(2) * x[:, None], w / np.sqrt(np.pi)
    u = qmc.Sobol(n_outputs, scramble=False).random(POINTS) + 0.5 / POINTS
    return ndtri(u), np.full(POINTS, 1 / POINTS)


def symmetric_roots(V):
    """R with ``R R = V`` of covariances (..., n, n); eigenvectors' signs do not change them."""
    values, vectors = np.linalg.eigh(V)
    half = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return half @ np.swapaxes(vectors, -1, -2)


def predictive_probabilities(mean, variance):
    """``E expit(eta)`` for ``eta ~ N(mean, variance)``, arrays of any one shape."""
    points, weights = normal_nodes(1)
    root = np.sqrt(np.maximum(variance, 0.0))
    return sum(w * expit(mean + root * z) for z, w in zip(points[:, 0], weights, strict=True))


def predictive_softmax(mean, variance):
    """``E softmax(eta)``, (n_rows, n_classes), for ``eta ~ N(mean, variance)`` of rows."""
    n, K = mean.shape
    z, p = normal_nodes(K)[0], np.empty((n, K))
    step = max(1, CELLS // (POINTS * K))
    for part in (slice(i, i + step) for i in range(0, n, step)):
        m, V = mean[part], variance[part]
        order = np.argsort(m, axis=1, kind="stable")
        m = np.take_along_axis(m, order, axis=1)
        V = np.take_along_axis(V, order[:, :, None], axis=1)
        V = np.take_along_axis(V, order[:, None], axis=2)
        eta = m[:, None] + z @ symmetric_roots(V)
        e = np.exp(eta - eta.max(axis=2, keepdims=True))
        average = (e / e.sum(axis=2, keepdims=True)).mean(axis=1)
        np.put_along_axis(p[part], order, average, axis=1)
    return p


def predictive_mean(mean, variance):
    """``E exp(eta)`` for ``eta ~ N(mean, variance)``, arrays of any one shape."""
    return np.exp(np.minimum(mean + 0.5 * variance, MAX_EXPONENT))
