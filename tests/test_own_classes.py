"""N-way tasks: every task has its own labels, and outputs carry no meaning."""

import copy
import pickle
from functools import cache
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from sklearn_meta import (
    ANIL,
    FOMAML,
    IMAML,
    MAML,
    MetaSGD,
    Reptile,
    Task,
    cross_validate_tasks,
    few_shot_scorer,
)
from sklearn_meta.base.episodes import EpisodeSampler
from sklearn_meta.datasets import make_digits_tasks
from sklearn_meta.kernels.episodes import permuted, shots_per_class
from sklearn_meta.kernels.network import Batch
from sklearn_meta.tasks import TaskTable
from sklearn_meta.tasks.classes import task_classes
from sklearn_meta.tasks.task import split_support_per_class

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASSES = [MAML, FOMAML, ANIL, MetaSGD, IMAML, Reptile]
WRAPPED = {
    "logistic": LogisticRegression(),
    "sgd": SGDClassifier(loss="log_loss"),
    "mlp": MLPClassifier(hidden_layer_sizes=(6,)),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}
LABELS = [["cat", "dog", "owl"], [3, 1, 7], ["x", "y"], [10, 20], [True, False], ["a", "b", "z"]]
each_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
each_wrapped = pytest.mark.parametrize("wrapped", WRAPPED)


def make_task(labels, id=None, n_rows=8, seed=0):
    """Clouds of points that are easy to tell apart."""
    rng = np.random.default_rng([seed, len(labels)])
    centres = 4 * rng.standard_normal((len(labels), 3))
    X = np.repeat(centres, n_rows, axis=0) + rng.standard_normal((n_rows * len(labels), 3))
    order = rng.permutation(len(X))
    return Task(X[order], np.repeat(np.array(labels), n_rows)[order], id=id)


TASKS = [make_task(labels, f"t{t}", seed=t) for t, labels in enumerate(LABELS * 2)]
NEW = make_task(["new", "unseen", "what"], seed=100)  # none of these labels is met in training
PAIR = make_task([-5, 5], seed=101)


def make(kind=MAML, estimator=None, **params):
    estimator = LogisticRegression() if estimator is None else estimator
    settings = dict(classes="per_task", inner_lr=0.3, inner_steps=5, max_iter=5, random_state=0)
    return kind(estimator, **settings | params)


@cache
def fitted(kind=MAML, wrapped="logistic"):
    return make(kind, WRAPPED[wrapped]).meta_fit(TASKS)


def fresh(kind=MAML, wrapped="logistic"):
    """A copy: adapting only rebinds attributes."""
    return copy.copy(fitted(kind, wrapped))


def long_table(tasks=TASKS):
    X = np.concatenate([task.X for task in tasks])
    y = np.concatenate([task.y.astype(object) for task in tasks])
    return X, y, np.repeat([task.id for task in tasks], [len(task.y) for task in tasks])


# -- the contract ----------------------------------------------------------------------------------


@each_class
@each_wrapped
def test_adapts_to_labels_never_seen(kind, wrapped):
    meta = fresh(kind, wrapped)
    for task in (NEW, PAIR):
        meta.adapt(task.X, task.y)
        labels = np.unique(task.y)
        assert_array_equal(meta.classes_, labels)
        assert_array_equal(meta.estimator_.classes_, labels)
        assert meta.classes_.dtype.kind == task.y.dtype.kind
        found = meta.predict(task.X)
        assert set(found) <= set(labels)
        assert_array_equal(found, meta.estimator_.predict(task.X))
        p = meta.predict_proba(task.X)
        assert p.shape == (len(task.X), len(labels))
        assert_allclose(p.sum(axis=1), 1)
        assert_allclose(p, meta.estimator_.predict_proba(task.X), rtol=1e-6, atol=1e-12)
        assert_array_equal(labels[p.argmax(axis=1)], found)
        if hasattr(meta, "decision_function"):
            ours, theirs = (m.decision_function(task.X) for m in (meta, meta.estimator_))
            assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@each_wrapped
def test_estimator_is_plain(wrapped):
    meta = fresh(wrapped=wrapped)
    for task in (NEW, PAIR):
        assert type(meta.adapt(task.X, task.y).estimator_) is type(WRAPPED[wrapped])


