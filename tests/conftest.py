"""Data, and what may never happen, for all test files."""

from contextlib import contextmanager
from dataclasses import dataclass

import joblib
import numpy as np
import pytest
from sklearn.utils import get_tags

from sklearn_meta import Task


@dataclass
class LongTable:
    """Rows of many tasks, shuffled, and who owns them."""

    X: np.ndarray
    y: np.ndarray
    ids: np.ndarray

    names = ("size", "price", "age")

    @property
    def tasks(self):
        """In the order in which the ids first appear, as ``fit`` finds them."""
        ids = list(dict.fromkeys(self.ids.tolist()))
        return [Task(self.X[self.ids == i], self.y[self.ids == i], id=i) for i in ids]

    def frame(self, library="pandas", column="store", X=None):
        """The table as a dataframe, the ids in its middle."""
        library = pytest.importorskip(library, reason="needs the dataframe library")
        X = self.X if X is None else X
        columns = {"size": X[:, 0], column: self.ids, "price": X[:, 1], "age": X[:, 2]}
        return library.DataFrame(columns)


@pytest.fixture(scope="session")
def make_table():
    """``make_table(estimator)``: six tasks with the kind of target that the estimator wants."""

    def make(estimator=None, n_tasks=6, n_rows=10, seed=0):
        rng = np.random.default_rng(seed)
        ids = rng.permutation(np.repeat([f"store_{t}" for t in range(n_tasks)], n_rows))
        X = rng.standard_normal((len(ids), 3))
        _, task = np.unique(ids, return_inverse=True)
        slopes = [1.0, -0.5, 0.25] + 0.3 * rng.standard_normal((n_tasks, 3))
        raw = rng.standard_normal(n_tasks)[task] + np.sum(X * slopes[task], axis=1)
        raw += 0.1 * rng.standard_normal(len(raw))
        if estimator is not None and get_tags(estimator).estimator_type == "classifier":
            y = np.array(["low", "mid", "high"])[np.digitize(raw, np.quantile(raw, [0.4, 0.7]))]
        else:
            y = raw - raw.min() + 1.0  # positive, for Poisson and Gamma
        return LongTable(X, y, ids)

    return make


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
