"""Data, and what may never happen, for all test files."""

from contextlib import contextmanager

import algorithms
import joblib
import pytest


@pytest.fixture(scope="session")
def make_table():
    """``make_table(estimator)``: six tasks with the kind of target that the estimator wants."""
    return algorithms.make_table


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib", reason="draws pictures")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def unchanged():
    """``with unchanged(estimator):`` its attributes stay the same objects, their content too."""

    def content(estimator):  # callbacks may keep a diary
        return joblib.hash({k: v for k, v in vars(estimator).items() if k != "_skl_callbacks"})

    @contextmanager
    def check(estimator):
        before, hashed = dict(vars(estimator)), content(estimator)
        yield
        assert list(vars(estimator)) == list(before)
        assert all(vars(estimator)[name] is value for name, value in before.items())
        assert content(estimator) == hashed

    return check
