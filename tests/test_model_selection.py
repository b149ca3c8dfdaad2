"""Evaluation by episodes: nothing leaks, every estimator sees the same, scores are as by hand."""

import copy
import pickle
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, make_scorer, mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    ShuffleSplit,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import (
    HierarchicalBayes,
    Independent,
    MetaRegressor,
    Pooled,
    Task,
    cross_validate_tasks,
    few_shot_scorer,
)
from sklearn_meta.datasets import make_linear_tasks

MSE = "neg_mean_squared_error"


@pytest.fixture(scope="module")
def tasks():
    return make_linear_tasks(n_tasks=12, n_rows=(8, 12), n_features=2, random_state=0)


@pytest.fixture(scope="module")
def fixed(tasks):
    """The same; the first five rows of every task are its support."""
    return [replace(task, support=np.arange(5)) for task in tasks]


def by_hand(model, task, n_shots=5, metric=mean_squared_error):
    """The score on the rows behind the fixed support."""
    model = copy.copy(model).adapt(task.X[:n_shots], task.y[:n_shots])
    return metric(task.y[5:], model.predict(task.X[5:]))


# -- an estimator that writes down what it is shown ------------------------------------------------


class Recorder(Pooled):
    """Rows are known by their features: number of the task, number of the row."""

    log = []

    def meta_fit(self, tasks):
        ids = {int(task.id) for task in tasks}
        self.log.append(("meta_fit", self.random_state, ids))
        return super().meta_fit(tasks)

    def adapt(self, X, y, **params):
        self.log.append(("adapt", self.random_state, [tuple(row) for row in X.astype(int)]))
        return super().adapt(X, y, **params)

    def predict(self, X, *, groups=None):
        self.log.append(("predict", self.random_state, [tuple(row) for row in X.astype(int)]))
        return super().predict(X, groups=groups)


class RecordingScaler(StandardScaler):
    log = []

    def fit(self, X, y=None, sample_weight=None):
        self.log.append({int(t) for t in X[:, 0]})
        return super().fit(X, y, sample_weight)


@pytest.fixture
def numbered():
    Recorder.log.clear()
    RecordingScaler.log.clear()
    rng = np.random.default_rng(0)
    sizes = [4, 9, 6, 7, 12, 5, 8, 6, 9, 10]
    return [
        Task(np.column_stack([np.full(n, t), np.arange(n)]).astype(float), rng.random(n), id=t)
        for t, n in enumerate(sizes)
    ]


def episodes(name):
    """(ids of the meta-train tasks, support rows, query rows) of every episode of a recorder."""
    out, train, support = [], None, None
    for what, seed, seen in Recorder.log:
        if seed != name:
            continue
        if what == "meta_fit":
            train = seen
        elif what == "adapt":
            support = seen
        else:
            out.append((train, support, seen))
    return out


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_episodes(numbered, n_repeats):
    """No task is in training and test, no row in support and query; everything is paired."""
    shots = (0, 1, 3, 7)
    results = cross_validate_tasks(
        {"one": Recorder(random_state=1), "two": Recorder(random_state=2)},
        numbered,
        n_shots=shots,
        n_repeats=n_repeats,
        cv=3,
        scoring=MSE,
    )
    one, two = episodes(1), episodes(2)
    assert one == two
    assert len(one) + len(two) == len(results["score"])
    query_of, support_of = {}, {}
    first = results["estimator"] == "one"
    rows = zip(*(results[k][first] for k in ("task_id", "repeat", "n_shots")), strict=True)
    for (id_, repeat, k), (train, support, query) in zip(rows, one, strict=True):
        assert id_ not in train
        assert len(train) in (6, 7)
        assert {t for t, _ in support + query} == {id_}
        assert not set(support) & set(query)
        assert len(support) == k
        assert query_of.setdefault((id_, repeat), query) == query  # the same for all shots
        before = support_of.get((id_, repeat), [])
        assert support[: len(before)] == before  # nested
        support_of[id_, repeat] = support
    for task in numbered:
        n = len(task.y)
        largest = max(k for k in shots if k < n)
        for repeat in range(n_repeats):
            assert len(query_of[task.id, repeat]) == n - largest
        found = {
            k
            for id_, k in zip(results["task_id"], results["n_shots"], strict=True)
            if id_ == task.id
        }
        assert found == {k for k in shots if k < n}
    assert len(set(map(tuple, support_of.values()))) == len(numbered) * n_repeats


