"""Weights of a linear pool."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from sklearn_meta.kernels.pooling import LogPool, SquaredPool, bagged_weights


def squared_pool(n_tasks=12, n_candidates=4, seed=0):
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), 5)
    y = rng.standard_normal(len(tasks))
    F = y[:, None] * [0.9, 0.5, 0.0, -0.5][:n_candidates]
    F = F + rng.standard_normal((len(tasks), n_candidates)) * [1.0, 0.5, 0.3, 2.0][:n_candidates]
    weight = rng.uniform(0.5, 2.0, len(tasks))
    return SquaredPool.of(F, y, tasks, weight), (F, y, tasks, weight)


def log_pool(seed=0):
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(10), 6)
    P = rng.uniform(0.05, 1.0, (len(tasks), 3))
    return LogPool.of(P, tasks, rng.uniform(0.5, 2.0, len(tasks)))


def minimised(pool, v):
    """The same by a general method."""
    n = pool.of_candidates().shape[1]
    found = minimize(
        lambda a: v @ pool.losses(a),
        np.full(n, 1 / n),
        bounds=[(0, 1)] * n,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    return found.fun


@pytest.mark.parametrize("seed", range(3))
def test_the_best_weights_are_those_of_a_general_minimiser(seed):
    rng = np.random.default_rng(seed)
    for pool in (squared_pool(seed=seed)[0], log_pool(seed)):
        v = rng.dirichlet(np.ones(pool.n_tasks))
        a = pool.best(v[None])[0]
        assert (a >= 0).all() and np.isclose(a.sum(), 1)
        assert_allclose(v @ pool.losses(a), minimised(pool, v), rtol=2e-4)


def test_losses_are_means_over_the_rows_of_each_task():
    pool, (F, y, tasks, weight) = squared_pool()
    a = np.array([0.1, 0.2, 0.3, 0.4])
    own = [np.average((F[m] @ a - y[m]) ** 2, weights=weight[m]) for m in tasks == np.c_[:12]]
    assert_allclose(pool.losses(a), own)
    for each in (pool, log_pool()):
        eye = np.eye(each.of_candidates().shape[1])
        assert_allclose(each.of_candidates(), np.stack([each.losses(e) for e in eye], axis=1))


def test_a_perfect_candidate_has_all_the_weight():
    rng = np.random.default_rng(0)
    y, tasks = rng.standard_normal(30), np.repeat(np.arange(10), 3)
    F = np.stack([y + rng.standard_normal(30), y, y + 1], axis=1)
    weights = bagged_weights(SquaredPool.of(F, y, tasks, np.ones(30)), rng)
    assert_allclose(weights, [0, 1, 0], atol=1e-6)


def test_what_tasks_cannot_tell_apart_shares_the_weight():
    rng = np.random.default_rng(0)
    y, tasks = np.zeros(40), np.arange(40)
    F = rng.standard_normal((40, 2)) + 2.0
    weights = bagged_weights(SquaredPool.of(F, y, tasks, np.ones(40)), rng)
    assert weights.min() > 0.1


def test_predictions_without_error_have_weights():
    F = np.ones((6, 3))
    weights = bagged_weights(
        SquaredPool.of(F, np.ones(6), np.repeat([0, 1], 3), np.ones(6)), np.random.default_rng(0)
    )
    assert np.isclose(weights.sum(), 1) and (weights >= 0).all()
