"""Descriptors: finite at any size, second routes, and what scikit-learn asks of transformers."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sklearn_meta import HierarchicalBayes, Task
from sklearn_meta.descriptors import (
    ClassDescriptor,
    FunctionDescriptor,
    LandmarkDescriptor,
    MomentsDescriptor,
    QuantileDescriptor,
    RidgeDescriptor,
    SideInformation,
    TaskDescriptor,
    looks_at,
)
from sklearn_meta.kernels.scaling import mean_and_std

few_examples = settings(max_examples=15, deadline=None, derandomize=True)


def make_tasks(labels=None, n_tasks=12, seed=0):
    """Tasks of 1 to 12 rows; numbers, or some of the labels."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_tasks):
        X = rng.standard_normal((1 + t, 2)) * [1.0, 5.0] + [0.0, 3.0]
        y = X @ [1.0, 0.2] + 2 * rng.standard_normal() + 0.3 * rng.standard_normal(len(X))
        if labels is not None:
            y = np.array(labels)[np.digitize(y, [0.0, 1.5][: len(labels) - 1])]
        tasks.append(
            Task(X, y, id=f"store_{t}", descriptor={"size": float(t), "town": "ab"[t % 2]})
        )
    return tasks


NUMBERS = {
    "moments": MomentsDescriptor(),
    "quantiles": QuantileDescriptor(),
    "ridge": RidgeDescriptor(),
    "landmarks": LandmarkDescriptor(),
    "landmarks of trees": LandmarkDescriptor(LinearRegression(), prior_rows=3.0, cv=2),
    "side": SideInformation(),
    "function": FunctionDescriptor(lambda task: [task.X.mean(), task.y.max()], min_rows=1),
    "union": make_union(MomentsDescriptor(), SideInformation()),
    "pipeline": make_pipeline(RidgeDescriptor(), StandardScaler(), PCA(2)),
}
LABELS = {
    "moments": MomentsDescriptor(),
    "quantiles": QuantileDescriptor(),
    "ridge": RidgeDescriptor(),
    "classes": ClassDescriptor(),
    "landmarks": LandmarkDescriptor(),
    "landmarks of a forest": LandmarkDescriptor(RandomForestClassifier(5), random_state=0),
}
CASES = [pytest.param(d, None, id=f"numbers-{name}") for name, d in NUMBERS.items()]
CASES += [
    pytest.param(d, labels, id=f"{len(labels)} labels-{name}")
    for name, d in LABELS.items()
    for labels in (["no", "yes"], ["a", "b", "c"])
]
each_case = pytest.mark.parametrize("descriptor, labels", CASES)


# -- what all have in common -----------------------------------------------------------------------


@each_case
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_finite_at_any_number_of_rows(descriptor, labels):
    tasks = make_tasks(labels)
    descriptor = clone(descriptor).fit(tasks)
    supports = [
        replace(task.rows(slice(0, k)), id=(task.id, k))
        for task in tasks
        for k in (0, 1, 2)
        if k <= len(task.y)
    ]
    S = descriptor.transform(supports)
    assert S.shape == (len(supports), len(descriptor.get_feature_names_out()))
    assert np.isfinite(S).all()
    same = [Task(t.X, np.full_like(t.y, tasks[0].y[0]), descriptor=t.descriptor) for t in tasks]
    assert np.isfinite(descriptor.transform(same)).all()  # one class, or a constant target


@each_case
def test_transformers_as_scikit_learn_knows_them(descriptor, labels):
    tasks = make_tasks(labels)
    expected = clone(descriptor).fit_transform(tasks)
    assert_allclose(clone(descriptor).fit_transform(tasks), expected)
    fitted = clone(descriptor).fit(tasks)
    names = fitted.get_feature_names_out()
    assert len(set(names)) == len(names) == expected.shape[1]
    frame = clone(descriptor).set_output(transform="pandas").fit(tasks).transform(tasks)
    assert_array_equal(frame.columns, names)
    assert_allclose(frame, fitted.transform(tasks))
    if isinstance(fitted, TaskDescriptor):  # a union reads its tasks more than once
        assert_allclose(fitted.transform(iter(tasks)), fitted.transform(tasks))
    if not any(part in repr(descriptor) for part in ("lambda", "Pipeline")):
        assert_allclose(pickle.loads(pickle.dumps(fitted)).transform(tasks), frame)


