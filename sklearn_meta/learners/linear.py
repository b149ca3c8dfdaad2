"""Linear estimators: parameters are coefficients, raw predictions are ``b + w'x``.

The parameters of ``k`` outputs on ``d`` features are one row ``[b, W]``, the k intercepts first and
then the matrix ``W`` of shape (d, k), as of a network with one layer. What the wrapped estimator
makes of a raw prediction (its link, its labels, its probabilities) is its own code: a copy of it
with the identity for coefficients is given the raw predictions as features.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn import linear_model, svm
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import LabelBinarizer

from ..kernels.losses import (
    EpsilonInsensitive,
    Gamma,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Poisson,
    Squared,
    Tweedie,
    log_loss,
)
from ..kernels.network import Network
from ..tasks.table import padded_batches
from .base import TaskwiseLearner
from .gradient import LayerLearner

__all__ = ["LINEAR", "LinearKind", "LinearLearner", "link_of"]


@dataclass(frozen=True)
class LinearKind:
    """What must be known about a class of linear estimators.

    Parameters
    ----------
    loss : callable
        ``loss(estimator, n_outputs)`` is the Loss that it minimises.
    penalty : callable
        ``penalty(estimator, n_rows)`` is the strength of its L2 penalty on the mean loss of tasks
        with so many rows, an array or a number.
    link : {"identity", "log", "logit", "softmax", "margin"}, or callable
        How a prediction that does not depend on x is written as a raw prediction; a callable
        gets the estimator and returns one of these.
    flat : bool
        Whether ``coef_`` has shape (n_features,) instead of (n_outputs, n_features).
    vector_intercept : bool
        Whether ``intercept_`` is an array although ``coef_`` is flat.
    finish : callable or None
        Sets what else ``predict`` needs.
    """

    loss: object
    penalty: object
    link: object = "identity"
    flat: bool = True
    vector_intercept: bool = False
    finish: object = None


def _squared(estimator, n_outputs):
    return Squared()


def _log_loss(estimator, n_outputs):
    return log_loss(n_outputs)


def _tweedie(estimator, n_outputs):
    power = estimator.power
    if _glm_link(estimator) == "identity":
        if power != 0:
            raise ValueError(
                f"TweedieRegressor(power={power}) with the identity link is defined only where "
                "predictions are positive and cannot be adapted by gradients; use link='log'."
            )
        return Squared()
    if power == 0:
        raise ValueError(
            "TweedieRegressor(power=0, link='log') cannot be adapted by gradients; use another "
            "power, or link='identity'."
        )
    return {1: Poisson(), 2: Gamma()}.get(power) or Tweedie(power)


def _svr(estimator, n_outputs):
    squared = estimator.loss == "squared_epsilon_insensitive"
    return EpsilonInsensitive(estimator.epsilon, squared)


def _sgd(estimator, n_outputs):
    epsilon = estimator.epsilon
    return {
        "squared_error": Squared(),
        "huber": Huber(epsilon),
        "epsilon_insensitive": EpsilonInsensitive(epsilon),
        "squared_epsilon_insensitive": EpsilonInsensitive(epsilon, True),
        "hinge": Hinge(),
        "squared_hinge": Hinge(squared=True),
        "perceptron": Hinge(0.0),
        "log_loss": Logistic(),
        "modified_huber": ModifiedHuber(),
    }[estimator.loss]


def _no_penalty(estimator, n_rows):
    return 0.0


def _ridge_penalty(estimator, n_rows):
    return estimator.alpha / n_rows


def _glm_penalty(estimator, n_rows):
    return estimator.alpha


def _sgd_penalty(estimator, n_rows):
    share = {"l2": 1.0, "elasticnet": 1 - (estimator.l1_ratio or 0), "l1": 0.0, None: 0.0}
    return estimator.alpha * share[estimator.penalty]


def _svm_penalty(estimator, n_rows):
    return 1 / (estimator.C * n_rows)


def _glm_link(estimator):
    if isinstance(estimator, linear_model.TweedieRegressor):
        if estimator.link == "identity" or (estimator.link == "auto" and estimator.power <= 0):
            return "identity"
    return "log"


def _sgd_link(estimator):
    return "logit" if estimator.loss in ("log_loss", "modified_huber") else "margin"


def _set_base_loss(estimator, classes):
    estimator._base_loss = estimator._get_loss()


def _set_label_binarizer(estimator, classes):
    estimator._label_binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(classes)


def _glm(loss, link="log"):
    return LinearKind(loss, _glm_penalty, link, finish=_set_base_loss)


def _classifier(loss, penalty, link="margin", finish=None):
    return LinearKind(loss, penalty, link, flat=False, finish=finish)


LINEAR = {
    linear_model.LinearRegression: LinearKind(_squared, _no_penalty),
    linear_model.Ridge: LinearKind(_squared, _ridge_penalty),
    linear_model.Lasso: LinearKind(_squared, _no_penalty),
    linear_model.ElasticNet: LinearKind(_squared, lambda e, n_rows: e.alpha * (1 - e.l1_ratio)),
    linear_model.SGDRegressor: LinearKind(_sgd, _sgd_penalty, vector_intercept=True),
    linear_model.HuberRegressor: LinearKind(lambda e, k: Huber(e.epsilon), _ridge_penalty),
    linear_model.PoissonRegressor: _glm(lambda e, k: Poisson()),
    linear_model.GammaRegressor: _glm(lambda e, k: Gamma()),
    linear_model.TweedieRegressor: _glm(_tweedie, _glm_link),
    svm.LinearSVR: LinearKind(_svr, _svm_penalty, vector_intercept=True),
    linear_model.LogisticRegression: _classifier(
        _log_loss, lambda e, n_rows: (1 - (e.l1_ratio or 0)) / (e.C * n_rows), "softmax"
    ),
    LinearDiscriminantAnalysis: _classifier(_log_loss, _no_penalty, "softmax"),
    linear_model.SGDClassifier: _classifier(_sgd, _sgd_penalty, _sgd_link),
    linear_model.RidgeClassifier: _classifier(
        _squared, _ridge_penalty, finish=_set_label_binarizer
    ),
    svm.LinearSVC: _classifier(lambda e, k: Hinge(squared=e.loss == "squared_hinge"), _svm_penalty),
    linear_model.Perceptron: _classifier(lambda e, k: Hinge(0.0), _sgd_penalty),
}


def link_of(estimator):
    """The link of a linear estimator, see :class:`LinearKind`."""
    link = LINEAR[type(estimator)].link
    return link(estimator) if callable(link) else link


class LinearLearner(LayerLearner, TaskwiseLearner):
    """A linear regressor or classifier, of a class in :data:`LINEAR`, adapted by its coefficients.

    Parameters as of :class:`GradientLearner`.
    """

    def __init__(self, estimator, **learner_params):
        super().__init__(estimator, **learner_params)
        self._shell = self._set(np.eye(self.n_outputs), np.zeros(self.n_outputs), names=None)

    @staticmethod
    def scales_target(estimator):
        return link_of(estimator) == "identity"

    @property
    def kind(self):
        return LINEAR[type(self.estimator)]

    @property
    def fit_intercept(self):
        return bool(getattr(self.estimator, "fit_intercept", True))

    @cached_property
    def network(self):
        """The network of one layer, in standardised units."""
        loss = self.kind.loss(self.estimator, self.n_outputs)
        sizes = (self.n_features, self.n_outputs)
        return Network(sizes, loss, intercept=self.fit_intercept)

    def pooled(self, table):
        fitted = self.fit_one(table.X, table.y, table.sample_weight)
        intercept = np.broadcast_to(np.ravel(fitted.intercept_), (self.n_outputs,))
        return self.join(np.atleast_2d(fitted.coef_), intercept)

    def penalty_strength(self, n_rows):
        return self.kind.penalty(self.estimator, n_rows)

    def rows(self, theta):
        return self.join(*self.units.unfold(*self.split(theta)))

    @property
    def has_closed_form(self):
        """Whether a fit is least squares with an L2 penalty."""
        estimator = self.estimator
        if type(estimator) is linear_model.LinearRegression:
            return not estimator.positive
        if type(estimator) is linear_model.Ridge:
            plain = estimator.solver == "auto" and not estimator.positive
            return plain and np.ndim(estimator.alpha) == 0
        return False

    @property
    def link(self):
        return link_of(self.estimator)

    # -- between parameter rows and estimators --

    def _set(self, coef, intercept, names):
        kind = self.kind
        estimator = clone(self.estimator)
        estimator.n_features_in_ = coef.shape[1]
        if names is not None:
            estimator.feature_names_in_ = names
        if self.classes is not None:
            estimator.classes_ = self.classes
        estimator.coef_ = np.array(coef[0] if kind.flat else coef, dtype=self.dtype)
        scalar = kind.flat and not kind.vector_intercept
        estimator.intercept_ = (
            self.dtype.type(intercept[0]) if scalar else np.array(intercept, dtype=self.dtype)
        )
        if kind.finish is not None:
            kind.finish(estimator, self.classes)
        return estimator

    def make_estimator(self, row):
        return self.wrap(self._set(*self.split(row), names=self.feature_names))

    def plain(self, row):
        """The estimator of one parameter row, for transformed rows in an array."""
        return self._set(*self.split(row), names=None)

    def read(self, fitted, class_prior=None, n_rows=1):
        coef = np.atleast_2d(fitted.coef_)
        intercept = np.broadcast_to(np.ravel(fitted.intercept_), len(coef))
        if self.scaling is not None:
            coef, intercept = self.scaling.unfold(coef, intercept)
        if self.classes is not None and len(fitted.classes_) < len(self.classes):
            coef, intercept = self._with_absent(fitted, coef, intercept, class_prior, n_rows)
        return self.join(coef, intercept)

    def _with_absent(self, fitted, coef, intercept, class_prior, n_rows):
        """Outputs for all classes from a fit on some of them.

        An absent class gets the mean output of the seen ones, lowered so that it has the share of
        one pseudo-row where these are equal. So it is never the largest: never predicted.
        """
        seen = np.searchsorted(self.classes, fitted.classes_)
        if len(seen) == 2:  # one output: its sign says which of two classes
            zero = 0.0 if self.link == "softmax" else -1.0
            coef = np.concatenate([zero * coef, coef])
            intercept = np.concatenate([zero * intercept, intercept])
        share = class_prior / (n_rows + 1)
        lower = _link(share, self.link)
        if self.link == "softmax":
            absent = np.delete(share, seen).sum()
            lower = lower + np.log(len(seen)) - np.log1p(-absent)
        all_coef = np.repeat(coef.mean(axis=0, keepdims=True), self.n_outputs, axis=0)
        all_intercept = intercept.mean() + np.minimum(lower, -1e-6)
        all_coef[seen], all_intercept[seen] = coef, intercept
        return all_coef, all_intercept

    def constant(self, value):
        coef = np.zeros((self.n_outputs, self.n_features))
        if self.classes is None:
            raw = _link(np.array([value], dtype=float), self.link)
        elif self.n_outputs == 1:
            link = "logit" if self.link == "softmax" else self.link
            raw = _link(np.asarray(value)[1:], link)
        else:
            raw = _link(np.asarray(value), self.link)
        return self.join(coef, raw)

    # -- predictions --

    def predict(self, method, params, X, index):
        return getattr(self._shell, method)(self.raw(params, X, index))

    # -- fits --

    def fit_each(self, table, class_prior, fit_params, n_jobs=None):
        if fit_params or not self.has_closed_form:
            return super().fit_each(table, class_prior, fit_params, n_jobs)
        return self._fit_each_squared(table, class_prior)

    def _fit_each_squared(self, table, mean):
        """Least squares with an L2 penalty in closed form, for a batch of tasks at a time.

        With centred rows ``X = U S V'`` the coefficients are ``V (S / (S² + alpha)) U'y``
        (alpha = 0: the shortest of the least squares solutions).
        """
        alpha = getattr(self.estimator, "alpha", 0.0)
        scaling = self.units
        params = np.empty((table.n_tasks, self.n_params), dtype=self.dtype)
        for batch in padded_batches(table):
            X = scaling.features(batch.X).astype(self.dtype, copy=False)
            y = scaling.target(batch.y).astype(self.dtype, copy=False)
            weight = batch.weight.astype(self.dtype, copy=False)
            total = weight.sum(axis=1)
            x_mean = np.zeros((len(X), self.n_features), dtype=self.dtype)
            y_mean = np.zeros(len(X), dtype=self.dtype)
            if self.estimator.fit_intercept:
                mass = np.maximum(total, np.finfo(self.dtype).tiny)
                x_mean = np.einsum("tn,tnd->td", weight, X) / mass[:, None]
                y_mean = np.einsum("tn,tn->t", weight, y) / mass
            root = np.sqrt(weight)
            centred = (X - x_mean[:, None]) * root[:, :, None]
            U, S, Vt = np.linalg.svd(centred, full_matrices=False)
            target = np.einsum("tnr,tn->tr", U, (y - y_mean[:, None]) * root)
            n_rows = (weight > 0).sum(axis=1)
            cut = np.maximum(n_rows, self.n_features) * np.finfo(self.dtype).eps
            kept = S > (cut * S.max(axis=1, initial=0.0))[:, None]
            S = np.where(kept, S, 1.0)
            with np.errstate(over="ignore"):  # then nothing is left
                shrink = np.where(kept, 1.0 / (S + alpha / S), 0.0)
            coef = np.einsum("trd,tr->td", Vt, shrink * target)
            intercept = y_mean - np.einsum("td,td->t", coef, x_mean)
            coef, intercept = scaling.unfold(coef, intercept)
            params[batch.tasks] = self.join(coef[:, None], intercept[:, None])
            params[batch.tasks[total == 0]] = self.constant(mean)
        return params


def _link(value, link):
    """The raw prediction of a constant prediction."""
    tiny = np.finfo(np.float64).tiny
    if link == "log":
        return np.log(np.maximum(value, tiny))
    if link == "softmax":
        return np.log(np.maximum(value, 1e-12))
    if link == "logit":
        value = np.clip(value, 1e-12, 1 - 1e-12)
        return np.log(value / (1 - value))
    return 2 * value - 1 if link == "margin" else value
