"""Episodes of N-way tasks: outputs that carry no meaning.

In an episode of meta-training, output j is class ``pi(j)`` for a random permutation pi of 0..N-1,
drawn anew for every task, so that no output can stand for a label; what is learned is to tell apart
whatever the support shows.

References
----------
Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), Matching networks for one shot learning,
NeurIPS.
"""

from dataclasses import replace

import numpy as np

__all__ = ["permuted", "shots_per_class"]


def shots_per_class(keys, codes, n_way, n_shots, half):
    """Which rows are the support: so many of each class, those with the smallest keys.

    Parameters
    ----------
    keys, codes : ndarray of shape (n_tasks, n_rows)
        Random numbers, and the class of every row; ``n_way`` for rows that cannot be drawn.
    n_way : int
    n_shots : ndarray of int of shape (n_tasks or 1, 1)
    half : ndarray of bool of shape (n_tasks,)
        Whether at least half of the rows of each class (of one row: none) stay out.
    """
    counts = (codes[:, :, None] == np.arange(n_way)).sum(axis=1)
    most = np.where(half[:, None], np.maximum(counts // 2, np.minimum(counts, 1)), counts)
    most = np.pad(np.minimum(most, n_shots), ((0, 0), (0, 1)))
    first = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
    order = np.lexsort((keys, codes), axis=1)
    codes = np.take_along_axis(codes, order, axis=1)
    place = np.arange(codes.shape[1]) - np.take_along_axis(first, codes, axis=1)
    chosen = np.empty(codes.shape, dtype=bool)
    drawn = place < np.take_along_axis(most, codes, axis=1)
    np.put_along_axis(chosen, order, drawn, axis=1)
    return chosen


def permuted(batch, permutations):
    """A batch whose outputs j are the classes ``permutations[:, j]`` of each task."""
    if batch.y.shape[2] == 1:  # of two classes: is it the second?
        return replace(batch, y=np.where(permutations[:, :1, None] == 1, 1 - batch.y, batch.y))
    return replace(batch, y=np.take_along_axis(batch.y, permutations[:, None], axis=2))
