r"""Loss, gradient and Hessian-vector product of networks, for a batch of tasks at a time.

A network with layers l = 1..L maps ``a_0 = x`` to ``z_l = a_{l-1} W_l + b_l``,
``a_l = phi(z_l)`` (l < L) and the raw prediction ``r = z_L`` (plus a given offset). A linear model
is the case L = 1. Parameters of task t are one row ``theta_t = [b_1, W_1, ..., b_L, W_L]``, so that
``[b_l; W_l]`` is one matrix, and with a column of ones before every activation, ``[1, a_l]``, an
intercept costs nothing: ``z_l = [1, a_{l-1}] [b_l; W_l]``.

Gradient (backpropagation), with ``delta_L = w * loss'(r, y)``:

    grad [b_l; W_l] = [1, a_{l-1}]' delta_l,    delta_{l-1} = (delta_l W_l') * phi'(z_{l-1})

Hessian-vector product (Pearlmutter 1994), R{.} the derivative in direction ``v = [.., c_l, V_l]``:

    R z_l = [1, a_{l-1}] [c_l; V_l] + (R a_{l-1}) W_l,     R a_l = phi'(z_l) * R z_l
    R delta_L = w * loss''(r, y) R z_L
    R grad [b_l; W_l] = [1, a_{l-1}]' (R delta_l) + [0, R a_{l-1}]' delta_l
    R delta_{l-1} = (R delta_l W_l' + delta_l V_l') * phi'(z_{l-1})
                    + (delta_l W_l') * phi''(z_{l-1}) * R z_{l-1}

All of them at one theta share ``a_l``, ``phi'(z_l)`` and ``delta_l``: a :class:`Point` computes
each once, when it is first needed. ``theta`` of shape (1, n_params) is shared by all tasks: their
rows then go through each layer as one large matrix product. So do sums over tasks of gradients and
of Hessian-vector products, in which all rows count as those of one task.

References
----------
Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural Computation 6.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

__all__ = ["ACTIVATIONS", "Batch", "Network", "Objective", "Point", "mean_weight"]


@dataclass(frozen=True)
class Batch:
    """Rows of a batch of tasks."""

    X: np.ndarray  # (n_tasks, n_rows, n_features)
    y: np.ndarray  # (n_tasks, n_rows, n_outputs)
    # (n_tasks, n_rows): 0 for padding; of sum 1 in every task, so that the loss is a mean, or 0 in
    # one without rows
    weight: np.ndarray
    offset: np.ndarray = None  # (n_tasks, n_rows, n_outputs): added to the raw predictions

    def rows(self, tasks):
        """The rows of some tasks."""
        offset = None if self.offset is None else self.offset[tasks]
        return Batch(self.X[tasks], self.y[tasks], self.weight[tasks], offset)

    def without_padding(self):
        """The same without columns that are padding in every task, but for one."""
        used = np.flatnonzero(self.weight.any(axis=0))
        lo, hi = (used[0], used[-1] + 1) if len(used) else (0, min(1, self.weight.shape[1]))
        if hi - lo == self.weight.shape[1]:
            return self
        arrays = (self.X, self.y, self.weight, self.offset)
        return Batch(*(a if a is None else np.ascontiguousarray(a[:, lo:hi]) for a in arrays))


def mean_weight(weight):
    """Row weights of shape (n_tasks, n_rows) that make sums means; 0 in a task without rows."""
    total = weight.sum(axis=1, keepdims=True)
    return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)


def _relu(z, out):
    return np.maximum(z, 0, out=out)


# phi into an array, phi' and phi'' as functions of a = phi(z); None stands for 0
ACTIVATIONS = {
    "identity": (np.positive, np.ones_like, None),
    "relu": (_relu, lambda a: (a > 0).astype(a.dtype), None),
    "tanh": (np.tanh, lambda a: 1 - a * a, lambda a: -2 * a * (1 - a * a)),
    "logistic": (expit, lambda a: a * (1 - a), lambda a: a * (1 - a) * (1 - 2 * a)),
}


@dataclass(frozen=True)
class Network:
    """A network as a function of its parameters."""

    sizes: tuple  # widths of the input, the hidden layers and the output
    loss: object  # Loss
    activation: str = "identity"  # a key of ACTIVATIONS
    intercept: bool = True  # without, the entries of intercepts stay where they are

    @property
    def linear(self):
        """Whether there is no hidden layer."""
        return len(self.sizes) == 2

    @property
    def n_params(self):
        return sum((i + 1) * o for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def layers(self, theta):
        """Views ``(b, W)`` of every layer, shapes (n_tasks, 1, out) and (n_tasks, in, out)."""
        return [(bW[:, :1], bW[:, 1:]) for bW in self.matrices(theta)]

    def matrices(self, theta):
        """Views ``[b; W]`` of every layer, shapes (n_tasks, 1 + in, out)."""
        return [theta[:, at].reshape(len(theta), *shape) for at, shape in self._places]

    @cached_property
    def _places(self):
        """Where the matrix of every layer is, and its shape."""
        at, places = 0, []
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            places.append((slice(at, at + (1 + i) * o), (1 + i, o)))
            at += (1 + i) * o
        return places

    def last_layer(self):
        """Mask of the parameters of the last layer."""
        mask = np.zeros(self.n_params, dtype=bool)
        mask[self.n_params - (self.sizes[-2] + 1) * self.sizes[-1] :] = True
        return mask

    def intercepts(self):
        """Mask of the intercepts."""
        mask = np.zeros((1, self.n_params), dtype=bool)
        for b, _ in self.layers(mask):
            b[:] = True
        return mask[0]

    def on(self, batch):
        """The mean loss of every task of a batch, as a function of theta: an Objective."""
        return Objective(self, batch)

    def predict(self, theta, batch):
        """Raw predictions, shape (n_tasks, n_rows, n_outputs)."""
        return self.on(batch).at(theta).r

    def value(self, theta, batch):
        """Mean loss of every task, shape (n_tasks,)."""
        return self.on(batch).at(theta).value

    def gradient(self, theta, batch):
        """Mean loss (n_tasks,) and its gradient (n_tasks, n_params)."""
        point = self.on(batch).at(theta)
        return point.value, point.gradient()


class Objective:
    """The mean loss of every task of a batch as a function of the parameters."""

    def __init__(self, network, batch):
        self.network, self.batch = network, batch
        self.weight = None if batch.weight is None else batch.weight[..., None]

    @cached_property
    def inputs(self):
        """Rows with a one in front."""
        X = self.batch.X
        inputs = np.empty((*X.shape[:2], 1 + X.shape[2]), dtype=X.dtype)
        inputs[..., 0] = 1
        inputs[..., 1:] = X
        return inputs

    def rows(self, tasks):
        """The mean loss of some tasks."""
        part = Objective(self.network, self.batch.rows(tasks))
        part.inputs = self.inputs[tasks]
        return part

    def at(self, theta):
        """Evaluate at theta of shape (n_tasks, n_params), or (1, n_params) for all tasks."""
        return Point(self, theta)


class Point:
    """A network at parameters theta, (n_tasks, n_params) or (1, n_params), on the rows of tasks.

    It has the raw predictions r, (n_tasks, n_rows, n_outputs), and the mean losses ``value``.
    Arrays of hidden layers have the column of the ones in front, whatever it holds: work on whole
    arrays is faster than on parts of their rows, which only matrix products take as they are.
    """

    def __init__(self, objective, theta):
        self.theta, self.network = theta, objective.network
        self._batch, self._weight = objective.batch, objective.weight
        self._W = self.network.matrices(theta)
        self._a = [objective.inputs]  # [1, a_0] to [1, a_{L-1}]
        phi = ACTIVATIONS[self.network.activation][0]
        for W in self._W[:-1]:
            a = _product_behind(self._a[-1], W, 1)
            phi(a, out=a)
            a[..., 0] = 1
            self._a.append(a)
        self.r = _product(self._a[-1], self._W[-1])
        if self._batch.offset is not None:
            self.r = self.r + self._batch.offset

    def put(self, tasks, other):
        """Take the parameters of some tasks, and what follows from them, over from another point.

        Only as long as nothing but ``value`` has been asked for.
        """
        self.move(tasks, other.theta, other.r, other.value)
        for a, theirs in zip(self._a[1:], other._a[1:], strict=True):
            a[tasks] = theirs

    def move(self, tasks, theta, r, value):
        """Replace what belongs to some tasks, of a network without hidden layers."""
        self.theta[tasks], self.r[tasks], self.value[tasks] = theta, r, value

    @cached_property
    def value(self):
        return self.losses(self.r)

    def losses(self, r, tasks=slice(None)):
        """Mean losses of some tasks with the raw predictions r, shape (n_tasks,)."""
        losses = self.network.loss.value(r, self._batch.y[tasks])
        return np.einsum("tn,tn->t", losses, self._batch.weight[tasks])

    def gradient(self):
        """Gradient of the mean loss of every task, shape (n_tasks, n_params)."""
        return self._rows(self._a, self._delta)

    def gradient_sum(self):
        """Sum of the gradients over tasks, shape (n_params,)."""
        return self._rows(_as_one_task(self._a), _as_one_task(self._delta))[0]

    def hessian_product(self, v):
        """Hessian of the mean loss of every task times v, shape (n_tasks, n_params)."""
        return self._rows(*self._forward_backward(v))

    def hessian_product_sum(self, v):
        """Sum over tasks of their Hessians times their v, shape (n_params,)."""
        return self._rows(*map(_as_one_task, self._forward_backward(v)))[0]

    @cached_property
    def _slope(self):
        """``phi'(z_1)`` to ``phi'(z_{L-1})``."""
        derivative = ACTIVATIONS[self.network.activation][1]
        return [derivative(a) for a in self._a[1:]]

    def pullback_sum(self, delta):
        """Sum over tasks of the gradients of ``sum(delta * r)``, delta fixed, shape (n_params,)."""
        return self._rows(_as_one_task(self._a), _as_one_task(self._back(delta)))[0]

    @cached_property
    def _delta(self):
        """``delta_1`` to ``delta_L``."""
        return self._back(self.network.loss.gradient(self.r, self._batch.y) * self._weight)

    def _back(self, delta):
        """``delta_1`` to ``delta_L`` from the last."""
        delta = [delta]
        for W, slope in zip(self._W[:0:-1], self._slope[::-1], strict=True):
            back = _product_transposed(delta[-1], W)
            back *= slope
            delta.append(back[..., 1:])
        return delta[::-1]

    def _forward_backward(self, v):
        """Rows ``[1, a_{l-1}]`` and ``[0, R a_{l-1}]``; ``R delta_l`` and ``delta_l`` for them."""
        network = self.network
        second = ACTIVATIONS[network.activation][2]
        if not network.intercept:
            v = np.where(network.intercepts(), 0, v)
        V = network.matrices(v)
        a, Rz, Ra = [self._a[0]], [], None  # R a_0 = 0
        for l, slope in enumerate(self._slope):
            Rz.append(_product_behind(self._a[l], V[l], 0))
            if l:
                Rz[l][..., 1:] += _product(Ra, self._W[l])
            Ra = slope * Rz[l]
            a.append(np.concatenate([self._a[l + 1], Ra], axis=1))
        Rr = _product(self._a[-1], V[-1])
        if self._slope:
            Rr += _product(Ra, self._W[-1])
        Rdelta = network.loss.hessian_product(self.r, self._batch.y, Rr) * self._weight
        delta = []
        for l in range(len(V) - 1, 0, -1):
            delta.append(np.concatenate([Rdelta, self._delta[l]], axis=1))
            back = _product_transposed(Rdelta, self._W[l])
            back += _product_transposed(self._delta[l], V[l])
            back *= self._slope[l - 1]
            if second is not None:
                bend = second(self._a[l])
                bend *= Rz[l - 1]
                bend *= _product_transposed(self._delta[l], self._W[l])
                back += bend
            Rdelta = back[..., 1:]
        return a, [Rdelta, *delta[::-1]]

    def _rows(self, a, delta):
        """Parameter rows: ``[1, a_{l-1}]' delta_l`` of every layer."""
        row = np.empty((len(delta[-1]), self.network.n_params), dtype=delta[-1].dtype)
        for part, a_l, delta_l in zip(self.network.matrices(row), a, delta, strict=True):
            np.matmul(a_l.swapaxes(1, 2), delta_l, out=part)
            if not self.network.intercept:
                part[:, 0] = 0
        return row


def _product(a, W, out=None):
    """``a_t W_t`` for every task; one large product where all tasks share W."""
    if len(W) > 1 or len(a) == 1:
        return np.matmul(a, W, out=out)
    shape = *a.shape[:-1], W.shape[-1]
    out = None if out is None else out.reshape(-1, shape[-1])
    return np.matmul(a.reshape(-1, a.shape[-1]), W[0], out=out).reshape(shape)


def _product_behind(a, W, first):
    """``a_t W_t`` behind a first column that is filled."""
    product = np.empty((*a.shape[:-1], 1 + W.shape[-1]), dtype=np.result_type(a, W))
    product[..., 0] = first
    _product(a, W, product[..., 1:])
    return product


def _product_transposed(delta, W):
    """``delta_t [b_t; W_t]'`` for every task."""
    W = W.swapaxes(1, 2)
    return delta * W if delta.shape[-1] == 1 else _product(delta, W)


def _as_one_task(layers):
    """Rows of all tasks as those of one."""
    return [a.reshape(1, -1, a.shape[-1]) for a in layers]
