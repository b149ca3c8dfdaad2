r"""Body and head: how an estimator without known parameters is adapted.

The estimator, fitted once on the pooled meta-train rows, is a frozen body ``f``. What adapts is a
linear head that is added to it in the space of raw predictions,

    r(x) = f(x) + theta' [1, f(x), x],

zero at the start, so that zero-shot is the body itself. ``f`` is the prediction of a regressor, the
log-odds of a classifier. Columns of x that are not numbers are left to the body; missing values
count as the mean.

A body overfits the rows that it was fitted on. The head is meta-trained on predictions of bodies
that have not seen the task, folds by task, as they are for new tasks; it adapts to tasks that are
known from ``fit`` by predictions of bodies that have not seen the row, folds by row, as they are
for further rows of these. Where there is one task only, both are those of the body itself.
"""

from dataclasses import replace
from functools import cached_property
from numbers import Number

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted

from ..kernels.losses import Squared, log_loss
from ..kernels.network import Network
from ..kernels.scaling import Scaling
from ..tasks.ids import is_missing
from ..tasks.rows import safe_indexing
from .blackbox import BlackBoxLearner, classes_of, label_shares, numbers, placed
from .frozen import Frozen
from .gradient import LayerLearner
from .sharing import once

__all__ = ["BodyAndHeadClassifier", "BodyAndHeadRegressor", "HeadLearner"]

N_FOLDS = 5
MIN_PROBABILITY = 1e-3  # probabilities of a body are kept this far from 0 and 1


def body_raw(body, X, classes):
    """Raw predictions of a fitted body: shape (n_rows, n_outputs)."""
    return once(lambda: _body_raw(body, X, classes), body, X).copy()


def _body_raw(body, X, classes):
    if classes is None:
        return numbers(body, X)
    if hasattr(body, "predict_proba"):
        seen = np.asarray(body.predict_proba(X), dtype=np.float64)
    else:
        seen = label_shares(body, X, classes)
    known = classes_of(body, classes)
    p = placed(seen[:, : len(known)], known, classes, 0.0)  # of one class some say two
    p = np.clip(p, MIN_PROBABILITY, None)
    log_p = np.log(p / p.sum(axis=1, keepdims=True))
    return log_p[:, 1:] - log_p[:, :1] if len(classes) == 2 else log_p


def fit_out_of_fold(estimator, X, y, codes, *, sample_weight=None, classes=None, n_folds=N_FOLDS):
    """Fit a body on all rows, and predict each row by a body that has not seen its task.

    ``codes`` are the tasks of the rows, of which there are fewer folds if they are fewer; a single
    task is predicted by the body itself. Returns the body and raw predictions, (n_rows, n_outputs).
    """
    weight = sample_weight

    def fitted():
        fitter = BlackBoxLearner(estimator, n_features=X.shape[1], classes=classes)
        body = fitter.fit_one(X, y, weight)
        n = min(n_folds, len(np.unique(codes)))
        if n < 2:
            return body, body_raw(body, X, classes)
        folds = GroupKFold(n).split(codes, groups=codes)
        return body, _predict_folds(estimator, X, y, weight, classes, folds)

    return once(fitted, estimator, X, y, weight, n_folds)


def predict_unseen_rows(estimator, X, y, *, sample_weight=None, classes=None):
    """Predict each row by a body that has not seen it; arguments as of :func:`fit_out_of_fold`."""
    weight = sample_weight

    def predicted():
        folds = KFold(min(N_FOLDS, len(y)), shuffle=True, random_state=0).split(y)
        return _predict_folds(estimator, X, y, weight, classes, folds)

    return once(predicted, estimator, X, y, weight)


def _predict_folds(estimator, X, y, sample_weight, classes, folds):
    fitter = BlackBoxLearner(estimator, n_features=X.shape[1], classes=classes)
    f = None
    for train, test in folds:
        weight = None if sample_weight is None else sample_weight[train]
        if classes is not None and len(np.unique(y[train])) < 2:
            part = DummyClassifier().fit(np.zeros((len(train), 1)), y[train])
        else:
            part = fitter.fit_one(safe_indexing(X, train), y[train], weight)
        own = body_raw(part, safe_indexing(X, test), classes)
        f = np.empty((len(y), own.shape[1])) if f is None else f
        f[test] = own
    return f