def test_transformers_see_meta_train_tasks_only(numbered):
    model = HierarchicalBayes(make_pipeline(RecordingScaler(), Ridge()))
    results = cross_validate_tasks(model, numbered, n_shots=(0, 3), cv=5, scoring=MSE)
    assert len(RecordingScaler.log) == 5
    for fold, seen in enumerate(RecordingScaler.log):
        test = set(results["task_id"][results["fold"] == fold])
        assert seen == set(range(10)) - test


def test_no_search_sees_test_tasks(numbered):
    search = GridSearchCV(
        HierarchicalBayes(make_pipeline(RecordingScaler(), Ridge())),
        {"random_effects": ["intercept", "all"]},
        scoring=few_shot_scorer(MSE, n_shots=2),
        cv=3,
    )
    results = cross_validate_tasks(search, numbered, n_shots=2, cv=KFold(2))
    for fold in range(2):
        test = set(results["task_id"][results["fold"] == fold])
        for seen in RecordingScaler.log[7 * fold : 7 * fold + 7]:  # two candidates x 3, the best
            assert not seen & test


def test_poisoned_test_tasks_change_their_own_scores_only(fixed):
    """Were they used in training, standardisation or by other tasks, more would change."""
    folds = [(np.arange(2, 12), np.arange(2))]
    poisoned = [replace(fixed[0], X=1e6 * fixed[0].X, y=1e6 * fixed[0].y), *fixed[1:]]
    models = {
        "hierarchical": HierarchicalBayes(),
        "pooled": Pooled(standardize=True),
        "independent": Independent(standardize=True),
    }
    one, two = (
        cross_validate_tasks(models, data, n_shots=(0, 5), cv=folds) for data in (fixed, poisoned)
    )
    same = one["score"] == two["score"]
    assert_array_equal(same, one["task_id"] == 1)


# -- cross_validate_tasks --------------------------------------------------------------------------


@pytest.mark.parametrize("model", [HierarchicalBayes(), Independent(), Pooled()], ids=str)
def test_scores_are_those_by_hand(fixed, model):
    results = cross_validate_tasks(model, fixed, n_shots=(0, 5), cv=KFold(4), scoring=MSE)
    for train, test in KFold(4).split(fixed):
        trained = clone(model).meta_fit([fixed[t] for t in train])
        for t in test:
            for k in (0, 5):
                own = (results["task_id"] == t) & (results["n_shots"] == k)
                assert_allclose(-results["score"][own], [by_hand(trained, fixed[t], k)])


def test_result_is_a_table(tasks):
    pd = pytest.importorskip("pandas", reason="results as a dataframe")
    results = cross_validate_tasks(
        {"a": Pooled(), "b": HierarchicalBayes()}, tasks, n_shots=(0, 3), cv=4, n_repeats=2
    )
    table = pd.DataFrame(results)
    assert list(table) == "estimator fold task_id repeat n_shots score adapt_time".split()
    assert len(table) == 2 * 12 * 2 * 2
    assert not table.isna().any(axis=None)
    assert not table.duplicated(["estimator", "task_id", "repeat", "n_shots"]).any()
    assert all(isinstance(column, np.ndarray) for column in results.values())
    assert set(table["fold"]) == set(range(4))
    assert table["adapt_time"].min() >= 0
    assert table["task_id"].dtype.kind == table["n_shots"].dtype.kind == "i"
    assert table.groupby("task_id")["fold"].nunique().eq(1).all()


IDS = {
    "none": [None] * 4,
    "text": ["a", "bb", "c", "d"],
    "mixed": ["a", 1, 2.5, None],
    "tuples": [("a", 1), ("a", 2), ("b", 1), ("b", 2)],
    "times": [datetime(2024, month, 1) for month in range(1, 5)],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_any_kind_come_back(tasks, kind):
    ids = IDS[kind]
    data = [replace(task, id=id_) for task, id_ in zip(tasks, ids, strict=False)]
    results = cross_validate_tasks(Pooled(), data, n_shots=1, cv=KFold(2))
    expected = [i if id_ is None else id_ for i, id_ in enumerate(ids)]
    assert results["task_id"].shape == (4,)
    assert list(results["task_id"]) == expected


def test_tasks_of_every_form(tasks):
    pairs = [(task.X, task.y) for task in tasks]
    expected = cross_validate_tasks(Pooled(), tasks, n_shots=3)["score"]
    for data in (pairs, iter(pairs), dict(enumerate(pairs))):
        assert_array_equal(cross_validate_tasks(Pooled(), data, n_shots=3)["score"], expected)


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        LeaveOneOut(),
        ShuffleSplit(2, test_size=3, random_state=0),
        [([0, 1, 2], [3, 4]), ([3, 4], [0])],
    ],
    ids=["KFold", "LeaveOneOut", "ShuffleSplit", "list"],
)
def test_splitters(tasks, cv):
    results = cross_validate_tasks(Pooled(), tasks, n_shots=1, cv=cv)
    folds = list(cv) if isinstance(cv, list) else list(cv.split(tasks))
    for fold, (_, test) in enumerate(folds):
        assert_array_equal(results["task_id"][results["fold"] == fold], test)


