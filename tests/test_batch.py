"""Batch mode: rows [x, s], priors that depend on s, and what can be asked of the vectors."""

import copy
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import BatchMetaLearner, HierarchicalBayes, Independent, Pooled, Task
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.descriptors import (
    FunctionDescriptor,
    LandmarkDescriptor,
    MomentsDescriptor,
    RidgeDescriptor,
    SideInformation,
)
from sklearn_meta.kernels.losses import Logistic, Squared
from sklearn_meta.kernels.network import Batch, Network
from sklearn_meta.priors.conditional import ConditionalPrior, fit_prior, posterior_modes
from sklearn_meta.priors.laplace import posterior
from sklearn_meta.tasks import TaskTable
from sklearn_meta.tasks.supports import draw_episodes

TREES = DecisionTreeRegressor(min_samples_leaf=10, random_state=0)


def make_tasks(n_tasks=60, kind="number", seed=0, n_rows=16, side=True):
    """A level and a slope that are functions of the side information, and a level of its own."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_tasks):
        s, b = rng.standard_normal(2)
        X = rng.standard_normal((n_rows, 2))
        raw = 2 * s + X @ [1.0 + s, -0.5] + b
        if kind == "number":
            y = raw + 0.5 * rng.standard_normal(n_rows)
        elif kind == "count":
            y = rng.poisson(np.exp(raw / 3)).astype(float)
        else:
            y = np.where(rng.random(n_rows) < 1 / (1 + np.exp(-2 * raw)), "yes", "no")
        tasks.append(Task(X, y, id=t, descriptor={"s": s} if side else None))
    return tasks


def mean_score(meta, tasks, k, knows=True):
    """R² or accuracy over the last rows of all tasks, after adapting to the first k."""
    predicted = []
    for task in tasks:
        side = task.descriptor if knows else None
        adapted = copy.copy(meta).adapt(task.X[:k], task.y[:k], descriptor=side)
        predicted.append(adapted.predict(task.X[8:]))
    truth = np.concatenate([task.y[8:] for task in tasks])
    metric = accuracy_score if is_classifier(meta) else r2_score
    return metric(truth, np.concatenate(predicted))


# -- episodes --------------------------------------------------------------------------------------


def table_of(sizes, role=None):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return TaskTable(np.zeros((offsets[-1], 1)), np.zeros(offsets[-1]), offsets, role=role)


@pytest.mark.parametrize("n_shots", [(0, 5), (3, 3), (0, 0), (2, 100)])
@pytest.mark.parametrize("n_blocks", [1, 3, 100])
def test_every_row_is_a_query_once_and_never_its_own_support(n_shots, n_blocks):
    sizes = [1, 2, 7, 30, 3]
    table = table_of(sizes)
    codes = table.codes
    e = draw_episodes(table, n_shots, n_blocks, np.random.default_rng(0))
    n_support, n_query = np.diff(e.support_offsets), np.diff(e.query_offsets)
    assert n_support.max() <= n_shots[1] and len(e.tasks) == len(n_support) == len(n_query)
    assert_array_equal(codes[e.support], np.repeat(e.tasks, n_support))
    assert_array_equal(codes[e.query], np.repeat(e.tasks, n_query))
    support = np.split(e.support, e.support_offsets[1:-1])
    query = np.split(e.query, e.query_offsets[1:-1])
    for s, q in zip(support, query, strict=True):
        assert len(set(s)) == len(s) and not set(s) & set(q)
    if n_blocks > 1:
        assert_array_equal(np.sort(e.query), np.arange(sum(sizes)))
    else:  # half of the rows at most are support, and they are no query
        assert (n_support <= np.array(sizes)[e.tasks] // 2).all()
        assert_array_equal(n_support + n_query, np.array(sizes)[e.tasks])
    if n_shots[0] == 3 and n_blocks == 3:
        assert (n_support[e.tasks == 3] == 3).all()


def test_fixed_supports_stay_supports():
    role = np.array([1, 1, 2, 2, 2, 0, 0, 0, 0])
    e = draw_episodes(table_of([5, 4], role), (0, 9), 2, np.random.default_rng(0))
    assert_array_equal(np.sort(e.query), [2, 3, 4, 5, 6, 7, 8])
    assert not set(e.support) & {2, 3, 4}


def test_a_third_of_the_supports_is_empty():
    e = draw_episodes(table_of([60] * 500), (0, 20), 3, np.random.default_rng(0))
    n_support = np.diff(e.support_offsets)
    assert_allclose(np.mean(n_support == 0), 1 / 3, atol=0.05)
    drawn = n_support[n_support > 0]
    assert_allclose(np.mean(drawn <= 4), np.log(5) / np.log(21), atol=0.05)


# -- features --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator, kind",
    [
        (TREES, "number"),
        (make_pipeline(StandardScaler(), TREES), "number"),
        (Ridge(), "number"),
        (RandomForestClassifier(5, min_samples_leaf=5), "label"),
        (KNeighborsClassifier(15), "label"),
        (LogisticRegression(), "label"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_support_and_side_information_help(estimator, kind):
    tasks = make_tasks(100, kind)
    train, test = tasks[:70], tasks[70:]
    meta = BatchMetaLearner(estimator, n_estimators=3, random_state=0).meta_fit(train)
    nothing, five = (mean_score(meta, test, k, knows=False) for k in (0, 5))
    cold = mean_score(meta, test, 0)
    pooled = mean_score(Pooled(estimator).meta_fit([Task(t.X, t.y) for t in train]), test, 0, False)
    assert five > nothing + 0.02 and cold > nothing + 0.02
    assert nothing > pooled - 0.1


def test_the_learner_sees_the_row_and_the_vector():
    """By hand: one draw, one descriptor without a random part, a learner that keeps its rows."""
    tasks = make_tasks(20)
    meta = BatchMetaLearner(
        KeepsRows(), descriptor=SideInformation(), n_estimators=1, random_state=0
    ).meta_fit(tasks)
    (model,) = meta.meta_model_.model.models
    s = np.array([t.descriptor["s"] for t in tasks])
    known = {
        tuple(x): (t, y)
        for t, task in enumerate(tasks)
        for x, y in zip(task.X, task.y, strict=True)
    }
    assert len(model.X_) == 20 * 16
    for row, y in zip(model.X_, model.y_, strict=True):
        t, expected = known[tuple(row[:2])]
        assert y == expected
        assert_allclose(row[2], (s[t] - s.mean()) / s.std())
    meta.adapt(tasks[3].X[:2], tasks[3].y[:2], descriptor={"s": 1.5})
    assert_allclose(meta.estimator_.descriptor, (1.5 - s.mean()) / s.std())


class KeepsRows(DummyRegressor):
    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return super().fit(X, y)


def test_predictions_are_averaged():
    tasks = make_tasks(side=False)
    meta = BatchMetaLearner(TREES, n_estimators=3, random_state=0).meta_fit(tasks)
    meta.adapt(tasks[0].X, tasks[0].y)
    Z = np.column_stack([tasks[1].X, np.repeat(meta.estimator_.descriptor[None], 16, axis=0)])
    each = [model.predict(Z) for model in meta.meta_model_.model.models]
    assert_allclose(meta.predict(tasks[1].X), np.mean(each, axis=0))
    assert np.ptp(each, axis=0).max() > 0  # each has seen other supports
    labelled = make_tasks(kind="label", side=False)
    for estimator in (LogisticRegression(), SGDClassifier(), KNeighborsClassifier()):
        meta = BatchMetaLearner(estimator, random_state=0).meta_fit(labelled)
        X, by = labelled[0].X, {}
        for method in ("predict_proba", "decision_function"):
            if hasattr(meta, method):
                by[method] = getattr(meta, method)(X)
        proba = by.get("predict_proba")
        yes = proba[:, 1] > 0.5 if proba is not None else by["decision_function"] > 0
        assert_array_equal(meta.predict(X), np.where(yes, "yes", "no"))


def test_classifiers_that_only_predict_vote():
    class Votes(KNeighborsClassifier):
        predict_proba = property()  # AttributeError

    tasks = make_tasks(kind="label", side=False)
    meta = BatchMetaLearner(Votes(1), n_estimators=3, random_state=0).meta_fit(tasks)
    assert not hasattr(meta, "predict_proba") and not hasattr(meta.estimator_, "predict_proba")
    X = tasks[0].X
    Z = np.column_stack([X, np.repeat(meta._zero, 16, axis=0)])
    votes = np.stack([model.predict(Z) == "yes" for model in meta.meta_model_.model.models])
    assert_array_equal(meta.predict(X), np.where(votes.sum(axis=0) > 1, "yes", "no"))


def test_dataframes_with_categories_reach_the_learner():
    pd = pytest.importorskip("pandas", reason="columns have names and types in a dataframe")
    tasks = []
    for t in make_tasks():
        X = pd.DataFrame(t.X, columns=["a", "b"])
        X["kind"] = pd.Categorical(np.where(t.X[:, 1] > 0, "up", "down"))
        tasks.append(Task(X, t.y, id=t.id, descriptor=t.descriptor))
    boosting = HistGradientBoostingRegressor(max_iter=3)
    meta = BatchMetaLearner(boosting, n_estimators=2, random_state=0).meta_fit(tasks)
    model = meta.meta_model_.model.models[0]
    assert list(model.feature_names_in_[:3]) == ["a", "b", "kind"]
    assert model.is_categorical_.tolist() == [False, False, True] + [False] * 4
    meta.adapt(tasks[0].X[:4], tasks[0].y[:4], descriptor=tasks[0].descriptor)
    assert_array_equal(meta.estimator_.predict(tasks[1].X), meta.predict(tasks[1].X))


def test_a_feature_may_be_called_as_an_entry():
    pd = pytest.importorskip("pandas", reason="columns have names in a dataframe")
    tasks = [
        Task(pd.DataFrame(t.X, columns=["offset_y", "b"]), t.y) for t in make_tasks(side=False)
    ]
    meta = BatchMetaLearner(TREES, random_state=0).meta_fit(tasks)
    names = meta.meta_model_.model.models[0].feature_names_in_.tolist()
    assert names == ["offset_y", "b", "log_n_rows", "task_offset_y", "error_y"]


def test_lists_and_functions_are_descriptors():
    by_top = FunctionDescriptor(top, min_rows=1)
    tasks = make_tasks()
    meta = BatchMetaLearner(
        descriptor=[RidgeDescriptor(), make_pipeline(SideInformation(), StandardScaler()), by_top],
        random_state=0,
    ).meta_fit(tasks)
    names = meta.descriptor_names_
    assert len(names) == 5 and names[-1].endswith("f0") and "pipeline__s" in names
    assert meta.task_vectors_.shape == (60, 5)
    assert_allclose(meta.task_vectors_[:, -1], [task.y.max() for task in tasks])
    same = BatchMetaLearner(descriptor=top, random_state=0)
    same.meta_fit([Task(t.X, t.y) for t in tasks])  # never called without rows, then
    assert same.descriptor_names_ == ["f0"]


def top(task):
    return task.y.max()


def test_the_default_landmark_is_the_learner_itself():
    tasks = make_tasks(side=False)
    meta = BatchMetaLearner(TREES, random_state=7).meta_fit(tasks)
    landmark = meta.descriptor_
    assert isinstance(landmark, LandmarkDescriptor)
    assert isinstance(landmark.estimator_, DecisionTreeRegressor)
    assert landmark.estimator_.random_state is not None
    by_hand = LandmarkDescriptor(landmark.estimator).fit(tasks)
    assert_allclose(meta.task_vectors_, by_hand.fit_transform(tasks))


def long_table(tasks):
    ids = np.repeat(np.arange(len(tasks)), [len(task.y) for task in tasks])
    return np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks]), ids


def test_known_tasks_are_described_by_models_that_have_not_seen_them():
    """A tree knows its rows by heart: they leave no residual that would say what task it is."""
    tasks = make_tasks(side=False)
    X, y, ids = long_table(tasks)
    known = np.arange(len(y)) % 2 == 0
    later = X[~known], y[~known]
    meta = BatchMetaLearner(DecisionTreeRegressor(), n_estimators=3, random_state=0)
    meta.fit(X[known], y[known], groups=ids[known])
    assert_array_equal(meta.descriptor_.estimator_.predict(X[known]), y[known])
    remembered = meta.score(*later, groups=ids[~known])
    own = meta.meta_model_.model.standardized(meta.task_vectors_)
    expected = meta._predicts.predict("predict", own, later[0], ids[~known])
    assert_array_equal(meta.predict(later[0], groups=ids[~known]), expected)
    as_new = meta.adapt(X[known], y[known], groups=ids[known]).score(*later, groups=ids[~known])
    assert remembered > as_new + 0.1


def test_further_rows_of_known_tasks_leave_the_others_out_of_fold():
    X, y, ids = long_table(make_tasks(side=False))
    known = np.arange(len(y)) % 4 > 0
    meta = BatchMetaLearner(DecisionTreeRegressor(), n_estimators=2, random_state=0)
    meta.fit(X[known], y[known], groups=ids[known])
    tree, k = meta.descriptor_.estimator_, meta.descriptor_.prior_rows_[0]
    later = ~known & (ids < 7)
    meta.partial_adapt(X[later], y[later], groups=ids[later])
    before = meta.task_vectors_[:, 1] * (12 + k)  # sums of residuals
    residual = np.bincount(ids[later], y[later] - tree.predict(X[later]), minlength=60)
    expected = (before + residual) / (12 + 4 * (np.arange(60) < 7) + k)
    model = meta.meta_model_.model
    offset = (model.center + model.scale * meta._memory.params)[:, 1]
    assert_allclose(offset, expected)


@pytest.mark.parametrize("descriptor", [MomentsDescriptor(), RidgeDescriptor(), None])
def test_what_fit_remembers_is_adapt_where_nothing_was_fitted_to_the_rows(descriptor):
    X, y, ids = long_table(make_tasks(n_tasks=12, side=False))
    conditioning = "features" if descriptor is not None else "prior"
    descriptor = LandmarkDescriptor() if descriptor is None else descriptor
    meta = BatchMetaLearner(
        descriptor=descriptor, conditioning=conditioning, n_estimators=2, random_state=0
    ).fit(X, y, groups=ids)
    other = HierarchicalBayes(descriptor=descriptor, random_state=0).fit(X, y, groups=ids)
    for model in (meta, other):
        remembered = model.predict(X, groups=ids)
        again = model.adapt(X, y, groups=ids).predict(X, groups=ids)
        assert_array_equal(again, remembered)


def test_results_depend_on_the_seed_only():
    tasks = make_tasks(30)
    first = BatchMetaLearner(TREES, n_estimators=3, random_state=0).meta_fit(tasks)
    again = BatchMetaLearner(TREES, n_estimators=3, random_state=0, n_jobs=2).meta_fit(tasks)
    other = BatchMetaLearner(TREES, n_estimators=3, random_state=1).meta_fit(tasks)
    assert_array_equal(first.predict(tasks[0].X), again.predict(tasks[0].X))
    assert (first.predict(tasks[0].X) != other.predict(tasks[0].X)).any()


def test_predict_with_ids_asks_the_learner_once_per_draw():
    tasks = make_tasks(n_tasks=40, side=False)
    meta = BatchMetaLearner(Counts(), n_estimators=2, random_state=0)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    ids = np.repeat(np.arange(40), 16)
    meta.fit(X, y, groups=ids).adapt(X, y, groups=ids)
    before = Counts.n_calls
    predicted = meta.predict(X, groups=ids)
    assert Counts.n_calls - before == 2
    for t in (0, 17, 39):
        own = copy.copy(meta).adapt(tasks[t].X, tasks[t].y)
        assert_allclose(predicted[ids == t], own.predict(tasks[t].X))


class Counts(LinearRegression):
    n_calls = 0

    def predict(self, X):
        Counts.n_calls += 1
        return super().predict(X)


def test_a_constant_of_many_tasks_is_no_entry():
    """The rounding of the sum over 300 tasks is no spread."""
    tasks = make_tasks(300, n_rows=3)
    tasks = [Task(t.X, t.y, id=t.id, descriptor={**t.descriptor, "size": 0.1}) for t in tasks]
    new = {"X": tasks[0].X[:0], "y": tasks[0].y[:0]}
    known, unlike = tasks[7].descriptor, {**tasks[7].descriptor, "size": 0.2}
    for conditioning in ("features", "prior"):
        for learner in (KNeighborsRegressor(), LinearRegression(), HuberRegressor()):
            if conditioning == "prior" and isinstance(learner, KNeighborsRegressor):
                continue
            meta = BatchMetaLearner(
                learner, descriptor=SideInformation(), conditioning=conditioning, n_estimators=1,
                random_state=0,
            ).meta_fit(tasks)  # fmt: skip
            expected = meta.adapt(**new, descriptor=known).predict(tasks[0].X)
            actual = meta.adapt(**new, descriptor=unlike).predict(tasks[0].X)
            assert_allclose(actual, expected, rtol=1e-9)
            assert meta.nearest_tasks(**new, descriptor=unlike)[0][0] == 7


def test_fixed_supports_are_used_as_they_are():
    tasks = [Task(t.X, t.y, id=t.id, support=np.arange(4)) for t in make_tasks(side=False)]
    meta = BatchMetaLearner(KeepsRows(), n_estimators=1, random_state=0).meta_fit(tasks)
    (model,) = meta.meta_model_.model.models
    assert len(model.X_) == 60 * 12
    every = [Task(t.X, t.y, id=t.id, support=np.arange(16)) for t in tasks]
    with pytest.raises(ValueError, match="no task has rows outside its fixed support"):
        meta.meta_fit(every)


def test_row_weights_reach_the_learner():
    tasks = make_tasks(side=False)
    rng = np.random.default_rng(0)
    odd = [t.y + 100.0 * (np.arange(16) == 3) for t in tasks]
    weighted = [
        Task(t.X, y, id=t.id, sample_weight=(np.arange(16) != 3).astype(float))
        for t, y in zip(tasks, odd, strict=True)
    ]
    for estimator in (TREES, Ridge()):
        meta = BatchMetaLearner(estimator, random_state=0).meta_fit(weighted)
        assert mean_score(meta, make_tasks(seed=1, side=False), 5) > 0.3
    with pytest.raises(ValueError, match="KNeighborsClassifier does not support sample_weight"):
        labelled = [
            Task(t.X, t.y, sample_weight=rng.uniform(size=16)) for t in make_tasks(kind="label")
        ]
        BatchMetaLearner(KNeighborsClassifier()).meta_fit(labelled)


# -- batch after batch -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator, kind",
    [
        (MLPRegressor(hidden_layer_sizes=(16,), learning_rate_init=0.01, max_iter=50), "number"),
        (SGDRegressor(), "number"),
        (SGDClassifier(loss="log_loss"), "label"),
        (GaussianNB(), "label"),
    ],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_meta_fit_goes_on(estimator, kind):
    tasks = make_tasks(120, kind)
    train, test = tasks[:100], tasks[100:]
    meta = BatchMetaLearner(
        estimator, descriptor=[MomentsDescriptor(), SideInformation()], n_estimators=2,
        random_state=0,
    ).meta_fit(train[:10])  # fmt: skip
    few, model = mean_score(meta, test, 5), meta.meta_model_
    before = joblib.hash(model)
    for start in range(10, 100, 10):
        meta.partial_meta_fit(train[start : start + 10])
    assert meta.n_tasks_ == len(meta.task_vectors_) == 100
    assert joblib.hash(model) == before  # what was learned is never changed in place
    assert mean_score(meta, test, 5) > few - 0.02
    batches = BatchMetaLearner(
        estimator, tasks_per_batch=20, n_epochs=20, n_estimators=2, random_state=0
    )
    assert mean_score(batches.meta_fit(iter(train)), test, 5) > 0.2


def test_classes_may_be_absent_from_a_batch():
    tasks = make_tasks(20, "label")
    only = [Task(t.X, np.full(16, "yes"), id=f"only {t.id}") for t in tasks]
    plain = [Task(t.X, t.y, id=t.id) for t in tasks]
    meta = BatchMetaLearner(GaussianNB(), random_state=0).partial_meta_fit(plain)
    meta.partial_meta_fit(only)
    assert meta.predict_proba(tasks[0].X).shape == (16, 2)
    batches = clone(meta).set_params(tasks_per_batch=4, n_epochs=2).meta_fit([*only, *plain])
    assert batches.predict_proba(tasks[0].X).shape == (16, 2)


def test_who_cannot_go_on_says_why():
    tasks = make_tasks(10)
    for meta, words in [
        (BatchMetaLearner(TREES), "DecisionTreeRegressor has no partial_fit"),
        (BatchMetaLearner(Ridge()), "Ridge has no partial_fit"),
        (BatchMetaLearner(HuberRegressor(), conditioning="prior"), "HuberRegressor has no squared"),
    ]:
        assert not hasattr(meta, "partial_meta_fit")
        with pytest.raises(AttributeError) as info:
            meta.partial_meta_fit(tasks)
        assert words in str(info.value.__cause__)
    with pytest.raises(ValueError, match="tasks_per_batch=4 .* Ridge has no partial_fit"):
        BatchMetaLearner(Ridge(), tasks_per_batch=4).meta_fit(tasks)


# -- side information ------------------------------------------------------------------------------


def test_side_information_may_be_missing_or_new():
    tasks = make_tasks(90)
    mixed = [
        Task(t.X, t.y, id=t.id, descriptor=[{"s": t.descriptor["s"], "town": "ab"[i % 2]},
                                            {"town": "c"}, None][i % 3])
        for i, t in enumerate(tasks)
    ]  # fmt: skip
    meta = BatchMetaLearner(TREES, random_state=0).meta_fit(mixed)
    entries = [name.rpartition("__")[2] for name in meta.descriptor_names_]
    assert entries[3:] == ["s", "s_missing", "town=a", "town=b", "town=c"]
    X, y = tasks[0].X, tasks[0].y
    for side in (None, {}, {"town": "elsewhere"}, {"s": None}, {"s": 2.0, "town": "a"}):
        assert np.isfinite(meta.adapt(X[:3], y[:3], descriptor=side).predict(X)).all()
    with pytest.raises(ValueError, match="'size', which no meta-train task has"):
        meta.adapt(X, y, descriptor={"size": 1.0})
    with pytest.raises(ValueError, match="must be all mappings or all arrays"):
        meta.adapt(X, y, descriptor=[1.0, "a"])
    bare = BatchMetaLearner(TREES, random_state=0).meta_fit(make_tasks(10, side=False))
    with pytest.raises(ValueError, match="the meta-train tasks had none"):
        bare.adapt(X, y, descriptor={"s": 1.0})
    arrays = [Task(t.X, t.y, id=t.id, descriptor=[1.0] * (1 + (t.id == 5))) for t in tasks]
    with pytest.raises(ValueError, match="task 5: its descriptor has 2 entries, expected 1"):
        bare.meta_fit(arrays)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_side_information_in_columns(library):
    pd = pytest.importorskip(library, reason="columns have names in a dataframe")
    tasks = make_tasks(60)
    towns = ["Aix", None, "Bonn"]
    X = pd.DataFrame(
        {
            "a": np.concatenate([t.X[:, 0] for t in tasks]),
            "store": np.repeat([t.id for t in tasks], 16),
            "s": np.repeat([t.descriptor["s"] for t in tasks], 16),
            "b": np.concatenate([t.X[:, 1] for t in tasks]),
            "town": [towns[t.id % 3] for t in tasks for _ in range(16)],
        }
    )
    y = np.concatenate([t.y for t in tasks])
    meta = BatchMetaLearner(
        TREES, task_column="store", descriptor_columns=["s", "town"], random_state=0
    ).fit(X, y)
    assert [n.rpartition("__")[2] for n in meta.descriptor_names_][3:] == [
        "s",
        "town=Aix",
        "town=Bonn",
    ]
    by_tasks = BatchMetaLearner(TREES, random_state=0).meta_fit(
        [
            Task(t.X, t.y, id=t.id, descriptor={**t.descriptor, "town": towns[t.id % 3]})
            for t in tasks
        ]
    )
    assert_allclose(meta.task_vectors_, by_tasks.task_vectors_)  # what fit remembers
    known = meta.adapt(X, y).predict(X)
    for t in (0, 1, 2):
        by_tasks.adapt(tasks[t].X, tasks[t].y,
                       descriptor={**tasks[t].descriptor, "town": towns[t % 3]})  # fmt: skip
        assert_allclose(known[16 * t : 16 * t + 16], by_tasks.predict(tasks[t].X), rtol=1e-6)
    new = pd.DataFrame({c: np.array(X[c])[:32] for c in X.columns if c != "store"})
    new = type(new)({"a": new["a"], "store": [-1] * 32, **{c: new[c] for c in ("s", "b", "town")}})
    cold = meta.predict(new)  # unknown stores: by their side information
    by_tasks.adapt(tasks[1].X[:0], tasks[1].y[:0],
                   descriptor={**tasks[1].descriptor, "town": None})  # fmt: skip
    assert_allclose(cold[16:], by_tasks.predict(tasks[1].X), rtol=1e-6)
    vary = np.array(X["s"]).copy()
    vary[20] = 9.0
    odd = type(X)({**{c: X[c] for c in X.columns}, "s": vary})
    with pytest.raises(ValueError, match="task 1: descriptor column 's' is not constant"):
        meta.fit(odd, y)


# -- prior -----------------------------------------------------------------------------------------


def test_prior_is_hierarchical_bayes():
    tasks = make_tasks()
    meta = BatchMetaLearner(
        LinearRegression(), conditioning="prior", covariance="full", random_state=0
    ).meta_fit(tasks)
    plain = {"contextual_effects": False}
    expected = HierarchicalBayes(**plain).meta_fit(tasks)
    by_descriptor = HierarchicalBayes(descriptor=SideInformation(), **plain).meta_fit(tasks)
    for k in (0, 1, 5):
        X, y, side = tasks[0].X[:k], tasks[0].y[:k], tasks[0].descriptor
        models = [
            m.adapt(X, y, descriptor=side).estimator_ for m in (meta, expected, by_descriptor)
        ]
        assert type(models[0]) is LinearRegression
        assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-6)
        assert_array_equal(models[1].coef_, models[2].coef_)
    more = make_tasks(seed=1)
    two = (
        clone(meta)
        .meta_fit(tasks)
        .partial_meta_fit([Task(t.X, t.y, descriptor=t.descriptor) for t in more])
    )
    assert two.n_tasks_ == len(two.task_vectors_) == 120


@pytest.mark.parametrize(
    "estimator, kind",
    [
        (LogisticRegression(), "label"),
        (PoissonRegressor(), "count"),
        (HuberRegressor(), "number"),
        (make_pipeline(StandardScaler(), Ridge()), "number"),
    ],
    ids=["logistic", "poisson", "huber", "pipeline"],
)
def test_a_prior_that_depends_on_side_information(estimator, kind):
    tasks = make_tasks(120, kind)
    train, test = tasks[:80], tasks[80:]
    meta = BatchMetaLearner(estimator, conditioning="prior", random_state=0).meta_fit(train)
    cold, five = (mean_score(meta, test, k) for k in (0, 5))
    unknown = mean_score(meta, test, 0, knows=False)
    assert cold > unknown + 0.05 and five > cold - 0.02
    assert b"sklearn_meta" not in joblib.hash(meta.estimator_).encode()
    assert type(meta.estimator_) is type(estimator)


def test_descriptors_of_rows_do_not_explain_what_they_have_seen():
    """The mean of y would explain each task's level perfectly, if it were of the same rows."""
    tasks = make_tasks(150, side=False)
    for meta in (
        HierarchicalBayes(descriptor=MomentsDescriptor(), random_state=0),
        BatchMetaLearner(
            Ridge(), descriptor=MomentsDescriptor(), conditioning="prior", random_state=0
        ),
    ):
        meta.meta_fit(tasks[:110])
        plain = HierarchicalBayes().meta_fit(tasks[:110])
        for k in (0, 1, 5):
            assert mean_score(meta, tasks[110:], k) > mean_score(plain, tasks[110:], k) - 0.1


