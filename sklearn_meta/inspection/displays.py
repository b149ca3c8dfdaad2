"""Pictures of how well adaptation works, how meta-training went, and which sources helped."""

from typing import Self

import numpy as np
from sklearn.base import is_classifier

from ..ensemble.compare import standard_error
from ..model_selection import cross_validate_tasks
from .display import Display, check_has, documented

__all__ = ["AdaptationCurveDisplay", "MetaLossDisplay", "TransferDisplay"]


@documented
class AdaptationCurveDisplay(Display):
    """Error (or score) on new tasks against the number of support rows, with standard errors.

    Use :meth:`from_estimator` or :meth:`from_results` to make one.

    Parameters
    ----------
    n_shots : dict of str to ndarray of shape (n_points,)
        For every estimator, the numbers of support rows.
    mean : dict of str to ndarray of shape (n_points,)
        Means over tasks.
    standard_error : dict of str to ndarray of shape (n_points,)
        Standard errors of the means, over tasks.
    score_name : str
        What the vertical axis shows.

    {attributes}
    errorbar_ : dict of str to matplotlib ErrorbarContainer
        The curves.

    See Also
    --------
    cross_validate_tasks : Computes the results.

    Examples
    --------
    >>> from sklearn_meta import AdaptationCurveDisplay, HierarchicalBayes, Pooled
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=30, random_state=0)
    >>> display = AdaptationCurveDisplay.from_estimator(
    ...     {"pooled": Pooled(), "hierarchical": HierarchicalBayes()},
    ...     tasks,
    ...     scoring="neg_root_mean_squared_error",
    ... )
    >>> display.score_name
    'Root mean squared error'
    """

    def __init__(self, *, n_shots, mean, standard_error, score_name) -> None:
        self.n_shots = n_shots
        self.mean = mean
        self.standard_error = standard_error
        self.score_name = score_name

    @classmethod
    @documented
    def from_estimator(cls, estimators, tasks, *, scoring=None, ax=None, **cv_params) -> Self:
        """Evaluate estimators by :func:`cross_validate_tasks` and draw the result.

        Parameters
        ----------
        estimators : estimator, or dict of str to estimator
            What to compare.
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            All tasks.
        scoring : str, callable or None, default=None
            A scorer; the sign of scorers called ``neg_...`` is turned.
        {ax}
        **cv_params : dict
            Further parameters of :func:`cross_validate_tasks`.

        Returns
        -------
        AdaptationCurveDisplay
        """
        results = cross_validate_tasks(estimators, tasks, scoring=scoring, **cv_params)
        name, negate = "Score", False
        if isinstance(scoring, str):
            negate = scoring.startswith("neg_")
            name = scoring.removeprefix("neg_").replace("_", " ").capitalize()
        return cls.from_results(results, score_name=name, negate_score=negate, ax=ax)

    @classmethod
    @documented
    def from_results(cls, results, *, score_name="Score", negate_score=False, ax=None) -> Self:
        """Draw what :func:`cross_validate_tasks` returned.

        Parameters
        ----------
        results : dict or dataframe
            With the columns ``estimator``, ``task_id``, ``n_shots`` and ``score``.
        score_name : str, default="Score"
            What the vertical axis shows.
        negate_score : bool, default=False
            Whether to turn the sign: scores of ``neg_mean_squared_error`` become errors.
        {drawn}
        """
        names = np.asarray(results["estimator"])
        ids = list(results["task_id"])
        shots = np.asarray(results["n_shots"])
        score = np.asarray(results["score"], dtype=float) * (-1.0 if negate_score else 1.0)
        number = {id_: i for i, id_ in enumerate(dict.fromkeys(ids))}
        task = np.array([number[id_] for id_ in ids])
        n_shots, mean, error = {}, {}, {}
        for name in dict.fromkeys(names.tolist()):
            own = names == name
            n_shots[name] = np.unique(shots[own])
            cells = [own & (shots == k) & np.isfinite(score) for k in n_shots[name]]
            per_task = [_mean_by(task[cell], score[cell]) for cell in cells]
            mean[name] = np.array([v.mean() if len(v) else np.nan for v in per_task])
            error[name] = np.array([standard_error(v) for v in per_task])
        display = cls(n_shots=n_shots, mean=mean, standard_error=error, score_name=score_name)
        return display.plot(ax=ax)

    def _draw(self, ax):
        ticks = np.unique(np.concatenate(list(self.n_shots.values())))
        self.errorbar_ = {}
        for i, name in enumerate(self.mean):
            at = np.searchsorted(ticks, self.n_shots[name]) + 0.04 * (i - (len(self.mean) - 1) / 2)
            self.errorbar_[name] = ax.errorbar(
                at, self.mean[name], self.standard_error[name], marker="o", capsize=3, label=name
            )
        ax.set_xticks(np.arange(len(ticks)), [str(k) for k in ticks])
        ax.set(xlabel="Known rows of the new task (shots)", ylabel=self.score_name)
        ax.legend(title="mean ± standard error")


