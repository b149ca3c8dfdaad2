"""Bad input: a message that names task, column, row, value and the way out, and nothing changed."""

import copy
import datetime
import itertools
import re
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import pytest
import scipy.sparse as sp
from algorithms import CLASSES, GRADIENT, make_meta, make_table, name_of
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    HierarchicalBayes,
    Independent,
    Pooled,
    PrototypeClassifier,
    RidgeHead,
    Task,
    TransferMetaLearner,
    few_shot_scorer,
)

pd = pytest.importorskip("pandas", reason="columns have names in a dataframe")

# Every class with one learner meets all that is bad, and every kind of learner with one class.
SMALL = {
    BatchMetaLearner: {"n_estimators": 1},
    TransferMetaLearner: {"selection": "weighted"},
} | dict.fromkeys(GRADIENT, {"max_iter": 1})
EACH = [make_meta(cls, **SMALL.get(cls, {})) for cls in CLASSES]
KINDS = [
    HierarchicalBayes(make_pipeline(StandardScaler(), Ridge())),
    Independent(SVR()),
    BatchMetaLearner(conditioning="prior", random_state=0),
    make_meta(MAML, SVR(), max_iter=1),
    make_meta(RidgeHead, max_iter=1),
]
REGRESSORS = [*EACH, *KINDS]
CLASSIFIERS = [
    Pooled(LogisticRegression()),
    Independent(make_pipeline(StandardScaler(), LogisticRegression())),
    Independent(SVC()),
    BatchMetaLearner(LogisticRegression(), n_estimators=1, random_state=0),
    TransferMetaLearner(LogisticRegression(), selection="weighted"),
    make_meta(MAML, LogisticRegression(), max_iter=1),
    make_meta(RidgeHead, LogisticRegression()),
    make_meta(PrototypeClassifier),
]
NAMES = ["size", "price", "age"]


def short(meta):
    wrapped = name_of(meta.estimator) if meta.estimator is not None else ""
    return f"{type(meta).__name__}({wrapped}{getattr(meta, 'conditioning', '')})"


def each(metas):
    return pytest.mark.parametrize("meta", metas, ids=short)


@pytest.fixture
def refuses(unchanged):
    """``with refuses(meta, words):`` an error with these words, and the object as it was."""

    @contextmanager
    def check(meta, *words, error=(ValueError, TypeError)):
        with unchanged(meta):
            try:
                yield
            except error as raised:
                message = str(raised)
            else:
                pytest.fail(f"accepted; a message with {words} was expected")
        absent = [word for word in words if word not in message]
        assert not absent, f"{absent} not in the message:\n{message}"
        assert len(message) < 600

    return check


# -- the same tasks through every door -------------------------------------------------------------


def good_tasks(meta, make_table, dataframe=True, n_tasks=3, seed=0):
    """``id -> (X, y)``; ten rows each."""
    table = make_table(meta, n_tasks=n_tasks, seed=seed)

    def columns(X):
        return pd.DataFrame(X, columns=NAMES) if dataframe else X

    return {f"store_{t}": (columns(task.X), task.y) for t, task in enumerate(table.tasks)}


def long(tasks):
    X = [X for X, _ in tasks.values()]
    X = pd.concat(X, ignore_index=True) if hasattr(X[0], "columns") else np.concatenate(X)
    y = [y for _, y in tasks.values()]
    mixed = len({part.dtype.kind for part in y}) > 1  # NumPy would make strings of numbers
    y = np.concatenate([part.astype(object) if mixed else part for part in y])
    return X, y, np.repeat(list(tasks), [len(y) for _, y in tasks.values()])


def as_list(tasks):
    return [Task(X, y, id=id_) for id_, (X, y) in tasks.items()]


def fit(meta, tasks):
    X, y, ids = long(tasks)
    meta.fit(X, y, groups=ids)


def fit_column(meta, tasks):
    X, y, ids = long(tasks)
    if hasattr(X, "columns"):
        X, column = X.assign(store=ids), "store"
    else:
        X, column = np.column_stack([X.astype(object), ids]), -1
    copy.copy(meta).set_params(task_column=column).fit(X, y)


def meta_fit(meta, tasks):
    meta.meta_fit(as_list(tasks))


def adapt(meta, tasks):
    X, y, ids = long(tasks)
    meta.adapt(X, y, groups=ids)


def adapt_many(meta, tasks):
    meta.adapt_many(as_list(tasks))


def predict(meta, tasks):
    X, _, ids = long(tasks)
    meta.predict(X, groups=ids)


TABLE_DOORS = [fit, fit_column, adapt, predict]
TASK_DOORS = [meta_fit, adapt_many]
DOORS = TABLE_DOORS + TASK_DOORS
LABELLED_DOORS = [door for door in DOORS if door is not predict]


def each_door(doors):
    return pytest.mark.parametrize("door", doors, ids=lambda door: door.__name__)


