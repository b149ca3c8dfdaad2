"""Fits of one learner on rows of some sources and a target; their raw predictions and blends.

Linear estimators are rows of coefficients, and a blend of them is one of them. Other estimators are
rows with the fitted estimator itself, and a blend is an estimator of :mod:`.blend`.
"""

from dataclasses import replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from ..kernels.stacking import RawLoss
from ..tasks.rows import n_rows_of, safe_indexing
from ..tasks.table import merged
from .blackbox import BlackBoxLearner, Fitted
from .blend import MIN_PROBABILITY, blend, raw_scores
from .linear import LinearLearner

__all__ = ["N_FOLDS", "Fitter", "deal_folds"]

N_FOLDS = 5
MAX_CLOSED = 100  # columns with which all is in closed form


def deal_folds(y, n_folds):
    """A fold for every row: each class, or each range of a number, is dealt to all folds."""
    fold = np.empty(len(y), dtype=np.intp)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % max(1, min(n_folds, len(y)))
    return fold


class Fitter:
    """Fits and predicts models of one learner; rows come as tables of one task.

    Parameters
    ----------
    learner : TaskwiseLearner
    prior : float or ndarray of shape (n_classes,)
        Mean target or class shares over the sources.
    seed : int
        Draws rows for estimators without ``sample_weight``.
    params, by_row : dict
        Further arguments of ``fit``; those with an entry for each row of all sources, which are
        left out where a target is among the rows.
    """

    def __init__(self, learner, prior, seed, params, by_row):
        self.learner, self.prior, self.seed = learner, prior, seed
        self.params, self.by_row, self.classes = params, by_row, learner.classes
        self.linear = isinstance(learner, LinearLearner)
        self.closed = self.linear and learner.has_closed_form and not (params or by_row)
        self.closed = self.closed and learner.n_features < MAX_CLOSED
        link = "identity" if self.classes is None else "softmax"
        self.loss = RawLoss("log" if getattr(learner, "link", None) == "log" else link)

    def with_classes(self, classes):
        """The fitter of tasks with further classes, whose models are estimators."""
        prior = np.full(len(classes), MIN_PROBABILITY)
        prior[np.searchsorted(classes, self.classes)] = np.maximum(self.prior, MIN_PROBABILITY)
        learner = BlackBoxLearner.like(self.learner, classes=classes)
        return Fitter(learner, prior, self.seed, self.params, self.by_row)

    def outputs(self, y):
        """Targets as the loss sees them, (n_rows, n_outputs): numbers, or one-hot labels."""
        if self.classes is None:
            return np.asarray(y, dtype=np.float64)[:, None]
        return (np.asarray(y)[:, None] == self.classes).astype(np.float64)

    # -- models --

    def estimators(self, rows):
        """Models as rows of a learner that is not linear: fitted estimators, for transformed X."""
        out = np.empty((len(rows), 1), dtype=object)
        out[:, 0] = [Fitted(self.learner.plain(row)) if self.linear else row[0] for row in rows]
        return out

    def raw(self, rows, X):
        """Raw predictions of models, of shape (n_models, n_rows, n_outputs)."""
        if self.linear:
            coef, intercept = self.learner.split(rows)
            raw = np.tensordot(coef, np.asarray(X), axes=(2, 1)).swapaxes(1, 2)
            raw = raw.astype(np.float64, copy=False) + intercept[:, None]
            if self.classes is not None and raw.shape[2] == 1:  # the second class, from the first
                raw = np.concatenate([np.zeros_like(raw), raw], axis=2)
            return raw
        n_outputs = 1 if self.classes is None else len(self.classes)
        raw = np.empty((len(rows), n_rows_of(X), n_outputs))
        for b, row in enumerate(rows if n_rows_of(X) else ()):
            raw[b] = raw_scores(row[0].estimator, X, self.classes)
        return raw

    def blend(self, rows, weights, offset):
        """The blend of models, with an offset, as a fitted estimator."""
        if not self.linear:
            return blend([row[0].estimator for row in rows], weights, self.classes, offset)
        row, k = weights @ rows, self.learner.n_outputs
        row[:k] += offset[1:] - offset[:1] if k < len(offset) else offset
        return self.learner.plain(row.astype(self.learner.dtype, copy=False))

    # -- fits --

    def fit(self, table):
        """A model of some rows that can also predict; a constant where there is too little."""
        if self.closed:
            return self.learner.fit_each(table, self.prior, {})[0]
        params, weight = self.params, table.weights
        if table.origin is not None and (table.origin >= 0).all():
            params = params | {key: value[table.origin] for key, value in self.by_row.items()}
        weight = None if (weight == 1).all() else weight
        row = self.learner.fit_row(table.X, table.y, weight, self.prior, params)
        raw = self.raw(row[None], safe_indexing(table.X, slice(0, 1)))  # k-NN finds out only now
        if self.classes is None and not np.isfinite(raw).all():
            raise ValueError(f"{type(self.learner.estimator).__name__} predicts {raw[0, 0, 0]}.")
        return row

    def constant(self, target):
        """The model that says the mean of a target, or its class shares, with one row of all."""
        total = target.weights @ self.outputs(target.y)
        mean = (total + self.prior) / (target.weights.sum() + 1)
        return self.learner.constant(mean[0] if self.classes is None else mean)

    def refit(self, target, source=None, share=1.0, model=None):
        """A model of the rows of a target, and of those of a source, each with weight ``share``.

        Where there are too few rows it is ``model``; a constant if that is None.
        """
        try:
            return self.fit(target if source is None else self._joined(source, target, share))
        except Exception as error:  # libraries have errors of their own
            if type(error).__module__ == "builtins" and not isinstance(error, ValueError):
                raise
            return self.constant(target) if model is None else model

    def left_out(self, target):
        """What models of the target alone say of rows of it that they have not seen."""
        raw, fold = np.zeros_like(self.outputs(target.y)), deal_folds(target.y, N_FOLDS)
        for f in np.unique(fold):
            own, rest = (target.as_one(np.flatnonzero(part)) for part in (fold == f, fold != f))
            raw[fold == f] = self.raw(self.refit(rest)[None], own.X)[0]
        return raw

    def _joined(self, source, target, share):
        """The rows of a refit, drawn where the estimator takes no weights."""
        both = merged(replace(source, sample_weight=share * source.weights), target)
        weight = both.weights
        if (weight == 1).all() or has_fit_parameter(self.learner.estimator, "sample_weight"):
            return both
        rng = np.random.default_rng([self.seed, len(weight)])
        n_rows = max(2, int(round(weight.sum())))
        chosen = np.sort(rng.choice(len(weight), n_rows, p=weight / weight.sum()))
        return replace(both.as_one(chosen), sample_weight=None)
