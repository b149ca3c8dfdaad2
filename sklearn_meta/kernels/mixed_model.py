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

The profiled deviance (:mod:`.mixed_profile`) is minimised over Lambda, in which it is smooth also
where a variance is 0, by L-BFGS with the exact gradient, in the coordinates of
:mod:`.mixed_coordinates`. Covariance and noise, and fixed effects, may have a prior.

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
from functools import partial

import numpy as np

from .mixed_coordinates import Coordinates, lbfgs_step
from .mixed_profile import LEAST, RANK_TOLERANCE, Profile, normal_matrix
from .stacked import (
    cholesky,
    in_cache,
    log_det,
    matmul,
    matvec,
    plus_identity,
    solve_lower,
    solve_positive,
    stack,
    transpose,
    zeros,
)

__all__ = [
    "MixedModel",
    "Moments",
    "Shrinkage",
    "condition",
    "fit_mixed_model",
    "fixed_effects_left_out",
    "log_densities",
    "pooled_effects",
    "posterior",
]

# Tasks with at most this share of rows for their columns are kept as rows.
FEW_ROWS = 0.5
NEARLY_0 = 1e-4  # of the standard deviation of the noise: a singular fit, as in lme4
# The deviance per row is known to this share of itself, up to the rounding of its sums.
ROUNDING = 1e-13
ROUND = 4  # iterations in the first coordinates, and twice as many in every next ones


@dataclass(frozen=True, eq=False)
class Moments:
    """Sufficient statistics ``M_t = sum_i w_i z_i z_i'`` of ``z = [1, x, y]`` of every task."""

    M: np.ndarray  # (n_features + 2, n_features + 2, n_tasks)
    S: np.ndarray  # (n_descriptors, n_tasks)
    # (n_most, n_features + 2, n_tasks): the rows ``sqrt(w_i) z_i``, where all tasks have few
    rows: np.ndarray = None
    intercept: bool = True  # whether the 1 of z is a column of X

    @classmethod
    def from_batches(cls, batches, n_tasks, n_features, shift, S=None):
        """Sum the rows of padded batches.

        ``shift``, shape (n_features + 1,), is subtracted from ``[x, y]``, so that sums of squares
        of data far from 0 stay exact. S has the shape (n_tasks, n_descriptors).
        """
        M = zeros(n_features + 2, n_tasks)
        parts, n_most = [], 0
        for batch in batches:
            Z = np.empty((*batch.y.shape, n_features + 2))
            Z[..., 0] = 1.0
            np.subtract(batch.X, shift[:-1], out=Z[..., 1:-1])
            np.subtract(batch.y, shift[-1], out=Z[..., -1])
            part = np.swapaxes(Z * batch.weight[..., None], 1, 2) @ Z
            M[..., batch.tasks] = np.moveaxis(part, 0, -1)
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
        return cls(M, S, rows)

    @property
    def n_tasks(self):
        return self.M.shape[-1]

    @property
    def n(self):
        """Total weight of the rows of every task."""
        return self.M[0, 0]

    @property
    def first(self):
        """Where the columns of X begin in z."""
        return 0 if self.intercept else 1

    @property
    def G(self):
        """X'X."""
        return self.M[self.first : -1, self.first : -1]

    @property
    def g(self):
        """X'y."""
        return self.M[self.first : -1, -1]

    @property
    def yy(self):
        """y'y."""
        return self.M[-1, -1]

    @property
    def s(self):
        """[1, side information], shape (1 + n_descriptors, n_tasks)."""
        return np.concatenate([np.ones((1, self.n_tasks)), self.S])

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
        return replace(self, M=stack(M), S=S, rows=rows)

    def of(self, tasks):
        """The moments of some tasks."""
        M = stack(np.moveaxis(self.M, -1, 0)[tasks])
        rows = None if self.rows is None else stack(np.moveaxis(self.rows, -1, 0)[tasks])
        return replace(self, M=M, S=self.S[:, tasks], rows=rows)

    def weighted(self, weight):
        """The moments of rows whose weights are multiplied by a number for each task."""
        return replace(self, M=weight * self.M, rows=None)

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
        M = zeros(len(C), self.n_tasks)
        for part in in_cache(M):
            M[..., part] = matmul(C, matmul(self.M[..., part], C.T))
        return replace(self, M=M, rows=rows)


@dataclass(frozen=True, eq=False)
class MixedModel:
    """A fitted model, in the units of its moments."""

    B: np.ndarray  # (n_coefs, 1 + n_descriptors): means of the coefficients, of [1, descriptors]
    factor: np.ndarray  # (n_random, n_random): Lambda
    sigma2: float  # variance of the noise
    random: np.ndarray  # (n_random,): R, positions of the random coefficients
    deviance: float  # -2 log (restricted) likelihood
    dof: float  # nu
    kept: np.ndarray  # (n_kept,): places in B.ravel() of what the data determine; the rest is 0
    reml: bool
    n_iter: int
    converged: bool
    omega: float = 0.0  # sigma² / tau² of the prior of fixed effects; 0 if they have none
    slopes: np.ndarray = None  # (n_slopes,): places in B.ravel() of those that have one
    B_covariance: np.ndarray = None  # (n_fixed, n_fixed): of B.ravel(), given the variances
    pooled: np.ndarray = None  # another B, by least squares of all rows, where it counts


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """A prior of covariance and noise: what they are pulled to, and by how much."""

    nu: float  # weight of Sigma0, in tasks
    Sigma0: np.ndarray  # (n_random, n_random): positive definite
    nu1: float  # weight of s2, in rows
    s2: float


