"""Multi-layer perceptrons: parameters are the weights and intercepts of all layers."""

from functools import cached_property

import numpy as np
from sklearn.base import clone
from sklearn.preprocessing import LabelBinarizer

from ..kernels.losses import Poisson, Squared, log_loss
from ..kernels.network import Batch, Network
from ..tasks.table import TaskTable, padded_batches
from .gradient import GradientLearner

__all__ = ["MLPLearner"]


class MLPLearner(GradientLearner):
    """``MLPRegressor`` or ``MLPClassifier``; parameters as of :class:`GradientLearner`."""

    def __init__(self, estimator, **learner_params):
        super().__init__(estimator, **learner_params)
        k = self.n_outputs
        self._shell = self._set([(np.zeros((1, k)), np.eye(k))], names=None)

    @staticmethod
    def scales_target(estimator):
        return estimator.loss == "squared_error"

    @cached_property
    def network(self):
        """The network, in standardised units."""
        hidden = np.atleast_1d(np.asarray(self.estimator.hidden_layer_sizes, dtype=int))
        sizes = (self.n_features, *hidden.tolist(), self.n_outputs)
        if self.classes is None:
            loss = Poisson() if self.estimator.loss == "poisson" else Squared()
        else:
            loss = log_loss(self.n_outputs)
        return Network(sizes, loss, self.estimator.activation)

    def penalty_strength(self, n_rows):
        return self.estimator.alpha / n_rows

    # -- between parameter rows and estimators --

    def _set(self, layers, names):
        estimator = clone(self.estimator)
        estimator.coefs_ = [np.array(W, dtype=self.dtype) for _, W in layers]
        estimator.intercepts_ = [np.array(b, dtype=self.dtype).ravel() for b, _ in layers]
        estimator.n_features_in_ = len(estimator.coefs_[0])
        estimator.n_layers_ = len(layers) + 1
        estimator.n_outputs_ = self.n_outputs
        if names is not None:
            estimator.feature_names_in_ = names
        if self.classes is None:
            estimator.out_activation_ = "exp" if estimator.loss == "poisson" else "identity"
        else:
            estimator.classes_ = self.classes
            estimator._label_binarizer = LabelBinarizer().fit(self.classes)
            estimator.out_activation_ = "logistic" if self.n_outputs == 1 else "softmax"
        return estimator

    def make_estimator(self, row):
        layers = [(b[0], W[0]) for b, W in self.network.layers(row[None])]
        return self.wrap(self._set(layers, self.feature_names))

    def _theta(self, fitted):
        pairs = zip(fitted.intercepts_, fitted.coefs_, strict=True)
        theta = np.concatenate([np.ravel(part) for pair in pairs for part in pair])
        return theta.astype(self.dtype)

    def rows(self, theta):
        """First and last layer take the standardisation in."""
        rows, units = np.array(theta), self.units
        layers = self.network.layers(rows)  # views
        b, W = layers[-1]
        W *= self.dtype.type(units.y_scale)
        b *= self.dtype.type(units.y_scale)
        b += self.dtype.type(units.y_mean)
        b, W = layers[0]
        W /= units.x_scale[:, None].astype(self.dtype)
        b -= np.einsum("i,tio->to", units.x_mean.astype(self.dtype), W)[:, None]
        return rows

    # -- where meta-training starts --

    @property
    def outer_lr(self):
        return self.estimator.learning_rate_init

    def pooled(self, table):
        return self._theta(self.fit_one(table.X, table.y, table.sample_weight))

    def random(self, rng):
        """Glorot-uniform weights and intercepts, as scikit-learn draws them."""
        factor = 2.0 if self.estimator.activation == "logistic" else 6.0
        parts = []
        for i, o in zip(self.network.sizes[:-1], self.network.sizes[1:], strict=True):
            bound = np.sqrt(factor / (i + o))
            parts += [rng.uniform(-bound, bound, o), rng.uniform(-bound, bound, i * o)]
        return np.concatenate(parts).astype(self.dtype)

    # -- predictions --

    def raw(self, params, X, index):
        """Raw predictions of shape (n_rows, n_outputs), each row by its own params."""
        out = np.empty((len(X), self.n_outputs), dtype=np.result_type(X, params))
        order = np.argsort(index, kind="stable")
        used, first = np.unique(np.asarray(index)[order], return_index=True)
        table = TaskTable(X[order], np.zeros(len(X)), np.append(first, len(X)))
        for batch in padded_batches(table):
            r = self.network.predict(params[used[batch.tasks]], Batch(batch.X, None, None))
            real = batch.weight > 0
            rows = table.offsets[batch.tasks][:, None] + np.arange(real.shape[1])
            out[order[rows[real]]] = r[real]
        return out

    def predict(self, method, params, X, index):
        return getattr(self._shell, method)(self.raw(params, X, index))
