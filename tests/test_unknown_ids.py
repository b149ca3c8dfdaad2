"""Ids that were never seen, or that were seen as another type."""

import warnings

import numpy as np
import pytest
from algorithms import CLASSES, make_meta
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge

from sklearn_meta import HierarchicalBayes, Independent

X = np.arange(24.0).reshape(12, 2) % 7
Y = X[:, 0] + np.arange(12) % 3
IDS = np.repeat(["a", "b", "c"], 4)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_knows_what_unknown_means(cls):
    meta = make_meta(cls, Ridge())
    assert meta.handle_unknown == "prior"
    with pytest.raises(ValueError, match="handle_unknown"):
        meta.set_params(handle_unknown="ignore").fit(X, Y, groups=IDS)


@pytest.fixture
def meta():
    return Independent(Ridge()).fit(X, Y, groups=IDS)


def test_prior_is_silent(meta):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta.predict(X[:2], groups=["a", "z"])


def test_warn(meta):
    expected = meta.predict(X[:2], groups=["a", "z"])
    meta.set_params(handle_unknown="warn")
    with pytest.warns(UserWarning, match="row 1: the task id 'z' is unknown; 3 tasks"):
        assert_array_equal(meta.predict(X[:2], groups=["a", "z"]), expected)


def test_error(meta):
    meta.set_params(handle_unknown="error")
    meta.predict(X[:2], groups=["a", "b"])
    meta.predict(X[:2], groups=["a", None])  # no known task, and said so
    with pytest.raises(ValueError, match="row 1: the task id 'z' is unknown"):
        meta.predict(X[:2], groups=["a", "z"])


@pytest.mark.parametrize(
    ("fitted", "asked", "name"), [([1, 2], ["1", "2"], "numbers"), (["1", "2"], [1, 2], "text")]
)
def test_ids_of_another_type(fitted, asked, name):
    meta = HierarchicalBayes().fit(X[:8], Y[:8], groups=np.repeat(fitted, 4))
    with pytest.warns(UserWarning, match=f"all would be as {name}: {asked[0]!r} is not what"):
        meta.predict(X[:2], groups=asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta.predict(X[:2], groups=["7", "8"])  # strangers under any type
        meta.predict(X[:2], groups=fitted)
    meta.set_params(handle_unknown="warn")
    with pytest.warns(UserWarning, match=f"all would be as {name}"):
        meta.predict(X[:2], groups=asked)
    meta.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match=f"all would be as {name}.*Give ids the type"):
        meta.predict(X[:2], groups=asked)
