"""Candidates for a target, and their stack.

* With a linear learner of squared loss: the posterior under the mixture of priors, as it is and
  with a prior three times as strong (what suits all rows of sources may be too weak for a few).
* With other learners: the pooled models of the components, mixed by the evidence of linear
  landmarks; and this, and the model pooled over all sources, with a shrunken offset.
* The model pooled over all sources. Episodes tell whether components are worth their rows.
* A refit on the best source and the target; the target alone.
"""

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from ..kernels.stacking import Episode, learn_stack, offsets
from ..learners import chunk_bounds
from ..learners.refit import Rows
from .sources import pooled_models

__all__ = [
    "Candidates",
    "Sample",
    "candidates",
    "draw_sample",
    "learn_from_episodes",
    "mutual_risks",
    "nearest",
    "risks",
]

STRENGTHS = (1.0, 3.0)  # of the prior
KAPPA = 3.0  # strength of an offset, in rows
MIN_FITTED = 3  # rows; with fewer nothing is refitted but least squares
MIN_WEIGHT = 1e-3  # of a candidate that is worth a fit
N_FOLDS = 5
N_ROWS = (0, 1, 2, 5, 10, 20)  # of an episode
MAX_EPISODES = {True: 60, False: 20}  # for each number of rows, linear learner or not
MAX_REPEATS = 6  # of a source, in closed form
MIN_QUERY = 3
MAX_QUERY = 40
MIN_SOURCES = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates for one target: mixtures of models, with an offset.

    The last is the target alone, that before it the refit on a source.

    Parameters
    ----------
    rows : ndarray of shape (n_models, n_params)
        The models.
    mix : ndarray of shape (n_candidates, n_models)
        Shares of the models in each candidate.
    offset : ndarray of shape (n_candidates, n_outputs)
    best : int
        Place of the source of the refit.
    """

    rows: np.ndarray
    mix: np.ndarray
    offset: np.ndarray
    best: int

    def raw(self, fitter, X):
        """What the candidates say of rows."""
        return np.tensordot(self.mix, fitter.raw(self.rows, X), axes=1) + self.offset[:, None]


def risks(raw, target, loss):
    """Mean loss of models on a target, as users know it, and its standard error."""
    value, total = loss.risk(raw, target.Y), target.weight.sum()
    mean = value @ target.weight / total
    if len(target) < 2:
        return mean, np.full(len(raw), np.nan)
    spread = ((value - mean[:, None]) ** 2) @ target.weight / total
    return mean, np.sqrt(spread / (len(target) - 1))


def nearest(sources, target, risk, most):
    """Places of the sources to look at: those whose linear models do best on the target."""
    if len(sources) <= most:
        return np.arange(len(sources))
    misfit = sources.misfit(target) if len(target) else risk
    return np.sort(np.argsort(misfit, kind="stable")[:most])


def candidates(sources, target, kept, raw, share, v=None, *, source=None, pools=None):
    """All candidates of the stack for one target.

    Parameters
    ----------
    sources : Sources
    target : Rows
        Its support.
    kept : ndarray of shape (n_kept,)
        Places of the sources that are looked at.
    raw : ndarray of shape (n_kept, n_rows, n_outputs)
        What these say of the support.
    share : float
        Weight of a source row in a refit.
    v : ndarray of shape (n_candidates,), default=None
        Weights in the stack: where they are small nothing is fitted.
    source : int, default=None
        The source that is the target of an episode.
    pools : ndarray, default=None
        Pooled models that have not seen it.

    Returns
    -------
    Candidates
    """
    fitter, loss, Y = sources.fitter, sources.loss, target.Y
    pools = sources.pools if pools is None else pools
    rows = (*sources.numbers(target), target.weight)
    if sources.closed:
        found = [sources.mixture.adapt(*rows, source, strength)[0] for strength in STRENGTHS]
        models = [*map(sources.as_model, found), pools[-1]]
        mix, offset = np.eye(len(models)), np.zeros((len(models), Y.shape[1]))
    else:
        p = sources.mixture.adapt(*rows, source)[1]
        models, mix = list(pools), np.stack([p, np.eye(len(p))[-1]])
        f = np.tensordot(mix, fitter.raw(pools, target.X), axes=1)
        b = offsets(f, Y, target.weight, KAPPA, loss)
        mix, offset = np.repeat(mix, 2, axis=0), np.stack([0 * b, b], axis=1).reshape(4, -1)
    value = loss.value(raw, Y) @ target.weight
    best = kept[np.argmax(np.log(np.maximum(sources.mixture.narrow[kept], 1e-6)) - value)]
    models += [sources.rows[best], fitter.constant(target)]
    if len(target) >= (1 if fitter.exact else MIN_FITTED):
        for place, data in ((-2, sources.data[best]), (-1, None)):
            if v is None or v[place] > MIN_WEIGHT:
                models[place] = fitter.refit(data, target, share, left_out=False)[0]
    n_candidates, n_models = mix.shape
    mix = np.pad(mix, ((0, 2), (0, 2)))
    mix[n_candidates:, n_models:] = np.eye(2)
    return Candidates(np.stack(models), mix, np.pad(offset, ((0, 2), (0, 0))), int(best))


# -- episodes --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of some sources, each in turn a target, and what all sources say of them.

    Parameters
    ----------
    source : ndarray of shape (n_targets,)
    rows : list of Rows
        The first of them are the support, the last judge.
    raw : list of ndarray of shape (n_sources, n_rows, n_outputs)
    """

    source: np.ndarray
    rows: list
    raw: list


