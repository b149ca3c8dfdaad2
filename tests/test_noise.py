"""Noise of a variance of its own in every task: its prior, its posterior, its intervals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2, norm
from sklearn.linear_model import LogisticRegression

from sklearn_meta import HierarchicalBayes
from sklearn_meta.priors.noise import FREEDOM

A = np.array([[1.0, 0.0], [0.3, 0.5]])


def draw(rng, n_rows, d0, mean=(1.0, 2.0)):
    """A task whose variance of noise is scaled inverse chi-squared (d0, 1)."""
    sd = 1.0 if d0 is None else np.sqrt(d0 / rng.chisquare(d0))
    X, w = rng.normal(size=(n_rows, 1)), mean + A @ rng.normal(size=2)
    return X, w[0] + X @ w[1:] + sd * rng.normal(size=n_rows)


def learned(d0, n_tasks=100, n_rows=12, seed=0, **params):
    rng = np.random.default_rng(seed)
    tasks = [draw(rng, n_rows, d0) for _ in range(n_tasks)]
    return HierarchicalBayes(noise="per_task", **params).meta_fit(tasks)


@pytest.mark.parametrize("d0", [3, 10])
def test_the_prior_of_the_noise_is_found(d0):
    model = learned(d0, n_tasks=1000)
    assert model.noise_freedom_ == pytest.approx(d0, rel=0.3)
    assert model.noise_variance_ == pytest.approx(1, rel=0.1)


def test_equal_noise_is_that_of_all_tasks():
    model = learned(None, n_tasks=300)
    assert model.noise_freedom_ > 0.4 * FREEDOM[1]
    rng = np.random.default_rng(0)
    shared = HierarchicalBayes().meta_fit([draw(rng, 12, None) for _ in range(300)])
    assert shared.noise_freedom_ == np.inf
    X, y = draw(np.random.default_rng(1), 9, None)
    one, other = (m.adapt(X, y).predict_interval(X) for m in (model, shared))
    assert_allclose(one, other, atol=0.4)


def test_posterior_of_coefficients_is_that_of_the_noise_of_the_task():
    model = learned(3, regularization=None, contextual_effects=False)
    X, y = draw(np.random.default_rng(5), 15, None)
    y = y + 3 * np.random.default_rng(6).normal(size=15)
    prior = model.meta_model_.prior
    model.adapt(X, y)
    params, _ = model._params_of(X, None, None)
    _, ((sigma2, freedom),) = model._variances(params)
    sigma2 *= prior.scaling.y_scale**2
    Z = np.column_stack([np.ones(15), X])
    V = Z @ model.prior_covariance_ @ Z.T + sigma2 * np.eye(15)
    gain = model.prior_covariance_ @ Z.T @ np.linalg.inv(V)
    w = model.prior_mean_ + gain @ (y - Z @ model.prior_mean_)
    assert_allclose([model.estimator_.intercept_, *model.estimator_.coef_], w, rtol=1e-6)
    rss = np.sum((y - Z @ w) ** 2)
    expected = (model.noise_freedom_ * model.noise_variance_ + rss) / freedom
    assert_allclose(sigma2, expected, rtol=1e-4)
    assert 12 < freedom - model.noise_freedom_ < 15  # two coefficients take up rows


def covered_by_truth(X, y, k, d0, mean=(1.0, 2.0)):
    """Rows behind the first k that lie in 90 % intervals of who knows all that `draw` does."""
    sd = np.sqrt(d0 / chi2.ppf((np.arange(100) + 0.5) / 100, d0))
    X, S = np.column_stack([np.ones(len(X)), X]), A @ A.T
    H = X[:k] @ S @ X[:k].T + sd[:, None, None] ** 2 * np.eye(k)
    gain = np.swapaxes(np.linalg.solve(H, X[:k] @ S), 1, 2)
    error = y[:k] - X[:k] @ mean
    weight = np.exp(-0.5 * (error @ np.linalg.solve(H, error[:, None]))[:, 0])
    weight /= np.sqrt(np.linalg.det(H))
    at = (mean + gain @ error) @ X[k:].T
    V = np.einsum("ni,kij,nj->kn", X[k:], S - gain @ X[:k] @ S, X[k:])
    below = norm.cdf((y[k:] - at) / np.sqrt(V + sd[:, None] ** 2))
    return np.abs(2 * (weight @ below) / weight.sum() - 1) < 0.9


def coverage(model, d0, n_shots, n_new=150):
    """On average and in the worst tenth of tasks."""
    rng = np.random.default_rng(7)
    tasks = [draw(rng, n_shots + 200, d0) for _ in range(n_new)]
    if model is None:
        inside = [covered_by_truth(X, y, n_shots, d0).mean() for X, y in tasks]
        return np.mean(inside), np.mean(np.sort(inside)[: n_new // 10])
    X, y = map(np.stack, zip(*tasks, strict=True))
    ids = {"groups": np.repeat(np.arange(n_new), 200)} if n_shots else {}
    if n_shots:
        known = np.concatenate(X[:, :n_shots]), y[:, :n_shots].ravel()
        model.adapt(*known, groups=np.repeat(np.arange(n_new), n_shots))
    low, high = model.predict_interval(np.concatenate(X[:, n_shots:]), **ids).T
    target = y[:, n_shots:].ravel()
    inside = np.mean(((low <= target) & (target <= high)).reshape(n_new, 200), axis=1)
    return np.mean(inside), np.mean(np.sort(inside)[: n_new // 10])


def test_intervals_are_those_of_the_noise_of_the_task():
    rng = np.random.default_rng(0)
    shared = HierarchicalBayes().meta_fit([draw(rng, 24, 2) for _ in range(100)])
    model = learned(2, n_rows=24)
    for k in (0, 5, 20):
        assert coverage(model, 2, k)[0] == pytest.approx(0.9, abs=0.04)
    assert coverage(shared, 2, 20)[1] < 0.6
    assert coverage(model, 2, 20)[1] > 0.7


@pytest.mark.parametrize("n_shots", [1, 5, 20])
def test_intervals_are_nearly_those_of_who_knows_the_truth(n_shots):
    """Also in the worst tenth of tasks: of five rows nobody can tell which are loud."""
    average, worst = coverage(None, 2, n_shots)
    assert average == pytest.approx(0.9, abs=0.02)
    found = coverage(learned(2, n_rows=24), 2, n_shots)
    assert found[0] == pytest.approx(average, abs=0.03)
    assert found[1] > worst - 0.06


def test_noisy_rows_move_a_task_less():
    model = learned(2)
    X = np.linspace(-1, 1, 12)[:, None]
    level = 4 + 2 * X[:, 0]  # 3 above what is expected
    e = np.resize([1.0, -1.0], 12)
    e -= (
        np.column_stack([np.ones(12), X])
        @ np.linalg.lstsq(np.column_stack([np.ones(12), X]), e, rcond=None)[0]
    )
    few, many = (model.adapt(X, level + s * e).estimator_.intercept_ for s in (0.1, 10.0))
    assert 1 < many < few - 0.3
    assert few == pytest.approx(4, abs=0.1)
    stds = [model.adapt(X, level + s * e).predict(X, return_std=True)[1].mean() for s in (0.1, 10)]
    assert stds[0] < 0.5 < 5 < stds[1]


@pytest.mark.parametrize("contextual_effects", [False, True])
def test_rows_later_units_and_repetition(contextual_effects):
    model = learned(3, contextual_effects=contextual_effects)
    X, y = draw(np.random.default_rng(2), 10, 3)
    whole = model.adapt(X, y).predict_interval(X)
    parts = model.adapt(X[:4], y[:4]).partial_adapt(X[4:], y[4:]).predict_interval(X)
    assert_allclose(parts, whole, rtol=1e-8)
    twice = model.adapt(np.r_[X, X], np.r_[y, y]).predict_interval(X)
    weighted = model.adapt(X, y, sample_weight=np.full(10, 2.0)).predict_interval(X)
    assert_allclose(weighted, twice, rtol=1e-8)
    rng = np.random.default_rng(0)
    moved = [(7 + 3 * X, 5 + 20 * y) for X, y in (draw(rng, 12, 3) for _ in range(100))]
    other = HierarchicalBayes(noise="per_task", contextual_effects=contextual_effects)
    other.meta_fit(moved).adapt(7 + 3 * X, 5 + 20 * y)
    assert_allclose(other.predict_interval(7 + 3 * X), 5 + 20 * whole, rtol=1e-3)


def test_other_losses_have_no_noise():
    X, y = np.zeros((8, 1)), np.tile([0, 1], 4)
    with pytest.raises(ValueError, match='noise="shared"'):
        HierarchicalBayes(LogisticRegression(), noise="per_task").fit(X, y, groups=y)
