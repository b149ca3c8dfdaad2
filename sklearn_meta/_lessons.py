"""What episodes among the sources teach about candidates: which to trust after how many rows.

A source is taken for a target, the others for its sources; it gives n support rows, and the rest of
its rows judge. Over many such episodes the weights of the candidates that would have been best are
the prior ``v0`` of the stack at n rows, one for each group of sources; and the number of rows that
this prior is worth against the errors on the support is the one that would have been best, too.
"""

from dataclasses import dataclass

import numpy as np

from ._candidates import EVERYONE, NO_POOL, candidates
from ._transfer import least_mixture, loss_stack, squared_stack

__all__ = ["Lesson", "learn_lessons", "lesson_for", "stack_weights", "untaught"]

LADDER = (0, 1, 2, 5, 10, 20, 50)
SHORT_LADDER = (0, 1, 2, 5, 20)  # where every episode has models to fit
MOST_EPISODES = {"closed form": 200, "linear": 60, "any": 24}  # for each number of rows
STRENGTHS = (np.inf, 100.0, 30.0, 10.0, 3.0)
UNTAUGHT = 10.0  # rows that equal weights are worth where there is no lesson
SHRINKAGE = 10.0  # sources that equal weights are worth in a lesson
LEAST_SHARE = 0.1  # of the episodes, for each group
LEAST_SOURCES = 4
LEAST_QUERY = 3
MOST_QUERY = 100
MOST_REPEATS = {"closed form": 6, "linear": 2, "any": 1}  # of a source
N_FOLDS = 5
MOST_BLIND = 1  # rows that hardly tell of which group a target is


@dataclass(frozen=True, eq=False)
class Lesson:
    """Weights of candidates at one number of support rows.

    Parameters
    ----------
    n_rows : int
    v0 : ndarray of shape (n_groups, n_candidates)
    factors : ndarray of shape (n_groups, n_candidates, n_candidates), or None
        ``|factors[k] @ (v - v0)|²`` is the mean squared change of a prediction in group k (squared
        loss).
    strength : float
        In rows; infinite where the support is not to be asked.
    loss : float
        Mean loss over the episodes.
    """

    n_rows: int
    v0: np.ndarray
    factors: object
    strength: float
    loss: float = np.nan


# Of what takes a fit for every fold of the support, only the models are wanted.
NOT_ASKED = Lesson(0, np.zeros((0, 0)), None, np.inf)


@dataclass(frozen=True, eq=False)
class _Episode:
    source: int
    group: int
    found: object
    support: object
    raw: np.ndarray
    query: object


def untaught(found, n_last=None):
    """Equal weights (of the last candidates), which errors on the support soon outweigh."""
    groups = np.arange(len(found.chance))[:, None]
    v0 = ((found.group == groups) | (found.group < 0)).astype(float)
    if n_last is not None:
        v0[:, :-n_last] = 0.0
    return Lesson(0, v0 / v0.sum(axis=1, keepdims=True), None, UNTAUGHT)


def lesson_for(lessons, n_rows):
    """The lesson for a number of rows, between those of the numbers that were tried, or None."""
    if not lessons:
        return None
    at = np.log1p([lesson.n_rows for lesson in lessons])
    place = np.clip(np.interp(np.log1p(n_rows), at, np.arange(len(at))), 0, len(at) - 1)
    low, high = lessons[int(np.floor(place))], lessons[int(np.ceil(place))]
    share = place - np.floor(place)
    near = high if share > 0.5 else low
    strength = near.strength
    if n_rows > 2 * max(lessons[-1].n_rows, 1):  # far beyond what was tried: let the rows speak
        strength = min(strength, STRENGTHS[1])
    return Lesson(n_rows, (1 - share) * low.v0 + share * high.v0, near.factors, strength)


def stack_weights(lesson, found, target, loss):
    """Weights of the candidates for a target."""
    v0 = found.chance @ lesson.v0
    v0 = v0 / v0.sum()
    if not np.isfinite(lesson.strength) or len(target) == 0:
        return v0
    if loss.quadratic:
        root = np.sqrt(target.weight)
        if lesson.factors is None:
            factor = np.sqrt(loss.scale) * np.eye(len(v0))
        else:
            factor = np.concatenate(np.sqrt(found.chance)[:, None, None] * lesson.factors)
        F = found.left_out[:, :, 0].T * root[:, None]
        return squared_stack(F, target.Y[:, 0] * root, v0, factor, lesson.strength)
    return loss_stack(found.left_out, target.Y, target.weight, loss, v0, lesson.strength)


