r"""Evidence of a prior over linear models, from moments of every source.

In landmarks ``z = [1, whitened x]`` a source has the model

    y = z' w + e,   w ~ N(c, noise P^-1),   e ~ N(0, noise),   P = diag(kappa, m, ..., m),

so that with the residuals r of c its log-evidence is, up to a constant,

    -(n log noise + log det(I + Z'Z P^-1) + quadratic / noise) / 2,
    quadratic = r'r - r'Z (Z'Z + P)^-1 Z'r.

All of it comes from ``Z'Z``, ``Z'Y`` and ``Y'Y``.

Sources may be noisier or quieter than others. Where the noise of a source is its own,
``1 / noise ~ Gamma(nu / 2, rate=nu s / 2)``, it is integrated out, and what remains is Student's t:

    (nu log(nu s) - (n + nu) log(nu s + quadratic) - log det(I + Z'Z P^-1)) / 2
        + log Gamma((n + nu) / 2) - log Gamma(nu / 2).

s and ``nu``, the number of values that it is worth, are those of greatest evidence (on a grid of
nu; EM for s).
"""

import copy

import numpy as np
from scipy.special import gammaln

__all__ = [
    "GRID",
    "LEAST_CHANCE",
    "NEVER",
    "NU",
    "Moments",
    "evidence",
    "noise_of",
    "own_evidence",
    "penalty_of",
    "quadratic_parts",
    "some_of",
    "student",
]

NEVER = 1e8  # a penalty, in rows, under which nothing moves
KAPPA = (NEVER, 10.0, 1.0, 0.1, 0.01)
M = (NEVER, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
GRID = tuple((kappa, m) for kappa in KAPPA for m in M)
NU = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e6)  # to one noise for all
MOST_STEPS = 100
MOST_SOURCES = 200  # that choose from the grid
LEAST_CHANCE = 1e-6  # in EM: where but one source is left, the others judge it all the same


class Moments:
    """``G = Z'Z, C = Z'Y, YY = Y'Y`` of every source, and the trace of the last.

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
        self.YY = np.stack([(Y[b] * weight[b, None]).T @ Y[b] for b in blocks])
        self.squares = np.trace(self.YY, axis1=1, axis2=2)

    def of(self, members):
        """Those of some sources."""
        some = copy.copy(self)
        for name, value in vars(self).items():
            setattr(some, name, value[members])
        return some

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


def own_evidence(G, c, squares, n, penalty, noise, nu):
    """Log-evidence where the noise of a task is its own, around ``noise`` as if from nu values."""
    n_outputs = c.shape[-1]
    quadratic, log_det = quadratic_parts(G, c, squares, penalty)
    return student(quadratic, n_outputs * n, noise, nu) - 0.5 * n_outputs * log_det


def student(quadratic, n, s, nu):
    """Log-evidence of n values whose noise is their own, but for the determinant."""
    prior, quadratic = nu * s, np.maximum(quadratic, 0)
    ratio = (n + nu) * np.log1p(quadratic / prior) + n * np.log(prior)  # nu may be large
    return gammaln((n + nu) / 2) - gammaln(nu / 2) - 0.5 * ratio


def noise_of(G, c, squares, n, penalty, noise):
    """s and nu of greatest evidence, from residuals of a batch of tasks.

    Parameters
    ----------
    G, c, squares, n, penalty
        See :func:`evidence`.
    noise : float
        Of all tasks together, where s starts from.

    Returns
    -------
    s, nu : float
    """
    quadratic, n = np.maximum(quadratic_parts(G, c, squares, penalty)[0], 0), n * c.shape[-1]
    found = []
    for nu in NU:
        s = noise
        for _ in range(MOST_STEPS):  # of EM
            before = s
            s = len(n) / np.sum((n + nu) / (nu * s + quadratic))
            s = max(s, 1e-6 * noise)  # where a model is exact
            if abs(s - before) < 1e-6 * before:
                break
        found.append((student(quadratic, n, s, nu).sum(), s, nu))
    return max(found)[1:]


def some_of(members):
    """At most about ``MOST_SOURCES`` of some sources."""
    return members[:: max(1, len(members) // MOST_SOURCES)]
