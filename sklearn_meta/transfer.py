"""Transfer-based meta-learning: many sources, one small target."""

import copy
import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from ._bank import Bank
from ._candidates import Settings
from ._columns import (
    View,
    Viewed,
    aligned,
    behind,
    check_gaps,
    in_view,
    mean_where_present,
    narrowed,
    padded,
    present,
    projected,
    shared_names,
    without,
)
from ._lessons import learn_lessons
from ._selection import adapted
from ._sources import Sources, fit_sources, source_data
from .base import BaseMetaEstimator, transactional
from .base.labels import SharedClasses
from .learners import BlackBoxLearner, chunk_bounds, classes_of
from .learners.privates import HasMethods, Interval, StrOptions
from .tasks.task import as_tasks
from .tasks.validation import addressed, as_table, check_features, plain, task_label, with_address

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
    frame : TaskTable or None
        The rows of the sources with NaN where a column is absent (``columns="shared"``).
    projection : tuple of (transformer, fitted transformer, ndarray) or None
        Not fitted; and that of the source that serves a target without rows, and its columns.
    """

    bank: Bank
    sources: Sources
    lessons: tuple
    ids: list
    refused: dict
    frame: object = None
    projection: object = None


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
        self.checks_rows = fitter.checks_rows

    def make_estimator(self, row):
        names, model = self.feature_names, row[0]
        if isinstance(model, Viewed):
            names = None if names is None else names[model.view.kept]
            model = model.model
        model = copy.copy(model)
        if names is not None and type(model) is type(self.estimator):
            model.feature_names_in_ = names
        return self.wrap(model)


class OpenClasses(SharedClasses):
    """Classes that no source has are learned from the target, if they are labels at all."""

    def check(self, table):
        if len(table.y) == 0:
            return table
        kinds = {np.asarray(y).dtype.kind in "US" for y in (self.outputs, *table.y[:1])}
        odd = table.y.dtype.kind == "O" or len(kinds) > 1 or table.y.dtype.kind == "f"
        return super().check(table) if odd else table


class TransferMetaLearner(BaseMetaEstimator):
    r"""Many sources, one small target: which source helps, how much, and when none does.

    The meta-train tasks are sources. ``meta_fit`` fits the estimator on each of them and on all of
    them; ``adapt`` judges on the support rows what would predict the target best. Pooled models and
    the model of the target alone are always among the candidates.

    Parameters
    ----------
    estimator : estimator, default=None
        Any scikit-learn regressor or classifier, a Pipeline included (its transformers are fitted
        on the pooled meta-train rows). None: ``Ridge()``.
    selection : {"stack", "weighted", "best"}, default="stack"
        ``"best"`` takes the candidate of least expected risk; ``"weighted"`` weighs candidates by
        ``exp(-risk / temperature)``; chosen sources are refitted on their rows and those of the
        target. ``"stack"`` mixes all candidates with weights that are not negative: which to
        trust after n rows is learned from episodes in which each source is the target of the
        others; with fewer than four sources the weights are equal, and the loss on the support
        soon outweighs that.
    source_weight : "auto" or float, default="auto"
        Weight of a source row, beside 1 for a target row, in a refit on both. "auto" chooses it by
        cross-validation on the target. Estimators without ``sample_weight`` are fitted on rows
        drawn with these probabilities.
    temperature : "auto" or float, default="auto"
        Of ``selection="weighted"``, in the units of the risk. "auto" makes weights proportional to
        the likelihood of the support.
    max_sources : int, default=100
        Most sources that are looked at for one target; linear landmarks of all sources choose them
        before anything is refitted.
    columns : {"same", "shared"}, default="same"
        With "shared" tasks are dataframes that may differ in their columns. They meet on shared
        names: a target column that a source lacks counts as its mean over the support. A source
        that shares no column is refused.
    projection : transformer, default=None
        For arrays that differ in their columns: a clone of it, such as ``PCA(2)``, is fitted on the
        rows of each source and of the target, and all meet in its output.
    task_column : str or int, default=None
        The column of X that holds the task id; it is taken out before the estimator sees X.
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator, the episodes, and rows that are drawn. None draws as 0 does.
    n_jobs : int, default=None
        Number of workers that fit chunks of sources and adapt chunks of targets, as in joblib.

    Attributes
    ----------
    source_ids_ : ndarray of shape (n_sources,)
        Ids of the sources (places where they have none), in the order of the next three.
    source_scores_ : ndarray of shape (n_sources,)
        Expected risk of each source on the current target, squared error or log-loss: of its own
        model, which has not seen the target. Without support rows it is the risk on the other
        sources. NaN where it was screened out.
    source_score_errors_ : ndarray of shape (n_sources,)
        Their standard errors.
    source_weights_ : ndarray of shape (n_sources,)
        Shares of the sources in the adapted model.
    pooled_weight_, target_weight_ : float
        Shares of the pooled models (with their adaptations) and of the target alone. All shares sum
        to 1.
    best_source_ : object
        Id of the source of least expected risk.
    refused_sources_ : dict
        Id of a source that was left out -> why.
    estimator_ : estimator
        The adapted model of the current task: of the wrapped class where that is linear, else a
        blend of fitted estimators.
    task_ids_ : ndarray of shape (n_tasks,)
        Ids of the remembered tasks.
    classes_ : ndarray of shape (n_classes,)
        The classes of all sources and of the adapted tasks, of a classifier.
    n_tasks_ : int
        Number of meta-train tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.

    See Also
    --------
    Pooled : One model on all sources.
    Independent : The target alone.
    HierarchicalBayes : For many sources that differ at random, with a linear model.
    TransferDisplay : A picture of ``source_scores_``.

    Notes
    -----
    Sources that contradict the others, all in one way (flipped labels) or each in its own (shuffled
    columns), are found by their evidence and pooled apart, where that lowers the error on the
    others after a few of their rows. The model pooled over all sources stays a candidate then.
    With ``Ridge`` and ``LinearRegression`` all is in closed form, leave-one-out included; other
    estimators are fitted once for each source, six times on all rows (five of them for the
    episodes; as often again by group where there are groups), and a few times for each target;
    folds are stratified. All rows of the sources are kept. A source on which the estimator cannot
    be fitted is left out with a warning; where a refit fails on too few rows the source stays as it
    is, and a constant stands for the target alone. If sources of more than two classes differ in
    their labels, each is one classifier for each of its classes against the rest, and classes are
    matched by label; a class that no source has is learned from the target.

    References
    ----------
    Daumé (2007), Frustratingly easy domain adaptation, ACL (levels of their own in a refit).
    Wolpert (1992), Stacked generalization, Neural Networks 5. Ben-David et al. (2010), A theory of
    learning from different domains, Machine Learning 79. Banfield and Raftery (1993), Model-based
    Gaussian and non-Gaussian clustering, Biometrics 49 (sources that agree with nobody).

    Examples
    --------
    >>> from sklearn_meta import TransferMetaLearner
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, n_rows=20, n_features=2, random_state=0)
    >>> model = TransferMetaLearner().meta_fit(tasks[:29])
    >>> new = tasks[29]
    >>> model.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > 0.3
    True
    """

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "selection": [StrOptions({"best", "weighted", "stack"})],
        "source_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "max_sources": [Interval(Integral, 1, None, closed="left")],
        "columns": [StrOptions({"same", "shared"})],
        "projection": [HasMethods(["fit", "transform"]), None],
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
        columns="same",
        projection=None,
        task_column=None,
        random_state=None,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.selection = selection
        self.source_weight = source_weight
        self.temperature = temperature
        self.max_sources = max_sources
        self.columns = columns
        self.projection = projection
        self.task_column = task_column
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _default_estimator(self):
        return Ridge()

    # -- learning ----------------------------------------------------------------------------------

    @property
    def _gaps(self):
        """Whether tasks may differ in their columns."""
        return self.columns == "shared" or self.projection is not None

    def _check_wrapped(self, estimator):
        if self._gaps and isinstance(estimator, Pipeline):
            raise ValueError(
                "TransferMetaLearner with columns='shared' or a projection cannot wrap a Pipeline: "
                "its transformers would be fitted on columns that some tasks do not have. Wrap "
                "its last step, and transform the tasks before."
            )
        if self.columns == "shared" and self.projection is not None:
            raise ValueError("Set columns='shared' or projection, not both.")

    def _takes_raw_rows(self, X):
        return not self._gaps and super()._takes_raw_rows(X)

    def _check_X(self, X, where, min_rows):
        if not self._gaps:
            return super()._check_X(X, where, min_rows)
        return check_features(X, where=where, allow_nan=True, min_rows=min_rows)

    def _checked(self, table, X, where):
        return replace(table, X=X) if self._gaps else super()._checked(table, X, where)

    def _read_tasks(self, tasks, size, *, reset, min_rows=1):
        if not self._gaps:
            yield from super()._read_tasks(tasks, size, reset=reset, min_rows=min_rows)
            return
        tasks = list(as_tasks(tasks))
        if self.columns == "shared" and tasks:
            names = shared_names(tasks) if reset else list(self.feature_names_in_)
            tasks = [
                replace(task, X=aligned(task.X, names, task_label(task.id, t)))
                for t, task in enumerate(tasks)
            ]
        elif tasks:
            widths = [np.shape(task.X)[-1] if np.ndim(task.X) == 2 else 0 for task in tasks]
            width = max(widths) if reset else self.n_features_in_
            tasks = [replace(task, X=padded(task.X, width)) for task in tasks]
        yield from super()._read_tasks(tasks, size, reset=reset, min_rows=min_rows)

    def _read_rows(self, X, y, groups, fit_params, *, reset, **settings):
        if self._gaps and not reset:
            X = as_table(X)
            if self.columns == "shared":
                X = aligned(X, list(getattr(self, "feature_names_in_", [])), "this task")
            else:
                X = padded(X, self.n_features_in_)
        return super()._read_rows(X, y, groups, fit_params, reset=reset, **settings)

    def _make_learner(self, estimator, table, step_params):
        if not self._gaps:
            table = super()._make_learner(estimator, table, step_params)
            return table
        check_gaps(table)
        if self.projection is None:
            mean = mean_where_present(table.X)
            seen = replace(table, X=np.where(np.isnan(table.X), mean, table.X))
        else:
            seen, *_ = projected(table, self.projection)
        super()._make_learner(estimator, seen, step_params)
        return table

    def _predictor(self, learner, meta_model):
        return AdaptedLearner(learner)

    def _set_labels(self, table):
        table = super()._set_labels(table)
        if is_classifier(self):
            self._labels = OpenClasses(self._labels.outputs)
        return table

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
        table, fitter = next(tables), learner
        frame, refused_before, views = None, {}, None
        if self.projection is not None:
            table, projections, kept = projected(table, self.projection)
            views = projections, kept
        elif self._gaps:
            frame, refused_before = _meeting(table)
            view = View(np.arange(frame.X.shape[1]), mean_where_present(frame.X))
            table, _ = in_view(frame, view)
        seed = self._seed()
        whole = {k: v for k, v in fit_params.items() if not _by_row(v, len(table.y))}
        bank = Bank(fitter, fitter.prior(table), seed, whole)
        rng = np.random.default_rng(seed)
        sources, ids, refused = fit_sources(bank, table, fit_params, self.n_jobs, rng)
        lessons = ()
        if self.selection == "stack":
            lessons = learn_lessons(bank, sources, self._settings, rng)
        if views is not None:
            best = int(np.argmin(sources.mutual))
            views = (self.projection, *(part[best] for part in views))
        return Transfer(bank, sources, lessons, ids, refused_before | refused, frame, views)

    # -- adapting ----------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        settings = self._settings
        parts = Parallel(n_jobs=self.n_jobs)(
            delayed(_adapt_chunk)(meta_model, table.block(lo, hi), settings)
            for lo, hi in chunk_bounds(table.n_tasks)
        )
        rows = np.empty((table.n_tasks, 2), dtype=object)
        rows[:] = [row for part in parts for row in part]
        return rows

    def _set_meta_model(self, meta_model, n_tasks):
        super()._set_meta_model(meta_model, n_tasks)
        self._tell(self._zero)

    def _set_current(self, table, params):
        super()._set_current(table, params)
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
        self.refused_sources_ = {**self.meta_model_.refused, **told.refused}
        self.best_source_ = self.meta_model_.ids[int(np.nanargmin(told.risk))]

    @transactional
    def adapt(self, X, y, *, groups=None, sample_weight=None, descriptor=None):
        super().adapt(X, y, groups=groups, sample_weight=sample_weight, descriptor=descriptor)
        if is_classifier(self):
            rows = [r for r in (self._current, self._memory.params) if r is not None]
            known = self.meta_model_.bank.classes
            seen = [classes_of(m, known) for r in rows for m in r[:, 0]]
            classes = np.unique(np.concatenate([known, *seen]))
            if len(classes) != len(self.classes_):
                self._predicts = copy.copy(self._predicts)
                self._predicts.classes = self.classes_ = classes
        return self

    adapt.__doc__ = BaseMetaEstimator.adapt.__doc__


def _by_row(value, n_rows):
    return np.ndim(value) > 0 and len(value) == n_rows


def _meeting(table):
    """The table of the sources that share columns with others, and why the others are refused."""
    has = np.stack([present(X) for X in np.split(table.X, table.offsets[1:-1])])
    shared = has & (has.sum(axis=0) > 1)
    refused = np.flatnonzero(~shared.any(axis=1)) if table.n_tasks > 1 else np.array([], int)
    if len(refused) == table.n_tasks:
        raise ValueError("no two sources share a column. Rename columns, or set projection.")
    ids = [t if table.ids is None or table.ids[t] is None else table.ids[t] for t in refused]
    reasons = dict.fromkeys(map(plain, ids), "it shares no column with any other source")
    if reasons:
        names = ", ".join(task_label(id_, 0) for id_ in list(reasons)[:5])
        warnings.warn(
            f"{len(reasons)} of {table.n_tasks} sources are left out: {names} share no column with "
            "any other source.",
            UserWarning,
            stacklevel=2,
        )
        table = without(table, refused)
    return table, reasons


def _adapt_chunk(meta_model, table, settings):
    return [_adapt_one(meta_model, table.block(t, t + 1), settings) for t in range(table.n_tasks)]


def _adapt_one(meta_model, table, settings):
    """The model of one task, and where it comes from."""
    bank, sources, lessons = meta_model.bank, meta_model.sources, meta_model.lessons
    view = fitted = None
    refused = {}
    if meta_model.projection is not None:
        projection, fitted, kept = meta_model.projection
        fill = np.zeros(len(kept))
        if len(table.y):
            check_gaps(table)
            table, (fitted,), (kept,), fill = _projected_target(table, projection)
        view = View(kept, fill, exact=True)
    elif meta_model.frame is not None:
        view, bank, sources, lessons, refused = _view_of(meta_model, table)
        table, _ = in_view(table, view)
    _, y, _ = table.task(0)
    if bank.classes is not None and not np.isin(y, bank.classes).all():
        classes = np.union1d(bank.classes, y)
        sources = sources.with_classes(bank, classes)
        bank, lessons = bank.with_classes(classes), ()  # no episode had a class of this kind
    (target,), (number,) = source_data(bank.learner, table, {})
    if len(target) == 0:
        number = np.zeros((0, sources.numbers[0].shape[1]))
    try:
        model, told = adapted(bank, sources, lessons, target, number, settings)
    except Exception as error:
        if len(table.y) == 0:
            raise
        raise with_address(addressed(error, target.X, table.where), table.label(0)) from error
    if refused:
        told = told.spread(meta_model.ids, refused)
    if fitted is not None:
        model = behind(fitted, model)
    return (model if view is None else Viewed(model, view)), told


def _projected_target(table, projection):
    fill = mean_where_present(table.X)
    table, fitted, kept = projected(table, projection)
    return table, fitted, kept, fill[kept[0]]


def _view_of(meta_model, table):
    """Bank, sources and lessons for the columns that a target has."""
    bank, sources, lessons = meta_model.bank, meta_model.sources, meta_model.lessons
    frame = meta_model.frame
    every = np.arange(frame.X.shape[1])
    mean = mean_where_present(frame.X)
    if len(table.y) == 0:
        return View(every, mean), bank, sources, lessons, {}
    check_gaps(table)
    kept = np.flatnonzero(present(table.X))
    view = View(kept, table.X[:, kept].mean(axis=0))  # imputed from the side of the target
    if len(kept) == len(every) and not np.isnan(frame.X).any():
        return view, bank, sources, lessons, {}
    seen, blind = in_view(frame, view)
    names = meta_model.ids
    refused = {names[t]: "it shares no column with the target" for t in blind}
    if len(blind) == frame.n_tasks:
        raise ValueError(f"{table.label(0)}: X shares no column with any source.")
    if blind:
        seen = without(seen, blind)
    bank = Bank(narrowed(bank.learner, view), bank.prior, bank.seed, bank.params)
    rng = np.random.default_rng(bank.seed)
    labels = np.delete(sources.groups.labels, blind)
    sources, _, failed = fit_sources(bank, seen, {}, None, rng, labels)
    if sources.groups.n_groups != meta_model.sources.groups.n_groups:
        lessons = ()
    return view, bank, sources, lessons, refused | failed
