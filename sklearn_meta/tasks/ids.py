"""Task ids of any kind: strings, numbers, timestamps, with missing values.

Ids are compared as Python compares them (``17 == 17.0``), after timestamps of every library are
brought to one form, so that a model fitted on a column of integers still knows its tasks when the
same column arrives as floats because one value is missing.
"""

from datetime import UTC, date, datetime

import numpy as np

from .libraries import in_memory
from .rows import unmasked

__all__ = ["IdIndex", "as_ids", "factorize_ids", "has_missing_part", "is_missing", "missing_ids"]

_TYPED = {"b": "number", "i": "number", "u": "number", "f": "number", "U": "text", "M": "time"}


def is_missing(value):
    """Whether ``value`` is None, NaN, NaT or a dataframe library's NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and bool(value != value)


def has_missing_part(value):
    """Whether ``value`` is a composite id, a tuple, of which a part is missing."""
    return isinstance(value, tuple) and any(is_missing(v) or has_missing_part(v) for v in value)


def as_ids(values):
    """Bring a column of ids to a 1-D array, typed where it can be, else of Python objects."""
    values = unmasked(in_memory(values, "groups"))
    values = _list_of_ids(values) if isinstance(values, (list, tuple)) else np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 0:
        raise ValueError(
            f"task ids must be one-dimensional, one for every row, and {values.item()!r} is a "
            "single value: pass an array, or groups=[...] of the length of X. A column of X is "
            "named by task_column."
        )
    if values.ndim != 1:
        raise ValueError(
            f"task ids must be one-dimensional, got an array of shape {values.shape}. Join several "
            "columns into one id, as in groups=list(zip(a, b))."
        )
    if values.dtype.kind == "M":
        stamps = values.astype("datetime64[ns]")
        same = (stamps.astype(values.dtype) == values) | np.isnat(values)
        return stamps if same.all() else values  # nanoseconds end in the year 2262
    if values.dtype.kind in _TYPED:
        return values
    out = np.empty(len(values), dtype=object)
    out[:] = values.tolist()
    try:
        set(out)
    except TypeError as error:
        bad = next((v for v in out if type(v).__hash__ is None), out[0])
        raise TypeError(
            f"the task id {bad!r} is a {type(bad).__name__}; ids are strings, numbers, timestamps, "
            "or tuples of them."
        ) from error
    partly = [i for i, v in enumerate(out) if has_missing_part(v)]
    if partly:
        some = ", ".join(map(str, partly[:10])) + (", ..." if len(partly) > 10 else "")
        raise ValueError(
            f"a part of the task id is missing in {len(partly)} row(s) (row numbers {some}; the "
            f"first is {out[partly[0]]!r}). Complete these ids, drop the rows, or pass, in "
            "predict, None for a task that is not known."
        )
    if len(out) and all(is_missing(v) or _is_timestamp(v) for v in out):
        stamps = [np.datetime64("NaT") if is_missing(v) else _timestamp(v) for v in out]
        return np.array(stamps, dtype="datetime64[ns]")
    return out


def _list_of_ids(values):
    """An array of the entries of a list, each as it is: NumPy would make ["a", 1] all text."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and tuple not in kinds:
        return np.asarray(values)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _is_timestamp(value):
    return isinstance(value, date) and 1678 <= value.year < 2262  # what nanoseconds can hold


def _timestamp(value):
    if hasattr(value, "to_datetime64"):  # of pandas: to the nanosecond, UTC if it has a zone
        return value.to_datetime64()
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value, "ns")


def _keys(ids):
    """Ids as Python objects that can be looked up in a dict."""
    return list(ids) if ids.dtype.kind == "M" else ids.tolist()


def _exact(a, b):
    """Whether NumPy compares and joins two id arrays without rounding integers or times."""
    if a.dtype.kind == "M":
        return a.dtype == b.dtype
    return a.dtype.kind == b.dtype.kind and a.dtype.kind in _TYPED


def missing_ids(ids):
    """Mask of the missing entries of an id array."""
    if ids.dtype.kind == "f":
        return np.isnan(ids)
    if ids.dtype.kind == "M":
        return np.isnat(ids)
    if ids.dtype.kind == "O":
        return np.fromiter((is_missing(v) for v in ids), dtype=bool, count=len(ids))
    return np.zeros(len(ids), dtype=bool)


def factorize_ids(ids):
    """Number the distinct ids in the order in which they first appear.

    Returns
    -------
    unique : ndarray of shape (n_tasks,)
    codes : ndarray of shape (n_rows,), dtype intp
    """
    if ids.dtype.kind in _TYPED:
        begins = np.ones(len(ids), dtype=bool)  # rows of a task mostly stand together
        np.not_equal(ids[1:], ids[:-1], out=begins[1:])
        begins = np.flatnonzero(begins)
        unique, first, codes = np.unique(ids[begins], return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty(len(order), dtype=np.intp)
        rank[order] = np.arange(len(order))
        return unique[order], np.repeat(rank[codes], np.diff(begins, append=len(ids)))
    number = {}
    codes = np.fromiter(
        (number.setdefault(v, len(number)) for v in ids), dtype=np.intp, count=len(ids)
    )
    unique = np.empty(len(number), dtype=object)
    unique[:] = list(number)
    return unique, codes


class IdIndex:
    """An array of distinct ids and the look-up from an id to its position.

    Parameters
    ----------
    ids : ndarray of shape (n_tasks,)
        Distinct ids, as :func:`as_ids` makes them.
    """

    def __init__(self, ids):
        self.ids = ids
        self._kind = _TYPED.get(ids.dtype.kind, "object")
        self._order = None if self._kind == "object" else np.argsort(ids, kind="stable")
        self._number = None

    def __getstate__(self):
        return {"ids": self.ids}

    def __setstate__(self, state):
        self.__init__(state["ids"])

    def __len__(self):
        return len(self.ids)

    def positions(self, ids):
        """Position of every id of ``ids``; -1 where it is missing or unknown."""
        if len(self.ids) == 0:
            return np.full(len(ids), -1, dtype=np.intp)
        if _exact(self.ids, ids):
            at = np.searchsorted(self.ids, ids, sorter=self._order)
            position = self._order[np.minimum(at, len(self._order) - 1)]
            return np.where(self.ids[position] == ids, position, -1)
        if self._number is None:
            self._number = {v: i for i, v in enumerate(_keys(self.ids))}
        found = (-1 if is_missing(v) else self._number.get(v, -1) for v in _keys(ids))
        return np.fromiter(found, dtype=np.intp, count=len(ids))

    def as_other_type(self, ids):
        """How messages call the type as which all ids would be known; None if there is none."""
        values = [v.item() if isinstance(v, np.generic) else v for v in ids if not is_missing(v)]
        for name, cast in (("text", str), ("numbers", float)):
            try:
                cast_ids = [cast(v) for v in values]
            except (TypeError, ValueError, OverflowError):
                continue
            if (self.positions(as_ids(cast_ids)) >= 0).all():
                return name
        return None

    def union(self, ids):
        """The index with the new ones of the distinct ``ids`` added, and the places of ``ids``."""
        positions = self.positions(ids)
        new = positions < 0
        positions[new] = len(self.ids) + np.arange(new.sum())
        if len(self.ids) == 0:
            return IdIndex(ids), positions
        if _exact(self.ids, ids):
            return IdIndex(np.concatenate([self.ids, ids[new]])), positions
        both = np.empty(len(self.ids) + int(new.sum()), dtype=object)
        both[: len(self.ids)] = list(self.ids)
        both[len(self.ids) :] = list(ids[new])
        return IdIndex(both), positions
