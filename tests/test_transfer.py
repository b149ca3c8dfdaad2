"""TransferMetaLearner: what helps, what must not harm, and what differs between tasks."""

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import (
    LarsCV,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import NuSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_meta import Independent, Pooled, Task, TransferDisplay, TransferMetaLearner
from sklearn_meta.datasets import make_linear_tasks

SELECTIONS = ["best", "weighted", "stack"]
each_selection = pytest.mark.parametrize("selection", SELECTIONS)


def sources_and_targets(n_sources=12, n_targets=8, seed=0, **params):
    params = {"n_rows": 30, "n_features": 3, "noise": 0.5} | params
    tasks = make_linear_tasks(n_sources + n_targets, random_state=seed, **params)
    return tasks[:n_sources], tasks[n_sources:]


def error(model, targets, n_shots):
    errors = []
    for task in targets:
        adapted = copy.copy(model).adapt(task.X[:n_shots], task.y[:n_shots])
        errors.append(np.mean((adapted.predict(task.X[n_shots:]) - task.y[n_shots:]) ** 2))
    return np.mean(errors)


def negated(tasks, n_bad):
    return [Task(t.X, -t.y, id=t.id) if i < n_bad else t for i, t in enumerate(tasks)]


def labelled(tasks, cuts=(0.0,)):
    names = np.array(["a", "b", "c"])
    return [Task(t.X, names[np.digitize(t.y, cuts)], id=t.id) for t in tasks]


# -- what helps ------------------------------------------------------------------------------------


@each_selection
def test_the_source_that_is_the_target_is_found(selection):
    sources, targets = sources_and_targets()
    rng = np.random.default_rng(0)
    twin = rng.standard_normal((40, 3))
    coef = [9.0, -9.0, 9.0]
    sources = [*sources, Task(twin, 20 + twin @ coef, id="twin")]
    model = TransferMetaLearner(selection=selection, random_state=0).meta_fit(sources)
    X = rng.standard_normal((30, 3))
    y = 20 + X @ coef + 0.1 * rng.standard_normal(30)
    model.adapt(X[:4], y[:4])
    assert model.best_source_ == "twin"
    assert model.score(X[4:], y[4:]) > 0.97
    shares = model.source_weights_.sum() + model.pooled_weight_ + model.target_weight_
    assert_allclose(shares, 1)


@pytest.mark.parametrize("n_shots", [5, 20])
def test_the_stack_is_no_worse_than_pooled_and_independent(n_shots):
    for covariance in (0.01, 1.0):  # tasks that hardly differ, and that do
        sources, targets = sources_and_targets(20, 20, covariance=covariance * np.eye(4))
        errors = [
            error(meta.meta_fit(sources), targets, n_shots)
            for meta in (TransferMetaLearner(random_state=0), Pooled(), Independent())
        ]
        assert errors[0] < 1.03 * min(errors[1:])


def test_harmful_sources_do_not_harm():
    sources, targets = sources_and_targets(40, 20, mean=[1, 3, -3, 3])
    clean = TransferMetaLearner(random_state=0).meta_fit(sources[20:])
    harmed = TransferMetaLearner(random_state=0).meta_fit(negated(sources, 20))
    for n_shots in (5, 10):
        assert error(harmed, targets, n_shots) < 1.15 * error(clean, targets, n_shots)
    task = targets[0]
    harmed.adapt(task.X[:10], task.y[:10])
    assert harmed.source_scores_[:20].min() > harmed.source_scores_[20:].max()
    assert harmed.source_weights_[:20].sum() < 0.01


def test_negated_sources_far_away_do_not_bind_the_stack():
    """What candidates differ by where the targets lie is nothing beside what they do over there."""
    order, ratios = np.random.default_rng(0).permutation(9), []
    for seed in range(2):
        rng, tasks = np.random.default_rng(seed), []
        for _ in range(36):
            x = np.linspace(-1, 1, 9)
            level, slope, bend = [150, 6.5, 0] + rng.standard_normal(3) * [8, 1.7, 0.6]
            y = level + slope * x + bend * x**2 + 0.6 * rng.standard_normal(9)
            tasks.append(Task(x[order, None], y[order]))
        sources, targets = tasks[:16], tasks[16:]
        clean = TransferMetaLearner(random_state=0).meta_fit(sources[8:])
        harmed = TransferMetaLearner(random_state=0).meta_fit(negated(sources, 8))
        ratios.append(error(harmed, targets, 5) / error(clean, targets, 5))
    assert np.mean(ratios) < 1.1


def test_sources_with_shuffled_columns_are_set_apart():
    mean, covariance = [1, 4, -2, 1, 3, -1], 0.1 * np.eye(6)
    sources, targets = sources_and_targets(30, 20, n_features=5, mean=mean, covariance=covariance)
    rng = np.random.default_rng(0)
    spoiled = [Task(t.X[:, rng.permutation(5)], t.y, id=t.id) for t in sources[:15]]
    clean = TransferMetaLearner(random_state=0).meta_fit(sources[15:])
    harmed = TransferMetaLearner(random_state=0).meta_fit([*spoiled, *sources[15:]])
    for n_shots in (1, 5):
        assert error(harmed, targets, n_shots) < 1.05 * error(clean, targets, n_shots)


@each_selection
def test_without_rows_the_other_sources_judge(selection):
    sources, (target, *_) = sources_and_targets(mean=[1, 3, -3, 3])
    sources = negated(sources, 3)
    model = TransferMetaLearner(selection=selection, random_state=0).meta_fit(sources)
    expected = model.predict(target.X)
    assert model.best_source_ not in [0, 1, 2]
    assert np.isfinite(model.source_scores_).all()
    assert_array_equal(model.adapt(target.X[:0], target.y[:0]).predict(target.X), expected)
    assert np.corrcoef(expected, target.y)[0, 1] > 0.5


def far_and_near(seed, n_near=24, n_far=6):
    """Tasks of the same line but for those, of another, that lie near 0: the pooled model of these
    is absurd where the others lie."""
    rng = np.random.default_rng(seed)
    tasks = []
    for t in range(n_near + n_far):
        far = t >= n_far
        x = (10.0 if far else 0.3) * rng.standard_normal(20)
        slope, level = (1.0, 0.0) if far else (40.0, 10.0)
        y = level + slope * x + 0.3 * rng.standard_normal() + 0.1 * rng.standard_normal(20)
        tasks.append(Task(np.column_stack([x, rng.standard_normal(20)]), y, id=t))
    order = rng.permutation(len(tasks))
    return [tasks[i] for i in order]


@each_selection
def test_a_group_whose_pooled_model_is_absurd_elsewhere(selection):
    sources, targets = far_and_near(0), far_and_near(1)
    model = TransferMetaLearner(selection=selection, random_state=0).meta_fit(sources)
    pooled = Pooled(standardize=False).meta_fit(sources)
    for n_shots in (0, 1):
        assert error(model, targets, n_shots) < 1.1 * error(pooled, targets, n_shots)


# -- options ---------------------------------------------------------------------------------------


@each_selection
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_selections_learn_from_the_target(selection, fit_intercept):
    sources, targets = sources_and_targets(20, 10)
    model = TransferMetaLearner(Ridge(fit_intercept=fit_intercept), selection=selection)
    model.meta_fit(sources)
    assert error(model, targets, 20) < 0.5 * error(model, targets, 0)


def test_a_low_temperature_is_the_best_source():
    sources, (target, *_) = sources_and_targets()
    model = TransferMetaLearner(selection="weighted", temperature=1e-6, source_weight=1.0)
    model.meta_fit(sources).adapt(target.X[:5], target.y[:5])
    best = TransferMetaLearner(selection="best", source_weight=1.0)
    best.meta_fit(sources).adapt(target.X[:5], target.y[:5])
    assert_allclose(model.predict(target.X), best.predict(target.X))
    flat = TransferMetaLearner(selection="weighted", temperature=1e9).meta_fit(sources)
    flat.adapt(target.X[:5], target.y[:5])
    assert_allclose(flat.source_weights_, flat.target_weight_, rtol=1e-3)


def test_a_refit_is_the_fit_on_the_concatenation():
    (like, unlike), (target, *_) = sources_and_targets(2, 1)
    X, y = target.X[:6], target.X[:6] @ np.ones(3)
    like = Task(like.X, like.X @ np.ones(3) + 0.1, id="like")
    unlike = Task(unlike.X, unlike.X @ [9.0, -9.0, 9.0], id="unlike")
    model = TransferMetaLearner(Ridge(), selection="best", source_weight=0.3)
    model.meta_fit([unlike, like]).adapt(X, y)
    rows, targets = np.concatenate([like.X, X]), np.concatenate([like.y, y])
    weight = np.r_[np.full(len(like.y), 0.3), np.ones(6)]
    expected = Ridge().fit(rows, targets, sample_weight=weight)
    assert model.source_weights_.tolist() == [0, 1]
    assert_allclose(model.estimator_.coef_, expected.coef_)
    assert_allclose(model.estimator_.intercept_, expected.intercept_)


def test_weights_of_learners_that_have_none():
    sources, (target, *_) = sources_and_targets(3, 1)
    model = TransferMetaLearner(
        KNeighborsRegressor(3), selection="best", source_weight=0.5, random_state=0
    ).meta_fit(sources)
    first = model.adapt(target.X[:9], target.y[:9]).predict(target.X)
    assert_array_equal(model.adapt(target.X[:9], target.y[:9]).predict(target.X), first)


@pytest.mark.parametrize(
    "wrapped", [Ridge(), HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=3)]
)
def test_workers_do_not_change_results(wrapped):
    """Nor where columns stand in another order of memory, as those of a dataframe do."""
    pd = pytest.importorskip("pandas", reason="columns stand one after the other in a dataframe")
    tasks = make_linear_tasks(14, 20, 10, random_state=0)
    names = [f"x{j}" for j in range(10)]
    tasks = [Task(pd.DataFrame(t.X, columns=names), t.y, id=t.id) for t in tasks]
    X = pd.concat([t.X[:8] for t in tasks[10:]])
    y, ids = np.concatenate([t.y[:8] for t in tasks[10:]]), np.repeat(np.arange(4), 8)
    predicted = []
    for n_jobs in (None, 2):
        model = TransferMetaLearner(wrapped, n_jobs=n_jobs, random_state=0).meta_fit(tasks[:10])
        predicted.append(model.adapt(X, y, groups=ids).predict(X, groups=ids))
    assert_array_equal(*predicted)


