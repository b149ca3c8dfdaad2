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

__all__ = ["GradientLearner"]


class GradientLearner(Learner):
    """A learner with a :class:`~sklearn_meta.kernels.network.Network`.

    A subclass has ``network`` (a Network in standardised units), ``scaling`` (None: the data are
    used as they are), ``dtype``, and the methods below.
    """

    def __init__(self, estimator, **learner_params):
        super().__init__(estimator, **learner_params)
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

    def penalty_mask(self):
        """1 for the parameters that are penalised, 0 for intercepts."""
        return (~self.network.intercepts()).astype(self.dtype)

    def penalty(self, n_rows):
        """The estimator's own L2 penalty, centred on the meta-model; None if it has none.

        Parameters
        ----------
        n_rows : ndarray of shape (n_tasks,)
            Rows of every task: their total weight.
        """
        strength = np.asarray(self.penalty_strength(np.maximum(n_rows, 1.0)))[:, None]
        return Penalty(strength.astype(self.dtype), self.penalty_mask()) if strength.any() else None

    def encode(self, y):
        """Targets as the loss expects them, shape (..., n_outputs)."""
        if self.classes is None:
            return self.units.target(y)[..., None].astype(self.dtype, copy=False)
        loss = self.network.loss
        present = y[..., None] == (self.classes[1:] if self.n_outputs == 1 else self.classes)
        return np.where(present, loss.high, loss.low).astype(self.dtype)

    def batch(self, X, y, weight):
        """Rows of tasks as the network takes them.

        Parameters
        ----------
        X : ndarray of shape (n_tasks, n_rows, n_columns)
        y : ndarray of shape (n_tasks, n_rows, n_outputs)
            Encoded.
        weight : ndarray of shape (n_tasks, n_rows)
            Row weights, 0 for padding.
        """
        features = self.units.features(X).astype(self.dtype, copy=False)
        weight = mean_weight(weight).astype(self.dtype, copy=False)
        return Batch(features, y, weight, self.offset(X))

    def offset(self, X):
        """What the network adds to; None for nothing."""
        return None
