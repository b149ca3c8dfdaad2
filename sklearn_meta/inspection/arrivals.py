"""A picture of a task whose rows arrive one by one."""

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..tasks.rows import n_rows_of, safe_indexing
from .display import Display, check_has, documented

__all__ = ["IntervalDisplay"]


@documented
class IntervalDisplay(Display):
    """Predictions of a task's rows as they arrive, each from the rows before it, with intervals.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Targets, in the order of arrival.
    prediction : ndarray of shape (n_rows,)
        Of row i after the rows before it.
    interval : ndarray of shape (n_rows, 2)
        Lower and upper ends.
    confidence_level : float
        How often a target should lie between them.

    {attributes}

    See Also
    --------
    AdaptationCurveDisplay : Error on many new tasks.

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes, IntervalDisplay
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, n_rows=20, random_state=0)
    >>> model = HierarchicalBayes().meta_fit(tasks[:49])
    >>> display = IntervalDisplay.from_estimator(model, tasks[49].X, tasks[49].y)
    >>> display.interval.shape
    (20, 2)
    """

    def __init__(self, *, y, prediction, interval, confidence_level) -> None:
        self.y = y
        self.prediction = prediction
        self.interval = interval
        self.confidence_level = confidence_level

    @classmethod
    @documented
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        confidence_level: float = 0.9,
        max_rows: int = 50,
        ax: Any = None,
    ) -> Self:
        """Let the rows of a new task arrive one by one.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict_interval``; it does not change.
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows of one task, in the order of arrival.
        y : array-like of shape (n_rows,)
            The targets.
        confidence_level : float, default=0.9
            Of the intervals.
        max_rows : int, default=50
            How many rows arrive at most.
        {drawn}
        """
        what = "predict_interval; HierarchicalBayes and MetaRegressor have"
        check_has(estimator, "predict_interval", what)
        model, y = copy.copy(estimator), np.asarray(y)
        n = min(max_rows, n_rows_of(X))
        prediction, interval = np.empty(n), np.empty((n, 2))
        for i in range(n):
            seen, row = np.arange(i), np.array([i])
            model.adapt(safe_indexing(X, seen), y[seen])
            prediction[i] = model.predict(safe_indexing(X, row))[0]
            interval[i] = model.predict_interval(
                safe_indexing(X, row), confidence_level=confidence_level
            )[0]
        return cls(
            y=y[:n].astype(float),
            prediction=prediction,
            interval=interval,
            confidence_level=confidence_level,
        ).plot(ax=ax)

    def _draw(self, ax):
        at, (low, high) = np.arange(len(self.y)), self.interval.T
        inside = (low <= self.y) & (self.y <= high)
        name = f"{100 * self.confidence_level:g} % interval"
        ax.fill_between(at, low, high, step="mid", color="#0072B2", alpha=0.2, lw=0, label=name)
        ax.plot(at, self.prediction, drawstyle="steps-mid", color="#0072B2", label="prediction")
        ax.plot(at[inside], self.y[inside], "ko", ms=4, label="target")
        ax.plot(at[~inside], self.y[~inside], "D", color="#D55E00", ms=5, label="target outside")
        ax.set(xlabel="Known rows of the task", ylabel="Target")
        ax.legend()