# -- classification --------------------------------------------------------------------------------


@each_selection
@pytest.mark.parametrize("wrapped", [LogisticRegression(), DecisionTreeClassifier(max_depth=3)])
def test_classification(selection, wrapped):
    sources, targets = sources_and_targets(6, 1, mean=[0, 3, -3, 3])
    sources, (target,) = labelled(sources), labelled(targets)
    model = TransferMetaLearner(wrapped, selection=selection, random_state=0).meta_fit(sources)
    for n_shots in (0, 1, 10):
        model.adapt(target.X[:n_shots], target.y[:n_shots])
        proba = model.predict_proba(target.X)
        assert_allclose(proba.sum(axis=1), 1)
        assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(target.X))
        assert model.score(target.X, target.y) > 0.6


@pytest.mark.parametrize("wrapped", [LogisticRegression(), DecisionTreeClassifier(max_depth=3)])
def test_sources_of_differing_labels_match_by_label(wrapped):
    sources, targets = sources_and_targets(8, 1, mean=[0, 3, -3, 3])
    sources = labelled(sources, (-2.0, 2.0))
    (target,) = labelled(targets, (-2.0, 2.0))
    sources = [
        t.rows(np.flatnonzero(t.y != ("a" if i % 2 else "c"))) for i, t in enumerate(sources)
    ]
    sources.append(Task(sources[0].X, np.full(len(sources[0].X), "b"), id="one class"))
    model = TransferMetaLearner(wrapped, random_state=0).meta_fit(sources)
    model.adapt(target.X[:6], target.y[:6])
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.score(target.X, target.y) > 0.5


