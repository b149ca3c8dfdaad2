r"""The linear mixed model from per-task sufficient statistics.

    y_t = X_t w_t + e_t,   w_t = B s_t + u_t,   u_t ~ N(0, Sigma),   e_t ~ N(0, sigma² I)

with ``s_t = [1, side information]`` and ``u_t`` zero but in the random coefficients R. With
``Sigma = sigma² Lambda Lambda'`` (Lambda: the relative factor of Bates et al.) and Z = X[:, R],
the covariance of y_t is ``sigma² H_t, H_t = I + Z Lambda Lambda' Z'``, and by Woodbury's identity

    A_t = I + Lambda' Z'Z Lambda = L_t L_t'      log|H_t| = log|A_t|
    U_t = L_t^{-1} Lambda' Z'X                   K_t = X'H_t^{-1}X = X'X - U_t'U_t
    v_t = L_t^{-1} Lambda' Z'y                   k_t = X'H_t^{-1}y = X'y - U_t'v_t

so that only ``X'X, X'y, y'y`` of each task are ever needed. B and sigma² are profiled out:

    P = sum_t K_t (x) s_t s_t',   vec B = P^{-1} sum_t k_t (x) s_t,   sigma² = rss / nu
    -2 log L = sum_t log|A_t| + nu (1 + log 2 pi sigma²)  [+ log|P| and nu = N - rank P: REML]

Fixed effects that depend linearly on earlier ones are left out (they are 0), as lme4 does.

The profiled deviance is minimised over Lambda, in which it is smooth also where a variance is 0,
by L-BFGS with the exact gradient ``2 D Lambda``, where with ``e_t = (k_t - K_t B s_t)_R``

    D = sum_t K_t,RR - e_t e_t' / sigma²  [- K_t,R: (s_t' P^{-1} s_t) K_t,:R : REML].

With few tasks the estimated correlations of u_t are noise. An LKJ prior on their matrix R,
``p(R) ~ |R|^(eta - 1)``, pulls them to 0: then ``-2 log L - 2 (eta - 1) log|R|`` is minimised, over
standard deviations tau and a unit lower triangular C, with ``n_i`` the norm of row i of C:

    Lambda_i = tau_i C_i / n_i,   log|R| = -2 sum_i log n_i.

The posterior of u_t (the BLUP) is ``N(Lambda A_t^{-1} Lambda' e0_t, sigma² Lambda A_t^{-1}
Lambda')`` with ``e0_t = (X'y - X'X B s_t)_R``.

References
----------
Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4.
Lindstrom, Bates (1988), Newton-Raphson and EM algorithms for linear mixed-effects models.
Laird, Ware (1982), Random-effects models for longitudinal data.
Lewandowski, Kurowicka, Joe (2009), Generating random correlation matrices based on vines and
extended onion method (the LKJ prior).
Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative prior for point estimation of
covariance matrices in hierarchical models.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize

from .stacked import cholesky, matmul, solve_lower, stack, transpose

__all__ = ["MixedModel", "Moments", "fit_mixed_model", "posterior"]

# The variance of the noise is at least this share of that of y: data without noise have a maximum.
NOISE_FLOOR = 1e-12
# Directions of the fixed effects with less than this share of the largest one are not estimable.
RANK_TOLERANCE = 1e-11
# Entries of Lambda are at most 10 / sqrt(NOISE_FLOOR): where fixed and random effects can explain
# all rows, the likelihood has no maximum.
LARGEST_FACTOR = 1e7
# The deviance per row is known to this share of itself, up to the rounding of its sums.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics ``M_t = sum_i w_i z_i z_i'`` of ``z = [1, x, y]`` of every task.

    Parameters
    ----------
    M : ndarray of shape (n_features + 2, n_features + 2, n_tasks)
    S : ndarray of shape (n_descriptors, n_tasks)
    """

    M: np.ndarray
    S: np.ndarray

    @classmethod
    def from_batches(cls, batches, n_tasks, n_features, shift, S=None):
        """Sum the rows of padded batches.

        Parameters
        ----------
        batches : iterable of PaddedBatch
        n_tasks, n_features : int
        shift : ndarray of shape (n_features + 1,)
            Subtracted from ``[x, y]``, so that sums of squares of data far from 0 stay exact.
        S : ndarray of shape (n_tasks, n_descriptors), default=None
        """
        M = np.zeros((n_tasks, n_features + 2, n_features + 2))
        for batch in batches:
            Z = np.empty((*batch.y.shape, n_features + 2))
            Z[..., 0] = 1.0
            np.subtract(batch.X, shift[:-1], out=Z[..., 1:-1])
            np.subtract(batch.y, shift[-1], out=Z[..., -1])
            M[batch.tasks] = np.swapaxes(Z * batch.weight[..., None], 1, 2) @ Z
        return cls(stack(M), np.zeros((0, n_tasks)) if S is None else S.T.astype(np.float64))

    @property
    def n_tasks(self):
        return self.M.shape[-1]

    def concatenate(self, other):
        """These tasks and then the others."""
        M = np.concatenate([np.moveaxis(m.M, -1, 0) for m in (self, other)])
        return Moments(stack(M), np.concatenate([self.S, other.S], axis=1))

    def pooled(self):
        """Number of rows, means and standard deviations of ``[x, y]`` over all tasks."""
        M = self.M.sum(axis=-1)
        n = M[0, 0]
        mean = M[0, 1:] / n
        return n, mean, np.sqrt(np.maximum(np.diag(M)[1:] / n - mean**2, 0.0))

    def rescaled(self, mean, scale):
        """The moments of ``[1, ([x, y] - mean) / scale]``."""
        C = np.eye(len(self.M))
        C[1:, 1:] /= scale[:, None]
        C[1:, 0] = -mean / scale
        return Moments(matmul(C, matmul(self.M, C.T)), self.S)


