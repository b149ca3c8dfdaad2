"""HierarchicalBayes against lme4, dense formulas, and what must not change its answers."""

import json
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

import sklearn_meta.base.meta_estimator
from sklearn_meta import HierarchicalBayes, Task, tasks_from_table
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.exceptions import SingularFitWarning


def Plain(*args, **params):
    """Without regularisation: what lme4 fits."""
    return HierarchicalBayes(*args, **({"regularization": None} | params))


each_regularization = pytest.mark.parametrize("regularization", [None, "auto", 3.0])

# -- lme4 ------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden"
INTERCEPT_AND_SLOPE = ["intercept", "standLRT"]
SETTINGS = {  # what the formula of the golden means here
    "sleepstudy_reml": dict(features=["Days"]),
    "sleepstudy_ml": dict(features=["Days"]),
    "sleepstudy_diag_reml": dict(features=["Days"], covariance="diag", standardize=False),
    "sleepstudy_intercept_reml": dict(features=["Days"], random_effects="intercept"),
    "sleepstudy_slope_only_reml": dict(features=["Days"], random_effects=["Days"]),
    "weights": dict(features=["Days"]),
    "orthodont_reml": dict(features=["age"]),
    "orthodont_ml": dict(features=["age"]),
    "exam_reml": dict(features=["standLRT"]),
    "exam_ml": dict(features=["standLRT"]),
    "exam_fixed_reml": dict(
        features=["standLRT", "sexM", "schavg"], random_effects=INTERCEPT_AND_SLOPE
    ),
    "hsb82_reml": dict(features=["cses"], descriptor_columns=["meanses", "sectorCatholic"]),
    "hsb82_ml": dict(features=["cses"], descriptor_columns=["meanses", "sectorCatholic"]),
    "dyestuff2_reml": dict(features=["zero"], random_effects="intercept"),
}


@cache
def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@cache
def golden_table(name):
    pd = pytest.importorskip("pandas", reason="reads the goldens' CSV files")
    frame = pd.read_csv(GOLDEN / "data" / golden(name)["data"])
    return frame.assign(zero=0.0)


@cache
def fitted(name, with_groups=False):
    expected, frame, params = golden(name), golden_table(name), dict(SETTINGS[name])
    columns = params.pop("features") + params.get("descriptor_columns", [])
    target = expected["formula"].split(" ~ ")[0]
    weight = None if expected["weights"] is None else frame[expected["weights"]]
    model = Plain(method="reml" if expected["reml"] else "ml", **params)
    if with_groups:
        groups = frame[expected["group"]]
        return model.fit(frame[columns], frame[target], groups=groups, sample_weight=weight)
    model.set_params(task_column=expected["group"])
    return model.fit(frame[[expected["group"], *columns]], frame[target], sample_weight=weight)


def fixed_effects(model, features, descriptor_columns=(), **_):
    """prior_mean_ and descriptor_coef_ under the names that lme4 gives them."""
    names = ["(Intercept)", *features]
    effects = dict(zip(names, model.prior_mean_, strict=True))
    for j, s in enumerate(descriptor_columns):
        for i, name in enumerate(names):
            effects[s if i == 0 else f"{name}:{s}"] = model.descriptor_coef_[i, j]
    return effects


