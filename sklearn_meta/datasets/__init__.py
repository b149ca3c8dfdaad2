"""Generators of tasks."""

from ._linear import make_linear_tasks

__all__ = ["make_linear_tasks"]
