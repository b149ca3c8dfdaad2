"""Task ids, weights and callbacks through scikit-learn's searches and pipelines."""

from functools import partial

import numpy as np
import pytest
from algorithms import make_meta
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_regressor
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import make_column_transformer
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tests.metadata_routing_common import (
    ConsumingClassifier,
    ConsumingRegressor,
    _Registry,
    check_recorded_metadata,
)

from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    HierarchicalBayes,
    Independent,
    Pooled,
    Task,
    TransferMetaLearner,
)

METAS = [
    Pooled(Ridge()),
    Pooled(LogisticRegression()),
    Independent(Ridge()),
    Independent(make_pipeline(StandardScaler(), Ridge())),
    HierarchicalBayes(Ridge(), regularization=None),
    HierarchicalBayes(make_pipeline(StandardScaler(), Ridge()), regularization=None),
    BatchMetaLearner(Ridge(), n_estimators=2, random_state=0),
    BatchMetaLearner(LogisticRegression(), n_estimators=2, random_state=0),
    TransferMetaLearner(Ridge(), random_state=0),
    make_meta(MAML, Ridge()),
]
GRIDS = {
    Pooled: {"standardize": [False, True]},
    Independent: {"standardize": [False, True]},
    HierarchicalBayes: {"random_effects": ["intercept", "all"]},
    BatchMetaLearner: {"n_shots": [(0, 5), 5]},
    TransferMetaLearner: {},
    MAML: {"inner_steps": [1, 2]},
}


def each(metas):
    names = [f"{type(meta).__name__}-{type(meta.estimator).__name__}" for meta in metas]
    return pytest.mark.parametrize("meta", metas, ids=names)


each_meta = each(METAS)
# Columns and pipelines around are read by the base class; what differs is whether rows go to the
# wrapped estimator as they come.
each_reading = each([METAS[1], METAS[3], METAS[4], METAS[6]])
CV = GroupKFold(3)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def grid_of(meta):
    last = "ridge__" if hasattr(meta.estimator, "steps") else ""
    penalty = "C" if isinstance(meta.estimator, LogisticRegression) else "alpha"
    return {**GRIDS[type(meta)], f"estimator__{last}{penalty}": [0.1, 10.0]}


def by_hand(meta, table):
    """Leave tasks out, fit on the others, score the rows left out."""
    scores = []
    for train, test in CV.split(table.X, table.y, table.ids):
        fitted = clone(meta).fit(table.X[train], table.y[train], groups=table.ids[train])
        score = fitted.score(table.X[test], table.y[test], groups=table.ids[test])
        assert_allclose(score, fitted.score(table.X[test], table.y[test]))  # unknown tasks
        scores.append(score)
    return scores


# -- ids -------------------------------------------------------------------------------------------


@each_meta
def test_search_with_routed_groups(meta, make_table, routing):
    table = make_table(meta)
    search = GridSearchCV(meta, grid_of(meta), cv=CV).fit(table.X, table.y, groups=table.ids)
    best = clone(meta).set_params(**search.best_params_)
    assert_allclose(search.best_score_, np.mean(by_hand(best, table)))
    assert search.best_estimator_.n_tasks_ == 6
    expected = best.fit(table.X, table.y, groups=table.ids)
    assert_array_equal(
        search.best_estimator_.predict(table.X, groups=table.ids),
        expected.predict(table.X, groups=table.ids),
    )


@each_reading
def test_search_with_a_column(meta, make_table):
    table = make_table(meta)
    X = table.frame()
    meta = clone(meta).set_params(task_column="store")
    search = GridSearchCV(meta, grid_of(meta), cv=CV).fit(X, table.y, groups=table.ids)
    best = clone(meta).set_params(**search.best_params_, task_column=None)
    assert_allclose(search.best_score_, np.mean(by_hand(best, table)))
    expected = best.fit(table.X, table.y, groups=table.ids)
    assert_allclose(search.score(X, table.y), expected.score(table.X, table.y, groups=table.ids))


