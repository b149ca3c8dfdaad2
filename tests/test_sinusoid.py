"""Sine curves have the distribution and the exact floors of the published benchmark."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_meta import Task
from sklearn_meta.datasets import make_sinusoid_tasks


def test_shapes_and_ids():
    tasks = make_sinusoid_tasks(n_tasks=5, n_rows=7, random_state=0)
    assert [task.id for task in tasks] == [0, 1, 2, 3, 4]
    assert all(isinstance(task, Task) for task in tasks)
    assert all(task.X.shape == (7, 1) and task.y.shape == (7,) for task in tasks)


def test_sizes_are_drawn_from_a_range():
    tasks = make_sinusoid_tasks(n_tasks=300, n_rows=(2, 4), random_state=0)
    assert {len(task.y) for task in tasks} == {2, 3, 4}


def test_rows_are_on_the_curve_of_the_descriptor():
    for task in make_sinusoid_tasks(n_tasks=20, random_state=0):
        A, phase = task.descriptor["amplitude"], task.descriptor["phase"]
        assert_allclose(task.y, A * np.sin(task.X[:, 0] - phase), atol=1e-12)


def test_the_seed_decides():
    one, two, other = (make_sinusoid_tasks(3, random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(one[2].y, two[2].y)
    assert one[2].descriptor == two[2].descriptor
    assert not np.array_equal(one[2].y, other[2].y)
    rng = np.random.RandomState(0)
    assert_array_equal(one[2].y, make_sinusoid_tasks(3, random_state=rng)[2].y)
    assert not np.array_equal(one[2].y, make_sinusoid_tasks(3, random_state=rng)[2].y)


def test_floors_of_the_benchmark():
    """The mean square of y is 4.252; the best model without adaptation, -1.623 cos x, has 3.006."""
    tasks = make_sinusoid_tasks(n_tasks=4000, n_rows=20, random_state=0)
    x = np.concatenate([task.X[:, 0] for task in tasks])
    y = np.concatenate([task.y for task in tasks])
    assert_allclose(np.mean(y**2), 4.252, atol=0.15)
    assert_allclose(np.mean((y + 1.623 * np.cos(x)) ** 2), 3.006, atol=0.12)
    assert x.min() >= -5 and x.max() <= 5 and abs(x.mean()) < 0.05


def test_ranges_and_noise_are_those_given():
    tasks = make_sinusoid_tasks(
        200, 50, amplitude=(2.0, 2.0), phase=(1.0, 1.5), noise=0.3, random_state=0
    )
    phases = [task.descriptor["phase"] for task in tasks]
    assert all(task.descriptor["amplitude"] == 2.0 for task in tasks)
    assert 1.0 <= min(phases) < 1.05 and 1.45 < max(phases) <= 1.5
    noise = [task.y - 2 * np.sin(task.X[:, 0] - p) for task, p in zip(tasks, phases, strict=True)]
    assert_allclose(np.std(noise), 0.3, rtol=0.03)
