"""The mathematics of transfer, each by a second route."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, multivariate_t
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_meta._bank import Bank, Rows
from sklearn_meta._evidence import NEVER, Moments, evidence, noise_of, own_evidence, penalty_of
from sklearn_meta._source_groups import cuts, ridge, whitened, with_labels
from sklearn_meta._strangers import find_strangers, left_by_others
from sklearn_meta._transfer import (
    deal_folds,
    least_mixture,
    loss_stack,
    moved,
    shifted,
    squared_stack,
)
from sklearn_meta._transfer_loss import loss_of
from sklearn_meta._worth_grouping import worth_grouping
from sklearn_meta.learners import LinearLearner

rng = np.random.default_rng(0)
X, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
S, t = rng.standard_normal((30, 3)), rng.standard_normal(30)


def rows(X, y):
    return Rows(X, y, np.ones(len(y)), y[:, None])


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_pools_are_ridge_in_any_units(alpha, intercept):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)) + 1, rng.standard_normal((60, 1))
    weight = rng.uniform(0.5, 2, 60)
    units = np.array([1e-3, 1.0, 1e8])
    coef, centre, whiten = ridge(X * units, y, weight, alpha, intercept)
    root = np.sqrt(weight)[:, None]
    design = root * np.column_stack([np.full(60, float(intercept)), X])
    penalty = np.sqrt(alpha) * np.diag(np.append(0, 1 / units))
    target = np.vstack([root * y, np.zeros((4, 1))])
    expected, *_ = np.linalg.lstsq(np.vstack([design, penalty]), target)
    found = coef * np.append(1, units)[:, None]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    Z = (X * units - centre) @ whiten
    assert_allclose((Z * weight[:, None]).T @ Z / weight.sum(), np.eye(3), atol=1e-8)


def test_the_mixture_of_least_loss_sums_to_one_in_every_block():
    rng = np.random.default_rng(0)
    A, block = rng.standard_normal((50, 5)) + 1, np.array([0, 0, 1, 1, 1])
    v = least_mixture(A, block)
    assert_allclose(np.bincount(block, v), 1)
    least = np.sum((A @ v) ** 2)
    for other in rng.dirichlet(np.ones(5), 200):
        other /= np.bincount(block, other)[block]
        assert least <= np.sum((A @ other) ** 2) + 1e-6
    assert_allclose(least_mixture(A[:, :2]), least_mixture(A[:, :2], block[:2]))


def test_blocks_of_classes_are_stacked_as_if_each_were_alone():
    rng = np.random.default_rng(0)
    loss = loss_of(LinearLearner(LogisticRegression(), n_features=2, classes=np.arange(2)))
    block, strength = np.array([0, 0, 1, 1, 1]), np.array([2.0, 2.0, 1.0, 1.0, 1.0])
    v0 = np.array([0.5, 0.5, 0.2, 0.3, 0.5])
    F, Y = rng.standard_normal((5, 40, 2)), np.eye(2)[rng.integers(0, 2, 40)]
    rows = np.repeat([0, 1], 20)  # each block has rows of its own
    alone = F * (block[:, None] == rows)[:, :, None]
    both = loss_stack(alone, Y, np.ones(40), loss, v0, strength, block)
    for k in (0, 1):
        own, at = block == k, rows == k
        one = loss_stack(F[own][:, at], Y[at], np.ones(20), loss, v0[own], strength[own][0])
        assert_allclose(both[own], one, atol=1e-3)
        assert np.abs(one - v0[own]).max() > 0.01


def test_left_out_residuals_of_a_move_are_those_of_fits_without_the_row():
    _, centre, whiten = ridge(S, t[:, None], np.ones(30), 1.0, True)
    kappa, m = np.array([1.0, 0.1]), np.array([3.0, 0.5])
    _, left_out = moved(X, y, np.ones(8), centre, whiten, kappa, m)
    for i in range(8):
        rest = np.arange(8) != i
        step, _ = moved(X[rest], y[rest], np.ones(7), centre, whiten, kappa, m)
        assert_allclose(left_out[:, i], y[i] - step @ np.append(1.0, X[i]))


@pytest.mark.parametrize(
    "units, centre, fit_intercept",
    [
        ((1, 1, 1), (0, 0, 0), True),
        ((1, 1e6, 1e-3), (2000, 5e6, 1), True),  # a year, a population
        ((1, 1e6, 1e-3), (3, 5e6, 0), False),
    ],
    ids=str,
)
def test_a_refit_is_ridge_on_both_and_leaves_each_row_out(units, centre, fit_intercept):
    ridge = Ridge(alpha=2.0, fit_intercept=fit_intercept)
    bank = Bank(LinearLearner(ridge, n_features=3), 0.0, 0)
    source, target = (np.array(centre) + np.array(units) * Z for Z in (S, X))
    row, left_out = bank.refit(rows(source, t), rows(target, y), 0.3)

    def fit(kept):
        weight = np.r_[np.full(30, 0.3), np.ones(len(kept))]
        both = np.vstack([source, target[kept]])
        return clone(ridge).fit(both, np.r_[t, y[kept]], sample_weight=weight)

    expected = fit(np.arange(8)).predict(target)
    assert_allclose(bank.raw(row[None], target)[0, :, 0], expected, rtol=1e-6, atol=1e-6)
    for i in range(8):
        expected = fit(np.delete(np.arange(8), i)).predict(target[[i]])
        assert_allclose(left_out[i], expected, rtol=1e-6, atol=1e-6)


def test_offsets_minimise_the_penalised_loss():
    classes = np.array(["a", "b", "c"])
    loss = loss_of(LinearLearner(LogisticRegression(), n_features=3, classes=classes))
    f, Y = rng.standard_normal((8, 3)), np.eye(3)[rng.integers(0, 3, 8)]
    b = shifted(f, Y, np.ones(8), np.array([[2.0]]), loss, n_iter=2000)[0]

    def objective(b):
        return loss.value(f + b, Y).sum() + 0.5 * 2.0 * loss.unit * b @ b

    assert_allclose(b, minimize(objective, np.zeros(3), tol=1e-12).x, atol=1e-5)


def test_the_stack_finds_the_mixture_and_shrinks_to_the_prior():
    F = rng.standard_normal((50, 3))
    v0 = np.array([0.0, 0.0, 1.0])
    target = F @ [0.7, 0.3, 0.0]
    assert_allclose(squared_stack(F, target, v0, np.eye(3), 0.0), [0.7, 0.3, 0.0], atol=1e-6)
    assert_allclose(squared_stack(F, target, v0, np.eye(3), 1e9), v0, atol=1e-4)


def test_folds_have_every_class_as_far_as_there_are_rows():
    labels = np.repeat(["a", "b", "c"], [5, 4, 1])
    fold = deal_folds(labels, 3)
    assert sorted(np.bincount(fold)) == [3, 3, 4]
    assert all(len(set(fold[labels == c])) == 3 for c in "ab")
    assert deal_folds(labels[:1], 3).tolist() == [0]


def test_contradicting_sources_are_told_apart():
    Z = rng.standard_normal((200, 2))
    sign = np.repeat([1.0, -1.0], 100)
    targets = sign * (Z @ [2.0, 1.0]) + 0.1 * rng.standard_normal(200)
    space = whitened(Z, targets[:, None], np.arange(0, 201, 10), np.ones(200))
    groups = cuts(space, 2)[-1]
    assert groups.labels.tolist() in ([0] * 10 + [1] * 10, [1] * 10 + [0] * 10)
    chance = groups.chances(Z[:3], targets[:3, None], np.ones(3))
    assert chance[groups.labels[0]] > 0.9
    assert_allclose(chance.sum(), 1)


def linear_sources(slopes, n_rows=20, noise=0.1):
    """Rows of sources with these slopes; their offsets and weights."""
    inputs = [rng.standard_normal((n_rows, 2)) for _ in slopes]
    targets = [
        Z @ w + noise * rng.standard_normal(n_rows) for Z, w in zip(inputs, slopes, strict=True)
    ]
    X, y = np.concatenate(inputs), np.concatenate(targets)[:, None]
    return X, y, n_rows * np.arange(len(slopes) + 1), np.ones(len(X))


def test_sources_that_agree_with_nobody_are_strangers():
    turn = 2 * np.pi * np.arange(8) / 8 + 1.0
    slopes = [[2.0, 1.0]] * 12 + [[2 * np.cos(a), 2 * np.sin(a)] for a in turn[1:7]]
    data = linear_sources(slopes)
    (groups,) = cuts(whitened(*data), 1)
    start, end = find_strangers(Moments(groups.landmarks(data[0]), *data[1:]), groups.noise[0])
    assert not start[:12].any() and start[12:].sum() >= 3
    assert_array_equal(end, np.arange(18) >= 12)
    groups = worth_grouping(*data, 2, np.random.default_rng(0))
    assert_array_equal(groups.labels, end)
    assert groups.shares[0] > 0.99
    assert_allclose(groups.source_shares.sum(), 1)


def test_sources_that_differ_at_random_have_no_strangers():
    slopes = [2.0, 1.0] + 0.3 * np.random.default_rng(1).standard_normal((30, 2))
    groups = worth_grouping(*linear_sources(slopes), 2, np.random.default_rng(0))
    assert groups.n_groups == 1


def test_a_source_does_not_judge_a_group_of_which_it_is_a_part():
    slopes = [[2.0, 1.0]] * 5 + [[-2.0, -1.0]] * 5
    X, Y, offsets, weight = linear_sources(slopes, noise=1.0)
    labels = np.repeat([0, 1], 5)
    groups = with_labels(whitened(X, Y, offsets, weight), labels)
    moments = Moments(groups.landmarks(X), Y, offsets, weight)
    without = groups.without(0, moments)
    others = slice(offsets[1], offsets[5])
    expected = np.linalg.lstsq(groups.landmarks(X[others]), Y[others])[0]
    assert_allclose(without.coef[0], expected, rtol=1e-6)
    assert_array_equal(without.coef[1], groups.coef[1])


def test_a_stronger_prior_moves_less():
    X, Y, offsets, weight = linear_sources([[2.0, 1.0]] * 6, noise=1.0)
    groups = with_labels(whitened(X, Y, offsets, weight), np.zeros(6, dtype=int))
    groups = replace(groups, kappa=np.ones(1))
    support = X[:5], Y[:5] + 30.0, weight[:5]
    weak, strong = groups.predict(*support, X[5:20], (1.0, 1e9))
    assert_allclose(weak, groups.predict(*support, X[5:20], (1.0,))[0])
    assert_allclose(strong, groups.landmarks(X[5:20]) @ groups.coef[0], rtol=1e-4)
    assert np.mean(weak - strong) > 10


def prior_and_rows():
    """Moments of the residuals of 20 rows, their penalty and noise; y, its mean and covariance."""
    _, Y, offsets, weight = linear_sources([[2.0, 1.0]])
    Z, coef = np.column_stack([np.ones(20), rng.standard_normal((20, 2))]), np.ones((3, 1))
    penalty, noise = penalty_of(0.5, 2.0, 3), 0.7
    moments = Moments(Z, Y, offsets, weight).residuals(coef, np.arange(1))
    cov = noise * (np.eye(20) + Z @ np.diag(1 / penalty) @ Z.T)
    return moments, penalty, noise, (Y[:, 0], (Z @ coef)[:, 0], cov)


def test_the_evidence_is_that_of_a_normal_distribution():
    moments, penalty, noise, rows = prior_and_rows()
    expected = multivariate_normal.logpdf(*rows)
    constant = 10 * np.log(2 * np.pi)
    assert_allclose(evidence(*moments, penalty, noise), [expected + constant])


def test_the_evidence_with_a_noise_of_its_own_is_that_of_student():
    moments, penalty, noise, rows = prior_and_rows()
    expected = multivariate_t.logpdf(*rows, df=5)
    found = own_evidence(*moments, penalty, noise, 5.0)
    assert_allclose(found, [expected + 10 * np.log(np.pi)])
    found = own_evidence(*moments, penalty, noise, 1e8)
    assert_allclose(found + 10 * np.log(2), evidence(*moments, penalty, noise), rtol=1e-5)


@pytest.mark.parametrize("nu", [4.0, 1e6])
def test_noises_of_tasks_are_found_from_their_residuals(nu):
    own = np.random.default_rng(2)
    noise = 0.5 * nu / own.chisquare(nu, 400)
    X, y, offsets, weight = linear_sources(np.zeros((400, 2)), noise=0)
    y = np.repeat(np.sqrt(noise), 20)[:, None] * own.standard_normal((len(X), 1))
    moments = Moments(np.column_stack([np.ones(len(X)), X]), y, offsets, weight)
    parts = moments.residuals(np.zeros((3, 1)), np.arange(400))
    s, found = noise_of(*parts, penalty_of(NEVER, NEVER, 3), 1.0)
    assert_allclose(s, 0.5, rtol=0.1)
    assert found == nu or min(found, nu) > 16  # as good as one noise for all


def test_an_exact_model_has_a_noise():
    X, y, offsets, weight = linear_sources(np.zeros((3, 2)), noise=0)
    moments = Moments(np.column_stack([np.ones(len(X)), X]), y, offsets, weight)
    parts = moments.residuals(np.zeros((3, 1)), np.arange(3))
    assert noise_of(*parts, penalty_of(1.0, 1.0, 3), 1e-12)[0] > 0


def test_a_stray_source_does_not_hide_that_the_others_agree():
    turn = 2 * np.pi * np.arange(8) / 8 + 1.0
    slopes = [[2.0, 1.0]] * 14 + [[2 * np.cos(a), 2 * np.sin(a)] for a in turn[1:7]]
    X, y, offsets, weight = linear_sources(slopes)
    y[:20] += 3 * np.random.default_rng(3).standard_normal((20, 1))
    groups = worth_grouping(X, y, offsets, weight, 2, np.random.default_rng(0))
    assert groups.n_groups == 2
    assert_array_equal(groups.labels[1:], np.arange(1, 20) >= 14)


def test_others_that_leave_squares_have_not_seen_the_source():
    X, Y, offsets, weight = linear_sources([[2.0, 1.0], [2.0, 0.5], [-1.0, 1.0]])
    Z = np.column_stack([np.ones(len(X)), X])
    left, total = left_by_others(Moments(Z, Y, offsets, weight), np.ones(3))
    for a in range(3):
        own = np.arange(len(X)) // 20 == a
        others = [X[np.arange(len(X)) // 20 == b] for b in range(3) if b != a]
        parts = [Y[np.arange(len(X)) // 20 == b, 0] for b in range(3) if b != a]
        centred = np.concatenate([part - part.mean(axis=0) for part in others])
        w, *_ = np.linalg.lstsq(centred, np.concatenate([p - p.mean() for p in parts]))
        r = Y[own, 0] - X[own] @ w
        assert_allclose(left[a], np.sum((r - r.mean()) ** 2), rtol=1e-4)
        assert_allclose(total[a], np.sum((Y[own, 0] - Y[own, 0].mean()) ** 2), rtol=1e-4)