def test_a_feature_map_of_side_information():
    rng = np.random.default_rng(0)
    tasks = []
    for t in range(200):
        s = rng.uniform()
        X = rng.standard_normal((10, 2))
        w = 3 * np.array([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s)])
        tasks.append(Task(X, X @ w + rng.standard_normal(10), id=t, descriptor={"s": s}))
    train, test = tasks[:150], tasks[150:]
    circle = FunctionDescriptor(on_circle, uses="side")
    fourier = make_pipeline(
        SideInformation(), RBFSampler(gamma=10, n_components=20, random_state=0)
    )
    scores = {
        name: mean_score(HierarchicalBayes(descriptor=d).meta_fit(train), test, 0)
        for name, d in {"circle": circle, "fourier": fourier, "line": None}.items()
    }
    assert scores["circle"] > 0.7 and scores["fourier"] > 0.6 > scores["line"] + 0.1


def on_circle(task):
    angle = 2 * np.pi * task.descriptor["s"]
    return {"cos": np.cos(angle), "sin": np.sin(angle)}


@pytest.mark.parametrize(
    "estimator, words",
    [
        (DecisionTreeRegressor(), ["needs a linear learner", "DecisionTreeRegressor", "features"]),
        (Perceptron(), ["curvature", "Perceptron"]),
        (LinearSVR(), ["curvature", "LinearSVR"]),
        (LinearRegression(positive=True), ["set LinearRegression(positive=False)"]),
    ],
)
def test_prior_names_what_it_can_wrap(estimator, words, unchanged):
    meta = BatchMetaLearner(estimator, conditioning="prior")
    with unchanged(meta), pytest.raises(ValueError) as info:
        meta.meta_fit(make_tasks(5))
    assert all(word in str(info.value) for word in words)


