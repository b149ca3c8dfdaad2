r"""Sources whose columns hang together in another way than those of the others.

After few rows, or with slopes that differ by nature, the slopes of a source may not tell that its
columns are shuffled, where its inputs do. Around their mean, the inputs of a source have the
scatter ``T_a`` of ``n_a`` degrees of freedom, Wishart around a covariance of its own, which is
inverse-Wishart around W for one of many. For a stranger it is so, too, with W turned, its
variances along the axes of ``T_a``, or has no axes: W is a multiple of I. Turning W costs
``log(n_a) / 2`` for each of its ``p (p - 1) / 2`` angles (Schwarz 1978). The covariance is
integrated out: with p columns, ``k = nu + p - 1`` and the multivariate Gamma_p,

    log p_a = log Gamma_p((k + n_a) / 2) - log Gamma_p(k / 2)
        + (k log det(nu W) - (k + n_a) log det(nu W + T_a)) / 2 + constant.

The W that judges a is fitted without a: the mean of ``T_b / n_b`` over the others, weighted by
``n_b / (n_b + nu)``. EM finds the share of strangers, the probability of each, W, and nu of both
kinds. Means do not count: sources may lie elsewhere and yet agree. Targets may count as columns,
too; then sources that differ in their slopes by nature may seem odd.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammaln

from ._evidence import LEAST_CHANCE, some_of

__all__ = ["find_odd", "log_evidence", "scatters"]

NU = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0)
FLOOR = 1e-3  # of a variance within sources, where that of all rows is 1
START_NU = 4.0
CORES = (0.5, 0.25)  # shares of the sources
MOST_CORES = 20  # of each size
N_SHORT = 3  # iterations that choose a core
MAX_ITER = 30
N_CHOICES = 5  # of nu, which then stays


def scatters(moments, targets=False):
    """Scatter of every source, in units of the variances of all rows, and degrees of freedom.

    Parameters
    ----------
    moments : Moments
    targets : bool, default=False
        Whether they count as columns, too.

    Returns
    -------
    T : ndarray of shape (n_sources, n_columns, n_columns)
    n : ndarray of shape (n_sources,)
    """
    M = moments.G
    if targets:
        CT, YY = moments.C.swapaxes(1, 2), moments.YY
        M = np.concatenate([M, CT], axis=1)
        M = np.concatenate([M, np.concatenate([moments.C, YY], axis=1)], axis=2)
        if YY.shape[1] > 1:  # indicators of classes sum to 1
            M = M[:, :-1, :-1]
    scale = np.sqrt(np.diag(_centred(M.sum(axis=0)[None])[0]) / M[:, 0, 0].sum())
    scale = np.where(scale > 0, scale, 1.0)
    return _centred(M) / (scale[:, None] * scale), np.maximum(M[:, 0, 0] - 1, 0.0)


def _centred(M):
    """Second moments around the mean; the first column of M is that of ones."""
    return M[:, 1:, 1:] - M[:, 1:, :1] * M[:, :1, 1:] / np.maximum(M[:, :1, :1], 1e-300)


def find_odd(moments, targets=False):
    """A mask of the sources of another scatter.

    Parameters
    ----------
    moments : Moments
    targets : bool, default=False
        Whether they count as columns, too.

    Returns
    -------
    ndarray of bool of shape (n_sources,)
    """
    T, n = scatters(moments, targets)
    if not T.any():  # no column varies
        return np.zeros(len(n), dtype=bool)
    p = T.shape[1]
    mean = T / np.maximum(n, 1)[:, None, None] + FLOOR * np.eye(p)
    axes = np.linalg.eigh(mean)[1]
    round_ = np.trace(mean.mean(axis=0)) / p * np.eye(p)
    apart = np.stack([log_evidence(T, n, round_, nu) for nu in NU], axis=1)
    sources = _Sources(T, n, mean, axes, apart)
    ends = (_em(sources, start, MAX_ITER) for start in _starts(sources))
    return max(ends, key=lambda end: end[0])[1] < 0.5


@dataclass(frozen=True, eq=False)
class _Sources:
    """What EM knows of sources.

    Parameters
    ----------
    T, mean, axes : ndarray of shape (n_sources, p, p)
        Scatters, covariances, and the axes of these.
    n : ndarray of shape (n_sources,)
    apart : ndarray of shape (n_sources, n_nu)
        Log-evidence of a stranger without axes.
    """

    T: np.ndarray
    n: np.ndarray
    mean: np.ndarray
    axes: np.ndarray
    apart: np.ndarray

    def of(self, some):
        return _Sources(*(part[some] for part in vars(self).values()))


def _starts(sources):
    """Probabilities to start from: all sources, and the likeliest of several cores.

    A core are the sources nearest to one of them. The smaller it is, the purer it is where many are
    strangers; the larger, the more it knows. The likeliest after a few iterations is taken
    (Biernacki, Celeux, Govaert 2003).
    """
    n_sources = len(sources.n)
    some = some_of(np.arange(n_sources))
    few, trials = sources.of(some), []
    for a in np.unique(np.linspace(0, len(some) - 1, MOST_CORES).astype(int)):
        order = np.argsort(-log_evidence(few.T, few.n, few.mean[a], START_NU), kind="stable")
        for share in CORES:
            core = np.isin(np.arange(len(some)), order[: int(share * len(some)) + 1])
            trials.append(_em(few, core.astype(float), N_SHORT))
    core = np.zeros(n_sources)
    core[some] = max(trials, key=lambda end: end[0])[1]
    return np.ones(n_sources), core


def _em(sources, chance, max_iter):
    """Log-likelihood of the sources, and the probability of each to be one of many."""
    T, n, mean, axes = sources.T, sources.n, sources.mean, sources.axes
    n_sources, p = T.shape[:2]
    some = some_of(np.arange(n_sources))
    near = START_NU
    cost = 0.25 * p * (p - 1) * np.log(np.maximum(n, 2))  # of p (p - 1) / 2 angles
    for step in range(max_iter):
        weight = np.maximum(chance, LEAST_CHANCE) * n / (n + near)
        terms = weight[:, None, None] * mean
        left = np.maximum(weight.sum() - weight, 1e-300)[:, None, None]
        W = (terms.sum(axis=0) - terms) / left + FLOOR * np.eye(p)
        if step < N_CHOICES:
            fits = np.stack([log_evidence(T[some], n[some], W[some], nu) for nu in NU])
            near = NU[int(np.argmax(fits @ chance[some]))]
            far = int(np.argmax((1 - chance[some]) @ sources.apart[some]))
        share = np.clip(chance.mean(), 0.5 / n_sources, 1 - 0.5 / n_sources)
        turned = (axes * np.linalg.eigvalsh(W)[:, None]) @ axes.swapaxes(1, 2)
        inside = log_evidence(T, n, W, near) + np.log(share)
        outside = log_evidence(T, n, turned, near) - cost
        outside = np.logaddexp(outside, sources.apart[:, far]) + np.log((1 - share) / 2)
        before, chance = chance, expit(inside - outside)
        if np.abs(chance - before).max() < 1e-2:
            break
    return np.logaddexp(inside, outside).sum(), chance


def log_evidence(T, n, W, nu):
    """Log-evidence of scatters, up to a constant that W and nu do not change.

    Parameters
    ----------
    T : ndarray of shape (n_sources, p, p)
    n : ndarray of shape (n_sources,)
    W : ndarray of shape (p, p) or (n_sources, p, p)
    nu : float
    """
    p = T.shape[-1]
    k, half = nu + p - 1, 0.5 * np.arange(p)
    gammas = gammaln((k + n[:, None]) / 2 - half).sum(axis=1) - gammaln(k / 2 - half).sum()
    prior, both = np.linalg.slogdet(nu * W)[1], np.linalg.slogdet(nu * W + T)[1]
    return gammas + 0.5 * (k * prior - (k + n) * both)
