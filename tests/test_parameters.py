"""Fields of estimators as parameters."""

from dataclasses import KW_ONLY
from typing import Any

import pytest
from sklearn.base import BaseEstimator, clone

from sklearn_meta.base import with_parameters


class Base(BaseEstimator):
    _parameter_constraints = {"estimator": [None], "depth": ["any"], "seed": [None]}


@with_parameters
class Child(Base):
    estimator: Any = None
    _: KW_ONLY
    depth: int = 3
    names: tuple[str, ...] = ("a", "b")

    _parameter_constraints = {"depth": ["boolean"], "names": [tuple]}


@with_parameters
class Grandchild(Child):
    _: KW_ONLY
    depth: int = 4


def test_they_are_what_scikit_learn_takes_for_parameters():
    child = Child("e", depth=5)
    assert child.get_params() == {"estimator": "e", "depth": 5, "names": ("a", "b")}
    assert vars(child) == child.get_params()
    assert clone(child).get_params() == child.get_params()
    assert repr(child) == "Child(depth=5, estimator='e')"
    assert child != clone(child)  # estimators are compared by identity
    with pytest.raises(TypeError, match="positional"):
        Child("e", 5)


def test_constraints_are_those_of_the_parameters_and_of_the_nearest_class():
    expected = {"estimator": [None], "depth": ["boolean"], "names": [tuple]}
    assert Child._parameter_constraints == Grandchild._parameter_constraints == expected
    assert Grandchild().get_params() == {"estimator": None, "depth": 4, "names": ("a", "b")}


def test_a_parameter_without_a_constraint_is_refused():
    class Forgotten(Base):
        width: int = 1

    with pytest.raises(KeyError, match="width"):
        with_parameters(Forgotten)
