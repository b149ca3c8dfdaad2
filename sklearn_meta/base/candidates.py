"""Candidates for a target, what each would say of rows that it has not seen, and their stack.

* With a linear learner of squared loss: the posterior under the mixture of priors, components mixed
  by their evidence. With others: the pooled models of the components, mixed by the evidence of
  linear landmarks, with shrunken offsets.
* The model pooled over all sources.
* A mixture of the sources by their likelihood on the support.
* A refit on the best source and the target; the target alone.
"""

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.special import softmax

from ..kernels.stacking import Episode, learn_stack, offsets
from ..learners import chunk_bounds
from ..learners.blend import MIN_PROBABILITY
from ..learners.refit import Rows, deal_folds
from .sources import pooled_models

__all__ = [
    "MIN_WEIGHT",
    "SHARES",
    "Candidates",
    "Sample",
    "candidates",
    "draw_sample",
    "learn_from_episodes",
    "mutual_risks",
    "nearest",
    "risks",
]

STRENGTHS = (1.0, 3.0)  # of the prior: what suits all rows of sources may be too weak for a few
KAPPA = np.array([np.inf, 30.0, 3.0, 0.3])  # strengths of an offset, in rows
SHARES = (1.0, 0.1)  # of a source row in a refit, where it is chosen
MIN_FITTED = 3  # rows; with fewer nothing is refitted but least squares
MIN_WEIGHT = 1e-3  # of a candidate that is worth a fit
N_FOLDS = 5
N_ROWS = {"closed": (0, 1, 2, 5, 10, 20, 50), "other": (0, 1, 2, 5, 20)}  # of an episode
MAX_EPISODES = {"closed": 100, "linear": 60, "other": 20}  # for each number of rows
MAX_REPEATS = 6  # of a source, in closed form
MIN_QUERY = 3
MAX_QUERY = 40
MIN_SOURCES = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates for one target: mixtures of models, with an offset.

    Parameters
    ----------
    rows : ndarray of shape (n_models, n_params)
        The models: first the sources that were looked at, then what was fitted for the target.
    mix : ndarray of shape (n_candidates, n_models)
        Shares of the models in each candidate.
    offset : ndarray of shape (n_candidates, n_outputs)
    left_out : ndarray of shape (n_candidates, n_rows, n_outputs)
        Raw predictions of support rows by models that have not seen them.
    share : ndarray of shape (n_candidates, n_kept + 2)
        Shares of the sources, of pooled models and of the target alone.
    """

    rows: np.ndarray
    mix: np.ndarray
    offset: np.ndarray
    left_out: np.ndarray
    share: np.ndarray

    def raw(self, fitter, X, of_sources):
        """What the candidates say of other rows, given what the sources say."""
        raw = np.concatenate([of_sources, fitter.raw(self.rows[len(of_sources) :], X)])
        return _mixed(self.mix, raw) + self.offset[:, None]


def _mixed(mix, raw):
    """Mixtures of raw predictions; models that know nothing of a class do not vote on it."""
    known = ~np.isnan(raw)
    if known.all():
        return np.tensordot(mix, raw, axes=1)
    total = np.tensordot(mix, np.where(known, raw, 0.0), axes=1)
    mass = np.tensordot(mix, known.astype(float), axes=1)
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), np.log(MIN_PROBABILITY))


def _known(raw):
    return np.where(np.isnan(raw), np.log(MIN_PROBABILITY), raw)


def risks(raw, target, loss):
    """Mean loss of models on a target, as users know it, and its standard error."""
    value, total = loss.risk(_known(raw), target.Y), target.weight.sum()
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


class _Builder:
    """Collects candidates."""

    def __init__(self, sources, target, kept):
        self.n_kept, self.n_outputs = len(kept), target.Y.shape[1]
        self.rows, self.n_models, self.parts = [sources.rows[kept]], len(kept), []

    def model(self, row):
        """A further model; its place."""
        self.rows.append(row[None])
        self.n_models += 1
        return self.n_models - 1

    def add(self, models, weights, left_out, share, offset=0.0):
        """A mixture of models; ``share`` says which entry of the shares it counts for."""
        shares = np.zeros(self.n_kept + 2)
        shares[share] = weights if np.ndim(share) else 1.0
        offset = np.broadcast_to(offset, self.n_outputs)
        self.parts.append((models, weights, left_out, shares, offset))

    def build(self):
        mix = np.zeros((len(self.parts), self.n_models))
        for line, (models, weights, *_) in zip(mix, self.parts, strict=True):
            line[models] = weights
        left_out, share, offset = (
            np.stack([part[i] for part in self.parts]) for i in (2, 3, 4)
        )
        return Candidates(np.concatenate(self.rows), mix, offset, left_out, share)


def candidates(
    sources, target, kept, raw, shares, *, source=None, pools=None, left_out=True, wanted=None
):
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
    shares : tuple of float
        Weights of a source row in a refit.
    source : int, default=None
        The source that is the target of an episode.
    pools : ndarray, default=None
        Pooled models that have not seen it.
    left_out : bool, default=True
        Whether what refits say of rows that they have not seen is wanted, where it takes fits.
    wanted : ndarray of bool of shape (n_candidates,), default=None
        Which refits are worth a fit; None: all.

    Returns
    -------
    Candidates
    """
    fitter, loss, mixture = sources.fitter, sources.loss, sources.mixture
    pools = sources.pools if pools is None else pools
    build = _Builder(sources, target, kept)
    Z, Y = sources.numbers(target)
    w, posterior_left_out, p = mixture.adapt(Z, Y, target.weight, source)
    of_pools = fitter.raw(pools, target.X)
    if sources.closed:
        for strength in STRENGTHS:
            w, posterior_left_out, _ = mixture.adapt(Z, Y, target.weight, source, strength)
            at = build.model(sources.as_model(w))
            build.add([at], [1.0], posterior_left_out + sources.level, -2)
    else:
        models = [build.model(row) for row in pools]
        f = _mixed(p[None], of_pools)[0]
        for b, without in zip(*_offsets(f, target, loss, left_out), strict=True):
            build.add(models, p, without, -2, b)
    build.add([build.model(pools[-1])], [1.0], of_pools[-1], -2)
    prior = np.log(np.maximum(mixture.narrow[kept], 1e-6))
    value = target.weight * loss.value(_known(raw), target.Y)
    likely = prior - value.sum(axis=1)
    v = softmax(likely)
    without = softmax(likely[:, None] + value, axis=0)[:, :, None] * ~np.isnan(raw)
    mass = without.sum(axis=0)
    mean = np.sum(without * _known(raw), axis=0) / np.where(mass > 0, mass, 1.0)
    every = np.arange(len(kept))
    build.add(every, v, np.where(mass > 0, mean, np.log(MIN_PROBABILITY)), every)
    best = int(np.argmax(likely))
    enough = len(target) >= (1 if fitter.exact else MIN_FITTED)
    for place, share in enumerate([*shares, None]):
        data = None if share is None else sources.data[kept[best]]
        worth = wanted is None or wanted[place - len(shares) - 1]
        if enough and worth:
            row, own = fitter.refit(data, target, share, left_out)
            model = build.model(row)
        else:
            model = best if share is not None else build.model(fitter.constant(target))
            own = _known(raw[best]) if share is not None else np.zeros(target.Y.shape)
        build.add([model], [1.0], own, -1 if share is None else best)
    return build.build()