def test_the_seed_decides(tasks):
    def scores(seed, **params):
        return cross_validate_tasks(Pooled(), tasks, random_state=seed, scoring=MSE, **params)[
            "score"
        ]

    assert_array_equal(scores(3), scores(3))
    assert not np.array_equal(scores(3), scores(4))
    assert_array_equal(scores(np.random.RandomState(3)), scores(np.random.RandomState(3)))
    # The support of a task does not depend on the folds or on the other tasks' numbers of shots.
    assert_array_equal(
        np.sort(scores(3, cv=[(range(6), range(6, 12))])),
        np.sort(scores(3, cv=[(range(6), range(11, 5, -1))])),
    )


def test_workers_change_nothing(tasks):
    models = {"a": Pooled(), "b": HierarchicalBayes(), "c": Independent()}
    with parallel_config("threading"):
        one, two = (
            cross_validate_tasks(models, tasks, scoring=MSE, n_jobs=n_jobs) for n_jobs in (None, 2)
        )
    for key in one.keys() - {"adapt_time"}:
        assert_array_equal(one[key], two[key])


def test_estimators_are_not_changed(tasks):
    model = HierarchicalBayes()
    cross_validate_tasks(model, tasks, n_shots=2)
    assert not hasattr(model, "meta_model_")


def test_pipelines_and_searches(fixed):
    inside = HierarchicalBayes(make_pipeline(StandardScaler(), Ridge()))
    search = GridSearchCV(inside, {"random_effects": ["all"]}, cv=2)
    one, two = (
        cross_validate_tasks(model, fixed, n_shots=5, scoring=MSE)["score"]
        for model in (inside, search)
    )
    assert_allclose(one, two)


def test_pipeline_outside_is_pipeline_inside(fixed):
    """Transformers of either are fitted on the rows of the meta-train tasks."""
    inside = HierarchicalBayes(make_pipeline(StandardScaler(), Ridge()))
    outside = make_pipeline(StandardScaler(), HierarchicalBayes(Ridge()))
    one, two = (
        cross_validate_tasks(model, fixed, n_shots=(0, 5), cv=KFold(3), scoring=MSE)["score"]
        for model in (inside, outside)
    )
    assert_allclose(one, two)


def test_weights_and_descriptors_go_along(fixed):
    rng = np.random.default_rng(0)
    data = [
        replace(t, sample_weight=rng.uniform(0.5, 2, len(t.y)), descriptor={"s": float(i)})
        for i, t in enumerate(fixed)
    ]
    folds = [(np.arange(3, 12), np.arange(3))]
    results = cross_validate_tasks(HierarchicalBayes(), data, n_shots=5, cv=folds, scoring=MSE)
    trained = HierarchicalBayes().meta_fit(data[3:])
    for task, score in zip(data[:3], results["score"], strict=True):
        weight = task.sample_weight
        trained.adapt(task.X[:5], task.y[:5], sample_weight=weight[:5], descriptor=task.descriptor)
        predicted = trained.predict(task.X[5:])
        expected = mean_squared_error(task.y[5:], predicted, sample_weight=weight[5:])
        assert_allclose(-score, expected)


@pytest.mark.parametrize(
    "scoring", [None, "r2", make_scorer(r2_score)], ids=["None", "name", "object"]
)
def test_scoring(fixed, scoring):
    results = cross_validate_tasks(
        Pooled(), fixed, n_shots=5, cv=[(range(1, 12), [0])], scoring=scoring
    )
    trained = Pooled().meta_fit(fixed[1:])
    assert_allclose(results["score"], [by_hand(trained, fixed[0], metric=r2_score)])


@pytest.mark.parametrize("n_shots", [-1, (0, -2), ()])
def test_impossible_numbers_of_shots(tasks, n_shots):
    with pytest.raises(ValueError, match="n_shots must be numbers of rows"):
        cross_validate_tasks(Pooled(), tasks, n_shots=n_shots)


