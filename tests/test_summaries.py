"""Sums per task: they add up, and the fit from them is that of the rows."""

import math
import os
import shutil
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import HierarchicalBayes, Pooled, summary_terms, task_summaries
from sklearn_meta.datasets import make_linear_tasks

N_TASKS = 40


@pytest.fixture(scope="module")
def rows():
    tasks = make_linear_tasks(n_tasks=N_TASKS, n_rows=9, n_features=2, random_state=0)
    X = np.concatenate([task.X for task in tasks]) * [1.0, 20.0] + [5.0, 300.0]
    y = np.concatenate([task.y for task in tasks])
    return X, y, np.repeat([f"s{t}" for t in range(N_TASKS)], 9)


def fit_to_rows(rows, **params):
    X, y, ids = rows
    tasks = [(X[ids == i], y[ids == i]) for i in dict.fromkeys(ids)]
    return HierarchicalBayes(contextual_effects=False, **params).meta_fit(tasks)


def as_model(table, **params):
    return HierarchicalBayes(**params).meta_fit_summaries(table)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"regularization": None},
        {"covariance": "diag", "method": "ml"},
        {"estimator": LinearRegression(fit_intercept=False), "random_effects": [1]},
        {"estimator": Ridge(), "standardize": False},
    ],
)
def test_sums_say_what_rows_say(rows, params):
    X, y, ids = rows
    of_rows = fit_to_rows(rows, **params)
    of_sums = as_model(task_summaries(X, y, groups=ids), contextual_effects=False, **params)
    assert of_sums.n_tasks_ == N_TASKS and of_sums.regularization_ == of_rows.regularization_
    for name in ("prior_mean_", "prior_covariance_", "noise_variance_", "log_likelihood_"):
        assert_allclose(getattr(of_sums, name), getattr(of_rows, name), rtol=1e-6, atol=1e-9)
    for model in (of_rows, of_sums):
        model.adapt(X[:4], y[:4])
    assert_allclose(of_sums.predict(X[4:9]), of_rows.predict(X[4:9]), rtol=1e-6)
    std = [model.predict(X[4:9], return_std=True)[1] for model in (of_rows, of_sums)]
    assert_allclose(*std, rtol=1e-6)


def test_the_default_leaves_contextual_effects_out(rows):
    X, y, ids = rows
    model = as_model(task_summaries(X, y, groups=ids))
    assert not model.contextual_effects_
    low, high = model.adapt(X[:4], y[:4]).predict_interval(X[4:9]).T
    assert ((low < high) & np.isfinite(high - low)).all()


def test_parts_add_up(rows):
    pd = pytest.importorskip("pandas")
    X, y, ids = rows
    table = pd.DataFrame(X, columns=["price", "size"])
    weight = np.arange(len(y)) % 3
    whole = task_summaries(table, y, groups=ids, target="sales", sample_weight=weight)
    parts = [
        task_summaries(
            table[i::4], y[i::4], groups=ids[i::4], target="sales", sample_weight=weight[i::4]
        )
        for i in range(4)
    ]
    summed = pd.concat(parts).groupby("task", as_index=False, sort=False).sum()
    assert list(summed.columns) == ["task", *summary_terms(["price", "size"], "sales")]
    summed = summed.set_index("task").loc[whole["task"]].reset_index()
    pd.testing.assert_frame_equal(summed, whole, rtol=1e-12)


def test_weights_are_repetitions(rows):
    X, y, ids = rows
    weight = 1 + np.arange(len(y)) % 2
    weighted = task_summaries(X, y, groups=ids, sample_weight=weight)
    twice = task_summaries(
        np.repeat(X, weight, axis=0), np.repeat(y, weight), groups=np.repeat(ids, weight)
    )
    for name, values in weighted.items():
        if name == "task":
            assert_array_equal(values, twice[name])
        else:
            assert_allclose(values, twice[name], rtol=1e-12)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_of_any_library(rows, library):
    lib = pytest.importorskip(library)
    X, y, ids = rows
    columns = {"store": ids.tolist(), "price": X[:, 0].tolist(), "size": X[:, 1].tolist()}
    frame = lib.table(columns) if library == "pyarrow" else lib.DataFrame(columns)
    if library == "pyarrow":  # which scikit-learn does not read: an engine has summed
        terms = {name: values for name, values in task_summaries(X, y, groups=ids).items()}
        names = ["store", *summary_terms(["price", "size"])]
        summed = lib.table({n: list(v) for n, v in zip(names, terms.values(), strict=True)})
    else:
        summed = task_summaries(frame, y, task_column="store")
        assert type(summed) is type(frame)
    model = as_model(summed, task_column="store")
    assert list(model.feature_names_in_) == ["store", "price", "size"]
    assert_allclose(model.prior_mean_, as_model(task_summaries(X, y, groups=ids)).prior_mean_)
    if library != "pyarrow":
        model.adapt(frame[:4], y[:4])
        assert list(model.task_ids_) == ["s0"]
        assert model.predict(frame[:20]).shape == (20,)


