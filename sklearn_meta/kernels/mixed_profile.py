r"""The profiled deviance of the mixed model and its gradient, for all tasks at once.

What stands in :mod:`.mixed_model`, with ``e_t = (k_t - K_t B s_t)_R``: the gradient in Lambda is
``2 D Lambda``,

    D = sum_t K_t,RR - e_t e_t' / sigma²  [- K_t,R: (s_t' P^{-1} s_t) K_t,:R : REML].

Where a task has fewer rows than random coefficients, ``H_t = I + V V', V = Z Lambda``, is factored
itself: with ``H_t = L_t L_t'`` and ``W_t = L_t^{-1} X``, ``K_t = W_t'W_t`` is never formed.

A prior of the covariance and the noise, an inverse Wishart worth nu tasks around Sigma0 and an
inverse gamma worth nu1 rows around s2, adds to ``-2 log L``

    nu (log|Sigma| + tr Sigma^{-1} Sigma0) + nu1 (log sigma² + s2 / sigma²),

after which ``sigma² = (rss + nu tr (Lambda Lambda')^{-1} Sigma0 + nu1 s2) / (dof + nu |R| + nu1)``
and the gradient gains ``2 nu Lambda^{-T} (I - Lambda^{-1} Sigma0 Lambda^{-T} / sigma²)``. Fixed
effects may have a prior ``N(0, tau² I)``, in units of sigma, with ``omega = 1 / tau²`` estimated
like any variance: ``P + omega I`` takes the place of P, and ``-2 log L`` gains ``- q log omega``.
In tau it is smooth also where tau is 0.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .stacked import (
    cholesky,
    in_cache,
    log_det,
    matmul,
    matvec,
    plus_identity,
    solve_lower,
    sum_of_products,
    transpose,
)

__all__ = ["LEAST", "RANK_TOLERANCE", "Profile", "Solution", "normal_matrix"]

# The variance of the noise is at least this share of that of y: data without noise have a maximum.
NOISE_FLOOR = 1e-12
# Beside such noise the random coefficients, each by itself, explain at most this share of the
# variance of y; beyond it a deviance is rounding, also where columns depend on each other.
MOST = 100.0
# Directions of the fixed effects with less than this share of the largest one are not estimable.
RANK_TOLERANCE = 1e-11
LEAST = 1e-9  # tau²


class Profile:
    """The profiled deviance and its gradient as functions of Lambda and of tau / sigma.

    ``K_t`` and ``k_t`` of the last Lambda are kept, in the same memory for every one.
    """

    def __init__(self, moments, random, *, reml=False, shrinkage=None, slopes=None, centred=False):
        self.G, self.g, self.yy, self.s = moments.G, moments.g, moments.yy, moments.s
        self.rows = None if moments.rows is None else moments.rows[:, moments.first :]
        self.random = random if len(random) < len(self.G) else slice(0, len(self.G))  # no copies
        self.reml = reml
        self.shrinkage = shrinkage
        self.slopes = slopes
        P, q = normal_matrix(self.s, self.G), len(self.s)
        sums = P[::q, ::q][self.random][:, self.random].copy()
        self.kept = self._estimable(P)
        if centred:
            self.kept = self.kept[self.kept % q > 0]
        n_flat = len(self.kept) - (0 if slopes is None else len(slopes))
        n_rows = moments.n.sum()
        self.dof = max(n_rows - (n_flat if reml or slopes is not None else 0), 1.0)
        self.floor = max(NOISE_FLOOR * self.yy.sum() / n_rows, np.finfo(np.float64).tiny)
        self.squares = np.diag(sums) / n_rows
        self.whitened = np.empty_like(self.G if self.rows is None else self.rows)
        self.k = np.empty_like(self.g)
        self.parts = in_cache(self.whitened)

    def _estimable(self, P):
        """Positions of the fixed effects that do not depend linearly on those before them."""
        if self.slopes is not None:  # what has a prior is determined
            P[self.slopes, self.slopes] = np.maximum(2 * P[self.slopes, self.slopes], 1.0)
        scale = np.sqrt(np.diag(P))
        scale[scale == 0] = 1.0
        P = P / np.outer(scale, scale)
        kept, L = [], np.zeros_like(P)
        for j in range(len(P)):  # Cholesky, leaving out what has no pivot
            k = len(kept)
            row = scipy.linalg.solve_triangular(L[:k, :k], P[kept, j], lower=True)
            pivot = P[j, j] - row @ row
            if pivot > RANK_TOLERANCE:
                L[k, :k], L[k, k] = row, np.sqrt(pivot)
                kept.append(j)
        return np.array(kept, dtype=np.intp)

    def _inverse(self, P):
        """C with ``C C' = P^{-1}`` of the estimable fixed effects (0 for the others); log|P|."""
        kept = np.ix_(self.kept, self.kept)
        scale = np.sqrt(np.maximum(np.diag(P)[self.kept], np.finfo(np.float64).tiny))
        values, vectors = np.linalg.eigh(P[kept] / np.outer(scale, scale))
        values = np.maximum(values, RANK_TOLERANCE * 1e-3)
        half = vectors / scale[:, None] / np.sqrt(values)
        C = np.zeros((len(P), len(values)))
        C[self.kept] = half
        return C, np.log(values).sum() + 2 * np.log(scale).sum()

    def sums(self, factor):
        """P, ``sum_t k_t s_t'``, that of ``y'H_t^{-1}y``, and that of ``log|H_t|``."""
        P, kS, yHy, log_H = 0.0, 0.0, 0.0, 0.0
        for part in self.parts:
            s = self.s[:, part]
            if self.rows is None:
                K, k, y, log = _whitened(
                    self.G[..., part], self.g[:, part], self.yy[part], self.random, factor
                )
                self.whitened[..., part], self.k[:, part] = K, k
                P, kS = P + normal_matrix(s, K), kS + k @ s.T
            else:
                W, log = _whitened_rows(self.rows[..., part], self.random, factor)
                self.whitened[..., part] = W
                X = self._designs(W, s)
                P, k = P + sum_of_products(X, X), sum_of_products(X, W[:, -1:])
                kS, y = kS + k.reshape(-1, len(s)), np.sum(W[:, -1] ** 2)
            yHy, log_H = yHy + y, log_H + log
        return P, kS, yHy, log_H

    @staticmethod
    def _designs(W, s):
        """Rows x (x) s."""
        X = W[:, :-1]
        if len(s) == 1:
            return X
        return (X[:, :, None] * s).reshape(len(X), -1, X.shape[2])

    def information(self):
        """sum_t K_t of the random coefficients."""
        if self.rows is None:
            return self.whitened.sum(axis=-1)[self.random][:, self.random]
        Z = self.whitened[:, self.random]
        return sum_of_products(Z, Z)

    def projected(self, part, C):
        """C'K_t C of some tasks."""
        if self.rows is None:
            K = self.whitened[..., part][self.random][:, self.random]
            return matmul(matmul(C.T, K), C)
        Z = matmul(self.whitened[:, self.random][..., part], C)
        return matmul(transpose(Z), Z)

    def solve(self, factor, tau=1.0):
        """Everything that a value of Lambda, and of tau / sigma, determines."""
        omega = 0.0 if self.slopes is None else 1.0 / (tau**2 + LEAST)
        nu = 0.0 if self.shrinkage is None else self.shrinkage.nu
        prior = 2 * nu * np.linalg.slogdet(factor)[1] if nu > 0 else 0.0
        possible = prior > -np.inf  # the prior leaves no variance at 0, where rounding may end
        if not (possible and NOISE_FLOOR * (self.squares @ factor**2).sum() < MOST):
            return Solution(factor, tau, omega, deviance=np.inf)
        P, kS, yHy, log_H = self.sums(factor)
        if omega:
            P[self.slopes, self.slopes] += omega
        C, log_P = self._inverse(P)
        B = (C @ (C.T @ kS.ravel())).reshape(kS.shape)
        rss = max(yHy - np.sum(kS * B), 0.0)
        sigma2 = rss / self.dof + self.floor
        dof = self.dof
        if self.shrinkage is not None:
            nu1, s2 = self.shrinkage.nu1, self.shrinkage.s2
            dof, pulled = self.dof + nu * len(factor) + nu1, nu1 * s2
            if nu > 0:
                pulled += nu * self._pulled(factor)[1]
            sigma2 = (rss + pulled) / dof + self.floor
            prior += (dof - self.dof) * np.log(sigma2) + pulled / sigma2
        deviance = log_H + self.dof * np.log(2 * np.pi * sigma2) + rss / sigma2
        deviance += (self.reml or omega > 0) * log_P
        if omega:
            deviance -= len(self.slopes) * np.log(omega)
        return Solution(factor, tau, omega, B, C, sigma2, deviance, prior, dof)

    def _pulled(self, factor):
        """Lambda^{-1} and tr (Lambda Lambda')^{-1} Sigma0."""
        inverse = np.linalg.inv(factor)
        return inverse, np.sum((inverse @ self.shrinkage.Sigma0) * inverse)

    def gradient(self, at):
        """The gradient of deviance and prior in Lambda and tau, at the last solution."""
        D = np.zeros(at.factor.shape)
        for part in self.parts:
            of_part = self._slope if self.rows is None else self._slope_of_rows
            D += of_part(at, self.whitened[..., part], part)
        gradient = 2 * D @ at.factor
        if self.shrinkage is not None and self.shrinkage.nu > 0:
            inverse, _ = self._pulled(at.factor)
            pulled = inverse @ self.shrinkage.Sigma0 @ inverse.T / at.sigma2
            gradient += 2 * self.shrinkage.nu * inverse.T @ (np.eye(len(pulled)) - pulled)
        if not at.omega:
            return gradient, 0.0
        b = at.B.ravel()[self.slopes]
        of_log = at.omega * (np.sum(at.C[self.slopes] ** 2) + b @ b / at.sigma2) - len(b)
        return gradient, -2 * at.tau * at.omega * of_log

    def _slope(self, at, K, part):
        """D, of some tasks."""
        R, p, s = self.random, len(K), self.s[:, part]
        e = (self.k[:, part] - matvec(K, at.B @ s))[R]
        D = K.sum(axis=-1)[R][:, R] - e @ e.T / at.sigma2
        if self.reml or at.omega:
            C = at.C.T
            if len(s) > 1:  # what the descriptors of a task make of it
                C = np.einsum("aqk,qt->kat", at.C.reshape(p, len(s), -1), s)
            Y = matmul(C, K[:, R])
            D -= sum_of_products(Y, Y)
        return D

    def _slope_of_rows(self, at, W, part):
        """D, of some tasks, from ``L_t^{-1} [X, y]``."""
        Z, s = W[:, self.random], self.s[:, part]
        e = matvec(transpose(Z), W[:, -1] - matvec(W[:, :-1], at.B @ s))
        D = sum_of_products(Z, Z) - e @ e.T / at.sigma2
        if self.reml or at.omega:
            Q = matmul(self._designs(W, s), at.C)
            D -= sum_of_products(Z, matmul(matmul(Q, transpose(Q)), Z))
        return D