def row_3(door):
    """How a message calls row 3 of the second of tasks with ten rows."""
    return ["task 'store_1'", f"row {13 if door in TABLE_DOORS else 3}: "]


@pytest.fixture(scope="session")
def knows(make_table):
    """``knows(meta)``: a fitted clone with a current task; then bad input comes."""

    @cache
    def fitted(meta, dataframe):
        tasks = good_tasks(meta, make_table, dataframe)
        meta = clone(meta)
        fit(meta, tasks)
        return meta.adapt(*tasks["store_0"]), tasks

    def make(meta, dataframe=True):
        known, tasks = fitted(meta, dataframe)
        return copy.copy(known), dict(tasks)  # calls only rebind attributes

    return make


# -- values in X -----------------------------------------------------------------------------------

BAD_VALUES = {
    "NaN": (np.nan, ["NaN", "SimpleImputer"]),
    "infinity": (-np.inf, ["infinity"]),
    "None": (None, ["NaN", "SimpleImputer"]),
    "string": ("n/a", ["'n/a'", "ColumnTransformer"]),
    "date": (datetime.datetime(2026, 5, 1), ["2026", "ColumnTransformer"]),
    "complex": (1 + 2j, ["omplex", "(1+2j)"]),
}


@each_door(DOORS)
@each(REGRESSORS)
def test_bad_value_in_X(meta, door, knows, refuses):
    for dataframe, (value, words) in itertools.product([True, False], BAD_VALUES.values()):
        known, tasks = knows(meta, dataframe)
        X, y = tasks["store_1"]
        X = np.array(X, dtype=type(value) if isinstance(value, (float, complex)) else object)
        X[3, 1] = value
        tasks["store_1"] = pd.DataFrame(X, columns=NAMES) if dataframe else X, y
        column = "column 'price'" if dataframe else "column 1"
        with refuses(known, *row_3(door), column, *words):
            door(known, tasks)


@each_door([fit, meta_fit, adapt, adapt_many])
@each([*EACH, Independent(SVR()), make_meta(MAML, SVR(), max_iter=1)])
def test_a_number_whose_square_is_too_large(meta, door, knows, refuses):
    for column, dtype in itertools.product(["price", "y"], [np.float64, np.float32]):
        known, tasks = knows(meta)
        X, y = tasks["store_1"]
        X, y = X.astype(dtype), y.astype(dtype)
        if column == "y":
            y[3] = np.finfo(dtype).max / 2
        else:
            X.iloc[3, 1] = np.finfo(dtype).max / 2
        tasks = {id_: (Z.astype(dtype), z.astype(dtype)) for id_, (Z, z) in tasks.items()}
        tasks["store_1"] = X, y
        what = "y holds" if column == "y" else "column 'price' of X holds"
        with refuses(known, *row_3(door), what, "square", "Use other units"):
            door(known, tasks)


@each_door([adapt, adapt_many, predict])
@pytest.mark.parametrize("cls", [Pooled, Independent, HierarchicalBayes])
def test_unseen_category(cls, door, make_table, refuses):
    tasks = good_tasks(None, make_table)
    towns = ["north", "south"] * 5
    tasks = {id_: (X.assign(town=towns), y) for id_, (X, y) in tasks.items()}
    encode = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    meta = cls(make_pipeline(encode, Ridge()))
    fit(meta, tasks)
    X, y = tasks["store_1"]
    tasks["store_1"] = X.assign(town=[*towns[:3], "west", *towns[4:]]), y
    with refuses(meta, "task 'store_1'", "'west'", "handle_unknown"):
        door(meta, tasks)


@each_door([fit, meta_fit, adapt, predict])
@each(EACH)
def test_the_id_is_not_a_feature(meta, door, knows, refuses):
    """Who forgets task_column sees what to do."""
    meta, tasks = knows(meta)
    if door in (adapt, predict):
        words = ["store"]  # a column that meta-training did not have
    else:
        words = ["column 'store'", "'store_0'", "task_column='store'"]
    tasks = {id_: (X.assign(store=id_), y) for id_, (X, y) in tasks.items()}
    with refuses(meta, *words):
        door(meta, tasks)


# -- columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataframe", [True, False], ids=["frame", "array"])
@each_door(TASK_DOORS)
@each(REGRESSORS)
def test_a_task_with_other_columns(meta, door, dataframe, knows, refuses):
    meta, tasks = knows(meta, dataframe)
    X, y = tasks["store_1"]
    tasks["store_1"] = (X[["size", "price"]] if dataframe else X[:, :2]), y
    words = ["task 'store_1'", "2 features", "expected 3"] + ["age"] * dataframe
    with refuses(meta, *words):
        door(meta, tasks)
    if not dataframe:
        return
    tasks["store_1"] = X.rename(columns={"price": "prize"}), y
    with refuses(meta, "task 'store_1'", "price is missing", "prize is unknown", *NAMES):
        door(meta, tasks)
    tasks["store_1"] = X[["price", "size", "age"]], y
    with refuses(meta, "task 'store_1'", "order", "price, size, age", "size, price, age"):
        door(meta, tasks)


