"""Prediction intervals of new tasks cover as often as they say, and warn where nobody can know."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import HierarchicalBayes, Task


def draw(rng, A, mean, n_rows):
    w = mean + A @ rng.normal(size=len(mean))
    X = rng.normal(size=(n_rows, len(mean) - 1))
    return X, w[0] + X @ w[1:] + rng.normal(size=n_rows)


def coverage(n_features, n_tasks, n_repeats, level=0.9, estimator=None):
    """Share of targets of new tasks inside their intervals, by number of known rows."""
    hits = {k: [] for k in (0, 1, 5, 20)}
    for seed in range(n_repeats):
        rng = np.random.default_rng(seed)
        mean, A = rng.normal(size=n_features + 1), rng.normal(size=(n_features + 1,) * 2)
        A *= 0.8 / np.sqrt(n_features + 1)
        model = HierarchicalBayes(estimator)
        model.meta_fit([draw(rng, A, mean, 20) for _ in range(n_tasks)])
        X, y = map(np.stack, zip(*(draw(rng, A, mean, 40) for _ in range(20)), strict=True))
        asked, target = np.concatenate(X[:, 20:]), y[:, 20:].ravel()
        for k, inside in hits.items():
            ids = {"groups": np.repeat(np.arange(20), 20)} if k else {}
            if k:
                known = np.concatenate(X[:, :k]), y[:, :k].ravel()
                model.adapt(*known, groups=np.repeat(np.arange(20), k))
            low, high = model.predict_interval(asked, confidence_level=level, **ids).T
            inside.append(np.mean((low <= target) & (target <= high)))
    return {k: np.mean(inside) for k, inside in hits.items()}


@pytest.mark.filterwarnings("ignore:Intervals of level")
@pytest.mark.parametrize(
    ("n_features", "n_tasks", "n_repeats"), [(3, 5, 20), (8, 10, 12), (3, 30, 8)]
)
def test_intervals_cover(n_features, n_tasks, n_repeats):
    for k, share in coverage(n_features, n_tasks, n_repeats).items():
        assert 0.85 < share < 0.95, (k, share)


@pytest.mark.filterwarnings("ignore:Intervals of level")
def test_other_levels():
    for level in (0.5, 0.99):
        for share in coverage(2, 40, 5, level).values():
            assert share == pytest.approx(level, abs=0.06)


def test_bodies_have_intervals_too():
    for share in coverage(2, 40, 3, estimator=DecisionTreeRegressor(max_depth=4)).values():
        assert share == pytest.approx(0.9, abs=0.05)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    tasks = [draw(rng, 0.5 * np.eye(3), np.ones(3), 15) for _ in range(20)]
    return HierarchicalBayes().meta_fit(tasks)


def test_intervals_hold_predictions_and_widen_with_the_level(model):
    X = np.random.default_rng(1).normal(size=(7, 2))
    wide, narrow = (model.predict_interval(X, confidence_level=c) for c in (0.95, 0.5))
    assert wide.shape == (7, 2)
    mean = model.predict(X)
    assert_allclose(wide.mean(axis=1), mean)
    assert (wide[:, 0] < narrow[:, 0]).all() and (narrow[:, 1] < wide[:, 1]).all()


def test_rows_narrow_intervals(model):
    X, y = draw(np.random.default_rng(2), 0.5 * np.eye(3), np.ones(3), 30)

    def width(k):
        return np.ptp(model.adapt(X[:k], y[:k]).predict_interval(X), axis=1).mean()

    assert width(20) < width(5) < width(0)


def test_intervals_of_each_task(model):
    rng = np.random.default_rng(3)
    X, y = draw(rng, 0.5 * np.eye(3), np.ones(3), 10)
    model = HierarchicalBayes().meta_fit([draw(rng, np.eye(3), np.ones(3), 9) for _ in range(12)])
    model.adapt(X, y, groups=["a"] * 10)
    both = model.predict_interval(X[:2], groups=["a", "unknown"])
    zero_shot = model.predict_interval(X[1:2], groups=["other"])
    assert_allclose(both[1], zero_shot[0])
    assert np.ptp(both[0]) < np.ptp(both[1])


def test_few_tasks_warn():
    rng = np.random.default_rng(0)
    model = HierarchicalBayes().meta_fit([draw(rng, np.eye(2), np.ones(2), 9) for _ in range(6)])
    with pytest.warns(UserWarning, match="0.9 cannot be calibrated on 6 tasks"):
        model.predict_interval(np.zeros((1, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict_interval(np.zeros((1, 1)), confidence_level=0.8)


@pytest.mark.parametrize("level", [0, 1, 90])
def test_bad_levels(model, level):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        model.predict_interval(np.zeros((1, 2)), confidence_level=level)


@pytest.mark.parametrize("estimator", [LogisticRegression(), RandomForestClassifier()])
def test_classifiers_have_none(estimator):
    assert not hasattr(HierarchicalBayes(estimator), "predict_interval")


def test_unknown_side_information_counts():
    """Without its descriptor, a task may be anything that descriptors make of tasks."""
    rng = np.random.default_rng(0)

    def task():
        s, X = rng.normal(), rng.normal(size=(12, 1))
        return Task(X, 5 * s + X[:, 0] + rng.normal(size=12), descriptor=[s])

    model = HierarchicalBayes().meta_fit([task() for _ in range(150)])
    inside = []
    for _ in range(400):
        new = task()
        mean, std = model.predict(new.X, return_std=True)
        inside.append(np.mean(np.abs(new.y - mean) < 1.645 * std))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)