def test_every_loss_has_every_covariance():
    tasks = make_tasks(20)
    for covariance in ("full", "spherical"):
        for estimator in (Ridge(), HuberRegressor()):
            meta = BatchMetaLearner(estimator, conditioning="prior", covariance=covariance)
            meta.meta_fit(tasks).adapt(tasks[0].X, tasks[0].y)
            assert np.isfinite(meta.estimator_.coef_).all()


def numbers(n_tasks=400, n_rows=6, sigma=0.5, seed=0):
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n_tasks, 1))
    theta = np.concatenate([0.5 + S, 1.0 - 0.5 * S], axis=1)
    theta = theta + rng.standard_normal((n_tasks, 2)) * [0.7, 0.3]
    X = rng.standard_normal((n_tasks, n_rows, 1))
    raw = theta[:, :1] + X[:, :, 0] * theta[:, 1:]
    weight = np.full((n_tasks, n_rows), 1 / n_rows)
    y = raw + sigma * rng.standard_normal(raw.shape)
    return S, theta, Batch(X, y[..., None], weight), np.full(n_tasks, float(n_rows)), raw, rng


def test_the_approximate_prior_is_exact_for_squared_loss():
    """Maximum likelihood against the truth, and the mode against the closed form."""
    S, theta, batch, n_rows, _, _ = numbers()
    network = Network((1, 1), Squared())
    batches = [(np.arange(400), batch, n_rows)]
    prior = fit_prior(network, batches, S)
    model = prior.model
    assert model.converged
    variance = np.diag(model.covariance)
    means = model.means(prior.standardized(np.array([[0.0], [1.0]])))
    assert_allclose(model.dispersion, 0.25, rtol=0.15)
    assert_allclose(np.sqrt(variance), [0.7, 0.3], rtol=0.2)
    assert_allclose(means, [[0.5, 1.0], [1.5, 0.5]], atol=0.15)
    h = model.means(prior.standardized(S))
    modes, _ = posterior_modes(prior, network, batches, S)
    _, covariance = posterior(model, [counted(batch, n_rows)], prior.standardized(S))
    for t in (0, 7):
        Z = np.column_stack([np.ones(6), batch.X[t, :, 0]])
        P = np.diag(1 / variance) + Z.T @ Z / model.dispersion
        rest = batch.y[t, :, 0] - Z @ h[t]
        assert_allclose(modes[t], h[t] + np.linalg.solve(P, Z.T @ rest / model.dispersion))
        assert_allclose(covariance[t], np.linalg.inv(P), atol=1e-12)


