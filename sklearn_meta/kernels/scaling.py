"""Standardisation of features and targets, and its exact folding back into coefficients.

With ``x = (x_raw - x_mean) / x_scale`` and ``y = (y_raw - y_mean) / y_scale``, the linear model
``y = b + w'x`` is ``y_raw = b_raw + w_raw'x_raw`` with

    w_raw = y_scale * w / x_scale,    b_raw = y_mean + y_scale * b - w_raw'x_mean.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Scaling"]

DOUBTFUL = 1e-9  # a spread of this share of the mean may be rounding


@dataclass(frozen=True, eq=False)
class Scaling:
    """Centre and scale of features and targets."""

    x_mean: np.ndarray  # (n_features,)
    x_scale: np.ndarray  # (n_features,)
    y_mean: float = 0.0
    y_scale: float = 1.0

    @classmethod
    def identity(cls, n_features):
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def of(cls, X, y=None, weight=None, centred=True):
        """Weighted means and standard deviations; a constant column keeps scale 1.

        Columns that are not ``centred`` stay where they are, in units of their root mean square.
        """
        x_mean = np.average(X, axis=0, weights=weight)
        with np.errstate(over="ignore"):
            x_scale = np.sqrt(np.average((X - x_mean) ** 2, axis=0, weights=weight))
        doubtful = np.flatnonzero(x_scale < DOUBTFUL * np.abs(x_mean))
        x_mean[doubtful], x_scale[doubtful] = mean_and_std(X[:, doubtful], weight)
        x_scale = nonzero_scale(x_scale, x_mean)
        if not centred:
            x_mean, x_scale = np.zeros_like(x_mean), np.hypot(x_scale, x_mean)
        if y is None:
            return cls(x_mean, x_scale)
        y_mean = np.average(y, weights=weight)
        with np.errstate(over="ignore"):
            y_scale = np.sqrt(np.average((y - y_mean) ** 2, weights=weight))
        return cls(x_mean, x_scale, float(y_mean), float(nonzero_scale(y_scale, y_mean)))

    def features(self, X):
        return (X - self.x_mean) / self.x_scale

    def target(self, y):
        return (y - self.y_mean) / self.y_scale

    def unfold(self, coef, intercept):
        """Coefficients for the data as they came, from those for standardised data.

        Parameters
        ----------
        coef : ndarray of shape (..., n_features)
        intercept : ndarray of shape (...)
        """
        coef = coef * (self.y_scale / self.x_scale)
        return coef, self.y_mean + self.y_scale * intercept - coef @ self.x_mean


def mean_and_std(X, weight=None):
    """Weighted means and standard deviations of columns: of constants 0, however long the sums."""
    x, share = X - X[0], np.ones(len(X)) if weight is None else weight
    share = share / share.sum()
    mean = share @ x
    x = x - mean
    size = np.ldexp(1.0, np.frexp(np.abs(x).max(axis=0, initial=0.0))[1] - 1)  # changes no digit
    return X[0] + mean, size * np.sqrt(share @ (x / size) ** 2)


def nonzero_scale(scale, mean):
    """Replace the scale of columns that are constant up to rounding by 1."""
    return np.where(scale > 10 * np.finfo(np.float64).eps * np.abs(mean), scale, 1.0)