def test_every_golden_is_tested():
    assert set(SETTINGS) == {path.stem for path in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("name", SETTINGS)
def test_lme4_fixed_effects(name):
    effects = fixed_effects(fitted(name), **SETTINGS[name])
    for key, value in golden(name)["fixef"].items():
        assert effects[key] == pytest.approx(value, rel=1e-6), key


@pytest.mark.parametrize("name", SETTINGS)
def test_lme4_variances(name):
    model, expected = fitted(name), golden(name)
    assert model.noise_variance_ == pytest.approx(expected["sigma2"], rel=1e-6)
    coefs = ["(Intercept)", *SETTINGS[name]["features"]]
    random = [coefs.index(effect) for effect in expected["varcorr"]["names"]]
    covariance = np.zeros((len(coefs), len(coefs)))
    covariance[np.ix_(random, random)] = expected["varcorr"]["cov"]
    np.testing.assert_allclose(model.prior_covariance_, covariance, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("name", SETTINGS)
def test_lme4_log_likelihood(name):
    assert fitted(name).log_likelihood_ == pytest.approx(golden(name)["logLik"], rel=1e-9)


@pytest.mark.parametrize("name", SETTINGS)
def test_lme4_random_effects_of_every_group(name):
    model, expected, frame = fitted(name), golden(name), golden_table(name)
    assert list(map(str, model.task_ids_)) == expected["group_order"]
    side = SETTINGS[name].get("descriptor_columns", [])
    s = frame.groupby(expected["group"], sort=False)[side].first().to_numpy()
    deviation = model.task_coefs_ - model.prior_mean_ - s @ model.descriptor_coef_.T
    coefs = ["(Intercept)", *SETTINGS[name]["features"]]
    for id_, row in zip(expected["group_order"], deviation, strict=True):
        blups = [expected["ranef"][id_].get(coef, 0.0) for coef in coefs]
        np.testing.assert_allclose(row, blups, atol=1e-4, err_msg=id_)


@pytest.mark.parametrize("name", ["sleepstudy_reml", "hsb82_reml", "weights"])
def test_groups_and_task_column_give_the_same_model(name):
    one, two = fitted(name), fitted(name, with_groups=True)
    assert one.log_likelihood_ == two.log_likelihood_
    np.testing.assert_array_equal(one.task_coefs_, two.task_coefs_)


def test_published_sleepstudy():
    """Bates, Mächler, Bolker, Walker (2015), as printed."""
    model = fitted("sleepstudy_reml")
    np.testing.assert_allclose(model.prior_mean_, [251.405, 10.467], rtol=5e-5)
    variances = np.diag(model.prior_covariance_)
    np.testing.assert_allclose(variances, [612.10, 35.07], rtol=1e-4)
    correlation = model.prior_covariance_[0, 1] / np.sqrt(variances.prod())
    assert correlation == pytest.approx(0.066, abs=5e-4)
    assert model.noise_variance_ == pytest.approx(654.94, rel=1e-5)
    blups = dict(zip(model.task_ids_.tolist(), model.task_coefs_ - model.prior_mean_, strict=True))
    np.testing.assert_allclose(blups[308], [2.2586, 9.1990], atol=2e-4)
    np.testing.assert_allclose(blups[309], [-40.3987, -8.6197], atol=2e-4)


def test_variance_on_the_boundary_is_zero():
    """Dyestuff2, whose batches differ less than chance would have it."""
    fitted.cache_clear()
    with pytest.warns(SingularFitWarning, match="variance of intercept is estimated as 0"):
        model = fitted("dyestuff2_reml")
    np.testing.assert_array_equal(model.prior_covariance_, 0)
    np.testing.assert_allclose(model.task_coefs_, [model.prior_mean_] * 6, rtol=1e-12)


# -- dense formulas --------------------------------------------------------------------------------


def with_descriptors(tasks, seed=0):
    rng = np.random.default_rng(seed)
    return [replace(task, descriptor=rng.standard_normal(2) * [1, 10] + [0, 3]) for task in tasks]


def in_units(tasks, x_scale=1.0, x_shift=0.0, y_scale=1.0, y_shift=0.0):
    return [replace(t, X=t.X * x_scale + x_shift, y=t.y * y_scale + y_shift) for t in tasks]


@pytest.fixture(scope="module")
def tasks():
    return make_linear_tasks(n_tasks=30, n_rows=(3, 12), n_features=2, random_state=0)


@pytest.fixture(scope="module")
def large_units(tasks):
    """The same in units far from standardised."""
    return in_units(tasks, [100.0, 0.01], [500.0, -3.0], 20.0, 1000.0)


def dense_log_likelihood(model, tasks, intercept=True):
    """The (restricted) log-likelihood at the fitted parameters, from dense covariances."""
    total, P = 0.0, 0.0
    for task in tasks:
        Z = np.column_stack([np.ones(len(task.y)), task.X]) if intercept else task.X
        s = np.zeros(0) if task.descriptor is None else np.asarray(task.descriptor)
        repeat = 1 if task.sample_weight is None else np.asarray(task.sample_weight, int)
        Z, y = np.repeat(Z, repeat, axis=0), np.repeat(task.y, repeat)
        V = Z @ model.prior_covariance_ @ Z.T + model.noise_variance_ * np.eye(len(y))
        mean = Z @ (model.prior_mean_ + model.descriptor_coef_ @ s)
        total += multivariate_normal(mean, V).logpdf(y)
        design = np.kron(Z, np.append(1.0, s))
        P = P + design.T @ np.linalg.solve(V, design)
    if model.method == "reml":
        total += 0.5 * (len(P) * np.log(2 * np.pi) - np.linalg.slogdet(P)[1])
    return total


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"covariance": "diag"},
        {"covariance": "spherical"},
        {"covariance": "spherical", "standardize": False},
        {"random_effects": "intercept"},
        {"random_effects": [1]},
        {"estimator": LinearRegression(fit_intercept=False)},
        {"estimator": Ridge(fit_intercept=False), "random_effects": [1], "covariance": "diag"},
    ],
    ids=str,
)
def test_log_likelihood_is_that_of_the_data_as_they_came(large_units, params, method):
    model = Plain(**params, method=method)
    intercept = "estimator" not in params
    rng = np.random.default_rng(0)
    weighted = [replace(t, sample_weight=rng.integers(0, 3, len(t.y)) + 1) for t in large_units]
    for data in (large_units, with_descriptors(large_units), weighted):
        model.meta_fit(data)
        expected = dense_log_likelihood(model, data, intercept)
        assert model.log_likelihood_ == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("n_shots", [0, 1, 2, 8])
@pytest.mark.parametrize(
    "params", [{}, {"random_effects": [1]}, {"random_effects": "intercept"}], ids=str
)
def test_adapted_predictions_are_those_of_a_gaussian_process(large_units, params, n_shots):
    """y - m'z is a Gaussian process with the kernel z' Sigma z'."""
    model = Plain(**params).meta_fit(large_units[:-1])
    new = max(large_units, key=lambda task: len(task.y))
    X, y = new.X[:n_shots], new.y[:n_shots]
    mean, std = model.adapt(X, y).predict(new.X, return_std=True)
    values, vectors = np.linalg.eigh(model.prior_covariance_)
    half = vectors * np.sqrt(np.maximum(values, 0))

    def features(X):
        return np.column_stack([np.ones(len(X)), X]) @ half

    def prior(X):
        return model.prior_mean_[0] + X @ model.prior_mean_[1:]

    kernel = DotProduct(sigma_0=1e-9, sigma_0_bounds="fixed")
    process = GaussianProcessRegressor(kernel, alpha=model.noise_variance_, optimizer=None)
    if n_shots:
        process.fit(features(X), y - prior(X))
    expected, latent = process.predict(features(new.X), return_std=True)
    np.testing.assert_allclose(mean, prior(new.X) + expected, rtol=1e-6)
    of_prior = variance_of_the_prior_mean(model, large_units[:-1], X, new.X)
    variance = latent**2 + model.noise_variance_ + of_prior
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-6)


def variance_of_the_prior_mean(model, tasks, X, new):
    """What is not known of m by generalised least squares, as far as predictions move with m."""

    def design(X):
        return np.column_stack([np.ones(len(X)), X])

    def covariance(Z):
        return Z @ model.prior_covariance_ @ Z.T + model.noise_variance_ * np.eye(len(Z))

    designs = [design(task.X) for task in tasks]
    P = sum(Z.T @ np.linalg.solve(covariance(Z), Z) for Z in designs)
    Z, z = design(X), design(new)
    gain = model.prior_covariance_ @ Z.T @ np.linalg.inv(covariance(Z))
    moved = z @ (np.eye(len(P)) - gain @ Z)
    return np.einsum("ni,ij,nj->n", moved, np.linalg.inv(P), moved)


