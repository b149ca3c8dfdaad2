"""MetaRegressor and MetaClassifier: the stack, its weights, and what they tell."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import (
    MAML,
    ComparisonDisplay,
    HierarchicalBayes,
    Independent,
    MetaClassifier,
    MetaRegressor,
    Pooled,
    Task,
    WeightsDisplay,
    compare,
    few_shot_scorer,
)
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.ensemble.candidates import default_candidates
from sklearn_meta.learners.sharing import once, sharing

LINEAR = [
    ("pooled", Pooled()),
    ("hierarchical", HierarchicalBayes(covariance="diag")),
    ("independent", Independent()),
]
LABELLED = [
    ("pooled", Pooled(LogisticRegression())),
    ("hierarchical", HierarchicalBayes(LogisticRegression(), random_effects="intercept")),
]


def linear_tasks(n_tasks=30, n_rows=25):
    return make_linear_tasks(n_tasks=n_tasks, n_rows=n_rows, n_features=2, random_state=0)


def labelled(tasks):
    return [Task(t.X, np.where(t.y > 0, "yes", "no"), id=t.id) for t in tasks]


@pytest.fixture(scope="module")
def fitted():
    return MetaRegressor(LINEAR, random_state=0).meta_fit(linear_tasks())


def test_weights_are_a_pool(fitted):
    assert fitted.weights_.shape == (6, 3)
    assert (fitted.weights_ >= 0).all()
    assert_allclose(fitted.weights_.sum(axis=1), 1)
    assert list(fitted.candidates_) == ["pooled", "hierarchical", "independent"]
    assert_array_equal(fitted.shots_, [0, 1, 2, 5, 10, 20])


def test_the_prediction_is_the_weighted_mean_of_the_candidates(fitted):
    new = linear_tasks(31)[30]
    for k, row in ((0, 0), (5, 3)):
        fitted.adapt(new.X[:k], new.y[:k])
        parts = [
            0 if model is None else w * model.adapt(new.X[:k], new.y[:k]).predict(new.X)
            for w, model in zip(fitted.weights_[row], fitted.candidates_.values(), strict=True)
        ]
        assert_allclose(fitted.predict(new.X), sum(parts), rtol=1e-10)
        assert_allclose(fitted.estimator_.predict(new.X), sum(parts), rtol=1e-10)


def test_weights_between_and_beyond_the_numbers_of_rows(fitted):
    at = fitted.meta_model_.weights_at(np.array([0.0, 3.0, 20.0, 500.0]))
    known = fitted.meta_model_.weights
    assert_allclose(at[[0, 2, 3]], known[[0, 5, 5]])
    share = np.log(4 / 3) / np.log(6 / 3)
    assert_allclose(at[1], (1 - share) * known[2] + share * known[3])


def test_the_good_candidate_gets_the_weight(fitted):
    """Tasks of different slopes: with rows the hierarchical model, without none is better."""
    summary = fitted.summary().splitlines()
    assert len(summary) == 6 and summary[1].startswith("with 1 row: ")
    assert fitted.weights_[3, 1] > 0.6
    results = fitted.results_
    at_5 = results["n_shots"] == 5
    loss = {
        name: -results["score"][at_5 & (results["estimator"] == name)].mean()
        for name in (*fitted.candidates_, "stack")
    }
    assert loss["stack"] < 1.05 * min(loss.values())


def test_known_tasks_have_the_weights_of_their_rows():
    tasks = linear_tasks(n_rows=12)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    ids = np.repeat(np.arange(30), 12)
    model = MetaRegressor(LINEAR, random_state=0).fit(X, y, groups=ids)
    by_hand = MetaRegressor(LINEAR, random_state=0).meta_fit(tasks)
    by_hand.adapt(tasks[3].X, tasks[3].y)
    assert_allclose(model.predict(tasks[3].X, groups=[3] * 12), by_hand.predict(tasks[3].X))


def test_bodies_are_out_of_fold_for_known_tasks():
    """A tree knows its own rows by heart: a head learned beside it must not believe it."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(20), 15)
    X = rng.standard_normal((300, 2))
    y = 3.0 * rng.standard_normal(20)[ids] + 0.1 * rng.standard_normal(300)
    candidates = [("tree", HierarchicalBayes(DecisionTreeRegressor(), random_state=0))]
    model = MetaRegressor(candidates, random_state=0).fit(X, y, groups=ids)
    alone = HierarchicalBayes(DecisionTreeRegressor(), random_state=0).fit(X, y, groups=ids)
    X_new = rng.standard_normal((300, 2))
    assert_allclose(model.predict(X_new, groups=ids), alone.predict(X_new, groups=ids), rtol=1e-8)
    half = model.partial_adapt(X[:5], y[:5], groups=ids[:5])
    assert np.isfinite(half.predict(X_new, groups=ids)).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_do_not_depend_on_workers(n_jobs, fitted):
    again = MetaRegressor(LINEAR, random_state=0, n_jobs=n_jobs).meta_fit(linear_tasks())
    assert_array_equal(again.weights_, fitted.weights_)
    back = pickle.loads(pickle.dumps(again))
    new = linear_tasks(31)[30]
    assert_array_equal(
        back.adapt(new.X[:3], new.y[:3]).predict(new.X),
        fitted.adapt(new.X[:3], new.y[:3]).predict(new.X),
    )