def test_adapting_again_is_the_same_and_leaves_the_meta_model():
    meta = fresh(wrapped="mlp")
    before, seen = joblib.hash(meta.meta_model_), []
    for task in (NEW, PAIR, NEW):
        seen.append(meta.adapt(task.X, task.y).predict_proba(NEW.X))
    assert_array_equal(seen[0], seen[2])
    assert joblib.hash(meta.meta_model_) == before


@each_class
def test_fit_with_ids_remembers_tasks_and_their_labels(kind):
    X, y, ids = long_table()
    meta = make(kind).fit(X, y, groups=ids)
    assert not hasattr(meta, "classes_")
    found = meta.predict(X, groups=ids)
    p, d = (getattr(meta, m)(X, groups=ids) for m in ("predict_proba", "decision_function"))
    assert p.shape == d.shape == (len(X), 3)
    for task in TASKS:
        own, labels = ids == task.id, np.unique(task.y)
        one = meta.adapt(task.X, task.y)
        assert_array_equal(found[own].astype(task.y.dtype), one.predict(task.X))
        assert_allclose(p[own][:, : len(labels)], one.predict_proba(task.X), rtol=1e-6, atol=1e-9)
        assert (p[own][:, len(labels) :] == 0).all()
        assert np.isneginf(d[own][:, len(labels) :]).all()
        assert_array_equal(labels[d[own].argmax(axis=1)], one.predict(task.X))
        assert meta.predict(task.X, groups=[task.id] * len(task.X)).dtype.kind == task.y.dtype.kind
    assert meta.score(X, y, groups=ids) == np.mean(found == y)
    assert meta.score(TASKS) == pytest.approx(np.mean(found == y))


def test_remembered_tasks_can_be_replaced_and_joined():
    meta = fresh()
    X, y, ids = long_table(TASKS[:2])
    meta.adapt(X, y, groups=ids)
    other = ["other"] * len(PAIR.X), ["t0"] * len(PAIR.X)
    meta.adapt(PAIR.X, PAIR.y, groups=other[0])
    meta.adapt(PAIR.X, PAIR.y, groups=other[1])  # t0 has other labels now
    assert meta.task_ids_.tolist() == ["t0", "t1", "other"]
    assert_array_equal(*(meta.predict(PAIR.X, groups=ids) for ids in other))
    assert set(meta.predict(PAIR.X, groups=other[1])) <= {-5, 5}
    assert set(meta.predict(X, groups=["t1"] * len(X))) <= {1, 3, 7}


def test_adapt_many_is_adapt():
    meta = fresh(wrapped="mlp")
    for task, estimator in zip(TASKS, meta.adapt_many(TASKS), strict=True):
        alone = meta.adapt(task.X, task.y).estimator_
        assert_array_equal(estimator.classes_, alone.classes_)
        assert estimator.classes_.dtype.kind == task.y.dtype.kind
        assert_allclose(estimator.predict_proba(NEW.X), alone.predict_proba(NEW.X), rtol=1e-6)


def test_one_class_is_always_predicted():
    meta = fresh()
    meta.adapt(NEW.X, np.full(len(NEW.X), "only"))
    assert set(meta.predict(NEW.X)) == set(meta.estimator_.predict(NEW.X)) == {"only"}
    assert_array_equal(meta.predict_proba(NEW.X), np.ones((len(NEW.X), 1)))
    assert_array_equal(meta.decision_function(NEW.X), np.zeros(len(NEW.X)))
    meta.adapt(NEW.X, np.full(len(NEW.X), "only"), groups=["one"] * len(NEW.X))
    assert set(meta.predict(NEW.X, groups=["one"] * len(NEW.X))) == {"only"}
    assert meta.predict_proba(NEW.X[:1], groups=["one"]).tolist() == [[1, 0, 0]]


def test_two_way_tasks_have_one_output():
    pairs = [task for task in TASKS if len(np.unique(task.y)) == 2]
    X, y, ids = long_table(pairs)
    meta = make().fit(X, y, groups=ids)
    assert meta.learner_.n_outputs == 1
    assert meta.score(X, y, groups=ids) > 0.9
    d = meta.decision_function(X, groups=ids)
    assert_array_equal(d > 0, meta.predict_proba(X, groups=ids)[:, 1] > 0.5)
    meta.adapt(X, ["only"] * len(X), groups=["one"] * len(X))
    assert np.isneginf(meta.decision_function(X, groups=["one"] * len(X))).all()


