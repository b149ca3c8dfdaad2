"""A picture of partial pooling: each task's own estimate, and where the prior pulls it to."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..tasks.task import Tasks, as_tasks
from .display import Display, documented

__all__ = ["ShrinkageDisplay"]


@documented
class ShrinkageDisplay(Display):
    r"""Two coefficients of every task: by least squares on its rows alone, and after adaptation.

    Arrows lead from the one to the other. The ellipse has half of the prior's mass, the cross is
    its mean: the fewer rows a task has, and the noisier they are, the longer is its arrow.

    Parameters
    ----------
    own : ndarray of shape (n_tasks, 2)
        Least squares on the rows of the task; NaN of tasks with too few rows.
    adapted : ndarray of shape (n_tasks, 2)
        Coefficients of the adapted models.
    prior_mean : ndarray of shape (2,)
        Mean of the prior.
    prior_covariance : ndarray of shape (2, 2)
        Its covariance.
    names : list of str
        Of the two coefficients.

    {attributes}

    See Also
    --------
    HierarchicalBayes : What it shows.

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes, ShrinkageDisplay
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, n_features=1, random_state=0)
    >>> model = HierarchicalBayes().meta_fit(tasks)
    >>> display = ShrinkageDisplay.from_estimator(model, tasks)
    >>> display.names, display.own.shape
    (['intercept', 'x0'], (30, 2))
    """

    def __init__(self, *, own, adapted, prior_mean, prior_covariance, names) -> None:
        self.own = own
        self.adapted = adapted
        self.prior_mean = prior_mean
        self.prior_covariance = prior_covariance
        self.names = names

    @classmethod
    @documented
    def from_estimator(
        cls, estimator: Any, tasks: Tasks, *, coefs: Sequence[int | str] = (0, 1), ax: Any = None
    ) -> Self:
        """Adapt a fitted model to tasks and draw what became of their coefficients.

        Parameters
        ----------
        estimator : HierarchicalBayes
            Fitted, around a linear regressor.
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            Their rows are what it adapts to.
        coefs : pair of int or str, default=(0, 1)
            Positions in ``coef_names_`` (0 is the intercept), or names.
        {drawn}
        """
        check_is_fitted(estimator)
        tasks = list(as_tasks(tasks))
        names = list(getattr(estimator, "coef_names_", ()))
        models = estimator.adapt_many(tasks)
        heads = [model[-1] if isinstance(model, Pipeline) else model for model in models]
        if not names or np.ndim(getattr(heads[0], "coef_", None)) != 1 or "f(x)" in names:
            raise TypeError(
                "ShrinkageDisplay shows HierarchicalBayes around a linear regressor; got "
                f"{estimator!r}."
            )
        intercept = names[0] == "intercept"
        own, adapted = np.full((2, len(tasks), len(names)), np.nan)
        for t, (task, model, head) in enumerate(zip(tasks, models, heads, strict=True)):
            X = model[:-1].transform(task.X) if isinstance(model, Pipeline) else task.X
            X, y = np.asarray(X, dtype=float), np.asarray(task.y, dtype=float)
            adapted[t] = _coefs(head, intercept)
            if np.linalg.matrix_rank(np.c_[np.ones((len(X), int(intercept))), X]) == len(names):
                line = LinearRegression(fit_intercept=intercept)
                own[t] = _coefs(line.fit(X, y, task.sample_weight), intercept)
        at = [_position(coef, names) for coef in coefs]
        return cls(
            own=own[:, at],
            adapted=adapted[:, at],
            prior_mean=estimator.prior_mean_[at],
            prior_covariance=estimator.prior_covariance_[np.ix_(at, at)],
            names=[names[i] for i in at],
        ).plot(ax=ax)

    def _draw(self, ax):
        own, adapted = self.own, self.adapted
        arrow = {"arrowstyle": "->", "color": "0.6", "lw": 0.8}
        for start, end in zip(own, adapted, strict=True):
            if np.isfinite(start).all():
                ax.annotate("", xy=end, xytext=start, arrowprops=arrow, zorder=1)
        ax.scatter(*own.T, s=22, facecolors="none", edgecolors="#D55E00", label="rows of the task")
        ax.scatter(*adapted.T, s=22, color="#0072B2", label="adapted")
        angle = np.linspace(0, 2 * np.pi, 100)
        values, vectors = np.linalg.eigh(self.prior_covariance)
        root = vectors * np.sqrt(np.clip(values, 0.0, None))
        radius = np.sqrt(2 * np.log(2))  # half of a normal distribution in the plane
        circle = radius * np.stack([np.cos(angle), np.sin(angle)])
        ax.plot(*(self.prior_mean[:, None] + root @ circle), "k--", lw=1, label="half of the prior")
        ax.plot(*self.prior_mean, "kx", ms=9, label="its mean")
        x, y = (n.capitalize() if n == "intercept" else f"Coefficient of {n}" for n in self.names)
        ax.set(xlabel=x, ylabel=y)
        ax.legend()


def _coefs(linear, intercept):
    coef = np.ravel(linear.coef_)
    return np.append(linear.intercept_, coef) if intercept else coef


def _position(coef, names):
    if isinstance(coef, str):
        if coef not in names:
            raise ValueError(f"coefs names {coef!r}, which is no coefficient; known are {names}.")
        return names.index(coef)
    if not 0 <= coef < len(names):
        raise ValueError(f"coefs has {coef!r}, and there are {len(names)} coefficients: {names}.")
    return int(coef)
