r"""A stack of candidates whose weights depend on the number of support rows.

After n rows the prediction is ``sum_c v_c(n) f_c(x)``, ``v >= 0``, ``sum v = 1`` (Wolpert 1992).
Errors on a few rows say little of the weights, so they are learned from episodes: a source is the
target, it shows n rows, and the rest judge. Over the episodes with n rows they minimise

    sum_e loss(sum_c v_c f_ec) + strength * least_loss * |v - v0|² / 2,

``least_loss`` the mean loss of the best candidate and v0 all weight on it; on the first candidate,
if that is worse by less than a standard error. Between such n they are linear in ``log(1 + n)``.

Raw predictions are shifted by the offset b of least ``sum_i loss(f_i + b, y_i) + kappa / 2 |b|²``.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from . import losses

__all__ = ["Episode", "RawLoss", "Stack", "learn_stack", "offsets"]

STRENGTH = 3.0  # episodes that v0 counts for
MIN_EPISODES = 4
MAX_ITER = 40  # of an offset


@dataclass(frozen=True)
class RawLoss:
    """A loss of raw predictions, in units in which it is a negative log-likelihood.

    Parameters
    ----------
    loss : Loss
        Squared, Multinomial or Poisson.
    noise : float
        Of the squared loss: the variance.
    """

    loss: object
    noise: float = 1.0

    @property
    def squared(self):
        return isinstance(self.loss, losses.Squared)

    @property
    def curvature(self):
        """Of a typical row."""
        return 0.25 if isinstance(self.loss, losses.Multinomial) else 1.0

    def value(self, raw, Y):
        """Negative log-likelihood of every row."""
        return self.loss.value(raw, Y) / self.noise

    def risk(self, raw, Y):
        """Loss of every row as users know it: a squared error, or a log-loss."""
        return (2 if self.squared else 1) * self.loss.value(raw, Y)

    def bound(self, raw, Y):
        """Not less than the curvature, for each output."""
        if isinstance(self.loss, losses.Multinomial):
            return np.full_like(raw, 0.5)
        return self.loss.hessian_product(raw, Y, np.ones_like(raw))


@dataclass(frozen=True, eq=False)
class Episode:
    """What candidates said of the rows that judge.

    Parameters
    ----------
    F : ndarray of shape (n_candidates, n_rows, n_outputs)
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
        Their sum is the weight of the episode.
    """

    F: np.ndarray
    Y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Stack:
    """Weights of the candidates after some numbers of rows.

    Parameters
    ----------
    n_rows : ndarray of shape (n_points,)
    v : ndarray of shape (n_points, n_candidates)
    """

    n_rows: np.ndarray
    v: np.ndarray

    def weights(self, n_rows):
        """Weights after a number of rows."""
        at, n = np.log1p(self.n_rows), np.log1p(n_rows)
        return np.array([np.interp(n, at, column) for column in self.v.T])


def learn_stack(episodes, loss, start):
    """Learn from episodes.

    Parameters
    ----------
    episodes : dict of int to list of Episode
        By the number of support rows.
    loss : RawLoss
    start : ndarray of shape (n_candidates,)
        The weights where there are no episodes.

    Returns
    -------
    Stack
    """
    v = {n: _best(own, loss) for n, own in sorted(episodes.items()) if len(own) >= MIN_EPISODES}
    v = v or {0: start}
    return Stack(np.array(list(v)), np.stack(list(v.values())))


def _best(episodes, loss):
    F = np.concatenate([e.F for e in episodes], axis=1)
    Y = np.concatenate([e.Y for e in episodes])
    weight = np.concatenate([e.weight for e in episodes])
    weight = weight * len(episodes) / weight.sum()
    bounds = np.cumsum([0] + [len(e.Y) for e in episodes[:-1]])
    single = np.add.reduceat(loss.loss.value(F, Y) * weight, bounds, axis=1)
    best = int(np.argmin(single.sum(axis=1)))
    gain = single[0] - single[best]
    sure = gain.mean() > gain.std() / np.sqrt(len(gain))
    v0 = np.eye(len(F))[best if sure else 0]
    scale = max(single[best].sum(), 1e-300)
    R = F - Y
    M = np.einsum("cno,n,eno->ce", R, weight, R) if loss.squared else None

    def objective(v):
        away = STRENGTH * scale / len(episodes) * (v - v0)
        if loss.squared:
            value, slope = 0.5 * v @ M @ v, M @ v
        else:
            raw = np.tensordot(v, F, axes=1)
            value = weight @ loss.loss.value(raw, Y)
            slope = np.tensordot(F, weight[:, None] * loss.loss.gradient(raw, Y), axes=2)
        return (value + 0.5 * (v - v0) @ away) / scale, (slope + away) / scale

    found = minimize(
        objective,
        0.9 * v0 + 0.1 / len(v0),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(v0),
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1, "jac": np.ones_like},
    )
    v = np.clip(found.x, 0, None)
    return v / v.sum() if np.isfinite(v).all() and v.sum() > 0 else v0


def offsets(f, Y, weight, kappa, loss):
    """Shrunken offsets of raw predictions, by steps of a quadratic bound of the loss.

    Parameters
    ----------
    f : ndarray of shape (n_models, n_rows, n_outputs)
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    kappa : float
        In rows.
    loss : RawLoss

    Returns
    -------
    ndarray of shape (n_models, n_outputs)
    """
    b, prior = np.zeros((len(f), Y.shape[1])), kappa * loss.curvature
    for _ in range(1 if loss.squared else MAX_ITER):
        raw = f + b[:, None]
        gradient = np.einsum("n,mno->mo", weight, loss.loss.gradient(raw, Y)) + prior * b
        step = gradient / (np.einsum("n,mno->mo", weight, loss.bound(raw, Y)) + prior)
        b = b - (step if loss.squared else np.clip(step, -1.0, 1.0))
        if np.abs(step).max() < 1e-6:
            break
    return b
