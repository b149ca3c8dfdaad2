"""The contract of the gradient family, over everything that it can wrap."""

from functools import cache

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_classifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from sklearn_meta import ANIL, FOMAML, IMAML, MAML, MetaSGD, Reptile, Task
from sklearn_meta.learners import HeadLearner

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASSES = [MAML, FOMAML, ANIL, MetaSGD, IMAML, Reptile]
ONE_HOT = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder=StandardScaler()
)
# what is wrapped, number of classes
WRAPPED = {
    "default": (None, 0),
    "logistic": (LogisticRegression(), 2),
    "multinomial": (LogisticRegression(), 3),
    "poisson": (PoissonRegressor(), 0),
    "mlp": (MLPRegressor(hidden_layer_sizes=(4,), max_iter=20), 0),
    "mlp classifier": (MLPClassifier(hidden_layer_sizes=(4,), max_iter=20), 3),
    "boosting": (HistGradientBoostingRegressor(max_iter=3), 0),
    "forest": (RandomForestClassifier(n_estimators=3), 3),
    "neighbors": (KNeighborsClassifier(), 2),
    "svc": (SVC(), 3),
    "pipeline": (make_pipeline(ONE_HOT, Ridge()), 0),
    "pipeline with body": (make_pipeline(ONE_HOT, KNeighborsClassifier()), 2),
}
each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
each_wrapped = pytest.mark.parametrize("wrapped", WRAPPED)


@cache
def make_tasks(wrapped, n_tasks=6, seed=0):
    """Tasks of 7 to 12 rows with the kind of rows and targets that the estimator wants."""
    n_classes = WRAPPED[wrapped][1]
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_tasks):
        X = rng.standard_normal((7 + t, 3))
        raw = X @ [1.0, -0.5, 0.25] + rng.standard_normal() + 0.1 * rng.standard_normal(len(X))
        if n_classes:
            y = np.array(["high", "low", "mid"])[np.arange(len(X)) % n_classes]
            X[:, 0] += np.arange(len(X)) % n_classes
        else:
            y = np.exp(raw / 3)
        if "pipeline" in wrapped:
            X = pd.DataFrame(X, columns=["size", "price", "age"])
            X["town"] = rng.choice(["Aix", "Bonn"], len(X))
        tasks.append(Task(X, y, id=f"store_{t}"))
    return tasks


def make_meta(kind, wrapped, **params):
    return kind(WRAPPED[wrapped][0], **dict(max_iter=3, random_state=0) | params)


@cache
def fitted(kind, wrapped):
    return make_meta(kind, wrapped).meta_fit(make_tasks(wrapped))


def predictions(model, X):
    """All that a model says of X."""
    methods = ["predict", "predict_proba", "decision_function"]
    return {m: getattr(model, m)(X) for m in methods if hasattr(model, m)}


def assert_same(first, second, **tolerance):
    for method in first:
        if tolerance and first[method].dtype.kind == "f":
            assert_allclose(first[method], second[method], **tolerance)
        else:
            assert_array_equal(first[method], second[method])


