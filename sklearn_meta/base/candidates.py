"""Candidates for a target, and their stack.

* With a linear learner of squared loss: the posterior under the mixture of priors.
* With other learners: the pooled models of the components, mixed by the evidence of linear
  landmarks; and this, and the model pooled over all sources, with a shrunken offset.
* The model pooled over all sources. Episodes tell whether components are worth their rows.
* A refit on the best source and the target; the target alone.
"""

from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed

from ..kernels.stacking import learn_stack
from ..learners import chunk_bounds
from ..learners.refit import Rows
from .sources import fit_sources, pooled_models

__all__ = ["candidates", "learn_sources", "nearest", "risks"]

MIN_FITTED = 3  # rows; with fewer nothing is refitted but least squares
N_FOLDS = 5
N_ROWS = (0, 1, 2, 5, 10, 20)  # of an episode
MAX_EPISODES = {True: 60, False: 20}  # for each number of rows, linear learner or not
MAX_REPEATS = 6  # of a source, in closed form
MIN_QUERY = 3
MAX_QUERY = 40
MIN_SOURCES = 4
MIN_IMPORTANCE = 1e-3  # of a source that agrees with no other


def risks(value, weight):
    """Weighted mean of the losses of each row of ``value``, and its standard error."""
    total = weight.sum(axis=-1)
    mean = np.sum(weight * value, axis=1) / total
    if value.shape[1] < 2:
        return mean, np.full(len(mean), np.nan)
    spread = np.sum(weight * (value - mean[:, None]) ** 2, axis=1) / total
    return mean, np.sqrt(spread / (value.shape[1] - 1))


def nearest(sources, target, most):
    """Places of the sources to look at: those whose linear models do best on the target."""
    if len(sources) <= most:
        return np.arange(len(sources))
    Z, Y, weight = sources.numbers(target)
    misfit = np.einsum("n,ano->a", weight, (Y - Z @ sources.coefs) ** 2)
    misfit = misfit if len(target) else sources.risk[: len(sources)]
    return np.sort(np.argsort(misfit, kind="stable")[:most])


def candidates(sources, target, kept, raw, share, *, source=None, pools=None):
    """All candidates of the stack for one target: mixtures of models, with an offset.

    The last is the target alone, that before it the refit on a source.

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
    source : int, default=None
        The source that is the target of an episode.
    pools : ndarray, default=None
        Pooled models that have not seen it.

    Returns
    -------
    rows : ndarray of shape (n_models, n_params)
        The models.
    mix : ndarray of shape (n_candidates, n_models)
        Shares of the models in each candidate.
    offset : ndarray of shape (n_candidates, n_outputs)
    best : int
        Place of the source of the refit.
    """
    fitter, loss = sources.fitter, sources.loss
    Y = fitter.outputs(target.y)
    pools = sources.pools if pools is None else pools
    w, p = sources.mixture.adapt(*sources.numbers(target), source)
    if sources.closed:
        models, mix, offset = [sources.as_model(w), pools[-1]], np.eye(2), np.zeros((2, 1))
    else:
        models, mix = list(pools), np.stack([p, np.eye(len(p))[-1]])
        f = np.tensordot(mix, fitter.raw(pools, target.X), axes=1)
        b = loss.offset(f, Y, target.weight)
        mix, offset = np.tile(mix, (2, 1)), np.concatenate([0 * b, b])
    value = loss(raw, Y) @ target.weight / sources.unit
    best = kept[np.argmax(np.log(np.maximum(sources.mixture.narrow[kept], 1e-6)) - value)]
    own = [sources.rows[best], fitter.constant(target)]
    if len(target) >= (1 if fitter.exact else MIN_FITTED):
        own = [fitter.refit(data, target, share) for data in (sources.data[best], None)]
    n_candidates, n_models = mix.shape
    mix = np.pad(mix, ((0, 2), (0, 2)))
    mix[n_candidates:, n_models:] = np.eye(2)
    return np.stack([*models, *own]), mix, np.pad(offset, ((0, 2), (0, 0))), int(best)