def test_tasks_too_small_for_all_shots(tasks):
    with pytest.raises(ValueError, match="no task has more than 50 rows"):
        cross_validate_tasks(Pooled(), tasks, n_shots=(50, 60))


def test_estimators_that_cannot_adapt_are_named(tasks):
    with pytest.raises(TypeError, match="Ridge cannot be adapted"):
        cross_validate_tasks(Ridge(), tasks)


# -- few_shot_scorer -------------------------------------------------------------------------------


def as_table(tasks):
    """The tasks as rows with the id in the last column, targets and ids."""
    ids = np.repeat([task.id for task in tasks], [len(task.y) for task in tasks])
    X = np.column_stack([np.concatenate([task.X for task in tasks]), ids])
    return X, np.concatenate([task.y for task in tasks]), ids


@pytest.mark.parametrize("n_repeats", [1, 2])
def test_score_is_the_mean_over_tasks(fixed, n_repeats):
    model = HierarchicalBayes().meta_fit(fixed[:8])
    scorer = few_shot_scorer(MSE, n_shots=5, n_repeats=n_repeats)
    expected = np.mean([by_hand(model, task) for task in fixed[8:]])
    assert_allclose(-scorer(model, fixed[8:]), expected)


def test_score_without_shots_is_that_of_the_meta_model(tasks):
    model = HierarchicalBayes().meta_fit(tasks[:8])
    expected = np.mean([r2_score(task.y, model.predict(task.X)) for task in tasks[8:]])
    assert_allclose(few_shot_scorer(n_shots=0)(model, tasks[8:]), expected)


def test_ways_to_hand_tasks_over(tasks):
    X, y, ids = as_table(tasks[8:])
    scorer = few_shot_scorer(MSE, n_shots=4)
    model = HierarchicalBayes().meta_fit(tasks[:8])
    expected = scorer(model, tasks[8:])
    assert_allclose(scorer(model, X[:, :-1], y, groups=ids), expected)
    table, target, _ = as_table(tasks[:8])
    model = HierarchicalBayes(task_column=-1).fit(table, target)
    assert_allclose(scorer(model, X, y), expected)


def test_pipeline_outside_and_search(tasks):
    X, y, ids = as_table(tasks[:8])
    scorer = few_shot_scorer(MSE, n_shots=4)
    model = HierarchicalBayes(task_column=2)
    scale = StandardScaler().fit(X)
    outside = make_pipeline(StandardScaler(), model).fit(X, y)
    new = as_table(tasks[8:])
    expected = scorer(clone(model).fit(scale.transform(X), y), scale.transform(new[0]), new[1])
    assert_allclose(scorer(outside, *new[:2]), expected)
    search = GridSearchCV(model, {"method": ["ml"]}, scoring=scorer, cv=GroupKFold(3))
    search.fit(X, y, groups=ids)
    assert_allclose(
        scorer(search, *new[:2]), scorer(clone(model).set_params(method="ml").fit(X, y), *new[:2])
    )


def test_pipeline_outside_with_a_list_of_tasks(tasks):
    X, y, ids = as_table(tasks[:8])
    scaler = StandardScaler().fit(X[:, :-1])
    model = HierarchicalBayes().fit(scaler.transform(X[:, :-1]), y, groups=ids)
    scaled = [replace(task, X=scaler.transform(task.X)) for task in tasks[8:]]
    scorer = few_shot_scorer(MSE, n_shots=4)
    assert_allclose(scorer(make_pipeline(scaler, model), tasks[8:]), scorer(model, scaled))


def test_scoring_changes_nothing(tasks):
    model = HierarchicalBayes().meta_fit(tasks[:8]).adapt(tasks[0].X, tasks[0].y)
    before, state = model.predict(tasks[0].X), dict(vars(model))
    few_shot_scorer()(model, tasks[8:])
    assert_array_equal(model.predict(tasks[0].X), before)
    assert all(vars(model)[key] is value for key, value in state.items())


def test_the_seed_decides_on_the_draws(tasks):
    model = HierarchicalBayes().meta_fit(tasks[:8])

    def score(seed, **params):
        return few_shot_scorer(random_state=seed, **params)(model, tasks[8:])

    assert score(0) == score(0) != score(1)
    assert score(np.random.RandomState(0)) == score(np.random.RandomState(0))


