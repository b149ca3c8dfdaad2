"""Learners: what scikit-learn fitted, as parameter rows and back, without a difference."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_meta import FOMAML, BatchMetaLearner, Independent, Pooled, TransferMetaLearner
from sklearn_meta.learners import BlackBoxLearner, LinearLearner, is_squared_linear, make_learner
from sklearn_meta.learners.linear import LINEAR
from sklearn_meta.tasks import TaskTable

SEEDED = (SGDRegressor, SGDClassifier, LinearSVR, LinearSVC)
VARIANTS = [
    Ridge(fit_intercept=False),
    SGDRegressor(loss="huber", random_state=0),
    TweedieRegressor(power=0),
    TweedieRegressor(power=1.5, alpha=0.1),
    TweedieRegressor(power=1.5, link="log"),
    SGDClassifier(loss="log_loss", random_state=0),
    SGDClassifier(loss="modified_huber", random_state=0),
    LogisticRegression(C=0.1, fit_intercept=False),
]
ESTIMATORS = [cls(random_state=0) if cls in SEEDED else cls() for cls in LINEAR] + VARIANTS
REGRESSORS = [e for e in ESTIMATORS if not is_classifier(e)]
CLASSIFIERS = [e for e in ESTIMATORS if is_classifier(e)]
METHODS = ("predict", "predict_proba", "decision_function")


def regression_data(n_rows=60, n_features=3, dtype=np.float64):
    X, y = make_regression(n_rows, n_features, noise=5.0, random_state=0)
    return X.astype(dtype), np.exp(y / np.abs(y).max()).astype(dtype)  # positive, for the GLMs


def classification_data(n_classes, n_rows=90):
    X, y = make_classification(
        n_rows, 4, n_informative=3, n_redundant=0, n_classes=n_classes, random_state=0
    )
    return X, np.array(["red", "green", "blue"])[y]


def learner_of(estimator, X, y, **params):
    classes = np.unique(y) if is_classifier(estimator) else None
    return make_learner(estimator, X, y, classes=classes, **params)


def assert_same_predictions(learner, row, fitted, X):
    """The row, the estimator made of it, and the fitted estimator predict the same."""
    made = learner.make_estimator(row)
    assert type(made) is type(fitted)
    index = np.zeros(len(X), dtype=int)
    for method in METHODS:
        if hasattr(fitted, method):
            expected = getattr(fitted, method)(X)
            for values in (
                getattr(made, method)(X),
                learner.predict(method, row[None], X, index),
            ):
                assert values.shape == expected.shape
                assert values.dtype == expected.dtype
                if values.dtype.kind == "U":
                    assert_array_equal(values, expected)
                else:
                    assert_allclose(values, expected, rtol=1e-6, atol=1e-10)
        else:
            assert not hasattr(made, method)


# -- round trips -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
def test_regressors_there_and_back(estimator, dtype):
    X, y = regression_data(dtype=dtype)
    learner, _ = learner_of(estimator, X, y)
    fitted = clone(estimator).fit(X, y)
    row = learner.read(fitted)
    assert isinstance(learner, LinearLearner)
    assert row.shape == (learner.n_params,) == (4,)
    if dtype is np.float64:
        assert_same_predictions(learner, row, fitted, X)
    else:
        assert row.dtype == learner.make_estimator(row).coef_.dtype == np.float32
        assert_allclose(learner.make_estimator(row).predict(X), fitted.predict(X), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
def test_classifiers_there_and_back(estimator, n_classes):
    X, y = classification_data(n_classes)
    learner, _ = learner_of(estimator, X, y)
    fitted = clone(estimator).fit(X, y)
    row = learner.read(fitted)
    assert isinstance(learner, LinearLearner)
    assert row.shape == (learner.n_params,) == (5 if n_classes == 2 else 15,)
    assert_same_predictions(learner, row, fitted, X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_attributes_are_those_that_scikit_learn_sets(estimator):
    X, y = classification_data(3) if is_classifier(estimator) else regression_data()
    fitted = clone(estimator).fit(X, y)
    learner, _ = learner_of(estimator, X, y)
    made = learner.make_estimator(learner.read(fitted))
    for name in ("coef_", "intercept_"):
        own, expected = np.asarray(getattr(made, name)), np.asarray(getattr(fitted, name))
        assert_allclose(own, expected)
        assert own.dtype == expected.dtype
        if estimator.get_params().get("fit_intercept", True):
            assert own.shape == expected.shape
    assert made.n_features_in_ == fitted.n_features_in_
    assert made.get_params() == estimator.get_params()


@pytest.mark.parametrize("estimator", [LinearRegression(), LogisticRegression()], ids=str)
def test_rows_by_their_own_parameters(estimator):
    X, y = classification_data(3) if is_classifier(estimator) else regression_data()
    learner, _ = learner_of(estimator, X, y)
    halves = [slice(0, 45), slice(45, None)] if len(X) > 60 else [slice(0, 30), slice(30, None)]
    fits = [clone(estimator).fit(X[rows], y[rows]) for rows in halves]
    params = np.stack([learner.read(fitted) for fitted in fits])
    index = np.arange(len(X)) % 2
    values = learner.predict("predict", params, X, index)
    for i, fitted in enumerate(fits):
        expected = fitted.predict(X[index == i])
        if is_classifier(estimator):
            assert_array_equal(values[index == i], expected)
        else:
            assert_allclose(values[index == i], expected)


def test_split_and_join_are_inverse():
    X, y = classification_data(3)
    learner, _ = learner_of(LogisticRegression(), X, y)
    params = np.random.default_rng(0).standard_normal((7, learner.n_params))
    assert_array_equal(learner.join(*learner.split(params)), params)
    extra = np.concatenate([params, np.ones((7, 2))], axis=1)  # an algorithm's own columns
    assert_array_equal(learner.join(*learner.split(extra)), params)


def test_feature_names_come_back():
    pd = pytest.importorskip("pandas", reason="names of features come from dataframes")
    X, y = regression_data()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for estimator in (Ridge(), make_pipeline(StandardScaler(), Ridge())):
        made = Pooled(estimator).fit(frame, y).estimator_
        assert made.feature_names_in_.tolist() == ["a", "b", "c"]
        assert_allclose(made.predict(frame), clone(estimator).fit(frame, y).predict(frame))


# -- pipelines -------------------------------------------------------------------------------------


def test_pipelines_are_taken_apart_and_put_together():
    pd = pytest.importorskip("pandas", reason="selects columns by name")
    X, y = regression_data()
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(kind=np.resize(["u", "v"], len(X)))
    columns = make_column_transformer(
        (StandardScaler(), ["a", "b"]), (OneHotEncoder(sparse_output=True), ["kind"])
    )
    pipeline = make_pipeline(columns, "passthrough", Ridge())
    learner, Z = make_learner(pipeline, frame, y)
    assert isinstance(Z, np.ndarray)
    assert_array_equal(learner.transform(frame), Z)
    row = learner.read(learner.fit_one(Z, y))
    expected = clone(pipeline).fit(frame, y)
    made = learner.make_estimator(row)
    assert_allclose(made.predict(frame), expected.predict(frame))
    assert list(made.named_steps)[-1] == "ridge"
    assert not hasattr(pipeline[0], "transformers_")  # the user's own is not fitted


def test_a_pipeline_at_the_end_of_a_pipeline():
    X, y = regression_data()
    nested = make_pipeline(
        StandardScaler(), make_pipeline(PolynomialFeatures(2), make_pipeline(PCA(2), Ridge()))
    )
    model = Pooled(nested).fit(X, y)
    assert isinstance(model.learner_, LinearLearner)
    assert_allclose(model.predict(X), clone(nested).fit(X, y).predict(X))
    assert_allclose(model.estimator_.predict(X), model.predict(X))
    weight = np.arange(len(y)) + 1.0
    weighted = Pooled(nested).fit(X, y, pipeline__pipeline__ridge__sample_weight=weight)
    assert_allclose(weighted.predict(X), Pooled(nested).fit(X, y, sample_weight=weight).predict(X))
    assert isinstance(nested[-1], Pipeline)  # the user's own stays as it is


def test_squared_linear_estimators():
    assert is_squared_linear(make_pipeline(StandardScaler(), Ridge()))
    assert is_squared_linear(SGDRegressor())
    assert not is_squared_linear(SGDRegressor(loss="huber"))
    assert not is_squared_linear(DecisionTreeRegressor())
    assert not is_squared_linear(LogisticRegression())


def test_subclasses_are_black_boxes():
    """A subclass may predict otherwise, so that its coefficients do not say all."""

    class Clipped(Ridge):
        def predict(self, X):
            return np.maximum(super().predict(X), 1.0)

    X, y = regression_data()
    model = Pooled(Clipped()).fit(X, y)
    assert isinstance(model.learner_, BlackBoxLearner)
    assert_array_equal(model.predict(X), Clipped().fit(X, y).predict(X))


class Labels(ClassifierMixin, BaseEstimator):
    """A classifier that has labels to give and nothing else."""

    def fit(self, X, y):
        labels, count = np.unique(y, return_counts=True)
        self.label = labels[count.argmax()]
        return self

    def predict(self, X):
        return [self.label] * len(X)


class Numbers(RegressorMixin, BaseEstimator):
    """A regressor that returns a list."""

    def fit(self, X, y):
        self.mean = np.mean(y)
        return self

    def predict(self, X):
        return [self.mean] * len(X)


@pytest.mark.parametrize("data", [classification_data, regression_data])
@pytest.mark.parametrize(
    "meta",
    [
        Pooled(),
        Independent(),
        BatchMetaLearner(n_estimators=1, random_state=0),
        TransferMetaLearner(),
        FOMAML(max_iter=1, inner_steps=1, random_state=0),
    ],
    ids=lambda meta: type(meta).__name__,
)
def test_an_estimator_with_fit_and_predict_only(meta, data):
    X, y = data(3) if data is classification_data else data()
    wrapped = Labels() if data is classification_data else Numbers()
    model = clone(meta).set_params(estimator=wrapped)
    predicted = model.fit(X, y, groups=np.arange(len(X)) % 5).predict(X[:7])
    assert predicted.shape == (7,)
    model.adapt(X[:3], y[:3])
    same = assert_array_equal if is_classifier(wrapped) else assert_allclose
    same(model.predict(X[:7]), model.estimator_.predict(X[:7]))


def test_predictions_that_are_no_numbers():
    X, y = regression_data()
    neighbours = RadiusNeighborsRegressor(3.0)
    model = FOMAML(neighbours, max_iter=1, inner_steps=1, random_state=0)
    model.fit(X, y, groups=np.arange(len(X)) % 5)
    far = np.vstack([X[:2], X[:1] + 100])
    with pytest.raises(ValueError, match="'new', row 2: RadiusNeighborsRegressor predicts nan"):
        with warnings.catch_warnings(action="ignore"):
            model.predict(far, groups=["new"] * 3)
    model = FOMAML(RadiusNeighborsRegressor(0.01), random_state=0)
    with pytest.raises(ValueError, match="RadiusNeighborsRegressor predicts nan for .* rows"):
        with warnings.catch_warnings(action="ignore"):
            model.fit(X, y, groups=np.arange(len(X)) % 5)


# -- standardisation -------------------------------------------------------------------------------


def scaled_data(estimator):
    X, y = classification_data(3) if is_classifier(estimator) else regression_data()
    X = X * np.geomspace(0.01, 100, X.shape[1]) + 5
    return X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_standardisation_is_folded_back_exactly(estimator):
    """Pooled(standardize=True) is StandardScaler before, and TransformedTargetRegressor around."""
    X, y = scaled_data(estimator)
    log_link = isinstance(estimator, (PoissonRegressor, GammaRegressor)) or (
        isinstance(estimator, TweedieRegressor) and estimator.power > 0
    )
    model = Pooled(estimator, standardize=True).fit(X, y)
    scaler = StandardScaler().fit(X)
    Z = scaler.transform(X)
    if is_classifier(estimator):
        expected = clone(estimator).fit(Z, y)
        assert_array_equal(model.predict(X), expected.predict(Z))
        values, expected = model.decision_function(X), expected.decision_function(Z)
    elif log_link:
        values, expected = model.predict(X), clone(estimator).fit(Z, y).predict(Z)
    else:
        target = (y - y.mean()) / y.std()
        expected = clone(estimator).fit(Z, target).predict(Z) * y.std() + y.mean()
        values = model.predict(X)
    assert_allclose(values, expected, rtol=1e-6, atol=1e-8)
    assert_allclose(
        model.estimator_.decision_function(X)
        if is_classifier(estimator)
        else model.estimator_.predict(X),
        values,
    )


def test_weights_take_part_in_standardisation():
    X, y = scaled_data(Ridge())
    weight = np.arange(len(y)) % 3
    model = Pooled(Ridge(), standardize=True).fit(X, y, sample_weight=weight)
    repeated = np.repeat(np.arange(len(y)), weight)
    expected = Pooled(Ridge(), standardize=True).fit(X[repeated], y[repeated])
    assert_allclose(model.predict(X), expected.predict(X))


def test_constant_columns_and_targets_are_not_divided_by_zero():
    X, y = scaled_data(Ridge())
    X[:, 1] = 0.1  # its deviation is rounding only
    model = Pooled(Ridge(), standardize=True).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert abs(model.estimator_.coef_[1]) < 1e-6
    assert_allclose(Pooled(Ridge(), standardize=True).fit(X, y * 0 + 0.1).predict(X), 0.1)


# -- closed form -----------------------------------------------------------------------------------


def tables(n_features, weighted, dtype=np.float64):
    """Tasks of many sizes, fewer rows than features among them; some weights are zero."""
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 3, 5, 5, 8, 13, 40])
    X = rng.standard_normal((sizes.sum(), n_features)) * 3 + 1
    y = X @ np.arange(n_features) + rng.standard_normal(len(X)) + 10
    weight = rng.integers(0, 3, len(y)).astype(float) if weighted else None
    if weighted:
        weight[np.append(0, np.cumsum(sizes))[:-1]] = 1.5  # in every task a row counts
    offsets = np.append(0, np.cumsum(sizes))
    return TaskTable(X.astype(dtype), y.astype(dtype), offsets, sample_weight=weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        Ridge(),
        Ridge(alpha=1e-3, fit_intercept=False),
    ],
    ids=str,
)
def test_closed_form_is_a_fit_per_task(estimator, n_features, weighted):
    table = tables(n_features, weighted)
    learner, _ = make_learner(estimator, table.X, table.y)
    params = learner.fit_each(table, 0.0, {})
    for t, row in enumerate(params):
        X, y, weight = table.task(t)
        expected = clone(estimator).fit(X, y, sample_weight=weight)
        made = learner.make_estimator(row)
        assert_allclose(made.predict(X), expected.predict(X), rtol=1e-8, atol=1e-8)
        assert_allclose(made.coef_, expected.coef_, rtol=1e-7, atol=1e-8)
        assert_allclose(made.intercept_, expected.intercept_, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge()], ids=str)
def test_closed_form_in_standardised_units(estimator):
    table = tables(3, True)
    learner, _ = make_learner(
        estimator, table.X, table.y, standardize=True, sample_weight=table.sample_weight
    )
    params = learner.fit_each(table, 0.0, {})
    by_loop = super(LinearLearner, learner).fit_each(table, 0.0, {})
    assert_allclose(params, by_loop, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge()], ids=str)
def test_closed_form_keeps_float32(estimator):
    wide, narrow = tables(4, False), tables(4, False, np.float32)
    learners = [make_learner(estimator, table.X, table.y)[0] for table in (wide, narrow)]
    params = [m.fit_each(t, 0.0, {}) for m, t in zip(learners, (wide, narrow), strict=True)]
    assert params[1].dtype == np.float32
    assert_allclose(params[1], params[0], rtol=1e-2, atol=1e-3)


def test_closed_form_copes_with_constant_columns_and_targets():
    X = np.column_stack([np.full(12, 0.1), np.arange(12.0)])
    y = np.repeat([0.3, 0.7], 6)
    table = TaskTable(X, y, np.array([0, 6, 12]))
    for estimator in (LinearRegression(), Ridge()):
        learner, _ = make_learner(estimator, X, y)
        coef, intercept = learner.split(learner.fit_each(table, 0.0, {}))
        assert_allclose(coef, 0, atol=1e-12)
        assert_allclose(intercept[:, 0], [0.3, 0.7])


@pytest.mark.parametrize(
    "estimator", [Ridge(solver="lsqr"), Ridge(positive=True), LinearRegression(positive=True)]
)
def test_other_solvers_are_respected(estimator):
    X, y = regression_data(20)
    model = Independent(estimator).fit(X, -y, groups=np.repeat([0, 1], 10))
    for t in range(2):
        rows = slice(10 * t, 10 * t + 10)
        expected = clone(estimator).fit(X[rows], -y[rows]).predict(X[rows])
        assert_allclose(model.predict(X[rows], groups=[t] * 10), expected)


# -- constants and absent classes ------------------------------------------------------------------


@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
def test_constant_regressor(estimator):
    X, y = regression_data()
    learner, _ = learner_of(estimator, X, y)
    assert_allclose(learner.make_estimator(learner.constant(2.5)).predict(X), 2.5)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), SGDClassifier(loss="log_loss"), RandomForestClassifier()]
)
@pytest.mark.parametrize("share", [[0.3, 0.7], [0.2, 0.5, 0.3], [0.1, 0.0, 0.9]], ids=str)
def test_constant_probabilities(estimator, share):
    X, y = classification_data(len(share))
    learner, _ = learner_of(estimator, X, y)
    made = learner.make_estimator(learner.constant(np.array(share)))
    assert_array_equal(made.classes_, np.unique(y))
    probabilities = made.predict_proba(X)
    assert_allclose(probabilities, np.tile(share, (len(X), 1)), atol=1e-6)
    assert_array_equal(made.predict(X), np.unique(y)[np.argmax(share)])


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
def test_constant_classifier_predicts_the_likeliest_class(estimator):
    for share in ([0.3, 0.7], [0.7, 0.3], [0.2, 0.5, 0.3]):
        X, y = classification_data(len(share))
        learner, _ = learner_of(estimator, X, y)
        made = learner.make_estimator(learner.constant(np.array(share)))
        assert_array_equal(made.predict(X), np.unique(y)[np.argmax(share)])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("centre", [0, 30])
@pytest.mark.parametrize("seen", [["red", "blue"], ["red", "green", "blue"]], ids=str)
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
def test_absent_classes_leave_the_seen_ones_alone(estimator, seen, centre):
    X, y = classification_data(3)
    X = X + centre
    classes = np.array(["black", "blue", "green", "red"])
    learner, _ = make_learner(estimator, X, y, classes=classes)
    rows = np.isin(y, seen)
    fitted = clone(estimator).fit(X[rows], y[rows])
    row = learner.read(fitted, class_prior=np.full(4, 0.25), n_rows=rows.sum())
    made = learner.make_estimator(row)
    assert_array_equal(made.classes_, classes)
    assert_array_equal(made.predict(X), fitted.predict(X))
    if isinstance(estimator, LogisticRegression):
        probabilities = made.predict_proba(X)
        known = np.isin(classes, seen)
        own = probabilities[:, known] / probabilities[:, known].sum(axis=1, keepdims=True)
        assert_allclose(own, fitted.predict_proba(X), atol=1e-10)
        assert (probabilities[:, ~known] > 0).all()
        assert probabilities[:, ~known].mean() < 1 / rows.sum()


def test_absent_classes_of_a_black_box():
    X, y = classification_data(3)
    rows = y != "green"
    model = Independent(DecisionTreeClassifier(random_state=0)).fit(
        np.concatenate([X, X[rows]]),
        np.concatenate([y, y[rows]]),
        groups=["all"] * len(X) + ["two"] * rows.sum(),
    )
    probabilities = model.predict_proba(X, groups=["two"] * len(X))
    assert probabilities.shape == (len(X), 3)
    assert_array_equal(probabilities[:, model.classes_.tolist().index("green")], 0)
    expected = DecisionTreeClassifier(random_state=0).fit(X[rows], y[rows])
    assert_array_equal(model.predict(X, groups=["two"] * len(X)), expected.predict(X))
