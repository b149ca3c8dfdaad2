"""What changes nothing but scale, or nothing at all, in every class."""

import copy
from functools import cache

import numpy as np
import pytest
from algorithms import CLASSES, make_meta, make_table
from numpy.testing import assert_allclose

from sklearn_meta import HierarchicalBayes
from sklearn_meta.base import meta_estimator
from sklearn_meta.kernels.scaling import Scaling
from sklearn_meta.priors.gaussian import GaussianPrior
from sklearn_meta.tasks.table import TaskTable, padded_batches
from sklearn_meta.tasks.validation import as_counts

TABLE = make_table(n_tasks=12)


def fitted(cls, X=TABLE.X, **params):
    return make_meta(cls).fit(X, TABLE.y, groups=TABLE.ids, **params)


as_it_is = cache(fitted)


@pytest.mark.parametrize("weight", [1e20, 1e-15, 1e-300])
@pytest.mark.parametrize("cls", CLASSES)
def test_units_of_weights(cls, weight):
    plain = copy.copy(as_it_is(cls))
    model = fitted(cls, sample_weight=np.full(len(TABLE.y), weight))
    for ids in (None, TABLE.ids):
        expected = plain.predict(TABLE.X, groups=ids)
        assert_allclose(model.predict(TABLE.X, groups=ids), expected, rtol=1e-6, atol=1e-6)
    if cls is HierarchicalBayes:
        for name in ("prior_mean_", "prior_covariance_", "noise_variance_"):
            assert_allclose(getattr(model, name), getattr(plain, name), rtol=1e-9)
    tasks = TABLE.tasks
    weights = np.full(len(tasks[0].y), weight)
    model.adapt(tasks[0].X, tasks[0].y, sample_weight=weights)
    plain.adapt(tasks[0].X, tasks[0].y)
    assert_allclose(model.predict(TABLE.X), plain.predict(TABLE.X), rtol=1e-6, atol=1e-6)


def test_weights_that_may_be_numbers_of_rows_stay():
    for weight in (np.array([1.0, 2.0, 0.0]), np.zeros(3), np.array([1e5, 1e-9, 3.0])):
        assert as_counts(weight) is weight
    assert_allclose(as_counts(np.array([1e20, 0.0, 3e20])), [0.5, 0.0, 1.5])
    assert as_counts(None) is None


ROWS = np.arange(len(TABLE.y))
TASKS = np.unique(TABLE.ids, return_inverse=True)[1]
CONSTANT = {
    "rounding": np.where(ROWS % 2, 0.1 + 0.2, 0.3),
    "between tasks": np.where(TASKS % 2, 0.1 + 0.2, 0.3),
    "one row": np.where(ROWS == 5, np.nextafter(1e9, 2e9), 1e9),
}


@pytest.mark.parametrize("column", CONSTANT)
@pytest.mark.parametrize("cls", CLASSES)
def test_columns_constant_up_to_rounding(cls, column):
    """They count as constant: predictions and coefficients are of the size of the others."""
    X, same = TABLE.X.copy(), TABLE.X.copy()
    X[:, 1], same[:, 1] = CONSTANT[column], CONSTANT[column][0]
    model, expected = fitted(cls, X), fitted(cls, same)
    for ids in (None, TABLE.ids):
        a, b = model.predict(X, groups=ids), expected.predict(same, groups=ids)
        assert_allclose(a, b, atol=1e-4)
    elsewhere = X[:5].copy()
    elsewhere[:, 1] += 1.0
    assert np.abs(model.predict(elsewhere) - model.predict(X[:5])).max() < 10


def test_a_constant_column_of_many_rows():
    """The rounding of a long sum is no spread."""
    for value in (-0.0313, 0.1, 1e9 / 3):
        X = np.column_stack([np.full(20_001, value), np.arange(20_001)])
        for weight in (None, np.linspace(0.1, 1.0, len(X))):
            assert Scaling.of(X, weight=weight).x_scale[0] == 1.0


def test_what_is_of_all_tasks_is_computed_once(monkeypatch):
    """Not for every block of tasks: time would grow with the square of their number."""
    calls = {"sizes": 0, "n_left": 0}

    def counted(cls, name):
        value = getattr(cls, name).fget

        def get(self):
            calls[name] += 1
            return value(self)

        monkeypatch.setattr(cls, name, property(get))

    counted(TaskTable, "sizes")
    counted(GaussianPrior, "n_left")
    monkeypatch.setattr(meta_estimator, "BLOCK_TASKS", 1)
    assert fitted(HierarchicalBayes).n_tasks_ == 12
    table = TaskTable.from_rows(TABLE.X, TABLE.y, TABLE.ids)
    calls.update(sizes=0)
    assert len(list(padded_batches(table, TABLE.X[:10].size))) == 12
    assert calls == {"sizes": 1, "n_left": 0}
