"""Learners: scikit-learn estimators seen as something that can be adapted.

The only place that touches private attributes of scikit-learn.
"""

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline

from .._sklearn import get_feature_names
from ._losses import Logistic, Multinomial, Squared
from ._scaling import Scaling, nonzero_scale
from .base import Learner, n_chunks
from .blackbox import BlackBoxLearner
from .gradient import GradientLearner
from .head import HeadLearner
from .linear import LINEAR, LinearLearner, link_of
from .mlp import MLP, MLPLearner

__all__ = [
    "BlackBoxLearner",
    "GradientLearner",
    "HeadLearner",
    "Learner",
    "LinearLearner",
    "Scaling",
    "has_class_outputs",
    "has_network",
    "is_squared_linear",
    "last_step",
    "make_learner",
    "n_chunks",
    "nonzero_scale",
]


def last_step(estimator):
    """The estimator at the end of a Pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def has_network(estimator, perceptrons):
    """Whether the estimator's own parameters are known: linear ones, perceptrons if asked for."""
    kind = type(last_step(estimator))
    return kind in LINEAR or (perceptrons and kind in MLP)


def has_class_outputs(estimator):
    """Whether its own parameters are one output per class, with logistic or multinomial loss."""
    estimator = last_step(estimator)
    if not is_classifier(estimator) or not has_network(estimator, True):
        return False
    if type(estimator) in MLP:
        return True
    return isinstance(LINEAR[type(estimator)].loss(estimator, 3), (Logistic, Multinomial))


def is_squared_linear(estimator):
    """Whether the estimator is linear with squared loss."""
    estimator = last_step(estimator)
    if type(estimator) not in LINEAR:
        return False
    kind = LINEAR[type(estimator)]
    squared = isinstance(kind.loss(estimator, 1), Squared) and kind.link == "identity"
    return squared and not is_classifier(estimator)


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
):
    """Fit the transformers of a Pipeline on pooled rows and make the learner of its last step.

    Parameters
    ----------
    estimator : estimator
        Not fitted; a Pipeline is taken apart.
    X : array or dataframe of shape (n_rows, n_features)
        Pooled meta-train rows.
    y : ndarray of shape (n_rows,)
    classes : ndarray, default=None
    feature_names : ndarray of str, default=None
        Of X; of a Pipeline, the last step gets the names that its transformers give.
    step_params : dict of dict, default=None
        Further arguments of ``fit`` for the transformers, by the name of the step.
    standardize : bool, default=False
        Whether a linear learner fits on standardised data.
    sample_weight : ndarray of shape (n_rows,), default=None
        Weights of the rows in the statistics that standardise.
    codes : ndarray of shape (n_rows,), default=None
        The task of every row, for algorithms that need gradients: estimators without parameters
        that are known then become body and head.

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
    settings = dict(
        n_features=X.shape[1], steps=steps, name=name, classes=classes, feature_names=feature_names
    )
    if not has_network(estimator, codes is not None):
        if codes is None:
            return BlackBoxLearner(estimator, **settings), X
        del settings["n_features"]
        return HeadLearner.fit(estimator, X, y, codes, sample_weight=sample_weight, **settings)
    estimator._validate_params()  # scikit-learn's own check; its fit may never be called
    X = np.asarray(X)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    scaling = None
    if standardize:
        if type(estimator) in MLP:
            with_target = classes is None and estimator.loss == "squared_error"
        else:
            with_target = classes is None and link_of(estimator) == "identity"
        scaling = Scaling.of(X, y if with_target else None, sample_weight)
    kind = MLPLearner if type(estimator) in MLP else LinearLearner
    return kind(estimator, scaling=scaling, dtype=X.dtype, **settings), X
