"""Linear tasks with coefficients drawn from one prior."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ..tasks.task import Task

__all__ = ["make_linear_tasks"]


def make_linear_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 20,
    n_features: int = 2,
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    noise: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw tasks from a linear mixed model.

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_rows : int or (int, int), default=20
        Rows of every task, or the range, both ends included, that it is drawn from.
    n_features : int, default=2
        Number of features, standard normal.
    mean : array-like of shape (n_features + 1,), default=None
        Prior mean of ``[intercept, coefficients]``; 0, 1, ..., n_features if None.
    covariance : array-like of shape (n_features + 1, n_features + 1), default=None
        Their prior covariance; the identity if None.
    noise : float, default=1.0
        Standard deviation of the noise of y.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1``.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> make_linear_tasks(n_tasks=2, n_rows=5, random_state=0)
    [Task(id=0, n_rows=5), Task(id=1, n_rows=5)]
    """
    rng = check_random_state(random_state)
    mean = np.arange(n_features + 1.0) if mean is None else np.asarray(mean, dtype=float)
    covariance = np.eye(n_features + 1) if covariance is None else np.asarray(covariance)
    low, high = (n_rows, n_rows) if np.ndim(n_rows) == 0 else n_rows
    tasks = []
    for id_ in range(n_tasks):
        w = rng.multivariate_normal(mean, covariance)
        X = rng.standard_normal((rng.randint(low, high + 1), n_features))
        y = w[0] + X @ w[1:] + noise * rng.standard_normal(len(X))
        tasks.append(Task(X, y, id=id_))
    return tasks
