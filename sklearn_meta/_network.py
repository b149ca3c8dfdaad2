r"""Loss, gradient and Hessian-vector product of networks, for a batch of tasks at a time.

A network with layers l = 1..L maps ``a_0 = x`` to ``z_l = a_{l-1} W_l + b_l``,
``a_l = phi(z_l)`` (l < L) and the raw prediction ``r = z_L`` (plus a given offset). A linear model
is the case L = 1. Parameters of task t are one row ``theta_t = [b_1, W_1, ..., b_L, W_L]``.

Gradient (backpropagation), with ``delta_L = w * loss'(r, y)``:

    grad W_l = a_{l-1}' delta_l,  grad b_l = sum delta_l,
    delta_{l-1} = (delta_l W_l') * phi'(z_{l-1})

Hessian-vector product (Pearlmutter 1994), R{.} the derivative in direction ``v = [.., c_l, V_l]``:

    R z_l = (R a_{l-1}) W_l + a_{l-1} V_l + c_l,     R a_l = phi'(z_l) * R z_l
    R delta_L = w * loss''(r, y) R z_L
    R grad W_l = (R a_{l-1})' delta_l + a_{l-1}' (R delta_l)
    R delta_{l-1} = (R delta_l W_l' + delta_l V_l') * phi'(z_{l-1})
                    + (delta_l W_l') * phi''(z_{l-1}) * R z_{l-1}

``theta`` of shape (1, n_params) is shared by all tasks: their rows then go through each layer as
one large matrix product.

References
----------
Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

__all__ = ["ACTIVATIONS", "Batch", "Network"]


@dataclass(frozen=True)
class Batch:
    """Rows of a batch of tasks.

    Parameters
    ----------
    X : ndarray of shape (n_tasks, n_rows, n_features)
    y : ndarray of shape (n_tasks, n_rows, n_outputs)
    weight : ndarray of shape (n_tasks, n_rows)
        Row weights that sum to 1 in every task (0 in a task without rows), so that the loss is a
        mean; 0 where a row is padding.
    offset : ndarray of shape (n_tasks, n_rows, n_outputs), default=None
        Added to the raw predictions.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray = None


def _relu(z):
    return np.maximum(z, 0)


# phi, phi' and phi'' as functions of z and a = phi(z); None stands for 0
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z, a: np.ones_like(z), None),
    "relu": (_relu, lambda z, a: (z > 0).astype(z.dtype), None),
    "tanh": (np.tanh, lambda z, a: 1 - a * a, lambda z, a: -2 * a * (1 - a * a)),
    "logistic": (
        expit,
        lambda z, a: a * (1 - a),
        lambda z, a: a * (1 - a) * (1 - 2 * a),
    ),
}


