"""The state rules: what changes an object, what does not, and what results depend on."""

import copy
import gc
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
from algorithms import make_meta
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import sklearn_meta
from sklearn_meta import (
    ANIL,
    MAML,
    BatchMetaLearner,
    HierarchicalBayes,
    Independent,
    Pooled,
    Reptile,
    Task,
    TransferMetaLearner,
)

METAS = [
    Pooled(),
    Pooled(LogisticRegression()),
    Pooled(SVR()),
    Independent(),
    Independent(LogisticRegression()),
    Independent(SGDRegressor(), random_state=0),
    Independent(make_pipeline(StandardScaler(), Ridge())),
    HierarchicalBayes(),
    HierarchicalBayes(make_pipeline(StandardScaler(), Ridge())),
    BatchMetaLearner(n_estimators=2, random_state=0),
    BatchMetaLearner(SGDRegressor(), tasks_per_batch=3, n_epochs=2, random_state=0),
    BatchMetaLearner(make_pipeline(StandardScaler(), LogisticRegression()), random_state=0),
    BatchMetaLearner(conditioning="prior", random_state=0),
    BatchMetaLearner(LogisticRegression(), conditioning="prior", random_state=0),
    TransferMetaLearner(random_state=0),
    make_meta(MAML),
    make_meta(ANIL, MLPRegressor(hidden_layer_sizes=(4,), max_iter=20)),
    make_meta(Reptile, LogisticRegression()),
]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
each_meta = pytest.mark.parametrize(
    "meta", METAS, ids=lambda meta: f"{type(meta).__name__}-{type(meta.estimator).__name__}"
)


# -- failures --------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def interrupted(tasks):
    yield from tasks
    raise Interrupt


def bad_calls(table, new):
    """Calls that fail, each as late as it can."""
    X, y, tasks = table.X, table.y, table.tasks
    nan = np.where(np.arange(len(X))[:, None] == len(X) - 1, np.nan, X)
    unknown = np.array([object()] * len(y))
    narrow = Task(X[:5, :2], y[:5], id="narrow")
    return {
        "fit: NaN": lambda m: m.fit(nan, y, groups=table.ids),
        "fit: missing id": lambda m: m.fit(X, y, groups=[None, *table.ids[1:]]),
        "fit: no such argument": lambda m: m.fit(X, y, groups=table.ids, no_such_argument=1),
        "meta_fit: last task": lambda m: m.meta_fit([*tasks, narrow]),
        "meta_fit: iterator": lambda m: m.meta_fit(iter([*tasks, narrow])),
        "meta_fit: interrupted": lambda m: m.meta_fit(interrupted(tasks)),
        "adapt: NaN": lambda m: m.adapt(nan, y),
        "adapt: target": lambda m: m.adapt(X, unknown, groups=table.ids),
        "adapt: weights": lambda m: m.adapt(X, y, sample_weight=[1.0]),
        "adapt: columns": lambda m: m.adapt(X[:, :2], y),
        "adapt_many: last task": lambda m: m.adapt_many([*new.tasks, narrow]),
        "adapt_many: interrupted": lambda m: m.adapt_many(interrupted(new.tasks)),
        "predict: columns": lambda m: m.predict(X[:, :2]),
    }


@each_meta
def test_a_failure_changes_nothing(meta, make_table, unchanged):
    table, new = make_table(meta), make_table(meta, seed=1)
    fresh, meta = clone(meta), clone(meta).fit(table.X, table.y, groups=table.ids)
    meta.adapt(new.X[:5], new.y[:5])
    calls = bad_calls(table, new)
    if hasattr(meta, "partial_meta_fit"):
        calls["partial: last task"] = lambda m: m.partial_meta_fit(iter([*new.tasks, (0, 0)]))
        calls["partial: interrupted"] = lambda m: m.partial_meta_fit(interrupted(new.tasks))
    expected = meta.predict(table.X, groups=table.ids), meta.predict(table.X)
    for call in calls.values():
        with unchanged(meta), pytest.raises((ValueError, TypeError, Interrupt)):
            call(meta)
        with unchanged(fresh), pytest.raises((ValueError, TypeError, Interrupt)):
            call(fresh)
    assert_array_equal(meta.predict(table.X, groups=table.ids), expected[0])
    assert_array_equal(meta.predict(table.X), expected[1])


