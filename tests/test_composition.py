"""What of scikit-learn goes around an estimator of this package, and tables of which libraries."""

import numpy as np
import pandas as pd
import pytest
from algorithms import CLASSES, make_meta
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    TunedThresholdClassifierCV,
    cross_val_score,
    validation_curve,
)
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import (
    HierarchicalBayes,
    Pooled,
    TableEncoder,
    few_shot_scorer,
    tasks_from_table,
)

RNG = np.random.default_rng(0)
STORE = np.repeat(np.arange(12), 10)
LEVEL = RNG.normal(0, 5, 12)[STORE]
NUMBERS = RNG.normal(size=(120, 2))
ORDER = RNG.permutation(120)
FRAME = pd.DataFrame(NUMBERS, columns=["a", "b"]).assign(store=STORE)[["store", "a", "b"]]
FRAME = FRAME.iloc[ORDER].reset_index(drop=True)
Y = (LEVEL + 2 * NUMBERS[:, 0] + RNG.normal(0, 0.3, 120))[ORDER]
LABELS = np.where(Y > np.median(Y), "high", "low")
FEATURES, IDS = FRAME[["a", "b"]], FRAME["store"].to_numpy()
ROWS = KFold(3, shuffle=True, random_state=0)


def meta(task_column="store", **params):
    params = {"regularization": None} | params  # the cheapest fit
    return HierarchicalBayes(task_column=task_column, **params)


def classifier(task_column="store"):
    return HierarchicalBayes(
        LogisticRegression(),
        task_column=task_column,
        random_effects="intercept",
        regularization=None,
    )


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


# -- around ----------------------------------------------------------------------------------------

REGRESSORS = {
    "TransformedTargetRegressor": lambda m: TransformedTargetRegressor(
        m, transformer=StandardScaler()
    ),
    "VotingRegressor": lambda m: VotingRegressor([("meta", m), ("again", m)]),
    "StackingRegressor": lambda m: StackingRegressor([("meta", m)], cv=ROWS),
    "BaggingRegressor": lambda m: BaggingRegressor(m, n_estimators=3, random_state=0),
    "MultiOutputRegressor": MultiOutputRegressor,
    "RegressorChain": RegressorChain,
    "FrozenEstimator": lambda m: FrozenEstimator(m.fit(FRAME.to_numpy(), Y)),
    "GridSearchCV": lambda m: GridSearchCV(m, {"covariance": ["full", "diag"]}, cv=ROWS),
}
SEVERAL = ("MultiOutputRegressor", "RegressorChain")


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_around_knows_the_tasks_of_an_id_column(name):
    """Of a table as an array, since some of these make arrays of dataframes."""
    y = np.c_[Y, -Y] if name in SEVERAL else Y
    model = REGRESSORS[name](meta(0)).fit(FRAME.to_numpy(), y)
    assert model.score(FRAME.to_numpy(), y) > 0.98
    assert Pooled().fit(FEATURES, Y, groups=IDS).score(FEATURES, Y) < 0.5


@pytest.mark.parametrize("name", sorted(set(REGRESSORS) - {"BaggingRegressor", "RegressorChain"}))
def test_a_regressor_around_keeps_the_name_of_the_id_column(name):
    if name == "FrozenEstimator":
        model = FrozenEstimator(meta().fit(FRAME, Y))
    else:
        model = REGRESSORS[name](meta())
    y = np.c_[Y, -Y] if name in SEVERAL else Y
    assert model.fit(FRAME, y).score(FRAME, y) > 0.98


def test_bagging_makes_arrays_and_says_so():
    with pytest.raises(ValueError, match="BaggingRegressor makes arrays of dataframes: give it"):
        BaggingRegressor(meta(), n_estimators=2).fit(FRAME, Y)