def counted(batch, n_rows):
    weight = batch.weight * n_rows[:, None]
    return SimpleNamespace(tasks=np.arange(len(weight)), X=batch.X, y=batch.y, weight=weight)


def test_the_approximate_prior_finds_a_logistic_one():
    S, theta, batch, n_rows, raw, rng = numbers(n_rows=40)
    labels = (rng.random(raw.shape) < 1 / (1 + np.exp(-raw))).astype(float)
    batch = Batch(batch.X, labels[..., None], batch.weight)
    network = Network((1, 1), Logistic())
    prior = fit_prior(network, [(np.arange(400), batch, n_rows)], S)
    model = prior.model
    assert isinstance(prior, ConditionalPrior) and model.dispersion == 1.0
    means = model.means(prior.standardized(np.array([[0.0], [1.0]])))
    assert_allclose(means, [[0.5, 1.0], [1.5, 0.5]], atol=0.2)
    assert_allclose(np.sqrt(np.diag(model.covariance)), [0.7, 0.3], atol=0.15)


def test_a_prior_of_labels_without_side_information():
    """It predicts better than pooled rows and than one model per task, by much."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((160, 100, 5))
    theta = rng.standard_normal((160, 6)) * [1, 1, 1, 0.5, 0.5, 0.2] + [0, 0, 0.8, 0, -0.5, 0]
    p = 1 / (1 + np.exp(-theta[:, :1] - np.einsum("tnj,tj->tn", X, theta[:, 1:])))
    y = (rng.random(p.shape) < p).astype(int)
    train = [Task(X[t, :20], y[t, :20]) for t in range(80)]
    loss = {}
    for meta in (
        BatchMetaLearner(LogisticRegression(), conditioning="prior", random_state=0),
        Pooled(LogisticRegression()),
        Independent(LogisticRegression()),
    ):
        meta.meta_fit(train)
        loss[type(meta).__name__] = np.mean(
            [
                log_loss(y[t, 20:], meta.adapt(X[t, :20], y[t, :20]).predict_proba(X[t, 20:]))
                for t in range(80, 160)
            ]
        )
    truth = -np.mean(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert loss["BatchMetaLearner"] < 0.95 * min(loss["Pooled"], loss["Independent"])
    assert loss["BatchMetaLearner"] < truth + 0.12


# -- vectors ---------------------------------------------------------------------------------------


def test_nearest_tasks():
    tasks = make_tasks(side=False)
    meta = BatchMetaLearner(Ridge(), descriptor=RidgeDescriptor(alpha=1e-3), random_state=0)
    meta.meta_fit(tasks)
    ids, distances = meta.nearest_tasks(tasks[17].X, tasks[17].y, n_neighbors=4)
    assert ids[0] == 17 and len(ids) == 4
    assert_allclose(distances[0], 0.0, atol=1e-9)
    V = meta.task_vectors_ / meta.task_vectors_.std(axis=0)
    expected = np.linalg.norm(V - V[17], axis=1)
    assert_array_equal(ids, np.argsort(expected)[:4])
    assert_allclose(distances, np.sort(expected)[:4], atol=1e-9)
    assert len(meta.nearest_tasks(tasks[0].X[:0], tasks[0].y[:0], n_neighbors=99)[0]) == 60
    with pytest.raises(ValueError, match="one task, and X holds 2"):
        clone(meta).set_params(task_column=0).fit(
            np.column_stack([np.repeat([0, 1], 16), np.concatenate([t.X for t in tasks[:2]])]),
            np.concatenate([t.y for t in tasks[:2]]),
        ).nearest_tasks(np.array([[0, 1.0, 1.0], [1, 1.0, 1.0]]), [0.0, 1.0])


def test_numbers_of_rows_do_not_make_tasks_alike():
    tasks = make_tasks(side=False)
    meta = BatchMetaLearner(Ridge(), random_state=0).meta_fit(tasks)
    assert meta.descriptor_names_[0] == "log_n_rows"
    vectors = meta.task_vectors_.copy()
    ids, _ = meta.nearest_tasks(tasks[3].X[:8], tasks[3].y[:8], n_neighbors=60)
    vectors[:, 0] = np.arange(60)
    other = copy.copy(meta)
    other.meta_model_ = type(meta.meta_model_)(**{**vars(meta.meta_model_), "vectors": vectors})
    assert_array_equal(other.nearest_tasks(tasks[3].X[:8], tasks[3].y[:8], n_neighbors=60)[0], ids)


# -- bad input -------------------------------------------------------------------------------------


def gives_nan(task):
    return np.nan


def gives_lengths(task):
    return np.arange(1 + task.id % 2)


def gives_text(task):
    return "tall"


class CountsRows(TransformerMixin, BaseEstimator):
    """Somebody else's transformer over tasks."""

    def fit(self, tasks, y=None):
        self.n_tasks_ = len(tasks)
        return self

    def transform(self, tasks):
        return np.array([[len(task.y), task.y.sum()] for task in tasks])


