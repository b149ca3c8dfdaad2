"""MAML, FOMAML, ANIL and Meta-SGD: what is their own, and the outer loop of the family."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.neural_network import MLPRegressor

from sklearn_meta import ANIL, FOMAML, MAML, MetaSGD, Task, few_shot_scorer
from sklearn_meta.algorithms import maml
from sklearn_meta.base import gradient_family
from sklearn_meta.base.gradient_family import RATES
from sklearn_meta.datasets import make_linear_tasks

CLASSES = [MAML, FOMAML, ANIL, MetaSGD]
TASKS = make_linear_tasks(n_tasks=40, n_rows=(8, 20), random_state=0)
NEW = make_linear_tasks(n_tasks=10, random_state=1)
NETWORK = MLPRegressor(hidden_layer_sizes=(5,), activation="tanh")

each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
each_solver = pytest.mark.parametrize("outer_solver", ["adam", "sgd", "lbfgs"])


SETTINGS = dict(inner_lr=0.1, inner_steps=5, outer_schedule="constant", random_state=0)


def make(kind=MAML, estimator=None, **params):
    return kind(estimator, **SETTINGS | dict(max_iter=10) | params)


def assert_same_model(a, b):
    assert_array_equal(a.meta_model_.theta, b.meta_model_.theta)
    assert_array_equal(a.meta_model_.alpha, b.meta_model_.alpha)


def few_shot_error(meta, n_shots=5):
    errors = [
        meta.adapt(t.X[:n_shots], t.y[:n_shots]).predict(t.X[n_shots:]) - t.y[n_shots:] for t in NEW
    ]
    return np.mean(np.square(errors))


# -- learning --------------------------------------------------------------------------------------


@each_class
@each_solver
@pytest.mark.parametrize("estimator", [None, NETWORK], ids=["linear", "mlp"])
def test_loss_falls(kind, outer_solver, estimator):
    params = dict(init="random", outer_solver=outer_solver, max_iter=60, n_shots=5)
    meta = make(kind, estimator, outer_lr=0.05, **params).meta_fit(TASKS)
    assert np.mean(meta.loss_curve_[-5:]) < 0.8 * np.mean(meta.loss_curve_[:5]) or (
        outer_solver == "lbfgs" and meta.loss_curve_[-1] < 0.9 * meta.loss_curve_[0]
    )
    start = make(kind, estimator, **params | {"max_iter": 0}).meta_fit(TASKS)
    assert few_shot_error(meta) < 0.9 * few_shot_error(start)


@each_class
def test_adaptation_helps(kind):
    meta = make(kind, max_iter=100).meta_fit(TASKS)
    assert few_shot_error(meta) < 0.8 * few_shot_error(meta, n_shots=0)


def test_solvers_agree_on_one_episode():
    """With fixed supports and all queries there is one meta-loss, and it is convex."""
    tasks = [Task(t.X, t.y, support=np.arange(4)) for t in TASKS]
    theta = [
        make(outer_solver=solver, n_shots=4, tasks_per_batch=40, **more).meta_fit(tasks)
        for solver, more in [
            ("lbfgs", {}),
            ("sgd", {"outer_lr": 0.5, "max_iter": 500}),
            ("adam", {"outer_lr": 0.01, "max_iter": 1000}),
        ]
    ]
    for other in theta[1:]:
        assert_allclose(other.meta_model_.theta, theta[0].meta_model_.theta, rtol=1e-3, atol=1e-3)


@each_class
def test_no_iterations_leave_the_start(kind):
    meta = make(kind, Ridge(alpha=3.0), max_iter=0).meta_fit(TASKS)
    X, y = np.concatenate([t.X for t in TASKS]), np.concatenate([t.y for t in TASKS])
    scale = X.std(axis=0)
    pooled = Ridge(alpha=3.0).fit((X - X.mean(axis=0)) / scale, y)
    assert meta.n_iter_ == 0
    assert meta.loss_curve_ == []
    assert_allclose(meta.estimator_.coef_, pooled.coef_ / scale)
    start = make(kind, init="random", max_iter=0, standardize=False).meta_fit(TASKS)
    assert not start.estimator_.coef_.any()


def test_no_inner_steps_are_pooled_training():
    meta = make(inner_steps=0, init="random", outer_solver="lbfgs", n_shots=0, max_iter=100)
    meta.meta_fit(tasks := make_linear_tasks(n_tasks=20, n_rows=12, random_state=0))
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    pooled = LinearRegression().fit(X, y)
    assert_allclose(meta.estimator_.coef_, pooled.coef_, rtol=1e-4)
    assert_allclose(meta.adapt(X[:5], y[:5]).estimator_.coef_, pooled.coef_, rtol=1e-4)


def test_one_step_by_hand():
    X, y = NEW[0].X[:6], NEW[0].y[:6]
    meta = make(MAML, LinearRegression(), inner_lr=0.05, inner_steps=1, standardize=False)
    before = meta.meta_fit(TASKS).estimator_
    error = before.predict(X) - y
    after = meta.adapt(X, y).estimator_
    assert_allclose(after.intercept_, before.intercept_ - 0.05 * error.mean())
    assert_allclose(after.coef_, before.coef_ - 0.05 * X.T @ error / 6)


def test_adapt_steps_may_differ():
    meta, task = make(inner_steps=2).meta_fit(TASKS), NEW[0]
    few = meta.adapt(task.X, task.y).score(task.X, task.y)
    meta.set_params(adapt_steps=0).adapt(task.X, task.y)
    none = meta.score(task.X, task.y)
    many = meta.set_params(adapt_steps=50).adapt(task.X, task.y).score(task.X, task.y)
    assert none < few < many


@each_class
def test_without_an_intercept_there_is_none(kind):
    meta = make(kind, LinearRegression(fit_intercept=False), standardize=False).meta_fit(TASKS)
    assert meta.estimator_.intercept_ == 0
    assert meta.adapt(NEW[0].X, NEW[0].y).estimator_.intercept_ == 0


# -- the relatives ---------------------------------------------------------------------------------


def test_relatives_of_linear_models():
    first, exact, anil = (make(kind).meta_fit(TASKS) for kind in (FOMAML, MAML, ANIL))
    assert_same_model(anil, exact)  # everything is the last layer
    assert (first.meta_model_.theta != exact.meta_model_.theta).any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_anil_moves_the_last_layer_only():
    meta = make(ANIL, NETWORK).meta_fit(TASKS)
    start = make(ANIL, NETWORK, max_iter=0).meta_fit(TASKS)
    before, after = meta.estimator_, meta.adapt(NEW[0].X, NEW[0].y).estimator_
    assert_array_equal(before.coefs_[0], after.coefs_[0])
    assert (before.coefs_[1] != after.coefs_[1]).all()
    assert (before.coefs_[0] != start.estimator_.coefs_[0]).all()  # but learned


def test_rates_are_learned():
    meta = make(MetaSGD, max_iter=100).meta_fit(TASKS)
    assert meta.inner_lr_.shape == (3,)
    assert len(np.unique(meta.inner_lr_)) == 3
    assert (meta.inner_lr_ != 0.1).all()
    assert few_shot_error(meta) < few_shot_error(make(max_iter=100).meta_fit(TASKS))


def test_rates_of_missing_intercepts_stay_zero():
    meta = make(MetaSGD, LinearRegression(fit_intercept=False), standardize=False).meta_fit(TASKS)
    assert meta.inner_lr_[0] == 0
    assert (meta.inner_lr_[1:] != 0.1).all()


# -- the outer loop --------------------------------------------------------------------------------


@each_class
@each_solver
def test_going_on(kind, outer_solver):
    params = dict(outer_solver=outer_solver)
    warm = make(kind, warm_start=True, **params).meta_fit(TASKS)
    first = warm.n_iter_
    twice = warm.meta_fit(TASKS)
    assert twice.n_iter_ > first or outer_solver == "lbfgs"
    part = make(kind, **params).meta_fit(TASKS)
    assert_same_model(part.partial_meta_fit(TASKS), twice)
    assert part.n_tasks_ == 2 * len(TASKS)
    assert_same_model(
        make(kind, **params).partial_meta_fit(TASKS), make(kind, **params).meta_fit(TASKS)
    )
    afresh = make(kind, **params).meta_fit(TASKS).meta_fit(TASKS)
    assert afresh.n_iter_ == first


@pytest.mark.parametrize("then", ["adam", "sgd", "lbfgs"])
@each_solver
def test_going_on_with_another_solver(outer_solver, then):
    meta = make(warm_start=True, outer_solver=outer_solver).meta_fit(TASKS)
    meta.set_params(outer_solver=then).meta_fit(TASKS)
    assert np.isfinite(meta.meta_model_.theta).all()


@pytest.mark.parametrize("task", [TASKS[0], NEW[0]])
def test_more_tasks_per_batch_than_tasks(task):
    all_, more = (make(tasks_per_batch=n).meta_fit([task, *TASKS[1:3]]) for n in (3, 1000))
    assert_same_model(all_, more)


@pytest.mark.parametrize("tasks", [TASKS[:1], [TASKS[0].rows([0]), TASKS[1].rows([0])]])
@each_class
def test_few_and_tiny_tasks(kind, tasks):
    meta = make(kind).meta_fit(tasks)
    assert np.isfinite(meta.adapt(NEW[0].X, NEW[0].y).predict(NEW[0].X)).all()


# -- rates -----------------------------------------------------------------------------------------


def related_tasks(spread):
    """Tasks whose intercepts and coefficients have this standard deviation; that of noise is 1."""
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(40):
        X = rng.standard_normal((20, 2))
        w = 1 + spread * rng.standard_normal(3)
        tasks.append(Task(X, w[0] + X @ w[1:] + rng.standard_normal(20)))
    return tasks


@each_class
def test_auto_rate_is_large_where_tasks_differ(kind):
    rates = [
        np.max(make(kind, inner_lr="auto", max_iter=0).meta_fit(related_tasks(s)).inner_lr_)
        for s in (0.0, 0.5, 5.0)
    ]
    assert rates[0] < rates[1] < rates[2]
    assert set(rates) <= set(RATES)


def test_auto_rate_is_the_best_of_the_grid():
    """By the public way: the few-shot error on the meta-train tasks themselves."""
    auto = make(inner_lr="auto", max_iter=0, n_shots=5).meta_fit(TASKS)

    def error(rate):
        meta = make(inner_lr=rate, max_iter=0).meta_fit(TASKS)
        score = few_shot_scorer("neg_mean_squared_error", n_shots=5, n_repeats=3, random_state=1)
        return -score(meta, TASKS)

    errors = {rate: error(rate) for rate in RATES}
    assert errors[auto.inner_lr_] <= 1.02 * min(errors.values())


def test_episodes_without_rows_tell_nothing_about_the_rate():
    rates = [
        make(inner_lr="auto", max_iter=0, n_shots=shots).meta_fit(TASKS).inner_lr_
        for shots in ((0, 10), (1, 10), 0, 1)
    ]
    assert rates[0] == rates[1] and rates[2] == rates[3]


def test_auto_rate_stays_in_further_fits():
    meta = make(inner_lr="auto", warm_start=True).meta_fit(TASKS)
    rate = meta.inner_lr_
    assert meta.meta_fit(related_tasks(100.0)).inner_lr_ == rate
    assert meta.partial_meta_fit(related_tasks(100.0)).inner_lr_ == rate


@each_class
def test_learned_rates_are_not_negative(kind):
    meta = make(kind, outer_lr=0.5, max_iter=30).meta_fit(TASKS)
    assert np.min(meta.inner_lr_) >= 0


def test_outer_rate_falls_to_zero():
    """With one iteration schedules are the same; with two, the second step is half as long."""
    path = dict(outer_solver="sgd", inner_steps=0, tasks_per_batch=len(TASKS), init="random")
    path |= dict(n_shots=0, outer_lr=0.1, standardize=False)

    def theta(n, schedule):
        return make(max_iter=n, outer_schedule=schedule, **path).meta_fit(TASKS).meta_model_.theta

    assert_array_equal(theta(1, "linear"), theta(1, "constant"))
    one = theta(1, "constant")
    steps = [theta(2, schedule) - one for schedule in ("linear", "constant")]
    np.testing.assert_allclose(steps[0], steps[1] / 2)


def test_divergence_is_told_and_undone():
    params = dict(outer_solver="sgd", outer_lr=5.0, max_iter=40, standardize=False)
    with pytest.warns(ConvergenceWarning, match="MAML diverged: .* at the start and .*outer_lr"):
        meta = make(**params).meta_fit(TASKS)
    start = make(max_iter=0).meta_fit(TASKS)
    assert few_shot_error(meta) < 1.5 * few_shot_error(start)


# -- early stopping --------------------------------------------------------------------------------


def test_early_stopping():
    meta = make(init="random", max_iter=3000, early_stopping=True, outer_lr=0.1, tasks_per_batch=5)
    meta.meta_fit(TASKS)
    curve = meta.validation_loss_curve_
    assert meta.n_iter_ < 3000
    assert len(curve) == meta.n_iter_ // 7  # 36 tasks, 5 at a time
    assert min(curve[-10:]) >= min(curve[:-10]) - 1e-4
    best = int(np.argmin(curve)) + 1
    short = clone(meta).set_params(max_iter=7 * best).meta_fit(TASKS)
    assert short.validation_loss_curve_ == curve[:best]
    # the best within tol, not the last
    assert abs(short.validation_loss_curve_[-1] - min(curve)) <= 1e-4


def test_early_stopping_keeps_the_best(monkeypatch):
    params = dict(early_stopping=True, tasks_per_batch=36, outer_lr=0.5, tol=0.0)
    meta = make(max_iter=200, **params).meta_fit(TASKS)
    best = int(np.argmin(meta.validation_loss_curve_)) + 1
    assert best < meta.n_iter_
    monkeypatch.setattr(gradient_family, "PATIENCE", 500)
    assert_same_model(meta, make(max_iter=best, **params).meta_fit(TASKS))


def test_early_stopping_needs_two_tasks():
    with pytest.raises(ValueError, match="there is only 1"):
        make(early_stopping=True).meta_fit(TASKS[:1])


def test_early_stopping_is_not_for_lbfgs():
    with pytest.raises(ValueError, match="outer_solver"):
        make(early_stopping=True, outer_solver="lbfgs").meta_fit(TASKS)


@pytest.mark.parametrize("n_shots", [(3, 1), (1, 2, 3), (-1, 2)])
def test_bad_shots(n_shots):
    with pytest.raises(ValueError, match="n_shots="):
        make(n_shots=n_shots).meta_fit(TASKS)


@each_class
def test_interrupted(kind, monkeypatch):
    meta = make(kind).meta_fit(TASKS).adapt(NEW[0].X, NEW[0].y)
    before, content = dict(vars(meta)), joblib.hash(vars(meta))
    n_calls = 0

    def interrupted(*args, **kwargs):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 5:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = maml.meta_gradient
    monkeypatch.setattr(maml, "meta_gradient", interrupted)
    for learn in (meta.meta_fit, meta.partial_meta_fit):
        n_calls = 0
        with pytest.raises(KeyboardInterrupt):
            learn(TASKS)
        assert vars(meta).keys() == before.keys()
        assert joblib.hash(vars(meta)) == content


# -- what must never happen ------------------------------------------------------------------------


@each_class
@pytest.mark.parametrize("outer_solver, outer_lr", [("adam", 0.5), ("sgd", 1e-3)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_meta_gradient_that_is_not_finite(kind, outer_solver, outer_lr):
    """One task is so far away that its query loss overflows after the first outer step."""
    tasks = [Task(t.X, np.exp(np.clip(t.y, -2, 2)), id=t.id) for t in TASKS[:5]]
    far = Task(np.full((4, 2), 1e3), np.full(4, 5.0), id="far away")
    meta = make(kind, PoissonRegressor(), init="random", standardize=False, inner_steps=0)
    meta.set_params(outer_solver=outer_solver, outer_lr=outer_lr, max_iter=50)
    with pytest.warns(ConvergenceWarning, match="task 'far away'.*inner_lr"):
        meta.meta_fit([*tasks, far])
    theta = meta.meta_model_.theta
    assert np.isfinite(theta).all()
    assert np.isfinite(meta.loss_curve_).all()
    assert meta.n_iter_ == 1
    assert np.isfinite(meta.predict(far.X)).all()  # what is kept is where the loss was finite


@each_class
def test_lbfgs_where_the_loss_may_overflow(kind):
    far = Task(np.full((4, 2), 1e3), np.full(4, 5.0))
    meta = make(kind, PoissonRegressor(), init="random", standardize=False, inner_steps=0)
    meta.set_params(outer_solver="lbfgs").meta_fit([far, far])
    assert np.isfinite(meta.loss_curve_).all()
    assert np.isfinite(meta.predict(far.X)).all()


@each_class
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("X", [[[1e4, -1e4]], [[1e30, 1.0]]])
@pytest.mark.parametrize("estimator", [PoissonRegressor(), LogisticRegression(), Ridge()], ids=repr)
def test_a_support_row_far_from_all_others(kind, estimator, X):
    link = {PoissonRegressor: np.exp, LogisticRegression: np.sign, Ridge: np.copy}[type(estimator)]
    tasks = [(t.X, link(np.clip(t.y, -2, 2))) for t in TASKS]
    meta = make(kind, estimator).meta_fit(tasks)
    meta.adapt(X, [1.0])
    assert np.isfinite(meta.estimator_.coef_).all()
    assert np.isfinite(meta.predict(NEW[0].X)).all()
