"""Laplace's approximation against its own differences, integrals, and the linear mixed model."""

from types import SimpleNamespace

import numpy as np
import pytest
from family_cases import FAMILIES, as_batches, draw, fit
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import expit, xlogy
from scipy.stats import multivariate_normal, norm
from sklearn.linear_model import LogisticRegression

from sklearn_meta.kernels.families import (
    Bernoulli,
    Categorical,
    Gaussian,
    PoissonFamily,
)
from sklearn_meta.kernels.laplace import left_out_densities
from sklearn_meta.kernels.laplace_objective import Objective, rows_for
from sklearn_meta.kernels.mixed_model import Moments, fit_mixed_model
from sklearn_meta.kernels.predictive import (
    normal_nodes,
    predictive_probabilities,
    predictive_softmax,
    predictor_moments,
)
from sklearn_meta.priors.laplace import (
    LaplaceModel,
    fit_laplace,
    posterior,
    predictive_scores,
)


def make_batches(family=None, n_outputs=1, n_tasks=7, n_rows=6, m=0, d=2, seed=0):
    """Two batches of tasks whose weights are 0, 1 or 2, and descriptors."""
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n_tasks, m))
    batches = []
    for tasks in np.array_split(np.arange(n_tasks), 2):
        X = rng.standard_normal((len(tasks), n_rows, d))
        W = 0.5 * rng.standard_normal((len(tasks), d + 1, n_outputs))
        r = W[:, None, 0] + np.einsum("tnj,tjk->tnk", X, W[:, 1:])
        weight = rng.integers(0, 3, X.shape[:2]).astype(float)
        batches.append(SimpleNamespace(tasks=tasks, X=X, y=draw(family, r, rng), weight=weight))
    return batches, S


# -- the marginal likelihood -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "random, n_quadrature, m, large",
    [([0, 1], 1, 0, False), ([2], 1, 2, False), ([1], 5, 2, False), ([0, 1, 2], 1, 1, True)],
    ids=["slope", "descriptors", "quadrature", "penalties"],
)
@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_of_the_marginal_likelihood(name, random, n_quadrature, m, large):
    family, K = FAMILIES[name]
    if n_quadrature > 1 and K > 1:
        n_quadrature = 1
    batches, S = make_batches(family, K, m=m)
    problem = Objective(batches, S, family, random, True, "full", n_quadrature)
    rng = np.random.default_rng(1)
    r = problem.r
    penalties = (3.0, np.eye(r) + 0.2, 0.5) if large else (0.0, None, 0.0)
    problem.penalise(*penalties, None)
    B = 0.3 * rng.standard_normal((problem.p, 1 + m))
    factor = np.tril(0.2 * rng.standard_normal((r, r))) + 0.6 * np.eye(r)
    cuts = [B.size, B.size + r * r]

    def value(x):
        b, f, p = np.split(x, cuts)
        return problem(b.reshape(B.shape), np.tril(f.reshape(r, r)), p[0])[0]

    x = np.concatenate([B.ravel(), factor.ravel(), [-0.3 if family.dispersed else 0.0]])
    _, d_B, d_factor, d_log_phi = problem(B, factor, x[-1])
    gradient = np.concatenate([d_B.ravel(), np.tril(d_factor).ravel(), [d_log_phi]])
    if not family.dispersed:
        gradient[-1] = 0.0
    for i in np.flatnonzero(gradient):
        h = 1e-4 * np.eye(len(x))[i]
        third = (8 * (value(x + h) - value(x - h)) - value(x + 2 * h) + value(x - 2 * h)) / 12e-4
        assert abs(third - gradient[i]) < 1e-6 * (1 + np.abs(gradient).max()), i


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "gamma", "huber"])
def test_quadrature_against_the_integral(name):
    family, _ = FAMILIES[name]
    batches, S = make_batches(family)
    B, tau = np.array([[0.2], [-0.4], [0.1]]), 0.8
    phi = 0.7 if family.dispersed else 1.0
    exact = []
    for batch in batches:
        for X, y, weight in zip(batch.X, batch.y, batch.weight, strict=True):

            def density(u, X=X, y=y, w=weight):
                r = (B[0, 0] + X @ B[1:, 0] + tau * u)[None, None]
                loss = -family.derivatives(r, y.T[None])[0] / phi
                return np.exp((w * (loss + family.constant(y.T[None], phi)[0])).sum()) * norm.pdf(u)

            exact.append(np.log(quad(density, -8, 8, epsabs=0, epsrel=1e-10)[0]))
    errors = []
    for n in (1, 25):
        problem = Objective(batches, S, family, [0], True, "full", n)
        found, _ = problem.likelihood(B, np.array([[tau]]), np.log(phi))
        errors.append(np.abs(found - exact).max())
    assert errors[0] < (0.3 if name == "huber" else 0.05)  # that has the expected curvature,
    assert errors[1] < (1e-3 if name == "huber" else 1e-8)  # and kinks


