"""Pooled is one fit on all rows; Independent is the loop over tasks that people write."""

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    RANSACRegressor,
    Ridge,
    SGDRegressor,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import Independent, Pooled, Task

ESTIMATORS = [
    LinearRegression(),
    Ridge(alpha=3.0),
    Lasso(alpha=0.1),
    SGDRegressor(random_state=0),
    LogisticRegression(),
    SVC(),
    RandomForestRegressor(5, random_state=0),
    RandomForestClassifier(5, random_state=0),
    DecisionTreeRegressor(random_state=0),
    make_pipeline(StandardScaler(), Ridge()),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)


def make_data(estimator=None, n_tasks=4, n_rows=30, seed=0):
    """Interleaved rows of tasks; labels of three classes, all of them in every task."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n_tasks) * 10, n_rows))
    X = rng.standard_normal((len(groups), 3))
    y = X @ [1.0, 2.0, -1.0] + groups / 10 + rng.standard_normal(len(X))
    if estimator is not None and is_classifier(estimator):
        y = np.array(["a", "b", "c"])[np.digitize(y - groups / 10, [-1, 1])]
    return X, y, groups


def assert_same(values, expected):
    if values.dtype.kind == "f":
        assert_allclose(values, expected, rtol=1e-8, atol=1e-10)
    else:
        assert_array_equal(values, expected)


# -- Pooled ----------------------------------------------------------------------------------------


@each_estimator
def test_pooled_is_a_fit_on_all_rows(estimator):
    X, y, groups = make_data(estimator)
    order = np.argsort(groups, kind="stable")  # forests depend on the order
    X, y, groups = X[order], y[order], groups[order]
    model = Pooled(estimator).fit(X, y, groups=groups)
    expected = clone(estimator).fit(X, y)
    assert type(model.estimator_) is type(estimator)
    for method in ("predict", "predict_proba", "decision_function"):
        assert hasattr(model, method) == hasattr(expected, method)
        if hasattr(expected, method):
            assert_same(getattr(model, method)(X, groups=groups), getattr(expected, method)(X))
            assert_same(getattr(model.estimator_, method)(X), getattr(expected, method)(X))


@each_estimator
def test_adapting_pooled_changes_nothing(estimator):
    X, y, groups = make_data(estimator)
    model = Pooled(estimator).fit(X, y, groups=groups)
    expected = model.predict(X)
    assert_same(model.adapt(X[:5], y[:5]).predict(X), expected)
    assert_same(model.adapt(X[:0], y[:0]).predict(X), expected)


def test_pooled_weights_are_those_of_the_fit():
    X, y, groups = make_data()
    weight = np.random.default_rng(0).uniform(0.1, 2, len(y))
    model = Pooled().fit(X, y, groups=groups, sample_weight=weight)
    assert_allclose(model.predict(X), Ridge().fit(X, y, sample_weight=weight).predict(X))
    tasks = [
        Task(X[groups == g], y[groups == g], sample_weight=weight[groups == g])
        for g in np.unique(groups)
    ]
    assert_allclose(Pooled().meta_fit(tasks).predict(X), model.predict(X))


# -- Independent -----------------------------------------------------------------------------------


@each_estimator
def test_independent_is_a_loop(estimator):
    X, y, groups = make_data(estimator)
    model = Independent(estimator).fit(X, y, groups=groups)
    assert_array_equal(model.task_ids_, list(dict.fromkeys(groups)))
    for g in np.unique(groups):
        own = groups == g
        if hasattr(estimator, "steps"):  # its transformers are fitted on all rows
            scaler = StandardScaler().fit(X)
            expected = clone(estimator[-1]).fit(scaler.transform(X[own]), y[own])
            predicted = expected.predict(scaler.transform(X[own]))
        else:
            predicted = clone(estimator).fit(X[own], y[own]).predict(X[own])
        assert_same(model.predict(X[own], groups=groups[own]), predicted)
        assert_same(model.adapt(X[own], y[own]).predict(X[own]), predicted)


@pytest.mark.parametrize("estimator", [Ridge(), Lasso(alpha=0.1), SVC()], ids=str)
def test_rows_of_many_tasks_are_each_predicted_by_their_own(estimator):
    X, y, groups = make_data(estimator)
    model = Independent(estimator).fit(X, y, groups=groups)
    together = model.predict(X, groups=groups)
    for g in np.unique(groups):
        own = groups == g
        assert_same(together[own], model.predict(X[own], groups=groups[own]))


def test_workers_change_nothing():
    X, y, groups = make_data()
    estimator = RandomForestRegressor(3)
    models = [Independent(estimator, random_state=0, n_jobs=n_jobs) for n_jobs in (None, 2)]
    with parallel_config("threading"):
        one, two = (m.fit(X, y, groups=groups).predict(X, groups=groups) for m in models)
    assert_array_equal(one, two)


def test_every_task_has_the_same_seed():
    X, y, _ = make_data(n_tasks=1)
    twice = np.concatenate([X, X]), np.concatenate([y, y])
    model = Independent(RandomForestRegressor(3), random_state=0)
    model.fit(*twice, groups=np.repeat(["a", "b"], len(y)))
    a, b = (model.predict(X, groups=[g] * len(y)) for g in "ab")
    assert_array_equal(a, b)


@pytest.mark.parametrize("estimator", [Ridge(), Lasso(alpha=0.1), KNeighborsRegressor(1)], ids=str)
def test_regression_without_rows_is_the_mean(estimator):
    X, y, groups = make_data()
    weight = np.arange(len(y)) % 3 if not isinstance(estimator, KNeighborsRegressor) else None
    model = Independent(estimator).fit(
        X, y, groups=groups, **({} if weight is None else {"sample_weight": weight})
    )
    mean = np.average(y, weights=weight)
    assert_allclose(model.predict(X, groups=np.full(len(X), -1)), mean)
    assert_allclose(model.predict(X[:2], groups=[None, np.nan]), mean)
    assert_allclose(model.adapt(X[:0], y[:0]).predict(X), mean)
    if weight is not None:
        adapted = model.adapt(X[:3], y[:3], sample_weight=np.zeros(3))
        assert_allclose(adapted.predict(X), mean)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), RandomForestClassifier(5, random_state=0)], ids=str
)
def test_classes_of_a_task_without_rows_or_with_one_class(estimator):
    """Class shares of meta-training; with rows of one class, its count and one row spread so."""
    X, y, groups = make_data(estimator)
    model = Independent(estimator).fit(X, y, groups=groups)
    share = np.array([(y == label).mean() for label in model.classes_])
    assert_allclose(model.predict_proba(X[:1], groups=[-1]), share[None], atol=1e-8)
    assert_allclose(model.adapt(X[:0], y[:0]).predict_proba(X[:1]), share[None], atol=1e-8)
    model.adapt(X[:3], np.array(["b"] * 3))
    assert_allclose(model.predict_proba(X[:1]), (np.array([[0, 3, 0]]) + share) / 4, atol=1e-8)
    assert_array_equal(model.predict(X), ["b"] * len(X))


@pytest.mark.parametrize("centre", [-30, 0, 30])
@pytest.mark.parametrize(
    "estimator", [LogisticRegression(max_iter=1000), SVC(decision_function_shape="ovr")], ids=str
)
def test_a_class_that_a_task_has_not_seen_is_not_predicted(estimator, centre):
    X, y, groups = make_data(estimator)
    X, rows = X + centre, (groups > 0) | (y != "b")
    X, y, groups = X[rows], y[rows], groups[rows]
    model = Independent(estimator).fit(X, y, groups=groups)
    own = groups == 0
    expected = clone(estimator).fit(X[own], y[own])
    assert_array_equal(model.predict(X[own], groups=groups[own]), expected.predict(X[own]))


def test_a_table_may_have_a_task_with_a_single_class():
    X, y, groups = make_data(LogisticRegression())
    y[groups == 10] = "c"
    model = Independent(LogisticRegression()).fit(X, y, groups=groups)
    assert_array_equal(model.predict(X[:5], groups=[10] * 5), ["c"] * 5)


def test_an_error_names_its_task():
    X, y, groups = make_data()
    few = groups != 20
    few[np.flatnonzero(groups == 20)[:2]] = True
    with pytest.raises(ValueError, match="^task 20: `min_samples` may not be larger"):
        Independent(RANSACRegressor(min_samples=5)).fit(X[few], y[few], groups=groups[few])


def test_standardize_uses_all_rows():
    X, y, groups = make_data()
    X = X * [0.01, 1, 100] + 3
    model = Independent(Ridge(), standardize=True).fit(X, y, groups=groups)
    own = groups == 10
    scaler = StandardScaler().fit(X)
    expected = Ridge().fit(scaler.transform(X[own]), (y[own] - y.mean()) / y.std())
    assert_allclose(
        model.predict(X[own], groups=groups[own]),
        expected.predict(scaler.transform(X[own])) * y.std() + y.mean(),
    )
