"""The algorithm of doc/user_guide/extending.rst: it works, and needs nothing that is private."""

import ast
import copy
import doctest
import os
import pickle
from pathlib import Path

import extending
import joblib
import numpy as np
import pytest
from extending import RidgeTowardsPooled, adapt, learn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sklearn_meta import Independent, Pooled, few_shot_scorer
from sklearn_meta.base import BaseMetaEstimator, meta_estimator
from sklearn_meta.datasets import make_linear_tasks

STRENGTHS = (0.3, 3.0, 30.0)


def make_tasks(n_tasks=9, seed=0):
    return make_linear_tasks(n_tasks=n_tasks, n_rows=(3, 7), random_state=seed)


def long_table(tasks):
    ids = np.repeat([t.id for t in tasks], [len(t.y) for t in tasks])
    return np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks]), ids


def standardized(tasks):
    """Rows ``[1, x]`` and targets of every task, in the units of all rows."""
    X, y, _ = long_table(tasks)
    return [
        (
            np.column_stack([np.ones(len(t.y)), (t.X - X.mean(axis=0)) / X.std(axis=0)]),
            (t.y - y.mean()) / y.std(),
        )
        for t in tasks
    ]


def least_squares(pairs):
    Z, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return np.linalg.lstsq(Z, y)[0]


def towards(Z, y, centre, strength):
    """The same by scikit-learn: a ridge regression of what the centre leaves."""
    ridge = Ridge(alpha=strength, fit_intercept=False).fit(Z, y - Z @ centre)
    return centre + ridge.coef_


# -- scikit-learn's checks -------------------------------------------------------------------------


@parametrize_with_checks([RidgeTowardsPooled(), RidgeTowardsPooled(LinearRegression())])
def test_scikit_learn(estimator, check):
    check(estimator)


def test_all_checks_ran():
    results = check_estimator(RidgeTowardsPooled(), on_fail="raise")
    skipped = {result["check_name"] for result in results if result["status"] != "passed"}
    assert skipped <= (set() if os.environ.get("SCIPY_ARRAY_API") else {"check_array_api_input"})
    assert len(results) - len(skipped) >= 50


# -- the mathematics -------------------------------------------------------------------------------


def test_adaptation_is_a_ridge_regression_of_what_the_centre_leaves():
    tasks, (new,) = make_tasks(), make_tasks(1, seed=1)
    meta = RidgeTowardsPooled(strengths=[3.0]).meta_fit(tasks)
    X, y, _ = long_table(tasks)
    centre = least_squares(standardized(tasks))
    assert_allclose(meta.meta_model_.centre, centre, atol=1e-12)
    assert_allclose(meta.predict(new.X), LinearRegression().fit(X, y).predict(new.X))
    Z = np.column_stack([np.ones(len(new.y)), (new.X - X.mean(axis=0)) / X.std(axis=0)])
    theta = towards(Z, (new.y - y.mean()) / y.std(), centre, 3.0)
    meta.adapt(new.X, new.y)
    assert_allclose(meta.predict(new.X), y.mean() + y.std() * (Z @ theta))
    assert_allclose(meta.estimator_.predict(new.X), meta.predict(new.X))


def test_strength_is_that_of_explicit_refits_without_each_task_and_row():
    tasks = make_tasks()
    pairs = standardized(tasks)
    expected = {}
    for strength in STRENGTHS:
        squares = 0.0
        for t, (Z, y) in enumerate(pairs):
            centre = least_squares(pairs[:t] + pairs[t + 1 :])
            for i in range(len(y)):
                other = np.arange(len(y)) != i
                theta = towards(Z[other], y[other], centre, strength)
                squares += (y[i] - Z[i] @ theta) ** 2
        expected[strength] = squares
    meta = RidgeTowardsPooled(strengths=STRENGTHS).meta_fit(tasks)
    assert list(meta.meta_model_.errors) == list(STRENGTHS)
    assert_allclose(list(meta.meta_model_.errors.values()), list(expected.values()))
    assert meta.strength_ == min(expected, key=expected.get)


@pytest.mark.parametrize("spread, strengths", [(0.0, {100, 1000}), (1.0, {1}), (100.0, {0.1})])
def test_strength_follows_the_spread_of_tasks(spread, strengths):
    tasks = make_linear_tasks(n_tasks=50, covariance=spread * np.eye(3), random_state=0)
    assert RidgeTowardsPooled().meta_fit(tasks).strength_ in strengths


def test_between_both_baselines():
    tasks, (new,) = make_tasks(30), make_tasks(1, seed=1)
    weak, strong = (RidgeTowardsPooled(strengths=[s]).meta_fit(tasks) for s in (1e-9, 1e9))
    for meta, other in ((weak, Independent), (strong, Pooled)):
        other = other(LinearRegression()).meta_fit(tasks).adapt(new.X, new.y)
        assert_allclose(meta.adapt(new.X, new.y).predict(new.X), other.predict(new.X), rtol=1e-5)


def test_functions_know_padding_and_weights_by_the_weights_only():
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((4, 6, 3)), rng.standard_normal((4, 6))
    weight = rng.integers(0, 3, (4, 6)).astype(float)
    centre = rng.standard_normal(3)
    for t in range(4):
        times = weight[t].astype(int)
        expected = towards(np.repeat(Z[t], times, axis=0), np.repeat(y[t], times), centre, 2.0)
        assert_allclose(adapt(Z, y, weight, centre, 2.0)[t], expected)
    assert_array_equal(adapt(Z, y, 0 * weight, centre, 2.0), np.tile(centre, (4, 1)))
    parts = [(Z[:1], y[:1], weight[:1]), (Z[1:], y[1:], weight[1:])]
    one, two = learn([(Z, y, weight)], STRENGTHS), learn(parts, STRENGTHS)
    assert_allclose(list(two.errors.values()), list(one.errors.values()))