def test_std_of_every_row_is_that_of_its_task(tasks):
    model = Plain().meta_fit(tasks)
    a, b, new = tasks[0], tasks[1], tasks[2]
    model.adapt(
        np.concatenate([a.X, b.X]),
        np.concatenate([a.y, b.y]),
        groups=["a"] * len(a.y) + ["b"] * len(b.y),
    )
    groups = np.resize(["a", "unknown", "b"], len(new.X))
    mean, std = model.predict(new.X, groups=groups, return_std=True)
    for id_, X, y in (("a", a.X, a.y), ("b", b.X, b.y), ("unknown", a.X[:0], a.y[:0])):
        one = Plain().meta_fit(tasks).adapt(X, y)
        expected = one.predict(new.X, return_std=True)
        np.testing.assert_allclose(mean[groups == id_], expected[0][groups == id_])
        np.testing.assert_allclose(std[groups == id_], expected[1][groups == id_])


def test_std_covers_new_targets():
    tasks = make_linear_tasks(n_tasks=400, n_rows=20, n_features=2, random_state=1)
    model = Plain().meta_fit(tasks[:200])
    z = []
    for task in tasks[200:]:
        mean, std = model.adapt(task.X[:3], task.y[:3]).predict(task.X[3:], return_std=True)
        z.append((task.y[3:] - mean) / std)
    assert np.std(z) == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.015)


def test_many_tasks_recover_the_truth():
    mean, noise = np.array([3.0, -1.0]), 0.5
    covariance = np.array([[2.0, -0.6], [-0.6, 0.5]])
    tasks = make_linear_tasks(
        3000, 10, 1, mean=mean, covariance=covariance, noise=noise, random_state=0
    )
    model = Plain().meta_fit(tasks)
    np.testing.assert_allclose(model.prior_mean_, mean, atol=0.1)
    np.testing.assert_allclose(model.prior_covariance_, covariance, atol=0.15)
    assert model.noise_variance_ == pytest.approx(noise**2, rel=0.03)


# -- what must not change the answers --------------------------------------------------------------


def assert_same_prior(one, two, rtol=1e-5):
    for name in ("prior_mean_", "descriptor_coef_", "noise_variance_", "log_likelihood_"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=rtol, atol=1e-6)
    scale = np.sqrt(np.diag(one.prior_covariance_))
    np.testing.assert_allclose(
        one.prior_covariance_, two.prior_covariance_, atol=10 * rtol * np.outer(scale, scale).max()
    )


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("cut", [1, 2, 15])
@each_regularization
def test_partial_meta_fit_in_two_parts_is_meta_fit(tasks, method, cut, regularization):
    data = with_descriptors(tasks)
    whole = Plain(method=method, regularization=regularization).meta_fit(data)
    parts = Plain(method=method, regularization=regularization)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a single task, where cut is 1
        parts.partial_meta_fit(data[:cut])
    parts.partial_meta_fit(data[cut:])
    assert_same_prior(parts, whole)
    assert parts.n_tasks_ == whole.n_tasks_ == len(tasks)


def test_partial_meta_fit_leaves_a_variance_of_zero():
    """More data may tell that coefficients vary after all."""
    rng = np.random.default_rng(0)
    alike = []
    for _ in range(8):
        X, noise = rng.standard_normal((2, 10, 1))
        noise -= LinearRegression().fit(X, noise).predict(X)  # least squares agree in all tasks
        alike.append(Task(X, 1 + (2 * X + noise)[:, 0]))
    apart = make_linear_tasks(30, 10, 1, covariance=4 * np.eye(2), random_state=1)
    model = Plain().partial_meta_fit(alike)
    np.testing.assert_allclose(model.prior_covariance_, 0, atol=1e-9)
    model.partial_meta_fit(apart)
    assert_same_prior(model, Plain().meta_fit(alike + apart))


def test_stream_is_a_list(tasks, monkeypatch):
    data = with_descriptors(tasks)
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_TASKS", 7)
    stream = Plain().meta_fit(iter(data))
    assert_same_prior(stream, Plain().meta_fit(data))
    assert stream.n_tasks_ == len(tasks)


def test_stream_far_from_zero(tasks, monkeypatch):
    """Sums of squares are kept around the first tasks, so a large mean costs no digits."""
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_TASKS", 7)
    far = in_units(tasks, x_shift=1e6, y_shift=1e6)
    stream, expected = Plain(), Plain().meta_fit(tasks)
    stream.meta_fit(iter(far))
    np.testing.assert_allclose(stream.prior_mean_[1:], expected.prior_mean_[1:], rtol=1e-5)
    np.testing.assert_allclose(stream.noise_variance_, expected.noise_variance_, rtol=1e-5)


@pytest.mark.parametrize("random_effects", ["all", "intercept", [1], []], ids=str)
def test_features_far_from_zero(tasks, random_effects):
    """A fixed slope does not depend on where 0 is: a column that is almost constant counts."""
    far = in_units(tasks, x_shift=[1e7, 0.0])
    near, model = (Plain(random_effects=random_effects) for _ in range(2))
    near.meta_fit(tasks).adapt(tasks[0].X[:3], tasks[0].y[:3])
    model.meta_fit(far).adapt(far[0].X[:3], far[0].y[:3])
    np.testing.assert_allclose(model.prior_mean_[1:], near.prior_mean_[1:], rtol=1e-4)
    expected = near.predict(tasks[0].X, return_std=True)
    predicted = model.predict(far[0].X, return_std=True)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)


def test_blocks_of_adaptation_change_nothing(tasks, monkeypatch):
    data = with_descriptors(tasks)
    model = Plain().meta_fit(data)
    expected = model._adapt_table(next(model._read_tasks(data, None, reset=False)), {})
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "BLOCK_TASKS", 4)
    for n_jobs in (None, 2):
        model.set_params(n_jobs=n_jobs)
        params = model._adapt_table(next(model._read_tasks(data, None, reset=False)), {})
        np.testing.assert_allclose(params, expected, rtol=1e-12)


