"""What a model conditioned on descriptors looks at: features, or the kind of the task?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from ..algorithms import BatchMetaLearner
from ..tasks.rows import safe_indexing
from ..tasks.task import Tasks, as_tasks, split_support
from ..tasks.validation import column_names

__all__ = ["descriptor_importance"]


def descriptor_importance(
    estimator: Any,
    tasks: Tasks,
    *,
    n_shots: int = 5,
    n_repeats: int = 5,
    random_state: int = 0,
) -> dict[str, NDArray[Any]]:
    """Permutation importance of descriptor entries, against that of features.

    A support is drawn from each task and described; the other rows are predicted. An entry of the
    descriptor is then exchanged between tasks, a feature between rows, and the score falls by as
    much as the model relies on it.

    Parameters
    ----------
    estimator : BatchMetaLearner
        Fitted, with ``conditioning="features"``.
    tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
        Tasks that it has not seen; those with at most ``n_shots`` rows are left out.
    n_shots : int, default=5
        Number of support rows.
    n_repeats : int, default=5
        Number of permutations of each column.
    random_state : int, default=0
        Seeds supports and permutations.

    Returns
    -------
    dict of str to ndarray
        ``name`` and ``kind`` (``"descriptor"`` or ``"feature"``) of every column, in the order in
        which the learner sees them, features first; ``importances`` of shape (n_columns,
        n_repeats), what R² (of a classifier, accuracy) loses; ``importances_mean`` and
        ``importances_std``; ``score``, what it is without permutation.

    See Also
    --------
    sklearn.inspection.permutation_importance : The same for an estimator without tasks.

    References
    ----------
    Breiman (2001), Random forests, Machine Learning 45.

    Examples
    --------
    >>> from sklearn_meta import BatchMetaLearner, descriptor_importance
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, covariance=[[9, 0], [0, 0]], n_features=1,
    ...                           mean=[0, 1], random_state=0)
    >>> model = BatchMetaLearner(random_state=0).meta_fit(tasks[:60])
    >>> result = descriptor_importance(model, tasks[60:])
    >>> str(result["name"][result["importances_mean"].argmax()])
    'offset_y'
    """
    if not isinstance(estimator, BatchMetaLearner) or estimator.conditioning != "features":
        raise TypeError(
            'descriptor_importance needs a BatchMetaLearner with conditioning="features"; got '
            f"{estimator}."
        )
    check_is_fitted(estimator)
    X, y, params, index = _episodes(estimator, tasks, n_shots, random_state)
    metric = accuracy_score if is_classifier(estimator) else r2_score
    learner, rng = estimator._predicts, np.random.default_rng([random_state, 1])

    def score(X, params):
        return metric(y, learner.predict("predict", params, X, index))

    n_features, best = X.shape[1], score(X, params)
    lost = np.empty((n_features + params.shape[1], n_repeats))
    for j in range(len(lost)):
        for repeat in range(n_repeats):
            if j < n_features:
                now = score(_permuted(X, j, rng), params)
            else:
                now = score(X, _permuted(params, j - n_features, rng))
            lost[j, repeat] = best - now
    names = column_names(X) or learner.feature_names
    names = [f"x{j}" for j in range(n_features)] if names is None else list(names)
    kinds = ["feature"] * n_features + ["descriptor"] * params.shape[1]
    return {
        "name": np.array([*map(str, names), *learner.descriptor_names]),
        "kind": np.array(kinds),
        "importances": lost,
        "importances_mean": lost.mean(axis=1),
        "importances_std": lost.std(axis=1),
        "score": best,
    }


def _episodes(estimator, tasks, n_shots, seed):
    """Query rows, their targets, parameter rows, and which of these each row needs."""
    parts = []
    for t, task in enumerate(as_tasks(tasks)):
        support, query = split_support(task, n_shots, np.random.default_rng([seed, 0, t]))
        if len(support) == n_shots and len(query):
            parts.append((task.rows(support), task.rows(query)))
    if not parts:
        raise ValueError(f"no task has more than n_shots={n_shots} rows; lower n_shots.")
    supports, queries = zip(*parts, strict=True)
    (support,) = estimator._read_tasks(supports, None, reset=False, min_rows=0)
    (query,) = estimator._read_tasks(queries, None, reset=False)
    params = estimator._adapt_table(estimator._transformed(support), {})
    query = estimator._transformed(query)
    return query.X, query.y, params, query.codes


def _permuted(X, j, rng):
    """X with the values of column j exchanged between its rows."""
    order = rng.permutation(len(X))
    names = column_names(X)
    if names is not None:
        shuffled = safe_indexing(X[[names[j]]], order)
        columns = {name: X[name] for name in names}
        columns[names[j]] = getattr(shuffled[names[j]], "array", shuffled[names[j]])
        return type(X)(columns)
    X = X.copy()
    X[:, j] = X[order, j]
    return X
