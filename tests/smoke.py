"""The installed package works with nothing but its dependencies: run by ``make dist-check``."""

import pickle
import warnings

import joblib
import numpy as np
import scipy
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

import sklearn_meta
from sklearn_meta import MAML, HierarchicalBayes, MetaRegressor, RidgeHead, cross_validate_tasks
from sklearn_meta.datasets import make_linear_tasks

warnings.simplefilter("ignore", UserWarning)
assert all(getattr(sklearn_meta, name) is not None for name in sklearn_meta.__all__)
tasks = make_linear_tasks(n_tasks=20, n_features=3, random_state=0)
X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
ids = np.repeat(np.arange(20), [len(t.y) for t in tasks])
for meta in (
    HierarchicalBayes(),
    HierarchicalBayes(HistGradientBoostingRegressor(max_iter=5)),
    MAML(max_iter=5, random_state=0),
    RidgeHead(max_iter=5, random_state=0),
    MetaRegressor([("hierarchical", HierarchicalBayes())]),
):
    meta.fit(X, y, groups=ids).adapt(X[:5], y[:5])
    again = pickle.loads(pickle.dumps(meta))
    assert np.array_equal(again.predict(X), meta.predict(X))
labels = HierarchicalBayes(LogisticRegression()).fit(X, y > 0, groups=ids).predict(X, groups=ids)
assert np.mean(labels == (y > 0)) > 0.7
assert np.isfinite(cross_validate_tasks(HierarchicalBayes(), tasks, n_shots=(0, 5))["score"]).all()
versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (sklearn, np, scipy, joblib))
print(f"sklearn_meta {sklearn_meta.__version__} works with {versions}")
