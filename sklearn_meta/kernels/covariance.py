r"""How a function differs between tasks: the covariance of its values at two rows.

    k(x, z) = a² (1 + c'x) (1 + c'z) + sum_j b_j² x_j z_j + s² m(rho),
    rho² = sum_j (x_j - z_j)² / l_j²

an offset, with the slopes c that come with it (the larger, the steeper); slopes of their own; and a
smooth function, Matérn's with smoothness 5/2,

    m(rho) = (1 + sqrt(5) rho + 5/3 rho²) exp(-sqrt(5) rho).

The parameters are ``theta = [log a², log b_1² .. log b_d², log s², log l_1 .. log l_d, c]``. Their
prior is normal and weak. Logarithms of one kind scatter around a common level, which is unknown
itself: with few tasks all features are alike, with many each has its own.

References
----------
Rasmussen, Williams (2006), Gaussian processes for machine learning, sections 4.2 and 5.1.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["TaskKernel"]

LEVEL_SD = 2.0  # of logarithms: a factor of 7
SCATTER_SD = 1.0  # of those of one kind around their level
MIN_LENGTH = 0.01  # of features of variance 1: below, distances lose the digits that matter
TILT_SD = 0.3  # of c'x: what comes with an offset is smaller than it is


@dataclass(frozen=True)
class TaskKernel:
    """The kernel above, of features of mean 0 and variance 1 and of targets of variance 1."""

    n_features: int

    @property
    def n_params(self):
        return 3 * self.n_features + 2

    def prior(self):
        """Mean of theta, shape (n_params,), and the function from u to precision times u.

        The covariance of n logarithms of one kind is ``s² I + L² 11'``, and by Sherman and Morrison
        ``(s² I + L² 11')^{-1} u = (u - L² 1'u / (s² + n L²) 1) / s²``.
        """
        d = self.n_features
        log_share = -np.log(10.0)  # of the variance, for each of the three parts
        slopes = np.full(d, log_share - np.log(max(d, 1)))
        lengths = np.full(d, np.log(np.sqrt(2.0 * max(d, 1))))  # a typical distance of two rows
        mean = np.concatenate([[log_share], slopes, [log_share], lengths, np.zeros(d)])
        s2, level2 = SCATTER_SD**2, LEVEL_SD**2

        def weighed(u):
            out = u / level2
            for own in (slice(1, d + 1), slice(d + 2, 2 * d + 2)):
                if d > 1:
                    out[own] = (u[own] - level2 * u[own].sum() / (s2 + d * level2)) / s2
            out[2 * d + 2 :] = u[2 * d + 2 :] * d / TILT_SD**2
            return out

        return mean, weighed

    def bounds(self):
        """Bounds of theta."""
        bounds = np.tile([-np.inf, np.inf], (self.n_params, 1))
        bounds[self.n_features + 2 : 2 * self.n_features + 2, 0] = np.log(MIN_LENGTH)
        return bounds

    def split(self, theta):
        """``a², b², s², l, c``."""
        d = self.n_features
        values = np.exp(theta[: 2 * d + 2])
        return values[0], values[1 : d + 1], values[d + 1], values[d + 2 :], theta[2 * d + 2 :]

    def __call__(self, theta, X, Z):
        """Covariances of rows X and Z, shape (..., n, m), of rows of shape (..., n, d)."""
        a2, b2, s2, length, c = self.split(theta)
        K = (X * b2) @ np.swapaxes(Z, -1, -2)
        K += a2 * (1 + X @ c)[..., :, None] * (1 + Z @ c)[..., None, :]
        K += s2 * _matern(_squared_distances(X / length, Z / length))[0]
        return K

    def within(self, theta, X):
        """Covariances of rows of each task among themselves."""
        return self(theta, X, X)

    def diag(self, theta, X):
        """Variances of rows."""
        a2, b2, s2, _, c = self.split(theta)
        return a2 * (1 + X @ c) ** 2 + X**2 @ b2 + s2

    def with_pullback(self, theta, X):
        """Covariances K of rows X, (n_tasks, n_rows, n_features), of tasks, and the pullback of K.

        It takes G, symmetric and of the shape of K, to ``sum(G * dK / d theta)``, and overwrites G.
        """
        a2, b2, s2, length, c = self.split(theta)
        h = 1 + X @ c
        U = X / length
        m, slope = _matern(_squared_distances(U, U))
        K = (X * b2) @ np.swapaxes(X, -1, -2)
        K += a2 * h[:, :, None] * h[:, None, :]
        K += s2 * m

        def pullback(G):
            Gh = a2 * np.einsum("tnm,tm->tn", G, h)
            of_a, of_s = np.vdot(Gh, h), s2 * np.vdot(G, m)
            of_c = 2.0 * np.einsum("tn,tni->i", Gh, X)
            of_b = b2 * np.einsum("tni,tni->i", X, G @ X)
            G *= slope  # d m / d rho²
            rows = G.sum(axis=-1)
            apart = np.einsum("tn,tni->i", rows, U**2) - np.einsum("tni,tni->i", U, G @ U)
            return np.concatenate([[of_a], of_b, [of_s], -4.0 * s2 * apart, of_c])

        return K, pullback


def _squared_distances(U, V):
    q = U @ np.swapaxes(V, -1, -2)
    q *= -2.0
    q += (U**2).sum(axis=-1)[..., :, None]
    q += (V**2).sum(axis=-1)[..., None, :]
    return np.maximum(q, 0.0, out=q)


def _matern(q):
    """m and its derivative, as functions of rho² = q."""
    root = np.sqrt(5.0 * q)
    decay = np.exp(-root)
    root += 1.0
    slope = root * decay
    slope *= -5.0 / 6.0
    root += 5.0 / 3.0 * q
    root *= decay
    return root, slope
