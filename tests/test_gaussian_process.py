"""GaussianProcessMeta: likelihood, gradient and posterior by other routes, and what it is worth."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    WhiteKernel,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import GaussianProcessMeta, HierarchicalBayes, Independent, Pooled, Task
from sklearn_meta.algorithms import gaussian_process
from sklearn_meta.algorithms.gaussian_process import MetaModel, ScikitLearnKernel
from sklearn_meta.datasets import make_linear_tasks, make_sinusoid_tasks
from sklearn_meta.kernels.covariance import TaskKernel
from sklearn_meta.kernels.gaussian_process import (
    Process,
    log_likelihood,
    posteriors,
    predictive,
)
from sklearn_meta.kernels.scaling import Scaling
from sklearn_meta.priors.process import BOUND, NOISE, ProcessPrior, learn_process

KERNELS = {
    "rbf": ConstantKernel(2.0) * RBF(0.7),
    "ard": ConstantKernel(0.5) * RBF([0.7, 2.0]) + DotProduct(0.3),
    "noisy": Matern(1.5, nu=1.5) + WhiteKernel(0.2),
    "fixed": ConstantKernel(1.5, "fixed") * RBF(0.7),
}


def task_kernel_of_scikit_learn(theta):
    """TaskKernel of one feature as an expression of scikit-learn."""
    a2, b2, s2, length = np.exp(theta[:4])
    matern = ConstantKernel(s2) * Matern(length, nu=2.5)
    return ConstantKernel(a2) + ConstantKernel(b2) * DotProduct(1e-5, "fixed") + matern


def random_rows(rng, n_tasks=4, n_rows=7, n_features=2, padded=True):
    """A batch, some of whose tasks have fewer rows."""
    X = rng.normal(size=(n_tasks, n_rows, n_features))
    r = rng.normal(size=(n_tasks, n_rows))
    weight = rng.choice([0.5, 1.0, 3.0], size=r.shape)
    if padded:
        weight[np.arange(n_rows) >= rng.integers(1, n_rows + 1, size=n_tasks)[:, None]] = 0.0
    real = weight > 0
    return X * real[:, :, None], r * real, weight


def regressor(kernel, noise, X, r, weight):
    """GaussianProcessRegressor with this kernel, as it is."""
    gpr = GaussianProcessRegressor(kernel, alpha=noise / weight, optimizer=None)
    return gpr.fit(X, r)


# -- the arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_log_likelihood_is_that_of_scikit_learn(name):
    X, r, weight = random_rows(np.random.default_rng(0))
    weight = (weight > 0).astype(float)
    kernel = KERNELS[name]
    psi = np.append(kernel.theta, np.log(0.3))
    value, gradient, slopes = log_likelihood(ScikitLearnKernel(kernel), psi, [(X, r, weight)])
    assert_array_equal(slopes, 0.0)
    expected = 0.0
    for x, y, w in zip(X, r, weight, strict=True):
        gpr = regressor(kernel, 0.3, x[w > 0], y[w > 0], w[w > 0])
        expected = expected + np.hstack(gpr.log_marginal_likelihood(kernel.theta, True))
    assert_allclose(value, expected[0])
    assert_allclose(gradient[:-1], expected[1:], rtol=1e-6)


def test_task_kernel_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    kernel, psi = TaskKernel(1), np.append(rng.normal(size=4), [0.0, -1.0])  # c is 0
    X, r, weight = random_rows(rng, n_tasks=1, n_features=1, padded=False)
    other = task_kernel_of_scikit_learn(psi[:-1])
    Z = rng.normal(size=(3, 1))
    assert_allclose(kernel(psi[:-1], X[0], Z), other(X[0], Z), rtol=1e-7)
    assert_allclose(kernel.diag(psi[:-1], Z), other.diag(Z))
    gpr = regressor(other, np.exp(psi[-1]), X[0], r[0], np.ones(7))
    value, *_ = log_likelihood(kernel, psi, [(X, r, np.ones((1, 7)))])
    assert_allclose(value, gpr.log_marginal_likelihood(other.theta))
    gpr = regressor(other, np.exp(psi[-1]), X[0], r[0], weight[0])
    process = Process(kernel, psi, np.zeros(1))
    (posterior,) = posteriors(process, (X, r, weight))
    mean, std = gpr.predict(Z, return_std=True)
    assert_allclose(posterior.mean(process, Z), mean, rtol=1e-6)
    assert_allclose(posterior.variance(process, Z), std**2, rtol=1e-6)


@pytest.mark.parametrize("slope_variance", [0.0, 0.5])
@pytest.mark.parametrize("kernel", [TaskKernel(2), *map(ScikitLearnKernel, KERNELS.values())])
def test_gradient_by_finite_differences(kernel, slope_variance):
    rng = np.random.default_rng(1)
    batches = [random_rows(rng), random_rows(rng, n_tasks=2, n_rows=3)]
    mean, _ = kernel.prior()
    psi = np.append(mean, 0.0) + 0.3 * rng.normal(size=len(mean) + 1)
    _, gradient, slopes = log_likelihood(kernel, psi, batches, slope_variance)
    assert (slopes != 0).all() == (slope_variance > 0)
    step = 1e-5
    for i, direction in enumerate(np.eye(len(psi))):
        up, down = (
            log_likelihood(kernel, psi + s * direction, batches, slope_variance)[0]
            for s in (step, -step)
        )
        assert_allclose(gradient[i], (up - down) / (2 * step), rtol=1e-6, atol=1e-7)


def test_slopes_within_tasks_are_generalised_least_squares():
    rng = np.random.default_rng(5)
    kernel, psi = TaskKernel(2), 0.3 * rng.normal(size=9)
    X, r, weight = random_rows(rng, padded=False)
    _, _, slopes = log_likelihood(kernel, psi, [(X, r, weight)], 0.5)
    A, b = 2.0 * np.eye(2), np.zeros(2)
    for x, y, w in zip(X, r, weight, strict=True):
        Phi = x - np.average(x, axis=0, weights=w)
        C = kernel.within(psi[:-1], x) + np.diag(np.exp(psi[-1]) / w)
        A += Phi.T @ np.linalg.solve(C, Phi)
        b += Phi.T @ np.linalg.solve(C, y)
    assert_allclose(slopes, np.linalg.solve(A, b))


def test_slopes_within_tasks_at_a_new_row():
    """The mean of a task is that of its known rows and the new one, and u is as it says."""
    rng = np.random.default_rng(6)
    kernel, psi, slopes = TaskKernel(2), 0.3 * rng.normal(size=9), rng.normal(size=2)
    process, plain = (Process(kernel, psi, beta) for beta in (slopes, 0 * slopes))
    X, r, _ = random_rows(rng, n_tasks=1, padded=False)
    z, ones = rng.normal(size=(1, 2)), np.ones_like(r)
    m = np.concatenate([X[0], z]).mean(axis=0)
    (posterior,) = posteriors(plain, (X, r - (X - m) @ slopes, ones))
    expected = posterior.mean(plain, z) + (z - m) @ slopes
    (posterior,) = posteriors(process, (X, r, ones))
    assert_allclose(posterior.mean(process, z), expected)
    mean, variance = predictive(process, (X, r, ones), z[None])
    assert_allclose(mean[0], expected)
    assert_allclose(variance[0], posterior.variance(process, z))
    (nothing,) = posteriors(process, (X[:, :0], r[:, :0], ones[:, :0]))
    assert_array_equal(nothing.mean(process, z), 0.0)


def test_weights_are_repetition_and_padding_is_nothing():
    rng = np.random.default_rng(2)
    kernel, psi = TaskKernel(2), 0.3 * rng.normal(size=9)
    process = Process(kernel, psi, rng.normal(size=2))
    X, r, weight = random_rows(rng, n_tasks=1)
    X, r, weight = X[:, weight[0] > 0], r[:, weight[0] > 0], np.ceil(weight[:, weight[0] > 0])
    times = weight[0].astype(int)
    again = tuple(np.repeat(part, times, axis=1) for part in (X, r, np.ones_like(r)))
    padded = tuple(np.concatenate([part, 0 * part], axis=1) for part in (X, r, weight))
    for other in (again, padded):
        for got, expected in zip(
            log_likelihood(kernel, psi, [other], 0.5),
            log_likelihood(kernel, psi, [(X, r, weight)], 0.5),
            strict=True,
        ):
            assert_allclose(got, expected)
        (a,), (b,) = (posteriors(process, part) for part in (other, (X, r, weight)))
        Z = rng.normal(size=(4, 2))
        assert_allclose(a.mean(process, Z), b.mean(process, Z))
        assert_allclose(a.variance(process, Z), b.variance(process, Z))


def test_recovers_what_functions_were_drawn_from():
    rng = np.random.default_rng(3)
    kernel = TaskKernel(2)
    psi = np.append(np.log([0.5, 0.3, 0.01, 1.0, 0.5, 4.0]), [0.5, 0.0, np.log(0.1)])
    X = rng.normal(size=(200, 30, 2))
    C = kernel.within(psi[:-1], X) + 0.1 * np.eye(30)
    r = np.einsum("tnm,tm->tn", np.linalg.cholesky(C), rng.normal(size=(200, 30)))
    r += (X - X.mean(axis=1, keepdims=True)) @ [0.3, -0.2]
    learned = learn_process(kernel, [(X, r, np.ones_like(r))])
    assert learned.converged
    off = learned.psi - psi
    assert_allclose(off[[0, 1, 3]], 0.0, atol=0.4)
    assert_allclose(off[[4, 5]], 0.0, atol=0.2)
    assert_allclose(off[-1], 0.0, atol=0.05)
    assert_allclose(off[[6, 7]], 0.0, atol=0.2)
    assert_allclose(learned.slopes, [0.3, -0.2], atol=0.1)
    assert learned.psi[2] < np.log(0.05)


def test_the_prior_keeps_what_few_rows_say_in_bounds():
    kernel = TaskKernel(3)
    batch = np.ones((2, 1, 3)), np.array([[1.0], [-1.0]]), np.ones((2, 1))
    learned = learn_process(kernel, [batch])
    mean, _ = kernel.prior()
    assert np.abs(learned.psi[:-1] - mean).max() < 3
    assert np.isfinite(learned.slopes).all()


def test_offset_and_slopes_are_hierarchical_bayes():
    """Without its smooth part the model is a mixed model around the same body."""
    rng = np.random.default_rng(4)
    body = HistGradientBoostingRegressor(max_iter=10)
    tasks = make_linear_tasks(n_tasks=40, n_rows=15, n_features=2, random_state=0)
    mixed = HierarchicalBayes(body, covariance="diag", regularization=None, method="ml")
    mixed.meta_fit(tasks)
    prior, learner = mixed.meta_model_.prior, mixed.learner_
    coefs = prior.model.sigma2 * np.diag(prior.model.factor) ** 2
    with np.errstate(divide="ignore"):
        psi = np.log([*coefs, 0.0, *np.ones(6), prior.model.sigma2])
    psi[-4:-1] = 0.0  # c
    kernel, scaling = TaskKernel(3), prior.scaling
    assert scaling.y_mean == 0
    units = Scaling(scaling.x_mean, scaling.x_scale)
    process = ProcessPrior(kernel, psi, np.zeros(3))
    model = MetaModel(process, units, scaling.y_scale)

    gp = GaussianProcessMeta(body).meta_fit(tasks)  # the rows it learned from are all there are
    (batch,) = gp.meta_model_.prior.batches
    X = (gp.meta_model_.scaling.x_mean + gp.meta_model_.scaling.x_scale * batch[0]) - units.x_mean
    r = batch[1] * gp.meta_model_.scale / scaling.y_scale
    _, gradient, _ = log_likelihood(kernel, psi, [(X / units.x_scale, r, batch[2])])
    vary = np.append(coefs > 0, [False] * 7 + [True])
    assert vary.sum() >= 3
    assert_allclose(gradient[vary], 0.0, atol=1e-2)

    new = rng.normal(size=(6, 2)), rng.normal(size=6)
    Z = learner.transform(new[0])
    batch = units.features(Z)[None], (new[1] - Z[:, 0])[None] / scaling.y_scale, np.ones((1, 6))
    (posterior,) = posteriors(process, batch)
    mean, std = mixed.adapt(*new).predict(tasks[0].X, return_std=True)
    Z = learner.transform(tasks[0].X)
    assert_allclose(model.mean(posterior, Z), mean, rtol=1e-6)
    assert_allclose(model.deviation(model.variance(posterior, Z)), std, rtol=1e-6)


# -- the estimator ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sinusoids():
    tasks = make_sinusoid_tasks(n_tasks=80, n_rows=20, noise=0.1, random_state=0)
    return [Task(task.X, task.y) for task in tasks]


@pytest.fixture(scope="module")
def trained(sinusoids):
    return GaussianProcessMeta().meta_fit(sinusoids[:60])


@pytest.fixture
def fitted(trained):
    return copy.copy(trained)


def score(model, tasks, n_shots=5):
    errors = []
    for task in tasks:
        model.adapt(task.X[:n_shots], task.y[:n_shots])
        errors.append(np.mean((model.predict(task.X[10:]) - task.y[10:]) ** 2))
    return np.mean(errors)


def test_predicts_what_no_linear_model_can(fitted, sinusoids):
    tasks = sinusoids[60:]
    others = [Pooled(), Independent(), HierarchicalBayes()]
    best = min(score(other.meta_fit(sinusoids[:60]), tasks) for other in others)
    assert score(fitted, tasks, 10) < 0.2 * best
    assert score(fitted, tasks, 5) < 0.6 * best


def test_without_rows_it_is_the_mean_function():
    tasks = make_linear_tasks(n_tasks=60, n_rows=10, n_features=2, random_state=0)
    model = GaussianProcessMeta().meta_fit(tasks)
    X, y = (np.concatenate([getattr(t, a) for t in tasks]) for a in ("X", "y"))
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, Ridge().fit(X, y).predict(X))
    assert_allclose(model.predict(X), mean)
    assert_allclose(np.sqrt(np.mean(std**2)), model.residual_scale_, rtol=0.1)


def test_deviations_shrink_where_rows_are_known(fitted, sinusoids):
    task = sinusoids[70]
    _, before = fitted.predict(task.X, return_std=True)
    fitted.adapt(task.X[:10], task.y[:10])
    mean, std = fitted.predict(task.X, return_std=True)
    assert (std <= before).all() and (std[:10] < 0.2 * before[:10]).all()
    noise = np.sqrt(fitted.noise_variance_)
    assert (std >= noise).all()
    own, deviation = fitted.estimator_.predict(task.X, return_std=True)
    assert_allclose(own, mean)
    assert_allclose(deviation, std)


@pytest.mark.parametrize("n_shots", [0, 2, 10])
def test_intervals_cover_new_tasks(n_shots):
    tasks = make_sinusoid_tasks(n_tasks=160, n_rows=30, noise=0.3, random_state=0)
    model = GaussianProcessMeta().meta_fit(tasks[:60])
    inside = []
    for task in tasks[60:]:
        model.adapt(task.X[:n_shots], task.y[:n_shots])
        low, high = model.predict_interval(task.X[10:]).T
        inside.append(np.mean((low <= task.y[10:]) & (task.y[10:] <= high)))
        narrow = model.predict_interval(task.X[10:], confidence_level=0.5)
        assert (low <= narrow[:, 0]).all() and (narrow[:, 1] <= high).all()
    assert 0.85 < np.mean(inside) < 0.95
    with pytest.raises(ValueError, match="confidence_level=90"):
        model.predict_interval(task.X, confidence_level=90)


@pytest.mark.parametrize("kernel", [*KERNELS.values(), ExpSineSquared(1.0, 3.0)], ids=str)
def test_kernels_of_scikit_learn(kernel, sinusoids):
    model = GaussianProcessMeta(kernel=kernel).meta_fit(sinusoids[:20])
    assert type(model.kernel_) is type(kernel)
    assert set(model.hyperparameters_) == {h.name for h in kernel.hyperparameters}
    assert (model.kernel_.theta != kernel.theta).any()
    assert score(model, sinusoids[60:], 10) < 0.5 * score(
        Pooled().meta_fit(sinusoids[:20]), sinusoids[60:]
    )
    task = sinusoids[70]
    mean, std = model.adapt(task.X[:5], task.y[:5]).predict(task.X, return_std=True)
    assert np.isfinite(mean).all() and (std > 0).all()


def test_hyperparameters_have_names(fitted):
    with pytest.raises(AttributeError, match="kernel_ is there where a kernel was given"):
        _ = fitted.kernel_
    names = ["offset_variance", "slope_variances", "smooth_variance", "length_scales", "tilt"]
    assert list(fitted.hyperparameters_) == names
    assert fitted.hyperparameters_["length_scales"].shape == fitted.slopes_.shape == (2,)
    assert np.isfinite(fitted.log_likelihood_) and 1 < fitted.n_iter_ < 200


def test_units_do_not_matter(sinusoids):
    tasks = [Task(1e3 * t.X - 5e4, 1e-4 * t.y + 7) for t in sinusoids[:30]]
    plain = GaussianProcessMeta(LinearRegression()).meta_fit(sinusoids[:30])
    model = GaussianProcessMeta(LinearRegression()).meta_fit(tasks)
    old, new = sinusoids[70], Task(1e3 * sinusoids[70].X - 5e4, 1e-4 * sinusoids[70].y + 7)
    expected = plain.adapt(old.X[:5], old.y[:5]).predict(old.X, return_std=True)
    mean, std = model.adapt(new.X[:5], new.y[:5]).predict(new.X, return_std=True)
    assert_allclose(mean, 1e-4 * expected[0] + 7, rtol=1e-5)
    assert_allclose(std, 1e-4 * expected[1], rtol=1e-2)


def test_order_of_rows_does_not_matter(sinusoids):
    one = GaussianProcessMeta().meta_fit(sinusoids[:5])
    turned = GaussianProcessMeta().meta_fit([Task(t.X[::-1], t.y[::-1]) for t in sinusoids[:5]])
    assert_allclose(one.meta_model_.prior.psi, turned.meta_model_.prior.psi, atol=1e-3)


def test_partial_adapt_is_adapt_to_all_rows(fitted, sinusoids):
    task = sinusoids[65]
    fitted.adapt(task.X[:8], task.y[:8])
    expected = fitted.predict(task.X)
    fitted.adapt(task.X[:3], task.y[:3]).partial_adapt(task.X[3:8], task.y[3:8])
    assert_allclose(fitted.predict(task.X), expected, rtol=1e-8)


def test_weights_are_repetition_in_adapt(fitted, sinusoids):
    task = sinusoids[65]
    weight = np.array([1.0, 2.0, 0.0, 3.0, 1.0])
    fitted.adapt(task.X[:5], task.y[:5], sample_weight=weight)
    by_weight = fitted.predict(task.X, return_std=True)
    rows = np.repeat(np.arange(5), weight.astype(int))
    fitted.adapt(task.X[rows], task.y[rows])
    for got, expected in zip(by_weight, fitted.predict(task.X, return_std=True), strict=True):
        assert_allclose(got, expected, rtol=1e-4)


def test_large_tasks_are_cut(fitted, monkeypatch):
    task = make_sinusoid_tasks(n_tasks=1, n_rows=300, noise=0.1, random_state=5)[0]
    weight = np.ones(300)
    weight[:50] = 0.0
    monkeypatch.setattr(gaussian_process, "MAX_KNOWN", 100)
    fitted.adapt(task.X, task.y, sample_weight=weight)
    mean, std = fitted.predict(task.X, return_std=True)
    (posterior,) = fitted._current[:, 0]
    assert len(posterior.weight) == 100
    assert np.sqrt(np.mean((mean - task.y) ** 2)) < 0.15
    other = copy.copy(fitted).adapt(task.X[::-1], task.y[::-1], sample_weight=weight[::-1])
    assert_allclose(other.predict(task.X), mean, rtol=1e-6, atol=1e-8)
    monkeypatch.setattr(gaussian_process, "BATCH_CELLS", 1000)
    for got, expected in zip(fitted.predict(task.X, return_std=True), (mean, std), strict=True):
        assert_allclose(got, expected)


def test_text_goes_to_the_mean_function_alone():
    pd = pytest.importorskip("pandas", reason="columns of text")
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    class OneHotRidge(Ridge):
        """Ridge on a column of text."""

        def fit(self, X, y, sample_weight=None):
            self.encode_ = make_column_transformer((OneHotEncoder(), ["kind"])).fit(X)
            return super().fit(self.encode_.transform(X), y, sample_weight)

        def predict(self, X):
            return super().predict(self.encode_.transform(X))

    rng = np.random.default_rng(0)
    X = pd.DataFrame({"kind": rng.choice(["a", "b"], 200)})
    task = np.repeat(np.arange(20), 10)
    y = (X["kind"] == "a").to_numpy() + rng.normal(size=20)[task] + 0.1 * rng.normal(size=200)
    model = GaussianProcessMeta(OneHotRidge()).fit(X, y, groups=task)
    assert model.score(X, y, groups=task) > 0.95


@pytest.mark.parametrize("wrapped", [LogisticRegression(), make_pipeline(LogisticRegression())])
def test_classifiers_are_refused(wrapped):
    model = GaussianProcessMeta(wrapped)
    with pytest.raises(ValueError, match="predicts numbers; LogisticRegression is a classifier"):
        model.fit([[0.0], [1.0]], [0, 1])


def test_one_row_and_equal_targets_are_no_trouble():
    X, y = np.arange(6.0)[:, None], np.ones(6)
    model = GaussianProcessMeta().fit(X, y, groups=[0, 0, 1, 1, 2, 2])
    assert_allclose(model.predict(X, groups=[0, 0, 1, 1, 2, 3]), 1.0)
    model = GaussianProcessMeta(make_pipeline(StandardScaler(), Ridge()))
    model.fit(X, np.arange(6.0), groups=np.arange(6))
    assert np.isfinite(model.adapt(X[:1], y[:1]).predict(X, return_std=True)).all()
    with pytest.warns(UserWarning, match="cannot be calibrated on 6 tasks"):
        assert np.isfinite(model.predict_interval(X)).all()


def test_rounded_distances_are_less_than_noise_at_the_bounds():
    kernel = TaskKernel(2)
    theta = kernel.prior()[0]
    theta[[1, 2, 3]], theta[4:6] = 10.0, kernel.bounds()[4:6, 0]
    X = np.random.default_rng(0).normal(size=(40, 9, 2))
    variances = np.einsum("tnn->tn", kernel.within(theta, X))
    assert_allclose(variances, kernel.diag(theta, X), rtol=0, atol=np.exp(NOISE[0] - BOUND))