units = st.tuples(
    st.tuples(*[st.floats(-3, 3).map(lambda e: 10**e)] * 2),
    st.tuples(*[st.floats(-1e3, 1e3)] * 2),
    st.floats(-3, 3).map(lambda e: 10**e),
    st.floats(-1e3, 1e3),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)


@each_regularization
@settings(max_examples=15, deadline=None)
@given(units=units)
def test_units_change_nothing_but_the_units(units, regularization):
    x_scale, x_shift, y_scale, y_shift, signs = units
    # A shift of many scales would leave no digits.
    x_scale = np.array(x_scale) * signs[:2]
    x_shift = np.clip(x_shift, -100 * np.abs(x_scale), 100 * np.abs(x_scale))
    y_scale *= signs[2]
    y_shift = np.clip(y_shift, -100 * abs(y_scale), 100 * abs(y_scale))
    tasks = make_linear_tasks(n_tasks=12, n_rows=(3, 8), n_features=2, random_state=3)
    other = in_units(tasks, x_scale, x_shift, y_scale, y_shift)
    settings = dict(tol=1e-9, regularization=regularization)
    models = [Plain(**settings).meta_fit(data[:-1]) for data in (tasks, other)]
    predicted = [
        model.adapt(data[-1].X[:3], data[-1].y[:3]).predict(data[-1].X, return_std=True)
        for model, data in zip(models, (tasks, other), strict=True)
    ]
    scale = np.std(tasks[-1].y)
    mean = (predicted[1][0] - y_shift) / y_scale
    np.testing.assert_allclose(mean, predicted[0][0], atol=1e-4 * scale)
    np.testing.assert_allclose(predicted[1][1] / abs(y_scale), predicted[0][1], rtol=1e-4)


def test_standardize_changes_nothing_for_full_covariance(tasks):
    params = dict(tol=1e-9)
    model = Plain(**params).meta_fit(tasks)
    other = Plain(standardize=False, **params).meta_fit(tasks)
    assert_same_prior(model, other, 1e-4)


@each_regularization
@settings(max_examples=10, deadline=None)
@given(random=st.randoms(use_true_random=False), as_table=st.booleans())
def test_order_of_tasks_and_rows_changes_nothing(random, as_table, regularization):
    settings = dict(tol=1e-9, regularization=regularization)
    tasks = make_linear_tasks(n_tasks=10, n_rows=(2, 6), n_features=1, random_state=4)
    X = np.concatenate([task.X for task in tasks])
    y = np.concatenate([task.y for task in tasks])
    groups = np.repeat([task.id for task in tasks], [len(task.y) for task in tasks])
    expected = Plain(**settings).fit(X, y, groups=groups)
    if as_table:
        order = random.sample(range(len(y)), len(y))
        model = Plain(**settings).fit(X[order], y[order], groups=groups[order])
        np.testing.assert_allclose(
            model.predict(X, groups=groups), expected.predict(X, groups=groups), rtol=1e-4
        )
    else:
        model = Plain(**settings).meta_fit(random.sample(tasks, len(tasks)))
    assert_same_prior(model, expected, rtol=1e-4)


@each_regularization
@settings(max_examples=10, deadline=None)
@given(weights=st.lists(st.integers(0, 3), min_size=60, max_size=60), descriptors=st.booleans())
def test_weights_are_repetitions(weights, descriptors, regularization):
    tasks = make_linear_tasks(n_tasks=10, n_rows=6, n_features=1, random_state=5)
    if descriptors:
        tasks = with_descriptors(tasks)
    weights = np.reshape(weights, (10, 6))
    weights[:, :4] += 1  # no task and no slope is lost
    weighted = [replace(t, sample_weight=w) for t, w in zip(tasks, weights, strict=True)]
    repeated = [t.rows(np.repeat(np.arange(6), w)) for t, w in zip(tasks, weights, strict=True)]
    # whether contextual effects help is judged on rows that are drawn: only without it exact
    settings = dict(tol=1e-9, regularization=regularization, contextual_effects=False)
    models = [Plain(**settings).meta_fit(data) for data in (weighted, repeated)]
    assert_same_prior(*models, rtol=1e-4)
    one, two = weighted[0], repeated[0]
    models[0].adapt(one.X, one.y, sample_weight=one.sample_weight, descriptor=one.descriptor)
    models[1].adapt(two.X, two.y, descriptor=two.descriptor)
    np.testing.assert_allclose(models[0].predict(one.X), models[1].predict(one.X), atol=1e-3)


def test_float32_stays_and_agrees(tasks):
    narrow = [replace(t, X=t.X.astype(np.float32), y=t.y.astype(np.float32)) for t in tasks]
    model = Plain().meta_fit(narrow)
    expected = Plain().meta_fit(tasks)
    assert_same_prior(model, expected, rtol=1e-4)
    mean, std = model.adapt(narrow[0].X, narrow[0].y).predict(narrow[0].X, return_std=True)
    assert mean.dtype == std.dtype == model.estimator_.coef_.dtype == np.float32
    expected = expected.adapt(tasks[0].X, tasks[0].y).predict(tasks[0].X, return_std=True)
    np.testing.assert_allclose((mean, std), expected, rtol=1e-4, atol=1e-4)


# -- random effects, covariance, wrapped estimators ------------------------------------------------


def named_table(tasks):
    pd = pytest.importorskip("pandas", reason="names of columns come from dataframes")
    frame = pd.concat([pd.DataFrame(t.X, columns=["a", "b"]).assign(id=t.id) for t in tasks])
    return frame.reset_index(drop=True), np.concatenate([t.y for t in tasks])


