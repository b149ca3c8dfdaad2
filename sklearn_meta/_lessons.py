"""What episodes among the sources teach about candidates: which to trust after how many rows.

A source is taken for a target, the others for its sources; it gives n support rows, and the rest of
its rows judge. Over many such episodes the weights of the candidates that would have been best are
the prior ``v0`` of the stack at n rows, one for each group of sources; and the number of rows that
this prior is worth against the errors on the support is the one that would have been best, too.
"""

from dataclasses import dataclass

import numpy as np

from ._candidates import candidates
from ._transfer import loss_stack, squared_stack

__all__ = ["Lesson", "learn_lessons", "lesson_for", "stack_weights", "untaught"]

LADDER = (0, 1, 2, 5, 10, 20, 50)
SHORT_LADDER = (0, 1, 2, 5, 20)  # where every episode has models to fit
MOST_EPISODES = {"closed form": 200, "linear": 60, "any": 24}  # for each number of rows
STRENGTHS = (np.inf, 100.0, 30.0, 10.0, 3.0)
UNTAUGHT = 10.0  # rows that equal weights are worth where there is no lesson
SHRINKAGE = 10.0  # sources that equal weights are worth in a lesson
LEAST_SOURCES = 4
LEAST_QUERY = 3
MOST_QUERY = 100
MOST_REPEATS = {"closed form": 6, "linear": 2, "any": 1}  # of a source
N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Lesson:
    """Weights of candidates at one number of support rows.

    Parameters
    ----------
    n_rows : int
    v0 : ndarray of shape (n_groups, n_candidates)
    factor : ndarray of shape (n_candidates, n_candidates), or None
        ``|factor @ (v - v0)|²`` is the mean squared change of a prediction (squared loss).
    strength : float
        In rows; infinite where the support is not to be asked.
    loss : float
        Mean loss over the episodes.
    """

    n_rows: int
    v0: np.ndarray
    factor: object
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
    return Lesson(n_rows, (1 - share) * low.v0 + share * high.v0, near.factor, strength)


def stack_weights(lesson, found, target, loss):
    """Weights of the candidates for a target."""
    v0 = found.chance @ lesson.v0
    v0 = v0 / v0.sum()
    if not np.isfinite(lesson.strength) or len(target) == 0:
        return v0
    if loss.quadratic:
        root = np.sqrt(target.weight)
        factor = lesson.factor
        if factor is None:
            factor = np.sqrt(loss.scale) * np.eye(len(v0))
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
    most, most_repeats = MOST_EPISODES[kind], MOST_REPEATS[kind]
    ladder = LADDER if bank.exact else SHORT_LADDER
    chosen = {n: order[sizes[order] >= n + LEAST_QUERY][:most] for n in ladder}
    chosen = {n: own for n, own in chosen.items() if len(own) >= LEAST_SOURCES}
    episodes = {n: [] for n in chosen}
    for f in range(N_FOLDS):
        kept, held_out = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        held_out = [a for a in held_out if any(a in own for own in chosen.values())]
        if len(held_out) == 0 or len(kept) < 2:
            continue
        if len(np.unique(labels[kept])) < sources.groups.n_groups:
            return ()
        others = sources.only(bank, kept)
        for a in held_out:
            for repeat in range(most_repeats):
                row = rng.permutation(sizes[a])
                for n, own in chosen.items():
                    wanted = 1 if n == 0 else -(-most // len(own))
                    if a in own and repeat < wanted:
                        episodes[n].append(_episode(bank, others, sources, a, row, n, settings))
    return tuple(
        _lesson(n, own, sources, STRENGTHS if bank.exact and n > 1 else STRENGTHS[:1])
        for n, own in episodes.items()
        if own
    )


def _episode(bank, others, sources, a, row, n, settings):
    support, query = np.sort(row[:n]), row[n:][:MOST_QUERY]
    target, judged = sources.data[a][support], sources.data[a][query]
    lesson = None if bank.exact else NOT_ASKED
    number = sources.numbers[a][support]
    found = candidates(bank, others, target, number, settings, lesson)
    raw = found.raw(bank, judged.X)
    return _Episode(a, sources.groups.labels[a], found, target, raw, judged)


def _lesson(n, episodes, sources, strengths):
    group, loss = episodes[0].found.group, sources.loss
    v0 = np.zeros((sources.groups.n_groups, len(group)))
    repeats = len(episodes) / len({e.source for e in episodes})
    for k in range(len(v0)):
        own = [e for e in episodes if e.group == k] or episodes
        strength = SHRINKAGE * repeats if n else max(SHRINKAGE, len(own))
        v0[k] = _best_weights(own, group, k, loss, strength)
    factor = _factor(_stacked(episodes), len(episodes)) if loss.quadratic else None
    likely = sources.groups.source_shares[[e.source for e in episodes]]
    found = []
    for strength in strengths:
        lesson = Lesson(n, v0, factor, strength)
        value = np.average([_value(lesson, e, loss) for e in episodes], weights=likely)
        found.append(Lesson(n, v0, factor, strength, float(value)))
    return min(found, key=lambda lesson: lesson.loss)


def _value(lesson, e, loss):
    v = stack_weights(lesson, e.found, e.support, loss)
    return np.average(loss.value(np.tensordot(v, e.raw, axes=1), e.query.Y), weights=e.query.weight)


def _stacked(episodes):
    """Predictions of all query rows, those of an episode counting as one row."""
    return np.concatenate([e.raw[:, :, 0].T * _root(e)[:, None] for e in episodes])


def _root(e):
    return np.sqrt(e.query.weight / max(e.query.weight.sum(), 1e-300))


def _factor(F, n_episodes):
    deviation = F - F.mean(axis=1, keepdims=True)
    moment = deviation.T @ deviation / n_episodes
    ridge = 1e-9 * np.trace(moment) + 1e-300
    return np.linalg.cholesky(moment + ridge * np.eye(len(moment))).T


def _best_weights(episodes, group, k, loss, strength):
    """Weights of the candidates of a group that are best over episodes.

    They are shrunk to equal weights of the pooled models, which are safe.
    """
    used = (group == k) | (group < 0)
    v = np.zeros(len(group))
    safe = group[used] == k
    equal = np.where(safe, 0.9 / safe.sum(), 0.1 / max((~safe).sum(), 1))
    if loss.quadratic:
        F = _stacked(episodes)[:, used]
        y = np.concatenate([e.query.Y[:, 0] * _root(e) for e in episodes])
        factor = _factor(F, len(episodes))
        v[used] = squared_stack(F, y, equal, factor, strength)
        return v
    F = np.concatenate([e.raw[used] for e in episodes], axis=1)
    Y = np.concatenate([e.query.Y for e in episodes])
    weight = np.concatenate([_root(e) ** 2 for e in episodes])
    v[used] = loss_stack(F, Y, weight, loss, equal, 0.01 * strength)
    return v
