"""Dataframes as plain arrays, as which they are saved: ``skops`` knows arrays, not dataframes."""

import sys
from io import BytesIO

import numpy as np

__all__ = ["SavesFrames", "as_arrays", "as_frame"]


class SavesFrames:
    """A record whose ``X`` may be a dataframe."""

    def __getstate__(self):
        return {**vars(self), "X": as_arrays(self.X)}

    def __setstate__(self, state):
        vars(self).update({**state, "X": as_frame(state["X"])})


def as_arrays(X):
    """A dataframe of pandas or polars as tuples of names and arrays; anything else as it is.

    The index of pandas, which nothing here looks at, is left out.
    """
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(X, pandas.DataFrame):
        columns = [_as_arrays(pandas, X.iloc[:, j]) for j in range(X.shape[1])]
        return "pandas", tuple(X.columns), tuple(columns), len(X)
    if polars is not None and isinstance(X, polars.DataFrame):
        return "polars", X.serialize()
    return X


def as_frame(X):
    """The dataframe that :func:`as_arrays` made tuples of."""
    if not isinstance(X, tuple):
        return X
    library, *parts = X
    if library == "polars":
        import polars

        return polars.DataFrame.deserialize(BytesIO(*parts))
    import pandas

    names, columns, n_rows = parts
    arrays = dict(enumerate(_as_column(pandas, *column) for column in columns))
    frame = pandas.DataFrame(arrays, index=range(n_rows))
    frame.columns = pandas.Index(names, tupleize_cols=False)
    return frame


def _as_arrays(pandas, column):
    """The type of a column, and what it is made of."""
    kind = column.dtype
    if isinstance(kind, np.dtype):
        return "numpy", column.to_numpy()
    if isinstance(kind, pandas.CategoricalDtype):
        categories = _as_arrays(pandas, kind.categories.to_series())
        return "category", column.cat.codes.to_numpy(), categories, bool(kind.ordered)
    if isinstance(kind, pandas.DatetimeTZDtype):
        return "times", column.dt.tz_convert(None).to_numpy(), str(kind.tz)
    if kind.kind in "biufO":  # with missing values, or text
        return "missing", column.astype(object).where(column.notna(), None).to_numpy(), str(kind)
    return "other", column.array  # for pickle


def _as_column(pandas, kind, values, *more):
    """The column that :func:`_as_arrays` took apart."""
    if kind == "category":
        categories, ordered = more
        return pandas.Categorical.from_codes(values, _as_column(pandas, *categories), ordered)
    if kind == "times":
        return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(*more)
    if kind == "missing":
        return pandas.array(values, dtype=more[0])
    return values
