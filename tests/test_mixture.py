"""The mixture of priors: what it finds in data of known truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_meta.kernels.evidence import Landmarks, Moments
from sklearn_meta.priors.mixture import fit_mixture, learn_mixture

MEAN = np.array([1.0, 4.0, -2.0, 1.0, 3.0, -1.0])


def sources(slopes, seed=0, n_rows=30, noise=0.5):
    """Landmarks, targets around their mean, and offsets, of sources with these coefficients."""
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((n_rows, len(w) - 1)) for w in slopes]
    targets = [
        w[0] + X @ w[1:] + noise * rng.standard_normal(n_rows)
        for X, w in zip(inputs, slopes, strict=True)
    ]
    return np.concatenate(inputs), np.concatenate(targets), n_rows * np.arange(len(slopes) + 1)


def moments_of(X, y, offsets):
    weight = np.ones(len(X))
    Z = Landmarks.of(X, weight)(X)
    return Moments.of(Z, (y - y.mean())[:, None], offsets, weight)


def coefficients(n_sources, spread, seed=0):
    rng = np.random.default_rng(seed)
    return MEAN + spread * rng.standard_normal((n_sources, len(MEAN)))


@pytest.mark.parametrize("spread", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_sources_that_differ_at_random_are_one_component(spread, seed):
    mixture = learn_mixture(moments_of(*sources(coefficients(30, spread, seed), seed)))
    assert len(mixture.means) == 1
    assert mixture.narrow.min() > 0.5


@pytest.mark.parametrize("n_bad", [10, 15, 18])
@pytest.mark.parametrize("seed", range(3))
def test_negated_sources_have_a_component(n_bad, seed):
    slopes, bad = coefficients(30, 0.3, seed), np.arange(30) < n_bad
    slopes[bad] *= -1
    mixture = learn_mixture(moments_of(*sources(slopes, seed)))
    component = mixture.member.argmax(axis=1)
    assert len(mixture.means) == 2
    assert len({*component[bad]}) == len({*component[~bad]}) == 1
    assert component[0] != component[-1]


@pytest.mark.parametrize("n_bad", [5, 10, 15])
def test_sources_that_agree_with_nobody_are_of_the_broad_component(n_bad):
    rng = np.random.default_rng(1)
    slopes, bad = coefficients(30, 0.3), np.arange(30) < n_bad
    slopes[bad, 1:] = np.linalg.norm(MEAN[1:]) / np.sqrt(5) * rng.standard_normal((n_bad, 5))
    mixture = learn_mixture(moments_of(*sources(slopes)))
    assert len(mixture.means) == 1
    assert np.sum((mixture.narrow < 0.5) != bad) <= 1


def test_means_without_a_source_are_those_of_a_fit_without_it():
    """Where a source has all the weight or none, leaving it out changes nothing else."""
    moments = moments_of(*sources(coefficients(12, 0.3)))
    mixture = fit_mixture(moments, np.tile([1.0, 0.0], (12, 1)), max_iter=1)
    for a in (0, 7):
        rest = np.arange(12) != a
        # one iteration from the same start, scaled by the same noise
        own = Moments(*(part[rest] for part in vars(moments).values()))
        other = fit_mixture(own, np.tile([1.0, 0.0], (11, 1)), max_iter=1)
        assert_allclose(mixture.left_out_means[:, a], other.means, rtol=0.02, atol=0.01)


def test_parameters_are_recovered():
    rng = np.random.default_rng(0)
    spread = np.array([1.0, 0.5, 0.2])
    slopes = [2.0, 1.0, -1.0] + spread * rng.standard_normal((400, 3))
    X, y, offsets = sources(slopes, noise=0.5)
    weight = np.ones(len(X))
    Z = np.column_stack([np.ones(len(X)), X])  # landmarks that are known
    moments = Moments.of(Z, (y - 2)[:, None], offsets, weight)
    mixture = fit_mixture(moments, np.tile([1.0, 0.0], (400, 1)))
    assert_allclose(mixture.means[0][:, 0], [0.0, 1.0, -1.0], atol=0.15)
    covariance = mixture.s * np.linalg.inv(mixture.P)
    assert_allclose(np.sqrt(np.diag(covariance)), spread, rtol=0.15)
    assert_allclose(mixture.s, 0.25, rtol=0.1)


def test_noise_of_their_own_has_one_scale():
    rng = np.random.default_rng(0)
    X, _, offsets = sources(np.zeros((300, 3)))
    noise = 0.5 * 4 / rng.chisquare(4, 300)
    y = np.repeat(np.sqrt(noise), 30) * rng.standard_normal(len(X))
    mixture = learn_mixture(moments_of(X, y, offsets))
    assert_allclose(mixture.s, 0.5, rtol=0.2)


def test_a_target_finds_its_component():
    slopes = coefficients(30, 0.1)
    slopes[:15, 1:] *= -1
    X, y, offsets = sources(slopes)
    landmarks = Landmarks.of(X, np.ones(len(X)))
    mixture = learn_mixture(moments_of(X, y, offsets))
    Z, Y = landmarks(X[:4]), (y - y.mean())[:4, None]
    w, p = mixture.adapt(Z, Y, np.ones(4), source=0)
    assert_allclose(p.sum(), 1)
    assert p[mixture.member[0].argmax()] > 0.99
    assert np.mean((landmarks(X[4:30]) @ w + y.mean() - y[4:30, None]) ** 2) < 1
    _, p = mixture.adapt(Z[:0], Y[:0], np.ones(0))
    assert_allclose(p[:2], 0.5, atol=0.05)


@pytest.mark.parametrize("n_sources, n_features", [(1, 2), (2, 2), (5, 0), (3, 8)])
def test_few_sources_and_columns(n_sources, n_features):
    X, y, offsets = sources(np.ones((n_sources, 1 + n_features)), n_rows=6)
    for some in (y, np.zeros(len(y))):
        mixture = learn_mixture(moments_of(X, some, offsets))
        assert np.isfinite(mixture.means).all() and np.isfinite(mixture.P).all()
        assert_allclose(mixture.member.sum(axis=1), 1)