def test_a_failure_late_in_a_stream_changes_nothing(make_table, unchanged, monkeypatch):
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_TASKS", 2)
    table, new = make_table(), make_table(seed=1)
    meta = HierarchicalBayes().fit(table.X, table.y, groups=table.ids)
    for call in (meta.meta_fit, meta.partial_meta_fit):
        with unchanged(meta), pytest.raises(Interrupt):
            call(interrupted(new.tasks))


@each_meta
def test_reading_and_predicting_change_nothing(meta, make_table, unchanged):
    table = make_table(meta)
    meta = clone(meta).fit(table.X, table.y, groups=table.ids)
    with unchanged(meta):
        meta.predict(table.X, groups=["unknown", *table.ids[1:]])
        meta.score(table.X, table.y, groups=table.ids)
        meta.adapt_many(table.tasks)
        repr(meta), meta._repr_html_(), clone(meta), copy.deepcopy(meta)


# -- afresh ----------------------------------------------------------------------------------------


def fits(make_table):
    """Ways to fit that leave different attributes behind."""
    A, B = make_table(), make_table(n_tasks=3, seed=1)
    frame = A.frame()[list(A.names)]
    described = [Task(t.X, t.y, id=t.id, descriptor={"n": i}) for i, t in enumerate(A.tasks)]
    return {
        "frame": lambda m: m.fit(frame, A.y, groups=A.ids),
        "ids": lambda m: m.fit(B.X[:, :2], B.y, groups=B.ids == "store_0"),
        "tasks": lambda m: m.meta_fit(B.tasks),
        "described": lambda m: m.meta_fit(described),
        "no ids": lambda m: m.fit(B.X, B.y),
    }


@pytest.mark.parametrize("second", ["frame", "ids", "tasks", "described", "no ids"])
@pytest.mark.parametrize("cls", [Pooled, Independent, HierarchicalBayes])
@pytest.mark.filterwarnings("ignore:A single task")
def test_a_second_fit_starts_afresh(cls, second, make_table):
    ways = fits(make_table)
    expected = ways[second](cls())
    for first in ways.values():
        assert_same_content(ways[second](first(cls())), expected)


@pytest.mark.parametrize("cls", [BatchMetaLearner, TransferMetaLearner, MAML, Reptile])
@pytest.mark.filterwarnings("ignore:A single task")
def test_one_fit_after_another_starts_afresh(cls, make_table):
    meta = make_meta(cls)
    for fit in fits(make_table).values():
        assert_same_content(fit(meta), fit(make_meta(cls)))


def assert_same_content(again, expected):
    """The same attributes; joblib sees their content."""
    assert sorted(vars(again)) == sorted(vars(expected))
    assert {k: joblib.hash(v) for k, v in vars(again).items()} == {
        k: joblib.hash(v) for k, v in vars(expected).items()
    }


def test_a_second_fit_starts_afresh_with_other_classes(make_table):
    table = make_table(LogisticRegression())
    meta = Independent(LogisticRegression()).fit(table.X, table.y, groups=table.ids)
    meta.fit(table.X, table.y == "high", groups=table.ids)
    assert meta.classes_.tolist() == [False, True]
    meta.set_params(estimator=Ridge()).fit(table.X, table.X[:, 0], groups=table.ids)
    assert not hasattr(meta, "classes_")


@pytest.mark.parametrize(
    "meta, params",
    [
        (Pooled(), {"standardize": True, "task_column": 0, "random_state": 1}),
        (Independent(), {"standardize": True, "task_column": 0, "n_jobs": 2}),
        (HierarchicalBayes(), {"method": "ml", "covariance": "diag", "standardize": False}),
        (HierarchicalBayes(), {"random_effects": "intercept", "max_iter": 1, "tol": 1.0}),
    ],
)
def test_set_params_keeps_what_was_learned(meta, params, make_table):
    table = make_table()
    meta = clone(meta).fit(table.X, table.y, groups=table.ids)

    def learned():
        names = [n for n in dir(type(meta)) if n.endswith("_") and not n.startswith("_")]
        names += [n for n in vars(meta) if n.endswith("_")]
        return {name: joblib.hash(getattr(meta, name)) for name in names}

    before = learned()
    meta.set_params(**params)
    assert learned() == before


