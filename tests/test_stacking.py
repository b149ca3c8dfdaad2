"""The stack: weights that depend on the number of rows, losses and offsets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_meta.kernels.losses import Multinomial, Poisson, Squared
from sklearn_meta.kernels.stacking import KAPPA, RawLoss, learn_stack

SQUARED = RawLoss("identity")


def episodes(truth, n_episodes=400, noise=0.0, seed=0):
    """Episodes whose targets are the mixture ``truth`` of the candidates."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n_episodes):
        F = rng.standard_normal((len(truth), 10, 1))
        Y = np.tensordot(truth, F, axes=1) + noise * rng.standard_normal((10, 1))
        out.append((F, Y, np.full(10, 0.1), 1.0))
    return out


def test_the_best_candidate_is_found_for_every_number_of_rows():
    truth = {0: [1.0, 0.0, 0.0], 5: [0.0, 0.0, 1.0]}
    own = {n: episodes(v, noise=0.5) for n, v in truth.items()}
    stack = learn_stack(own, SQUARED, np.ones(3) / 3)
    for n, v in truth.items():
        assert_allclose(stack.weights(n), v, atol=0.03)
    assert_allclose(stack.weights(100), stack.weights(5))
    middle = stack.weights(1)
    assert_allclose(middle.sum(), 1)
    assert stack.weights(0)[0] > middle[0] > stack.weights(5)[0]


def test_few_episodes_say_little():
    start = np.array([1.0, 0.0, 0.0])
    assert_allclose(learn_stack({1: episodes([0.5, 0.5, 0.0], 3)}, SQUARED, start).v, [start])


def test_episodes_that_do_not_count():
    own, odd = episodes([1.0, 0.0, 0.0], 40), episodes([0.0, 0.0, 1.0], 40)
    odd = [(*episode[:-1], 1e-6) for episode in odd]
    stack = learn_stack({1: own + odd}, SQUARED, np.ones(3) / 3)
    assert_allclose(stack.weights(1), [1.0, 0.0, 0.0], atol=1e-3)


def test_candidates_of_classes():
    rng = np.random.default_rng(0)
    out = []
    for _ in range(60):
        F = rng.standard_normal((3, 10, 3))
        Y = np.eye(3)[(4 * F[1] + rng.gumbel(size=F[1].shape)).argmax(axis=1)]
        out.append((4 * F, Y, np.full(10, 0.1), 1.0))
    stack = learn_stack({2: out}, RawLoss("softmax"), np.ones(3) / 3)
    assert_allclose(stack.weights(2), [0.0, 1.0, 0.0], atol=0.05)


LINKS = {"identity": Squared(), "softmax": Multinomial(), "log": Poisson()}


def raw_and_targets(link, seed=0):
    rng = np.random.default_rng(seed)
    Y = np.eye(3)[rng.integers(0, 3, 8)] if link == "softmax" else rng.poisson(2.0, (8, 1)) * 1.0
    return rng.standard_normal((2, *Y.shape)), Y, rng.uniform(0.5, 2, 8)


@pytest.mark.parametrize("link", LINKS)
def test_losses_are_those_of_the_learners(link):
    f, Y, _ = raw_and_targets(link)
    factor = 2 if link == "identity" else 1  # users know the squared error, not half of it
    assert_allclose(RawLoss(link)(f, Y), factor * LINKS[link].value(f, Y))


@pytest.mark.parametrize("link", LINKS)
def test_an_offset_is_shrunken_and_lowers_the_loss(link):
    f, Y, weight = raw_and_targets(link)
    loss = RawLoss(link)
    b = loss.offset(f, Y, weight)
    assert (loss(f + b[:, None], Y) @ weight < loss(f, Y) @ weight).all()
    many = loss.offset(f, Y, 1e6 * weight)
    assert (np.abs(b) < np.abs(many)).all()
    if link != "softmax":  # where one output moves by b, whatever the others do
        assert_allclose(weight @ loss.mean(f + many[:, None])[0], weight @ Y, rtol=1e-4)
    assert_allclose(loss.offset(f[:, :0], Y[:0], weight[:0]), 0)


def test_the_offset_of_squared_loss_is_that_of_a_ridge():
    f, Y, weight = raw_and_targets("identity")
    expected = weight @ (Y - f[0]) / (weight.sum() + KAPPA)
    assert_allclose(SQUARED.offset(f, Y, weight)[0], expected)
