"""Tasks: what one is, where they come from, how their rows are split.

A *task* is one dataset ``(X, y)`` out of many related ones. Users hand tasks over as objects, as
pairs, as a mapping, as a stream, or as one long table with a column of task ids (``table.py``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np

from .ids import has_missing_part, is_missing
from .rows import n_rows_of, ranges, safe_indexing, unmasked
from .validation import task_label

__all__ = [
    "Task",
    "Tasks",
    "as_tasks",
    "chunks",
    "fixed_support",
    "is_task_collection",
    "split_support",
    "split_support_per_class",
]


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """One dataset out of many related ones.

    Parameters
    ----------
    X : array-like or dataframe of shape (n_rows, n_features)
        The rows of the task.
    y : array-like of shape (n_rows,)
        Their targets.
    id : str, number or timestamp, default=None
        The name of the task; error messages and results carry it.
    sample_weight : array-like of shape (n_rows,), default=None
        Row weights; a weight of 2 means that the row is there twice.
    descriptor : array-like of shape (n_descriptors,) or mapping, default=None
        Side information about the task as a whole: the size of the store, the age of the patient.
    support : array-like of bool or int, default=None
        A mask or the indices of fixed support rows. ``None`` lets every episode draw its own.

    Notes
    -----
    A task is not a sequence, so that lists of tasks pass through
    :class:`~sklearn.model_selection.GridSearchCV` and the other tools that index ``X``. The data
    are checked where the task is used, together with the other tasks.

    Examples
    --------
    >>> from sklearn_meta import Task
    >>> Task([[0.0], [1.0]], [1.0, 3.0], id="store_17")
    Task(id='store_17', n_rows=2)
    """

    X: Any
    y: Any
    _: KW_ONLY
    id: Any = None
    sample_weight: Any = None
    descriptor: Any = None
    support: Any = None

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, n_rows={n_rows_of(self.X)})"

    def rows(self, index: Any) -> "Task":
        """The task with only some of its rows.

        Parameters
        ----------
        index : array-like of int or bool
            Row numbers, in the order wanted, or a mask.

        Returns
        -------
        Task
            Without fixed ``support``.
        """
        weight = (
            None if self.sample_weight is None else np.asarray(unmasked(self.sample_weight))[index]
        )
        y = safe_indexing(self.y, index)
        return replace(
            self, X=safe_indexing(self.X, index), y=y, sample_weight=weight, support=None
        )


Tasks = Iterable[Task | tuple[Any, Any]] | Mapping[Any, tuple[Any, Any]]  # what users hand over


def is_task_collection(X):
    """Whether ``X`` is a collection of tasks and not a table of rows."""
    if isinstance(X, Mapping):
        return not hasattr(X, "shape")  # some sparse arrays are mappings
    if isinstance(X, np.ndarray) and X.ndim != 1:
        return False
    return isinstance(X, (list, tuple, np.ndarray)) and len(X) > 0 and isinstance(X[0], Task)


def as_tasks(
    tasks: Tasks,
) -> Iterator[Task]:
    """Turn everything that ``meta_fit`` accepts into an iterator of :class:`Task`.

    Parameters
    ----------
    tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)

    Yields
    ------
    Task
        The first tasks come out before the last ones have been read.

    Raises
    ------
    TypeError
        If an element is neither a task nor a pair.
    ValueError
        If an id occurs twice, or if a task has no rows or unequal numbers of X and y.
    """
    if type(tasks).__name__.endswith("GroupBy"):
        raise TypeError(
            "a groupby has groups of rows, and no target: use tasks_from_table(X, y, "
            "task_column=...), or fit(X, y, groups=ids) on the table itself."
        )
    if isinstance(tasks, Mapping):
        pairs = iter(tasks.items())
    elif isinstance(tasks, Iterable) and not isinstance(tasks, (str, bytes)):
        pairs = ((None, task) for task in tasks)
    else:
        raise TypeError(
            f"tasks must be a sequence or an iterator of (X, y) pairs or Task objects, or a "
            f"mapping id -> (X, y); got {type(tasks).__name__}."
        )
    seen = {}
    for position, (id_, item) in enumerate(pairs):
        task = _as_task(id_, item, position)
        if task.id is not None:
            if type(task.id).__hash__ is None:
                raise TypeError(
                    f"task {position} (counted from 0): its id {task.id!r} is a "
                    f"{type(task.id).__name__}; ids are strings, numbers, timestamps, or tuples."
                )
            if is_missing(task.id) or has_missing_part(task.id):
                raise ValueError(
                    f"task {position} (counted from 0): its id, or a part of it, is missing "
                    f"({task.id!r}). Give it an id, or id=None to all tasks."
                )
            if task.id in seen:
                raise ValueError(
                    f"task id {task.id!r} occurs twice, as tasks {seen[task.id]} and {position} "
                    "(counted from 0). Ids must be distinct: merge the rows of a task into one "
                    "Task, or rename one of them."
                )
            seen[task.id] = position
        yield task


def _as_task(id_, item, position):
    if isinstance(item, Task):
        return item if id_ is None or item.id is not None else replace(item, id=id_)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return Task(item[0], item[1], id=id_)
    raise TypeError(
        f"{task_label(id_, position)} is of type {type(item).__name__}; expected a Task or a pair "
        "(X, y). For one long table use fit(X, y, groups=ids), or tasks_from_table."
    )


# -- stored form -----------------------------------------------------------------------------------


def split_support(task, n_shots, rng):
    """Draw the support rows of a task, ``n_shots``; the rest are its query.

    Both are row numbers. With ``task.support`` the support is drawn from it only; that for fewer
    shots is the beginning of that for more, given equal state of ``rng``.
    """
    fixed = fixed_support(task)
    if fixed is None:
        order = rng.permutation(n_rows_of(task.X))
        return order[:n_shots], order[n_shots:]
    return rng.permutation(np.flatnonzero(fixed))[:n_shots], np.flatnonzero(~fixed)


def split_support_per_class(task, n_shots, rng):
    """Draw a support with ``n_shots`` rows of every class; the rest are the query.

    As :func:`split_support`, but that the support for more shots holds that for fewer; None if some
    class has fewer rows, or none are left.
    """
    fixed = fixed_support(task)
    pool = np.arange(n_rows_of(task.X)) if fixed is None else np.flatnonzero(fixed)
    order = rng.permutation(pool)
    _, codes, counts = np.unique(np.asarray(task.y)[order], return_inverse=True, return_counts=True)
    by_class = np.argsort(codes, kind="stable")
    place = np.empty(len(order), dtype=np.intp)  # of a row among those of its class
    place[by_class], _ = ranges(counts)
    support = order[place < n_shots]
    query = order[place >= n_shots] if fixed is None else np.flatnonzero(~fixed)
    if len(query) == 0 or len(counts) == 0 or counts.min() < n_shots:
        return None
    return support, query


def fixed_support(task):
    """The fixed support rows of a task as a mask; None where episodes draw their own."""
    if task.support is None:
        return None
    fixed, support = np.zeros(n_rows_of(task.X), dtype=bool), np.asarray(task.support)
    try:
        fixed[support if support.size else support.astype(np.intp)] = True
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"support={task.support!r} is neither places of its {len(fixed)} rows nor a mask of as "
            f"many. ({error})"
        ) from error
    return fixed


def chunks(tasks: Iterator, most: int, numbers: float):
    """Lists of at most ``most`` tasks, which end once their X hold so many numbers."""
    chunk, held = [], 0
    for task in tasks:
        chunk.append(task)
        if task.X is not None:  # which is refused where there is a name for the task
            held += np.prod(getattr(task.X, "shape", None) or n_rows_of(task.X))
        if len(chunk) == most or held >= numbers:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