@each_door([adapt, predict])
@each(REGRESSORS)
def test_a_table_with_other_columns(meta, door, knows, refuses):
    known, tasks = knows(meta, dataframe=False)
    with refuses(known, "X has 2 features", "3 features"):
        door(known, {id_: (X[:, :2], y) for id_, (X, y) in tasks.items()})
    known, tasks = knows(meta)
    for change, words in [
        (lambda X: X[["size", "price"]], ["age"]),
        (lambda X: X.rename(columns={"price": "prize"}), ["price", "prize"]),
        (lambda X: X[["price", "size", "age"]], ["order"]),
        (lambda X: X.assign(more=1), ["more"]),
    ]:
        with refuses(known, *words):
            door(known, {id_: (change(X), y) for id_, (X, y) in tasks.items()})


@each(REGRESSORS)
def test_the_id_column_is_missing(meta, make_table, refuses):
    tasks = good_tasks(meta, make_table)
    X, y, ids = long(tasks)
    meta = clone(meta).set_params(task_column="store")
    words = ["'store'", "task_column", "size, price, age"]
    with refuses(meta, *words):
        meta.fit(X, y)
    with refuses(meta, *words):
        meta.meta_fit(as_list(tasks))
    with refuses(meta, "task_column='store'", "array"):
        meta.fit(X.to_numpy(), y)
    meta.fit(X.assign(store=ids), y)
    for call in (meta.predict, lambda X: meta.adapt(X, y)):
        with refuses(meta, "store", "task_column"):
            call(X)


@each(EACH)
def test_the_index_of_the_id_column_is_wrong(meta, make_table, refuses):
    X, y, ids = long(good_tasks(meta, make_table, dataframe=False))
    meta = clone(meta).set_params(task_column=3)
    with refuses(meta, "task_column=3", "3 columns"):
        meta.fit(X, y)
    codes = np.unique(ids, return_inverse=True)[1]
    meta.fit(np.column_stack([X, codes]), y)
    for call in (meta.predict, lambda X: meta.adapt(X, y)):
        with refuses(meta, "3 features", "4", "task_column=3"):
            call(X)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@each(EACH)
def test_the_ids_are_also_a_feature(meta, library, make_table, refuses):
    frame = make_table().frame(library)
    groups, y = frame["store"], make_table().y
    meta = clone(meta)
    words = ["'store'", "Drop the column", "task_column='store'"]
    with refuses(meta, *words):
        meta.fit(frame, y, groups=groups)
    meta.fit(make_table().frame(library, column="city")[["size", "price", "age"]], y, groups=groups)
    twice = make_table().frame(library)[["size", "price", "age"]].rename({"age": "store"})
    if library == "pandas":
        twice = make_table().frame()[["size", "price", "store"]]
    for call in (partial(meta.predict, twice), partial(meta.adapt, twice, y)):
        with refuses(meta, "store"):
            call(groups=groups)


@each(EACH)
def test_columns_of_the_same_name(meta, make_table, refuses):
    X, y, ids = long(good_tasks(meta, make_table))
    X = X.assign(store=ids)
    with refuses(clone(meta), "size"):
        clone(meta).fit(X[["size", "size"]], y, groups=ids)
    meta = clone(meta).set_params(task_column="store")
    with refuses(meta, "store"):
        meta.fit(X[["size", "store", "store"]], y)
    with refuses(meta, "no feature columns"):
        meta.fit(X[["store"]], y)


NO_TABLES = {
    "1-d": (np.zeros(30), ["2D array", "1D"]),
    "3-d": (np.zeros((30, 3, 1)), ["2D array", "3D"]),
    "None": (None, ["2D array"]),
    "ragged": ([[1, 2, 3]] * 29 + [[1]], []),
    "no columns": (np.zeros((30, 0)), ["0 feature"]),
}


@pytest.mark.parametrize("kind", NO_TABLES)
@each(EACH)
def test_X_is_not_a_table(meta, kind, knows, refuses):
    X, words = NO_TABLES[kind]
    meta, tasks = knows(meta, dataframe=False)
    _, y, ids = long(tasks)
    for call in (meta.fit, meta.adapt):
        with refuses(meta, *words):
            call(X, y, groups=ids)
    with refuses(meta, *words):
        meta.predict(X)
    with refuses(meta, "task 'odd'"):
        meta.meta_fit([*as_list(tasks), Task(X, y, id="odd")])


SPARSE = [sp.csr_array, sp.csc_matrix, sp.coo_array, sp.dok_array]


@each_door([fit, adapt, predict, meta_fit, adapt_many])
@each(REGRESSORS)
def test_sparse(meta, door, knows, refuses):
    for form in SPARSE:
        known, tasks = knows(meta, dataframe=False)
        words = ["parse", "toarray"]
        if door in TASK_DOORS:
            sparse = {id_: (form(X), y) for id_, (X, y) in tasks.items()}
            with refuses(known, "task 'store_0'", *words):
                door(known, sparse)
            continue
        X, y, ids = long(tasks)
        with refuses(known, *words):
            if door is predict:
                known.predict(form(X), groups=ids)
            else:
                getattr(known, door.__name__)(form(X), y, groups=ids)


