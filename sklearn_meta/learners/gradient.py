"""Learners whose parameters can be moved along gradients.

Algorithms work on ``theta`` in standardised units, where one inner rate suits all parameters;
parameter rows, which predict and become estimators, are in the units of the data.
"""

from abc import abstractmethod

import numpy as np

from ..kernels.gradient import Penalty
from ..kernels.network import Batch, mean_weight
from ..kernels.scaling import Scaling
from ..tasks.validation import plain
from .base import Learner

__all__ = ["GradientLearner", "LayerLearner"]

ROWS_AT_A_TIME = 2**16


class GradientLearner(Learner):
    """A learner with a :class:`~sklearn_meta.kernels.network.Network`.

    A subclass has ``network``, in standardised units, and the methods below.

    Parameters
    ----------
    estimator : estimator
    scaling : Scaling, default=None
        Pooled meta-train statistics; fits see data standardised by them. None: data as they are.
    dtype : dtype, default=float64
        Of the parameters.
    **learner_params
        See :class:`Learner`.
    """

    def __init__(self, estimator, *, scaling=None, dtype=np.float64, **learner_params):
        super().__init__(estimator, **learner_params)
        self.scaling = scaling
        self.dtype = np.dtype(dtype)
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(
                f"all meta-train rows are of one class, {plain(self.classes[0])!r}; a classifier "
                "needs at least two."
            )

    @staticmethod
    def scales_target(estimator):
        """Whether a regressor's targets may be standardised: its loss is that of differences."""
        return False

    def with_classes(self, classes):
        """The same learner for other classes (of linear estimators and perceptrons)."""
        return self.like(self, classes=classes, scaling=self.scaling, dtype=self.dtype)

    @property
    def n_outputs(self):
        """Number of raw predictions of a row."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    @property
    def outer_lr(self):
        """Rate of meta-training that starts from a pooled fit."""
        return 0.01

    @property
    def units(self):
        """The scaling, the identity if there is none."""
        return self.scaling or Scaling.identity(self.n_features)

    @abstractmethod
    def pooled(self, table):
        """The parameters of a fit on the pooled rows, shape (n_params,).

        Parameters
        ----------
        table : TaskTable
        """

    @abstractmethod
    def random(self, rng):
        """Parameters as the wrapped estimator draws them before its first step.

        Parameters
        ----------
        rng : numpy.random.Generator
        """

    @abstractmethod
    def penalty_strength(self, n_rows):
        """Strength of the estimator's own L2 penalty on the mean loss of so many rows."""

    @abstractmethod
    def rows(self, theta):
        """Parameter rows, in the units of the data, of ``theta`` of shape (n_tasks, n_params)."""

    def penalty(self, n_rows):
        """The estimator's own L2 penalty, centred on the meta-model; None if it has none.

        Parameters
        ----------
        n_rows : ndarray of shape (n_tasks,)
            Rows of every task: their total weight.
        """
        strength = self.penalty_strength(np.maximum(n_rows, 1.0))
        strength = np.broadcast_to(strength, np.shape(n_rows))[:, None]
        if not strength.any():
            return None
        mask = ~self.network.intercepts()
        return Penalty(strength.astype(self.dtype), mask.astype(self.dtype))

    def encode(self, y):
        """Targets as the loss expects them, shape (..., n_outputs)."""
        if self.classes is None:
            return self.units.target(y)[..., None].astype(self.dtype, copy=False)
        loss = self.network.loss
        present = y[..., None] == (self.classes[1:] if self.n_outputs == 1 else self.classes)
        return np.where(present, loss.high, loss.low).astype(self.dtype)

    def batch(self, X, y, weight):
        """Rows of tasks as the network takes them.

        X has the shape (n_tasks, n_rows, n_columns), y, encoded, (n_tasks, n_rows, n_outputs); row
        weights, (n_tasks, n_rows), are 0 for padding.
        """
        features = self.units.features(X).astype(self.dtype, copy=False)
        weight = mean_weight(weight).astype(self.dtype, copy=False)
        return Batch(features, y, weight, self.offset(X))

    def offset(self, X):
        """What the network adds to; None for nothing."""
        return None

    def fit_one(self, X, y, sample_weight=None, fit_params=None):
        if self.scaling is not None:
            X = self.scaling.features(X).astype(X.dtype, copy=False)
            y = self.scaling.target(y) if self.classes is None else y
        return super().fit_one(X, y, sample_weight, fit_params)


class LayerLearner(GradientLearner):
    """A gradient learner whose network has one layer: a parameter row is ``[b, W]``."""

    @property
    def n_params(self):
        return self.n_outputs * (1 + self.n_features)

    def split(self, params):
        """Coefficients (..., n_outputs, n_features) and intercepts (..., n_outputs) of rows.

        What an algorithm appends to a row, behind the first ``n_params`` entries, is its own.
        """
        k = self.n_outputs
        coef = params[..., k : self.n_params].reshape(*params.shape[:-1], self.n_features, k)
        return np.swapaxes(coef, -1, -2), params[..., :k]

    def join(self, coef, intercept):
        """The inverse of :meth:`split`."""
        n_coefs = coef.shape[-2] * coef.shape[-1]
        coef = np.swapaxes(coef, -1, -2).reshape(*intercept.shape[:-1], n_coefs)
        return np.concatenate([intercept, coef], axis=-1).astype(self.dtype, copy=False)

    def random(self, rng):
        return np.zeros(self.n_params, dtype=self.dtype)

    def raw(self, params, X, index):
        """``b + w'x``, shape (n_rows, n_outputs), each row by its own params."""
        coef, intercept = self.split(params)
        if len(params) == 1:
            return X @ coef[0].T + intercept[0]
        out = np.empty((len(X), self.n_outputs), dtype=np.result_type(X, params))
        for lo in range(0, len(X), ROWS_AT_A_TIME):
            rows = slice(lo, lo + ROWS_AT_A_TIME)
            own = index[rows]
            out[rows] = np.einsum("nd,nkd->nk", X[rows], coef[own]) + intercept[own]
        return out
