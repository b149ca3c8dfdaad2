"""Evaluation by episodes: draw a support from a test task, adapt, score on the rest.

Test tasks take no part in meta-training; every estimator sees the same episodes.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import check_scoring, log_loss, make_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRequest

from .base import BaseMetaEstimator
from .base.html import Results
from .tasks.folds import task_folds
from .tasks.ids import as_ids
from .tasks.rows import n_rows_of
from .tasks.table import tasks_from_table
from .tasks.task import (
    Tasks,
    as_tasks,
    is_task_collection,
    split_support,
    split_support_per_class,
)
from .tasks.validation import as_table, concat_rows, split_columns

__all__ = ["cross_validate_tasks", "few_shot_scorer"]


def few_shot_scorer(
    scoring: Any = None,
    *,
    n_shots: int = 5,
    n_repeats: int = 1,
    random_state: int | np.random.RandomState | None = 0,
) -> Callable[..., float]:
    """Make a scorer of what counts: the score on a new task after adaptation to a few rows.

    For each task of the test fold ``n_shots`` support rows are drawn, a copy of the fitted
    estimator is adapted to them, and the other rows are scored. The result is the mean over tasks.

    Parameters
    ----------
    scoring : str, callable or None, default=None
        A scorer as :class:`~sklearn.model_selection.GridSearchCV` takes it; None: R² or accuracy.
    n_shots : int, default=5
        Number of support rows; of each class, for an estimator with ``classes="per_task"``.
    n_repeats : int, default=1
        Number of supports drawn from each task.
    random_state : int, RandomState instance or None, default=0
        Seeds the draws. With an int all candidates of a search see the same episodes.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, groups=None)``, for any search or cross-validation. Tasks
        come as a list of :class:`Task` in place of X, by ``task_column`` of the estimator, or by
        routed ``groups``; the estimator may be the last step of a Pipeline.

    Raises
    ------
    ValueError
        When called without task ids, or if no task has more than ``n_shots`` rows (``n_shots`` of
        each class and one more, with ``classes="per_task"``), or if no score is defined. Smaller
        tasks are left out. A search turns errors of a scorer into nan, and ``best_params_`` then
        mean nothing: pass it ``error_score="raise"``.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_meta import HierarchicalBayes, few_shot_scorer
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=40, n_features=3, random_state=0)
    >>> search = GridSearchCV(
    ...     HierarchicalBayes(),
    ...     {"random_effects": ["intercept", "all"]},
    ...     scoring=few_shot_scorer("neg_mean_squared_error", n_shots=5),
    ... ).fit(tasks)
    >>> search.best_params_
    {'random_effects': 'all'}
    """
    for name, number, least in (("n_shots", n_shots, 0), ("n_repeats", n_repeats, 1)):
        if not isinstance(number, Integral) or number < least:
            raise ValueError(f"{name}={number!r} is no whole number of {least} or more.")
    return _FewShotScorer(scoring, n_shots, n_repeats, random_state)


@dataclass(eq=False, repr=False)
class _FewShotScorer:
    scoring: Any
    n_shots: int
    n_repeats: int
    random_state: Any

    def __repr__(self):
        return f"few_shot_scorer({self.scoring!r}, n_shots={self.n_shots})"

    def get_metadata_routing(self):
        request = MetadataRequest(owner=self)
        request.score.add_request(param="groups", alias=True)
        return request

    def __call__(self, estimator, X, y=None, groups=None):
        meta, X = _unwrap(estimator, X)
        tasks = list(as_tasks(X)) if is_task_collection(X) else _labelled(meta, X, y, groups)
        seed = _seed(self.random_state)
        scores = []
        for t, task in enumerate(tasks):
            for repeat in range(self.n_repeats):
                rng = np.random.default_rng([seed, t, repeat])
                split = _split(task, self.n_shots, rng, meta._own_classes)
                if split is not None:
                    support, query = split
                    adapted, _ = _adapted(meta, task, support)
                    scores.append(_score(adapted, task, query, self.scoring))
        if not scores:
            rows = "rows of each class" if meta._own_classes else "rows"
            raise ValueError(
                f"none of {len(tasks)} tasks has more than n_shots={self.n_shots} {rows}, so that "
                "there is nothing to score; lower n_shots."
            )
        if np.isnan(scores).all():
            raise ValueError(
                f"the score is undefined in all {len(tasks)} tasks, as R² of a single row is: "
                "lower n_shots, or use another score, such as neg_mean_squared_error."
            )
        return float(np.nanmean(scores))


def _split(task, n_shots, rng, per_class):
    """Support and query of a task; None if it is too small."""
    if per_class:
        return split_support_per_class(task, n_shots, rng)
    support, query = split_support(task, n_shots, rng)
    return (support, query) if len(support) == n_shots and len(query) else None


def _has_own_classes(estimator):
    """Whether tasks have classes of their own; the estimator need not be fitted."""
    while not isinstance(estimator, BaseMetaEstimator):
        inner = estimator[-1] if isinstance(estimator, Pipeline) else None
        estimator = getattr(estimator, "estimator", inner)
        if estimator is None:
            return False
    return getattr(estimator, "classes", "shared") == "per_task"


def _unwrap(estimator, X=None):
    """The meta-estimator inside a search or at the end of a Pipeline, and X as it sees it."""
    while not isinstance(estimator, BaseMetaEstimator):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            if X is not None and len(estimator) > 1:
                X = _transformed(estimator[:-1], X)
            estimator = estimator[-1]
        else:
            raise TypeError(
                f"{type(estimator).__name__} cannot be adapted: expected an estimator of "
                "sklearn_meta, or a Pipeline or a search around one. Put it inside, as in "
                f"HierarchicalBayes({type(estimator).__name__}(...))."
            )
    return estimator, X


def _transformed(transformer, X):
    """Take the rows of a table, or of every task, through a fitted transformer."""
    if not is_task_collection(X):
        return transformer.transform(X)
    return [replace(task, X=transformer.transform(task.X)) for task in as_tasks(X)]


def _fit_on_tasks(estimator, tasks):
    """Meta-fit an estimator, a Pipeline or a search; the transformers see the pooled rows."""
    if isinstance(estimator, BaseMetaEstimator):
        return estimator.meta_fit(tasks)
    if isinstance(estimator, Pipeline):
        if len(estimator) > 1:
            X = concat_rows([as_table(task.X) for task in tasks])
            y = np.concatenate([np.asarray(task.y) for task in tasks])
            tasks = _transformed(estimator[:-1].fit(X, y), tasks)
        _fit_on_tasks(estimator[-1], tasks)
        return estimator
    if hasattr(estimator, "estimator") and hasattr(estimator, "refit"):
        return estimator.fit(tasks)
    return _unwrap(estimator)  # raises


def _labelled(meta, X, y, groups):
    """The tasks of a long table; the id column stays in X, since the estimator expects it."""
    if meta.task_column is not None:
        _, groups, _ = split_columns(as_table(X), meta.task_column)
    if groups is None:
        raise ValueError(
            "few_shot_scorer needs to know the tasks: set task_column on the estimator, enable "
            "metadata routing and pass groups, or pass a list of Task as X."
        )
    return tasks_from_table(X, y, groups=as_ids(groups))


def _seed(random_state):
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _adapted(meta, task, support):
    """A copy of the meta-estimator, adapted to support rows, and the seconds that it took."""
    part = task.rows(support)
    meta = copy.copy(meta)
    start = time.perf_counter()
    meta.adapt(part.X, part.y, sample_weight=part.sample_weight, descriptor=part.descriptor)
    return meta, time.perf_counter() - start


def _score(adapted, task, query, scoring):
    part = task.rows(query)
    if scoring == "neg_log_loss":  # a task may miss some classes
        settings = {"response_method": "predict_proba", "labels": adapted.classes_}
        scorer = make_scorer(log_loss, greater_is_better=False, **settings)
    else:
        scorer = check_scoring(adapted, scoring)
    weight = {} if part.sample_weight is None else {"sample_weight": part.sample_weight}
    return scorer(adapted, part.X, part.y, **weight)


def cross_validate_tasks(
    estimators: Any,
    tasks: Tasks,
    y: None = None,
    *,
    n_shots: int | Sequence[int] = (0, 1, 5, 10),
    cv: Any = 5,
    scoring: Any = None,
    n_repeats: int = 1,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Leave tasks out, adapt to a few of their rows, and score the rest.

    Every estimator is meta-trained on the tasks of the training folds and adapted to the same
    supports of the test tasks, so that results can be compared in pairs. The supports of a task
    are nested (the first of 5 shots is the 1 shot), and its query rows are the same for all
    numbers of shots: those behind the largest support that leaves any.

    Parameters
    ----------
    estimators : estimator, or dict of str to estimator
        Estimators of this package, or Pipelines or searches around one.
    tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
        All tasks; :func:`tasks_from_table` makes them from a long table.
    y : None
        Targets belong to tasks: anything else is an error that says how.
    n_shots : int or sequence of int, default=(0, 1, 5, 10)
        Numbers of support rows. A task with too few rows for some of them is scored for the
        others. If one of the estimators has ``classes="per_task"``, numbers of rows of each class,
        1 or more, for all of them.
    cv : int, splitter or iterable of (train, test), default=5
        Splits the list of tasks. An int means shuffled folds.
    scoring : str, callable or None, default=None
        A scorer as for :func:`~sklearn.model_selection.cross_validate`; None: R² or accuracy.
    n_repeats : int, default=1
        Number of supports drawn from each test task.
    random_state : int, RandomState instance or None, default=0
        Seeds folds and supports.
    n_jobs : int, default=None
        Number of workers, as in joblib, over estimators and folds.

    Returns
    -------
    dict of str to ndarray
        One entry per row of a table: ``estimator``, ``fold``, ``task_id`` (the place of the task
        where it has no id), ``repeat``, ``n_shots``, ``score`` (greater is better), ``adapt_time``
        (seconds). ``pandas.DataFrame(result)`` makes it a table.

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes, Pooled, cross_validate_tasks
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, random_state=0)
    >>> result = cross_validate_tasks(
    ...     {"pooled": Pooled(), "hierarchical": HierarchicalBayes()}, tasks, n_shots=(0, 5)
    ... )
    >>> five = result["n_shots"] == 5
    >>> hierarchical = result["estimator"] == "hierarchical"
    >>> result["score"][five & hierarchical].mean() > result["score"][five & ~hierarchical].mean()
    np.True_
    """
    if y is not None:
        raise TypeError(
            "cross_validate_tasks takes tasks, and no X and y: pass tasks_from_table(X, y, "
            "groups=ids) or tasks_from_table(X, y, task_column=...)."
        )
    if not isinstance(estimators, dict):
        estimators = {type(estimators).__name__: estimators}
    tasks = list(as_tasks(tasks))
    shots = sorted({int(k) for k in np.atleast_1d(n_shots)})
    if not shots or shots[0] < 0:
        raise ValueError(f"n_shots must be numbers of rows, 0 or more; got {n_shots!r}.")
    seed = _seed(random_state)
    folds = task_folds(cv, tasks, seed % 2**32)
    per_class = any(_has_own_classes(estimator) for estimator in estimators.values())
    if per_class and shots[0] == 0:
        raise ValueError(
            "n_shots holds 0, and with classes='per_task' a task is not known without support "
            "rows: pass numbers of rows of each class, 1 or more, as in n_shots=(1, 5)."
        )
    supports = _supports_per_class if per_class else _supports
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_one_fold)(
            name, estimator, fold, tasks, *split, shots, scoring, n_repeats, seed, supports
        )
        for name, estimator in estimators.items()
        for fold, split in enumerate(folds)
    )
    rows = [row for part in parts for row in part]
    if not rows:
        raise ValueError(f"no task has more than {shots[0]} rows: there is nothing to score.")
    keys = ("estimator", "fold", "task_id", "repeat", "n_shots", "score", "adapt_time")
    return Results.of_rows(keys, rows)