def test_probabilities_are_pooled():
    tasks = labelled(linear_tasks())
    model = MetaClassifier(LABELLED, random_state=0).meta_fit(tasks)
    new = labelled(linear_tasks(31))[30]
    model.adapt(new.X[:5], new.y[:5])
    p = model.predict_proba(new.X)
    assert_allclose(p.sum(axis=1), 1)
    assert_array_equal(model.classes_, ["no", "yes"])
    assert_array_equal(model.predict(new.X), model.classes_[p.argmax(axis=1)])
    parts = [
        w * m.adapt(new.X[:5], new.y[:5]).predict_proba(new.X)
        for w, m in zip(model.weights_[3], model.candidates_.values(), strict=True)
        if m is not None
    ]
    assert_allclose(p, sum(parts))


def test_a_class_that_one_fold_has_never_seen():
    tasks = labelled(linear_tasks())
    y = tasks[4].y.astype("<U5")
    y[:3] = "maybe"
    tasks[4] = Task(tasks[4].X, y, id=tasks[4].id)
    model = MetaClassifier(LABELLED, random_state=0).meta_fit(tasks)
    assert_array_equal(model.classes_, ["maybe", "no", "yes"])
    assert not model.left_out_ or "pooled" not in model.left_out_ or model.weights_.any()
    assert_allclose(model.predict_proba(tasks[0].X).sum(axis=1), 1)


def test_float32_stays_float32():
    tasks = [Task(t.X.astype(np.float32), t.y.astype(np.float32)) for t in linear_tasks(12)]
    model = MetaRegressor(LINEAR, n_shots=(0, 5), random_state=0).meta_fit(tasks)
    model.adapt(tasks[0].X[:5], tasks[0].y[:5])
    assert model.predict(tasks[0].X).dtype == np.float32
    assert model.predict_interval(tasks[0].X).dtype == np.float32


# -- what goes wrong -------------------------------------------------------------------------------


