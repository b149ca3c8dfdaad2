"""Linear estimators: parameters are coefficients, raw predictions are ``b + w'x``.

The parameters of ``k`` outputs on ``d`` features are one row ``[b_1, w_1', ..., b_k, w_k']``,
intercept first. What the wrapped estimator makes of a raw prediction (its link, its labels, its
probabilities) is its own code: a copy of it with the identity for coefficients is given the raw
predictions as features.
"""

from dataclasses import dataclass

import numpy as np
from sklearn import linear_model, svm
from sklearn.base import clone
from sklearn.preprocessing import LabelBinarizer

from ..tasks import padded_batches
from ._scaling import Scaling
from .base import Learner

__all__ = ["LINEAR", "LinearKind", "LinearLearner", "link_of"]

_CHUNK = 2**16


@dataclass(frozen=True)
class LinearKind:
    """What must be known about a class of linear estimators.

    Parameters
    ----------
    link : {"identity", "log", "logit", "softmax", "margin"}, or callable
        How a prediction that does not depend on x is written as a raw prediction; a callable
        gets the estimator and returns one of these.
    squared : callable
        Whether the loss of an estimator of this class is the squared one.
    flat : bool
        Whether ``coef_`` has shape (n_features,) instead of (n_outputs, n_features).
    vector_intercept : bool
        Whether ``intercept_`` is an array although ``coef_`` is flat.
    finish : callable or None
        Sets what else ``predict`` needs.
    """

    link: object = "identity"
    squared: object = lambda estimator: False
    flat: bool = True
    vector_intercept: bool = False
    finish: object = None


def _always(estimator):
    return True


def _sgd_squared(estimator):
    return estimator.loss == "squared_error"


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


LINEAR = {
    linear_model.LinearRegression: LinearKind(squared=_always),
    linear_model.Ridge: LinearKind(squared=_always),
    linear_model.Lasso: LinearKind(squared=_always),
    linear_model.ElasticNet: LinearKind(squared=_always),
    linear_model.SGDRegressor: LinearKind(squared=_sgd_squared, vector_intercept=True),
    linear_model.HuberRegressor: LinearKind(),
    linear_model.PoissonRegressor: LinearKind(link="log", finish=_set_base_loss),
    linear_model.GammaRegressor: LinearKind(link="log", finish=_set_base_loss),
    linear_model.TweedieRegressor: LinearKind(link=_glm_link, finish=_set_base_loss),
    svm.LinearSVR: LinearKind(vector_intercept=True),
    linear_model.LogisticRegression: LinearKind(link="softmax", flat=False),
    linear_model.SGDClassifier: LinearKind(link=_sgd_link, flat=False),
    linear_model.RidgeClassifier: LinearKind(
        link="margin", flat=False, finish=_set_label_binarizer
    ),
    svm.LinearSVC: LinearKind(link="margin", flat=False),
    linear_model.Perceptron: LinearKind(link="margin", flat=False),
}


def link_of(estimator):
    """The link of a linear estimator, see :class:`LinearKind`."""
    link = LINEAR[type(estimator)].link
    return link(estimator) if callable(link) else link


class LinearLearner(Learner):
    """A linear regressor or classifier, adapted by its coefficients.

    Parameters
    ----------
    estimator : estimator
        Of a class in :data:`LINEAR`.
    scaling : Scaling, default=None
        Pooled meta-train statistics; fits see data standardised by them. None: data as they are.
    dtype : dtype, default=float64
    **learner_params
        See :class:`Learner`.
    """

    def __init__(self, estimator, *, scaling=None, dtype=np.float64, **learner_params):
        super().__init__(estimator, **learner_params)
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(
                f"all meta-train rows are of one class, {self.classes[0]!r}; a classifier needs at "
                "least two."
            )
        self.dtype = np.dtype(dtype)
        self.scaling = scaling
        self._shell = self._set(np.eye(self.n_outputs), np.zeros(self.n_outputs), names=None)

    @property
    def kind(self):
        return LINEAR[type(self.estimator)]

    @property
    def n_outputs(self):
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)

    @property
    def n_params(self):
        return self.n_outputs * (1 + self.n_features)

    @property
    def link(self):
        return link_of(self.estimator)

    # -- between parameter rows and estimators --

    def split(self, params):
        """Coefficients (..., n_outputs, n_features) and intercepts (..., n_outputs) of rows.

        What an algorithm appends to a row, behind the first ``n_params`` entries, is its own.
        """
        shape = (*params.shape[:-1], self.n_outputs, 1 + self.n_features)
        params = params[..., : self.n_params].reshape(shape)
        return params[..., 1:], params[..., 0]

    def join(self, coef, intercept):
        """The inverse of :meth:`split`."""
        params = np.concatenate([intercept[..., None], coef], axis=-1)
        return params.reshape(*params.shape[:-2], self.n_params).astype(self.dtype, copy=False)

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

    def raw(self, params, X, index):
        """Raw predictions ``b + w'x`` of shape (n_rows, n_outputs), each row by its own params."""
        coef, intercept = self.split(params)
        if len(params) == 1:
            return X @ coef[0].T + intercept[0]
        out = np.empty((len(X), self.n_outputs), dtype=np.result_type(X, params))
        for lo in range(0, len(X), _CHUNK):
            rows = slice(lo, lo + _CHUNK)
            own = index[rows]
            out[rows] = np.einsum("nd,nkd->nk", X[rows], coef[own]) + intercept[own]
        return out

    def predict(self, method, params, X, index):
        return getattr(self._shell, method)(self.raw(params, X, index))

    # -- fits --

    def fit_one(self, X, y, sample_weight=None, fit_params=None):
        if self.scaling is not None:
            X = self.scaling.features(X).astype(X.dtype, copy=False)
            if self.classes is None:
                y = self.scaling.target(y)
        return super().fit_one(X, y, sample_weight, fit_params)

    def fit_each(self, table, class_prior, fit_params, n_jobs=None):
        if fit_params or not _has_closed_form(self.estimator):
            return super().fit_each(table, class_prior, fit_params, n_jobs)
        return self._fit_each_squared(table, class_prior)

    def _fit_each_squared(self, table, mean):
        """Least squares with an L2 penalty in closed form, for a batch of tasks at a time.

        With centred rows ``X = U S V'`` the coefficients are ``V (S / (S² + alpha)) U'y``
        (alpha = 0: the shortest of the least squares solutions).
        """
        alpha = getattr(self.estimator, "alpha", 0.0)
        scaling = self.scaling or Scaling.identity(self.n_features)
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
            shrink = np.divide(S, S**2 + alpha, out=np.zeros_like(S), where=kept)
            coef = np.einsum("trd,tr->td", Vt, shrink * target)
            intercept = y_mean - np.einsum("td,td->t", coef, x_mean)
            coef, intercept = scaling.unfold(coef, intercept)
            params[batch.tasks] = self.join(coef[:, None], intercept[:, None])
            params[batch.tasks[total == 0]] = self.constant(mean)
        return params


def _has_closed_form(estimator):
    if type(estimator) is linear_model.LinearRegression:
        return not estimator.positive
    if type(estimator) is linear_model.Ridge:
        plain = estimator.solver == "auto" and not estimator.positive
        return plain and np.ndim(estimator.alpha) == 0
    return False


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
