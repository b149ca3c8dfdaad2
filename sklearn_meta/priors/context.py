r"""Contextual effects: the level of a task depends on the mean of its features.

Slopes within tasks differ from slopes between them. Then the prior mean of the intercept depends on
where the rows of a task lie,

    w_t | mu_t ~ N(m + e0 gamma' mu_t, Sigma),   x ~ N(mu_t, S_w),   mu_t ~ N(mu, S_b),

and what is known of ``mu_t`` is its posterior given the n rows of the task. In the directions Q
with ``Q'(S_b + S_w)Q = I`` and ``Q'S_b Q = diag(rho)`` (rho: intraclass correlations) it is

    E Q'(mu_t - mu) = n rho / (1 + (n - 1) rho) * Q'(xbar - mu) = c_t
    V_n = rho (1 - rho) / (1 + (n - 1) rho),

so that contextual effects are fixed effects of the columns ``c_t``, the same in all rows of a task.
A row to predict counts as one row more: it says, too, where its task lies. Without other rows

    E[y | x] = m0 + m'x + gamma' rho Q'(x - mu),

whose slope is that of pooled least squares; with n rows, what a change of the prior mean of the
intercept leaves of itself at the mean of the rows is the share of it that is added. That ``mu_t``
is known only in part adds ``gamma' V_{n + 1} gamma`` to the variance of the intercept, less what is
in Sigma already since it was so for the tasks that Sigma comes from.

References
----------
Mundlak (1978), On the pooling of time series and cross section data, Econometrica 46. Lüdtke et al.
(2008), The multilevel latent covariate model, Psychological Methods 13.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from ..kernels.mixed_model import condition, fixed_effects_left_out
from ..kernels.stacked import matmul, stack, transpose
from .pull import MIN_ERRORS, SHOTS
from .regularization import folds_of

__all__ = ["Context", "context_of", "posterior_in_context", "surely_better"]


MIN_EIGENVALUE = 1e-8  # share of the largest: features beyond it depend on the others
MIN_SHARE = 1e-3  # of a direction, between tasks and within them


@dataclass(frozen=True, eq=False)
class Context:
    """How means of features vary between tasks."""

    mean: np.ndarray  # (n_features,): mu, in standardised units
    Q: np.ndarray  # (n_features, n_directions)
    rho: np.ndarray  # (n_directions,)
    typical: np.ndarray  # (n_directions,): mean of ``V_n`` over the meta-train tasks

    def reliability(self, n):
        """The share of ``Q'(xbar - mu)`` that is ``mu_t``, shape (n_directions, n_tasks)."""
        rho = self.rho[:, None]
        return n * rho / (1 + (n - 1) * rho)

    def unknown(self, n):
        """``V_n``, shape (n_directions, n_tasks)."""
        return _unknown(self.rho[:, None], n)

    def means(self, moments):
        """``c_t``, shape (n_directions, n_tasks)."""
        n = moments.n
        centred = moments.M[0, 1:-1] / np.where(n > 0, n, 1.0) - self.mean[:, None]
        return self.reliability(n) * (self.Q.T @ centred)

    def augmented(self, moments):
        """Moments of ``[1, x, c, y]``."""
        c, d = self.means(moments), len(moments.M) - 1
        E = np.zeros((d + 1 + len(c), d + 1, moments.n_tasks))
        E[np.arange(d), np.arange(d)] = 1.0
        E[d:-1, 0] = c
        E[-1, -1] = 1.0
        E = stack(np.moveaxis(E, -1, 0))
        rows = None if moments.rows is None else matmul(moments.rows, transpose(E))
        return replace(moments, M=matmul(E, matmul(moments.M, transpose(E))), rows=rows)


def _unknown(rho, n):
    return rho * (1 - rho) / (1 + (n - 1) * rho)


def context_of(moments):
    """How means of features vary between tasks, by analysis of variance; None if they do not.

    Parameters
    ----------
    moments : Moments
        In standardised units.
    """
    n, T = moments.n, moments.n_tasks
    N = n.sum()
    n0 = (N - n @ n / N) / max(T - 1, 1)
    if T < 3 or N <= T or n0 <= 1:
        return None
    mean = moments.M[0, 1:-1].sum(axis=-1) / N
    centred = moments.M[0, 1:-1] / np.where(n > 0, n, 1.0) - mean[:, None]
    between = (centred * n) @ centred.T
    total = moments.M[1:-1, 1:-1].sum(axis=-1) - N * np.outer(mean, mean)
    values, vectors = np.linalg.eigh(total / N)
    use = values > MIN_EIGENVALUE * max(values.max(initial=0.0), np.finfo(float).tiny)
    P = vectors[:, use] / np.sqrt(values[use])
    within = P.T @ ((total - between) / (N - T)) @ P
    between = P.T @ (between / (T - 1)) @ P
    rho, Q = scipy.linalg.eigh((between - within) / n0, (between + (n0 - 1) * within) / n0)
    use = (rho > MIN_SHARE) & (rho < 1 - MIN_SHARE)
    rho, Q = rho[use], (P @ Q)[:, use]
    if len(rho) == 0:
        return None
    return Context(mean, Q, rho, _unknown(rho[:, None], n).mean(axis=1))


