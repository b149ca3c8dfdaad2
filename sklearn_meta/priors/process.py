r"""A Gaussian process as the prior of functions, learned over tasks.

    maximise over psi, beta   sum_t log p(r_t | psi, beta) + log N(psi; psi_0, P^-1)
                                                           + log N(beta; 0, v I)

The residuals r of tasks are those of a mean function that has not seen them. The parameters psi are
few, so some hundred tasks, and some tens of rows of each, tell them; the weak prior sees to it that
a few tasks do no harm.

Intervals are those of :mod:`.intervals`: Student's, calibrated on the tasks whose mean function has
not seen them. The kernel has: to learn it anew without each fold changes no digit that matters, so
few are its parameters.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import minimize

from ..kernels.chunks import keep_freed_memory
from ..kernels.gaussian_process import Process, log_likelihood, predictive
from .intervals import calibration_of, normal_scores, quantiles, satterthwaite

__all__ = ["ProcessPrior", "half_widths", "learn_process"]

NOISE = (np.log(0.3), 2.0)  # mean and standard deviation of log sigma²
SLOPES = 0.1  # variance of slopes within tasks, all together
BOUND = 12.0  # of |psi - psi_0|: beyond it nothing changes but the condition of matrices
SHOTS = (0, 1, 2, 5, 10, 20)
MIN_TASKS = 10  # that intervals are calibrated on


@dataclass(frozen=True, eq=False)
class ProcessPrior(Process):
    """A learned prior of functions."""

    batches: list = ()  # (X, r, weight): what it was learned from
    log_likelihood: float = None
    n_iter: int = 0
    converged: bool = False

    def freedom(self, variance):
        """Degrees of freedom of predictive variances, from those of the function."""
        n_tasks = sum(len(r) for _, r, _ in self.batches)
        n_rows = sum(weight.sum() for _, _, weight in self.batches)
        return satterthwaite(variance, self.noise, n_tasks, n_rows - n_tasks)


def learn_process(kernel, batches, *, max_iter=200, tol=1e-4, callback=None):
    """Learn the parameters of a kernel from residuals of variance 1, as a ProcessPrior.

    Parameters
    ----------
    kernel : TaskKernel
    batches : list of (X, r, weight)
    max_iter : int, default=200
    tol : float, default=1e-4
        Stop when no entry of the gradient per row exceeds it.
    callback : callable, default=None
        ``callback(get_prior)`` after each iteration; True stops.
    """
    mean, weighed = kernel.prior()
    psi0 = np.append(mean, NOISE[0])
    bounds = np.stack([psi0 - BOUND, psi0 + BOUND], axis=1)
    lower, upper = kernel.bounds().T
    bounds[:-1] = np.clip(bounds[:-1], lower[:, None], upper[:, None])
    n_rows = max(1, sum(int((weight > 0).sum()) for _, _, weight in batches))
    variance = SLOPES / batches[0][0].shape[-1]
    keep_freed_memory()

    def loss(psi):
        value, gradient, _ = log_likelihood(kernel, psi, batches, variance)
        u = psi - psi0
        pull = np.append(weighed(u[:-1]), u[-1] / NOISE[1] ** 2)
        return (0.5 * u @ pull - value) / n_rows, (pull - gradient) / n_rows

    def prior(psi, **learned):
        value, _, beta = log_likelihood(kernel, psi, batches, variance)
        return ProcessPrior(kernel, psi, beta, batches, value, **learned)

    def stop(psi):
        if callback is not None and callback(lambda: prior(psi.copy())):
            raise StopIteration

    found = minimize(
        loss,
        psi0,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=stop,
        options={"maxiter": max_iter, "gtol": tol, "ftol": 0.0, "maxcor": 20},
    )
    at_max_iter = found.status == 1
    return prior(found.x, n_iter=found.nit, converged=not at_max_iter)


def half_widths(prior, variance, n_rows, level):
    """Half the widths of intervals around predictions, in units of residuals.

    ``variance`` is that of the function at the rows, ``n_rows`` what was known of their tasks.
    """
    quantile = quantiles(calibrate(prior), level, n_rows, prior.freedom(variance))
    return quantile * np.sqrt(variance + prior.noise)


@lru_cache(maxsize=16)
def calibrate(prior):
    """Scores of tasks, each predicted from its first rows."""
    collected = {k: [] for k in SHOTS}
    n_tasks = sum(len(r) for _, r, _ in prior.batches)
    for X, r, weight in prior.batches if n_tasks >= MIN_TASKS else ():
        for k in (k for k in SHOTS if k < r.shape[1]):
            known = X[:, :k], r[:, :k], weight[:, :k]
            mean, variance = predictive(prior, known, X[:, k:])
            u = np.abs(r[:, k:] - mean) / np.sqrt(variance + prior.noise)
            scores = normal_scores(u, prior.freedom(variance))
            new = weight[:, k:] > 0
            collected[k] += [z[own] for z, own in zip(scores, new, strict=True) if own.any()]
    return calibration_of(collected, n_tasks)
