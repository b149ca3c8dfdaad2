"""The mathematics of transfer, each by a second route."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_meta._bank import Bank, Rows
from sklearn_meta._source_groups import group_sources, ridge
from sklearn_meta._transfer import deal_folds, moved, shifted, squared_stack
from sklearn_meta._transfer_loss import loss_of
from sklearn_meta.learners import LinearLearner

rng = np.random.default_rng(0)
X, y = rng.standard_normal((8, 3)), rng.standard_normal(8)
S, t = rng.standard_normal((30, 3)), rng.standard_normal(30)


def rows(X, y):
    return Rows(X, y, np.ones(len(y)), y[:, None])


def test_left_out_residuals_of_a_move_are_those_of_fits_without_the_row():
    _, centre, whiten = ridge(S, t[:, None], np.ones(30), 1.0, True)
    kappa, m = np.array([1.0, 0.1]), np.array([3.0, 0.5])
    _, left_out = moved(X, y, np.ones(8), centre, whiten, kappa, m)
    for i in range(8):
        rest = np.arange(8) != i
        step, _ = moved(X[rest], y[rest], np.ones(7), centre, whiten, kappa, m)
        assert_allclose(left_out[:, i], y[i] - step @ np.append(1.0, X[i]))


def test_a_refit_is_ridge_on_both_and_leaves_each_row_out():
    bank = Bank(LinearLearner(Ridge(alpha=2.0), n_features=3), 0.0, 0)
    row, left_out = bank.refit(rows(S, t), rows(X, y), 0.3)

    def fit(kept):
        weight = np.r_[np.full(30, 0.3), np.ones(len(kept))]
        model = Ridge(alpha=2.0)
        return model.fit(np.vstack([S, X[kept]]), np.r_[t, y[kept]], sample_weight=weight)

    model = fit(np.arange(8))
    assert_allclose(row, np.append(model.intercept_, model.coef_))
    for i in range(8):
        expected = fit(np.delete(np.arange(8), i)).predict(X[[i]])
        assert_allclose(left_out[i], expected)


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
    groups = group_sources(Z, targets[:, None], np.arange(0, 201, 10), np.ones(200), 2)
    assert groups.labels.tolist() in ([0] * 10 + [1] * 10, [1] * 10 + [0] * 10)
    chance, without = groups.chances(Z[:3], targets[:3, None], np.ones(3))
    assert chance[groups.labels[0]] > 0.9
    for i in range(3):
        rest = np.delete(np.arange(3), i)
        expected, _ = groups.chances(Z[rest], targets[rest, None], np.ones(2))
        assert_allclose(without[:, i], expected)
