"""What algorithms share that learn a representation over tasks and solve its last layer.

The representation is the body of a network: all layers but the last of a perceptron, the features
themselves of a linear estimator. It is trained over episodes by the outer loop of the gradient
family; the last layer of a new task is in closed form. Parameter rows hold that layer alone: the
body is the same in all tasks.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from ..kernels.body import Body
from ..learners.privates import HasMethods
from .algorithm import Needs
from .gradient_family import GradientMetaEstimator, Initialisation
from .parameters import with_parameters

__all__ = ["EmbeddedPredictor", "EmbeddingMetaEstimator", "Representation"]

CHUNK_ROWS = 2**14


@dataclass(frozen=True, eq=False)
class Representation(Initialisation):
    """A trained representation and the prior of its last layer."""

    prior: object = None  # while the representation is trained


@with_parameters
class EmbeddingMetaEstimator(GradientMetaEstimator):
    """Base of algorithms with a learned body and a head in closed form."""

    estimator: Any = None
    _: KW_ONLY
    body: Any = None
    classes: str = "shared"
    n_shots: int | range | Sequence[int] = (1, 10)
    n_query: int | None = None
    tasks_per_batch: int = 25
    max_iter: int = 1000
    outer_lr: float | str = "auto"
    outer_schedule: str = "linear"
    init: str = "pooled"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    tol: float = 1e-4
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    standardize: bool = True
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {"body": [HasMethods(["fit", "transform"]), None]}

    # -- what an algorithm provides ----------------------------------------------------------------

    @abstractmethod
    def _finished(self, learner, model, table, rng):
        """The meta-model with the prior of its last layer."""

    @abstractmethod
    def _meta_gradient(self, learner, meta_model, episode):
        """Loss of an episode and its gradient in all that is trained."""

    @abstractmethod
    def _start_of(self, learner, theta):
        """All that is trained, as one vector, from the parameters of a network."""

    # -- the wrapped estimator ---------------------------------------------------------------------

    def _wrapped(self):
        estimator = super()._wrapped()
        if self.body is None:
            return estimator
        return Pipeline([("body", self.body), ("head", estimator)])

    def _needs(self):
        return Needs(
            gradients=True,
            standardized=self.standardize,
            fits=False,
            own_classes=self.classes == "per_task",
            n_epochs=None,
        )

    # -- training ----------------------------------------------------------------------------------

    def _outer(self):
        outer = super()._outer()
        low, high = outer.n_shots
        return replace(outer, n_shots=(max(low, 1), max(high, 1)), chooses_steps=False)

    outer_solver = "adam"
    inner_lr_ = adapt_steps_ = None  # there are no inner steps

    def _searches(self):
        return False

    def _starts(self, theta, learner, probe):
        start = self._start_of(learner, theta)
        return [Representation(start, np.zeros(1, dtype=theta.dtype))]

    def _query_loss(self, learner, meta_model, episodes):
        losses = [self._meta_gradient(learner, meta_model, episode)[0] for episode in episodes]
        return float(np.mean(losses)) if np.isfinite(losses).all() else np.inf

    def _train(self, learner, table, meta_model, rng, report):
        finish = np.random.default_rng(rng.integers(2**31))
        state = finish.bit_generator.state

        def finished(model):
            finish.bit_generator.state = state
            return self._finished(learner, model, table, finish)

        def tell(get_model):
            return report(lambda: finished(get_model()))

        if self._has_body(learner):
            return finished(super()._train(learner, table, meta_model, rng, tell))
        theta = np.zeros(learner.network.n_params, dtype=learner.dtype)
        return finished(self._starts(theta, learner, None)[0])

    def _has_body(self, learner):
        return not learner.network.linear

    # -- features ----------------------------------------------------------------------------------

    def _features(self, learner, model, X):
        """phi of rows in the units of the data."""
        body = Body(learner.network)
        X = learner.units.features(X).astype(learner.dtype, copy=False)
        parts = [
            body.features(model.theta[: body.n_params], X[None, lo : lo + CHUNK_ROWS])[0]
            for lo in range(0, len(X), CHUNK_ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, body.n_features), learner.dtype)

    @property
    def n_iter_(self):
        """Number of meta-iterations; 1 of closed forms, where no representation is trained."""
        curve = self._learned("loss_curve")
        return len(curve) if self._has_body(self.learner_) else 1

    def _predictor(self, learner, meta_model):
        return EmbeddedPredictor(learner, meta_model.theta[: Body(learner.network).n_params])


class EmbeddedPredictor:
    """A learner whose layers but the last have parameters theta (n_body,) in every task."""

    def __init__(self, learner, theta):
        self.learner, self.theta = learner, theta
        self.network = Body(learner.network).head

    def __getattr__(self, name):
        if name in ("classes", "feature_names", "n_features", "wrap"):
            return getattr(self.learner, name)
        raise AttributeError(name)

    def with_classes(self, classes):
        """The same for other classes."""
        return EmbeddedPredictor(self.learner.with_classes(classes), self.theta)

    def whole(self, rows):
        """Parameter rows of the learner; what follows the last layer in a row is cut off."""
        head = rows[:, : self.network.n_params]
        body = np.broadcast_to(self.theta, (len(rows), len(self.theta)))
        theta = np.concatenate([body, head], axis=1).astype(self.learner.dtype, copy=False)
        return self.learner.rows(theta)

    def make_estimator(self, row):
        """The plain estimator of one parameter row."""
        return self.learner.make_estimator(self.whole(row[None])[0])

    def predict(self, method, params, X, index):
        """Predict rows, each with its own parameter row; arguments as of the learner's."""
        return self.learner.predict(method, self.whole(params), X, index)