def test_without_ids_an_ordinary_classifier():
    meta = make(inner_lr="auto", n_shots=3).fit(NEW.X, NEW.y)
    assert_array_equal(meta.classes_, np.unique(NEW.y))
    linear = LogisticRegression().fit(NEW.X, NEW.y)
    assert meta.score(NEW.X, NEW.y) > linear.score(NEW.X, NEW.y) - 0.1
    search = GridSearchCV(make(max_iter=2), {"inner_steps": [1, 5]}, cv=2).fit(NEW.X, NEW.y)
    assert search.best_score_ > 0.5  # chance is 0.33


@pytest.mark.parametrize("kind", [MAML, Reptile], ids=["MAML", "Reptile"])
def test_results_depend_on_the_seed_only(kind):
    mlp = WRAPPED["mlp"]
    first, second, other = (
        make(kind, mlp, n_jobs=n, random_state=seed).meta_fit(TASKS).meta_model_.theta
        for n, seed in [(1, 0), (2, 0), (1, 1)]
    )
    assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "params",
    [{"outer_solver": "lbfgs"}, {"early_stopping": True, "validation_fraction": 0.3}],
    ids=["lbfgs", "early stopping"],
)
def test_ways_of_training(params):
    meta = make(estimator=WRAPPED["mlp"], max_iter=10, **params).meta_fit(TASKS)
    assert meta.n_iter_ > 0
    assert few_shot_scorer(n_shots=3)(meta, TASKS) > 0.8


def test_warm_start_goes_on_with_as_many_classes():
    meta = make(warm_start=True).meta_fit(TASKS).meta_fit([PAIR])
    assert meta.n_iter_ == 10
    assert len(meta.adapt(NEW.X, NEW.y).classes_) == 3


def test_dataframes_keep_their_columns():
    def frame(task):
        return Task(pd.DataFrame(task.X, columns=["a", "b", "c"]), task.y, id=task.id)

    meta = make().meta_fit([frame(task) for task in TASKS])
    new, plain = frame(NEW), fresh().adapt(NEW.X, NEW.y)
    assert_array_equal(meta.adapt(new.X, new.y).predict(new.X), plain.predict(NEW.X))
    for y in (new.y, np.full(len(new.y), "only")):
        estimator = meta.adapt(new.X, y).estimator_
        assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
        assert estimator.n_features_in_ == 3


def test_callbacks_score_new_tasks():
    X, y, ids = long_table(TASKS)
    X = np.column_stack([X, np.unique(ids, return_inverse=True)[1]])
    monitor = ScoringMonitor(scoring={"few_shot": few_shot_scorer(n_shots=2)})
    make(task_column=3).set_callbacks(monitor).fit(X, y)
    scores = [entry["few_shot"] for entry in monitor.get_logs().data if "few_shot" in entry]
    assert len(scores) == 6  # of five epochs, and of the end
    assert min(scores) > 0.7


def test_pickle_and_clone():
    X, y, ids = long_table()
    meta = make(estimator=WRAPPED["mlp"]).fit(X, y, groups=ids).adapt(NEW.X, NEW.y)
    again = pickle.loads(pickle.dumps(meta))
    assert_array_equal(again.predict(X, groups=ids), meta.predict(X, groups=ids))
    assert_array_equal(again.predict_proba(NEW.X), meta.predict_proba(NEW.X))
    assert clone(meta).get_params()["classes"] == "per_task"


def test_what_was_learned_survives_set_params():
    meta = fresh().set_params(classes="shared")
    meta.adapt(NEW.X, NEW.y)
    assert_array_equal(meta.classes_, ["new", "unseen", "what"])
    assert set(meta.predict(NEW.X)) <= {"new", "unseen", "what"}


def test_partial_meta_fit_forgets_tasks():
    meta = fresh().adapt(NEW.X, NEW.y)
    meta.partial_meta_fit([make_task(["p", "q"], seed=7)])
    assert meta.n_tasks_ == len(TASKS) + 1
    assert not hasattr(meta, "classes_")
    with pytest.raises(NotFittedError, match="adapt first"):
        meta.predict(NEW.X)


