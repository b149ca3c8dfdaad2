"""Mistakes that are easy to make, and the way out that every class names."""

import warnings

import numpy as np
import pandas as pd
import pytest
from algorithms import CLASSES, make_meta
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import (
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    MetaClassifier,
    Pooled,
    Task,
    cross_validate_tasks,
    few_shot_scorer,
)
from sklearn_meta.datasets import make_linear_tasks

N = 24
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
Y = X @ [1.0, 2.0, 3.0]
IDS = np.repeat(["a", "b", "c", "d"], N // 4)
FRAME = pd.DataFrame(X, columns=["u", "v", "w"]).assign(store=IDS)
HUGE = X.astype(object)
HUGE[3, 1] = 10**400
HUGE_Y = Y.astype(object)
HUGE_Y[4] = 10**400
TIMES = FRAME[["u", "v"]].assign(when=pd.date_range("2020-01-01", periods=N))
PARTLY = [("a", None)] + [("b", i // 6) for i in range(1, N)]

FITS = {
    "groups=3": (X, Y, 3, "3 is a single value: pass an array"),
    "two columns": (X, Y, FRAME[["store", "u"]], r"groups=list\(zip\(a, b\)\)"),
    "a part": (X, Y, PARTLY, r"a part of the task id is missing in 1 row.* \(row numbers 0"),
    "groupby": (FRAME.groupby("store"), Y, None, "pass the table itself"),
    "scalar y": (X, 3.0, IDS, "pass one target for every row"),
    "timedelta y": (X, np.arange(N).astype("m8[D]"), IDS, r"y / np.timedelta64\(1, 'D'\)"),
    "datetime y": (X, np.arange(N).astype("M8[D]"), IDS, r"\(y - y.min\(\)\) / np.timedelta64"),
    "huge X": (HUGE, Y, IDS, "task 'a', row 3: column 1 of X holds an integer of 1329 bits"),
    "huge y": (X, HUGE_Y, IDS, "task 'a', row 4: y is an integer of 1329 bits.*other units"),
    "datetime X": (TIMES, Y, IDS, "column 'when' of X holds times.*TableEncoder in a"),
    "all datetime": (TIMES[["when"]], Y, IDS, "column 'when' of X holds times"),
    "datetime array": (
        np.arange(2 * N).reshape(N, 2).astype("M8[D]"),
        Y,
        IDS,
        "column 0 of X holds",
    ),
}


WAYS = {  # out of what a table that comes from a file holds
    "text": (FRAME[["u"]].assign(kind="a"), Y, "with TableEncoder or a ColumnTransformer"),
    "NaN": (FRAME[["u"]].assign(v=np.nan), Y, "with TableEncoder or SimpleImputer"),
    "infinity": (FRAME[["u"]].assign(v=np.inf), Y, "contains infinity. Replace it, or drop"),
    "numbers as text": (X, Y.astype(str), r"as in y.astype\(float\); for labels, take MetaCl"),
}


@pytest.mark.parametrize("case", WAYS)
def test_the_way_out_of_a_table_as_it_comes(case):
    rows, y, way = WAYS[case]
    with pytest.raises(ValueError, match=way):
        HierarchicalBayes().fit(rows, y, groups=IDS)


def test_numbers_for_a_classifier():
    with pytest.raises(ValueError, match="For numbers, take MetaRegressor or wrap a regressor"):
        MetaClassifier().fit(X, Y, groups=IDS)


@pytest.mark.parametrize("case", FITS)
@pytest.mark.parametrize("cls", CLASSES)
def test_fit_names_the_way_out(cls, case):
    data, y, groups, match = FITS[case]
    meta = make_meta(cls)
    before = dict(vars(meta))
    with pytest.raises((TypeError, ValueError), match=match):
        meta.fit(data, y, groups=groups)
    assert vars(meta) == before


@pytest.mark.parametrize("cls", CLASSES)
def test_meta_fit_of_a_groupby(cls):
    with pytest.raises(TypeError, match="no target: use tasks_from_table"):
        make_meta(cls).meta_fit(FRAME.groupby("store"))
    with pytest.raises(ValueError, match="or a part of it, is missing"):
        make_meta(cls).meta_fit([Task(X, Y, id=("a", np.nan))])


@pytest.mark.parametrize("cls", CLASSES)
def test_task_column_is_one(cls):
    with pytest.raises(ValueError, match=r"names several columns.*groups=list\(zip"):
        make_meta(cls, task_column=["store", "u"]).fit(FRAME, Y)


POSITIONAL = {
    "fit": (X, Y, IDS),
    "adapt": (X, Y, IDS),
    "predict": (X, IDS),
    "score": (X, Y, IDS),
}


@pytest.mark.parametrize("method", POSITIONAL)
@pytest.mark.parametrize("cls", CLASSES)
def test_ids_go_by_name(cls, method):
    """As the third positional argument they could be weights, too."""
    with pytest.raises(TypeError, match=rf"{cls.__name__}.{method}: too many.*groups=ids"):
        getattr(make_meta(cls), method)(*POSITIONAL[method])


@pytest.mark.parametrize("cls", CLASSES)
def test_meta_fit_takes_tasks(cls):
    meta = make_meta(cls)
    for args, params in (((X, Y), {}), ((X, Y), {"groups": IDS}), ((X,), {"groups": IDS})):
        with pytest.raises(TypeError, match=r"tasks_from_table\(X, y, groups=ids\).*fit\(X, y, gr"):
            meta.meta_fit(*args, **params)
    with pytest.raises(TypeError, match=r"use fit\(X, y, groups=ids\), or tasks_from_table"):
        meta.meta_fit(X)


def test_other_errors_stay_as_they_are():
    """An error inside a call that fits is not about its arguments."""
    with pytest.raises(TypeError, match="^a groupby has groups of rows"):
        Pooled().meta_fit(FRAME.groupby("store"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'group'. Ids and weights go"):
        HierarchicalBayes().fit(X, Y, group=IDS)


@pytest.mark.parametrize("role", ["task_column", "descriptor_columns"])
def test_a_column_that_is_taken_out_before_the_pipeline_inside(role):
    columns = make_column_transformer((StandardScaler(), ["u", "v", "w"]))
    value = "w" if role == "task_column" else ["w"]
    frame = FRAME.assign(w=FRAME["store"].map({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}))
    model = HierarchicalBayes(make_pipeline(columns, Ridge()), **{role: value})
    with pytest.raises(ValueError, match=rf"'w' is taken out .* in {role}. .*assign\(copy="):
        model.fit(frame, Y, groups=None if role == "task_column" else IDS)
    columns = make_column_transformer((StandardScaler(), ["u", "copy"]))
    model.set_params(estimator=make_pipeline(columns, Ridge()))
    frame = frame.assign(copy=frame["w"])
    if role == "descriptor_columns":
        frame = frame.drop(columns="store")
    model.fit(frame, Y, groups=None if role == "task_column" else IDS)


def test_a_name_in_an_array_of_a_pipeline_outside():
    outside = make_pipeline(StandardScaler(), HierarchicalBayes(task_column="store"))
    with pytest.raises(ValueError, match=r"Pipeline outside made.*HierarchicalBayes\(make_pipel"):
        outside.fit(FRAME.assign(store=1), Y)


def test_features_that_are_taken_for_ids():
    """The index of the id moves where columns are drawn."""
    table = np.c_[np.repeat(range(4), N // 4), X]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pooled(task_column=0).fit(table, Y)
        Pooled(task_column=0).fit(table / 10, Y)  # ids may have fractions, if they repeat
    bagged = BaggingRegressor(Pooled(task_column=0), max_features=2, random_state=0)
    with pytest.warns(UserWarning, match="looks like a feature.*max_features=1.0"):
        bagged.fit(table, Y)


def test_a_task_of_each_row_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        HierarchicalBayes().fit(X, Y, groups=np.arange(N))


def test_no_ids_in_predict_are_unknown_ids():
    model = HierarchicalBayes(handle_unknown="error").fit(X, Y, groups=IDS)
    with pytest.raises(ValueError, match="given no task ids, and 4 tasks.*task_column"):
        model.predict(X)
    silent = model.predict(X, groups=[None] * N)
    with pytest.warns(UserWarning, match="given no task ids, and 4 tasks.*The meta-model pred"):
        np.testing.assert_array_equal(model.set_params(handle_unknown="warn").predict(X), silent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.set_params(handle_unknown="prior").predict(X), silent)
        model.set_params(handle_unknown="error").adapt(X[:3], Y[:3]).predict(X)


def test_cross_validate_tasks_takes_tasks():
    with pytest.raises(TypeError, match=r"tasks_from_table\(X, y, groups=ids\)"):
        cross_validate_tasks(Pooled(), X, Y)


@pytest.mark.parametrize("cls", [HierarchicalBayes, BatchMetaLearner])
def test_descriptor_columns_are_a_list(cls):
    with pytest.raises(ValueError, match=r"descriptor_columns=\['store'\]"):
        cls(descriptor_columns="store").fit(FRAME, Y, groups=IDS)


def test_descriptors_of_text_need_a_feature_map():
    with pytest.raises((TypeError, ValueError), match=r"descriptor=SideInformation\(\)"):
        HierarchicalBayes(descriptor_columns=["store"]).fit(FRAME, Y, groups=IDS)


def test_times_are_for_the_transformers_of_a_pipeline():
    days = make_column_transformer(("passthrough", ["u", "v"]))
    Pooled(make_pipeline(days, Ridge())).fit(TIMES, Y, groups=IDS)


@pytest.mark.parametrize("cls", CLASSES)
def test_fit_without_ids_warns(cls):
    """As in a search whose splitter alone was told of the groups."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_meta(cls).fit(X, Y)
    assert sum("ids of a long table" in str(w.message) for w in caught) == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_meta(cls).fit(X, Y, groups=IDS)
    assert not any("ids of a long table" in str(w.message) for w in caught)


def test_a_search_whose_splitter_alone_has_the_groups_warns():
    search = GridSearchCV(Pooled(), {"task_column": [None]}, cv=GroupKFold(2))
    with pytest.warns(UserWarning, match="ids of a long table"):
        search.fit(X, Y, groups=IDS)


@pytest.mark.filterwarnings("ignore:Only one class", "ignore:R\\^2 score is not well-defined")
def test_scores_that_are_all_undefined_are_an_error():
    """R² of a single query row is not defined, in every task."""
    tasks = [Task(X[i : i + 3], Y[i : i + 3], id=i) for i in range(0, N, 3)]
    scorer = few_shot_scorer("r2", n_shots=2)
    with pytest.raises(ValueError, match="undefined in all 8 tasks.*lower n_shots"):
        scorer(Pooled().meta_fit(tasks), tasks)
    search = GridSearchCV(
        Pooled(), {"estimator": [None]}, scoring=scorer, error_score="raise", cv=2
    )
    with pytest.raises(ValueError, match="undefined in all"):
        search.fit(tasks)


def test_labels_may_be_times():
    y = np.where(Y > 0, np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    model = Pooled(LogisticRegression()).fit(X, y, groups=IDS)
    assert set(model.predict(X)) <= set(y)


@pytest.mark.filterwarnings("ignore:Scoring failed", "ignore:R\\^2", "ignore:One or more of the")
def test_a_search_hides_errors_of_its_scorer_unless_told_to_raise():
    """What the user guide says of scikit-learn: why ``error_score="raise"`` is the way out."""
    tasks = [Task(X[i : i + 3], Y[i : i + 3], id=i) for i in range(0, N, 3)]
    scorer = few_shot_scorer("r2", n_shots=2)
    grid = {"handle_unknown": ["warn", "prior"]}
    search = GridSearchCV(Pooled(), grid, scoring=scorer, cv=2).fit(tasks)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"handle_unknown": "warn"}


def test_groups_that_cut_the_tasks_of_a_column():
    tasks = make_linear_tasks(n_tasks=6, n_rows=4, random_state=0)
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    ids = np.repeat(np.arange(6), 4)
    model = HierarchicalBayes(task_column=0)
    X = np.column_stack([ids, X])
    with pytest.warns(UserWarning, match="groups, which is not used, cuts task 0.0 at row 1"):
        model.fit(X, y, groups=np.arange(24))
    with pytest.raises(ValueError, match="groups has 23 entries for 24 rows"):
        model.fit(X, y, groups=ids[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, y, groups=ids // 2)  # for a splitter


def test_a_matrix_that_cannot_be_solved_blames_columns_of_x_only(monkeypatch):
    """Of what transformers or a body made of X no user knows the columns."""

    def singular(*args):
        raise np.linalg.LinAlgError("Singular matrix")

    tasks = make_linear_tasks(n_tasks=6, n_rows=5, random_state=0)
    X, y = tasks[0].X, tasks[0].y
    with_body, plain = GaussianProcessMeta(random_state=0), HierarchicalBayes()
    for model in (with_body, plain):
        model.meta_fit(tasks)
        monkeypatch.setattr(model, "_adapt", singular)
    with pytest.raises(ValueError, match="^Singular matrix: the rows, or how far .* Pipeline"):
        plain.adapt(X, y)
    with pytest.raises(ValueError, match="^X holds numbers, too far from the other rows"):
        with_body.adapt(1e9 * X, y)
    with pytest.raises(ValueError, match=r"^row \d: column \d of X holds .*, too far"):
        plain.adapt(1e9 * X, y)