@dataclass(frozen=True)
class Network:
    """A network as a function of its parameters.

    Parameters
    ----------
    sizes : tuple of int
        Width of the input, the hidden layers and the output.
    loss : Loss
    activation : str, default="identity"
        A key of :data:`ACTIVATIONS`.
    intercept : bool, default=True
        Whether there are intercepts; without, their entries stay where they are.
    """

    sizes: tuple
    loss: object
    activation: str = "identity"
    intercept: bool = True

    @property
    def n_params(self):
        return sum((i + 1) * o for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def layers(self, theta):
        """Views ``(b, W)`` of every layer, shapes (n_tasks, 1, out) and (n_tasks, in, out)."""
        n_tasks, at, layers = len(theta), 0, []
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            b = theta[:, None, at : at + o]
            W = theta[:, at + o : at + o + i * o].reshape(n_tasks, i, o)
            layers.append((b, W))
            at += (i + 1) * o
        return layers

    def last_layer(self):
        """Mask of the parameters of the last layer."""
        mask = np.zeros(self.n_params, dtype=bool)
        mask[self.n_params - (self.sizes[-2] + 1) * self.sizes[-1] :] = True
        return mask

    def _forward(self, theta, batch):
        """Layers, pre-activations z_1..z_L and activations a_0..a_{L-1}."""
        phi = ACTIVATIONS[self.activation][0]
        layers, a, z = self.layers(theta), [batch.X], []
        for l, (b, W) in enumerate(layers):
            z.append(_product(a[-1], W) + b)
            if l < len(layers) - 1:
                a.append(phi(z[-1]))
        if batch.offset is not None:
            z[-1] = z[-1] + batch.offset
        return layers, z, a

    def predict(self, theta, batch):
        """Raw predictions, shape (n_tasks, n_rows, n_outputs)."""
        return self._forward(theta, batch)[1][-1]

    def value(self, theta, batch):
        """Mean loss of every task, shape (n_tasks,)."""
        r = self.predict(theta, batch)
        return _mean(self.loss.value(r, batch.y), batch.weight)

    def gradient(self, theta, batch):
        """Mean loss (n_tasks,) and its gradient (n_tasks, n_params)."""
        layers, z, a = self._forward(theta, batch)
        value = _mean(self.loss.value(z[-1], batch.y), batch.weight)
        delta = self.loss.gradient(z[-1], batch.y) * batch.weight[..., None]
        return value, self._backward(layers, z, a, delta)

    def _backward(self, layers, z, a, delta):
        derivative = ACTIVATIONS[self.activation][1]
        parts = []
        for l in range(len(layers) - 1, -1, -1):
            parts += [np.swapaxes(a[l], 1, 2) @ delta, self._sum(delta)]
            if l:
                delta = _product(delta, np.swapaxes(layers[l][1], 1, 2))
                delta = delta * derivative(z[l - 1], a[l])
        return _row(parts[::-1])

    def _sum(self, delta):
        total = delta.sum(axis=1)
        return total if self.intercept else np.zeros_like(total)

    def hessian_product(self, theta, batch, v):
        """The Hessian of the mean loss of every task times v, shape (n_tasks, n_params)."""
        _, derivative, second = ACTIVATIONS[self.activation]
        layers, z, a = self._forward(theta, batch)
        weight = batch.weight[..., None]
        if not self.intercept:
            v = np.where(self.intercepts(), 0, v)
        directions, Ra, Rz = self.layers(v), [None], []
        for l, ((_, W), (c, V)) in enumerate(zip(layers, directions, strict=True)):
            own = _product(a[l], V) + c
            Rz.append(own if Ra[l] is None else own + _product(Ra[l], W))
            if l < len(layers) - 1:
                Ra.append(derivative(z[l], a[l + 1]) * Rz[l])
        delta = self.loss.gradient(z[-1], batch.y) * weight
        Rdelta = self.loss.hessian_product(z[-1], batch.y, Rz[-1]) * weight
        parts = []
        for l in range(len(layers) - 1, -1, -1):
            RgW = np.swapaxes(a[l], 1, 2) @ Rdelta
            if l:
                RgW += np.swapaxes(Ra[l], 1, 2) @ delta
            parts += [RgW, self._sum(Rdelta)]
            if l:
                W, V = (np.swapaxes(side[l][1], 1, 2) for side in (layers, directions))
                slope = derivative(z[l - 1], a[l])
                back = _product(delta, W)
                Rdelta = (_product(Rdelta, W) + _product(delta, V)) * slope
                if second is not None:
                    Rdelta += back * second(z[l - 1], a[l]) * Rz[l - 1]
                delta = back * slope
        return _row(parts[::-1])

    def intercepts(self):
        """Mask of the intercepts."""
        mask, at = np.zeros(self.n_params, dtype=bool), 0
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            mask[at : at + o] = True
            at += (i + 1) * o
        return mask


def _product(a, W):
    """``a_t W_t`` for every task; one large product where all tasks share W."""
    if len(W) == 1 and len(a) > 1:
        return (a.reshape(-1, a.shape[-1]) @ W[0]).reshape(*a.shape[:-1], W.shape[-1])
    return a @ W


def _row(parts):
    n_tasks = len(parts[0])
    return np.concatenate([part.reshape(n_tasks, -1) for part in parts], axis=1)


def _mean(values, weight):
    return np.einsum("tn,tn->t", values, weight)
