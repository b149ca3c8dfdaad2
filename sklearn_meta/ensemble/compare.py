"""A table of candidates, for those who want to choose one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.multiclass import type_of_target

from ..base.html import Results
from ..tasks.task import Tasks, as_tasks
from .candidates import pairs_of
from .meta import MetaClassifier, MetaRegressor

__all__ = ["compare", "comparison", "standard_error"]


def compare(
    tasks: Tasks,
    estimators: Sequence[tuple[str, Any]] | None = None,
    **params: Any,
) -> dict[str, NDArray[Any]]:
    """Compare meta-estimators on tasks that they have not seen, in pairs.

    Parameters
    ----------
    tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
        Three tasks or more.
    estimators : list of (str, meta-estimator), default=None
        What to compare; None: the candidates of :class:`MetaRegressor`, or of
        :class:`MetaClassifier` where targets are labels.
    **params : dict
        Further parameters of these: ``n_shots``, ``cv``, ``random_state``, ``n_jobs``, ...

    Returns
    -------
    dict of str to ndarray
        One entry per row of a table: ``estimator``, ``n_shots``, ``loss`` (mean over tasks of the
        squared error, or of the log-loss), ``standard_error`` of it, ``difference`` to the best one
        with as many rows, ``difference_error`` (the standard error of the difference in pairs; 0 of
        the best one), ``n_tasks``. ``pandas.DataFrame(result)`` makes it a table.

    See Also
    --------
    cross_validate_tasks : The same for any score, and for Pipelines and searches.
    ComparisonDisplay : A picture of it.

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes, Pooled, compare
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, random_state=0)
    >>> candidates = [("pooled", Pooled()), ("hierarchical", HierarchicalBayes())]
    >>> table = compare(tasks, candidates, n_shots=(5,), random_state=0)
    >>> table["estimator"][table["loss"].argmin()] != "pooled"
    True
    """
    tasks = list(as_tasks(tasks))
    if estimators is not None:
        estimators = pairs_of(estimators)
        labelled = any(is_classifier(model) for _, model in estimators[:1])
    else:
        labelled = any(type_of_target(task.y) in ("binary", "multiclass") for task in tasks)
        labelled &= any(np.asarray(task.y).dtype.kind != "f" for task in tasks)
    kind = MetaClassifier if labelled else MetaRegressor
    return comparison(kind(estimators, **params).meta_fit(tasks))


def comparison(model):
    """The table of :func:`compare`, of a fitted :class:`MetaRegressor` or MetaClassifier."""
    results, rows = model.results_, []
    if not results:
        raise ValueError(
            f"{model.n_tasks_} tasks are too few to compare anything on; pass three or more."
        )
    for k in np.unique(results["n_shots"]):
        at = results["n_shots"] == k
        names = list(dict.fromkeys(results["estimator"][at]))
        loss = -results["score"][at].reshape(len(names), -1)
        best = loss[loss.mean(axis=1).argmin()]
        for name, own in zip(names, loss, strict=True):
            pairs = own - best
            error = standard_error(own), standard_error(pairs)
            rows.append((name, k, own.mean(), error[0], pairs.mean(), error[1], len(own)))
    keys = ("estimator", "n_shots", "loss", "standard_error", "difference", "difference_error")
    return Results.of_rows((*keys, "n_tasks"), rows)


def standard_error(values):
    """The standard error of a mean; NaN of a single value."""
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
