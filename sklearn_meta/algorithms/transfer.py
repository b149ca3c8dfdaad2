"""Transfer-based meta-learning: many sources, one small target.

The parameters of the sources follow a mixture of priors (:mod:`.priors.mixture`). A target gets
candidates (:mod:`.base.candidates`): its posterior, pooled models, refits on the best source, its
own model. They are stacked with weights that depend on the number of its rows
(:mod:`.kernels.stacking`).
"""

import copy
import warnings
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from ..base import BaseMetaEstimator, with_parameters
from ..base.candidates import candidates, judged, learn_sources, risks
from ..base.docstrings import documented
from ..base.labels import SharedClasses
from ..base.sources import reasons, task_ids
from ..learners import BlackBoxLearner, classes_of, in_chunks
from ..learners.blackbox import ask
from ..learners.privates import Interval, StrOptions
from ..learners.refit import Fitter
from ..tasks.columns import View, aligned, aligned_tasks, presence
from ..tasks.validation import addressed, check_features, time_kind, with_address

__all__ = ["TransferMetaLearner"]

MIN_SHARE = 0.05  # of a source that is worth a refit ("weighted")


@dataclass(frozen=True, eq=False)
class Adapted:
    """The parameter row of a target: its model, how that sees rows, and what is told of it."""

    model: object
    view: View
    report: dict


class AdaptedLearner(BlackBoxLearner):
    """Predicts by the fitted estimators that parameter rows hold."""

    def make_estimator(self, row):
        names, view, model = self.feature_names, row[0].view, copy.copy(row[0].model)
        if names is not None and type(model) is type(self.estimator):
            model.feature_names_in_ = names if view is None else names[view.kept]
        return self.wrap(model)

    def _one(self, method, adapted, X):
        X = X if adapted.view is None else adapted.view.rows(X)
        return ask(adapted.model, method, X, self.classes)


class OpenClasses(SharedClasses):
    """Classes that no source has are learned from the target, if they are labels at all."""

    def check(self, table):
        kinds = {time_kind(y) or y.dtype.kind in "US" for y in (self.outputs, table.y)}
        strange = table.y.dtype.kind in "Of" or len(kinds) > 1
        return super().check(table) if strange else table


