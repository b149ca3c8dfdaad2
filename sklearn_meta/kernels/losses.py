r"""Losses as functions of the raw prediction r, with first and second derivatives.

Each is written once, elementwise over outputs, for arrays of any leading shape; only
:class:`Multinomial` couples the outputs of a row. Classifiers with several outputs sum the losses
of one output against the rest, as scikit-learn does. The scale is that of ``MLPRegressor``: half
the square, half the deviance.

==================== =========================================== ==============================
loss                 value                                       target y
==================== =========================================== ==============================
Squared              (r - y)² / 2                                number
Huber                (r - y)² / 2, linear beyond epsilon         number
EpsilonInsensitive   max(0, \|r - y\| - epsilon), or its square  number
Poisson              exp(r) - y r                                >= 0
Gamma                r + y exp(-r)                               > 0
Tweedie              exp((2-p) r)/(2-p) - y exp((1-p) r)/(1-p)   >= 0 (1 < p < 2), > 0 (p > 2)
Logistic             log(1 + exp(r)) - y r                       0 or 1
Multinomial          log sum_c exp(r_c) - sum_c y_c r_c          one-hot
Hinge                max(0, t - y r), or its square              -1 or 1
ModifiedHuber        max(0, 1 - y r)², linear below y r = -1     -1 or 1
==================== =========================================== ==============================
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

__all__ = [
    "EpsilonInsensitive",
    "Gamma",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "ModifiedHuber",
    "Multinomial",
    "Poisson",
    "Squared",
    "Tweedie",
    "log_loss",
]


class Loss(ABC):
    """A loss of raw predictions.

    ``low, high`` are what a label that is absent or present is coded as, for classifiers.
    """

    low, high = -1.0, 1.0

    def allows(self, y):
        """Which targets the loss has a minimum for."""
        return np.ones(np.shape(y), dtype=bool)

    def value(self, r, y):
        """Loss of every row, shape (...,), from r and y of shape (..., n_outputs)."""
        return self._value(r, y).sum(axis=-1)

    @abstractmethod
    def gradient(self, r, y):
        """Derivative with respect to r."""

    def hessian_product(self, r, y, u):
        """Second derivative with respect to r, times u."""
        return self._curvature(r, y) * u


@dataclass(frozen=True)
class Squared(Loss):
    def value(self, r, y):
        z = r - y
        return 0.5 * np.einsum("...k,...k->...", z, z)

    def gradient(self, r, y):
        return r - y

    def hessian_product(self, r, y, u):
        return u


@dataclass(frozen=True)
class Huber(Loss):
    epsilon: float = 1.35

    def _value(self, r, y):
        z = np.abs(r - y)
        return np.where(z <= self.epsilon, 0.5 * z**2, self.epsilon * (z - 0.5 * self.epsilon))

    def gradient(self, r, y):
        return np.clip(r - y, -self.epsilon, self.epsilon)

    def _curvature(self, r, y):
        return (np.abs(r - y) <= self.epsilon).astype(r.dtype)


class _OfExcess(Loss):
    """An excess over 0, or its square."""

    def _value(self, r, y):
        z = self._excess(r, y)
        return z**2 if self.squared else z

    def _curvature(self, r, y):
        return 2.0 * self.squared * (self._excess(r, y) > 0).astype(r.dtype)


@dataclass(frozen=True)
class EpsilonInsensitive(_OfExcess):
    epsilon: float = 0.1
    squared: bool = False

    def _excess(self, r, y):
        return np.maximum(np.abs(r - y) - self.epsilon, 0)

    def gradient(self, r, y):
        z = self._excess(r, y)
        return np.sign(r - y) * (2 * z if self.squared else z > 0)


@dataclass(frozen=True)
class Poisson(Loss):
    def allows(self, y):
        return y >= 0

    def _value(self, r, y):
        return np.exp(r) - y * r

    def gradient(self, r, y):
        return np.exp(r) - y

    def _curvature(self, r, y):
        return np.exp(r)


@dataclass(frozen=True)
class Gamma(Loss):
    def allows(self, y):
        return y > 0

    def _value(self, r, y):
        return r + y * np.exp(-r)

    def gradient(self, r, y):
        return 1 - y * np.exp(-r)

    def _curvature(self, r, y):
        return y * np.exp(-r)


@dataclass(frozen=True)
class Tweedie(Loss):
    """With log link and a power p other than 1 (Poisson) and 2 (Gamma)."""

    power: float = 1.5

    def allows(self, y):
        if self.power < 1:
            return super().allows(y)
        return y >= 0 if self.power < 2 else y > 0

    def _value(self, r, y):
        a, b = 2 - self.power, 1 - self.power
        return np.exp(a * r) / a - y * np.exp(b * r) / b

    def gradient(self, r, y):
        return np.exp((2 - self.power) * r) - y * np.exp((1 - self.power) * r)

    def _curvature(self, r, y):
        a, b = 2 - self.power, 1 - self.power
        return a * np.exp(a * r) - b * y * np.exp(b * r)


@dataclass(frozen=True)
class Logistic(Loss):
    low, high = 0.0, 1.0

    def _value(self, r, y):
        return np.logaddexp(0, r) - y * r

    def gradient(self, r, y):
        return expit(r) - y

    def _curvature(self, r, y):
        p = expit(r)
        return p * (1 - p)


@dataclass(frozen=True)
class Multinomial(Loss):
    low, high = 0.0, 1.0

    def value(self, r, y):
        top = r.max(axis=-1, keepdims=True)
        log_sum = np.log(np.exp(r - top).sum(axis=-1)) + top[..., 0]
        return log_sum - (y * r).sum(axis=-1)

    def _softmax(self, r):
        p = np.exp(r - r.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    def gradient(self, r, y):
        return self._softmax(r) - y

    def hessian_product(self, r, y, u):
        p = self._softmax(r)
        return p * (u - (p * u).sum(axis=-1, keepdims=True))


def log_loss(n_outputs):
    """The loss of classes with so many outputs: a single one tells two of them apart."""
    return Logistic() if n_outputs == 1 else Multinomial()


@dataclass(frozen=True)
class Hinge(_OfExcess):
    threshold: float = 1.0
    squared: bool = False

    def _excess(self, r, y):
        return np.maximum(self.threshold - y * r, 0)

    def gradient(self, r, y):
        z = self._excess(r, y)
        return -y * (2 * z if self.squared else self.threshold - y * r >= 0)


@dataclass(frozen=True)
class ModifiedHuber(Loss):
    def _value(self, r, y):
        z = y * r
        return np.where(z >= -1, np.maximum(1 - z, 0) ** 2, -4 * z)

    def gradient(self, r, y):
        z = y * r
        return -y * np.where(z >= -1, 2 * np.maximum(1 - z, 0), 4)

    def _curvature(self, r, y):
        z = y * r
        return 2.0 * ((z >= -1) & (z < 1)).astype(r.dtype)
