r"""Batch-mode meta-learning: a learner and a task descriptor.

The meta-model is a learner L and a descriptor T that know nothing of each other but a vector:

    y = L([x, s_t]),   s_t = T(support of task t, side information about it)

T describes the task, L predicts. L is trained on episodes: rows of a task with the descriptor of
*other* rows of the same task, their number varied from none to many, so that descriptors in
training look like those at adaptation. To adapt is to compute s; nothing is fitted.

With ``conditioning="prior"`` the learner is linear, and s says where its coefficients start,

    theta_t ~ N(b + M s_t, Sigma),

which are then adapted in closed form, see ``hierarchical.py``.

References
----------
Edwards, Storkey (2017), Towards a neural statistician, ICLR (a learner conditioned on a summary of
the data set). Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning for
biased regularization and fine tuning, NeurIPS. Breiman (1996), Bagging predictors, Machine Learning
24 (averaging over draws).
"""

import copy
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_union
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from ._described import DescriptorMixin, check_descriptor, describe, descriptor_names
from ._sklearn import HasMethods, Interval, StrOptions, safe_indexing
from ._supports import check_shots, draw_episodes, take_rows
from ._validation import column_names
from .base import BaseMetaEstimator
from .descriptors import LandmarkDescriptor, SideInformation
from .learners import ConditionedLearner, last_step, nonzero_scale, with_columns

__all__ = ["BatchMetaLearner"]

N_BLOCKS = 3  # queries that the rows of a task are dealt to in one draw


@dataclass(frozen=True, eq=False)
class Conditional:
    """The meta-model of ``conditioning="features"``.

    Parameters
    ----------
    descriptor : transformer
        T, fitted.
    names : list of str
        Of the entries of s.
    s_mean, s_scale : ndarray of shape (n_descriptors,)
        The learner sees ``(s - s_mean) / s_scale``.
    vectors : ndarray of shape (n_tasks, n_descriptors)
        Of the meta-train tasks, from all their rows.
    ids : ndarray of shape (n_tasks,)
        Their ids, or places.
    models : tuple of estimators
        L, one for each draw of episodes; their predictions are averaged.
    """

    descriptor: object
    names: list
    s_mean: np.ndarray
    s_scale: np.ndarray
    vectors: np.ndarray
    ids: np.ndarray
    models: tuple = ()

    def standardized(self, S):
        return (S - self.s_mean) / self.s_scale


