"""Learners that are trained on rows ``[x, s]``, s the vector of a support of the task.

Every draw of episodes deals each row to one query and gives it the vector of a support that does
not hold it (``tasks/supports.py``). One learner is trained on each draw; the predictions of all are
averaged (``learners/conditioned.py``).

A learner sees of s what it was trained on: the entries that tell the supports of training apart, in
units of their spread, and numbers of rows beyond those of training as the nearest of these.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import get_tags

from ..kernels.scaling import mean_and_std, nonzero_scale
from ..tasks.rows import safe_indexing
from ..tasks.supports import draw_episodes, take_rows
from ..tasks.validation import column_names
from .base import check_takes_weight, cut_params
from .conditioned import with_columns

__all__ = ["Conditional", "are_counts", "learn_conditional"]

N_BLOCKS = 3  # queries that the rows of a task are dealt to in one draw


@dataclass(frozen=True, eq=False)
class Conditional:
    """Learners of rows ``[x, s]``."""

    columns: np.ndarray  # (n_seen,): the entries of s that they see
    names: list  # of these
    # (n_seen,): they see ``(s - center) / scale``, and no less than ``low``, no more than ``high``
    center: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray
    models: tuple = ()  # one for each draw of episodes
    raw: bool = False  # whether they see dataframes as the user gave them

    def standardized(self, S):
        """What the learners see of vectors of shape (n_tasks, n_descriptors)."""
        return np.clip((S[:, self.columns] - self.center) / self.scale, self.low, self.high)


def _unlearned(estimator, S, n_rows, names, n_tasks, raw):
    """How learners will see vectors, from those of a first draw and their numbers of rows.

    A learner that goes on learning (``partial_fit``) sees all entries: what does not differ yet may
    do so later. To one that takes no negative numbers they are shares of their range.
    """
    center, std = mean_and_std(S, n_rows)
    scale = nonzero_scale(std, center)
    seen = np.full(S.shape[1], hasattr(estimator, "partial_fit"))
    columns = np.flatnonzero(seen | (scale == std) & (n_tasks > 1))
    low, high = S.min(axis=0), S.max(axis=0)
    if _positive_only(estimator):
        center, scale = low, nonzero_scale(high - low, low)
    else:
        counts = are_counts(names)
        low, high = np.where(counts, low, -np.inf), np.where(counts, high, np.inf)
    center, scale, low, high = (a[columns] for a in (center, scale, low, high))
    names = [names[j] for j in columns]
    limits = (low - center) / scale, (high - center) / scale
    return Conditional(columns, names, center, scale, *limits, raw=raw)


def are_counts(names):
    """Which entries of a vector say how many rows are known of a task, not what kind it is."""
    return np.array([name.endswith("log_n_rows") for name in names], dtype=bool)


def _positive_only(estimator):
    """Whether an estimator, or one inside it, takes no negative numbers."""
    parts = [estimator, *estimator.get_params().values()]
    parts = [p for p in parts if hasattr(p, "__sklearn_tags__") and not isinstance(p, type)]
    return any(get_tags(part).input_tags.positive_only for part in parts)


def learn_conditional(
    learner,
    table,
    vectors,
    names,
    model,
    *,
    n_shots,
    n_estimators,
    tasks_per_batch,
    n_epochs,
    n_jobs,
    rng,
    fit_params,
    report,
):
    """Train learners, or go on training them.

    Parameters
    ----------
    learner : TaskwiseLearner
        Holds the estimator that is cloned.
    table : TaskTable
    vectors : callable
        ``vectors(supports)`` describes the tasks of a table.
    names : list of str
        Of the entries of the vectors.
    model : Conditional or None
        What to go on from.
    n_shots : (int, int)
    tasks_per_batch : int or None
    fit_params : dict
        Further arguments for the ``fit`` of the estimator.
    report : callable
        ``report(model)`` after each epoch; True means stop.
    """

    def draw(block):
        """Episodes, and the vectors of their supports."""
        episodes = draw_episodes(block, n_shots, N_BLOCKS, rng)
        if len(episodes.query) == 0:
            raise ValueError(
                "no task has rows outside its fixed support: there is nothing to learn from."
            )
        supports = take_rows(block, episodes.support, episodes.support_offsets, episodes.tasks)
        return episodes, vectors(supports)

    if model is None:
        episodes, S = draw(table)
        n_rows, raw = np.diff(episodes.query_offsets), column_names(table.X) is not None
        model = _unlearned(learner.estimator, S, n_rows, names, table.n_tasks, raw)

    def rows(block):
        """Rows ``[x, s]`` of one draw of episodes, and which row of the block each is."""
        episodes, S = draw(block)
        S = np.repeat(model.standardized(S), np.diff(episodes.query_offsets), axis=0)
        X = safe_indexing(block.X, episodes.query)
        return with_columns(X, S, model.names), episodes.query

    if tasks_per_batch is None and not model.models:
        draws = (rows(table) for _ in range(n_estimators))
        models = Parallel(n_jobs=n_jobs)(
            delayed(_fit)(learner, table, draw, fit_params) for draw in draws
        )
        return replace(model, models=tuple(models))
    if fit_params:
        raise TypeError(
            f"partial_fit takes no further arguments; got {sorted(fit_params)}. Use "
            "tasks_per_batch=None."
        )
    models = copy.deepcopy(model.models)  # estimators change in place
    if not models:
        models = tuple(clone(learner.estimator) for _ in range(n_estimators))
    size = tasks_per_batch or table.n_tasks
    starts = np.arange(0, table.n_tasks, size)
    for _ in range(1 if tasks_per_batch is None else n_epochs):
        for lo in rng.permutation(starts):
            hi = min(lo + size, table.n_tasks)
            block = table.block(lo, hi)
            for one in models:
                Z, index = rows(block)
                _partial_fit(one, learner.classes, Z, block, index)
        model = replace(model, models=models)
        if report(model):
            break
    return model


def _fit(learner, table, draw, fit_params):
    """The wrapped estimator fitted on rows ``[x, s]``.

    The draw is one argument: joblib's Dask backend would put arrays that are arguments themselves
    on one worker each, with which they would be lost.
    """
    Z, rows = draw
    params = cut_params(fit_params, rows, len(table.y))
    weight = None if table.sample_weight is None else table.sample_weight[rows]
    return learner.fit_one(Z, table.y[rows], weight, params)


def _partial_fit(model, classes, Z, table, rows):
    """One pass of ``partial_fit`` over rows ``[x, s]``."""
    params = {} if classes is None else {"classes": classes}
    if table.sample_weight is not None:
        check_takes_weight(model)
        params["sample_weight"] = table.sample_weight[rows]
    model.partial_fit(Z, table.y[rows], **params)
