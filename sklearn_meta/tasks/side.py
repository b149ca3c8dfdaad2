"""Side information of tasks as one table: of objects, None where it is missing, or of numbers."""

from collections.abc import Mapping

import numpy as np

from .ids import is_missing
from .validation import have_squares

__all__ = ["stack_descriptors", "stack_side", "without_missing"]


def without_missing(values):
    """An object array with None in place of everything that means missing."""
    out = np.empty(np.shape(values), dtype=object)
    out.ravel()[:] = [
        None if is_missing(v) else v.item() if isinstance(v, (np.generic, np.ndarray)) else v
        for v in np.asarray(values, dtype=object).ravel()
    ]
    return out


def stack_side(descriptors, labels, names=None, n_side=None):
    """Stack the side information of tasks to a table of objects.

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
    rows = [
        None if s is None else _row(s, names, label)
        for s, label in zip(descriptors, labels, strict=True)
    ]
    way = "Put None where an entry is not known, or use a mapping, which may lack keys."
    n_side = _check_lengths(rows, labels, n_side, way)
    table = np.full((len(rows), n_side), None, dtype=object)
    for t, row in enumerate(rows):
        if row is not None:
            table[t] = row
    return table, names


def _row(descriptor, names, label):
    _check_kind(descriptor, names, label)
    if names is not None:
        unknown = [key for key in descriptor if key not in names]
        if unknown:
            raise ValueError(
                f"{label}: its descriptor has the key {unknown[0]!r}, which no meta-train task "
                f"has; known are {sorted(map(str, names))}."
            )
        for name, value in descriptor.items():
            if np.ndim(value) or isinstance(value, (Mapping, set)):
                raise ValueError(
                    f"{label}: entry {name!r} of its descriptor is {value!r}, no single value. "
                    "Give each of its parts a key of its own."
                )
        return without_missing([descriptor.get(name) for name in names])
    row = _vector(without_missing(np.atleast_1d(np.asarray(descriptor, dtype=object))), label)
    if any(isinstance(value, (Mapping, set)) for value in row):
        raise ValueError(f"{label}: its descriptor {descriptor!r} holds more than single values.")
    return row


def _check_kind(descriptor, names, label):
    if isinstance(descriptor, Mapping) != (names is not None):
        raise ValueError(f"{label}: descriptors must be all mappings or all arrays.")


def _vector(row, label):
    if row.ndim != 1:
        raise ValueError(f"{label}: its descriptor has shape {row.shape}, expected a vector.")
    return row


def _check_lengths(rows, labels, expected, way):
    """The length of all rows that are known."""
    for row, label in zip(rows, labels, strict=True):
        if row is not None and expected is None:
            expected = len(row)
        if row is not None and len(row) != expected:
            raise ValueError(
                f"{label}: its descriptor has {len(row)} entries, expected {expected}. {way}"
            )
    return expected


def stack_descriptors(descriptors, labels, names=None):
    """The same to a table of numbers, dtype float64, of which every task has all or none has any.

    ``names`` are the keys of the first mapping if None.
    """
    given = [descriptor is not None for descriptor in descriptors]
    if not any(given):
        return None, None
    if not all(given):
        raise ValueError(
            f"{labels[given.index(False)]} has no descriptor, but others have. Give every task "
            "one, Task(..., descriptor=...), or none."
        )
    if names is None and isinstance(descriptors[0], Mapping):
        names = list(descriptors[0])
    rows = [_numbers(s, names, label) for s, label in zip(descriptors, labels, strict=True)]
    _check_lengths(rows, labels, None, "Give every task the same.")
    return np.array(rows, dtype=np.float64), names


def _numbers(descriptor, names, label):
    _check_kind(descriptor, names, label)
    if names is not None:
        if set(descriptor) != set(names):
            raise ValueError(
                f"{label}: its descriptor has the keys {sorted(map(str, descriptor))}, expected "
                f"{sorted(map(str, names))}."
            )
        descriptor = [descriptor[name] for name in names]
    try:
        row = np.asarray(descriptor, dtype=np.float64)
    except OverflowError as error:
        raise ValueError(
            f"{label}: its descriptor holds a number too large for float64."
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{label}: its descriptor is not numeric ({descriptor!r}). Encode categories as "
            "numbers, for example 0 and 1."
        ) from error
    row = _vector(np.atleast_1d(row), label)
    if not have_squares(row).all():
        j = int(np.argmin(have_squares(row)))
        name = repr(names[j]) if names is not None else j
        way = "Impute it before, for example by the mean over tasks."
        if np.isfinite(row[j]):
            way = "Its square is not a finite number: use other units."
        raise ValueError(f"{label}: entry {name} of its descriptor is {row[j]}. {way}")
    return row
