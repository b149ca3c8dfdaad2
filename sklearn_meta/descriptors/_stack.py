"""Side information of tasks as one table of objects: None where it is missing."""

from collections.abc import Mapping

import numpy as np

from .._ids import is_missing

__all__ = ["stack_side", "without_missing"]


def without_missing(values):
    """An object array with None in place of everything that means missing."""
    out = np.empty(np.shape(values), dtype=object)
    out.ravel()[:] = [
        None if is_missing(v) else v.item() if isinstance(v, np.generic) else v
        for v in np.asarray(values, dtype=object).ravel()
    ]
    return out


def stack_side(descriptors, labels, names=None, n_side=None):
    """Stack the side information of tasks.

    Parameters
    ----------
    descriptors : list of array-like, mapping or None
        One for each task. A mapping may lack keys, and None knows nothing: both are missing.
    labels : list of str
        How messages call the tasks.
    names : list, default=None
        The keys in the order of the columns; all that occur if None.
    n_side : int, default=None
        The number of columns; that of the first descriptor if None.

    Returns
    -------
    table : ndarray of shape (n_tasks, n_side), dtype object, or None
        None where no task has any.
    names : list or None
        The keys, where descriptors are mappings.
    """
    given = [s for s in descriptors if s is not None]
    if not given and n_side is None:
        return None, None
    if n_side is None and isinstance(given[0], Mapping):
        names = list(dict.fromkeys(key for s in given if isinstance(s, Mapping) for key in s))
    rows = []
    for s, label in zip(descriptors, labels, strict=True):
        row = None if s is None else _row(s, names, label)
        if row is not None and n_side is None:
            n_side = len(row)
        if row is not None and len(row) != n_side:
            raise ValueError(
                f"{label}: its descriptor has {len(row)} entries, expected {n_side}. Put None "
                "where an entry is not known, or use a mapping, which may lack keys."
            )
        rows.append(row)
    table = np.full((len(rows), n_side), None, dtype=object)
    for t, row in enumerate(rows):
        if row is not None:
            table[t] = row
    return table, names


def _row(descriptor, names, label):
    if isinstance(descriptor, Mapping) != (names is not None):
        raise ValueError(f"{label}: descriptors must be all mappings or all arrays.")
    if names is not None:
        unknown = [key for key in descriptor if key not in names]
        if unknown:
            raise ValueError(
                f"{label}: its descriptor has the key {unknown[0]!r}, which no meta-train task "
                f"has; known are {sorted(map(str, names))}."
            )
        return without_missing([descriptor.get(name) for name in names])
    row = without_missing(np.atleast_1d(np.asarray(descriptor, dtype=object)))
    if row.ndim != 1:
        raise ValueError(f"{label}: its descriptor has shape {row.shape}, expected a vector.")
    return row
