"""The adaptation curve shows what cross_validate_tasks found."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import (
    AdaptationCurveDisplay,
    HierarchicalBayes,
    IntervalDisplay,
    Pooled,
    ShrinkageDisplay,
    cross_validate_tasks,
)
from sklearn_meta.datasets import make_linear_tasks

ESTIMATORS = {"pooled": Pooled(), "hierarchical": HierarchicalBayes()}


@pytest.fixture(scope="module")
def tasks():
    return make_linear_tasks(n_tasks=12, n_rows=8, random_state=0)


@pytest.fixture
def results():
    """Two estimators, tasks "a" (of two repeats) and "b"; one score is missing."""
    rows = [
        ("one", "a", 0, 1.0),
        ("one", "a", 0, 3.0),
        ("one", "b", 0, 5.0),
        ("one", "a", 5, 4.0),
        ("one", "b", 5, np.nan),
        ("two", "a", 0, -1.0),
        ("two", "b", 0, -3.0),
    ]
    names = ("estimator", "task_id", "n_shots", "score")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))


def test_means_and_standard_errors_over_tasks(plt, results):
    display = AdaptationCurveDisplay.from_results(results)
    assert list(display.mean) == ["one", "two"]
    assert_array_equal(display.n_shots["one"], [0, 5])
    assert_array_equal(display.n_shots["two"], [0])
    assert_allclose(display.mean["one"], [(2 + 5) / 2, 4])  # a task counts once
    assert_allclose(display.standard_error["one"], [np.std([2, 5], ddof=1) / np.sqrt(2), np.nan])
    assert_allclose(display.mean["two"], [-2])
    assert_allclose(display.standard_error["two"], [np.std([1, 3], ddof=1) / np.sqrt(2)])


def test_negated_scores_are_errors(plt, results):
    display = AdaptationCurveDisplay.from_results(results, negate_score=True, score_name="Loss")
    assert_allclose(display.mean["two"], [2])
    assert_allclose(display.standard_error["two"], [np.std([1, 3], ddof=1) / np.sqrt(2)])
    assert "Loss" in display.ax_.get_ylabel()


def test_from_estimator_is_from_results(plt, tasks):
    params = dict(n_shots=(0, 2, 4), cv=3, random_state=1)
    scoring = "neg_root_mean_squared_error"
    display = AdaptationCurveDisplay.from_estimator(ESTIMATORS, tasks, scoring=scoring, **params)
    results = cross_validate_tasks(ESTIMATORS, tasks, scoring=scoring, **params)
    expected = AdaptationCurveDisplay.from_results(results, negate_score=True)
    assert display.score_name == "Root mean squared error"
    for name in ESTIMATORS:
        assert_allclose(display.mean[name], expected.mean[name])
        for i, k in enumerate(params["n_shots"]):
            own = (results["estimator"] == name) & (results["n_shots"] == k)
            error = -results["score"][own]
            assert_allclose(display.mean[name][i], error.mean())
            assert_allclose(
                display.standard_error[name][i], error.std(ddof=1) / np.sqrt(len(tasks))
            )


def test_scores_that_are_better_when_greater_keep_their_sign(plt, tasks):
    display = AdaptationCurveDisplay.from_estimator(Pooled(), tasks, scoring="r2", n_shots=2)
    results = cross_validate_tasks(Pooled(), tasks, scoring="r2", n_shots=2)
    assert list(display.mean) == ["Pooled"]
    assert_allclose(display.mean["Pooled"], results["score"].mean())
    assert display.score_name == "R2"


def test_picture_has_all_curves_and_labels(plt, results):
    display = AdaptationCurveDisplay.from_results(results)
    ax = display.ax_
    assert ax.figure is display.figure_
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "5"]
    assert "shots" in ax.get_xlabel()
    assert "Score" in ax.get_ylabel()
    said = ax.get_ylabel() + ax.get_legend().get_title().get_text()
    assert "mean ± standard error" in said
    line = display.errorbar_["one"].lines[0]
    assert_allclose(line.get_ydata(), display.mean["one"])
    display.figure_.canvas.draw()


def test_plot_returns_itself_and_draws_where_told(plt, results):
    display = AdaptationCurveDisplay.from_results(results)
    _, axes = plt.subplots(1, 2)
    assert display.plot(ax=axes[1]) is display
    assert display.ax_ is axes[1]
    assert AdaptationCurveDisplay.from_results(results, ax=axes[0]).ax_ is axes[0]
    before = len(plt.get_fignums())
    display.plot()
    assert len(plt.get_fignums()) == before + 1


def test_dataframe_of_results(plt, tasks):
    pd = pytest.importorskip("pandas", reason="results as a dataframe")
    results = cross_validate_tasks(ESTIMATORS, tasks, n_shots=(0, 3), cv=3)
    display = AdaptationCurveDisplay.from_results(pd.DataFrame(results))
    expected = AdaptationCurveDisplay.from_results(results)
    for name in ESTIMATORS:
        assert_allclose(display.mean[name], expected.mean[name])
        assert_allclose(display.standard_error[name], expected.standard_error[name])
    table = pd.DataFrame(results).query("estimator == 'pooled'")
    part = AdaptationCurveDisplay.from_results(table)
    assert_allclose(part.mean["pooled"], expected.mean["pooled"])


def test_without_matplotlib_the_error_says_what_to_install(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn_meta\[plot\]'"):
        AdaptationCurveDisplay.from_results(results)


# -- shrinkage -------------------------------------------------------------------------------------


def test_own_estimates_are_least_squares_and_the_prior_pulls_them(plt, tasks):
    few = [*tasks[:10], (tasks[10].X[:2], tasks[10].y[:2])]  # two rows for three coefficients
    model = HierarchicalBayes().meta_fit(tasks)
    display = ShrinkageDisplay.from_estimator(model, few, coefs=("intercept", 2))
    line = LinearRegression().fit(few[0].X, few[0].y)
    assert_allclose(display.own[0], [line.intercept_, line.coef_[1]])
    assert np.isnan(display.own[-1]).all() and np.isfinite(display.adapted).all()
    assert_array_equal(display.prior_mean, model.prior_mean_[[0, 2]])
    away = np.linalg.norm(display.own[:10] - display.prior_mean, axis=1).mean()
    assert np.linalg.norm(display.adapted[:10] - display.prior_mean, axis=1).mean() < away
    assert display.ax_.get_xlabel() == "Intercept" and "x1" in display.ax_.get_ylabel()


def test_shrinkage_in_a_pipeline_is_in_its_units(plt, tasks):
    model = HierarchicalBayes(make_pipeline(StandardScaler(), LinearRegression())).meta_fit(tasks)
    display = ShrinkageDisplay.from_estimator(model, tasks, coefs=(1, 2))
    Z = model.estimator_[0].transform(tasks[0].X)
    assert_allclose(display.own[0], LinearRegression().fit(Z, tasks[0].y).coef_)


def test_shrinkage_needs_linear_coefficients(plt, tasks):
    boosting = HierarchicalBayes(HistGradientBoostingRegressor(max_iter=2)).meta_fit(tasks)
    for model in (boosting, Pooled().meta_fit(tasks)):
        with pytest.raises(TypeError, match="around a linear regressor"):
            ShrinkageDisplay.from_estimator(model, tasks)
    model = HierarchicalBayes().meta_fit(tasks)
    for coefs, what in (((0, "price"), "'price', which is no"), ((0, 3), "has 3, and there are 3")):
        with pytest.raises(ValueError, match=what):
            ShrinkageDisplay.from_estimator(model, tasks, coefs=coefs)


# -- rows that arrive ------------------------------------------------------------------------------


def test_each_row_is_predicted_from_those_before(plt, tasks):
    model = HierarchicalBayes().meta_fit(tasks[:11])
    before = model.predict(tasks[11].X)
    display = IntervalDisplay.from_estimator(model, tasks[11].X, tasks[11].y, max_rows=6)
    assert_array_equal(model.predict(tasks[11].X), before)  # the model does not change
    assert_allclose(display.prediction[0], before[0])
    X, y = tasks[11].X, tasks[11].y
    model.adapt(X[:5], y[:5])
    assert_allclose(display.prediction[5], model.predict(X[5:6])[0])
    assert_allclose(display.interval[5], model.predict_interval(X[5:6])[0])
    assert "90 % interval" in [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_intervals_are_needed(plt, tasks):
    with pytest.raises(TypeError, match="Pooled has no predict_interval"):
        IntervalDisplay.from_estimator(Pooled().meta_fit(tasks), tasks[0].X, tasks[0].y)
