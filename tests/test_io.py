"""What is saved comes back: types that skops may load, versions of the state, serving."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import BytesIO

import joblib
import numpy as np
import pytest
from algorithms import CASES, CLASSES, PAIRS, Case, make_meta, make_table
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, TweedieRegressor
from sklearn.pipeline import make_pipeline

import sklearn_meta
from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaRegressor,
    Pooled,
    PrototypeClassifier,
    Reptile,
    RidgeHead,
    TableEncoder,
    TransferMetaLearner,
    descriptors,
    versions,
)
from sklearn_meta.datasets import make_n_way_tasks
from sklearn_meta.io import TRUSTED_TYPES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def skopsed(thing):
    skops = pytest.importorskip("skops.io", reason="the round trip is through skops")
    return skops.loads(skops.dumps(thing), trusted=TRUSTED_TYPES)


# -- types that skops may load ---------------------------------------------------------------------


# These go through skops in test_common.py; the default stack of labels has the types of the other.
KNOWN = {*map(str, CASES), "MetaClassifier-None"}


@pytest.mark.parametrize("make", [case for case in PAIRS if str(case) not in KNOWN], ids=str)
def test_every_class_goes_through_skops(make):
    table, (task,) = make.table, make.new_tasks(1)
    meta = make.fitted().adapt(task.X, task.y)
    back = skopsed(meta)
    assert_array_equal(back.predict(table.X), meta.predict(table.X))
    ids = table.ids
    assert_array_equal(back.predict(table.X, groups=ids), meta.predict(table.X, groups=ids))
    plain = skopsed(meta.estimator_)
    assert_array_equal(plain.predict(table.X), meta.estimator_.predict(table.X))


LOSSES = [
    (MAML, make_pipeline(TableEncoder(), LogisticRegression())),
    (HierarchicalBayes, TweedieRegressor(power=0)),
    (TransferMetaLearner, RandomForestRegressor(n_estimators=2)),
]


@pytest.mark.parametrize("cls, wrapped", LOSSES)
def test_other_parts_go_through_skops(cls, wrapped):
    make = Case(cls, wrapped)
    meta = make.fitted().adapt(make.table.X[:5], make.table.y[:5])
    assert_array_equal(skopsed(meta).predict(make.table.X), meta.predict(make.table.X))


@pytest.mark.parametrize("name", descriptors.__all__)
def test_descriptors_go_through_skops(name):
    kind = getattr(descriptors, name)
    if not hasattr(kind, "transform") or name in ("TaskDescriptor", "FunctionDescriptor"):
        return
    wrapped = LogisticRegression() if name == "ClassDescriptor" else Ridge()
    meta = make_meta(BatchMetaLearner, wrapped, descriptor=kind())
    table = make_table(meta)
    meta.fit(table.X, table.y, groups=table.ids)
    assert_array_equal(skopsed(meta).predict(table.X), meta.predict(table.X))


def test_n_way_tasks_go_through_skops():
    tasks = make_n_way_tasks(*load_iris(return_X_y=True), n_tasks=6, n_way=2, random_state=0)
    for cls in (Reptile, PrototypeClassifier, RidgeHead):
        meta = make_meta(cls, LogisticRegression(), classes="per_task").meta_fit(tasks)
        meta.adapt(tasks[0].X, tasks[0].y, groups=["a"] * len(tasks[0].X))
        meta.adapt(tasks[1].X, tasks[1].y)
        assert_array_equal(skopsed(meta).predict(tasks[1].X), meta.predict(tasks[1].X))


def test_a_table_as_it_comes_goes_through_skops():
    pd = pytest.importorskip("pandas", reason="the table is a dataframe")
    table = make_table()
    X = table.frame().assign(kind=np.where(table.X[:, 0] > 0, "a", "b"))
    X["day"] = pd.date_range("2026-01-31", periods=len(X))
    meta = HierarchicalBayes(make_pipeline(TableEncoder(), Ridge()), task_column="store")
    meta.fit(X, table.y)
    assert_array_equal(skopsed(meta).predict(X), meta.predict(X))


ENCODED = make_pipeline(TableEncoder(), Ridge())
TREES = HistGradientBoostingRegressor(max_iter=2, categorical_features="from_dtype")
ON_FRAMES = [(cls, ENCODED) for cls in [*CLASSES, RidgeHead]]
ON_FRAMES += [(PrototypeClassifier, make_pipeline(TableEncoder(), LogisticRegression()))]
# These see the dataframe itself, and the rows that are remembered stay one.
ON_FRAMES += [(cls, TREES) for cls in (Independent, BatchMetaLearner, TransferMetaLearner, MAML)]
ON_FRAMES += [(MetaRegressor, [("pooled", Pooled(ENCODED)), ("trees", Pooled(TREES))])]


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


def dumped(thing):
    file = BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize("library, by", [("pandas", "column"), ("polars", "groups")])
@pytest.mark.parametrize("cls, wrapped", ON_FRAMES, ids=str)
def test_what_was_fitted_on_a_dataframe_comes_back(cls, wrapped, library, by):
    pd = pytest.importorskip("pandas", reason="the table is a dataframe")
    meta = make_meta(cls, wrapped)
    table = make_table(meta, n_tasks=10 if cls is MetaRegressor else 4)
    X = table.frame().assign(open=table.X[:, 0] > 0)
    X["kind"] = pd.Categorical(np.where(table.X[:, 1] > 0, "a", "b"))
    X["n"] = pd.array([None, *range(1, len(X))], dtype="Int64")
    if wrapped is not TREES and cls is not MetaRegressor:
        X["day"] = pd.date_range("2026-01-31", periods=len(X), tz="Europe/Berlin")
        X["text"] = np.where(table.X[:, 2] > 0, "c", None)
    if library == "polars":
        X = pytest.importorskip("polars", reason="the other library").from_pandas(X)
    ids = {}
    if by == "column":
        meta.set_params(task_column="store")
    else:
        X, ids = X[[name for name in X.columns if name != "store"]], {"groups": table.ids}
    meta.fit(X, table.y, **ids)
    for back in (pickled(meta), dumped(meta), skopsed(meta)):
        assert_array_equal(back.predict(X, **ids), meta.predict(X, **ids))
    if hasattr(meta, "partial_adapt"):
        some = {name: values[:30] for name, values in ids.items()}
        back.partial_adapt(X[:30], table.y[:30], **some)
        meta.partial_adapt(X[:30], table.y[:30], **some)
        assert_array_equal(back.predict(X, **ids), meta.predict(X, **ids))


def test_a_stack_with_intervals_goes_through_skops():
    table = make_table(n_tasks=10)
    candidates = [("mixed", HierarchicalBayes()), ("pooled", Pooled())]
    meta = MetaRegressor(candidates).fit(table.X, table.y, groups=table.ids)
    back = skopsed(meta)
    assert_array_equal(back.predict(table.X), meta.predict(table.X))
    assert_array_equal(back.predict_interval(table.X), meta.predict_interval(table.X))


def test_trusted_types_exist_and_are_few():
    assert len(set(TRUSTED_TYPES)) == len(TRUSTED_TYPES)
    for name in TRUSTED_TYPES:
        module, _, kind = name.rpartition(".")
        assert hasattr(import_module(module), kind)


def test_what_is_not_of_this_package_stays_the_users_to_trust():
    skops = pytest.importorskip("skops.io", reason="the round trip is through skops")
    table = make_table()
    meta = Pooled(OwnRidge()).fit(table.X, table.y, groups=table.ids)
    data = skops.dumps(meta)
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException, match="OwnRidge"):
        skops.loads(data, trusted=TRUSTED_TYPES)
    back = skops.loads(data, trusted=[*TRUSTED_TYPES, f"{__name__}.OwnRidge"])
    assert_array_equal(back.predict(table.X), meta.predict(table.X))


class OwnRidge(Ridge):
    pass


# -- versions of the state -------------------------------------------------------------------------


def saved():
    table = make_table()
    meta = HierarchicalBayes().fit(table.X, table.y, groups=table.ids)
    forest = MAML(RandomForestRegressor(n_estimators=2), max_iter=2, random_state=0)
    described = make_meta(BatchMetaLearner, RandomForestRegressor(n_estimators=2))
    return [
        meta,
        forest.meta_fit(table.tasks).estimator_,
        described.meta_fit(table.tasks).estimator_,
        TableEncoder().fit(table.X),
        descriptors.MomentsDescriptor(),
    ]


def test_a_state_says_which_version_wrote_it():
    for thing in saved():
        assert thing.__getstate__()["_saved_by"] == (versions.FORMAT, sklearn_meta.__version__)
        back = pickle.loads(pickle.dumps(thing))
        assert "_saved_by" not in vars(back) and "_saved_by" not in vars(thing)
        assert "_saved_by" not in vars(clone(thing)) and "_saved_by" not in vars(copy.copy(thing))


def test_a_state_of_a_newer_format_is_refused(monkeypatch):
    for thing in saved():
        with monkeypatch.context() as other:
            other.setattr(versions, "FORMAT", versions.FORMAT + 1)
            other.setattr(versions, "__version__", "99.0")
            data = pickle.dumps(thing)
        expected = (
            rf"this {type(thing).__name__} was saved by sklearn_meta 99\.0 in format 5, and "
            r"sklearn_meta [\d.]+ reads format 4: install sklearn_meta 99\.0 or newer, or fit"
        )
        with pytest.raises(ValueError, match=expected):
            pickle.loads(data)


def test_a_state_of_an_older_format_is_refused(monkeypatch):
    with monkeypatch.context() as other:
        other.setattr(versions, "FORMAT", versions.FORMAT - 1)
        other.setattr(versions, "__version__", "0.0.1")
        data = pickle.dumps(Pooled())
    with pytest.raises(ValueError, match=r"reads format 4: read it with sklearn_meta 0\.0\.1, or"):
        pickle.loads(data)
    state = vars(Pooled()).copy()
    with pytest.raises(ValueError, match="sklearn_meta of an unknown version in format 0"):
        Pooled().__setstate__(state)


def test_another_version_of_the_same_format_is_read_with_a_warning(monkeypatch):
    table = make_table()
    meta = Pooled().fit(table.X, table.y, groups=table.ids)
    with monkeypatch.context() as other:
        other.setattr(versions, "__version__", "99.0")
        data = pickle.dumps(meta)
    with pytest.warns(UserWarning, match=r"saved by sklearn_meta 99\.0, and is read by") as caught:
        back = pickle.loads(data)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert_array_equal(back.predict(table.X), meta.predict(table.X))


def test_a_refused_state_changes_nothing():
    meta = Pooled()
    before = dict(vars(meta))
    with pytest.raises(ValueError):
        meta.__setstate__({"_saved_by": (99, "99.0"), "estimator": Ridge()})
    assert vars(meta) == before


# -- serving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        Case(HierarchicalBayes),
        Case(MAML),
        Case(GaussianProcessMeta),
        Case(BatchMetaLearner, RandomForestRegressor(n_estimators=2)),
        Case(TransferMetaLearner),
        Case(RidgeHead),
    ],
    ids=str,
)
def test_32_threads_serve_one_meta_model(make, unchanged):
    meta, tasks = make.trained(), make.new_tasks(40)
    X = make.table.X

    def serve(task):
        """A request: rows of a task that this thread alone knows."""
        own = copy.copy(meta).adapt(task.X[:5], task.y[:5])
        (model,) = meta.adapt_many([(task.X[:5], task.y[:5])])
        own.partial_adapt(task.X[5:], task.y[5:])
        return model.predict(X), own.predict(X)

    expected = [serve(task) for task in tasks]
    with unchanged(meta), ThreadPoolExecutor(32) as pool:
        actual = list(pool.map(serve, tasks))
    for one, other in zip(actual, expected, strict=True):
        assert_array_equal(one, other)
