r"""Evidence and posterior of linear models under a conjugate Gaussian prior, from moments.

A task has the rows ``y = z' w + e`` with ``w ~ N(m, sigma² P^-1)`` and ``e ~ N(0, sigma²)``. With
its moments ``G = Z'Z``, ``C = Z'Y`` and ``yy = Y'Y``, and ``c = C - G m`` those of the residuals of
m,

    posterior mean  m + (G + P)^-1 c,
    q = r'r - c' (G + P)^-1 c,    r = y - Z m.

Its noise is its own, ``1 / sigma² ~ Gamma(nu / 2, rate=nu s / 2)`` with nu = 4: tasks may be
noisier than others and yet agree. Integrated out, what remains of n rows is Student's t,

    log p(y) = log Gamma((n + nu) / 2) - log Gamma(nu / 2) - (n / 2) log(nu s)
        - ((n + nu) / 2) log(1 + q / (nu s)) - log det(I + G P^-1) / 2 + constant.

Several outputs (one-hot labels) are independent given sigma², with the same P. O'Hagan and Forster
(2004), Kendall's Advanced Theory of Statistics 2B, chapter 11.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from .scaling import Scaling

__all__ = ["NU", "Landmarks", "Moments", "posterior", "student"]

NU = 4.0
TOLERANCE = 1e-10  # of a variance, where that of the widest direction is 1


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The map ``z = [1, (x - centre) @ whiten]``: of all rows, z has the covariance I.

    Parameters
    ----------
    centre : ndarray of shape (n_features,)
    whiten : ndarray of shape (n_features, rank)
    intercept : bool
        Without, ``z = x @ whiten``.
    """

    centre: np.ndarray
    whiten: np.ndarray
    intercept: bool = True

    @classmethod
    def of(cls, X, weight, intercept=True, max_rank=100):
        """The landmarks of rows, along at most ``max_rank`` directions of most variance."""
        known = np.isfinite(X)
        total = np.where(known, X, 0.0).sum(axis=0)
        X = np.where(known, X, total / np.maximum(known.sum(axis=0), 1))
        # Units first: columns like years would be nothing beside those like money.
        units = Scaling.of(X, weight=weight, centred=intercept)
        U = units.features(X) * np.sqrt(weight / weight.sum())[:, None]
        if len(U) < U.shape[1]:
            _, root, vectors = np.linalg.svd(U, full_matrices=False)
            values, vectors = root[::-1] ** 2, vectors[::-1].T
        else:
            values, vectors = np.linalg.eigh(U.T @ U)
        kept = np.flatnonzero(values > TOLERANCE * values.max(initial=0))[-max_rank:]
        whiten = vectors[:, kept] / np.sqrt(values[kept]) / units.x_scale[:, None]
        return cls(units.x_mean, whiten, intercept)

    def __call__(self, X):
        """Rows as landmarks; a missing or infinite value counts as the mean."""
        X = np.asarray(X, dtype=np.float64)
        Z = (np.where(np.isfinite(X), X, self.centre) - self.centre) @ self.whiten
        return np.column_stack([np.ones(len(X)), Z]) if self.intercept else Z

    def unfold(self, w):
        """Coefficients (..., n_features) and levels (...) for x, from those for z (..., rank)."""
        coef = w[..., int(self.intercept) :] @ self.whiten.T
        level = w[..., 0] if self.intercept else np.zeros(w.shape[:-1])
        return coef, level - coef @ self.centre


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of tasks.

    Parameters
    ----------
    G : ndarray of shape (n_tasks, rank, rank)
    C : ndarray of shape (n_tasks, rank, n_outputs)
    yy, n : ndarray of shape (n_tasks,)
        Squares, and number of values by the weights of rows, of all outputs.
    """

    G: np.ndarray
    C: np.ndarray
    yy: np.ndarray
    n: np.ndarray

    @classmethod
    def of(cls, Z, Y, offsets, weight):
        """Sums over the rows ``offsets[a]:offsets[a + 1]`` of each task a."""
        blocks = [slice(a, b) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        R, d = np.column_stack([Z, Y]), Z.shape[1]
        M = np.stack([(weight[b, None] * R[b]).T @ R[b] for b in blocks])
        n = Y.shape[1] * np.array([weight[b].sum() for b in blocks])
        return cls(M[:, :d, :d], M[:, :d, d:], np.trace(M[:, d:, d:], axis1=1, axis2=2), n)


def posterior(moments, m, P):
    """Posterior means, q and log-determinants of tasks under ``N(m, sigma² P^-1)``."""
    c, precision, n_outputs = moments.C - moments.G @ m, moments.G + P, moments.C.shape[-1]
    step = np.linalg.solve(precision, c)
    q = moments.yy - np.sum(m * (moments.C + c), axis=(-2, -1)) - np.sum(c * step, axis=(-2, -1))
    log_det = n_outputs * (np.linalg.slogdet(precision)[1] - np.linalg.slogdet(P)[1])
    return m + step, np.maximum(q, 0.0), log_det


def student(q, log_det, n, s):
    """Log-evidence of n values, up to a constant."""
    tail = (n + NU) * np.log1p(q / (NU * s)) + n * np.log(NU * s) + log_det
    return gammaln((n + NU) / 2) - gammaln(NU / 2) - 0.5 * tail
