"""Transfer-based meta-learning: many sources, one small target."""

import copy
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.linear_model import Ridge

from ._bank import Bank
from ._candidates import Settings
from ._lessons import learn_lessons
from ._selection import adapted
from ._sklearn import Interval, StrOptions
from ._sources import Sources, fit_sources, source_data
from ._validation import addressed, with_address
from .base import BaseMetaEstimator, transactional
from .learners import BlackBoxLearner, n_chunks

__all__ = ["TransferMetaLearner"]


@dataclass(frozen=True, eq=False)
class Transfer:
    """The meta-model: fitted sources and what episodes among them taught.

    Parameters
    ----------
    bank : Bank
    sources : Sources
    lessons : tuple of Lesson
    ids : list
        Of the sources, by place where they have none.
    refused : dict
        Id of a source that was left out -> why.
    """

    bank: Bank
    sources: Sources
    lessons: tuple
    ids: list
    refused: dict


class AdaptedLearner(BlackBoxLearner):
    """Predicts by fitted estimators; what fits them is another learner.

    Parameters
    ----------
    fitter : TaskwiseLearner
    """

    def __init__(self, fitter):
        super().__init__(
            fitter.estimator,
            n_features=fitter.n_features,
            steps=fitter.steps,
            name=fitter.name,
            classes=fitter.classes,
            feature_names=fitter.feature_names,
        )
        self.fitter = fitter


class TransferMetaLearner(BaseMetaEstimator):
    """Doc."""

    _standardizes = False

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "selection": [StrOptions({"best", "weighted", "stack"})],
        "source_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "max_sources": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        selection="stack",
        source_weight="auto",
        temperature="auto",
        max_sources=100,
        task_column=None,
        random_state=None,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.selection = selection
        self.source_weight = source_weight
        self.temperature = temperature
        self.max_sources = max_sources
        self.task_column = task_column
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _default_estimator(self):
        return Ridge()

    # -- learning ----------------------------------------------------------------------------------

    def _make_learner(self, estimator, table, step_params):
        table = super()._make_learner(estimator, table, step_params)
        self.learner_ = AdaptedLearner(self.learner_)
        return table

    def _check_labels(self, table):
        """Classes that no source has are learned from the target, if they are labels at all."""
        if not is_classifier(self) or len(table.y) == 0:
            return
        kinds = {np.asarray(y).dtype.kind in "US" for y in (self.classes_, *table.y[:1])}
        odd = table.y.dtype.kind == "O" or len(kinds) > 1 or table.y.dtype.kind == "f"
        if odd:
            super()._check_labels(table)

    @property
    def _settings(self):
        return Settings(self.selection, self.source_weight, self.temperature, self.max_sources)

    def _seed(self):
        """An integer; None stands for 0, so that results can be repeated."""
        state = self.random_state
        if state is None or isinstance(state, Integral):
            return int(state or 0)
        return int(np.random.RandomState(state.get_state()[1]).randint(2**31))

    def _learn(self, learner, tables, meta_model, fit_params, report):
        table, fitter = next(tables), learner.fitter
        seed = self._seed()
        whole = {k: v for k, v in fit_params.items() if not _by_row(v, len(table.y))}
        bank = Bank(fitter, _prior(fitter, table), seed, whole)
        rng = np.random.default_rng(seed)
        sources, ids, refused = fit_sources(bank, table, fit_params, self.n_jobs, rng)
        lessons = ()
        if self.selection == "stack":
            lessons = learn_lessons(bank, sources, self._settings, rng)
        return Transfer(bank, sources, lessons, ids, refused)

    # -- adapting ----------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        bounds = np.linspace(0, table.n_tasks, n_chunks(table.n_tasks) + 1).astype(int)
        settings = self._settings
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(_adapt_chunk)(meta_model, table.block(lo, hi), settings)
            for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)
        )
        rows = np.empty((table.n_tasks, 2), dtype=object)
        rows[:] = [row for part in parts for row in part]
        return rows

    def _set_meta_model(self, meta_model, n_tasks):
        super()._set_meta_model(meta_model, n_tasks)
        self.refused_sources_ = dict(meta_model.refused)
        self._tell(self._zero)

    def _set_current(self, params):
        super()._set_current(params)
        self._tell(params)

    def _tell(self, params):
        """Show what the current task has from which source."""
        told = params[0, 1]
        self.source_ids_ = np.empty(len(told.risk), dtype=object)
        self.source_ids_[:] = self.meta_model_.ids
        self.source_scores_ = told.risk
        self.source_score_errors_ = told.risk_error
        self.source_weights_ = told.weight
        self.pooled_weight_ = told.pooled_weight
        self.target_weight_ = told.target_weight
        self.best_source_ = self.meta_model_.ids[int(np.nanargmin(told.risk))]

    @transactional
    def adapt(self, X, y, *, groups=None, sample_weight=None, descriptor=None):
        super().adapt(X, y, groups=groups, sample_weight=sample_weight, descriptor=descriptor)
        if is_classifier(self):
            rows = [r for r in (self._current, self._remembered) if r is not None]
            seen = [m.classes_ for r in rows for m in r[:, 0]]
            classes = np.unique(np.concatenate([self.meta_model_.bank.classes, *seen]))
            if len(classes) != len(self.classes_):
                self.learner_ = copy.copy(self.learner_)
                self.learner_.classes = self.classes_ = classes
        return self

    adapt.__doc__ = BaseMetaEstimator.adapt.__doc__


def _by_row(value, n_rows):
    return np.ndim(value) > 0 and len(value) == n_rows


def _prior(learner, table):
    """Mean target, or class shares, over the sources."""
    if learner.classes is None:
        return float(np.average(table.y, weights=table.sample_weight))
    codes = np.searchsorted(learner.classes, table.y)
    count = np.bincount(codes, weights=table.sample_weight, minlength=len(learner.classes))
    return count / count.sum()


def _adapt_chunk(meta_model, table, settings):
    n_rows = len(table.y)
    rows = []
    for t in range(table.n_tasks):
        bank, sources = meta_model.bank, meta_model.sources
        _, y, _ = table.task(t)
        if bank.classes is not None and not np.isin(y, bank.classes).all():
            classes = np.union1d(bank.classes, y)
            sources = sources.with_classes(bank, classes)
            bank = bank.with_classes(classes)
        (target,), (number,) = source_data(bank.learner, table.block(t, t + 1), {})
        if len(target) == 0:
            number = np.zeros((0, sources.numbers[0].shape[1]))
        try:
            rows.append(adapted(bank, sources, meta_model.lessons, target, number, settings))
        except Exception as error:
            if n_rows == 0:
                raise
            where = table.block(t, t + 1).where
            raise with_address(addressed(error, target.X, where), table.label(t)) from error
    return rows