@each_meta
def test_cross_validate_with_routed_groups(meta, make_table, routing):
    table = make_table(meta)
    params = {"groups": table.ids}
    result = cross_validate(meta, table.X, table.y, cv=CV, params=params, return_estimator=True)
    assert_allclose(result["test_score"], by_hand(meta, table))
    assert [fitted.n_tasks_ for fitted in result["estimator"]] == [4, 4, 4]
    scores = cross_val_score(meta, table.X, table.y, cv=CV, params=params)
    assert_array_equal(scores, result["test_score"])


@each_reading
def test_cross_validate_without_routing(meta, make_table):
    table = make_table(meta)
    params = {"groups": table.ids}
    result = cross_validate(
        meta, table.X, table.y, cv=CV, groups=table.ids, params=params, return_estimator=True
    )
    assert_allclose(result["test_score"], by_hand(meta, table))
    assert [fitted.n_tasks_ for fitted in result["estimator"]] == [4, 4, 4]
    column = clone(meta).set_params(task_column="store")
    result = cross_validate(column, table.frame(), table.y, cv=CV, groups=table.ids)
    assert_allclose(result["test_score"], by_hand(meta, table))


@each_reading
@pytest.mark.parametrize("on", [True, False])
def test_learning_curve_over_rows(meta, on, make_table):
    table = make_table(meta)
    settings = dict(cv=CV, train_sizes=[0.5, 1.0])
    with config_context(enable_metadata_routing=on):
        if on:
            out = learning_curve(meta, table.X, table.y, params={"groups": table.ids}, **settings)
        else:
            meta = clone(meta).set_params(task_column="store")
            out = learning_curve(meta, table.frame(), table.y, groups=table.ids, **settings)
    sizes, _, scores = out
    assert sizes.tolist() == [20, 40] and np.isfinite(scores).all()
    assert_allclose(scores[1], by_hand(clone(meta).set_params(task_column=None), table))


@each_reading
def test_pipeline_outside_with_routed_groups(meta, make_table, routing):
    table = make_table(meta)
    pipeline = make_pipeline(StandardScaler(), clone(meta))
    pipeline.fit(table.X, table.y, groups=table.ids)
    X = StandardScaler().fit_transform(table.X)
    expected = clone(meta).fit(X, table.y, groups=table.ids)
    for method in ("predict", "predict_proba", "decision_function"):
        assert hasattr(pipeline, method) == hasattr(expected, method)
        if hasattr(expected, method):
            actual = getattr(pipeline, method)(table.X, groups=table.ids)
            assert_array_equal(actual, getattr(expected, method)(X, groups=table.ids))
    score = pipeline.score(table.X, table.y, groups=table.ids)
    assert_allclose(score, expected.score(X, table.y, groups=table.ids))
    grid = {f"{pipeline.steps[-1][0]}__{name}": values for name, values in grid_of(meta).items()}
    search = GridSearchCV(pipeline, grid, cv=CV).fit(table.X, table.y, groups=table.ids)
    assert search.best_estimator_[-1].n_tasks_ == 6 and np.isfinite(search.best_score_)


