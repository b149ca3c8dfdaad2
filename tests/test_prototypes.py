"""Prototypes: against linear discriminants, posteriors of two lines, finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import invwishart, multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import PrototypeClassifier, Task
from sklearn_meta.datasets import make_digits_tasks
from sklearn_meta.kernels.body import Body
from sklearn_meta.kernels.losses import Logistic, Multinomial
from sklearn_meta.kernels.network import Batch, Network
from sklearn_meta.kernels.prototypes import prototype_loss
from sklearn_meta.priors.prototypes import Clouds, Prototypes, concentration, temperature

D = 3
B = np.array([[4.0, 1, 0], [1, 2, 0], [0, 0, 0.1]])
W = np.array([[1.0, 0.3, 0], [0.3, 0.5, 0], [0, 0, 2]])


def draw(n_tasks, n_way=4, n_rows=12, seed=0, shared=False):
    """Tasks from the model itself."""
    rng = np.random.default_rng(seed)
    names = np.array(["owl", "cat", "dog", "hen"])[:n_way]
    own = 2 * np.arange(n_way)[:, None] * np.ones(D) if shared else np.zeros((n_way, D))
    tasks = []
    for t in range(n_tasks):
        mu = own + rng.multivariate_normal(np.ones(D), B, n_way)
        X = np.repeat(mu, n_rows, axis=0) + rng.multivariate_normal(np.zeros(D), W, n_way * n_rows)
        labels = names if shared else np.array([f"{t}/{c}" for c in range(n_way)])
        tasks.append(Task(X, np.repeat(labels, n_rows), id=t))
    return tasks


def per_task(**params):
    return PrototypeClassifier(classes="per_task", standardize=False, random_state=0, **params)


def test_the_prior_of_the_data_is_found():
    model = per_task().meta_fit(draw(400))
    assert model.shrinkage_["lambda"] == 0.0
    assert model.shrinkage_["rho"] <= 0.3
    assert model.shrinkage_["nu"] >= 300
    assert_allclose(model.prior_mean_, np.ones((1, D)), atol=0.2)
    assert_allclose(model.within_covariance_, W, atol=0.1)
    assert_allclose(model.between_covariance_, B, atol=0.4)
    assert_allclose(model.meta_model_.prior.log_tau, 0, atol=0.15)


def test_moments_are_those_of_the_one_way_analysis_of_variance():
    """Searle, Casella, McCulloch (1992): unbiased, here by the balanced formula."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 5, D)) + 4 * rng.standard_normal((6, 1, D))
    clouds = Clouds.of(
        X.reshape(-1, D), np.repeat(np.arange(6), 5), np.ones(30), np.zeros(6, int), np.arange(6)
    )
    m, between, within = clouds.moments(1)
    expected = np.mean([np.cov(rows.T) for rows in X], axis=0)
    assert_allclose(m[0], X.mean(axis=(0, 1)))
    assert_allclose(within, expected)
    assert_allclose(between, np.cov(X.mean(axis=1).T) - expected / 5)
    _, between, _ = clouds.moments(1, out=(2,))
    rest = np.delete(X, 2, axis=0)
    expected = np.mean([np.cov(rows.T) for rows in rest], axis=0)
    assert_allclose(between, np.cov(rest.mean(axis=1).T) - expected / 5)


