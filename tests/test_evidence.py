"""Landmarks, moments, evidence and posteriors of linear models, each by a second route."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_t

from sklearn_meta.kernels.evidence import NU, Landmarks, Moments, posterior, student

N_ROWS, RANK = 12, 3


def prior_and_rows(n_outputs=1):
    rng = np.random.default_rng(0)
    Z = np.column_stack([np.ones(N_ROWS), rng.standard_normal((N_ROWS, RANK - 1))])
    root = rng.standard_normal((RANK, RANK))
    m, P = rng.standard_normal((RANK, n_outputs)), root @ root.T + np.eye(RANK)
    return Z, rng.standard_normal((N_ROWS, n_outputs)), m, P


def moments_of(Z, Y, weight=None):
    weight = np.ones(len(Z)) if weight is None else weight
    return Moments.of(Z, Y, np.array([0, len(Z)]), weight)


@pytest.mark.parametrize("intercept", [True, False])
def test_landmarks_are_white_in_any_units(intercept):
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((60, 3)) + 1, rng.uniform(0.5, 2, 60)
    X = X * [1e-3, 1.0, 1e8] + np.array([0, 2000, 5e8]) * intercept
    landmarks = Landmarks.of(X, weight, intercept)
    Z = landmarks(X)
    second = (Z * weight[:, None]).T @ Z / weight.sum()
    assert_allclose(second, np.eye(3 + intercept), atol=1e-8)
    w = rng.standard_normal(3 + intercept)
    coef, level = landmarks.unfold(w)
    assert_allclose(X @ coef + level, Z @ w, rtol=1e-6, atol=1e-6)


def test_landmarks_along_few_directions_and_with_gaps():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 4)) * [1.0, 1.0, 0.0, 1.0]
    X[:, 3] = X[:, 0]
    landmarks = Landmarks.of(X, np.ones(50))
    assert landmarks(X).shape == (50, 3)
    assert Landmarks.of(X, np.ones(50), max_rank=1)(X).shape == (50, 2)
    X[0] = np.nan
    assert_allclose(landmarks(X)[0], [1.0, 0.0, 0.0], atol=1e-12)


def test_the_evidence_is_that_of_student():
    Z, Y, m, P = prior_and_rows()
    s = 0.7
    moments = moments_of(Z, Y)
    _, q, log_det = posterior(moments, m, P)
    found = student(q, log_det, moments.n, s)
    shape = s * (np.eye(N_ROWS) + Z @ np.linalg.inv(P) @ Z.T)
    expected = multivariate_t.logpdf(Y[:, 0], (Z @ m)[:, 0], shape, df=NU)
    assert_allclose(found, expected + 0.5 * N_ROWS * np.log(np.pi))


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_weighted_row_is_a_row_repeated(n_outputs):
    Z, Y, m, P = prior_and_rows(n_outputs)
    weight = np.r_[np.full(4, 2.0), np.ones(N_ROWS - 4)]
    w, q, _ = posterior(moments_of(Z, Y, weight), m, P)
    normal = (Z * weight[:, None]).T @ Z + P
    assert_allclose(w[0], np.linalg.solve(normal, (Z * weight[:, None]).T @ Y + P @ m))
    some = np.repeat(np.arange(N_ROWS), weight.astype(int))
    again = posterior(moments_of(Z[some], Y[some]), m, P)
    assert_allclose(again[0], w)
    assert_allclose(again[1], q)


def test_without_rows_the_prior_stays():
    Z, Y, m, P = prior_and_rows()
    moments = moments_of(Z[:0], Y[:0])
    w, q, log_det = posterior(moments, m, P)
    assert_allclose(w[0], m)
    assert_allclose(student(q, log_det, moments.n, 0.5), 0, atol=1e-12)
