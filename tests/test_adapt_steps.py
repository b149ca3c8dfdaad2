"""The number of inner steps of an adaptation: the best on episodes, by the number of rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_meta import ANIL, FOMAML, IMAML, MAML, MetaSGD, Reptile, Task
from sklearn_meta.base import gradient_family
from sklearn_meta.base.adapt_steps import LEVELS, STEPS, _argmin, steps_for
from sklearn_meta.datasets import make_digits_tasks

each_class = pytest.mark.parametrize("kind", [MAML, FOMAML, ANIL, MetaSGD, Reptile])


def noisy_lines(n_tasks=40, n_rows=30, seed=0, spread=1.0, noise=1.0):
    """Tasks ``y = x'w_t + noise`` with coefficients around 0."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_tasks):
        X = rng.normal(size=(n_rows, 5))
        y = X @ rng.normal(scale=spread, size=5) + rng.normal(scale=noise, size=n_rows)
        tasks.append(Task(X, y, id=t))
    return tasks


def small_network(**params):
    return MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0, **params)


def make(kind=MAML, estimator=None, **params):
    settings = dict(inner_lr=0.1, max_iter=60, tasks_per_batch=25, random_state=0)
    return kind(estimator or LinearRegression(), **settings | params)


def error(meta, tasks, n_shots, n_steps):
    X, y = np.stack([t.X for t in tasks]), np.stack([t.y for t in tasks])
    ids = np.repeat(np.arange(len(tasks)), 30).reshape(-1, 30)
    support, query = np.s_[:, :n_shots], np.s_[:, n_shots:]
    meta.set_params(adapt_steps=n_steps)
    meta.adapt(X[support].reshape(-1, 5), y[support].ravel(), groups=ids[support].ravel())
    predicted = meta.predict(X[query].reshape(-1, 5), groups=ids[query].ravel())
    return np.mean((predicted - y[query].ravel()) ** 2)


@pytest.mark.parametrize(
    "n_rows, expected",
    [(1, 10), (1.4, 10), (1.5, 20), (2, 20), (3.1, 20), (3.2, 30), (5, 30), (1000, 30), (0, 10)],
)
def test_nearest_number_of_rows_holds(n_rows, expected):
    steps = np.array([[1, 10], [2, 20], [5, 30]])
    assert steps_for(steps, np.array([n_rows])) == expected


def test_one_level_holds_for_all():
    assert_array_equal(steps_for(np.array([[2, 7]]), np.arange(5)), 7)


def test_looking_stops_after_two_numbers_that_are_no_better():
    asked = []

    def losses(*values):
        for value in values:
            asked.append(value)
            yield value

    assert _argmin(losses(3.0, 2.0, 2.5, 1.0, 1.5, 1.5, 0.0)) == STEPS[3]
    assert asked[-1] == 1.5
    assert _argmin(losses(1.0, np.inf, np.inf, 0.0)) == 0
    assert _argmin(losses(np.inf, np.inf, np.inf)) == 0


@each_class
def test_more_rows_more_steps(kind):
    """With few rows, many steps fit the noise; with many, few do not reach the optimum."""
    meta = make(kind).meta_fit(noisy_lines(spread=0.5))
    steps = meta.adapt_steps_
    assert list(steps) == [1, 2, 5, 10, 20]  # no task has more than 50 rows
    assert set(steps.values()) <= set(STEPS)
    assert steps[1] < steps[20]


@each_class
def test_choice_is_as_good_on_new_tasks_as_any(kind):
    meta, new = make(kind).meta_fit(noisy_lines()), noisy_lines(300, seed=1)
    for n_shots in (1, 5, 20):
        chosen = error(meta, new, n_shots, None)
        assert chosen <= 1.15 * min(error(meta, new, n_shots, k) for k in STEPS)


def test_adapt_takes_the_steps_of_each_task():
    tasks = noisy_lines()
    meta = make().meta_fit(tasks)
    sizes = [1, 2, 3, 5, 10, 20, 30]
    steps = steps_for(meta.meta_model_.steps, np.array(sizes))
    assert len(set(steps.tolist())) > 1
    X = np.concatenate([t.X[:k] for t, k in zip(tasks, sizes, strict=False)])
    y = np.concatenate([t.y[:k] for t, k in zip(tasks, sizes, strict=False)])
    ids = np.repeat(np.arange(len(sizes)), sizes)
    meta.adapt(X, y, groups=ids)
    found = [meta.predict(tasks[0].X, groups=np.full(30, i)) for i in range(len(sizes))]
    for i, (n_rows, n_steps) in enumerate(zip(sizes, steps.tolist(), strict=True)):
        meta.set_params(adapt_steps=n_steps).adapt(tasks[i].X[:n_rows], tasks[i].y[:n_rows])
        assert_allclose(found[i], meta.predict(tasks[0].X), rtol=1e-10)


