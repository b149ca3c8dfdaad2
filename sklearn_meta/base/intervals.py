"""Deviations and intervals of predictions, as far as algorithms share them: question and answer."""

import warnings
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier

from .calls import BY_NAME, otherwise
from .docstrings import documented
from .typed import available_if

__all__ = ["DeviationMixin", "IntervalMixin", "warn_of_few_tasks"]


class IntervalMixin(ABC):
    """``predict_interval``, of regressors that know their uncertainty."""

    @abstractmethod
    def _centres(self, X, groups, level):
        """Centres of the intervals, half their widths, and their dtype."""

    def _has_intervals(self):
        return not is_classifier(self)

    @available_if(lambda self: self._has_intervals())
    def predict_interval(
        self, X: ArrayLike, *, confidence_level: float = 0.9, groups: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Predict an interval for the target of each row.

        Intervals are calibrated on meta-train tasks that are left out, for the number of rows that
        is known of a task; what is left out of what, the class says. They hold for new tasks: of
        100 intervals of level 0.9, about 90 contain the target.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        confidence_level : float, default=0.9
            Between 0 and 1.
        groups : array-like of shape (n_rows,), default=None
            Task ids, as in :meth:`predict`.

        Returns
        -------
        ndarray of shape (n_rows, 2)
            Lower and upper bounds, in the units of y.
        """
        if not (isinstance(confidence_level, Real) and 0 < confidence_level < 1):
            raise ValueError(
                f"confidence_level={confidence_level!r} is not between 0 and 1, as 0.9 is."
            )
        mean, half, dtype = self._centres(X, groups, confidence_level)
        return np.stack([mean - half, mean + half], axis=1).astype(dtype, copy=False)


class DeviationMixin(IntervalMixin):
    """``predict`` that tells standard deviations, too."""

    @abstractmethod
    def _deviations(self, X, groups):
        """Means and standard deviations of new targets, of a regressor."""

    @overload
    def predict(
        self, X: ArrayLike, *, groups: ArrayLike | None = None, return_std: Literal[False] = False
    ) -> NDArray[Any]: ...

    @overload
    def predict(
        self, X: ArrayLike, *, groups: ArrayLike | None = None, return_std: Literal[True]
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @otherwise(BY_NAME)
    @documented
    def predict(
        self, X: ArrayLike, *, groups: ArrayLike | None = None, return_std: bool = False
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Predict each row by the model of its task.

        Parameters
        ----------
        {query}
        return_std : bool, default=False
            Whether to return the predictive standard deviation, too, of a regressor.

        Returns
        -------
        y : ndarray of shape (n_rows,)
            Means, or labels of a classifier.
        std : ndarray of shape (n_rows,)
            Only with ``return_std``: the deviation of a new target, of noise and of what is not
            known of the task, in the units of y. What was learned over tasks is taken as known, but
            for the prior mean of coefficients.
        """
        if not return_std:
            return self._predict("predict", X, groups)
        if is_classifier(self):
            raise TypeError("return_std is for regressors; predict_proba tells what is not known.")
        mean, std = self._deviations(X, groups)
        return mean, std.astype(mean.dtype, copy=False)


def warn_of_few_tasks(n_tasks, level):
    """Say so where tasks are too few for intervals of a level to be calibrated on them."""
    if n_tasks < level / (1 - level):
        warnings.warn(
            f"Intervals of level {level:g} cannot be calibrated on {n_tasks} tasks: they are those "
            "of Student's t, wide where few tasks say how tasks differ.",
            UserWarning,
            stacklevel=4,
        )
