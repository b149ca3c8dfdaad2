"""The contract that every class keeps, over everything that it can wrap."""

import copy
import io
import os
import pickle
import subprocess
import sys
from functools import partial

import joblib
import numpy as np
import pytest
from algorithms import (
    CASES,
    CLASSES,
    FRONT,
    GRADIENT,
    PAIRS,
    make_meta,
    make_table,
    name_of,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    SGDClassifier,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    check_param_validation,
)
from sklearn.utils.validation import check_is_fitted

from sklearn_meta import (
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    Pooled,
    Task,
    tasks_from_table,
)
from sklearn_meta.base.generalized import GeneralizedPredictor
from sklearn_meta.io import TRUSTED_TYPES
from sklearn_meta.learners import HeadLearner, is_squared_linear
from sklearn_meta.learners.blend import BlendRegressor
from sklearn_meta.learners.head import BodyAndHeadClassifier, BodyAndHeadRegressor

EACH = list({case.cls: case for case in reversed(CASES)}.values())  # every class once
CLASSIFIERS = [case for case in CASES if is_classifier(case())]
EACH_CLASSIFIER = list({case.cls: case for case in CLASSIFIERS}.values())
each_pair = pytest.mark.parametrize("make", PAIRS, ids=str)
each_pair_or_case = pytest.mark.parametrize("make", PAIRS + CASES, ids=str)
each_case = pytest.mark.parametrize("make", CASES, ids=str)
# Networks see arrays; what has none is given dataframes as they come: here all that has none, too.
RAW = [case for case in CASES if "Hist" in str(case) or "Pipeline" in str(case)]
each_raw = pytest.mark.parametrize("make", dict.fromkeys(EACH + RAW), ids=str)
STACKS = [case for case in PAIRS if case.cls in FRONT and case.wrapped is None]  # encode tables
each_raw_or_stack = pytest.mark.parametrize("make", dict.fromkeys(EACH + RAW + STACKS), ids=str)
each = pytest.mark.parametrize("make", EACH, ids=str)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:A single task"),
]


METHODS = ["predict", "predict_proba", "decision_function"]


def is_conditioned(meta):
    """Whether its estimators see the vector of the task beside each row."""
    return getattr(meta, "conditioning", None) == "features"