@documented
class MetaLossDisplay(Display):
    """Mean query loss over meta-training, its running mean, and the loss of held-out tasks.

    Use :meth:`from_estimator` to make one. The loss of a single meta-iteration is that of a few
    tasks and jumps with their choice; the running mean shows the trend.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        Mean query loss of every meta-iteration.
    validation_loss_curve : array-like of shape (n_epochs,), default=None
        Mean query loss of the held-out tasks after every epoch, if any were held out.
    name : str, default=None
        What the legend calls the model, for several in one picture.

    {attributes}
    lines_ : dict of str to matplotlib Line2D
        The curves: ``"loss"``, ``"running_mean"`` and, if there is one, ``"validation_loss"``.

    See Also
    --------
    AdaptationCurveDisplay : What the trained model gains from rows of a new task.

    Examples
    --------
    >>> from sklearn_meta import MAML, MetaLossDisplay
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> model = MAML(max_iter=200, early_stopping=True, random_state=0).meta_fit(tasks)
    >>> display = MetaLossDisplay.from_estimator(model)
    >>> list(display.lines_)
    ['loss', 'running_mean', 'validation_loss']
    """

    def __init__(self, *, loss_curve, validation_loss_curve=None, name=None) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name

    @classmethod
    @documented
    def from_estimator(cls, estimator, *, name=None, ax=None) -> Self:
        """Draw the loss of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``loss_curve_``: an algorithm that learns by iterations.
        name : str, default=None
            What the legend calls it, for several in one picture.
        {drawn}
        """
        what = "loss_curve_: there is no course of training to draw"
        check_has(estimator, "loss_curve_", what)
        loss, held_out = estimator.loss_curve_, getattr(estimator, "validation_loss_curve_", None)
        return cls(loss_curve=loss, validation_loss_curve=held_out or None, name=name).plot(ax=ax)

    def _draw(self, ax):
        loss = np.asarray(self.loss_curve, dtype=float)
        at = np.arange(1, len(loss) + 1)
        label = "query loss" if self.name is None else self.name
        (thin,) = ax.plot(at, loss, lw=0.6, alpha=0.4)
        mean = _running_mean(loss, len(loss) // 40)
        (thick,) = ax.plot(at, mean, lw=2, color=thin.get_color(), label=label)
        self.lines_ = {"loss": thin, "running_mean": thick}
        if self.validation_loss_curve is not None:
            held_out = np.asarray(self.validation_loss_curve, dtype=float)
            epochs = np.arange(1, len(held_out) + 1) * (len(loss) / max(1, len(held_out)))
            label = "held-out tasks" if self.name is None else f"{self.name}, held-out tasks"
            (line,) = ax.plot(epochs, held_out, "--", color="black", label=label)
            self.lines_["validation_loss"] = line
        ax.set(xlabel="Meta-iteration", ylabel="Query loss after adaptation")
        ax.legend()


@documented
class TransferDisplay(Display):
    """Which sources help a target: their expected risk, its standard error, and their weights.

    Use :meth:`from_estimator` to make one. The best sources are on top; the darker a bar, the more
    of the adapted model comes from its source. Sources without a risk (refused, or screened out
    before they were looked at) are not shown.

    Parameters
    ----------
    names : list of str
        Of the sources.
    risk : array-like of shape (n_sources,)
        Expected risk on the target; NaN where unknown.
    standard_error : array-like of shape (n_sources,)
        Of the risk; NaN where unknown.
    weight : array-like of shape (n_sources,)
        Shares of the sources in the adapted model.
    risk_name : str
        What the horizontal axis shows.
    max_sources : int, default=20
        Most sources to show: the first and, below a gap, the worst.

    {attributes}
    bars_ : matplotlib BarContainer
        The bars, the best source first.
    shown_ : ndarray of shape (n_shown,)
        Positions of the sources that are shown, the best first.

    See Also
    --------
    TransferMetaLearner : What it shows.

    Examples
    --------
    >>> from sklearn_meta import TransferDisplay, TransferMetaLearner
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=8, random_state=0)
    >>> model = TransferMetaLearner().meta_fit(tasks[:7]).adapt(tasks[7].X[:5], tasks[7].y[:5])
    >>> display = TransferDisplay.from_estimator(model)
    >>> len(display.bars_)
    7
    """

    def __init__(self, *, names, risk, standard_error, weight, risk_name, max_sources=20) -> None:
        self.names = names
        self.risk = risk
        self.standard_error = standard_error
        self.weight = weight
        self.risk_name = risk_name
        self.max_sources = max_sources

    @classmethod
    @documented
    def from_estimator(cls, estimator, *, max_sources=20, ax=None) -> Self:
        """Draw the sources of the task that an estimator was last adapted to.

        Parameters
        ----------
        estimator : TransferMetaLearner
            Fitted, and adapted to the target.
        max_sources : int, default=20
            Most sources to show: the first and, below a gap, the worst.
        {drawn}
        """
        check_has(estimator, "source_scores_", "sources to show; TransferMetaLearner has")
        display = cls(
            names=[str(id_) for id_ in estimator.source_ids_],
            risk=estimator.source_scores_,
            standard_error=estimator.source_score_errors_,
            weight=estimator.source_weights_,
            risk_name="Log-loss" if is_classifier(estimator) else "Expected risk (squared error)",
            max_sources=max_sources,
        )
        return display.plot(ax=ax)

    def _draw(self, ax):
        risk, weight = np.asarray(self.risk, dtype=float), np.asarray(self.weight, dtype=float)
        order = np.argsort(risk, kind="stable")[: int(np.isfinite(risk).sum())]
        place = np.arange(len(order), dtype=float)
        if len(order) > self.max_sources:
            n_worst = self.max_sources // 4
            n_best = self.max_sources - n_worst
            order = np.concatenate([order[:n_best], order[len(order) - n_worst :]])
            place = np.arange(len(order)) + (np.arange(len(order)) >= n_best)
        shade = 0.15 + 0.85 * weight[order] / max(weight.max(), 1e-12)
        error = np.nan_to_num(np.asarray(self.standard_error, dtype=float)[order])
        self.bars_ = ax.barh(
            place, risk[order], xerr=error, color=[("#0072B2", s) for s in shade], capsize=2
        )
        shares = (f" ({w:.0%})" if w >= 0.005 else "" for w in weight[order])
        names = [self.names[a] + share for a, share in zip(order, shares, strict=True)]
        ax.set_yticks(place, names)
        ax.invert_yaxis()
        of_risk = f"{self.risk_name} on the target, ± standard error"
        ax.set(xlabel=of_risk, ylabel="Source (its share in the model)")
        self.shown_ = order


def _running_mean(values, half):
    """Means of the values up to ``half`` places away; of fewer at the start, where they fall."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    at = np.arange(len(values))
    half = np.minimum(half, at)
    start, stop = at - half, np.minimum(at + half + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)


def _mean_by(codes, values):
    """Means of the values of each code."""
    _, codes = np.unique(codes, return_inverse=True)
    return np.bincount(codes, weights=values) / np.bincount(codes)