def test_scorer_is_copied_and_pickled(tasks):
    model, scorer = HierarchicalBayes().meta_fit(tasks[:8]), few_shot_scorer(MSE, n_shots=3)
    for other in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        assert other(model, tasks[8:]) == scorer(model, tasks[8:])
    assert repr(scorer) == f"few_shot_scorer({MSE!r}, n_shots=3)"


def test_small_tasks_are_left_out(tasks):
    model = HierarchicalBayes().meta_fit(tasks[:8])
    small = Task(tasks[8].X[:5], tasks[8].y[:5])
    scorer = few_shot_scorer(MSE, n_shots=5)
    assert scorer(model, [*tasks[9:], small]) == scorer(model, tasks[9:])
    with pytest.raises(ValueError, match="none of 1 tasks has more than n_shots=5 rows"):
        scorer(model, [small])


def test_tasks_whose_score_is_not_defined_are_left_out(tasks):
    """R² of a single query row."""
    model, scorer = HierarchicalBayes().meta_fit(tasks[:8]), few_shot_scorer("r2", n_shots=4)
    small = replace(tasks[8].rows(np.arange(5)), id="small")
    with pytest.warns(UndefinedMetricWarning):
        assert scorer(model, [*tasks[8:], small]) == scorer(model, tasks[8:])


def test_without_ids_the_error_says_what_to_do(tasks):
    X, y, _ = as_table(tasks)
    model = HierarchicalBayes().meta_fit(tasks)
    with pytest.raises(ValueError, match="set task_column.*routing.*list of Task"):
        few_shot_scorer()(model, X[:, :-1], y)
    with pytest.raises(TypeError, match="Ridge cannot be adapted"):
        few_shot_scorer()(Ridge().fit(X, y), tasks)


def test_log_loss_where_tasks_miss_classes():
    rng = np.random.default_rng(0)
    tasks = []
    for t in range(8):
        X = rng.standard_normal((12, 2))
        y = np.array(["a", "b", "c"])[
            np.digitize(X[:, 0] + 0.3 * rng.standard_normal(12), [-0.5, 0.5])
        ]
        if t % 2:
            y[y == "c"] = "b"
        tasks.append(Task(X, y, id=t, support=np.arange(6)))
    model = Independent(LogisticRegression()).meta_fit(tasks[:4])
    expected = []
    for task in tasks[4:]:
        model.adapt(task.X[:6], task.y[:6])
        expected.append(
            log_loss(task.y[6:], model.predict_proba(task.X[6:]), labels=["a", "b", "c"])
        )
    scorer = few_shot_scorer("neg_log_loss", n_shots=6)
    assert_allclose(-scorer(model, tasks[4:]), np.mean(expected))
    results = cross_validate_tasks(
        model, tasks, n_shots=6, cv=[(range(4), range(4, 8))], scoring="neg_log_loss"
    )
    assert_allclose(-results["score"], expected)


def test_several_metrics_at_a_time(tasks):
    X, y, ids = as_table(tasks)
    scoring = {"mse": few_shot_scorer(MSE), "mae": few_shot_scorer("neg_mean_absolute_error")}
    by_column = cross_validate(
        HierarchicalBayes(task_column=2), X, y, cv=GroupKFold(3), groups=ids, scoring=scoring
    )
    with config_context(enable_metadata_routing=True):
        by_groups = cross_validate(
            HierarchicalBayes(),
            X[:, :-1],
            y,
            cv=GroupKFold(3),
            params={"groups": ids},
            scoring=scoring,
        )
    for key in ("test_mse", "test_mae"):
        assert_allclose(by_column[key], by_groups[key])
    assert (by_column["test_mse"] < 0).all()


def test_absolute_error_is_that_by_hand(fixed):
    model = HierarchicalBayes().meta_fit(fixed[:8])
    expected = np.mean([by_hand(model, task, metric=mean_absolute_error) for task in fixed[8:]])
    assert_allclose(-few_shot_scorer("neg_mean_absolute_error")(model, fixed[8:]), expected)


@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut(), KFold(3)], ids=str)
def test_folds_by_groups_are_folds_of_tasks(cv):
    tasks = make_linear_tasks(12, 6, 2, random_state=0)
    results = cross_validate_tasks(Pooled(), tasks, cv=cv, n_shots=(0,))
    assert sorted(results["task_id"].tolist()) == list(range(12))
    stack = MetaRegressor([("pooled", Pooled()), ("own", Independent())], cv=cv, n_shots=(0, 2))
    assert stack.meta_fit(tasks).results_["n_shots"].max() == 2
