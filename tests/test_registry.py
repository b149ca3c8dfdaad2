"""register_learner: an estimator that the package has been taught is adapted as if it knew it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

from sklearn_meta import MAML, HierarchicalBayes, Independent, Pooled
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels.losses import Squared
from sklearn_meta.learners import LEARNERS, LINEAR, LinearKind, make_learner, register_learner
from sklearn_meta.learners.mlp import MLPLearner

TASKS = make_linear_tasks(n_tasks=12, n_rows=15, n_features=2, random_state=0)
NEW = TASKS[-1]
SQUARED = LinearKind(lambda estimator, n_outputs: Squared(), lambda estimator, n_rows: 0.0 * n_rows)


class LeastSquares(RegressorMixin, BaseEstimator):
    """A third-party estimator that has nothing but what it must have."""

    def fit(self, X, y):
        Z = np.column_stack([np.ones(len(X)), X])
        self.intercept_, *coef = np.linalg.lstsq(Z, y, rcond=None)[0]
        self.coef_ = np.array(coef)
        return self

    def predict(self, X):
        return np.asarray(X) @ self.coef_ + self.intercept_


class Perceptron(MLPRegressor):
    """Only exact classes are known, so this is another one."""


@pytest.fixture(autouse=True)
def forget():
    yield
    for known in (LINEAR, LEARNERS):
        for cls in (LeastSquares, Perceptron):
            known.pop(cls, None)


def adapted(meta):
    meta.meta_fit(TASKS[:-1])
    zero_shot = meta.predict(NEW.X)
    meta.adapt(NEW.X[:6], NEW.y[:6])
    assert type(meta.estimator_) is type(meta.estimator)
    assert_allclose(meta.estimator_.predict(NEW.X), meta.predict(NEW.X))
    return zero_shot, meta.predict(NEW.X)


@pytest.mark.parametrize(
    "make",
    [
        lambda estimator: MAML(estimator, max_iter=20, random_state=0),
        Pooled,
        Independent,
        HierarchicalBayes,
    ],
    ids=["MAML", "Pooled", "Independent", "HierarchicalBayes"],
)
def test_linear_estimator_is_that_which_is_known(make):
    register_learner(LeastSquares, SQUARED)
    assert_allclose(adapted(make(LeastSquares())), adapted(make(LinearRegression())), rtol=1e-6)


def test_learner_of_its_own():
    register_learner(Perceptron, MLPLearner)
    params = dict(hidden_layer_sizes=(4,), max_iter=20, random_state=0)
    pair = [
        adapted(MAML(cls(**params), init="random", max_iter=5, random_state=0))
        for cls in (Perceptron, MLPRegressor)
    ]
    assert_array_equal(*pair)


def test_before_it_is_registered_it_is_body_and_head():
    X, y = TASKS[0].X, TASKS[0].y
    learner, _ = make_learner(LeastSquares(), X, y, codes=np.zeros(len(y), dtype=int))
    assert type(learner).__name__ == "HeadLearner"
    register_learner(LeastSquares, SQUARED)
    learner, _ = make_learner(LeastSquares(), X, y, codes=np.zeros(len(y), dtype=int))
    assert type(learner).__name__ == "LinearLearner"


def test_errors():
    with pytest.raises(ValueError, match="LinearRegression has a learner already"):
        register_learner(LinearRegression, SQUARED)
    with pytest.raises(ValueError, match="MLPRegressor has a learner already"):
        register_learner(MLPRegressor, MLPLearner)
    with pytest.raises(TypeError, match="estimator_class must be a class; got LeastSquares"):
        register_learner(LeastSquares(), SQUARED)
    with pytest.raises(TypeError, match="learner must be a LinearKind or a subclass"):
        register_learner(LeastSquares, Squared())
