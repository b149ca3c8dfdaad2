"""Episodes for models that are trained on rows ``[x, T(support)]``: every row is a query once.

The rows of a task are shuffled and dealt to blocks; each block is the query of one episode, whose
support is drawn from the rows of the task outside the block. So a descriptor never sees the target
that goes with it, and a learner trained on all episodes sees each row exactly as often as without
them. The size of a support is drawn from a range, uniformly on a logarithmic scale: small supports,
where one row more changes most, are the most frequent. A third of all supports is empty, so that
tasks without rows are not an afterthought.
"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from .rows import ranges

MAX_SHOTS = 2**31  # more than any task has
EMPTY = 1 / 3  # share of supports without rows, where the range begins with 0

__all__ = ["Episodes", "check_shots", "draw_episodes", "take_rows"]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Supports and queries as row numbers of a table, episode after episode."""

    tasks: np.ndarray  # (n_episodes,): the task of every episode
    support: np.ndarray
    support_offsets: np.ndarray  # (n_episodes + 1,)
    query: np.ndarray
    query_offsets: np.ndarray  # (n_episodes + 1,)


def check_shots(n_shots):
    """A number of rows, a ``range``, or a pair that stands for the range with both ends."""
    shots = n_shots if isinstance(n_shots, (tuple, list)) else (n_shots,) * 2
    if isinstance(n_shots, range) and n_shots.step == 1 and len(n_shots):
        shots = n_shots[0], n_shots[-1]
    whole = all(isinstance(k, Integral) and not isinstance(k, bool) for k in shots)
    if not (whole and len(shots) == 2 and 0 <= shots[0] <= shots[1]):
        raise ValueError(
            f"n_shots={n_shots!r} is neither a number of rows nor a range of them. For 0 to 10 "
            "rows pass range(0, 11), or the pair (0, 10)."
        )
    return min(int(shots[0]), MAX_SHOTS), min(int(shots[1]), MAX_SHOTS)


def draw_episodes(table, n_shots, n_blocks, rng):
    """Draw one set of episodes in which every row is a query once.

    Rows of a fixed support (``table.role``) are support only. Supports have ``n_shots``, a pair, at
    least and at most, and never more rows than stand outside the block. Of a single block, the
    largest part that is support is half of the rows, and only the others are query.
    """
    sizes, starts, codes = table.sizes, table.offsets[:-1], table.codes
    role = np.zeros(len(codes), dtype=np.int8) if table.role is None else table.role
    key = rng.random(len(codes)) + np.where(role == 1, 0.0, 1.0)
    shuffled = np.lexsort((key, codes))  # fixed supports come first
    n_fixed = np.bincount(codes, weights=role == 1, minlength=len(sizes)).astype(np.intp)
    has_fixed = np.bincount(codes, weights=role > 0, minlength=len(sizes)) > 0
    n_free = sizes - n_fixed
    blocks = np.minimum(n_blocks, n_free)

    block, tasks = ranges(blocks)
    lo = n_fixed[tasks] + block * n_free[tasks] // np.maximum(blocks[tasks], 1)
    hi = n_fixed[tasks] + (block + 1) * n_free[tasks] // np.maximum(blocks[tasks], 1)

    low, high = n_shots
    empty = rng.random(len(tasks)) < (EMPTY if low == 0 else 0.0)
    bounds = np.log([max(low, 1), max(high, 1) + 1])
    drawn = np.minimum(np.exp(rng.uniform(*bounds, len(tasks))).astype(np.intp), high)
    drawn[empty] = 0
    turn = rng.random(len(tasks))
    fixed = has_fixed[tasks]
    most = np.where(fixed, n_fixed[tasks], n_free[tasks] - (hi - lo))
    if n_blocks == 1:
        most = np.where(fixed, most, n_free[tasks] // 2)
    n_support = np.minimum(drawn, most)
    if n_blocks == 1:
        hi = np.where(fixed, hi, hi - n_support)

    # the support is a run of the shuffled rows that begins behind the block and goes round
    begin = np.where(fixed, (turn * n_fixed[tasks]).astype(np.intp), hi)
    around = np.maximum(np.where(fixed, n_fixed[tasks], sizes[tasks]), 1)
    place, of = ranges(n_support)
    support = starts[tasks][of] + (begin[of] + place) % around[of]
    place, of = ranges(hi - lo)
    query = starts[tasks][of] + lo[of] + place
    return Episodes(
        tasks,
        shuffled[support],
        np.concatenate([[0], np.cumsum(n_support)]),
        shuffled[query],
        np.concatenate([[0], np.cumsum(hi - lo)]),
    )


def take_rows(table, rows, offsets, tasks):
    """Some rows of a table as tasks of their own, in which any row may be support or query."""
    table = replace(table, row_numbers=None, role=None, own_classes=None)
    return table.take(rows, offsets, tasks)
