r"""Losses of raw predictions, their shrunken offsets, and a stack that depends on the rows seen.

Raw predictions ``f`` have the mean ``mu = g^-1(f)``. On a target with n rows the offset b moves
their mean to that of the target, shrunken as by kappa rows,

    mean(g^-1(f + b)) = (sum_i y_i + kappa mean(mu)) / (n + kappa),

and of classes it minimises ``sum_i loss(f_i + b, y_i) + kappa / 4 |b|² / 2`` (1 / 4 is the
curvature of the log-loss of even odds), by steps of its quadratic bound (Böhning 1992).

After n rows a stack predicts ``sum_c v_c(n) f_c(x)``, ``v >= 0``, ``sum v = 1`` (Wolpert 1992),
with the weights of a pool (:mod:`.pooling`) for some n, linear in ``log(1 + n)`` between these.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from .pooling import LogPool, SquaredPool, bagged_weights

__all__ = ["MIN_EPISODES", "RawLoss", "Stack", "between", "learn_stack"]

KAPPA = 3.0
MIN_EPISODES = 4
MAX_LOG = 100.0  # of a mean
MAX_ITER = 40  # of an offset


@dataclass(frozen=True)
class RawLoss:
    """A loss of raw predictions, as users know it."""

    # "identity", "log", "softmax": squared error, half the Poisson deviance but for a constant,
    # log-loss
    link: str

    def mean(self, raw):
        """What is predicted."""
        if self.link == "softmax":
            return softmax(raw, axis=-1)
        return np.exp(np.minimum(raw, MAX_LOG)) if self.link == "log" else raw

    def __call__(self, raw, Y):
        """Of every row."""
        if self.link == "identity":
            return np.sum((raw - Y) ** 2, axis=-1)
        total = logsumexp(raw, axis=-1) if self.link == "softmax" else self.mean(raw).sum(axis=-1)
        return total - np.sum(Y * raw, axis=-1)

    def offset(self, raw, Y, weight):
        """Offsets (n_models, n_outputs) of raw predictions (n_models, n_rows, n_outputs)."""
        n, b = weight.sum(), np.zeros((len(raw), raw.shape[-1]))
        if self.link == "softmax":
            for _ in range(MAX_ITER):
                wrong = self.mean(raw + b[:, None]) - Y
                slope = np.einsum("n,mno->mo", weight, wrong) + KAPPA / 4 * b
                step = slope / (n / 2 + KAPPA / 4)
                b = b - step
                if np.abs(step).max() < 1e-4:
                    break
            return b
        mean = np.einsum("n,mno->mo", weight, self.mean(raw)) / max(n, 1e-300)
        shrunken = (weight @ Y + KAPPA * mean) / (n + KAPPA)
        if self.link == "identity":
            return shrunken - mean
        return np.log(np.maximum(shrunken, 1e-100)) - np.log(np.maximum(mean, 1e-100))

    def pool(self, F, Y, tasks, weight):
        """The loss of pools of candidates ``F`` of shape (n_candidates, n_rows, n_outputs)."""
        if self.link == "softmax":
            right = np.sum(self.mean(F) * Y, axis=-1)
            return LogPool.of(right.T, tasks, weight)
        return SquaredPool.of(self.mean(F)[..., 0].T, Y[:, 0], tasks, weight)


@dataclass(frozen=True, eq=False)
class Stack:
    """Weights of the candidates after some numbers of rows."""

    n_rows: np.ndarray  # (n_points,)
    v: np.ndarray  # (n_points, n_candidates)

    def weights(self, n_rows):
        """Weights after a number of rows."""
        return np.array([between(column, self.n_rows, n_rows) for column in self.v.T])


def between(values, at, n_rows):
    """Values that are known ``at`` some numbers of rows, after others."""
    return np.interp(np.log1p(n_rows), np.log1p(at), values)


def learn_stack(episodes, loss, start):
    """Learn a Stack from episodes.

    Parameters
    ----------
    episodes : dict of int to list of (F, Y, weight, importance)
        By the number of support rows: what the candidates said of the rows that judge, of shape
        (n_candidates, n_rows, n_outputs), these, their weights, and that of the episode.
    loss : RawLoss
    start : ndarray of shape (n_candidates,)
        The weights where there are few episodes.
    """
    v = {}
    for n, own in sorted(episodes.items()):
        if len(own) >= MIN_EPISODES:
            F, Y, weight, importance = zip(*own, strict=True)
            task = np.repeat(np.arange(len(own)), [len(w) for w in weight])
            F, Y, weight = np.concatenate(F, axis=1), np.concatenate(Y), np.concatenate(weight)
            pool, rng = loss.pool(F, Y, task, weight), np.random.default_rng(0)
            v[n] = bagged_weights(pool, rng, np.array(importance))
    v = v or {0: start}
    return Stack(np.array(list(v)), np.stack(list(v.values())))