# -- the contract ----------------------------------------------------------------------------------


def test_adapt_starts_from_the_meta_model():
    A, B = make_tasks(2, seed=1)
    meta = RidgeTowardsPooled().meta_fit(make_tasks())
    before = joblib.hash(meta.meta_model_)
    zero_shot, once = meta.predict(B.X), meta.adapt(A.X, A.y).predict(B.X)
    kept = meta.estimator_
    other = meta.adapt(B.X, B.y).predict(B.X)
    assert np.abs(other - once).max() > 0.1
    assert_array_equal(meta.adapt(A.X, A.y).predict(B.X), once)
    assert_array_equal(kept.predict(B.X), meta.estimator_.predict(B.X))
    assert_allclose(meta.adapt(A.X[:0], A.y[:0]).predict(B.X), zero_shot)
    assert joblib.hash(meta.meta_model_) == before


def test_a_failure_changes_nothing(unchanged):
    (new,) = make_tasks(1, seed=1)
    meta = RidgeTowardsPooled().meta_fit(make_tasks())
    with unchanged(meta), pytest.raises(ValueError, match="features"):
        meta.adapt(new.X[:, :1], new.y)
    meta.set_params(strengths=[1.0, -1.0])
    with unchanged(meta), pytest.raises(ValueError, match="must be positive numbers"):
        meta.meta_fit(make_tasks())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_do_not_depend_on_workers(monkeypatch, n_jobs):
    X, y, ids = long_table(make_tasks(23))
    expected = RidgeTowardsPooled().fit(X, y, groups=ids)
    monkeypatch.setattr(meta_estimator, "BLOCK_TASKS", 5)
    meta = RidgeTowardsPooled(n_jobs=n_jobs).fit(X, y, groups=ids)
    assert_array_equal(meta.task_ids_, expected.task_ids_)
    assert_allclose(meta.predict(X, groups=ids), expected.predict(X, groups=ids))
    one = RidgeTowardsPooled(n_jobs=1).fit(X, y, groups=ids)
    assert_array_equal(meta.predict(X, groups=ids), one.predict(X, groups=ids))


def test_tables_searches_pipelines_and_pickles():
    X, y, ids = long_table(make_tasks(20))
    by_groups = RidgeTowardsPooled().fit(X, y, groups=ids).predict(X, groups=ids)
    X = np.column_stack([ids, X])
    meta = RidgeTowardsPooled(task_column=0).fit(X, y)
    assert_allclose(meta.predict(X), by_groups)
    for other in (pickle.loads(pickle.dumps(meta)), clone(meta).fit(X, y), copy.deepcopy(meta)):
        assert_array_equal(other.predict(X), meta.predict(X))
    piped = RidgeTowardsPooled(make_pipeline(StandardScaler(), Lasso()), task_column=0)
    assert_allclose(piped.fit(X, y).predict(X), by_groups)
    assert isinstance(piped.estimator_[-1], Lasso)
    grid = {"strengths": [[1e-6], [3.0], [1e6]]}
    scorer = few_shot_scorer("neg_mean_squared_error", n_shots=3)
    search = GridSearchCV(meta, grid, scoring=scorer, cv=GroupKFold(4)).fit(X, y, groups=ids)
    assert search.best_params_ == {"strengths": [3.0]}


@pytest.mark.parametrize(
    "wrapped", [LogisticRegression(), LinearRegression(fit_intercept=False)], ids=repr
)
def test_what_it_cannot_wrap(wrapped):
    y = [0, 1] * 5
    with pytest.raises(ValueError, match="is no linear regressor with squared loss"):
        RidgeTowardsPooled(wrapped).fit(np.arange(10.0)[:, None], y)


def test_arguments_that_no_fit_takes():
    X, y, ids = long_table(make_tasks())
    with pytest.raises(TypeError, match="never fitted; got \\['check_input'\\]"):
        RidgeTowardsPooled().fit(X, y, groups=ids, check_input=False)


# -- the page --------------------------------------------------------------------------------------


def test_the_example_in_its_docstring():
    result = doctest.testmod(extending, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0 and result.attempted >= 5


def test_it_touches_nothing_private_but_the_hooks_that_it_overrides():
    tree = ast.parse(Path(extending.__file__).read_text())
    private = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
    }
    assert private == {"BaseMetaEstimator._parameter_constraints", "self._rows"}
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not any("._" in node.module for node in imported)
    assert not any(name.name.startswith("_") for node in imported for name in node.names)
    own = {name for name in vars(RidgeTowardsPooled) if name.startswith("_") and name[1] != "_"}
    assert {name for name in own if not hasattr(BaseMetaEstimator, name)} == {"_rows"}


def test_it_is_as_short_as_it_says():
    source = Path(extending.__file__).read_text()
    strings = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    text = {line for node in strings for line in range(node.lineno, node.end_lineno + 1)}
    code = [i for i, line in enumerate(source.splitlines(), 1) if line.strip() and i not in text]
    assert len(code) <= 100
