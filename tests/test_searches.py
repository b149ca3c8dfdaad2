"""The tools of sklearn.model_selection on tasks: with a column, with groups, with a list."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.compose import make_column_transformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_meta import (
    HierarchicalBayes,
    Independent,
    Pooled,
    Task,
    TransferMetaLearner,
    few_shot_scorer,
    tasks_from_table,
)
from sklearn_meta.datasets import make_linear_tasks

SCORER = few_shot_scorer("neg_mean_squared_error", n_shots=4)
FEATURES = ["a", "b", "kind"]


@pytest.fixture(scope="module")
def table():
    """Slopes vary by store, so that random_effects="all" wins; a column of text."""
    pd = pytest.importorskip("pandas", reason="selects columns by name")
    tasks = make_linear_tasks(
        12, 8, 2, mean=[5, 1, 2], covariance=np.diag([1, 4, 4]), noise=0.5, random_state=0
    )
    X = pd.concat(
        [pd.DataFrame(t.X, columns=["a", "b"]).assign(store=f"store_{t.id}") for t in tasks],
        ignore_index=True,
    )
    y = np.concatenate([task.y for task in tasks])
    kind = np.random.default_rng(0).choice(["u", "v"], len(X))
    order = np.random.default_rng(1).permutation(len(X))
    return X.assign(kind=kind).iloc[order].reset_index(drop=True), (y + (kind == "u"))[order]


@pytest.fixture(scope="module")
def tasks(table):
    return tasks_from_table(*table, task_column="store")


def columns(**params):
    """All features made numeric; every other column passes through, under its name."""
    return make_column_transformer(
        (StandardScaler(), ["a", "b"]),
        (OneHotEncoder(drop="if_binary", sparse_output=False), ["kind"]),
        **params,
    )


def naming_columns():
    transformer = columns(remainder="passthrough", verbose_feature_names_out=False)
    return transformer.set_output(transform="pandas")


def mixed(**params):
    """Whose strength of regularisation is not searched for: here others search."""
    return HierarchicalBayes(Ridge(), regularization=None, **params)


def inside(**params):
    """A Pipeline inside; of its transformed columns two vary by task."""
    return mixed(**params).set_params(estimator=make_pipeline(columns(), Ridge()))


def grid(prefix="", step=""):
    """The meta-parameter and the nested one."""
    estimator = f"{prefix}estimator__{step}fit_intercept"
    return {f"{prefix}random_effects": ["all", [0, 1]], estimator: [True, False]}


def make_search(kind, estimator, params, cv):
    settings = dict(scoring=SCORER, cv=cv, error_score="raise")
    if kind == "grid":
        return GridSearchCV(estimator, params, **settings)
    return RandomizedSearchCV(estimator, params, n_iter=4, random_state=0, **settings)


def assert_found(search, prefix="", step=""):
    """The best candidate is the one that made the data, and it was learned from all tasks."""
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {
        f"{prefix}random_effects": "all",
        f"{prefix}estimator__{step}fit_intercept": True,
    }
    best = search.best_estimator_
    assert getattr(best, "n_tasks_", None) or best[-1].n_tasks_ == 12
    assert search.cv_results_["mean_test_score"].max() > -10  # without an intercept: -50


each_search = pytest.mark.parametrize("kind", ["grid", "randomized"])


# -- bare ------------------------------------------------------------------------------------------


@each_search
def test_search_with_a_task_column(table, kind):
    X, y = table
    search = make_search(kind, mixed(task_column="store"), grid(), GroupKFold(2))
    search.fit(X.drop(columns="kind"), y, groups=X["store"])
    assert_found(search)
    known = search.predict(X.drop(columns="kind"))
    assert np.mean((known - y) ** 2) < 1


@each_search
def test_search_with_routed_groups(table, kind):
    X, y = table
    with config_context(enable_metadata_routing=True):
        search = make_search(kind, mixed(), grid(), GroupKFold(2))
        search.fit(X[["a", "b"]], y, groups=X["store"].to_numpy())
    assert_found(search)
    known = search.best_estimator_.predict(X[["a", "b"]], groups=X["store"].to_numpy())
    assert np.mean((known - y) ** 2) < 1


@each_search
def test_search_with_a_list_of_tasks(tasks, kind):
    tasks = [Task(task.X[["a", "b"]], task.y, id=task.id) for task in tasks]
    search = make_search(kind, mixed(), grid(), KFold(2)).fit(tasks)
    assert_found(search)


def test_the_three_ways_score_the_same(table):
    """The same folds and, since the tasks come in the same order, the same episodes."""
    X, y = table
    codes = np.unique(X["store"], return_inverse=True)[1]
    folds = [(np.flatnonzero(codes % 3 != k), np.flatnonzero(codes % 3 == k)) for k in range(3)]
    numbers = [X.index[X["store"] == store][0] for store in X["store"].unique()]
    of_task = codes[numbers]
    task_folds = [
        (np.flatnonzero(of_task % 3 != k), np.flatnonzero(of_task % 3 == k)) for k in range(3)
    ]
    column = GridSearchCV(mixed(task_column="store"), grid(), scoring=SCORER, cv=folds).fit(
        X.drop(columns="kind"), y
    )
    with config_context(enable_metadata_routing=True):
        routed = GridSearchCV(mixed(), grid(), scoring=SCORER, cv=folds)
        routed.fit(X[["a", "b"]], y, groups=X["store"].to_numpy())
    listed = GridSearchCV(mixed(), grid(), scoring=SCORER, cv=task_folds)
    listed.fit(tasks_from_table(X.drop(columns="kind"), y, task_column="store"))
    for search in (routed, listed):
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"], column.cv_results_["mean_test_score"], rtol=1e-5
        )


# -- a Pipeline inside -----------------------------------------------------------------------------


@each_search
def test_search_with_a_task_column_and_a_pipeline_inside(table, kind):
    X, y = table
    search = make_search(kind, inside(task_column="store"), grid(step="ridge__"), GroupKFold(2))
    assert_found(search.fit(X, y, groups=X["store"]), step="ridge__")


@each_search
def test_search_with_routed_groups_and_a_pipeline_inside(table, kind):
    X, y = table
    with config_context(enable_metadata_routing=True):
        search = make_search(kind, inside(), grid(step="ridge__"), GroupKFold(2))
        search.fit(X[FEATURES], y, groups=X["store"].to_numpy())
    assert_found(search, step="ridge__")


@each_search
def test_search_with_a_list_of_tasks_and_a_pipeline_inside(tasks, kind):
    search = make_search(kind, inside(), grid(step="ridge__"), KFold(2)).fit(tasks)
    assert_found(search, step="ridge__")


# -- a Pipeline outside ----------------------------------------------------------------------------


@each_search
def test_search_with_a_task_column_and_a_pipeline_outside(table, kind):
    X, y = table
    model = mixed(task_column="store")
    search = make_search(
        kind, make_pipeline(naming_columns(), model), grid("hierarchicalbayes__"), GroupKFold(2)
    )
    assert_found(search.fit(X, y, groups=X["store"]), "hierarchicalbayes__")
    assert np.mean((search.predict(X) - y) ** 2) < 1


@each_search
def test_search_with_an_index_as_task_column_and_a_pipeline_outside(table, kind):
    X, y = table
    model = mixed(task_column=-1)
    pipeline = make_pipeline(columns(remainder="passthrough"), model)
    search = make_search(kind, pipeline, grid("hierarchicalbayes__"), GroupKFold(2))
    assert_found(search.fit(X, y, groups=X["store"]), "hierarchicalbayes__")


@each_search
def test_search_with_routed_groups_and_a_pipeline_outside(table, kind):
    X, y = table
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(columns(), mixed())
        search = make_search(kind, pipeline, grid("hierarchicalbayes__"), GroupKFold(2))
        search.fit(X[FEATURES], y, groups=X["store"].to_numpy())
    assert_found(search, "hierarchicalbayes__")


# -- other estimators and searches -----------------------------------------------------------------


@pytest.mark.parametrize("cls", [Independent, Pooled])
def test_search_over_a_penalty(tasks, cls):
    tasks = [Task(task.X[["a", "b"]], task.y, id=task.id) for task in tasks]
    params = {"estimator__alpha": [0.01, 1.0, 1e4], "standardize": [True, False]}
    search = GridSearchCV(cls(Ridge()), params, scoring=SCORER, error_score="raise").fit(tasks)
    assert search.best_params_["estimator__alpha"] < 1e4
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 3


def test_search_over_transfer(tasks):
    tasks = [Task(task.X[["a", "b"]], task.y, id=task.id) for task in tasks]
    params = [
        {"selection": ["stack", "best"], "estimator__fit_intercept": [True]},
        {"source_weight": [0.1, 1.0], "estimator__fit_intercept": [False]},
    ]
    search = GridSearchCV(
        TransferMetaLearner(Ridge()), params, scoring=SCORER, cv=KFold(2), error_score="raise"
    ).fit(tasks)
    assert search.best_params_["estimator__fit_intercept"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_over_a_classifier(tasks):
    labelled = [
        Task(task.X[["a", "b"]], np.where(task.y > 5, "high", "low"), id=task.id) for task in tasks
    ]
    scorer = few_shot_scorer("neg_log_loss", n_shots=4)
    search = GridSearchCV(
        Independent(LogisticRegression()),
        {"estimator__C": [1e-6, 1.0]},
        scoring=scorer,
        cv=KFold(2),
        error_score="raise",
    ).fit(labelled)
    assert search.best_params_ == {"estimator__C": 1.0}


def test_search_over_estimators(tasks):
    tasks = [Task(task.X[["a", "b"]], task.y, id=task.id) for task in tasks]
    search = GridSearchCV(
        Independent(), {"estimator": [Ridge(), Ridge(1e6)]}, scoring=SCORER, error_score="raise"
    ).fit(tasks)
    assert search.best_params_["estimator"].alpha == 1.0


def test_halving_search_over_tasks(tasks):
    tasks = [Task(task.X[["a", "b"]], task.y, id=task.id) for task in tasks]
    search = HalvingGridSearchCV(
        mixed(),
        grid(),
        scoring=SCORER,
        cv=KFold(2),
        min_resources=6,
        factor=2,
        random_state=0,
        error_score="raise",
    ).fit(tasks)
    assert search.n_resources_ == [6, 12]
    assert search.best_estimator_.n_tasks_ == 12
    assert search.best_params_["random_effects"] == "all"


# -- cross-validation and curves -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["column", "routed groups", "list"])
def test_cross_validate(table, tasks, way):
    X, y = table
    settings = dict(scoring=SCORER, return_estimator=True, error_score="raise")
    if way == "column":
        result = cross_validate(
            inside(task_column="store"), X, y, groups=X["store"], cv=GroupKFold(3), **settings
        )
    elif way == "list":
        result = cross_validate(inside(), tasks, cv=KFold(3), **settings)
    else:
        with config_context(enable_metadata_routing=True):
            params = {"groups": X["store"].to_numpy()}
            result = cross_validate(
                inside(), X[FEATURES], y, cv=GroupKFold(3), params=params, **settings
            )
    assert (result["test_score"] > -10).all()
    assert [model.n_tasks_ for model in result["estimator"]] == [8] * 3


@pytest.mark.parametrize("way", ["column", "routed groups", "list"])
def test_cross_val_score_without_adaptation(table, tasks, way):
    """The default score is that of the meta-model, in new tasks; R² over all their rows."""
    X, y = table
    codes = np.unique(X["store"], return_inverse=True)[1]
    folds = [(np.flatnonzero(codes >= 4), np.flatnonzero(codes < 4))]
    model = Pooled(make_pipeline(columns(), Ridge()))
    expected = model.fit(X[FEATURES].iloc[folds[0][0]], y[folds[0][0]]).score(
        X[FEATURES].iloc[folds[0][1]], y[folds[0][1]]
    )
    if way == "column":
        score = cross_val_score(model.set_params(task_column="store"), X, y, cv=folds)
    elif way == "list":
        numbers = {task.id: codes[np.argmax(X["store"] == task.id)] for task in tasks}
        number = np.array([numbers[task.id] for task in tasks])
        task_folds = [(np.flatnonzero(number >= 4), np.flatnonzero(number < 4))]
        score = cross_val_score(model, tasks, cv=task_folds)
    else:
        with config_context(enable_metadata_routing=True):
            params = {"groups": X["store"].to_numpy()}
            score = cross_val_score(model, X[FEATURES], y, cv=folds, params=params)
    np.testing.assert_allclose(score, [expected])


def test_cross_val_predict_knows_the_tasks_of_the_training_rows(table):
    X, y = table
    model = inside(task_column="store")
    rows = cross_val_predict(model, X, y, cv=KFold(5, shuffle=True, random_state=0))
    tasks = cross_val_predict(model, X, y, cv=GroupKFold(5), groups=X["store"])
    assert np.mean((rows - y) ** 2) < 1 < np.mean((tasks - y) ** 2)


def test_learning_curve_over_the_number_of_tasks(tasks):
    sizes, _, scores = learning_curve(
        inside(),
        tasks,
        None,
        train_sizes=[2, 4, 6],
        cv=KFold(2),
        scoring=SCORER,
        error_score="raise",
    )
    assert sizes.tolist() == [2, 4, 6]
    assert scores.shape == (3, 2)
    assert scores[2].mean() > scores[0].mean()
    _, n_tasks, _ = learning_curve(
        inside(),
        tasks,
        None,
        train_sizes=[2, 4, 6],
        cv=KFold(2),
        scoring=lambda model, X, y=None: model.n_tasks_,
    )
    assert n_tasks[:, 0].tolist() == [2, 4, 6]


def test_validation_curve_of_a_meta_parameter(tasks):
    _, scores = validation_curve(
        inside(),
        tasks,
        None,
        param_name="random_effects",
        param_range=["intercept", "all"],
        cv=KFold(2),
        scoring=SCORER,
    )
    assert scores[1].mean() > scores[0].mean()


def test_nested_search(tasks):
    params = {"estimator__ridge__fit_intercept": [False, True]}
    search = GridSearchCV(inside(), params, scoring=SCORER, cv=2)
    scores = cross_val_score(search, tasks, scoring=SCORER, cv=KFold(2), error_score="raise")
    expected = cross_val_score(inside(), tasks, scoring=SCORER, cv=KFold(2))
    np.testing.assert_allclose(scores, expected)
