"""Learners: scikit-learn estimators seen as something that can be adapted.

The only place that touches private attributes of scikit-learn. :func:`register_learner` adds to
the estimators whose own parameters are adapted.
"""

from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from ..kernels.losses import EpsilonInsensitive, Hinge, Logistic, Loss, Multinomial, Squared
from ..kernels.scaling import Scaling, nonzero_scale
from ..tasks.rows import get_feature_names
from .base import Learner, in_chunks
from .blackbox import BlackBoxLearner, classes_of
from .conditioned import ConditionedLearner, with_columns
from .gradient import GradientLearner
from .head import HeadLearner, body_raw, fit_out_of_fold, numeric_columns, numeric_places
from .linear import LINEAR, LinearKind, LinearLearner
from .mlp import MLPLearner
from .narrow import make_narrow, predict_narrow, predict_places

__all__ = [
    "BlackBoxLearner",
    "ConditionedLearner",
    "GradientLearner",
    "HeadLearner",
    "Learner",
    "LinearKind",
    "LinearLearner",
    "Loss",
    "Scaling",
    "body_raw",
    "classes_of",
    "fit_out_of_fold",
    "has_class_outputs",
    "has_curvature",
    "has_network",
    "in_chunks",
    "is_squared_linear",
    "last_step",
    "make_learner",
    "make_narrow",
    "nonzero_scale",
    "numeric_columns",
    "numeric_places",
    "predict_narrow",
    "predict_places",
    "register_learner",
    "takes_numbers_only",
    "unrolled",
    "with_columns",
]

LEARNERS = {MLPClassifier: MLPLearner, MLPRegressor: MLPLearner}  # besides linear ones


def register_learner(estimator_class: type, learner: Any) -> None:
    """Teach the gradient family to adapt the own parameters of a class of estimators.

    Estimators of other classes are adapted as body and head. Call this in the module that defines
    the estimator: then every process that knows the estimator knows its learner, too.

    Parameters
    ----------
    estimator_class : type
        Estimators of exactly this class, not of its subclasses.
    learner : LinearKind or subclass of GradientLearner
        A :class:`~sklearn_meta.learners.LinearKind` for an estimator that predicts from ``coef_``
        and ``intercept_``: what its loss and its penalty are. It then works with ``Pooled`` and
        ``Independent`` like any linear one. Else a learner of its own.

    Raises
    ------
    TypeError
        If the arguments are of other types.
    ValueError
        If the class is known already.

    Examples
    --------
    ``QuantileRegressor`` is linear, and minimises the pinball loss:

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> from sklearn.linear_model import QuantileRegressor
    >>> from sklearn_meta import MAML
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> from sklearn_meta.learners import LinearKind, Loss, register_learner
    >>> @dataclass(frozen=True)
    ... class Pinball(Loss):
    ...     quantile: float
    ...
    ...     def _value(self, r, y):
    ...         return np.maximum(self.quantile * (y - r), (1 - self.quantile) * (r - y))
    ...
    ...     def gradient(self, r, y):
    ...         return np.where(r > y, 1 - self.quantile, -self.quantile).astype(r.dtype)
    ...
    ...     def _curvature(self, r, y):
    ...         return np.zeros_like(r)
    >>> def loss(estimator, n_outputs):
    ...     return Pinball(estimator.quantile)
    >>> def l2_penalty(estimator, n_rows):
    ...     return 0.0 * n_rows
    >>> register_learner(QuantileRegressor, LinearKind(loss, l2_penalty))
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> upper = MAML(QuantileRegressor(quantile=0.9), max_iter=50, random_state=0)
    >>> upper.meta_fit(tasks).adapt(tasks[0].X, tasks[0].y).estimator_
    QuantileRegressor(quantile=0.9)
    """
    if not isinstance(estimator_class, type):
        raise TypeError(f"estimator_class must be a class; got {estimator_class!r}.")
    if estimator_class in LINEAR or estimator_class in LEARNERS:
        raise ValueError(
            f"{estimator_class.__name__} has a learner already; register a subclass of it."
        )
    if isinstance(learner, LinearKind):
        LINEAR[estimator_class] = learner
    elif isinstance(learner, type) and issubclass(learner, GradientLearner):
        LEARNERS[estimator_class] = learner
    else:
        raise TypeError(
            f"learner must be a LinearKind or a subclass of GradientLearner; got {learner!r}."
        )


