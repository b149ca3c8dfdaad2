"""Pictures of a stack: what predicts after how many rows, and how good every candidate is."""

from typing import Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..ensemble.compare import compare, comparison
from ..ensemble.meta import MetaClassifier, MetaRegressor
from .display import Display, documented

__all__ = ["ComparisonDisplay", "WeightsDisplay"]

HATCHES = ("", "//", "..")  # beyond ten candidates colours come again


def _check_stack(display, estimator):
    if not isinstance(estimator, (MetaRegressor, MetaClassifier)):
        raise TypeError(
            f"{display.__name__} draws a MetaRegressor or a MetaClassifier; got {estimator!r}."
        )
    check_is_fitted(estimator)


@documented
class WeightsDisplay(Display):
    """Weights of the candidates of a stack against the number of rows that are known of a task.

    Parameters
    ----------
    n_shots : ndarray of shape (n_shots,)
        Numbers of rows.
    weights : dict of str to ndarray of shape (n_shots,)
        Of every candidate that has any.

    {attributes}

    See Also
    --------
    MetaRegressor : Learns the weights.

    Examples
    --------
    >>> from sklearn_meta import HierarchicalBayes, MetaRegressor, Pooled, WeightsDisplay
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> candidates = [("pooled", Pooled()), ("hierarchical", HierarchicalBayes())]
    >>> tasks = make_linear_tasks(n_tasks=30, random_state=0)
    >>> model = MetaRegressor(candidates, n_shots=(0, 5), random_state=0).meta_fit(tasks)
    >>> WeightsDisplay.from_estimator(model).n_shots
    array([0, 5])
    """

    def __init__(self, *, n_shots, weights) -> None:
        self.n_shots = n_shots
        self.weights = weights

    @classmethod
    @documented
    def from_estimator(cls, estimator, *, ax=None) -> Self:
        """Draw the weights of a fitted stack.

        Parameters
        ----------
        {of_stack}
        """
        _check_stack(cls, estimator)
        pairs = zip(estimator.candidates_, estimator.weights_.T, strict=True)
        weights = {name: column for name, column in pairs if column.any()}
        return cls(n_shots=estimator.shots_, weights=weights).plot(ax=ax)

    def _draw(self, ax):
        at = np.log1p(self.n_shots)
        if len(at) == 1:
            at, columns = np.array([0.0, 1.0]), [np.repeat(w, 2) for w in self.weights.values()]
        else:
            columns = list(self.weights.values())
        areas = ax.stackplot(at, columns, labels=list(self.weights), edgecolor="white")
        for i, area in enumerate(areas):
            area.set_hatch(HATCHES[i // 10 % len(HATCHES)])
        ax.set(xlim=(at[0], at[-1]), ylim=(0, 1), xlabel="Known rows of the task", ylabel="Weight")
        ax.set_xticks(at[: len(self.n_shots)], self.n_shots)
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.02, 1.0))


@documented
class ComparisonDisplay(Display):
    """Loss of every candidate relative to the best one, with standard errors in pairs.

    Parameters
    ----------
    results : dict of str to ndarray
        What :func:`compare` returned.

    {attributes}

    See Also
    --------
    compare : Computes the table.

    Examples
    --------
    >>> from sklearn_meta import ComparisonDisplay, HierarchicalBayes, Pooled
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> candidates = [("pooled", Pooled()), ("hierarchical", HierarchicalBayes())]
    >>> tasks = make_linear_tasks(n_tasks=30, random_state=0)
    >>> display = ComparisonDisplay.from_tasks(tasks, candidates, n_shots=(0, 5), random_state=0)
    >>> sorted(set(display.results["n_shots"].tolist()))
    [0, 5]
    """

    def __init__(self, *, results) -> None:
        self.results = results

    @classmethod
    @documented
    def from_tasks(cls, tasks, estimators=None, *, ax=None, **params) -> Self:
        """Compare meta-estimators by :func:`compare`, and draw the result.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            Three tasks or more.
        estimators : list of (str, meta-estimator), default=None
            What to compare.
        {ax}
        **params : dict
            Further parameters of :func:`compare`.

        Returns
        -------
        ComparisonDisplay
        """
        return cls.from_results(compare(tasks, estimators, **params), ax=ax)

    @classmethod
    @documented
    def from_estimator(cls, estimator, *, ax=None) -> Self:
        """Draw what meta-training of a stack has learned about its candidates.

        Parameters
        ----------
        {of_stack}
        """
        _check_stack(cls, estimator)
        return cls.from_results(comparison(estimator), ax=ax)

    @classmethod
    @documented
    def from_results(cls, results, *, ax=None) -> Self:
        """Draw what :func:`compare` returned.

        Parameters
        ----------
        results : dict or dataframe
            The table.
        {drawn}
        """
        return cls(results={key: np.asarray(results[key]) for key in results}).plot(ax=ax)

    def _draw(self, ax):
        table = self.results
        shots = np.unique(table["n_shots"])
        best = {k: table["loss"][table["n_shots"] == k].min() for k in shots}
        names = list(dict.fromkeys(table["estimator"].tolist()))
        for i, name in enumerate(names):
            own = table["estimator"] == name
            scale = np.array([best[k] for k in table["n_shots"][own]])
            at = np.searchsorted(shots, table["n_shots"][own])
            ax.errorbar(
                at + 0.5 * (i / max(len(names) - 1, 1) - 0.5),
                table["loss"][own] / scale,
                table["difference_error"][own] / scale,
                fmt="osDv^<>Px*h"[i % 11],
                label=name,
                capsize=2,
            )
        ax.axhline(1.0, color="0.6", linewidth=1, zorder=0)
        ax.set_yscale("log")
        for set_formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            set_formatter("{x:g}")
        ax.set_xticks(np.arange(len(shots)), shots)
        ax.set(xlabel="Known rows of the task", ylabel="Loss relative to the best")
        ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
