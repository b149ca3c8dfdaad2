"""The mixed model against its definition: dense covariances, finite differences, EM."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sklearn_meta.kernels import stacked
from sklearn_meta.kernels.mixed_coordinates import Coordinates
from sklearn_meta.kernels.mixed_model import (
    Moments,
    Shrinkage,
    fit_mixed_model,
    log_densities,
    posterior,
)
from sklearn_meta.kernels.mixed_profile import Profile
from sklearn_meta.kernels.stacked import SMALL
from sklearn_meta.tasks import TaskTable, padded_batches

COVARIANCES = ["full", "diag", "spherical"]

# name: number of features, random coefficients (0 is the intercept), descriptors, weights
CASES = {
    "slope": dict(n_features=1, random=[0, 1]),
    "fixed effects": dict(n_features=3, random=[0, 2]),
    "no intercept": dict(n_features=2, random=[0, 1], intercept=False),
    "descriptors": dict(n_features=2, random=[0, 2], n_descriptors=2),
    "weights": dict(n_features=2, random=[0, 1], weighted=True),
    "above SMALL": dict(n_features=SMALL + 2, random=list(range(SMALL + 3)), weighted=True),
    "fixed above SMALL": dict(n_features=SMALL + 2, random=[0, 3], n_descriptors=1),
}


def make_problem(
    n_features, random, n_descriptors=0, weighted=False, intercept=True, n_tasks=9, seed=0
):
    """Tasks of unequal sizes, one of a single row; weights are numbers of repetitions."""
    rng = np.random.default_rng(seed)
    sizes = np.append(1, rng.integers(2, 2 * n_features + 8, n_tasks - 1))
    X = rng.standard_normal((sizes.sum(), n_features))
    S = rng.standard_normal((n_tasks, n_descriptors)) if n_descriptors else None
    codes = np.repeat(np.arange(n_tasks), sizes)
    w = 0.7 * rng.standard_normal((n_tasks, 1 + n_features)) + np.arange(1 + n_features)
    y = w[codes, 0] + np.sum(w[codes, 1:] * X, axis=1) + 0.5 * rng.standard_normal(len(X))
    weight = rng.integers(1, 4, len(X)).astype(float) if weighted else None
    offsets = np.append(0, np.cumsum(sizes))
    table = TaskTable(X, y, offsets, sample_weight=weight, descriptors=S)
    return SimpleNamespace(
        table=table,
        random=np.array(random, dtype=int),
        moments=replace(moments_of(table), intercept=intercept),
    )


def moments_of(table, shift=None):
    n_features = table.X.shape[1]
    shift = np.zeros(n_features + 1) if shift is None else shift
    return Moments.from_batches(
        padded_batches(table), table.n_tasks, n_features, shift, table.descriptors
    )


def rows_of(problem):
    """For every task its design X, Z, targets and [1, descriptors], with weights as repetitions."""
    table = problem.table
    for t in range(table.n_tasks):
        X, y, weight = table.task(t)
        if problem.moments.intercept:
            X = np.column_stack([np.ones(len(X)), X])
        repeat = np.ones(len(y), int) if weight is None else weight.astype(int)
        s = np.ones(1) if table.descriptors is None else np.append(1, table.descriptors[t])
        X = np.repeat(X, repeat, axis=0)
        yield X, X[:, problem.random], np.repeat(y, repeat), s


def dense_fit(problem, factor, reml):
    """-2 log-likelihood at Lambda, with B by generalised least squares, from dense matrices."""
    tasks = list(rows_of(problem))
    H = [np.eye(len(y)) + Z @ factor @ factor.T @ Z.T for _, Z, y, _ in tasks]
    designs = [np.kron(X, s) for X, _, _, s in tasks]  # columns: coefficient, then descriptor
    targets = [y for _, _, y, _ in tasks]
    P = sum(D.T @ np.linalg.solve(h, D) for D, h in zip(designs, H, strict=True))
    k = sum(D.T @ np.linalg.solve(h, y) for D, h, y in zip(designs, H, targets, strict=True))
    vec_B = np.linalg.solve(P, k)
    errors = [y - D @ vec_B for D, y in zip(designs, targets, strict=True)]
    rss = sum(e @ np.linalg.solve(h, e) for e, h in zip(errors, H, strict=True))
    n_rows = sum(map(len, errors))
    sigma2 = rss / (n_rows - reml * len(P))
    log_likelihood = sum(
        multivariate_normal(cov=sigma2 * h).logpdf(e) for e, h in zip(errors, H, strict=True)
    )
    if reml:
        log_likelihood -= 0.5 * np.linalg.slogdet(P / sigma2)[1]
        log_likelihood += 0.5 * len(P) * np.log(2 * np.pi)
    return -2 * log_likelihood, vec_B.reshape(-1, len(tasks[0][3])), sigma2


def random_factor(problem, covariance="full", seed=1):
    """Some Lambda."""
    rng, r = np.random.default_rng(seed), len(problem.random)
    if covariance == "full":
        return np.tril(rng.uniform(0.2, 1.2, (r, r)))
    return np.diag(rng.uniform(0.2, 1.2, r if covariance == "diag" else 1) * np.ones(r))


def profile_of(problem, **settings):
    settings = {"reml": True, **settings}
    return Profile(problem.moments, problem.random, **settings)


def assert_gradient_is_central(value, gradient, x, h=2e-4):
    central = [  # of fourth order
        sum(c * value(x + k * e) for k, c in ((1, 8), (-1, -8), (2, -1), (-2, 1))) / 12 / h
        for e in h * np.eye(len(x))
    ]
    np.testing.assert_allclose(gradient, central, rtol=1e-6, atol=1e-8 * np.abs(gradient).max())


# -- the deviance and its gradient -----------------------------------------------------------------


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("case", CASES)
def test_deviance_is_that_of_a_multivariate_normal(case, covariance, reml):
    problem = make_problem(**CASES[case])
    factor = random_factor(problem, covariance)
    at = profile_of(problem, reml=reml).solve(factor)
    expected, expected_B, expected_sigma2 = dense_fit(problem, factor, reml)
    np.testing.assert_allclose(at.deviance, expected, rtol=1e-9)
    np.testing.assert_allclose(at.B, expected_B, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(at.sigma2, expected_sigma2, rtol=1e-8)
    assert at.value == at.deviance / 2


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_finite_differences(case, reml):
    problem = make_problem(**CASES[case])
    profile, factor = profile_of(problem, reml=reml), random_factor(problem)
    gradient, _ = profile.gradient(profile.solve(factor))
    assert_gradient_is_central(
        lambda x: 2 * profile.solve(x.reshape(factor.shape)).value, gradient.ravel(), factor.ravel()
    )


def test_gradient_vanishes_where_all_variances_do():
    """Lambda = 0 is a stationary point: the deviance depends on Lambda through its square."""
    profile = profile_of(make_problem(**CASES["slope"]))
    gradient, _ = profile.gradient(profile.solve(np.zeros((2, 2))))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("case", ["slope", "descriptors", "above SMALL"])
def test_tasks_are_worked_on_in_parts(case, monkeypatch):
    problem = make_problem(**CASES[case])
    whole, factor = profile_of(problem), random_factor(problem)
    monkeypatch.setattr(stacked, "CELLS", 4 * whole.whitened[..., 0].size)
    parts = profile_of(problem)
    assert (len(whole.parts), len(parts.parts)) == (1, 3)
    found, expected = (p.gradient(p.solve(factor))[0] for p in (parts, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


# -- coordinates -----------------------------------------------------------------------------------


def coordinates_of(problem, covariance, factor=None, tau=0.7, **settings):
    profile = profile_of(problem, **settings)
    at = profile.solve(random_factor(problem, covariance) if factor is None else factor, tau)
    return profile, at, Coordinates(profile, at, covariance)


@pytest.mark.parametrize("prior", [{}, {"nu": 4.0}, {"slopes": True}])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("case", ["slope", "descriptors", "above SMALL"])
def test_gradient_in_coordinates_is_that_of_finite_differences(case, covariance, prior):
    problem = make_problem(**CASES[case])
    profile, at, coordinates = coordinates_of(problem, covariance, **prior_of(problem, **prior))
    factor, tau = coordinates.point(np.zeros(sum(coordinates.size)))
    np.testing.assert_allclose(factor @ factor.T, at.factor @ at.factor.T)
    assert tau == at.tau

    def value(x):
        return profile.solve(*coordinates.point(x)).value

    x = 0.1 * np.random.default_rng(0).standard_normal(sum(coordinates.size))
    gradient = coordinates.gradient(*profile.gradient(profile.solve(*coordinates.point(x))))
    assert_gradient_is_central(value, gradient, x)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_covariances_keep_their_form(covariance):
    _, _, coordinates = coordinates_of(make_problem(n_features=2, random=[0, 1, 2]), covariance)
    x = np.random.default_rng(0).standard_normal(sum(coordinates.size))
    factor, _ = coordinates.point(x)
    expected = {
        "full": factor,
        "diag": np.diag(np.diag(factor)),
        "spherical": factor[0, 0] * np.eye(3),
    }
    np.testing.assert_allclose(factor, expected[covariance])
    assert len(x) == {"full": 6, "diag": 3, "spherical": 1}[covariance]


@pytest.mark.parametrize("nu", [None, 30.0])
@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_deviance_is_round_in_coordinates(covariance, nu):
    """The mean curvature at parameters that data are drawn from is about the identity."""
    curvature = 0.0
    for seed in range(10):
        problem = make_problem(n_features=2, random=[0, 1, 2], n_tasks=200, seed=seed)
        settings = prior_of(problem, nu=nu)
        if nu:
            Sigma0 = 0.49 * np.eye(3)
            settings["shrinkage"] = Shrinkage(nu, Sigma0, 5.0, 0.25)
        profile, _, coordinates = coordinates_of(problem, covariance, 1.4 * np.eye(3), **settings)
        n, h = sum(coordinates.size), 1e-3

        def gradient(x, profile=profile, coordinates=coordinates):
            at = profile.solve(*coordinates.point(x))
            return coordinates.gradient(*profile.gradient(at))

        curvature += np.array([gradient(h * e) - gradient(-h * e) for e in np.eye(n)]) / (20 * h)
    np.testing.assert_allclose(curvature, np.eye(n), atol=0.25)


# -- priors of the variances -----------------------------------------------------------------------

PRIORS = {
    "covariance": dict(nu=4.0),
    "noise": dict(nu=0.0),
    "slopes": dict(slopes=True),
    "all": dict(nu=4.0, slopes=True),
    "centred": dict(nu=4.0, centred=True),
}


def prior_of(problem, nu=None, **settings):
    """Arguments of a profile: a shrinkage worth nu tasks, and the others."""
    q = len(problem.random)
    if nu is not None:
        Sigma0 = 0.5 * np.eye(q) + 0.1
        settings["shrinkage"] = Shrinkage(nu, Sigma0, 5.0, 0.4)
    if settings.get("slopes"):
        n_fixed = len(problem.moments.G) * len(problem.moments.s)
        settings["slopes"] = np.arange(int(problem.moments.intercept), n_fixed)
    return settings


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("case", ["slope", "descriptors", "no intercept", "above SMALL"])
def test_gradient_of_priors_is_that_of_finite_differences(case, prior):
    problem = make_problem(**CASES[case])
    profile = profile_of(problem, **prior_of(problem, **PRIORS[prior]))
    factor = random_factor(problem)
    of_factor, of_tau = profile.gradient(profile.solve(factor, 0.7))
    assert_gradient_is_central(
        lambda x: 2 * profile.solve(x[:-1].reshape(factor.shape), x[-1]).value,
        np.append(of_factor, of_tau),
        np.append(factor, 0.7),
    )


def test_shrunken_covariance_is_a_fixed_point_of_em():
    """Sigma = (sum E[u u'] + nu Sigma0) / (T + nu), sigma2 = (rss + nu1 s2) / (N + nu1)."""
    problem = make_problem(**CASES["slope"], n_tasks=25)
    shrinkage = prior_of(problem, nu=6.0)["shrinkage"]
    model = fit(problem, shrinkage=shrinkage, start=start_of(problem))
    Sigma = model.sigma2 * model.factor @ model.factor.T
    B, plain, noise = em_step(problem, model.B, Sigma, model.sigma2, "full")
    n_rows, nu, nu1 = problem.moments.M[0, 0].sum(), shrinkage.nu, shrinkage.nu1
    expected = (25 * plain + nu * shrinkage.Sigma0) / (25 + nu)
    np.testing.assert_allclose(Sigma, expected, rtol=1e-4)
    expected = (n_rows * noise + nu1 * shrinkage.s2) / (n_rows + nu1)
    np.testing.assert_allclose(model.sigma2, expected, rtol=1e-5)
    np.testing.assert_allclose(model.B, B, rtol=1e-5)


def start_of(problem):
    model = fit(problem, max_iter=1)
    return replace(model, factor=np.eye(len(problem.random)))


def test_strong_shrinkage_ends_at_what_it_pulls_to():
    problem = make_problem(**CASES["slope"], n_tasks=25)
    Sigma0 = np.array([[0.5, 0.1], [0.1, 0.2]])
    model = fit(problem, shrinkage=Shrinkage(1e9, Sigma0, 0.0, 0.0), start=start_of(problem))
    np.testing.assert_allclose(model.sigma2 * model.factor @ model.factor.T, Sigma0, rtol=1e-5)


def test_a_prior_of_slopes_shrinks_them():
    """B is ridge regression with omega, and omega is that of the greatest likelihood."""
    problem = make_problem(n_features=8, random=[0], n_tasks=6)
    model = fit(problem, reml=True, slopes=np.arange(1, 9))
    V = model.sigma2 * model.factor @ model.factor.T
    P, k = np.diag([0.0] + [model.omega] * 8), 0.0
    for X, Z, y, _ in rows_of(problem):
        H = np.eye(len(y)) + Z @ V @ Z.T / model.sigma2
        P, k = P + X.T @ np.linalg.solve(H, X), k + X.T @ np.linalg.solve(H, y)
    np.testing.assert_allclose(model.B[:, 0], np.linalg.solve(P, k), rtol=1e-7)
    b = model.B[1:, 0]
    known = 8 - model.omega * np.diag(np.linalg.inv(P))[1:].sum()
    np.testing.assert_allclose(model.omega, known * model.sigma2 / (b @ b), rtol=1e-4)


def test_few_rows_are_factored_as_rows():
    problem = make_problem(**CASES["above SMALL"])
    problem.table = problem.table.block(0, 9)
    rows = np.concatenate([np.arange(a, min(a + 4, b)) for a, b in offsets_of(problem.table)])
    sizes = [min(4, b - a) for a, b in offsets_of(problem.table)]
    table = TaskTable(
        problem.table.X[rows], problem.table.y[rows], np.append(0, np.cumsum(sizes)), None
    )
    moments = moments_of(table)
    assert moments.rows is not None
    plain = Moments(moments.M, moments.S)
    problem.moments = moments
    factor = random_factor(problem)
    of_rows = profile_of(problem)
    found = of_rows.gradient(of_rows.solve(factor))[0]
    S = of_rows.projected(slice(0, 9), factor)
    problem.moments = plain
    profile = profile_of(problem)
    expected = profile.gradient(profile.solve(factor))[0]
    np.testing.assert_allclose(of_rows.solve(factor).value, profile.solve(factor).value, rtol=1e-10)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(S, profile.projected(slice(0, 9), factor), atol=1e-9)
    np.testing.assert_allclose(of_rows.information(), profile.information(), atol=1e-9)
    some = moments.of(np.array([3, 1]))
    np.testing.assert_array_equal(some.rows, moments.rows[..., [3, 1]])
    assert moments.concatenate(some).rows.shape[2] == 11


def normal_logpdf(y, mean, covariance, noise):
    return multivariate_normal(mean, covariance + noise * np.eye(len(y))).logpdf(y)


def offsets_of(table):
    return zip(table.offsets[:-1].tolist(), table.offsets[1:].tolist(), strict=True)


@pytest.mark.parametrize("case", CASES)
def test_log_densities_are_those_of_multivariate_normals(case):
    problem = make_problem(**CASES[case])
    model = fit(problem, max_iter=3)
    Sigma = model.sigma2 * model.factor @ model.factor.T
    expected = [
        normal_logpdf(y, X @ model.B @ s, Z @ Sigma @ Z.T, model.sigma2)
        for X, Z, y, s in rows_of(problem)
    ]
    found = log_densities(model, problem.moments)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


# -- the optimum -----------------------------------------------------------------------------------


def em_step(problem, B, Sigma, sigma2, covariance):
    """One step of EM for maximum likelihood (Laird, Ware 1982), written for one task at a time."""
    n_rows, q = 0, len(problem.random)
    P, k, second = 0.0, 0.0, np.zeros((q, q))
    means, spreads = [], []
    tasks = list(rows_of(problem))
    for X, Z, y, s in tasks:
        V = Z @ Sigma @ Z.T + sigma2 * np.eye(len(y))
        gain = np.linalg.solve(V, Z @ Sigma).T
        mean, spread = gain @ (y - X @ B @ s), Sigma - gain @ Z @ Sigma
        design = np.kron(X, s)
        P, k = P + design.T @ design, k + design.T @ (y - Z @ mean)
        second += spread + np.outer(mean, mean)
        n_rows += len(y)
        means.append(mean)
        spreads.append(spread)
    B = np.linalg.solve(P, k).reshape(B.shape)
    rss = sum(
        np.sum((y - X @ B @ s - Z @ mean) ** 2) + np.sum((Z @ spread) * Z)
        for (X, Z, y, s), mean, spread in zip(tasks, means, spreads, strict=True)
    )
    Sigma = second / len(tasks)
    if covariance == "diag":
        Sigma = np.diag(np.diag(Sigma))
    elif covariance == "spherical":
        Sigma = np.trace(Sigma) / q * np.eye(q)
    return B, Sigma, rss / n_rows


def deviance_at(problem, B, Sigma, sigma2):
    return -2 * sum(
        multivariate_normal(X @ B @ s, Z @ Sigma @ Z.T + sigma2 * np.eye(len(y))).logpdf(y)
        for X, Z, y, s in rows_of(problem)
    )


def fit(problem, covariance="full", reml=False, **params):
    params = {"tol": 1e-10, **params}
    return fit_mixed_model(
        problem.moments,
        problem.random,
        covariance=covariance,
        reml=reml,
        **params,
    )


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("case", ["slope", "descriptors", "weights"])
def test_optimum_is_a_fixed_point_of_em(case, covariance):
    problem = make_problem(**CASES[case], n_tasks=25)
    model = fit(problem, covariance)
    Sigma = model.sigma2 * model.factor @ model.factor.T
    B, after, sigma2 = em_step(problem, model.B, Sigma, model.sigma2, covariance)
    np.testing.assert_allclose(B, model.B, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, Sigma, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sigma2, model.sigma2, rtol=1e-5)


def test_em_from_elsewhere_approaches_the_optimum_from_above():
    problem = make_problem(**CASES["slope"], n_tasks=25)
    model = fit(problem)
    B, Sigma, sigma2 = np.zeros((2, 1)), 5 * np.eye(2), 3.0
    path = []
    for step in range(300):
        B, Sigma, sigma2 = em_step(problem, B, Sigma, sigma2, "full")
        if step % 20 == 19:
            path.append(deviance_at(problem, B, Sigma, sigma2))
    assert (np.diff(path) < 1e-9).all()
    assert path[-1] >= model.deviance - 1e-8
    np.testing.assert_allclose(path[-1], model.deviance, atol=1e-5)
    np.testing.assert_allclose(Sigma, model.sigma2 * model.factor @ model.factor.T, rtol=1e-2)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("case", CASES)
def test_nothing_nearby_is_better(case, covariance, reml):
    problem = make_problem(**CASES[case], n_tasks=25)
    model = fit(problem, covariance, reml)
    profile = profile_of(problem, reml=reml)
    rng, r = np.random.default_rng(0), len(problem.random)
    for size in (1e-3, 1e-1):
        for _ in range(10):
            step = np.tril(rng.standard_normal((r, r)))
            if covariance != "full":
                step = np.diag(np.diag(step)) if covariance == "diag" else step[0, 0] * np.eye(r)
            nearby = profile.solve(model.factor + size * step)
            assert nearby.value >= 0.5 * model.deviance - 1e-9


@pytest.mark.parametrize("unit", [0.01, 100.0])
@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_optimum_does_not_depend_on_the_units(covariance, unit):
    """In other units of x the search starts elsewhere, and likelihoods stay."""
    problem = make_problem(**CASES["slope"], n_tasks=25)
    expected = fit(problem, covariance)
    problem.moments = problem.moments.rescaled(np.zeros(2), np.array([unit, 1.0]))
    model = fit(problem, covariance)
    np.testing.assert_allclose(model.deviance, expected.deviance, rtol=1e-9)
    factor = np.diag([1, unit]) @ expected.factor
    np.testing.assert_allclose(model.factor @ model.factor.T, factor @ factor.T, rtol=1e-3)


def test_callback_sees_falling_deviances_and_can_stop():
    problem = make_problem(**CASES["slope"])
    seen = []
    full = fit(problem, callback=lambda get_model: seen.append(get_model().deviance))
    assert len(seen) == full.n_iter
    assert (np.diff(seen) <= 1e-9).all()
    stopped = fit(problem, callback=lambda get_model: get_model().n_iter == 2)
    assert stopped.n_iter == 2
    assert stopped.deviance == seen[1]


@pytest.mark.parametrize("seed", range(8))
def test_no_evaluations_are_wasted_at_the_optimum(seed, monkeypatch):
    """The deviance of many rows is rounded; a search for less of it would go on in the noise."""
    problem = make_problem(1, [0, 1], n_tasks=3000, seed=seed)
    evaluated, solve = [], Profile.solve

    def counted(self, *point):
        evaluated.append(solve(self, *point).value)
        return solve(self, *point)

    monkeypatch.setattr(Profile, "solve", counted)
    model = fit(problem, tol=1e-12)  # more than there are digits for
    assert model.converged
    assert len(evaluated) <= model.n_iter + 20
    assert evaluated[-1] <= min(evaluated) + 1e-8


def test_max_iter_is_told():
    model = fit(make_problem(**CASES["fixed effects"]), max_iter=1)
    assert not model.converged
    assert model.n_iter == 1


@pytest.mark.parametrize("random", [[], [0, 1]])
def test_one_task_or_no_random_effects_is_least_squares(random):
    problem = make_problem(n_features=2, random=random, n_tasks=12 if not random else 2)
    if random:  # keep the larger task only
        problem.table = problem.table.block(1, 2)
        problem.moments = moments_of(problem.table)
    model = fit(problem, reml=True)
    X = np.column_stack([np.ones(len(problem.table.X)), problem.table.X])
    expected, rss, *_ = np.linalg.lstsq(X, problem.table.y, rcond=None)
    np.testing.assert_allclose(model.B[:, 0], expected, rtol=1e-8)
    np.testing.assert_allclose(model.sigma2, rss[0] / (len(X) - 3), rtol=1e-8)
    np.testing.assert_array_equal(model.factor, 0)


# -- the posterior ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_posterior_is_that_of_conditioning_the_joint_normal(case):
    problem = make_problem(**CASES[case])
    model = fit(problem, reml=True, max_iter=5)
    mean, covariance = posterior(model, problem.moments)
    Sigma = model.sigma2 * model.factor @ model.factor.T
    for t, (X, Z, y, s) in enumerate(rows_of(problem)):
        prior = model.B @ s
        gain = Sigma @ Z.T @ np.linalg.inv(Z @ Sigma @ Z.T + model.sigma2 * np.eye(len(y)))
        expected = prior.copy()
        expected[problem.random] += gain @ (y - X @ prior)
        np.testing.assert_allclose(mean[:, t], expected, rtol=1e-8, atol=1e-9)
        share = np.eye(len(prior))
        share[problem.random] -= gain @ X
        V = np.kron(np.eye(len(prior)), s) @ model.B_covariance @ np.kron(np.eye(len(prior)), s).T
        total = share @ V @ share.T
        total[np.ix_(problem.random, problem.random)] += Sigma - gain @ Z @ Sigma
        np.testing.assert_allclose(covariance[..., t], total, atol=1e-9)


def test_posterior_of_no_rows_is_the_prior():
    problem = make_problem(**CASES["descriptors"])
    model = fit(problem)
    table = TaskTable(np.empty((0, 2)), np.empty(0), np.array([0, 0]), descriptors=np.ones((1, 2)))
    mean, covariance = posterior(model, moments_of(table))
    np.testing.assert_allclose(mean[:, 0], model.B.sum(axis=1))
    of_mean = np.kron(np.eye(3), np.ones(3)) @ model.B_covariance @ np.kron(np.eye(3), np.ones(3)).T
    of_mean[np.ix_(model.random, model.random)] += model.sigma2 * model.factor @ model.factor.T
    np.testing.assert_allclose(covariance[..., 0], of_mean)


# -- moments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["weights", "descriptors", "above SMALL"])
def test_moments_are_those_of_a_loop(case):
    table = make_problem(**CASES[case]).table
    shift = np.arange(table.X.shape[1] + 1.0)
    moments = moments_of(table, shift)
    for t in range(table.n_tasks):
        X, y, weight = table.task(t)
        Z = np.column_stack([np.ones(len(y)), np.column_stack([X, y]) - shift])
        weight = np.ones(len(y)) if weight is None else weight
        np.testing.assert_allclose(moments.M[:, :, t], (Z.T * weight) @ Z, atol=1e-10)
    if table.descriptors is not None:
        np.testing.assert_array_equal(moments.S.T, table.descriptors)


@pytest.mark.parametrize("case", ["weights", "above SMALL"])
def test_rescaled_moments_are_those_of_rescaled_data(case):
    table = make_problem(**CASES[case]).table
    rng = np.random.default_rng(2)
    mean, scale = rng.standard_normal((2, table.X.shape[1] + 1)) + [[0], [3]]
    data = (np.column_stack([table.X, table.y]) - mean) / scale
    scaled = TaskTable(data[:, :-1], data[:, -1], table.offsets, sample_weight=table.sample_weight)
    rescaled = moments_of(table).rescaled(mean, scale)
    np.testing.assert_allclose(rescaled.M, moments_of(scaled).M, atol=1e-10)


@pytest.mark.parametrize("case", ["descriptors", "above SMALL"])
def test_concatenated_moments_are_those_of_all_tasks(case):
    table = make_problem(**CASES[case]).table
    parts = [moments_of(table.block(0, 4)), moments_of(table.block(4, table.n_tasks))]
    both, all_ = parts[0].concatenate(parts[1]), moments_of(table)
    np.testing.assert_allclose(both.M, all_.M, atol=1e-12)
    np.testing.assert_array_equal(both.S, all_.S)
    assert both.n_tasks == table.n_tasks


def test_pooled_moments_are_means_and_deviations():
    table = make_problem(**CASES["weights"]).table
    n, mean, scale = moments_of(table).pooled()
    data = np.repeat(np.column_stack([table.X, table.y]), table.sample_weight.astype(int), axis=0)
    assert n == len(data)
    np.testing.assert_allclose(mean, data.mean(axis=0))
    np.testing.assert_allclose(scale, data.std(axis=0))


def test_moments_of_no_rows_are_zero():
    table = TaskTable(np.empty((0, 2)), np.empty(0), np.zeros(4, dtype=int))
    np.testing.assert_array_equal(moments_of(table).M, np.zeros((4, 4, 3)))
