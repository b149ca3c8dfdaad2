"""Odd and bad input, a table of it: every class and every method, a right answer or a clear error.

The same numbers in another dress give the same predictions. What is no table of numbers is refused
with a ``ValueError`` or ``TypeError`` that is meant for the user, and the object is as it was. What
may be either is finite or refused. Nothing warns of overflow, and no prediction is NaN.
"""

import copy
import datetime
import decimal
import fractions
import os
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from algorithms import CLASSES, GRADIENT, make_meta
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, NuSVR
from sklearn.utils.estimator_checks import check_estimator

from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaClassifier,
    MetaRegressor,
    Pooled,
    PrototypeClassifier,
    RidgeHead,
    Task,
    TransferMetaLearner,
    task_summaries,
    tasks_from_table,
)
from sklearn_meta.descriptors import FunctionDescriptor

polars = pytest.importorskip("polars", reason="tables of another library")

N_TASKS, N_ROWS = 4, 6
RNG = np.random.default_rng(0)
IDS = np.repeat(np.arange(N_TASKS), N_ROWS)
X = RNG.integers(0, 9, (len(IDS), 3)).astype(float)  # which small types hold exactly
Y = X @ [1.0, 2.0, 0.0] + IDS + RNG.integers(0, 3, len(IDS)) + 1
LABELS = np.digitize(Y, np.quantile(Y, [0.4, 0.7]))
WEIGHT = np.ones(len(IDS))

FAST = {
    HierarchicalBayes: {"random_effects": "intercept", "contextual_effects": False},
    BatchMetaLearner: {"n_estimators": 1},
    TransferMetaLearner: {"selection": "weighted"},
    PrototypeClassifier: {"max_iter": 0},
} | dict.fromkeys([*GRADIENT, RidgeHead], {"max_iter": 1})
METAS = [make_meta(cls, **FAST.get(cls, {})) for cls in [*CLASSES, RidgeHead]] + [
    make_meta(MetaRegressor, [("pooled", Pooled()), ("independent", Independent())]),
    make_meta(MetaClassifier, [("pooled", Pooled(LogisticRegression()))]),
    make_meta(PrototypeClassifier, **FAST[PrototypeClassifier]),
    make_meta(Independent, LogisticRegression()),
    make_meta(MAML, LogisticRegression(), max_iter=1),
]

# -- the table -------------------------------------------------------------------------------------


def cell(value, dtype=object):
    """A change that puts a value into the row of place 3."""

    def change(values):
        out = np.array(values, dtype=dtype)
        out[(3, 1) if out.ndim == 2 else 3] = value
        return out

    return change


def masked(values):
    out = np.ma.array(values)
    out[(3, 1) if out.ndim == 2 else 3] = np.ma.masked
    return out


def frame_of(dtype):
    return lambda X: pd.DataFrame(X, columns=["u", "v", "w"]).astype(dtype)


def series_of(dtype):
    return lambda y: pd.Series(y, index=range(100, 100 + len(y))).astype(dtype)


def read_only(values):
    out = values.copy()
    out.flags.writeable = False
    return out


def memory_mapped(values):
    path = MEMORY / f"{len(list(MEMORY.iterdir()))}"
    out = np.memmap(path, values.dtype, "w+", 0, values.shape)
    out[:] = values
    return out


def object_of(kind):
    """Python objects of a class that are numbers."""

    def change(values):
        return np.frompyfunc(kind, 1, 1)(np.asarray(values).astype(int).astype(object))

    return change