@each(EACH)
def test_sparse_with_an_id_column(meta, make_table, refuses):
    X, y, _ = long(good_tasks(meta, make_table, dataframe=False))
    meta = clone(meta).set_params(task_column=0)
    for form in SPARSE:
        with refuses(meta, "parse", "toarray"):
            meta.fit(form(np.abs(np.round(X))), y)


# -- targets ---------------------------------------------------------------------------------------

BAD_TARGETS = {
    "NaN": (np.nan, ["NaN", "Drop"]),
    "infinity": (np.inf, ["infinity", "Drop"]),
    "None": (None, ["Drop"]),
    "NA": (pd.NA, ["Drop"]),
    "string": ("high", ["'high'", "classifier"]),
    "number as string": ("1.5", ["'1.5'"]),
    "date": (datetime.datetime(2026, 5, 1), ["2026"]),
    "complex": (1 + 2j, ["omplex", "(1+2j)"]),
}


def with_bad_target(tasks, value):
    X, y = tasks["store_1"]
    y = y.astype(object)
    y[3] = value
    if isinstance(value, (float, complex)):
        y = y.astype(type(value))
    return {**tasks, "store_1": (X, y)}


@each_door(LABELLED_DOORS)
@each(REGRESSORS)
def test_bad_target_of_a_regressor(meta, door, knows, refuses):
    for value, words in BAD_TARGETS.values():
        known, tasks = knows(meta)
        with refuses(known, *row_3(door), *words):
            door(known, with_bad_target(tasks, value))


@each_door(LABELLED_DOORS)
@each(CLASSIFIERS)
def test_missing_label(meta, door, knows, refuses):
    for value in (None, np.nan, pd.NA):
        known, tasks = knows(meta)
        X, y = tasks["store_1"]
        y = y.astype(object)
        y[3] = value
        with refuses(known, *row_3(door), "NaN", "Drop"):
            door(known, {**tasks, "store_1": (X, y)})


@each_door(LABELLED_DOORS)
@each(CLASSIFIERS)
def test_a_regression_task_for_a_classifier(meta, door, knows, refuses):
    meta, tasks = knows(meta)
    numbers = {id_: (X, X["size"].to_numpy()) for id_, (X, _) in tasks.items()}
    value = repr(float(numbers["store_0"][1][0]))
    words = ["known are", "'high'"] if door in (adapt, adapt_many) else ["regress"]
    with refuses(meta, "task 'store_0', row 0", value, *words):
        door(meta, numbers)
    X, y = numbers["store_1"]
    with refuses(meta, "task 'store_1'", repr(float(y[0]))):  # one among the others
        door(meta, {**tasks, "store_1": (X, y)})


@each_door([adapt, adapt_many])
@each([meta for meta in CLASSIFIERS if not isinstance(meta, TransferMetaLearner)])
def test_unknown_class(meta, door, knows, refuses):
    meta, tasks = knows(meta)
    X, y = tasks["store_1"]
    y = np.where(np.arange(10) == 3, "huge", y)
    with refuses(meta, *row_3(door), "'huge'", "['high', 'low', 'mid']"):
        door(meta, {**tasks, "store_1": (X, y)})


@pytest.mark.parametrize("labels", [[0, 1], [True, False]])
@each(CLASSIFIERS)
def test_labels_of_several_types(meta, labels, knows, refuses):
    """NumPy would make strings of them all: 0 and "0" would be one class."""
    meta, tasks = knows(meta)
    X, _ = tasks["store_1"]
    mixed = {**tasks, "store_1": (X, np.array(labels * 5))}
    for door in (meta_fit, adapt_many):
        with refuses(meta, "task 'store_1'", repr(labels[0])):
            door(meta, mixed)
    y = np.concatenate([y.astype(object) for _, y in mixed.values()])
    X, _, ids = long(tasks)
    for call in (meta.fit, meta.adapt):
        with refuses(meta, "task 'store_1', row 10", repr(labels[0])):
            call(X, y, groups=ids)


@each([meta for meta in CLASSIFIERS if not isinstance(meta.estimator, SVC)])
def test_a_single_class_in_all_tasks(meta, knows, refuses):
    meta, tasks = knows(meta)
    for door in (fit, meta_fit):
        with refuses(meta, "one class", " 'high'"):
            door(meta, {id_: (X, np.array(["high"] * 10)) for id_, (X, _) in tasks.items()})


