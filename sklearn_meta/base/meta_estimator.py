"""The contract that every algorithm of this package keeps, written once.

:class:`BaseMetaEstimator` is what users see: ``meta_fit``, ``adapt``, ``predict``, long tables with
task ids, state, and the way back to scikit-learn. What an algorithm provides is in
``algorithm.py``; how input is read and checked in ``reading.py``.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from numbers import Integral
from operator import attrgetter
from typing import Any, Self, cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from ..learners import make_learner, unrolled
from ..learners.privates import N_JOBS, HasMethods, StrOptions, set_random_states
from ..tasks.ids import missing_ids
from ..tasks.rows import n_rows_of
from ..tasks.table import TaskTable, distinct_rows, merged
from ..tasks.task import Task, Tasks, as_tasks, is_task_collection
from ..tasks.validation import (
    addressed,
    as_counts,
    as_weight,
    plain,
    task_label,
    with_address,
    with_hint,
)
from ..versions import Versioned
from .algorithm import Algorithm
from .calls import BY_NAME, otherwise
from .docstrings import documented
from .html import NotebookMixin
from .labels import Numbers, OwnClasses, SharedClasses, check_own_classes
from .memory import Memory
from .reading import ReadingMixin, row_label, targets_of
from .reporting import Reporter
from .routing import rows_in_order, split_fit_params
from .typed import F, available_if, with_callbacks

__all__ = ["BaseMetaEstimator", "learned", "transactional"]

STREAM_TASKS = 4096  # tasks that are read at a time from an iterator,
STREAM_NUMBERS = 2**21  # and the entries of X (16 MB), where how many tasks changes nothing,
STREAM_LEARNED = 2**23  # or where it does (64 MB)
BLOCK_TASKS = 2**14  # tasks that one worker adapts at a time
TABLES = (
    "Tasks go to meta_fit, as tasks_from_table(X, y, groups=ids) makes them; a long table goes to "
    "fit(X, y, groups=ids)."
)
UNKNOWN = "labels of a task are known only from its rows"


def transactional(method: F) -> F:
    """Give an estimator back as it was when a method raises.

    Fitted state is only ever rebound, never changed in place, so its attributes are all there is.
    """

    @wraps(method)
    def call(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return cast(F, call)


def learned(path, doc, of=lambda part: part):
    """A fitted attribute: a part of the meta-model, such as "prior.noise", or a function of it."""
    return property(lambda self: of(self._learned(path)), doc=doc)


def _wrapped_has(method):
    """Whether the wrapped estimator has ``method``; its own AttributeError says why not."""

    def check(self):
        getattr(self._wrapped(), method)
        return True

    return check


class BaseMetaEstimator(
    Algorithm,
    ReadingMixin,
    NotebookMixin,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    Versioned,
    BaseEstimator,
):
    """Base class of all algorithms; what a subclass provides is in :class:`Algorithm`."""

    __metadata_request__fit = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__decision_function = {"groups": True}
    __metadata_request__score = {"groups": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "task_column": [str, Integral, None],
        "handle_unknown": [StrOptions({"prior", "warn", "error"})],
        "random_state": ["random_state"],
        "n_jobs": N_JOBS,
    }

    # -- learning ----------------------------------------------------------------------------------

    @otherwise(BY_NAME)
    @documented
    def fit(
        self,
        X: ArrayLike | Sequence[Task],
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Learn from a long table: meta-train on its tasks, then adapt to each and remember it.

        Parameters
        ----------
        {long_table}
        **fit_params : dict
            Passed to the ``fit`` of the wrapped estimator; arrays with one entry per row
            (``sample_weight``) are cut to the rows of each fit.

        {self}
        """
        return self._fit(X, y, groups, fit_params)

    @transactional
    @with_callbacks
    def _fit(self, X, y, groups, fit_params):
        if is_task_collection(X):
            if y is not None:
                raise ValueError("y must be None where X is a collection of tasks.")
            if groups is not None:
                raise ValueError("groups is for long tables; tasks have ids: Task(X, y, id=...).")
            if "sample_weight" in fit_params:
                raise ValueError(
                    "sample_weight is for long tables; tasks have their own: Task(X, y, "
                    "sample_weight=...)."
                )
            return self._meta_fit(X, fit_params, self._continued())
        before = self._continued()
        estimator, needs = self._start(), self._needs()
        step_params = {}
        if needs.fits:
            step_params, fit_params = split_fit_params(self, estimator, fit_params, groups)
        given = {"X": X, "y": y}
        reset = before is None
        X, y, ids, side, weight = self._read_rows(X, y, groups, fit_params, reset=reset)
        if ids is None:
            self._warn_of_no_ids()
        n_rows = n_rows_of(X)
        table = self._as_task_table(X, y, ids, weight, side, reset=reset)
        table = self._seen_rows(table, keeps_tasks=False)
        report = self._reporter(needs, given)
        if before is None:
            table = self._set_labels(table)
            step_params = {
                step: rows_in_order(own, table, n_rows) for step, own in step_params.items()
            }
            table = self._make_learner(estimator, table, step_params, known=True)
        else:
            table = self._taken(table)
        fit_params = rows_in_order(fit_params, table, n_rows)
        meta_model = self._learned_from(table, iter([table]), before, fit_params, report)
        self._set_meta_model(meta_model, table.n_tasks)
        if before is None:
            table = replace(table, X=self.learner_.known(table.X))
        params = self._adapt_table(table, fit_params)
        self._keep(table, params, self._labels.restored(table), ids)
        report.end()
        return self

    @otherwise(TABLES)
    @transactional
    @with_callbacks
    @documented
    def meta_fit(self, tasks: Tasks) -> Self:
        """Learn the meta-model from tasks.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The meta-train tasks.

        {self}

        Raises
        ------
        ValueError
            If the tasks do not fit together; the message names the task. The object then is as it
            was before.
        """
        return self._meta_fit(tasks, {}, self._continued())

    @available_if(lambda self: self._can_go_on())
    @transactional
    @with_callbacks
    @documented
    def partial_meta_fit(self, tasks: Tasks) -> Self:
        """Go on learning from more tasks; the first call is :meth:`meta_fit`.

        What was adapted before (``estimator_``, remembered tasks) is forgotten, since it started
        from an earlier meta-model.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            Tasks that were not yet used.

        {self}
        """
        return self._meta_fit(tasks, {}, getattr(self, "meta_model_", None))

    def _meta_fit(self, tasks, fit_params, meta_model):
        going_on = meta_model is not None
        estimator = self._wrapped() if going_on else self._start()
        needs = self._needs()
        streams = needs.streams and isinstance(tasks, Iterator)
        size = None
        if streams and not isinstance(estimator, Pipeline):
            size = STREAM_TASKS, STREAM_NUMBERS if needs.sums else STREAM_LEARNED
        if isinstance(tasks, TaskTable):
            blocks = iter([self._take_table(tasks)])
        else:
            blocks = self._read_tasks(tasks, size, reset=not going_on)
        first = next(blocks)
        n_tasks = first.n_tasks
        if going_on:
            n_tasks += self.n_tasks_
            first = self._taken(first)
        else:
            first = self._set_labels(first)
            known = getattr(tasks, "origin", None) is not None  # to another object, of a table
            first = self._make_learner(estimator, first, {}, known=known)
        report = self._reporter(needs, {})

        def tables():
            nonlocal n_tasks
            yield first
            for block in blocks:
                n_tasks += block.n_tasks
                yield self._taken(block)

        meta_model = self._learned_from(first, tables(), meta_model, fit_params, report)
        self._set_meta_model(meta_model, n_tasks)
        report.end()
        return self

    def _learned_from(self, first, tables, meta_model, fit_params, report):
        """What :meth:`_learn` makes of tables; errors of a wrapped estimator name the cell."""
        try:
            return self._learn(self.learner_, tables, meta_model, fit_params, report)
        except MemoryError as error:
            raise MemoryError(
                f"{type(self).__name__} has no room for {first.n_tasks} tasks and "
                f"{self.n_features_in_} features ({error}). Pass fewer tasks, or begin a Pipeline "
                "inside with what leaves fewer features, such as TruncatedSVD."
            ) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise self._addressed(error, first.X, first.where) from error

    def _check_converged(self, model, way):
        if not model.converged:
            warnings.warn(
                f"{type(self).__name__} stopped after {model.n_iter} iterations before it "
                f"converged. {way}",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _reporter(self, needs, data):
        """What tells the callbacks how learning goes on."""
        context = self._init_callback_context(max_subtasks=needs.n_epochs)
        return Reporter(self, self._zero_shot_state, context, data)

    def _can_go_on(self):
        """Whether there is ``partial_meta_fit``."""
        needs = self._needs()
        if needs.why_not:
            raise AttributeError(needs.why_not)
        return needs.goes_on

    def _continued(self):
        """The meta-model that a new fit goes on from: with ``warm_start`` the one that is there."""
        warm = getattr(self, "warm_start", False)
        return getattr(self, "meta_model_", None) if warm else None

    def _zero_shot_state(self, meta_model):
        """The fitted attributes of an object that knows the meta-model and no task."""
        return {
            "meta_model_": meta_model,
            "_predicts": self._predictor(self.learner_, meta_model),
            "_zero": self._adapt(self.learner_, meta_model, self._empty_table(1), {}),
            "_current": None,
            "_current_rows": None,
            "_memory": Memory(),
        }

    def _start(self):
        """Check the parameters; the estimator to wrap, seeded by ``random_state``."""
        self._check_column_names()
        self._validate_params()
        estimator = unrolled(clone(self._wrapped()))
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise ValueError(
                f"{type(self).__name__} wraps a regressor or a classifier; got "
                f"{type(estimator).__name__}."
            )
        self._check_wrapped(estimator)
        if self._needs().own_classes:
            check_own_classes(estimator)
        if getattr(self, "random_state", None) is not None:
            set_random_states(estimator, self.random_state)
        return estimator

    def _seed(self):
        """A number drawn by ``random_state``."""
        return check_random_state(self.random_state).randint(2**31 - 1)

    def _warn_of_no_ids(self):
        """All rows are one task, which is rarely meant."""
        warnings.warn(
            "fit was given no task ids: all rows are one task, and nothing is learned of how tasks "
            "differ. Pass the ids of a long table, by groups= or task_column=; in a search with "
            "groups for its splitter, enable metadata routing or use task_column.",
            UserWarning,
            stacklevel=5,
        )

    def _check_column_names(self):
        """Mistakes in parameters that name columns, with the way out."""
        if isinstance(self.task_column, (list, tuple, np.ndarray)):
            raise ValueError(
                f"task_column={self.task_column!r} names several columns, and the task id is one. "
                "Join them, as in groups=list(zip(X['a'], X['b'])), or in a column of their own."
            )
        side = getattr(self, "descriptor_columns", None)
        if isinstance(side, (str, Integral)):
            raise ValueError(
                f"descriptor_columns={side!r} is one column, and a list is needed: "
                f"descriptor_columns=[{side!r}]."
            )

    def _set_labels(self, table):
        """Take the targets of the meta-train tasks in; the table as learners take it."""
        kind = SharedClasses if is_classifier(self) else Numbers
        if self._needs().own_classes:
            kind = OwnClasses
        self._labels, table = kind.of(table)
        self._set_classes(self._labels.classes)
        return table

    def _set_classes(self, classes):
        """Set ``classes_``, or take it away."""
        vars(self).pop("classes_", None)
        if classes is not None:
            self.classes_ = classes

    def _make_learner(self, estimator, table, step_params, known):
        needs = self._needs()
        try:
            self.learner_, X = make_learner(
                estimator,
                table.X,
                None if table.own_classes else table.y,  # transformers cannot learn from codes
                classes=self._labels.outputs,
                feature_names=self._feature_names(),
                step_params=step_params,
                standardize=needs.standardized,
                sample_weight=table.sample_weight,
                codes=table.codes if needs.gradients or needs.body else None,
                body=needs.body,
                known=known,
            )
        except (TypeError, ValueError, OverflowError) as error:
            error = addressed(error, table.X, table.where)
            raise with_hint(error, self._taken_columns(error)) from error
        self._check_allowed(table)
        return replace(self._checked(table, X, table.where), origin=np.arange(len(table.y)))

    def _taken(self, table):
        """The table as learners take it: targets allowed, labels known, rows transformed."""
        self._check_allowed(table)
        return self._transformed(self._labels.check(table))

    def _check_allowed(self, table):
        """Refuse targets for which the loss has no minimum, where this package minimises it."""
        if is_classifier(self) or not self._needs().gradients:
            return
        allowed = self.learner_.network.loss.allows(table.y)
        if not allowed.all():
            i = int(np.argmin(allowed))
            raise ValueError(
                f"{table.where(i)}: y is {table.y[i]:g}, which the loss of "
                f"{type(self.learner_.estimator).__name__} does not allow. Drop the row, or wrap a "
                "regressor of any numbers, such as Ridge()."
            )

    def _set_meta_model(self, meta_model, n_tasks):
        vars(self).update(self._zero_shot_state(meta_model))
        self.n_tasks_ = n_tasks
        vars(self).pop("estimator_", None)
        self._set_classes(self._labels.classes)
        if not self._own_classes:  # there is no model of no task
            self.estimator_ = self._predicts.make_estimator(self._zero[0])

    @property
    def _own_classes(self):
        """Whether each task has labels of its own, of a fitted object."""
        return isinstance(getattr(self, "_labels", None), OwnClasses)

    # -- adapting ----------------------------------------------------------------------------------

    @otherwise(BY_NAME)
    @transactional
    def adapt(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        descriptor: ArrayLike | Mapping[str, Any] | None = None,
    ) -> Self:
        """Adapt the meta-model to a task, or to every task of a table.

        Always starts from the meta-model, never from an earlier adaptation.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The support rows; zero rows give the zero-shot model.
        y : array-like of shape (n_rows,)
            Their targets.
        groups : array-like of shape (n_rows,), default=None
            Task ids. With ids, here or in ``task_column``, every task in the table is adapted to
            and remembered by its id; without, the rows are one task, the current one.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights.
        descriptor : array-like of shape (n_descriptors,) or mapping, default=None
            Side information about the current task.

        Returns
        -------
        self : object
            Without ids, ``estimator_`` is the adapted model of these rows; with ids it stays.
        """
        check_is_fitted(self)
        rows, ids = self._support_rows(X, y, groups, sample_weight, descriptor)
        return self._adapt_to(rows, ids)

    @available_if(lambda self: self._needs().keeps_rows)
    @transactional
    @documented
    def partial_adapt(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Add rows to those that the current task, or each task named by an id, has seen.

        The result is that of :meth:`adapt` to all rows of the task, those of ``fit`` included. A
        task that is not known yet starts from the meta-model; what is known about a task besides
        its rows (``descriptor``) stays.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            Further support rows.
        y : array-like of shape (n_rows,)
            Their targets.
        groups : array-like of shape (n_rows,), default=None
            Task ids, as in :meth:`adapt`.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights.

        {self}
        """
        check_is_fitted(self)
        rows, ids = self._support_rows(X, y, groups, sample_weight, None, partial=True)
        if not self._own_classes:
            self._labels.check(rows)  # here, where rows have the numbers of X
        seen = self._current_rows if ids is None else self._memory.rows_of(rows.ids)
        return self._adapt_to(rows if seen is None else merged(seen, rows), ids)

    def _adapt_to(self, rows, ids):
        """Adapt to a table of transformed rows with labels as they came."""
        if rows.n_tasks == 0:  # ids, but no rows: there is no task to remember
            return self
        table = self._labels.check(rows)
        self._keep(table, self._adapt_table(table, {}), rows, ids)
        return self

    def _keep(self, table, params, rows, ids):
        """Make an adapted task the current one, or remember tasks by their ids."""
        rows = replace(rows, row_numbers=None) if self._needs().keeps_rows else None
        if ids is None:
            self._set_current(table, params, rows)
        else:
            self._memory = self._memory.put(table, params, rows)

    def _support_rows(self, X, y, groups, sample_weight, descriptor, partial=False):
        """Supports as a table of transformed rows, and the id of every row."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        X, y, ids, side, weight = self._read_rows(X, y, groups, weights, reset=False, min_rows=0)
        table = self._seen_rows(self._as_task_table(X, y, ids, weight, side), keeps_tasks=True)
        self._check_allowed(table)
        if self._needs().side and side is None and not partial:
            table = replace(table, descriptors=self._given_descriptor(descriptor, table))
        return self._transformed(table), ids

    def adapt_many(self, tasks: Tasks) -> list[Any]:
        """Adapt to many tasks; the object itself does not change.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The supports.

        Returns
        -------
        list of estimators
            The adapted model of each task, like ``estimator_``.
        """
        check_is_fitted(self)
        estimators = []
        size = STREAM_TASKS, STREAM_NUMBERS
        for table in self._read_tasks(tasks, size, reset=False, min_rows=0):
            table = self._taken(table)
            params = self._adapt_table(table, {})
            estimators += self._labels.make_estimators(self._predicts, table, params)
        return estimators

    def _adapt_table(self, table, fit_params):
        """Adapt in blocks of tasks, whose bounds depend on the data only."""
        adapt, n_tasks = partial(self._adapt, self.learner_, self.meta_model_), table.n_tasks
        try:
            if n_tasks <= BLOCK_TASKS or fit_params:
                return adapt(table, fit_params)
            rows = Parallel(n_jobs=getattr(self, "n_jobs", None), prefer="threads")(
                delayed(adapt)(table.block(lo, min(lo + BLOCK_TASKS, n_tasks)), {})
                for lo in range(0, n_tasks, BLOCK_TASKS)
            )
            return np.concatenate(rows)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._addressed(error, table.X, table.where) from error

    def _addressed(self, error, X, where):
        """An error about transformed rows, with the cell of X that it is about, if it is of X."""
        return addressed(error, X if self.learner_.keeps_columns else None, where)

    def _set_current(self, table, params, rows):
        self._current, self._current_rows = params, rows
        (self.estimator_,) = self._labels.make_estimators(self._predicts, table, params)
        if table.own_classes is not None:
            self.classes_ = table.own_classes.of(0)

    # -- predicting --------------------------------------------------------------------------------

    @otherwise(BY_NAME)
    @documented
    def predict(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray[Any]:
        """Predict each row by the model of its task.

        Parameters
        ----------
        {query}

        Returns
        -------
        ndarray of shape (n_rows,)
            Targets, or labels of a classifier.
        """
        return self._predict("predict", X, groups)

    @available_if(_wrapped_has("predict_proba"))
    @documented
    def predict_proba(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray[Any]:
        """Predict class probabilities, each row by the model of its task.

        Parameters
        ----------
        {query}

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._predict("predict_proba", X, groups)

    @available_if(_wrapped_has("decision_function"))
    @documented
    def decision_function(self, X: ArrayLike, *, groups: ArrayLike | None = None) -> NDArray[Any]:
        """Decision values, each row by the model of its task.

        Parameters
        ----------
        {query}

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_classes)
            As the wrapped estimator gives them.
        """
        return self._predict("decision_function", X, groups)

    def _predict(self, method, X, groups):
        X, ids, side, where = self._read_query(X, groups)
        if self._own_classes:
            return self._predict_own(method, X, ids)
        params, index = self._params_of(X, ids, side)
        try:
            values = self._predicts.predict(method, params, X, index)
        except (TypeError, ValueError, OverflowError) as error:
            at, _, row = where(getattr(error, "rows", [0])[0]).rpartition(", ")
            error = self._addressed(error, X, where)
            raise (with_address(error, at) if at else error) from error
        if method == "predict" and values.dtype.kind == "f" and not np.isfinite(values).all():
            i = int(np.argmin(np.isfinite(values)))
            raise ValueError(
                f"{where(i)}: the prediction is {values[i]}: the row, or what was learned, is out "
                "of the range of floating-point numbers. Use the units of meta-training."
            )
        return values

    def _predict_own(self, method, X, ids):
        """Predict rows of tasks that each have their own classes: there is no model of no task."""
        labels, memory = self._labels, self._memory
        if ids is None:
            if self._current is None:
                hint = ", or pass the ids of remembered tasks" if len(memory) else ""
                raise NotFittedError(f"adapt first{hint}: {UNKNOWN} (classes='per_task').")
            return labels.predict_one(self._predicts, method, self._current, X, self.classes_)
        task = memory.ids.positions(ids)
        if (task < 0).any():
            i = int(np.argmax(task < 0))
            name = f"the task id {plain(ids[i])!r} is unknown"
            if missing_ids(ids[i : i + 1])[0]:
                name = "the task id is missing"
            raise ValueError(f"row {i}: {name}: adapt to rows of this task first, since {UNKNOWN}.")
        return labels.predict(self._predicts, method, memory, X, task)

    def _params_of(self, X, ids, side):
        """The parameter rows that rows need, and which row needs which."""
        if ids is None and self._current is not None:
            return self._current, np.zeros(n_rows_of(X), dtype=np.intp)
        if ids is None:
            self._check_no_ids()
            position = np.full(n_rows_of(X), -1, dtype=np.intp)
        else:
            position = self._memory.ids.positions(ids)
            self._check_unknown(ids, position < 0)
        used, index = np.unique(position, return_inverse=True)
        unknown = position < 0
        if not unknown.any():
            return self._memory.params[used], index
        zero, zero_index = self._zero_shot(None if side is None else side[unknown])
        if not unknown.all():
            known = self._memory.params[used[1:]]  # used[0] is -1
            index = index + (len(zero) - 1)
            zero = np.concatenate([zero, known])
        index[unknown] = zero_index
        return zero, index

    def _check_no_ids(self):
        """What ``handle_unknown`` says of no ids at all, where tasks are remembered."""
        n_tasks = len(self._memory)
        routing = get_config()["enable_metadata_routing"]  # the caller was told of ids, then
        if n_tasks == 0 or not (routing or self.handle_unknown in ("warn", "error")):
            return
        text = (
            f"predict was given no task ids, and {n_tasks} tasks are remembered. Scorers by name "
            "and other estimators pass no groups on: use task_column, or few_shot_scorer for new "
            "tasks. groups=[None] * len(X) says that none is known"
        )
        if self.handle_unknown == "error":
            raise ValueError(f"{text}.")
        warnings.warn(f"{text}. The meta-model predicts.", UserWarning, stacklevel=4)

    def _check_unknown(self, ids, unknown):
        """What ``handle_unknown`` says of ids that are not remembered."""
        unknown = unknown & ~missing_ids(ids)
        if not unknown.any():
            return
        i = int(np.argmax(unknown))
        other = self._memory.ids.as_other_type(ids) if unknown.all() else ""
        if other:
            text = (
                f"No task id is known, and all would be as {other}: {plain(ids[i])!r} is not what "
                "was fitted. Give ids the type that they had"
            )
        elif self.handle_unknown == "prior":
            return
        else:
            text = (
                f"row {i}: the task id {plain(ids[i])!r} is unknown; {len(self._memory)} tasks are "
                "remembered. Adapt to rows of this task first"
            )
        if self.handle_unknown == "error":
            raise ValueError(f'{text}, or set handle_unknown="prior".')
        warnings.warn(f"{text}: the meta-model predicts it.", UserWarning, stacklevel=4)

    def _read_query(self, X, groups):
        """Transformed rows to predict, their ids and side information, what messages call them."""
        check_is_fitted(self)
        X, _, ids, side, _ = self._read_rows(X, None, groups, {}, reset=False, labelled=False)
        where = partial(row_label, ids)
        return self._transformed(TaskTable.from_rows(X, None), where).X, ids, side, where

    def _query(self, X, groups):
        """Transformed rows to predict, parameter rows, and which row needs which of these."""
        X, ids, side, _ = self._read_query(X, groups)
        return X, *self._params_of(X, ids, side)

    def _zero_shot(self, side):
        """Parameter rows of tasks without rows, and which of these rows needs which."""
        if side is None:
            return self._zero, 0
        distinct, index = distinct_rows(side)
        table = self._empty_table(len(distinct), distinct)
        return self._adapt(self.learner_, self.meta_model_, table, {}), index

    def _empty_table(self, n_tasks, descriptors=None):
        X = np.empty((0, self.learner_.n_features), dtype=getattr(self.learner_, "dtype", float))
        y = np.empty(0) if self.learner_.classes is None else self.learner_.classes[:0]
        return TaskTable(X, y, np.zeros(n_tasks + 1, dtype=np.intp), descriptors=descriptors)

    @otherwise(BY_NAME)
    def score(
        self,
        X: ArrayLike | Sequence[Task],
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Score :meth:`predict` on rows: R² of a regressor, accuracy of a classifier.

        Nothing is adapted here; see :func:`few_shot_scorer` for the score after adaptation.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns), or list of Task
            The rows; of tasks, all their rows together.
        y : array-like of shape (n_rows,)
            The targets.
        groups : array-like of shape (n_rows,), default=None
            Task ids, as in :meth:`predict`.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights.

        Returns
        -------
        float
            The score.
        """
        metric = accuracy_score if is_classifier(self) else r2_score
        if self._own_classes:
            metric = _share_of_right
        if not is_task_collection(X):
            predicted = self.predict(X, groups=groups)
            y = self._truth(y, len(predicted))
            weight = as_counts(as_weight(sample_weight, len(predicted)))
            return metric(y, predicted, sample_weight=weight)
        predicted, truth, weights = [], [], []
        for i, task in enumerate(as_tasks(X)):
            ids = None if task.id is None else [task.id] * n_rows_of(task.X)
            predicted.append(self.predict(task.X, groups=ids))
            try:
                truth.append(self._truth(task.y, len(predicted[-1])))
            except (TypeError, ValueError) as error:
                raise with_address(error, task_label(task.id, i)) from error
            weight = 1.0 if task.sample_weight is None else task.sample_weight
            weights.append(as_weight(weight, len(truth[-1]), all_zero=True))
        if self._own_classes:  # labels of one task may be text, and of another numbers
            predicted, truth = ([part.astype(object) for part in p] for p in (predicted, truth))
        return metric(
            np.concatenate(truth),
            np.concatenate(predicted),
            sample_weight=as_counts(np.concatenate(weights)),
        )

    def _truth(self, y, n_rows):
        """The targets that predictions are compared with."""
        if y is None:
            raise ValueError("y is None; a score needs the targets.")
        return targets_of(n_rows, y, is_classifier(self))

    @property
    def task_ids_(self) -> NDArray[Any]:
        """Ids of the remembered tasks, in the order in which they first appeared."""
        check_is_fitted(self)
        return self._memory.ids.ids

    def _facts(self):
        """What a notebook tells of the fitted object, see ``html.py``."""
        return {
            "Tasks": self.n_tasks_,
            "Classes": getattr(self, "classes_", None),
            "Remembered tasks": len(self._memory) or None,
        }

    # -- scikit-learn ------------------------------------------------------------------------------

    def get_metadata_routing(self):
        """Metadata routing: ``groups`` for itself, the rest for ``estimator`` if that is fitted."""
        if not self._needs().fits:
            return self._get_metadata_request()
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(estimator=self._wrapped(), method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = self._wrapped()
        if not hasattr(wrapped, "fit"):
            raise TypeError(
                f"the estimator of {type(self).__name__} is {wrapped!r}: wrap a regressor or a "
                "classifier, such as Ridge()."
            )
        wrapped = get_tags(wrapped)
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
            setattr(tags, name, getattr(wrapped, name))
        tags.target_tags.required = True
        tags.target_tags.multi_output = False
        tags.target_tags.single_output = True
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.positive_only = wrapped.input_tags.positive_only
        return tags

    def _learned(self, path):
        """A part of the meta-model, for attributes that are there only once it is."""
        if "meta_model_" not in vars(self):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        return attrgetter(path)(self.meta_model_)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "meta_model_")


def _share_of_right(y, predicted, sample_weight=None):
    """Accuracy of labels that are compared as Python objects, whatever they are."""
    right = np.asarray(predicted, dtype=object) == np.asarray(y, dtype=object)
    return float(np.average(right, weights=sample_weight))