@pytest.mark.parametrize("name", ["TransformedTargetRegressor", "BaggingRegressor"])
def test_what_hands_routed_groups_on(name, routing):
    model = REGRESSORS[name](meta(None)).fit(FEATURES, Y, groups=IDS)
    predicted = model.predict(FEATURES, groups=IDS)
    assert np.mean((predicted - Y) ** 2) < 1


@pytest.mark.parametrize("name", ["VotingRegressor", "MultiOutputRegressor", "BaggingRegressor"])
def test_what_predicts_without_the_routed_groups_warns(name, routing):
    y = np.c_[Y, -Y] if name in SEVERAL else Y
    model = REGRESSORS[name](meta(None)).fit(FEATURES, y, groups=IDS)
    with pytest.warns(UserWarning, match="given no task ids, and 12 tasks.*use task_column"):
        model.predict(FEATURES)


CLASSIFIERS = {
    "CalibratedClassifierCV": lambda m: CalibratedClassifierCV(m, cv=ROWS),
    "calibrated, no ensemble": lambda m: CalibratedClassifierCV(m, cv=ROWS, ensemble=False),
    "calibrated, frozen": lambda m: CalibratedClassifierCV(FrozenEstimator(m.fit(FRAME, LABELS))),
    "VotingClassifier": lambda m: VotingClassifier([("meta", m), ("again", m)], voting="soft"),
    "StackingClassifier": lambda m: StackingClassifier([("meta", m)], cv=ROWS),
    "TunedThresholdClassifierCV": lambda m: TunedThresholdClassifierCV(m, cv=ROWS),
    "FixedThresholdClassifier": lambda m: FixedThresholdClassifier(m, threshold=0.45),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_around_knows_the_tasks_of_an_id_column(name):
    y = LABELS == "high" if "Threshold" in name else LABELS
    model = CLASSIFIERS[name](classifier())
    assert model.fit(FRAME, y).score(FRAME, y) > 0.85
    assert Pooled(LogisticRegression()).fit(FEATURES, y, groups=IDS).score(FEATURES, y) < 0.85


def test_a_transformed_target_adapts_by_its_parts():
    """It has no ``adapt``; the traps page says this."""
    model = TransformedTargetRegressor(meta(), transformer=StandardScaler()).fit(FRAME, Y)
    new = FRAME[:4].assign(store=99)
    scaled = model.transformer_.transform(Y[:4, None] + 20)[:, 0]
    assert np.mean(model.predict(new)) < np.mean(Y[:4]) + 10
    model.regressor_.adapt(new, scaled)
    assert np.mean(model.predict(new)) > np.mean(Y[:4]) + 10


def test_what_cannot_be_adapted_says_which_way_can():
    tasks = tasks_from_table(FRAME, Y, task_column="store")
    model = TransformedTargetRegressor(meta(None), transformer=StandardScaler())
    way = r"HierarchicalBayes\(TransformedTargetRegressor\(...\)\)"
    with pytest.raises(TypeError, match=way):
        few_shot_scorer()(model.fit(FEATURES, Y), tasks)
    inside = HierarchicalBayes(
        TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    ).meta_fit(tasks)
    frozen = FrozenEstimator(inside)
    assert few_shot_scorer(n_shots=5)(frozen, tasks) == few_shot_scorer(n_shots=5)(inside, tasks)


# -- searches --------------------------------------------------------------------------------------

GRID = {"random_effects": ["all", [0, 1]], "estimator__fit_intercept": [True, False]}


@pytest.mark.parametrize(
    ("search", "way"),
    [
        (HalvingGridSearchCV, "column"),
        (HalvingGridSearchCV, "groups"),
        (HalvingRandomSearchCV, "column"),
    ],
)
def test_halving_search_over_rows(search, way):
    settings = dict(
        factor=2,
        min_resources=60,
        cv=GroupKFold(2),
        scoring=few_shot_scorer("neg_mean_squared_error", n_shots=3),
        random_state=0,
        error_score="raise",
    )
    if search is HalvingRandomSearchCV:
        settings["n_candidates"] = 4
    with config_context(enable_metadata_routing=way == "groups"):
        if way == "column":
            found = search(meta(estimator=LinearRegression()), GRID, **settings)
            found.fit(FRAME, Y, groups=IDS)
        else:
            found = search(meta(None, estimator=LinearRegression()), GRID, **settings)
            found.fit(FEATURES, Y, groups=IDS)
    assert found.n_resources_ == [60, 120]
    assert found.best_params_["estimator__fit_intercept"]
    assert found.best_estimator_.n_tasks_ == 12


@pytest.mark.parametrize("way", ["column", "groups"])
def test_validation_curve_over_rows(way):
    params = dict(
        param_name="estimator__fit_intercept",
        param_range=[True, False],
        cv=GroupKFold(3),
        scoring=few_shot_scorer("neg_mean_squared_error", n_shots=3),
        error_score="raise",
    )
    if way == "column":
        model = meta(estimator=LinearRegression())
        _, scores = validation_curve(model, FRAME, Y, groups=IDS, **params)
    else:
        with config_context(enable_metadata_routing=True):
            model = meta(None, estimator=LinearRegression())
            _, scores = validation_curve(model, FEATURES, Y, params={"groups": IDS}, **params)
    assert scores[0].mean() > scores[1].mean()


def test_a_scorer_by_name_without_ids_warns(routing):
    model, params = meta(None), {"groups": IDS}
    with pytest.warns(UserWarning, match="given no task ids.*few_shot_scorer for new tasks"):
        cross_val_score(model, FEATURES, Y, params=params, scoring="neg_mean_absolute_error")
    assert cross_val_score(model, FEATURES, Y, cv=ROWS, params=params).min() > 0.9


# -- inspection ------------------------------------------------------------------------------------


def test_permutation_importance_of_features_and_of_the_id():
    model = meta().fit(FRAME, Y)
    importance = permutation_importance(model, FRAME, Y, random_state=0).importances_mean
    store, a, b = importance
    assert store > a > 10 * abs(b)


@pytest.mark.parametrize("make", [meta, classifier])
def test_partial_dependence_is_averaged_over_known_tasks(make, plt):
    model = make().fit(FRAME, LABELS if make is classifier else Y)
    display = PartialDependenceDisplay.from_estimator(model, FRAME, ["a"], kind="both")
    average = display.pd_results[0]["average"][0]
    assert average[0] * (-1 if make is classifier else 1) < average[-1]  # "low" is the last class
    individual = display.pd_results[0]["individual"][0]
    assert np.ptp(individual[:, 0]) > 0.5  # each row as its store has it


# -- set_output ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_set_output_of_a_pipeline_inside_and_outside(output):
    inside = make_pipeline(StandardScaler(), LinearRegression()).set_output(transform=output)
    model = meta(estimator=inside).fit(FRAME, Y)
    assert model.coef_names_.tolist() == ["intercept", "a", "b"]
    assert model.estimator_[-1].feature_names_in_.tolist() == ["a", "b"]
    scale = make_column_transformer(
        (StandardScaler(), ["a", "b"]), remainder="passthrough", verbose_feature_names_out=False
    )
    outside = make_pipeline(scale, meta()).set_output(transform=output).fit(FRAME, Y)
    assert_allclose(outside.predict(FRAME), model.predict(FRAME))


# -- tables ----------------------------------------------------------------------------------------


def polars():
    return pytest.importorskip("polars", reason="reads its dataframes, too")


def pyarrow():
    return pytest.importorskip("pyarrow", reason="reads its tables, too")


TABLES = {
    "nullable": lambda: FRAME.convert_dtypes(),
    "arrow in pandas": lambda: (pyarrow(), FRAME.convert_dtypes(dtype_backend="pyarrow"))[1],
    "categorical id": lambda: FRAME.astype({"store": "category"}),
    "polars": lambda: polars().from_pandas(FRAME),
    "pyarrow table": lambda: pyarrow().Table.from_pandas(FRAME),
    "pyarrow batch": lambda: pyarrow().RecordBatch.from_pandas(FRAME),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    "make",
    [meta, lambda: meta(estimator=make_pipeline(StandardScaler(), Ridge())), lambda: meta(0)],
    ids=["plain", "pipeline", "index"],
)
def test_tables_of_every_library(make, kind):
    table = TABLES[kind]()
    expected = make().fit(FRAME, Y)
    model = make().fit(table, Y)
    assert model.n_tasks_ == 12
    assert_allclose(model.predict(table), expected.predict(FRAME))
    assert_allclose(model.predict(FRAME), expected.predict(FRAME))
    tasks = tasks_from_table(table, Y, task_column="store")
    assert [len(task.y) for task in tasks] == [10] * 12


def test_a_categorical_feature_goes_to_who_takes_it():
    table = FRAME.assign(kind=pd.Categorical(np.where(Y > 0, "u", "v")))
    with pytest.raises(ValueError, match="column 'kind' of X holds .*ColumnTransformer"):
        meta().fit(table, Y)
    missing = FRAME.convert_dtypes()
    missing.loc[3, "a"] = pd.NA
    with pytest.raises(ValueError, match="row 3: column 'a' of X contains NaN"):
        meta().fit(missing, Y)
    model = meta(estimator=make_pipeline(TableEncoder(), Ridge()))
    assert model.fit(table, Y).score(table, Y) > 0.9


def lazy(values):
    return polars().from_pandas(pd.DataFrame(values)).lazy()


def dask(values):
    frame = pytest.importorskip("dask.dataframe", reason="refuses its dataframes, too")
    return frame.from_pandas(pd.DataFrame(values), npartitions=2)


def relation(values):
    duckdb = pytest.importorskip("duckdb", reason="refuses its relations, too")
    return duckdb.from_df(pd.DataFrame(values))


UNREAD = {"collect": lazy, "compute": dask, "df": relation}


@pytest.mark.parametrize("way", UNREAD)
@pytest.mark.parametrize("cls", CLASSES)
def test_a_query_that_was_not_run_says_how(cls, way):
    unread, match = UNREAD[way], rf".* have not been read: pass (X|y|groups)\.{way}\(\)"
    model = make_meta(cls)
    with pytest.raises(TypeError, match="X is a" + match):
        model.fit(unread(FEATURES), Y, groups=IDS)
    with pytest.raises(TypeError, match="y is a" + match):
        model.fit(FEATURES, unread({"y": Y}), groups=IDS)
    with pytest.raises(TypeError, match="groups is a" + match):
        model.fit(FEATURES, Y, groups=unread({"store": IDS}))
    with pytest.raises(TypeError, match="task 0 .*: X is a" + match):
        model.meta_fit([(unread(FEATURES), Y)])


def test_a_query_that_was_not_run_is_no_table_of_tasks():
    with pytest.raises(TypeError, match=r"pass X.collect\(\)"):
        tasks_from_table(lazy(FRAME), Y, task_column="store")
    with pytest.raises(TypeError, match=r"pass y.collect\(\)"):
        tasks_from_table(FRAME, lazy({"y": Y}), task_column="store")
    with pytest.raises(TypeError, match=r"pass X.collect\(\)"):
        meta().fit(FRAME, Y).predict(lazy(FRAME))


class NoPandas:
    """A table of pyarrow where pandas is missing."""

    def to_pandas(self):
        raise ImportError("No module named 'pandas'")


NoPandas.__module__, NoPandas.__name__ = "pyarrow.lib", "Table"


def test_a_pyarrow_table_without_pandas():
    with pytest.raises(TypeError, match=r"install it, or pass polars.from_arrow\(X\)"):
        meta().fit(NoPandas(), Y)