@each(REGRESSORS)
def test_y_of_another_shape(meta, knows, refuses):
    meta, tasks = knows(meta)
    X, y, ids = long(tasks)
    many = as_list(tasks)
    for call in (meta.fit, meta.adapt):
        with refuses(meta, "30 rows", "29"):
            call(X, y[1:], groups=ids)
        with refuses(meta, "(30, 2)"):
            call(X, np.column_stack([y, y]), groups=ids)
        with refuses(meta, "y"):
            call(X, None, groups=ids)
    for call in (meta.meta_fit, meta.adapt_many):
        with refuses(meta, "task 'odd'", "30 rows", "29"):
            call([*many, Task(X, y[1:], id="odd")])
        with refuses(meta, "task 'odd'", "(30, 2)"):
            call([*many, Task(X, np.column_stack([y, y]), id="odd")])
        with refuses(meta, "task 'odd'", "y is None"):
            call([*many, Task(X, None, id="odd")])
    expected = clone(meta).fit(X, y, groups=ids).predict(X)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        meta.fit(X, y[:, None], groups=ids)
    np.testing.assert_array_equal(meta.predict(X), expected)


@each_door([fit, adapt, adapt_many])
def test_targets_that_the_loss_does_not_allow(door, knows, refuses):
    meta, tasks = knows(Independent(PoissonRegressor()))
    X, y = tasks["store_1"]
    with refuses(meta, "task 'store_1'", "y"):
        door(meta, {**tasks, "store_1": (X, -y)})


NETWORK = {"hidden_layer_sizes": (2,), "max_iter": 5}


@each_door([fit, meta_fit, adapt, adapt_many])
@pytest.mark.parametrize(
    "wrapped",
    [PoissonRegressor(), GammaRegressor(), MLPRegressor(loss="poisson", **NETWORK)],
    ids=name_of,
)
@pytest.mark.parametrize("init", ["pooled", "random"])
def test_targets_that_steps_would_follow_without_end(init, wrapped, door, knows, refuses):
    meta, tasks = knows(MAML(wrapped, init=init, max_iter=1, random_state=0))
    X, y = tasks["store_1"]
    y = y.copy()
    y[3] = -2.5
    with refuses(meta, *row_3(door), "y is -2.5", type(wrapped).__name__, "Ridge"):
        door(meta, {**tasks, "store_1": (X, y)})
    for more in (meta.partial_meta_fit, meta.meta_fit):
        with refuses(meta, "row 3: y is -2.5"):
            more([(X, y)])
    with refuses(meta, "row 3: y is -2.5"):
        meta.partial_adapt(X, y)


@pytest.mark.parametrize("wrapped", [PoissonRegressor(), GammaRegressor()], ids=name_of)
def test_targets_that_no_hierarchical_model_has(wrapped, knows, refuses):
    meta, tasks = knows(HierarchicalBayes(wrapped, random_effects="intercept"))
    X, y = tasks["store_1"]
    for door in (meta_fit, adapt):
        with refuses(meta, "task 'store_1', row", "y is -", type(wrapped).__name__):
            door(meta, {**tasks, "store_1": (X, -y)})


# -- ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=repr)
@each(EACH)
def test_missing_ids(meta, missing, knows, refuses):
    meta, tasks = knows(meta)
    X, y, ids = long(tasks)
    ids = ids.astype(object)
    ids[[3, 14]] = missing
    words = ["2 row(s)", "3, 14", "drop"]
    for call in (meta.fit, meta.adapt):
        for groups in (ids, ids.tolist(), pd.Series(ids)):
            with refuses(meta, *words):
                call(X, y, groups=groups)
    with refuses(clone(meta), *words):
        clone(meta).set_params(task_column="store").fit(X.assign(store=ids), y)
    predicted = meta.predict(X, groups=ids)
    expected = meta.predict(X, groups=["unknown"] * len(y))
    np.testing.assert_allclose(predicted[[3, 14]], expected[[3, 14]])


@pytest.mark.parametrize("id_", [np.nan, float("nan"), pd.NA, pd.NaT], ids=repr)
@each(EACH)
def test_a_missing_id_of_a_task(meta, id_, knows, refuses):
    """Only None means that a task has no name."""
    meta, tasks = knows(meta)
    X, y = tasks["store_0"]
    with refuses(meta, "task 3 (counted from 0)", "id"):
        meta.meta_fit([*as_list(tasks), Task(X, y, id=id_)])


@each(EACH)
def test_ids_of_another_shape(meta, knows, refuses):
    meta, tasks = knows(meta)
    X, y, ids = long(tasks)
    for call in (partial(meta.fit, X, y), partial(meta.adapt, X, y), partial(meta.predict, X)):
        with refuses(meta, "groups", "29", "30"):
            call(groups=ids[1:])
        with refuses(meta, "one-dimensional", "(30, 2)"):
            call(groups=np.column_stack([ids, ids]))
        with refuses(meta, "one-dimensional"):
            call(groups="store_0")
    unhashable = np.empty(30, dtype=object)
    unhashable[:] = [["store"]] * 30
    with refuses(meta, "id", "['store']"):
        meta.fit(X, y, groups=unhashable)
    with refuses(meta, "id", "['store']"):
        meta.meta_fit([Task(X, y, id=["store"])])


