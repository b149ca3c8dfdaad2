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

Where a task has fewer rows than random coefficients, ``H_t = I + V V', V = Z Lambda``, is factored
itself: the same quantities from the smaller matrix.

A prior of the covariance and the noise (:class:`Shrinkage`), an inverse Wishart worth nu tasks
around Sigma0 and an inverse gamma worth nu1 rows around s2, adds to ``-2 log L``

    nu (log|Sigma| + tr Sigma^{-1} Sigma0) + nu1 (log sigma² + s2 / sigma²),

after which ``sigma² = (rss + nu tr (Lambda Lambda')^{-1} Sigma0 + nu1 s2) / (dof + nu |R| + nu1)``
and the gradient gains ``2 nu Lambda^{-T} (I - Lambda^{-1} Sigma0 Lambda^{-T} / sigma²)``. Fixed
effects may have a prior ``N(0, tau² I)`` in these units, with ``omega = sigma² / tau²`` estimated
like any variance: ``P + omega I`` takes the place of P, and ``-2 log L`` gains ``- q log omega``.

The posterior of u_t (the BLUP) is ``N(Lambda A_t^{-1} Lambda' e0_t, sigma² Lambda A_t^{-1}
Lambda')`` with ``e0_t = (X'y - X'X B s_t)_R``.

References
----------
Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4.
Lindstrom, Bates (1988), Newton-Raphson and EM algorithms for linear mixed-effects models.
Laird, Ware (1982), Random-effects models for longitudinal data.
Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative prior for point estimation of
covariance matrices in hierarchical models.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.optimize

from .stacked import cholesky, matmul, matvec, solve_lower, stack, transpose

__all__ = [
    "MixedModel",
    "Moments",
    "Shrinkage",
    "condition",
    "fixed_effects",
    "fit_mixed_model",
    "log_densities",
    "posterior",
]

# The variance of the noise is at least this share of that of y: data without noise have a maximum.
NOISE_FLOOR = 1e-12
# Directions of the fixed effects with less than this share of the largest one are not estimable.
RANK_TOLERANCE = 1e-11
# Entries of Lambda are at most 10 / sqrt(NOISE_FLOOR): where fixed and random effects can explain
# all rows, the likelihood has no maximum.
MAX_FACTOR = 1e7
MAX_LOG = 20.0  # log omega
EXACT = 1e-13  # what the gradient of a single number may be
# Tasks with at most this share of rows for their columns are kept as rows.
FEW_ROWS = 0.5
# The deviance per row is known to this share of itself, up to the rounding of its sums.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics ``M_t = sum_i w_i z_i z_i'`` of ``z = [1, x, y]`` of every task.

    Parameters
    ----------
    M : ndarray of shape (n_features + 2, n_features + 2, n_tasks)
    S : ndarray of shape (n_descriptors, n_tasks)
    rows : ndarray of shape (n_most, n_features + 2, n_tasks), default=None
        The rows ``sqrt(w_i) z_i`` themselves, where every task has few for its columns.
    """

    M: np.ndarray
    S: np.ndarray
    rows: np.ndarray = None

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
        parts, n_most = [], 0
        for batch in batches:
            Z = np.empty((*batch.y.shape, n_features + 2))
            Z[..., 0] = 1.0
            np.subtract(batch.X, shift[:-1], out=Z[..., 1:-1])
            np.subtract(batch.y, shift[-1], out=Z[..., -1])
            M[batch.tasks] = np.swapaxes(Z * batch.weight[..., None], 1, 2) @ Z
            n_most = max(n_most, Z.shape[1])
            if n_most <= FEW_ROWS * n_features:
                parts.append((batch.tasks, Z * np.sqrt(batch.weight)[..., None]))
        rows = None
        if 0 < n_most <= FEW_ROWS * n_features:
            rows = np.zeros((n_tasks, n_most, n_features + 2))
            for tasks, Z in parts:
                rows[tasks, : Z.shape[1]] = Z
            rows = stack(rows)
        S = np.zeros((0, n_tasks)) if S is None else S.T.astype(np.float64)
        return cls(stack(M), S, rows)

    @property
    def n_tasks(self):
        return self.M.shape[-1]

    def concatenate(self, *others):
        """These tasks and then the others, all at once: the time is linear in their number."""
        if not others:
            return self
        parts = (self, *others)
        M = np.concatenate([np.moveaxis(m.M, -1, 0) for m in parts])
        S, rows = np.concatenate([m.S for m in parts], axis=1), None
        if all(m.rows is not None for m in parts):
            n_most = max(len(m.rows) for m in parts)
            pads = [((0, n_most - len(m.rows)), (0, 0), (0, 0)) for m in parts]
            padded = [np.pad(m.rows, pad) for m, pad in zip(parts, pads, strict=True)]
            rows = stack(np.moveaxis(np.concatenate(padded, axis=2), -1, 0))
        return Moments(stack(M), S, rows)

    def of(self, tasks):
        """The moments of some tasks."""
        M = stack(np.moveaxis(self.M, -1, 0)[tasks])
        rows = None if self.rows is None else stack(np.moveaxis(self.rows, -1, 0)[tasks])
        return Moments(M, self.S[:, tasks], rows)

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
        rows = None if self.rows is None else matmul(self.rows, C.T)
        return Moments(matmul(C, matmul(self.M, C.T)), self.S, rows)


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
    omega : float
        sigma² / tau² of the prior of fixed effects; 0 if they have none.
    slopes : ndarray of shape (n_slopes,)
        Positions in ``B.ravel()`` of those that have one; None if there are none.
    B_covariance : ndarray of shape (n_fixed, n_fixed)
        Of ``B.ravel()``, given the variances.
    pooled : ndarray of shape (n_coefs, 1 + n_descriptors), default=None
        Another B, by least squares of all rows, where that counts for something.
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
    omega: float = 0.0
    slopes: np.ndarray = None
    B_covariance: np.ndarray = None
    pooled: np.ndarray = None


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """A prior of covariance and noise: what they are pulled to, and by how much.

    Parameters
    ----------
    nu : float
        Weight of Sigma0, in tasks.
    Sigma0 : ndarray of shape (n_random, n_random)
        Positive definite.
    nu1 : float
        Weight of s2, in rows.
    s2 : float
    """

    nu: float
    Sigma0: np.ndarray
    nu1: float
    s2: float


class _Structure:
    """Lambda as a function of its free entries: ``C F``, F lower triangular or diagonal.

    Parameters
    ----------
    covariance : {"full", "diag", "spherical", "two"}
        ``"two"``: one entry for the first coefficient, and one for all others.
    n_random : int
    centre : ndarray of shape (n_random, n_random), default=None
        C, the identity if None.
    """

    def __init__(self, covariance, n_random, centre=None):
        self.n_random, self.centre = n_random, centre
        full = covariance == "full"
        self.index = np.tril_indices(n_random) if full else np.diag_indices(n_random)
        self.place = np.arange(len(self.index[0]))
        if covariance in ("spherical", "two"):
            self.place = np.minimum(self.place, 0 if covariance == "spherical" else 1)

    def factor(self, free):
        F = np.zeros((self.n_random, self.n_random))
        F[self.index] = free[self.place]
        return F if self.centre is None else self.centre @ F

    def start(self, scale):
        """The free entries of F = scale I."""
        entries = np.zeros(self.place.max(initial=-1) + 1)
        entries[self.place[self.index[0] == self.index[1]]] = scale
        return entries

    def gradient(self, matrix):
        """The gradient in the free entries from that in Lambda."""
        F = matrix if self.centre is None else self.centre.T @ matrix
        return np.bincount(self.place, F[self.index])


class _Profile:
    """The profiled deviance and its gradient as functions of the free entries of Lambda.

    Where fixed effects have a prior, log omega is one more free entry, the last.
    """

    def __init__(
        self,
        moments,
        random,
        structure,
        *,
        intercept,
        reml,
        shrinkage=None,
        slopes=None,
        centred=False,
    ):
        first = 0 if intercept else 1
        self.G = moments.M[first:-1, first:-1]
        self.g = moments.M[first:-1, -1]
        self.rows = None if moments.rows is None else moments.rows[:, first:]
        self.yy = moments.M[-1, -1].sum()
        self.n_rows = moments.M[0, 0].sum()
        self.s = np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
        self.random, self.structure, self.reml = random, structure, reml
        self.shrinkage = shrinkage
        self.slopes = slopes
        self.kept = self._estimable()
        if centred:
            self.kept = self.kept[self.kept % len(self.s) > 0]
        n_flat = len(self.kept) - (0 if slopes is None else len(slopes))
        self.dof = max(self.n_rows - (n_flat if reml or slopes is not None else 0), 1.0)
        self.floor = max(NOISE_FLOOR * self.yy / self.n_rows, np.finfo(np.float64).tiny)
        self.scale = 1.0 / self.n_rows

    def _estimable(self):
        """Positions of the fixed effects that do not depend linearly on those before them."""
        P = _normal(self.s, self.G)
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

    def solve(self, free):
        """Everything that a value of Lambda determines."""
        omega = 0.0
        if self.slopes is not None:
            free, omega = free[:-1], float(np.exp(free[-1]))
        factor = self.structure.factor(free)
        K, k, yHy, log_H = _whitened(self.G, self.g, self.yy, self.rows, self.random, factor)
        kS = k @ self.s.T
        P = _normal(self.s, K)
        if omega:
            P[self.slopes, self.slopes] += omega
        C, log_P = self._inverse(P)
        B = (C @ (C.T @ kS.ravel())).reshape(kS.shape)
        rss = max(yHy - np.sum(kS * B), 0.0)
        sigma2 = rss / self.dof + self.floor
        prior, dof = 0.0, self.dof
        if self.shrinkage is not None:
            nu, nu1, s2 = self.shrinkage.nu, self.shrinkage.nu1, self.shrinkage.s2
            dof, pulled = self.dof + nu * len(factor) + nu1, nu1 * s2
            if nu > 0:
                pulled += nu * self._pulled(factor)[1]
                prior = 2 * nu * np.linalg.slogdet(factor)[1]
            sigma2 = (rss + pulled) / dof + self.floor
            prior += (dof - self.dof) * np.log(sigma2) + pulled / sigma2
        deviance = log_H + self.dof * np.log(2 * np.pi * sigma2) + rss / sigma2
        deviance += (self.reml or omega > 0) * log_P
        if omega:
            deviance -= len(self.slopes) * np.log(omega)
        return factor, K, k, B, C, sigma2, deviance, prior, omega

    def _pulled(self, factor):
        """Lambda^{-1} and tr (Lambda Lambda')^{-1} Sigma0."""
        inverse = np.linalg.inv(factor)
        return inverse, np.sum((inverse @ self.shrinkage.Sigma0) * inverse)

    def __call__(self, free):
        factor, K, k, B, C, sigma2, deviance, prior, omega = self.solve(free)
        R, p, q = self.random, len(K), len(self.s)
        e = (k - matvec(K, B @ self.s))[R]
        D = K.sum(axis=-1)[np.ix_(R, R)] - e @ e.T / sigma2
        if self.reml or omega:
            C_t = C.T
            if q > 1:  # what the descriptors of a task make of it
                C_t = np.einsum("aqk,qt->kat", C.reshape(p, q, -1), self.s)
            Y = np.moveaxis(matmul(C_t, K if len(R) == p else K[:, R]), -1, 0).reshape(-1, len(R))
            D -= Y.T @ Y
        gradient = 2 * D @ factor
        if self.shrinkage is not None and self.shrinkage.nu > 0:
            inverse, _ = self._pulled(factor)
            pulled = inverse @ self.shrinkage.Sigma0 @ inverse.T / sigma2
            gradient += 2 * self.shrinkage.nu * inverse.T @ (np.eye(len(R)) - pulled)
        gradient = self.structure.gradient(gradient)
        if omega:
            b = B.ravel()[self.slopes]
            trace = np.sum(C[self.slopes] ** 2)
            gradient = np.append(gradient, omega * (trace + b @ b / sigma2) - len(b))
        return (deviance + prior) * self.scale, gradient * self.scale


def _normal(s, K):
    """P = sum_t K_t (x) s_t s_t', indexed by coefficient, then descriptor."""
    if len(s) == 1:
        return K.sum(axis=-1)
    p, q = len(K), len(s)
    ss = (s[:, None] * s[None]).reshape(q * q, -1)
    P = (K.reshape(p * p, -1) @ ss.T).reshape(p, p, q, q)
    return P.transpose(0, 2, 1, 3).reshape(p * q, p * q)


def _whitened(G, g, yy, rows, random, factor):
    """``K_t, k_t``, the sum of ``y'H_t^{-1}y``, and that of ``log|H_t|``."""
    R = random
    if len(R) == len(G):
        R = slice(0, len(G))  # no copies
    if rows is None:
        W = matmul(factor.T, G[R])
        A = matmul(W[:, R], factor)
        A[np.diag_indices(len(A))] += 1.0
        L = cholesky(A, least=1.0)
        Uv = solve_lower(L, np.concatenate([W, matmul(factor.T, g[R][:, None])], axis=1))
        U, v = Uv[:, :-1], Uv[:, -1]
        K = G - matmul(transpose(U), U)
        k = g - matvec(transpose(U), v)
        yHy = yy - np.einsum("it,it->", v, v)
    else:
        V = matmul(rows[:, R], factor)
        H = matmul(V, transpose(V))
        H[np.diag_indices(len(H))] += 1.0
        L = cholesky(H, least=1.0)
        W = solve_lower(L, rows)
        M = matmul(transpose(W), W)
        K, k, yHy = M[:-1, :-1], M[:-1, -1], M[-1, -1].sum()
    return K, k, yHy, 2 * np.log(L[np.diag_indices(len(L))]).sum()


class _Converged(Exception):
    """The gradient is small enough at a point, ``args[0]``, that is as good as any before."""


def fit_mixed_model(
    moments,
    random,
    *,
    intercept=True,
    covariance="full",
    reml=True,
    shrinkage=None,
    slopes=None,
    centred=False,
    start=None,
    max_iter=1000,
    tol=1e-8,
    callback=None,
):
    """Maximise the (restricted) likelihood, or what a prior of the variances makes of it.

    Parameters
    ----------
    moments : Moments
        In units in which variances are comparable (standardised).
    random : ndarray of shape (n_random,)
        Positions of the coefficients that vary between tasks.
    intercept : bool, default=True
        Whether the first coefficient is an intercept; without, ``random`` counts features.
    covariance : {"full", "diag", "spherical", "two"}, default="full"
        ``"two"``: diagonal, with one variance for the first random coefficient and one for all
        others.
    reml : bool, default=True
    shrinkage : Shrinkage, default=None
    slopes : ndarray of shape (n_slopes,), default=None
        Positions in ``B.ravel()`` of fixed effects that have a prior around 0.
    centred : bool, default=False
        Whether the means of coefficients are 0 where the side information is; not with ``slopes``.
    start : ndarray of shape (n_random, n_random), default=None
        Lambda to start from, not singular. In its metric the problem is well conditioned if it is
        near the solution.
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
    structure = _Structure(covariance, len(random), start)
    profile = _Profile(
        moments,
        random,
        structure,
        intercept=intercept,
        reml=reml,
        shrinkage=shrinkage,
        slopes=slopes,
        centred=centred,
    )

    def model(free, n_iter, converged):
        factor, _, _, B, C, sigma2, deviance, _, omega = profile.solve(free)
        return MixedModel(
            B,
            factor,
            sigma2,
            random,
            deviance,
            profile.dof,
            profile.kept,
            reml,
            n_iter,
            converged,
            omega,
            slopes,
            sigma2 * C @ C.T,
        )

    # Not at 0, where the gradient vanishes even if the variance should be positive, nor at a
    # distance from it that is the length of the first step of L-BFGS, which is 1.
    x0 = structure.start(0.5 if start is None else 1.0)
    bounds = [(-MAX_FACTOR, MAX_FACTOR)] * len(x0)
    nothing_varies = moments.n_tasks < 2 or len(random) == 0  # or nobody knows by how much
    if nothing_varies:
        x0, bounds = 0.0 * x0, [(0.0, 0.0)] * len(x0)
        tol = min(tol, EXACT)  # of a single number, which costs nothing
        if shrinkage is not None:
            profile.shrinkage = replace(shrinkage, nu=0.0)
    if slopes is not None:
        x0, bounds = np.append(x0, 0.0), [*bounds, (-MAX_LOG, MAX_LOG)]
    elif nothing_varies:
        return model(x0, 1, True)
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
            x0,
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            callback=stop,
            options=options,
        )
    except _Converged as converged:
        (free,) = converged.args
        after_iteration(free)
        return model(free, n_iter, True)
    return model(result.x, max(n_iter, 1), result.status in (0, 2))


def fixed_effects(model, moments, *, intercept=True, pooled=False):
    """B of some tasks at the variances of a fitted model.

    Parameters
    ----------
    model : MixedModel
    moments : Moments
        Features may be fewer, those that the model has first.
    intercept : bool, default=True
    pooled : bool, default=False
        By least squares of all rows: as if no coefficient varied.

    Returns
    -------
    ndarray of shape (n_coefs, 1 + n_descriptors)
        0 where the data do not determine it.
    """
    first = 0 if intercept else 1
    K, k = moments.M[first:-1, first:-1], moments.M[first:-1, -1]
    s = np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
    if not pooled:
        rows = None if moments.rows is None else moments.rows[:, first:]
        K, k, _, _ = _whitened(K, k, 0.0, rows, model.random, model.factor)
    P, b = _normal(s, K), (k @ s.T).ravel()
    kept = model.kept[model.kept < len(b)]
    if model.slopes is not None:
        slopes = model.slopes[model.slopes < len(b)]
        P[slopes, slopes] += model.omega
    scale = np.sqrt(np.maximum(np.diag(P)[kept], np.finfo(np.float64).tiny))
    P = P[np.ix_(kept, kept)] / np.outer(scale, scale)
    B = np.zeros(len(b))
    B[kept] = np.linalg.lstsq(P, b[kept] / scale, rcond=RANK_TOLERANCE)[0] / scale
    return B.reshape(len(k), len(s))


def log_densities(model, moments, *, intercept=True):
    """Log-density of the targets of every task given its features, at the fitted parameters.

    Parameters
    ----------
    model : MixedModel
    moments : Moments
        In the units of the model.

    Returns
    -------
    ndarray of shape (n_tasks,)
    """
    first, R = 0 if intercept else 1, model.random
    G, g, yy = moments.M[first:-1, first:-1], moments.M[first:-1, -1], moments.M[-1, -1]
    w = model.B @ np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
    error = g - matvec(G, w)
    rss = yy - np.einsum("it,it->t", w, g + error)
    log_H = 0.0
    if len(R):
        A = matmul(matmul(model.factor.T, G[R][:, R]), model.factor)
        A[np.diag_indices(len(R))] += 1.0
        L = cholesky(A, least=1.0)
        v = solve_lower(L, matmul(model.factor.T, error[R][:, None]))[:, 0]
        rss = rss - np.einsum("it,it->t", v, v)
        log_H = 2 * np.log(L[np.diag_indices(len(R))]).sum(axis=0)
    noise = np.log(2 * np.pi * model.sigma2)
    return -0.5 * (moments.M[0, 0] * noise + log_H + rss / model.sigma2)


def posterior(model, moments, *, intercept=True, means=None):
    """The posterior of the coefficients of every task given its rows.

    Parameters
    ----------
    model : MixedModel
    moments : Moments
        In the units of the model; a task without rows has moments of 0 and keeps the prior.
    intercept : bool, default=True
    means : ndarray of shape (n_coefs, n_tasks), default=None
        Prior means, ``B s_t`` if None.

    Returns
    -------
    mean : ndarray of shape (n_coefs, n_tasks)
    covariance : ndarray of shape (n_coefs, n_coefs, n_tasks)
        Of the coefficients, the uncertainty of their prior means included: with the share
        ``A_t = I - Lambda A_t^{-1} Lambda' Z'X`` that a change of these has in the posterior mean,
        ``A_t Var(B s_t) A_t'`` is added.
    """
    first = 0 if intercept else 1
    s = np.concatenate([np.ones((1, moments.n_tasks)), moments.S])
    p, q = len(moments.M) - 1 - first, len(s)
    means = model.B @ s if means is None else means
    mean, own, share = condition(model, model.factor, means, moments, intercept=intercept)
    V = model.B_covariance.reshape(p, q, p, q)
    V = V[:, 0, :, 0] if q == 1 else np.einsum("aibj,it,jt->abt", V, s, s, optimize=True)
    covariance = matmul(matmul(share, V), transpose(share))
    covariance[np.ix_(model.random, model.random)] += own
    return mean, covariance


def condition(model, factor, mean, moments, *, intercept=True):
    """The posterior of the coefficients of every task, given their prior means.

    Parameters
    ----------
    model : MixedModel
    factor : ndarray of shape (n_random, n_factors) or (n_random, n_factors, n_tasks)
        Lambda, of all tasks or of each.
    mean : ndarray of shape (n_coefs, n_tasks)
        Prior means.
    moments : Moments

    Returns
    -------
    mean : ndarray of shape (n_coefs, n_tasks)
    own : ndarray of shape (n_random, n_random, n_tasks)
        Covariance of the random coefficients.
    share : ndarray of shape (n_coefs, n_coefs, n_tasks)
        What the posterior means gain where the prior means gain 1.
    """
    first, R, T = 0 if intercept else 1, model.random, moments.n_tasks
    G, g = moments.M[first:-1, first:-1], moments.M[first:-1, -1]
    mean = mean.copy()
    share = np.repeat(np.eye(len(G))[:, :, None], T, axis=2)
    if len(R) == 0:
        return mean, np.zeros((0, 0, T)), share
    if factor.ndim == 2:
        factor = np.repeat(factor[:, :, None], T, axis=2)
    A = matmul(matmul(transpose(factor), G[R][:, R]), factor)
    A[np.diag_indices(len(A))] += 1.0
    Q = solve_lower(cholesky(A, least=1.0), transpose(factor))
    error = (g - matvec(G, mean))[R]
    mean[R] += matvec(transpose(Q), matvec(Q, error))
    own = matmul(transpose(Q), Q)
    share[R] -= matmul(own, G[R])
    return mean, model.sigma2 * own, share
