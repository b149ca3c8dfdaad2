"""Perceptrons, and bodies with heads: between parameter rows and estimators."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_meta import MAML, Task
from sklearn_meta.kernels.network import Batch
from sklearn_meta.learners import HeadLearner, make_learner
from sklearn_meta.learners.head import body_raw
from sklearn_meta.learners.mlp import MLPLearner
from sklearn_meta.tasks import TaskTable

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
CODES = np.repeat(np.arange(8), 5)
NUMBER = 100 + 7 * X[:, 0] + X[:, 1]
LABEL = np.array(["a", "b", "c"])[np.digitize(NUMBER, np.quantile(NUMBER, [0.3, 0.6]))]
PAIR = np.where(LABEL == "c", "b", LABEL)
TABLE = TaskTable(X, NUMBER, np.arange(0, 41, 5))


def learn(estimator, y, standardize=True, X=X):
    classes = np.unique(y) if y.dtype.kind == "U" else None
    return make_learner(estimator, X, y, classes=classes, codes=CODES, standardize=standardize)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
@pytest.mark.parametrize(
    "mlp, y",
    [
        (MLPRegressor(), NUMBER),
        (MLPRegressor(loss="poisson"), NUMBER / 100),
        (MLPClassifier(), PAIR),
        (MLPClassifier(), LABEL),
    ],
)
class TestMLP:
    def learner(self, mlp, y, hidden, standardize):
        mlp = clone(mlp).set_params(hidden_layer_sizes=hidden, random_state=0, max_iter=5)
        learner, _ = learn(mlp, y, standardize)
        assert isinstance(learner, MLPLearner)
        return learner

    def test_rows_fold_the_standardisation_in(self, mlp, y, hidden, standardize):
        learner = self.learner(mlp, y, hidden, standardize)
        theta = np.stack([learner.random(np.random.default_rng(s)) for s in (0, 1)])
        batch = learner.batch(np.stack([X, X]), None, np.ones((2, 40)))
        scaled, units = learner.network.predict(theta, batch), learner.units
        rows = learner.rows(theta)
        raw = learner.network.predict(rows, Batch(np.stack([X, X]), None, None))
        assert_allclose(raw, units.y_mean + units.y_scale * scaled, rtol=1e-9, atol=1e-9)

    def test_pooled_is_the_fit_of_scikit_learn(self, mlp, y, hidden, standardize):
        learner = self.learner(mlp, y, hidden, standardize)
        row = learner.rows(learner.pooled(TaskTable(X, y, np.array([0, 40])))[None])[0]
        units = learner.units
        target = units.target(y) if learner.classes is None else y
        theirs = clone(learner.estimator).fit(units.features(X), target)
        expected = theirs.predict(units.features(X))
        if learner.classes is None:
            ours = learner.make_estimator(row).predict(X)
            assert_allclose(ours, units.y_mean + units.y_scale * expected, rtol=1e-7)
        else:
            assert_array_equal(learner.make_estimator(row).predict(X), expected)

    def test_rows_predict_as_their_estimators(self, mlp, y, hidden, standardize):
        learner = self.learner(mlp, y, hidden, standardize)
        rows = learner.rows(np.stack([learner.random(np.random.default_rng(s)) for s in range(3)]))
        index = np.arange(40) % 3
        for method in ("predict", "predict_proba"):
            if not hasattr(learner.estimator, method):
                continue
            together = learner.predict(method, rows, X, index)
            for t in range(3):
                alone = getattr(learner.make_estimator(rows[t]), method)(X[index == t])
                if alone.dtype.kind == "f":
                    assert_allclose(together[index == t], alone, rtol=1e-7, atol=1e-12)
                else:
                    assert_array_equal(together[index == t], alone)


def test_estimators_are_those_of_scikit_learn():
    """Fitted attributes and all, so that it can go on training."""
    learner, _ = learn(MLPClassifier(hidden_layer_sizes=(4,), random_state=0), LABEL)
    ours = learner.make_estimator(learner.random(np.random.default_rng(0)))
    theirs = clone(learner.estimator).fit(X, LABEL)
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert_array_equal(ours.classes_, theirs.classes_)
    assert [c.shape for c in ours.coefs_] == [c.shape for c in theirs.coefs_]
    assert [b.shape for b in ours.intercepts_] == [b.shape for b in theirs.intercepts_]
    assert ours.score(X, LABEL) <= 1


def test_random_start_is_that_of_scikit_learn():
    """Uniform within the same bounds."""
    learner, _ = learn(MLPRegressor(hidden_layer_sizes=(50,)), NUMBER)
    theta = learner.random(np.random.default_rng(0))
    bound = np.sqrt(6 / 53)
    b, W = learner.network.layers(theta[None])[0]
    assert 0.9 * bound < np.abs(W).max() <= bound
    assert 0.8 * bound < np.abs(b).max() <= bound


# -- body and head ---------------------------------------------------------------------------------

BODIES = [
    (HistGradientBoostingRegressor(max_iter=3), NUMBER),
    (KNeighborsRegressor(), NUMBER),
    (RandomForestClassifier(n_estimators=5, random_state=0), LABEL),
    (GaussianNB(), PAIR),
    (KNeighborsClassifier(), LABEL),
    (SVC(), LABEL),
    (SVC(), PAIR),
]
each_body = pytest.mark.parametrize("body, y", BODIES)


@each_body
def test_zero_shot_is_the_body(body, y):
    learner, Z = learn(body, y)
    assert isinstance(learner, HeadLearner)
    zero = learner.rows(learner.pooled(TABLE)[None])
    model, theirs = learner.make_estimator(zero[0]), clone(body).fit(X, y)
    assert_array_equal(learner.body.predict(X), theirs.predict(X))
    if y.dtype.kind == "f":
        assert_allclose(model.predict(X), theirs.predict(X))
    elif hasattr(body, "predict_proba"):  # but for ties, and probabilities below the least
        assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=4e-3)
    else:
        assert_array_equal(model.predict(X), theirs.predict(X))


@each_body
def test_heads_are_what_the_network_computes(body, y):
    learner, _ = learn(body, y)
    theta = np.random.default_rng(0).standard_normal((2, learner.network.n_params))
    rows, Z = learner.rows(theta), learner.transform(X)
    scaled = learner.network.predict(theta, learner.batch(np.stack([Z, Z]), None, np.ones((2, 40))))
    raw = learner.scaling.y_mean + learner.scaling.y_scale * scaled
    for t in range(2):
        model = learner.make_estimator(rows[t])
        index = np.full(40, t)
        if y.dtype.kind == "f":
            assert_allclose(model.predict(X), raw[t, :, 0])
            assert_allclose(learner.predict("predict", rows, Z, index), raw[t, :, 0])
            continue
        decision = raw[t, :, 0] if raw.shape[-1] == 1 else raw[t]
        assert_allclose(model.decision_function(X), decision, rtol=1e-6, atol=1e-8)
        for method in ("predict", "predict_proba", "decision_function"):
            ours = learner.predict(method, rows, Z, index)
            if ours.dtype.kind == "f":
                assert_allclose(ours, getattr(model, method)(X), rtol=1e-6, atol=1e-8)
            else:
                assert_array_equal(ours, getattr(model, method)(X))


def test_head_sees_no_row_that_its_body_was_fitted_on():
    """A body that memorises its rows: out of fold it is as wrong as on new tasks."""
    noise = np.random.default_rng(0).standard_normal(40)
    learner, Z = learn(DecisionTreeRegressor(random_state=0), noise)
    assert_array_equal(learner.body.predict(X), noise)
    assert np.mean((Z[:, 0] - noise) ** 2) > 0.5 * noise.var()
    for t in range(8):  # targets of a task do not reach its own rows
        other = np.where(CODES == t, noise + 100, noise)
        own = learn(DecisionTreeRegressor(random_state=0), other)[1][CODES == t, 0]
        assert_array_equal(own, Z[CODES == t, 0])


def test_heads_of_known_tasks_see_bodies_that_know_the_task_but_not_the_row():
    noise = np.random.default_rng(0).standard_normal(40)
    y = 100.0 * CODES + noise
    at = np.column_stack([CODES, X])  # so that a tree knows tasks by a column
    tree = DecisionTreeRegressor(random_state=0)
    learner, Z = make_learner(tree, at, y, codes=CODES, known=True)
    known = learner.known(Z)
    assert_array_equal(known[:, 1:], Z[:, 1:])
    assert np.abs(Z[:, 0] - y).min() > 50  # a new task
    assert 0.5 < np.abs(known[:, 0] - y).mean() < 3  # a new row of a known one
    assert_array_equal(learner.transform(at[:9], np.arange(9)), known[:9])
    new = learner.transform(at[:9], np.full(9, -1))
    assert_array_equal(new[:, 0], y[:9])
    other, Z = make_learner(tree, at, y, codes=CODES)
    assert_array_equal(other.known(Z), Z)


def test_a_single_task_is_its_own_fold():
    learner, Z = make_learner(
        DecisionTreeRegressor(random_state=0), X, NUMBER, codes=np.zeros(40, dtype=int)
    )
    assert_allclose(Z[:, 0], NUMBER)


def test_probabilities_of_a_body_are_kept_from_0_and_1():
    tree = DecisionTreeClassifier().fit(X, PAIR)
    raw = body_raw(tree, X, np.unique(PAIR))
    assert raw.shape == (40, 1)
    assert np.isfinite(raw).all()
    assert np.abs(raw).max() < 10
    assert_array_equal(raw[:, 0] > 0, PAIR == "b")


def test_classes_that_a_body_has_not_seen():
    tree = DecisionTreeClassifier().fit(X, np.where(PAIR == "b", "c", "a"))
    raw = body_raw(tree, X, np.array(["a", "b", "c"]))
    assert_array_equal(np.exp(raw[:, 1]) < 2e-3, True)
    assert_allclose(np.exp(raw).sum(axis=1), 1)


def test_missing_values_and_columns_that_are_not_numbers():
    frame = pd.DataFrame(X.copy(), columns=list("pqr"))
    frame.loc[3, "p"] = np.nan
    frame["town"] = pd.Categorical(np.where(CODES % 2, "Aix", "Bonn"))
    body = HistGradientBoostingRegressor(max_iter=3, categorical_features="from_dtype")
    learner, Z = learn(body, NUMBER, X=frame)
    assert Z.shape == (40, 4)  # f, p, q, r
    assert Z[3, 1] == pytest.approx(np.delete(X[:, 0], 3).mean())
    model = learner.make_estimator(learner.rows(np.ones((1, learner.network.n_params)))[0])
    assert np.isfinite(model.predict(frame)).all()


@pytest.mark.parametrize("body", [DecisionTreeClassifier(), KNeighborsClassifier(), SVC()])
def test_tasks_of_one_class_each(body):
    """So that a fold of the body may see one class only."""
    tasks = [Task(X[:10] + c, np.full(10, c), id=c) for c in range(3)]
    meta = MAML(body, max_iter=2, random_state=0).meta_fit(tasks[:2])
    assert set(meta.predict(X)) <= {0, 1}
    meta.meta_fit(tasks)
    assert set(meta.predict(X)) <= {0, 1, 2}


class OnlyFitAndPredict:
    """What some third-party estimators are, nearly."""

    _estimator_type = "regressor"

    def __init__(self, shift=0.0):
        self.shift = shift

    def get_params(self, deep=True):
        return {"shift": self.shift}

    def set_params(self, **params):
        vars(self).update(params)
        return self

    def __sklearn_tags__(self):
        return DecisionTreeRegressor().__sklearn_tags__()

    def fit(self, X, y):
        self.mean_ = np.mean(y) + self.shift
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_a_third_party_estimator():
    meta = MAML(OnlyFitAndPredict(), max_iter=5, random_state=0)
    meta.meta_fit([(X[CODES == t], NUMBER[CODES == t]) for t in range(8)])
    before = meta.score(X[:5], NUMBER[:5])
    assert meta.adapt(X[:5], NUMBER[:5]).score(X[:5], NUMBER[:5]) > before


@pytest.mark.parametrize(
    "estimator, y",
    [*BODIES, (MLPRegressor(max_iter=5), NUMBER), (MLPClassifier(max_iter=5), LABEL)],
)
def test_fitted_estimators_stay_as_they_were(estimator, y):
    estimator = clone(estimator).fit(X[:20], y[:20])
    before, attributes = estimator.predict(X), set(vars(estimator))
    meta = MAML(estimator, max_iter=2).fit(X, y, groups=CODES)
    meta.adapt(X[:5], y[:5])
    assert set(vars(estimator)) == attributes
    assert_array_equal(estimator.predict(X), before)
    assert meta.estimator is estimator