@dataclass(frozen=True, eq=False)
class MixedModel:
    """A fitted model, in the units of its moments.

    Parameters
    ----------
    B : ndarray of shape (n_coefs, 1 + n_descriptors)
        Means of the coefficients as a function of ``[1, descriptors]``.
    factor : ndarray of shape (n_random, n_random)
        Lambda.
    sigma2 : float
        Variance of the noise.
    random : ndarray of shape (n_random,)
        R: positions of the random coefficients.
    deviance : float
        -2 log (restricted) likelihood.
    dof : float
        nu.
    kept : ndarray of shape (n_kept,)
        Positions in ``B.ravel()`` of the fixed effects that the data determine; the others are 0.
    reml : bool
    n_iter : int
    converged : bool
    """

    B: np.ndarray
    factor: np.ndarray
    sigma2: float
    random: np.ndarray
    deviance: float
    dof: float
    kept: np.ndarray
    reml: bool
    n_iter: int
    converged: bool


class _Structure:
    """Which entries of Lambda are free: ``full`` (lower triangle), ``diag`` or ``spherical``."""

    def __init__(self, covariance, n_random):
        self.n_random = n_random
        self.spherical = covariance == "spherical"
        if covariance == "full":
            self.index = np.tril_indices(n_random)
        else:
            self.index = np.diag_indices(n_random)

    def factor(self, free):
        factor = np.zeros((self.n_random, self.n_random))
        factor[self.index] = free
        return factor

    def start(self, scale):
        """The free entries of Lambda = scale I."""
        entries = (scale * np.eye(self.n_random))[self.index]
        return entries[:1] if self.spherical else entries

    def gradient(self, free, matrix):
        """The gradient in the free entries from that in Lambda."""
        entries = matrix[self.index]
        return entries.sum(keepdims=True) if self.spherical else entries

    def penalty(self, free):
        """What is added to the deviance, and its gradient in the free entries."""
        return 0.0, 0.0


class _Correlated(_Structure):
    """A full Lambda by standard deviations tau and a unit lower triangular C, with an LKJ prior."""

    def __init__(self, n_random, eta):
        self.n_random, self.eta = n_random, eta
        self.below = np.tril_indices(n_random, -1)

    def _parts(self, free):
        tau, C = free[: self.n_random], np.eye(self.n_random)
        C[self.below] = free[self.n_random :]
        return tau, C, np.linalg.norm(C, axis=1)

    def factor(self, free):
        tau, C, n = self._parts(free)
        return (tau / n)[:, None] * C

    def start(self, scale):
        return np.append(np.full(self.n_random, scale), np.zeros(len(self.below[0])))

    def gradient(self, free, matrix):
        tau, C, n = self._parts(free)
        unit = C / n[:, None]
        along = np.einsum("ij,ij->i", matrix, unit)
        across = (tau / n)[:, None] * (matrix - along[:, None] * unit)
        return np.append(along, across[self.below])

    def penalty(self, free):
        _, C, n = self._parts(free)
        gradient = np.append(np.zeros(self.n_random), (C / n[:, None] ** 2)[self.below])
        return 4 * (self.eta - 1) * np.log(n).sum(), 4 * (self.eta - 1) * gradient


