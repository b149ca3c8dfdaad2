r"""Hierarchical generalised linear models, their marginal likelihood maximised.

    y_i ~ family(x_i'w_t),     w_t ~ N(B s_t, Sigma),     s_t = [1, side information],

Sigma zero but for the random coefficients R. The likelihood, w_t integrated out by Laplace's
approximation or by adaptive quadrature, and its gradient are those of ``kernels/laplace.py``.
With several outputs every coefficient has one value per output, (coefficient, output) in this
order, and Sigma is over all pairs. For classes the raw predictions are those of a softmax with one
output per class, B has sum 0 over classes, in which alone the likelihood knows it, and nothing but
names changes if classes are relabelled.

Maximised are, over B, the factor Lambda of ``Sigma = Lambda Lambda'`` (in which the likelihood is
smooth also where a variance is 0) and ``log phi``,

    sum_t L_t - (nu/2) [log|Sigma| + tr(Sigma^{-1} Sigma0)] - sum P * B²/2 - weak penalty,

nu being ``prior_dof``, Sigma0 ``prior_scale``, P ``mean_precision``. The weak penalty, of precision
:data:`WEAK` in units of raw predictions, keeps answers finite where rows are separable; it moves
no digit that matters anywhere else.

L-BFGS works on coordinates in which the information is about the identity, so that its gradient
is in standard errors: with ``N_t = (Sigma + (Z'WZ)^{-1})^{-1}``, Q = N Lambda, S = Lambda'N Lambda,

    of B:       sum_t (X'WX - X'WG A^{-1} G'WX) (x) s_t s_t'        (X'V^{-1}X of a linear model)
    of Lambda:  of entries ab and cd: sum_t N_ac S_bd + Q_ad Q_cb.

Converged means that no coordinate is further than ``tol`` standard errors from the maximum, or ten
times as far where rounding leaves nothing to gain.

References
----------
Breslow, Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88. Bates,
Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4. Pinheiro, Chao
(2006), Efficient Laplacian and adaptive Gaussian quadrature algorithms for multilevel generalized
linear mixed models, JCGS 15. Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative
prior for point estimation of covariance matrices in hierarchical models.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize

from ..kernels.laplace import design, gram, marginal, read_rows
from ..kernels.stacked import matmul, solve_lower, transpose

__all__ = ["LaplaceModel", "fit_laplace", "log_likelihood", "posterior"]

WEAK = 1e-4
CELLS = 2**16  # numbers of a design that are worked on at a time
ITERATIONS_OF_A_ROUND = 15
RANK_TOLERANCE = 1e-10
LARGEST_DENSE = 1000  # fixed effects; the information of more is taken to be diagonal
LARGEST_DENSE_FACTOR = 150  # and free entries of Lambda


@dataclass(frozen=True, eq=False)
class LaplaceModel:
    """A fitted model.

    Parameters
    ----------
    B : ndarray of shape (n_coefs * n_outputs, 1 + n_descriptors)
        Prior means of the coefficients as a function of ``[1, descriptors]``; intercepts first.
    factor : ndarray of shape (n_random * n_outputs, n_random * n_outputs)
        Lambda.
    random : ndarray of shape (n_random,)
        R: positions of the random coefficients among the n_coefs.
    family : Family
    dispersion : float
        phi.
    intercept : bool
        Whether the first coefficient is an intercept.
    n_quadrature : int
    log_likelihood : float
        Without penalties, with all constants.
    n_iter : int
    gradient : float
        How far from the maximum, in standard errors.
    converged : bool
    """

    B: np.ndarray
    factor: np.ndarray
    random: np.ndarray
    family: object
    dispersion: float = 1.0
    intercept: bool = True
    n_quadrature: int = 1
    log_likelihood: float = -np.inf
    n_iter: int = 0
    gradient: float = np.inf
    converged: bool = False

    @property
    def covariance(self):
        """Sigma, of the random coefficients."""
        return self.factor @ self.factor.T

    def means(self, S):
        """B s_t of tasks with descriptors S, shape (n_tasks, n_coefs * n_outputs)."""
        return self.B[:, 0] + S @ self.B[:, 1:].T

    @property
    def n_outputs(self):
        return len(self.factor) // len(self.random) if len(self.random) else 1


class _Problem:
    """The penalised likelihood as a function of (B, Lambda, log phi)."""

    def __init__(self, batches, S, family, random, intercept, covariance, n_quadrature):
        batches = list(batches)
        shape = batches[0].y.shape
        self.n_outputs = K = shape[2] if len(shape) == 3 else 1
        d = batches[0].X.shape[2] + intercept
        self.random = np.arange(d) if random is None else np.asarray(random, dtype=np.intp)
        self.r, self.p = len(self.random) * K, d * K
        self.family, self.n_quadrature = family, n_quadrature
        cells = max(256, CELLS // max(1, self.r * K))
        self.rows = list(read_rows(batches, intercept=intercept, max_cells=cells))
        self.s = np.concatenate([np.ones((1, len(S))), np.asarray(S, dtype=np.float64).T])
        self.start_again()
        self.spherical = covariance == "spherical"
        full = covariance == "full"
        self.index = np.tril_indices(self.r) if full else np.diag_indices(self.r)
        self._summarise()

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
        unit = self.family.unit(self.deviation)
        size = np.repeat(np.sqrt(xx / n), self.n_outputs) / unit
        self.size = np.where(size > 0, size, 1.0)
        of_s = np.sqrt((self.s**2).mean(axis=1))
        self.size_B = self.size[:, None] * np.where(of_s > 0, of_s, 1.0)
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
                D = design(rows.X[self.random], identity)
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
        if len(a) <= LARGEST_DENSE_FACTOR:
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
    if len(H) > LARGEST_DENSE:
        return np.diag(1 / scale)
    values, vectors = np.linalg.eigh(H / np.outer(scale, scale))
    kept = values > RANK_TOLERANCE * max(values.max(initial=0.0), 1e-300)
    return vectors[:, kept] / scale[:, None] / np.sqrt(values[kept])


class _Coordinates:
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
        if problem.spherical and len(of_factor):
            of_factor = of_factor.sum(keepdims=True).reshape(1, 1)
        self.factor_root = _whitening(of_factor)
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
        return B, factor, log_phi + (self.phi_root * of_phi[0] if len(of_phi) else 0.0)

    def gradient(self, d_B, d_factor, d_log_phi):
        parts = [
            root.T @ d_B.ravel()[places]
            for places, root in zip(self.places, self.roots, strict=True)
        ]
        free = d_factor[self.problem.index]
        if self.problem.spherical and len(free):
            free = free.sum(keepdims=True)
        parts.append(self.factor_root.T @ free)
        if self.problem.family.dispersed:
            parts.append(np.array([self.phi_root * d_log_phi]))
        return np.concatenate(parts)


def fit_laplace(
    batches,
    S,
    family,
    *,
    random=None,
    intercept=True,
    covariance="full",
    n_quadrature=1,
    prior_dof=0.0,
    prior_scale=None,
    mean_precision=0.0,
    free=None,
    start=None,
    max_iter=500,
    tol=1e-4,
    callback=None,
):
    """Maximise the marginal likelihood.

    Parameters
    ----------
    batches : iterable of batches
        With ``tasks`` (places in S), X (n_tasks, n_rows, n_features), y (n_tasks, n_rows) or
        (n_tasks, n_rows, n_outputs), ``weight`` (n_tasks, n_rows), which counts repetitions and is
        0 where a row is padding, and maybe ``offset``, in the shape of y. Their rows are copied.
    S : ndarray of shape (n_tasks, n_descriptors)
        n_descriptors may be 0.
    family : Family
        Of ``kernels/families.py``.
    random : ndarray of shape (n_random,), default=None
        Positions of the random coefficients, the intercept counting as the first; None: all.
    intercept : bool, default=True
    covariance : {"full", "diag", "spherical"}, default="full"
    n_quadrature : int, default=1
        Nodes of adaptive Gauss-Hermite quadrature, for one random coefficient of one output;
        1 is Laplace's approximation.
    prior_dof : float, default=0.0
        nu, in tasks.
    prior_scale : ndarray of shape (n_random * n_outputs, n_random * n_outputs), default=None
        Sigma0, positive definite.
    mean_precision : float or ndarray that broadcasts to the shape of B, default=0.0
        Precision of a Gaussian prior of B around 0.
    free : ndarray of bool of the shape of B, default=None
        Which entries of B are estimated; the others are 0. None: all.
    start : LaplaceModel, default=None
        Where to start.
    max_iter : int, default=500
    tol : float, default=1e-4
        In standard errors.
    callback : callable, default=None
        ``callback(get_model)`` after each iteration; True stops.

    Returns
    -------
    LaplaceModel
        With fewer than two tasks, and no prior, Sigma is 0: nobody knows how tasks differ.
    """
    problem = _Problem(batches, S, family, random, intercept, covariance, n_quadrature)
    problem.penalise(prior_dof, prior_scale, mean_precision, free)
    if n_quadrature > 1 and problem.r != 1:
        raise ValueError(
            f"n_quadrature={n_quadrature} needs one random coefficient, and there are {problem.r}."
        )
    if len(S) < 2 and prior_dof == 0:
        problem.index = tuple(index[:0] for index in problem.index)
    at = _start(problem, intercept, start)
    n_iter, stopped, size, best, converged = 0, False, np.inf, np.inf, False

    def model(at, L=np.nan, converged=False):
        return LaplaceModel(
            at[0],
            at[1],
            problem.random,
            family,
            float(np.exp(at[2])),
            intercept,
            n_quadrature,
            float(L),
            n_iter,
            float(size),
            bool(converged and problem.settled),
        )

    while n_iter < max_iter and not stopped:
        coordinates = _Coordinates(problem, *at)
        if coordinates.size == 0:
            size, converged = 0.0, True
            break

        def objective(x, coordinates=coordinates):
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                value, *gradient = problem(*coordinates.point(x))
                gradient = coordinates.gradient(*gradient)
            if not np.isfinite(value) or not np.isfinite(gradient).all():
                problem.start_again()
                return np.inf, np.zeros(len(x))
            return -value, -gradient

        def after(x, coordinates=coordinates):
            nonlocal n_iter, stopped
            n_iter += 1
            if callback is not None and callback(lambda: model(coordinates.point(x))):
                stopped = True
                raise StopIteration

        result = scipy.optimize.minimize(
            objective,
            np.zeros(coordinates.size),
            jac=True,
            method="L-BFGS-B",
            callback=lambda intermediate_result: after(intermediate_result.x.copy()),
            options={
                "maxiter": min(ITERATIONS_OF_A_ROUND, max_iter - n_iter),
                "ftol": 0.0,
                "gtol": tol,
                "maxcor": 30,
            },
        )
        at, size = coordinates.point(result.x), np.abs(result.jac).max()
        stuck = result.nit == 0 or result.fun >= best
        converged = size <= (10 * tol if stuck else tol)
        if converged or stuck:
            break
        best = result.fun
    at = _clean(problem, (_centre(problem, at[0]), *at[1:]))
    return model(at, problem.likelihood(*at)[0].sum(), converged)


def _start(problem, intercept, start):
    if start is not None:
        return start.B.copy(), start.factor.copy(), np.log(start.dispersion)
    B = np.zeros(problem.size_B.shape)
    if intercept:
        B[: problem.n_outputs, 0] = problem.family.start(problem.mean)
    B[~problem.free] = 0.0
    factor = np.zeros((problem.r, problem.r))
    if problem.dof > 0:
        if len(problem.index[0]) > problem.r:
            factor = problem.scale_root.copy()
        else:
            factor[problem.index] = np.sqrt(np.diag(problem.scale_root @ problem.scale_root.T))
        if problem.spherical:
            factor[problem.index] = np.sqrt((np.diag(factor) ** 2).mean())
    elif problem.r and len(problem.index[0]):
        diagonal = np.diag_indices(problem.r)
        factor[diagonal] = 0.5 / problem.size_factor[:, 0]
        if problem.spherical:
            factor[diagonal] = factor[diagonal].min()
    phi = problem.family.start_dispersion(problem.mean, problem.deviation)
    return B, factor, np.log(phi)


def _centre(problem, B):
    """B with sum 0 over classes, where only differences between classes count."""
    if not problem.family.differences:
        return B
    by_class, precision, free = (
        a.reshape(-1, problem.n_outputs, B.shape[1]) for a in (B, problem.precision, problem.free)
    )
    whole = free.all(axis=1, keepdims=True) & (np.ptp(precision, axis=1, keepdims=True) == 0)
    return np.where(whole, by_class - by_class.mean(axis=1, keepdims=True), by_class).reshape(
        B.shape
    )


def _clean(problem, at):
    """Entries of Lambda that are 0 but for the tolerance are 0, if that is no less likely."""
    B, factor, log_phi = at
    small = np.abs(factor * problem.size_factor) < 1e-3
    if problem.dof > 0 or not (small & (factor != 0)).any():
        return at
    clean = np.where(small, 0.0, factor)
    value, cleaned = problem(*at)[0], problem(B, clean, log_phi)[0]
    return (B, clean, log_phi) if cleaned >= value - 1e-9 - 1e-13 * abs(value) else at


def posterior(model, batches, S):
    """Posterior modes of the coefficients of every task, and covariances of the random ones.

    Parameters
    ----------
    model : LaplaceModel
    batches : iterable of batches
        As of :func:`fit_laplace`. A task in none of them keeps the prior.
    S : ndarray of shape (n_tasks, n_descriptors)

    Returns
    -------
    mode : ndarray of shape (n_tasks, n_coefs * n_outputs)
    covariance : ndarray of shape (n_tasks, n_random * n_outputs, n_random * n_outputs)
        ``Lambda A^{-1} Lambda'``.
    """
    mode = model.means(np.asarray(S, dtype=np.float64))
    covariance = np.repeat(model.covariance[None], len(S), axis=0)
    by_coef = mode.reshape(len(S), -1, model.n_outputs)
    factor = model.factor
    for rows, found in _modes(model, batches, S):
        u = (factor @ found.v).T.reshape(len(rows.tasks), len(model.random), -1)
        by_coef[rows.tasks[:, None], model.random] += u
        spread = np.moveaxis(matmul(matmul(factor, found.inverse), factor.T), -1, 0)
        covariance[rows.tasks] = spread
    return mode, covariance


def log_likelihood(model, batches, S):
    """Log marginal likelihoods of the rows of every task, shape (n_tasks,)."""
    problem = _Problem(
        batches, S, model.family, model.random, model.intercept, "full", model.n_quadrature
    )
    return problem.likelihood(model.B, model.factor, np.log(model.dispersion))[0]


def _modes(model, batches, S):
    problem = _Problem(batches, S, model.family, model.random, model.intercept, "full", 1)
    for rows in problem.rows:
        _, _, found = marginal(
            rows,
            problem.s[:, rows.tasks],
            model.B,
            model.factor,
            model.random,
            model.family,
            model.dispersion,
            np.zeros((len(model.factor), len(rows.tasks))),
        )
        yield rows, found