@pytest.mark.parametrize(
    ("random_effects", "vary"),
    [
        ("all", [0, 1, 2]),
        ("intercept", [0]),
        (["intercept"], [0]),
        (["b"], [2]),
        ([1], [2]),
        (["b", "intercept"], [0, 2]),
        ([0, "b"], [1, 2]),
        ([], []),
    ],
    ids=str,
)
def test_only_random_effects_vary(tasks, random_effects, vary):
    X, y = named_table(tasks)
    model = Plain(random_effects=random_effects, task_column="id").fit(X, y)
    fixed = np.setdiff1d(range(3), vary)
    assert (np.diag(model.prior_covariance_)[vary] > 0).all()
    np.testing.assert_array_equal(model.prior_covariance_[fixed], 0)
    np.testing.assert_allclose(np.ptp(model.task_coefs_[:, fixed], axis=0), 0, atol=1e-12)
    assert (np.ptp(model.task_coefs_[:, vary], axis=0) > 0.1).all()


@pytest.mark.parametrize("effect", ["c", 2, -1, 1.5, None])
def test_unknown_random_effect_is_named(tasks, effect):
    X, y = named_table(tasks)
    with pytest.raises(ValueError, match=rf"{effect!r}.*known are intercept, a, b"):
        Plain(random_effects=["a", effect], task_column="id").fit(X, y)


def test_random_intercept_without_an_intercept_is_an_error(tasks):
    model = Plain(LinearRegression(fit_intercept=False), random_effects="intercept")
    with pytest.raises(ValueError, match="'intercept', which is no coefficient"):
        model.meta_fit(tasks)


def test_no_random_effects_is_least_squares(tasks):
    X, y = np.concatenate([t.X for t in tasks]), np.concatenate([t.y for t in tasks])
    model = Plain(random_effects=[]).meta_fit(tasks).adapt(tasks[0].X, tasks[0].y)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.predict(X), expected.predict(X))
    _, std = model.predict(X, return_std=True)
    Z = np.column_stack([np.ones(len(X)), X])
    leverage = np.einsum("ni,ij,nj->n", Z, np.linalg.inv(Z.T @ Z), Z)
    noise = np.sum((y - expected.predict(X)) ** 2) / (len(y) - 3)
    np.testing.assert_allclose(std**2, noise * (1 + leverage))


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_form_of_the_covariance(tasks, covariance):
    model = Plain(covariance=covariance, standardize=False).meta_fit(tasks)
    Sigma = model.prior_covariance_
    if covariance != "full":
        np.testing.assert_array_equal(Sigma, np.diag(np.diag(Sigma)))
    if covariance == "spherical":
        np.testing.assert_allclose(np.diag(Sigma), Sigma[0, 0])
    np.testing.assert_allclose(Sigma, Sigma.T)
    assert (np.linalg.eigvalsh(Sigma) > -1e-12).all()


def test_richer_models_are_likelier(tasks):
    likelihood = [
        Plain(method="ml", covariance=covariance).meta_fit(tasks).log_likelihood_
        for covariance in ("spherical", "diag", "full")
    ]
    likelihood.insert(0, Plain(method="ml", random_effects=[]).meta_fit(tasks).log_likelihood_)
    assert (np.diff(likelihood) > 0).all()


def test_without_intercept(tasks):
    model = Plain(LinearRegression(fit_intercept=False)).meta_fit(tasks)
    assert model.prior_mean_.shape == (2,)
    assert model.prior_covariance_.shape == (2, 2)
    model.adapt(tasks[0].X, tasks[0].y)
    assert model.estimator_.intercept_ == 0
    np.testing.assert_array_equal(model.predict(np.zeros((1, 2))), 0)
    X, y = named_table(tasks)
    assert model.set_params(task_column="id").fit(X, y).task_coefs_.shape == (len(tasks), 2)


@pytest.mark.parametrize(
    "estimator", [LinearRegression(), Ridge(), Lasso(), ElasticNet(), SGDRegressor()], ids=str
)
def test_adapted_estimator_is_of_the_wrapped_class(tasks, estimator):
    model = Plain(estimator).meta_fit(tasks).adapt(tasks[0].X, tasks[0].y)
    assert type(model.estimator_) is type(estimator)
    np.testing.assert_allclose(model.estimator_.predict(tasks[0].X), model.predict(tasks[0].X))
    expected = Plain().meta_fit(tasks).adapt(tasks[0].X, tasks[0].y)
    np.testing.assert_allclose(model.predict(tasks[0].X), expected.predict(tasks[0].X))


@pytest.mark.parametrize(
    "estimator",
    [Ridge(positive=True), LinearSVR(), LinearSVC(), Perceptron(), SGDClassifier()],
    ids=str,
)
def test_other_estimators_are_refused_with_a_way_out(tasks, estimator):
    last = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    with pytest.raises(ValueError, match=rf"HierarchicalBayes.*{type(last).__name__}"):
        Plain(estimator).meta_fit(tasks)


def test_pipeline_inside_is_the_transformed_table(tasks):
    X, y = named_table(tasks)
    X["kind"] = np.resize(["u", "v", "w"], len(X))
    columns = make_column_transformer(
        (StandardScaler(), ["a", "b"]), (OneHotEncoder(drop="first"), ["kind"])
    )
    random_effects = ["intercept", 0, 1]
    model = Plain(
        make_pipeline(columns, Ridge()), task_column="id", random_effects=random_effects
    ).fit(X, y)
    Z = columns.fit_transform(X)
    expected = Plain(random_effects=random_effects).fit(Z, y, groups=X["id"])
    np.testing.assert_allclose(model.predict(X), expected.predict(Z, groups=X["id"]))
    np.testing.assert_allclose(model.task_coefs_, expected.task_coefs_)


# -- side information ------------------------------------------------------------------------------


