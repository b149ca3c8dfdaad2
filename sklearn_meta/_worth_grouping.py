r"""Which groups of sources are worth having, by what they say after few rows.

A source gives a few of its rows, and the rest judges: the squared error of what the rows and the
groups (:mod:`._source_groups`) say, its own group pooled without it. Groups are cut further as long
as this error surely falls, and strangers (:mod:`._strangers`, :mod:`._scatter`) leave if it falls
on the others.
"""

import numpy as np
from scipy.stats import t as student_t

from ._scatter import find_odd
from ._source_groups import LEAST_SOURCES, cuts, whitened, with_labels
from ._strangers import find_strangers

__all__ = ["worth_grouping"]

MOST_JUDGED = 200  # sources that judge whether groups help
FEW_ROWS = 5  # of each, that say which group it is
STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # multiples of a prior
LEAST_GAIN = 0.05  # of groups in the squared error
SMALL_GAIN = 0.01  # of groups that contradict each other
MOST_TOGETHER = 0.5  # of what such groups explain, that they explain together
# In its logarithm, of the others when strangers leave: those of the end of EM, and of its start,
# which keeps sources that are easy to judge by.
LEAST_GAINS = (SMALL_GAIN, LEAST_GAIN)
# Strangers explain each other less than the others do, by this factor: those of another scatter,
# and those of other slopes, who are explained less by choice.
ODD_RATIO, SLOPES_RATIO = 1, 2
SURE = 0.95  # probability, by Student's t, that they gain at all
N_JUDGED = 1000  # draws of rows that judge, of all sources together


def worth_grouping(X, Y, offsets, weight, n_groups, rng):
    """The groups of sources, as many as lower the error on a source after a few of its rows.

    Strangers make a group of their own, the last one, where that lowers this error on the others by
    more than chance would. Then the others are cut anew, in units of their own, in which those may
    be seen who were hidden by the first: columns in other units make all else look alike.

    Parameters
    ----------
    X, Y, offsets, weight
        See :func:`._source_groups.whitened`.
    n_groups : int
        Most groups, strangers aside.
    rng : numpy.random.Generator
        Draws the rows.

    Returns
    -------
    Groups
    """
    data = X, Y, offsets, weight
    whole = space = whitened(*data)
    groups = _worth(space, data, n_groups, rng)
    sizes = np.diff(offsets)
    left = np.ones(len(sizes), dtype=bool)
    while (strange := _strangers(groups, space, data, rng)) is not None:
        left[left] = ~strange
        rows = np.repeat(left, sizes)
        data = X[rows], Y[rows], np.append(0, np.cumsum(sizes[left])), weight[rows]
        space = whitened(*data)
        groups = _worth(space, data, n_groups, rng)
    if left.all():
        return groups
    labels = np.full(len(sizes), groups.n_groups)
    labels[left] = groups.labels
    return with_labels(whole, labels)


def _worth(space, data, n_groups, rng):
    """As many groups as surely lower the error on all sources, and explain more of each other.

    A small gain is enough where groups contradict each other: together they explain less than half
    of what they do apart. Where little can be explained, there is little to gain.
    """
    best, *finer = cuts(space, n_groups)
    everyone = np.arange(len(best.labels))
    for groups in finer:
        together, apart = (g.skill[g.labels].mean() for g in (best, groups))
        if apart <= together:
            continue
        least = LEAST_GAIN if together > MOST_TOGETHER * apart else SMALL_GAIN
        before, after = _judged((best, groups), space, data, everyone, rng)
        if after.sum() < (1 - least) * before.sum() and _sure(np.log(before / after)):
            best = groups
    return best