# -- many at a time --------------------------------------------------------------------------------


@each_meta
def test_copies_adapt_in_threads(meta, make_table, unchanged):
    table, new = make_table(meta), make_table(meta, n_tasks=16, seed=1)
    meta = clone(meta).fit(table.X, table.y, groups=table.ids)

    def adapted(task):
        own = copy.copy(meta).adapt(task.X, task.y)
        own.adapt(task.X, task.y, groups=[task.id] * len(task.X))
        return own.predict(table.X), own.predict(table.X, groups=[task.id] * len(table.X))

    expected = [adapted(task) for task in new.tasks]
    with unchanged(meta), ThreadPoolExecutor(8) as pool:
        actual = list(pool.map(adapted, new.tasks))
    assert_array_equal(actual, expected)


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("estimator", [SGDRegressor(), LogisticRegression()])
def test_results_do_not_depend_on_workers(estimator, backend, make_table):
    table = make_table(estimator, n_tasks=70)
    serial = Independent(estimator, random_state=0).fit(table.X, table.y, groups=table.ids)
    with joblib.parallel_config(backend):
        meta = clone(serial).set_params(n_jobs=2).fit(table.X, table.y, groups=table.ids)
    assert_array_equal(
        meta.predict(table.X, groups=table.ids), serial.predict(table.X, groups=table.ids)
    )


@pytest.mark.parametrize("cls", [Independent, HierarchicalBayes])
def test_results_do_not_depend_on_blocks_of_tasks(cls, make_table, monkeypatch):
    table = make_table()
    whole = cls().fit(table.X, table.y, groups=table.ids).predict(table.X, groups=table.ids)
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "BLOCK_TASKS", 2)
    for n_jobs in (None, 2):
        meta = cls(n_jobs=n_jobs).fit(table.X, table.y, groups=table.ids)
        assert_allclose(meta.predict(table.X, groups=table.ids), whole)


def test_streams_are_read_in_parts_and_give_the_same_model(make_table, monkeypatch):
    tasks = make_table(n_tasks=20).tasks
    whole = HierarchicalBayes().meta_fit(tasks)
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_TASKS", 3)
    stream = HierarchicalBayes().meta_fit(iter(tasks))
    parts = HierarchicalBayes().partial_meta_fit(tasks[:8]).partial_meta_fit(iter(tasks[8:]))
    for meta in (stream, parts):
        assert meta.n_tasks_ == 20
        assert_allclose(meta.prior_mean_, whole.prior_mean_, rtol=1e-4, atol=1e-4)
        assert_allclose(meta.prior_covariance_, whole.prior_covariance_, rtol=1e-3, atol=1e-3)


def n_estimators_alive():
    gc.collect()
    return sum(isinstance(thing, BaseEstimator) for thing in gc.get_objects())


@pytest.mark.parametrize("cls", [Pooled, Independent, HierarchicalBayes])
def test_100_000_tasks(cls):
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.repeat(np.arange(100_000), 4))
    X = rng.standard_normal((len(ids), 2))
    y = rng.standard_normal(100_000)[ids] + X @ [1.0, 2.0] + 0.1 * rng.standard_normal(len(X))
    before = n_estimators_alive()
    meta = cls(LinearRegression()).fit(X, y, groups=ids)
    assert n_estimators_alive() - before < 50
    assert meta.n_tasks_ == len(meta.task_ids_) == 100_000
    predicted = meta.predict(X, groups=ids)
    some = np.isin(ids, [0, 17, 99_999])
    assert_allclose(predicted[some], meta.predict(X[some], groups=ids[some]))
    rows = ids == 17
    assert_allclose(predicted[rows], meta.adapt(X[rows], y[rows]).predict(X[rows]))
    meta.adapt(X[rows], -y[rows], groups=["new"] * 4)
    assert len(meta.task_ids_) == 100_001
    assert_allclose(meta.predict(X[some], groups=ids[some]), predicted[some])


# -- global state ----------------------------------------------------------------------------------