def test_three_ways_to_give_descriptors(tasks):
    X, y = named_table(tasks)
    rng = np.random.default_rng(0)
    side = rng.standard_normal((len(tasks), 2))
    X = X.assign(size=side[X["id"], 0], age=side[X["id"], 1])
    columns = dict(task_column="id", descriptor_columns=["size", "age"])
    table = Plain(**columns).fit(X, y)
    arrays = Plain().meta_fit([replace(t, descriptor=s) for t, s in zip(tasks, side, strict=True)])
    mappings = [{"age": age, "size": size} for size, age in side]
    named = Plain().meta_fit(tasks_from_table(X, y, **columns))
    reordered = Plain().meta_fit(
        [replace(t, descriptor=s) for t, s in zip(tasks, mappings, strict=True)]
    )
    for model in (arrays, named):
        assert_same_prior(model, table)
    np.testing.assert_allclose(
        reordered.descriptor_coef_[:, ::-1], table.descriptor_coef_, rtol=1e-4, atol=1e-6
    )
    new = X[X["id"] == 0]
    support = new[["a", "b"]].to_numpy()[:2], y[:2]
    expected = table.predict(new.assign(id=-1)[:1]), table.adapt(new[:2], y[:2]).predict(new)
    reordered.adapt(*support, descriptor={"size": side[0, 0], "age": side[0, 1]})
    for model in (arrays.adapt(*support, descriptor=side[0]), reordered):
        np.testing.assert_allclose(
            model.predict(new[["a", "b"]].to_numpy()), expected[1], rtol=1e-4
        )


def test_unknown_tasks_are_predicted_from_their_side_information():
    pd = pytest.importorskip("pandas", reason="side information by column name")
    rng = np.random.default_rng(0)
    n_tasks, n_rows = 60, 8
    size = rng.uniform(10, 20, n_tasks)
    ids = np.repeat(np.arange(n_tasks), n_rows)
    X = pd.DataFrame({"id": ids, "size": size[ids], "x": rng.standard_normal(len(ids))})
    y = 5 + 2 * X["size"] + X["x"] * X["size"] + rng.standard_normal(n_tasks)[ids]
    y = y + 0.1 * rng.standard_normal(len(y))
    model = Plain(task_column="id", descriptor_columns=["size"]).fit(X, y)
    np.testing.assert_allclose(model.descriptor_coef_[:, 0], [2, 1], atol=0.2)
    new = pd.DataFrame({"id": [-1, -2], "size": [12.0, 18.0], "x": [1.0, -1.0]})
    np.testing.assert_allclose(model.predict(new), [5 + 36, 5 + 18], atol=1)
    s = new["size"].to_numpy()
    coefs = model.prior_mean_ + np.outer(s, model.descriptor_coef_[:, 0])
    np.testing.assert_allclose(model.predict(new), coefs[:, 0] + coefs[:, 1] * new["x"])
    _, std = model.predict(new, return_std=True)
    Z = np.column_stack([np.ones(2), new["x"]])
    expected = np.einsum("ni,ij,nj->n", Z, model.prior_covariance_, Z) + model.noise_variance_
    P = 0.0  # of the fixed effects, side information times coefficients
    for t in range(n_tasks):
        own = np.column_stack([np.ones(n_rows), X["x"][ids == t]])
        V = own @ model.prior_covariance_ @ own.T + model.noise_variance_ * np.eye(n_rows)
        design = np.kron(own, [1.0, size[t]])
        P = P + design.T @ np.linalg.solve(V, design)
    D = np.stack([np.kron(z, [1.0, v]) for z, v in zip(Z, s, strict=True)])
    expected += np.einsum("ni,ij,nj->n", D, np.linalg.inv(P), D)
    np.testing.assert_allclose(std**2, expected, rtol=1e-6)


def test_side_information_not_known_is_the_mean(tasks):
    data = with_descriptors(tasks)
    model = Plain().meta_fit(data)
    mean = np.mean([task.descriptor for task in data], axis=0)
    coefs = model.prior_mean_ + model.descriptor_coef_ @ mean
    np.testing.assert_allclose(model.predict(tasks[0].X), coefs[0] + tasks[0].X @ coefs[1:])


def test_no_rows_with_descriptor_columns_is_the_meta_model(tasks):
    """Without rows, columns say nothing of the task: its side information is not known."""
    X = np.concatenate([np.column_stack([t.X, np.full(len(t.y), t.id)]) for t in tasks])
    y = np.concatenate([t.y for t in tasks])
    model = Plain(descriptor_columns=[2]).fit(X, y, groups=X[:, 2])
    model.adapt(X[:0], y[:0])
    coefs = model.prior_mean_ + model.descriptor_coef_[:, 0] * np.mean([t.id for t in tasks])
    np.testing.assert_allclose(model.predict(X), coefs[0] + X[:, :2] @ coefs[1:])


@pytest.mark.parametrize("descriptor", [None, [1.0], [1.0, 2.0, 3.0], {"a": 1, "b": 2}], ids=str)
def test_other_descriptors_than_in_training_are_an_error(tasks, descriptor):
    model = Plain().meta_fit(with_descriptors(tasks))
    before = model.predict(tasks[0].X)
    with pytest.raises(ValueError, match="descriptor"):
        model.adapt(tasks[0].X, tasks[0].y, descriptor=descriptor)
    np.testing.assert_array_equal(model.predict(tasks[0].X), before)


# -- hard data -------------------------------------------------------------------------------------


def test_one_task_warns_and_is_least_squares(tasks):
    task = max(tasks, key=lambda task: len(task.y))
    with pytest.warns(UserWarning, match="single task"):
        model = Plain().fit(task.X, task.y)
    np.testing.assert_array_equal(model.prior_covariance_, 0)
    expected = LinearRegression().fit(task.X, task.y)
    np.testing.assert_allclose(model.predict(task.X), expected.predict(task.X))


def test_more_features_than_rows_in_every_task():
    tasks = make_linear_tasks(n_tasks=80, n_rows=3, n_features=8, random_state=0)
    train, test = tasks[:-20], make_linear_tasks(20, 30, 8, random_state=1)
    model = Plain(covariance="spherical").meta_fit(train)
    score = np.mean([model.adapt(t.X[:3], t.y[:3]).score(t.X[3:], t.y[3:]) for t in test])
    zero = np.mean([model.adapt(t.X[:0], t.y[:0]).score(t.X[3:], t.y[3:]) for t in test])
    assert score > zero > 0.8
    full = Plain().meta_fit(train)
    assert np.isfinite(full.adapt(test[0].X[:3], test[0].y[:3]).predict(test[0].X)).all()


