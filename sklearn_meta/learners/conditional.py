"""Learners that are trained on rows ``[x, s]``, s the vector of a support of the task.

Every draw of episodes deals each row to one query and gives it the vector of a support that does
not hold it (``tasks/supports.py``). One learner is trained on each draw; the predictions of all are
averaged (``learners/conditioned.py``).
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ..kernels.scaling import nonzero_scale
from ..tasks.rows import safe_indexing
from ..tasks.supports import draw_episodes, take_rows
from ..tasks.validation import column_names
from .conditioned import with_columns

__all__ = ["Conditional", "learn_conditional"]

N_BLOCKS = 3  # queries that the rows of a task are dealt to in one draw


@dataclass(frozen=True, eq=False)
class Conditional:
    """Learners of rows ``[x, s]``.

    Parameters
    ----------
    s_mean, s_scale : ndarray of shape (n_descriptors,)
        They see ``(s - s_mean) / s_scale``.
    models : tuple of estimators
        L, one for each draw of episodes.
    raw : bool
        Whether they see dataframes as the user gave them.
    """

    s_mean: np.ndarray
    s_scale: np.ndarray
    models: tuple = ()
    raw: bool = False

    def standardized(self, S):
        return (S - self.s_mean) / self.s_scale


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
    n_estimators, n_epochs, n_jobs : int
    tasks_per_batch : int or None
    rng : numpy.random.Generator
    fit_params : dict
        Further arguments for the ``fit`` of the estimator.
    report : callable
        ``report(model)`` after each epoch; True means stop.

    Returns
    -------
    Conditional
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
        n_rows = np.diff(episodes.query_offsets)
        s_mean = np.average(S, axis=0, weights=n_rows)
        s_scale = np.sqrt(np.average((S - s_mean) ** 2, axis=0, weights=n_rows))
        raw = column_names(table.X) is not None
        model = Conditional(s_mean, nonzero_scale(s_scale, s_mean), raw=raw)

    def rows(block):
        """Rows ``[x, s]`` of one draw of episodes, and which row of the block each is."""
        episodes, S = draw(block)
        S = np.repeat(model.standardized(S), np.diff(episodes.query_offsets), axis=0)
        X = safe_indexing(block.X, episodes.query)
        return with_columns(X, S, names), episodes.query

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
    (Z, rows), n_rows = draw, len(table.y)
    params = {
        key: value[rows] if isinstance(value, np.ndarray) and len(value) == n_rows else value
        for key, value in fit_params.items()
    }
    weight = None if table.sample_weight is None else table.sample_weight[rows]
    return learner.fit_one(Z, table.y[rows], weight, params)


def _partial_fit(model, classes, Z, table, rows):
    """One pass of ``partial_fit`` over rows ``[x, s]``."""
    params = {} if classes is None else {"classes": classes}
    if table.sample_weight is not None:
        if not has_fit_parameter(model, "sample_weight"):
            raise ValueError(
                f"{type(model).__name__} does not support sample_weight; leave the weights out, or "
                "wrap an estimator that takes them."
            )
        params["sample_weight"] = table.sample_weight[rows]
    model.partial_fit(Z, table.y[rows], **params)
