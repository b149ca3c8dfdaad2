"""Models of one learner as rows: their raw predictions, their fits, their blends.

Linear estimators are rows of coefficients, and a blend of them is one of them. Other estimators are
rows with the fitted estimator itself, and a blend is an estimator of this package.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from ._transfer import deal_folds
from .kernels.scaling import Scaling
from .learners import BlackBoxLearner, LinearLearner
from .learners.blend import LEAST_PROBABILITY, ClasswiseClassifier, blend, raw_scores
from .tasks.rows import n_rows_of, safe_indexing
from .tasks.table import TaskTable
from .tasks.validation import concat_rows

__all__ = ["Bank", "Rows"]

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
        arrays = [[getattr(p, name) for p in parts] for name in ("y", "weight", "Y")]
        X = concat_rows([p.X for p in parts])
        keys = set.intersection(*(set(p.extra) for p in parts))
        extra = {key: np.concatenate([p.extra[key] for p in parts]) for key in sorted(keys)}
        return cls(X, *map(np.concatenate, arrays), any(p.weighted for p in parts), extra)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return Rows(
            safe_indexing(self.X, index),
            self.y[index],
            self.weight[index],
            self.Y[index],
            self.weighted,
            {key: value[index] for key, value in self.extra.items()},
        )


class Bank:
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
        self.widened = False  # whether there are classes that no source has
        self.classes = learner.classes
        self.linear = isinstance(learner, LinearLearner)
        self.exact = self.linear and learner.has_closed_form and not self.params

    @property
    def penalty(self):
        """The L2 penalty of least squares, and whether there is an intercept."""
        estimator = self.learner.estimator
        return getattr(estimator, "alpha", 0.0), bool(estimator.fit_intercept)

    def with_classes(self, classes):
        """The bank of tasks with further classes, whose models are estimators."""
        prior = np.zeros(len(classes))
        prior[np.searchsorted(classes, self.classes)] = self.prior
        learner = BlackBoxLearner(
            self.learner.estimator,
            n_features=self.learner.n_features,
            classes=classes,
            feature_names=self.learner.feature_names,
        )
        bank = Bank(learner, np.maximum(prior, LEAST_PROBABILITY), self.seed, self.params)
        bank.widened = True
        return bank

    def as_estimators(self, rows):
        """Rows with the fitted estimators."""
        out = np.empty((len(rows), 1), dtype=object)
        out[:, 0] = [self.estimator(row) for row in rows]
        return out

    def estimator(self, row):
        """The fitted estimator of a row, for transformed rows."""
        return self.learner.plain(row) if self.linear else row[0]

    def raw(self, rows, X):
        """Raw predictions of models, NaN for classes that one says nothing about.

        Returns
        -------
        ndarray of shape (n_models, n_rows, n_outputs)
        """
        if self.linear:
            coef, intercept = self.learner.split(rows)
            raw = np.einsum("nd,bkd->bnk", X, coef) + intercept[:, None]
            raw = raw.astype(np.float64, copy=False)
            if self.classes is None or raw.shape[2] > 1:
                return raw
            return np.concatenate([np.zeros_like(raw), raw], axis=2)
        n_outputs = 1 if self.classes is None else len(self.classes)
        raw = np.empty((len(rows), n_rows_of(X), n_outputs))
        for b, row in enumerate(rows if n_rows_of(X) else ()):
            raw[b] = raw_scores(row[0], X, self.classes)
        return raw

    def mixable(self, rows):
        """Rows of linear models that say something about every class."""
        if not self.linear or self.classes is None:
            return np.array(rows)
        return np.stack([self._sum(row[None], np.ones(1)) for row in rows])

    def blend(self, rows, weights, offset):
        """The blend of models, with an offset, as a fitted estimator."""
        if not self.linear:
            return blend([row[0] for row in rows], weights, offset, self.classes)
        row, k = self._sum(rows, weights), self.learner.n_outputs
        row[:k] += offset[1:] - offset[:1] if k < len(offset) else offset
        return self.learner.plain(row.astype(self.learner.dtype, copy=False))

    def _sum(self, rows, weights):
        """A weighted mean of rows; models that do not know a class (NaN) do not vote on it."""
        known = ~np.isnan(rows)
        if known.all():
            return weights @ rows
        mass, k = weights @ known, self.learner.n_outputs
        row = (weights @ np.where(known, rows, 0.0)) / np.where(mass > 0, mass, 1.0)
        row[:k][mass[:k] == 0] = np.log(LEAST_PROBABILITY)
        return row

    # -- fits --

    def fit_all(self, rows):
        """The row of a model of many rows, which must be possible to fit."""
        if self.classes is not None and len(np.unique(rows.y)) < 2:
            return self.fit(rows)
        weight = rows.weight if rows.weighted else None
        fitted = self.learner.fit_one(rows.X, rows.y, weight, {**self.params, **rows.extra})
        return self.learner.read(fitted, self.prior, rows.weight.sum())

    def fit(self, rows):
        """The row of a model of some rows; a constant where there is too little to fit on."""
        weight = rows.weight if rows.weighted else None
        params = {**self.params, **rows.extra}
        return self.learner.fit_row(rows.X, rows.y, weight, self.prior, params)

    def fit_classwise(self, rows):
        """The row of one model for each class of some rows against the rest."""
        classes = np.unique(rows.y)
        two = np.array([False, True])
        share = dict(zip(self.classes, self.prior, strict=True))
        settings = dict(
            n_features=self.learner.n_features,
            classes=two,
            feature_names=self.learner.feature_names,
        )
        kind = type(self.learner)
        settings |= {"dtype": self.learner.dtype} if self.linear else {}
        learner = kind(self.learner.estimator, **settings)
        parts = []
        for c in classes:
            prior = np.array([1 - share[c], share[c]])
            weight = rows.weight if rows.weighted else None
            parts.append(learner.fit_row(rows.X, rows.y == c, weight, prior))
        if not self.linear:
            return self.learner.read(ClasswiseClassifier([p[0] for p in parts], classes))
        coef = np.full((len(self.classes), self.learner.n_features), np.nan)
        intercept = np.full(len(self.classes), np.nan)
        at = np.searchsorted(self.classes, classes)
        own, level = learner.split(np.stack(parts))
        coef[at], intercept[at] = own[:, 0], level[:, 0]
        return self.learner.join(coef, intercept)

    def refit(self, source, target, share, honest=True):
        """A model of the rows of a source, each with weight ``share``, and those of the target.

        Parameters
        ----------
        source : Rows or None
        target : Rows
        share : float
        honest : bool, default=True
            Whether ``left_out`` is wanted; else it is zero.

        Returns
        -------
        row : ndarray of shape (n_params,)
        left_out : ndarray of shape (n_rows, n_outputs)
            Raw predictions of target rows by models that have not seen them: exact leave-one-out
            for least squares, else of stratified folds.
        """
        if self.exact:
            return self._least_squares(source, target, share)
        fold = deal_folds(target.y, N_FOLDS)
        left_out = np.zeros(target.Y.shape)
        for f in np.unique(fold) if honest else ():
            row = self._fit_both(source, target[np.flatnonzero(fold != f)], share)
            left_out[fold == f] = self._raw_or_prior(row, target[np.flatnonzero(fold == f)].X)
        return self._fit_both(source, target, share), left_out

    def _raw_or_prior(self, row, X):
        """Raw predictions; those of the constant model where an estimator cannot predict."""
        try:
            raw = self.raw(row[None], X)[0]
        except ValueError:  # such as k-NN on fewer rows than neighbours
            raw = np.array(np.nan)
        if np.isfinite(raw).all():
            return raw
        return self.raw(self.learner.constant(self.prior)[None], X)[0]

    def fit_checked(self, rows, classwise=False):
        """The row of a model of some rows that can also predict: k-NN finds out only then."""
        row = self.fit_classwise(rows) if classwise else self.fit(rows)
        raw = self.raw(row[None], safe_indexing(rows.X, slice(0, 1)))
        if self.classes is None and not np.isfinite(raw).all():
            raise ValueError(f"{type(self.learner.estimator).__name__} predicts {raw[0, 0, 0]}.")
        return row

    def _fit_both(self, source, target, share):
        """A model of a source and a target; of the source alone, or a constant, if that fails."""
        try:
            return self.fit_checked(self._weighed(source, target, share))
        except (ValueError, np.linalg.LinAlgError):  # too few rows, or classes, for this estimator
            return self._constant(target) if source is None else self.fit(source)

    def _weighed(self, source, target, share):
        """The rows of a refit, drawn where the estimator takes no weights."""
        if source is None:
            return target
        both = Rows.concatenate([replace(source, weight=share * source.weight), target])
        weight = both.weight
        both = replace(both, weighted=not np.all(weight == 1))
        if both.weighted and not has_fit_parameter(self.learner.estimator, "sample_weight"):
            rng = np.random.default_rng([self.seed, len(both)])
            n_rows = max(2, int(round(weight.sum())))
            chosen = np.sort(rng.choice(len(both), n_rows, p=weight / weight.sum()))
            both = replace(both[chosen], weighted=False)
        return both

    def _constant(self, target):
        if self.classes is None:
            return self.learner.constant(np.append(target.y, self.prior).mean())
        count = target.weight @ target.Y
        return self.learner.constant((count + self.prior) / (count.sum() + 1))

    def _least_squares(self, source, target, share):
        learner = self.learner
        alpha, intercept = self.penalty
        X, y, weight = target.X, target.y, target.weight
        if source is not None:
            X, y = np.concatenate([X, source.X]), np.concatenate([y, source.y])
            weight = np.concatenate([weight, share * source.weight])
        X = np.asarray(X, dtype=np.float64)
        # columns like years would leave nothing of the intercept
        units = Scaling.of(X, weight=weight, centred=intercept)
        D = np.column_stack([np.full(len(X), float(intercept)), units.features(X)])
        tiny = 1e-10 * weight.sum()
        penalty = alpha / np.append(1.0, units.x_scale) ** 2 + tiny
        penalty[0] = tiny if intercept else 1.0
        inverse = np.linalg.inv((D * weight[:, None]).T @ D + np.diag(penalty))
        beta = inverse @ (D.T @ (weight * y))
        D = D[: len(target)]
        h = np.einsum("ni,ij,nj->n", D, inverse, D) * target.weight
        r = target.y - D @ beta
        prior = self.prior if intercept else 0.0
        known = 1 - h > 1e-7
        left_out = np.where(known, target.y - r / np.where(known, 1 - h, 1.0), prior)
        if source is None:
            total = target.weight.sum()
            row = learner.fit_each(_one_task(target), self.prior, {})[0] if total else beta
            if not total:
                row = learner.constant(self.prior)
            return row, left_out[:, None]
        coef, level = units.unfold(beta[1:], beta[0])
        return learner.join(coef[None], np.atleast_1d(level)), left_out[:, None]


def _one_task(rows):
    return TaskTable(rows.X, rows.y, np.array([0, len(rows)]), None, rows.weight)
