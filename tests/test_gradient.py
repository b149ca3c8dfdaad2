"""Meta-gradients against finite differences, and every second route to the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
from losses import LOSSES
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import label_binarize

from sklearn_meta.kernels import gradient
from sklearn_meta.kernels.gradient import (
    Penalty,
    implicit_meta_gradient,
    inner_steps,
    meta_gradient,
    proximal,
)
from sklearn_meta.kernels.losses import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Multinomial,
    Poisson,
    Squared,
)
from sklearn_meta.kernels.network import Batch, Network, Objective


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """NumPy, which test_fast.py compares numba with."""
    monkeypatch.setattr(gradient, "_numba", lambda: None)


each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)
each_network = pytest.mark.parametrize("hidden", [(), (3,)], ids=["linear", "mlp"])


def rows(rng, loss, sizes):
    """Weighted rows of tasks of unequal sizes, padded."""
    shape = (len(sizes), max(sizes))
    k = 3 if isinstance(loss, Multinomial) else 1
    if isinstance(loss, Multinomial):
        y = np.eye(k)[rng.integers(k, size=shape)]
    elif isinstance(loss, (Logistic, Hinge, ModifiedHuber)):
        y = np.where(rng.random((*shape, k)) < 0.5, loss.low, loss.high)
    else:
        y = rng.gamma(2.0, size=(*shape, k))
    weight = (0.1 + rng.random(shape)) * (np.arange(shape[1]) < np.array(sizes)[:, None])
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return Batch(rng.standard_normal((*shape, 2)), y, weight)


def problem(loss, hidden=(), seed=0):
    """Network, shared start, supports (one empty), queries, rates and penalty."""
    rng = np.random.default_rng(seed)
    network = Network((2, *hidden, 3 if isinstance(loss, Multinomial) else 1), loss, "tanh")
    theta = 0.5 * rng.standard_normal((1, network.n_params))
    support, query = rows(rng, loss, [5, 3, 1, 0]), rows(rng, loss, [4, 6, 2, 3])
    alpha = rng.uniform(0.02, 0.1, theta.shape)
    penalty = Penalty(rng.random((4, 1)), 1.0 - network.intercepts())
    return network, theta, support, query, alpha, penalty


def differences(f, x, step=1e-6):
    """Central differences of f at x, shape (n_params,)."""
    steps = step * np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(f(x + e) - f(x - e)) / (2 * step) for e in steps])


def assert_same(a, b):
    """Equal to 1e-6 of the norm."""
    assert_allclose(a, b, rtol=0, atol=1e-6 * np.linalg.norm(b))


def walked(network, theta, support, alpha, n_steps, penalty=None):
    """Inner steps as written in the equations, without a guard."""
    now = np.repeat(theta, len(support.X), axis=0)
    for _ in range(n_steps):
        g = network.gradient(now, support)[1]
        if penalty is not None:
            g = g + penalty.strength * penalty.mask * (now - theta)
        now = now - alpha * g
    return now


@pytest.mark.parametrize("n_steps", [1, 3, 5])
@each_loss
@each_network
class TestExact:
    @pytest.mark.parametrize("penalised", [True, False])
    def test_gradients_in_start_and_rates(self, hidden, loss, n_steps, penalised):
        network, theta, support, query, alpha, penalty = problem(loss, hidden)
        penalty = penalty if penalised else None

        def meta_loss(theta, alpha):
            end = walked(network, theta, support, alpha, n_steps, penalty)
            return network.value(end, query).mean()

        value, gradient, rates = meta_gradient(
            network,
            theta,
            support,
            query,
            alpha,
            n_steps,
            penalty=penalty,
            learn_rates=True,
            guard=False,
        )
        assert_allclose(value, meta_loss(theta, alpha))
        assert_same(gradient, differences(lambda x: meta_loss(x, alpha), theta))
        assert_same(rates, differences(lambda x: meta_loss(theta, x), alpha))


@each_loss
@each_network
def test_no_steps_is_the_pooled_gradient(loss, hidden):
    network, theta, support, query, alpha, penalty = problem(loss, hidden)
    for second_order in (True, False):
        value, gradient, rates = meta_gradient(
            network, theta, support, query, alpha, 0, second_order=second_order, learn_rates=True
        )
        pooled = Batch(  # all queries as the rows of one task
            query.X.reshape(1, -1, 2),
            query.y.reshape(1, -1, query.y.shape[-1]),
            query.weight.reshape(1, -1) / len(query.X),
        )
        pooled_value, pooled_gradient = network.gradient(theta, pooled)
        assert_allclose(value, pooled_value[0])
        assert_allclose(gradient, pooled_gradient[0], atol=1e-15)
        assert not rates.any()


@pytest.mark.parametrize("loss", [Hinge(), Hinge(0.0), EpsilonInsensitive()], ids=repr)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_first_order_is_exact_where_the_hessian_vanishes(loss, n_steps):
    network, theta, support, query, alpha, _ = problem(loss)
    exact, first = (
        meta_gradient(network, theta, support, query, alpha, n_steps, second_order=order)
        for order in (True, False)
    )
    assert exact[0] == first[0]
    assert_allclose(exact[1], first[1], rtol=1e-12)


def test_first_order_is_the_query_gradient_at_the_end():
    network, theta, support, query, alpha, penalty = problem(Squared(), (3,))
    end = inner_steps(network, theta, support, alpha, 3, penalty=penalty).theta[-1]
    value, gradient, _ = meta_gradient(
        network, theta, support, query, alpha, 3, penalty=penalty, second_order=False
    )
    expected = network.gradient(end, query)
    assert_allclose(value, expected[0].mean())
    assert_allclose(gradient, expected[1].mean(axis=0))


@pytest.mark.parametrize("n_steps", [1, 3])
def test_last_layer_only(n_steps):
    network, theta, support, query, alpha, _ = problem(Squared(), (3,))
    body = ~network.last_layer()
    alpha[:, body] = 0
    path = inner_steps(network, theta, support, alpha, n_steps)
    assert (path.theta[-1][:, body] == theta[:, body]).all()
    assert (path.theta[-1][:3, ~body] != theta[:, ~body]).all()

    def meta_loss(theta):
        return network.value(walked(network, theta, support, alpha, n_steps), query).mean()

    gradient = meta_gradient(network, theta, support, query, alpha, n_steps)[1]
    assert_same(gradient, differences(meta_loss, theta))
    assert gradient[body].any()  # the outer loop learns it


# -- the guard -------------------------------------------------------------------------------------


@each_loss
@each_network
@pytest.mark.parametrize("lr", [0.1, 10.0, 1e3, 1e6])
@pytest.mark.filterwarnings("error")
def test_support_loss_never_rises(loss, hidden, lr):
    network, theta, support, query, alpha, penalty = problem(loss, hidden)
    path = inner_steps(network, theta, support, np.full_like(alpha, lr), 6, penalty=penalty)
    losses = [network.value(now, support) + penalty.value(now - theta) for now in path.theta]
    assert np.isfinite(path.theta[-1]).all()
    assert (np.diff(losses, axis=0) <= 1e-12).all()
    assert (path.theta[-1][3] == theta).all()  # no rows: it stays
    alpha = np.full_like(alpha, lr)
    value, gradient, rates = meta_gradient(
        network, theta, support, query, alpha, 6, penalty=penalty, learn_rates=True
    )
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(rates).all()


@each_network
@pytest.mark.parametrize("n_steps", [1, 4])
def test_only_the_step_of_a_bad_task_is_halved(hidden, n_steps):
    network, theta, support, _, alpha, penalty = problem(Squared(), hidden)
    scale = np.array([100.0, 1, 1, 1])[:, None, None]
    support = replace(support, X=support.X * scale, y=support.y * scale)
    free, guarded = (
        inner_steps(network, theta, support, alpha, n_steps, penalty=penalty, guard=guard)
        for guard in (False, True)
    )
    for k in range(n_steps):
        assert_array_equal(guarded.theta[k + 1][1:], free.theta[k + 1][1:])
        rate = np.broadcast_to(guarded.rate(k), guarded.theta[k + 1].shape)
        assert (rate[1:] == alpha).all()
        assert (rate[0] <= alpha).all()
        n_halvings = np.log2(alpha[0] / rate[0])
        assert_allclose(n_halvings, np.round(n_halvings[0]))
    first = np.broadcast_to(guarded.rate(0), guarded.theta[1].shape)[0]
    assert (first < alpha[0]).all()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("lr", [1e3, 1e6])
@each_loss
def test_halvings_on_a_line_are_those_by_passes_through_the_network(
    loss, lr, penalised, centred, monkeypatch
):
    network, theta, support, query, alpha, penalty = problem(loss)
    settings = {
        "penalty": penalty if penalised else None,
        "centre": None if centred else theta + 1.0,
    }
    on_line = inner_steps(network, theta, support, lr * alpha, 4, **settings)
    monkeypatch.setattr(Network, "linear", False)
    by_passes = inner_steps(network, theta, support, lr * alpha, 4, **settings)
    assert any((share < 1).any() for share in on_line.share)
    for k in range(4):
        assert_array_equal(on_line.share[k], by_passes.share[k])
        assert_allclose(on_line.theta[k + 1], by_passes.theta[k + 1], rtol=1e-9, atol=1e-12)
        assert_allclose(on_line.gradient(k), by_passes.gradient(k), rtol=1e-9, atol=1e-12)


def test_halvings_of_linear_predictions_need_no_product_over_columns(monkeypatch):
    network, theta, support, _, alpha, penalty = problem(Squared())
    passes = []
    at = Objective.at
    monkeypatch.setattr(Objective, "at", lambda self, theta: passes.append(1) or at(self, theta))
    path = inner_steps(network, theta, support, 1e3 * alpha, 4, penalty=penalty)
    assert all((share < 0.1).any() for share in path.share)
    assert len(passes) == 1 + 4


def test_guard_changes_nothing_where_all_is_well():
    network, theta, support, query, alpha, penalty = problem(Logistic(), (3,))
    free, guarded = (
        meta_gradient(network, theta, support, query, alpha, 5, penalty=penalty, guard=guard)
        for guard in (False, True)
    )
    assert free[0] == guarded[0]
    assert_array_equal(free[1], guarded[1])


@each_network
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("loss", [Squared(), Poisson(), Multinomial()], ids=repr)
def test_halved_steps_are_differentiated_too(hidden, n_steps, loss):
    network, theta, support, query, alpha, penalty = problem(loss, hidden)
    alpha = 100 * alpha
    path = inner_steps(network, theta, support, alpha, n_steps, penalty=penalty)
    assert any((rate != alpha).any() for rate in map(path.rate, range(n_steps)))

    def meta_loss(theta, alpha):
        end = inner_steps(network, theta, support, alpha, n_steps, penalty=penalty).theta[-1]
        return network.value(end, query).mean()

    _, gradient, rates = meta_gradient(
        network, theta, support, query, alpha, n_steps, penalty=penalty, learn_rates=True
    )
    assert_same(gradient, differences(lambda x: meta_loss(x, alpha), theta))
    assert_same(rates, differences(lambda x: meta_loss(theta, x), alpha))


@pytest.mark.parametrize("loss", [Poisson(), Squared()], ids=repr)
def test_a_task_that_overflows_stays_finite_and_alone(loss):
    network, theta, support, _, alpha, _ = problem(loss)
    wild = replace(support, X=support.X.copy())
    wild.X[0] = 1e4 if isinstance(loss, Poisson) else 1e200
    theta = np.abs(theta)
    end = inner_steps(network, theta, wild, alpha, 3).theta[-1]
    assert np.isfinite(end).all()
    assert_array_equal(end[1:], inner_steps(network, theta, support, alpha, 3).theta[-1][1:])


def test_penalty_pulls_to_the_centre():
    network, theta, support, _, alpha, penalty = problem(Squared())
    centre, rates = theta + 1.0, 200 * alpha  # so large that steps are halved
    path = inner_steps(network, theta, support, rates, 3, penalty=penalty, centre=centre)
    losses = [network.value(now, support) + penalty.value(now - centre) for now in path.theta]
    assert (np.diff(losses, axis=0) <= 1e-12).all()
    for k in range(3):
        pull = penalty.strength * penalty.mask * (path.theta[k] - centre)
        assert_allclose(path.gradient(k), network.gradient(path.theta[k], support)[1] + pull)


# -- iMAML -----------------------------------------------------------------------------------------

CONVEX = [Squared(), Poisson(), Logistic(), Multinomial()]


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("loss", CONVEX, ids=repr)
def test_implicit_gradient(loss, penalised):
    network, theta, support, query, alpha, penalty = problem(loss)
    penalty = penalty if penalised else None
    alpha = np.full_like(alpha, 0.2)
    settings = 1.5, alpha, 60
    own = np.zeros((4, 1)) if penalty is None else penalty.strength * penalty.mask
    pull = Penalty(1.5 + own, np.ones(network.n_params))

    def meta_loss(theta):
        return network.value(walked(network, theta, support, alpha, 100, pull), query).mean()

    value, gradient = implicit_meta_gradient(
        network, theta, support, query, *settings, penalty=penalty, cg_steps=20
    )
    assert_allclose(value, meta_loss(theta))
    assert_same(gradient, differences(meta_loss, theta))


def test_proximal_is_ridge_regression():
    network, theta, support, _, alpha, _ = problem(Squared())
    phi = proximal(network, theta, support, 0.7, np.full_like(alpha, 0.2), 500)
    for t in range(4):
        A = np.column_stack([np.ones(5), support.X[t]])
        w = support.weight[t][:, None]
        left, right = A.T @ (w * A) + 0.7 * np.eye(3), A.T @ (w * support.y[t])
        assert_allclose(phi[t], np.linalg.solve(left, right[:, 0] + 0.7 * theta[0]), rtol=1e-6)


def test_implicit_gradient_of_a_strong_pull_is_that_of_the_query():
    network, theta, support, query, _, _ = problem(Logistic())
    alpha = np.full_like(theta, 1e-9)
    gradient = implicit_meta_gradient(network, theta, support, query, 1e8, alpha, 5)[1]
    assert_allclose(gradient, network.gradient(theta, query)[1].mean(axis=0), rtol=1e-5)


# -- one step, as scikit-learn makes it ------------------------------------------------------------


def parameters(fitted):
    pairs = zip(fitted.intercepts_, fitted.coefs_, strict=True)
    return np.concatenate([np.ravel(part) for pair in pairs for part in pair])[None]


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
@pytest.mark.parametrize(
    "mlp, loss",
    [
        (MLPRegressor(), Squared()),
        (MLPRegressor(loss="poisson"), Poisson()),
        (MLPClassifier(), Logistic()),
        (MLPClassifier(), Multinomial()),
    ],
    ids=repr,
)
def test_steps_are_those_of_mlp(mlp, loss, activation):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 2)), rng.gamma(2.0, size=20)
    target = y[:, None]
    if isinstance(mlp, MLPClassifier):
        n_classes = 2 if isinstance(loss, Logistic) else 3
        y = np.arange(20) % n_classes
        target = label_binarize(y, classes=np.arange(n_classes)).astype(float)
    settings = dict(solver="sgd", momentum=0, alpha=0, learning_rate_init=0.1, batch_size=20)
    mlp = clone(mlp).set_params(
        **settings,
        hidden_layer_sizes=(4, 3),
        activation=activation,
        random_state=0,
    )
    first = {} if not isinstance(mlp, MLPClassifier) else {"classes": np.unique(y)}
    start = parameters(mlp.partial_fit(X, y, **first))
    network = Network((2, 4, 3, target.shape[1]), loss, activation)
    batch = Batch(X[None], target[None], np.full((1, 20), 1 / 20))
    path = inner_steps(network, start, batch, np.full_like(start, 0.1), 3, guard=False)
    for k in range(1, 4):
        assert_allclose(path.theta[k], parameters(mlp.partial_fit(X, y)), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "name, loss",
    [
        ("squared_error", Squared()),
        ("huber", Huber(0.1)),
        ("epsilon_insensitive", EpsilonInsensitive(0.1)),
        ("squared_epsilon_insensitive", EpsilonInsensitive(0.1, squared=True)),
        ("log_loss", Logistic()),
        ("hinge", Hinge()),
        ("squared_hinge", Hinge(squared=True)),
        ("perceptron", Hinge(0.0)),
        ("modified_huber", ModifiedHuber()),
    ],
)
def test_a_step_on_one_row_is_that_of_sgd(name, loss):
    kind = SGDClassifier if isinstance(loss, (Logistic, Hinge, ModifiedHuber)) else SGDRegressor
    sgd = kind(loss=name, penalty=None, learning_rate="constant", eta0=0.05)
    first = {"classes": [0, 1]} if kind is SGDClassifier else {}
    rng = np.random.default_rng(0)
    now = np.zeros((1, 4))
    for _ in range(10):
        x = rng.standard_normal((1, 3))
        y = rng.integers(2, size=1) if first else rng.standard_normal(1)
        target = np.where(y == 1, loss.high, loss.low) if first else y
        batch = Batch(x[None], target.reshape(1, 1, 1), np.ones((1, 1)))
        now = inner_steps(
            Network((3, 1), loss), now, batch, np.full((1, 4), 0.05), 1, guard=False
        ).theta[-1]
        sgd.partial_fit(x, y, **first)
        assert_allclose(now[0], [*sgd.intercept_, *np.ravel(sgd.coef_)], rtol=1e-10, atol=1e-13)
