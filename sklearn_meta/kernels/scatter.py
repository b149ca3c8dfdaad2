r"""Tasks whose inputs hang together in another way than those of the others.

Around their mean the inputs of task a have the scatter ``T_a`` of ``n_a`` degrees of freedom. It is
Wishart around a covariance of its own, which is inverse Wishart around W for a task of the common
kind. For one of the other kind, as of shuffled columns, it is so, too, but W is turned to the axes
of ``T_a``: the same variances along other axes, at the cost of ``log(n_a) / 2`` for each of ``p (p
- 1) / 2`` angles (Schwarz 1978). The covariance is integrated out: with p columns, ``k = nu + p -
1`` and the multivariate Gamma_p,

    log p(T_a) = log Gamma_p((k + n_a) / 2) - log Gamma_p(k / 2)
        + (k log det(nu W) - (k + n_a) log det(nu W + T_a)) / 2 + constant.

The W that judges a is fitted without a. EM finds W, nu and who is of which kind. Means do not
count: tasks may lie elsewhere and yet agree.
"""

import numpy as np
from scipy.special import expit, gammaln

__all__ = ["log_evidence", "scatter_evidence", "scatters"]

NU = (1.0, 4.0, 16.0, 64.0, 256.0)
START_NU = 4.0
FLOOR = 1e-3  # of a variance within tasks, where that of all rows is 1
CORES = (0.5, 0.25)  # shares of the tasks
MAX_CORES = 20  # of each size
MAX_TASKS = 200  # that choose nu and a core
MAX_ITER = 30
N_SHORT = 3  # iterations that choose a core
N_CHOICES = 5  # of nu, which then stays


def scatters(moments):
    """Scatter of the landmarks of every task around their mean, and degrees of freedom.

    Parameters
    ----------
    moments : Moments
        With an intercept.
    """
    G = moments.G
    T = G[:, 1:, 1:] - G[:, 1:, :1] * G[:, :1, 1:] / np.maximum(G[:, :1, :1], 1e-300)
    return T, np.maximum(moments.n - 1, 0.0)


def log_evidence(T, n, W, nu):
    """Log-evidence of scatters, up to a constant that W and nu do not change.

    Parameters
    ----------
    T : ndarray of shape (n_tasks, p, p)
    n : ndarray of shape (n_tasks,)
    W : ndarray of shape (p, p) or (n_tasks, p, p)
    nu : float
    """
    p = T.shape[-1]
    k, half = nu + p - 1, 0.5 * np.arange(p)
    gammas = gammaln((k + n[:, None]) / 2 - half).sum(axis=1) - gammaln(k / 2 - half).sum()
    prior, both = np.linalg.slogdet(nu * W)[1], np.linalg.slogdet(nu * W + T)[1]
    return gammas + 0.5 * (k * prior - (k + n) * both)


def scatter_evidence(moments):
    """Log-evidence of the inputs of every task: (n_tasks, 2), of the common kind and the other.

    EM starts from all tasks, and from the likeliest of several cores of tasks that are alike, since
    half of the tasks may be of the other kind (Biernacki, Celeux, Govaert 2003).
    """
    T, n = scatters(moments)
    n_tasks, p = T.shape[:2]
    mean = T / np.maximum(n, 1)[:, None, None] + FLOOR * np.eye(p)
    axes = np.linalg.eigh(mean)[1]
    some = np.unique(np.linspace(0, n_tasks - 1, MAX_TASKS).astype(int))
    few = T[some], n[some], mean[some], axes[some]
    ends = []
    for a in np.unique(np.linspace(0, len(some) - 1, MAX_CORES).astype(int)):
        near = log_evidence(few[0], few[1], few[2][a], START_NU)
        for share in CORES:
            ends.append(_em(*few, (near >= np.quantile(near, 1 - share)).astype(float), N_SHORT))
    core = np.zeros(n_tasks)
    core[some] = max(ends, key=lambda end: end[0])[1]
    ends = [_em(T, n, mean, axes, start, MAX_ITER) for start in (np.ones(n_tasks), core)]
    return max(ends, key=lambda end: end[0])[2]


def _em(T, n, mean, axes, common, max_iter):
    """Log-likelihood, probability to be of the common kind, and log-evidence of both kinds."""
    n_tasks, p = mean.shape[:2]
    cost = 0.25 * p * (p - 1) * np.log(np.maximum(n, 2))
    some = np.unique(np.linspace(0, n_tasks - 1, MAX_TASKS).astype(int))
    nu = START_NU
    for step in range(max_iter):
        weight = (np.maximum(common, 1e-6) * n / (n + nu))[:, None, None]
        terms = weight * mean
        left = np.maximum(weight.sum() - weight, 1e-300)
        W = (terms.sum(axis=0) - terms) / left + FLOOR * np.eye(p)
        if step < N_CHOICES:
            fits = [log_evidence(T[some], n[some], W[some], nu) @ common[some] for nu in NU]
            nu = NU[int(np.argmax(fits))]
        share = np.clip(common.mean(), 0.5 / n_tasks, 1 - 0.5 / n_tasks)
        turned = (axes * np.linalg.eigvalsh(W)[:, None]) @ axes.swapaxes(1, 2)
        inside = log_evidence(T, n, W, nu)
        other = log_evidence(T, n, turned, nu) - cost
        before, common = common, expit(inside - other + np.log(share / (1 - share)))
        if np.abs(common - before).max() < 1e-2:
            break
    total = np.logaddexp(inside + np.log(share), other + np.log(1 - share)).sum()
    return total, common, np.stack([inside, other], axis=1)