@each_class
def test_numbers_that_are_given_hold(kind):
    tasks = noisy_lines()
    assert make(kind, inner_steps=3).meta_fit(tasks).adapt_steps_ == 3
    assert make(kind, inner_steps=3, adapt_steps=7).meta_fit(tasks).adapt_steps_ == 7
    meta = make(kind, adapt_steps=7).meta_fit(tasks)
    assert meta.adapt_steps_ == 7
    assert meta.meta_model_.steps is None  # nothing is looked for in vain


def test_of_perceptrons_heads_and_linear_models():
    tasks = noisy_lines()
    few = dict(max_iter=0)
    assert make(**few).meta_fit(tasks).adapt_steps_ == 30
    assert make(estimator=small_network(), **few).meta_fit(tasks).adapt_steps_ == 10
    trees = HistGradientBoostingRegressor(max_iter=3)
    assert make(estimator=trees, **few).meta_fit(tasks).adapt_steps_ == 30
    assert Reptile(max_iter=0).meta_fit(tasks).adapt_steps_ == 10
    assert IMAML(max_iter=0).meta_fit(tasks).adapt_steps_ == 100


def test_perceptrons_leave_a_pooled_fit_at_their_own_rate():
    def theta(estimator=None, **params):
        meta = make(estimator=estimator, max_iter=20, **params)
        return meta.meta_fit(noisy_lines(n_tasks=10)).meta_model_.theta

    network = small_network(learning_rate_init=0.05)
    assert_array_equal(theta(network), theta(network, outer_lr=0.05))
    assert_array_equal(theta(network, init="random"), theta(network, init="random", outer_lr=0.01))
    assert_array_equal(theta(), theta(outer_lr=0.01))


@pytest.mark.parametrize("n_tasks, n_rows, expected", [(9, 30, 0), (40, 1, 0), (40, 4, 2)])
def test_few_or_small_tasks_tell_nothing(n_tasks, n_rows, expected):
    steps = make().meta_fit(noisy_lines(n_tasks, n_rows)).adapt_steps_
    assert steps == 30 if expected == 0 else list(steps) == [1, 2]


def test_short_training_is_not_worth_a_choice():
    assert make(max_iter=7).meta_fit(noisy_lines()).adapt_steps_ == 30
    assert max(make(max_iter=8).meta_fit(noisy_lines()).adapt_steps_.values()) <= 30


def test_reptile_takes_fewer_steps_in_training():
    short, longer = (
        make(Reptile, tasks_per_batch=5, max_iter=n).meta_fit(noisy_lines()) for n in (39, 40)
    )
    assert short.adapt_steps_ == 10
    assert max(longer.adapt_steps_.values()) <= 10  # 40 x 5 tasks x 10 steps, for 200 episodes


def test_held_out_tasks_choose(monkeypatch):
    """Where there are such tasks, those that were trained on are not looked at."""
    asked, choose = [], gradient_family.choose_steps

    def listening(learner, theta, alpha, sampler, tasks, *settings):
        asked.append(len(tasks))
        return choose(learner, theta, alpha, sampler, tasks, *settings)

    monkeypatch.setattr(gradient_family, "choose_steps", listening)
    params = dict(early_stopping=True, validation_fraction=0.4)
    assert list(make(**params).meta_fit(noisy_lines()).adapt_steps_) == [1, 2, 5, 10, 20]
    assert asked == [16]


def test_fixed_supports():
    tasks = [
        Task(t.X, t.y, id=t.id, support=np.arange(3)) for t in noisy_lines(spread=3.0, noise=0.1)
    ]
    assert list(make().meta_fit(tasks).adapt_steps_) == [1, 2, 3]


def test_shots_of_each_class():
    tasks = make_digits_tasks(20, n_way=3, n_rows=8, random_state=0)
    network = MLPClassifier(hidden_layer_sizes=(8,), learning_rate_init=0.01)
    meta = MAML(network, classes="per_task", max_iter=20, random_state=0).meta_fit(tasks)
    assert list(meta.adapt_steps_)[:2] == [3, 6]
    assert meta.adapt(tasks[0].X, tasks[0].y).score(tasks[0].X, tasks[0].y) > 0.5


def test_choice_depends_on_the_seed_only():
    tasks = noisy_lines(300)
    first, again = (make(n_jobs=n_jobs).meta_fit(tasks) for n_jobs in (1, 2))
    assert first.adapt_steps_ == again.adapt_steps_
    assert_array_equal(first.meta_model_.theta, again.meta_model_.theta)


def test_streams_choose_anew():
    meta = make(Reptile, Ridge()).partial_meta_fit(noisy_lines(spread=0.01))
    before = meta.adapt_steps_
    meta.partial_meta_fit(noisy_lines(spread=3.0, noise=0.01))
    assert meta.adapt_steps_ != before


def test_levels_increase():
    assert list(LEVELS) == sorted(LEVELS)
    assert list(STEPS) == sorted(STEPS)
