"""The contract that every algorithm of this package keeps, written once.

An algorithm is three functions on arrays: *learn* (tables of tasks to a meta-model), *adapt* (the
meta-model and supports to one parameter row per task) and *predict* (parameter rows and query rows
to predictions; mostly the learner's). :class:`BaseMetaEstimator` is everything else: task ids,
routing of metadata, callbacks, state, and the way back to scikit-learn. How input is read and
checked is in ``reading.py``.
"""

import functools
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier, is_regressor
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ..learners import make_learner, unrolled
from ..learners.privates import HasMethods, set_random_states
from ..tasks.ids import IdIndex, missing_ids
from ..tasks.rows import n_rows_of
from ..tasks.table import TaskTable, distinct_rows
from ..tasks.task import as_tasks, is_task_collection
from ..tasks.validation import addressed, plain, task_label, with_address
from .reading import ReadingMixin

__all__ = ["BaseMetaEstimator"]

STREAM_TASKS = 4096  # tasks that are read at a time from an iterator
BLOCK_TASKS = 2**14  # tasks that one worker adapts at a time


def transactional(method):
    """Give an estimator back as it was when a method raises.

    Fitted state is only ever rebound, never changed in place, so its attributes are all there is.
    """

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return call


def _check_one_type(table):
    """Labels must be all text or all numbers, to be put in order."""
    if table.y.dtype.kind != "O":
        return
    text = np.array([isinstance(label, str) for label in table.y])
    if text.any() and not text.all():
        i = int(np.argmax(text != text[0]))
        raise ValueError(
            f"{table.where(i)}: y is {plain(table.y[i])!r}, and {plain(table.y[0])!r} in row 0: "
            "labels must be all strings or all numbers."
        )


class _Reporter:
    """Tells the callbacks how learning goes on, so that algorithms need not know of them.

    Parameters
    ----------
    estimator : BaseMetaEstimator
    data : dict
        The X and y that callbacks may score on.
    """

    def __init__(self, estimator, data):
        self.estimator, self.data = estimator, data
        self.context = estimator._init_callback_context(max_subtasks=estimator._n_epochs())
        self.context.call_on_fit_task_begin(estimator=estimator, **data)

    def __call__(self, meta_model):
        """An epoch is over; whether a callback wants to stop.

        ``meta_model`` is a function that returns it, called only if a callback wants to see it.
        """
        epoch = self.context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(estimator=self.estimator)
        return epoch.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            reconstruction_attributes=lambda: self.estimator._zero_shot_state(meta_model()),
        )

    def end(self):
        """Learning is over."""
        self.context.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )


def _sorted_rows(params, table):
    """Bring fit parameters with one entry per row into the order of the table."""
    if table.row_numbers is None:
        return params

    def in_order(value):
        is_rows = np.ndim(value) > 0 and len(value) == len(table.y)
        return np.asarray(value)[table.row_numbers] if is_rows else value

    return {step: {k: in_order(v) for k, v in own.items()} for step, own in params.items()}


def _wrapped_has(method):
    """Whether the wrapped estimator has ``method``; its own AttributeError says why not."""

    def check(self):
        getattr(self._wrapped(), method)
        return True

    return check