@each(EACH)
def test_duplicate_ids(meta, knows, refuses):
    meta, tasks = knows(meta)
    twice = as_list(tasks) + as_list(tasks)[1:2]
    words = ["'store_1'", "occurs twice", "1 and 3", "merge", "rename"]
    for call in (meta.meta_fit, meta.fit, meta.adapt_many):
        with refuses(meta, *words):
            call(twice)
    with refuses(meta, *words):
        meta.meta_fit(iter(twice))


# -- collections of tasks --------------------------------------------------------------------------


@each(EACH)
def test_no_tasks(meta, knows, refuses):
    meta, tasks = knows(meta)
    used = iter(as_list(tasks))
    fresh = clone(meta).meta_fit(used)
    calls = [meta.meta_fit, meta.adapt_many]
    calls += [meta.partial_meta_fit] if hasattr(meta, "partial_meta_fit") else []
    for call in calls:
        for empty in ([], (), {}, iter([])):
            with refuses(meta, "no tasks", type(empty).__name__):
                call(empty)
        with refuses(meta, "no tasks", "only once", "list"):
            call(used)
    with refuses(fresh, "no tasks"):
        fresh.fit([])


@each(EACH)
def test_an_empty_task(meta, knows, refuses):
    meta, tasks = knows(meta)
    X, y = tasks["store_0"]
    empty = Task(X[:0], y[:0], id="empty")
    for all_tasks in ([*as_list(tasks), empty], [empty, *as_list(tasks)], [empty]):
        with refuses(meta, "task 'empty'", "no rows"):
            meta.meta_fit(all_tasks)
    with refuses(meta, "0 "):
        meta.fit(X[:0], y[:0])
    for zero_rows in ((X[:0], y[:0]), (X[:0], []), (X[:0], pd.Series([]))):
        assert np.isfinite(meta.adapt(*zero_rows).predict(X)).all()
    known = meta.task_ids_
    assert meta.adapt(X[:0], y[:0], groups=[]).task_ids_ is known  # nobody is there to adapt to


NO_COLLECTIONS = [
    (lambda X, y: Task(X, y), ["Task"]),
    (lambda X, y: None, ["NoneType"]),
    (lambda X, y: "tasks", ["str"]),
    (lambda X, y: X, ["str", "fit(X, y, groups=ids)"]),
    (lambda X, y: X.to_numpy(), ["ndarray", "fit(X, y, groups=ids)"]),
    (lambda X, y: (X, y), ["DataFrame", "(X, y)"]),
    (lambda X, y: [(X, y, "store_0")], ["task 0", "(X, y)", "Task"]),
    (lambda X, y: [(X, y), None], ["task 1", "NoneType"]),
    (lambda X, y: {"store_0": X}, ["'store_0'", "DataFrame", "(X, y)"]),
    (lambda X, y: [(y, X)], ["task 0", "2D", "1D"]),
]


@each(EACH)
def test_not_a_collection_of_tasks(meta, knows, refuses):
    for wrong, words in NO_COLLECTIONS:
        known, tasks = knows(meta)
        for call in (known.meta_fit, known.adapt_many):
            with refuses(known, *words):
                call(wrong(*tasks["store_0"]))


@each(EACH)
def test_fit_says_how_to_pass_tasks(meta, knows, refuses):
    meta, tasks = knows(meta)
    with refuses(meta, "meta_fit"):
        meta.fit(list(tasks.values()))
    with refuses(meta, "y must be None"):
        meta.fit(as_list(tasks), [1, 2, 3])
    with refuses(meta, "sample_weight", "Task"):  # else they would be ignored
        meta.fit(as_list(tasks), sample_weight=np.ones(30))
    with refuses(meta, "groups", "id"):
        meta.fit(as_list(tasks), groups=np.ones(30))


# -- weights and descriptors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "weight, words",
    [
        (-1.0, ["-1.0", "not negative"]),
        (np.nan, ["nan", "finite"]),
        (np.inf, ["inf", "finite"]),
        ("heavy", ["'heavy'"]),
    ],
)
@each(EACH)
def test_bad_weights(meta, weight, words, knows, refuses):
    meta, tasks = knows(meta)
    X, y, ids = long(tasks)
    weights = [1.0] * 13 + [weight] + [1.0] * 16
    for call in (meta.fit, meta.adapt):
        with refuses(meta, "task 'store_1', row 13", "sample_weight", *words):
            call(X, y, groups=ids, sample_weight=weights)
        with refuses(meta, "sample_weight", "29", "30"):
            call(X, y, groups=ids, sample_weight=np.ones(29))
    odd = Task(X, y, id="odd", sample_weight=weights)
    for call in (meta.meta_fit, meta.adapt_many):
        with refuses(meta, "task 'odd'", "row 13", "sample_weight", *words):
            call([*as_list(tasks), odd])


