"""Linear tasks whose coefficients depend on side information."""

from math import pi

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ..tasks.task import Task

__all__ = ["make_circle_tasks", "make_cluster_tasks"]


def make_cluster_tasks(
    n_tasks: int = 100,
    n_rows: int = 20,
    n_features: int = 20,
    *,
    means: ArrayLike = (4.0, -4.0),
    input_means: ArrayLike = (1.0, -1.0),
    noise: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw linear tasks from clusters that differ in their coefficients and in their inputs.

    A task draws its cluster c; its coefficients are ``w ~ N(means[c] * 1, I)``, its rows
    ``x ~ N(input_means[c] * 1, I)``, its targets ``y = w'x + noise * e`` with standard normal e.
    So the inputs tell the clusters apart.

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_rows : int, default=20
        Rows of every task.
    n_features : int, default=20
        Number of features.
    means : sequence of float, default=(4.0, -4.0)
        What the coefficients of a cluster have in common, one number for each cluster.
    input_means : sequence of float, default=(1.0, -1.0)
        The same for the inputs.
    noise : float, default=1.0
        Standard deviation of the noise. That of the coefficients about their mean is 1.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1``; the descriptor of a task is the mapping of ``"cluster"`` to
        the number of its cluster.

    References
    ----------
    Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased
    regularization and fine tuning, NeurIPS, section 5.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_cluster_tasks
    >>> tasks = make_cluster_tasks(n_tasks=2, random_state=0)
    >>> tasks[0].descriptor["cluster"] in (0, 1)
    True
    """
    rng = check_random_state(random_state)
    tasks = []
    for id_ in range(n_tasks):
        c = int(rng.randint(len(means)))
        w = means[c] + rng.standard_normal(n_features)
        X = input_means[c] + rng.standard_normal((n_rows, n_features))
        y = X @ w + noise * rng.standard_normal(n_rows)
        tasks.append(Task(X, y, id=id_, descriptor={"cluster": c}))
    return tasks


def make_circle_tasks(
    n_tasks: int = 100,
    n_rows: int = 20,
    n_features: int = 20,
    *,
    radius: float = 8.0,
    noise: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw linear tasks whose coefficients lie around a circle.

    The side information of a task is ``s ~ U[0, 1]``, its coefficients are
    ``w = radius (cos 2 pi s, sin 2 pi s, 0, ..., 0) + N(0, I)``, its rows ``x ~ N(0, I)``, its
    targets ``y = w'x + noise * e`` with standard normal e.

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_rows : int, default=20
        Rows of every task.
    n_features : int, default=20
        Number of features, 2 or more.
    radius : float, default=8.0
        Of the circle.
    noise : float, default=1.0
        Standard deviation of the noise. That of the coefficients about the circle is 1.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1``; the descriptor of a task is the mapping of ``"s"`` to its
        own.

    References
    ----------
    Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased
    regularization and fine tuning, NeurIPS, section 5.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_circle_tasks
    >>> tasks = make_circle_tasks(n_tasks=2, random_state=0)
    >>> 0 <= tasks[0].descriptor["s"] < 1
    True
    """
    rng = check_random_state(random_state)
    tasks = []
    for id_ in range(n_tasks):
        s = float(rng.uniform())
        w = rng.standard_normal(n_features)
        w[:2] += radius * np.array([np.cos(2 * pi * s), np.sin(2 * pi * s)])
        X = rng.standard_normal((n_rows, n_features))
        y = X @ w + noise * rng.standard_normal(n_rows)
        tasks.append(Task(X, y, id=id_, descriptor={"s": s}))
    return tasks