def test_few_tasks_are_predicted_by_the_first_candidate():
    tasks = linear_tasks(2)
    with pytest.warns(UserWarning, match="2 tasks are too few.*'hierarchical', predicts alone"):
        model = MetaRegressor(LINEAR[1:], random_state=0).meta_fit(tasks)
    alone = HierarchicalBayes(covariance="diag").meta_fit(tasks)
    new = linear_tasks(31)[30]
    assert_allclose(model.predict(new.X), alone.predict(new.X))
    assert model.summary() == "with 0 rows: 100 % hierarchical"
    assert "too few tasks" in model.left_out_["independent"]
    with pytest.raises(ValueError, match="2 tasks are too few to know errors"):
        model.predict_interval(new.X)
    with pytest.raises(ValueError, match="too few to compare"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(tasks, LINEAR)


def test_a_candidate_that_fails_is_left_out():
    class Broken(Ridge):
        def fit(self, X, y, sample_weight=None):
            raise ValueError("out of order")

    broken = [("broken", Pooled(Broken()))]
    with pytest.warns(UserWarning, match="candidate 'broken' is left out: .*out of order"):
        model = MetaRegressor([*LINEAR, *broken], random_state=0).meta_fit(linear_tasks())
    assert model.candidates_["broken"] is None and "out of order" in model.left_out_["broken"]
    assert (model.weights_[:, 3] == 0).all()
    meta = MetaRegressor(broken)
    with pytest.raises(ValueError, match="out of order"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meta.meta_fit(linear_tasks())
    assert not hasattr(meta, "meta_model_")


@pytest.mark.parametrize(
    "estimators, error, match",
    [
        ([], ValueError, "estimators is empty"),
        ([("a", Ridge())], TypeError, "candidate 'a' is Ridge"),
        ([Pooled()], TypeError, "pairs"),
        ([("a", Pooled()), ("a", Independent())], ValueError, "unique"),
        ([("a", Pooled(LogisticRegression()))], ValueError, "candidate 'a' is no regressor"),
        ([("a", Pooled(task_column=0))], ValueError, "candidate 'a' has task_column=0"),
    ],
)
def test_what_is_no_candidate(estimators, error, match):
    with pytest.raises(error, match=match):
        MetaRegressor(estimators).meta_fit(linear_tasks(3))


@pytest.mark.parametrize("estimators", [Pooled(), [Pooled(), Independent()]])
def test_what_is_no_list_of_candidates_to_compare(estimators):
    with pytest.raises(TypeError, match="estimators must be a list of pairs"):
        compare(linear_tasks(12), estimators)


def test_before_fit():
    for ask in (lambda m: m.summary(), lambda m: m.weights_, lambda m: m.results_):
        with pytest.raises(NotFittedError, match="MetaRegressor is not fitted yet: call fit first"):
            ask(MetaRegressor())
    assert not hasattr(MetaRegressor(), "weights_")


def test_a_stack_goes_on_where_all_its_candidates_do():
    plain = {"regularization": None, "contextual_effects": False}
    candidates = [
        ("level", HierarchicalBayes(random_effects="intercept", **plain)),
        ("slopes", HierarchicalBayes(**plain)),
    ]
    tasks = linear_tasks()
    meta = MetaRegressor(candidates, random_state=0).partial_meta_fit(tasks[:20])
    before, old = meta.weights_, dict(meta.candidates_)
    old_means = {name: model.prior_mean_ for name, model in old.items()}
    meta.partial_meta_fit(iter(tasks[20:]))
    assert meta.n_tasks_ == 30
    assert_array_equal(meta.weights_, before)
    for name, candidate in candidates:
        alone = clone(candidate).meta_fit(tasks)
        assert_allclose(meta.candidates_[name].prior_mean_, alone.prior_mean_, rtol=1e-5)
        assert_array_equal(old[name].prior_mean_, old_means[name])
    assert not hasattr(MetaRegressor(), "partial_meta_fit")
    assert not hasattr(MetaRegressor(LINEAR), "partial_meta_fit")


@pytest.mark.parametrize("display", [WeightsDisplay, ComparisonDisplay])
def test_pictures_are_of_stacks(display):
    with pytest.raises(TypeError, match=f"{display.__name__} draws a MetaRegressor or a MetaCl"):
        display.from_estimator(HierarchicalBayes().meta_fit(linear_tasks(12)))


@pytest.mark.parametrize("n_shots", [(), (-1, 2), (0.5,), [[1]]])
def test_numbers_of_rows_are_checked(n_shots):
    with pytest.raises(ValueError, match="n_shots must be numbers of rows"):
        MetaRegressor(LINEAR, n_shots=n_shots).meta_fit(linear_tasks(12))


def test_a_budget_leaves_the_slow_out():
    slow = ("slow", MAML(max_iter=2000, random_state=0))
    with pytest.warns(UserWarning, match="time_budget=0.001 s leaves out 'slow'"):
        model = MetaRegressor([*LINEAR, slow], time_budget=1e-3, random_state=0).meta_fit(
            linear_tasks()
        )
    assert "would take about" in model.left_out_["slow"]
    assert any(m is not None for m in model.candidates_.values())


# -- tables, searches, pictures --------------------------------------------------------------------


def shop_table(n_stores=14, n_rows=12, seed=0):
    pd = pytest.importorskip("pandas", reason="the table is a dataframe")
    rng = np.random.default_rng(seed)
    store = np.repeat([f"store_{i}" for i in range(n_stores)], n_rows)
    n = len(store)
    table = pd.DataFrame(
        {
            "store": store,
            "day": pd.date_range("2026-01-01", periods=n, freq="7h").strftime("%Y-%m-%d"),
            "kind": rng.choice(["bread", "cake", None], n),
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.uniform(1, 3, n)),
        }
    )
    level = rng.standard_normal(n_stores)[np.repeat(np.arange(n_stores), n_rows)]
    y = 10 + 3 * level + (table["kind"] == "cake") - table["price"].fillna(2)
    return table, y + 0.1 * rng.standard_normal(n)


def test_the_default_takes_a_table_as_it_comes():
    X, y = shop_table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MetaRegressor(task_column="store", random_state=0, n_shots=(0, 5)).fit(X, y)
    names = [name for name, _ in default_candidates(False)]
    assert list(model.candidates_) == names
    assert model.score(X, y) > 0.9
    new, target = shop_table(n_stores=1, seed=5)
    new = new.assign(store="new", kind="never seen")
    zero_shot = np.abs(model.predict(new) - target).mean()
    model.partial_adapt(new[:5], target[:5])
    assert np.abs(model.predict(new) - target).mean() < zero_shot
    lower, upper = model.predict_interval(new).T
    assert ((lower < upper) & np.isfinite(upper)).all()


def test_intervals_of_new_tasks_cover():
    tasks = linear_tasks(120, n_rows=16)
    model = MetaRegressor(LINEAR, random_state=0, n_shots=(0, 2, 5)).meta_fit(tasks[:40])
    for k in (0, 2, 5):
        inside = []
        for task in tasks[40:]:
            model.adapt(task.X[:k], task.y[:k])
            lower, upper = model.predict_interval(task.X[k:]).T
            inside.append(np.mean((lower <= task.y[k:]) & (task.y[k:] <= upper)))
        assert 0.84 < np.mean(inside) < 0.96
    wide, narrow = (
        np.ptp(model.predict_interval(tasks[0].X, confidence_level=c)[0]) for c in (0.9, 0.5)
    )
    assert wide > narrow
    with pytest.raises(ValueError, match="confidence_level"):
        model.predict_interval(tasks[0].X, confidence_level=90)


def test_a_search_over_parameters_of_candidates():
    grid = {"hierarchical__covariance": ["diag", "full"], "cv": [3]}
    search = GridSearchCV(
        MetaRegressor(LINEAR, n_shots=(0, 5), random_state=0),
        grid,
        cv=2,
        scoring=few_shot_scorer("neg_mean_squared_error", n_shots=5),
    ).fit(linear_tasks(24))
    assert search.best_params_["cv"] == 3
    assert search.best_estimator_.get_params()["hierarchical__covariance"] in ("diag", "full")


def test_candidates_of_users_see_the_table_as_it_is():
    pd = pytest.importorskip("pandas", reason="columns have names")
    tasks = [Task(pd.DataFrame(t.X, columns=["a", "b"]), t.y, id=t.id) for t in linear_tasks(12)]
    inside = Pooled(make_pipeline(StandardScaler(), Ridge()))
    model = MetaRegressor([("inside", inside)], random_state=0).meta_fit(tasks)
    assert list(model.candidates_["inside"].feature_names_in_) == ["a", "b"]
    assert_allclose(model.predict(tasks[0].X), inside.meta_fit(tasks).predict(tasks[0].X))


def test_compare_and_pictures(fitted):
    pytest.importorskip("matplotlib", reason="displays draw with it")
    table = compare(linear_tasks(20), LINEAR, n_shots=(0, 5), random_state=0)
    at_5 = table["n_shots"] == 5
    best = table["estimator"][at_5][table["loss"][at_5].argmin()]
    assert best in ("hierarchical", "stack")
    assert (table["difference"] >= 0).all() and (table["n_tasks"] == 20).all()
    display = ComparisonDisplay.from_results(table)
    assert display.ax_.get_xlabel() == "Known rows of the task"
    assert len(ComparisonDisplay.from_estimator(fitted).results["loss"]) == 6 * 4
    weights = WeightsDisplay.from_estimator(fitted)
    assert list(weights.weights) == [n for n, m in fitted.candidates_.items() if m is not None]
    assert weights.ax_.get_ylabel() == "Weight"
    classes = compare(labelled(linear_tasks(14)), LABELLED, n_shots=(2,), random_state=0)
    assert set(classes["estimator"]) == {"pooled", "hierarchical"}


def test_shared_bodies_are_fitted_once():
    calls = []

    def compute():
        calls.append(1)
        return len(calls)

    X, y = np.zeros((2, 1)), np.zeros(2)
    assert once(compute, Ridge(), X, y) == 1 and once(compute, Ridge(), X, y) == 2
    with sharing():
        assert once(compute, Ridge(), X, y) == once(compute, Ridge(), X, y) == 3
        assert once(compute, Ridge(alpha=2), X, y) == 4
        assert once(compute, Ridge(), X.copy(), y) == 5
    assert once(compute, Ridge(), X, y) == 6


def test_callbacks_hear_of_folds_and_candidates():
    heard = []

    class Listener:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            heard.append(context.task_name)

        def teardown(self, estimator, context):
            pass

    model = MetaRegressor(LINEAR, n_shots=(0, 5), cv=3, random_state=0)
    model.set_callbacks(Listener()).meta_fit(linear_tasks(12))
    n_members = sum(fitted is not None for fitted in model.candidates_.values())
    assert heard == ["fold"] * 3 + ["epoch"] * n_members + ["fit"]


def test_candidates_depend_on_classes_and_rows(monkeypatch):
    asked = []

    def few(classifier, n_classes=2, n_rows=0):
        asked.append((n_classes, n_rows))
        return LABELLED

    monkeypatch.setattr("sklearn_meta.ensemble.meta.default_candidates", few)
    tasks = [(t.X, np.digitize(t.y, [-1.0, 1.0])) for t in linear_tasks(12)]
    MetaClassifier(n_shots=(0, 2), cv=2, random_state=0).meta_fit(tasks)
    assert asked[-1] == (3, 12 * 25)
    names = [{name for name, _ in default_candidates(True, k)} for k in (2, 3)]
    assert names[0] - names[1] == {"random slopes"}
    names = [{name for name, _ in default_candidates(False, n_rows=k)} for k in (5000, 5001)]
    assert names[0] - names[1] == {"forest, task level"}


def test_candidates_that_fail_alike_are_told_of_once():
    tasks = make_linear_tasks(n_tasks=12, n_rows=10, random_state=0)
    with pytest.warns(UserWarning) as told:
        model = MetaClassifier(random_state=0).meta_fit([(t.X, np.zeros(10, int)) for t in tasks])
    assert len(told) == 1 and "are left out: all meta-train rows are of one class" in str(told[0])
    assert (model.predict(tasks[0].X) == 0).all()
