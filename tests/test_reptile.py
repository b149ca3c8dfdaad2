"""Reptile: its outer step, and the cases where it is something known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression, Ridge, SGDRegressor
from sklearn.neural_network import MLPRegressor

from sklearn_meta import Reptile, Task
from sklearn_meta.algorithms import reptile
from sklearn_meta.datasets import make_linear_tasks

TASKS = make_linear_tasks(n_tasks=30, n_rows=(8, 20), random_state=0)
NEW = make_linear_tasks(n_tasks=10, random_state=1)


def make(estimator=None, **params):
    settings = dict(inner_lr=0.1, inner_steps=5, max_iter=10, random_state=0)
    return Reptile(estimator, **settings | params)


def theta(meta):
    return np.array([meta.estimator_.intercept_, *meta.estimator_.coef_])


def descent(task, w, rate, n_steps, l2=0.0, centre=0.0):
    """Gradient descent on the mean of half the squares."""
    A = np.column_stack([np.ones(len(task.y)), task.X])
    for _ in range(n_steps):
        pull = l2 * (w - centre) * np.array([0, *np.ones(len(w) - 1)])
        w = w - rate * (A.T @ (A @ w - task.y) / len(task.y) + pull)
    return w


SETTINGS = dict(init="random", standardize=False, inner_batch_size=100)


def test_one_step_on_one_task_is_sgd():
    """The rate falls linearly to 0."""
    meta = make(LinearRegression(), inner_steps=1, inner_lr=0.05, **SETTINGS).meta_fit(TASKS[:1])
    w = np.zeros(3)
    for i in range(10):
        w = descent(TASKS[0], w, 0.05 * (1 - i / 10), 1)
    assert_allclose(theta(meta), w)


def test_one_row_at_a_time_is_sgd_of_scikit_learn():
    tasks = [Task(t.X[:1], t.y[:1]) for t in TASKS[:1]]
    meta = make(LinearRegression(), inner_steps=3, inner_lr=0.05, max_iter=1, **SETTINGS)
    sgd = SGDRegressor(penalty=None, learning_rate="constant", eta0=0.05)
    for _ in range(3):
        sgd.partial_fit(tasks[0].X, tasks[0].y)
    meta.meta_fit(tasks)
    assert_allclose(theta(meta), [*sgd.intercept_, *sgd.coef_])


@pytest.mark.parametrize("outer_lr", [1.0, 0.25])
@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_outer_step_interpolates(outer_lr, alpha):
    """Towards the mean of where k steps on the tasks lead; Ridge's penalty is centred."""
    meta = make(Ridge(alpha=alpha), inner_steps=4, inner_lr=0.05, max_iter=1, outer_lr=outer_lr)
    meta.set_params(tasks_per_batch=30, **SETTINGS).meta_fit(TASKS)
    ends = [descent(t, np.zeros(3), 0.05, 4, alpha / len(t.y)) for t in TASKS]
    assert_allclose(theta(meta), outer_lr * np.mean(ends, axis=0))


def test_serial_takes_one_task_at_a_time():
    meta = make(LinearRegression(), tasks_per_batch=1, max_iter=1, inner_lr=0.05, **SETTINGS)
    meta.meta_fit(TASKS)
    ends = np.array([descent(t, np.zeros(3), 0.05, 5) for t in TASKS])
    assert np.isclose(ends, theta(meta)).all(axis=1).sum() == 1


def test_minibatches_are_drawn_anew():
    small, full = (
        make(LinearRegression(), **SETTINGS | {"inner_batch_size": n}).meta_fit(TASKS[:1])
        for n in (2, 100)
    )
    assert not np.allclose(theta(small), theta(full))
    assert len(set(small.loss_curve_)) == 10


def test_fixed_support_is_all_that_it_trains_on():
    task = TASKS[0]
    marked = Task(task.X, task.y, support=np.arange(4))
    params = dict(inner_lr=0.05, **SETTINGS)
    meta = make(LinearRegression(), **params).meta_fit([marked])
    only = make(LinearRegression(), **params).meta_fit([Task(task.X[:4], task.y[:4])])
    assert_allclose(theta(meta), theta(only))


@pytest.mark.parametrize("tasks_per_batch", [1, 5])
@pytest.mark.parametrize(
    "estimator", [None, MLPRegressor(hidden_layer_sizes=(5,), activation="tanh")]
)
def test_it_learns_to_learn(estimator, tasks_per_batch):
    def error(meta):
        return np.mean(
            [(meta.adapt(t.X[:5], t.y[:5]).predict(t.X[5:]) - t.y[5:]) ** 2 for t in NEW]
        )

    params = dict(init="random", tasks_per_batch=tasks_per_batch)
    meta = make(estimator, max_iter=100, **params).meta_fit(TASKS)
    assert np.mean(meta.loss_curve_[-10:]) < np.mean(meta.loss_curve_[:5])
    assert error(meta) < 0.8 * error(make(estimator, max_iter=0, **params).meta_fit(TASKS))


def test_no_iterations_leave_the_start():
    meta = make(max_iter=0, **SETTINGS).meta_fit(TASKS)
    assert not theta(meta).any()
    assert meta.n_iter_ == 0


def test_going_on():
    warm = make(warm_start=True).meta_fit(TASKS).meta_fit(TASKS)
    part = make().partial_meta_fit(TASKS).partial_meta_fit(TASKS)
    assert warm.n_iter_ == part.n_iter_ == 20
    assert_array_equal(warm.meta_model_.theta, part.meta_model_.theta)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("alpha", [0.0, 1.0, 1e4])
def test_never_diverges(alpha):
    meta = make(Ridge(alpha=alpha), inner_lr=1e6, tasks_per_batch=1000).meta_fit(TASKS)
    assert np.isfinite(meta.loss_curve_).all()
    assert max(meta.loss_curve_) < 10
    assert np.isfinite(meta.adapt(NEW[0].X[:1], NEW[0].y[:1]).predict(NEW[0].X)).all()


def test_interrupted(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    meta = make().meta_fit(TASKS)
    before = dict(vars(meta))
    monkeypatch.setattr(reptile, "inner_steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        meta.meta_fit(TASKS[:3])
    assert vars(meta) == before