def _strangers(groups, space, data, rng):
    """A mask of the strangers without whom the other sources do better, or None.

    Sources whose columns hang together in another way leave if the others surely gain; if it is so
    of their inputs alone, and they are no majority, it is enough that the others gain. Slopes are
    compared among the rest: the others must surely gain, and more than they have gained before.
    """
    rng = rng.spawn(1)[0]  # where there are no strangers, nothing else shall change
    moments = space[-1]
    noise, n_sources = groups.noise @ groups.shares, len(groups.labels)
    best, found = groups, None
    for targets in (True, False):
        odd = find_odd(moments, targets)
        apart, gains, _ = _apart(groups, groups, odd, ODD_RATIO, space, data, rng)
        blind = not targets and odd.sum() <= n_sources / 2
        if gains.mean() > SMALL_GAIN and (blind or _sure(gains)):
            best, found = apart, odd
            break
    for left in (np.flatnonzero(~odd), np.arange(n_sources)):
        masks = find_strangers(moments.of(left), noise) if len(left) >= LEAST_SOURCES else []
        for mask, least in zip(masks[::-1], LEAST_GAINS, strict=False):
            strange = np.ones(n_sources, dtype=bool)
            strange[left[~mask]] = False
            if found is not None and (strange & ~found).sum() < LEAST_SOURCES:
                continue  # a single one would not leave by itself either
            apart, gains, more = _apart(groups, best, strange, SLOPES_RATIO, space, data, rng)
            if _sure(gains) and more.mean() > least:
                best, found = apart, strange
        if found is not None or not odd.any():
            break
    return found


def _apart(groups, best, strange, least_ratio, space, data, rng):
    """Strangers in a group of their own, and what each of the others gains over two groupings.

    Nothing, unless the others explain each other, and so much better than strangers do.
    """
    others = np.flatnonzero(~strange)
    nothing = best, np.zeros(2), np.zeros(2)
    if min(strange.sum(), len(others)) < LEAST_SOURCES:
        return nothing
    apart = with_labels(space, strange.astype(np.intp))
    if apart.skill[0] <= least_ratio * max(apart.skill[1], 0):
        return nothing
    groupings = (groups, apart) if best is groups else (groups, best, apart)
    # As logarithms: a noisy source shall not outvote the others.
    *before, after = np.log(_judged(groupings, space, data, others, rng))
    return apart, before[0] - after, before[-1] - after


def _judged(groupings, space, data, judges, rng):
    """:func:`_few_row_errors` on some sources, the fewer the more often."""
    judges = rng.permutation(judges)[:MOST_JUDGED]
    n_draws = -(-N_JUDGED // len(judges))  # the fewer sources, the less may chance decide
    return _few_row_errors(groupings, space[-1], data, judges, n_draws, rng)


def _sure(gains):
    """Whether the mean is surely positive, by Student's t."""
    spread = gains.std(ddof=1) / np.sqrt(len(gains))
    return gains.mean() > student_t.ppf(SURE, len(gains) - 1) * spread


def _few_row_errors(groupings, moments, data, judges, n_draws, rng):
    """Squared errors on some sources after a few of their rows: (n_groupings, n_judges).

    The group of a source is pooled without it. What prior suits all rows of the sources may be too
    weak for a few: each grouping has the multiple of its prior that suits it best.
    """
    X, Y, offsets, weight = data
    errors = np.zeros((len(groupings), len(STRENGTHS), len(judges)))
    for j, a in enumerate(judges):
        size = offsets[a + 1] - offsets[a]
        n = min(FEW_ROWS, size // 2)
        others = [groups.without(a, moments) for groups in groupings]
        for _ in range(n_draws):
            rows = offsets[a] + rng.permutation(size)
            support, query = rows[:n], rows[n:]
            few = X[support], Y[support], weight[support]
            for g, groups in enumerate(others):
                guess = groups.predict(*few, X[query], STRENGTHS)
                errors[g, :, j] += np.mean((Y[query] - guess) ** 2, axis=(1, 2)) / n_draws
    errors = np.maximum(errors, max(1e-12 * errors.max(), 1e-300))
    best = np.log(errors).mean(axis=2).argmin(axis=1)
    return errors[np.arange(len(errors)), best]
