"""Tasks whose columns hang together in another way."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import invwishart, wishart

from sklearn_meta.kernels.evidence import Landmarks, Moments
from sklearn_meta.kernels.scatter import log_evidence, scatter_evidence, scatters


def moments_of(tasks):
    X, weight = np.concatenate(tasks), np.ones(sum(map(len, tasks)))
    offsets = np.append(0, np.cumsum([len(t) for t in tasks]))
    return Moments.of(Landmarks.of(X, weight)(X), np.zeros((len(X), 1)), offsets, weight)


def found(tasks):
    common, other = scatter_evidence(moments_of(tasks)).T
    return other > common


def spoiled(tasks, rng):
    """The columns of the first half shuffled, none as they were; and who it is."""
    bad, out = np.arange(len(tasks)) < len(tasks) // 2, []
    for X, spoil in zip(tasks, bad, strict=True):
        order = np.arange(X.shape[1])
        while spoil and (order == np.arange(len(order))).any():
            order = rng.permutation(order)
        out.append(X[:, order])
    return out, bad


def test_the_evidence_is_that_of_a_covariance_integrated_out():
    rng = np.random.default_rng(0)
    A, B, T, covariance = wishart.rvs(7, np.eye(3), size=4, random_state=rng)
    n, own, expected = 6.0, [], []
    for W, nu in ((A, 2.0), (B, 5.0)):
        k = nu + 2
        own.append(log_evidence(T[None], np.array([n]), W, nu)[0])
        prior = invwishart.logpdf(covariance, k, nu * W)
        after = invwishart.logpdf(covariance, k + n, nu * W + T)
        expected.append(wishart.logpdf(T, n, covariance) + prior - after)
    assert_allclose(own[1] - own[0], expected[1] - expected[0])


def test_scatters_are_covariances():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3)) + np.repeat([0.0, 5.0], 30)[:, None]
    T, n = scatters(moments_of([X[:30], X[30:]]))
    Z = Landmarks.of(X, np.ones(60))(X)[:, 1:]
    assert_allclose(T[1] / n[1], np.cov(Z[30:].T))


def test_half_of_tasks_that_differ_by_nature():
    rng = np.random.default_rng(0)
    W = np.diag([4.0, 1.0, 0.5, 0.2, 0.05, 0.02]) + 0.01
    covariances = invwishart.rvs(14, 8 * W, size=28, random_state=rng)
    tasks, bad = spoiled([rng.multivariate_normal(np.zeros(6), c, 150) for c in covariances], rng)
    odd = found(tasks)
    assert not odd[~bad].any()
    assert odd[bad].sum() >= 7


def test_columns_that_are_constant_in_every_task():
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(30):
        X = rng.standard_normal((40, 6))
        X[:, 3:] = X[0, 3:]
        tasks.append(X)
    tasks, bad = spoiled(tasks, rng)
    odd = found(tasks)
    assert not odd[~bad].any()
    varies = np.stack(tasks).std(axis=1) > 1e-9
    assert_array_equal(odd[bad], varies[bad][:, 3:].any(axis=1))  # else constants changed places


@pytest.mark.parametrize("seed", range(4))
def test_tasks_of_one_kind(seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((4, 4))
    assert not found([rng.standard_normal((25, 4)) @ root for _ in range(20)]).any()


@pytest.mark.parametrize("seed", [0, 4, 31, 35])
def test_columns_that_are_mostly_zero(seed):
    rng = np.random.default_rng(seed)
    n_tasks, p, n = rng.integers(3, 12), rng.integers(3, 13), rng.integers(6, 25)
    X = rng.standard_normal((n_tasks, n, p))
    X = X * (rng.random(X.shape) < rng.uniform(0.05, 0.5))
    with np.errstate(invalid="raise", over="raise"):
        assert np.isfinite(scatter_evidence(moments_of(list(X)))).all()
