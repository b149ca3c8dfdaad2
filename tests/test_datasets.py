"""Generated tasks have the distribution that they are said to have."""

import numpy as np
import pytest

from sklearn_meta import Task
from sklearn_meta.datasets import (
    make_circle_tasks,
    make_cluster_tasks,
    make_digits_tasks,
    make_linear_tasks,
)


def test_shapes_and_ids():
    tasks = make_linear_tasks(n_tasks=5, n_rows=7, n_features=3, random_state=0)
    assert [task.id for task in tasks] == [0, 1, 2, 3, 4]
    assert all(isinstance(task, Task) for task in tasks)
    assert all(task.X.shape == (7, 3) and task.y.shape == (7,) for task in tasks)


def test_sizes_are_drawn_from_a_range():
    tasks = make_linear_tasks(n_tasks=300, n_rows=(2, 4), random_state=0)
    assert {len(task.y) for task in tasks} == {2, 3, 4}


def test_the_seed_decides():
    one, two, other = (make_linear_tasks(3, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[2].y, two[2].y)
    assert not np.array_equal(one[2].y, other[2].y)
    rng = np.random.RandomState(0)
    np.testing.assert_array_equal(one[2].y, make_linear_tasks(3, random_state=rng)[2].y)
    assert not np.array_equal(one[2].y, make_linear_tasks(3, random_state=rng)[2].y)


@pytest.mark.parametrize("given", [False, True])
def test_coefficients_have_the_prior(given):
    mean, covariance = np.array([0.0, 1.0, 2.0]), np.eye(3)
    params = {}
    if given:
        mean, covariance = np.array([5.0, -1.0, 0.0]), np.diag([4.0, 1.0, 0.0])
        params = {"mean": mean.tolist(), "covariance": covariance.tolist()}
    tasks = make_linear_tasks(2000, 10, 2, noise=0.0, random_state=0, **params)
    w = [np.linalg.lstsq(np.column_stack([np.ones(10), t.X]), t.y)[0] for t in tasks]
    np.testing.assert_allclose(np.mean(w, axis=0), mean, atol=0.15)
    np.testing.assert_allclose(np.cov(w, rowvar=False), covariance, atol=0.3)


def test_noise_is_a_standard_deviation():
    tasks = make_linear_tasks(500, 10, 1, covariance=np.zeros((2, 2)), noise=3.0, random_state=0)
    residuals = [task.y - task.X[:, 0] for task in tasks]
    assert np.std(residuals) == pytest.approx(3.0, rel=0.05)


def least_squares(tasks):
    return np.array([np.linalg.lstsq(task.X, task.y)[0] for task in tasks])


def test_coefficients_lie_around_a_circle():
    tasks = make_circle_tasks(400, 30, 3, radius=5.0, noise=0.1, random_state=0)
    s = np.array([task.descriptor["s"] for task in tasks])
    centre = 5 * np.stack([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s), 0 * s], axis=1)
    apart = least_squares(tasks) - centre
    np.testing.assert_allclose(apart.mean(axis=0), 0, atol=0.2)
    np.testing.assert_allclose(apart.std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(np.histogram(s, 4, (0, 1))[0], 100, atol=30)
    residuals = [task.y - task.X @ w for task, w in zip(tasks, least_squares(tasks), strict=True)]
    np.testing.assert_allclose(np.std(residuals) * np.sqrt(30 / 27), 0.1, rtol=0.05)


def test_clusters_differ_in_coefficients_and_inputs():
    tasks = make_cluster_tasks(
        400, 30, 3, means=(4, 0, -2), input_means=(1, 0, 5), noise=0.1, random_state=0
    )
    cluster = np.array([task.descriptor["cluster"] for task in tasks])
    w, x = least_squares(tasks), np.array([task.X.mean(axis=0) for task in tasks])
    for c, (mean, centre) in enumerate([(4, 1), (0, 0), (-2, 5)]):
        np.testing.assert_allclose(w[cluster == c].mean(axis=0), mean, atol=0.4)
        np.testing.assert_allclose(x[cluster == c].mean(axis=0), centre, atol=0.1)
        assert (cluster == c).sum() > 80


def test_digits():
    tasks = make_digits_tasks(20, 3, 7, classes=(1, 4, 8, 9), random_state=0)
    assert [task.id for task in tasks] == list(range(20))
    seen = set()
    for task in tasks:
        digits, counts = np.unique(task.y, return_counts=True)
        assert counts.tolist() == [7, 7, 7]
        assert len(np.unique(task.X, axis=0)) == len(task.X) == 21
        assert task.X.min() == 0
        assert task.X.max() == 1
        seen |= set(digits.tolist())
    assert seen == {1, 4, 8, 9}
    again = make_digits_tasks(20, 3, 7, classes=(1, 4, 8, 9), random_state=0)
    np.testing.assert_array_equal(again[5].X, tasks[5].X)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"classes": [3, 10]}, "classes: 10 is not among the labels"),
        ({"classes": [3, 4, 4], "n_way": 3}, r"n_way=3: there are 2 classes, \[3, 4\]"),
        ({"n_rows": 175}, "n_rows=175: there are 174 rows of the class 8"),
    ],
    ids=["unknown", "too many ways", "too many rows"],
)
def test_digits_that_are_not_there(params, message):
    with pytest.raises(ValueError, match=message):
        make_digits_tasks(**params)