def test_a_class_that_no_source_has_is_learned_from_the_target():
    sources, targets = sources_and_targets(6, 1, mean=[0, 3, -3, 3])
    sources, (target,) = labelled(sources), labelled(targets)
    new = np.where(target.X[:, 0] > 1, "new", target.y)
    model = TransferMetaLearner(LogisticRegression(), random_state=0).meta_fit(sources)
    model.adapt(target.X, new)
    assert model.classes_.tolist() == ["a", "b", "new"]
    assert model.predict_proba(target.X).shape == (30, 3)
    assert "new" in model.predict(target.X)
    model.adapt(target.X, target.y)
    assert model.classes_.tolist() == ["a", "b"]


# -- columns ---------------------------------------------------------------------------------------


def frames(tasks, dropped):
    pd = pytest.importorskip("pandas", reason="columns have names in a dataframe")
    frame = [pd.DataFrame(t.X, columns=list("abc")) for t in tasks]
    return [
        Task(X.drop(columns=dropped(i)), t.y, id=f"s{i}")
        for i, (X, t) in enumerate(zip(frame, tasks, strict=True))
    ]


@each_selection
def test_shared_columns(selection):
    sources, (target, *_) = sources_and_targets(9, 1, mean=[1, 3, -3, 0.1])
    sources = frames(sources, lambda i: ["c"] if i % 3 == 0 else [])
    sources.append(Task(sources[0].X[["a"]].rename(columns={"a": "z"}), sources[0].y, id="odd"))
    model = TransferMetaLearner(columns="shared", selection=selection)
    with pytest.warns(UserWarning, match="'odd'"):
        model.meta_fit(sources)
    assert list(model.refused_sources_) == ["odd"]
    (whole,) = frames([target], lambda i: [])
    for columns in (["a", "b"], ["b", "a", "c"], ["a"]):
        X = whole.X[columns]
        model.adapt(X[:12], target.y[:12])
        assert sorted(model.estimator_.feature_names_in_) == sorted(columns)
        assert np.isfinite(model.predict(X)).all()
        assert model.score(X[12:], target.y[12:]) > (0.3 if "b" in columns else -0.5)
    with pytest.raises(ValueError, match=r"shares no column.*\['q'\]"):
        model.adapt(X.rename(columns={"a": "q"}), target.y)
    with pytest.raises(ValueError, match="column 0 of X contains NaN"):
        model.adapt(X.assign(a=np.where(np.arange(30) == 3, np.nan, X["a"])), target.y)


