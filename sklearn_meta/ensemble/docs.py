"""Parts of docstrings that both stacks share."""

from ..base.docstrings import sharing_parts

__all__ = ["documented"]

SHARED = {
    "pool": r"""
    Algorithms of this package, several of them around other estimators, are meta-trained, and their
    weighted mean (of probabilities, where targets are labels) is what is predicted,

    .. math:: f(x) = \sum_c a_c(k) f_c(x), \quad a(k) \ge 0, \quad \sum_c a_c(k) = 1,

    with weights that depend on the number :math:`k` of rows that are known of a task. They are
    learned on tasks that the candidates have not seen, by squared loss or log-loss. Text, dates,
    categories and missing values in a dataframe are encoded by :class:`TableEncoder`.
    """,
    "stack": r"""
    n_shots : array-like of int, default=(0, 1, 2, 5, 10, 20)
        Numbers of rows for which weights are learned, where tasks have as many. Between them the
        weights are linear in :math:`\log(1 + k)`, beyond them those of the nearest.
    cv : int, splitter or iterable of (train, test), default=5
        Folds of tasks. An int means shuffled folds.
    time_budget : float, default=None
        Seconds of processor time that meta-training may take, roughly: on a part of the tasks it is
        measured what each candidate costs, and the slowest are left out until the others fit in.
        What is left out then depends on the machine.
    {ids}
    random_state : int, RandomState instance or None, default=None
        Seeds folds, supports, and candidates without a seed, with what they wrap.
    n_jobs : int, default=None
        Number of workers, as in joblib, over folds.

    Attributes
    ----------
    candidates_ : dict of str to meta-estimator
        The candidates, fitted on all tasks; None for those without a weight.
    weights_ : ndarray of shape (n_shots, n_candidates)
        Their weights; rows as ``shots_``, columns as ``candidates_``.
    shots_ : ndarray of shape (n_shots,)
        The numbers of rows at which weights were learned.
    results_ : dict of str to ndarray
        ``score`` (the loss with its sign turned) of every ``estimator`` on every ``task_id`` after
        ``n_shots`` rows, by a candidate that has not seen the task.
        Of a regressor ``"stack"`` is their weighted mean, with weights from the other folds.
    left_out_ : dict of str to str
        Why a candidate has no weight.
    estimator_ : estimator
        The model of the current task: a weighted mean of those of the candidates.
    {tasks}

    See Also
    --------
    compare : A table of the candidates, for those who want to choose.
    HierarchicalBayes : The model of choice where effects are to be read, not only predictions.

    Notes
    -----
    Cost: the candidates are fitted ``cv + 1`` times, and what several of them stand on, as boosting
    on all rows, once for all. With fewer than ten tasks weights are uncertain, and with fewer than
    three the first candidate predicts alone; a warning says so. A candidate that fails is left
    out, with a warning.

    References
    ----------
    Breiman (1996), Stacked regressions, Machine Learning 24. Yao, Vehtari, Simpson, Gelman (2018),
    Using stacking to average Bayesian predictive distributions, Bayesian Analysis 13.
    """,
}

documented = sharing_parts(SHARED)