def test_gaussian_rows_are_the_linear_mixed_model():
    batches, S = make_batches(Gaussian(), n_tasks=40, m=1, seed=3)
    model = fit_laplace(batches, S, Gaussian(), random=[0, 2], tol=1e-6)
    squeezed = [
        SimpleNamespace(tasks=b.tasks, X=b.X, y=b.y[..., 0], weight=b.weight) for b in batches
    ]
    moments = Moments.from_batches(squeezed, len(S), 2, np.zeros(3), S)
    exact = fit_mixed_model(moments, np.array([0, 2]), reml=False)
    assert model.converged
    assert_allclose(model.log_likelihood, -0.5 * exact.deviance, rtol=1e-8)
    assert_allclose(model.B, exact.B, atol=1e-5)
    assert_allclose(model.covariance, exact.sigma2 * exact.factor @ exact.factor.T, atol=1e-5)
    assert_allclose(model.dispersion, exact.sigma2, rtol=1e-5)


# -- what must not matter --------------------------------------------------------------------------


def same(a, b, rtol=1e-6):
    assert a.converged and b.converged
    assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-9)
    assert_allclose(a.B, b.B, rtol=rtol, atol=rtol)
    assert_allclose(a.covariance, b.covariance, rtol=rtol, atol=rtol)


def rows(n_tasks=40, n_rows=8, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_tasks), rng.integers(1, n_rows, n_tasks))
    X = rng.standard_normal((len(groups), 2))
    u = rng.standard_normal((n_tasks, 2)) * [1.0, 0.6]
    p = expit(0.3 + u[groups, 0] + (1 + u[groups, 1]) * X[:, 0])
    return X, (rng.random(len(X)) < p).astype(float), groups, rng


def test_weights_orders_padding_and_units():
    X, y, groups, rng = rows()
    options = dict(random=[0, 1], tol=1e-6)
    weight = rng.integers(0, 4, len(y))
    weighted = fit(X, y, groups, Bernoulli(), weight=weight, **options)
    X2, y2, groups2 = (np.repeat(a, weight, axis=0) for a in (X, y, groups))
    same(weighted, fit(X2, y2, groups2, Bernoulli(), **options))
    plain = fit(X, y, groups, Bernoulli(), **options)
    order = rng.permutation(len(y))
    names = rng.permutation(40)
    shuffled = fit(X[order], y[order], names[groups[order]], Bernoulli(), **options)
    same(plain, shuffled)
    batches, S = as_batches(X, y, groups)
    padded = [
        SimpleNamespace(
            tasks=b.tasks,
            X=np.pad(b.X, [(0, 0), (0, 3), (0, 0)], constant_values=1e300),
            y=np.pad(b.y, [(0, 0), (0, 3)], constant_values=np.nan),
            weight=np.pad(b.weight, [(0, 0), (0, 3)]),
        )
        for b in batches
    ]
    same(plain, fit_laplace(padded, S, Bernoulli(), **options))
    in_thousands = fit(X * [1000, 1e-3], y, groups, Bernoulli(), **options)
    assert_allclose(in_thousands.B[:, 0] * [1, 1000, 1e-3], plain.B[:, 0], rtol=1e-4)


