"""Sine curves of random amplitude and phase, the first benchmark of few-shot regression."""

from math import pi

import numpy as np
from sklearn.utils import check_random_state

from ..tasks.task import Task

__all__ = ["make_sinusoid_tasks"]


def make_sinusoid_tasks(
    n_tasks: int = 100,
    n_rows: int | tuple[int, int] = 20,
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, pi),
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> list[Task]:
    """Draw sine curves: ``y = A sin(x - phase)``, with x uniform on [-5, 5].

    Parameters
    ----------
    n_tasks : int, default=100
        Number of tasks.
    n_rows : int or (int, int), default=20
        Rows of every task, or the range, both ends included, that it is drawn from.
    amplitude : (float, float), default=(0.1, 5.0)
        The range that the amplitude A of a task is drawn from, uniformly.
    phase : (float, float), default=(0, pi)
        The range that its phase is drawn from, uniformly.
    noise : float, default=0.0
        Standard deviation of the noise of y.
    random_state : int, RandomState instance or None, default=None
        The seed.

    Returns
    -------
    list of Task
        With ids 0 to ``n_tasks - 1``; the descriptor of a task is the mapping of
        ``"amplitude"`` and ``"phase"`` to its own.

    References
    ----------
    Finn, Abbeel, Levine (2017), Model-agnostic meta-learning for fast adaptation of deep networks,
    ICML, section 5.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_meta.datasets import make_sinusoid_tasks
    >>> tasks = make_sinusoid_tasks(n_tasks=2, n_rows=5, random_state=0)
    >>> tasks
    [Task(id=0, n_rows=5), Task(id=1, n_rows=5)]
    >>> own = tasks[1].descriptor
    >>> np.allclose(tasks[1].y, own["amplitude"] * np.sin(tasks[1].X[:, 0] - own["phase"]))
    True
    """
    rng = check_random_state(random_state)
    low, high = (n_rows, n_rows) if np.ndim(n_rows) == 0 else n_rows
    tasks = []
    for id_ in range(n_tasks):
        own = {"amplitude": float(rng.uniform(*amplitude)), "phase": float(rng.uniform(*phase))}
        x = rng.uniform(-5.0, 5.0, rng.randint(low, high + 1))
        y = own["amplitude"] * np.sin(x - own["phase"]) + noise * rng.standard_normal(len(x))
        tasks.append(Task(x[:, None], y, id=id_, descriptor=own))
    return tasks
