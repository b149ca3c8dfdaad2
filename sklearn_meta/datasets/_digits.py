"""N-way tasks of written digits: each task shows some of the ten digits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from ..tasks.task import Task
from ._n_way import make_n_way_tasks

__all__ = ["make_digits_tasks"]


def make_digits_tasks(
    n_tasks: int = 100,
    n_way: int = 5,
    n_rows: int | tuple[int, int] = 20,
    *,
    classes: Sequence[Any] | None = tuple(range(10)),
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw N-way tasks from the digits of scikit-learn, images of 8 x 8 pixels.

    Every task is to tell apart ``n_way`` digits, drawn from ``classes``. For few-shot learning of
    new classes keep some digits out of the meta-train tasks.

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_way : int, default=5
        Number of classes of a task.
    n_rows : int, default=20
        Rows of each class of a task, drawn without replacement.
    classes : sequence of int, default=(0, 1, ..., 9)
        The digits that the classes of tasks are drawn from.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1``. X has ``n_way * n_rows`` rows and 64 columns, the darkness of
        the pixels from 0 to 1; y are the digits.

    Raises
    ------
    ValueError
        If ``classes`` are not at least ``n_way`` different digits, or one has fewer than ``n_rows``
        images (all have 174 or more).

    See Also
    --------
    make_n_way_tasks : The same from any table of labelled rows.
    sklearn.datasets.load_digits : The images.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_digits_tasks
    >>> make_digits_tasks(n_tasks=2, n_way=3, n_rows=4, random_state=0)
    [Task(id=0, n_rows=12), Task(id=1, n_rows=12)]
    """
    X, y = load_digits(return_X_y=True)
    return make_n_way_tasks(
        X / 16, y, n_tasks, n_way, n_rows, classes=classes, random_state=random_state
    )
