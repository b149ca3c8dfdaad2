"""The two baselines that every algorithm must beat: one model on all rows; one model per task."""

from dataclasses import KW_ONLY
from typing import Any

import numpy as np

from ..base import BaseMetaEstimator, Needs, with_parameters
from ..base.docstrings import documented

__all__ = ["Independent", "Pooled"]


@documented
@with_parameters
class Pooled(BaseMetaEstimator):
    """One model on all rows of all tasks; adaptation changes nothing.

    It is what one gets by forgetting that there are tasks: the right model where tasks do not
    differ, and the one that adaptation must beat where they do. The support rows of a new task are
    not used.

    Parameters
    ----------
    estimator : estimator, default=None
        Any scikit-learn regressor or classifier, a Pipeline included. None: ``Ridge()``.
    {ids}
    standardize : bool, default=False
        Whether a linear estimator is fitted on features (and, with an identity link, targets)
        standardised over all rows. Coefficients are always in the units of the data. The default
        is exactly what ``estimator`` does without this class.
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model.
    classes_ : ndarray of shape (n_classes,)
        The classes, of a classifier.
    {table}

    See Also
    --------
    Independent : One model per task.
    HierarchicalBayes : In between, as far as the tasks say.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_meta import Pooled
    >>> X, y, school = [[0.0], [1.0], [0.0], [1.0]], [0.0, 2.0, 1.0, 3.0], ["a", "a", "b", "b"]
    >>> model = Pooled(LinearRegression()).fit(X, y, groups=school)
    >>> model.predict([[2.0]], groups=["c"])
    array([4.5])
    """

    estimator: Any = None
    _: KW_ONLY
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    standardize: bool = False
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {"standardize": ["boolean"]}

    def _needs(self):
        return Needs(standardized=self.standardize, keeps_rows=False)

    def _learn(self, learner, tables, meta_model, fit_params, report):
        table = next(tables)
        fitted = learner.fit_one(table.X, table.y, table.sample_weight, fit_params)
        return learner.read(fitted)

    def _adapt(self, learner, meta_model, table, fit_params):
        return np.repeat(meta_model[None], table.n_tasks, axis=0)


@documented
@with_parameters
class Independent(BaseMetaEstimator):
    """One model per task, fitted on its rows alone; nothing is learned from other tasks.

    It is the loop over groups that people write. A task without rows is predicted by a constant,
    the mean target or the class frequencies over meta-training. A classification task with a
    single class gets smoothed class frequencies: its own counts and one row more that is spread
    over the classes as in meta-training; the same smoothing gives a share to classes that a task
    has not seen.

    Parameters
    ----------
    estimator : estimator, default=None
        Any scikit-learn regressor or classifier, a Pipeline included (its transformers are fitted
        on the pooled meta-train rows, its last step on each task). None: ``Ridge()``.
    {ids}
    standardize : bool, default=False
        Whether a linear estimator is fitted on features (and, with an identity link, targets)
        standardised over all meta-train rows. Coefficients are always in the units of the data.
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator, the same in every task.
    n_jobs : int, default=None
        Number of workers that fit tasks, as in joblib. ``LinearRegression`` and ``Ridge`` need
        none: all tasks are fitted at once in closed form.

    Attributes
    ----------
    estimator_ : estimator
        The model of the current task.
    {tasks}

    See Also
    --------
    Pooled : One model on all rows.
    HierarchicalBayes : In between, as far as the tasks say.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn_meta import Independent
    >>> X, y, school = [[0.0], [1.0], [0.0], [1.0]], [0.0, 2.0, 1.0, 3.0], ["a", "a", "b", "b"]
    >>> model = Independent(LinearRegression()).fit(X, y, groups=school)
    >>> model.predict([[2.0], [2.0], [2.0]], groups=["a", "b", "unknown"])
    array([4. , 5. , 1.5])
    """

    estimator: Any = None
    _: KW_ONLY
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    standardize: bool = False
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {"standardize": ["boolean"]}

    def _needs(self):
        return Needs(standardized=self.standardize)

    def _learn(self, learner, tables, meta_model, fit_params, report):
        return learner.prior(next(tables))

    def _adapt(self, learner, meta_model, table, fit_params):
        return learner.fit_each(table, meta_model, fit_params, self.n_jobs)
