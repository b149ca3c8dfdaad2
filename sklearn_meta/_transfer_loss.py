"""What transfer needs of a loss of raw predictions: values, gradients, a bound of the curvature."""

from dataclasses import dataclass, replace

import numpy as np

from .kernels import losses

__all__ = ["TransferLoss", "loss_of"]

LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True)
class TransferLoss:
    """A loss, with what its offsets and risks need.

    Parameters
    ----------
    base : Loss
        Of raw predictions, in the units of half the square, or of nats.
    unit : float
        Curvature of a typical row.
    scale : float
        What a loss of the best possible model is about: the noise variance, or 1.
    most : float
        Longest step of an offset.
    """

    base: object
    unit: float = 1.0
    scale: float = 1.0
    most: float = np.inf

    @property
    def quadratic(self):
        return isinstance(self.base, losses.Squared)

    def value(self, raw, Y):
        return self.base.value(raw, Y)

    def gradient(self, raw, Y):
        return self.base.gradient(raw, Y)

    def bound(self, raw, Y):
        """Not less than the curvature, for each output."""
        if self.quadratic:
            return np.ones_like(raw)
        if isinstance(self.base, losses.Multinomial):
            return np.full_like(raw, 0.5)
        return self.base.hessian_product(raw, Y, np.ones_like(raw))

    def risk(self, value):
        """A loss in the units that users know: a squared error, or a log-loss."""
        return 2 * value if self.quadratic else value

    def with_noise(self, noise):
        return replace(self, scale=float(noise)) if self.quadratic else self


def loss_of(learner):
    """The loss that judges transfer: log-loss, deviance with a log link, else squared error."""
    if learner.classes is not None:
        return TransferLoss(losses.Multinomial(), unit=0.25)
    if getattr(learner, "link", "identity") == "log":
        return TransferLoss(losses.Poisson(), most=1.0)
    return TransferLoss(losses.Squared())
