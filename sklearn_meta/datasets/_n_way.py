"""N-way tasks drawn from one table of labelled rows: each shows some of its classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ..tasks.ids import factorize_ids, missing_ids
from ..tasks.rows import n_rows_of, safe_indexing
from ..tasks.task import Task
from ..tasks.validation import as_table, plain

__all__ = ["make_n_way_tasks"]


def make_n_way_tasks(
    X: ArrayLike,
    y: ArrayLike,
    n_tasks: int = 100,
    n_way: int = 5,
    n_rows: int | tuple[int, int] = 20,
    *,
    n_shots: int | None = None,
    classes: Sequence[Any] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw N-way tasks from a table of labelled rows.

    Every task is to tell apart ``n_way`` classes, drawn without replacement, by ``n_rows`` rows of
    each. For few-shot learning of new classes draw the meta-train tasks from some classes and the
    others from the rest: ``classes``.

    Parameters
    ----------
    X : array-like or dataframe of shape (n_samples, n_columns)
        The rows.
    y : array-like of shape (n_samples,)
        Their labels, of any type.
    n_tasks : int, default=100
        Number of tasks.
    n_way : int, default=5
        Number of classes of a task.
    n_rows : int, default=20
        Rows of each class of a task, drawn without replacement.
    n_shots : int, default=None
        So many of the rows of each class are the fixed support of its task, less than ``n_rows``.
        None: the rows are not split, and every episode draws its own support.
    classes : sequence, default=None
        The labels that the classes of tasks are drawn from; None: all of ``y``.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1`` and ``n_way * n_rows`` rows, class after class, the labels as
        they are in ``y``. Different tasks may share rows.

    Raises
    ------
    ValueError
        If a label is missing, ``classes`` names one that ``y`` does not have, there are fewer than
        ``n_way`` of them, or one has fewer than ``n_rows`` rows.

    References
    ----------
    Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), Matching networks for one shot
    learning, NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_meta.datasets import make_n_way_tasks
    >>> X, y = load_iris(return_X_y=True)
    >>> make_n_way_tasks(X, y, n_tasks=2, n_way=2, n_rows=6, n_shots=1, random_state=0)
    [Task(id=0, n_rows=12), Task(id=1, n_rows=12)]
    """
    rng = check_random_state(random_state)
    X, y = as_table(X), np.asarray(y)
    if y.ndim != 1 or len(y) != n_rows_of(X):
        raise ValueError(f"X has {n_rows_of(X)} rows, and y the shape {y.shape}: one label a row.")
    if len(missing := np.flatnonzero(missing_ids(y))):
        raise ValueError(f"row {missing[0]}: its label is missing ({plain(y[missing[0]])!r}).")
    labels, codes = factorize_ids(y)
    rows = [np.flatnonzero(codes == c) for c in range(len(labels))]
    shown = _places(labels, classes)
    if not 1 <= n_way <= len(shown):
        some = [plain(labels[c]) for c in shown[:20]]
        raise ValueError(f"n_way={n_way}: there are {len(shown)} classes, {some}.")
    for c in shown:
        if len(rows[c]) < n_rows:
            raise ValueError(
                f"n_rows={n_rows}: there are {len(rows[c])} rows of the class {plain(labels[c])!r}."
                " Lower n_rows, or leave it out of classes."
            )
    if n_shots is not None and not 0 <= n_shots < n_rows:
        raise ValueError(
            f"n_shots={n_shots}: of n_rows={n_rows} rows of each class some must be left to judge "
            f"by; set it to 0 to {n_rows - 1}."
        )
    support = None if n_shots is None else np.tile(np.arange(n_rows) < n_shots, n_way)
    tasks = []
    for id_ in range(n_tasks):
        own = rng.choice(shown, n_way, replace=False)
        drawn = np.concatenate([rng.choice(rows[c], n_rows, replace=False) for c in own])
        tasks.append(Task(safe_indexing(X, drawn), y[drawn], id=id_, support=support))
    return tasks


def _places(labels, classes):
    """The places of classes among the labels, sorted by label where labels have an order."""
    if classes is None:
        chosen = range(len(labels))
    else:
        known = {plain(label): c for c, label in enumerate(labels)}
        chosen = []
        for label in dict.fromkeys(plain(label) for label in classes):
            if label not in known:
                raise ValueError(f"classes: {label!r} is not among the labels of y.")
            chosen.append(known[label])
    try:
        return np.array(sorted(chosen, key=lambda c: labels[c]), dtype=np.intp)
    except TypeError:  # labels of several types have no order
        return np.array(sorted(chosen), dtype=np.intp)