def test_transformers_of_other_people():
    tasks = make_tasks()
    meta = BatchMetaLearner(TREES, descriptor=CountsRows(), random_state=0).meta_fit(tasks)
    assert meta.descriptor_.n_tasks_ == 60 and meta.descriptor_names_ == ["s0", "s1"]
    assert_allclose(meta.task_vectors_, [[16, t.y.sum()] for t in tasks])


@pytest.mark.parametrize(
    "descriptor, words",
    [
        (gives_nan, ["task 0", "nan", "finite"]),
        (gives_lengths, ["task 1", "2 entries", "expected 1"]),
        (gives_text, ["task 0", "tall"]),
        ([], ["empty list"]),
        (MomentsDescriptor, ["is a class", "MomentsDescriptor()"]),
        (3.0, ["descriptor"]),
        ([MomentsDescriptor(), 3.0], ["3.0", "neither a transformer"]),
        (PCA(1), ["PCA(n_components=1)", "transformer over tasks", "make_pipeline"]),
    ],
    ids=["NaN", "lengths", "text", "empty", "class", "number", "list", "not over tasks"],
)
@pytest.mark.parametrize("conditioning", ["features", "prior"])
def test_bad_descriptors(descriptor, words, conditioning, unchanged):
    meta = BatchMetaLearner(Ridge(), descriptor=descriptor, conditioning=conditioning)
    with unchanged(meta), pytest.raises((ValueError, TypeError)) as info:
        meta.meta_fit(make_tasks(8))
    assert all(word in str(info.value) for word in words), info.value


