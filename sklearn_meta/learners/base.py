"""What an algorithm may ask of a wrapped estimator.

A learner stands between an algorithm, which works on arrays with a task axis, and a scikit-learn
estimator, which knows one data set. Its parameters are rows of one array ``(n_tasks, n_params)``.
"""

import copy
from abc import ABC, abstractmethod

import numpy as np
from joblib import Parallel, delayed
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ..tasks.rows import safe_indexing
from ..tasks.validation import addressed, with_address
from .encoded import fitted

__all__ = ["Learner", "TaskwiseLearner", "check_takes_weight", "cut_params", "in_chunks"]


def chunk_bounds(n_tasks, most=64):
    """Where the chunks begin and end that black-box work on tasks is cut into: pairs (lo, hi).

    They depend on the data only, never on the number of workers, so that neither do results.
    """
    bounds = np.linspace(0, n_tasks, max(1, min(n_tasks, most)) + 1).astype(int)
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def in_chunks(function, items, n_jobs, *args):
    """``[function(item, *args) for item in items]``, in the chunks of :func:`chunk_bounds`."""
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_each)(function, items[lo:hi], args) for lo, hi in chunk_bounds(len(items))
    )
    return [out for part in parts for out in part]


def _each(function, items, args):
    return [function(item, *args) for item in items]


class Learner(ABC):
    """A scikit-learn estimator seen as something that can be adapted.

    Parameters
    ----------
    estimator : estimator
        The wrapped estimator, not fitted.
    n_features : int
        Number of features that it sees, after the transformers.
    steps : list of (str, transformer)
        The fitted transformers before it, where a Pipeline was wrapped.
    name : str or None
        The name of the last step of that Pipeline.
    classes : ndarray or None
        The classes over all tasks; None for a regressor.
    feature_names : ndarray or None
        Names of the features that it sees, where they are columns of a dataframe.
    """

    checks_rows = True  # whether rows must be finite numbers; else its estimator sees to that

    def __init__(
        self, estimator, *, n_features, steps=(), name=None, classes=None, feature_names=None
    ):
        self.estimator = estimator
        self.n_features = n_features
        self.steps = list(steps)
        self.name = name
        self.classes = classes
        self.feature_names = feature_names

    @classmethod
    def like(cls, learner, **changed):
        """The learner of this class for the rows and the estimator of another learner."""
        names = ("n_features", "steps", "name", "classes", "feature_names")
        return cls(learner.estimator, **{name: getattr(learner, name) for name in names} | changed)

    # -- rows --

    def transform(self, X, origin=None):
        """Take rows through the frozen transformers; the result is a dense array.

        ``origin`` says which row of those that the learner was made on each is, see
        :class:`TaskTable`.
        """
        for _, step in self.steps:
            X = step.transform(X)
        return X.toarray() if hasattr(X, "toarray") else X

    @property
    def keeps_columns(self):
        """Whether rows are transformed to themselves."""
        return not self.steps

    def known(self, Z):
        """The rows that the learner was made on, as it sees them when it adapts to their tasks."""
        return Z

    def column_names(self, names_in):
        """Names of the features that the estimator sees, or None if nobody knows.

        ``names_in`` are those of the columns that come in, or None.
        """
        names = self.feature_names
        if names is None and names_in is not None:
            names = names_in
            for _, step in self.steps:
                if not hasattr(step, "get_feature_names_out"):
                    return None
                names = step.get_feature_names_out(names)
        return None if names is None else [str(name) for name in names]

    # -- parameters --

    @abstractmethod
    def make_estimator(self, row):
        """The plain fitted scikit-learn estimator of one parameter row."""

    @abstractmethod
    def predict(self, method, params, X, index):
        """Predict rows, each with its own parameters.

        Parameters
        ----------
        method : {"predict", "predict_proba", "decision_function"}
        params : ndarray of shape (n_models, n_params)
        X : ndarray of shape (n_rows, n_features)
        index : ndarray of shape (n_rows,)
            Which row of ``params`` predicts a row of ``X``.
        """

    # -- fits by scikit-learn --

    def fit_one(self, X, y, sample_weight=None, fit_params=None):
        """Fit a clone of the wrapped estimator on one data set."""
        fit_params = dict(fit_params or {})
        takes_weight = has_fit_parameter(self.estimator, "sample_weight")
        if sample_weight is not None and (takes_weight or (sample_weight != 1).any()):
            check_takes_weight(self.estimator)
            X, y, sample_weight, fit_params = _seen_rows(X, y, sample_weight, fit_params)
            if self.classes is not None and len(np.unique(y)) < 2:
                raise ValueError(
                    "only one class is left after rows with a sample_weight of zero are dropped; a "
                    "classifier needs at least two."
                )
            fit_params["sample_weight"] = sample_weight
        return fitted(self.estimator, X, y, fit_params)

    def wrap(self, fitted):
        """Put the frozen transformers in front of a fitted estimator, as the user had them.

        They are copies, so that what the user does to the result leaves the learner alone.
        """
        if self.name is None:
            return fitted
        steps = [(name, copy.copy(step)) for name, step in self.steps]
        return Pipeline([*steps, (self.name, fitted)])


