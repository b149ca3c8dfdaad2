r"""One estimator for those who do not want to choose: a stack of the algorithms of this package.

After k rows of a task the prediction is that of a linear pool of candidates c,

    f(x) = sum_c a_c(k) f_c(x),    a(k) >= 0,  sum_c a_c(k) = 1,

whose weights were learned on tasks that the candidates had not seen (``kernels/pooling.py``), and
are linear in ``log(1 + k)`` between the numbers of rows at which they were.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from ..base import BaseMetaEstimator, Needs, learned, with_parameters
from ..base.intervals import IntervalMixin
from ..kernels.pooling import bagged_weights
from ..kernels.stacking import between
from ..learners.privates import Composition, Interval
from ..learners.sharing import sharing
from ..priors.intervals import Calibration, calibration_of, quantiles
from ..tasks.folds import task_folds
from .candidates import check_candidates, default_candidates
from .docs import documented
from .encoding import TableEncoder
from .members import Member, Stack
from .out_of_fold import leave_tasks_out, seconds_of

__all__ = ["MetaClassifier", "MetaRegressor"]

MIN_TASKS = 3  # for weights to be learned,
FEW_TASKS = 10  # that are uncertain with fewer than these
MIN_WEIGHT = 0.02  # a candidate that never has more is left out
STACK = "stack"  # its name among the candidates in results_


@dataclass(frozen=True, eq=False)
class Record:
    """How the weights were found, for attributes and messages."""

    names: list  # of all candidates
    weights: np.ndarray  # (n_shots, n_candidates)
    results: dict  # columns by name
    left_out: dict  # why candidates have no weight, by name


@dataclass(frozen=True, eq=False)
class MetaModel:
    """What was learned."""

    members: tuple  # candidates with a weight, fitted on all tasks
    shots: np.ndarray  # (n_shots,)
    weights: np.ndarray  # (n_shots, n_members)
    record: Record
    scale: np.ndarray = None  # (n_shots,): root mean squared errors of a regressor
    calibration: Calibration = None  # of its absolute errors, divided by these

    def weights_at(self, n_rows):
        """Weights after numbers of rows: shape (n, n_members)."""
        return np.stack([between(column, self.shots, n_rows) for column in self.weights.T], axis=1)

    def half_widths(self, n_rows, level):
        """Half the widths of intervals after numbers of rows: shape (n,)."""
        scale, freedom = between(self.scale, self.shots, n_rows), self.calibration.n_tasks - 1
        return scale * quantiles(self.calibration, level, n_rows, freedom)


@with_parameters
class _MetaStack(Composition, BaseMetaEstimator):
    """What both kinds share."""

    estimators: Sequence[tuple[str, Any]] | None = None
    _: KW_ONLY
    n_shots: ArrayLike = (0, 1, 2, 5, 10, 20)
    cv: Any = 5
    time_budget: float | None = None
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "estimators": [list, tuple, None],
        "n_shots": ["array-like"],
        "cv": ["cv_object"],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
    }

    def get_params(self, deep=True) -> dict[str, Any]:
        """Get the parameters, with ``deep`` those of candidates, too, as ``name__parameter``."""
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params) -> Self:
        """Set parameters, of candidates as ``name__parameter``."""
        self._set_params("estimators", **params)
        return self

    # -- what is wrapped: candidates see the table encoded, or as it is ----------------------------

    def _wrapped(self):
        encoder = "passthrough" if self.estimators is not None else TableEncoder()
        dummy = DummyClassifier() if self._labelled else DummyRegressor()
        return Pipeline([("encoder", encoder), ("pool", dummy)])

    def _needs(self):
        return Needs(fits=False, n_epochs=None)  # folds, then candidates

    def _can_go_on(self):
        """Whether there is ``partial_meta_fit``: where every candidate has it."""
        pairs = self._candidates()
        ends = [name for name, model in pairs if not hasattr(model, "partial_meta_fit")]
        if ends:
            raise AttributeError(f"candidates that cannot go on learning: {', '.join(ends)}.")
        return True

    def _check_wrapped(self, estimator):
        shots = np.asarray(self.n_shots)
        if shots.ndim != 1 or len(shots) == 0 or shots.dtype.kind not in "iu" or shots.min() < 0:
            raise ValueError(
                "n_shots must be numbers of rows, 0 or more, as in (0, 1, 5); got "
                f"{self.n_shots!r}."
            )
        self._candidates()

    def _candidates(self, n_classes=2, n_rows=0):
        if self.estimators is None:
            return default_candidates(self._labelled, n_classes, n_rows)
        return check_candidates(self.estimators, self._labelled)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimators is None:
            tags.input_tags = TableEncoder().__sklearn_tags__().input_tags
        return tags

    # -- learn and adapt ---------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        if fit_params:
            raise TypeError(f"fit takes no further arguments; got {sorted(fit_params)}.")
        (table,) = tables
        if meta_model is not None:
            return _gone_on(meta_model, table)
        seed = self._seed()
        classes = self._labels.outputs
        pairs = self._candidates(2 if classes is None else len(classes), len(table.y))
        candidates = [(name, clone(model)) for name, model in pairs]
        for _, model in candidates:
            if "random_state" in model.get_params(deep=False) and model.random_state is None:
                model.set_params(random_state=seed)
        if table.n_tasks < MIN_TASKS:
            warnings.warn(
                f"{table.n_tasks} tasks are too few to learn weights from, {MIN_TASKS} are needed: "
                f"the first candidate, {candidates[0][0]!r}, predicts alone.",
                UserWarning,
                stacklevel=2,
            )
            judged = _alone(candidates)
        else:
            if table.n_tasks < FEW_TASKS:
                warnings.warn(
                    f"{table.n_tasks} tasks are few to learn weights and intervals from: both are "
                    f"uncertain with fewer than {FEW_TASKS}.",
                    UserWarning,
                    stacklevel=2,
                )
            judged = self._learn_weights(candidates, table, seed, report)
        used = np.flatnonzero(judged.weights.any(axis=0))
        members = []
        with sharing():
            for c in used:
                name, model = candidates[c]
                with warnings.catch_warnings():
                    if judged.record.results:  # they were judged with what they warn of
                        warnings.simplefilter("ignore")
                    members.append(Member(name, model.meta_fit(table)))
                so_far = used[: len(members)]
                weights = _normalized(judged.weights, so_far)[:, so_far]
                meta_model = replace(judged, members=tuple(members), weights=weights)
                report(lambda made=meta_model: made)
        return meta_model

    def _learn_weights(self, candidates, table, seed, report):
        """A meta-model without members: the weights of all candidates, and how these were found."""
        classes, names = self._labels.outputs, [name for name, _ in candidates]
        cv = min(self.cv, table.n_tasks) if isinstance(self.cv, Integral) else self.cv
        folds = task_folds(cv, np.arange(table.n_tasks), seed)
        shots = sorted({int(k) for k in self.n_shots})
        left_out = {}
        if self.time_budget is not None:
            left_out = self._too_slow(candidates, table, len(folds), seed)
            candidates = [pair for pair in candidates if pair[0] not in left_out]
        judged, failures = leave_tasks_out(
            candidates,
            table,
            shots,
            folds,
            classes=classes,
            seed=seed,
            n_jobs=self.n_jobs,
            on_fold=lambda: report.part("fold"),
        )
        left_out |= {name: str(error) for name, error in failures.items()}
        for why in dict.fromkeys(map(str, failures.values())):
            some = [repr(name) for name in failures if left_out[name] == why]
            what = f"candidate {some[0]} is" if len(some) == 1 else f"{', '.join(some)} are"
            warnings.warn(f"{what} left out: {why}", UserWarning, stacklevel=3)
        able = [c for c, (name, _) in enumerate(candidates) if name not in left_out]
        if not able or not judged:
            if failures:  # on all tasks its error has the place in the table of the user
                clone(candidates[0][1]).meta_fit(table)
            raise ValueError(
                f"no candidate could be judged: {left_out or 'no task has rows to judge by'}."
            )
        judged = {k: one.of(able) for k, one in judged.items()}
        columns = [names.index(candidates[c][0]) for c in able]
        weights = np.zeros((len(judged), len(names)))
        results, scale, scores = [], [], {}
        for row, (k, one) in zip(weights, judged.items(), strict=True):
            pool = one.pool(classes)
            row[columns] = bagged_weights(pool, np.random.default_rng([seed, k]))
            losses = pool.of_candidates()
            if classes is None:
                errors = one.stacked(seed) - one.y
                scale.append(np.sqrt(one.mean_by_task(errors**2).mean()))
                scores[k] = one.split(np.abs(errors) / max(scale[-1], np.finfo(float).tiny))
                losses = np.column_stack([losses, one.mean_by_task(errors**2)])
            ranked = [names[c] for c in columns] + [STACK] * (classes is None)
            results.append(_rows(k, one, losses, ranked, table.ids))
        used = np.flatnonzero(weights.max(axis=0) >= MIN_WEIGHT)
        weights = _normalized(weights, used)
        for name in (names[c] for c in columns if c not in used):
            left_out[name] = f"its weight is less than {MIN_WEIGHT} after any number of rows"
        results = {key: np.concatenate([part[key] for part in results]) for key in results[0]}
        return MetaModel(
            (),
            np.array(list(judged)),
            weights,
            Record(names, weights, results, left_out),
            np.array(scale) if classes is None else None,
            calibration_of(scores, table.n_tasks) if classes is None else None,
        )

    def _too_slow(self, candidates, table, n_folds, seed):
        """Candidates that the time does not suffice for, the slowest first, and why."""
        seconds = seconds_of(candidates, table, seed) * (n_folds + 1)
        left_out, total = {}, seconds.sum()
        for c in np.argsort(-seconds)[:-1]:
            if total <= self.time_budget:
                break
            total -= seconds[c]
            name = candidates[c][0]
            left_out[name] = f"it would take about {seconds[c]:.0f} s"
        if left_out:
            warnings.warn(
                f"time_budget={self.time_budget:g} s leaves out {', '.join(map(repr, left_out))}.",
                UserWarning,
                stacklevel=4,
            )
        return left_out

    def _adapt(self, learner, meta_model, table, fit_params):
        return self._predictor(learner, meta_model).rows(table)

    def _predictor(self, learner, meta_model):
        return Stack(learner, meta_model)

    # -- what was learned --------------------------------------------------------------------------

    @property
    def candidates_(self):
        """The candidates by name, fitted on all tasks; None for those without a weight."""
        fitted = {member.name: member.model for member in self._learned("members")}
        return {name: fitted.get(name) for name in self._learned("record.names")}

    weights_ = learned("record.weights", "Weights, rows as ``shots_``, columns as ``candidates_``.")
    shots_ = learned("shots", "The numbers of rows at which weights were learned.")
    results_ = learned("record.results", "Scores on tasks left out, see ``cross_validate_tasks``.")
    left_out_ = learned("record.left_out", "Why candidates have no weight, by name.", dict)

    def _facts(self):
        names, weights = self._learned("record.names"), self.weights_
        used = np.flatnonzero(weights.any(axis=0))
        columns = {names[c]: [f"{100 * w:.0f} %" for w in weights[:, c]] for c in used}
        return super()._facts() | {
            "Weights of the candidates": {"Known rows of a task": self.shots_} | columns,
            "Left out": list(self.left_out_) or None,
        }

    def summary(self) -> str:
        """Say what predicts, in one sentence for each number of rows.

        Returns
        -------
        str
            One line for each of ``shots_``.
        """
        lines, names = [], self._learned("record.names")
        for k, weights in zip(self.shots_, self.weights_, strict=True):
            order = [c for c in np.argsort(-weights, kind="stable") if weights[c] >= 0.005]
            parts = ", ".join(f"{100 * weights[c]:.0f} % {names[c]}" for c in order)
            lines.append(f"with {k} row{'' if k == 1 else 's'}: {parts}")
        return "\n".join(lines)


def _gone_on(meta_model, table):
    """The meta-model whose members have learned from more tasks; its weights stay."""
    members = []
    with sharing():
        for member in meta_model.members:
            model = copy.copy(member.model).partial_meta_fit(replace(table, origin=None))
            members.append(replace(member, model=model))
    return replace(meta_model, members=tuple(members))


def _alone(candidates):
    """The meta-model in which the first candidate predicts alone."""
    names = [name for name, _ in candidates]
    weights = np.eye(len(names))[:1]
    left_out = dict.fromkeys(names[1:], "there are too few tasks to learn weights from")
    return MetaModel((), np.array([0]), weights, Record(names, weights, {}, left_out))


def _normalized(weights, used):
    """Weights of sum 1 that are 0 but of the candidates used; equal where all of them are 0."""
    kept = np.zeros_like(weights)
    kept[:, used] = np.where(weights[:, used].sum(axis=1, keepdims=True) > 0, weights[:, used], 1.0)
    return kept / kept.sum(axis=1, keepdims=True)


def _rows(k, judged, losses, names, ids):
    """Rows of results: every candidate on every task that was left out."""
    tasks, first = np.unique(judged.tasks, return_index=True)
    of = tasks if ids is None else ids[tasks]
    return {
        "estimator": np.repeat(np.array(names, dtype=object), len(tasks)),
        "fold": np.tile(judged.folds[first], len(names)),
        "task_id": np.tile(of, len(names)),
        "n_shots": np.full(len(tasks) * len(names), k),
        "score": -losses.T.ravel(),
    }


@documented
class MetaRegressor(IntervalMixin, _MetaStack):
    """Predict numbers for many related tasks: the default, when in doubt.

    {pool}

    Parameters
    ----------
    estimators : list of (str, meta-estimator), default=None
        The candidates, of this package, which see the table as it is. None: pooled, independent
        and hierarchical linear models, pooled and hierarchical boosting, Gaussian processes around
        both, and up to 5,000 rows a hierarchical forest.
    {stack}

    Examples
    --------
    >>> from sklearn_meta import MetaRegressor
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=40, n_features=2, random_state=0)
    >>> model = MetaRegressor(random_state=0).meta_fit(tasks[:39])
    >>> new = tasks[39]
    >>> model.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > 0.3
    True
    """

    _labelled = False

    def _centres(self, X, groups, level):
        """Intervals as wide as errors on tasks left out, with weights from the other folds."""
        X, params, index = self._query(X, groups)
        mean = self._predicts.predict("predict", params, X, index)
        meta_model = self.meta_model_
        if meta_model.calibration is None:
            raise ValueError(
                f"{self.n_tasks_} tasks are too few to know errors on new tasks; predict_interval "
                f"needs {MIN_TASKS}. HierarchicalBayes has intervals for fewer."
            )
        half = meta_model.half_widths(params[index, -1].astype(np.float64), level)
        return mean, half, mean.dtype


@documented
class MetaClassifier(_MetaStack):
    """Predict classes for many related tasks: the default, when in doubt.

    {pool}

    Parameters
    ----------
    estimators : list of (str, meta-estimator), default=None
        The candidates, of this package, which see the table as it is. None: pooled, independent
        and hierarchical linear models (with slopes that vary for two classes only), pooled and
        hierarchical boosting, and boosting in batch mode.
    {stack}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta import HierarchicalBayes, MetaClassifier, Pooled
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, n_features=2, random_state=0)
    >>> tasks = [(task.X, np.where(task.y > 0, "yes", "no")) for task in tasks]
    >>> candidates = [
    ...     ("pooled", Pooled(LogisticRegression())),
    ...     ("hierarchical", HierarchicalBayes(LogisticRegression())),
    ... ]
    >>> model = MetaClassifier(candidates, random_state=0).meta_fit(tasks[:29])
    >>> X, y = tasks[29]
    >>> model.adapt(X[:5], y[:5]).predict(X[5:8])
    array(['yes', 'yes', 'no'], dtype='<U3')
    """

    _labelled = True