def _supports(task, shots, seed):
    """Nested supports by number of shots, and the query rows that are the same for all."""
    order, query = split_support(task, n_rows_of(task.X), np.random.default_rng(seed))
    possible = [k for k in shots if k < len(order) or (len(query) and k == len(order))]
    if len(query) == 0 and possible:
        query = order[possible[-1] :]
    return {k: order[:k] for k in possible}, query


def _supports_per_class(task, shots, seed):
    """The same with so many shots of each class."""
    splits = {k: split_support_per_class(task, k, np.random.default_rng(seed)) for k in shots}
    possible = {k: split for k, split in splits.items() if split is not None}
    query = possible[max(possible)][1] if possible else None
    return {k: support for k, (support, _) in possible.items()}, query


def _one_fold(name, estimator, fold, tasks, train, test, shots, scoring, n_repeats, seed, supports):
    estimator = _fit_on_tasks(clone(estimator), [tasks[t] for t in train])
    meta, test_tasks = _unwrap(estimator, [tasks[t] for t in test])
    rows = []
    for t, task in zip(test, test_tasks, strict=True):
        id_ = int(t) if task.id is None else task.id
        for repeat in range(n_repeats):
            by_shots, query = supports(task, shots, [seed, int(t), repeat])
            for k, support in by_shots.items():
                adapted, seconds = _adapted(meta, task, support)
                score = _score(adapted, task, query, scoring)
                rows.append((name, fold, id_, repeat, k, score, seconds))
    return rows