def test_scores_are_log_densities_of_a_new_row():
    """The predictive distribution of every class, from the joint covariance of its rows."""
    rng = np.random.default_rng(1)
    prior, m = Prototypes.of(np.ones((1, D)), B, W), np.ones(D)
    support, x = rng.standard_normal((2, 3, D)), rng.standard_normal((5, D))
    coef, intercept = prior.heads(
        np.full((1, 2), 3.0), support.mean(axis=1)[None], np.zeros((1, 0, D))
    )
    scores = x @ coef[0].T + intercept[0]
    shrink = B @ np.linalg.inv(B + W / 3)
    V = B - shrink @ B
    densities = np.stack(
        [
            multivariate_normal(m + shrink @ (rows.mean(axis=0) - m), W + V).logpdf(x)
            for rows in support
        ],
        axis=1,
    )
    # the least ridge on W is 1e-6
    assert_allclose(np.diff(scores, axis=1), np.diff(densities, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_rows", [2, 6])  # fewer and more rows than columns
def test_a_task_has_a_covariance_of_its_own(n_rows):
    """The mean of the inverse Wishart posterior, by its formula."""
    rng = np.random.default_rng(2)
    prior = replace(Prototypes.of(np.ones((1, D)), B, W), nu=7.0)
    X = rng.standard_normal((2, n_rows, D))
    apart = (X - X.mean(axis=1, keepdims=True)).reshape(1, -1, D)
    n = np.array([[n_rows, n_rows, -1.0]])
    mean = np.concatenate([X.mean(axis=1), np.zeros((1, D))])[None]
    apart = np.concatenate([apart, np.zeros((1, 3, D))], axis=1)  # rows that are not there
    coef, intercept = prior.heads(n, mean, apart)
    shrink = B @ np.linalg.inv(B + W / n_rows)
    own = (7 * W + apart[0].T @ apart[0]) / (7 + 2 * n_rows - 2)
    P = own + B - shrink @ B
    mu = 1 + (X.mean(axis=1) - 1) @ shrink.T
    assert_allclose(coef[0, :2], mu @ np.linalg.inv(P), rtol=1e-4)
    assert_allclose(intercept[0, :2], -0.5 * np.sum(mu @ np.linalg.inv(P) * mu, axis=1), rtol=1e-4)


def test_tasks_that_scatter_differently_are_told_nearly_as_well_as_by_the_truth():
    def tasks(n_tasks, seed):
        rng = np.random.default_rng(seed)
        for own in invwishart(6 + D + 1, 6 * W, seed=rng).rvs(n_tasks):
            mu = rng.multivariate_normal(np.ones(D), B / 2, 4)
            X = np.repeat(mu, 20, axis=0) + rng.multivariate_normal(np.zeros(D), own, 80)
            yield Task(X, np.repeat(list("abcd"), 20))

    model = per_task().meta_fit(list(tasks(200, 0)))
    assert model.shrinkage_["nu"] <= 30
    truth = replace(Prototypes.of(np.ones((1, D)), B / 2, W), nu=6.0)
    place, right = np.arange(80) % 20, {"learned": [], "truth": [], "one W": []}
    for task in tasks(200, 1):
        X, y = task.X[place < 6], task.y[place < 6]
        rest, labels = task.X[place >= 6], task.y[place >= 6]
        right["learned"].append(model.adapt(X, y).score(rest, labels))
        mean = X.reshape(4, 6, D).mean(axis=1)
        for name, prior in (("truth", truth), ("one W", replace(truth, nu=np.inf))):
            coef, intercept = prior.heads(
                np.full((1, 4), 6.0), mean[None], (X - np.repeat(mean, 6, axis=0))[None]
            )
            own = (rest @ coef[0].T + intercept[0]).argmax(axis=1)
            right[name].append(np.mean(np.array(list("abcd"))[own] == labels))
    found = {name: np.mean(values) for name, values in right.items()}
    assert found["learned"] > found["truth"] - 0.005
    assert found["learned"] > found["one W"] + 0.005


def test_units_are_those_that_predict_better():
    digits = make_digits_tasks(40, 5, 12, classes=range(5), random_state=0)
    model = PrototypeClassifier(classes="per_task", random_state=0)
    assert model.meta_fit(digits).shrinkage_["units"] == "given"
    mixed = [Task(t.X * [1, 1e3, 1e-3], t.y) for t in draw(60, n_rows=6)]
    assert model.meta_fit(mixed).shrinkage_["units"] == "standardized"


def test_many_rows_are_a_linear_discriminant():
    tasks = draw(30, n_rows=12)
    model = per_task().meta_fit(tasks)
    (new,) = draw(1, n_rows=4000, seed=9)
    lda = LinearDiscriminantAnalysis(solver="lsqr").fit(new.X, new.y)
    found = model.adapt(new.X, new.y).estimator_
    assert type(found) is LinearDiscriminantAnalysis
    assert np.mean(found.predict(new.X) == lda.predict(new.X)) > 0.98
    assert_array_equal(model.classes_, lda.classes_)


def test_one_shot_beats_class_means_and_discriminants():
    model = per_task().meta_fit(draw(200))
    right = {"prototypes": [], "means": [], "lda": []}
    for task in draw(200, seed=5):
        support = np.arange(0, 48, 12)
        rest = np.delete(np.arange(48), support)
        X, y = task.X[support], task.y[support]
        means = y[((task.X[rest][:, None] - X) ** 2).sum(axis=2).argmin(axis=1)]
        right["means"].append(np.mean(means == task.y[rest]))
        right["prototypes"].append(model.adapt(X, y).score(task.X[rest], task.y[rest]))
    assert np.mean(right["prototypes"]) > np.mean(right["means"]) + 0.02


@pytest.mark.parametrize("n_way", [2, 3])
@pytest.mark.parametrize("hidden", [(), (4,), (5, 4)], ids=str)
def test_gradient_is_that_of_finite_differences(n_way, hidden):
    rng = np.random.default_rng(0)
    loss = Logistic() if n_way == 2 else Multinomial()
    body = Body(Network((D, *hidden, 1 if n_way == 2 else n_way), loss, "tanh"))
    theta = rng.standard_normal(body.n_params)

    def batch(n_rows):
        codes = rng.integers(0, n_way, (4, n_rows))
        y = codes[..., None] == (np.arange(n_way) if n_way > 2 else 1)
        weight = rng.random((4, n_rows)) * (rng.random((4, n_rows)) < 0.8)
        return Batch(rng.standard_normal((4, n_rows, D)), y.astype(float), weight)

    support, query = batch(5), batch(6)  # some classes are not in the support
    value, gradient = prototype_loss(body, theta, support, query)
    assert np.isfinite(value)
    for j, e in enumerate(1e-6 * np.eye(len(theta))):
        up, down = (prototype_loss(body, theta + s * e, support, query)[0] for s in (1, -1))
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-8)


def test_an_embedding_learns_what_raw_features_cannot_tell():
    """Classes are radii, so that all class means are the same."""
    rng = np.random.default_rng(0)

    def ring(seed):
        angle = rng.uniform(0, 2 * np.pi, 60)
        radius = np.repeat(np.sort(rng.uniform(0.5, 4, 3)), 20)
        X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return Task(X + 0.05 * rng.standard_normal(X.shape), np.repeat(list("abc"), 20))

    train, new = [ring(t) for t in range(60)], [ring(t) for t in range(30)]

    def score(model):
        model.meta_fit(train)
        return np.mean([model.adapt(t.X[::4], t.y[::4]).score(t.X, t.y) for t in new])

    network = MLPClassifier(hidden_layer_sizes=(16, 8))
    embedded = per_task(estimator=network, max_iter=150)
    assert score(embedded) > score(per_task()) + 0.3
    assert len(embedded.loss_curve_) == embedded.n_iter_ == 150
    assert np.mean(embedded.loss_curve_[-20:]) < 0.5 * np.mean(embedded.loss_curve_[:20])
    assert type(embedded.estimator_) is MLPClassifier


def test_weights_are_repetitions():
    tasks = draw(20)
    weight = np.tile([1, 2, 3, 1], 12)
    weighted = [Task(t.X, t.y, sample_weight=weight) for t in tasks]
    repeated = [Task(np.repeat(t.X, weight, axis=0), np.repeat(t.y, weight)) for t in tasks]
    one, other = (per_task().meta_fit(some) for some in (weighted, repeated))
    label, fold = np.zeros(4, int), np.arange(4)
    group, t = np.repeat(np.arange(4), 12), tasks[0]
    rows = Clouds.of(t.X, group, weight.astype(float), label, fold)
    copies = Clouds.of(
        np.repeat(t.X, weight, axis=0), np.repeat(group, weight), np.ones(weight.sum()), label, fold
    )
    for a, b in zip(rows.moments(1), copies.moments(1), strict=True):
        assert_allclose(a, b, atol=1e-12)
    one.adapt(t.X, t.y, sample_weight=weight)
    again = one.estimator_
    one.adapt(np.repeat(t.X, weight, axis=0), np.repeat(t.y, weight))
    assert_allclose(again.coef_, one.estimator_.coef_)
    assert other.n_tasks_ == 20


def test_shared_classes_have_means_and_shares_of_their_own():
    tasks = draw(100, shared=True)
    some = [Task(t.X[6:], t.y[6:]) for t in tasks]  # owls are half as many
    model = PrototypeClassifier(random_state=0).meta_fit(some)
    assert model.prior_mean_.shape == (4, D)
    share = np.exp(model.meta_model_.prior.log_prior)
    assert_allclose(share, [12 / 42, 12 / 42, 12 / 42, 6 / 42], atol=0.01)
    new = draw(50, seed=3, shared=True)
    zero = model.score(np.concatenate([t.X for t in new]), np.concatenate([t.y for t in new]))
    few = np.mean([model.adapt(t.X[::4], t.y[::4]).score(t.X, t.y) for t in new])
    assert few > zero + 0.02 > 0.5
    only = model.adapt(new[0].X[:3], new[0].y[:3])  # one class is seen, the others stay possible
    assert (only.predict_proba(new[0].X) > 0).all()


def test_shares_of_classes_are_those_of_a_dirichlet_prior():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([6.0, 3.0, 1.0], 3000)
    n = np.array([rng.multinomial(20, row) for row in p])
    share, kappa = concentration(n)
    assert_allclose(share, [0.6, 0.3, 0.1], atol=0.01)
    assert kappa == pytest.approx(10, rel=0.1)
    assert concentration(np.full((50, 3), 7))[1] > 1000  # tasks that do not differ


def test_temperature_is_that_of_the_labels():
    rng = np.random.default_rng(0)
    scores = 4 * rng.standard_normal((20_000, 3))
    labels = (0.5 * scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    log_tau, loss = temperature(scores, np.zeros_like(scores), labels, np.ones(20_000))
    assert np.exp(log_tau) == pytest.approx(0.5, rel=0.05)
    assert 0 < loss < np.log(3)


def test_classes_unseen_in_training_in_any_number():
    train = make_digits_tasks(40, 4, 12, classes=range(5), random_state=0)
    model = per_task().meta_fit(train)
    for n_way in (1, 2, 3, 4):
        (new,) = make_digits_tasks(1, n_way, 12, classes=range(5, 10), random_state=n_way)
        model.adapt(new.X[::3], new.y[::3])
        assert_array_equal(model.classes_, np.unique(new.y))
        p = model.predict_proba(new.X)
        assert p.shape == (12 * n_way, n_way)
        assert_allclose(p.sum(axis=1), 1)
        assert model.score(new.X, new.y) > 0.7
    (five,) = make_digits_tasks(1, 5, 12, classes=range(5, 10), random_state=0)
    with pytest.raises(ValueError, match="no task of the first meta-training had more than 4"):
        model.adapt(five.X, five.y)


def test_without_rows_classes_of_its_own_are_not_known():
    model = per_task().meta_fit(draw(5))
    with pytest.raises(NotFittedError, match="adapt first: labels of a task are known only from"):
        model.predict(np.zeros((1, D)))


@pytest.mark.parametrize("n_rows", [1, 2])
def test_few_rows_are_enough_to_go_on(n_rows):
    tasks = draw(3, n_way=2, n_rows=n_rows)
    model = per_task().meta_fit(tasks).adapt(tasks[0].X, tasks[0].y)
    assert np.isfinite(model.predict_proba(tasks[1].X)).all()
    same = [Task(np.ones((4, 2)), list("aabb")) for _ in range(3)]
    model = per_task().meta_fit(same).adapt(np.ones((2, 2)), ["x", "y"])
    assert_allclose(model.predict_proba(np.ones((1, 2))), [[0.5, 0.5]])


def test_a_body_is_the_start_of_a_pipeline():
    tasks = make_digits_tasks(10, 3, 8, random_state=0)
    body = Nystroem(n_components=20, random_state=0)
    one = per_task(body=body).meta_fit(tasks)
    other = per_task(estimator=make_pipeline(body, LinearDiscriminantAnalysis())).meta_fit(tasks)
    new = tasks[0]
    for model in (one, other):
        model.adapt(new.X[::4], new.y[::4])
        assert isinstance(model.estimator_, Pipeline)
    assert_array_equal(one.predict_proba(new.X), other.predict_proba(new.X))
    assert not hasattr(body, "components_")


def test_float32_stays_float32():
    tasks = [Task(t.X.astype(np.float32), t.y) for t in draw(20)]
    for wrapped in (None, LogisticRegression(), MLPClassifier((4,))):
        model = per_task(estimator=wrapped, max_iter=3).meta_fit(tasks)
        model.adapt(tasks[0].X, tasks[0].y)
        assert model.predict_proba(tasks[0].X).dtype == np.float32


def test_what_cannot_be_wrapped_is_named(unchanged):
    model = PrototypeClassifier(SVC())
    with unchanged(model), pytest.raises(ValueError, match="works with LinearDisc.*; got SVC"):
        model.meta_fit(draw(3))
    model = PrototypeClassifier(DecisionTreeRegressor())
    with unchanged(model), pytest.raises(ValueError, match="wraps a classifier; got DecisionTree"):
        model.meta_fit([(np.zeros((3, 1)), [0.0, 1.0, 2.0])])
