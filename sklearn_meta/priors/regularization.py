r"""How much the covariance and the noise of a mixed model are regularised.

With few tasks, or few rows for many coefficients, the likelihood of a full covariance has its
maximum where it should not: correlations are noise, and the noise variance may vanish. A fit with
two variances, one of intercepts and one of standardised slopes,

    Sigma0 = diag(v0, v1, ..., v1),   s2,

is well identified even then, but for the noise where tasks have fewer rows than coefficients: it is
held at a third of the variance that a pooled fit leaves, as if nu1 rows had been seen. The
covariance is pulled towards it, as if nu tasks had been seen that are as Sigma0 says (an inverse
Wishart prior), and the noise towards s2, as if by nu1 rows.

Which nu: of some multiples of the number of parameters of a row of Sigma, |R| + 1, the one with the
greatest log score of tasks that were left out, by folds: the mean over tasks of

    log p(y_t) / n_t = mean_k log p(y_t,k+1 | y_t,1 ... y_t,k),

which by the chain rule is that of every row after 0, 1, 2, ... rows, and depends neither on their
order nor on whether a row has weight 2 or stands twice. A stronger pull must be better by more than
the standard error of the difference: with few tasks the score is noisy, and correlations that are
real are dear. Where one is surely worse than a weaker one, still stronger ones are not tried. 0,
the plain likelihood, is among the strengths where enough tasks have rows enough.

References
----------
Chung, Gelman, Rabe-Hesketh, Liu, Dorie (2015), Weakly informative prior for point estimation of
covariance matrices in hierarchical models, Journal of Educational and Behavioral Statistics 40.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..kernels.mixed_model import Shrinkage, fit_mixed_model, log_densities
from ..kernels.stacked import stack

__all__ = ["N_FOLDS", "ROUGH", "Held", "fit_regularized", "folds_of", "gain", "refit", "two_of"]

MULTIPLES = (0.0, 1.0, 4.0, 16.0)  # nu, in parameters of a row of Sigma
STRONGEST = 1e9  # tasks: beside so many others do not count
NU1 = 5.0  # rows that the noise of the two-variance fit counts as
N_FOLDS = 5
MIN_ERRORS = 2.0  # standard errors that make a loss sure
ROUGH = {"max_iter": 50, "tol": 0.1}  # of fits that are compared
MIN_PER_SLOPE = 5  # tasks (rows, where they do not vary) for a fixed slope without a prior


@dataclass(frozen=True, eq=False)
class Held:
    """Some tasks, on which the regularisation is chosen, and rows that calibrate intervals."""

    tasks: np.ndarray  # (n_held,): positions among all tasks
    rows: np.ndarray  # (n_held, n_rows, n_features + 2): [1, x, y] of some, in random order
    weight: np.ndarray  # (n_held, n_rows): row weights; 0 where a task has fewer rows

    def transformed(self, mean, scale):
        """``[1, ([x, y] - mean) / scale]``."""
        rows = self.rows.copy()
        rows[..., 1:] = (rows[..., 1:] - mean) / scale
        return replace(self, rows=rows)

    def support(self, k, some, whole):
        """Moments of the first k rows of some of the tasks, whose moments are ``whole``."""
        rows = self.rows[some, :k] * np.sqrt(self.weight[some, :k])[..., None]
        return replace(whole, M=stack(np.swapaxes(rows, 1, 2) @ rows), rows=None)

    def concatenate(self, other):
        """These tasks and then the others."""
        parts = [np.concatenate([getattr(h, a) for h in (self, other)]) for a in vars(self)]
        return Held(*parts)


def folds_of(moments, tasks):
    """Some tasks by folds, which do not depend on the order of tasks."""
    M = moments.M[:, :, tasks]
    order = np.lexsort((M[0, -1], M[-1, -1], M[0, 0]))
    n_folds = min(N_FOLDS, len(tasks))
    return [np.sort(order[f::n_folds]) for f in range(n_folds)]


def fit_regularized(moments, random, nu, held, *, covariance, n_contexts=0, **settings):
    """Fit a mixed model with a regularised covariance.

    Parameters
    ----------
    moments : Moments
        In standardised units.
    random : ndarray of shape (n_random,)
    nu : float or "auto"
        Strength, in tasks.
    held : Held or None
        What ``"auto"`` looks at; nu is ``|R| + 1`` if there is none.
    covariance : {"full", "diag", "spherical"}
    n_contexts : int, default=0
        So many features, the last, are contextual effects, which always have a prior.
    **settings : dict
        Of :func:`fit_mixed_model`.

    Returns
    -------
    two, model : MixedModel
        With two variances, and as regularised.
    nu : float
        The strength that was used; infinite where two variances are all there is.
    scores : dict of float to float
        Log score of every strength that was tried, per row.
    """
    slopes = slopes_of(moments, random, n_contexts)
    if settings.get("centred") and slopes is not None:
        slopes = slopes[slopes % (1 + len(moments.S)) > 0]
        slopes = slopes if len(slopes) else None
    settings |= {"slopes": slopes}
    callback = settings.pop("callback", None)
    noise = Shrinkage(0.0, None, NU1, _left_by_pooling(moments) / 3)
    how = {"covariance": two_of(covariance, random, moments.intercept), "shrinkage": noise}
    two = fit_mixed_model(moments, random, **how, **settings)
    variances = two.sigma2 * np.diag(two.factor) ** 2
    active = variances > np.finfo(np.float64).tiny  # others are 0, or rounding of a constant target
    if covariance == "spherical" or len(random) < 2 or not active.any() or moments.n_tasks < 2:
        return two, two, np.inf, {}
    some = replace(two, random=random[active], factor=two.factor[np.ix_(active, active)])
    prior = Shrinkage(0.0, np.diag(variances[active]), NU1, two.sigma2)

    def fit(moments, nu, start=some, **how):
        shrinkage = replace(prior, nu=float(nu))
        if nu == 0:  # the plain likelihood, whose variances may be 0
            start, shrinkage = None, None
        how = settings | {"covariance": covariance, "shrinkage": shrinkage, "start": start} | how
        return fit_mixed_model(moments, some.random, **how)

    scores = {}
    if nu == "auto":
        grid = _grid(moments, some.random)
        nu = grid[1] if len(grid) > 1 else grid[0]
        if held is not None and len(grid) > 1:
            by_task = _scores(fit, moments, held, grid)
            nu = grid[_surely_best(by_task)]
            scores = dict(zip(map(float, grid), by_task.mean(axis=1).tolist(), strict=False))
    nu = min(nu, STRONGEST)
    model = fit(moments, nu, callback=callback)
    return two, _embedded(model, random, active), float(nu), scores


def _embedded(model, random, active):
    """A model of some random coefficients as one of all, the others without variance."""
    factor = np.zeros((len(random), len(random)))
    factor[np.ix_(active, active)] = model.factor
    return replace(model, random=random, factor=factor)


def two_of(covariance, random, intercept):
    """The covariance of the fit with two variances, or with one where there is no intercept."""
    return "two" if covariance != "spherical" and intercept and 0 in random else "spherical"


def _left_by_pooling(moments):
    """Variance of the residuals of one linear model of all rows; of the targets if rows are few."""
    M = moments.M.sum(axis=-1)[moments.first :, moments.first :]
    n, p = moments.n.sum(), len(M) - 1
    if MIN_PER_SLOPE * p > n:
        p = int(moments.intercept)
    w = np.linalg.lstsq(M[:p, :p], M[:p, -1], rcond=1e-10)[0]
    return max(M[-1, -1] - M[:p, -1] @ w, 0.0) / max(n - p, 1.0)


def slopes_of(moments, random, n_contexts=0):
    """Positions of fixed slopes with a prior: all, where they are many for the tasks, or none."""
    p, q = len(moments.G), 1 + len(moments.S)
    first = int(moments.intercept)  # whose mean is flat
    vary = moments.n_tasks > 1 and len(random) > (first if 0 in random else 0)
    n = moments.n_tasks if vary else moments.n.sum()
    many = MIN_PER_SLOPE * (p * q - first) > n or q > moments.n_tasks
    if p * q - first > 1 and many:
        return np.arange(first, p * q)
    return np.arange(p - n_contexts, p) * q if n_contexts else None


def _grid(moments, random):
    """Strengths to choose from, in tasks."""
    unit = len(random) + 1
    determined = (moments.n > unit).sum()
    return [m * unit for m in MULTIPLES if m > 0 or determined >= 2 * unit]


def _scores(fit, moments, held, grid):
    """Log scores per row of tasks that were left out, shape (n_tried, n_held).

    From the weakest strength on, until one is surely worse than a weaker one. Every fit starts
    where the last one ended, which its tolerance forgets.
    """
    folds, start = folds_of(moments, held.tasks), {}
    n_rows = moments.n[held.tasks]
    size = np.where(n_rows > 0, n_rows, 1.0)  # a task may weigh nothing
    scores = []
    for nu in grid:
        scores.append(np.empty(len(size)))
        for out in folds:
            train = moments.of(np.delete(held.tasks, out))
            model = fit(train, nu, **start, **ROUGH)
            start = {"start": model} if nu > 0 else {}  # plain likelihood: variances may be 0
            whole = moments.of(held.tasks[out])
            scores[-1][out] = log_densities(model, whole) / size[out]
        if any(gain(scores[-1], before) < -MIN_ERRORS for before in scores):
            break
    return np.array(scores)


def gain(scores, before):
    """The mean gain of one strength on another, in standard errors."""
    gains = scores - before
    gains = gains[np.isfinite(gains)]
    return gains.mean() / max(gains.std() / np.sqrt(len(gains)), 1e-300)


def _surely_best(scores):
    """The strength to take: a stronger one only if it is surely better than the one before."""
    best = 0
    for i in range(1, len(scores)):
        if gain(scores[i], scores[best]) > 1:
            best = i
    return best


def refit(prior, moments):
    """A model of the moments of some tasks like that of a prior of more, from which it starts."""
    model, nu = prior.model, prior.nu
    settings = prior.settings | ROUGH | {"slopes": model.slopes, "callback": None}
    random = model.random
    if not nu:
        return fit_mixed_model(moments, random, **settings)
    noise = Shrinkage(0.0, None, NU1, model.sigma2)
    if not np.isfinite(nu):
        settings |= {"shrinkage": noise, "covariance": prior.two}
        return fit_mixed_model(moments, random, **settings)
    active = np.diag(model.factor) != 0
    factor = model.factor[np.ix_(active, active)]
    Sigma0 = np.diag(prior.variances[active])
    shrinkage = replace(noise, nu=nu, Sigma0=Sigma0)
    settings |= {"shrinkage": shrinkage, "start": replace(model, factor=factor)}
    return _embedded(fit_mixed_model(moments, random[active], **settings), random, active)
