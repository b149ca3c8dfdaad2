r"""Hierarchical generalised linear models, their marginal likelihood maximised.

    y_i ~ family(x_i'w_t),     w_t ~ N(B s_t, Sigma),     s_t = [1, side information],

Sigma zero but for the random coefficients R. The likelihood, w_t integrated out by Laplace's
approximation or by adaptive quadrature, and its gradient are those of ``kernels/laplace.py``.
With several outputs every coefficient has one value per output, (coefficient, output) in this
order, and Sigma is over all pairs. For classes the raw predictions are those of a softmax with one
output per class, B has sum 0 over classes, in which alone the likelihood knows it, and nothing but
names changes if classes are relabelled.

The likelihood, with a prior of Sigma and of B where there is one, is maximised by L-BFGS in the
coordinates of ``kernels/laplace_objective.py``, which are chosen anew every
:data:`ITERATIONS_OF_A_ROUND` iterations. Converged means that no coordinate is further than ``tol``
standard errors from the maximum, or ten times as far where rounding leaves nothing to gain.

References are those of these two files.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize

from ..kernels.laplace import design, left_out_densities, mode_of
from ..kernels.laplace_objective import Coordinates, Objective, rows_for
from ..kernels.stacked import matmul

__all__ = ["LaplaceModel", "fit_laplace", "posterior", "predictive_scores"]

ITERATIONS_OF_A_ROUND = 15
FAR = 1.5  # where log phi has moved so much, the information is another


@dataclass(frozen=True, eq=False)
class LaplaceModel:
    """A fitted model."""

    # (n_coefs * n_outputs, 1 + n_descriptors): prior means of the coefficients, of [1, descriptors]
    B: np.ndarray
    factor: np.ndarray  # (n_random * n_outputs, n_random * n_outputs): Lambda
    random: np.ndarray  # (n_random,): R, positions of the random coefficients among the n_coefs
    family: object  # Family
    dispersion: float = 1.0  # phi
    intercept: bool = True  # whether the first coefficient is an intercept
    n_outputs: int = 1
    log_likelihood: float = -np.inf  # without penalties, with all constants
    n_iter: int = 0
    gradient: float = np.inf  # how far from the maximum, in standard errors
    converged: bool = False

    @property
    def covariance(self):
        """Sigma, of the random coefficients."""
        return self.factor @ self.factor.T

    def means(self, S):
        """B s_t of tasks with descriptors S, shape (n_tasks, n_coefs * n_outputs)."""
        return self.B[:, 0] + S @ self.B[:, 1:].T


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
    covariance : {"full", "diag", "two", "spherical", "fixed"}, default="full"
        "two": a variance of intercepts and one of slopes; "fixed": as it starts.
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
    problem = Objective(batches, S, family, random, intercept, covariance, n_quadrature)
    problem.penalise(prior_dof, prior_scale, mean_precision, free)
    if n_quadrature > 1 and problem.r != 1:
        raise ValueError(
            f"n_quadrature={n_quadrature} needs one random coefficient, and there are {problem.r}."
        )
    if len(S) < 2 and prior_dof == 0:
        problem.fix_factor()
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
            problem.n_outputs,
            float(L),
            n_iter,
            float(size),
            bool(converged and problem.settled),
        )

    while n_iter < max_iter and not stopped:
        coordinates = Coordinates(problem, *at)
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

        def after(x, coordinates=coordinates, at=at):
            nonlocal n_iter, stopped
            n_iter += 1
            point = coordinates.point(x)
            stopped = callback is not None and bool(callback(lambda: model(point)))
            if stopped or abs(point[2] - at[2]) > FAR:
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
    if problem.dof > 0 and len(problem.index[0]) > problem.r:
        factor = problem.scale_root.copy()
    elif problem.r and len(problem.index[0]):
        variances = 0.25 / problem.size_factor[:, 0] ** 2
        if problem.dof > 0:
            variances = (problem.scale_root**2).sum(axis=1)
        if problem.tie is not None:
            variances = problem.tie @ (problem.tie.T @ variances / problem.tie.sum(axis=0))
        factor[np.diag_indices(problem.r)] = np.sqrt(variances)
    return B, factor, np.log(problem.start_dispersion)


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

    Arguments as of :func:`fit_laplace`; a task in none of the batches keeps the prior. Shapes are
    (n_tasks, n_coefs * n_outputs) and (n_tasks, n_random * n_outputs, n_random * n_outputs); the
    covariance is ``Lambda A^{-1} Lambda'``, of the curvature at the mode, however many nodes the
    model has.
    """
    mode = model.means(np.asarray(S, dtype=np.float64))
    covariance = np.repeat(model.covariance[None], len(S), axis=0)
    by_coef = mode.reshape(len(S), -1, model.n_outputs)
    factor, random, s = model.factor, model.random, _with_one(S)
    for rows in rows_for(batches, model.intercept, len(factor), model.n_outputs):
        found = mode_of(
            model.family,
            rows.predictor(model.B, s[:, rows.tasks]),
            rows.y,
            rows.weight / model.dispersion,
            design(rows.X[random], factor, model.n_outputs),
            np.zeros((len(factor), len(rows.tasks))),
        )
        u = (factor @ found.v).T.reshape(len(rows.tasks), len(random), model.n_outputs)
        by_coef[rows.tasks[:, None], random] += u
        spread = matmul(matmul(factor, found.inverse), factor.T)
        covariance[rows.tasks] = np.moveaxis(spread, -1, 0)
    return mode, covariance


def predictive_scores(model, batches, S):
    """How well rows of every task are predicted without any, and given all others.

    Log densities, the mean of both and of the rows, shape (n_tasks,); NaN of tasks without rows.
    Arguments as of :func:`posterior`.
    """
    scores, s = np.full(len(S), np.nan), _with_one(S)
    shared = model.B, model.factor, model.random, model.family, model.dispersion
    for rows in rows_for(batches, model.intercept, len(model.factor), model.n_outputs):
        densities = left_out_densities(rows, s[:, rows.tasks], *shared)
        total = (rows.weight * densities).sum(axis=2).mean(axis=0)
        n_rows = rows.weight.sum(axis=1)
        scores[rows.tasks[n_rows > 0]] = (total / np.where(n_rows > 0, n_rows, 1.0))[n_rows > 0]
    return scores


def _with_one(S):
    return np.concatenate([np.ones((1, len(S))), np.asarray(S, dtype=np.float64).T])
