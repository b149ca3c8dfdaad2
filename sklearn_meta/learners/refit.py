"""Fits of one learner on rows of some sources and a target; their raw predictions and blends.

Linear estimators are rows of coefficients, and a blend of them is one of them. Other estimators are
rows with the fitted estimator itself, and a blend is an estimator of :mod:`.blend`.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from ..tasks.frames import SavesFrames
from ..tasks.rows import n_rows_of, safe_indexing
from ..tasks.table import TaskTable
from ..tasks.validation import concat_rows
from .blackbox import BlackBoxLearner, Fitted
from .blend import MIN_PROBABILITY, blend, raw_scores
from .linear import LinearLearner

__all__ = ["Fitter", "Rows", "deal_folds"]

N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Rows(SavesFrames):
    """Rows of one task, as the wrapped estimator sees them.

    Parameters
    ----------
    X : array or dataframe of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    extra : dict of ndarray
        Further arguments of ``fit`` with one entry per row.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    extra: dict = field(default_factory=dict)

    @classmethod
    def concatenate(cls, parts):
        """The rows of several tasks."""
        y, weight = (np.concatenate([getattr(p, name) for p in parts]) for name in ("y", "weight"))
        keys = set.intersection(*(set(p.extra) for p in parts))
        extra = {key: np.concatenate([p.extra[key] for p in parts]) for key in sorted(keys)}
        return cls(concat_rows([p.X for p in parts]), y, weight, extra)

    @classmethod
    def of_tasks(cls, table, extra):
        """The rows of every task."""
        X = table.X  # in one order of memory: sums do not depend on which worker adds
        X = np.ascontiguousarray(X) if isinstance(X, np.ndarray) else X
        every = cls(X, np.asarray(table.y), table.weights, extra)
        bounds = table.offsets.tolist()
        return [every[lo:hi] for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        extra = {key: value[index] for key, value in self.extra.items()}
        return Rows(safe_indexing(self.X, index), self.y[index], self.weight[index], extra)


def deal_folds(y, n_folds):
    """A fold for every row: each class, or each range of a number, is dealt to all folds."""
    fold = np.empty(len(y), dtype=np.intp)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % max(1, min(n_folds, len(y)))
    return fold


class Fitter:
    """Fits and predicts models of one learner.

    Parameters
    ----------
    learner : TaskwiseLearner
    prior : float or ndarray of shape (n_classes,)
        Mean target or class shares over the sources.
    seed : int
        Draws rows for estimators without ``sample_weight``.
    params : dict
        Further arguments of ``fit``.
    """

    def __init__(self, learner, prior, seed, params):
        self.learner, self.prior, self.seed, self.params = learner, prior, seed, params
        self.classes = learner.classes
        self.linear = isinstance(learner, LinearLearner)
        self.exact = self.linear and learner.has_closed_form and not params

    def with_classes(self, classes):
        """The fitter of tasks with further classes, whose models are estimators."""
        prior = np.full(len(classes), MIN_PROBABILITY)
        prior[np.searchsorted(classes, self.classes)] = np.maximum(self.prior, MIN_PROBABILITY)
        learner = BlackBoxLearner.like(self.learner, classes=classes)
        return Fitter(learner, prior, self.seed, self.params)

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
        """Raw predictions of models.

        Returns
        -------
        ndarray of shape (n_models, n_rows, n_outputs)
        """
        if self.linear:
            coef, intercept = self.learner.split(rows)
            n_models, k, d = coef.shape
            raw = (np.asarray(X) @ coef.reshape(-1, d).T).T.reshape(n_models, k, len(X))
            raw = raw.swapaxes(1, 2).astype(np.float64, copy=False) + intercept[:, None]
            if self.classes is None or k > 1:
                return raw
            return np.concatenate([np.zeros_like(raw), raw], axis=2)
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

    def fit(self, rows):
        """A model of some rows that can also predict; a constant where there is too little."""
        weight = None if (rows.weight == 1).all() else rows.weight
        if self.exact:
            table = TaskTable(rows.X, rows.y, np.array([0, len(rows)]), None, weight)
            return self.learner.fit_each(table, self.prior, rows.extra)[0]
        params = {**self.params, **rows.extra}
        row = self.learner.fit_row(rows.X, rows.y, weight, self.prior, params)
        raw = self.raw(row[None], safe_indexing(rows.X, slice(0, 1)))  # k-NN finds out only now
        if self.classes is None and not np.isfinite(raw).all():
            raise ValueError(f"{type(self.learner.estimator).__name__} predicts {raw[0, 0, 0]}.")
        return row

    def constant(self, target):
        """The model that says the mean of a target, or its class shares, with one row of all."""
        total = target.weight @ self.outputs(target.y)
        mean = (total + self.prior) / (target.weight.sum() + 1)
        return self.learner.constant(mean[0] if self.classes is None else mean)

    def refit(self, source, target, share):
        """A model of the rows of a source, each with weight ``share``, and those of the target.

        Where there are too few rows it is that of the source alone; a constant without a source.
        """
        try:
            return self.fit(target if source is None else self._joined(source, target, share))
        except Exception as error:  # libraries have errors of their own
            if type(error).__module__ == "builtins" and not isinstance(error, ValueError):
                raise
            return self.constant(target) if source is None else self.fit(source)

    def left_out(self, target):
        """What models of the target alone say of rows of it that they have not seen."""
        raw, fold = np.zeros_like(self.outputs(target.y)), deal_folds(target.y, N_FOLDS)
        for f in np.unique(fold):
            own, rest = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
            raw[own] = self.raw(self.refit(None, target[rest], 1.0)[None], target[own].X)[0]
        return raw

    def _joined(self, source, target, share):
        """The rows of a refit, drawn where the estimator takes no weights."""
        both = Rows.concatenate([replace(source, weight=share * source.weight), target])
        weight = both.weight
        if (weight == 1).all() or has_fit_parameter(self.learner.estimator, "sample_weight"):
            return both
        rng = np.random.default_rng([self.seed, len(both)])
        n_rows = max(2, int(round(weight.sum())))
        chosen = np.sort(rng.choice(len(both), n_rows, p=weight / weight.sum()))
        return replace(both[chosen], weight=np.ones(n_rows))