@each_reading
def test_pipeline_outside_without_routing(meta, make_table):
    table = make_table(meta)
    X = StandardScaler().fit_transform(table.X)
    expected = clone(meta).fit(X, table.y, groups=table.ids)
    expected = expected.predict(X, groups=table.ids)
    pipeline = make_pipeline(StandardScaler(), clone(meta))
    name = pipeline.steps[-1][0]
    pipeline.fit(table.X, table.y, **{f"{name}__groups": table.ids})
    assert_array_equal(pipeline.predict(table.X, groups=table.ids), expected)
    prepare = make_column_transformer(
        (StandardScaler(), list(table.names)),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    pipeline = make_pipeline(prepare, clone(meta).set_params(task_column="store"))
    pipeline.fit(table.frame(), table.y)
    predicted = pipeline.predict(table.frame())
    if is_regressor(meta):
        assert_allclose(predicted, expected)
    else:
        assert_array_equal(predicted, expected)
    grid = {f"{name}__{key}": values for key, values in grid_of(meta).items()}
    search = GridSearchCV(pipeline, grid, cv=CV).fit(table.frame(), table.y, groups=table.ids)
    assert search.best_estimator_[-1].n_tasks_ == 6 and np.isfinite(search.best_score_)
    assert "store" not in search.best_estimator_[-1].estimator_.feature_names_in_


@each_meta
def test_groups_are_requested_by_default(meta):
    for method in ("fit", "predict", "score"):
        assert meta.get_metadata_routing().consumes(method, ["groups", "other"]) == {"groups"}


def test_a_list_of_tasks_needs_no_routing(make_table):
    tasks = make_table(n_tasks=12).tasks
    search = GridSearchCV(HierarchicalBayes(), GRIDS[HierarchicalBayes], cv=3).fit(tasks)
    assert search.best_estimator_.n_tasks_ == 12
    sizes, _, scores = learning_curve(HierarchicalBayes(), tasks, None, cv=3, train_sizes=[4, 8])
    assert sizes.tolist() == [4, 8] and np.isfinite(scores).all()


# -- arguments of fit ------------------------------------------------------------------------------


@pytest.fixture
def weighted(make_table):
    table = make_table()
    weight = np.random.default_rng(3).uniform(0.1, 5.0, size=len(table.y))
    return table, weight


def expected_of_each_task(table, weight, X=None):
    """Plain Ridge on each task."""
    X = table.X if X is None else X
    predicted = np.empty(len(table.y))
    for task in np.unique(table.ids):
        rows = table.ids == task
        ridge = Ridge().fit(X[rows], table.y[rows], sample_weight=weight[rows])
        predicted[rows] = ridge.predict(X[rows])
    return predicted


def test_weights_reach_the_wrapped_estimator(weighted):
    table, weight = weighted
    pooled = Pooled(Ridge()).fit(table.X, table.y, groups=table.ids, sample_weight=weight)
    plain = Ridge().fit(table.X, table.y, sample_weight=weight)
    assert_allclose(pooled.predict(table.X), plain.predict(table.X))
    own = Independent(Ridge()).fit(table.X, table.y, groups=table.ids, sample_weight=weight)
    predicted = own.predict(table.X, groups=table.ids)
    assert_allclose(predicted, expected_of_each_task(table, weight))
    tasks = [
        Task(table.X[rows], table.y[rows], id=i, sample_weight=weight[rows])
        for i in np.unique(table.ids)
        for rows in [table.ids == i]
    ]
    own = Independent(Ridge()).meta_fit(tasks)
    own.adapt(table.X, table.y, groups=table.ids, sample_weight=weight)
    assert_allclose(own.predict(table.X, groups=table.ids), predicted)


def test_weights_of_a_step_without_routing(weighted):
    table, weight = weighted
    meta = Independent(make_pipeline(StandardScaler(), Ridge()))
    X = StandardScaler().fit_transform(table.X)
    meta.fit(table.X, table.y, groups=table.ids, ridge__sample_weight=weight)
    expected = expected_of_each_task(table, weight, X)
    assert_allclose(meta.predict(table.X, groups=table.ids), expected)
    both = {"ridge__sample_weight": weight, "standardscaler__sample_weight": weight}
    meta.fit(table.X, table.y, groups=table.ids, **both)
    X = StandardScaler().fit(table.X, sample_weight=weight).transform(table.X)
    expected = expected_of_each_task(table, weight, X)
    assert_allclose(meta.predict(table.X, groups=table.ids), expected)
    with pytest.raises(ValueError, match="'lasso__sample_weight' names no step.*'ridge'"):
        meta.fit(table.X, table.y, groups=table.ids, lasso__sample_weight=weight)


def test_weights_of_a_step_with_routing(weighted, routing):
    table, weight = weighted
    fit = dict(X=table.X, y=table.y, groups=table.ids, sample_weight=weight)
    asks = Ridge().set_fit_request(sample_weight=True)
    meta = Independent(asks).fit(**fit)
    expected = expected_of_each_task(table, weight)
    assert_allclose(meta.predict(table.X, groups=table.ids), expected)
    for last, scaler in [(True, False), (True, True), (False, True)]:
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=scaler),
            Ridge().set_fit_request(sample_weight=last),
        )
        meta = Independent(pipeline).fit(**fit)
        scale = StandardScaler().fit(table.X, sample_weight=weight if scaler else None)
        X, ones = scale.transform(table.X), np.ones(len(weight))
        expected = expected_of_each_task(table, weight if last else ones, X)
        assert_allclose(meta.predict(table.X, groups=table.ids), expected)
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        Independent(Ridge()).fit(**fit)
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        Pooled(make_pipeline(StandardScaler(), Ridge())).fit(**fit)


