r"""Batch-mode meta-learning: a learner and a task descriptor.

The meta-model is a learner L and a descriptor T that know nothing of each other but a vector:

    y = L([x, s_t]),   s_t = T(support of task t, side information about it)

T describes the task, L predicts. L is trained on episodes: rows of a task with the descriptor of
*other* rows of the same task, their number varied from none to many, so that descriptors in
training look like those at adaptation. To adapt is to compute s; nothing is fitted.

With ``conditioning="prior"`` the learner is linear, and s says where its coefficients start,

    theta_t ~ N(b + M s_t, Sigma).

They then adapt to the support: in closed form for squared loss (``hierarchical.py``), by Laplace's
approximation for other losses (``priors/conditional.py``).
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.pipeline import make_union
from sklearn.utils.validation import check_is_fitted

from ..base import BaseMetaEstimator, Needs, learned, with_parameters
from ..base.described import (
    DescriptorMixin,
    check_descriptor,
    describe,
    descriptor_names,
    fit_descriptor,
)
from ..base.docstrings import documented
from ..base.episodes import all_rows
from ..base.moments import gather_moments, posterior_rows, warn_of_one_task
from ..descriptors import LandmarkDescriptor, SideInformation
from ..kernels.scaling import mean_and_std, nonzero_scale
from ..learners import (
    ConditionedLearner,
    has_curvature,
    has_network,
    is_squared_linear,
    last_step,
)
from ..learners.conditional import Conditional, are_counts, learn_conditional
from ..learners.privates import Interval, StrOptions
from ..priors.conditional import ConditionalPrior, fit_prior, posterior_modes
from ..priors.gaussian import GaussianPrior, learn_gaussian
from ..tasks.ids import as_ids
from ..tasks.supports import check_shots

__all__ = ["BatchMetaLearner"]


@dataclass(frozen=True, eq=False)
class MetaModel:
    """A fitted descriptor, and what was learned for its vectors."""

    descriptor: object  # T
    names: list  # of the entries of s
    vectors: np.ndarray  # (n_tasks, n_descriptors) of the meta-train tasks, from all their rows
    ids: np.ndarray  # theirs, or places
    model: Conditional | ConditionalPrior | GaussianPrior = None  # priors are of coefficients

    def with_tasks(self, vectors, ids):
        """The meta-model that knows more tasks."""
        if ids is None:
            ids = np.arange(len(self.ids), len(self.ids) + len(vectors))
        both = np.empty(len(self.ids) + len(vectors), dtype=object)
        both[: len(self.ids)], both[len(self.ids) :] = list(self.ids), list(ids)
        return replace(self, vectors=np.concatenate([self.vectors, vectors]), ids=both)


@documented
@with_parameters
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
        ``estimator``, and the side information if there is any; with ``conditioning="prior"`` the
        side information alone, since coefficients adapt to what rows say.
    conditioning : {"features", "prior"}, default="features"
        Whether the descriptor is further columns for the learner, or says where the coefficients of
        a linear learner start, :math:`\theta_t \sim N(b + M s_t, \Sigma)`, which then adapt.
    n_shots : int, range or (int, int), default=(0, 20)
        Support rows of an episode. From a range they are drawn on a logarithmic scale; a third of
        the supports is empty, if the range begins with 0. It should contain the numbers of rows
        that new tasks will have.
    covariance : {"diag", "full", "spherical"}, default="diag"
        The form of :math:`\Sigma` with ``conditioning="prior"``, in standardised units, see
        :class:`HierarchicalBayes`.
    n_estimators : int, default=10
        Draws of episodes. Each draw deals every row to one query and trains one learner; their
        predictions are averaged. Not used with ``conditioning="prior"``.
    tasks_per_batch : int, default=None
        A learner with ``partial_fit`` then goes through batches of so many tasks, in ``n_epochs``
        epochs, each with new supports. None: one ``fit`` on all rows of a draw.
    n_epochs : int, default=10
        Passes over the tasks with ``tasks_per_batch``.
    {ids}
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
        Descriptors of the meta-train tasks, from all their rows, out of fold where the descriptor
        fits models.
    {tasks}

    See Also
    --------
    HierarchicalBayes : The linear model behind ``conditioning="prior"``, with its options.
    Pooled : The learner without a descriptor.

    Notes
    -----
    Cost: the default descriptor fits the learner ``cv + 1 = 6`` times for its out-of-fold
    residuals, then it is fitted ``n_estimators`` times. Adaptation is one prediction of the support
    rows. The defaults were chosen on eight public tables, see the user guide.

    With ``conditioning="features"`` the tasks of ``fit`` are remembered by their rows of
    ``task_vectors_``, which come from models that have not seen them where the descriptor fits
    models. ``adapt`` cannot know them again: to the same rows it describes them as a new task.

    References
    ----------
    Edwards, Storkey (2017), Towards a neural statistician, ICLR (a learner conditioned on a summary
    of the data set). Denevi, Pontil, Ciliberto (2020), The advantage of conditional meta-learning
    for biased regularization and fine tuning, NeurIPS. Breiman (1996), Bagging predictors, Machine
    Learning 24 (averaging over draws).

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> from sklearn_meta import BatchMetaLearner
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, covariance=[[9, 0, 0], [0, 0, 0], [0, 0, 0]],
    ...                           random_state=0)
    >>> learner = HistGradientBoostingRegressor(max_iter=20)
    >>> meta = BatchMetaLearner(learner, n_estimators=2, random_state=0).meta_fit(tasks[:99])
    >>> meta.descriptor_names_
    ['log_n_rows', 'offset_y', 'error_y']
    >>> new = tasks[99]
    >>> zero_shot = meta.score(new.X[5:], new.y[5:])
    >>> meta.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:]) > zero_shot
    True
    """

    estimator: Any = None
    _: KW_ONLY
    descriptor: Any = None
    conditioning: str = "features"
    n_shots: int | range | Sequence[int] = (0, 20)
    covariance: str = "diag"
    n_estimators: int = 10
    tasks_per_batch: int | None = None
    n_epochs: int = 10
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    descriptor_columns: Sequence[str | int] | None = None
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "conditioning": [StrOptions({"features", "prior"})],
        "n_shots": [Interval(Integral, 0, None, closed="left"), range, tuple, list],
        "covariance": [StrOptions({"diag", "full", "spherical"})],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "tasks_per_batch": [Interval(Integral, 1, None, closed="left"), None],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
    }

    # -- the wrapped estimator ---------------------------------------------------------------------

    @property
    def _laplace(self):
        """Whether coefficients start at a prior and have no closed form."""
        return self.conditioning == "prior" and not is_squared_linear(self._wrapped())

    def _needs(self):
        laplace, last = self._laplace, last_step(self._wrapped())
        goes_on, lacks = hasattr(last, "partial_fit"), "partial_fit"
        if self.conditioning == "prior":
            goes_on, lacks = not laplace, "squared loss"
        why_not = (
            f"{type(last).__name__} has no {lacks}, so that it cannot go on learning from more "
            f"tasks with conditioning={self.conditioning!r}. Wrap another estimator, or meta_fit "
            "on all tasks."
        )
        return Needs(
            gradients=laplace,
            standardized=laplace,  # a prior of comparable coefficients
            side="objects",
            goes_on=goes_on,
            why_not="" if goes_on else why_not,
            streams=goes_on and self.tasks_per_batch is not None,
            n_epochs=None,
        )

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        if self.conditioning == "prior":
            check_prior_of(last)
            return
        if self.tasks_per_batch is not None and not hasattr(last, "partial_fit"):
            raise ValueError(
                f"tasks_per_batch={self.tasks_per_batch} trains batch after batch, and "
                f"{type(last).__name__} has no partial_fit. Use tasks_per_batch=None."
            )

    def _make_descriptor(self, learner):
        if self.descriptor is not None:
            return check_descriptor(self.descriptor)
        if self.conditioning == "prior":
            return SideInformation()
        landmarks = LandmarkDescriptor(learner.estimator)  # random_state seeds it already
        if self.n_descriptors_in_ == 0:
            return landmarks
        return make_union(landmarks, SideInformation())

    # -- learning ----------------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        rng = np.random.default_rng(self._seed())
        for table in tables:
            if meta_model is None:
                descriptor = self._make_descriptor(learner)
                fit_descriptor(descriptor, self._described(learner, table))
            else:
                descriptor = meta_model.descriptor
            vectors = describe(descriptor, self._described(learner, table))
            if meta_model is None:
                names = descriptor_names(descriptor, vectors.shape[1])
                meta_model = MetaModel(descriptor, names, vectors[:0], np.empty(0))
            meta_model = meta_model.with_tasks(vectors, table.ids)
            train = self._learn_prior if self.conditioning == "prior" else self._learn_features
            model = train(learner, table, meta_model, rng, fit_params, report)
            meta_model = replace(meta_model, model=model)
        return meta_model

    def _learn_features(self, learner, table, meta_model, rng, fit_params, report):
        """Learners of rows ``[x, s]``."""
        return learn_conditional(
            learner,
            table,
            lambda support: self._vectors_of(learner, meta_model, support),
            meta_model.names,
            meta_model.model,
            n_shots=check_shots(self.n_shots),
            n_estimators=self.n_estimators,
            tasks_per_batch=self.tasks_per_batch,
            n_epochs=self.n_epochs,
            n_jobs=self.n_jobs,
            rng=rng,
            fit_params=fit_params,
            report=lambda model: report(lambda: replace(meta_model, model=model)),
        )

    def _learn_prior(self, learner, table, meta_model, rng, fit_params, report):
        """Where the coefficients of a linear learner start, as a function of the descriptor."""
        if fit_params:
            raise TypeError(
                f'conditioning="prior" never calls fit of the learner; got {sorted(fit_params)}.'
            )
        shots = check_shots(self.n_shots)
        table = self._with_vectors(learner, table, meta_model.descriptor, shots, rng)

        def report_prior(get):
            return report(lambda: replace(meta_model, model=get()))

        if not self._laplace:
            return self._learn_gaussian(learner, table, meta_model.model, report_prior)
        if table.n_tasks == 1:
            warn_of_one_task()
        prior = fit_prior(
            learner.network,
            list(all_rows(learner, table)),
            table.descriptors,
            covariance=self.covariance,
            report=report_prior,
        )
        way = 'Pass more tasks, fewer descriptors, or covariance="diag".'
        self._check_converged(prior.model, way)
        return prior

    def _learn_gaussian(self, learner, table, prior, report):
        return learn_gaussian(
            *gather_moments([table], prior),
            np.arange(learner.n_features + learner.fit_intercept),
            intercept=learner.fit_intercept,
            covariance=self.covariance,
            callback=report,
        )

    # -- adapting ----------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        model = meta_model.model
        if isinstance(model, Conditional):  # rows of meta-training are described out of fold
            return model.standardized(self._vectors_of(learner, meta_model, table))
        S = self._vectors_of(learner, meta_model, replace(table, origin=None))
        if isinstance(model, ConditionalPrior):
            return self._adapt_prior(learner, model, table, S)
        coefs, *_ = posterior_rows(model, replace(table, descriptors=S))
        return coefs.astype(learner.dtype, copy=False)

    def _vectors_of(self, learner, meta_model, table):
        return describe(meta_model.descriptor, self._described(learner, table))

    def _adapt_prior(self, learner, prior, table, S):
        theta, _ = posterior_modes(prior, learner.network, all_rows(learner, table), S)
        return learner.rows(theta).astype(learner.dtype, copy=False)

    def _predictor(self, learner, meta_model):
        if self.conditioning == "prior":
            return learner
        model = meta_model.model
        seen = dict(models=model.models, descriptor_names=model.names, raw=model.raw)
        return ConditionedLearner.like(learner, **seen, checks_rows=learner.checks_rows)

    # -- tasks as vectors --------------------------------------------------------------------------

    def nearest_tasks(self, X, y, *, n_neighbors=5, sample_weight=None, descriptor=None) -> Any:
        """The meta-train tasks that a task resembles most, by their descriptors.

        Entries are compared in units of their standard deviation over the meta-train tasks. Numbers
        of rows do not count: they say how much is known of a task, not what kind it is.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows that are known of the task; there may be none.
        y : array-like of shape (n_rows,)
            Their targets.
        n_neighbors : int, default=5
            How many tasks to return; all, if there are fewer.
        sample_weight : array-like of shape (n_rows,), default=None
            Row weights.
        descriptor : array-like or mapping, default=None
            Side information about the task.

        Returns
        -------
        ids : ndarray of shape (n_neighbors,)
            Ids of the nearest tasks, or their places where tasks have no ids.
        distances : ndarray of shape (n_neighbors,)
            Euclidean distances, ascending.
        """
        check_is_fitted(self)
        if not isinstance(n_neighbors, Integral) or n_neighbors < 1:
            raise ValueError(f"n_neighbors={n_neighbors!r} is no whole number of 1 or more.")
        table, _ = self._support_rows(X, y, None, sample_weight, descriptor)
        if table.n_tasks == 0:  # a column of ids, and no rows
            table = self._empty_table(1)
        table = self._labels.check(table)
        if table.n_tasks != 1:
            raise ValueError(
                f"nearest_tasks takes the rows of one task, and X holds {table.n_tasks}."
            )
        meta_model = self.meta_model_
        s = self._vectors_of(self.learner_, meta_model, table)[0]
        of_kind = ~are_counts(meta_model.names)
        mean, std = mean_and_std(meta_model.vectors)
        apart = ((meta_model.vectors - s) / nonzero_scale(std, mean))[:, of_kind]
        distances = np.sqrt((apart**2).sum(axis=1))
        nearest = np.argsort(distances, kind="stable")[:n_neighbors]
        return as_ids(meta_model.ids[nearest]), distances[nearest]

    descriptor_ = learned("descriptor", "The fitted descriptor.")
    descriptor_names_ = learned("names", "Names of the entries of the descriptor.", list)
    task_vectors_ = learned("vectors", "Descriptors of the meta-train tasks, from all their rows.")


def check_prior_of(estimator):
    """Whether a prior of the coefficients can be learned for an estimator; an error if not."""
    name = type(estimator).__name__
    if not has_network(estimator, False):
        raise ValueError(
            f'conditioning="prior" needs a linear learner, whose coefficients start at the prior; '
            f'got {name}. conditioning="features" takes any estimator.'
        )
    if getattr(estimator, "positive", False):
        raise ValueError(
            f'conditioning="prior" cannot keep coefficients positive; set {name}(positive=False).'
        )
    if not has_curvature(estimator):
        raise ValueError(
            f'conditioning="prior" needs a loss with curvature, and that of {estimator} has none. '
            'Use a squared or logistic loss, or Huber\'s, or conditioning="features".'
        )