class TaskwiseLearner(Learner):
    """A learner whose estimator can be fitted on each task, and on all rows, by scikit-learn."""

    @abstractmethod
    def read(self, fitted, class_prior=None, n_rows=1):
        """The parameter row of an estimator that scikit-learn has fitted.

        Parameters
        ----------
        fitted : estimator
        class_prior : ndarray of shape (n_classes,), default=None
            Shares of the classes, for those that ``fitted`` has not seen.
        n_rows : int, default=1
            Number of rows that ``fitted`` has seen.
        """

    @abstractmethod
    def constant(self, value):
        """The parameter row of a model that ignores X.

        Parameters
        ----------
        value : float, or ndarray of shape (n_classes,)
            The prediction of a regressor, or the class probabilities of a classifier.
        """

    def prior(self, table):
        """Mean target, or class shares, over all rows: what a task without rows is predicted by."""
        if self.classes is None:
            return float(np.average(table.y, weights=table.sample_weight))
        codes = np.searchsorted(self.classes, table.y)
        count = np.bincount(codes, weights=table.sample_weight, minlength=len(self.classes))
        return count / count.sum()

    def fit_each(self, table, class_prior, fit_params, n_jobs=None):
        """Fit one model per task of a table; one parameter row per task.

        A task that no estimator can be fitted on (no rows; a single class) gets a constant model:
        the mean over meta-training, or class frequencies with one pseudo-row spread over the
        classes as in meta-training; that is ``class_prior``. Of the further arguments of ``fit``,
        those with one entry per row are cut to the task.
        """
        rows = Parallel(n_jobs=n_jobs)(
            delayed(_fit_chunk)(
                self, table.block(lo, hi), class_prior, _part(fit_params, table, lo, hi)
            )
            for lo, hi in chunk_bounds(table.n_tasks)
        )
        return np.concatenate(rows)

    def fit_row(self, X, y, sample_weight, class_prior, fit_params=None):
        """The parameter row of one task, see :meth:`fit_each`."""
        return _fit_task(self, X, y, sample_weight, class_prior, fit_params or {})


def check_takes_weight(estimator):
    """Refuse row weights that an estimator does not take."""
    if not has_fit_parameter(estimator, "sample_weight"):
        raise ValueError(
            f"{type(estimator).__name__} does not support sample_weight; leave the weights out, or "
            "wrap an estimator that takes them."
        )


def _seen_rows(X, y, sample_weight, fit_params):
    """Drop rows of weight 0: to the mathematics they are not there, to many estimators they are."""
    seen = sample_weight > 0
    if seen.all() or not seen.any():
        return X, y, sample_weight, fit_params
    cut = cut_params(fit_params, seen, len(y))
    return safe_indexing(X, np.flatnonzero(seen)), y[seen], sample_weight[seen], cut


def cut_params(fit_params, rows, n_rows):
    """Arguments of ``fit`` for some of the rows: arrays with an entry for each row are cut."""

    def cut(value):
        by_row = isinstance(value, np.ndarray) and value.shape[:1] == (n_rows,)
        return value[rows] if by_row else value

    return {key: cut(value) for key, value in fit_params.items()}


def _part(fit_params, table, lo, hi):
    """Arguments of ``fit`` for the rows of some tasks."""
    rows = slice(table.offsets[lo], table.offsets[hi])
    return cut_params(fit_params, rows, table.offsets[-1])


def _fit_chunk(learner, table, class_prior, fit_params):
    rows = []
    for t in range(table.n_tasks):
        X, y, weight = table.task(t)
        params = _part(fit_params, table, t, t + 1)
        if weight is not None and not weight.any():
            X, y, weight = safe_indexing(X, slice(0, 0)), y[:0], weight[:0]
        try:
            rows.append(_fit_task(learner, X, y, weight, class_prior, params))
        except Exception as error:
            where = table.block(t, t + 1).where
            raise with_address(addressed(error, X, where), table.label(t)) from error
    return np.stack(rows)


def _fit_task(learner, X, y, weight, class_prior, fit_params):
    if learner.classes is None:
        if len(y) == 0:
            return learner.constant(class_prior)
        return learner.read(learner.fit_one(X, y, weight, fit_params))
    mass = np.ones(len(y)) if weight is None else weight
    codes = np.searchsorted(learner.classes, y)
    count = np.bincount(codes, weights=mass, minlength=len(learner.classes))
    if (count > 0).sum() < 2:
        return learner.constant((count + class_prior) / (count.sum() + 1))
    return learner.read(learner.fit_one(X, y, weight, fit_params), class_prior, count.sum())
