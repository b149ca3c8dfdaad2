"""Candidates for a target, and their stack.

* With a linear learner of squared loss: the posterior under the mixture of priors.
* With other learners: the pooled models of the components, mixed by the evidence of linear
  landmarks; and this, and the model pooled over all sources, with a shrunken offset.
* The model pooled over all sources. Episodes tell whether components are worth their rows.
* A refit on the best source and the target; the target alone.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import block_diag

from ..kernels.stacking import MIN_EPISODES, learn_stack
from ..learners import in_chunks
from ..learners.refit import N_FOLDS, deal_folds
from .sources import fit_sources, pooled_models

__all__ = ["candidates", "judged", "learn_sources", "risks"]

MIN_FITTED = 3  # rows; with fewer nothing is refitted but least squares
N_ROWS = (0, 1, 2, 5, 10, 20)  # of an episode
MAX_EPISODES = {True: 60, False: 20}  # for each number of rows, linear learner or not
MAX_REPEATS = 6  # of a source, in closed form
MIN_QUERY = 3
MAX_QUERY = 40


def risks(value, weight):
    """Weighted mean of the losses of each row of ``value``, and its standard error."""
    total = weight.sum(axis=-1)
    mean = np.sum(weight * value, axis=1) / total
    with np.errstate(over="ignore"):  # an infinite error is one
        spread = np.sum(weight * (value - mean[:, None]) ** 2, axis=1) / total
    return mean, np.sqrt(spread / (value.shape[1] - 1 or np.nan))


def judged(sources, target, models):
    """Risks of some sources and pools on a target, or without rows on sources; standard errors."""
    if len(target.y) == 0:
        return sources.risk[:, models]
    return risks(_losses(sources, target, models), target.weights)


def _losses(sources, table, models=slice(None)):
    """Of all sources and pools, or some, on every row."""
    fitter = sources.fitter
    raw = fitter.raw(np.concatenate([sources.rows, sources.pools])[models], table.X)
    return fitter.loss(raw, fitter.outputs(table.y))


def candidates(sources, target, risk, share, *, source=None, pools=None):
    """All candidates of the stack for one target: mixtures of models, with an offset.

    The last is the target alone, that before it the refit on the likeliest source by its ``risk``,
    in which a row of it has the weight ``share``. In an episode the target is a ``source``, which
    is not in the ``pools``. Returns the models, their shares in each candidate (n_candidates,
    n_models), the offsets (n_candidates, n_outputs), and the place of the likeliest source.
    """
    fitter, pools = sources.fitter, sources.pools if pools is None else pools
    w, p = sources.posterior(target, source)
    if fitter.closed:
        models, mix, offset = [sources.as_model(w), pools[-1]], np.eye(2), np.zeros((2, 1))
    else:
        models, mix = pools, np.stack([p, np.eye(len(p))[-1]])
        raw = np.tensordot(mix, fitter.raw(pools, target.X), axes=1)
        offset = fitter.loss.offset(raw, fitter.outputs(target.y), target.weights)
        mix, offset = np.tile(mix, (2, 1)), np.concatenate([0 * offset, offset])
    nats = target.weights.sum() / sources.unit * np.minimum(risk, 1e300)
    nats = nats - np.log(sources.mixture.narrow)  # which source, a posteriori
    if source is not None:
        nats[source] = np.inf
    best = int(np.argmin(nats))
    own = [sources.rows[best], fitter.constant(target)]
    if len(target.y) >= (1 if fitter.closed else MIN_FITTED):
        data = sources.table.block(best, best + 1)
        own = [fitter.refit(target, data, share, own[0]), fitter.refit(target)]
    mix, offset = block_diag(mix, np.eye(2)), np.pad(offset, ((0, 2), (0, 0)))
    return np.stack([*models, *own]), mix, offset, best


def learn_sources(fitter, table, n_jobs, share=None, refused=None):
    """Fit all sources but those refused, see :class:`Sources`; let each be the others' target.

    ``share`` is the weight of a source row in a refit; None to learn no stack.
    """
    sources = fit_sources(fitter, table, n_jobs, refused or {})
    table, sizes, rng = sources.table, sources.table.sizes, np.random.default_rng(fitter.seed)
    order = rng.permutation(len(sources.rows))[: MAX_EPISODES[fitter.linear]]
    if fitter.closed:  # again and again, each time with other rows
        order = np.tile(order, min(MAX_REPEATS, MAX_EPISODES[True] // len(order)))
    n_rows = N_ROWS[-1] + MAX_QUERY
    rows = [table.offsets[a] + rng.permutation(sizes[a])[:n_rows] for a in order]
    targets = table.take(np.concatenate(rows), np.cumsum([0, *map(len, rows)]), order)
    loss, owner = _losses(sources, targets), order[targets.codes]
    seen = np.arange(len(loss))[:, None] == owner  # a source says little of its own rows
    weight = np.where(seen, 1e-6, sources.mixture.narrow[owner]) * targets.weights
    sources = replace(sources, risk=np.stack(risks(loss, weight)))
    if share is None:
        return sources
    played = []
    if len(sources.rows) >= MIN_EPISODES:
        blocks = [targets.block(i, i + 1) for i in range(len(order))]
        loss = np.split(loss[: len(sources.rows)], targets.offsets[1:-1], axis=1)
        played = list(zip(order, blocks, loss, _pools_without(sources, order, n_jobs), strict=True))
        played = in_chunks(_play, played, None if fitter.closed else n_jobs, sources, share)
    episodes = {n: [one[n] for one in played if n in one] for n in N_ROWS}
    start = np.eye(4 if fitter.closed else 6)[0]
    return replace(sources, stack=learn_stack(episodes, fitter.loss, start))


def _pools_without(sources, order, n_jobs):
    """For each of some sources the pooled models of folds without it; None in closed form."""
    if sources.fitter.closed:
        return [None] * len(order)
    fold = deal_folds(sources.mixture.member.argmax(axis=1), N_FOLDS)
    folds, of = np.unique(fold[order], return_inverse=True)
    own = in_chunks(pooled_models, [np.flatnonzero(fold != f) for f in folds], n_jobs, sources)
    return [own[f] for f in of]


def _play(one, sources, share):
    """Episodes in which a source is the target of the others, and shows n rows."""
    (a, table, loss, pools), fitter, played = one, sources.fitter, {}
    for n in (n for n in N_ROWS if len(table.y) >= n + MIN_QUERY):
        rows = np.arange(min(len(table.y), n + MAX_QUERY))
        support, query = map(table.as_one, np.split(rows, [n]))
        risk = risks(loss[:, :n], support.weights)[0] if n else np.zeros(len(loss))
        models, mix, offset, _ = candidates(sources, support, risk, share, source=a, pools=pools)
        F = np.tensordot(mix, fitter.raw(models, query.X), axes=1) + offset[:, None]
        played[n] = F, fitter.outputs(query.y), query.weights, sources.mixture.narrow[a]
    return played