def test_the_same_columns_in_all_sources_are_the_plain_case():
    sources, (target, *_) = sources_and_targets()
    plain = TransferMetaLearner(random_state=0).meta_fit(sources)
    shared = TransferMetaLearner(columns="shared", random_state=0)
    shared.meta_fit(frames(sources, lambda i: []))
    (frame,) = frames([target], lambda i: [])
    plain.adapt(target.X[:5], target.y[:5])
    shared.adapt(frame.X[:5], frame.y[:5])
    assert_allclose(shared.predict(frame.X), plain.predict(target.X))


def test_no_shared_columns():
    sources, _ = sources_and_targets(2, 0)
    sources = frames(sources, lambda i: ["b", "c"] if i else ["a"])
    with pytest.raises(ValueError, match="no two sources share a column"):
        TransferMetaLearner(columns="shared").meta_fit(sources)


def test_differing_columns_and_a_pipeline_inside():
    sources, _ = sources_and_targets()
    model = TransferMetaLearner(make_pipeline(StandardScaler(), Ridge()), columns="shared")
    with pytest.raises(ValueError, match="cannot wrap a Pipeline"):
        model.meta_fit(frames(sources, lambda i: []))


# -- bad input -------------------------------------------------------------------------------------


def test_a_source_that_cannot_be_fitted_is_left_out():
    sources, (target, *_) = sources_and_targets(5, 1)
    good = [Task(t.X, np.exp(t.y / 10), id=f"s{i}") for i, t in enumerate(sources)]
    bad = Task(good[0].X, -good[0].y, id="bad")
    with pytest.warns(UserWarning, match="task 'bad'.*y"):
        model = TransferMetaLearner(PoissonRegressor()).meta_fit([*good, bad])
    assert list(model.refused_sources_) == ["bad"]
    assert len(model.source_scores_) == 5
    with pytest.raises(ValueError, match="no source could be fitted.*'bad'"):
        TransferMetaLearner(PoissonRegressor()).meta_fit([bad])


@each_selection
@pytest.mark.parametrize("wrapped", [None, LinearRegression(), KNeighborsRegressor(2)])
def test_one_source_and_tiny_targets(selection, wrapped):
    (source,), (target, *_) = sources_and_targets(1, 1)
    model = TransferMetaLearner(wrapped, selection=selection, random_state=0).meta_fit([source])
    for n_shots in (0, 1, 2, 3):
        model.adapt(target.X[:n_shots], target.y[:n_shots])
        assert np.isfinite(model.predict(target.X)).all()


PICKY = [
    KNeighborsRegressor(8),
    LarsCV(cv=5),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=3),
    NuSVC(nu=0.3),
]