def test_more_tasks_with_rows(rows):
    X, y, ids = rows
    first = ids < "s2"
    model = as_model(task_summaries(X[first], y[first], groups=ids[first]))
    more = [(X[ids == i], y[ids == i]) for i in dict.fromkeys(ids[~first])]
    model.set_params(contextual_effects=False).partial_meta_fit(more)
    assert model.n_tasks_ == N_TASKS
    assert_allclose(model.prior_mean_, fit_to_rows(rows).prior_mean_, rtol=1e-2)


def good():
    return task_summaries(
        np.arange(12.0).reshape(6, 2), np.arange(6.0) ** 2, groups=[1, 1, 2, 2, 3, 3]
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x0*y": None}, "no column 'x0\\*y'"),
        ({"n": None}, "no column 'n'"),
        ({"task": None}, "no column 'task'"),
        ({"x0*x0": None, "x1*x1": None}, "no features"),
        ({"y": [1.0, np.nan, 1.0]}, "task 2: 'y' is nan"),
        ({"n": [2.0, 0.0, 2.0]}, "task 2: 'n' is 0; leave tasks without rows out"),
        ({"x1*x1": [10.0, 33.0, 1e9]}, "task 2: 'x1\\*x1' is 33, and 2 rows of sum 12 have"),
        ({"y": ["a", "b", "c"]}, "column 'y' of the table of summaries is no numbers"),
        ({"x0": [1.0, 2.0]}, r"column 'x0' of the table of summaries has shape \(2,\), and there"),
        ({"n": 2.0}, r"column 'n' of the table of summaries has shape \(\), and there are 3 tasks"),
        (
            {"x0*x1": [1e3, -1e3, 1e3]},
            "task 1: the sum of 'x0' times 'x1' is 1000",
        ),
        ({"task": [1, 2, 1]}, "task 1 has several rows: group the parts by 'task' and sum"),
        ({name: [] for name in good()}, "no tasks: the table of summaries is empty"),
    ],
)
def test_tables_that_are_wrong(change, message):
    table = {name: v for name, v in (good() | change).items() if v is not None}
    model = HierarchicalBayes()
    with pytest.raises(ValueError, match=message):
        model.meta_fit_summaries(table)
    assert vars(model) == vars(HierarchicalBayes())


@pytest.mark.parametrize("table", [None, 3, "sums", [1, 2], np.zeros((3, 3))])
def test_what_is_no_table(table):
    with pytest.raises(TypeError, match="is a dict of columns or a dataframe"):
        HierarchicalBayes().meta_fit_summaries(table)


@pytest.mark.parametrize(
    "names, message",
    [
        (["a", "a*a"], r"the name 'a\*a' has a \*"),
        (["a", "task"], "the name 'task' is that of the task ids"),
        (["a", "n"], "the name 'n' is that of the number of rows"),
        (["a", "y"], "the name 'y' occurs twice among features and target"),
    ],
)
def test_names_that_sums_cannot_have(names, message):
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=message):
        task_summaries(pd.DataFrame(np.eye(2), columns=names), [0.0, 1.0], groups=[0, 1])


def test_tasks_of_weight_0_have_no_sums():
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    table = task_summaries(X, y, groups=["a", "b", "b"], sample_weight=[0.0, 1.0, 1.0])
    assert list(table["task"]) == ["b"] and list(table["n"]) == [2.0]


def test_what_sums_are_not_for():
    for model in (
        HierarchicalBayes(make_pipeline(StandardScaler(), Ridge())),
        HierarchicalBayes(HistGradientBoostingRegressor()),
        HierarchicalBayes(descriptor_columns=["size"]),
    ):
        with pytest.raises(ValueError, match="Transform the columns before they are summed"):
            model.meta_fit_summaries(good())
    with pytest.raises(ValueError, match="task_column=0 is a number"):
        HierarchicalBayes(task_column=0).meta_fit_summaries(good())
    with pytest.raises(ValueError, match="contextual_effects=True needs rows"):
        HierarchicalBayes(contextual_effects=True).meta_fit_summaries(good())
    assert not hasattr(Pooled(), "meta_fit_summaries")


