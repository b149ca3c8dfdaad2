"""Refits on source and target, rows left out, and folds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import Ridge

from sklearn_meta.learners import LinearLearner
from sklearn_meta.learners.refit import Fitter, deal_folds
from sklearn_meta.tasks.table import TaskTable

rng = np.random.default_rng(0)
X, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
S, t = rng.standard_normal((30, 3)), rng.standard_normal(30)


def rows(X, y):
    return TaskTable.from_rows(X, y)


@pytest.mark.parametrize(
    "units, centre, fit_intercept",
    [
        ((1, 1, 1), (0, 0, 0), True),
        ((1, 1e6, 1e-3), (2000, 5e6, 1), True),  # a year, a population
        ((1, 1e6, 1e-3), (3, 5e6, 0), False),
    ],
    ids=str,
)
def test_a_refit_is_ridge_on_both(units, centre, fit_intercept):
    ridge = Ridge(alpha=2.0, fit_intercept=fit_intercept)
    fitter = Fitter(LinearLearner(ridge, n_features=3), 0.0, 0, {}, {})
    source, target = (np.array(centre) + np.array(units) * Z for Z in (S, X))
    row = fitter.refit(rows(target, y), rows(source, t), 0.3)
    weight = np.r_[np.full(30, 0.3), np.ones(8)]
    both = np.vstack([source, target])
    expected = clone(ridge).fit(both, np.r_[t, y], sample_weight=weight).predict(target)
    assert_allclose(fitter.raw(row[None], target)[0, :, 0], expected, rtol=1e-6, atol=1e-6)


def test_rows_are_left_out():
    ridge = Ridge(alpha=2.0)
    fitter = Fitter(LinearLearner(ridge, n_features=3), 0.0, 0, {}, {})
    own, fold = fitter.left_out(rows(X, y))[:, 0], deal_folds(y, 5)
    for f in range(5):
        expected = clone(ridge).fit(X[fold != f], y[fold != f]).predict(X[fold == f])
        assert_allclose(own[fold == f], expected)


def test_folds_have_every_class_as_far_as_there_are_rows():
    labels = np.repeat(["a", "b", "c"], [5, 4, 1])
    fold = deal_folds(labels, 3)
    assert sorted(np.bincount(fold)) == [3, 3, 4]
    assert all(len(set(fold[labels == c])) == 3 for c in "ab")
    assert deal_folds(labels[:1], 3).tolist() == [0]
