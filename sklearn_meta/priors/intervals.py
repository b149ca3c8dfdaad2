r"""Prediction intervals for new tasks: Student's quantiles, calibrated over tasks left out.

The predictive variance of a row, ``v = x'Vx + sigma²``, holds what is not known of the coefficients
of its task, V, in which the uncertainty of the prior mean counts, and the noise. That of Sigma and
sigma² makes it Student's t with the degrees of freedom of Satterthwaite,

    d = v² / ((x'Vx)² / (T - 1 + nu) + sigma⁴ / (N - T)),

where the noise has a variance of its own in every task with that, and its degrees of freedom.

What is left is calibrated: tasks are left out by folds, and given k = 0, 1, 5, 20 of their rows.
For each k, residuals become normal scores ``z = Phi^{-1}((1 + F_d(|r| / sqrt v)) / 2)``, of which
every task has the same weight. Their quantile at the level wanted, pulled towards that of the
normal distribution as if by ten tasks more, takes its place, linear in log(1 + k) between the
numbers of rows. (The quantile that is valid whatever the distribution has a point at infinity; it
exists only for levels up to ``T / (T + 1)``, and covers too much where Student's t is nearly
right.)

References
----------
Dunn, Wasserman, Ramdas (2018), Distribution-free prediction sets with random effects. Lee, Barber,
Willett (2023), Distribution-free inference with hierarchical data. Satterthwaite (1946), An
approximate distribution of estimates of variance components, Biometrics Bulletin 2.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import norm, t

from .pull import SHOTS, with_pooled
from .regularization import N_FOLDS, folds_of, refit

__all__ = [
    "Calibration",
    "calibrate",
    "calibration_of",
    "degrees_of_freedom",
    "half_widths",
    "normal_scores",
    "quantiles",
    "satterthwaite",
]

PULL = 10.0  # tasks that the normal quantile counts as
MAX_SCORE = 8.0  # beyond it the normal distribution is 1 to all digits


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of tasks that were left out."""

    n_tasks: int
    scores: dict  # by number of rows, (z, weight), sorted by z

    def quantile(self, level, n_rows):
        """The normal quantile in whose place the calibrated one stands, for numbers of rows."""
        plain = norm.ppf((1 + level) / 2)
        found = []
        for z, weight in self.scores.values():
            at = z[min(np.searchsorted(np.cumsum(weight), level), len(z) - 1)]
            found.append((self.n_tasks * at + PULL * plain) / (self.n_tasks + PULL))
        if not found:
            return np.full(len(n_rows), plain)
        return np.interp(np.log1p(n_rows), np.log1p(list(self.scores)), found)


def degrees_of_freedom(prior, of_coefs, noise, n_left):
    """Satterthwaite's degrees of freedom of predictive variances ``of_coefs + noise``."""
    n_tasks = prior.moments.n_tasks
    nu = prior.nu if np.isfinite(prior.nu) else len(prior.model.random) + 1.0
    return satterthwaite(of_coefs, noise, n_tasks + nu, n_left)


def satterthwaite(of_task, noise, n_tasks, n_left):
    """Degrees of freedom of predictive variances ``of_task + noise``.

    ``n_tasks`` are those that the first was estimated from, ``n_left`` the rows beyond one of each
    task that the second was.
    """
    d_task, d_noise = max(n_tasks - 1, 1.0), np.maximum(n_left, 1.0)
    share = of_task / (of_task + noise)  # squares of variances may underflow
    return 1.0 / (share**2 / d_task + (1.0 - share) ** 2 / d_noise)


def half_widths(prior, of_coefs, n_rows, level, noise=None):
    """Half the widths of intervals around standardised predictions, shape (n,).

    ``of_coefs`` is what coefficients add to the variance of predictions, ``n_rows`` what was known
    of their tasks; ``noise``, of shape (n, 2), has the variance and degrees of freedom of that of
    tasks, where each has its own.
    """
    sigma2, n_left = (prior.model.sigma2, prior.n_left) if prior.noise is None else noise.T
    freedom = degrees_of_freedom(prior, of_coefs, sigma2, n_left)
    quantile = quantiles(calibrate(prior), level, n_rows, freedom)
    return quantile * np.sqrt(of_coefs + sigma2)


def quantiles(calibration, level, n_rows, freedom):
    """Student's quantiles, calibrated, for numbers of rows that are known of tasks."""
    return t.ppf(norm.cdf(calibration.quantile(level, n_rows)), freedom)


@lru_cache(maxsize=16)
def calibrate(prior):
    """Scores of the tasks that a prior holds back, each predicted without its fold."""
    held = prior.held.transformed(prior.mean_of_units(), prior.scale_of_units())
    moments, n_tasks = prior.training(), len(prior.held.tasks)
    collected = {k: [] for k in SHOTS}
    if n_tasks < 2 * N_FOLDS or not held.weight.any():
        return Calibration(n_tasks, {})
    for out in folds_of(moments, held.tasks):
        train = moments.of(np.delete(held.tasks, out))
        model = refit(prior, train)
        if prior.pull is not None:
            plain = prior.plain(np.delete(held.tasks, out))
            model = with_pooled(model, plain)
        whole = moments.of(held.tasks[out])
        for k in SHOTS:
            _scores_of(prior, model, held, out, whole, k, collected[k])
    return calibration_of(collected, n_tasks)


def calibration_of(collected, n_tasks):
    """The calibration by normal scores of tasks, for numbers of rows that most of them have."""
    scores = {k: _sorted(parts) for k, parts in collected.items() if len(parts) > n_tasks / 2}
    return Calibration(n_tasks, scores)


def _scores_of(prior, model, held, out, whole, k, collected):
    """Add the scores of the rows of some tasks after k of them."""
    mean, V, sigma2, n_left = prior.predictive_of(model, held.support(k, out, whole))
    for i, task in enumerate(out):
        rows = held.rows[task][k:][held.weight[task][k:] > 0]
        if len(rows) == 0:
            continue
        x, y = rows[:, whole.first : -1], rows[:, -1]
        of_coefs = np.maximum(np.einsum("ni,ij,nj->n", x, V[:, :, i], x), 0.0)
        u = np.abs(y - x @ mean[:, i]) / np.sqrt(of_coefs + sigma2[i])
        freedom = degrees_of_freedom(prior, of_coefs, sigma2[i], n_left[i])
        collected.append(normal_scores(u, freedom))


def normal_scores(u, freedom):
    """Normal scores of standardised absolute residuals that are Student's t."""
    return np.minimum(norm.isf(t.sf(u, freedom)), MAX_SCORE)


def _sorted(parts):
    z = np.concatenate(parts)
    weight = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    order = np.argsort(z, kind="stable")
    return z[order], weight[order] / len(parts)
