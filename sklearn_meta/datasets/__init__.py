"""Generators of tasks."""

from ._linear import make_linear_tasks
from ._sinusoid import make_sinusoid_tasks

__all__ = ["make_linear_tasks", "make_sinusoid_tasks"]
