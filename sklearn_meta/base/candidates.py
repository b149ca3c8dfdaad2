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
from scipy.linalg import block_diag

from ..kernels.stacking import learn_stack
from ..learners import chunk_bounds
from ..learners.refit import Rows
from .sources import fit_sources, pooled_models

__all__ = ["candidates", "judged", "learn_sources", "risks"]

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
    apart = value - mean[:, None]
    size = np.abs(apart).max(axis=1, keepdims=True)  # whose square may be no number
    apart = np.divide(apart, size, out=np.zeros_like(apart), where=size > 0)
    spread = np.sum(weight * apart**2, axis=1) / total
    return mean, size[:, 0] * np.sqrt(spread / (value.shape[1] - 1))


def judged(sources, target):
    """Risks of all sources on a target, and standard errors; without rows, on other sources."""
    if len(target) == 0:
        return sources.risk[: len(sources)], sources.risk_error[: len(sources)]
    raw = sources.fitter.raw(sources.rows, target.X)
    return risks(sources.loss(raw, sources.fitter.outputs(target.y)), target.weight)


def candidates(sources, target, risk, share, *, source=None, pools=None):
    """All candidates of the stack for one target: mixtures of models, with an offset.

    The last is the target alone, that before it the refit on a source.

    Parameters
    ----------
    sources : Sources
    target : Rows
        Its support.
    risk : ndarray of shape (n_sources,)
        Of the sources on it.
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
    fitter, pools = sources.fitter, sources.pools if pools is None else pools
    w, p = sources.mixture.adapt(*sources.numbers(target), source)
    if not sources.closed:
        models, mix = list(pools), np.stack([p, np.eye(len(p))[-1]])
        f = np.tensordot(mix, fitter.raw(pools, target.X), axes=1)
        b = sources.loss.offset(f, fitter.outputs(target.y), target.weight)
        mix, offset = np.tile(mix, (2, 1)), np.concatenate([0 * b, b])
    else:
        models, mix, offset = [sources.as_model(w), pools[-1]], np.eye(2), np.zeros((2, 1))
    nats = target.weight.sum() / sources.unit * np.minimum(risk, 1e300)
    nats = nats - np.log(sources.mixture.narrow + 1e-6)
    if source is not None:
        nats[source] = np.inf
    best = int(np.argmin(nats))
    own = [sources.rows[best], fitter.constant(target)]
    if len(target) >= (1 if fitter.exact else MIN_FITTED):
        own = [fitter.refit(data, target, share) for data in (sources.data[best], None)]
    mix, offset = block_diag(mix, np.eye(2)), np.pad(offset, ((0, 2), (0, 0)))
    return np.stack([*models, *own]), mix, offset, best


# -- episodes --------------------------------------------------------------------------------------


def learn_sources(fitter, table, extra, n_jobs, refused, share=None):
    """Fit all sources, and let each be the target of the others.

    Parameters
    ----------
    fitter : Fitter
    table : TaskTable
    extra : dict
        Arguments of ``fit`` with one entry per row of the table.
    n_jobs : int or None
    refused : dict
        Id of a source that is to be left out -> why.
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
    loss = sources.loss(raw, fitter.outputs(every.y))
    seen = np.arange(len(loss))[:, None] == owner  # a source says little of its own rows
    weight = np.where(seen, 1e-6, importance[owner]) * every.weight
    risk, error = risks(loss, weight)
    sources = replace(sources, risk=risk, risk_error=error)
    if share is None:
        return sources
    bounds = np.cumsum(list(map(len, targets)))[:-1]
    loss = np.split(loss[: len(sources)], bounds, axis=1)
    episodes = {}
    if len(sources) >= MIN_SOURCES:
        pools = _pools_without(sources, order, n_jobs)
        args = list(zip(order, targets, loss, pools, strict=True))
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


def _play(sources, n, a, rows, loss, pools, share):
    """One episode: source a is the target of the others, and shows n rows."""
    fitter, support, query = sources.fitter, rows[:n], rows[n : n + MAX_QUERY]
    risk = risks(loss[:, :n], support.weight)[0] if n else np.zeros(len(loss))
    models, mix, offset, _ = candidates(sources, support, risk, share, source=a, pools=pools)
    F = np.tensordot(mix, fitter.raw(models, query.X), axes=1) + offset[:, None]
    return F, fitter.outputs(query.y), query.weight, sources.mixture.narrow[a] + MIN_IMPORTANCE