@each_class
@each_wrapped
class TestContract:
    def test_adapted_predictions(self, kind, wrapped):
        meta, task = fitted(kind, wrapped), make_tasks(wrapped)[3]
        before = joblib.hash(meta.meta_model_)
        meta.adapt(task.X, task.y)
        ours = predictions(meta, task.X)
        assert_same(ours, predictions(meta.estimator_, task.X), rtol=1e-6, atol=1e-8)
        for values in ours.values():
            assert len(values) == len(task.X)
            assert values.dtype.kind == "U" or np.isfinite(values).all()
        if "predict_proba" in ours:
            assert_allclose(ours["predict_proba"].sum(axis=1), 1)
        assert joblib.hash(meta.meta_model_) == before

    def test_methods_are_those_of_the_wrapped(self, kind, wrapped):
        estimator, meta = WRAPPED[wrapped][0], fitted(kind, wrapped)
        for method in ("predict_proba", "decision_function"):
            assert hasattr(meta, method) == hasattr(estimator, method)

    def test_no_rows_are_zero_shot(self, kind, wrapped):
        tasks = make_tasks(wrapped)
        meta, X = make_meta(kind, wrapped).meta_fit(tasks), tasks[0].X
        zero_shot = predictions(meta, X)
        meta.adapt(X, tasks[0].y)
        meta.adapt(X[:0], tasks[0].y[:0])
        assert_same(predictions(meta, X), zero_shot)
        assert_same(zero_shot, predictions(meta.estimator_, X), rtol=1e-6, atol=1e-8)

    def test_adapting_again_is_the_same(self, kind, wrapped):
        meta, tasks = fitted(kind, wrapped), make_tasks(wrapped)
        seen = []
        for t in (0, 1, 0):
            seen.append(predictions(meta.adapt(tasks[t].X, tasks[t].y), tasks[2].X))
        assert_same(seen[0], seen[2])

    def test_adapt_many(self, kind, wrapped):
        meta, tasks = fitted(kind, wrapped), make_tasks(wrapped)
        for task, estimator in zip(tasks, meta.adapt_many(tasks), strict=True):
            alone = predictions(meta.adapt(task.X, task.y).estimator_, task.X)
            assert_same(predictions(estimator, task.X), alone, rtol=1e-6, atol=1e-8)

    def test_fit_remembers_tasks(self, kind, wrapped):
        tasks = make_tasks(wrapped)
        stack = pd.concat if "pipeline" in wrapped else np.concatenate
        X, y = stack([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
        ids = np.repeat([t.id for t in tasks], [len(t.y) for t in tasks])
        meta = make_meta(kind, wrapped).fit(X, y, groups=ids)
        assert meta.task_ids_.tolist() == [t.id for t in tasks]
        by_id, zero_shot = meta.predict(X, groups=ids), meta.predict(X, groups=["new"] * len(X))
        assert_array_equal(zero_shot, meta.predict(X))
        if isinstance(meta.learner_, HeadLearner):  # fit knows the rows out of fold, adapt cannot
            assert len(meta._remembered) == 6
            return
        for task in tasks:
            one = meta.adapt(task.X, task.y).predict(task.X)
            if is_classifier(meta):
                assert_array_equal(by_id[ids == task.id], one)
            else:
                assert_allclose(by_id[ids == task.id], one, rtol=1e-6)

    def test_reproducible(self, kind, wrapped):
        tasks = make_tasks(wrapped)
        again = make_meta(kind, wrapped).meta_fit(tasks)
        assert again.loss_curve_ == fitted(kind, wrapped).loss_curve_
        assert_array_equal(again.meta_model_.theta, fitted(kind, wrapped).meta_model_.theta)

    @pytest.mark.parametrize("n_rows", [1, 2])
    @pytest.mark.filterwarnings("error::RuntimeWarning")
    def test_tiny_supports_and_a_huge_rate(self, kind, wrapped, n_rows):
        """The two rows of a classifier's support are of one class."""
        tasks = make_tasks(wrapped)
        meta = make_meta(kind, wrapped, inner_lr=1e6, tasks_per_batch=1000).meta_fit(tasks)
        rows = np.flatnonzero(tasks[0].y == tasks[0].y[0])[:n_rows]
        part = tasks[0].rows(rows)
        for values in predictions(meta.adapt(part.X, part.y), tasks[1].X).values():
            assert values.dtype.kind == "U" or np.isfinite(values).all()


# -- scikit-learn's own checks ---------------------------------------------------------------------

CHECKED = [
    *(
        MAML(estimator)
        for estimator in (
            None,
            LogisticRegression(),
            MLPClassifier(hidden_layer_sizes=(8,), max_iter=100),
            HistGradientBoostingRegressor(max_iter=5),
            KNeighborsClassifier(),
            make_pipeline(StandardScaler(), Ridge()),
        )
    ),
    *(
        kind(estimator)
        for kind in (FOMAML, ANIL, MetaSGD, IMAML, Reptile)
        for estimator in (None, LogisticRegression())
    ),
]


@pytest.mark.parametrize("meta", CHECKED, ids=lambda m: repr(m).replace("\n", ""))
def test_checks_of_scikit_learn(meta):
    results = check_estimator(meta.set_params(max_iter=20), on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in results) >= 50
