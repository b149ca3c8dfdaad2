"""Learners: scikit-learn estimators seen as something that can be adapted.

The only place that touches private attributes of scikit-learn.
"""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from .._sklearn import get_feature_names
from ._scaling import Scaling, nonzero_scale
from .base import Learner, n_chunks
from .blackbox import BlackBoxLearner
from .linear import LINEAR, LinearLearner, link_of

__all__ = [
    "BlackBoxLearner",
    "Learner",
    "LinearLearner",
    "Scaling",
    "is_linear",
    "is_squared_linear",
    "last_step",
    "make_learner",
    "n_chunks",
    "nonzero_scale",
]


def last_step(estimator):
    """The estimator at the end of a Pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def is_linear(estimator):
    """Whether the estimator is of a linear class that this package knows."""
    return type(last_step(estimator)) in LINEAR


def is_squared_linear(estimator):
    """Whether the estimator is linear with squared loss."""
    estimator = last_step(estimator)
    return type(estimator) in LINEAR and LINEAR[type(estimator)].squared(estimator)


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
    if type(estimator) not in LINEAR:
        return BlackBoxLearner(estimator, **settings), X
    estimator._validate_params()  # scikit-learn's own check; its fit may never be called
    X = np.asarray(X)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    scaling = None
    if standardize:
        with_target = classes is None and link_of(estimator) == "identity"
        scaling = Scaling.of(X, y if with_target else None, sample_weight)
    return LinearLearner(estimator, scaling=scaling, dtype=X.dtype, **settings), X