def posterior_in_context(model, context, moments, pull=0.0, precision=None, with_covariance=True):
    """The posterior of the coefficients of every task, what a row to predict says included.

    The model is of augmented moments, with an intercept that varies and without side information,
    the moments are not augmented. ``pull`` is the share of the prior mean that is pooled least
    squares, see :mod:`.pull`, ``precision`` that of rows relative to that of the noise of the
    model, both of shape (n_tasks,). Shapes as of :func:`posterior`.
    """
    p, T, n = len(moments.G), moments.n_tasks, moments.n
    c, gamma = context.means(moments), model.B[p:, 0]
    unknown = gamma**2 @ (context.unknown(n + 1) - context.typical[:, None])
    factor = stack(np.zeros((T, len(model.random), len(model.random) + 1)))
    factor[:, :-1] = model.factor[..., None]
    factor[0, -1] = np.sqrt(np.maximum(unknown, 0.0) / model.sigma2)
    prior = np.repeat(model.B[:p], T, axis=1)
    prior[0] += gamma @ c
    if model.pooled is not None:
        prior += pull * (model.pooled - prior)
    weighted = moments if precision is None else moments.weighted(precision)
    mean, own, share = condition(model, factor, prior, weighted)
    z = moments.M[0, :-1] / np.where(n > 0, n, 1.0)
    z[0] = 1.0
    left = np.einsum("it,it->t", z, share[:, 0])  # of the prior mean of the intercept, at z
    slope = left * context.rho[:, None] / (1 + n * context.rho[:, None])
    F = share[:, :1] * c  # the coefficients are share beta + F gamma + what is in mean already
    F[0] -= slope * (c + (context.Q.T @ context.mean)[:, None])
    F[1:] += context.Q[:, :, None] * slope
    mean += (1 - pull) * np.einsum("ijt,j->it", F - share[:, :1] * c, gamma)
    if not with_covariance:
        return mean, None
    E = np.concatenate([share, F], axis=1)
    covariance = matmul(matmul(E, model.B_covariance), transpose(E))
    covariance[np.ix_(model.random, model.random)] += own
    return mean, covariance


def surely_better(prior, contextual):
    """Whether contextual effects surely predict tasks that are left out better than none.

    Variances are those of all tasks, means of coefficients those of the others. The mean gain over
    numbers of rows, as a share of the error, must exceed two standard errors of it, and after no
    number of rows may it be a loss that exceeds its own.
    """
    held = prior.held.transformed(prior.mean_of_units(), prior.scale_of_units())
    plain, errors = (_errors(p, held) for p in (prior, contextual))
    known = np.isfinite(plain)
    use = known.mean(axis=1) > 0.5
    plain, errors, known = plain[use], errors[use], known[use]
    typical = np.maximum(np.nanmean(plain, axis=1), np.finfo(np.float64).tiny)
    gain = (plain - errors) / typical[:, None]
    of_shots = [_mean_and_error(g[k]) for g, k in zip(gain, known, strict=True)]
    mean, error = _mean_and_error(np.nansum(gain, axis=0) / np.maximum(known.sum(axis=0), 1))
    return mean > MIN_ERRORS * error and all(m >= -e for m, e in of_shots)


def _mean_and_error(gain):
    return gain.mean(), gain.std() / np.sqrt(len(gain))


def _errors(prior, held):
    """Mean squared errors of tasks that are left out, after some of their rows.

    Shape (n_shots, n_held); nan where a task has no more rows. Without rows they are those of the
    prior mean or of pooled least squares, which is better.
    """
    tasks = np.arange(len(held.tasks))
    errors = np.full((1 + len(SHOTS), len(tasks)), np.nan)
    moments, seen = prior.plain(held.tasks), prior.training(held.tasks)
    folds = folds_of(moments, tasks)
    effects = fixed_effects_left_out(prior.model, seen, folds)
    pooled_effects = fixed_effects_left_out(prior.model, moments, folds, pooled=True)
    for out, B, pooled in zip(folds, effects, pooled_effects, strict=True):
        model = replace(prior.model, B=B)
        errors[0, out] = _error(held, out, 0, np.tile(pooled, len(out)))
        for i, k in enumerate(SHOTS):
            support = held.support(k, out, moments.of(out))
            w = prior.mean_of(model, support, np.zeros(len(out)))
            errors[1 + i, out] = _error(held, out, k, w)
    worse = int(np.nanmean(errors[0]) < np.nanmean(errors[1]))
    return errors[np.arange(1 + len(SHOTS)) != worse]


def _error(held, tasks, k, w):
    """Mean squared error of coefficients w, shape (n_coefs, n_tasks), on rows behind k."""
    rows, weight = held.rows[tasks, k:], held.weight[tasks, k:]
    squares = weight * (rows[..., -1] - np.einsum("tni,it->tn", rows[..., :-1], w)) ** 2
    n = weight.sum(axis=1)
    return np.where(n > 0, squares.sum(axis=1) / np.where(n > 0, n, 1.0), np.nan)
