"""Predictions averaged over a posterior against integrals and samples."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from sklearn_meta.kernels.predictive import (
    predictive_mean,
    predictive_probabilities,
    predictive_softmax,
    predictor_moments,
)


def average(function, m, sd):
    return quad(lambda z: function(m + sd * z) * norm.pdf(z), -10, 10)[0]


def test_predictions_average_over_the_posterior():
    rng = np.random.default_rng(0)
    m, sd = rng.standard_normal(20), rng.uniform(0, 3, 20)
    for predict, function in ((predictive_probabilities, expit), (predictive_mean, np.exp)):
        sd = np.minimum(sd, 1.0) if function is np.exp else sd
        expected = [average(function, *pair) for pair in zip(m, sd, strict=True)]
        assert_allclose(predict(m, sd**2), expected, atol=3e-4)
    A = rng.standard_normal((5, 4, 4))
    V, M = A @ np.swapaxes(A, 1, 2), rng.standard_normal((5, 4))
    p = predictive_softmax(M, V)
    assert_allclose(p.sum(axis=1), 1.0)
    order = [3, 1, 0, 2]
    assert_allclose(predictive_softmax(M[:, order], V[:, order][:, :, order]), p[:, order])
    z = rng.standard_normal((50_000, 4))
    for i in range(5):
        e = np.exp(M[i] + z @ A[i].T)
        assert_allclose(p[i], (e / e.sum(axis=1, keepdims=True)).mean(axis=0), atol=0.015)
    assert np.isfinite(predictive_mean(np.array([1e4]), np.array([1.0]))).all()


def test_moments_of_raw_predictions():
    rng = np.random.default_rng(0)
    K, X, task = 2, rng.standard_normal((5, 2)), np.array([0, 1, 1, 0, 1])
    mode = rng.standard_normal((2, 3 * K))
    A = rng.standard_normal((2, 2 * K, 2 * K))
    V = A @ np.swapaxes(A, 1, 2)
    mean, variance = predictor_moments(X, task, mode, V, np.array([0, 2]), n_outputs=K)
    for i in range(5):
        x = np.kron(np.append(1.0, X[i])[None], np.eye(K))
        z = np.kron(np.array([[1.0, X[i, 1]]]), np.eye(K))
        assert_allclose(mean[i], x @ mode[task[i]])
        assert_allclose(variance[i], z @ V[task[i]] @ z.T)