class _Profile:
    """The profiled deviance and its gradient as functions of the free entries of Lambda."""

    def __init__(self, moments, random, structure, *, intercept, reml):
        first = 0 if intercept else 1
        self.G = moments.M[first:-1, first:-1]
        self.g = moments.M[first:-1, -1]
        self.yy = moments.M[-1, -1].sum()
        n_rows = moments.M[0, 0].sum()
        self.s = np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
        self.random, self.structure, self.reml = random, structure, reml
        self.kept = self._estimable()
        self.dof = max(n_rows - (len(self.kept) if reml else 0), 1.0)
        self.floor = max(NOISE_FLOOR * self.yy / n_rows, np.finfo(np.float64).tiny)
        self.scale = 1.0 / n_rows

    def _fixed(self, K):
        """P = sum_t K_t (x) s_t s_t', indexed by coefficient, then descriptor."""
        p, q = len(K), len(self.s)
        ss = (self.s[:, None] * self.s[None]).reshape(q * q, -1)
        P = (K.reshape(p * p, -1) @ ss.T).reshape(p, p, q, q)
        return P.transpose(0, 2, 1, 3).reshape(p * q, p * q)

    def _estimable(self):
        """Positions of the fixed effects that do not depend linearly on those before them."""
        P = self._fixed(self.G)
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
        """P^{-1} of the estimable fixed effects (0 for the others), and log|P| of these."""
        kept = np.ix_(self.kept, self.kept)
        scale = np.sqrt(np.maximum(np.diag(P)[self.kept], np.finfo(np.float64).tiny))
        values, vectors = np.linalg.eigh(P[kept] / np.outer(scale, scale))
        values = np.maximum(values, RANK_TOLERANCE * 1e-3)
        half = vectors / scale[:, None] / np.sqrt(values)
        inverse = np.zeros_like(P)
        inverse[kept] = half @ half.T
        return inverse, np.log(values).sum() + 2 * np.log(scale).sum()

    def solve(self, free):
        """Everything that a value of Lambda determines."""
        R, G, g = self.random, self.G, self.g
        factor = self.structure.factor(free)
        W = matmul(factor.T, G[R])
        A = matmul(W[:, R], factor)
        A[np.diag_indices(len(R))] += 1.0
        L = cholesky(A, least=1.0)
        Uv = solve_lower(L, np.concatenate([W, matmul(factor.T, g[R][:, None])], axis=1))
        U, v = Uv[:, :-1], Uv[:, -1]
        K = G - matmul(transpose(U), U)
        k = g - np.einsum("ijt,it->jt", U, v)
        P_inverse, log_P = self._inverse(self._fixed(K))
        kS = k @ self.s.T
        B = (P_inverse @ kS.ravel()).reshape(kS.shape)
        rss = self.yy - np.einsum("it,it->", v, v) - np.sum(kS * B)
        sigma2 = max(rss, 0.0) / self.dof + self.floor
        log_A = 2 * np.log(L[np.diag_indices(len(R))]).sum()
        deviance = log_A + self.dof * (1 + np.log(2 * np.pi * sigma2)) + self.reml * log_P
        return factor, K, k, B, P_inverse, sigma2, deviance

    def __call__(self, free):
        factor, K, k, B, P_inverse, sigma2, deviance = self.solve(free)
        R, p, q = self.random, len(K), len(self.s)
        e = (k - np.einsum("ijt,jt->it", K, B @ self.s))[R]
        D = K[R][:, R].sum(axis=-1) - e @ e.T / sigma2
        if self.reml:
            if q == 1:
                H = matmul(K[R], P_inverse)
            else:
                Q = P_inverse.reshape(p, q, p, q)
                sPs = np.einsum("aibj,it,jt->abt", Q, self.s, self.s, optimize=True)
                H = matmul(K[R], sPs)
            D -= H.reshape(len(R), -1) @ K[R].reshape(len(R), -1).T
        gradient = self.structure.gradient(free, 2 * D @ factor)
        penalty, penalty_gradient = self.structure.penalty(free)
        return (deviance + penalty) * self.scale, (gradient + penalty_gradient) * self.scale


class _Converged(Exception):
    """The gradient is small enough at a point, ``args[0]``, that is as good as any before."""