IMPORT = """
import json, os, random, sys, warnings
import joblib, numpy, scipy.optimize, sklearn.callback, sklearn.ensemble, sklearn.pipeline

def state():
    return repr([
        numpy.random.get_state(), random.getstate(), numpy.geterr(), numpy.get_printoptions(),
        sklearn.get_config(), warnings.filters, dict(os.environ),
    ])

before, modules = state(), set(sys.modules)
import sklearn_meta
own = [name for name in sys.modules if name.startswith("sklearn_meta.")]
from sklearn_meta import *
new = {name.partition(".")[0] for name in set(sys.modules) - modules}
print(json.dumps([state() == before, sorted(new - set(sys.stdlib_module_names)), own]))
"""


def test_import_changes_nothing_and_needs_nothing():
    root = Path(sklearn_meta.__file__).parents[1]
    command = [sys.executable, "-c", IMPORT]
    out = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    same, imported, at_once = json.loads(out)
    assert same
    assert at_once == ["sklearn_meta.versions"]  # the rest comes when it is asked for
    assert set(imported) <= {"sklearn_meta", "sklearn", "scipy", "numpy", "joblib"}


def test_names_are_imported_when_they_are_asked_for():
    for name in sklearn_meta.__all__:
        assert getattr(sklearn_meta, name) is not None
    assert {*sklearn_meta.__all__, "__version__"} <= {*dir(sklearn_meta)}
    assert sklearn_meta.base.BaseMetaEstimator  # rooms, too
    assert not hasattr(sklearn_meta, "no_such_name")
    with pytest.raises(ImportError, match="no_such_name"):
        from sklearn_meta import no_such_name  # noqa: F401


@each_meta
def test_global_seeds_are_left_alone(meta, make_table):
    table = make_table(meta)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    meta = clone(meta).fit(table.X, table.y, groups=table.ids)
    meta.adapt(table.X, table.y).predict(table.X)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# -- order and weights -----------------------------------------------------------------------------

EXACT = [
    Pooled(),
    Pooled(LinearRegression(), standardize=True),
    Independent(),
    Independent(Ridge(), standardize=True),
    HierarchicalBayes(),
    HierarchicalBayes(random_effects="intercept", method="ml"),
]
each_exact = pytest.mark.parametrize("meta", EXACT, ids=repr)
few_examples = settings(max_examples=15, deadline=None, derandomize=True)


@st.composite
def small_tables(draw):
    """Rows of four to six tasks, too few or enough, and a generator to go on with.

    There are many more rows than parameters: else many models are equally likely.
    """
    sizes = draw(st.lists(st.integers(1, 9), min_size=4, max_size=6).filter(lambda s: sum(s) > 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    X = rng.standard_normal((len(ids), 2))
    y = rng.standard_normal(len(sizes))[ids] + X[:, 0] + 0.5 * rng.standard_normal(len(ids))
    return X, y, ids, rng


@each_exact
@given(data=small_tables())
@few_examples
def test_order_and_names_do_not_matter(meta, data):
    X, y, ids, rng = data
    expected = clone(meta).fit(X, y, groups=ids)
    order = rng.permutation(len(y))
    names = rng.permutation(["d", "b", "e", "a", "f", "c"])
    actual = clone(meta).fit(X[order], y[order], groups=names[ids[order]])
    tolerance = dict(rtol=1e-3, atol=1e-3)
    assert_allclose(actual.predict(X), expected.predict(X), **tolerance)
    assert_allclose(
        actual.predict(X, groups=names[ids]), expected.predict(X, groups=ids), **tolerance
    )


@each_exact
@given(data=small_tables())
@few_examples
def test_a_weight_is_a_number_of_repetitions(meta, data):
    X, y, ids, rng = data
    weight = rng.integers(0, 4, size=len(y))
    weight[0] = 1
    kept = np.isin(ids, ids[weight > 0])  # a task without rows is not known to the other object
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = clone(meta).fit(X, y, groups=ids, sample_weight=weight)
    repeated = clone(meta).fit(X[rows], y[rows], groups=ids[rows])
    tolerance = dict(rtol=1e-3, atol=1e-3)
    assert_allclose(weighted.predict(X), repeated.predict(X), **tolerance)
    assert_allclose(
        weighted.predict(X[kept], groups=ids[kept]),
        repeated.predict(X[kept], groups=ids[kept]),
        **tolerance,
    )
    weighted.adapt(X, y, sample_weight=weight)
    repeated.adapt(X[rows], y[rows])
    assert_allclose(weighted.predict(X), repeated.predict(X), **tolerance)
