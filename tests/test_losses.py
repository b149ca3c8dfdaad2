"""Every loss against finite differences, and against scikit-learn where it has the same one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, huber, softmax
from sklearn import metrics
from sklearn.linear_model import _sgd_fast

from sklearn_meta.kernels.losses import (
    EpsilonInsensitive,
    Gamma,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Multinomial,
    Poisson,
    Squared,
    Tweedie,
)

LOSSES = [
    Squared(),
    Huber(),
    Huber(0.3),
    EpsilonInsensitive(),
    EpsilonInsensitive(0.3, squared=True),
    Poisson(),
    Gamma(),
    Tweedie(1.5),
    Tweedie(3.0),
    Tweedie(-1.0),
    Logistic(),
    Multinomial(),
    Hinge(),
    Hinge(0.0),
    Hinge(squared=True),
    ModifiedHuber(),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def data(loss, n_outputs=3, seed=0):
    """Raw predictions and targets of shape (4, 5, n_outputs), on no kink."""
    rng = np.random.default_rng(seed)
    r = 1.5 * rng.standard_normal((4, 5, n_outputs))
    if isinstance(loss, Multinomial):
        return r, np.eye(n_outputs)[rng.integers(n_outputs, size=(4, 5))]
    if isinstance(loss, (Logistic, Hinge, ModifiedHuber)):
        return r, np.where(rng.random(r.shape) < 0.5, loss.low, loss.high)
    return r, rng.gamma(2.0, size=r.shape)


@pytest.mark.parametrize(
    ("loss", "power"),
    [(Squared(), 0), (Poisson(), 1), (Gamma(), 2)] + [(Tweedie(p), p) for p in (1.5, 3.0, -1.0)],
    ids=repr,
)
def test_allowed_targets_are_those_of_scikit_learn(loss, power):
    for y in (-1.0, 0.0, 1.0):
        try:
            metrics.mean_tweedie_deviance([y], [1.0], power=power)
        except ValueError:
            assert not loss.allows(np.array([y])).any()
        else:
            assert loss.allows(np.array([y])).all()


@each_loss
def test_gradient_is_that_of_value(loss):
    r, y = data(loss)
    gradient = loss.gradient(r, y)
    for j in range(r.shape[-1]):
        step = 1e-6 * np.eye(r.shape[-1])[j]
        difference = (loss.value(r + step, y) - loss.value(r - step, y)) / 2e-6
        assert_allclose(gradient[..., j], difference, rtol=1e-6, atol=1e-8)


@each_loss
def test_hessian_product_is_that_of_gradient(loss):
    r, y = data(loss)
    u = np.random.default_rng(1).standard_normal(r.shape)
    difference = (loss.gradient(r + 1e-6 * u, y) - loss.gradient(r - 1e-6 * u, y)) / 2e-6
    assert_allclose(loss.hessian_product(r, y, u), difference, rtol=1e-6, atol=1e-8)


@each_loss
def test_outputs_add_up(loss):
    r, y = data(loss)
    if not isinstance(loss, Multinomial):
        single = [loss.value(r[..., [j]], y[..., [j]]) for j in range(r.shape[-1])]
        assert_allclose(loss.value(r, y), np.sum(single, axis=0))
    else:  # the same prediction, one number added to all outputs
        assert_allclose(loss.value(r + 7.0, y), loss.value(r, y))


@each_loss
def test_float32_stays(loss):
    r, y = (part.astype(np.float32) for part in data(loss))
    for result in (loss.value(r, y), loss.gradient(r, y), loss.hessian_product(r, y, r)):
        assert result.dtype == np.float32


@pytest.mark.parametrize(
    "loss, metric",
    [
        (Poisson(), metrics.mean_poisson_deviance),
        (Gamma(), metrics.mean_gamma_deviance),
        (Tweedie(1.5), lambda y, p: metrics.mean_tweedie_deviance(y, p, power=1.5)),
        (Tweedie(3.0), lambda y, p: metrics.mean_tweedie_deviance(y, p, power=3.0)),
    ],
    ids=["poisson", "gamma", "tweedie-1.5", "tweedie-3"],
)
def test_deviance(loss, metric):
    r, y = (part.reshape(-1, 1) for part in data(loss))
    above_best = loss.value(r, y).mean() - loss.value(np.log(y), y).mean()
    assert_allclose(above_best, metric(y, np.exp(r)) / 2)


def test_squared_and_huber():
    r, y = (part.reshape(-1, 1) for part in data(Squared()))
    assert_allclose(Squared().value(r, y).mean(), metrics.mean_squared_error(y, r) / 2)
    assert_allclose(Huber(0.7).value(r, y), huber(0.7, r - y)[:, 0])


def test_log_loss():
    r, y = (part.reshape(-1, 1) for part in data(Logistic()))
    assert_allclose(Logistic().value(r, y).mean(), metrics.log_loss(y[:, 0], expit(r[:, 0])))
    r, y = (part.reshape(-1, 3) for part in data(Multinomial()))
    assert_allclose(
        Multinomial().value(r, y).mean(), metrics.log_loss(y.argmax(axis=1), softmax(r, axis=1))
    )


@pytest.mark.parametrize(
    "loss, theirs",
    [
        (EpsilonInsensitive(0.2), _sgd_fast.EpsilonInsensitive(0.2)),
        (EpsilonInsensitive(0.2, True), _sgd_fast.SquaredEpsilonInsensitive(0.2)),
        (Hinge(), _sgd_fast.Hinge(1.0)),
        (Hinge(0.0), _sgd_fast.Hinge(0.0)),
        (Hinge(squared=True), _sgd_fast.SquaredHinge(1.0)),
        (ModifiedHuber(), _sgd_fast.ModifiedHuber()),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_losses_of_sgd(loss, theirs):
    r, y = (part.reshape(-1, 1) for part in data(loss))
    pairs = list(zip(r[:, 0], y[:, 0], strict=True))
    assert_allclose(loss.value(r, y), [theirs.py_loss(y=b, p=a) for a, b in pairs])
    assert_allclose(loss.gradient(r, y)[:, 0], [theirs.py_dloss(y=b, p=a) for a, b in pairs])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", [Logistic(), Multinomial(), Squared(), Hinge()], ids=repr)
def test_far_predictions(loss):
    r = np.array([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4]])
    y = np.array([[loss.high, loss.low, loss.low], [loss.low, loss.low, loss.high]])
    for result in (loss.value(r, y), loss.gradient(r, y), loss.hessian_product(r, y, r)):
        assert np.isfinite(result).all()