def learn_lessons(bank, sources, settings, rng):
    """Lessons from episodes among the sources; none where they are too few or too small.

    Parameters
    ----------
    bank : Bank
    sources : Sources
    settings : Settings
    rng : numpy.random.Generator

    Returns
    -------
    tuple of Lesson
    """
    sizes = np.array([len(rows) for rows in sources.data])
    order = rng.permutation(sources.n_sources)
    labels = sources.groups.labels
    fold = np.empty(sources.n_sources, dtype=np.intp)
    start = 0
    for k in range(sources.groups.n_groups):
        own = order[labels[order] == k]
        fold[own] = (start + np.arange(len(own))) % N_FOLDS
        start += len(own)
    kind = "closed form" if bank.exact else "linear" if bank.linear else "any"
    ladder = LADDER if bank.exact else SHORT_LADDER
    counts = {}
    for n in ladder:
        count = _episode_counts(n, order[sizes[order] >= n + LEAST_QUERY], sources.groups, kind)
        if np.count_nonzero(count) >= LEAST_SOURCES:
            counts[n] = count
    episodes = {n: [] for n in counts}
    for f in range(N_FOLDS):
        kept, held_out = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        held_out = [a for a in held_out if any(count[a] for count in counts.values())]
        if len(held_out) == 0 or len(kept) < 2:
            continue
        if len(np.unique(labels[kept])) < sources.groups.n_groups:
            return ()
        others = sources.only(bank, kept)
        for a in held_out:
            for repeat in range(max(count[a] for count in counts.values())):
                row = rng.permutation(sizes[a])
                for n, count in counts.items():
                    if repeat < count[a]:
                        episodes[n].append(_episode(bank, others, sources, a, row, n, settings))
    return tuple(
        _lesson(n, own, sources, STRENGTHS if bank.exact and n > 1 else STRENGTHS[:1])
        for n, own in episodes.items()
        if own
    )