def fit_mixed_model(
    moments,
    random,
    *,
    covariance="full",
    reml=True,
    shrinkage=None,
    slopes=None,
    centred=False,
    start=None,
    max_iter=1000,
    tol=1e-6,
    callback=None,
):
    """Maximise the (restricted) likelihood, or what a prior makes of it, for a MixedModel.

    Parameters
    ----------
    moments : Moments
        In units in which variances are comparable (standardised).
    random : ndarray of shape (n_random,)
        Positions of the coefficients that vary between tasks.
    covariance : {"full", "diag", "spherical", "two"}, default="full"
        ``"two"``: diagonal, with one variance for the first random coefficient and one for all
        others.
    reml : bool, default=True
    shrinkage : Shrinkage, default=None
    slopes : ndarray of shape (n_slopes,), default=None
        Positions in ``B.ravel()`` of fixed effects that have a prior around 0.
    centred : bool, default=False
        Whether the means of coefficients are 0 where the side information is.
    start : MixedModel, default=None
        Whose variances, none of them 0, to start from.
    max_iter : int, default=1000
    tol : float, default=1e-6
        Stop when the variances are this close to the optimum, in standard errors, or as close as
        rounding allows.
    callback : callable, default=None
        ``callback(get_model)`` after each iteration, where ``get_model()`` is the MixedModel so
        far; True stops.
    """
    profile = Profile(
        moments,
        random,
        reml=reml,
        shrinkage=shrinkage,
        slopes=slopes,
        centred=centred,
    )
    nothing_varies = moments.n_tasks < 2 or len(random) == 0  # or nobody knows by how much
    if nothing_varies and shrinkage is not None:
        profile.shrinkage = replace(shrinkage, nu=0.0)
    n_iter, length, converged, stopped = 0, ROUND, False, False

    def model(at):
        factor = at.factor
        if covariance == "full":
            factor = np.linalg.qr(factor.T)[1].T
        return MixedModel(
            at.B,
            factor,
            at.sigma2,
            random,
            at.deviance,
            profile.dof,
            profile.kept,
            reml,
            max(n_iter, 1),
            converged,
            at.omega,
            slopes,
            at.sigma2 * at.C @ at.C.T,
        )

    if nothing_varies:
        covariance = "none"
        at = profile.solve(np.zeros((len(random), len(random))))
    elif start is None:  # not at 0, where the gradient vanishes even if variances should not
        at = profile.solve(0.5 * np.eye(len(random)))
    else:
        at = profile.solve(start.factor, max(start.omega, LEAST) ** -0.5)
    while not (converged or stopped) and n_iter < max_iter:
        coordinates, pairs = Coordinates(profile, at, covariance), []
        at, x = coordinates.at, np.zeros(sum(coordinates.size))
        gradient = coordinates.gradient(*profile.gradient(at)) if len(x) else x
        for _ in range(min(length, max_iter - n_iter)):
            if gradient @ gradient <= tol**2:
                converged = True
                break
            step = lbfgs_step(gradient, pairs)
            gain, rounding = -gradient @ step, ROUNDING * abs(at.value)
            now = profile.solve(*coordinates.point(x + step))
            while not now.value <= at.value - 1e-4 * gain and gain > rounding:
                step, gain = 0.5 * step, 0.5 * gain
                now = profile.solve(*coordinates.point(x + step))
            if not now.value < at.value:  # where rounding is all that is left
                converged = True
                break
            before, gradient = gradient, coordinates.gradient(*profile.gradient(now))
            x, at, n_iter = x + step, now, n_iter + 1
            pairs.append((step, gradient - before))
            if callback is not None and callback(partial(model, at)):
                stopped = True
                break
        length *= 2
    return model(_clean(profile, at))


def _clean(profile, at):
    """Rows of Lambda that are 0 but for the tolerance are 0, if that is no less likely."""
    small = np.linalg.norm(at.factor, axis=1) < NEARLY_0
    fixed = profile.shrinkage is not None and profile.shrinkage.nu > 0
    if fixed or not at.factor[small].any():
        return at
    clean = profile.solve(np.where(small[:, None], 0.0, at.factor), at.tau)
    return clean if clean.value <= at.value + ROUNDING * abs(at.value) else at


def pooled_effects(model, moments):
    """B by least squares of all rows, as if no coefficient varied."""
    return _effects(model, *_normal_equations(model, moments, pooled=True))


