"""Fitted sources: the model of each, pooled models of groups, and what they are to each other."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from ._bank import Rows
from ._source_groups import Groups, landmark_models, ridge, whitened, with_labels
from ._transfer_loss import loss_of
from ._worth_grouping import worth_grouping
from .learners import chunk_bounds
from .learners.blend import LEAST_PROBABILITY
from .learners.head import numeric_columns
from .tasks.validation import plain, task_label

__all__ = ["Sources", "fit_sources", "one_hot", "risks", "source_data"]

MOST_GROUPS = 2
MOST_MUTUAL_ROWS = 2000
BLOCK_SOURCES = 256


@dataclass(frozen=True, eq=False)
class Sources:
    """Fitted sources.

    Parameters
    ----------
    data : list of Rows
        The rows of every source.
    numbers : list of ndarray
        Their numeric columns.
    rows : ndarray of shape (n_sources, n_params)
        Their models.
    groups : Groups
    pools : ndarray of shape (n_pools, n_params)
        One model for each group, and one of all sources where there are several groups.
    metric : tuple of (centre, whiten, n_rows)
        Of every pool, for least squares; else empty.
    landmarks : ndarray of shape (n_sources, n_landmarks, n_outputs)
        Cheap models of the sources.
    loss : TransferLoss
    mutual, mutual_error : ndarray of shape (n_sources,)
        Risk on the rows of the other sources, and its standard error.
    pool_risk : ndarray of shape (n_pools,)
        Of the pooled models, sources being as likely as their groups.
    """

    data: list
    numbers: list
    rows: np.ndarray
    groups: Groups
    pools: np.ndarray
    metric: tuple
    landmarks: np.ndarray
    loss: object
    mutual: np.ndarray = None
    mutual_error: np.ndarray = None
    pool_risk: np.ndarray = None

    @property
    def n_sources(self):
        return len(self.rows)

    def only(self, bank, kept):
        """Some of the sources, and the pooled models of these."""
        data = [self.data[a] for a in kept]
        groups = replace(self.groups, labels=self.groups.labels[kept])
        pools, metric = _pooled(bank, data, groups)
        return replace(
            self,
            data=data,
            numbers=[self.numbers[a] for a in kept],
            rows=self.rows[kept],
            groups=groups,
            pools=pools,
            metric=metric,
            landmarks=self.landmarks[kept],
            mutual=self.mutual[kept],
            mutual_error=self.mutual_error[kept],
        )

    def with_classes(self, bank, classes):
        """The same sources as models of tasks with further classes."""
        place = np.searchsorted(classes, bank.classes)

        def wider(values):
            out = np.zeros((*values.shape[:-1], len(classes)))
            out[..., place] = values
            return out

        return replace(
            self,
            data=[replace(rows, Y=wider(rows.Y)) for rows in self.data],
            rows=bank.as_estimators(self.rows),
            pools=bank.as_estimators(self.pools),
            groups=replace(self.groups, coef=wider(self.groups.coef)),
            landmarks=wider(self.landmarks),
        )

    def screened(self, number, Y, weight, most):
        """Positions of the sources whose landmarks do best on a support."""
        if self.n_sources <= most:
            return np.arange(self.n_sources)
        if len(Y) == 0:
            return np.sort(np.argsort(self.mutual, kind="stable")[:most])
        Z = self.groups.landmarks(number)
        r = Y - np.tensordot(self.landmarks, Z, axes=(1, 1)).swapaxes(1, 2)
        kappa = self.groups.kappa[self.groups.labels]
        n, S = weight.sum(), np.einsum("n,ano->ao", weight, r)
        misfit = np.einsum("n,ano->a", weight, r**2) - np.sum(S**2, axis=1) / (n + kappa)
        return np.sort(np.argsort(misfit, kind="stable")[:most])


def one_hot(y, classes):
    """Targets as the loss sees them: numbers in a column, or one column for each class."""
    if classes is None:
        return np.asarray(y, dtype=np.float64)[:, None]
    return (np.asarray(y)[:, None] == classes).astype(np.float64)


def source_data(learner, table, fit_params):
    """The rows of every task, and the numeric columns of these."""
    n_rows = len(table.y)
    extra = {k: v for k, v in fit_params.items() if np.ndim(v) and len(v) == n_rows}
    Y = one_hot(table.y, learner.classes)
    data, numbers = [], []
    for t in range(table.n_tasks):
        X, y, weight = table.task(t)
        rows = slice(table.offsets[t], table.offsets[t + 1])
        ones = np.ones(len(y)) if weight is None else weight
        own = {key: np.asarray(value)[rows] for key, value in extra.items()}
        part = Rows(X, y, ones, Y[rows], weight is not None, own)
        if not ones.all():
            part = part[np.flatnonzero(ones > 0)]
        data.append(part)
        numbers.append(numeric_columns(part.X))
    return data, numbers


def fit_sources(bank, table, fit_params, n_jobs, rng, labels=None):
    """Fit all sources.

    Parameters
    ----------
    bank : Bank
    table : TaskTable
    fit_params : dict
        Those with one entry per row of the table are cut to the rows of each fit.
    n_jobs : int or None
    rng : numpy.random.Generator
    labels : ndarray of shape (n_sources,), default=None
        Groups of the sources; they are found if None.

    Returns
    -------
    sources : Sources
    ids : list
        Of the sources; places where tasks have none.
    refused : dict
        Id of a source that was left out -> why.
    """
    data, numbers = source_data(bank.learner, table, fit_params)
    ids = list(range(table.n_tasks))
    if table.ids is not None:
        ids = [t if i is None else plain(i) for t, i in enumerate(table.ids)]
    rows, refused = _fit_each(bank, data, table, n_jobs)
    if refused:
        refused = {ids[t]: reason for t, reason in refused.items()}
        kept = [t for t in range(len(ids)) if ids[t] not in refused]
        if not kept:
            raise ValueError(f"no source could be fitted. {_listed(refused)}")
        warnings.warn(
            f"{len(refused)} of {len(ids)} sources are left out. {_listed(refused)}",
            UserWarning,
            stacklevel=2,
        )
        ids, data, numbers, rows = ([part[t] for t in kept] for part in (ids, data, numbers, rows))
        labels = None if labels is None else labels[kept]
    rows = np.stack(rows)
    number, Y = np.concatenate(numbers), np.concatenate([part.Y for part in data])
    weight = np.concatenate([part.weight for part in data])
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in data])])
    if labels is None:
        groups = worth_grouping(number, Y, offsets, weight, MOST_GROUPS, rng)
    else:
        labels = np.unique(labels, return_inverse=True)[1]
        groups = with_labels(whitened(number, Y, offsets, weight), labels)
    loss = loss_of(bank.learner).with_noise(groups.noise @ groups.shares)
    pools, metric = _pooled(bank, data, groups)
    landmarks = landmark_models(groups, number, Y, offsets, weight)
    sources = Sources(data, numbers, rows, groups, pools, metric, landmarks, loss)
    return _with_mutual_risks(bank, sources, rng), ids, refused


def _listed(refused):
    some = [f"{task_label(id_, 0)}: {reason}" for id_, reason in list(refused.items())[:3]]
    return " ".join(some) + (" ..." if len(refused) > 3 else "")


def _fit_each(bank, data, table, n_jobs):
    """A row for every source, None where its fit fails; and the reasons, by place."""
    classes = bank.classes
    classwise = classes is not None and len(classes) > 2
    classwise = classwise and any(len(np.unique(part.y)) < len(classes) for part in data)
    if bank.exact and not table_has_gaps(data, table):
        return list(bank.learner.fit_each(table, bank.prior, {})), {}
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_fit_chunk)(bank, data[lo:hi], classwise) for lo, hi in chunk_bounds(len(data))
    )
    rows = [row for part in parts for row in part]
    refused = {t: row for t, row in enumerate(rows) if isinstance(row, str)}
    return [None if t in refused else row for t, row in enumerate(rows)], refused


def table_has_gaps(data, table):
    """Whether rows of weight 0 were dropped, or arguments go with the rows."""
    return any(part.extra for part in data) or sum(map(len, data)) < len(table.y)


def _fit_chunk(bank, data, classwise):
    rows = []
    for part in data:
        try:
            rows.append(bank.fit_checked(part, classwise))
        except Exception as error:
            rows.append(f"{type(error).__name__}: {error}")
    return rows


def _pooled(bank, data, groups):
    """One model on all rows of every group, one on all rows at all, and their metrics."""
    pools, metric = [], []
    members = [np.flatnonzero(groups.labels == k) for k in range(groups.n_groups)]
    everyone = np.arange(len(data))
    for own in members if len(members) == 1 else [*members, everyone]:
        whole = len(own) == len(data)
        own = Rows.concatenate([data[a] for a in own])
        if not bank.exact:
            pools.append(bank.fit_all(own) if whole else bank.fit(own))
            continue
        alpha, intercept = bank.penalty
        coef, centre, whiten = ridge(own.X, own.Y, own.weight, alpha, intercept)
        pools.append(bank.learner.join(coef[1:].T, coef[0]))
        metric.append((centre, whiten, own.weight.sum()))
    return np.stack(pools), tuple(metric)


def risks(raw, Y, weight, loss):
    """Mean loss of models, in the units of users, and its standard error."""
    if len(Y) == 0:
        return np.full(len(raw), np.nan), np.full(len(raw), np.nan)
    value = loss.risk(loss.value(np.where(np.isnan(raw), np.log(LEAST_PROBABILITY), raw), Y))
    total = weight.sum()
    mean = value @ weight / total
    spread = ((value - mean[:, None]) ** 2) @ weight / total
    return mean, np.sqrt(spread / max(len(Y) - 1, 1)) if len(Y) > 1 else np.full(len(raw), np.nan)


def _with_mutual_risks(bank, sources, rng):
    """The risk of every source on rows of the others, of which a sample is drawn.

    The others count as far as a target may be of their kind.
    """
    n = sources.n_sources
    each = max(1, MOST_MUTUAL_ROWS // n)
    which = np.arange(n) if n <= MOST_MUTUAL_ROWS else rng.permutation(n)[:MOST_MUTUAL_ROWS]
    drawn = [sources.data[a][np.sort(rng.permutation(len(sources.data[a]))[:each])] for a in which]
    owner = np.repeat(which, [len(part) for part in drawn])
    sample = Rows.concatenate(drawn)
    risk, error = np.zeros(n), np.zeros(n)
    position = np.searchsorted(which, owner) if n <= MOST_MUTUAL_ROWS else None
    if position is None:
        _, position = np.unique(owner, return_inverse=True)
    count = np.bincount(position)
    of_position = np.unique(owner)
    likely = sources.groups.source_shares[of_position]

    def by_source(raw):
        raw = np.where(np.isnan(raw), np.log(LEAST_PROBABILITY), raw)
        value = sources.loss.risk(sources.loss.value(raw, sample.Y))
        return np.stack([np.bincount(position, weights=v) / count for v in value])

    for lo in range(0, n, BLOCK_SOURCES):
        block = np.arange(lo, min(lo + BLOCK_SOURCES, n))
        table = by_source(bank.raw(sources.rows[block], sample.X))
        others = np.broadcast_to(likely, table.shape)
        if n > 1:
            others = np.where(of_position == block[:, None], 0.0, others)
        mean = risk[block] = np.average(table, axis=1, weights=others)
        spread = np.average((table - mean[:, None]) ** 2, axis=1, weights=others)
        error[block] = np.sqrt(spread / max(len(count) - 1, 1))
    pool_risk = np.average(by_source(bank.raw(sources.pools, sample.X)), axis=1, weights=likely)
    return replace(sources, mutual=risk, mutual_error=error, pool_risk=pool_risk)
