"""Regularised mixed models: no collapse, the right strength, variances that are not identified."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_meta import HierarchicalBayes, Independent, Pooled
from sklearn_meta.base.moments import canonical_order
from sklearn_meta.datasets import make_linear_tasks


def make_tasks(n_tasks, n_rows, n_features, seed=0, intercept=1.0, slope=0.3, noise=1.0, draw=None):
    """Tasks with independent coefficients around common ones, drawn by ``draw``, or the seed."""
    covariance = np.diag([intercept**2] + [slope**2] * n_features)
    mean = np.random.default_rng(seed).normal(size=n_features + 1) / 2
    draw = seed if draw is None else draw
    settings = dict(mean=mean, covariance=covariance, noise=noise, random_state=draw)
    return make_linear_tasks(n_tasks, n_rows, n_features, **settings)


def error(model, tasks, n_shots):
    """Mean squared error of rows behind the twentieth after adaptation."""
    return np.mean(
        [
            np.mean((model.adapt(t.X[:n_shots], t.y[:n_shots]).predict(t.X[20:]) - t.y[20:]) ** 2)
            for t in tasks
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_few_rows_for_many_coefficients(seed):
    """50 tasks x 5 rows, 20 features: likelihood alone ends without noise, far off.

    Who knows the truth has an error of 2.1 after 20 rows.
    """
    train = make_tasks(50, 5, 20, seed)
    new = make_tasks(30, 40, 20, seed, draw=100 + seed)
    model = HierarchicalBayes().meta_fit(train)
    plain = HierarchicalBayes(regularization=None).meta_fit(train)
    assert plain.noise_variance_ < 0.01  # what regularisation is for
    assert 0.7 < model.noise_variance_ < 1.4
    assert model.regularization_ > 0
    errors = {k: error(model, new, k) for k in (0, 5, 20)}
    for baseline in (Pooled(), Independent()):
        baseline.meta_fit(train)
        assert errors[20] < 0.8 * error(baseline, new, 20)
    assert errors[20] < 0.7 * error(plain, new, 20)
    assert 1.5 < errors[20] < 2.6 < errors[0]


@pytest.mark.parametrize(
    ("n_tasks", "n_rows", "n_features", "noise", "largest"),
    [(20, 6, 20, 0.5, 3.5), (1500, 8, 15, 1.0, 1.08)],  # fewer rows than coefficients, and many
)
def test_noise_does_not_vanish(n_tasks, n_rows, n_features, noise, largest):
    model = HierarchicalBayes().meta_fit(make_tasks(n_tasks, n_rows, n_features, noise=noise))
    assert 0.93 < model.noise_variance_ / noise**2 < largest


def test_one_row_of_every_task():
    """Nobody knows what is noise and what is the task: neither is nothing."""
    model = HierarchicalBayes().meta_fit(make_tasks(200, 1, 2, slope=0.0))
    assert 0.3 < model.noise_variance_ < 2.2


def test_more_columns_than_rows():
    rng = np.random.default_rng(0)
    tasks = [(rng.normal(size=(4, 30)), rng.normal(size=4)) for _ in range(5)]
    model = HierarchicalBayes().meta_fit(tasks)
    assert 0.2 < model.noise_variance_ < 3
    assert np.abs(model.prior_mean_[1:]).max() < 0.5
    assert np.abs(model.adapt(*tasks[0]).predict(10 * rng.normal(size=(50, 30)))).max() < 50


def test_real_correlations_are_kept():
    """Where they are strong and tasks are many, little is pulled."""
    covariance = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.01]])
    tasks = make_linear_tasks(200, 20, 2, mean=np.zeros(3), covariance=covariance, random_state=0)
    model = HierarchicalBayes().meta_fit(tasks)
    assert model.regularization_ <= 4
    assert_allclose(model.prior_covariance_, covariance, atol=0.4)


def test_strength_is_that_of_the_best_score():
    model = HierarchicalBayes().meta_fit(make_tasks(40, 15, 3))
    scores = model.regularization_scores_
    assert set(scores) == {0.0, 5.0, 20.0, 80.0}
    assert model.regularization_ == max(scores, key=scores.get)
    fixed = HierarchicalBayes(regularization=model.regularization_).meta_fit(make_tasks(40, 15, 3))
    assert fixed.regularization_scores_ == {}
    assert_allclose(fixed.prior_covariance_, model.prior_covariance_)


def test_strong_regularisation_leaves_two_variances():
    model = HierarchicalBayes(regularization=1e7).meta_fit(make_tasks(40, 15, 3))
    C = model.prior_covariance_[1:, 1:]
    scale = np.sqrt(np.diag(C))
    assert_allclose(C, np.diag(np.diag(C)), atol=1e-3 * scale.max() ** 2)


def test_tasks_that_do_not_differ_have_no_variance():
    rng = np.random.default_rng(3)
    tasks = []
    for _ in range(10):
        X, e = rng.standard_normal((2, 30, 1))
        Z = np.column_stack([np.ones(30), X])
        e -= Z @ np.linalg.lstsq(Z, e, rcond=None)[0]  # least squares agree in all tasks
        tasks.append((X, 1 + (2 * X + e)[:, 0]))
    for regularization in ("auto", None):
        model = HierarchicalBayes(regularization=regularization).meta_fit(tasks)
        assert_array_equal(model.prior_covariance_, 0)
        assert_allclose(model.prior_mean_, [1, 2], rtol=1e-6)


@pytest.mark.parametrize("value", [-1.0, "strong"])
def test_bad_strengths(value):
    with pytest.raises(ValueError, match="regularization"):
        HierarchicalBayes(regularization=value).meta_fit(make_tasks(5, 5, 1))


@pytest.mark.parametrize("ties", [False, True])
def test_the_order_of_held_tasks_is_that_of_their_sums(ties):
    rng = np.random.default_rng(0)
    M = rng.integers(3, size=(3, 3, 200)) + (0.0 if ties else rng.random((3, 3, 200)))
    M[0, 0] = rng.integers(1, 4, size=200)
    expected = np.lexsort((M[0, -1], M[-1, -1], M[0, 0]))
    assert_array_equal(canonical_order(M), expected)


def test_the_strongest_regularisation_is_that_of_two_variances():
    tasks = make_tasks(12, 8, 3)
    most, much = (HierarchicalBayes(regularization=nu).meta_fit(tasks) for nu in (1e300, 1e8))
    assert_allclose(most.prior_covariance_, much.prior_covariance_, rtol=1e-4, atol=1e-4)
