r"""The prior mean of tasks with few rows, pulled to pooled least squares.

The mean B that the likelihood finds is that of coefficients within tasks. If coefficients hang
together with where the rows of a task lie, another one predicts rows of new tasks better: the least
squares fit B0 of all rows. The prior mean of a task with n rows is

    (1 - a(n)) B s + a(n) B0 s,

in which its posterior mean w is linear: ``w(a) = w + a delta``. The best a minimises the error of
tasks that are left out, by folds, given n of their rows, which need only the moments of a task,

    a(n) = sum_t delta_t'(g_t - G_t w_t) / n_t  /  sum_t delta_t' G_t delta_t / n_t,

since n rows are taken to have n / n_t of the moments of all: the noise that this leaves out is
independent of delta. Of a, at most 1, the share ``1 - 1 / t²`` is used, t its ratio to its standard
error, and nothing where t is below 1. Between the numbers of rows a is linear in log(1 + n).

Without rows it is B that must prove itself: B is an average over tasks, and a row to predict is one
of rows. There ``1 - a`` is estimated in the same way, and of it the share ``1 - (2 / t)²`` is used,
so that predictions are those of pooled least squares unless others are surely better.

References
----------
Mundlak (1978), On the pooling of time series and cross section data, Econometrica 46 (on why B and
B0 differ). James, Stein (1961), Estimation with quadratic loss (on the share of a).
"""

from dataclasses import dataclass, replace

import numpy as np

from ..kernels.mixed_model import fixed_effects_left_out, pooled_effects
from ..kernels.stacked import matvec
from .regularization import folds_of

__all__ = ["MIN_ERRORS", "MIN_TASKS", "SHOTS", "Pull", "learn_pull", "sure_share", "with_pooled"]

SHOTS = (0, 1, 5, 20)
MIN_TASKS = 10
MIN_ERRORS = 2.0  # standard errors that a gain must exceed to be sure


@dataclass(frozen=True, eq=False)
class Pull:
    """a(n)."""

    n_rows: np.ndarray  # (n_shots,)
    share: np.ndarray  # (n_shots,)

    def __call__(self, n):
        """The share of B0, for numbers of rows."""
        return np.interp(np.log1p(n), np.log1p(self.n_rows), self.share)


def with_pooled(model, moments):
    """A model that knows B0, of moments in its units without contextual effects."""
    return replace(model, pooled=pooled_effects(model, moments))


def learn_pull(prior, tasks):
    """a(n), by tasks that are left out of some; None where they are too few."""
    if len(tasks) < MIN_TASKS:
        return None
    moments, seen = prior.plain(tasks), prior.training(tasks)
    G, g, n = moments.G, moments.g, moments.n
    size = np.where(n > 0, n, 1.0)  # a task may have lent all its rows
    gain, most = np.zeros((2, len(SHOTS), len(tasks)))
    folds = folds_of(moments, np.arange(len(tasks)))
    means = fixed_effects_left_out(prior.model, seen, folds)
    pooled_means = fixed_effects_left_out(prior.model, moments, folds, pooled=True)
    for out, B, B0 in zip(folds, means, pooled_means, strict=True):
        model = replace(prior.model, B=B, pooled=B0)
        for i, k in enumerate(SHOTS):
            part = np.where(n[out] > k, k / size[out], 0.0)
            some = moments.of(out).weighted(part)
            w, pooled = (prior.mean_of(model, some, np.full(len(out), a)) for a in (0.0, 1.0))
            delta = np.where(n[out] > k, pooled - w, 0.0)
            error = g[:, out] - matvec(G[..., out], w)
            gain[i, out] = np.einsum("it,it->t", delta, error) / size[out]
            most[i, out] = np.einsum("it,ijt,jt->t", delta, G[..., out], delta) / size[out]
    used = [i for i, k in enumerate(SHOTS) if (n > k).mean() > 0.5]
    return Pull(np.array(SHOTS)[used], np.array([_pull(SHOTS[i], gain[i], most[i]) for i in used]))


def _pull(n_shots, gain, most):
    """a for a number of rows."""
    if n_shots:
        return _share(gain, most, 1.0)
    return 1.0 - _share(most - gain, most, MIN_ERRORS)


def _share(gain, most, n_errors):
    """What is best, at most 1, less what may be chance."""
    if not (most.sum() > 0 and gain.sum() > 0):
        return 0.0
    a = gain.sum() / most.sum()
    error = np.sqrt(np.sum((gain - a * most) ** 2)) / most.sum()
    return float(min(a, 1.0) * sure_share(a, error, n_errors))


def sure_share(value, error, n_errors=1.0):
    """The share of a value that is more than chance, given its standard error."""
    return 1 - (n_errors * error / max(value, n_errors * error)) ** 2
