"""The map of tasks, and the importance of descriptor entries."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import (
    BatchMetaLearner,
    HierarchicalBayes,
    Pooled,
    Task,
    TaskMapDisplay,
    descriptor_importance,
)
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.descriptors import MomentsDescriptor, RidgeDescriptor
from sklearn_meta.inspection.task_map import map_positions


@pytest.fixture(scope="module")
def tasks():
    return make_linear_tasks(n_tasks=40, n_rows=12, n_features=2, random_state=0)


@pytest.fixture(scope="module")
def model(tasks):
    return BatchMetaLearner(
        descriptor=MomentsDescriptor(), n_estimators=2, random_state=0
    ).meta_fit(tasks)


def test_positions_are_principal_components():
    V = np.random.default_rng(0).standard_normal((30, 5)) * [1, 2, 3, 4, 5] + 7
    positions, share = map_positions(V)
    pca = PCA(2).fit((V - V.mean(axis=0)) / V.std(axis=0))
    expected = pca.transform((V - V.mean(axis=0)) / V.std(axis=0))
    assert_allclose(np.abs(positions), np.abs(expected))
    assert_allclose(share, pca.explained_variance_ratio_)
    assert_allclose(map_positions(V[:, :2])[0], V[:, :2])  # two entries speak for themselves
    one, share = map_positions(V[:, :1])
    assert_allclose(one[:, 1], 0)
    assert_allclose(share, [1, 0])
    assert np.isfinite(map_positions(np.ones((4, 3)))[0]).all()
    many = np.tile(V, (30, 1))
    constant = np.column_stack([np.full((900, 2), 0.1), many])  # whose sums are rounded
    assert_allclose(map_positions(constant)[1], map_positions(many)[1])


def test_map_of_descriptors(plt, tasks, model):
    display = TaskMapDisplay.from_estimator(model, color="mean_y")
    names = model.descriptor_names_
    assert_allclose(display.color, model.task_vectors_[:, names.index("mean_y")])
    assert display.color_name == "mean_y" and list(display.ids) == list(range(40))
    expected, _ = map_positions(model.task_vectors_[:, 1:])  # numbers of rows are left out
    assert_allclose(display.scatter_[""].get_offsets(), expected)
    assert "% of the variance" in display.ax_.get_xlabel()
    assert len(display.figure_.axes) == 2  # a colour bar
    display.figure_.canvas.draw()


def test_map_with_labels(plt, tasks, model):
    _, ax = plt.subplots()
    labels = ["even" if task.id % 2 == 0 else "odd" for task in tasks]
    display = TaskMapDisplay.from_estimator(model, color=labels, color_name="kind", ax=ax)
    assert display.ax_ is ax and display.plot(ax=ax) is display
    assert list(display.scatter_) == ["even", "odd"]
    assert len(display.scatter_["odd"].get_offsets()) == 20
    assert ax.get_legend().get_title().get_text() == "kind"


def test_map_of_coefficients(plt, tasks):
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    ids = np.repeat([f"store_{t.id}" for t in tasks], 12)
    model = HierarchicalBayes().fit(X, y, groups=ids)
    display = TaskMapDisplay.from_estimator(model)
    assert_allclose(display.positions, map_positions(model.task_coefs_)[0])
    assert_array_equal(display.ids, model.task_ids_)


def test_bad_maps(plt, tasks, model, monkeypatch):
    with pytest.raises(ValueError, match="color='mean_z' names 0 entries .* 'mean_y'"):
        TaskMapDisplay.from_estimator(model, color="mean_z")
    with pytest.raises(ValueError, match="color has 3 entries for 40 tasks"):
        TaskMapDisplay.from_estimator(model, color=[1, 2, 3])
    with pytest.raises(TypeError, match="Pooled knows no vectors of tasks"):
        TaskMapDisplay.from_estimator(Pooled().meta_fit(tasks))
    with pytest.raises(NotFittedError):
        TaskMapDisplay.from_estimator(BatchMetaLearner())
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn_meta\[plot\]'"):
        TaskMapDisplay.from_estimator(model)


# -- importance ------------------------------------------------------------------------------------


def test_importance_finds_what_the_tasks_differ_in():
    level = make_linear_tasks(80, 12, 2, mean=[0, 2, 0], covariance=np.diag([9, 0, 0]),
                              random_state=0)  # fmt: skip
    model = BatchMetaLearner(
        Ridge(), descriptor=RidgeDescriptor(), n_estimators=2, random_state=0
    ).meta_fit(level[:50])
    result = descriptor_importance(model, level[50:], n_shots=5, n_repeats=3)
    assert result["name"].tolist() == ["x0", "x1", *model.descriptor_names_]
    assert result["kind"].tolist() == ["feature"] * 2 + ["descriptor"] * 3
    assert result["importances"].shape == (5, 3)
    mean = dict(zip(result["name"], result["importances_mean"], strict=True))
    assert mean["intercept_y"] > 0.3 and mean["x0"] > 0.1
    assert max(abs(mean["x1"]), abs(mean["coef_x1_y"])) < 0.05
    again = descriptor_importance(model, level[50:], n_shots=5, n_repeats=3)
    assert_array_equal(result["importances"], again["importances"])
    assert 0 < result["score"] < 1


def test_importance_of_entries_that_learners_see(tasks):
    model = BatchMetaLearner(n_shots=5, n_estimators=2, random_state=0).meta_fit(tasks[:30])
    result = descriptor_importance(model, tasks[30:])
    assert result["name"].tolist() == ["x0", "x1", "offset_y", "error_y"]
    assert len(result["kind"]) == len(result["importances"]) == 4


def test_importance_of_dataframes_and_labels():
    pd = pytest.importorskip("pandas", reason="columns have names in a dataframe")
    tasks = make_linear_tasks(30, 12, 2, covariance=np.diag([9, 0, 0]), random_state=0)
    frames = [Task(pd.DataFrame(t.X, columns=["a", "b"]), t.y) for t in tasks]
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    for estimator in (tree, Ridge()):
        plain = BatchMetaLearner(estimator, n_estimators=2, random_state=0).meta_fit(tasks[:20])
        named = BatchMetaLearner(estimator, n_estimators=2, random_state=0).meta_fit(frames[:20])
        expected = descriptor_importance(plain, tasks[20:])
        result = descriptor_importance(named, frames[20:])
        assert result["name"].tolist()[:2] == ["a", "b"]
        assert_allclose(result["importances"], expected["importances"], atol=1e-9)
    labelled = [Task(t.X, t.y > 0) for t in tasks]
    model = BatchMetaLearner(LogisticRegression(), n_estimators=2, random_state=0)
    result = descriptor_importance(model.meta_fit(labelled[:20]), labelled[20:])
    assert 0 <= result["score"] <= 1  # accuracy


def test_bad_importance(tasks, model):
    with pytest.raises(TypeError, match="needs a BatchMetaLearner"):
        descriptor_importance(Pooled().meta_fit(tasks), tasks)
    with pytest.raises(TypeError, match='conditioning="features"'):
        descriptor_importance(BatchMetaLearner(conditioning="prior").meta_fit(tasks), tasks)
    with pytest.raises(NotFittedError):
        descriptor_importance(BatchMetaLearner(), tasks)
    with pytest.raises(ValueError, match="no task has more than n_shots=99 rows"):
        descriptor_importance(model, tasks, n_shots=99)