def numeric_places(X):
    """Places of the columns of X that hold numbers."""
    names = getattr(X, "columns", None)
    if names is None:
        X = np.asarray(X)
        return np.arange(X.shape[1] if X.dtype.kind in "biuf" else 0)
    return np.flatnonzero([_is_numeric(np.asarray(X[name])) for name in names])


def _is_numeric(values):
    if values.dtype.kind != "O":
        return values.dtype.kind in "biuf"
    known = [v for v in values if not is_missing(v)]
    return len(known) > 0 and all(isinstance(v, Number) for v in known)


def numeric_columns(X, places):
    """Some columns of X as floats; what is no number there is NaN.

    ``places`` are those of columns that held numbers in meta-training, see :func:`numeric_places`.
    """
    names = getattr(X, "columns", None)
    if names is None:
        return np.asarray(X)[:, places].astype(np.float64)
    columns = [_floats(np.asarray(X[names[j]])) for j in places]
    return np.stack(columns, axis=1) if columns else np.zeros((len(X), 0))


def _floats(values):
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([_float(v) for v in values], dtype=np.float64)


def _float(value):
    try:
        return np.nan if is_missing(value) else float(value)
    except (TypeError, ValueError):
        return np.nan


class _BodyAndHead(Frozen):
    """A fitted body with a fitted head; what ``estimator_`` is for such learners."""

    def __init__(self, body):
        self.body = body

    @property
    def _inside(self):
        return self.body

    def _features(self, X):
        """``[f(x), x]``."""
        check_is_fitted(self)
        f = body_raw(self.body, X, getattr(self, "classes_", None))
        x = numeric_columns(X, self.numeric_)
        return np.concatenate([f, np.where(np.isnan(x), self.fill_, x)], axis=1)

    def _raw(self, X):
        Z = self._features(X)
        return Z[:, : len(self.coef_)] + Z @ self.coef_.T + self.intercept_


class BodyAndHeadRegressor(RegressorMixin, _BodyAndHead):
    """``predict(x) = f(x) + head(x)``, see :mod:`sklearn_meta.learners.head`.

    Parameters
    ----------
    body : estimator
        A fitted regressor.
    """

    def predict(self, X):
        """Predict targets."""
        return self._raw(X)[:, 0]


class BodyAndHeadClassifier(ClassifierMixin, _BodyAndHead):
    """Log-odds of the body plus those of the head, see :mod:`sklearn_meta.learners.head`.

    Parameters
    ----------
    body : estimator
        A fitted classifier.
    """

    def decision_function(self, X):
        """Log-odds of two classes, logarithms of probabilities up to a constant of more."""
        raw = self._raw(X)
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def predict_proba(self, X):
        """Predict class probabilities."""
        return _probabilities(self._raw(X))

    def predict(self, X):
        """Predict labels."""
        return self.classes_[_probabilities(self._raw(X)).argmax(axis=1)]


def _probabilities(raw):
    if raw.shape[1] > 1:
        return softmax(raw, axis=1)
    return np.stack([expit(-raw[:, 0]), expit(raw[:, 0])], axis=1)


