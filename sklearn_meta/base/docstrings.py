"""Docstrings with parts that several classes share."""

import re
from collections.abc import Callable
from textwrap import dedent, indent
from typing import TypeVar

__all__ = ["documented", "sharing_parts"]

T = TypeVar("T")
PLACE = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)
SHARED = {
    # -- of methods --
    "long_table": """
    X : array-like or dataframe of shape (n_rows, n_columns), or list of Task
        The rows of all tasks. A list of :class:`Task` is handed to :meth:`meta_fit`.
    y : array-like of shape (n_rows,)
        The targets.
    groups : array-like of shape (n_rows,), default=None
        The task id of every row. Not needed with ``task_column``. Without any ids all rows are one
        task.
    """,
    "query": """
    X : array-like or dataframe of shape (n_rows, n_columns)
        The rows.
    groups : array-like of shape (n_rows,), default=None
        Task ids. A remembered id: that task's adapted model; an unknown or missing id: the
        meta-model. Without ids: the task last given to :meth:`adapt` without ids, else the
        meta-model.
    """,
    "self": """
    Returns
    -------
    self : object
        The estimator.
    """,
    # -- of classes --
    "ids": """
    task_column : str or int, default=None
        The column of X that holds the task id; it is taken out before the estimator sees X.
    handle_unknown : {"prior", "warn", "error"}, default="prior"
        What an id that was never seen means in ``predict``: the meta-model predicts, with a warning
        or without one, or it is an error.
    """,
    "task_ids_": """
    task_ids_ : ndarray of shape (n_tasks,)
        Ids of the remembered tasks.
    """,
    "tasks": """
    {task_ids_}
    classes_ : ndarray of shape (n_classes,)
        The classes over all tasks, of a classifier.
    {table}
    """,
    "table": """
    n_tasks_ : int
        Number of meta-train tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.
    """,
}


def sharing_parts(parts: dict[str, str]) -> Callable[[T], T]:
    """Make a decorator of classes and functions with lines ``{name}`` in their docstrings.

    They are filled with these parts, and with those that all share.
    """
    texts = {name: dedent(text).strip() for name, text in (SHARED | parts).items()}

    def filled(place):
        margin, name = place.groups()
        return indent(PLACE.sub(filled, texts[name]), margin)

    def documented(item):
        if item.__doc__ is not None:  # as it is with python -OO
            item.__doc__ = PLACE.sub(filled, item.__doc__)
        return item

    return documented


documented = sharing_parts({})
