"""Adapted models score the same in onnxruntime."""

import numpy as np
import pytest
from algorithms import CASES, Case, make_meta, make_table
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaRegressor,
    Pooled,
    TableEncoder,
    TransferMetaLearner,
)
from sklearn_meta.io import register_onnx
from sklearn_meta.learners import last_step
from sklearn_meta.learners.blend import blend
from sklearn_meta.learners.encoded import EncodedClassifier

skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # skl2onnx reads old attributes


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_onnx()


def run(model, X):
    """Outputs of the graph of a fitted estimator."""
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    graph = skl2onnx.to_onnx(model, X[:1], options=options)
    session = runtime.InferenceSession(graph.SerializeToString())
    return session.run(None, {"X": X})


def assert_same(model, X):
    first, *rest = run(model, X)
    if not hasattr(model, "classes_"):
        expected = model.predict(X)
        assert_allclose(first.ravel(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    elif hasattr(model, "predict_proba"):
        p = model.predict_proba(X)
        assert_allclose(rest[0], p, rtol=1e-5, atol=1e-5)
        clear = np.sort(p, axis=1)[:, -2:] @ [-1, 1] > 1e-4
        assert_array_equal(first[clear], model.predict(X)[clear])
    else:
        assert_array_equal(first, model.predict(X))


def boosted(case):
    """Boosting by histograms, which skl2onnx 1.20 cannot write with protobuf 7; in stacks, too."""
    default = str(case) in ("MetaRegressor-None", "MetaClassifier-None")
    return default or "HistGradientBoosting" in str(case) or "boosting" in str(case)


FOREST, SHALLOW = RandomForestRegressor(n_estimators=3), DecisionTreeRegressor(max_depth=3)
CANDIDATES = [
    ("pooled", Pooled()),
    ("trees", Independent(SHALLOW)),
    ("forest", make_meta(MAML, FOREST)),
]
MODELS = [case for case in CASES if not boosted(case)]
MODELS += [
    Case(cls, FOREST)
    for cls in (HierarchicalBayes, BatchMetaLearner, TransferMetaLearner, GaussianProcessMeta, MAML)
]
MODELS += [
    Case(TransferMetaLearner, DecisionTreeClassifier(max_depth=2)),
    Case(TransferMetaLearner, DecisionTreeClassifier(max_depth=2), 2),
    Case(MAML, SVC(), 2),
    Case(MetaRegressor, CANDIDATES),
]


@pytest.mark.parametrize("make", MODELS, ids=str)
def test_every_adapted_model(make):
    meta, (task,) = make.fitted(), make.new_tasks(1)
    model = meta.adapt(task.X, task.y).estimator_
    X = make.table.X
    if isinstance(meta, GaussianProcessMeta) and meta.kernel is not None:
        with pytest.raises(NotImplementedError, match="kernels of scikit-learn"):
            run(model, X)
        return
    assert_same(model, X.astype(np.float32))
    if type(last_step(model)).__module__.startswith("sklearn_meta"):  # else skl2onnx must do it
        assert_same(model, X)


@pytest.mark.parametrize("make", [Case(HierarchicalBayes, FOREST), Case(GaussianProcessMeta)])
def test_zero_shot(make):
    assert_same(make.trained().estimator_, make.table.X)


@pytest.mark.parametrize("wrapped", [DecisionTreeClassifier(), DecisionTreeRegressor()])
def test_tasks_that_no_estimator_can_be_fitted_on(wrapped):
    make = Case(Independent, wrapped)
    X, y = make.table.X.astype(np.float32), make.table.y
    assert_same(make.trained().estimator_, X)
    assert_same(make.trained().adapt(X[:3], np.repeat(y[:1], 3)).estimator_, X)


def test_encoded_labels():
    table = make_table(DecisionTreeClassifier())
    labels, codes = np.unique(table.y, return_inverse=True)
    tree = DecisionTreeClassifier(max_depth=2).fit(table.X, codes)
    assert_same(EncodedClassifier(tree, labels), table.X.astype(np.float32))


def test_missing_values():
    make = Case(HierarchicalBayes, FOREST)
    meta = make.fitted().adapt(make.table.X[:4], make.table.y[:4])
    X = make.table.X.copy()
    X[3, 1] = np.nan
    assert_same(meta.estimator_, X)


def test_a_table_of_numbers():
    table = make_table(n_tasks=10)
    table.X[3, 1] = np.nan
    meta = HierarchicalBayes(make_pipeline(TableEncoder(), Ridge()))
    meta.fit(table.X, table.y, groups=table.ids)
    assert_same(meta.adapt(table.X[:4], table.y[:4]).estimator_, table.X)
    assert_same(meta.estimator_, np.where(table.X > 1, np.nan, table.X))


def test_what_has_no_graph_says_so():
    table = make_table()
    frame = pytest.importorskip("pandas", reason="dates and text").DataFrame(
        {"size": table.X[:, 0], "kind": np.where(table.X[:, 1] > 0, "a", "b")}
    )
    encoder = TableEncoder().fit(frame)
    with pytest.raises(NotImplementedError, match=r"columns \['kind'\] are categories"):
        skl2onnx.to_onnx(encoder, table.X[:1])
    models = [SVC().fit(table.X, table.y > c) for c in (2, 3)]
    with pytest.raises(NotImplementedError, match="SVC has no probabilities"):
        run(blend(models, np.array([0.5, 0.5]), np.array([False, True])), table.X)