def is_own(meta, estimator):
    """Whether what it adapts to has no place in an estimator of scikit-learn."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(meta, tuple(FRONT)):
        return True
    own = (BlendRegressor, BodyAndHeadClassifier, BodyAndHeadRegressor)
    return is_conditioned(meta) or isinstance(last, own)


def goes_on(meta):
    """Whether it can learn from more tasks: from sums of moments, or step by step."""
    if isinstance(meta, tuple(FRONT)):
        return False
    last = meta._wrapped()[-1] if isinstance(meta.estimator, Pipeline) else meta._wrapped()
    if isinstance(meta, HierarchicalBayes):
        return is_squared_linear(last)
    if not isinstance(meta, BatchMetaLearner):
        return isinstance(meta, tuple(GRADIENT))
    if meta.conditioning == "prior":
        return isinstance(last, (LinearRegression, Ridge))
    return hasattr(last, "partial_fit")


def averages(meta):
    """Whether predictions are averages over a posterior, and ``estimator_`` is at its mode."""
    if isinstance(meta, tuple(FRONT)):
        return any(averages(m) for m in meta.candidates_.values() if m is not None)
    linear = isinstance(meta._wrapped(), HuberRegressor)
    return isinstance(meta._predicts, GeneralizedPredictor) and not linear


def assert_near_the_mode(method, at_mode, values):
    """Probabilities are nearer to each other than at the mode; most labels are the same."""
    if method == "predict_proba":
        assert (values.max(axis=1) < at_mode.max(axis=1) + 0.1).all()
        assert np.abs(values - at_mode).max() < 0.4
    elif method == "predict" and values.dtype.kind == "U":
        assert np.mean(values == at_mode) > 0.8
    elif method == "predict":
        assert (values > 0.99 * at_mode).all() and (values < 3 * at_mode).all()
    assert np.shape(values) == np.shape(at_mode)


def out_of_fold(meta):
    """Whether fit knows models of a task that have not seen it, and adapt cannot."""
    members = [m for m in (getattr(meta, "candidates_", {}) or {}).values() if m is not None]
    own = isinstance(getattr(meta, "learner_", None), HeadLearner) or is_conditioned(meta)
    return own or any(map(out_of_fold, members))


def assert_close(actual, expected):
    """Labels are equal; numbers are so up to rounding."""
    if np.asarray(expected).dtype.kind == "f":
        assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)
    else:
        assert_array_equal(actual, expected)


def assert_same(a, b, X, equal=assert_array_equal, **ids):
    """Whether two objects predict the same (bit for bit), by every method that they have."""
    for method in METHODS:
        assert hasattr(a, method) == hasattr(b, method)
        if hasattr(a, method):
            equal(getattr(a, method)(X, **ids), getattr(b, method)(X, **ids))


# -- scikit-learn's checks -------------------------------------------------------------------------

# With --parallel-threads of pytest-run-parallel, one thread runs these.
one_thread = pytest.mark.thread_unsafe(
    reason="the checks set filters of warnings, and liblinear a generator, that threads share"
)


@one_thread
@each_pair
def test_check_estimator(make):
    results = check_estimator(make(), on_fail="raise")
    assert len(results) >= 50
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    allowed = set() if os.environ.get("SCIPY_ARRAY_API") else {"check_array_api_input"}
    assert skipped <= allowed
    assert all(result["status"] in ("passed", "skipped") for result in results)


@one_thread
@each_pair
def test_checks_that_check_estimator_leaves_out(make):
    meta = make()
    pytest.importorskip("pandas", reason="the check of column names uses it")
    check_dataframe_column_names_consistency(type(meta).__name__, meta)
    check_param_validation(type(meta).__name__, meta)


@each_pair
def test_tags_are_those_of_the_wrapped_estimator(make):
    meta = make()
    wrapped = meta._wrapped()
    tags, expected = get_tags(meta), get_tags(wrapped)
    assert tags.estimator_type == expected.estimator_type
    encodes = isinstance(meta, tuple(FRONT)) and meta.estimators is None
    assert tags.input_tags.allow_nan == (encodes or expected.input_tags.allow_nan)
    assert not tags.input_tags.sparse and not tags.target_tags.multi_output


@each_pair
def test_methods_are_those_of_the_wrapped_estimator(make):
    meta = make()
    for method in ("predict_proba", "decision_function"):
        assert hasattr(meta, method) == hasattr(meta._wrapped(), method)
    assert not hasattr(meta, "classes_")
    assert hasattr(meta, "partial_meta_fit") == goes_on(meta)
    fitted = make.fitted()
    for method in ("predict_proba", "decision_function"):
        assert hasattr(fitted, method) == hasattr(meta, method)
    if is_classifier(meta):
        assert fitted.classes_.tolist() == ["high", "low", "mid"][: make.n_classes]
    else:
        assert not hasattr(fitted, "classes_")


@pytest.mark.parametrize(
    ("wrapped", "way"),
    [
        (LinearSVR(), "LinearRegression()"),
        (LinearSVC(), "LogisticRegression()"),
        (SGDClassifier(), "LogisticRegression()"),
        (Perceptron(), "LogisticRegression()"),
        (LinearRegression(positive=True), "set LinearRegression(positive=False)"),
    ],
    ids=repr,
)
def test_hierarchical_bayes_names_what_has_no_likelihood(wrapped, way, unchanged):
    table = make_table(wrapped)
    meta = HierarchicalBayes(wrapped)
    with unchanged(meta), pytest.raises(ValueError, match="HierarchicalBayes ") as info:
        meta.meta_fit(table.tasks)
    assert way in str(info.value)
    assert type(wrapped).__name__ in str(info.value)


# -- every way to hand tasks over ------------------------------------------------------------------


def assert_ids_by_column(make, X, column):
    meta = make(task_column=column).fit(X, make.table.y)
    assert meta.n_features_in_ == 4
    assert_close(meta.predict(X), make.fitted().predict(make.table.X, groups=make.table.ids))


@each_case
def test_ids_by_groups(make):
    by_groups = make.fitted()
    assert_array_equal(by_groups.task_ids_, [task.id for task in make.table.tasks])
    assert by_groups.n_tasks_ == len(make.table.tasks) and by_groups.n_features_in_ == 3


@each_raw
def test_ids_by_column(make):
    assert_ids_by_column(make, make.table.frame("pandas"), "store")


@each
def test_ids_by_column_of_every_table(make):
    """The table is read before anybody looks at what is wrapped."""
    table = make.table
    number = np.unique(table.ids, return_inverse=True)[1]
    assert_ids_by_column(make, table.frame("polars"), "store")
    assert_ids_by_column(make, table.frame("pandas"), 1)
    assert_ids_by_column(make, np.insert(table.X, 1, number, axis=1), 1)
    assert_ids_by_column(make, np.insert(table.X, 3, number, axis=1), -1)


@each_raw_or_stack
@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.filterwarnings("error:X has feature names", "error:X does not have valid feature")
def test_dataframes(make, library):
    table, expected = make.table, make.fitted()
    X = table.frame(library)[["size", "price", "age"]]
    meta = make().fit(X, table.y, groups=table.ids)
    assert_array_equal(meta.feature_names_in_, table.names)
    for method in filter(partial(hasattr, meta), METHODS):
        by_names, by_place = getattr(meta, method), getattr(expected, method)
        assert_close(by_names(X, groups=table.ids), by_place(table.X, groups=table.ids))
    meta.adapt(X[:8], table.y[:8])
    expected.adapt(table.X[:8], table.y[:8])
    assert_close(meta.estimator_.predict(X), expected.estimator_.predict(table.X))
    assert_array_equal(meta.estimator_.feature_names_in_, table.names)
    (many,) = meta.adapt_many([(X[:8], table.y[:8])])
    assert_close(many.predict(X), expected.estimator_.predict(table.X))


@each_raw
@pytest.mark.filterwarnings("error:X has feature names", "error:X does not have valid feature")
def test_tasks_of_dataframes(make):
    table = make.table
    X = table.frame()[["size", "price", "age"]]
    meta = make().meta_fit(tasks_from_table(X, table.y, groups=table.ids))
    assert_close(meta.predict(X), make.trained().predict(table.X))


@each
def test_everything_that_meta_fit_accepts(make):
    """Collections become tasks before anybody looks at what is wrapped."""
    tasks, first = make.table.tasks, make.trained()
    pairs = [(task.X, task.y) for task in tasks]
    (new,) = make.new_tasks(1)
    adapted = make.trained().adapt(new.X, new.y)
    others = [
        pairs,
        tuple(pairs),
        iter(pairs),
        (task for task in tasks),
        {task.id: (task.X, task.y) for task in tasks},
        {task.id: Task(task.X, task.y) for task in tasks},
        [Task(task.X.tolist(), task.y.tolist()) for task in tasks],
    ]
    # One piece of code reads collections for all classes; stacks fit many times.
    for other in others[3:5] if make.cls in FRONT else others:
        meta = make().meta_fit(other)
        assert meta.n_tasks_ == len(tasks) and meta.n_features_in_ == 3
        assert_same(meta, first, new.X)
        assert_same(meta.adapt(new.X, new.y), adapted, new.X)
    assert_same(make().fit(tasks), first, new.X)


@each_pair_or_case
def test_fit_is_meta_fit_and_adapt_to_each(make):
    table = make.table
    by_table, by_tasks = make.fitted(), make.trained()
    assert_same(by_tasks, by_table, table.X, assert_close)
    by_tasks.adapt(table.X, table.y, groups=table.ids)
    if not out_of_fold(by_table):
        assert_same(by_tasks, by_table, table.X, assert_close, groups=table.ids)
    task = table.tasks[2]
    together = by_tasks.predict(table.X, groups=[task.id] * len(table.X))
    assert_close(by_tasks.adapt(task.X, task.y).predict(table.X), together)


@each_case
def test_without_ids_all_rows_are_one_task(make):
    table = make.table
    one = make().fit(table.X, table.y)
    other = make().meta_fit([(table.X, table.y)])
    assert one.n_tasks_ == 1
    assert_same(one, other.adapt(table.X, table.y), table.X)


# -- adapt -----------------------------------------------------------------------------------------


@each_case
def test_adapt_starts_from_the_meta_model(make):
    X, (A, B) = make.table.X, make.new_tasks(2)
    meta, zero_shot = make.trained(), make.trained()
    before = joblib.hash(meta.meta_model_)
    once = copy.copy(meta.adapt(A.X, A.y))
    meta.adapt(B.X, B.y)
    assert_same(meta.adapt(A.X, A.y), once, X)
    assert_same(meta.adapt(A.X[:0], A.y[:0]), zero_shot, X)
    assert joblib.hash(meta.meta_model_) == before


@each_pair_or_case
def test_estimator_is_plain_scikit_learn(make):
    X, (new,) = make.table.X, make.new_tasks(1)
    meta = make.trained()
    for n_shots in (0, 10):
        plain = meta.adapt(new.X[:n_shots], new.y[:n_shots]).estimator_
        check_is_fitted(plain)
        assert plain.n_features_in_ == 3 or n_shots == 0
        if not is_own(meta, plain):
            assert b"sklearn_meta" not in pickle.dumps(plain)
            assert type(plain) is type(meta._wrapped()) or n_shots == 0
        for method in filter(partial(hasattr, meta), METHODS):
            values = getattr(meta, method)(X)
            if averages(meta):  # near the mode, and not beyond it
                assert_near_the_mode(method, getattr(plain, method)(X), values)
            else:
                assert_close(getattr(plain, method)(X), values)
            assert len(values) == len(X)
            assert values.dtype.kind == "U" or np.isfinite(values).all()
        if hasattr(meta, "predict_proba"):
            assert_allclose(meta.predict_proba(X).sum(axis=1), 1.0)


@each_case
def test_estimator_is_a_new_object_of_its_own(make):
    table, (A, B) = make.table, make.new_tasks(2)
    meta = make.trained().adapt(A.X, A.y)
    kept, expected = meta.estimator_, meta.estimator_.predict(B.X)
    meta.adapt(B.X, B.y)
    assert_array_equal(kept.predict(B.X), expected)
    assert meta.estimator_ is not kept
    before = meta.predict(B.X)
    meta.estimator_.fit(100 * table.X, table.y)  # a user goes on with it
    assert_array_equal(meta.predict(B.X), before)


@pytest.mark.parametrize(
    "make", [case for case in PAIRS + CASES if str(case) != "MAML-KNeighborsClassifier()"], ids=str
)  # which counts the queries of its tree; NEIGHBORS does not
def test_adapt_many_is_adapt_for_each(make, unchanged):
    X, new = make.table.X, make.new_tasks(4)
    new.append(Task(new[0].X[:0], new[0].y[:0], id="empty"))
    meta = make.trained()
    with unchanged(meta):
        estimators = meta.adapt_many(iter(new))
    for estimator, task in zip(estimators, new, strict=True):
        expected = meta.adapt(task.X, task.y).estimator_
        for method in filter(partial(hasattr, expected), METHODS):
            assert_close(getattr(estimator, method)(X), getattr(expected, method)(X))


# -- predict ---------------------------------------------------------------------------------------


@each_case
def test_each_row_is_predicted_by_the_model_of_its_task(make):
    table, (new,) = make.table, make.new_tasks(1)
    meta, zero_shot = make.fitted(), make.trained()
    ids = table.ids.astype(object)
    ids[0::6], ids[2::6], ids[4::6] = "unknown", None, np.nan
    known = ids == table.ids
    adapted = make.trained().adapt(new.X, new.y)
    for method in filter(partial(hasattr, meta), METHODS):
        at_zero = getattr(zero_shot, method)(table.X)
        of_tasks = getattr(meta, method)(table.X, groups=table.ids)
        mixed = getattr(meta, method)(table.X, groups=ids)
        assert_close(mixed[known], of_tasks[known])
        assert_close(mixed[~known], at_zero[~known])
        assert_close(getattr(meta, method)(table.X), at_zero)
        now = copy.copy(meta).adapt(new.X, new.y)  # no ids: the task last given without ids
        assert_close(getattr(now, method)(table.X), getattr(adapted, method)(table.X))
        assert_array_equal(getattr(now, method)(table.X, groups=ids), mixed)


# -- life of an object -----------------------------------------------------------------------------


def pickled(meta):
    return pickle.loads(pickle.dumps(meta))


def dumped(meta):
    file = io.BytesIO()
    joblib.dump(meta, file)
    file.seek(0)
    return joblib.load(file)


def skopsed(meta):
    skops = pytest.importorskip("skops.io", reason="the round trip is through skops")
    return skops.loads(skops.dumps(meta), trusted=TRUSTED_TYPES)


@each_case
@pytest.mark.parametrize("round_trip", [pickled, skopsed])
def test_round_trips(make, round_trip):
    table, (A, B) = make.table, make.new_tasks(2)
    meta = make.fitted().adapt(A.X, A.y)
    back = round_trip(meta)
    assert_same(back, meta, table.X)
    assert_same(back, meta, table.X, groups=table.ids)
    assert_array_equal(back.task_ids_, meta.task_ids_)
    assert_same(back.adapt(B.X, B.y), meta.adapt(B.X, B.y), table.X)


@each
@pytest.mark.parametrize("round_trip", [pickled, dumped, skopsed, copy.deepcopy])
def test_what_comes_back_learns_as_before(make, round_trip):
    table, (A,) = make.table, make.new_tasks(1)
    meta = make.fitted()
    back = round_trip(meta)
    back.adapt(A.X, A.y, groups=["new"] * len(A.X))
    assert_same(back.fit(table.X, table.y, groups=table.ids), meta, table.X, groups=table.ids)


@each_case
def test_clone_forgets_and_set_params_keeps(make):
    table = make.table
    meta, kept = make.fitted(), make.fitted()
    fresh = clone(meta)
    assert list(vars(fresh)) == list(vars(make()))
    assert_same(fresh.fit(table.X, table.y, groups=table.ids), meta, table.X, groups=table.ids)
    if isinstance(meta, tuple(FRONT)):
        meta.set_params(estimators=[("other", Pooled(Ridge(alpha=1e9)))])
    else:
        meta.set_params(estimator=Ridge(alpha=1e9))
    predicted = meta.predict(table.X, groups=table.ids)
    assert_array_equal(predicted, kept.predict(table.X, groups=table.ids))


# -- classification --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, labels",
    [(case, labels) for case in CLASSIFIERS for labels in (["high", "low", "mid"], [3, 7])]
    + [(case, labels) for case in EACH_CLASSIFIER for labels in ([False, True], [0.0, 2.0, 1.0])],
    ids=str,
)
def test_tasks_may_miss_classes(make, labels):
    table = make_table(make())
    labels = np.array(labels)
    table.y = labels[np.unique(table.y, return_inverse=True)[1] % len(labels)]
    table.y[table.ids == "store_1"] = labels[0]
    table.y[table.ids == "store_2"] = labels[1]
    table.y[(table.ids == "store_3") & (table.y == labels[-1])] = labels[0]
    table.y[np.flatnonzero(table.ids == "store_3")[0]] = labels[1]
    meta = make().fit(table.X, table.y, groups=table.ids)
    assert_array_equal(meta.classes_, np.unique(labels))
    assert meta.classes_.dtype == labels.dtype
    for ids in (table.ids, None):
        label = meta.predict(table.X, groups=ids)
        assert label.dtype == labels.dtype and np.isin(label, labels).all()
        shape = (len(table.y), len(labels))
        if hasattr(meta, "predict_proba"):
            proba = meta.predict_proba(table.X, groups=ids)
            assert proba.shape == shape and (proba >= 0).all()
            assert_allclose(proba.sum(axis=1), 1.0)
            assert_array_equal(meta.classes_[proba.argmax(axis=1)], label)
        if hasattr(meta, "decision_function"):
            score = meta.decision_function(table.X, groups=ids)
            assert score.shape == (shape if len(labels) > 2 else shape[:1])
            assert np.isfinite(score).all()
    if isinstance(meta, Independent):
        for t in (1, 2):
            rows = table.ids == f"store_{t}"
            predicted = meta.predict(table.X[rows], groups=table.ids[rows])
            assert_array_equal(predicted, table.y[rows])
    one = table.tasks[0]
    for shots in ([0], [0, 1], []):
        meta.adapt(one.X[shots], one.y[shots])
        assert np.isin(meta.predict(table.X), labels).all()


# -- types of data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls, wrapped, y_dtype",
    [(cls, make_pipeline(StandardScaler(), Ridge()), np.float32) for cls in CLASSES]
    + [(cls, LinearRegression(), np.float64) for cls in CLASSES]
    + [(Independent, Ridge(), dtype) for dtype in (np.float32, np.float64)],
)
def test_float32_stays_float32(cls, wrapped, y_dtype):
    table = make_table()
    X, y = table.X.astype(np.float32), table.y.astype(y_dtype)
    meta = make_meta(cls, wrapped).fit(X, y, groups=table.ids)
    exact = make_meta(cls, wrapped).fit(table.X, table.y, groups=table.ids)
    for ids in (None, table.ids):
        predicted = meta.predict(X, groups=ids)
        assert predicted.dtype == np.float32
        assert_allclose(predicted, exact.predict(table.X, groups=ids), rtol=1e-3, atol=1e-3)
    last = meta.adapt(X[:5], y[:5]).estimator_
    assert last.predict(X).dtype == np.float32
    if is_own(meta, last):
        return
    last = last[-1] if isinstance(last, Pipeline) else last
    assert last.coef_.dtype == last.intercept_.dtype == np.float32


def ids_of_kind(kind):
    """Six ids, and how they look in a column with a missing entry."""
    pd = pytest.importorskip("pandas", reason="columns of a dataframe")
    days = pd.date_range("2026-01-01", periods=6)
    mixed = ["a", 1, 2.5, pd.Timestamp("2026-01-01"), ("b", 3), True]
    mixed = pd.Series(mixed[:5] + [b"c"], dtype=object)
    return {
        "string": (pd.Series(list("abcdef")), "str"),
        "object": (pd.Series(list("abcdef"), dtype=object), object),
        "categorical": (pd.Series(list("abcdef")), "category"),
        "int": (pd.Series([7, 1, 2, 3, 4, 5]), "float64"),
        "nullable int": (pd.Series([7, 1, 2, 3, 4, 5], dtype="Int64"), "Int64"),
        "float": (pd.Series([0.5, 1, 2, 3, 4, 5]), "float64"),
        "timestamp": (pd.Series(days), None),
        "timezone": (pd.Series(days.tz_localize("Europe/Berlin")), None),
        "date": (pd.Series(days.date), object),
        "period": (pd.Series(days.to_period("D")), None),
        "mixed": (mixed, object),
    }[kind]


KINDS_OF_IDS = ["string", "object", "categorical", "int", "nullable int", "float"]
KINDS_OF_IDS += ["timestamp", "timezone", "date", "period", "mixed"]


def each_with(name, values, last):
    """Ids are kept in one place: all values with a class that is quick, one with every class."""
    pairs = [(Independent, value) for value in values]
    pairs += [(cls, last) for cls in CLASSES if cls is not Independent]
    return pytest.mark.parametrize(f"cls, {name}", pairs)


@each_with("kind", KINDS_OF_IDS, "mixed")
def test_ids_of_any_kind(cls, kind):
    pd = pytest.importorskip("pandas", reason="columns of a dataframe")
    table = make_table()
    ids, with_missing = ids_of_kind(kind)
    number = np.unique(table.ids, return_inverse=True)[1]
    store = ids.iloc[number].reset_index(drop=True)
    make = partial(make_meta, cls, None)
    expected = make().fit(table.X, table.y, groups=number).predict(table.X, groups=number)
    by_groups = make().fit(table.X, table.y, groups=store)
    assert_close(by_groups.predict(table.X, groups=store), expected)
    X = pd.DataFrame(table.X, columns=table.names).assign(store=store)
    meta = make(task_column="store").fit(X, table.y)
    assert len(meta.task_ids_) == 6
    assert_close(meta.predict(X), expected)
    later = store.astype(with_missing) if with_missing else store
    later = later.where(np.arange(len(later)) > 0)
    predicted = meta.predict(X.assign(store=later))
    assert_close(predicted[1:], expected[1:])
    zero_shot = meta.predict(X.assign(store="unknown"))
    assert_close(predicted[0], zero_shot[0])


@each_with("ids", [["a", 1], [1, 2.5], ["a", ("b", 2)], [True, "yes"], [None, "a"]], [None, "a"])
def test_ids_in_a_list_stay_what_they_are(cls, ids):
    """NumPy would make strings of numbers that stand among strings."""
    table = make_table()
    groups = [ids[row % 2] for row in range(len(table.y))]
    if None in ids:
        with pytest.raises(ValueError, match="task id of 30 row"):
            cls().fit(table.X, table.y, groups=groups)
        groups = [i or "b" for i in groups]
        ids = ["b", "a"]
    number = np.arange(len(table.y)) % 2
    make = partial(make_meta, cls, None)
    expected = make().fit(table.X, table.y, groups=number).predict(table.X, groups=number)
    meta = make().fit(table.X, table.y, groups=groups)
    assert meta.task_ids_.tolist() == ids
    assert_array_equal(meta.predict(table.X, groups=groups), expected)
    alone = meta.predict(table.X[:1], groups=[ids[0]])
    assert_allclose(alone, expected[:1])


MORE_IDS = ["a string", 17, 0.25, np.datetime64("2020-01-01"), ("a", 1)]


@each_with("kind", ["string", "int", "float", "timestamp", "date", "mixed"], "int")
@pytest.mark.parametrize("more", MORE_IDS)
def test_ids_of_another_type_come_later(cls, kind, more):
    table = make_table()
    ids, _ = ids_of_kind(kind)
    number = np.unique(table.ids, return_inverse=True)[1]
    store = ids.iloc[number].reset_index(drop=True)
    meta = make_meta(cls).fit(table.X, table.y, groups=store)
    expected = meta.predict(table.X, groups=store)
    later = np.empty(10, dtype=object)
    later[:] = [more] * 10
    meta.adapt(-table.X[:10], table.y[:10], groups=later)
    assert len(meta.task_ids_) == 7
    assert_close(meta.predict(table.X, groups=store), expected)
    for row in range(5):  # one at a time: what a column looks like depends on its other entries
        assert_close(meta.predict(table.X[[row]], groups=[store[row]]), expected[[row]])
    alone = meta.adapt(-table.X[:10], table.y[:10]).predict(table.X[:10])
    assert_close(meta.predict(table.X[:10], groups=later), alone)


@each_with("later", [np.uint64, object, None], None)
def test_large_integers_are_exact(cls, later):
    """float64 does not tell neighbours above 2**53 from each other."""
    table = make_table()
    ids = 2**60 + np.unique(table.ids, return_inverse=True)[1].astype(np.int64)
    meta = make_meta(cls).fit(table.X, table.y, groups=ids)
    expected = meta.predict(table.X, groups=ids)
    if later is None:
        meta.adapt(table.X[:5], table.y[:5], groups=[0.5] * 5)
    else:
        ids = ids.astype(later)
    assert_close(meta.predict(table.X, groups=ids), expected)


# -- pipelines -------------------------------------------------------------------------------------

FRAMES = [("pandas", "pandas"), ("default", "polars"), ("pandas", "polars")]
PREPARE = make_column_transformer(
    (OneHotEncoder(sparse_output=False), ["town"]),
    (StandardScaler(), ["size", "price"]),
    remainder="passthrough",
    verbose_feature_names_out=False,
)
AROUND = [
    pytest.param(cls, last, id=f"{cls.__name__}-{name_of(last)}")
    for cls in CLASSES
    for last in (Ridge(), LogisticRegression(), DecisionTreeRegressor(max_depth=2))
    if (cls is not HierarchicalBayes or isinstance(last, Ridge))
    and not (cls is GaussianProcessMeta and is_classifier(last))
]


def raw_rows(table, library):
    """Rows as they come: numbers, a string column, the ids."""
    X = table.frame(library)
    columns = {name: X[name] for name in X.columns}
    towns = np.array(["north", "south", "west"])[np.arange(len(table.y)) % 3]
    return type(X)({**columns, "town": towns})


@pytest.mark.parametrize(
    "cls, last, output, library",
    [pytest.param(*case.values, "default", "pandas", id=case.id) for case in AROUND]
    + [pytest.param(cls, Ridge(), "pandas", "polars", id=cls.__name__) for cls in CLASSES]
    + [(Independent, DecisionTreeRegressor(max_depth=2), *way) for way in FRAMES],
)
@pytest.mark.filterwarnings("error:X has feature names", "error:X does not have valid feature")
def test_pipeline_inside(cls, last, output, library):
    table = make_table(last)
    X = raw_rows(table, library)
    features = X[["size", "price", "age", "town"]]
    prepared = np.asarray(clone(PREPARE).fit_transform(features))
    expected = make_meta(cls, last).fit(prepared, table.y, groups=table.ids)
    pipeline = make_pipeline(clone(PREPARE).set_output(transform=output), last)
    by_column = make_meta(cls, pipeline, task_column="store").fit(X, table.y)
    assert_close(by_column.predict(X), expected.predict(prepared, groups=table.ids))
    meta = make_meta(cls, pipeline).fit(features, table.y, groups=table.ids)
    meta.adapt(features[:8], table.y[:8])
    expected.adapt(prepared[:8], table.y[:8])
    assert_close(meta.predict(features), expected.predict(prepared))
    assert isinstance(meta.estimator_, Pipeline)
    own = is_own(meta, meta.estimator_)
    assert own or b"sklearn_meta" not in pickle.dumps(meta.estimator_)
    assert_close(meta.estimator_.predict(features), meta.predict(features))


@pytest.mark.parametrize("cls, last", AROUND)
def test_pipeline_outside(cls, last):
    table = make_table(last)
    X = raw_rows(table, "pandas")
    prepare = clone(PREPARE).set_output(transform="pandas")
    pipeline = make_pipeline(prepare, make_meta(cls, last, task_column="store"))
    predicted = pipeline.fit(X, table.y).predict(X)
    expected = make_meta(cls, last, task_column="store")
    prepared = clone(prepare).fit_transform(X)
    assert_array_equal(predicted, expected.fit(prepared, table.y).predict(prepared))
    assert list(expected.task_ids_) == [task.id for task in table.tasks]


def test_there_is_everything_where_python_takes_docstrings_away():
    code = "import sklearn_meta as m; [getattr(m, name) for name in m.__all__]"
    subprocess.run([sys.executable, "-OO", "-c", code], check=True)
