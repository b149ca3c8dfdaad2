"""Fits from sums per task, which any engine adds up where the rows are."""

from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline

from ..learners import is_squared_linear, make_learner
from ..tasks.summaries import read_summaries
from .docstrings import documented
from .labels import Numbers
from .meta_estimator import transactional
from .moments import held_without_rows

__all__ = ["SummariesMixin"]


class SummariesMixin:
    """``meta_fit_summaries``, of an algorithm whose ``_learn_sums`` needs moments only."""

    @transactional
    @documented
    def meta_fit_summaries(self, table: Any, *, target: str = "y") -> Self:
        """Learn the meta-model from sums per task, without the rows.

        The result is that of :meth:`meta_fit` on the rows, but for what single rows are needed for:
        whether there are contextual effects (``contextual_effects="auto"`` leaves them out), and
        the calibration of intervals, which are Student's here.

        Parameters
        ----------
        table : dict of str to array-like, or dataframe or Arrow table
            One row per task: its id in the column ``task_column`` (``"task"`` where that is None),
            and the sums of :func:`summary_terms`. :func:`task_summaries` makes it of rows; so does
            any engine that groups and sums.
        target : str, default="y"
            What the target is called there.

        {self}

        Raises
        ------
        ValueError
            If sums are missing, are not finite, or cannot be of the same rows; the message names
            the task and the column.

        Examples
        --------
        >>> from sklearn_meta import HierarchicalBayes, task_summaries
        >>> from sklearn_meta.datasets import make_linear_tasks
        >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
        >>> parts = [task_summaries(t.X, t.y, groups=[t.id] * len(t.y)) for t in tasks]
        >>> table = {name: [part[name][0] for part in parts] for name in parts[0]}
        >>> model = HierarchicalBayes().meta_fit_summaries(table)
        >>> model.adapt(tasks[0].X[:5], tasks[0].y[:5]).predict(tasks[0].X[5:]).shape
        (15,)
        """
        estimator = self._start()
        plain = not isinstance(estimator, Pipeline) and is_squared_linear(estimator)
        if not plain or self.descriptor is not None or self.descriptor_columns:
            raise ValueError(
                "meta_fit_summaries is for linear estimators with squared loss, without "
                "transformers before them and without descriptors: sums are of the columns as "
                "they are. Transform the columns before they are summed, or use meta_fit."
            )
        id_column = "task" if self.task_column is None else self.task_column
        if not isinstance(id_column, str):
            raise ValueError(
                f"task_column={id_column!r} is a number, and columns of summaries have names."
            )
        features, moments, shift = read_summaries(table, target, id_column)
        named = features != [f"x{j}" for j in range(len(features))]
        names = np.array(features, dtype=object) if named else None
        X = np.empty((0, len(features)))
        self.learner_, _ = make_learner(estimator, X, X[:, 0], feature_names=names)
        self._labels, self._descriptor_names, self.n_descriptors_in_ = Numbers(), None, 0
        self._check_as_fitted(([0] if self.task_column is not None else [], []), reset=True)
        columns = features if self.task_column is None else [id_column, *features]
        self.n_features_in_ = len(columns)
        vars(self).pop("feature_names_in_", None)
        if named or self.task_column is not None:
            self.feature_names_in_ = np.array(columns, dtype=object)
        held = held_without_rows(moments)
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                meta_model = self._learn_sums(self.learner_, moments, shift, held)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                "the sums cannot be solved for: they must be of the same rows, not rounded, and of "
                f"columns whose squares are numbers; use other units if these are not. ({error})"
            ) from error
        self._set_meta_model(meta_model, moments.n_tasks)
        return self