def test_weights_of_hierarchical_bayes(weighted, routing):
    table, weight = weighted
    expected = HierarchicalBayes().fit(table.X, table.y, groups=table.ids, sample_weight=weight)
    for meta in (
        HierarchicalBayes().set_fit_request(sample_weight=True),
        make_pipeline("passthrough", HierarchicalBayes().set_fit_request(sample_weight=True)),
    ):
        meta.fit(table.X, table.y, groups=table.ids, sample_weight=weight)
        predicted = meta.predict(table.X, groups=table.ids)
        assert_array_equal(predicted, expected.predict(table.X, groups=table.ids))


def test_weights_in_a_search(weighted):
    table, weight = weighted
    asks = dict(sample_weight=True)
    with config_context(enable_metadata_routing=True):
        meta = Independent(Ridge().set_fit_request(**asks)).set_score_request(**asks)
        search = GridSearchCV(meta, {}, cv=CV)
        search.fit(table.X, table.y, groups=table.ids, sample_weight=weight)
        predicted = search.best_estimator_.predict(table.X, groups=table.ids)
    assert_allclose(predicted, expected_of_each_task(table, weight))
    search = GridSearchCV(Independent(Ridge(), task_column="store"), {}, cv=CV)
    search.fit(table.frame(), table.y, groups=table.ids, sample_weight=weight)
    assert_allclose(search.predict(table.frame()), expected_of_each_task(table, weight))


@pytest.mark.parametrize("cls", [Pooled, Independent])
@pytest.mark.parametrize("consumer", [ConsumingRegressor, ConsumingClassifier])
def test_what_the_wrapped_estimator_is_given(cls, consumer, make_table, routing):
    table = make_table(consumer())
    number = np.arange(len(table.y))
    registry = _Registry()
    wrapped = consumer(registry=registry).set_fit_request(metadata=True, sample_weight=True)
    cls(wrapped).fit(
        table.X, table.y, groups=table.ids, metadata=number, sample_weight=1.0 + number
    )
    rows = [number[table.ids == task.id] for task in table.tasks]
    rows = [np.concatenate(rows)] if cls is Pooled else rows
    for fitted, own in zip(registry, rows, strict=True):
        check_recorded_metadata(
            fitted, method="fit", parent="fit", metadata=own, sample_weight=1.0 + own
        )


# -- callbacks -------------------------------------------------------------------------------------


class Recorder:
    """Writes down what it is told; stops after some epochs, or fails at the first."""

    def __init__(self, stop_after=None):
        self.calls = []
        self.stop_after, self.fails = stop_after, False

    def setup(self, estimator, context):
        self.calls.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.calls.append(f"end {context.task_name}")
        if self.fails:
            raise RuntimeError("callback")
        if fitted_estimator is not None and X is not None:
            assert np.isfinite(fitted_estimator.score(X, y))
        return self.calls.count("end epoch") == self.stop_after

    def teardown(self, estimator, context):
        self.calls.append("teardown")


@each_meta
@pytest.mark.parametrize("door", ["fit", "meta_fit", "partial_meta_fit"])
def test_callbacks_are_called_and_torn_down(meta, door, make_table):
    table = make_table(meta)
    recorder = Recorder()
    meta = clone(meta).set_callbacks(recorder)
    if not hasattr(meta, door):
        return
    if door == "fit":
        meta.fit(table.X, table.y, groups=table.ids)
    else:
        getattr(meta, door)(table.tasks)
    calls = recorder.calls
    assert calls[:2] == ["setup", "begin fit"] and calls[-2:] == ["end fit", "teardown"]
    n_epochs = getattr(meta, "n_iter_", 0) * isinstance(meta, (HierarchicalBayes, MAML))
    assert calls.count("begin epoch") == calls.count("end epoch") == n_epochs
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(meta))
    meta.adapt(table.X, table.y, groups=table.ids).predict(table.X)
    assert recorder.calls is calls and calls[-1] == "teardown"


