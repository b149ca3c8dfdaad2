"""Pictures of how well adaptation works."""

import numpy as np

from .model_selection import cross_validate_tasks

__all__ = ["AdaptationCurveDisplay"]


class AdaptationCurveDisplay:
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

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
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

    def __init__(self, *, n_shots, mean, standard_error, score_name):
        self.n_shots = n_shots
        self.mean = mean
        self.standard_error = standard_error
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimators, tasks, *, scoring=None, ax=None, **cv_params):
        """Evaluate estimators by :func:`cross_validate_tasks` and draw the result.

        Parameters
        ----------
        estimators : estimator, or dict of str to estimator
            What to compare.
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            All tasks.
        scoring : str, callable or None, default=None
            A scorer; the sign of scorers called ``neg_...`` is turned.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
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
    def from_results(cls, results, *, score_name="Score", negate_score=False, ax=None):
        """Draw what :func:`cross_validate_tasks` returned.

        Parameters
        ----------
        results : dict or dataframe
            With the columns ``estimator``, ``task_id``, ``n_shots`` and ``score``.
        score_name : str, default="Score"
            What the vertical axis shows.
        negate_score : bool, default=False
            Whether to turn the sign: scores of ``neg_mean_squared_error`` become errors.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        AdaptationCurveDisplay
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
            error[name] = np.array([_standard_error(v) for v in per_task])
        display = cls(n_shots=n_shots, mean=mean, standard_error=error, score_name=score_name)
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw the curves of all estimators in one picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        AdaptationCurveDisplay
            This object.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "AdaptationCurveDisplay needs matplotlib: pip install 'sklearn_meta[plot]'."
            ) from error
        if ax is None:
            _, ax = plt.subplots()
        ticks = np.unique(np.concatenate(list(self.n_shots.values())))
        self.errorbar_ = {}
        for i, name in enumerate(self.mean):
            at = np.searchsorted(ticks, self.n_shots[name]) + 0.04 * (i - (len(self.mean) - 1) / 2)
            self.errorbar_[name] = ax.errorbar(
                at, self.mean[name], self.standard_error[name], marker="o", capsize=3, label=name
            )
        ax.set_xticks(np.arange(len(ticks)), [str(k) for k in ticks])
        ax.set_xlabel("Known rows of the new task (shots)")
        ax.set_ylabel(self.score_name)
        ax.legend(title="mean ± standard error")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _mean_by(codes, values):
    """Means of the values of each code."""
    _, codes = np.unique(codes, return_inverse=True)
    return np.bincount(codes, weights=values) / np.bincount(codes)


def _standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
