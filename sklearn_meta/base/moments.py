"""Between tables of tasks and a Gaussian prior of their linear models: moments in, rows out."""

import warnings
from dataclasses import replace

import numpy as np

from ..kernels.mixed_model import Moments
from ..kernels.stacked import CELLS
from ..priors.regularization import Held
from ..tasks.table import padded_batches

__all__ = [
    "canonical_order",
    "gather_moments",
    "held_without_rows",
    "moments_of",
    "posterior_rows",
    "warn_of_one_task",
]


MAX_HELD = 400  # tasks that regularisation is chosen on, and intervals are calibrated on,
MAX_HELD_ROWS = 40  # by so many of their rows


def gather_moments(tables, prior=None):
    """Moments of all tasks of some tables, and of those that a prior was learned from.

    Also the shift (n_features + 1,) that was subtracted from ``[x, y]``, the means of the first
    table, and some tasks with some of their rows (:class:`Held`).
    """
    parts, shift, held = [], None, None
    if prior is not None:
        parts, shift, held = [prior.moments], prior.shift, prior.held
    n_tasks = sum(part.n_tasks for part in parts)
    for table in tables:
        if shift is None:
            shift = np.append(table.X.mean(axis=0), table.y.mean()).astype(np.float64)
        parts.append(moments_of(table, shift))
        if held is None or len(held.tasks) < MAX_HELD:
            held = _held_of(table, parts[-1], shift, n_tasks, held)
        n_tasks += table.n_tasks
    moments = parts[0].concatenate(*parts[1:])
    if moments.n_tasks == 1:
        warn_of_one_task()
    return moments, shift, held


def held_without_rows(moments):
    """Some tasks whose rows nobody knows; their order does not count."""
    return _held_tasks(moments, MAX_HELD, np.random.default_rng(0))


def canonical_order(M):
    """An order of tasks by number of rows, sum of squared targets, and their sum."""
    n, y, yy = M[0, 0], M[0, -1], M[-1, -1]
    order = np.argsort(yy)  # several times as fast as lexsort, but says nothing of ties
    if (yy[order[1:]] == yy[order[:-1]]).any():
        return np.lexsort((y, yy, n))
    return order[np.argsort(n[order], kind="stable")]


def _held_tasks(moments, most, rng):
    tasks = rng.permutation(canonical_order(moments.M))[:most]
    rows = np.zeros((len(tasks), MAX_HELD_ROWS, len(moments.M)))
    rows[..., 0] = 1.0
    return Held(tasks, rows, np.zeros(rows.shape[:2]))


def _held_of(table, moments, shift, n_before, held):
    """Some tasks of a table and some of their rows, whatever the order of either."""
    rng = np.random.default_rng(0)
    new = _held_tasks(moments, MAX_HELD - (0 if held is None else len(held.tasks)), rng)
    tasks, rows, weight = new.tasks, new.rows, new.weight
    for i, t in enumerate(tasks):
        X, y, own = table.task(t)
        order = rng.permutation(np.lexsort((y, *X.T)))[:MAX_HELD_ROWS]
        rows[i, : len(order), 1:-1] = X[order]
        rows[i, : len(order), -1] = y[order]
        weight[i, : len(order)] = 1.0 if own is None else own[order]
    rows[..., 1:] -= shift
    new = Held(n_before + tasks, rows, weight)
    return new if held is None else held.concatenate(new)


def moments_of(table, shift):
    """Moments of the tasks of a table; an error with an address for squares that overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = table.n_tasks, table.X.shape[1]
        batches = padded_batches(table, CELLS)
        moments = Moments.from_batches(batches, *size, shift, table.descriptors)
        if np.isfinite(moments.M.sum()):
            return moments
    rows = np.column_stack([table.X, table.y])
    i, j = np.unravel_index(np.argmax(np.abs(rows)), rows.shape)
    what = "y" if j == table.X.shape[1] else f"column {j} of X"
    raise ValueError(
        f"{table.where(i)}: {what} holds {rows[i, j]:g}, whose square is not a finite number. Use "
        "other units, or drop the row."
    )


def posterior_rows(prior, table):
    """Posterior of the tasks of a table, see :meth:`GaussianPrior.posterior`.

    Where side information is not known (``table.descriptors`` is None) its mean is assumed, and its
    variance counts.
    """
    moments = moments_of(table, prior.shift)
    if table.descriptors is None:
        prior = prior.without_side()
        S = np.repeat(prior.s_mean[:, None], table.n_tasks, axis=1)
        moments = replace(moments, S=S)
    return prior.posterior(moments)


def warn_of_one_task():
    """Nothing can be learned about how tasks differ."""
    warnings.warn(
        "A single task says nothing about how tasks differ: the prior covariance is 0, and "
        "adaptation will change nothing. Pass several tasks, or the ids of a long table.",
        UserWarning,
        stacklevel=3,
    )