@each_selection
@pytest.mark.filterwarnings("ignore:One or more of the test scores", "ignore:R.2 score is not")
@pytest.mark.parametrize("wrapped", PICKY, ids=lambda e: type(e).__name__)
def test_estimators_that_want_many_rows(selection, wrapped):
    """Where a refit fails the source stays as it is; where the target alone does, a constant."""
    sources, (target, *_) = sources_and_targets(6, 1, n_rows=12)
    if is_classifier(wrapped):
        target, *sources = labelled([target, *sources])
    model = TransferMetaLearner(wrapped, selection=selection, random_state=0).meta_fit(sources)
    for n_shots in (0, 1, 3, 12):
        model.adapt(target.X[:n_shots], target.y[:n_shots])
        predicted = model.predict(target.X)
        assert np.isin(predicted, ["a", "b"]).all() or np.isfinite(predicted).all()


def test_a_source_that_cannot_predict_is_left_out():
    """k-NN finds out only then that it has too few rows."""
    sources, (target, *_) = sources_and_targets(5, 1)
    few = Task(target.X[:4], target.y[:4], id="few")
    with pytest.warns(UserWarning, match="task 'few'.*n_neighbors"):
        model = TransferMetaLearner(KNeighborsRegressor(5)).meta_fit([*sources, few])
    assert list(model.refused_sources_) == ["few"]


def test_sources_of_one_class_only():
    sources, (target, *_) = sources_and_targets(5, 1)
    network = MLPClassifier(hidden_layer_sizes=(3,), max_iter=2, random_state=0)
    one = [Task(t.X, np.full(len(t.y), "a"), id=t.id) for t in sources]
    model = TransferMetaLearner(network).meta_fit(one)
    assert_array_equal(model.predict(target.X), "a")


# -- picture ---------------------------------------------------------------------------------------


def test_display():
    plt = pytest.importorskip("matplotlib.pyplot", reason="draws")
    sources, (target, *_) = sources_and_targets(30, 1)
    model = TransferMetaLearner(random_state=0).meta_fit(sources).adapt(target.X[:8], target.y[:8])
    display = TransferDisplay.from_estimator(model, max_sources=8)
    risk = model.source_scores_[display.shown_]
    assert len(display.bars_) == 8 and (np.diff(risk) >= 0).all()
    assert_allclose([bar.get_width() for bar in display.bars_], risk)
    assert str(model.best_source_) in display.ax_.get_yticklabels()[0].get_text()
    with pytest.raises(TypeError, match="Pooled has no sources"):
        TransferDisplay.from_estimator(Pooled().meta_fit(sources))
    plt.close("all")


def test_landmarks_of_an_infinite_number():
    """Boosting takes it; which sources agree is told by the other rows."""
    pd = pytest.importorskip("pandas", reason="arrays must be finite, boosting checks dataframes")
    rng = np.random.default_rng(0)
    X, ids = rng.normal(size=(60, 2)), np.repeat(np.arange(6), 10)
    y = X[:, 0] + rng.normal(size=6).repeat(10)
    X[3, 0] = np.inf
    boosting = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2)
    frame = pd.DataFrame(X, columns=["a", "b"])
    sources = TransferMetaLearner(boosting, random_state=0).fit(frame, y, groups=ids).meta_model_
    assert sources.landmarks.whiten.shape == (2, 2)
    assert np.isfinite(sources.landmarks(X)).all()


def test_room_is_linear_in_the_sources():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1500, 2)), rng.standard_normal(1500)
    pairs = [(X[i : i + 1], y[i : i + 1]) for i in range(len(y))]
    model = TransferMetaLearner(random_state=0).meta_fit(pairs)
    tracemalloc.start()
    model.adapt(X[:200], y[:200], groups=np.arange(200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * 1500 * 8  # less than a number for each source and target
    assert len(model.adapt(X[:1], y[:1]).source_scores_) == 1500


def test_places_of_sources_without_ids_are_told_from_ids():
    tasks = make_linear_tasks(n_tasks=6, n_rows=5, random_state=0)
    mixed = [replace(task, id=i) for task, i in zip(tasks, [0, None, 1, None, 9, 2], strict=True)]
    model = TransferMetaLearner(random_state=0).meta_fit(mixed)
    assert list(model.source_ids_) == [0, "task 1", 1, 3, 9, 2]
