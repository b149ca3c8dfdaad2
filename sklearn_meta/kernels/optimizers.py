"""Optimisers of one flat vector: pure functions of explicit state.

An optimiser is ``init(x) -> state`` and ``update(x, gradient, state, rate) -> x, state``.
"""

from typing import NamedTuple

import numpy as np

__all__ = ["OPTIMIZERS", "adam", "sgd"]


class Optimizer(NamedTuple):
    """A pair of pure functions."""

    init: object
    update: object


class AdamState(NamedTuple):
    """Moving averages of the gradient and of its square, and the number of steps."""

    m: np.ndarray
    v: np.ndarray
    t: int


def adam(beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam (Kingma, Ba 2015): ``x - rate * m_hat / (sqrt(v_hat) + epsilon)``."""

    def init(x):
        return AdamState(np.zeros_like(x), np.zeros_like(x), 0)

    def update(x, gradient, state, rate):
        t = state.t + 1
        m = beta1 * state.m + (1 - beta1) * gradient
        v = beta2 * state.v + (1 - beta2) * gradient * gradient
        step = rate / (1 - beta1**t) * m / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        return x - step.astype(x.dtype, copy=False), AdamState(m, v, t)

    return Optimizer(init, update)


def sgd(momentum=0.0):
    """Stochastic gradient descent, with heavy-ball momentum: ``x + (momentum * d - rate * g)``."""

    def init(x):
        return np.zeros_like(x)

    def update(x, gradient, d, rate):
        d = momentum * d - rate * gradient
        return x + d.astype(x.dtype, copy=False), d

    return Optimizer(init, update)


OPTIMIZERS = {"adam": adam, "sgd": sgd}
