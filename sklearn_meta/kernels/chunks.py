"""Means over tasks in chunks that fit into the cache, in threads.

Chunks depend on the data only, and their results are summed in their order: the number of threads
changes nothing, not even the last digit.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from .network import Batch

__all__ = ["keep_freed_memory", "mean_over_chunks", "thread_pool"]

CHUNK_NUMBERS = 2**19


def thread_pool(n_threads):
    """A context that gives a pool of threads, or None for a single one."""
    return ThreadPoolExecutor(n_threads) if n_threads > 1 else nullcontext()


def mean_over_chunks(function, network, episode, pool=None):
    """``(value, gradient)`` of a function of an episode that is a mean over its tasks.

    An episode is nested tuples and lists of Batch and ndarray, all with tasks as first axis.
    """
    batches = [leaf for leaf in _leaves(episode) if isinstance(leaf, Batch)]
    n_tasks = len(batches[0].X)
    n_rows = sum(batch.X.shape[1] for batch in batches)
    most = max(1, CHUNK_NUMBERS // (network.n_params + n_rows * sum(network.sizes)))
    n_chunks = -(-n_tasks // most)
    if n_chunks == 1:
        return function(episode)
    n_chunks = min(n_tasks, -(-n_chunks // 4) * 4)  # so that 2 or 4 threads end at the same time
    bounds = np.linspace(0, n_tasks, n_chunks + 1).astype(int).tolist()
    parts = [_part(episode, slice(*pair)) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
    results = (map if pool is None else pool.map)(function, parts)
    value, gradient = 0.0, 0
    for size, (part_value, part_gradient) in zip(np.diff(bounds).tolist(), results, strict=True):
        value += size / n_tasks * part_value
        gradient = gradient + size / n_tasks * part_gradient
    return value, gradient


def _leaves(episode):
    if not isinstance(episode, (tuple, list)):
        return [episode]
    return [leaf for part in episode for leaf in _leaves(part)]


def _part(episode, tasks):
    """Some tasks of an episode, padded to the largest of these."""
    if isinstance(episode, (tuple, list)):
        return type(episode)(_part(part, tasks) for part in episode)
    if isinstance(episode, Batch):
        return episode.rows(tasks).without_padding()
    return episode[tasks]


def keep_freed_memory():
    """Let arrays of up to 16 MB that come and go use the same memory again.

    The C library of Linux gives freed memory back to the system unless an array as large has come
    and gone before. Each meta-iteration would get its memory anew, page by page, which can take
    longer than the arithmetic. The array is never touched and costs nothing.
    """
    np.empty(2**24, dtype=np.uint8)