def test_classes_relabelled():
    family, order = Categorical(), [2, 0, 1]
    batches, S = make_batches(family, 3, n_tasks=60, n_rows=8)
    relabelled = [
        SimpleNamespace(tasks=b.tasks, X=b.X, y=b.y[..., order], weight=b.weight) for b in batches
    ]
    one, two = (
        fit_laplace(b, S, family, covariance="diag", tol=1e-6) for b in (batches, relabelled)
    )
    assert one.converged and two.converged
    assert_allclose(two.B.reshape(3, 3), one.B.reshape(3, 3)[:, order], atol=1e-5)
    assert_allclose(one.B.reshape(3, 3).sum(axis=1), 0.0, atol=1e-6)
    variance = np.diag(one.covariance).reshape(3, 3)
    assert_allclose(np.diag(two.covariance).reshape(3, 3), variance[:, order], atol=1e-4)


def test_two_classes_are_one_output():
    """Two outputs that differ by eta have u_2 - u_1 of twice the variance."""
    batches, S = make_batches(Bernoulli(), n_tasks=60, n_rows=8)
    one = fit_laplace(batches, S, Bernoulli(), random=[0], tol=1e-6)
    both = [
        SimpleNamespace(
            tasks=b.tasks, X=b.X, y=np.concatenate([1 - b.y, b.y], axis=2), weight=b.weight
        )
        for b in batches
    ]
    two = fit_laplace(both, S, Categorical(), random=[0], covariance="spherical", tol=1e-6)
    assert_allclose(two.log_likelihood, one.log_likelihood, rtol=1e-7)
    assert_allclose(2 * two.B[1::2], one.B, atol=1e-4)
    assert_allclose(2 * two.covariance[0, 0], one.covariance[0, 0], rtol=1e-3)


# -- edges -----------------------------------------------------------------------------------------


def test_a_variance_of_zero_is_zero():
    rng = np.random.default_rng(0)
    groups, X = np.repeat(np.arange(30), 8), rng.standard_normal((240, 1))
    y = np.tile([0.0, 1.0] * 4, 30)  # tasks are more alike than by chance
    for options in (dict(random=[0]), dict(covariance="diag"), dict(covariance="spherical")):
        model = fit(X, y, groups, Bernoulli(), **options)
        assert model.converged and model.covariance[0, 0] == 0.0


def test_separable_rows_have_finite_answers():
    rng = np.random.default_rng(0)
    groups, X = np.repeat(np.arange(20), 6), rng.standard_normal((120, 2))
    targets = {
        "one class": np.ones(120),
        "a class a task": (groups % 2).astype(float),
        "by a feature": (X[:, 0] > 0).astype(float),
    }
    batches, S = as_batches(X, np.zeros(120), groups)
    for name, y in targets.items():
        for options in ({}, dict(mean_precision=1.0, prior_dof=3.0, prior_scale=np.eye(3))):
            model = fit(X, y, groups, Bernoulli(), **options)
            mode, covariance = posterior(model, as_batches(X, y, groups)[0], S)
            for array in (model.B, model.factor, mode, covariance):
                assert np.isfinite(array).all(), name
            if options:
                assert model.converged and np.abs(model.B).max() < 10, name
    zeros = fit(X, np.zeros(120), groups, PoissonFamily())
    assert zeros.converged and -50 < zeros.B[0, 0] < -5