def draw_sample(sources, rng):
    """The rows of every episode."""
    most = MAX_EPISODES[sources.fitter.linear]
    order = rng.permutation(len(sources))[:most]
    if sources.closed:
        order = np.tile(order, min(MAX_REPEATS, max(1, most // len(order))))
    n_rows = N_ROWS[-1] + MAX_QUERY
    rows = [sources.data[a][rng.permutation(len(sources.data[a]))[:n_rows]] for a in order]
    raw = sources.fitter.raw(sources.rows, Rows.concatenate(rows).X)
    bounds = np.cumsum([len(part) for part in rows])[:-1]
    return Sample(order, rows, np.split(raw, bounds, axis=1))


def mutual_risks(sources, sample):
    """Risk of sources, and of pools, on sources that agree with others; and standard errors."""
    source, first = np.unique(sample.source, return_index=True)
    table = []
    for i in first:
        of_pools = sources.fitter.raw(sources.pools, sample.rows[i].X)
        raw = np.concatenate([sample.raw[i], of_pools])
        table.append(risks(raw, sample.rows[i], sources.loss)[0])
    table = np.stack(table, axis=1)
    weight = np.tile(sources.mixture.narrow[source] + 1e-6, (len(table), 1))
    if len(sources) > 1:
        weight[source, np.arange(len(source))] = 0.0
    weight = np.where(weight.any(axis=1, keepdims=True), weight, 1.0)
    mean = np.average(table, axis=1, weights=weight)
    spread = np.average((table - mean[:, None]) ** 2, axis=1, weights=weight)
    return mean, np.sqrt(spread / max(len(first) - 1, 1))


def learn_from_episodes(sources, sample, share, n_jobs):
    """The stack that is best for sources that are targets of the others."""
    enough, pools, fold = len(sources) >= MIN_SOURCES, {}, np.empty(len(sources), dtype=np.intp)
    order = np.argsort(sources.mixture.member.argmax(axis=1), kind="stable")
    fold[order] = np.arange(len(order)) % N_FOLDS
    if enough and not sources.closed:
        folds = np.unique(fold[sample.source])
        own = Parallel(n_jobs=n_jobs)(
            delayed(pooled_models)(sources, np.flatnonzero(fold != f).tolist()) for f in folds
        )
        pools = dict(zip(folds, own, strict=True))
    args = [
        (a, rows, raw, pools.get(fold[a]))
        for a, rows, raw in zip(sample.source, sample.rows, sample.raw, strict=True)
    ]
    parts = Parallel(n_jobs=None if sources.closed else n_jobs)(
        delayed(_play_chunk)(sources, args[lo:hi], share)
        for lo, hi in (chunk_bounds(len(args)) if enough else ())
    )
    episodes = {}
    for n, episode in (played for part in parts for played in part):
        episodes.setdefault(n, []).append(episode)
    return learn_stack(episodes, sources.loss, np.eye(5 if sources.closed else 6)[0])


def _play_chunk(sources, args, share):
    return [
        (n, _play(sources, n, *arg, share))
        for arg in args
        for n in N_ROWS
        if len(arg[1]) >= n + MIN_QUERY
    ]


def _play(sources, n, a, rows, raw, pools, share):
    """One episode: source a is the target of the others, and shows n rows."""
    kept = np.delete(np.arange(len(sources)), a)
    support, query = rows[np.arange(n)], rows[np.arange(n, min(n + MAX_QUERY, len(rows)))]
    found = candidates(sources, support, kept, raw[kept, :n], share, source=a, pools=pools)
    weight = query.weight * (sources.mixture.narrow[a] + 1e-3) / query.weight.sum()
    return Episode(found.raw(sources.fitter, query.X), query.Y, weight)