def test_a_transformer_that_gives_bad_vectors():
    class Odd(SideInformation):
        def _describe(self, table):
            return super()._describe(table)[self.cut :] * self.factor

    tasks = make_tasks(8)
    for cut, factor, words in [
        (1, 1.0, "shape .7, 1. for 8 tasks"),
        (0, np.inf, "task 0: entry 's'"),
    ]:
        Odd.cut, Odd.factor = cut, factor
        with pytest.raises(ValueError, match=words):
            BatchMetaLearner(Ridge(), descriptor=Odd()).meta_fit(tasks)


@pytest.mark.parametrize("n_shots", [(5, 1), (1, 2, 3), (-1, 3)])
def test_bad_shots(n_shots):
    with pytest.raises(ValueError, match="n_shots="):
        BatchMetaLearner(n_shots=n_shots).meta_fit(make_tasks(5))


def test_arguments_that_no_fit_takes():
    tasks = make_tasks(8)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    ids = np.repeat(np.arange(8), 16)
    for meta in (
        BatchMetaLearner(Ridge(), conditioning="prior"),
        BatchMetaLearner(SGDRegressor(), tasks_per_batch=4),
    ):
        with pytest.raises(TypeError, match="'speed'"):
            meta.fit(X, y, groups=ids, speed=3)


def test_nearest_tasks_of_no_rows_and_a_column_of_ids():
    tasks = make_linear_tasks(n_tasks=8, n_rows=10, random_state=0)
    X = np.concatenate([np.column_stack([t.X, np.full(len(t.y), i)]) for i, t in enumerate(tasks)])
    y = np.concatenate([t.y for t in tasks])
    model = BatchMetaLearner(Ridge(), n_estimators=1, task_column=X.shape[1] - 1, random_state=0)
    ids, distances = model.fit(X, y).nearest_tasks(X[:0], y[:0])
    assert set(ids) < set(range(8)) and np.isfinite(distances).all()