# -- episodes --------------------------------------------------------------------------------------


def learn_sources(fitter, table, extra, n_jobs, refused, share=None):
    """Fit all sources, and let each be the target of the others.

    Parameters
    ----------
    fitter, table, extra, n_jobs, refused
        See :func:`.sources.fit_sources`.
    share : float, default=None
        Weight of a source row in a refit; None to learn no stack.

    Returns
    -------
    Sources
    """
    sources = fit_sources(fitter, table, extra, n_jobs, refused)
    rng = np.random.default_rng(fitter.seed)
    most, importance = MAX_EPISODES[fitter.linear], sources.mixture.narrow + MIN_IMPORTANCE
    order = rng.permutation(len(sources))[:most]
    if sources.closed:
        order = np.tile(order, min(MAX_REPEATS, max(1, most // len(order))))
    n_rows = N_ROWS[-1] + MAX_QUERY
    targets = [sources.data[a][rng.permutation(len(sources.data[a]))[:n_rows]] for a in order]
    every, owner = Rows.concatenate(targets), np.repeat(order, list(map(len, targets)))
    raw = fitter.raw(np.concatenate([sources.rows, sources.pools]), every.X)
    seen = np.arange(len(raw))[:, None] == owner  # a source says little of its own rows
    weight = np.where(seen, 1e-6, importance[owner]) * every.weight
    risk, error = risks(sources.loss(raw, fitter.outputs(every.y)), weight)
    sources = replace(sources, risk=risk, risk_error=error)
    if share is None:
        return sources
    raw = np.split(raw[: len(sources)], np.cumsum(list(map(len, targets)))[:-1], axis=1)
    episodes = {}
    if len(sources) >= MIN_SOURCES:
        pools = _pools_without(sources, order, n_jobs)
        args = list(zip(order, targets, raw, pools, strict=True))
        parts = Parallel(n_jobs=None if sources.closed else n_jobs)(
            delayed(_play_chunk)(sources, args[lo:hi], share) for lo, hi in chunk_bounds(len(args))
        )
        for n, episode in (played for part in parts for played in part):
            episodes.setdefault(n, []).append(episode)
    return replace(
        sources, stack=learn_stack(episodes, sources.loss, np.eye(4 if sources.closed else 6)[0])
    )


def _pools_without(sources, order, n_jobs):
    """For each of some sources the pooled models of folds without it; None in closed form."""
    if sources.closed:
        return [None] * len(order)
    fold = np.empty(len(sources), dtype=np.intp)
    alike = np.argsort(sources.mixture.member.argmax(axis=1), kind="stable")
    fold[alike] = np.arange(len(alike)) % N_FOLDS
    folds, of = np.unique(fold[order], return_inverse=True)
    own = Parallel(n_jobs=n_jobs)(
        delayed(pooled_models)(sources, np.flatnonzero(fold != f)) for f in folds
    )
    return [own[f] for f in of]


def _play_chunk(sources, args, share):
    return [
        (n, _play(sources, n, *arg, share))
        for arg in args
        for n in N_ROWS
        if len(arg[1]) >= n + MIN_QUERY
    ]


def _play(sources, n, a, rows, raw, pools, share):
    """One episode: source a is the target of the others, and shows n rows."""
    fitter, kept = sources.fitter, np.delete(np.arange(len(sources)), a)
    support, query = rows[:n], rows[n : n + MAX_QUERY]
    models, mix, offset, _ = candidates(
        sources, support, kept, raw[kept, :n], share, source=a, pools=pools
    )
    F = np.tensordot(mix, fitter.raw(models, query.X), axes=1) + offset[:, None]
    return F, fitter.outputs(query.y), query.weight, sources.mixture.narrow[a] + MIN_IMPORTANCE