def _episode_counts(n, order, groups, kind):
    """How many episodes each source gives.

    Without rows, sources count as they come; else the more, the likelier a target of their group
    is: strangers, of which no target is expected, leave their episodes to the others.
    """
    most, count = MOST_EPISODES[kind], np.zeros(len(groups.labels), dtype=np.intp)
    if n == 0:
        count[order[:most]] = 1
        return count
    for k, share in enumerate(groups.shares):
        own = order[groups.labels[order] == k]
        wanted = int(np.ceil(max(share, LEAST_SHARE) * most))
        count[own[:wanted]] = min(-(-wanted // max(len(own), 1)), MOST_REPEATS[kind])
    return count


def _episode(bank, others, sources, a, row, n, settings):
    support, query = np.sort(row[:n]), row[n:][:MOST_QUERY]
    target, judged = sources.data[a][support], sources.data[a][query]
    lesson = None if bank.exact else NOT_ASKED
    number = sources.numbers[a][support]
    found = candidates(bank, others, target, number, settings, lesson)
    raw = found.raw(bank, judged.X)
    return _Episode(a, sources.groups.labels[a], found, target, raw, judged)


def _lesson(n, episodes, sources, strengths):
    likely, safe = _likely_and_safe(n, episodes, sources)
    v0 = _best_weights(n, episodes, sources, likely, safe)
    factors = None
    if sources.loss.quadratic:
        members = _members(episodes, sources.groups.n_groups)
        factors = np.stack([_factor([episodes[i] for i in own]) for own in members])
    found = []
    for strength in strengths:
        lesson = Lesson(n, v0, factors, strength)
        values = [_value(lesson, e, sources.loss) for e in episodes]
        value = np.average(values, weights=likely)
        found.append(Lesson(n, v0, factors, strength, float(value)))
    return min(found, key=lambda lesson: lesson.loss)


def _value(lesson, e, loss):
    v = stack_weights(lesson, e.found, e.support, loss)
    return np.average(loss.value(np.tensordot(v, e.raw, axes=1), e.query.Y), weights=e.query.weight)


def _stacked(episodes):
    """Predictions of all query rows, those of an episode counting as one row."""
    return np.concatenate([e.raw[:, :, 0].T * _root(e)[:, None] for e in episodes])


def _root(e):
    return np.sqrt(e.query.weight / max(e.query.weight.sum(), 1e-300))


def _members(episodes, n_groups):
    """The episodes of every group; all of them where it has none."""
    labels = np.array([e.group for e in episodes])
    own = [np.flatnonzero(labels == k) for k in range(n_groups)]
    return [some if len(some) else np.arange(len(labels)) for some in own]


def _factor(episodes, used=slice(None)):
    """``|factor @ u|²`` is the mean squared change of a prediction by changes u of the weights of
    some candidates that sum to 0."""
    F = _stacked(episodes)[:, used]
    deviation = F - F.mean(axis=1, keepdims=True)
    moment = deviation.T @ deviation / len(episodes)
    ridge = 1e-9 * np.trace(moment) + 1e-300
    return np.linalg.cholesky(moment + ridge * np.eye(len(moment))).T


def _likely_and_safe(n, episodes, sources):
    """How likely the episodes are, 1 in the mean, and the weights that are safest over them.

    An episode is as likely as the group of its source. Without rows nothing says of which group a
    target is, so the mixture must also serve sources as they come: both losses count, each divided
    by the least that safe weights have.
    """
    loss, groups = sources.loss, sources.groups
    choices = _safe_weights(episodes[0].found.group, groups.n_groups)
    values = np.array(
        [[_value(Lesson(n, v0, None, np.inf), e, loss) for e in episodes] for v0 in choices]
    )
    own = np.array([e.source for e in episodes])
    likely = groups.source_shares[own] / np.bincount(own)[own]
    likely = likely / likely.mean()
    if n == 0:
        least = [max((values @ w).min(), 1e-300) for w in (likely, np.ones(len(likely)))]
        likely = likely / least[0] + 1 / least[1]
        likely = likely / likely.mean()
    return likely, choices[int(np.argmin(values @ likely))]


def _safe_weights(group, n_groups):
    """What weights may be shrunk to: equal weights of the pooled models, those of a group, of all
    sources, or both, for every group: (n_choices, n_groups, n_candidates)."""
    own, everyone = group == np.arange(n_groups)[:, None], group == EVERYONE
    choices = [own]
    if everyone.any():
        choices += [np.broadcast_to(everyone, own.shape), own | everyone]
    others = group == NO_POOL
    return np.stack(
        [
            0.9 * safe / safe.sum(axis=1, keepdims=True) + 0.1 * others / others.sum()
            for safe in choices
        ]
    )


def _best_weights(n, episodes, sources, likely, safe):
    """Weights of the candidates of every group that are best over episodes.

    Where a support hardly tells the group, what counts is the loss of the whole mixture ``chance @
    v`` of all groups: the pooled model of one may be absurd for the targets of another. Later each
    group has what is best for its own sources. The weights are shrunk to safe ones.
    """
    loss, labels = sources.loss, np.array([e.group for e in episodes])
    n_groups, group = sources.groups.n_groups, episodes[0].found.group
    used = (group == np.arange(n_groups)[:, None]) | (group < 0)
    block, place = np.nonzero(used)
    counts = [len(e.query) for e in episodes]
    if n <= MOST_BLIND:
        chance = np.stack([e.found.chance for e in episodes])
    else:  # every group by itself
        chance, likely = np.eye(n_groups)[labels], np.ones(len(labels))
    chance = np.repeat(chance, counts, axis=0)
    likely_row = np.repeat(likely, counts)
    strengths, members = np.empty(n_groups), _members(episodes, n_groups)
    for k, own in enumerate(members):
        repeats = len(own) / len({episodes[i].source for i in own})
        strength = SHRINKAGE * repeats if n else max(SHRINKAGE, len(own))
        strengths[k] = strength * likely[own].mean()
    if loss.quadratic:
        y = np.concatenate([e.query.Y[:, 0] * _root(e) for e in episodes])
        R = (_stacked(episodes) - y[:, None]) * np.sqrt(likely_row)[:, None]
        A = [chance[:, block] * R[:, place]]
        for k, own in enumerate(members):
            factor = np.sqrt(strengths[k]) * _factor([episodes[i] for i in own], used[k])
            A.append(np.zeros((len(factor), len(block))))
            A[-1][:, block == k] = factor - (factor @ safe[k, used[k]])[:, None]
        v = least_mixture(np.concatenate(A), block)
    else:
        F = np.concatenate([e.raw for e in episodes], axis=1)[place] * chance.T[block][:, :, None]
        Y = np.concatenate([e.query.Y for e in episodes])
        weight = np.concatenate([_root(e) ** 2 for e in episodes]) * likely_row
        v = loss_stack(F, Y, weight, loss, safe[used], 0.01 * strengths[block], block)
    v0 = np.zeros(used.shape)
    v0[used] = v
    return v0