@pytest.mark.parametrize("name", ["gaussian", "huber", "gamma"])
def test_rows_without_noise(name):
    family, _ = FAMILIES[name]
    rng = np.random.default_rng(0)
    groups, X = np.repeat(np.arange(30), 8), rng.standard_normal((240, 2))
    y = np.exp(X[:, 0]) if name == "gamma" else X[:, 0]
    model = fit(X, y, groups, family)
    assert model.converged and model.dispersion < 1e-5
    assert_allclose(model.B[:, 0], [0.0, 1.0, 0.0], atol=1e-3)
    assert_allclose(model.covariance, 0.0, atol=1e-5)


def test_penalties_where_columns_exceed_rows():
    rng = np.random.default_rng(0)
    groups, X = np.repeat(np.arange(10), 4), rng.standard_normal((40, 60))
    y = (X[:, 0] + rng.standard_normal(40) > 0).astype(float)
    precision = np.append(0.0, np.full(60, 4.0))[:, None]
    model = fit(
        X, y, groups, Bernoulli(), random=[0], mean_precision=precision, prior_dof=2.0,
        prior_scale=[[0.1]],
    )  # fmt: skip
    assert model.converged and np.abs(model.B).max() < 2
    with pytest.raises(ValueError, match="positive definite"):
        fit(X, y, groups, Bernoulli(), random=[0], prior_dof=2.0, prior_scale=[[0.0]])


def test_a_strong_prior_is_the_covariance():
    X, y, groups, _ = rows()
    scale = np.array([[0.5, 0.2], [0.2, 0.3]])
    model = fit(X, y, groups, Bernoulli(), random=[0, 1], prior_dof=1e5, prior_scale=scale)
    assert_allclose(model.covariance, scale, rtol=0.01)


def test_one_task_and_a_task_without_rows():
    X, y, groups, _ = rows()
    alone = fit(X, y, 0 * groups, Bernoulli())
    assert alone.converged and (alone.covariance == 0).all()
    batches, _ = as_batches(X, y, groups)
    S = np.random.default_rng(0).standard_normal((42, 1))
    model = fit_laplace(batches, S, Bernoulli(), random=[0, 1])
    mode, covariance = posterior(model, batches, S)
    assert_array_equal(mode[40:], model.means(S)[40:])  # in no batch
    assert_array_equal(covariance[40:], [model.covariance] * 2)
    empty = SimpleNamespace(
        tasks=np.array([0, 1]), X=np.zeros((2, 0, 2)), y=np.zeros((2, 0)), weight=np.zeros((2, 0))
    )
    mode, covariance = posterior(model, [empty], S[:2])
    assert_allclose(mode, model.means(S[:2]))
    assert_allclose(covariance, [model.covariance] * 2)


def test_free_entries_offsets_and_quadrature_of_many():
    X, y, groups, rng = rows()
    batches, _ = as_batches(X, y, groups)
    S = rng.standard_normal((40, 1))
    free = np.array([[True, True], [True, False], [True, False]])
    model = fit_laplace(batches, S, Bernoulli(), random=[0], free=free, tol=1e-6)
    assert_array_equal(model.B[1:, 1], 0.0)
    assert model.B[0, 1] != 0
    moved = [
        SimpleNamespace(tasks=b.tasks, X=b.X, y=b.y, weight=b.weight, offset=b.X @ [0.5, 0.0])
        for b in batches
    ]
    shifted = fit_laplace(moved, S, Bernoulli(), random=[0], free=free, tol=1e-6)
    assert_allclose(shifted.B[:, 0] + [0, 0.5, 0], model.B[:, 0], atol=1e-4)
    with pytest.raises(ValueError, match="one random coefficient, and there are 2"):
        fit_laplace(batches, S, Bernoulli(), random=[0, 1], n_quadrature=3)


def test_nothing_random_is_a_generalised_linear_model():
    X, y, groups, _ = rows()
    model = fit(X, y, groups, Bernoulli(), random=[], tol=1e-6)
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    assert_allclose(model.B[1:, 0], reference.coef_[0], atol=1e-3)
    batches, S = as_batches(X, y, groups)
    mode, covariance = posterior(model, batches, S)
    assert_array_equal(mode, model.means(S))
    assert covariance.shape == (40, 0, 0)


