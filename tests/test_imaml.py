"""iMAML: the proximal solution, and its outer loop."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neural_network import MLPRegressor

from sklearn_meta import IMAML, Task
from sklearn_meta.algorithms import imaml
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels.gradient import mean_curvature
from sklearn_meta.kernels.losses import Squared
from sklearn_meta.kernels.network import Batch, Network

TASKS = make_linear_tasks(n_tasks=40, n_rows=(8, 20), random_state=0)
X, Y = TASKS[0].X[:6], TASKS[0].y[:6]


def make(estimator=None, **params):
    return IMAML(estimator, **dict(max_iter=10, random_state=0) | params)


@pytest.mark.parametrize("strength", [0.3, 2.0])
@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_adapted_model_is_the_proximal_solution(strength, alpha):
    """Ridge's own penalty alpha/n_rows is centred on the start, too."""
    meta = make(Ridge(alpha=alpha), regularization=strength, adapt_steps=400, standardize=False)
    start = meta.meta_fit(TASKS).estimator_
    after = meta.adapt(X, Y).estimator_
    A = np.column_stack([np.ones(6), X])
    pull = strength * np.eye(3) + np.diag([0, alpha / 6, alpha / 6])
    centre = np.array([start.intercept_, *start.coef_])
    expected = np.linalg.solve(A.T @ A / 6 + pull, A.T @ Y / 6 + pull @ centre)
    assert_allclose([after.intercept_, *after.coef_], expected, rtol=1e-6)


def test_stronger_pull_stays_closer():
    moved = []
    for strength in (0.1, 1.0, 10.0, 1e4):
        meta = make(regularization=strength, max_iter=0, adapt_steps=200).meta_fit(TASKS)
        before = meta.estimator_.coef_
        moved.append(np.linalg.norm(meta.adapt(X, Y).estimator_.coef_ - before))
    assert (np.diff(moved) < 0).all()
    assert moved[-1] < 1e-3


@pytest.mark.parametrize("outer_solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    "estimator", [None, MLPRegressor(hidden_layer_sizes=(5,), activation="tanh")]
)
def test_loss_falls(estimator, outer_solver):
    params = dict(init="random", outer_solver=outer_solver, outer_lr=0.05, n_shots=5)
    params |= dict(regularization=1.0, inner_lr=0.1, inner_steps=20)
    meta = make(estimator, max_iter=60, **params).meta_fit(TASKS)
    assert np.mean(meta.loss_curve_[-5:]) < 0.9 * meta.loss_curve_[0]


def spread_tasks(spread):
    return make_linear_tasks(60, 25, covariance=spread**2 * np.eye(3), random_state=0)


def test_auto_pull_is_weaker_where_tasks_differ_more():
    found = [make(max_iter=0).meta_fit(spread_tasks(s)).regularization_ for s in (0.0, 0.5, 5.0)]
    assert found[0] > found[1] > found[2]
    assert set(found) <= set(imaml.STRENGTHS)


@pytest.mark.parametrize("strength", imaml.STRENGTHS)
def test_auto_steps_reach_the_minimum(strength):
    """With either rate: one that is chosen, and a small one for which it takes long."""
    tasks = spread_tasks(1.0)
    short = make(LinearRegression(), regularization=strength, max_iter=0).meta_fit(tasks)
    settings = dict(regularization=strength, inner_lr=short.inner_lr_ / 2, adapt_steps=10_000)
    long = make(LinearRegression(), max_iter=0, **settings).meta_fit(tasks)
    X, y = tasks[0].X[:10], tasks[0].y[:10]
    start, end = long.estimator_.coef_, long.adapt(X, y).estimator_.coef_
    error = np.abs(short.adapt(X, y).estimator_.coef_ - end).max()
    assert error < 0.05 * np.abs(end - start).max()


def test_curvature_is_the_largest_eigenvalue():
    rng = np.random.default_rng(0)
    network = Network((3, 1), Squared())
    X = rng.normal(size=(4, 6, 3))
    support = Batch(X, np.zeros((4, 6, 1)), np.full((4, 6), 1 / 6))
    inputs = np.concatenate([np.ones((4, 6, 1)), X], axis=2)
    H = inputs.swapaxes(1, 2) @ inputs / 6
    found = mean_curvature(network, np.zeros((1, 4)), support, n_products=200)
    assert_allclose(found, np.linalg.eigvalsh(H)[:, -1].mean(), rtol=1e-6)


def test_chosen_settings_stay_in_further_fits():
    meta = make(warm_start=True).meta_fit(TASKS)
    chosen = meta.regularization_, meta.inner_lr_
    meta = meta.meta_fit(spread_tasks(0.0))
    assert (meta.regularization_, meta.inner_lr_) == chosen


def test_going_on():
    settings = dict(regularization=1.0, inner_lr=0.1, inner_steps=5)
    warm = make(warm_start=True, **settings).meta_fit(TASKS).meta_fit(TASKS)
    part = make(**settings).partial_meta_fit(TASKS).partial_meta_fit(TASKS)
    assert warm.n_iter_ == part.n_iter_ == 20
    assert_array_equal(warm.meta_model_.theta, part.meta_model_.theta)


def test_no_inner_steps_stay_at_the_start():
    meta = make(inner_steps=0).meta_fit(TASKS)
    before = meta.estimator_
    assert_array_equal(before.coef_, meta.adapt(X, Y).estimator_.coef_)


def test_without_an_intercept_there_is_none():
    meta = make(LinearRegression(fit_intercept=False), standardize=False, inner_steps=5)
    assert meta.meta_fit(TASKS).adapt(X, Y).estimator_.intercept_ == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("inner_lr", [0.1, 1e6])
def test_tiny_and_constant_tasks(inner_lr):
    tasks = [Task(t.X[:n], np.full(n, t.y[0])) for n, t in enumerate(TASKS[:6], start=1)]
    meta = make(inner_lr=inner_lr, max_iter=2).meta_fit(tasks)
    assert np.isfinite(meta.adapt(X[:1], Y[:1]).predict(X)).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_curvature_that_overflows():
    tasks = [Task(1e100 * t.X, t.y) for t in TASKS]
    meta = make(LinearRegression(), standardize=False, inner_steps=5)
    with pytest.warns(ConvergenceWarning, match="not finite"):
        meta.meta_fit(tasks)
    assert np.isfinite(meta.adapt(tasks[0].X, tasks[0].y).predict(tasks[0].X)).all()


def test_interrupted(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    meta = make(inner_steps=2).meta_fit(TASKS)
    before = dict(vars(meta))
    monkeypatch.setattr(imaml, "implicit_meta_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        meta.meta_fit(TASKS[:3])
    assert vars(meta) == before
