"""What changes nothing, for every class: units, the order of rows and tasks, names of labels.

Classes that draw episodes draw others from rows in another order.
"""

from functools import cache

import numpy as np
import pytest
from algorithms import CLASSES, MetaRegressor, make_meta, make_table
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_meta import (
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    Pooled,
    PrototypeClassifier,
    RidgeHead,
)

TABLE = make_table()
LABELLED = make_table(LogisticRegression())
REGRESSORS = [make_meta(cls) for cls in [*CLASSES, RidgeHead] if not is_classifier(cls())]
REGRESSORS.append(make_meta(MetaRegressor, [("pooled", Pooled()), ("own", Independent())]))
CLASSIFIERS = [make_meta(cls, LogisticRegression()) for cls in CLASSES + [PrototypeClassifier]]
CLASSIFIERS = [meta for meta in CLASSIFIERS if not isinstance(meta, GaussianProcessMeta)]
WITHOUT_DRAWS = [
    Pooled(LinearRegression()),
    Independent(LinearRegression()),
    HierarchicalBayes(),
    HierarchicalBayes(LogisticRegression(), random_effects="intercept"),
]

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*tasks are too few"),
]
few = settings(max_examples=5, deadline=None, derandomize=True)


def each(metas):
    names = [f"{type(meta).__name__}-{meta.get_params().get('estimator')}" for meta in metas]
    return pytest.mark.parametrize("meta", metas, ids=names)


def answers(meta, X, y, ids, new, n_rows=4):
    """A copy, and what it says of known tasks and of a new one after some of its rows."""
    meta = clone(meta).fit(X, y, groups=ids)
    method = "predict_proba" if hasattr(meta, "predict_proba") else "predict"
    known = getattr(meta, method)(X, groups=ids)
    meta.adapt(X[new][:n_rows], y[new][:n_rows])
    return meta, np.concatenate([known, getattr(meta, method)(X[new])])


@cache
def plain_answers(meta, labelled, n_rows=4):
    """Those of the table as it is, once for all of its changes."""
    table = LABELLED if labelled else TABLE
    return answers(meta, table.X, table.y, table.ids, table.ids == "store_3", n_rows)


NEW = TABLE.ids == "store_3"


@each(REGRESSORS)
@few
@given(scale=st.sampled_from([1e-6, 0.1, 1e3, 1e9]), shift=st.sampled_from([0.0, 1.0, -50.0]))
def test_units_of_targets(meta, scale, shift):
    _, expected = plain_answers(meta, False)
    _, found = answers(meta, TABLE.X, scale * (TABLE.y + shift), TABLE.ids, NEW)
    spread = TABLE.y.std()
    assert_allclose(found / scale - shift, expected, atol=1e-3 * spread, rtol=0)


@each(WITHOUT_DRAWS)
@few
@given(seed=st.integers(0, 1000))
def test_order_of_rows_and_tasks(meta, seed):
    table = LABELLED if is_classifier(meta) else TABLE
    _, expected = plain_answers(meta, table is LABELLED, n_rows=10)
    order = np.random.default_rng(seed).permutation(len(table.y))
    X, y, ids = table.X[order], table.y[order], table.ids[order]
    _, found = answers(meta, X, y, ids, ids == "store_3", n_rows=10)
    place = np.argsort(order)
    known, of_new = found[: len(y)][place], found[len(y) :]
    of_new = of_new[np.argsort(order[ids == "store_3"])]
    assert_allclose(np.concatenate([known, of_new]), expected, atol=1e-4)


@each(WITHOUT_DRAWS)
@few
@given(scale=st.lists(st.sampled_from([0.1, 1.0, 1e3]), min_size=3, max_size=3))
def test_units_of_features(meta, scale):
    table = LABELLED if is_classifier(meta) else TABLE
    _, expected = plain_answers(meta, table is LABELLED)
    _, found = answers(meta, table.X * scale, table.y, table.ids, table.ids == "store_3")
    assert_allclose(found, expected, atol=1e-3)


@each(CLASSIFIERS)
@pytest.mark.parametrize("names", [[-1, 2, 30], ["a", "b", "c"], [0.0, 1.0, 2.0]], ids=str)
def test_names_of_classes(meta, names):
    y = np.array(names)[np.unique(LABELLED.y, return_inverse=True)[1]]
    before, expected = plain_answers(meta, True)
    labels = before.predict(LABELLED.X)
    after, found = answers(meta, LABELLED.X, y, LABELLED.ids, LABELLED.ids == "store_3")
    assert_array_equal(found, expected)
    assert_array_equal(
        after.predict(LABELLED.X), np.array(names)[np.searchsorted(np.unique(LABELLED.y), labels)]
    )
