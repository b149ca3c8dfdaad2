"""Optimisers on trajectories that are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_meta.kernels.optimizers import OPTIMIZERS, adam, sgd

A = np.array([1.0, 4.0])  # the quadratic x'diag(A)x / 2


def walk(optimizer, x, n_steps, rate):
    state, path = optimizer.init(x), [x]
    for _ in range(n_steps):
        x, state = optimizer.update(x, A.astype(x.dtype) * x, state, rate)
        path.append(x)
    return np.array(path)


def test_sgd_contracts_geometrically():
    path = walk(sgd(), np.array([1.0, -2.0]), 5, 0.1)
    assert_allclose(path, [1.0, -2.0] * (1 - 0.1 * A) ** np.arange(6)[:, None])


def test_momentum_by_hand():
    path = walk(sgd(momentum=0.5), np.array([1.0, 1.0]), 2, 0.1)
    # d1 = -0.1 A, d2 = 0.5 d1 - 0.1 A (1 + d1)
    assert_allclose(path[1:, 0], [0.9, 0.9 - 0.05 - 0.09])
    assert_allclose(path[1:, 1], [0.6, 0.6 - 0.2 - 0.24])


def test_adam_by_hand():
    path = walk(adam(), np.array([1.0, -2.0]), 2, 0.1)
    assert_allclose(path[1], [0.9, -1.9])  # the first step is rate * sign(g)
    g1, g2 = A * path[0], A * path[1]
    m_hat = (0.9 * 0.1 * g1 + 0.1 * g2) / (1 - 0.9**2)
    v_hat = (0.999 * 0.001 * g1**2 + 0.001 * g2**2) / (1 - 0.999**2)
    assert_allclose(path[2], path[1] - 0.1 * m_hat / np.sqrt(v_hat), rtol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_minimum_is_found(name):
    assert_allclose(walk(OPTIMIZERS[name](), np.array([1.0, -2.0]), 2000, 0.05)[-1], 0, atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pure(name):
    optimizer, x, g = OPTIMIZERS[name](), np.array([1.0, 2.0]), np.array([3.0, -1.0])
    state = optimizer.init(x)
    first, _ = optimizer.update(x, g, state, 0.1)
    again, _ = optimizer.update(x, g, state, 0.1)
    assert_array_equal(first, again)
    assert_array_equal(x, [1.0, 2.0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays(name):
    assert walk(OPTIMIZERS[name](), np.ones(2, dtype="f"), 3, 0.1).dtype == np.float32
