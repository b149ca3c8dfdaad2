r"""Evidence of a prior over linear models, from moments of every source.

In landmarks ``z = [1, whitened x]`` a source has the model

    y = z' w + e,   w ~ N(c, noise P^-1),   e ~ N(0, noise),   P = diag(kappa, m, ..., m),

so that with the residuals r of c its log-evidence is, up to a constant,

    -(n log noise + log det(I + Z'Z P^-1) + quadratic / noise) / 2,
    quadratic = r'r - r'Z (Z'Z + P)^-1 Z'r.

All of it comes from ``Z'Z``, ``Z'Y`` and ``Y'Y``.
"""

import numpy as np

__all__ = ["GRID", "KAPPA", "M", "NEVER", "Moments", "evidence", "penalty_of", "quadratic_parts"]

NEVER = 1e8  # a penalty, in rows, under which nothing moves
KAPPA = (NEVER, 10.0, 1.0, 0.1, 0.01)
M = (NEVER, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
GRID = tuple((kappa, m) for kappa in KAPPA for m in M)
MOST_SOURCES = 200  # that choose from the grid


class Moments:
    """``Z'Z, Z'Y, Y'Y`` of every source.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, n_landmarks)
    Y : ndarray of shape (n_rows, n_outputs)
    offsets : ndarray of shape (n_sources + 1,)
    weight : ndarray of shape (n_rows,)
    """

    def __init__(self, Z, Y, offsets, weight):
        blocks = [slice(a, b) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        self.n = np.array([weight[b].sum() for b in blocks])
        self.G = np.stack([(Z[b] * weight[b, None]).T @ Z[b] for b in blocks])
        self.C = np.stack([(Z[b] * weight[b, None]).T @ Y[b] for b in blocks])
        self.squares = np.array([np.sum(weight[b, None] * Y[b] ** 2) for b in blocks])

    def residuals(self, coef, members):
        """Moments ``Z'Z, Z'r, r'r`` and numbers of rows of the residuals of a model, or of one
        model for each member."""
        G, C = self.G[members], self.C[members]
        c = C - G @ coef
        squares = self.squares[members] - np.sum(coef * (C + c), axis=(-2, -1))
        return G, c, np.maximum(squares, 0), self.n[members]


def penalty_of(kappa, m, n_landmarks):
    """The diagonal of P."""
    return np.r_[kappa, np.full(n_landmarks - 1, m)]


def quadratic_parts(G, c, squares, penalty):
    """``quadratic`` and ``log det(I + Z'Z P^-1)``, for a batch of tasks."""
    A = G + np.diag(penalty)
    fitted = np.sum(c * np.linalg.solve(A, c), axis=(-2, -1))
    return squares - fitted, np.linalg.slogdet(A)[1] - np.log(penalty).sum()


def evidence(G, c, squares, n, penalty, noise):
    """Log-evidence of residuals with moments ``G = Z'Z, c = Z'r``, for a batch of tasks."""
    quadratic, log_det = quadratic_parts(G, c, squares, penalty)
    n_outputs = c.shape[-1]
    return -0.5 * (n_outputs * (n * np.log(noise) + log_det) + quadratic / noise)


def some_of(members):
    """At most about ``MOST_SOURCES`` of some sources."""
    return members[:: max(1, len(members) // MOST_SOURCES)]
