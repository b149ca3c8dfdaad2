"""Gradient and Hessian-vector product of networks against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from losses import LOSSES
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network import MLPRegressor

from sklearn_meta.kernels.losses import Hinge, Logistic, ModifiedHuber, Multinomial, Squared
from sklearn_meta.kernels.network import ACTIVATIONS, Batch, Network

HIDDEN = [(), (3,), (3, 2), (3, 2, 3)]
CASES = [
    (loss, hidden, activation)
    for loss in LOSSES
    for hidden in HIDDEN
    for activation in (ACTIVATIONS if hidden else ["identity"])
]
each_case = pytest.mark.parametrize("loss, hidden, activation", CASES, ids=repr)


def problem(loss, hidden=(), activation="tanh", intercept=True, n_tasks=3, seed=0):
    """A network, parameters, and weighted rows of tasks of unequal sizes, with an offset."""
    rng = np.random.default_rng(seed)
    k = 3 if isinstance(loss, Multinomial) else 2
    network = Network((2, *hidden, k), loss, activation, intercept)
    theta = 0.5 * rng.standard_normal((n_tasks, network.n_params))
    X = rng.standard_normal((n_tasks, 6, 2))
    if isinstance(loss, Multinomial):
        y = np.eye(k)[rng.integers(k, size=(n_tasks, 6))]
    elif isinstance(loss, (Logistic, Hinge, ModifiedHuber)):
        y = np.where(rng.random((n_tasks, 6, k)) < 0.5, loss.low, loss.high)
    else:
        y = rng.gamma(2.0, size=(n_tasks, 6, k))
    weight = rng.random((n_tasks, 6)) * (np.arange(6) < [[6], [4], [1]][:n_tasks])
    weight /= weight.sum(axis=1, keepdims=True)
    return network, theta, Batch(X, y, weight, 0.1 * rng.standard_normal(y.shape))


def assert_same(a, b):
    """Equal to 1e-6 of the norm, task by task."""
    assert_allclose(a, b, rtol=0, atol=1e-6 * max(1e-2, np.linalg.norm(b, axis=1).max()))


@each_case
def test_gradient(loss, hidden, activation):
    network, theta, batch = problem(loss, hidden, activation)
    value, gradient = network.gradient(theta, batch)
    assert_array_equal(value, network.value(theta, batch))
    steps = 1e-6 * np.eye(network.n_params)
    difference = [
        (network.value(theta + e, batch) - network.value(theta - e, batch)) / 2e-6 for e in steps
    ]
    assert_same(gradient, np.stack(difference, axis=1))


@each_case
def test_hessian_product(loss, hidden, activation):
    network, theta, batch = problem(loss, hidden, activation)
    v = np.random.default_rng(1).standard_normal(theta.shape)
    up, down = (network.gradient(theta + s * 1e-6 * v, batch)[1] for s in (1, -1))
    assert_same(network.on(batch).at(theta).hessian_product(v), (up - down) / 2e-6)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("loss", [Squared(), Multinomial()], ids=repr)
class TestInvariance:
    def outcomes(self, network, theta, batch):
        v = np.random.default_rng(1).standard_normal((len(batch.X), network.n_params))
        value, gradient = network.gradient(theta, batch)
        return value, gradient, network.on(batch).at(theta).hessian_product(v)

    def test_sums_over_tasks(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        v = np.random.default_rng(1).standard_normal(theta.shape)
        for start in (theta, theta[:1]):
            point = network.on(batch).at(start)
            assert_allclose(point.gradient_sum(), point.gradient().sum(axis=0), rtol=1e-12)
            expected = point.hessian_product(v).sum(axis=0)
            assert_allclose(point.hessian_product_sum(v), expected, rtol=1e-11, atol=1e-14)

    def test_put_is_another_start(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        tasks, other = np.array([0, 2]), theta[::-1].copy()
        expected = network.on(batch).at(np.where([[True], [False], [True]], other, theta))
        point = network.on(batch).at(theta.copy())
        assert (point.value[tasks] != expected.value[tasks]).all()
        point.put(tasks, network.on(batch.rows(tasks)).at(other[tasks]))
        assert_array_equal(point.theta, expected.theta)
        for a, b in [
            (point.value, expected.value),
            (point.gradient(), expected.gradient()),
            (point.hessian_product(theta), expected.hessian_product(theta)),
        ]:
            assert_allclose(a, b, rtol=1e-12, atol=1e-14)

    def test_padding_has_no_influence(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        padding = batch.weight == 0
        other = replace(batch, X=np.where(padding[..., None], 9.0, batch.X))
        shorter = Batch(*(part[:, :4] for part in vars(batch).values()))
        expected = self.outcomes(network, theta, batch)
        for a, b in zip(expected, self.outcomes(network, theta, other), strict=True):
            assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        for a, b in zip(expected, self.outcomes(network, theta, shorter), strict=True):
            assert_allclose(a[1:], b[1:], rtol=1e-12, atol=1e-14)

    def test_shared_theta(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        repeated = np.repeat(theta[:1], len(batch.X), axis=0)
        for a, b in zip(
            self.outcomes(network, theta[:1], batch),
            self.outcomes(network, repeated, batch),
            strict=True,
        ):
            assert_allclose(a, b, rtol=1e-12, atol=1e-14)

    def test_one_task_at_a_time(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        for t in range(len(theta)):
            alone = Batch(*(part[[t]] for part in vars(batch).values()))
            for a, b in zip(
                network.gradient(theta[[t]], alone), network.gradient(theta, batch), strict=True
            ):
                assert_allclose(a[0], b[t], rtol=1e-12, atol=1e-14)

    def test_weight_is_repetition(self, loss, hidden):
        network, theta, batch = problem(loss, hidden)
        twice = Batch(*(np.repeat(part, 2, axis=1) for part in vars(batch).values()))
        twice = replace(twice, weight=twice.weight / 2)
        for a, b in zip(
            self.outcomes(network, theta, batch), self.outcomes(network, theta, twice), strict=True
        ):
            assert_allclose(a, b, rtol=1e-12, atol=1e-14)

    def test_without_intercepts_they_stay(self, loss, hidden):
        network, theta, batch = problem(loss, hidden, intercept=False)
        mask = network.intercepts()
        _, gradient, product = self.outcomes(network, theta, batch)
        assert not gradient[:, mask].any() and not product[:, mask].any()
        assert mask.sum() == sum(hidden) + network.sizes[-1]
        v = np.where(mask, 0, np.random.default_rng(1).standard_normal(theta.shape))
        up, down = (network.gradient(theta + s * 1e-6 * v, batch)[1] for s in (1, -1))
        assert_same(product, (up - down) / 2e-6)


def test_offset_shifts_predictions():
    network, theta, batch = problem(Squared(), (3,))
    plain = replace(batch, offset=None)
    assert_allclose(network.predict(theta, batch), network.predict(theta, plain) + batch.offset)


def test_parameters_are_rows_of_intercepts_and_weights():
    network = Network((2, 3, 1), Squared(), "tanh")
    assert network.n_params == 13
    (b1, W1), (b2, W2) = network.layers(np.arange(13.0)[None])
    assert_array_equal(b1[0, 0], [0, 1, 2])
    assert_array_equal(W1[0], np.arange(3.0, 9).reshape(2, 3))
    assert_array_equal(b2.ravel(), [9])
    assert_array_equal(W2.ravel(), [10, 11, 12])
    assert_array_equal(np.flatnonzero(network.last_layer()), [9, 10, 11, 12])
    assert_array_equal(np.flatnonzero(network.intercepts()), [0, 1, 2, 9])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predictions_are_those_of_scikit_learn(activation):
    X = np.random.default_rng(0).standard_normal((20, 2))
    theirs = MLPRegressor(hidden_layer_sizes=(4, 3), activation=activation, random_state=0)
    theirs.partial_fit(X, X[:, 0])
    pairs = zip(theirs.intercepts_, theirs.coefs_, strict=True)
    theta = np.concatenate([np.ravel(part) for pair in pairs for part in pair])[None]
    network = Network((2, 4, 3, 1), Squared(), activation)
    ours = network.predict(theta, Batch(X[None], None, None))
    assert_allclose(ours[0, :, 0], theirs.predict(X))


def test_float32_stays():
    network, theta, batch = problem(Logistic(), (3,))
    theta, batch = theta.astype("f"), Batch(*(part.astype("f") for part in vars(batch).values()))
    value, gradient = network.gradient(theta, batch)
    product = network.on(batch).at(theta).hessian_product(theta)
    assert value.dtype == gradient.dtype == product.dtype == np.float32