def last_step(estimator):
    """The estimator at the end of a Pipeline, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def unrolled(estimator):
    """A Pipeline at the end of a Pipeline becomes steps of it, named ``outer-inner``."""
    while isinstance(estimator, Pipeline) and isinstance(estimator.steps[-1][1], Pipeline):
        *steps, (name, last) = estimator.steps
        estimator = Pipeline([*steps, *((f"{name}-{inner}", step) for inner, step in last.steps)])
    return estimator


def has_network(estimator, gradient):
    """Whether the estimator's own parameters are known: of linear ones, of others by gradients."""
    kind = type(last_step(estimator))
    return kind in LINEAR or (gradient and kind in LEARNERS)


def takes_numbers_only(estimator):
    """Whether an estimator is known to take no text: one of scikit-learn's, with none inside."""
    tags, params = get_tags(estimator), estimator.get_params()
    of_sklearn = type(estimator).__module__.startswith("sklearn.") and not tags.no_validation
    text = tags.input_tags.string or tags.input_tags.categorical or "categorical_features" in params
    return of_sklearn and not text and not any("__" in name for name in params)


def has_class_outputs(estimator):
    """Whether its own parameters are one output per class, with logistic or multinomial loss."""
    estimator = last_step(estimator)
    if not is_classifier(estimator) or not has_network(estimator, True):
        return False
    if type(estimator) not in LINEAR:
        return type(estimator) is MLPClassifier
    return isinstance(LINEAR[type(estimator)].loss(estimator, 3), (Logistic, Multinomial))


def is_squared_linear(estimator):
    """Whether the estimator is linear with squared loss."""
    estimator = last_step(estimator)
    if type(estimator) not in LINEAR:
        return False
    kind = LINEAR[type(estimator)]
    squared = isinstance(kind.loss(estimator, 1), Squared) and kind.link == "identity"
    return squared and not is_classifier(estimator)


def has_curvature(estimator):
    """Whether the loss of a linear estimator has a second derivative somewhere."""
    loss = LINEAR[type(estimator)].loss(estimator, 1)
    return not (isinstance(loss, (EpsilonInsensitive, Hinge)) and not loss.squared)


def make_learner(
    estimator,
    X,
    y,
    *,
    classes=None,
    feature_names=None,
    step_params=None,
    standardize=False,
    sample_weight=None,
    codes=None,
    body=False,
    known=False,
):
    """Fit the transformers of a Pipeline on pooled rows and make the learner of its last step.

    Parameters
    ----------
    estimator : estimator
        Not fitted; a Pipeline is taken apart.
    X, y, classes, sample_weight
        Pooled meta-train rows; weights count in the statistics that standardise.
    feature_names : ndarray of str, default=None
        Of X; of a Pipeline, the last step gets the names that its transformers give.
    step_params : dict of dict, default=None
        Further arguments of ``fit`` for the transformers, by the name of the step.
    standardize : bool, default=False
        Whether a linear learner fits on standardised data.
    codes : ndarray of shape (n_rows,), default=None
        The task of every row, for algorithms that need gradients: estimators without parameters
        that are known then become body and head.
    body : bool, default=False
        Whether all estimators become body and head; ``codes`` are needed.
    known : bool, default=False
        Whether the learner will adapt to the tasks of these rows, see :meth:`Learner.known`.

    Returns
    -------
    learner : Learner
    X : ndarray of shape (n_rows, n_features_out)
        The transformed rows.
    """
    steps, name = [], None
    if isinstance(estimator, Pipeline):
        for step_name, step in estimator.steps[:-1]:
            if step in (None, "passthrough"):
                continue
            step = clone(step)
            X = step.fit_transform(X, y, **(step_params or {}).get(step_name, {}))
            steps.append((step_name, step))
        name, estimator = estimator.steps[-1]
        feature_names = get_feature_names(X)
    if hasattr(X, "toarray"):
        X = X.toarray()
    _check_real(X)
    settings = dict(
        n_features=X.shape[1], steps=steps, name=name, classes=classes, feature_names=feature_names
    )
    if body or not has_network(estimator, codes is not None):
        if codes is None:
            return BlackBoxLearner(estimator, **settings), X
        del settings["n_features"]
        settings |= {"sample_weight": sample_weight, "known": known}
        return HeadLearner.fit(estimator, X, y, codes, **settings)
    if hasattr(estimator, "_parameter_constraints"):  # scikit-learn's own; fit may not be called
        estimator._validate_params()
    X = np.asarray(X)
    _check_real(X)  # the columns of a dataframe
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    kind = LinearLearner if type(estimator) in LINEAR else LEARNERS[type(estimator)]
    scaling = None
    if standardize:
        with_target = classes is None and kind.scales_target(estimator)
        scaling = Scaling.of(X, y if with_target else None, sample_weight)
    return kind(estimator, scaling=scaling, dtype=X.dtype, **settings), X


def _check_real(X):
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        raise ValueError("Complex data not supported")