@each_meta
def test_callbacks_change_nothing(meta, make_table):
    table = make_table(meta)
    with_callback = clone(meta).set_callbacks(Recorder()).fit(table.X, table.y, groups=table.ids)
    without = clone(meta).fit(table.X, table.y, groups=table.ids)
    assert_array_equal(
        with_callback.predict(table.X, groups=table.ids),
        without.predict(table.X, groups=table.ids),
    )


@each_meta
@pytest.mark.parametrize("door", ["fit", "meta_fit"])
def test_callbacks_are_torn_down_after_a_failure(meta, door, make_table, unchanged):
    table = make_table(meta)
    recorder = Recorder()
    meta = clone(meta).set_callbacks(recorder)
    fit = partial(meta.fit, groups=table.ids) if door == "fit" else meta.meta_fit
    good = (table.X, table.y) if door == "fit" else (table.tasks,)
    bad = (table.X, [None] * len(table.y)) if door == "fit" else ([(table.X, table.y[1:])],)
    with unchanged(meta), pytest.raises(ValueError):
        fit(*bad)
    assert recorder.calls == []  # the data are bad: nothing has begun
    recorder.fails = True
    with unchanged(meta), pytest.raises(RuntimeError, match="callback"):
        fit(*good)
    assert recorder.calls[-1] == "teardown" and recorder.calls.count("setup") == 1


def test_a_failing_task_tears_callbacks_down(make_table, unchanged):
    table = make_table(LogisticRegression())
    recorder = Recorder()
    meta = Independent(LogisticRegression(solver="liblinear")).set_callbacks(recorder)
    with unchanged(meta), pytest.raises(ValueError, match="task .store_.*liblinear"):
        meta.fit(table.X, table.y, groups=table.ids)
    assert recorder.calls == ["setup", "begin fit", "teardown"]


def test_a_callback_may_stop(make_table):
    table = make_table()
    meta = HierarchicalBayes().set_callbacks(Recorder(stop_after=2))
    with pytest.warns(UserWarning):
        meta.fit(table.X, table.y, groups=table.ids)
    assert meta.n_iter_ == 2
    assert np.isfinite(meta.predict(table.X, groups=table.ids)).all()


@each_meta
def test_scoring_monitor(meta, make_table):
    table = make_table(meta)
    scoring = "accuracy" if hasattr(meta, "predict_proba") else make_scorer(mean_squared_error)
    monitor = ScoringMonitor(scoring=scoring)
    meta = clone(meta).set_callbacks(monitor).fit(table.X, table.y, groups=table.ids)
    log = monitor.get_logs().data
    name = "accuracy" if hasattr(meta, "predict_proba") else "score"
    scores = [entry[name] for entry in log if name in entry]
    n_epochs = getattr(meta, "n_iter_", 0) * isinstance(meta, (HierarchicalBayes, MAML))
    assert len(scores) == n_epochs + 1
    final = clone(meta).fit(table.X, table.y, groups=table.ids).predict(table.X)
    expected = np.mean(final == table.y if name == "accuracy" else (final - table.y) ** 2)
    assert_allclose(scores[-1], expected)


@each_reading
def test_progress_bar(meta, make_table, capsys):
    pytest.importorskip("rich", reason="ProgressBar draws with it")
    table = make_table(meta)
    clone(meta).set_callbacks(ProgressBar()).fit(table.X, table.y, groups=table.ids)
    assert type(meta).__name__ in capsys.readouterr().out
    search = GridSearchCV(clone(meta).set_params(task_column="store"), grid_of(meta), cv=CV)
    search.set_callbacks(ProgressBar()).fit(table.frame(), table.y, groups=table.ids)
    assert "GridSearchCV" in capsys.readouterr().out


class TakesAList(RegressorMixin, BaseEstimator):
    """Predicts the number of rows of a further argument of ``fit``."""

    def fit(self, X, y, eval_set=None):
        ((X_seen, y_seen),) = eval_set
        self.n_seen_ = len(X_seen) if len(X_seen) == len(y_seen) else -1
        return self

    def predict(self, X):
        return np.full(len(X), self.n_seen_)


def test_a_list_of_arrays_of_different_shapes_reaches_the_estimator():
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
    groups = [1, 0, 1, 0, 1, 0]
    model = Independent(TakesAList()).fit(X, y, groups=groups, eval_set=[(X, y)])
    assert (model.predict(X, groups=groups) == 6).all()
