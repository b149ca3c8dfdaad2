"""Sources whose columns hang together in another way."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import invwishart, wishart

from sklearn_meta._evidence import Moments
from sklearn_meta._scatter import find_odd, log_evidence, scatters
from sklearn_meta._source_groups import whitened, with_labels
from sklearn_meta._worth_grouping import worth_grouping

N_FEATURES, N_ROWS = 5, 40


def correlated(n_sources, n_odd):
    """Rows of sources that lie apart; the columns of the first ones are shuffled."""
    rng = np.random.default_rng(0)
    place = np.arange(N_FEATURES)
    root = np.linalg.cholesky(0.9 ** np.abs(place[:, None] - place)) * 2.0 ** -place[:, None]
    parts = []
    for a in range(n_sources):
        X = 0.5 * rng.standard_normal(N_FEATURES)
        X = X + rng.standard_normal((N_ROWS, N_FEATURES)) @ root.T
        parts.append(X[:, np.roll(place, 1 + a % 3)] if a < n_odd else X)
    return np.concatenate(parts), N_ROWS * np.arange(n_sources + 1)


def moments_of(X, Y, offsets, weight=None):
    Z = np.column_stack([np.ones(len(X)), X])
    return Moments(Z, Y, offsets, np.ones(len(X)) if weight is None else weight)


def test_the_evidence_is_that_of_a_covariance_integrated_out():
    rng = np.random.default_rng(0)
    A, B, T, covariance = wishart.rvs(7, np.eye(3), size=4, random_state=rng)
    n, found, expected = 6.0, [], []
    for W, nu in ((A, 2.0), (B, 5.0)):
        k = nu + 2
        found.append(log_evidence(T[None], np.array([n]), W, nu)[0])
        prior = invwishart.logpdf(covariance, k, nu * W)
        posterior = invwishart.logpdf(covariance, k + n, nu * W + T)
        expected.append(wishart.logpdf(T, n, covariance) + prior - posterior)
    assert_allclose(found[1] - found[0], expected[1] - expected[0])


def test_scatters_are_covariances_and_weights_are_repetitions():
    X, offsets = correlated(3, 0)
    Y = np.random.default_rng(1).standard_normal((len(X), 1))
    T, n = scatters(moments_of(X, Y, offsets))
    scaled = X / X.std(axis=0)
    both = np.column_stack([scaled, Y / Y.std()])
    with_targets, _ = scatters(moments_of(X, Y, offsets), targets=True)
    for a in range(3):
        assert_allclose(T[a] / n[a], np.cov(scaled[offsets[a] : offsets[a + 1]].T))
        assert_allclose(with_targets[a] / n[a], np.cov(both[offsets[a] : offsets[a + 1]].T))
    twice = np.tile(np.repeat([1.0, 2.0], N_ROWS // 2), 3)
    repeated = np.repeat(np.arange(len(X)), twice.astype(int))
    bounds = np.array([0, 60, 120, 180])
    weighted = scatters(moments_of(X, Y, offsets, twice))
    again = scatters(moments_of(X[repeated], Y[repeated], bounds))
    for one, other in zip(weighted, again, strict=True):
        assert_allclose(one, other)


@pytest.mark.parametrize("targets", [False, True])
@pytest.mark.parametrize("labels", [False, True])
def test_shuffled_columns_are_odd_whatever_the_targets_say(labels, targets):
    X, offsets = correlated(20, 8)
    y = np.random.default_rng(1).standard_normal(len(X))
    Y = np.eye(2)[(y > 0).astype(int)] if labels else y[:, None]
    assert_array_equal(find_odd(moments_of(X, Y, offsets), targets), np.arange(20) < 8)
    X, offsets = correlated(20, 0)
    assert not find_odd(moments_of(X, Y, offsets), targets).any()


def spoiled(sources):
    """The columns of the first half of the sources shuffled, none as they were; and who it is."""
    rng = np.random.default_rng(3)
    odd = np.arange(len(sources)) < len(sources) // 2
    rows = []
    for X, bad in zip(sources, odd, strict=True):
        order = np.arange(X.shape[1])
        while bad and (order == np.arange(len(order))).any():
            order = rng.permutation(order)
        rows.append(X[:, order])
    offsets = np.append(0, np.cumsum([len(X) for X in sources]))
    return np.concatenate(rows), offsets, odd


def test_half_of_sources_that_differ_by_nature():
    rng = np.random.default_rng(0)
    W = np.diag([4.0, 1.0, 0.5, 0.2, 0.05, 0.02]) + 0.01
    covariances = invwishart.rvs(14, 8 * W, size=28, random_state=rng)
    sources = [rng.multivariate_normal(np.zeros(6), covariance, 150) for covariance in covariances]
    X, offsets, odd = spoiled(sources)
    found = find_odd(moments_of(X, rng.standard_normal((len(X), 1)), offsets), targets=True)
    assert not found[~odd].any()
    assert found[odd].sum() >= 13


def test_columns_that_are_constant_in_every_source():
    rng = np.random.default_rng(0)
    sources = []
    for _ in range(30):
        X = rng.standard_normal((40, 6))
        X[:, 3:] = X[0, 3:]
        sources.append(X)
    X, offsets, odd = spoiled(sources)
    found = find_odd(moments_of(X, rng.standard_normal((len(X), 1)), offsets))
    assert not found[~odd].any()
    varies = X.reshape(30, 40, 6).std(axis=1) > 1e-9
    assert_array_equal(found[odd], varies[odd][:, 3:].any(axis=1))  # else constants changed places


@pytest.mark.parametrize("targets", [False, True])
@pytest.mark.parametrize("n_sources", [1, 2])
def test_few_sources_and_constant_columns(n_sources, targets):
    X, offsets = correlated(n_sources, 0)
    X[:, 0] = 1.0
    Y = np.zeros((len(X), 1))
    assert not find_odd(moments_of(X, Y, offsets), targets).any()
    assert not find_odd(moments_of(X[:, :0], Y, offsets), targets).any()


def test_odd_sources_leave_where_the_others_do_better_without():
    X, offsets = correlated(20, 0)
    rng = np.random.default_rng(2)
    level = np.repeat(rng.standard_normal(20), N_ROWS)
    y = level + X @ [1.0, 3.0, 0.0, -2.0, 0.0] + 0.3 * rng.standard_normal(len(X))
    odd = np.arange(20) < 11
    for a in np.flatnonzero(odd):
        block = slice(offsets[a], offsets[a + 1])
        X[block] = X[block][:, rng.permutation(N_FEATURES)]
    groups = worth_grouping(X, y[:, None], offsets, np.ones(len(X)), 2, np.random.default_rng(0))
    apart = groups.labels == groups.n_groups - 1
    assert apart.sum() >= 8  # some orders are harmless
    assert not apart[~odd].any()


def test_odd_sources_stay_where_they_explain_each_other_better():
    """Shops of two kinds: in the odd ones prices matter, in the others habits decide."""
    rng = np.random.default_rng(0)
    odd, slopes = np.arange(60) % 2 == 0, rng.standard_normal((6, 3))
    rows, labels = [], []
    for strange in odd:
        base = rng.standard_normal((20, 2))
        X = np.tile(base, (1, 3)) if strange else np.repeat(base, 3, axis=1)
        X = X + 0.5 * rng.standard_normal(X.shape)
        level, slope = (1.0, 2.0) if strange else (4.0, 0.3)
        utility = level * rng.standard_normal(3) + slope * X @ slopes + rng.gumbel(size=(20, 3))
        rows.append(X)
        labels.append(utility.argmax(axis=1))
    X, Y, offsets = np.concatenate(rows), np.eye(3)[np.concatenate(labels)], 20 * np.arange(61)
    groups = worth_grouping(X, Y, offsets, np.ones(len(X)), 2, np.random.default_rng(0))
    assert_array_equal(groups.labels, np.where(odd, 0, 1))
    assert groups.shares[0] > 0.8


def test_sources_that_do_not_vary_show_no_skill():
    X, offsets = correlated(12, 0)
    y = X @ [1.0, 3.0, 0.0, -2.0, 0.0] + np.random.default_rng(1).standard_normal(len(X))
    constant = np.arange(12) < 4
    y[np.repeat(constant, N_ROWS)] = 2.0
    space = whitened(X, y[:, None], offsets, np.ones(len(X)))
    skill = with_labels(space, constant.astype(int)).skill
    assert skill[0] > 0.5
    assert abs(skill[1]) < 0.02


def test_strangers_hidden_by_others_are_found_after_them():
    """Where thousands stand among small numbers, swaps of the small ones show only later."""
    rng = np.random.default_rng(0)
    place, unit = np.array([40.0, 1000.0, 0.5, 7.0]), np.array([10.0, 300.0, 0.5, 2.0])
    large = ([1, 0, 2, 3], [0, 2, 1, 3], [3, 2, 0, 1], [2, 3, 1, 0], [1, 3, 2, 0])
    small = ([3, 1, 2, 0], [2, 1, 0, 3], [0, 1, 3, 2], [3, 1, 0, 2], [2, 1, 3, 0])
    strange = np.arange(40) < 20
    rows, targets = [], []
    for a in range(40):
        Z = 0.3 * rng.standard_normal(4) + rng.standard_normal((30, 4))
        slopes = [1.0, -0.7, 0.5, 0.3] + 0.2 * rng.standard_normal(4)
        order = (large[a % 5] if a < 10 else small[a % 5]) if strange[a] else [0, 1, 2, 3]
        rows.append((place + unit * Z)[:, order])
        targets.append(rng.standard_normal() + Z @ slopes + 0.5 * rng.standard_normal(30))
    X, Y, offsets = np.concatenate(rows), np.concatenate(targets)[:, None], 30 * np.arange(41)
    groups = worth_grouping(X, Y, offsets, np.ones(len(X)), 2, np.random.default_rng(0))
    assert_array_equal(groups.labels == groups.n_groups - 1, strange)


@pytest.mark.parametrize("seed", [0, 4, 31, 35])
def test_em_that_leaves_but_one_source(seed):
    """Columns that are mostly 0 may make every source odd."""
    rng = np.random.default_rng(seed)
    n_sources, p, n = rng.integers(3, 12), rng.integers(3, 13), rng.integers(6, 25)
    X = rng.standard_normal((n_sources * n, p))
    X = X * (rng.random(X.shape) < rng.uniform(0.05, 0.5))
    moments = moments_of(X, rng.standard_normal((len(X), 1)), n * np.arange(n_sources + 1))
    with np.errstate(invalid="raise", over="raise"):
        assert find_odd(moments, targets=bool(seed % 2)).shape == (n_sources,)


@pytest.mark.parametrize("contradict", [False, True])
def test_groups_that_contradict_each_other_where_little_can_be_explained(contradict):
    rng = np.random.default_rng(0)
    swapped = np.arange(30) % 2 == 0
    X = rng.standard_normal((30 * 80, 2))
    y = X @ [0.25, -0.25] + rng.standard_normal(len(X))
    if contradict:
        y = np.where(np.repeat(swapped, 80), -y, y)
    offsets = 80 * np.arange(31)
    groups = worth_grouping(X, y[:, None], offsets, np.ones(len(X)), 2, np.random.default_rng(0))
    assert groups.n_groups == 1 + contradict
    if contradict:
        assert np.mean(groups.labels == swapped) in (0, 1)
