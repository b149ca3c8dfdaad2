"""Generators of tasks."""

from ._digits import make_digits_tasks
from ._linear import make_linear_tasks
from ._sinusoid import make_sinusoid_tasks

__all__ = ["make_digits_tasks", "make_linear_tasks", "make_sinusoid_tasks"]