@dataclass(frozen=True, eq=False)
class Solution:
    """What Lambda and tau determine; see :class:`MixedModel`."""

    factor: np.ndarray
    tau: float
    omega: float
    B: np.ndarray = None
    C: np.ndarray = None
    sigma2: float = np.nan
    deviance: float = np.nan
    prior: float = 0.0
    dof: float = np.nan

    @property
    def value(self):
        """Half of what is minimised."""
        return 0.5 * (self.deviance + self.prior)


def normal_matrix(s, K):
    """P = sum_t K_t (x) s_t s_t', indexed by coefficient, then descriptor."""
    if len(s) == 1:
        return K.sum(axis=-1)
    p, q = len(K), len(s)
    ss = (s[:, None] * s[None]).reshape(q * q, -1)
    P = (K.reshape(p * p, -1) @ ss.T).reshape(p, p, q, q)
    return P.transpose(0, 2, 1, 3).reshape(p * q, p * q)


def _whitened(G, g, yy, random, factor):
    """``K_t, k_t``, the sum of ``y'H_t^{-1}y``, and that of ``log|H_t|``."""
    W = matmul(factor.T, G[random])
    L = cholesky(plus_identity(matmul(W[:, random], factor)), least=1.0)
    Uv = solve_lower(L, np.concatenate([W, matmul(factor.T, g[random][:, None])], axis=1))
    U, v = Uv[:, :-1], Uv[:, -1]
    K = G - matmul(transpose(U), U)
    k = g - matvec(transpose(U), v)
    return K, k, yy.sum() - np.einsum("it,it->", v, v), log_det(L).sum()


def _whitened_rows(rows, random, factor):
    """``L_t^{-1} [X, y]`` with ``H_t = L_t L_t'``, and the sum of ``log|H_t|``."""
    V = matmul(rows[:, random], factor)
    L = cholesky(plus_identity(matmul(V, transpose(V))), least=1.0)
    return solve_lower(L, rows), log_det(L).sum()