def test_callback_stops_with_a_model():
    X, y, groups, _ = rows()
    seen = []

    def callback(get_model):
        seen.append(get_model())
        return len(seen) == 2

    model = fit(X, y, groups, Bernoulli(), callback=callback)
    assert model.n_iter == 2 and not model.converged
    assert seen[0].covariance.shape == (3, 3) and not seen[0].converged


# -- predictions -----------------------------------------------------------------------------------


def test_close_to_the_oracle_with_twenty_shots():
    rng = np.random.default_rng(0)
    d, T, n = 4, 150, 20
    mean, sd = np.array([0.0, 1.0, -0.5, 0.0, 0.0]), np.array([1.0, 1.0, 0.7, 0.7, 0.5])
    X = rng.standard_normal((2 * T, n, d))
    W = mean + sd * rng.standard_normal((2 * T, d + 1))
    y = (rng.random(X.shape[:2]) < expit(W[:, :1] + np.einsum("tnj,tj->tn", X, W[:, 1:]))) * 1.0
    batch = SimpleNamespace(tasks=np.arange(T), X=X[:T], y=y[:T], weight=np.ones((T, n)))
    new = SimpleNamespace(tasks=np.arange(T), X=X[T:], y=y[T:], weight=np.ones((T, n)))
    S, R = np.zeros((T, 0)), np.arange(d + 1)
    model = fit_laplace([batch], S, Bernoulli())
    oracle = LaplaceModel(mean[:, None], np.diag(sd), R, Bernoulli())
    Q = rng.standard_normal((T, 200, d))
    true = expit(W[T:, :1] + np.einsum("tnj,tj->tn", Q, W[T:, 1:])).ravel()
    losses_ = []
    for m in (model, oracle):
        moments = predictor_moments(
            Q.reshape(-1, d), np.repeat(np.arange(T), 200), *posterior(m, [new], S), R
        )
        p = predictive_probabilities(moments[0][:, 0], moments[1][:, 0, 0])
        losses_.append(-(xlogy(true, p) + xlogy(1 - true, 1 - p)).mean())
    assert model.converged
    assert losses_[0] < 1.02 * losses_[1]


def test_posterior_is_exact_for_gaussian_rows():
    batches, S = make_batches(Gaussian(), n_tasks=4)
    factor = np.array([[0.8, 0.0], [0.3, 0.5]])
    B = np.array([[0.1], [0.4], [-0.2]])
    model = LaplaceModel(B, factor, np.array([0, 1]), Gaussian(), 0.3)
    mode, covariance = posterior(model, batches, S)
    problem = Objective(batches, S, Gaussian(), model.random, True, "full", 1)
    L, _ = problem.likelihood(B, factor, np.log(0.3))
    for batch in batches:
        for t, X, y, w in zip(batch.tasks, batch.X, batch.y[..., 0], batch.weight, strict=True):
            repeat = w.astype(int)
            Z = np.repeat(np.column_stack([np.ones(len(X)), X]), repeat, axis=0)
            y = np.repeat(y, repeat)
            V = Z[:, :2] @ model.covariance @ Z[:, :2].T + 0.3 * np.eye(len(y))
            gain = model.covariance @ Z[:, :2].T @ np.linalg.inv(V)
            assert_allclose(mode[t, :2], B[:2, 0] + gain @ (y - Z @ B[:, 0]), atol=1e-9)
            assert_allclose(
                covariance[t], model.covariance - gain @ Z[:, :2] @ model.covariance, atol=1e-9
            )
            assert_allclose(L[t], multivariate_normal(Z @ B[:, 0], V).logpdf(y))


# -- rows left out ---------------------------------------------------------------------------------


