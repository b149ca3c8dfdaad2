"""The stack: weights that depend on the number of rows, and offsets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from sklearn_meta.kernels.losses import Multinomial, Poisson, Squared
from sklearn_meta.kernels.stacking import (
    Episode,
    RawLoss,
    Stack,
    learn_stack,
    offsets,
    tilted,
)


def episodes(truth, n_episodes=400, noise=0.0, seed=0):
    """Episodes whose targets are the mixture ``truth`` of the candidates."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n_episodes):
        F = rng.standard_normal((len(truth), 10, 1))
        Y = np.tensordot(truth, F, axes=1) + noise * rng.standard_normal((10, 1))
        out.append(Episode(F, Y, np.full(10, 0.1), np.zeros(len(truth))))
    return out


def test_the_best_mixture_is_found_for_every_number_of_rows():
    truth = {0: [0.7, 0.3, 0.0], 5: [0.0, 0.2, 0.8]}
    stack = learn_stack(
        {n: episodes(v, noise=0.5) for n, v in truth.items()}, RawLoss(Squared()), np.ones(3) / 3
    )
    for n, v in truth.items():
        assert_allclose(stack.prior(n)[0], v, atol=0.03)
    assert_allclose(stack.prior(100)[0], stack.prior(5)[0])
    middle = stack.prior(1)[0]
    assert_allclose(middle.sum(), 1)
    assert stack.prior(0)[0][0] > middle[0] > stack.prior(5)[0][0]


def test_few_episodes_say_little():
    few = episodes([0.5, 0.5, 0.0], 5, noise=1.0)
    many = episodes([0.5, 0.5, 0.0], 500, noise=1.0)
    loss, start = RawLoss(Squared()), np.ones(3) / 3
    v = [learn_stack({1: own}, loss, start).prior(1)[0] for own in (few, many)]
    assert v[0].max() > v[1].max()  # one candidate alone
    assert_allclose(v[1], [0.5, 0.5, 0.0], atol=0.1)
    nothing = learn_stack({1: few[:2]}, loss, start)
    assert_allclose(nothing.prior(3)[0], start)
    assert nothing.prior(3)[1] == 1


def test_mixtures_of_classes():
    rng = np.random.default_rng(0)
    out = []
    for _ in range(60):
        F = rng.standard_normal((2, 10, 3))
        raw = 0.5 * F[0] + 0.5 * F[1]
        Y = np.eye(3)[(4 * raw + rng.gumbel(size=raw.shape)).argmax(axis=1)]
        out.append(Episode(4 * F, Y, np.full(10, 0.1), None))
    stack = learn_stack({2: out}, RawLoss(Multinomial()), np.ones(2) / 2)
    assert_allclose(stack.prior(2)[0], [0.5, 0.5], atol=0.1)
    assert stack.prior(2)[1] == 0


def test_the_support_has_its_say_where_it_is_of_use():
    """Each episode has a best candidate, and the losses on its support say which."""
    rng, useful, useless = np.random.default_rng(0), [], []
    for _ in range(100):
        right = rng.integers(2)
        F = rng.standard_normal((2, 10, 1))
        loss = np.where(np.arange(2) == right, 0.0, 10.0)
        useful.append(Episode(F, F[right], np.full(10, 0.1), loss))
        useless.append(Episode(F, F.mean(axis=0), np.full(10, 0.1), loss))
    loss = RawLoss(Squared())
    stack = learn_stack({2: useful}, loss, np.ones(2) / 2)
    assert stack.weights(2, np.array([0.0, 10.0]))[0] > 0.99
    assert learn_stack({2: useless}, loss, np.ones(2) / 2).prior(2)[1] == 0


def test_far_beyond_the_episodes_the_rows_speak():
    stack = Stack(np.array([0, 5]), np.array([[0.5, 0.5], [0.9, 0.1]]), np.zeros(2))
    assert_allclose(stack.weights(8, np.array([50.0, 0.0])), [0.9, 0.1])
    assert stack.weights(11, np.array([50.0, 0.0]))[1] > 0.99


def test_a_tilt_is_by_the_likelihood():
    v, loss = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.5, 0.1])
    expected = v * np.exp(-0.3 * loss)
    assert_allclose(tilted(v, 0.3, loss), expected / expected.sum())


@pytest.mark.parametrize("loss", [Squared(), Multinomial(), Poisson()], ids=repr)
def test_offsets_minimise_the_penalised_loss(loss):
    rng = np.random.default_rng(0)
    n_outputs = 3 if isinstance(loss, Multinomial) else 1
    f = rng.standard_normal((8, n_outputs))
    Y = np.eye(3)[rng.integers(0, 3, 8)] if n_outputs == 3 else rng.poisson(2.0, (8, 1)) * 1.0
    own, weight = RawLoss(loss), rng.uniform(0.5, 2, 8)
    b = offsets(f, Y, weight, np.array([2.0, np.inf]), own)

    def objective(b):
        return weight @ loss.value(f + b, Y) + 0.5 * 2.0 * own.curvature * b @ b

    assert_allclose(b[0], minimize(objective, np.zeros(n_outputs), tol=1e-12).x, atol=1e-3)
    assert_allclose(b[1], 0, atol=1e-6)