@pytest.mark.parametrize("cls", [Pooled, Independent])
def test_weights_for_an_estimator_without(cls, knows, refuses):
    meta, tasks = knows(cls(KNeighborsRegressor(2)))
    X, y, ids = long(tasks)
    with refuses(meta, "KNeighborsRegressor", "sample_weight", "leave the weights out"):
        meta.fit(X, y, groups=ids, sample_weight=np.arange(30.0))


@pytest.mark.parametrize(
    "descriptor, words",
    [
        (None, ["no descriptor"]),
        ([1.0, 2.0], ["2 entries", "expected 1"]),
        ([np.nan], ["nan"]),
        (["north"], ["'north'", "Encode"]),
        ({"n": 1.0}, ["mappings"]),
        ([[1.0]], ["shape (1, 1)"]),
    ],
)
def test_bad_descriptors(descriptor, words, make_table, refuses):
    X, y = good_tasks(None, make_table)["store_0"]
    tasks = [Task(X, y, id=f"store_{t}", descriptor=[t]) for t in range(5)]
    odd = Task(X, y, id="odd", descriptor=descriptor)
    meta = HierarchicalBayes().meta_fit(tasks)
    for call in (meta.meta_fit, meta.adapt_many):
        with refuses(meta, "task 'odd'", *words):
            call([*tasks, odd])
    with refuses(meta, "descriptor"):
        meta.adapt(X, y, descriptor=descriptor)


def test_bad_descriptor_columns(make_table, refuses):
    X, y, ids = long(good_tasks(None, make_table))
    X = X.assign(store=ids, town=np.repeat([1.0, 2.0, 3.0], 10))
    meta = HierarchicalBayes(task_column="store", descriptor_columns=["town"]).fit(X, y)
    X.loc[13, "town"] = 7.0
    with refuses(meta, "task 'store_1'", "'town'", "2.0", "7.0", "feature"):
        meta.fit(X, y)
    X.loc[13, "town"] = np.nan
    with refuses(meta, "task 'store_1', row 13", "column 'town'", "NaN"):
        meta.fit(X, y)
    for column, words in [("county", ["'county'"]), ("store", ["'store'", "task_column"])]:
        other = clone(meta).set_params(descriptor_columns=[column])
        with refuses(other, "descriptor_columns", *words):
            other.fit(X, y)


# -- wrapped estimators ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped, words",
    [
        (Ridge, ["instance", "class"]),
        ("ridge", ["'ridge'", "estimator"]),
        (StandardScaler(), ["StandardScaler"]),
        (KMeans(2), ["KMeans", "regressor", "classifier"]),
        (make_pipeline(StandardScaler()), ["StandardScaler"]),
    ],
    ids=["class", "string", "transformer", "clusterer", "pipeline"],
)
@pytest.mark.parametrize("cls", [Pooled, Independent, HierarchicalBayes])
def test_not_a_regressor_or_classifier(cls, wrapped, words, make_table, refuses):
    tasks = good_tasks(None, make_table)
    meta = cls(wrapped)
    if cls is HierarchicalBayes and hasattr(wrapped, "fit"):
        words = words[:1] if isinstance(wrapped, type) else []
    for door in (fit, meta_fit):
        with refuses(meta, *words):
            door(meta, tasks)


@each(REGRESSORS)
def test_not_fitted(meta, make_table, refuses):
    tasks = good_tasks(meta, make_table)
    meta = clone(meta)
    for door in (adapt, adapt_many, predict):
        with refuses(meta, type(meta).__name__, "fit", error=NotFittedError):
            door(meta, tasks)


@each(REGRESSORS)
def test_arguments_that_fit_does_not_have(meta, knows, refuses):
    meta, tasks = knows(meta)
    X, y, ids = long(tasks)
    with refuses(meta, "sampel_weight"):
        meta.fit(X, y, groups=ids, sampel_weight=y)


def test_too_few_rows_for_the_wrapped_estimator(make_table, refuses):
    """It fits on two rows, and fails when it predicts: the message still says for which task."""
    tasks = good_tasks(None, make_table)
    X, y = tasks["store_1"]
    tasks["store_1"] = X[:2], y[:2]
    meta = Independent(KNeighborsRegressor())
    fit(meta, tasks)
    with refuses(meta, "task 'store_1'", "n_neighbors"):
        predict(meta, tasks)


# -- data that are odd, not bad --------------------------------------------------------------------