def fit_mixed_model(
    moments,
    random,
    *,
    intercept=True,
    covariance="full",
    eta=1.0,
    reml=True,
    max_iter=1000,
    tol=1e-8,
    callback=None,
):
    """Maximise the (restricted) likelihood.

    Parameters
    ----------
    moments : Moments
        In units in which variances are comparable (standardised).
    random : ndarray of shape (n_random,)
        Positions of the coefficients that vary between tasks.
    intercept : bool, default=True
        Whether the first coefficient is an intercept; without, ``random`` counts features.
    covariance : {"full", "diag", "spherical"}, default="full"
    eta : float, default=1.0
        Concentration of the LKJ prior on the correlations of a full covariance; 1: none.
    reml : bool, default=True
    max_iter : int, default=1000
    tol : float, default=1e-8
        Stop when no entry of the gradient of the deviance per row exceeds it.
    callback : callable, default=None
        ``callback(get_model)`` after each iteration, where ``get_model()`` is the MixedModel so
        far; True stops.

    Returns
    -------
    MixedModel
    """
    if covariance == "full" and eta > 1:
        structure = _Correlated(len(random), eta)
    else:
        structure = _Structure(covariance, len(random))
    profile = _Profile(moments, random, structure, intercept=intercept, reml=reml)

    def model(free, n_iter, converged):
        factor, _, _, B, _, sigma2, deviance = profile.solve(free)
        dof, kept = profile.dof, profile.kept
        return MixedModel(
            B, factor, sigma2, random, deviance, dof, kept, reml, n_iter, converged
        )

    if moments.n_tasks < 2 or len(random) == 0:  # nothing varies, or nobody knows by how much
        return model(structure.start(0.0), 1, True)
    # Not at 0, where the gradient vanishes even if the variance should be positive, nor at a
    # distance from it that is the length of the first step of L-BFGS, which is 1.
    start = structure.start(0.5)
    n_iter, least = 0, np.inf

    def objective(free):
        # Near the optimum L-BFGS-B finds no decrease that is more than rounding, and would search
        # on and on beside a point that has converged.
        nonlocal least
        value, gradient = profile(free)
        if np.abs(gradient).max() <= tol and value - least <= ROUNDING * abs(value):
            raise _Converged(free.copy())
        least = min(least, value)
        return value, gradient

    def after_iteration(x):
        nonlocal n_iter
        n_iter += 1
        return callback is not None and callback(lambda: model(x, n_iter, False))

    def stop(intermediate_result):
        if after_iteration(intermediate_result.x.copy()):
            raise StopIteration

    # The stored corrections are many: the deviance is flat along singular covariances.
    options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "ftol": 0, "gtol": tol, "maxcor": 100}
    try:
        result = scipy.optimize.minimize(
            objective,
            start,
            jac=True,
            bounds=[(-LARGEST_FACTOR, LARGEST_FACTOR)] * len(start),
            method="L-BFGS-B",
            callback=stop,
            options=options,
        )
    except _Converged as converged:
        (free,) = converged.args
        after_iteration(free)
        return model(free, n_iter, True)
    return model(result.x, max(n_iter, 1), result.status in (0, 2))


def posterior(model, moments, *, intercept=True):
    """The posterior of the coefficients of every task given its rows.

    Parameters
    ----------
    model : MixedModel
    moments : Moments
        In the units of the model; a task without rows has moments of 0 and keeps the prior.

    Returns
    -------
    mean : ndarray of shape (n_coefs, n_tasks)
    covariance : ndarray of shape (n_random, n_random, n_tasks)
        Of the random coefficients.
    """
    first, R = 0 if intercept else 1, model.random
    G, g = moments.M[first:-1, first:-1], moments.M[first:-1, -1]
    mean = model.B @ np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
    if len(R) == 0:
        return mean, np.zeros((0, 0, moments.n_tasks))
    A = matmul(matmul(model.factor.T, G[R][:, R]), model.factor)
    A[np.diag_indices(len(R))] += 1.0
    identity = np.repeat(model.factor.T[:, :, None], moments.n_tasks, axis=2)
    Q = solve_lower(cholesky(A, least=1.0), identity)
    error = (g - np.einsum("ijt,jt->it", G, mean))[R]
    mean[R] += np.einsum("ijt,it->jt", Q, np.einsum("ijt,jt->it", Q, error))
    return mean, model.sigma2 * matmul(transpose(Q), Q)
