r"""Sums per task, from which hierarchical linear models are fitted without the rows.

For squared loss the moments of the rows of a task are all that its rows say,

    n = sum_i w_i,   sum_i w_i a_i,   sum_i w_i a_i b_i     for columns a, b among x and y,

and sums of parts add up to those of the whole. So any engine that can group and sum reduces the
rows where they lie, in files or on a cluster, and one machine fits the model.

The sums are of the columns as they are. Squares of a column whose mean is more than a million
times its standard deviation lose the digits that matter: subtract a constant from it first.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.mixed_model import Moments
from .ids import as_ids, factorize_ids
from .table import TaskTable, check_ids, padded_batches, split_ids
from .validation import (
    as_table,
    as_weight,
    check_features,
    check_target,
    column_names,
    plain,
)

__all__ = ["read_summaries", "summary_terms", "task_summaries"]

COUNT = "n"
ROUNDING = 1e-9  # by how much sums of squares may be too small for their sums


def summary_terms(features: Iterable[str], target: str = "y") -> dict[str, tuple[str, ...]]:
    """What is summed in every task: the columns of a table of summaries.

    Parameters
    ----------
    features : list of str
        Names of the feature columns.
    target : str, default="y"
        Name of the target.

    Returns
    -------
    dict of str to tuple of str
        By the name of the sum, the columns whose product is summed; none for ``"n"``, the number of
        rows.

    Examples
    --------
    >>> from sklearn_meta import summary_terms
    >>> for name, columns in summary_terms(["price"], "sales").items():
    ...     print(name, columns)
    n ()
    price ('price',)
    sales ('sales',)
    price*price ('price', 'price')
    price*sales ('price', 'sales')
    sales*sales ('sales', 'sales')
    """
    columns = [str(name) for name in (*features, target)]
    for name in columns:
        what = "is that of the number of rows" if name == COUNT else None
        what = "occurs twice among features and target" if columns.count(name) > 1 else what
        what = "has a *, as names of products have" if "*" in name else what
        if what:
            raise ValueError(f"the name {name!r} {what}; rename the column.")
    terms = {COUNT: ()} | {name: (name,) for name in columns}
    for i, a in enumerate(columns):
        terms |= {f"{a}*{b}": (a, b) for b in columns[i:]}
    return terms


def task_summaries(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    task_column: str | int | None = None,
    target: str = "y",
    sample_weight: ArrayLike | None = None,
) -> Any:
    """Sum the rows of every task of a long table.

    Tables of parts of the rows add up: group them by the id and sum.

    Parameters
    ----------
    X : array-like or dataframe of shape (n_rows, n_columns)
        Numbers, besides the ids.
    y : array-like of shape (n_rows,)
        The targets.
    groups : array-like of shape (n_rows,), default=None
        The task id of every row.
    task_column : str or int, default=None
        Or the column of ``X`` that holds it.
    target : str, default="y"
        What the sums of ``y`` are called.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights, which multiply every term.

    Returns
    -------
    dict of str to ndarray of shape (n_tasks,), or dataframe
        The column ``"task"`` (or ``task_column``, where it is a name) and those of
        :func:`summary_terms`; a dataframe of the same library (pandas, polars), if X is one.
        Features of an array are called ``x0``, ``x1``, ...

    See Also
    --------
    HierarchicalBayes.meta_fit_summaries : Fits from such a table.

    Examples
    --------
    >>> from sklearn_meta import task_summaries
    >>> table = task_summaries([[1.0], [2.0], [5.0]], [1.0, 3.0, 4.0], groups=["a", "a", "b"])
    >>> table["task"].tolist(), table["n"].tolist(), table["x0*y"].tolist()
    (['a', 'b'], [2.0, 1.0], [7.0, 20.0])
    """
    given = as_table(X)
    X, ids, _ = split_ids(given, groups, task_column)
    names = column_names(X) or [f"x{j}" for j in range(X.shape[1])]
    terms = summary_terms(names, target)

    def where(i):
        return f"task {plain(ids[i])!r}, row {i}"

    X = check_features(X, where=where, dtype=(np.float64,))
    y = check_target(y, classifier=False, where=where)
    if len(y) != len(X):
        raise ValueError(f"X has {len(X)} rows and y {len(y)}.")
    weight = as_weight(sample_weight, len(X), where=where)
    table = TaskTable.from_rows(X, np.asarray(y, dtype=np.float64), ids, weight)
    table = table.without_weightless(keeps_tasks=False)
    M = Moments.from_batches(
        padded_batches(table), table.n_tasks, X.shape[1], np.zeros(X.shape[1] + 1)
    ).M
    i, j = np.triu_indices(len(M))  # in the order of the terms
    id_name = task_column if isinstance(task_column, str) else "task"
    if id_name in terms:
        raise ValueError(f"the name {id_name!r} is that of the task ids; rename the column.")
    columns = {id_name: table.ids}
    columns |= dict(zip(terms, np.array(M[i, j]), strict=True))
    return _like(given, columns)


def _like(table, columns):
    """Columns as a dataframe of the library of a table; a dict for arrays."""
    library = type(table).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return columns
    columns = {name: values.tolist() for name, values in columns.items()}
    return type(table)(columns)


def read_summaries(table, target="y", task_column="task"):
    """Read a table of summaries, see :func:`task_summaries`.

    Returns
    -------
    features : list of str
    moments : Moments
        Of ``[1, x, y] - shift``.
    shift : ndarray of shape (n_features + 1,)
        Means of all rows.
    """
    if _names(table) is None:
        raise TypeError(
            "the table of summaries is a dict of columns or a dataframe, as task_summaries makes "
            f"it; got {type(table).__name__}."
        )
    names = list(map(str, _names(table)))
    single = [n for n in names if "*" not in n and n not in (COUNT, task_column, target)]
    features = [n for n in single if f"{n}*{n}" in names]
    terms = summary_terms(features, target)
    missing = [name for name in (task_column, *terms) if name not in names]
    if missing or not features:
        what = f"no column {missing[0]!r}" if missing else "no features"
        raise ValueError(
            f"the table of summaries has {what}; needed are {task_column!r} and those of "
            f"summary_terms(features, target={target!r}). Its columns are {names[:20]}."
        )
    ids = as_ids(np.asarray(table[task_column]))
    check_ids(ids, len(ids))
    codes = factorize_ids(ids)[1]
    if len(codes) and codes.max() + 1 < len(codes):
        again = ids[np.argmax(np.bincount(codes)[codes] > 1)]
        raise ValueError(
            f"task {plain(again)!r} has several rows: group the parts by {task_column!r} and sum "
            "them first."
        )
    if len(ids) == 0:
        raise ValueError("no tasks: the table of summaries is empty.")
    p = len(features) + 2
    M = np.empty((p, p, len(ids)))
    for (i, j), name in zip(zip(*np.triu_indices(p), strict=True), terms, strict=True):
        M[i, j] = M[j, i] = _sums(table[name], name, ids)
    _check_moments(M, [COUNT, *features, target], ids)
    shift = M[0, 1:].sum(axis=1) / M[0, 0].sum()
    return features, Moments(M, np.zeros((0, len(ids)))).rescaled(shift, np.ones(p - 1)), shift


def _names(table):
    if isinstance(table, dict):
        return table.keys()
    return getattr(table, "column_names", getattr(table, "columns", None))


def _sums(values, name, ids):
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"column {name!r} of the table of summaries is no numbers.") from None
    if values.shape != ids.shape:
        raise ValueError(
            f"column {name!r} of the table of summaries has shape {values.shape}, and there are "
            f"{len(ids)} tasks."
        )
    bad = ~np.isfinite(values)
    if bad.any():
        t = int(np.argmax(bad))
        raise ValueError(f"task {plain(ids[t])!r}: {name!r} is {values[t]:g}; sums are numbers.")
    return values


def _check_moments(M, names, ids):
    """Sums of squares are at least what their sums say, and products at most what squares say."""
    n = M[0, 0]
    if (n <= 0).any():
        t = int(np.argmax(n <= 0))
        raise ValueError(
            f"task {plain(ids[t])!r}: {COUNT!r} is {n[t]:g}; leave tasks without rows out."
        )
    for i, j in zip(*np.triu_indices(len(M), 1), strict=True):  # Cauchy and Schwarz
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            least = M[i, j] * (M[i, j] / M[i, i])
        bad = M[j, j] < least * (1 - ROUNDING)
        if bad.any():
            t = int(np.argmax(bad))
            if i == 0:
                found = (
                    f"{names[j] + '*' + names[j]!r} is {M[j, j, t]:g}, and {n[t]:g} rows of sum "
                    f"{M[0, j, t]:g} have squares of {least[t]:g} at least"
                )
            else:
                found = (
                    f"the sum of {names[i]!r} times {names[j]!r} is {M[i, j, t]:g}, and their "
                    f"squares allow {np.sqrt(M[i, i, t] * M[j, j, t]):g} at most"
                )
            raise ValueError(f"task {plain(ids[t])!r}: {found}. Sums must be of the same rows.")
