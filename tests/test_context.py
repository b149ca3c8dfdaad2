"""Contextual effects: what the means of a task's features say, and pooled least squares."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

from sklearn_meta import HierarchicalBayes, Pooled
from sklearn_meta.priors import context as context_module
from sklearn_meta.priors.context import context_of, surely_better
from sklearn_meta.priors.pull import _pull

WITHIN, CONTEXTUAL, BETWEEN = 1.0, -3.0, 3.0


def mundlak(n_tasks, n_rows, seed, noise=0.5):
    """Slope 1 within tasks; the level falls by 3 with the mean of the feature."""
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        mu = BETWEEN * rng.normal()
        X = mu + rng.normal(size=(n_rows, 1))
        level = 0.5 * rng.normal() + CONTEXTUAL * mu
        tasks.append((X, level + WITHIN * X[:, 0] + noise * rng.normal(size=n_rows)))
    return tasks


def error(model, tasks, k, rest=10):
    return np.mean(
        [np.mean((model.adapt(X[:k], y[:k]).predict(X[rest:]) - y[rest:]) ** 2) for X, y in tasks]
    )


def test_effects_and_the_slope_without_rows():
    """Between variance 9, within 1: the pooled slope is 1 - 3 * 9 / 10."""
    model = HierarchicalBayes(contextual_effects=True).meta_fit(mundlak(600, 12, 0))
    assert model.contextual_effects_
    assert_allclose(model.prior_mean_[1], WITHIN, atol=0.1)
    assert_allclose(model.contextual_coef_, CONTEXTUAL, rtol=0.05)
    assert_allclose(model.estimator_.coef_, WITHIN + CONTEXTUAL * 0.9, rtol=0.06)


def test_the_mean_of_a_task_is_known_as_by_its_posterior():
    model = HierarchicalBayes(contextual_effects=True).meta_fit(mundlak(600, 12, 0))
    prior = model.meta_model_.prior
    X = np.array([[5.0], [7.0]])
    model.adapt(X, [0.0, 0.0])
    moments = prior.standardized(prior.moments)
    context = context_of(moments)
    assert_allclose(context.rho, 0.9, atol=0.02)
    assert_allclose(context.reliability(np.array([2.0])), 2 * 0.9 / 1.9, rtol=0.02)
    assert_allclose(context.unknown(np.array([2.0])), 0.9 * 0.1 / 1.9, rtol=0.2)


def test_zero_shot_is_no_worse_than_pooling():
    train, new = mundlak(60, 12, 1), mundlak(100, 30, 2)
    pooled = error(Pooled().meta_fit(train), new, 0)
    plain = error(HierarchicalBayes(contextual_effects=False).meta_fit(train), new, 0)
    assert plain > 3 * pooled
    for contextual in ("auto", True):
        model = HierarchicalBayes(contextual_effects=contextual).meta_fit(train)
        assert error(model, new, 0) < 1.03 * pooled


def test_noisy_rows_are_predicted_better_for_what_their_place_says():
    train, new = mundlak(100, 10, 3, noise=5.0), mundlak(200, 30, 4, noise=5.0)
    plain = HierarchicalBayes(contextual_effects=False).meta_fit(train)
    model = HierarchicalBayes().meta_fit(train)
    assert model.contextual_effects_
    for k in (1, 5):
        assert error(model, new, k) < 0.97 * error(plain, new, k)


def test_intervals_cover_with_contextual_effects():
    train, new = mundlak(100, 10, 5), mundlak(200, 30, 6)
    model = HierarchicalBayes(contextual_effects=True).meta_fit(train)
    for k in (0, 1, 5):
        inside = []
        for X, y in new:
            low, high = model.adapt(X[:k], y[:k]).predict_interval(X[10:]).T
            inside.append(np.mean((low <= y[10:]) & (y[10:] <= high)))
        assert np.mean(inside) == pytest.approx(0.9, abs=0.04)


def test_pooled_slopes_help_where_slopes_depend_on_the_place():
    """The mean of slopes within tasks is not what a new task is best predicted by."""
    rng = np.random.default_rng(7)

    def task():
        X = np.exp(0.7 * rng.normal()) * (1 + 0.5 * rng.uniform(size=(12, 1)))
        return X, X[:, 0] ** 2 + rng.normal() * 0.1 + 0.1 * rng.normal(size=12)

    train, new = [task() for _ in range(100)], [task() for _ in range(200)]
    errors = {
        c: error(HierarchicalBayes(contextual_effects=c).meta_fit(train), new, 0, rest=0)
        for c in (False, "auto")
    }
    assert errors["auto"] < 0.95 * errors[False]
    assert errors["auto"] < 1.1 * error(Pooled().meta_fit(train), new, 0, rest=0)


@pytest.mark.parametrize("contextual", ["auto", True])
def test_rows_added_later_and_repetition(contextual):
    (X, y), train = mundlak(1, 9, 8)[0], mundlak(40, 8, 9)
    model = HierarchicalBayes(contextual_effects=contextual).meta_fit(train)
    whole = model.adapt(X, y).estimator_
    parts = model.adapt(X[:4], y[:4]).partial_adapt(X[4:], y[4:]).estimator_
    assert_allclose(parts.coef_, whole.coef_, rtol=1e-10)
    twice = model.adapt(np.r_[X, X], np.r_[y, y]).estimator_
    weighted = model.adapt(X, y, sample_weight=np.full(9, 2.0)).estimator_
    assert_allclose(weighted.coef_, twice.coef_, rtol=1e-10)


def test_units_and_shift_change_nothing():
    train, (X, y) = mundlak(40, 8, 10), mundlak(1, 9, 11)[0]
    moved = [(100 + 20 * A, 7 + 3 * b) for A, b in train]
    one, other = HierarchicalBayes().meta_fit(train), HierarchicalBayes().meta_fit(moved)
    for k in (0, 2):
        a = one.adapt(X[:k], y[:k]).predict(X)
        b = other.adapt(100 + 20 * X[:k], 7 + 3 * y[:k]).predict(100 + 20 * X)
        assert_allclose(b, 7 + 3 * a, rtol=1e-5)


def test_balanced_features_have_no_context():
    """All tasks have the same rows, as in a designed experiment: nothing to learn from."""
    rng = np.random.default_rng(12)
    X = np.arange(10.0)[:, None]
    train = [(X, rng.normal() + X[:, 0] * rng.normal() + rng.normal(size=10)) for _ in range(18)]
    models = [HierarchicalBayes(contextual_effects=c).meta_fit(train) for c in (True, False)]
    assert not models[0].contextual_effects_
    assert_allclose(models[0].prior_mean_, models[1].prior_mean_)


def test_plain_likelihood_has_none():
    train = mundlak(40, 8, 13)
    plain = HierarchicalBayes(regularization=None).meta_fit(train)
    same = HierarchicalBayes(regularization=None, contextual_effects=False).meta_fit(train)
    assert_allclose(plain.estimator_.coef_, same.estimator_.coef_, rtol=0)
    assert plain.log_likelihood_ == same.log_likelihood_


@pytest.mark.parametrize(
    "params",
    [{"random_effects": [0]}, {"estimator": LogisticRegression()}, {"descriptor_columns": [1]}],
)
def test_where_there_can_be_none_true_is_an_error(params):
    rng = np.random.default_rng(14)
    X, y, ids = rng.normal(size=(60, 2)), np.tile([0, 1], 30), np.repeat(np.arange(10), 6)
    X[:, 1] = ids
    model = HierarchicalBayes(**params, contextual_effects=True)
    with pytest.raises(ValueError, match='contextual_effects="auto"'):
        model.fit(X, y, groups=ids)


@pytest.mark.parametrize("at_five, better", [(0.9, True), (1.2, False)])
def test_a_gain_without_rows_does_not_pay_for_a_loss_with_some(monkeypatch, at_five, better):
    plain = HierarchicalBayes(contextual_effects=False).meta_fit(mundlak(40, 8, 15))
    prior, rng = plain.meta_model_.prior, np.random.default_rng(0)
    errors = iter(
        [np.ones((3, 40)), np.array([[0.4], [0.9], [at_five]]) + 0.1 * rng.normal(size=40)]
    )
    monkeypatch.setattr(context_module, "_errors", lambda prior, held: next(errors))
    assert surely_better(prior, prior) == better


@pytest.mark.parametrize(
    ("gain", "spread", "without", "with_some"),
    [(0.2, 3.0, 1.0, 0.0), (0.0, 0.1, 0.0, 0.0), (1.0, 0.1, 1.0, 1.0)],
)
def test_without_rows_the_prior_mean_must_prove_itself(gain, spread, without, with_some):
    """Where nobody knows which mean is better it is pooled least squares, but not with rows."""
    gains = gain + spread * np.tile([1.0, -1.0], 20)
    for n_shots, expected in ((0, without), (1, with_some)):
        assert_allclose(_pull(n_shots, gains, np.ones(40)), expected, atol=0.01)