def test_checks_of_scikit_learn():
    results = check_estimator(make(inner_lr=1.0, n_shots=5, random_state=None), on_fail=None)
    assert not {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert sum(r["status"] == "passed" for r in results) >= 50


# -- invariance ------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_renamed_labels_rename_predictions(data):
    """Names that keep their order, text or numbers, other ones in each task."""

    def renamed(task):
        labels, places = np.unique(task.y, return_inverse=True)
        names = data.draw(st.sampled_from([st.text("abcxyz", min_size=1), st.integers(-99, 99)]))
        n = len(labels)
        new = np.array(sorted(data.draw(st.lists(names, min_size=n, max_size=n, unique=True))))
        return Task(task.X, new[places]), new

    mlp = WRAPPED["mlp"]
    meta = make(estimator=mlp, max_iter=2).meta_fit([renamed(task)[0] for task in TASKS])
    expected = make(estimator=mlp, max_iter=2).meta_fit(TASKS).adapt(NEW.X, NEW.y)
    task, new = renamed(NEW)
    meta.adapt(task.X, task.y)
    assert_array_equal(meta.predict_proba(task.X), expected.predict_proba(NEW.X))
    places = np.searchsorted(expected.classes_, expected.predict(NEW.X))
    assert_array_equal(meta.predict(task.X), new[places])


# -- episodes --------------------------------------------------------------------------------------


def table_of(tasks):
    sizes = [len(task.y) for task in tasks]
    y = np.concatenate([task.y.astype(object) for task in tasks])
    X = np.arange(len(y), dtype=float)[:, None]
    return TaskTable(X, y, np.concatenate([[0], np.cumsum(sizes)]))


def test_places_of_labels():
    table = table_of(TASKS)
    classes, places = task_classes(table)
    assert classes.counts.tolist() == [3, 3, 2, 2, 2, 3] * 2
    for t, task in enumerate(TASKS):
        own = places[table.offsets[t] : table.offsets[t + 1]]
        assert_array_equal(classes.of(t), np.unique(task.y))
        assert_array_equal(classes.of(t)[own], task.y)


def test_a_range_of_shots_begins_at_one():
    params = dict(max_iter=20, inner_lr=0.5)
    from_zero = make(n_shots=(0, 2), **params).meta_fit(TASKS)
    from_one = make(n_shots=(1, 2), **params).meta_fit(TASKS)
    assert from_zero.loss_curve_ == from_one.loss_curve_


@pytest.mark.parametrize("n_shots", [1, 3, 100])
def test_episodes_have_so_many_shots_of_each_class(n_shots):
    tasks = [*TASKS, Task(np.zeros((4, 1)), np.array(["rare", "b", "b", "b"]))]
    table = table_of(tasks)
    _, places = task_classes(table)
    learner = SimpleNamespace(batch=Batch, classes=np.arange(3))
    y = np.eye(3)[places]
    sampler = EpisodeSampler(learner, table, y, (n_shots, n_shots), codes=places)
    support, query, total = sampler.draw(np.arange(len(tasks)), np.random.default_rng(0))
    for t in range(len(tasks)):
        rows = support.X[t, support.weight[t] > 0, 0].astype(int)
        left = query.X[t, query.weight[t] > 0, 0].astype(int)
        own = np.arange(table.offsets[t], table.offsets[t + 1])
        assert_array_equal(np.sort(np.append(rows, left)), own)
        n_own = np.bincount(places[own])
        assert_array_equal(
            np.bincount(places[rows]), np.minimum(n_shots, np.maximum(1, n_own // 2))
        )
        assert total[t] == len(rows)
        # one permutation for support and query: an output is one class
        pairs = np.concatenate(
            [support.y[t][support.weight[t] > 0], query.y[t][query.weight[t] > 0]]
        ).argmax(axis=1)
        classes = places[np.append(rows, left)]
        assert len(set(zip(pairs, classes, strict=True))) == len(n_own)


def test_fixed_supports_stay_fixed():
    y = np.array(["a", "b"] * 5)
    role = np.array([1] * 6 + [2] * 4, dtype=np.int8)
    table = TaskTable(np.arange(10.0)[:, None], y, np.array([0, 10]), role=role)
    _, places = task_classes(table)
    learner = SimpleNamespace(batch=Batch, classes=np.arange(2))
    for n_shots, expected in [(2, 4), (10, 6)]:
        sampler = EpisodeSampler(
            learner, table, places[:, None] * 1.0, (n_shots, n_shots), codes=places
        )
        support, query, _ = sampler.draw(np.array([0]), np.random.default_rng(0))
        rows = support.X[0, support.weight[0] > 0, 0]
        assert len(rows) == expected
        assert rows.max() < 6
        assert set(query.X[0, query.weight[0] > 0, 0]) == {6, 7, 8, 9}


def test_all_permutations_of_outputs_come():
    y = np.eye(3)[None].repeat(400, axis=0)
    learner = SimpleNamespace(classes=np.arange(3))
    sampler = EpisodeSampler(learner, None, None, (1, 1), codes=np.arange(3))
    drawn = sampler.permutations(np.arange(400), np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 40
    outputs = permuted(Batch(y, y, np.ones((400, 3))), drawn).y.argmax(axis=2)
    assert_array_equal(np.take_along_axis(drawn, outputs, axis=1), [[0, 1, 2]] * 400)
    one = permuted(Batch(y, y[..., 1:2], None), drawn[:, :2] % 2).y
    assert_array_equal(one[:, :, 0], np.where(drawn[:, :1] % 2 == 1, 1 - y[..., 1], y[..., 1]))


def test_rows_that_may_not_be_drawn():
    codes = np.array([[0, 1, 2, 0, 0, 1, 2]])
    chosen = shots_per_class(np.arange(7.0)[None], codes, 2, 2, np.array([False]))
    assert chosen.tolist() == [[True, True, False, True, False, True, False]]
    half = shots_per_class(np.arange(7.0)[None], codes, 2, 2, np.array([True]))
    assert half.tolist() == [[True, True, False, False, False, False, False]]


def test_supports_of_splits_are_nested():
    task = make_task([0, 1, 2], n_rows=4)
    few, many = (split_support_per_class(task, k, np.random.default_rng(0)) for k in (1, 3))
    assert set(few[0]) < set(many[0])
    assert np.bincount(task.y[many[0]]).tolist() == [3, 3, 3]
    assert set(many[0]) | set(many[1]) == set(range(12))
    for k in (4, 5):  # no query; too few rows
        assert split_support_per_class(task, k, np.random.default_rng(0)) is None
    fixed = Task(task.X, task.y, support=np.arange(6))
    support, query = split_support_per_class(fixed, 1, np.random.default_rng(0))
    assert support.max() < 6
    assert_array_equal(query, np.arange(6, 12))


# -- evaluation ------------------------------------------------------------------------------------


def test_few_shot_scorer_draws_from_each_class():
    meta = fresh()
    with_rare = [*TASKS, Task(np.zeros((3, 3)), ["a", "a", "rare"])]
    assert few_shot_scorer(n_shots=2)(meta, TASKS) > 0.8
    assert few_shot_scorer(n_shots=2)(meta, with_rare) == few_shot_scorer(n_shots=2)(meta, TASKS)
    assert few_shot_scorer("neg_log_loss", n_shots=2)(meta, TASKS) < 0
    with pytest.raises(ValueError, match="more than n_shots=8 rows of each class"):
        few_shot_scorer(n_shots=8)(meta, TASKS)
    with pytest.raises(NotFittedError):
        meta.predict(NEW.X)  # the scorer adapts copies


def test_search_over_tables_with_ids():
    X, y, ids = long_table(TASKS[:3])
    X = np.column_stack([X, np.unique(ids, return_inverse=True)[1]])
    search = GridSearchCV(
        make(task_column=3, max_iter=2),
        {"inner_steps": [1, 3]},
        scoring=few_shot_scorer(n_shots=1),
        cv=[(np.flatnonzero(ids != "t0"), np.flatnonzero(ids == "t0"))],
        refit=False,
        error_score="raise",
    )
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert ((0.4 < scores) & (scores <= 1)).all()


def test_cross_validate_tasks():
    result = cross_validate_tasks(
        {"maml": make(), "in a pipeline": make_pipeline(StandardScaler(), make())},
        TASKS,
        n_shots=(1, 4, 8),
        cv=2,
    )
    assert set(result["n_shots"]) == {1, 4}
    assert len(result["score"]) == 2 * len(TASKS) * 2
    assert result["score"][result["n_shots"] == 4].mean() > 0.8
    with pytest.raises(ValueError, match="n_shots holds 0.*rows of each class"):
        cross_validate_tasks(make(), TASKS)


# -- errors ----------------------------------------------------------------------------------------


@each_class
@pytest.mark.parametrize(
    "estimator", [None, RidgeClassifier(), SVC(), SGDClassifier()], ids=lambda e: type(e).__name__
)
def test_other_estimators_are_refused(kind, estimator):
    meta = kind(estimator, classes="per_task")
    with pytest.raises(ValueError, match=r"works with LogisticRegression, .*MLPClassifier.*; got"):
        meta.meta_fit(TASKS)


def test_nothing_is_predicted_before_a_task_is_known(unchanged):
    meta = fresh()
    assert not hasattr(meta, "estimator_")
    with unchanged(meta), pytest.raises(NotFittedError, match="adapt first: labels of a task are"):
        meta.predict(NEW.X)
    meta.adapt(NEW.X, NEW.y, groups=["a"] * len(NEW.X))
    with pytest.raises(NotFittedError, match="adapt first, or pass the ids of remembered tasks"):
        meta.predict_proba(NEW.X)
    with pytest.raises(ValueError, match="row 1: the task id 'b' is unknown"):
        meta.predict(NEW.X[:2], groups=["a", "b"])
    with pytest.raises(ValueError, match="row 0: the task id is missing"):
        meta.predict(NEW.X[:2], groups=[None, "a"])


@pytest.mark.parametrize(
    "y, groups, message",
    [
        ([0, 1, 2, 3], None, r"the task has 4 classes, \[0, 1, 2, 3\], and .* more than 3"),
        ([0, 1, 2, 3], ["big"] * 4, "task 'big' has 4 classes"),
        ([0.5, 1, 1, 0], None, "row 0: y is 0.5. Unknown label type: continuous"),
        (np.array(["a", 1, 1, 0], dtype=object), None, "row 1: y is 1, and 'a' in the first row"),
    ],
    ids=["too many", "too many, by id", "numbers", "mixed"],
)
def test_bad_labels_of_a_new_task(y, groups, message, unchanged):
    meta = fresh().adapt(PAIR.X, PAIR.y)
    with unchanged(meta), pytest.raises(ValueError, match=message):
        meta.adapt(NEW.X[:4], y, groups=groups)


def test_a_task_without_rows(unchanged):
    meta = fresh()
    with unchanged(meta), pytest.raises(ValueError, match="the task has no rows, and with classes"):
        meta.adapt(NEW.X[:0], NEW.y[:0])
    with pytest.raises(ValueError, match="task 'empty' has no rows"):
        meta.adapt_many([TASKS[0], Task(NEW.X[:0], NEW.y[:0], id="empty")])


def test_bad_meta_train_tasks():
    one_class = [Task(task.X, np.full(len(task.X), "x"), id=task.id) for task in TASKS]
    with pytest.raises(ValueError, match="task 't0' has one class only, 'x'"):
        make().meta_fit(one_class)
    with pytest.raises(ValueError, match="set it to 1 or more"):
        make(n_shots=0).meta_fit(TASKS)
    with pytest.raises(ValueError, match="'classes' parameter"):
        make(classes="own").meta_fit(TASKS)


# -- learning --------------------------------------------------------------------------------------


def test_learns_to_learn_digits():
    """Trained on 0 to 6; new tasks are to tell 5 and 6 from three digits never met."""
    train = make_digits_tasks(60, n_rows=10, classes=range(7), random_state=0)
    new = make_digits_tasks(30, n_rows=15, classes=range(5, 10), random_state=1)
    params = dict(inner_steps=5, n_shots=3, n_query=10)
    network = MLPClassifier(hidden_layer_sizes=(32,))
    score = {}
    for n_iter in (0, 60):
        meta = make(estimator=network, max_iter=n_iter, **params).meta_fit(train)
        score[n_iter] = [few_shot_scorer(n_shots=k)(meta, new) for k in (1, 5)]
    (start_1, start_5), (one, five) = score[0], score[60]
    assert one > start_1 + 0.1 > 0.4  # chance is 0.2
    assert five > start_5 + 0.05
    assert five > one
