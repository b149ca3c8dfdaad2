r"""The penalised Laplace likelihood of all tasks, and coordinates in which it is round.

Over B, the factor Lambda of ``Sigma = Lambda Lambda'`` and ``log phi``, with L_t of ``laplace.py``,

    sum_t L_t - (nu/2) [log|Sigma| + tr(Sigma^{-1} Sigma0)] - sum P * B²/2 - weak penalties.

The weak penalties have precision :data:`WEAK` in units of raw predictions, and are WEAK phi_0 / phi
of a dispersion that starts at phi_0. They keep answers finite where rows are separable or without
noise, and move no digit that matters anywhere else.

In :class:`Coordinates` the information is about the identity, so that gradients are in standard
errors. With ``N_t = (Sigma + (Z'WZ)^{-1})^{-1}``, Q_t = N_t Lambda, S_t = Lambda'N_t Lambda it is

    of B:       sum_t (X'WX - X'WG A^{-1} G'WX) (x) s_t s_t'        (X'V^{-1}X of a linear model)
    of Lambda:  of entries ab and cd: sum_t N_ac S_bd + Q_ad Q_cb,

which is Fisher's for Gaussian pseudo-observations ``N(u_t, (Z'WZ)^{-1})``; the prior adds nu tasks
with ``N = Sigma^{-1}``. Where Lambda is 0 so is the second; then the size of a likelihood's slope
by chance, ``(2 sum_t N_aa²)^{1/2}``, stands for it. Blocks of different outputs are left out.

References
----------
Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative prior for point estimation of
covariance matrices in hierarchical models.
"""

import numpy as np
import scipy.linalg

from .laplace import design, gram, marginal, read_rows
from .stacked import matmul, solve_lower, transpose

__all__ = ["Coordinates", "Objective", "rows_for"]

WEAK = 1e-4
CELLS = 2**15  # numbers of a design that are worked on at a time
RANK_TOLERANCE = 1e-10
MAX_DENSE = 1000  # fixed effects; the information of more is taken to be diagonal
MAX_DENSE_FACTOR = 500  # and free entries of Lambda