def _offsets(f, target, loss, left_out):
    """Offsets of pooled models, and predictions with the offset of the other folds."""
    b = offsets(f, target.Y, target.weight, KAPPA, loss)
    without = np.repeat(f[None], len(KAPPA), axis=0)
    fold = deal_folds(target.y, N_FOLDS)
    for k in np.unique(fold) if left_out else ():
        others = target.weight * (fold != k)
        own = offsets(f, target.Y, others, KAPPA, loss)
        without[:, fold == k] += own[:, None]
    return b, without


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
    kind = "closed" if sources.closed else "linear" if sources.fitter.linear else "other"
    most = MAX_EPISODES[kind]
    order = rng.permutation(len(sources))[:most]
    if sources.closed:
        order = np.tile(order, min(MAX_REPEATS, max(1, most // len(order))))
    n_rows = N_ROWS["closed" if sources.closed else "other"][-1] + MAX_QUERY
    rows = [sources.data[a][rng.permutation(len(sources.data[a]))[:n_rows]] for a in order]
    raw = sources.fitter.raw(sources.rows, Rows.concatenate(rows).X)
    bounds = np.cumsum([len(part) for part in rows])[:-1]
    return Sample(order, rows, np.split(raw, bounds, axis=1))


def mutual_risks(sources, sample):
    """Risk of sources and pools on sources that agree with others, and standard errors."""
    loss, n_sources = sources.loss, len(sources)
    first = np.unique(sample.source, return_index=True)[1]
    likely = sources.mixture.narrow[sample.source[first]] + 1e-6
    table, of_pools = [], []
    for i in first:
        table.append(risks(sample.raw[i], sample.rows[i], loss)[0])
        raw = sources.fitter.raw(sources.pools, sample.rows[i].X)
        of_pools.append(risks(raw, sample.rows[i], loss)[0])
    table = np.stack(table, axis=1)
    weight = np.broadcast_to(likely, table.shape)
    if n_sources > 1:
        weight = np.where(np.arange(n_sources)[:, None] == sample.source[first], 0.0, weight)
    weight = np.where(weight.sum(axis=1, keepdims=True) > 0, weight, 1.0)
    mean = np.average(table, axis=1, weights=weight)
    spread = np.average((table - mean[:, None]) ** 2, axis=1, weights=weight)
    error = np.sqrt(spread / max(len(first) - 1, 1))
    return mean, error, np.average(np.stack(of_pools, axis=1), axis=1, weights=likely)


def learn_from_episodes(sources, sample, shares, n_jobs):
    """The stack that is best for sources that are targets of the others."""
    ladder = N_ROWS["closed" if sources.closed else "other"]
    fold = np.empty(len(sources), dtype=np.intp)
    order = np.argsort(sources.mixture.member.argmax(axis=1), kind="stable")
    fold[order] = np.arange(len(order)) % N_FOLDS
    pools = {}
    if not sources.closed and len(sources) >= MIN_SOURCES:
        folds = [f for f in range(N_FOLDS) if (fold[sample.source] == f).any()]
        own = Parallel(n_jobs=n_jobs)(
            delayed(pooled_models)(sources, np.flatnonzero(fold != f)) for f in folds
        )
        pools = dict(zip(folds, own, strict=True))
    args = [
        (a, rows, raw, pools.get(fold[a]))
        for a, rows, raw in zip(sample.source, sample.rows, sample.raw, strict=True)
    ]
    episodes = {}
    if len(sources) >= MIN_SOURCES:
        parts = Parallel(n_jobs=None if sources.closed else n_jobs)(
            delayed(_play_chunk)(sources, args[lo:hi], ladder, shares)
            for lo, hi in chunk_bounds(len(args))
        )
        for part in parts:
            for n, episode in part:
                episodes.setdefault(n, []).append(episode)
    n_candidates = (len(STRENGTHS) if sources.closed else len(KAPPA)) + len(shares) + 3
    return learn_stack(episodes, sources.loss, np.full(n_candidates, 1 / n_candidates))


def _play_chunk(sources, args, ladder, shares):
    return [
        (n, _play(sources, n, *arg, shares))
        for arg in args
        for n in ladder
        if len(arg[1]) >= n + MIN_QUERY
    ]


def _play(sources, n, a, rows, raw, pools, shares):
    """One episode: source a is the target of the others, and shows n rows."""
    kept = np.delete(np.arange(len(sources)), a)
    support, query = rows[np.arange(n)], rows[np.arange(n, min(n + MAX_QUERY, len(rows)))]
    found = candidates(
        sources, support, kept, raw[kept, :n], shares, source=a, pools=pools,
        left_out=sources.closed,
    )
    F = found.raw(sources.fitter, query.X, raw[kept, n : n + len(query)])
    loss = None
    if sources.closed:
        loss = sources.loss.value(found.left_out, support.Y) @ support.weight
    weight = query.weight * (sources.mixture.narrow[a] + 1e-3) / query.weight.sum()
    return Episode(F, query.Y, weight, loss)