class Duck:
    """An array only by protocol."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype=dtype)


class Subclass(np.ndarray):
    """An array of a class of its own."""


def ragged(values):
    return [*values.tolist()[:-1], [1.0]]


DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16"]
DTYPES += ["float32", "longdouble", ">f8", "<i4", ">i2", "object"]
DRESSES = {f"dtype {dtype}": lambda v, dtype=dtype: v.astype(dtype) for dtype in DTYPES} | {
    "list": lambda v: v.tolist(),
    "Fortran": np.asfortranarray,
    "negative strides": lambda v: v[::-1].copy()[::-1],
    "every second": lambda v: np.repeat(v, 2, axis=0)[::2],
    "read-only": read_only,
    "memory-mapped": memory_mapped,
    "no mask": np.ma.array,
    "a subclass": lambda v: v.view(Subclass),
    "Decimal": object_of(decimal.Decimal),
    "Fraction": object_of(fractions.Fraction),
    "Python int": object_of(int),
}
# part, change
SAME = {f"all: {kind}": ("all", change) for kind, change in DRESSES.items()}
SAME |= {
    "X: tuples": ("X", lambda X: tuple(map(tuple, X.tolist()))),
    "X: rows": ("X", list),
    "X: transposed": ("X", lambda X: X.T.copy().T),
    "X: by protocol": ("X", lambda X: Duck(X).__array__()),
    "X: frame of Int64": ("X", frame_of("Int64")),
    "X: frame of Float32": ("X", frame_of("Float32")),
    "X: frame of int8": ("X", frame_of("int8")),
    "X: frame of object": ("X", frame_of("object")),
    "X: frame of Arrow": ("X", frame_of("float64[pyarrow]")),
    "X: frame of columns 0, 1, 2": ("X", pd.DataFrame),
    "X: frame, one index for all": ("X", lambda X: pd.DataFrame(X, index=[7] * len(X))),
    "X: frame of polars": ("X", lambda X: polars.DataFrame(X, schema=["u", "v", "w"])),
    "y: series": ("y", series_of("float64")),
    "y: series of Int64": ("y", series_of("Int64")),
    "y: series of Arrow": ("y", series_of("int64[pyarrow]")),
    "y: series of polars": ("y", lambda y: polars.Series(y)),
    "weight: a number": ("weight", lambda w: 1.0),
    "weight: bool": ("weight", lambda w: w.astype(bool)),
    "weight: None": ("weight", lambda w: None),
    "weight: series": ("weight", series_of("Float64")),
    "ids: text": ("ids", lambda ids: ids.astype(str)),
    "ids: bytes": ("ids", lambda ids: ids.astype("S")),
    "ids: mixed": ("ids", lambda ids: [i if i % 2 else f"store {i}" for i in ids.tolist()]),
    "ids: tuples": ("ids", lambda ids: [("a", i) for i in ids.tolist()]),
    "ids: 10**400": ("ids", lambda ids: [10**400 + i for i in ids.tolist()]),
    "ids: days": ("ids", lambda ids: ids.astype("M8[D]")),
    "ids: zones": ("ids", lambda ids: pd.to_datetime(ids, unit="D", utc=True)),
    "ids: spans": ("ids", lambda ids: ids.astype("m8[D]")),
    "ids: series": ("ids", series_of("Int64")),
    "ids: categories": ("ids", series_of("category")),
    "ids: categories of polars": (
        "ids",
        lambda ids: polars.Series(ids.astype(str)).cast(polars.Categorical),
    ),
    "ids: dates": ("ids", lambda ids: [datetime.date(2026, 1, 1 + i) for i in ids.tolist()]),
}
LOSSY = ("float16", "float32", "Float32", "longdouble")

REFUSED = {
    "X: NaN": ("X", cell(np.nan, float)),
    "X: infinity": ("X", cell(-np.inf, float)),
    "X: NaN of float32": ("X", cell(np.nan, np.float32)),
    "X: None": ("X", cell(None)),
    "X: NA": ("X", cell(pd.NA)),
    "X: NaT": ("X", cell(pd.NaT)),
    "X: masked": ("X", masked),
    "X: masked int": ("X", lambda X: masked(X.astype(int))),
    "X: text": ("X", cell("north")),
    "X: bytes": ("X", cell(b"north")),
    "X: all text": ("X", lambda X: np.full(X.shape, "north")),
    "X: all bytes": ("X", lambda X: np.full(X.shape, b"north")),
    "X: complex": ("X", cell(1 + 2j, complex)),
    "X: one complex object": ("X", cell(1 + 2j)),
    "X: 10**400": ("X", cell(10**400)),
    "X: -10**400": ("X", cell(-(10**400))),
    "X: 1e200": ("X", cell(1e200, float)),
    "X: 1e30 of float32": ("X", cell(1e30, np.float32)),
    "X: 1e400 of Decimal": ("X", cell(decimal.Decimal("1e400"))),
    "X: a list": ("X", cell([1.0])),
    "X: a dict": ("X", cell({"a": 1})),
    "X: an object": ("X", cell(object())),
    "X: a function": ("X", cell(len)),
    "X: days": ("X", lambda X: X.astype("M8[D]")),
    "X: spans": ("X", lambda X: X.astype("m8[s]")),
    "X: frame of zones": (
        "X",
        lambda X: pd.DataFrame(X).apply(pd.to_datetime, unit="D", utc=True),
    ),
    "X: frame with NA": ("X", lambda X: pd.DataFrame(X).astype("Int64").mask(X == X[3])),
    "X: frame with times": ("X", lambda X: pd.DataFrame(X).assign(t=pd.Timestamp("2026-01-01"))),
    "X: frame of names twice": ("X", lambda X: pd.DataFrame(X, columns=["u", "u", "w"])),
    "X: polars with null": ("X", lambda X: polars.DataFrame(cell(None)(X).tolist(), orient="row")),
    "X: 0-d": ("X", lambda X: np.array(1.0)),
    "X: 1-d": ("X", lambda X: X[:, 0]),
    "X: 3-d": ("X", lambda X: X[:, :, None]),
    "X: ragged": ("X", ragged),
    "X: no columns": ("X", lambda X: X[:, :0]),
    "X: too few columns": ("X", lambda X: X[:, :2]),
    "X: a structure": ("X", lambda X: np.zeros(len(X), dtype=[("a", float), ("b", float)])),
    "X: scalar": ("X", lambda X: 3.0),
    "X: string": ("X", lambda X: "table"),
    "X: None at all": ("X", lambda X: None),
    "X: a generator": ("X", lambda X: (row for row in X)),
    "X: a set": ("X", lambda X: {1, 2, 3}),
    "X: a function at all": ("X", lambda X: len),
    "y: NaN": ("y", cell(np.nan, float)),
    "y: infinity": ("y", cell(np.inf, float)),
    "y: None": ("y", cell(None)),
    "y: NA": ("y", cell(pd.NA)),
    "y: NaT": ("y", cell(pd.NaT)),
    "y: masked": ("y", masked),
    "y: complex": ("y", cell(1 + 2j, complex)),
    "y: 10**400": ("y", cell(10**400)),
    "y: bytes": ("y", lambda y: y.astype("S")),
    "y: an object": ("y", cell(object())),
    "y: a list": ("y", cell([1])),
    "y: 2-d": ("y", lambda y: np.column_stack([y, y])),
    "y: 3-d": ("y", lambda y: y[:, None, None]),
    "y: 0-d": ("y", lambda y: np.array(1)),
    "y: too short": ("y", lambda y: y[:-1]),
    "y: too long": ("y", lambda y: np.append(y, y)),
    "y: empty": ("y", lambda y: y[:0]),
    "y: scalar": ("y", lambda y: 3),
    "y: string": ("y", lambda y: "target"),
    "y: None at all": ("y", lambda y: None),
    "y: a dict": ("y", lambda y: {"a": 1}),
    "y: a generator": ("y", lambda y: (v for v in y)),
    "weight: NaN": ("weight", cell(np.nan, float)),
    "weight: infinity": ("weight", cell(np.inf, float)),
    "weight: negative": ("weight", cell(-1.0, float)),
    "weight: masked": ("weight", masked),
    "weight: text": ("weight", cell("heavy")),
    "weight: complex": ("weight", cell(1 + 2j, complex)),
    "weight: 10**400": ("weight", cell(10**400)),
    "weight: None among them": ("weight", cell(None)),
    "weight: 2-d": ("weight", lambda w: w[:, None]),
    "weight: too short": ("weight", lambda w: w[:-1]),
    "weight: days": ("weight", lambda w: w.astype("M8[D]")),
    "weight: string": ("weight", lambda w: "heavy"),
    "weight: a generator": ("weight", lambda w: (v for v in w)),
    "ids: a list": ("ids", cell([1])),
    "ids: a dict": ("ids", cell({"a": 1})),
    "ids: an array": ("ids", cell(np.zeros(2))),
    "ids: part missing": ("ids", cell(("a", None))),
    "ids: None": ("ids", cell(None)),
    "ids: NaN": ("ids", cell(np.nan, float)),
    "ids: masked": ("ids", masked),
    "ids: NaT": ("ids", cell(np.datetime64("NaT"), "M8[D]")),
    "ids: 2-d": ("ids", lambda ids: np.column_stack([ids, ids])),
    "ids: 0-d": ("ids", lambda ids: np.array(1)),
    "ids: too short": ("ids", lambda ids: ids[:-1]),
    "ids: string": ("ids", lambda ids: "store"),
    "ids: a generator": ("ids", lambda ids: (v for v in ids)),
}
MAY = {
    ("X: too few columns", "fit"),
    ("X: 1e30 of float32", "meta_fit"),  # beside other rows of float64
    ("X: 1e30 of float32", "partial_adapt"),
    *((f"ids: {kind}", "predict") for kind in ("None", "NaN", "masked", "NaT")),
    *((f"ids: {kind}", "meta_fit") for kind in ("None",)),
}


def scaled(factor):
    return lambda values: values * factor


SCALES = [1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e300]
EITHER = {f"X: times {scale:g}": ("X", scaled(scale)) for scale in SCALES}
EITHER |= {f"y: times {scale:g}": ("y", scaled(scale)) for scale in SCALES}
EITHER |= {f"weight: times {scale:g}": ("weight", scaled(scale)) for scale in SCALES}
EITHER |= {
    f"X: one column times {scale:g}": ("X", scaled(np.array([1.0, scale, 1.0]))) for scale in SCALES
}
EITHER |= {
    "X: bool": ("X", lambda X: X > 4),
    "X: frame of boolean": ("X", lambda X: pd.DataFrame(X > 4).astype("boolean")),
    "X: near 2**63": ("X", lambda X: X.astype(np.int64) + (2**63 - 10)),
    "X: near 2**64": ("X", lambda X: X.astype(np.uint64) + np.uint64(2**64 - 10)),
    "X: denormal": ("X", scaled(5e-324)),
    "X: negative zero": ("X", scaled(-0.0)),
    "X: far away": ("X", lambda X: X + 1e15),
    "X: constant": ("X", np.zeros_like),
    "X: equal columns": ("X", lambda X: X[:, [0, 0, 0]]),
    "X: number as text": ("X", lambda X: X.astype(str).astype(object)),
    "X: frame of text": ("X", frame_of(str)),
    "X: frame of categories": ("X", frame_of("category")),
    "y: near 2**63": ("y", lambda y: y.astype(np.int64) + (2**63 - 100)),
    "y: denormal": ("y", scaled(5e-324)),
    "y: constant": ("y", np.zeros_like),
    "y: far away": ("y", lambda y: y + 1e15),
    "y: bool": ("y", lambda y: y > 1),
    "y: objects of bool": ("y", lambda y: (y > 1).astype(object)),
    "y: categories": ("y", series_of("category")),
    "y: a column": ("y", lambda y: y[:, None]),
    "weight: one row": ("weight", lambda w: (np.arange(len(w)) == 0) * 1.0),
    "weight: zero": ("weight", np.zeros_like),
    "weight: unequal": ("weight", lambda w: 10.0 ** (np.arange(len(w)) % 2 * 200 - 100)),
    "ids: each its own": ("ids", lambda ids: np.arange(len(ids))),
    "ids: all one": ("ids", np.zeros_like),
    "ids: bool": ("ids", lambda ids: ids > 1),
    "ids: infinity": ("ids", cell(np.inf, float)),
}

# -- the calls -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def memory(tmp_path_factory):
    global MEMORY
    MEMORY = tmp_path_factory.mktemp("mapped")


def targets(meta):
    return LABELS if is_classifier(meta) else Y


@cache
def known(n):
    """The object of this place, fitted and adapted, and what it predicts."""
    meta = copy.copy(METAS[n])
    y = targets(meta)
    meta.fit(X, y, groups=IDS, sample_weight=WEIGHT)
    of_fit = meta.predict(X, groups=IDS)
    meta.adapt(X[:N_ROWS], y[:N_ROWS])
    return meta, {"fit": of_fit, "meta_fit": of_fit, "adapt": meta.predict(X)}


def calls(meta, part, change, all_tasks):
    """``method -> (call it with a part changed, predict after it)``."""
    plain = {"X": X, "y": targets(meta), "weight": WEIGHT, "ids": IDS}
    in_X, in_ids = part in ("X", "all"), part in ("ids", "all")

    def parts(rows=slice(None), changed=True):
        values = {name: value[rows] for name, value in plain.items()}
        if changed:
            for name in plain if part == "all" else [part]:
                values[name] = change(values[name])
        return values

    def fit():
        v = parts()
        meta.fit(v["X"], v["y"], groups=v["ids"], sample_weight=v["weight"])

    def meta_fit():
        tasks = []
        for t, id_ in enumerate(own_ids):
            v = parts(IDS == t, part != "ids" and (all_tasks or t == 1))
            tasks.append(Task(v["X"], v["y"], id=id_, sample_weight=v["weight"]))
        meta.meta_fit(tasks)

    def adapt(method):
        v = parts(slice(N_ROWS))
        groups = v["ids"] if part == "ids" else None
        getattr(meta, method)(v["X"], v["y"], groups=groups, sample_weight=v["weight"])

    def predict():
        v = parts()
        return meta.predict(v["X"], groups=v["ids"])

    def predict_one():
        return meta.predict(change(X) if in_X else X)

    own_ids = change(np.arange(N_TASKS)) if part == "ids" else range(N_TASKS)
    found = {"fit": (fit, predict), "adapt": (lambda: adapt("adapt"), predict_one)}
    if getattr(own_ids, "ndim", 1) == 1 and hasattr(own_ids, "__len__"):
        if len(own_ids) == N_TASKS:
            own_ids = list(own_ids)
            found["meta_fit"] = meta_fit, lambda: meta.predict(X)
    if hasattr(meta, "partial_adapt"):
        found["partial_adapt"] = (lambda: adapt("partial_adapt"), predict_one)
    if in_X or in_ids:
        found["predict"] = (predict, lambda: None)
    return found


FROM_INSIDE = ["broadcast", "gufunc", "reshape array", "has no attribute", "not subscriptable"]
FROM_INSIDE += ["not iterable", "unhashable", "out of bounds", "singular", "converge", "has no len"]


def refused(call, kind, method):
    """Whether a call raises; an error must be one that is meant for the user."""
    try:
        return False, call()
    except Exception as error:
        text = str(error)
        assert type(error) in (ValueError, TypeError), f"{method}: {error!r}"
        assert 10 < len(text) < 700, f"{method}: {error!r}"
        inside = [words for words in FROM_INSIDE if words in text]
        assert not inside, f"{method}: {error!r}"
        return True, None


def finite(answer):
    return answer.dtype.kind not in "fc" or np.isfinite(answer).all()


quiet = pytest.mark.filterwarnings(
    "error::RuntimeWarning",
    "ignore::scipy.linalg.LinAlgWarning",  # of scikit-learn's Ridge
    "ignore:A single task",
    "ignore:A column-vector",
    "ignore:No task id is known",
    "ignore:X (has feature names|does not have valid)",
    "ignore:fit was given no task ids",
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*tasks are too few",
)
QUICK = (0, 1)
EACH = int(os.environ.get("EACH", "20"))
each_meta = pytest.mark.parametrize(
    "n", range(len(METAS)), ids=[f"{n}-{type(meta).__name__}" for n, meta in enumerate(METAS)]
)


def answers(n, kind, part, change, turn=0, all_tasks=True):
    """Call methods on copies: the answer of each, None where it refused.

    Input that is not refused is dear to fit. It is read by one piece of code for all classes, so
    two classes fit all kinds, and the others one in twenty, each others; with ``EACH=1`` all do.
    """
    meta, _ = known(n)
    found = {}
    for method in calls(meta, part, change, all_tasks):
        if method not in ("adapt", "predict") and turn % EACH and n not in QUICK:
            continue
        own = copy.copy(METAS[n] if method in ("fit", "meta_fit") else meta)
        before = dict(vars(own))
        act, predict = calls(own, part, change, all_tasks)[method]
        raised, answer = refused(act, kind, method)
        if raised:
            after = vars(own)
            assert list(after) == list(before), method
            assert all(after[name] is value for name, value in before.items()), method
            found[method] = None
            continue
        if answer is None:
            _, answer = refused(predict, kind, f"predict after {method}")
        assert answer is None or finite(answer), f"{method}: not finite"
        found[method] = answer if answer is not None else np.empty(0)
    return found


def all_of(kinds, check, n):
    """Check all kinds; one error that tells of all that went wrong."""
    wrong = []
    for turn, (kind, (part, change)) in enumerate(kinds.items(), n):
        try:
            check(n, kind, part, change, turn)
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {kind}: {str(error)[:300]}")
    assert not wrong, "\n".join(wrong)


def same(n, kind, part, change, turn):
    labelled, lossy = is_classifier(METAS[n]), kind.endswith(LOSSY)
    if labelled and kind.endswith(("Decimal", "Fraction")):
        return  # no labels to scikit-learn
    expected = known(n)[1]
    for method, answer in answers(n, kind, part, change, turn).items():
        assert answer is not None, f"{method}: refused"
        if method not in ("fit", "adapt") or (part == "ids" and method == "adapt"):
            continue
        if not labelled:
            tolerance = 1e-2 if lossy else 1e-7
            assert_allclose(answer, expected[method], rtol=tolerance, atol=tolerance)
        elif not lossy:
            assert_array_equal(answer.astype(float), expected[method])


def never(n, kind, part, change, turn):
    for method, answer in answers(n, kind, part, change, all_tasks=False).items():
        if answer is not None and (kind, method) not in MAY:
            raise AssertionError(f"{method}: accepted")


def either(n, kind, part, change, turn):
    if not (part == "y" and is_classifier(METAS[n]) and "times" in kind):
        answers(n, kind, part, change, turn)


@quiet
@each_meta
def test_the_same_data_in_another_dress(n):
    all_of(SAME, same, n)


@quiet
@each_meta
def test_what_is_refused(n):
    all_of(REFUSED, never, n)


@quiet
@each_meta
def test_what_is_finite_or_refused(n):
    all_of(EITHER, either, n)


# -- what was found, one by one --------------------------------------------------------------------


def fitted(n):
    return copy.copy(known(n)[0])


@each_meta
def test_rows_of_weight_0_are_not_there(n):
    meta, y = METAS[n], targets(METAS[n])
    weight = WEIGHT.copy()
    weight[[0, 7, 20]] = 0
    kept = weight > 0
    weighted = copy.copy(meta).fit(X, y, groups=IDS, sample_weight=weight)
    without = copy.copy(meta).fit(X[kept], y[kept], groups=IDS[kept])
    assert_array_equal(weighted.predict(X, groups=IDS), without.predict(X, groups=IDS))
    weighted.adapt(X[:8], y[:8], sample_weight=weight[:8])
    assert_array_equal(weighted.predict(X), without.adapt(X[1:7], y[1:7]).predict(X))
    if n in QUICK:
        tasks = [Task(X[r], y[r], sample_weight=weight[r]) for r in (IDS == 0, IDS > 0)]
        fewer = [Task(X[r], y[r]) for r in (kept & (IDS == 0), kept & (IDS > 0))]
        found, expected = copy.copy(meta).meta_fit(tasks), copy.copy(meta).meta_fit(fewer)
        assert_array_equal(found.predict(X), expected.predict(X))


def test_a_weightless_task_is_not_there():
    weight = np.where(IDS == 1, 0.0, 1.0)
    meta = Independent().fit(X, Y, groups=IDS, sample_weight=weight)
    assert meta.task_ids_.tolist() == [0, 2, 3]
    meta.adapt(X, Y, groups=IDS, sample_weight=np.where(IDS == 2, 0.0, 1.0))  # 2 knows nothing now
    assert_array_equal(meta.predict(X[:2], groups=[2, 2]), meta.predict(X[:2]))


@each_meta
def test_the_id_column_is_that_of_fit(n):
    meta = fitted(n)
    meta.task_column = 0
    for call in (meta.adapt, meta.partial_adapt if hasattr(meta, "partial_adapt") else meta.adapt):
        with pytest.raises(ValueError, match="task_column=0 is not what it was.*Fit it again"):
            call(X[:5], targets(meta)[:5])
    with pytest.raises(ValueError, match="task_column=0 is not what it was"):
        meta.predict(X)
    with pytest.raises(ValueError, match="task_column=0 is not what it was"):
        meta.adapt_many([(X[:5], targets(meta)[:5])])


@pytest.mark.parametrize("n", range(len(CLASSES)))
def test_the_estimator_is_that_of_fit(n):
    meta = fitted(n).set_params(estimator=LogisticRegression())
    with pytest.raises(ValueError, match="is a classifier now.*Fit it again"):
        meta.adapt(X, Y)
    assert finite(meta.predict(X))
    assert finite(meta.fit(X, LABELS, groups=IDS).predict(X)) if n in QUICK else True


def test_large_integers_are_not_merged():
    meta = TransferMetaLearner(LogisticRegression(), selection="weighted")
    meta.fit(X, LABELS, groups=IDS)
    big = np.array([2**64 - 2, 2**64 - 1] * 3, dtype=np.uint64)
    for y in (big, big.tolist(), [10**400] * 6):
        with pytest.raises(ValueError, match=r"row 0: y is .* too large for a label.*Pass text"):
            meta.adapt(X[:6], y)
    small = LABELS.astype(np.uint64)
    assert_array_equal(meta.adapt(X[:6], small[:6]).classes_, [0, 1, 2])


@pytest.mark.parametrize("kind", [bool, int, np.int8])
def test_labels_may_be_objects(kind):
    y = (LABELS > 0).astype(kind)
    plain = Pooled(LogisticRegression()).fit(X, y, groups=IDS)
    objects = Pooled(LogisticRegression()).fit(X, y.astype(object), groups=IDS)
    assert objects.classes_.dtype.kind == plain.classes_.dtype.kind
    assert_array_equal(objects.predict(X), plain.predict(X))


@pytest.mark.parametrize("cls", [Pooled, Independent, BatchMetaLearner, TransferMetaLearner])
def test_a_single_row_or_class(cls):
    boosting = HistGradientBoostingClassifier(max_iter=2)
    for X_, y in [(X[:1], ["a"]), (X, ["a"] * len(X))]:
        meta = make_meta(cls, boosting).fit(X_, y, groups=IDS[: len(X_)])
        assert_array_equal(meta.predict(X), ["a"] * len(X))
        assert_array_equal(meta.predict_proba(X), np.ones((len(X), 1)))
    y = np.where(IDS == 0, "a", np.array(["a", "b"])[LABELS % 2])
    meta = make_meta(cls, boosting).fit(X, y, groups=IDS)
    p = meta.adapt(X[:1], ["a"]).predict_proba(X)
    assert p.shape == (len(X), 2)
    assert_allclose(p.sum(axis=1), 1)


def test_gradients_need_two_classes():
    with pytest.raises(ValueError, match="one class, 'a'"):
        MAML(HistGradientBoostingClassifier(max_iter=2)).fit(X[:1], ["a"], groups=[0])


@pytest.mark.parametrize(
    "estimator",
    [
        MultinomialNB(),
        ComplementNB(),
        CalibratedClassifierCV(MultinomialNB(), cv=2),
        VotingClassifier([("nb", MultinomialNB()), ("line", LogisticRegression())], voting="soft"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_descriptors_are_not_negative_where_the_learner_takes_none(estimator):
    counts = np.random.default_rng(0).poisson(1 + (LABELS[:, None] % 3 == [0, 1, 2]) * 4)
    meta = BatchMetaLearner(estimator, random_state=0).fit(counts, LABELS, groups=IDS)
    assert meta.adapt(counts[:5], LABELS[:5]).score(counts, LABELS) > 0.6
    assert_allclose(meta.predict_proba(counts).sum(axis=1), 1)


@pytest.mark.filterwarnings("ignore:fit was given no task ids")
@pytest.mark.parametrize(
    "estimator",
    [MultinomialNB(), ComplementNB(), QuadraticDiscriminantAnalysis(reg_param=0.1), SVC(), NuSVR()],
)
def test_check_estimator_of_learners_that_mind_further_columns(estimator):
    check_estimator(make_meta(BatchMetaLearner, estimator))


@pytest.mark.filterwarnings("ignore:fit was given no task ids")
def test_descriptors_that_tell_nothing_are_left_out():
    alone = QuadraticDiscriminantAnalysis().fit(X, LABELS)
    meta = BatchMetaLearner(QuadraticDiscriminantAnalysis(), random_state=0).fit(X, LABELS)
    assert np.mean(meta.predict(X) == alone.predict(X)) > 0.8  # fitted to draws of these rows


def test_matrices_without_full_rank_are_no_matter_of_size():
    X_ = np.c_[X, X[:, 0]]
    with pytest.raises(ValueError, match="^The covariance matrix of class 0 is not full rank"):
        Pooled(QuadraticDiscriminantAnalysis()).fit(X_, LABELS, groups=IDS)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_networks_in_hierarchical_models(loss):
    network = MLPRegressor(hidden_layer_sizes=(3,), loss=loss, max_iter=20, random_state=0)
    meta = HierarchicalBayes(network, random_effects="intercept").fit(X, Y, groups=IDS)
    assert finite(meta.adapt(X[:5], Y[:5]).predict(X))


FRAME = pd.DataFrame(X, columns=["u", "v", "w"])
COLUMNS = {
    "time": pd.date_range("2026-01-01", periods=len(X)),
    "zone": pd.date_range("2026-01-01", periods=len(X), tz="Europe/Berlin"),
    "text": ["north", "south"] * (len(X) // 2),
    "number": X[:, 0].astype(str),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize(
    "wrapped",
    [HistGradientBoostingRegressor(max_iter=2), MLPRegressor(), SVR()],
    ids=lambda wrapped: type(wrapped).__name__,
)
@pytest.mark.parametrize("cls", [Pooled, Independent, BatchMetaLearner, TransferMetaLearner, MAML])
def test_columns_that_are_no_numbers_are_named(cls, wrapped, kind):
    if kind == "number" and not isinstance(wrapped, SVR):
        return  # boosting has categories
    table = FRAME.assign(**{kind: COLUMNS[kind]})
    meta = make_meta(cls, wrapped)
    tasks = [Task(table[IDS == t], Y[IDS == t], id=t) for t in range(N_TASKS)]
    calls = [lambda: meta.fit(table, Y, groups=IDS)]
    if not (cls is Independent and kind == "text") or isinstance(wrapped, SVR):
        calls.append(lambda: meta.meta_fit(tasks))
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=f"column '{kind}' of X holds"):
            call()


@pytest.mark.parametrize("value", ["", "n/a", b"n/a"])
@pytest.mark.parametrize("cls", [HierarchicalBayes, BatchMetaLearner, TransferMetaLearner])
def test_a_cell_that_is_no_number_is_named_before_transformers(cls, value):
    table = FRAME.astype(object)
    table.iloc[7, 1] = value
    boosting = HistGradientBoostingRegressor(max_iter=2)
    for wrapped in (make_pipeline(StandardScaler(), Ridge()), boosting):
        fitted = make_meta(cls, wrapped).fit(FRAME, Y, groups=IDS)
        for call in (make_meta(cls, wrapped).fit, fitted.adapt):
            with pytest.raises(ValueError, match=f"row 7: column .* of X holds {value!r}, a"):
                call(table, Y, groups=IDS)


def test_boosting_has_categories():
    boosting = HistGradientBoostingRegressor(max_iter=2)
    table = FRAME.assign(town=pd.Categorical(COLUMNS["text"]))
    for cls in (Pooled, Independent, TransferMetaLearner):
        assert finite(make_meta(cls, boosting).fit(table, Y, groups=IDS).predict(table))


def test_a_masked_value_is_missing_not_what_lies_under_it():
    boosting = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2)
    gaps = cell(np.nan, float)(X)
    expected = Pooled(boosting).fit(gaps, Y, groups=IDS).predict(gaps)
    for table in (masked(X), masked(X.astype(int))):
        assert_array_equal(Pooled(boosting).fit(table, Y, groups=IDS).predict(table), expected)


@quiet
@pytest.mark.parametrize("cls", [Pooled, Independent, HierarchicalBayes, MAML])
def test_many_features_and_many_tasks(cls):
    params = FAST.get(cls, {})
    wide = RNG.standard_normal((12, 300))
    meta = make_meta(cls, **params).fit(wide, Y[:12], groups=IDS[:12])
    assert finite(meta.predict(wide, groups=IDS[:12]))
    rows = RNG.standard_normal((500, 2))
    meta = make_meta(cls, **params).fit(rows, rows[:, 0], groups=np.arange(500))
    assert finite(meta.predict(rows, groups=np.arange(500)))


def test_a_thousand_classes():
    rows, y = RNG.standard_normal((2000, 2)), np.arange(2000) % 1000
    for meta in (Pooled(GaussianNB()), Independent(GaussianNB())):
        meta = copy.copy(meta).fit(rows, y, groups=y % 4)
        assert set(meta.adapt(rows[:9], y[:9]).predict(rows)) <= set(y)


@pytest.mark.parametrize("cls", [Pooled, Independent, BatchMetaLearner, TransferMetaLearner])
def test_twenty_thousand_features(cls):
    rng = np.random.default_rng(0)
    wide, ids = rng.standard_normal((16, 20_000)), np.repeat(np.arange(4), 4)
    y = 5 * wide[:, 0] + ids
    meta = make_meta(cls).fit(wide, y, groups=ids)
    assert finite(meta.adapt(wide[:3], y[:3]).predict(wide))


@pytest.mark.parametrize("cls", CLASSES)
def test_no_room(cls, monkeypatch):
    def no_room(*args):
        raise MemoryError("Unable to allocate 224. GiB")

    meta = make_meta(cls)
    y = LABELS if is_classifier(meta) else Y
    meta.fit(X, y, groups=IDS)
    before = meta.predict(X)
    monkeypatch.setattr(cls, "_learn", no_room)
    with pytest.raises(MemoryError, match=f"{cls.__name__} has no room for 4 tasks and 3 features"):
        meta.fit(X, y, groups=IDS)
    assert_array_equal(meta.predict(X), before)


def test_targets_whose_squares_have_no_squares():
    meta, large = TransferMetaLearner(random_state=0), TransferMetaLearner(random_state=0)
    ordinary = meta.fit(X, Y, groups=IDS).adapt(X[:5], Y[:5]).predict(X)
    large.fit(X, 1e150 * Y, groups=IDS).adapt(X[:5], 1e150 * Y[:5])
    assert_allclose(large.predict(X), 1e150 * ordinary, rtol=0.01)


@pytest.mark.parametrize("cls", [Pooled, BatchMetaLearner, TransferMetaLearner])
def test_categories_of_each_table(cls):
    """A store sells some of the goods: its column has their categories only."""
    whole = FRAME.assign(good=pd.Categorical(np.tile(list("abc"), len(FRAME) // 3)))
    boosting = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2)
    said = []
    for of in (lambda good: good, lambda good: good.cat.remove_unused_categories()):
        tables = [whole[IDS == t][t % 2 :: 3 - t % 2] for t in range(N_TASKS)]  # some of one good
        tables = [table.assign(good=of(table["good"])) for table in tables]
        tasks = [Task(table, Y[table.index], id=t) for t, table in enumerate(tables)]
        params = {"selection": "weighted"} if cls is TransferMetaLearner else {}
        model = make_meta(cls, boosting, **params).meta_fit(tasks)
        model.adapt(tables[0], Y[tables[0].index] + 1)
        said.append(model.predict(whole))
    assert_allclose(*said)


@pytest.mark.parametrize("columns", ["same", "shared"])
@pytest.mark.parametrize("selection", ["best", "stack"])
def test_whole_numbers_in_one_table_of_polars(selection, columns):
    """Prices of the new store are 1, 2, 3, those of the sources have fractions."""
    said = []
    for library in (polars.from_pandas, pd.DataFrame):
        tasks = [Task(library(FRAME[IDS == t]), Y[IDS == t], id=t) for t in range(N_TASKS)]
        new = library(FRAME[:5].round().astype(int))
        learner = KNeighborsRegressor(2)
        model = TransferMetaLearner(learner, selection=selection, columns=columns, random_state=0)
        model.meta_fit([*tasks[1:], Task(new, Y[:5], id="whole")]).adapt(new, Y[:5] + 9)
        said.append(model.predict(library(FRAME)))
    assert_array_equal(*said)


@pytest.mark.parametrize(
    "cls", [HierarchicalBayes, GaussianProcessMeta, TransferMetaLearner, BatchMetaLearner]
)
def test_columns_of_objects_are_the_numbers_that_they_hold(cls):
    """A column that a None made one of objects is the one that it was, in other tables as well."""
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(40, 3)), columns=["id", "a", "b"])
    numbers["id"] = np.repeat(np.arange(5), 8)
    y = numbers["a"] + rng.normal(size=5).repeat(8)
    numbers.loc[3, "a"] = np.nan
    objects = numbers.astype({"a": object})
    objects.loc[3, "a"] = None
    said = []
    for train in (numbers, objects):
        model = make_meta(cls, HistGradientBoostingRegressor(max_iter=3), task_column="id")
        model.fit(train, y)
        for table, rows in ((numbers, slice(5)), (objects, slice(5)), (objects, slice(10, 15))):
            model.adapt(table[rows].assign(id=99), y[rows])
            said.append(model.predict(table.assign(id=99)))
    assert_allclose(said[1], said[0])  # the None is in the table of the target only
    assert_allclose(said[3:], said[:3])  # it is in meta-training


@pytest.mark.parametrize(
    "cell", [np.datetime64("2026-01-31"), np.datetime64("NaT"), np.timedelta64(1)]
)
@pytest.mark.parametrize("cls", [Pooled, HierarchicalBayes, BatchMetaLearner])
def test_times_among_objects(cls, cell):
    times = X.astype(object)
    times[3, 1] = cell
    with pytest.raises(TypeError, match="column 1 of X holds times .*64.*, and numbers are needed"):
        make_meta(cls).fit(times, Y, groups=IDS)


@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("meta", METAS, ids=lambda m: type(m).__name__)
def test_a_bool_is_no_column(meta, column):
    with pytest.raises(ValueError, match=f"task_column holds {column}, which is no column"):
        clone(meta).set_params(task_column=column).fit(np.column_stack([X, IDS]), targets(meta))
    if "descriptor_columns" in meta.get_params():
        with pytest.raises(ValueError, match=f"descriptor_columns holds {column}, which is no"):
            clone(meta).set_params(descriptor_columns=[column]).fit(X, targets(meta), groups=IDS)
    for read in (tasks_from_table, task_summaries):
        with pytest.raises(ValueError, match=f"task_column holds {column}, which is no column"):
            read(np.column_stack([X, IDS]), Y, task_column=column)
    with pytest.raises(ValueError, match=f"random_effects names {column}, which is no coeff"):
        HierarchicalBayes(random_effects=[column]).fit(X, Y, groups=IDS)


@pytest.mark.parametrize("value", [1e160, 1e300, -1e308])
@pytest.mark.parametrize(
    "meta",
    [
        HierarchicalBayes(),
        HierarchicalBayes(LogisticRegression()),
        HierarchicalBayes(KNeighborsRegressor(2)),
        BatchMetaLearner(Ridge(), n_estimators=1, random_state=0),
        BatchMetaLearner(conditioning="prior", random_state=0),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_descriptors_whose_squares_are_too_large(meta, value):
    """Of a function, and as side information: in meta-training, and of a new task."""
    y = targets(meta)
    tasks = [Task(X[IDS == t], y[IDS == t], id=t, descriptor=[t]) for t in range(N_TASKS)]

    def far(task):
        return {"kind": 1.0, "size": value if len(task.X) and task.X[0, -1] > 50 else 1.0}

    model = clone(meta).set_params(descriptor=FunctionDescriptor(far)).meta_fit(tasks)
    with pytest.raises(ValueError, match="returned .* as entry 'size' .* Use other units"):
        model.adapt(X[:3] + 60, y[:3])
    wide = [replace(task, X=task.X + 60 * (task.id == 2)) for task in tasks]
    with pytest.raises(ValueError, match="task 2: .* returned .* as entry 'size'"):
        model.meta_fit(wide)
    model = clone(meta).meta_fit(tasks)
    with pytest.raises(ValueError, match="entry .* of its descriptor .*square.* use other units"):
        model.adapt(X[:3], y[:3], descriptor=[value])
    with pytest.raises(ValueError, match="task 2: entry .* of its descriptor .*square"):
        model.meta_fit([replace(t, descriptor=[value]) if t.id == 2 else t for t in tasks])


@quiet
@each_meta
def test_a_structured_array_is_no_target(n):
    y = targets(METAS[n])
    fields = np.array([(value,) for value in y.tolist()], dtype=[("a", y.dtype)])
    meta = fitted(n)
    for call in (
        lambda: meta.fit(X, fields, groups=IDS),
        lambda: meta.adapt(X, fields),
        lambda: meta.meta_fit([(X, fields)] * 2),
        lambda: meta.adapt_many([(X, fields)]),
    ):
        with pytest.raises(ValueError, match="y is a structured array .*: pass one of its fields"):
            call()


@quiet
@each_meta
def test_columns_of_complex_numbers(n):
    """Stacks, too, whose candidates would all be left out."""
    frame = pd.DataFrame(X, columns=["u", "v", "w"])
    meta, y = fitted(n), targets(METAS[n])
    for call in (
        lambda Z: meta.fit(Z, y, groups=IDS),
        lambda Z: meta.meta_fit([(Z, y)] * 3),
        lambda Z: copy.copy(meta).fit(frame, y, groups=IDS).predict(Z),
    ):
        with pytest.raises(ValueError, match="column 'v' of X holds .*Complex data"):
            call(frame.assign(v=X[:, 1] + 1j))
    for table in (pd.DataFrame(X.astype(complex)), X.astype(complex)):
        with pytest.raises(ValueError, match="Complex data not supported.*pass X.real"):
            meta.fit(table, y, groups=IDS)


@pytest.mark.parametrize("meta", [HierarchicalBayes(), Pooled(SVR()), MAML(max_iter=1)], ids=str)
def test_columns_that_are_sparse(meta):
    table = pd.DataFrame(X).astype(pd.SparseDtype(float, 0.0))
    with pytest.raises(TypeError, match="X are sparse.*X.sparse.to_dense()"):
        meta.fit(table, Y, groups=IDS)
    with pytest.raises(TypeError, match="task 0 .*X are sparse.*X.sparse.to_dense()"):
        meta.meta_fit([(table[:9], Y[:9]), (table[9:], Y[9:])])


@pytest.mark.parametrize("n_classes", [2, 20])
@pytest.mark.parametrize("cls", [Pooled, HierarchicalBayes, TransferMetaLearner])
def test_labels_that_are_times_beside_numbers(cls, n_classes):
    """NumPy makes times of integers beside them."""
    y = np.arange(len(X)) % n_classes
    meta = make_meta(cls, LogisticRegression(), **FAST.get(cls, {})).fit(X, y, groups=IDS)
    for times in (y[:6].astype("M8[s]"), y[:6].astype("m8[s]")):
        for call in (meta.adapt, lambda X, y: meta.adapt_many([(X, y)])):
            with pytest.raises(ValueError, match="row 0: y is .*, a class that no meta-train task"):
                call(X[:6], times)


@quiet
@each_meta
def test_scores_know_no_unit_of_weights(n):
    meta, y = fitted(n), targets(METAS[n])
    weight = 1.0 + np.arange(len(y)) % 3
    expected = meta.score(X, y, groups=IDS, sample_weight=weight)
    for unit in (1e307, 1e-300):
        scaled = weight * unit
        assert meta.score(X, y, groups=IDS, sample_weight=scaled) == pytest.approx(expected)
        tasks = [
            Task(X[IDS == t], y[IDS == t], id=t, sample_weight=scaled[IDS == t]) for t in range(4)
        ]
        assert meta.score(tasks) == pytest.approx(expected)
    with pytest.raises(ValueError, match="row 3: sample_weight is -1.0"):
        meta.score(X, y, groups=IDS, sample_weight=np.where(np.arange(len(y)) == 3, -1, weight))


def test_more_shots_than_any_task_has_rows():
    few = BatchMetaLearner(n_shots=100, random_state=0).fit(X, Y, groups=IDS)
    for n_shots in (10**30, (0, 10**400)):
        meta = BatchMetaLearner(n_shots=n_shots, random_state=0).fit(X, Y, groups=IDS)
        assert finite(meta.predict(X))
    assert finite(few.predict(X))


@quiet
@each_meta
def test_targets_of_a_score_are_checked(n):
    meta, y = fitted(n), targets(METAS[n])
    at = "task 'a': (row 3: )?"
    with pytest.raises(ValueError, match="X has 24 rows and y 23"):
        meta.score(X, y[1:], groups=IDS)
    with pytest.raises(ValueError, match=f"{at}.*X has 6 rows and y 5"):
        meta.score([Task(X[:6], y[:5], id="a")])
    missing = y[:6].astype(object)
    missing[3] = None
    with pytest.raises(ValueError, match="row 3: Input y contains NaN"):
        meta.score(X[:6], missing)
    with pytest.raises(ValueError, match=f"{at}.*Input y contains NaN"):
        meta.score([Task(X[:6], missing, id="a")])
    with pytest.raises(ValueError, match="y is None"):
        meta.score(X)
    if not is_classifier(meta):
        with pytest.raises(ValueError, match="row 0: y holds 1e.300, whose square"):
            meta.score(X, np.full(len(X), 1e300))


def test_the_score_of_tasks_with_their_own_classes_needs_a_label_for_each_row():
    meta = MAML(MLPClassifier(hidden_layer_sizes=(3,)), classes="per_task", max_iter=1)
    meta.fit(X, LABELS, groups=IDS)
    with pytest.raises(ValueError, match="X has 24 rows and y 23"):
        meta.score(X, LABELS[1:], groups=IDS)


@pytest.mark.parametrize("n_jobs", [10**30, 2**31, 0])
@pytest.mark.parametrize("cls", [*CLASSES, RidgeHead, MetaRegressor])
def test_a_number_of_workers_that_nobody_has(cls, n_jobs):
    if "n_jobs" not in cls().get_params():
        return
    with pytest.raises(ValueError, match="'n_jobs' parameter of .* must be an int in the range"):
        cls(n_jobs=n_jobs).fit(X, Y, groups=IDS)


@pytest.mark.parametrize("cls", [*CLASSES, RidgeHead])
def test_an_estimator_that_is_none(cls):
    meta = make_meta(cls, **FAST.get(cls, {})).fit(X, Y, groups=IDS)
    meta.set_params(estimator="ridge")
    calls = [lambda: meta.predict(X), lambda: meta.adapt(X, Y), lambda: meta.score(X, Y)]
    for call in calls:
        with pytest.raises(TypeError, match="estimator of .* is 'ridge': wrap a regressor"):
            call()
    assert not hasattr(meta, "predict_proba")


def test_coefficients_of_no_descriptors():
    meta = HierarchicalBayes(LogisticRegression(), random_effects="intercept", max_iter=2)
    meta.fit(X, LABELS > 0, groups=IDS)
    assert meta.descriptor_coef_.shape == (4, 0)
    around = HierarchicalBayes(Pooled(LogisticRegression()), random_effects="intercept")
    assert around.fit(X, LABELS > 0, groups=IDS).descriptor_coef_.shape[1] == 0


@pytest.mark.parametrize("ids", [True, False])
def test_a_further_row_has_the_number_that_it_came_with(ids):
    meta = Independent(LogisticRegression()).fit(X, LABELS > 0, groups=IDS)
    meta.adapt(X[:8], LABELS[:8] > 0)
    y = [True, "other"]
    with pytest.raises(ValueError, match="row 1: y is 'other', a class that no meta-train task"):
        meta.partial_adapt(X[:2], np.array(y, dtype=object), groups=IDS[:2] if ids else None)


def test_remembered_rows_have_no_numbers():
    meta = Independent().fit(X, Y, groups=IDS).adapt(X, Y, groups=IDS[::-1])
    assert all(rows.row_numbers is None for rows in meta._memory.blocks)
