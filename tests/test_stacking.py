"""The stack: weights that depend on the number of rows, and offsets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from sklearn_meta.kernels.losses import Multinomial, Poisson, Squared
from sklearn_meta.kernels.stacking import Episode, RawLoss, learn_stack, offsets


def episodes(truth, n_episodes=400, noise=0.0, seed=0):
    """Episodes whose targets are the mixture ``truth`` of the candidates."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n_episodes):
        F = rng.standard_normal((len(truth), 10, 1))
        Y = np.tensordot(truth, F, axes=1) + noise * rng.standard_normal((10, 1))
        out.append(Episode(F, Y, np.full(10, 0.1)))
    return out


def test_the_best_mixture_is_found_for_every_number_of_rows():
    truth = {0: [0.7, 0.3, 0.0], 5: [0.0, 0.2, 0.8]}
    stack = learn_stack(
        {n: episodes(v, noise=0.5) for n, v in truth.items()}, RawLoss(Squared()), np.ones(3) / 3
    )
    for n, v in truth.items():
        assert_allclose(stack.weights(n), v, atol=0.03)
    assert_allclose(stack.weights(100), stack.weights(5))
    middle = stack.weights(1)
    assert_allclose(middle.sum(), 1)
    assert stack.weights(0)[0] > middle[0] > stack.weights(5)[0]


def test_few_episodes_say_little():
    few = episodes([0.5, 0.5, 0.0], 5, noise=1.0)
    many = episodes([0.5, 0.5, 0.0], 500, noise=1.0)
    loss, start = RawLoss(Squared()), np.ones(3) / 3
    v = [learn_stack({1: own}, loss, start).weights(1) for own in (few, many)]
    assert v[0].max() > v[1].max()  # one candidate alone
    assert_allclose(v[1], [0.5, 0.5, 0.0], atol=0.1)
    nothing = learn_stack({1: few[:2]}, loss, start)
    assert_allclose(nothing.weights(3), start)


def test_mixtures_of_classes():
    rng = np.random.default_rng(0)
    out = []
    for _ in range(60):
        F = rng.standard_normal((2, 10, 3))
        raw = 0.5 * F[0] + 0.5 * F[1]
        Y = np.eye(3)[(4 * raw + rng.gumbel(size=raw.shape)).argmax(axis=1)]
        out.append(Episode(4 * F, Y, np.full(10, 0.1)))
    stack = learn_stack({2: out}, RawLoss(Multinomial()), np.ones(2) / 2)
    assert_allclose(stack.weights(2), [0.5, 0.5], atol=0.1)


@pytest.mark.parametrize("loss", [Squared(), Multinomial(), Poisson()], ids=repr)
def test_offsets_minimise_the_penalised_loss(loss):
    rng = np.random.default_rng(0)
    n_outputs = 3 if isinstance(loss, Multinomial) else 1
    f = rng.standard_normal((8, n_outputs))
    Y = np.eye(3)[rng.integers(0, 3, 8)] if n_outputs == 3 else rng.poisson(2.0, (8, 1)) * 1.0
    own, weight = RawLoss(loss), rng.uniform(0.5, 2, 8)
    b = offsets(np.stack([f, f + 1]), Y, weight, 2.0, own)

    for level in (0, 1):

        def objective(b, level=level):
            return weight @ loss.value(f + level + b, Y) + 0.5 * 2.0 * own.curvature * b @ b

        expected = minimize(objective, np.zeros(n_outputs), tol=1e-12).x
        assert_allclose(b[level], expected, atol=1e-3)
