"""Fits of one learner on rows of some sources and a target; their raw predictions and blends.

Linear estimators are rows of coefficients, and a blend of them is one of them. Other estimators are
rows with the fitted estimator itself, and a blend is an estimator of :mod:`.blend`.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from ..kernels.scaling import Scaling
from ..tasks.rows import n_rows_of, safe_indexing
from ..tasks.table import TaskTable
from ..tasks.validation import concat_rows
from .blackbox import BlackBoxLearner
from .blend import MIN_PROBABILITY, blend, raw_scores
from .linear import LinearLearner

__all__ = ["Fitter", "Rows", "deal_folds"]

N_FOLDS = 3


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of one task, as the wrapped estimator sees them.

    Parameters
    ----------
    X : array or dataframe of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    Y : ndarray of shape (n_rows, n_outputs)
        Targets as the loss sees them: numbers, or one-hot labels.
    weighted : bool
        Whether the user gave weights.
    extra : dict of ndarray
        Further arguments of ``fit`` with one entry per row.
    """

    X: object
    y: np.ndarray
    weight: np.ndarray
    Y: np.ndarray
    weighted: bool = False
    extra: dict = field(default_factory=dict)

    @classmethod
    def concatenate(cls, parts):
        """The rows of several tasks."""
        names = ("y", "weight", "Y")
        y, weight, Y = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
        keys = set.intersection(*(set(p.extra) for p in parts))
        extra = {key: np.concatenate([p.extra[key] for p in parts]) for key in sorted(keys)}
        X = concat_rows([p.X for p in parts])
        return cls(X, y, weight, Y, any(p.weighted for p in parts), extra)

    @classmethod
    def of_tasks(cls, table, classes, fit_params):
        """The rows of every task, without those of weight 0."""
        n_rows = len(table.y)
        extra = {k: np.asarray(v) for k, v in fit_params.items() if np.ndim(v) and len(v) == n_rows}
        if classes is None:
            Y = np.asarray(table.y, dtype=np.float64)[:, None]
        else:
            Y = (np.asarray(table.y)[:, None] == classes).astype(np.float64)
        tasks = []
        for t in range(table.n_tasks):
            X, y, weight = table.task(t)
            own = slice(table.offsets[t], table.offsets[t + 1])
            ones = np.ones(len(y)) if weight is None else weight
            some = {key: value[own] for key, value in extra.items()}
            rows = cls(X, y, ones, Y[own], weight is not None, some)
            tasks.append(rows if ones.all() else rows[np.flatnonzero(ones > 0)])
        return tasks

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        extra = {key: value[index] for key, value in self.extra.items()}
        parts = (part[index] for part in (self.y, self.weight, self.Y))
        return Rows(safe_indexing(self.X, index), *parts, self.weighted, extra)


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

    def __init__(self, learner, prior, seed, params=None):
        self.learner, self.prior, self.seed = learner, prior, seed
        self.params = params or {}
        self.classes = learner.classes
        self.linear = isinstance(learner, LinearLearner)
        self.exact = self.linear and learner.has_closed_form and not self.params

    def with_classes(self, classes):
        """The fitter of tasks with further classes, whose models are estimators."""
        prior = np.full(len(classes), MIN_PROBABILITY)
        prior[np.searchsorted(classes, self.classes)] = np.maximum(self.prior, MIN_PROBABILITY)
        learner = BlackBoxLearner(
            self.learner.estimator,
            n_features=self.learner.n_features,
            classes=classes,
            feature_names=self.learner.feature_names,
        )
        return Fitter(learner, prior, self.seed, self.params)

    # -- models --

    def estimators(self, rows):
        """The fitted estimators of models, for transformed rows."""
        return [self.learner.plain(row) if self.linear else row[0] for row in rows]

    def as_rows(self, estimators):
        """Fitted estimators as rows of a learner that is not linear."""
        out = np.empty((len(estimators), 1), dtype=object)
        out[:, 0] = estimators
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
            raw[b] = raw_scores(row[0], X, self.classes)
        return raw

    def blend(self, rows, weights, offset):
        """The blend of models, with an offset, as a fitted estimator."""
        if not self.linear:
            return blend([row[0] for row in rows], weights, offset, self.classes)
        row, k = weights @ rows, self.learner.n_outputs
        row[:k] += offset[1:] - offset[:1] if k < len(offset) else offset
        return self.learner.plain(row.astype(self.learner.dtype, copy=False))

    # -- fits --

    def fit(self, rows):
        """A model of some rows that can also predict; a constant where there is too little."""
        weight = rows.weight if rows.weighted else None
        params = {**self.params, **rows.extra}
        row = self.learner.fit_row(rows.X, rows.y, weight, self.prior, params)
        raw = self.raw(row[None], safe_indexing(rows.X, slice(0, 1)))  # k-NN finds out only now
        if self.classes is None and not np.isfinite(raw).all():
            raise ValueError(f"{type(self.learner.estimator).__name__} predicts {raw[0, 0, 0]}.")
        return row

    def constant(self, target):
        """The model that says the mean of a target, or its class shares, with one row of all."""
        mean = (target.weight @ target.Y + self.prior) / (target.weight.sum() + 1)
        return self.learner.constant(mean[0] if self.classes is None else mean)

    def refit(self, source, target, share, left_out=True):
        """A model of the rows of a source, each with weight ``share``, and those of the target.

        Parameters
        ----------
        source : Rows or None
        target : Rows
        share : float
        left_out : bool, default=True
            Whether to predict rows of the target by models that have not seen them: exact
            leave-one-out for least squares, else stratified folds. If not, these are 0.

        Returns
        -------
        row : ndarray of shape (n_params,)
        raw : ndarray of shape (n_rows, n_outputs)
        """
        if self.exact:
            return self._least_squares(source, target, share)
        raw = np.zeros(target.Y.shape)
        fold = deal_folds(target.y, N_FOLDS)
        for f in np.unique(fold) if left_out else ():
            row = self._fit_both(source, target[np.flatnonzero(fold != f)], share)
            raw[fold == f] = self.raw(row[None], target[np.flatnonzero(fold == f)].X)[0]
        return self._fit_both(source, target, share), raw

    def _fit_both(self, source, target, share):
        """A model of both; of the source alone, or a constant, where there are too few rows."""
        try:
            return self.fit(target if source is None else self._joined(source, target, share))
        except Exception as error:  # libraries have errors of their own
            if type(error).__module__ == "builtins" and not isinstance(error, ValueError):
                raise
            return self.constant(target) if source is None else self.fit(source)

    def _joined(self, source, target, share):
        """The rows of a refit, drawn where the estimator takes no weights."""
        both = Rows.concatenate([replace(source, weight=share * source.weight), target])
        weight = both.weight
        if np.all(weight == 1):
            return replace(both, weighted=False)
        if has_fit_parameter(self.learner.estimator, "sample_weight"):
            return replace(both, weighted=True)
        rng = np.random.default_rng([self.seed, len(both)])
        n_rows = max(2, int(round(weight.sum())))
        chosen = np.sort(rng.choice(len(both), n_rows, p=weight / weight.sum()))
        return replace(both[chosen], weighted=False)

    def _least_squares(self, source, target, share):
        estimator = self.learner.estimator
        alpha, intercept = getattr(estimator, "alpha", 0.0), bool(estimator.fit_intercept)
        X, y, weight = np.asarray(target.X, dtype=np.float64), target.y, target.weight
        if source is not None:
            X, y = np.concatenate([X, source.X]), np.concatenate([y, source.y])
            weight = np.concatenate([weight, share * source.weight])
        # columns like years would leave nothing of the intercept
        units = Scaling.of(X, weight=weight, centred=intercept)
        D = np.column_stack([np.full(len(X), float(intercept)), units.features(X)])
        tiny = 1e-10 * weight.sum()
        penalty = alpha / np.append(1.0, units.x_scale) ** 2 + tiny
        penalty[0] = tiny if intercept else 1.0
        inverse = np.linalg.inv((D * weight[:, None]).T @ D + np.diag(penalty))
        beta = inverse @ (D.T @ (weight * y))
        D = D[: len(target)]
        free = 1 - np.einsum("ni,ij,nj->n", D, inverse, D) * target.weight
        known = free > 1e-7
        left_out = target.y - (target.y - D @ beta) / np.where(known, free, 1.0)
        left_out = np.where(known, left_out, self.prior if intercept else 0.0)[:, None]
        if source is None and X.shape[1] >= len(X):  # of many solutions the shortest
            table = TaskTable(target.X, y, np.array([0, len(y)]), None, weight)
            return self.learner.fit_each(table, self.prior, {})[0], left_out
        coef, level = units.unfold(beta[1:], beta[0])
        return self.learner.join(coef[None], np.atleast_1d(level)), left_out
