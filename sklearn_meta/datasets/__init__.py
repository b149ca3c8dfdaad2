"""Generators of tasks."""

from ._conditional import make_circle_tasks, make_cluster_tasks
from ._digits import make_digits_tasks
from ._linear import make_linear_tasks
from ._n_way import make_n_way_tasks
from ._sinusoid import make_sinusoid_tasks

__all__ = [
    "make_circle_tasks",
    "make_cluster_tasks",
    "make_digits_tasks",
    "make_linear_tasks",
    "make_n_way_tasks",
    "make_sinusoid_tasks",
]