def test_fewer_rows_than_coefficients_in_all(tasks):
    few = make_linear_tasks(n_tasks=3, n_rows=2, n_features=10, random_state=0)
    for method in ("reml", "ml"):
        model = Plain(method=method).meta_fit(few)
        mean, std = model.adapt(few[0].X, few[0].y).predict(few[1].X, return_std=True)
        assert np.isfinite(mean).all()
        assert np.isfinite(std).all()


def test_one_row_in_every_task():
    tasks = make_linear_tasks(n_tasks=50, n_rows=1, n_features=1, random_state=0)
    model = Plain().meta_fit(tasks)
    assert np.isfinite(model.adapt(tasks[0].X, tasks[0].y).predict(tasks[0].X)).all()
    np.testing.assert_allclose(model.prior_mean_, [0, 1], atol=1)


COLUMNS = {
    "twice": lambda X: np.column_stack([X, X[:, 0]]),
    "sum": lambda X: np.column_stack([X, X @ [1.0, -2.0]]),
    "constant": lambda X: np.column_stack([X, np.full(len(X), 7.0)]),
    "zero": lambda X: np.column_stack([X, np.zeros(len(X))]),
}


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("random_effects", ["all", "intercept", [0]], ids=str)
@pytest.mark.parametrize("column", COLUMNS)
def test_column_that_adds_nothing_changes_nothing(tasks, column, random_effects, method):
    """Full covariances of collinear coefficients describe the same functions."""
    add = COLUMNS[column]
    more = [replace(t, X=add(t.X)) for t in tasks]
    params = dict(random_effects=random_effects, method=method)
    model, expected = (Plain(**params).meta_fit(data) for data in (more, tasks))
    predicted = [
        m.adapt(d[0].X[:3], d[0].y[:3]).predict(d[1].X, return_std=True)
        for m, d in ((model, more), (expected, tasks))
    ]
    np.testing.assert_allclose(*predicted, rtol=1e-4, atol=1e-4)
    assert model.log_likelihood_ == pytest.approx(expected.log_likelihood_, abs=1e-4)


def test_constant_target():
    tasks = make_linear_tasks(n_tasks=10, n_rows=5, n_features=2, random_state=0)
    for value in (0.0, 3.0, -1e6):
        constant = [replace(t, y=np.full(5, value)) for t in tasks]
        model = Plain().meta_fit(constant).adapt(tasks[0].X, constant[0].y)
        mean, std = model.predict(tasks[1].X, return_std=True)
        np.testing.assert_allclose(mean, value, atol=1e-6)
        np.testing.assert_allclose(std, 0, atol=1e-5 * max(1, abs(value)))
        assert np.isfinite(model.log_likelihood_)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("seed", range(5))
def test_constant_target_of_tasks_of_any_size(seed):
    """The search ends where the variances are those of rounding, some of them 0."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(12), rng.integers(5, 12, 12))
    X = np.c_[rng.normal(size=len(ids)), rng.normal(size=len(ids)) > 0]
    model = HierarchicalBayes().fit(X, np.full(len(X), 5.0), groups=ids)
    np.testing.assert_allclose(model.predict(X, groups=ids), 5.0, rtol=1e-9)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("params", [{}, {"regularization": None}, {"noise": "per_task"}])
@pytest.mark.parametrize("target", ["level", "random", "constant"])
def test_dummies_of_all_categories_without_noise(target, params):
    """They depend on the intercept, and the variances run off to where rounding is all there is."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(20), 10)
    D = np.eye(3)[rng.integers(0, 3, 200)]
    y = D @ [1.0, 2.0, 3.0] + rng.normal(size=20)[ids]
    if target != "level":
        y = np.full(200, 2.0) if target == "constant" else np.sum(D * rng.normal(size=3), axis=1)
        y = y + (target == "random") * np.sum(D * rng.normal(size=(20, 3))[ids], axis=1)
    model = HierarchicalBayes(**params).fit(D, y, groups=ids)
    np.testing.assert_allclose(model.predict(D, groups=ids), y, atol=1e-3)
    assert np.isfinite(model.predict_interval(D, groups=ids)).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_data_without_noise_are_recovered(scale):
    rng = np.random.default_rng(0)
    w = np.array([1.0, 2.0, 3.0]) + rng.standard_normal((20, 3))
    tasks = []
    for row in w:
        X = rng.standard_normal((6, 2))
        tasks.append(Task(X, scale * (row[0] + X @ row[1:])))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = Plain().meta_fit(tasks)
        for row, task in zip(w, tasks, strict=True):
            estimator = model.adapt(task.X, task.y).estimator_
            found = np.append(estimator.intercept_, estimator.coef_) / scale
            np.testing.assert_allclose(found, row, atol=1e-4)
        _, std = model.predict(tasks[0].X, return_std=True)
    assert np.isfinite(std).all()
    assert np.isfinite(model.log_likelihood_)
    np.testing.assert_allclose(model.prior_mean_ / scale, w.mean(axis=0), atol=1e-3)


def test_stopping_early_warns_with_a_way_out(tasks):
    with pytest.warns(ConvergenceWarning, match="1 iterations.*Raise max_iter"):
        model = Plain(max_iter=1).meta_fit(tasks)
    assert model.n_iter_ == 1


@pytest.mark.parametrize(
    "name", ["prior_mean_", "prior_covariance_", "log_likelihood_", "task_coefs_", "n_iter_"]
)
def test_attributes_come_with_fitting(tasks, name):
    assert not hasattr(Plain(), name)
    assert hasattr(Plain().meta_fit(tasks), name) == (name != "task_coefs_")