def fixed_effects_left_out(model, moments, folds, *, pooled=False):
    """B of all tasks but those of a fold, for every fold, at the variances of a fitted model.

    Features may be fewer, those that the model has first; what the data do not determine is 0.
    ``pooled``: as :func:`pooled_effects`.
    """
    parts = [_normal_equations(model, moments.of(fold), pooled) for fold in folds]
    for f in range(len(folds)):  # sums of the others: a difference could cancel
        others = [part for g, part in enumerate(parts) if g != f]
        yield _effects(model, *(sum(a) for a in zip(*others, strict=True)))


def _normal_equations(model, moments, pooled):
    """P and ``sum_t k_t s_t'``."""
    if not pooled:
        return Profile(moments, model.random).sums(model.factor)[:2]
    return normal_matrix(moments.s, moments.G), moments.g @ moments.s.T


def _effects(model, P, k):
    """B that solves the normal equations, with the prior of fixed effects."""
    b = k.ravel()
    kept = model.kept[model.kept < len(b)]
    if model.slopes is not None:
        slopes = model.slopes[model.slopes < len(b)]
        P[slopes, slopes] += model.omega
    size = np.diag(P)[kept]
    scale = np.sqrt(np.where(size > np.finfo(np.float64).tiny, size, 1.0))  # 0, and rounding
    P = P[np.ix_(kept, kept)] / np.outer(scale, scale)
    B = np.zeros(len(b))
    B[kept] = np.linalg.lstsq(P, b[kept] / scale, rcond=RANK_TOLERANCE)[0] / scale
    return B.reshape(k.shape)


def log_densities(model, moments):
    """Log-densities of the targets of tasks given their features, at the fitted parameters."""
    R, G, g, w = model.random, moments.G, moments.g, model.B @ moments.s
    error = g - matvec(G, w)
    rss = moments.yy - np.einsum("it,it->t", w, g + error)
    log_H = 0.0
    if len(R):
        A = matmul(matmul(model.factor.T, G[R][:, R]), model.factor)
        L = cholesky(plus_identity(A), least=1.0)
        v = solve_lower(L, matmul(model.factor.T, error[R][:, None]))[:, 0]
        rss = rss - np.einsum("it,it->t", v, v)
        log_H = log_det(L)
    return -0.5 * (moments.n * np.log(2 * np.pi * model.sigma2) + log_H + rss / model.sigma2)


def posterior(model, moments, *, means=None, with_covariance=True):
    """Posterior means (n_coefs, n_tasks) and covariances of the coefficients of every task.

    ``means`` are those of the prior, ``B s_t`` if None; a task without rows keeps the prior. The
    uncertainty of the prior means counts: with the share ``A_t = I - Lambda A_t^{-1} Lambda' Z'X``
    that a change of these has in the posterior mean, ``A_t Var(B s_t) A_t'`` is in the covariance,
    which is None unless ``with_covariance``.
    """
    s = moments.s
    p, q = len(moments.G), len(s)
    means = model.B @ s if means is None else means
    if not with_covariance:
        return _posterior_mean(model, means, moments), None
    mean, own, share = condition(model, model.factor, means, moments)
    V = model.B_covariance.reshape(p, q, p, q)
    V = V[:, 0, :, 0] if q == 1 else np.einsum("aibj,it,jt->abt", V, s, s, optimize=True)
    covariance = matmul(matmul(share, V), transpose(share))
    covariance[np.ix_(model.random, model.random)] += own
    return mean, covariance


def _posterior_mean(model, mean, moments):
    """The mean of :func:`condition` alone."""
    R, G, g = model.random, moments.G, moments.g
    if len(R) == 0 or not moments.n.any():
        return mean
    A = plus_identity(matmul(matmul(model.factor.T, _among(G, R)), model.factor))
    error = matmul(model.factor.T, (g - matvec(G, mean))[R][:, None])[:, 0]
    mean = mean.copy()
    mean[R] += model.factor @ solve_positive(A, error)
    return mean


def _among(G, R):
    """The rows and columns R of every matrix; no copy where these are all."""
    return G if len(R) == len(G) else G[R][:, R]


def condition(model, factor, mean, moments):
    """The posterior of the coefficients of every task, given their prior means (n_coefs, n_tasks).

    Lambda has the shape (n_random, n_factors), or (n_random, n_factors, n_tasks) where each task
    has its own. Returns the means, the covariances of the random coefficients, and the share that
    posterior means gain where prior means gain 1, shape (n_coefs, n_coefs, n_tasks).
    """
    R, T, G, g = model.random, moments.n_tasks, moments.G, moments.g
    mean = mean.copy()
    share = stack(np.repeat(np.eye(len(G))[None], T, axis=0))
    if len(R) == 0:
        return mean, np.zeros((0, 0, T)), share
    if factor.ndim == 2:
        factor = stack(np.repeat(factor[None], T, axis=0))
    A = matmul(matmul(transpose(factor), _among(G, R)), factor)
    Q = solve_lower(cholesky(plus_identity(A), least=1.0), transpose(factor))
    error = (g - matvec(G, mean))[R]
    mean[R] += matvec(transpose(Q), matvec(Q, error))
    own = matmul(transpose(Q), Q)
    share[R] -= matmul(own, G[R])
    return mean, model.sigma2 * own, share