@documented
@with_parameters
class TransferMetaLearner(BaseMetaEstimator):
    r"""Many sources, one small target: which source helps, how much, and when none does.

    The meta-train tasks are sources. ``meta_fit`` fits the estimator on each of them and on all of
    them; ``adapt`` judges on the support rows what would predict the target best. Pooled models and
    the model of the target alone are always among the candidates.

    Parameters
    ----------
    estimator : estimator, default=None
        Any regressor or classifier, a Pipeline included (its transformers are fitted on the pooled
        meta-train rows). None: ``Ridge()``.
    selection : {"stack", "weighted", "best"}, default="stack"
        ``"best"`` takes the candidate of least expected risk; ``"weighted"`` weighs candidates by
        ``exp(-risk / temperature)``; chosen sources are refitted on their rows and those of the
        target. ``"stack"`` mixes all candidates with weights that are not negative, learned from
        episodes in which each source is the target of the others. Where these say nothing (fewer
        than four sources, or far more rows than a source has) there is the posterior of a linear
        model with squared loss, and else ``"weighted"``.
    source_weight : float, default=1.0
        Weight of a source row, beside 1 for a target row, in a refit on both. Estimators without
        ``sample_weight`` are fitted on rows drawn with these probabilities.
    temperature : "auto" or float, default="auto"
        Of ``selection="weighted"``, in the units of the risk. "auto" makes weights proportional to
        the likelihood of the support.
    columns : {"same", "shared"}, default="same"
        With "shared" tasks are dataframes that may differ in their columns. They meet on shared
        names: a target column that a source lacks counts as its mean over the support. A source
        that shares no column is refused.
    {ids}
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator, the episodes, and rows that are drawn.
    n_jobs : int, default=None
        Number of workers that fit chunks of sources and adapt chunks of targets, as in joblib.

    Attributes
    ----------
    source_ids_ : ndarray of shape (n_sources,)
        Ids of the sources (places where they have none), in the order of the next three.
    source_scores_ : ndarray of shape (n_sources,)
        Expected risk of each source on the current target, squared error or log-loss: of its own
        model, which has not seen the target. Without support rows it is the risk on the other
        sources. NaN where it was refused.
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
    {table}

    See Also
    --------
    Pooled : One model on all sources.
    Independent : The target alone.
    HierarchicalBayes : For many sources that differ at random, with a linear model.
    TransferDisplay : A picture of ``source_scores_``.

    Notes
    -----
    Sources that contradict the others, all in one way (flipped labels) or each in its own (shuffled
    columns), are found by a mixture of priors, and pooled apart. With ``Ridge`` and
    ``LinearRegression`` all is in closed form (up to 99 columns); other estimators are fitted once
    for each source, six times on all rows, and a few times for each target. A source on which the
    estimator cannot be fitted is left out with a warning; where a refit fails on too few rows the
    source stays as it is, and a constant stands for the target alone. Classes are matched by label;
    one that no source has is learned from the target.

    References
    ----------
    Banfield and Raftery (1993), Model-based Gaussian and non-Gaussian clustering, Biometrics 49 (a
    broad component for sources that agree with nobody). Wolpert (1992), Stacked generalization,
    Neural Networks 5. Ben-David et al. (2010), A theory of learning from different domains, Machine
    Learning 79.

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

    estimator: Any = None
    _: KW_ONLY
    selection: str = "stack"
    source_weight: float = 1.0
    temperature: float | str = "auto"
    columns: str = "same"
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "selection": [StrOptions({"best", "weighted", "stack"})],
        "source_weight": [Interval(Real, 0, None, closed="neither")],
        "temperature": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "columns": [StrOptions({"same", "shared"})],
    }

    # -- reading -----------------------------------------------------------------------------------

    def _check_wrapped(self, estimator):
        if self.columns == "shared" and isinstance(estimator, Pipeline):
            raise ValueError(
                "TransferMetaLearner with columns='shared' cannot wrap a Pipeline: its "
                "transformers would be fitted on columns that some tasks do not have. Wrap its "
                "last step, and transform the tasks before."
            )

    def _check_X(self, X, where, min_rows):
        if self.columns == "same":
            return super()._check_X(X, where, min_rows)
        return check_features(X, where=where, allow_nan=True, min_rows=min_rows)

    def _checked(self, table, X, where):
        if isinstance(X, np.ndarray):  # sums do not depend on which worker adds
            X = np.ascontiguousarray(X)
        return super()._checked(table, X, where) if self.columns == "same" else replace(table, X=X)

    def _read_tasks(self, tasks, size, *, reset, min_rows=1):
        if self.columns == "shared":
            tasks = aligned_tasks(tasks, None if reset else list(self.feature_names_in_))
        yield from super()._read_tasks(tasks, size, reset=reset, min_rows=min_rows)

    def _read_rows(self, X, y, groups, fit_params, *, reset, **settings):
        if self.columns == "shared" and not reset:
            X = aligned(X, list(getattr(self, "feature_names_in_", [])), "this task")
        return super()._read_rows(X, y, groups, fit_params, reset=reset, **settings)

    def _predictor(self, learner, meta_model):
        return AdaptedLearner.like(learner)

    def _set_labels(self, table):
        table = super()._set_labels(table)
        if is_classifier(self):
            self._labels = OpenClasses(self._labels.outputs)
        return table

    # -- learning ----------------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        table = next(tables)
        seed = int(check_random_state(self.random_state).randint(2**31))
        by_row = {k: v for k, v in fit_params.items() if np.ndim(v) and len(v) == len(table.y)}
        whole = {k: v for k, v in fit_params.items() if k not in by_row}
        fitter = Fitter(learner, learner.prior(table), seed, whole, by_row)
        settings = self.n_jobs, self.source_weight if self.selection == "stack" else None
        if self.columns == "shared":
            has = presence(table)
            kept = np.flatnonzero(has.sum(axis=0) > (table.n_tasks > 1))
            if len(kept) == 0:
                raise ValueError("no two sources share a column. Rename columns.")
            sources = _seen_through(View.of(table.X, kept), table, fitter, *settings)
        else:
            sources = learn_sources(fitter, table, *settings)
        if sources.refused:
            message = f"{len(sources.refused)} of {table.n_tasks} sources are left out. "
            warnings.warn(message + reasons(sources.refused), UserWarning, stacklevel=2)
        return sources

    # -- adapting ----------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        settings = self.selection, self.source_weight, self.temperature
        table = replace(table, origin=None)
        blocks = [table.block(t, t + 1) for t in range(table.n_tasks)]
        rows = np.empty((table.n_tasks, 1), dtype=object)
        reports = table.n_tasks == 1  # tasks of a table may be as many as sources
        rows[:, 0] = in_chunks(_adapt_one, blocks, self.n_jobs, meta_model, settings, reports)
        return rows

    def _set_meta_model(self, meta_model, n_tasks):
        super()._set_meta_model(meta_model, n_tasks)
        self.source_ids_ = meta_model.table.ids
        vars(self).update(self._zero[0, 0].report)

    def _set_current(self, table, params, rows):
        super()._set_current(table, params, rows)
        vars(self).update(params[0, 0].report)

    def _adapt_to(self, rows, ids):
        super()._adapt_to(rows, ids)
        if is_classifier(self):
            known = self.meta_model_.fitter.classes
            rows = [r for r in (self._current, self._memory.params) if r is not None]
            seen = [classes_of(adapted.model, known) for r in rows for adapted in r[:, 0]]
            self._predicts = copy.copy(self._predicts)
            self._predicts.classes = self.classes_ = np.unique(np.concatenate([known, *seen]))
        return self


def _adapt_one(table, meta_model, settings, reports):
    """The model of one task, and where it comes from: numbers of each source, if it reports."""
    view, sources = meta_model.view, meta_model
    if view is not None and len(table.y):
        view, sources = _seen_by(meta_model, table)
    target = table if view is None else replace(table, X=view.rows(table.X))
    n, classes = len(sources.rows), sources.fitter.classes
    if classes is not None and not np.isin(target.y, classes).all():
        sources = sources.with_classes(np.union1d(classes, target.y))
    try:
        with np.errstate(over="ignore"):  # an infinite risk is one
            risk, risk_error = judged(sources, target, slice(n))
            model, share = _model_of(sources, target, risk, *settings)
    except Exception as error:
        if len(target.y) == 0:
            raise
        raise with_address(addressed(error, target.X, table.where), table.label(0)) from error
    full = np.full((3, len(meta_model.rows)), [[np.nan], [np.nan], [0.0]])
    known = [id_ not in sources.refused for id_ in meta_model.table.ids]
    full[:, known] = risk, risk_error, share[:n]
    report = {
        "source_scores_": full[0],
        "source_score_errors_": full[1],
        "source_weights_": full[2],
        "pooled_weight_": float(share[-2]),
        "target_weight_": float(share[-1]),
        "best_source_": meta_model.table.ids[np.nanargmin(full[0])],
        "refused_sources_": sources.refused,
    }
    return Adapted(model, view, report if reports else {})


def _seen_through(view, frame, fitter, n_jobs, share, refused=None):
    """Sources of which only some columns are seen."""
    ids, blind = task_ids(frame), ~presence(frame)[:, view.kept].any(axis=1)
    why = f"it shares no column with {'any other source' if refused is None else 'the target'}"
    refused = dict.fromkeys(ids[blind], why) | (refused or {})
    fitter, learner = copy.copy(fitter), copy.copy(fitter.learner)
    fitter.learner, learner.n_features = learner, len(view.kept)
    seen = replace(frame, X=view.rows(frame.X))
    return replace(learn_sources(fitter, seen, n_jobs, share, refused), frame=frame, view=view)


def _seen_by(meta_model, table):
    """The columns that a target has, and the meta-model for these."""
    frame, (own,) = meta_model.frame, presence(table)
    view = View.of(table.X, np.flatnonzero(own))  # imputed from the side of the target
    if np.array_equal(view.kept, meta_model.view.kept) and not np.isnan(frame.X).any():
        return view, meta_model
    sources = _seen_through(view, frame, meta_model.fitter, None, None, meta_model.refused)
    return view, replace(sources, stack=meta_model.stack)


def _model_of(sources, target, risk, selection, source_weight, temperature):
    """A model, and the shares of the sources, of the pools, and of the target alone."""
    fitter, stack, n, n_sources = sources.fitter, sources.stack, len(target.y), len(sources.rows)
    # episodes say nothing of many more rows than they had; posteriors learn by themselves
    if selection == "stack" and stack and (fitter.closed or n <= 2 * stack.n_rows[-1]):
        v = stack.weights(n)
        rows, mix, offset, best = candidates(sources, target, risk, source_weight)
        share = np.append(v[-2] * (np.arange(n_sources) == best), [v[:-2].sum(), v[-1]])
        return fitter.blend(rows, v @ mix, v @ offset), share
    own, Y = fitter.refit(target), fitter.outputs(target.y)
    of_own = np.inf  # the target alone is worth nothing without rows
    if n:
        of_own = risks(fitter.loss(fitter.left_out(target), Y)[None], target.weights)[0]
    of_pools, _ = judged(sources, target, slice(n_sources, None))
    risk = np.concatenate([risk, of_pools, np.ravel(of_own)])
    if temperature == "auto":  # weights proportional to likelihoods
        temperature = sources.unit / max(target.weights.sum(), 1.0)
    share = softmax(-risk / temperature)
    if selection == "best":
        share = (np.arange(len(risk)) == np.argmin(risk)).astype(float)
    rows = np.concatenate([sources.rows, sources.pools, own[None]])
    for a in np.flatnonzero(share[:n_sources] >= MIN_SHARE) if n else ():
        rows[a] = fitter.refit(target, sources.table.block(a, a + 1), source_weight, rows[a])
    model = fitter.blend(rows, share, np.zeros(Y.shape[1]))
    return model, np.append(share[:n_sources], [share[n_sources:-1].sum(), share[-1]])
