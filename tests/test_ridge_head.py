"""RidgeHead: gradients through the solve against finite differences, the model against itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import HierarchicalBayes, RidgeHead, Task
from sklearn_meta.datasets import make_digits_tasks, make_sinusoid_tasks
from sklearn_meta.kernels.body import Body
from sklearn_meta.kernels.losses import Logistic, Multinomial, Squared
from sklearn_meta.kernels.network import Batch, Network
from sklearn_meta.kernels.ridge_head import Head, codes, evidence_loss, query_loss
from sklearn_meta.priors.ridge_head import HeadPrior, Rows

D = 3


def problem(kind, hidden=(5, 4), diagonal=False, seed=0):
    rng = np.random.default_rng(seed)
    loss = {"numbers": Squared(), "two": Logistic(), "three": Multinomial()}[kind]
    K = 3 if kind == "three" else 1
    body = Body(Network((D, *hidden, K), loss, "tanh"))
    head = Head(body.n_features, K if seed else 1, diagonal)
    theta = np.concatenate([rng.standard_normal(body.n_params), head.start(0.7, float)])
    theta[body.n_params :] += 0.3 * rng.standard_normal(len(theta) - body.n_params)

    def batch(n_rows):
        X = rng.standard_normal((4, n_rows, D))
        y = rng.standard_normal((4, n_rows, 1))
        if kind == "two":
            y = (y > 0).astype(float)
        if kind == "three":
            y = np.eye(3)[rng.integers(0, 3, (4, n_rows))]
        weight = (rng.random((4, n_rows)) + 0.3) * (rng.random((4, n_rows)) < 0.8)
        weight[0] = 0
        return Batch(X, y, weight)

    support, query = batch(5), batch(6)
    n_rows = np.array([0.0, 1.0, 2.0, 4.0])
    return body, head, theta, support, query, n_rows, None if kind == "numbers" else loss


def assert_gradient(function, theta):
    value, gradient = function(theta)
    numeric = np.empty_like(gradient)
    for j, e in enumerate(1e-5 * np.eye(len(theta))):
        far, near = ([function(theta + s * k * e)[0] for s in (1, -1)] for k in (2, 1))
        numeric[j] = (8 * (near[0] - near[1]) - (far[0] - far[1])) / 12e-5
    assert np.isfinite(value)
    assert np.linalg.norm(gradient - numeric) < 1e-7 * np.linalg.norm(numeric)


each_kind = pytest.mark.parametrize("kind", ["numbers", "two", "three"])


@each_kind
@pytest.mark.parametrize("hidden, diagonal", [((), False), ((4,), True), ((5, 4), False)])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_are_those_of_finite_differences(kind, hidden, diagonal, seed):
    body, head, theta, support, query, n_rows, loss = problem(kind, hidden, diagonal, seed)
    assert_gradient(lambda x: query_loss(body, head, x, support, query, n_rows, loss), theta)
    assert_gradient(
        lambda x: evidence_loss(body, head, x, support, n_rows, loss is not None), theta
    )


@pytest.mark.parametrize(
    "kind, objective",
    [("numbers", "query"), ("two", "query"), ("three", "query"), ("three", "evidence")],
)
def test_gradients_are_those_of_jax(kind, objective):
    """Of the densities of the model, written with the covariance of all rows of a task."""
    jax = pytest.importorskip("jax", reason="JAX is a second way to the gradient")
    np_ = jax.numpy
    body, head, theta, support, query, n_rows, loss = problem(kind, seed=1)
    some = [1, 3]  # tasks: JAX compiles each on its own
    support, query = (
        Batch(rows.X[some], rows.y[some], rows.weight[some]) for rows in (support, query)
    )
    n_rows = n_rows[some]
    places = Network((D, 5, 4), None).layers(np.arange(body.n_params)[None])
    layers = [(b[0], W[0]) for b, W in places]
    names = codes if loss else lambda y: y

    def density(r, V):
        L = np_.linalg.cholesky(V)
        z = np_.linalg.solve(L, r)
        return -0.5 * (z**2).sum() - r.shape[1] * np_.log(np_.sqrt(2 * np.pi) * np_.diag(L)).sum()

    def value(theta):
        m, L, log_sigma, s = head.unpack(theta)
        total = 0.0
        for t, n in enumerate(n_rows):
            own, asked = support.weight[t] > 0, query.weight[t] > 0
            n_own = own.sum()
            a = np.concatenate([support.X[t, own], query.X[t, asked]])
            for b, W in layers:
                a = np_.tanh(a @ theta[W] + theta[b])
            Phi = np_.concatenate([np_.ones((len(a), 1)), a], axis=1)
            S, mean = Phi @ L @ L.T @ Phi.T, Phi @ m
            noise = np_.exp(2 * log_sigma) / (support.weight[t, own] * n)
            V, y = S[:n_own, :n_own] + np_.diag(noise), names(support.y[t, own])
            if objective == "evidence":
                total -= density(y - mean[:n_own], V) / max(n, 1.0)
                continue
            A = np_.linalg.solve(V, S[:n_own])[:, n_own:].T
            mean = mean[n_own:] + A @ (y - mean[:n_own])
            v = np_.diag(S[n_own:, n_own:] - A @ S[:n_own, n_own:]) + np_.exp(2 * log_sigma)
            y, r = query.y[t, asked], np_.exp(s) * mean
            if kind == "numbers":
                each = 0.5 * (((y - mean)[:, 0] ** 2) / v + np_.log(2 * np.pi * v))
            elif kind == "two":
                each = np_.logaddexp(0, r[:, 0]) - (y * r)[:, 0]
            else:
                each = jax.scipy.special.logsumexp(r, axis=1) - (y * r).sum(axis=1)
            total += query.weight[t, asked] @ each
        return total / len(n_rows)

    if objective == "query":
        ours = query_loss(body, head, theta, support, query, n_rows, loss)
    else:
        ours = evidence_loss(body, head, theta, support, n_rows, loss is not None)
    with jax.enable_x64(True):
        likelihood, gradient = map(np.asarray, jax.jit(jax.value_and_grad(value))(theta))
    assert gradient.dtype == np.float64
    assert ours[0] == pytest.approx(float(likelihood), rel=1e-12)
    assert np.linalg.norm(ours[1] - gradient) < 1e-10 * np.linalg.norm(gradient)


def test_losses_are_those_of_the_joint_density():
    body, head, theta, *_ = problem("numbers")
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((1, 7, D)), rng.standard_normal((1, 7, 1))
    m, L, log_sigma, _ = head.unpack(theta)
    Phi = np.column_stack([np.ones(7), body.features(theta[: body.n_params], X)[0]])
    V = Phi @ L @ L.T @ Phi.T + np.exp(2 * log_sigma) * np.eye(7)
    mean = (Phi @ m)[:, 0]
    whole = Batch(X, y, np.full((1, 7), 1 / 7))
    density = multivariate_normal(mean, V).logpdf(y[0, :, 0])
    value, _ = evidence_loss(body, head, theta, whole, np.array([7.0]))
    assert value == pytest.approx(-density / 7)
    support, query = (
        Batch(X[:, p], y[:, p], np.full((1, 1), 1.0)[:, [0] * n] / n)
        for p, n in ((slice(0, 6), 6), (slice(6, 7), 1))
    )
    before = multivariate_normal(mean[:6], V[:6, :6]).logpdf(y[0, :6, 0])
    value, _ = query_loss(body, head, theta, support, query, np.array([6.0]))
    assert value == pytest.approx(before - density)


@each_kind
def test_weights_are_repetitions(kind):
    body, head, theta, _, query, _, loss = problem(kind)
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((1, 4, D)), query.y[:1, :4]
    query = Batch(query.X[:1], query.y[:1], np.full((1, 6), 1 / 6))
    count = np.array([1, 3, 0, 2])
    weighted = Batch(X, y, count[None] / 6)
    copies = Batch(np.repeat(X, count, axis=1), np.repeat(y, count, axis=1), np.full((1, 6), 1 / 6))
    one, other = (
        query_loss(body, head, theta, rows, query, np.array([6.0]), loss)
        for rows in (weighted, copies)
    )
    assert one[0] == pytest.approx(other[0])
    assert_allclose(one[1], other[1], atol=1e-10)


def test_codes_of_two_classes_are_symmetric():
    assert codes(np.array([[0.0], [1.0]])).ravel().tolist() == [-1, 1]
    assert codes(np.eye(3)).tolist() == np.eye(3).tolist()


# -- the estimator ---------------------------------------------------------------------------------


class RandomFeatures(TransformerMixin, BaseEstimator):
    """80 random tanh features."""

    def fit(self, X, y=None):
        rng = np.random.default_rng(0)
        self.W_, self.b_ = rng.standard_normal((X.shape[1], 80)), rng.uniform(-5, 5, 80)
        return self

    def transform(self, X):
        return np.tanh(X @ self.W_ + self.b_)


def errors(model, tasks, k=5):
    return np.array(
        [np.mean((model.adapt(t.X[:k], t.y[:k]).predict(t.X[k:]) - t.y[k:]) ** 2) for t in tasks]
    )


@pytest.fixture(scope="module")
def sinusoids():
    train = make_sinusoid_tasks(150, 20, random_state=0)
    return train, make_sinusoid_tasks(50, 25, random_state=1)


def test_sinusoids_over_random_features(sinusoids):
    train, new = sinusoids
    model = RidgeHead(LinearRegression(), body=RandomFeatures(), standardize=False, random_state=0)
    assert errors(model.meta_fit(train), new).mean() < 1e-4  # MAML: 0.72; with 1,000 tasks < 1e-6
    assert isinstance(model.estimator_, Pipeline)


@pytest.mark.parametrize("objective", ["query", "evidence"])
def test_sinusoids_over_a_trained_body(sinusoids, objective):
    train, new = sinusoids
    model = RidgeHead(objective=objective, max_iter=400, random_state=0).meta_fit(train)
    assert errors(model, new).mean() < 0.01
    assert np.mean(model.loss_curve_[-20:]) < np.mean(model.loss_curve_[:20]) - 0.3
    assert type(model.estimator_) is MLPRegressor
    assert model.noise_variance_ < 0.05


def linear_tasks(n_tasks, n_rows=15, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        X = rng.standard_normal((n_rows, 2))
        w = [1.0, 2.0, -1.0] + rng.standard_normal(3) * [1.0, 0.5, 0.1]
        tasks.append(Task(X, w[0] + X @ w[1:] + noise * rng.standard_normal(n_rows)))
    return tasks


def test_over_fixed_features_it_is_hierarchical_bayes():
    train, new = linear_tasks(300), linear_tasks(50, seed=1)
    one = RidgeHead(Ridge(), random_state=0).meta_fit(train)
    other = HierarchicalBayes(regularization=None, method="ml").meta_fit(train)
    assert one.noise_variance_ == pytest.approx(other.noise_variance_, rel=0.02)
    for task in new:
        a, s = one.adapt(task.X[:4], task.y[:4]).predict(task.X, return_std=True)
        b, t = other.adapt(task.X[:4], task.y[:4]).predict(task.X, return_std=True)
        assert_allclose(a, b, atol=0.1)
        assert_allclose(s, t, rtol=0.05)


@pytest.mark.parametrize("wrapped", [Ridge(), MLPRegressor(hidden_layer_sizes=(10,))], ids=str)
def test_intervals_cover_new_tasks(wrapped):
    model = RidgeHead(wrapped, max_iter=200, random_state=0).meta_fit(linear_tasks(200))
    inside = []
    for task in linear_tasks(200, seed=1):
        model.adapt(task.X[:5], task.y[:5])
        low, high = model.predict_interval(task.X[5:], confidence_level=0.8).T
        inside.append(np.mean((low < task.y[5:]) & (task.y[5:] < high)))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)
    _, std = model.predict(task.X, return_std=True)
    assert (std > 0.4).all()
    with pytest.raises(ValueError, match="confidence_level=1 is not between"):
        model.predict_interval(task.X, confidence_level=1)


def test_targets_in_other_units_are_predicted_in_these():
    train, new = linear_tasks(50), linear_tasks(1, seed=1)[0]
    one = RidgeHead(max_iter=20, random_state=0).meta_fit(train).adapt(new.X[:5], new.y[:5])
    scaled = [Task(100 * t.X + 7, 1000 * t.y - 5) for t in train]
    other = RidgeHead(max_iter=20, random_state=0).meta_fit(scaled)
    other.adapt(100 * new.X[:5] + 7, 1000 * new.y[:5] - 5)
    a, s = one.predict(new.X, return_std=True)
    b, t = other.predict(100 * new.X + 7, return_std=True)
    assert_allclose(1000 * a - 5, b, rtol=1e-3, atol=1)
    assert_allclose(1000 * s, t, rtol=1e-3)
    width, wide = (
        np.diff(one.predict_interval(new.X)),
        np.diff(other.predict_interval(100 * new.X + 7)),
    )
    assert_allclose(1000 * width, wide, rtol=0.01)


@pytest.mark.parametrize("wrapped", [LogisticRegression(), MLPClassifier((16,))], ids=str)
def test_classes_unseen_in_training(wrapped):
    train = make_digits_tasks(60, 3, 10, classes=range(6), random_state=0)
    new = make_digits_tasks(30, 3, 10, classes=range(6, 10), random_state=1)
    model = RidgeHead(wrapped, classes="per_task", max_iter=60, standardize=False, random_state=0)
    model.meta_fit(train)
    right, loss = [], []
    for task in new:
        model.adapt(task.X[::5], task.y[::5])
        p = model.predict_proba(task.X)
        right.append(model.score(task.X, task.y))
        loss.append(-np.log(p[np.arange(30), np.searchsorted(model.classes_, task.y)]).mean())
    assert np.mean(right) > 0.7
    assert np.mean(loss) < 1.1  # by chance


def test_two_classes_that_are_shared():
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(80):
        X, w = rng.standard_normal((20, 2)), rng.standard_normal(3) + [0, 3, 0]
        tasks.append(Task(X, np.where(w[0] + X @ w[1:] > 0, "yes", "no")))
    model = RidgeHead(MLPClassifier((8,)), max_iter=100, random_state=0).meta_fit(tasks[:60])
    zero = np.mean([model.score(t.X, t.y) for t in tasks[60:]])
    few = np.mean([model.adapt(t.X[:8], t.y[:8]).score(t.X[8:], t.y[8:]) for t in tasks[60:]])
    assert few > zero + 0.03 > 0.7
    assert not hasattr(model, "predict_interval")
    with pytest.raises(TypeError, match="return_std is for regressors"):
        model.predict(tasks[0].X, return_std=True)


def test_expectation_maximisation_never_lowers_the_likelihood():
    rng = np.random.default_rng(0)
    for K, n_means, diagonal in ((1, 1, False), (3, 3, True), (3, 1, False)):
        phi, y = rng.standard_normal((30, 6, 4)), rng.standard_normal((30, 6, K))
        rows = Rows.of(phi, y + 2 * phi[..., :1], 1.0 * (rng.random((30, 6)) < 0.8))
        prior = HeadPrior(np.zeros((5, n_means)), np.eye(5), 1.0)
        before = prior.log_density(rows)
        for _ in range(20):
            prior = prior.step([rows], 1e-10, diagonal)
            assert (now := prior.log_density(rows)) > before - 1e-9
            before = now
        w, V = prior.posterior(rows)
        many = Rows(
            *(np.repeat(part, 2, axis=1) / np.sqrt(2) for part in (rows.Phi, rows.y)), rows.n
        )
        for one, other in zip((w, V), prior.posterior(many), strict=True):  # by the other solve
            assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize(
    "wrapped, message",
    [
        (DecisionTreeRegressor(), "RidgeHead works with MLPRegressor.*got DecisionTreeRegressor"),
        (MLPRegressor(loss="poisson"), "linear regressors with squared loss"),
        (Ridge(fit_intercept=False), r"set Ridge\(fit_intercept=True\)"),
    ],
    ids=str,
)
def test_what_cannot_be_wrapped_is_named(wrapped, message, unchanged):
    model = RidgeHead(wrapped)
    with unchanged(model), pytest.raises(ValueError, match=message):
        model.meta_fit(linear_tasks(3))