def densities(model, batch):
    """Without any rows, and given all others, (2, n_tasks, n_rows)."""
    (rows,) = rows_for([batch], model.intercept, len(model.factor), model.n_outputs)
    s = np.ones((1, len(batch.tasks)))
    settings = model.B, model.factor, model.random, model.family, model.dispersion
    return left_out_densities(rows, s, *settings)


SMOOTH = ["bernoulli", "one against the rest", "categorical", "poisson", "gamma", "gaussian"]


@pytest.mark.parametrize("name", SMOOTH)
def test_rows_left_out(name):
    """What a row has added is taken away: near the posterior without it, exact if Gaussian."""
    family, K = FAMILIES[name]
    (batch, _), _ = make_batches(family, K, n_tasks=4, n_rows=8)
    batch.weight[:] = 1.0
    B = 0.3 * np.random.default_rng(3).standard_normal((3 * K, 1))
    model = LaplaceModel(B, 0.4 * np.eye(2 * K), np.array([0, 2]), family, 0.5, n_outputs=K)
    without, given = densities(model, batch)
    points, weights = normal_nodes(K)
    for i in range(8):
        x, y = batch.X[:, i], batch.y[:, i].reshape(2, K).T[:, :, None]
        none, others = np.zeros((2, 8)), np.tile(np.arange(8) != i, (2, 1)).astype(float)
        for values, weight, tolerance in ((without, none, 1e-9), (given, others, 0.06)):
            known = SimpleNamespace(**vars(batch) | {"weight": weight})
            mode, V = posterior(model, [known], np.zeros((2, 0)))
            m, V = predictor_moments(x, np.arange(2), mode, V, model.random, n_outputs=K)
            values_, vectors = np.linalg.eigh(V)
            root = (vectors * np.sqrt(values_)[:, None]) @ np.swapaxes(vectors, 1, 2)
            eta = np.moveaxis(m[:, None] + points @ root, -1, 0)  # outputs, tasks, points
            p = np.exp(-family.derivatives(eta, y)[0] / 0.5) @ weights
            exact = np.log(p) + family.constant(y, 0.5)[0][:, 0]
            limit = 1e-9 if name == "gaussian" else tolerance
            assert_allclose(values[:, i], exact, rtol=0, atol=limit)


def test_density_of_labels_left_out():
    """It is the probability that predictions give to the class."""
    (batch, _), _ = make_batches(Categorical(), 3, n_tasks=4)
    batch.weight[:] = 1.0
    B, factor = np.arange(9.0)[:, None] / 9, 0.7 * np.eye(9)
    model = LaplaceModel(B, factor, np.arange(3), Categorical(), n_outputs=3)
    without, _ = densities(model, batch)
    mode, V = posterior(model, [], np.zeros((2, 0)))
    for t, (X, y) in enumerate(zip(batch.X, batch.y, strict=True)):
        task = np.full(len(X), t)
        p = predictive_softmax(*predictor_moments(X, task, mode, V, model.random, n_outputs=3))
        assert_allclose(without[t], np.log((p * y).sum(axis=1)), atol=2e-3)


def test_scores_of_repeated_rows():
    batches, S = make_batches(PoissonFamily())
    B = np.array([[0.2], [-0.4], [0.1]])
    model = LaplaceModel(B, 0.5 * np.eye(3), np.arange(3), PoissonFamily())
    scores = predictive_scores(model, batches, S)
    twice = []
    for batch in batches:
        X, y, weight = (np.concatenate([v, v], axis=1) for v in (batch.X, batch.y, batch.weight))
        weight[:, : batch.X.shape[1]] = np.minimum(batch.weight, 1.0)
        weight[:, batch.X.shape[1] :] = np.maximum(batch.weight - 1.0, 0.0)
        twice.append(SimpleNamespace(tasks=batch.tasks, X=X, y=y, weight=weight))
    assert_allclose(predictive_scores(model, twice, S), scores, rtol=1e-9)
    batches[0].weight[0] = 0.0
    assert np.isnan(predictive_scores(model, batches, S)).sum() == 1
