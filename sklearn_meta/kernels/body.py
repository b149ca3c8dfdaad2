r"""The body of a network: all layers but the last, as features of rows.

    phi(x) = a_{L-1},   a_l = act(a_{l-1} W_l + b_l),   a_0 = x

A network without hidden layers has the identity for a body. Gradients go back through the
activation of the last hidden layer, and from there as of any network (``network.py``).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .network import ACTIVATIONS, Batch, Network

__all__ = ["Body"]


@dataclass(frozen=True)
class Body:
    """Features as a function of the parameters of all layers but the last."""

    whole: Network

    @property
    def n_features(self):
        """H, the number of features."""
        return self.whole.sizes[-2]

    @property
    def n_params(self):
        return 0 if self.whole.linear else self._network.n_params

    @cached_property
    def head(self):
        """The last layer as a network of its own."""
        whole = self.whole
        return Network(whole.sizes[-2:], whole.loss, intercept=whole.intercept)

    @cached_property
    def _network(self):
        return Network(self.whole.sizes[:-1], None, self.whole.activation)

    def features(self, theta, X):
        """phi, shape (n_tasks, n_rows, H), of rows X (n_tasks, n_rows, n_columns)."""
        return self.forward(theta, X)[0]

    def forward(self, theta, X):
        """phi of rows, and the function that takes gradients in phi to one in theta."""
        if self.whole.linear:
            return X, lambda gradient: np.zeros(0, X.dtype)
        point = self._network.on(Batch(X, None, None)).at(theta[None])
        activate, slope, _ = ACTIVATIONS[self.whole.activation]
        phi = activate(point.r, out=np.empty_like(point.r))
        return phi, lambda gradient: point.pullback_sum(gradient * slope(phi))
