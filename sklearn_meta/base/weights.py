"""Row weights as repetition: an argument of ``fit`` of its own, where the mathematics is exact."""

from collections.abc import Sequence
from typing import Self

from numpy.typing import ArrayLike

from ..tasks.task import Task
from .calls import BY_NAME, otherwise
from .docstrings import documented

__all__ = ["WeightedFitMixin"]


class WeightedFitMixin:
    """``fit`` of algorithms whose ``sample_weight`` means that a row is there several times."""

    @otherwise(BY_NAME)
    @documented
    def fit(
        self,
        X: ArrayLike | Sequence[Task],
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from a long table: meta-train on its tasks, then adapt to each and remember it.

        Parameters
        ----------
        {long_table}
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights; a weight of 2 means that the row is there twice.

        {self}
        """
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._fit(X, y, groups, weights)