def test_rows_that_are_wrong():
    with pytest.raises(ValueError, match="Pass the task ids"):
        task_summaries([[1.0]], [1.0])
    with pytest.raises(ValueError, match="'y' occurs twice among features and target"):
        summary_terms(["y"])
    with pytest.raises(ValueError, match="'n' is that of the number of rows"):
        summary_terms(["n"])
    with pytest.raises(ValueError, match="X has 1 rows and y 2"):
        task_summaries([[1.0]], [1.0, 2.0], groups=[1])


# -- the recipes of the user guide -----------------------------------------------------------------


@pytest.fixture
def files(rows, tmp_path):
    """Rows of sales in three Parquet files, and the model of all of them."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    X, y, ids = rows
    frame = pd.DataFrame({"store": ids, "price": X[:, 0], "size": X[:, 1], "sales": y})
    for i in range(3):
        frame[i::3].to_parquet(tmp_path / f"{i}.parquet", index=False)
    return tmp_path, as_model(task_summaries(X, y, groups=ids))


def assert_same(table, expected):
    model = HierarchicalBayes(task_column="store").meta_fit_summaries(table, target="sales")
    assert_allclose(model.prior_mean_, expected.prior_mean_, rtol=1e-6)
    assert_allclose(model.prior_covariance_, expected.prior_covariance_, rtol=1e-5)


def test_duckdb(files):
    duckdb = pytest.importorskip("duckdb")
    folder, expected = files
    terms = summary_terms(["price", "size"], "sales")
    sums = ", ".join(f'SUM({"*".join(c) or 1}) AS "{name}"' for name, c in terms.items())
    query = f"SELECT store, {sums} FROM '{folder}/*.parquet' GROUP BY store"
    assert_same(duckdb.sql(query).df(), expected)


def test_polars(files):
    pl = pytest.importorskip("polars")
    folder, expected = files
    terms = summary_terms(["price", "size"], "sales")
    sums = [math.prod(map(pl.col, c)).sum().alias(name) for name, c in terms.items() if c]
    rows = pl.scan_parquet(folder / "*.parquet")
    table = rows.group_by("store").agg(pl.len().alias("n"), *sums).collect()
    assert_same(table, expected)


@pytest.fixture
def summaries():
    """What engines call with a part of the rows: of no module, so that it is sent to workers."""
    pd = pytest.importorskip("pandas")

    def summaries(part: pd.DataFrame) -> pd.DataFrame:
        X = part[["store", "price", "size"]]
        return task_summaries(X, part["sales"], task_column="store", target="sales")

    return summaries


def test_dask(files, summaries):
    dd = pytest.importorskip("dask.dataframe")
    folder, expected = files
    rows = dd.read_parquet(folder)
    parts = rows.map_partitions(summaries, meta=summaries(rows.head(2)))
    assert_same(parts.groupby("store").sum().reset_index().compute(), expected)


@pytest.fixture(scope="module")
def spark():
    """Spark on this machine, whose workers are this Python."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = sql.SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
        yield session
        session.stop()


def test_pyspark(files, spark, summaries):
    folder, expected = files
    functions = pytest.importorskip("pyspark.sql.functions")
    rows = spark.read.parquet(str(folder))
    schema = spark.createDataFrame(summaries(rows.limit(2).toPandas())).schema
    parts = rows.groupby(functions.hash("store") % 8)
    assert_same(parts.applyInPandas(summaries, schema).toPandas(), expected)


@pytest.mark.parametrize("engine", ["pandas", "spark"])
def test_fugue(files, summaries, engine, request):
    fa = pytest.importorskip("fugue.api")
    folder, expected = files
    engine = request.getfixturevalue("spark") if engine == "spark" else engine
    rows = fa.load(str(folder), "parquet", engine=engine)
    schema = fa.get_schema(summaries(fa.as_pandas(fa.head(rows, 2))))
    together = {"by": "store", "algo": "coarse"}
    parts = fa.transform(rows, summaries, schema=schema, partition=together, engine=engine)
    assert_same(fa.as_pandas(parts), expected)