@each_case
def test_a_task_does_not_depend_on_those_beside_it(descriptor, labels):
    tasks = make_tasks(labels)
    fitted = clone(descriptor).fit(tasks)
    together = fitted.transform(tasks[::-1])[::-1]
    for t in (0, 5, 11):
        assert_allclose(fitted.transform([tasks[t]])[0], together[t], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NUMBERS if n != "function"])
@given(seed=st.integers(0, 2**32))
@few_examples
def test_order_of_rows_does_not_matter(name, seed):
    rng = np.random.default_rng(seed)
    tasks = make_tasks(seed=seed)
    fitted = clone(NUMBERS[name]).fit(tasks)
    orders = [rng.permutation(len(task.y)) for task in tasks]
    shuffled = [
        Task(task.X[o], task.y[o], id=task.id, descriptor=task.descriptor)
        for task, o in zip(tasks, orders, strict=True)
    ]
    assert_allclose(fitted.transform(shuffled), fitted.transform(tasks), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["moments", "ridge", "landmarks", "landmarks of trees"])
def test_a_weight_is_a_number_of_repetitions(name):
    rng = np.random.default_rng(0)
    tasks = make_tasks()
    weights = [rng.integers(1, 4, len(task.y)) for task in tasks]
    weighted = [
        Task(t.X, t.y, id=t.id, sample_weight=w) for t, w in zip(tasks, weights, strict=True)
    ]
    repeated = [
        t.rows(np.repeat(np.arange(len(t.y)), w)) for t, w in zip(tasks, weights, strict=True)
    ]
    a = clone(NUMBERS[name]).fit(tasks)
    assert_allclose(a.transform(weighted), a.transform(repeated), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_dataframes_name_their_columns(library):
    library = pytest.importorskip(library, reason="needs the dataframe library")
    tasks = make_tasks()
    frames = [
        Task(
            library.DataFrame({"size": t.X[:, 0], "town": ["x"] * len(t.y), "age": t.X[:, 1]}), t.y
        )
        for t in tasks
    ]
    for kind in (MomentsDescriptor, QuantileDescriptor, RidgeDescriptor):
        fitted = kind().fit(frames)
        assert_allclose(fitted.transform(frames), kind().fit(tasks).transform(tasks))
        assert any("size" in name for name in fitted.get_feature_names_out())
        assert not any("town" in name for name in fitted.get_feature_names_out())


def test_missing_values_count_as_the_mean():
    tasks = make_tasks()
    mean = np.concatenate([t.X for t in tasks])[:, 0].mean()
    for descriptor in (MomentsDescriptor(), QuantileDescriptor(), RidgeDescriptor()):
        fitted = descriptor.fit(tasks)
        holes = Task(tasks[5].X.copy(), tasks[5].y)
        holes.X[2, 0] = np.nan
        filled = Task(np.where(np.isnan(holes.X), mean, holes.X), holes.y)
        assert_allclose(fitted.transform([holes]), fitted.transform([filled]))


# -- second routes, task by task -------------------------------------------------------------------


def test_moments_are_those_of_numpy():
    tasks = make_tasks()
    fitted = MomentsDescriptor(prior_rows=1e-12).fit(tasks)
    names = fitted.get_feature_names_out().tolist()
    for task, row in zip(tasks[2:], fitted.transform(tasks[2:]), strict=True):
        Z = np.column_stack([task.X, task.y])
        own = dict(zip(names, row, strict=True))
        assert_allclose(own["log_n_rows"], np.log1p(len(Z)))
        assert_allclose([own[f"mean_{c}"] for c in ("x0", "x1", "y")], Z.mean(axis=0))
        assert_allclose([own[f"std_{c}"] for c in ("x0", "x1", "y")], Z.std(axis=0))
        assert_allclose(own["corr_x0_y"], np.corrcoef(Z.T)[0, 2])


def test_moments_are_drawn_to_the_pooled_ones():
    tasks = make_tasks()
    fitted = MomentsDescriptor(prior_rows=4.0).fit(tasks)
    Z = [np.column_stack([t.X, t.y]) for t in tasks]
    within = sum(((z - z.mean(axis=0)) ** 2).sum(axis=0) for z in Z) / (78 - 12)
    pooled = np.concatenate(Z).mean(axis=0)
    row = fitted.transform([tasks[7]])[0]
    assert_allclose(row[1:4], (Z[7].sum(axis=0) + 4 * pooled) / (8 + 4))
    scatter = ((Z[7] - Z[7].mean(axis=0)) ** 2).sum(axis=0)
    assert_allclose(row[4:7], np.sqrt((scatter + 4 * within) / (8 + 4)))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_quantiles_are_those_of_numpy(p):
    tasks = make_tasks()
    fitted = QuantileDescriptor(quantiles=[p], prior_rows=1e-12).fit(tasks)
    for task, row in zip(tasks, fitted.transform(tasks), strict=True):
        Z = np.column_stack([task.X, task.y])
        assert_allclose(row[1:], np.quantile(Z, p, axis=0))
    none = fitted.transform([tasks[0].rows(slice(0, 0))])[0, 1:]
    assert_allclose(
        none,
        np.quantile(np.concatenate([t.X for t in tasks]), p, axis=0).tolist()
        + [np.quantile(np.concatenate([t.y for t in tasks]), p)],
    )


def test_ridge_is_a_ridge_towards_the_pooled_coefficients():
    tasks = make_tasks()
    fitted = RidgeDescriptor(alpha=2.0).fit(tasks)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    scale = [(v.mean(axis=0), v.std(axis=0)) for v in (X, y)]

    def units(X, y):
        return (X - scale[0][0]) / scale[0][1], (y - scale[1][0]) / scale[1][1]

    def ridge(X, y, alpha):
        return Ridge(alpha, fit_intercept=False).fit(np.column_stack([np.ones(len(X)), X]), y).coef_

    pooled = ridge(*units(X, y), 2.0)
    for task, row in zip(tasks, fitted.transform(tasks), strict=True):
        U, v = units(task.X, task.y)
        rest = v - np.column_stack([np.ones(len(U)), U]) @ pooled
        assert_allclose(row, pooled + ridge(U, rest, 2.0), rtol=1e-6, atol=1e-9)


def test_classes_are_counted():
    tasks = make_tasks(["a", "b", "c"])
    fitted = ClassDescriptor(prior_rows=2.0).fit(tasks)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    share = np.array([(y == c).mean() for c in "abc"])
    for task, row in zip(tasks, fitted.transform(tasks), strict=True):
        count = np.array([(task.y == c).sum() for c in "abc"])
        assert_allclose(row[1:4], (count + 2 * share) / (len(task.y) + 2))
        total = task.X[task.y == "b"].sum(axis=0) + 2 * X[y == "b"].mean(axis=0)
        assert_allclose(row[[5, 8]], total / (count[1] + 2))


def test_integers_are_classes_to_who_asks_for_classes():
    tasks = [Task(t.X, np.searchsorted(["a", "b"], t.y)) for t in make_tasks(["a", "b"])]
    text = ClassDescriptor().fit_transform(make_tasks(["a", "b"]))
    assert_allclose(ClassDescriptor().fit_transform(tasks), text)
    assert "mean_y" in MomentsDescriptor().fit(tasks).get_feature_names_out()
    assert LandmarkDescriptor(LogisticRegression()).fit(tasks).classes_.tolist() == [0, 1]


def test_landmarks_of_meta_train_tasks_are_out_of_fold():
    tasks = make_tasks()
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    codes = np.repeat(np.arange(12), [len(t.y) for t in tasks])
    landmarks = LandmarkDescriptor(LinearRegression(), prior_rows=2.0)
    predicted = cross_val_predict(LinearRegression(), X, y, groups=codes, cv=GroupKFold(5))
    own, new = landmarks.fit_transform(tasks), landmarks.transform(tasks)
    in_sample = y - LinearRegression().fit(X, y).predict(X)
    for residuals, S in ((y - predicted, own), (in_sample, new)):
        sums = np.bincount(codes, residuals)
        assert_allclose(S[:, 1], sums / (np.bincount(codes) + 2))
        squares = np.bincount(codes, residuals**2)
        everywhere = np.mean((y - predicted) ** 2)
        assert_allclose(S[:, 2] ** 2, (squares + 2 * everywhere) / (np.bincount(codes) + 2))


def test_prior_rows_are_the_ratio_of_variances():
    rng = np.random.default_rng(0)
    offsets = 2.0 * rng.standard_normal(4000)
    tasks = [(rng.standard_normal((5, 1)), b + 6.0 * rng.standard_normal(5)) for b in offsets]
    landmarks = LandmarkDescriptor().fit(tasks)
    assert_allclose(landmarks.prior_rows_, 36 / 4, rtol=0.1)
    same = [(X, rng.standard_normal(5)) for X, _ in tasks[:5]]
    again = LandmarkDescriptor().fit([(X, y - y.mean()) for X, y in same])
    assert again.prior_rows_ == np.inf  # tasks do not differ: an offset is never believed
    assert_allclose(again.transform(tasks[:9])[:, 1], 0.0)


def test_principal_components_of_coefficients():
    tasks = make_tasks()
    coef = RidgeDescriptor().fit(tasks).transform(tasks)
    expected = np.abs(PCA(2).fit_transform(coef))
    assert_allclose(np.abs(make_pipeline(RidgeDescriptor(), PCA(2)).fit_transform(tasks)), expected)


# -- side information ------------------------------------------------------------------------------


def side(*descriptors):
    return [Task([[0.0]], [1.0], id=f"store_{t}", descriptor=s) for t, s in enumerate(descriptors)]


def test_side_information_of_all_kinds():
    tasks = side(
        {"size": 1, "town": "Aix", "open": True},
        {"size": 3.0, "town": None},
        {"size": np.nan, "town": "Bonn", "open": False},
        None,
    )
    fitted = SideInformation().fit(tasks)
    names = ["size", "size_missing", "town=Aix", "town=Bonn", "open", "open_missing"]
    assert fitted.get_feature_names_out().tolist() == names
    expected = [
        [1, 0, 1, 0, 1, 0],
        [3, 0, 0, 0, 0.5, 1],
        [2, 1, 0, 1, 0, 0],
        [2, 1, 0, 0, 0.5, 1],
    ]
    assert_allclose(fitted.transform(tasks), expected)
    new = side({"town": "Cork", "size": 7, "open": 1})
    assert_allclose(fitted.transform(new), [[7, 0, 0, 0, 1, 0]])


def test_side_information_as_arrays():
    fitted = SideInformation().fit(side([1.0, "x"], [2.0, "y"], None))
    assert fitted.get_feature_names_out().tolist() == ["s0", "s0_missing", "s1=x", "s1=y"]
    assert SideInformation().fit(make_bare()).transform(make_bare()).shape == (2, 0)


def make_bare():
    return side(None, None)


@pytest.mark.parametrize(
    "train, new, words",
    [
        ([[1.0, 2.0], [1.0]], None, ["store_1", "1 entries", "expected 2"]),
        ([[1.0, 2.0]], [1.0], ["1 entries", "expected 2"]),
        ([{"size": 1.0}], {"size": "big"}, ["'size'", "'big'", "numbers"]),
        ([{"size": np.inf}], None, ["store_0", "'size'", "inf", "None"]),
        ([{"size": 1.0}, [1.0]], None, ["store_1", "mappings"]),
        ([[[1.0]]], None, ["store_0", "(1, 1)"]),
    ],
)
def test_bad_side_information(train, new, words):
    with pytest.raises(ValueError) as info:
        fitted = SideInformation().fit(side(*train))
        fitted.transform(side(new))
    assert all(word in str(info.value) for word in words), info.value


def test_what_descriptors_look_at():
    inputs = FunctionDescriptor(len, uses="inputs")
    assert looks_at(MomentsDescriptor()) == "rows"
    assert looks_at(make_pipeline(SideInformation(), PCA(1))) == "side"
    assert looks_at(make_union(SideInformation(), RidgeDescriptor())) == "rows"
    assert looks_at(make_union(SideInformation(), inputs)) == "inputs"
    seen = []
    for uses in ("rows", "inputs", "side"):
        FunctionDescriptor(lambda task: seen.append(task) or 1.0, uses=uses).fit(make_tasks())
        task = seen[-1]
        assert len(task.X) == (0 if uses == "side" else 12)
        assert (task.y is None) == (uses == "inputs")
        assert task.descriptor == {"size": 11.0, "town": "b"}


# -- functions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_functions(n_jobs):
    tasks = make_tasks()
    fitted = FunctionDescriptor(describe_by_hand, n_jobs=n_jobs).fit(tasks)
    assert fitted.get_feature_names_out().tolist() == ["top", "size"]
    expected = [[task.y.max(), task.descriptor["size"]] for task in tasks]
    assert_allclose(fitted.transform(tasks), expected)


def describe_by_hand(task):
    return {"top": task.y.max(), "size": task.descriptor["size"]}


def test_a_scalar_is_a_vector_of_one():
    fitted = FunctionDescriptor(lambda task: task.y.max()).fit(make_tasks())
    assert fitted.transform(make_tasks()).shape == (12, 1)


def test_the_mean_describes_tasks_that_are_too_small():
    tasks = make_tasks()
    fitted = FunctionDescriptor(lambda task: task.y.std(ddof=1), min_rows=2).fit(tasks)
    expected = np.mean([task.y.std(ddof=1) for task in tasks[1:]])
    assert_allclose(fitted.transform(tasks)[0], expected)
    bare = FunctionDescriptor(lambda task: task.X.mean()).fit([(t.X, t.y) for t in tasks])
    assert_allclose(bare.transform([(tasks[0].X[:0], tasks[0].y[:0])]), [bare.mean_])


@pytest.mark.parametrize(
    "func, words",
    [
        (lambda task: np.nan if len(task.y) == 3 else 1.0, ["store_2", "nan", "3 rows", "finite"]),
        (lambda task: np.nan if len(task.y) < 2 else 1.0, ["store_0", "nan", "min_rows=2"]),
        (lambda task: [1.0] * len(task.y), ["store_1", "2 entries", "expected 1"]),
        (lambda task: task.nothing, ["store_0", "AttributeError", "nothing"]),
        (lambda task: "big", ["store_0", "ValueError", "big"]),
        (lambda task: [[1.0]], ["store_0", "(1, 1)"]),
        (lambda task: {"a": 1} if len(task.y) > 4 else {"b": 1}, ["store_4", "['a']", "['b']"]),
    ],
)
def test_bad_functions(func, words):
    with pytest.raises(ValueError) as info:
        FunctionDescriptor(func).fit(make_tasks())
    assert all(word in str(info.value) for word in words), info.value


# -- bad input -------------------------------------------------------------------------------------


def test_bad_tasks():
    tasks = make_tasks(["a", "b"])
    fitted = ClassDescriptor().fit(tasks)
    with pytest.raises(ValueError, match=r"task 'odd', row 1: y is 'z'; known classes are"):
        fitted.transform([Task(tasks[3].X[:2], ["a", "z"], id="odd"), *tasks])
    with pytest.raises(ValueError, match="no tasks"):
        fitted.transform([])
    with pytest.raises(ValueError, match="task 'odd': X has 4 rows and y 3"):
        fitted.transform([Task(tasks[3].X, tasks[3].y[:3], id="odd")])
    with pytest.raises(ValueError, match="1 numeric columns, expected 2"):
        fitted.transform([(tasks[3].X[:, :1], tasks[3].y)])
    with pytest.raises(ValueError, match="is not a classifier"):
        LandmarkDescriptor(Ridge()).fit(tasks)
    with pytest.raises(ValueError, match="quantiles=.* between 0 and 1"):
        QuantileDescriptor(quantiles=[2.0]).fit(make_tasks())
    with pytest.raises(ValueError, match="prior_rows"):
        MomentsDescriptor(prior_rows=0).fit(make_tasks())


@pytest.mark.parametrize(
    "side, message",
    [
        ({"a": [1, 2]}, r"task 0 .*: entry 'a' of its descriptor is \[1, 2\], no single value"),
        ({"a": {"b": 1}}, "task 0 .*: entry 'a' of its descriptor is {'b': 1}, no single value"),
        ([{"a": 1}], r"task 0 .*: its descriptor \[{'a': 1}\] holds more than single values"),
        ([10**400], "task 0 .*: entry 's0' of its descriptor is inf; it must be finite"),
    ],
)
def test_side_information_that_is_no_row_of_a_table(side, message):
    tasks = [Task([[0.0], [1.0]], [0.0, 1.0], descriptor=side)] * 3
    with pytest.raises(ValueError, match=message):
        SideInformation().fit(tasks)
    if side == [10**400]:
        with pytest.raises(ValueError, match="task 0.*: its descriptor holds a number too large"):
            HierarchicalBayes().meta_fit(tasks)


def test_side_information_of_arrays_without_axes_and_of_any_size():
    sides = [1e300, 2e300, 4e300]
    tasks = [Task([[0.0]], [1.0], descriptor={"a": np.array(side)}) for side in sides]
    assert SideInformation().fit_transform(tasks)[:, 0].tolist() == sides
    mean, std = mean_and_std(np.array(sides)[:, None])
    assert_allclose([mean[0] / 1e300, std[0] / 1e300], [7 / 3, np.std([1, 2, 4])])
