r"""Prototypes: classes as Gaussian clouds whose means are shrunken by the number of their rows.

    x | class c of task t  ~  N(mu_tc, W_t),     mu_tc  ~  N(m_c, B),     W_t  ~  IW(W, nu)

W, nu, B and m are learned over tasks, on features or on an embedding that is trained for it;
adaptation is the posterior of the class means and of W_t. The mathematics is in
``priors/prototypes.py``, the training of an embedding in ``kernels/prototypes.py``.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ..base import learned
from ..base.embedding import EmbeddingMetaEstimator, Representation
from ..base.gradient_docs import documented
from ..base.moments import warn_of_one_task
from ..kernels.body import Body
from ..kernels.prototypes import prototype_loss
from ..learners import has_class_outputs, last_step
from ..priors.prototypes import Clouds, concentration, learn_prototypes
from ..tasks.ids import factorize_ids

__all__ = ["PrototypeClassifier"]

LEVELS = (1, 2, 5, 10, 20)  # shots that the temperature is learned for
N_EPISODES = 100  # of each
MAX_QUERY = 15  # rows of a class
N_FOLDS = 5
N_DIVISIONS = 5  # of few labels
CHUNK_TASKS = 64


@dataclass(frozen=True, eq=False)
class ClassMeans(Representation):
    """A representation, the prior of class means, and how it is pulled."""

    shrinkage: dict = None  # ``shrinkage_`` of PrototypeClassifier


@documented
class PrototypeClassifier(EmbeddingMetaEstimator):
    r"""Few-shot classification by class means: a linear discriminant with a learned prior.

    .. math:: x \mid \text{class } c \text{ of task } t \sim N(\mu_{tc}, W_t), \quad
        \mu_{tc} \sim N(m_c, B), \quad W_t \sim IW(W, \nu)

    ``meta_fit`` learns from the meta-train tasks how rows scatter within classes (:math:`W`), how
    much that differs between tasks (:math:`\nu`), and how class means scatter (:math:`m, B`).
    ``adapt`` is the posterior of a task given its rows, in closed form: prototypes that are
    shrunken the more, the fewer rows they have, and a covariance :math:`W_t` of the task itself,
    between that of its own rows and :math:`W`, which counts as :math:`\nu` rows.
    Tasks may have classes that no other task has (``classes="per_task"``).

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier that a task gets: ``LinearDiscriminantAnalysis``, ``LogisticRegression`` or
        ``SGDClassifier(loss="log_loss")``, whose coefficients then are those of the discriminant;
        or an ``MLPClassifier``, whose hidden layers are an embedding that is trained over episodes,
        and whose last layer is the discriminant. Alone or at the end of a Pipeline. Their own
        penalties are not used. None: ``LinearDiscriminantAnalysis()``.
    {body}
    classes : {"shared", "per_task"}, default="shared"
        Whether all tasks have the same classes, of which each has its own prior mean, or every task
        has labels of its own (N-way tasks), any of which may be new.
    n_shots : int, range or (int, int), default=(1, 10)
        Support rows of an episode in which an embedding is trained: of each class, with
        ``classes="per_task"``, else in all. Of a range, each batch draws one number.
    {training}
    init : {"pooled", "random"}, default="pooled"
        Where the training of an embedding starts: at a fit on the pooled rows, or as the perceptron
        draws its first weights. With ``classes="per_task"`` always the latter.
    {early}
    standardize : bool, default=True
        Whether to work on features standardised over the meta-train rows. :math:`W` is then pulled
        towards a multiple of the identity in standardised features, or in those that were given,
        whichever predicts better: columns of one unit, such as pixels, may stay as they are.
    {seeds}

    Attributes
    ----------
    prior_mean_ : ndarray of shape (n_classes, n_features) or (1, n_features)
        :math:`m_c`, in the units of the features: standardised, or those of the embedding.
    within_covariance_ : ndarray of shape (n_features, n_features)
        :math:`W`, as it is used, in the same units.
    between_covariance_ : ndarray of shape (n_features, n_features)
        :math:`B`, likewise.
    shrinkage_ : dict
        ``"lambda"`` and ``"rho"``, from 0 to 1: how far :math:`W` is pulled towards a multiple of
        the identity, and :math:`B` towards one of :math:`W`; ``"nu"``, the rows that :math:`W`
        counts as, which may be infinite; and ``"units"``, ``"standardized"`` or ``"given"``, those
        that the identity is in.
    {trained}

    See Also
    --------
    MAML : Gradient steps instead of class means.
    RidgeHead : A regression on codes of the classes.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : The same for one task.
    sklearn.neighbors.NearestCentroid : Class means alone.

    Notes
    -----
    The classes of a task are taken to be equally likely with ``classes="per_task"``; shared classes
    have the shares of the task, shrunken towards those of all tasks. Without support rows shared
    classes are predicted by their prior means; classes of its own cannot be known then, and
    ``predict`` says so. What ``shrinkage_`` says, and the temperature of the log-odds for each
    number of rows, are what predicts meta-train classes best that were left out (tasks, where
    classes are shared).

    References
    ----------
    Snell, Swersky, Zemel (2017), Prototypical networks for few-shot learning, NeurIPS. Ioffe
    (2006), Probabilistic linear discriminant analysis, ECCV. Bateni, Goyal, Masrani, Wood, Sigal
    (2020), Improved few-shot visual classification, CVPR.

    Examples
    --------
    >>> from sklearn_meta import PrototypeClassifier
    >>> from sklearn_meta.datasets import make_digits_tasks
    >>> tasks = make_digits_tasks(50, n_way=4, n_rows=15, classes=range(6), random_state=0)
    >>> model = PrototypeClassifier(classes="per_task", random_state=0)
    >>> new = make_digits_tasks(1, n_way=4, n_rows=15, classes=range(6, 10), random_state=1)[0]
    >>> model.meta_fit(tasks).adapt(new.X[::5], new.y[::5]).score(new.X, new.y) > 0.8
    True
    >>> model.classes_
    array([6, 7, 8, 9])
    """

    def _default_estimator(self):
        return LinearDiscriminantAnalysis()

    def _check_wrapped(self, estimator):
        if not is_classifier(estimator):
            raise ValueError(
                "PrototypeClassifier wraps a classifier; got "
                f"{type(last_step(estimator)).__name__}. For numbers use RidgeHead."
            )
        if not has_class_outputs(estimator):
            raise ValueError(
                "PrototypeClassifier works with LinearDiscriminantAnalysis, LogisticRegression, "
                "SGDClassifier(loss='log_loss') and MLPClassifier, alone or at the end of a "
                f"Pipeline; got {type(last_step(estimator)).__name__}."
            )

    # -- training ----------------------------------------------------------------------------------

    def _start_of(self, learner, theta):
        return theta[: Body(learner.network).n_params]

    def _meta_gradient(self, learner, meta_model, episode):
        support, query, _ = episode
        return prototype_loss(Body(learner.network), meta_model.theta, support, query)

    def _finished(self, learner, model, table, rng):
        Z = self._features(learner, model, table.X).astype(np.float64)
        weight, place = table.weights, self._places(learner, table)
        K = len(learner.classes)
        both = table.codes * K + place
        _, first, group = np.unique(both, return_index=True, return_inverse=True)
        task, own = table.codes[first], place[first]
        if table.own_classes is None:
            if table.n_tasks == 1:
                warn_of_one_task()
            fold, held = self._by_task(table.n_tasks, task, rng)
            label, n_means = own, K
            n = np.bincount(both, weight, minlength=table.n_tasks * K)
            share, kappa = concentration(n.reshape(-1, K))
            shares = {"log_prior": np.log(share), "kappa": kappa}
        else:
            fold, held = self._by_label(table, task, own, rng)
            label, n_means, shares = np.zeros_like(own), 1, {}
        clouds = Clouds.of(Z, group, weight, label, fold)
        episodes = _episodes(
            Z, group, weight, task, own, fold, held, K, table.own_classes is None, rng
        )
        targets = {"given": 1.0}
        if self.standardize and learner.network.linear:
            scale = np.asarray(learner.units.x_scale, dtype=np.float64)
            targets = {"standardized": 1.0, "given": scale**-2}
        prior, found = learn_prototypes(
            clouds, n_means, episodes, tuple(targets.values()), **shares
        )
        found["units"] = list(targets)[found.pop("target")]
        return ClassMeans(**{**vars(model), "prior": prior, "shrinkage": found})

    def _by_task(self, n_tasks, task, rng):
        """Folds of tasks, each left out alone."""
        n_folds = min(N_FOLDS, n_tasks)
        fold = rng.permutation(np.arange(n_tasks) % n_folds)[task]
        return fold, [(f,) for f in range(n_folds)]

    def _by_label(self, table, task, place, rng):
        """Folds of classes: of their labels, if there are enough that tasks have in common.

        Of few labels each is a fold, and several divisions in parts of two or three are left out.
        """
        labels = np.empty(len(task), dtype=object)
        labels[:] = table.own_classes.labels[task, place].tolist()
        _, code = factorize_ids(labels)
        n_labels = code.max() + 1
        if n_labels < 4 or n_labels == len(task):
            return self._by_task(table.n_tasks, task, rng)
        if n_labels >= 2 * N_FOLDS:
            fold = rng.permutation(np.arange(n_labels) % N_FOLDS)[code]
            return fold, [(f,) for f in range(N_FOLDS)]
        held = set()
        for _ in range(N_DIVISIONS):
            parts = np.array_split(rng.permutation(n_labels), n_labels // 2)
            held.update(tuple(sorted(part.tolist())) for part in parts)
        return code, sorted(held)

    def _places(self, learner, table):
        if table.own_classes is not None:
            return np.asarray(table.y, dtype=np.intp)
        return np.searchsorted(learner.classes, table.y)

    # -- adaptation --------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        head, K = Body(learner.network).head, len(learner.classes)
        rows = np.empty((table.n_tasks, head.n_params), dtype=learner.dtype)
        place = self._places(learner, table)
        Z = self._features(learner, meta_model, table.X).astype(np.float64)
        weight = table.weights
        at, size = table.codes * K + place, table.n_tasks * K
        n = np.bincount(at, weight, minlength=size)
        mean = np.zeros((size, Z.shape[1]))
        np.add.at(mean, at, weight[:, None] * Z)
        mean /= np.where(n > 0, n, 1.0)[:, None]
        n = n.reshape(-1, K)
        if table.own_classes is not None:
            n = np.where(np.arange(K) < table.own_classes.counts[:, None], n, -1.0)
        apart = np.sqrt(weight)[:, None] * (Z - mean[at])
        places, mean = _rows_of(table.codes, table.n_tasks), mean.reshape(*n.shape, -1)
        coef, intercept = np.empty_like(mean), np.empty(n.shape)
        for lo in range(0, table.n_tasks, CHUNK_TASKS):
            part = slice(lo, lo + CHUNK_TASKS)
            own = _padded([apart[rows_of] for rows_of in places[part]])
            coef[part], intercept[part] = meta_model.prior.posterior(n[part], mean[part], own)
        if learner.n_outputs == 1:  # of two classes: the log-odds of the second
            coef, intercept = coef[:, 1:] - coef[:, :1], intercept[:, 1:] - intercept[:, :1]
        (last,) = head.matrices(rows)
        last[:, 0], last[:, 1:] = intercept, np.swapaxes(coef, 1, 2)
        return rows

    # -- what was learned --------------------------------------------------------------------------

    prior_mean_ = learned(
        "prior", "Prior means of the classes.", lambda prior: prior.m @ np.linalg.inv(prior.R)
    )
    within_covariance_ = learned(
        "prior", "Covariance of the rows of a class.", lambda prior: prior.covariances()[1]
    )
    between_covariance_ = learned(
        "prior", "Covariance of class means.", lambda prior: prior.covariances()[0]
    )
    shrinkage_ = learned("shrinkage", "How far W and B are pulled, and the rows that W counts as.")


def _rows_of(code, n_codes):
    """Places of the rows of every code."""
    ends = np.cumsum(np.bincount(code, minlength=n_codes))[:-1]
    return np.split(np.argsort(code, kind="stable"), ends)


def _padded(parts):
    """Rows of tasks in one array, followed by zeros."""
    rows = np.zeros((len(parts), max(map(len, parts)), parts[0].shape[1]))
    for own, part in zip(rows, parts, strict=True):
        own[: len(part)] = part
    return rows


def _episodes(Z, group, weight, task, place, fold, held, K, shared, rng):
    """Episodes of classes that are left out together: see :func:`learn_prototypes`."""
    rows = [own[weight[own] > 0] for own in _rows_of(group, len(task))]
    episodes = []
    for out in held:
        members = {}
        for g in np.flatnonzero(np.isin(fold, out)):
            members.setdefault(task[g], []).append(g)
        for k in ((0,) if shared else ()) + LEVELS:
            least = k + 1
            drawn = []
            for groups in (members[t] for t in rng.permutation(list(members))):
                able = [g for g in groups if len(rows[g]) >= least]
                if len(able) >= (1 if shared else 2):
                    drawn.append([(g, rng.permutation(rows[g])) for g in able])
                if len(drawn) == N_EPISODES // len(held):
                    break
            if drawn:
                episodes.append((out, k, *_stacked(Z, weight, place, drawn, k, K, shared)))
    return episodes


def _stacked(Z, weight, place, drawn, k, K, shared):
    """Supports of k rows of each class as moments, and queries, of the same size."""
    n_query = max(sum(min(len(own) - k, MAX_QUERY) for _, own in groups) for groups in drawn)
    n = np.full((len(drawn), K), 0.0 if shared else -1.0)
    mean = np.zeros((len(drawn), K, Z.shape[1]))
    X = np.zeros((len(drawn), n_query, Z.shape[1]))
    target = np.zeros((len(drawn), n_query), dtype=np.intp)
    w, apart = np.zeros((len(drawn), n_query)), []
    for e, groups in enumerate(drawn):
        at, parts = 0, []
        for g, own in groups:
            c, support, query = place[g], own[:k], own[k : k + MAX_QUERY]
            n[e, c] = weight[support].sum()
            if k:
                mean[e, c] = weight[support] @ Z[support] / n[e, c]
            parts.append(np.sqrt(weight[support])[:, None] * (Z[support] - mean[e, c]))
            part = slice(at, at + len(query))
            X[e, part], target[e, part], w[e, part] = Z[query], c, weight[query]
            at += len(query)
        apart.append(np.concatenate(parts))
    return n, mean, _padded(apart), X, target, w