def test_task_coefs_are_those_of_adaptation(tasks):
    X, y = named_table(tasks)
    model = Plain(task_column="id").fit(X, y)
    for task, coefs in zip(tasks, model.task_coefs_, strict=True):
        one = Plain().meta_fit(tasks).adapt(task.X, task.y).estimator_
        np.testing.assert_allclose(coefs, np.append(one.intercept_, one.coef_), rtol=1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_data_without_noise_stay_in_the_range_of_numbers():
    rng = np.random.default_rng(0)
    ids, X = np.repeat(np.arange(20), 8), rng.normal(size=160)[:, None]
    y = rng.normal(0, 3, 20)[ids] - X[:, 0]
    for train, _ in GroupKFold(4).split(X, y, ids):
        meta = HierarchicalBayes().fit(X[train], y[train], groups=ids[train])
        np.testing.assert_allclose(meta.adapt(X[:2], y[:2]).predict(X[:8]), y[:8], atol=1e-4)


@pytest.mark.parametrize("n_tasks", [5, 10])
def test_known_tasks_around_a_body_are_predicted_as_its_predictions_say(n_tasks):
    """Where features lie elsewhere in every task, a body that has not seen the task is another."""
    errors = {"known": [], "as new": [], "body": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        ids = np.repeat(np.arange(n_tasks), 70)
        X = rng.normal(size=(len(ids), 3)) + 1.5 * rng.normal(size=(n_tasks, 3))[ids]
        u = rng.normal(size=(n_tasks, 2)) * [1.0, 0.5]
        y = np.sin(2 * X[:, 0]) + X[:, 1] * (X[:, 2] > 0) + u[ids, 0] + u[ids, 1] * X[:, 0]
        y += 0.5 * rng.normal(size=len(ids))
        seen = np.tile(np.arange(70) < 20, n_tasks)
        model = HierarchicalBayes(RandomForestRegressor(30, random_state=0))
        model.fit(X[seen], y[seen], groups=ids[seen])
        new, at = X[~seen], ids[~seen]
        errors["known"].append(model.predict(new, groups=at) - y[~seen])
        errors["body"].append(model.learner_.body.predict(new) - y[~seen])
        model.adapt(X[seen], y[seen], groups=ids[seen])
        errors["as new"].append(model.predict(new, groups=at) - y[~seen])
    known, as_new, body = (np.mean(np.square(e)) for e in errors.values())
    assert known < 1.02 * min(as_new, body)


# -- more side information than tasks --------------------------------------------------------------


def wide_tasks(n_tasks, n_entries, seed=0):
    """Tasks whose coefficients depend on the first of many entries of their side information."""
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n_tasks, n_entries))
    w = 1 + S[:, :3] + 0.3 * rng.standard_normal((n_tasks, 3))
    X = rng.standard_normal((n_tasks, 15, 2))
    y = w[:, :1] + np.einsum("tnd,td->tn", X, w[:, 1:]) + rng.standard_normal((n_tasks, 15))
    return [Task(*task[:2], descriptor=task[2]) for task in zip(X, y, S, strict=True)]


@pytest.mark.parametrize("random_effects", ["all", "intercept"])
@pytest.mark.parametrize("estimator", [None, RandomForestRegressor(3, random_state=0)])
def test_entries_that_say_nothing_change_nothing(estimator, random_effects):
    """13 entries of 12 tasks as they are, and in the span of the tasks where others join them."""
    *train, new = wide_tasks(13, 13)
    said = []
    for n_more in (0, 50):
        tasks = [replace(t, descriptor=np.pad(t.descriptor, (0, n_more))) for t in [*train, new]]
        model = HierarchicalBayes(estimator, regularization=4.0, random_effects=random_effects)
        model.set_params(tol=1e-9).meta_fit(tasks[:-1])
        for k in (0, 4):
            model.adapt(new.X[:k], new.y[:k], descriptor=tasks[-1].descriptor)
            said.append(np.array(model.predict(new.X, return_std=True)))
        unknown = model.predict(new.X, groups=["unknown"] * 15, return_std=True)
        said += [np.array(unknown), model.descriptor_coef_[:, :13], model.log_likelihood_]
        assert not model.descriptor_coef_[:, 13:].any()
    for one, other in zip(said[: len(said) // 2], said[len(said) // 2 :], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("estimator", [None, RandomForestRegressor(3, random_state=0)])
def test_many_more_entries_than_tasks(estimator):
    """What is computed has the size of the tasks, and predictions that of the targets."""
    *train, new = wide_tasks(13, 3000)
    model = HierarchicalBayes(estimator).meta_fit(train)
    assert model.meta_model_.prior.model.B.shape[1] == 1 + len(train) + 1
    assert model.descriptor_coef_.shape[1] == 3000
    y = np.concatenate([task.y for task in train])
    model.adapt(new.X[:5], new.y[:5], descriptor=new.descriptor)
    assert np.abs(model.predict(new.X)).max() < 3 * np.abs(y).max()


def test_many_more_entries_than_tasks_with_another_loss():
    train = wide_tasks(12, 3000)
    tasks = [replace(t, y=t.y > 1) for t in train]
    model = HierarchicalBayes(LogisticRegression()).meta_fit(tasks)
    found = model.meta_model_.prior.model.B[:, 1:]
    S = np.stack([t.descriptor for t in train])
    S = (S - S.mean(axis=0)) / S.std(axis=0)
    inside = np.linalg.lstsq(S.T, found.T)[0].T @ S
    np.testing.assert_allclose(found, inside, atol=1e-10)  # nothing is known outside their span


def test_log_likelihood_does_not_know_the_units_of_slopes_with_a_prior():
    tasks = wide_tasks(12, 20)
    of_units = [
        HierarchicalBayes().meta_fit([replace(t, X=t.X * unit) for t in tasks]).log_likelihood_
        for unit in (1.0, 1000.0)
    ]
    assert of_units[1] == pytest.approx(of_units[0], rel=1e-6)