class BaseMetaEstimator(
    ReadingMixin, CallbackSupportMixin, MetaEstimatorMixin, BaseEstimator, metaclass=ABCMeta
):
    """Base class of all algorithms.

    A subclass has its parameters in ``__init__`` and implements :meth:`_learn` and :meth:`_adapt`.
    """

    __metadata_request__fit = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__decision_function = {"groups": True}
    __metadata_request__score = {"groups": True}

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "task_column": [str, Integral, None],
    }

    _incremental = False  # whether _learn can go on from a meta-model, so that tasks can stream
    _standardizes = True  # whether the learner standardises where ``standardize`` is set

    # -- what a subclass provides ------------------------------------------------------------------

    @abstractmethod
    def _default_estimator(self):
        """The estimator that ``estimator=None`` stands for."""

    def _check_wrapped(self, estimator):
        """Raise a clear error if the algorithm cannot use the wrapped estimator."""

    @abstractmethod
    def _learn(self, learner, tables, meta_model, fit_params, report):
        """Learn the meta-model.

        Parameters
        ----------
        learner : Learner
        tables : iterator of TaskTable
            One table, or several where tasks stream in (``_incremental``).
        meta_model : object or None
            What to go on from, in ``partial_meta_fit``.
        fit_params : dict
            Further arguments for the ``fit`` of the wrapped estimator.
        report : callable
            ``report(lambda: meta_model)`` after each epoch tells the callbacks; True means stop.

        Returns
        -------
        meta_model : object
            An immutable record.
        """

    @abstractmethod
    def _adapt(self, learner, meta_model, table, fit_params):
        """Adapt to a batch of supports; one parameter row per task.

        A task without rows gets the zero-shot model. ``table.descriptors`` is None where side
        information is not known.

        Returns
        -------
        params : ndarray of shape (n_tasks, n_params)
        """

    # -- learning ----------------------------------------------------------------------------------

    def fit(self, X, y=None, *, groups=None, **fit_params):
        """Learn from a long table: meta-train on its tasks, then adapt to each and remember it.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns), or list of Task
            The rows of all tasks. A list of :class:`Task` is handed to :meth:`meta_fit`.
        y : array-like of shape (n_rows,)
            The targets.
        groups : array-like of shape (n_rows,), default=None
            The task id of every row. Not needed with ``task_column``. Without any ids all rows
            are one task.
        **fit_params : dict
            Passed to the ``fit`` of the wrapped estimator; arrays with one entry per row
            (``sample_weight``) are cut to the rows of each fit.

        Returns
        -------
        self : object
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
        estimator = self._start()
        step_params, fit_params = self._route_fit_params(estimator, fit_params, groups)
        given = {"X": X, "y": y}
        reset = before is None
        X, y, ids, side, weight = self._read_rows(X, y, groups, fit_params, reset=reset)
        table = self._as_task_table(X, y, ids, weight, side, reset=reset)
        report = _Reporter(self, given)
        if before is None:
            table = self._set_classes(table)
            table = self._make_learner(estimator, table, _sorted_rows(step_params, table))
        else:
            table = self._transformed(self._check_labels(table))
        fit_params = _sorted_rows({"": fit_params}, table)[""]
        meta_model = self._learn(self.learner_, iter([table]), before, fit_params, report)
        self._set_meta_model(meta_model, table.n_tasks)
        params = self._adapt_table(table, fit_params)
        if ids is None:
            self._set_current(table, params)
        else:
            self._remember(table, params)
        report.end()
        return self

    @transactional
    @with_callbacks
    def meta_fit(self, tasks):
        """Learn the meta-model from tasks.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            The meta-train tasks.

        Returns
        -------
        self : object

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
    def partial_meta_fit(self, tasks):
        """Go on learning from more tasks; the first call is :meth:`meta_fit`.

        What was adapted before (``estimator_``, remembered tasks) is forgotten, since it started
        from an earlier meta-model.

        Parameters
        ----------
        tasks : sequence or iterator of Task or of pairs (X, y), or mapping id -> (X, y)
            Tasks that were not yet used.

        Returns
        -------
        self : object
        """
        return self._meta_fit(tasks, {}, getattr(self, "meta_model_", None))

    def _meta_fit(self, tasks, fit_params, meta_model):
        going_on = meta_model is not None
        estimator = self._wrapped() if going_on else self._start()
        streams = self._streams and isinstance(tasks, Iterator)
        size = STREAM_TASKS if streams and not isinstance(estimator, Pipeline) else None
        blocks = self._read_tasks(tasks, size, reset=not going_on)
        first = next(blocks)
        n_tasks = first.n_tasks
        if going_on:
            n_tasks += self.n_tasks_
            first = self._transformed(self._check_labels(first))
        else:
            first = self._set_classes(first)
            first = self._make_learner(estimator, first, {})
        report = _Reporter(self, {})

        def tables():
            nonlocal n_tasks
            yield first
            for block in blocks:
                n_tasks += block.n_tasks
                yield self._transformed(self._check_labels(block))

        meta_model = self._learn(self.learner_, tables(), meta_model, fit_params, report)
        self._set_meta_model(meta_model, n_tasks)
        report.end()
        return self

    @property
    def _streams(self):
        """Whether learning reads an iterator of tasks part by part."""
        return self._incremental

    def _can_go_on(self):
        """Whether there is ``partial_meta_fit``; an AttributeError may say why not."""
        return self._incremental

    def _continued(self):
        """The meta-model that a new fit goes on from: with ``warm_start`` the one that is there."""
        warm = getattr(self, "warm_start", False)
        return getattr(self, "meta_model_", None) if warm else None

    def _n_epochs(self):
        """How many subtasks the root context of the callbacks has; None if not known before."""
        return 0

    def _zero_shot_state(self, meta_model):
        """The fitted attributes of an object that knows the meta-model and no task."""
        return {
            "meta_model_": meta_model,
            "_zero": self._adapt(self.learner_, meta_model, self._empty_table(1), {}),
            "_current": None,
            "_remembered": None,
            "_remembered_ids": IdIndex(np.empty(0)),
        }

    def _start(self):
        """Check the parameters; the estimator to wrap, seeded by ``random_state``."""
        self._validate_params()
        estimator = unrolled(clone(self._wrapped()))
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise ValueError(
                f"{type(self).__name__} wraps a regressor or a classifier; got "
                f"{type(estimator).__name__}."
            )
        self._check_wrapped(estimator)
        if getattr(self, "random_state", None) is not None:
            set_random_states(estimator, self.random_state)
        return estimator

    def _set_classes(self, table):
        """Take the labels of the meta-train tasks in; the table as learners take it."""
        vars(self).pop("classes_", None)
        if not is_classifier(self):
            return table
        try:
            _check_one_type(table)
            check_classification_targets(table.y)
        except ValueError as error:
            odd = np.flatnonzero(table.y != np.round(table.y)) if table.y.dtype.kind == "f" else []
            where = f"{table.where(odd[0])}: y is {plain(table.y[odd[0]])!r}. " if len(odd) else ""
            raise ValueError(f"{where}{error} For numbers, wrap a regressor.") from error
        self.classes_ = np.unique(table.y)
        return table

    def _outputs(self, table):
        """The classes that the learner tells apart; None for a regressor."""
        return getattr(self, "classes_", None)

    def _make_learner(self, estimator, table, step_params):
        try:
            self.learner_, X = make_learner(
                estimator,
                table.X,
                None if table.own_classes else table.y,  # transformers cannot learn from codes
                classes=self._outputs(table),
                feature_names=self._feature_names(),
                step_params=step_params,
                standardize=self._standardizes and self.standardize,
                sample_weight=table.sample_weight,
                codes=table.codes if self._gradient else None,
            )
        except (TypeError, ValueError) as error:
            raise addressed(error, table.X, table.where) from error
        return self._checked(table, X, table.where)

    def _set_meta_model(self, meta_model, n_tasks):
        vars(self).update(self._zero_shot_state(meta_model))
        self.n_tasks_ = n_tasks
        self.estimator_ = self.learner_.make_estimator(self._zero[0])

    # -- adapting ----------------------------------------------------------------------------------

    @transactional
    def adapt(self, X, y, *, groups=None, sample_weight=None, descriptor=None):
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
        table, ids = self._support_table(X, y, groups, sample_weight, descriptor)
        if table.n_tasks == 0:  # ids, but no rows: there is no task to remember
            return self
        params = self._adapt_table(table, {})
        if ids is None:
            self._set_current(table, params)
        else:
            self._remember(table, params)
        return self

    def _support_table(self, X, y, groups, sample_weight, descriptor):
        """Supports as a table of transformed rows, and the id of every row."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        X, y, ids, side, weight = self._read_rows(X, y, groups, weights, reset=False, min_rows=0)
        table = self._as_task_table(X, y, ids, weight, side)
        if self._uses_descriptors and side is None:
            table = replace(table, descriptors=self._given_descriptor(descriptor, table))
        return self._transformed(self._check_labels(table)), ids

    def adapt_many(self, tasks):
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
        for table in self._read_tasks(tasks, STREAM_TASKS, reset=False, min_rows=0):
            table = self._check_labels(table)
            params = self._adapt_table(self._transformed(table), {})
            estimators += self._make_estimators(table, params)
        return estimators

    def _adapt_table(self, table, fit_params):
        """Adapt in blocks of tasks, whose bounds depend on the data only."""
        if table.n_tasks <= BLOCK_TASKS or fit_params:
            return self._adapt(self.learner_, self.meta_model_, table, fit_params)
        starts = range(0, table.n_tasks, BLOCK_TASKS)
        rows = Parallel(n_jobs=getattr(self, "n_jobs", None), prefer="threads")(
            delayed(self._adapt)(
                self.learner_,
                self.meta_model_,
                table.block(lo, min(lo + BLOCK_TASKS, table.n_tasks)),
                fit_params,
            )
            for lo in starts
        )
        return np.concatenate(rows)

    def _make_estimators(self, table, params):
        return [self.learner_.make_estimator(row) for row in params]

    def _set_current(self, table, params):
        self._current = params
        self.estimator_ = self._make_estimators(table, params)[0]

    def _remember(self, table, params):
        self._remembered_ids, at = self._remembered_ids.union(table.ids)
        stack = np.empty((len(self._remembered_ids), params.shape[1]), dtype=params.dtype)
        if self._remembered is not None:
            stack[: len(self._remembered)] = self._remembered
        stack[at] = params
        self._remembered = stack

    # -- predicting --------------------------------------------------------------------------------

    def predict(self, X, *, groups=None):
        """Predict each row by the model of its task.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        groups : array-like of shape (n_rows,), default=None
            Task ids. A remembered id: that task's adapted model; an unknown or missing id: the
            meta-model. Without ids: the task last given to :meth:`adapt` without ids, else the
            meta-model.

        Returns
        -------
        ndarray of shape (n_rows,)
            Targets, or labels of a classifier.
        """
        return self._predict("predict", X, groups)

    @available_if(_wrapped_has("predict_proba"))
    def predict_proba(self, X, *, groups=None):
        """Predict class probabilities, each row by the model of its task.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        groups : array-like of shape (n_rows,), default=None
            Task ids, as in :meth:`predict`.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._predict("predict_proba", X, groups)

    @available_if(_wrapped_has("decision_function"))
    def decision_function(self, X, *, groups=None):
        """Decision values, each row by the model of its task.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        groups : array-like of shape (n_rows,), default=None
            Task ids, as in :meth:`predict`.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_classes)
            As the wrapped estimator gives them.
        """
        return self._predict("decision_function", X, groups)

    def _predict(self, method, X, groups):
        X, params, index, where = self._rows_and_params(X, groups)
        try:
            return self.learner_.predict(method, params, X, index)
        except (TypeError, ValueError) as error:
            at, _, row = where(getattr(error, "rows", [0])[0]).rpartition(", ")
            error = addressed(error, X, where)
            raise (with_address(error, at) if at else error) from error

    def _rows_and_params(self, X, groups):
        """Transformed rows, the parameter rows that they need, and which row needs which."""
        X, ids, side, where = self._read_query(X, groups)
        if ids is None and self._current is not None:
            return X, self._current, np.zeros(len(X), dtype=np.intp), where
        if ids is None:
            position = np.full(n_rows_of(X), -1, dtype=np.intp)
        else:
            position = self._remembered_ids.positions(ids)
        used, index = np.unique(position, return_inverse=True)
        unknown = position < 0
        if not unknown.any():
            return X, self._remembered[used], index, where
        zero, zero_index = self._zero_shot(None if side is None else side[unknown])
        if not unknown.all():
            known = self._remembered[used[1:]]  # used[0] is -1
            index = index + (len(zero) - 1)
            zero = np.concatenate([zero, known])
        index[unknown] = zero_index
        return X, zero, index, where

    def _read_query(self, X, groups):
        """Transformed rows to predict, their ids and side information, what messages call them."""
        check_is_fitted(self)
        X, _, ids, side, _ = self._read_rows(X, None, groups, {}, reset=False, labelled=False)

        def where(i):
            named = ids is not None and not missing_ids(ids[i : i + 1])[0]
            return f"{task_label(ids[i], 0)}, row {i}" if named else f"row {i}"

        return self._transformed(TaskTable.from_rows(X, None), where).X, ids, side, where

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

    def score(self, X, y=None, *, groups=None, sample_weight=None):
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
        if not is_task_collection(X):
            return metric(y, self.predict(X, groups=groups), sample_weight=sample_weight)
        predicted, truth, weights = [], [], []
        for task in as_tasks(X):
            ids = None if task.id is None else [task.id] * n_rows_of(task.X)
            predicted.append(self.predict(task.X, groups=ids))
            truth.append(np.asarray(task.y))
            ones = np.ones(len(truth[-1]))
            weights.append(ones if task.sample_weight is None else task.sample_weight)
        return metric(
            np.concatenate(truth), np.concatenate(predicted), sample_weight=np.concatenate(weights)
        )

    @property
    def task_ids_(self):
        """Ids of the remembered tasks, in the order in which they first appeared."""
        check_is_fitted(self)
        return self._remembered_ids.ids

    # -- scikit-learn ------------------------------------------------------------------------------

    def _route_fit_params(self, estimator, fit_params, groups):
        """Arguments for the transformers by step, and those for the last step."""
        steps = isinstance(estimator, Pipeline)
        if get_config()["enable_metadata_routing"]:
            groups = {} if groups is None else {"groups": groups}
            routed = process_routing(self, "fit", **groups, **fit_params)
            if "estimator" not in routed:
                return {}, fit_params
            fit_params = dict(routed["estimator"]["fit"])
            if not steps:
                return {}, fit_params
            inner = process_routing(estimator, "fit", **fit_params)
            by_step = {
                name: dict(inner[name].get("fit_transform") or inner[name].get("fit") or {})
                for name, step in estimator.steps
                if step not in (None, "passthrough")
            }
        elif not steps:
            return {}, dict(fit_params)
        else:
            by_step = {name: {} for name, _ in estimator.steps}
            for key, value in fit_params.items():
                name, _, param = key.rpartition("__")
                name = name.replace("__", "-") or estimator.steps[-1][0]
                if name not in by_step:
                    raise ValueError(
                        f"{key!r} names no step of the Pipeline; its steps are {list(by_step)}."
                    )
                by_step[name][param] = value
        last = by_step.pop(estimator.steps[-1][0])
        return by_step, last

    def get_metadata_routing(self):
        """Metadata routing of this object: ``groups`` for itself, the rest for ``estimator``.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(estimator=self._wrapped(), method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        wrapped = get_tags(self._wrapped())
        tags.estimator_type = wrapped.estimator_type
        tags.classifier_tags = wrapped.classifier_tags
        tags.regressor_tags = wrapped.regressor_tags
        tags.target_tags = wrapped.target_tags
        tags.target_tags.required = True
        tags.target_tags.multi_output = False
        tags.target_tags.single_output = True
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = False
        tags.input_tags.allow_nan = wrapped.input_tags.allow_nan
        tags.input_tags.positive_only = wrapped.input_tags.positive_only
        return tags

    def _fitted_meta_model(self):
        """The meta-model, for attributes that are there only once it is."""
        if "meta_model_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has not been fitted yet.")
        return self.meta_model_

    def _learned(self, name):
        """A part of the meta-model."""
        return getattr(self._fitted_meta_model(), name)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "meta_model_")