def rows_for(batches, intercept, n_random, n_outputs):
    """Rows in pieces whose designs are of bounded size."""
    cells = max(256, CELLS // max(1, n_random * n_outputs))
    return read_rows(batches, intercept=intercept, max_cells=cells)


class Objective:
    """The penalised likelihood as a function of (B, Lambda, log phi)."""

    def __init__(self, batches, S, family, random, intercept, covariance, n_quadrature):
        batches = list(batches)
        shape = batches[0].y.shape
        self.n_outputs = K = shape[2] if len(shape) == 3 else 1
        d = batches[0].X.shape[2] + intercept
        self.random = np.arange(d) if random is None else np.asarray(random, dtype=np.intp)
        self.r, self.p = len(self.random) * K, d * K
        self.family, self.n_quadrature = family, n_quadrature
        self.rows = list(rows_for(batches, intercept, self.r, K))
        self.s = np.concatenate([np.ones((1, len(S))), np.asarray(S, dtype=np.float64).T])
        self.start_again()
        full = covariance == "full"
        self.index = np.tril_indices(self.r) if full else np.diag_indices(self.r)
        self.tie = None  # of entries of Lambda to the variances that are fitted
        if covariance in ("spherical", "two"):
            apart = intercept and covariance == "two"
            first = np.repeat(self.random == 0, K) & apart
            tie = np.column_stack([first, ~first])
            self.tie = tie[:, tie.any(axis=0)].astype(np.float64)
        if covariance == "fixed":
            self.fix_factor()
        self._summarise()

    def fix_factor(self):
        """Leave Lambda where it starts."""
        self.index = tuple(index[:0] for index in self.index)
        self.tie = None

    def start_again(self):
        self.modes = [np.zeros((self.r, len(rows.tasks))) for rows in self.rows]

    def _summarise(self):
        """Sizes of columns, and mean and deviation of y, for scales and starting values."""
        n, y, yy, xx = 0.0, 0.0, 0.0, 0.0
        for rows in self.rows:
            n += rows.weight.sum()
            y = y + (rows.weight * rows.y).sum(axis=(1, 2))
            yy = yy + (rows.weight * rows.y**2).sum(axis=(1, 2))
            xx = xx + np.einsum("jtn,tn->j", rows.X**2, rows.weight)
        self.n_rows, n = n, max(n, 1e-300)
        self.mean = y / n
        self.deviation = float(np.sqrt(np.maximum(yy / n - self.mean**2, 0.0).mean())) or 1.0
        self.start_dispersion = self.family.start_dispersion(self.mean, self.deviation)
        unit = self.family.unit(self.deviation)
        size = np.repeat(np.sqrt(xx / n), self.n_outputs) / unit
        self.size = np.where(size > 0, size, 1.0)
        self.size_B = np.repeat(self.size[:, None], len(self.s), axis=1)
        self.size_factor = self.size.reshape(-1, self.n_outputs)[self.random].ravel()[:, None]

    def penalise(self, prior_dof, prior_scale, mean_precision, free):
        self.dof = prior_dof
        if prior_dof > 0:
            try:
                self.scale_root = np.linalg.cholesky(np.asarray(prior_scale, dtype=np.float64))
            except np.linalg.LinAlgError:
                raise ValueError("prior_scale must be positive definite.") from None
        self.precision = mean_precision + WEAK * self.size_B**2
        self.free = np.ones(self.size_B.shape, bool) if free is None else np.asarray(free)

    def penalty(self, B, factor):
        """The log-prior and its gradients."""
        weak = WEAK * self.size_factor**2
        value = -0.5 * (self.precision * B**2).sum() - 0.5 * (weak * factor**2).sum()
        d_B, d_factor = -self.precision * B, -weak * factor
        if self.dof > 0:
            diagonal = np.abs(np.diag(factor))
            if not (diagonal > 0).all():
                return -np.inf, d_B, d_factor
            root = scipy.linalg.solve_triangular(factor, self.scale_root, lower=True)
            value -= self.dof * (np.log(diagonal).sum() + 0.5 * (root**2).sum())
            inner = self.dof * (root @ root.T - np.eye(self.r))
            d_factor = d_factor + scipy.linalg.solve_triangular(
                factor, inner, lower=True, trans="T"
            )
        return value, d_B, d_factor

    def likelihood(self, B, factor, log_phi):
        """Log-likelihoods of all tasks, and the gradient of their sum."""
        L = np.zeros(self.s.shape[1])
        gradient = [np.zeros_like(B), np.zeros_like(factor), 0.0]
        self.settled = True
        for at, rows in enumerate(self.rows):
            L[rows.tasks], parts, mode = marginal(
                rows,
                self.s[:, rows.tasks],
                B,
                factor,
                self.random,
                self.family,
                np.exp(log_phi),
                self.modes[at],
                n_quadrature=self.n_quadrature,
            )
            self.modes[at] = mode.v
            self.settled &= mode.settled
            gradient = [total + part for total, part in zip(gradient, parts, strict=True)]
        return L, gradient

    def __call__(self, B, factor, log_phi):
        L, (d_B, d_factor, d_log_phi) = self.likelihood(B, factor, log_phi)
        value, prior_B, prior_factor = self.penalty(B, factor)
        if self.family.dispersed:
            barrier = WEAK * self.start_dispersion * np.exp(-log_phi)
            value, d_log_phi = value - barrier, d_log_phi + barrier
        return L.sum() + value, d_B + prior_B, d_factor + prior_factor, d_log_phi

    # -- the information, for coordinates ----------------------------------------------------------

    def information(self, B, factor, log_phi):
        """Blocks of the information: of B per output, and of the free entries of Lambda."""
        q, K, phi = self.s.shape[0], self.n_outputs, np.exp(log_phi)
        d = self.p // K
        of_B = np.zeros((K, d, d, q, q))
        of_factor = np.zeros((len(self.index[0]),) * 2)
        floor = np.zeros(self.r)
        identity = np.eye(self.r)
        for at, rows in enumerate(self.rows):
            s = self.s[:, rows.tasks]
            ss = (s[:, None] * s[None]).reshape(q * q, -1)
            _, _, mode = marginal(rows, s, B, factor, self.random, self.family, phi, self.modes[at])
            self.modes[at] = mode.v
            for k in range(K):
                X = np.zeros((d, *rows.y.shape))
                X[:, k] = rows.X
                WX = mode.scale * self.family.product(mode.second, X)
                H = gram(X[:, k : k + 1], WX[:, k : k + 1])
                if self.r:
                    U = solve_lower(mode.L, gram(mode.G, WX))
                    H = H - matmul(transpose(U), U)
                of_B[k] += (H.reshape(d * d, -1) @ ss.T).reshape(d, d, q, q)
            if self.r:
                D = design(rows.X[self.random], identity, K)
                C = gram(D, mode.scale * self.family.product(mode.second, D))
                U = solve_lower(mode.L, matmul(factor.T, C))
                self._add(of_factor, floor, C - matmul(transpose(U), U), factor)
        if self.dof > 0:
            inverse = np.linalg.inv(factor @ factor.T)
            self._add(of_factor, floor, inverse[:, :, None], factor, self.dof)
        floor = np.sqrt(2 * floor) + WEAK * self.size_factor[:, 0] ** 2
        of_factor[np.diag_indices(len(of_factor))] += floor[self.index[0]]
        return of_B.transpose(0, 1, 3, 2, 4).reshape(K, d * q, d * q), of_factor

    def _add(self, of_factor, floor, N, factor, times=1.0):
        """Add sum_t N_ac S_bd + Q_ad Q_cb, and what keeps it positive where Lambda is 0."""
        Q = matmul(N, factor)
        S = matmul(factor.T, Q)
        a, b = self.index
        if len(a) <= MAX_DENSE_FACTOR:
            for i in range(len(a)):
                of_factor[i] += times * (
                    np.einsum("it,it->i", N[a[i], a], S[b[i], b])
                    + np.einsum("it,it->i", Q[a[i], b], Q[a, b[i]])
                )
        else:
            diagonal = np.einsum("it,it->i", N[a, a], S[b, b]) + (Q[a, b] ** 2).sum(axis=1)
            of_factor[np.diag_indices(len(a))] += times * diagonal
        floor += times**2 * np.einsum("iit,iit->i", N, N)


def _whitening(H):
    """R with ``R'HR = I``, a column per direction that H determines."""
    scale = np.sqrt(np.maximum(np.diag(H), 0.0))
    scale = np.where(scale > 0, scale, 1.0)
    if len(H) > MAX_DENSE:
        return np.diag(1 / scale)
    values, vectors = np.linalg.eigh(H / np.outer(scale, scale))
    kept = values > RANK_TOLERANCE * max(values.max(initial=0.0), 1e-300)
    return vectors[:, kept] / scale[:, None] / np.sqrt(values[kept])


class Coordinates:
    """``x -> (B, Lambda, log phi)``, affine, with ``x = 0`` a given point."""

    def __init__(self, problem, B, factor, log_phi):
        self.problem, self.centre = problem, (B, factor, log_phi)
        of_B, of_factor = problem.information(B, factor, log_phi)
        K, (p, q) = problem.n_outputs, B.shape
        self.places, self.roots = [], []
        for k in range(K):
            places = np.arange(p * q).reshape(p // K, K, q)[:, k].ravel()
            free = problem.free.ravel()[places]
            H = of_B[k] + np.diag(problem.precision.ravel()[places])
            self.places.append(places[free])
            self.roots.append(_whitening(H[np.ix_(free, free)]))
        if problem.tie is None:
            self.factor_root = _whitening(of_factor)
        else:
            tied = problem.tie.T @ of_factor @ problem.tie
            self.factor_root = problem.tie @ _whitening(tied)
        self.phi_root = np.sqrt(2 / max(problem.n_rows * K, 1.0))
        sizes = [root.shape[1] for root in (*self.roots, self.factor_root)]
        self.cuts = np.cumsum(sizes)
        self.size = sum(sizes) + problem.family.dispersed

    def point(self, x):
        B, factor, log_phi = self.centre
        B, factor = B.copy(), factor.copy()
        *of_B, of_factor, of_phi = np.split(x, self.cuts)
        for places, root, part in zip(self.places, self.roots, of_B, strict=True):
            B.ravel()[places] += root @ part
        if len(factor):
            factor[self.problem.index] += self.factor_root @ of_factor
        if len(of_phi):
            log_phi = log_phi + self.phi_root * of_phi[0]
        return B, factor, log_phi

    def gradient(self, d_B, d_factor, d_log_phi):
        """The gradient in x from that in B, Lambda and log phi."""
        parts = [
            root.T @ d_B.ravel()[places]
            for places, root in zip(self.places, self.roots, strict=True)
        ]
        parts.append(self.factor_root.T @ d_factor[self.problem.index])
        if self.problem.family.dispersed:
            parts.append(np.array([self.phi_root * d_log_phi]))
        return np.concatenate(parts)