class BatchMetaLearner(DescriptorMixin, BaseMetaEstimator):
    r"""A learner that is told by a descriptor what kind of task a row belongs to.

    ``meta_fit`` trains the learner on rows :math:`[x, T(\text{support})]` of many tasks, where the
    support is drawn anew from other rows of the task; ``adapt`` computes the descriptor of a new
    task and fits nothing. Any regressor or classifier can be wrapped. Side information about tasks
    is part of the descriptor, so that tasks without rows can be told apart.

    Parameters
    ----------
    estimator : estimator, default=None
        The learner: any scikit-learn regressor or classifier, a Pipeline included (its
        transformers are fitted on the pooled meta-train rows and see no descriptor). None:
        ``Ridge()``.
    descriptor : transformer, callable or list of these, default=None
        The task descriptor, see :mod:`sklearn_meta.descriptors`: a transformer over tasks, a
        Pipeline or FeatureUnion of such, or a function of a :class:`Task` that returns a vector.
        Of a list, the vectors are put side by side. None: a :class:`LandmarkDescriptor` around
        ``estimator``, and the side information if there is any.
    conditioning : {"features", "prior"}, default="features"
        Whether the descriptor is further columns for the learner, or says where the coefficients of
        a linear learner start, :math:`\theta_t \sim N(b + M s_t, \Sigma)`, which then adapt.
    n_shots : int or (int, int), default=(0, 20)
        Support rows of an episode; from a range they are drawn on a logarithmic scale. It should
        contain the numbers of rows that new tasks will have.
    n_estimators : int, default=5
        Draws of episodes. Each draw deals every row to one query and trains one learner; their
        predictions are averaged. Not used with ``conditioning="prior"``.
    tasks_per_batch : int, default=None
        A learner with ``partial_fit`` then goes through batches of so many tasks, in ``n_epochs``
        epochs, each with new supports. None: one ``fit`` on all rows of a draw.
    n_epochs : int, default=10
        Passes over the tasks with ``tasks_per_batch``.
    task_column : str or int, default=None
        The column of X that holds the task id; it is taken out before the learner sees X.
    descriptor_columns : list of str or int, default=None
        Columns of X, constant within a task, that are its side information; they are taken out
        before the learner sees X. Else side information comes with the tasks. It may be numbers or
        categories, and values may be missing.
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator and the draws of supports.
    n_jobs : int, default=None
        Number of workers that fit learners, as in joblib.

    Attributes
    ----------
    descriptor_ : transformer
        The fitted descriptor.
    descriptor_names_ : list of str
        Names of its entries.
    estimator_ : estimator
        The model of the current task: the fitted learners with the vector of the task.
    task_vectors_ : ndarray of shape (n_tasks, n_descriptors)
        Descriptors of the meta-train tasks, from all their rows.
    task_ids_ : ndarray of shape (n_tasks,)
        Ids of the remembered tasks.
    classes_ : ndarray of shape (n_classes,)
        The classes, of a classifier.
    n_tasks_ : int
        Number of meta-train tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.

    See Also
    --------
    HierarchicalBayes : The linear model behind ``conditioning="prior"``, with its options.
    Pooled : The learner without a descriptor.

    Notes
    -----
    Cost: the default descriptor fits the learner ``cv + 1 = 6`` times for its out-of-fold
    residuals, then it is fitted ``n_estimators`` times. Adaptation is one prediction of the support
    rows. The defaults were chosen on eight public tables, see the user guide.

    References
    ----------
    Edwards, Storkey (2017), Towards a neural statistician, ICLR. Denevi, Pontil, Ciliberto (2020),
    The advantage of conditional meta-learning for biased regularization and fine tuning, NeurIPS.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from sklearn_meta import BatchMetaLearner
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, random_state=0)
    >>> learner = HistGradientBoostingRegressor(max_iter=20)
    >>> meta = BatchMetaLearner(learner, random_state=0).meta_fit(tasks[:99])
    >>> meta.descriptor_names_
    ['log_n_rows', 'offset_y', 'error_y']
    >>> new = tasks[99]
    >>> zero_shot = meta.score(new.X[5:], new.y[5:])
    >>> meta.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > zero_shot
    True
    """

    _uses_descriptors = True
    _raw_side = True

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "descriptor": [HasMethods(["fit", "transform"]), callable, list, tuple, None],
        "conditioning": [StrOptions({"features", "prior"})],
        "n_shots": [Interval(Integral, 0, None, closed="left"), tuple, list],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "tasks_per_batch": [Interval(Integral, 1, None, closed="left"), None],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "descriptor_columns": ["array-like", None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        descriptor=None,
        conditioning="features",
        n_shots=(0, 20),
        n_estimators=5,
        tasks_per_batch=None,
        n_epochs=10,
        task_column=None,
        descriptor_columns=None,
        random_state=None,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.descriptor = descriptor
        self.conditioning = conditioning
        self.n_shots = n_shots
        self.n_estimators = n_estimators
        self.tasks_per_batch = tasks_per_batch
        self.n_epochs = n_epochs
        self.task_column = task_column
        self.descriptor_columns = descriptor_columns
        self.random_state = random_state
        self.n_jobs = n_jobs

    # -- the wrapped estimator ---------------------------------------------------------------------

    def _default_estimator(self):
        return Ridge()

    @property
    def _standardizes(self):
        return False

    @property
    def _incremental(self):
        return self.conditioning == "features" and hasattr(last_step(self._wrapped()), "partial_fit")

    @property
    def _streams(self):
        return self._incremental and self.tasks_per_batch is not None

    def _can_go_on(self):
        if not self._incremental:
            raise AttributeError(
                f"{type(last_step(self._wrapped())).__name__} has no partial_fit, so that "
                f"conditioning={self.conditioning!r} cannot go on learning from more tasks. Wrap an "
                "estimator that has it, or meta_fit on all tasks."
            )
        return True

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        if self.tasks_per_batch is not None and not hasattr(last, "partial_fit"):
            raise ValueError(
                f"tasks_per_batch={self.tasks_per_batch} trains batch after batch, and "
                f"{type(last).__name__} has no partial_fit. Use tasks_per_batch=None."
            )

    def _n_epochs(self):
        return None

    def _make_learner(self, estimator, table, step_params):
        table = super()._make_learner(estimator, table, step_params)
        raw = column_names(table.X) is not None
        self.learner_ = ConditionedLearner.around(self.learner_, raw)
        return table

    def _default_descriptor(self, learner):
        seed = self.random_state if isinstance(self.random_state, Integral) else None
        landmarks = LandmarkDescriptor(learner.estimator, random_state=seed)
        if self.n_descriptors_in_ == 0:
            return landmarks
        return make_union(landmarks, SideInformation())

    # -- learning ----------------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        for table in tables:
            origin = None
            if meta_model is None:
                origin = np.arange(len(table.y))
                meta_model = self._fitted_descriptor(learner, table, origin, rng)
            if self.tasks_per_batch is None and not meta_model.models:
                models = self._fit_on_draws(learner, table, origin, meta_model, rng, fit_params)
                meta_model = replace(meta_model, models=models)
                report(lambda m=meta_model: m)
            else:
                meta_model = self._fit_in_batches(
                    learner, table, origin, meta_model, rng, fit_params, report
                )
        return meta_model

    def _fitted_descriptor(self, learner, table, origin, rng):
        """The meta-model with its descriptor, and no learner yet."""
        given = self.descriptor
        descriptor = self._default_descriptor(learner) if given is None else check_descriptor(given)
        described = self._described(learner, table, origin)
        descriptor.fit(described)
        vectors = describe(descriptor, described)
        names = descriptor_names(descriptor, vectors.shape[1])
        episodes, S = self._draw(learner, table, origin, descriptor, rng)
        n_rows = np.diff(episodes.query_offsets)
        s_mean = np.average(S, axis=0, weights=n_rows)
        s_scale = np.sqrt(np.average((S - s_mean) ** 2, axis=0, weights=n_rows))
        ids = np.arange(table.n_tasks) if table.ids is None else table.ids
        s_scale = nonzero_scale(s_scale, s_mean)
        return Conditional(descriptor, names, s_mean, s_scale, vectors, ids)

    def _draw(self, learner, table, origin, descriptor, rng):
        """One set of episodes, and the vectors of their supports."""
        episodes = draw_episodes(table, check_shots(self.n_shots), N_BLOCKS, rng)
        if len(episodes.query) == 0:
            raise ValueError(
                "no task has rows outside its fixed support: there is nothing to learn from."
            )
        support = take_rows(table, episodes.support, episodes.support_offsets, episodes.tasks)
        origin = None if origin is None else origin[episodes.support]
        return episodes, describe(descriptor, self._described(learner, support, origin))

    def _rows(self, learner, table, origin, meta_model, rng):
        """Rows ``[x, s]`` of one draw of episodes, and which row of the table each is."""
        episodes, S = self._draw(learner, table, origin, meta_model.descriptor, rng)
        S = np.repeat(meta_model.standardized(S), np.diff(episodes.query_offsets), axis=0)
        X = safe_indexing(table.X, episodes.query)
        return with_columns(X, S, meta_model.names), episodes.query

    def _fit_on_draws(self, learner, table, origin, meta_model, rng, fit_params):
        """One learner for each draw of episodes."""
        draws = (
            self._rows(learner, table, origin, meta_model, rng) for _ in range(self.n_estimators)
        )
        return tuple(
            Parallel(n_jobs=self.n_jobs)(
                delayed(_fit)(learner, Z, table, rows, fit_params) for Z, rows in draws
            )
        )

    def _fit_in_batches(self, learner, table, origin, meta_model, rng, fit_params, report):
        """Learners that go through batches of tasks, in epochs with new supports."""
        if fit_params:
            raise TypeError(
                f"partial_fit takes no further arguments; got {sorted(fit_params)}. Use "
                "tasks_per_batch=None."
            )
        models = copy.deepcopy(meta_model.models)  # estimators change in place
        if not models:
            models = tuple(clone(learner.estimator) for _ in range(self.n_estimators))
        size = self.tasks_per_batch or table.n_tasks
        starts = np.arange(0, table.n_tasks, size)
        for _ in range(1 if self.tasks_per_batch is None else self.n_epochs):
            for lo in rng.permutation(starts):
                hi = min(lo + size, table.n_tasks)
                block, own = table.block(lo, hi), slice(table.offsets[lo], table.offsets[hi])
                own = None if origin is None else origin[own]
                for model in models:
                    Z, rows = self._rows(learner, block, own, meta_model, rng)
                    _partial_fit(model, learner.classes, Z, block, rows)
            meta_model = replace(meta_model, models=models)
            if report(lambda m=meta_model: m):
                break
        return meta_model

    # -- adapting ----------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        described = self._described(learner, table)
        return meta_model.standardized(describe(meta_model.descriptor, described))

    def _zero_shot_state(self, meta_model):
        learner = self.learner_.fitted(meta_model.models, meta_model.names)
        return {"learner_": learner, **super()._zero_shot_state(meta_model)}


def _fit(learner, Z, table, rows, fit_params):
    """The wrapped estimator fitted on rows ``[x, s]``."""
    n_rows = len(table.y)
    params = {
        key: value[rows] if isinstance(value, np.ndarray) and len(value) == n_rows else value
        for key, value in fit_params.items()
    }
    weight = None if table.sample_weight is None else table.sample_weight[rows]
    return learner.fit_one(Z, table.y[rows], weight, params)


def _partial_fit(model, classes, Z, table, rows):
    """One pass of ``partial_fit`` over rows ``[x, s]``."""
    params = {} if classes is None else {"classes": classes}
    if table.sample_weight is not None:
        if not has_fit_parameter(model, "sample_weight"):
            raise ValueError(
                f"{type(model).__name__} does not support sample_weight; leave the weights out, or "
                "wrap an estimator that takes them."
            )
        params["sample_weight"] = table.sample_weight[rows]
    model.partial_fit(Z, table.y[rows], **params)
