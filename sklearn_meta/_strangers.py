r"""Sources that agree with nobody: each may contradict the others in a way of its own.

In the model of :mod:`._evidence` a source a is either one of many, ``w_a ~ N(c, s_a P^-1)``, or
a stranger, ``w_a ~ N(level, s_a Q^-1)``, whose slopes are around 0; ``s_a`` is a noise variance of
its own, since sources may be noisy and yet agree. With one row of typical noise ``s`` as its prior
it is integrated out (nu = 1 in :mod:`._evidence`):

    log p_a = -((n + 1) log(s + quadratic_a) + log det(I + Z'Z P^-1)) / 2 + constant.

The centre c that judges a is fitted without a, by generalised least squares. EM finds the share
of strangers, the probability of each, c, P and Q (Dempster, Laird, Rubin 1977; a mixture with a
broad component for outliers is that of Banfield and Raftery 1993). It starts from the sources of
which the slopes of the others explain something at all. Where sources differ much by nature, P is
broad, too, and the start may tell strangers better than the end: both are worth a trial.
"""

import numpy as np
from scipy.special import expit

from ._evidence import GRID, LEAST_CHANCE, NEVER, penalty_of, quadratic_parts, some_of, student

__all__ = ["find_strangers", "left_by_others"]

FREE = 1e-6  # a penalty of levels, in rows, that does not bind
MAX_ITER = 30
N_CHOICES = 5  # of P and Q, which then stay


def find_strangers(moments, typical):
    """Which sources are strangers, by the start of EM and by its end.

    Parameters
    ----------
    moments : Moments
    typical : float
        The noise s.

    Returns
    -------
    list of ndarray of bool of shape (n_sources,)
    """
    n_sources, d = moments.C.shape[:2]
    everyone = np.arange(n_sources)
    level = np.zeros_like(moments.C[0])
    level[0] = moments.C[:, 0].sum(axis=0) / moments.n.sum()
    apart = moments.residuals(level, everyone)
    chance = _explained(moments)
    first = chance < 0.5
    if chance.sum() < 2:
        return []
    noise, P = np.full(n_sources, typical), penalty_of(1.0, 10.0, d)
    some = some_of(everyone)
    broad = [
        _log_evidence(*(part[some] for part in apart), penalty_of(*g, d), typical)[0] for g in GRID
    ]
    for step in range(MAX_ITER):
        near = moments.residuals(_centres(moments, chance, noise, P), everyone)
        if step < N_CHOICES:
            of_some = [part[some] for part in near]
            fits = [_log_evidence(*of_some, penalty_of(*g, d), typical)[0] for g in GRID]
            P = penalty_of(*GRID[int(np.argmax(fits @ chance[some]))], d)
            Q = penalty_of(*GRID[int(np.argmax(broad @ (1 - chance[some])))], d)
        inside, noise = _log_evidence(*near, P, typical)
        outside, _ = _log_evidence(*apart, Q, typical)
        share = np.clip(chance.mean(), 0.5 / n_sources, 1 - 0.5 / n_sources)
        before, chance = chance, expit(inside - outside + np.log(share / (1 - share)))
        if np.abs(chance - before).max() < 1e-2:
            break
    return [first, chance < 0.5]


def _explained(moments):
    """1 for the sources of which the slopes of the others explain something."""
    chance = np.ones(len(moments.n))
    for _ in range(MAX_ITER):
        left, total = left_by_others(moments, chance)
        before, chance = chance, (left < total).astype(float)
        if (chance == before).all() or chance.sum() < 2:
            break
    return chance


def left_by_others(moments, chance):
    """Squares of every source around its own level: what the slopes of others leave, and all.

    Parameters
    ----------
    moments : Moments
    chance : ndarray of shape (n_sources,)
        Weights of the others.

    Returns
    -------
    left, total : ndarray of shape (n_sources,)
    """
    everyone, penalty = np.arange(len(moments.n)), penalty_of(FREE, NEVER, moments.C.shape[1])
    centres = _centres(moments, chance, np.ones(len(everyone)), penalty)
    left, _ = quadratic_parts(*moments.residuals(centres, everyone)[:3], penalty)
    total, _ = quadratic_parts(moments.G, moments.C, moments.squares, penalty)
    return left, total


def _centres(moments, chance, noise, penalty):
    """Means of the models, one without each source: (n_sources, n_landmarks, n_outputs)."""
    P = np.diag(penalty)
    shrink = np.linalg.solve(moments.G + P, np.broadcast_to(P, moments.G.shape))
    weight = (np.maximum(chance, LEAST_CHANCE) / noise)[:, None, None]
    A = weight * (moments.G @ shrink)
    b = weight * (shrink.swapaxes(1, 2) @ moments.C)
    total = A.sum(axis=0)
    ridge = 1e-9 * np.trace(total) / len(total) * np.eye(len(total))
    return np.linalg.solve(total + ridge - A, b.sum(axis=0) - b)


def _log_evidence(G, c, squares, n, penalty, typical):
    """Log-evidence of every source with a noise of its own, and this noise."""
    quadratic, log_det = quadratic_parts(G, c, squares, penalty)
    n_outputs = c.shape[-1]
    n = n_outputs * n
    log_evidence = student(quadratic, n, typical, 1.0) - 0.5 * n_outputs * log_det
    return log_evidence, (np.maximum(quadratic, 0) + typical) / (n + 1)