class HeadLearner(LayerLearner):
    """A frozen body with a linear head that adapts.

    The features of the head are ``[f(x), x]``; :meth:`transform` makes them.

    Parameters
    ----------
    estimator : estimator
        The wrapped estimator, not fitted.
    body : estimator
        It, fitted on all pooled rows.
    unseen : ndarray of shape (n_rows, n_outputs) or None
        What bodies that had not seen it said of each of these rows, where tasks are known.
    fill : ndarray of shape (n_numeric,)
        What missing values of the numeric columns count as.
    numeric : ndarray of shape (n_numeric,)
        Places of these columns.
    x_dtype : dtype, default=np.float64
        Of the numbers that it was fitted on.
    **learner_params
        See :class:`GradientLearner`; ``scaling`` is that of ``[f(x), x]`` and of the target.
    """

    checks_rows = False

    def __init__(
        self, estimator, *, body, unseen, fill, numeric, x_dtype=np.float64, **learner_params
    ):
        super().__init__(estimator, **learner_params)
        self.body, self.unseen, self.fill = body, unseen, fill
        self.numeric, self.x_dtype = numeric, x_dtype

    @classmethod
    def fit(
        cls, estimator, X, y, codes, *, sample_weight=None, classes=None, known=False, **settings
    ):
        """Fit the body on pooled rows, and make the rows that the head is trained on.

        ``codes`` are the tasks of the rows; ``known`` tells whether heads will adapt to these
        tasks, ``settings`` are those of :class:`Learner`. Returns the learner and ``[f(x), x]``
        with out-of-fold predictions, shape (n_rows, n_outputs + n_numeric).
        """
        how = dict(sample_weight=sample_weight, classes=classes)
        body, f = fit_out_of_fold(estimator, X, y, codes, **how)
        unseen = None
        if known:
            several = len(np.unique(codes)) > 1
            unseen = predict_unseen_rows(estimator, X, y, **how) if several else f
        numeric = numeric_places(X)
        x = numeric_columns(X, numeric)
        with np.errstate(invalid="ignore"):
            n_known = (~np.isnan(x)).sum(axis=0)
            fill = np.nansum(x, axis=0) / np.maximum(n_known, 1)
        Z = np.concatenate([f, np.where(np.isnan(x), fill, x)], axis=1)
        scaling = Scaling.of(Z, None if classes is not None else y, sample_weight)
        single = getattr(X, "dtype", None) == np.float32
        x_dtype = np.dtype(np.float32 if single else np.float64)
        settings |= dict(classes=classes, n_features=Z.shape[1], x_dtype=x_dtype)
        made = dict(body=body, unseen=unseen, fill=fill, numeric=numeric, scaling=scaling)
        return cls(estimator, **made, **settings), Z

    @cached_property
    def network(self):
        """The head, in standardised units."""
        loss = Squared() if self.classes is None else log_loss(self.n_outputs)
        return Network((self.n_features, self.n_outputs), loss)

    def column_names(self, names_in):
        names, k = super().column_names(names_in), self.n_outputs
        if names is None or len(names) != self.n_features - k:  # some are no numbers
            names = [f"x{j}" for j in range(self.n_features - k)]
        return (["f(x)"] if k == 1 else [f"f(x)[{c}]" for c in self.classes]) + names

    def transform(self, X, origin=None):
        X = super().transform(X)
        x = numeric_columns(X, self.numeric)
        f = body_raw(self.body, X, self.classes)
        if origin is not None:
            f[origin >= 0] = self.unseen[origin[origin >= 0]]
        return np.concatenate([f, np.where(np.isnan(x), self.fill, x)], axis=1)

    keeps_columns = False

    def known(self, Z):
        if self.unseen is not None:
            Z = np.concatenate([self.unseen, Z[:, self.n_outputs :]], axis=1)
        return Z

    def offset(self, X):
        return (X[..., : self.n_outputs] - self.scaling.y_mean) / self.scaling.y_scale

    def penalty_strength(self, n_rows):
        return 1.0 / n_rows

    def pooled(self, table):
        return self.random(None)

    def rows(self, theta):
        units = replace(self.scaling, y_mean=0.0)  # which the body has already
        return self.join(*units.unfold(*self.split(theta)))

    def make_estimator(self, row):
        kind = BodyAndHeadRegressor if self.classes is None else BodyAndHeadClassifier
        estimator = kind(self.body)
        estimator.coef_, estimator.intercept_ = (part.copy() for part in self.split(row))
        estimator.fill_, estimator.numeric_ = self.fill, self.numeric
        if self.classes is not None:
            estimator.classes_ = self.classes
        return self.wrap(estimator)

    def predict(self, method, params, X, index):
        raw = X[:, : self.n_outputs] + self.raw(params, X, index)
        if self.classes is None:
            return raw[:, 0]
        if method == "decision_function":
            return raw[:, 0] if self.n_outputs == 1 else raw
        p = _probabilities(raw)
        return p if method == "predict_proba" else self.classes[p.argmax(axis=1)]
