"""Docstrings with parts that several classes share."""

import re
from collections.abc import Callable
from textwrap import dedent, indent
from typing import TypeVar

__all__ = ["documented", "sharing_parts"]

T = TypeVar("T")
PLACE = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)
SHARED = {
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
