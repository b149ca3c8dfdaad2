r"""A Gaussian process as the prior of functions, learned over tasks.

    maximise over psi   sum_t log p(r_t | psi) + log N(psi; psi_0, P^-1)

The residuals r of tasks are those of a mean function that has not seen them. The parameters psi are
few, so some hundred tasks, and some tens of rows of each, tell them; the weak prior sees to it that
a few tasks do no harm.

Intervals are those of :mod:`.intervals`: Student's, calibrated over tasks that are left out, whose
kernel is learned from the other tasks.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize

from ..kernels.gaussian_process import log_likelihood, posteriors
from .intervals import calibration_of, normal_scores, quantiles, satterthwaite
from .regularization import N_FOLDS

__all__ = ["ProcessPrior", "half_widths", "learn_process"]

NOISE = (np.log(0.3), 2.0)  # mean and standard deviation of log sigma²
BOUND = 12.0  # of |psi - psi_0|: beyond it nothing changes but the condition of matrices
SHOTS = (0, 1, 2, 5, 10, 20)
FOLD_STEPS = 10  # of fits without a fold, which start at the end


@dataclass(frozen=True, eq=False)
class ProcessPrior:
    """A learned prior of functions.

    Parameters
    ----------
    kernel : TaskKernel
    psi : ndarray of shape (n_params + 1,)
        Its parameters, and the logarithm of the variance of noise.
    batches : list of (X, r, weight)
        What it was learned from.
    log_likelihood : float
    n_iter : int
    converged : bool
    """

    kernel: object
    psi: np.ndarray
    batches: list
    log_likelihood: float = None
    n_iter: int = 0
    converged: bool = False

    @property
    def noise(self):
        """sigma²."""
        return np.exp(self.psi[-1])

    def freedom(self, variance):
        """Degrees of freedom of predictive variances, from those of the function."""
        n_tasks = sum(len(r) for _, r, _ in self.batches)
        n_rows = sum(weight.sum() for _, _, weight in self.batches)
        return satterthwaite(variance, self.noise, n_tasks, n_rows - n_tasks)


def learn_process(kernel, batches, *, start=None, max_iter=200, tol=1e-5, callback=None):
    """Learn the parameters of a kernel from residuals of variance 1.

    Parameters
    ----------
    kernel : TaskKernel
    batches : list of (X, r, weight)
    start : ndarray of shape (n_params + 1,), default=None
        Where to start; the mean of the prior.
    max_iter : int, default=200
    tol : float, default=1e-5
        Stop when no entry of the gradient per row exceeds it.
    callback : callable, default=None
        ``callback(prior)`` after each iteration; True stops.

    Returns
    -------
    ProcessPrior
    """
    mean, precision = kernel.prior()
    psi0 = np.append(mean, NOISE[0])
    P = np.zeros((len(psi0), len(psi0)))
    P[:-1, :-1], P[-1, -1] = precision, NOISE[1] ** -2
    bounds = np.stack([psi0 - BOUND, psi0 + BOUND], axis=1)
    lower, upper = kernel.bounds().T
    bounds[:-1] = np.clip(bounds[:-1], lower[:, None], upper[:, None])
    n_rows = max(1, sum(int((weight > 0).sum()) for _, _, weight in batches))

    def loss(psi):
        value, gradient = log_likelihood(kernel, psi, batches)
        pull = P @ (psi - psi0)
        return (0.5 * (psi - psi0) @ pull - value) / n_rows, (pull - gradient) / n_rows

    def stop(psi):
        if callback is not None and callback(ProcessPrior(kernel, psi.copy(), batches)):
            raise StopIteration

    found = minimize(
        loss,
        psi0 if start is None else start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=stop,
        options={"maxiter": max_iter, "gtol": tol, "ftol": 0.0, "maxcor": 20},
    )
    value, _ = log_likelihood(kernel, found.x, batches)
    stopped_early = found.status == 1  # at max_iter
    return ProcessPrior(kernel, found.x, batches, value, found.nit, not stopped_early)


def half_widths(prior, variance, n_rows, level):
    """Half the widths of intervals around predictions, in units of residuals.

    Parameters
    ----------
    prior : ProcessPrior
    variance : ndarray of shape (n,)
        Of the function at the rows.
    n_rows : ndarray of shape (n,)
        Rows that were known of the task.
    level : float

    Returns
    -------
    ndarray of shape (n,)
    """
    quantile = quantiles(calibrate(prior), level, n_rows, prior.freedom(variance))
    return quantile * np.sqrt(variance + prior.noise)


@lru_cache(maxsize=16)
def calibrate(prior):
    """Scores of tasks, each predicted by a kernel that was learned without its fold."""
    folds = [np.arange(len(r)) % N_FOLDS for _, r, _ in prior.batches]
    n_tasks = sum(map(len, folds))
    collected = {k: [] for k in SHOTS}
    if n_tasks >= 2 * N_FOLDS:
        for f in range(N_FOLDS):
            train = _some(prior.batches, [fold != f for fold in folds])
            model = learn_process(prior.kernel, train, start=prior.psi, max_iter=FOLD_STEPS)
            for batch in _some(prior.batches, [fold == f for fold in folds]):
                for k in SHOTS:
                    _add_scores(model, *batch, k, collected[k])
    return calibration_of(collected, n_tasks)


def _some(batches, masks):
    return [
        tuple(part[mask] for part in batch)
        for batch, mask in zip(batches, masks, strict=True)
        if mask.any()
    ]


def _add_scores(model, X, r, weight, k, collected):
    """Add the scores of the rows of some tasks after k of them."""
    known = posteriors(model.kernel, model.psi, (X[:, :k], r[:, :k], weight[:, :k]))
    for own, x, y, w in zip(known, X, r, weight, strict=True):
        x, y = x[k:][w[k:] > 0], y[k:][w[k:] > 0]
        if len(y):
            variance = own.variance(model.kernel, model.psi, x)
            u = np.abs(y - own.mean(model.kernel, model.psi, x)) / np.sqrt(variance + model.noise)
            collected.append(normal_scores(u, model.freedom(variance)))