def odd_data(kind):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(6), 5)
    X = rng.standard_normal((30, 3))
    w = rng.standard_normal((6, 3))
    y = np.sum(w[ids] * X, axis=1) + w[ids, 0] + 0.1 * rng.standard_normal(30)
    if kind == "one row each":
        ids = np.arange(30)
    elif kind == "one row in all":
        X, y, ids = X[:1], y[:1], ids[:1]
    elif kind == "single task":
        ids = np.zeros(30, dtype=int)
    elif kind == "constant y":
        y[:] = 3.0
    elif kind == "zero y":
        y[:] = 0.0
    elif kind == "y constant within tasks":
        y = w[ids, 0]
    elif kind == "constant columns":
        X[:, 1:] = [0.0, 7.0]
    elif kind == "equal columns":
        X[:, 1] = X[:, 0]
    elif kind == "columns constant within tasks":
        X[:, 1] = ids
    elif kind == "more features than rows":
        X = rng.standard_normal((30, 40))
    elif kind == "no noise":
        y = np.sum(w[ids] * X, axis=1)
    elif kind == "repeated rows":  # fewer distinct rows than coefficients that could explain them
        rng = np.random.default_rng(0)
        ids = np.repeat(np.arange(3), 4)
        X = rng.standard_normal((12, 3))
        y = rng.standard_normal(3)[ids] + X[:, 0] + 0.5 * rng.standard_normal(12)
        X, y, ids = (np.repeat(part, 2, axis=0) for part in (X, y, ids))
    elif kind == "one odd task":
        y[ids == 3] *= 1e6
    elif kind == "far from zero":
        X, y = X + 1e8, y + 1e8
    elif kind == "units":
        X, y = X * [1e-4, 1.0, 1e4], y * 1e8
    return X, y, ids


@pytest.mark.parametrize(
    "kind",
    ["one row each", "one row in all", "single task", "constant y", "zero y"]
    + ["y constant within tasks", "constant columns", "equal columns"]
    + ["columns constant within tasks", "more features than rows", "no noise", "repeated rows"]
    + ["one odd task", "far from zero", "units"],
)
@each(
    REGRESSORS
    + [Pooled(DecisionTreeRegressor()), Independent(DecisionTreeRegressor())]
    + [HierarchicalBayes(covariance=c, method=m) for c in ("diag", "spherical") for m in ("ml",)]
    + [HierarchicalBayes(random_effects="intercept"), HierarchicalBayes(standardize=False)]
)
@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:A single task")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_odd_data_give_finite_predictions(meta, kind, unchanged):
    X, y, ids = odd_data(kind)
    meta = clone(meta).fit(X, y, groups=ids)
    assert np.isfinite(meta.predict(X, groups=ids)).all()
    assert np.isfinite(meta.predict(X)).all()
    assert np.isfinite(meta.adapt(X[:1], y[:1]).predict(X)).all()
    if kind in ("constant y", "zero y"):
        np.testing.assert_allclose(meta.predict(X, groups=ids), y, atol=0.2)


@pytest.mark.parametrize("scale", [1e-160, 1e13, 1e160])
@pytest.mark.parametrize("what", ["X", "y", "support", "query"])
@each([Independent(), HierarchicalBayes(), HierarchicalBayes(standardize=False)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_extreme_numbers_work_or_are_named(meta, what, scale, knows):
    """Squares of them are 0 or infinite: never a crash, never NaN."""
    meta, tasks = knows(meta, dataframe=False)
    X, y, ids = long(tasks)
    if what == "y":
        y = y * scale
    else:
        X = X * [1.0, scale, 1.0]
    try:
        if what == "support":
            meta.adapt(X, y, groups=ids)
        elif what != "query":
            meta.fit(X, y, groups=ids)
        predicted = meta.predict(X, groups=ids)
    except ValueError as error:
        assert type(error) is ValueError  # not a LinAlgError
        assert re.search(r"column 1\b" if what != "y" else r"\by\b", str(error))
    else:
        assert np.isfinite(predicted).all()


@pytest.mark.parametrize("support", [[9], [1.5], [True, False], "abc", [np.nan], [None]])
def test_supports_that_are_no_rows(support):
    tasks = [Task(np.eye(4), np.arange(4.0), id=f"s{t}", support=support) for t in range(3)]
    with pytest.raises(ValueError, match="task 's0': support=.* is neither places of its 4 rows"):
        HierarchicalBayes().meta_fit(tasks)


def test_a_support_of_no_rows():
    tasks = [Task(np.eye(4), np.arange(4.0) + t, support=[]) for t in range(3)]
    assert HierarchicalBayes().meta_fit(iter(tasks)).n_tasks_ == 3


@pytest.mark.parametrize("number", [-1, 1.5, "a", None])
def test_numbers_that_are_none(number):
    tasks = make_table().tasks
    model = BatchMetaLearner(Ridge(), n_estimators=1, random_state=0).meta_fit(tasks)
    with pytest.raises(ValueError, match="n_neighbors=.* is no whole number of 1 or more"):
        model.nearest_tasks(tasks[0].X, tasks[0].y, n_neighbors=number)
    for name in ("n_shots", "n_repeats"):
        with pytest.raises(ValueError, match=f"{name}=.* is no whole number of"):
            few_shot_scorer("r2", **{name: number})
    with pytest.raises(ValueError, match="confidence_level=.* is not between 0 and 1"):
        HierarchicalBayes().meta_fit(tasks).predict_interval(tasks[0].X, confidence_level=number)
