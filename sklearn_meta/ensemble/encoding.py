"""Tables as they come (text, dates, missing values) as numbers."""

import datetime
import math
import re
import warnings
from contextlib import contextmanager
from numbers import Number
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.utils.validation import check_is_fitted, validate_data

from ..tasks.ids import is_missing
from ..tasks.validation import as_table, check_features, column_names
from ..versions import Versioned

__all__ = ["TableEncoder"]

MISSING = "missing"
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$")
OTHER_DATE = re.compile(r"(\d{1,2}([./-])\d{1,2}\2\d{4}|\d{4}([./])\d{1,2}\3\d{1,2})\b")
PARTS = ("days", "year_sin", "year_cos", "week_sin", "week_cos", "day_sin", "day_cos")
DAY = 86400.0
PERIODS = np.array([365.2425, 7.0, 1.0])  # days


class TableEncoder(TransformerMixin, Versioned, BaseEstimator):
    """Make numbers of a table with text, categories, dates and missing values.

    Numbers stay; where they are missing they become the median, with a column that says so. Dates
    (also text as ``2026-01-31``; of other orders ``fit`` warns) become days since 1970 and sine and
    cosine of the time of year, week and day. All else is categories, and so is a column of
    categorical dtype, whatever it holds: the most frequent of them have a column each. An array of
    numbers stays as it is.

    Parameters
    ----------
    max_categories : int, default=30
        Most columns that a column of categories becomes; rarer ones share one.

    Attributes
    ----------
    kinds_ : dict of str to list
        The columns that were taken as ``"numbers"``, ``"dates"`` and ``"categories"``: their names,
        or their positions where a name is no string.
    transformer_ : ColumnTransformer
        What does the work.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.

    See Also
    --------
    MetaRegressor : Uses it for its default candidates.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_meta import TableEncoder
    >>> X = pd.DataFrame({"price": [1.0, None, 3.0], "kind": ["a", "b", None]})
    >>> encoder = TableEncoder().fit(X)
    >>> encoder.get_feature_names_out().tolist()
    ['price', 'missingindicator_price', 'kind_a', 'kind_b', 'kind_missing']
    >>> encoder.transform(X)
    array([[1., 0., 1., 0., 0.],
           [2., 1., 0., 1., 0.],
           [3., 0., 0., 0., 1.]])
    """

    def __init__(self, max_categories=30) -> None:
        self.max_categories = max_categories

    def fit(self, X, y=None) -> Self:
        """Find out what each column holds.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.
        y : None
            Not used.

        Returns
        -------
        self : object
            The encoder.
        """
        X = as_table(X)
        validate_data(self, X, skip_check_array=True)
        if 0 in X.shape:
            check_features(X, where=_row)  # raises
        self.kinds_ = {"numbers": [], "dates": [], "categories": []}
        columns = _keyed(X)
        for key, column in columns.items():
            self.kinds_[_kind(*column)].append(key)
        for key in self.kinds_["categories"]:
            _warn_of_dates(*columns[key][:2])
        numbers = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        categories = OneHotEncoder(
            max_categories=self.max_categories,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        )
        text = FunctionTransformer(_as_text, feature_names_out="one-to-one")
        values = FunctionTransformer(_as_numbers, feature_names_out="one-to-one")
        self.transformer_ = ColumnTransformer(
            [
                ("numbers", make_pipeline(values, numbers), self.kinds_["numbers"]),
                ("dates", make_pipeline(_DateParts(), numbers), self.kinds_["dates"]),
                ("categories", make_pipeline(text, categories), self.kinds_["categories"]),
            ],
            verbose_feature_names_out=False,
        )
        with self._naming_cells(X):
            self.transformer_.fit(X)
        return self

    def transform(self, X) -> NDArray[Any]:
        """Make numbers of a table.

        Parameters
        ----------
        X : array-like or dataframe of shape (n_rows, n_columns)
            The rows.

        Returns
        -------
        ndarray of shape (n_rows, n_features_out)
            Numbers, nothing missing.
        """
        check_is_fitted(self)
        X = as_table(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        if isinstance(X, np.ndarray) and X.dtype in (np.float32, np.float64):
            imputer = self.transformer_.named_transformers_["numbers"][-1]
            if len(imputer.indicator_.features_) == 0 and not np.isnan(X).any():
                return check_features(X, where=_row)
        with self._naming_cells(X):
            Z = self.transformer_.transform(X)
        return check_features(Z, where=_row)

    @contextmanager
    def _naming_cells(self, X):
        """Make errors of conversion name the cell that is not of the kind of its column."""
        try:
            yield
        except (TypeError, ValueError, OverflowError) as error:
            columns = _keyed(X)
            for kind, convert in (("number", _floats), ("date", _seconds)):
                for key in self.kinds_[f"{kind}s"]:
                    name, values, _ = columns[key]
                    row = _first_refused(convert, values)
                    if row is not None:
                        named = ValueError(
                            f"column {name!r} of X holds {str(values[row])!r}, which is no {kind}: "
                            f"fit took the column for {kind}s. Correct it, or leave it empty. "
                            f"({error})"
                        )
                        named.rows = [row]  # of which task, the caller knows
                        raise named from error
            raise

    def get_feature_names_out(self, input_features=None) -> NDArray[Any]:
        """Names of the columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, where it is an array.

        Returns
        -------
        ndarray of str
            In the order of the columns.
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _row(i):
    return f"row {i}"


def _keyed(X):
    """By the key that ``ColumnTransformer`` knows it by: name, values and dtype of each column."""
    names = column_names(X) or range(X.shape[1])
    keys = names if all(isinstance(name, str) for name in names) else range(len(names))
    columns = zip(names, _columns(X), getattr(X, "dtypes", [None] * len(names)), strict=True)
    return dict(zip(keys, columns, strict=True))


def _first_refused(convert, values):
    """The first row that cannot be converted, None if all can."""
    for i in range(len(values)):
        try:
            convert(values[i : i + 1])
        except (TypeError, ValueError, OverflowError):
            return i
    return None


def _kind(name, values, dtype):
    if str(dtype).lower().startswith(("categor", "enum")):  # codes that are numbers, too
        return "categories"
    if values.dtype.kind == "c":
        raise ValueError(f"column {name!r} holds complex numbers. Complex data not supported.")
    if values.dtype.kind in "biufm":
        return "numbers"
    if values.dtype.kind == "M":
        return "dates"
    known = [value for value in values.tolist() if not is_missing(value)]
    for value in known:
        if not isinstance(value, (str, bytes, Number, datetime.date, datetime.time, np.generic)):
            raise TypeError(
                f"column {name!r} holds {value!r}: argument must be a string, a number or a date."
            )
    if all(isinstance(value, Number) for value in known):
        return "numbers"
    if all(isinstance(value, datetime.date) for value in known):
        return "dates"
    if all(isinstance(value, str) and ISO_DATE.match(value) for value in known):
        return "dates"
    return "categories"


def _warn_of_dates(name, values):
    """Warn of text like ``01/02/2026``: which part is the month, only the user knows."""
    known = [value for value in values.tolist() if not is_missing(value)]
    if known and all(isinstance(value, str) and OTHER_DATE.match(value) for value in known):
        warnings.warn(
            f"column {name!r} of X looks like dates, such as {known[0]!r}, and is taken as "
            "categories, since its order of day, month and year is not known. Convert it, as in "
            f"X[{name!r}] = pandas.to_datetime(X[{name!r}], dayfirst=True).",
            UserWarning,
            stacklevel=3,
        )


def _columns(X):
    names = column_names(X)
    return [np.asarray(X[name]) for name in names] if names is not None else list(np.asarray(X).T)


def _as_numbers(X):
    columns = [_floats(values) for values in _columns(X)]
    return np.stack(columns, axis=1) if columns else np.empty((len(X), 0))


def _floats(values):
    """Floats, NaN where a value is missing; float32 stays."""
    if values.dtype.kind == "M":
        raise TypeError("a date is no number")
    if values.dtype.kind == "m":
        return np.where(np.isnat(values), np.nan, values / np.timedelta64(1, "D"))
    if values.dtype.kind == "O":
        numbers = [math.nan if is_missing(v) else v for v in values.tolist()]
        values = np.array(numbers, dtype=np.float64)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def _as_text(X):
    """Strings; ``"missing"`` where a value is missing."""
    columns = [
        [MISSING if is_missing(value) else _plain_text(value) for value in values.tolist()]
        for values in _columns(X)
    ]
    return np.array(columns, dtype=object).T.reshape(-1, len(columns))


def _plain_text(value):
    if isinstance(value, float) and value.is_integer():  # 1.0 is 1, which one missing value made
        value = int(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _seconds(values):
    """Seconds since 1970 of a column of dates, NaN where they are missing."""
    if values.dtype.kind != "M":
        known = [None if is_missing(value) else _naive(value) for value in values.tolist()]
        values = np.array(known, dtype="datetime64[us]")
    seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
    return np.where(np.isnat(values), np.nan, seconds)


def _naive(value):
    """A date without time zone, in UTC if it had one."""
    if isinstance(value, Number):
        raise TypeError("a number is no date")
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")


class _DateParts(TransformerMixin, BaseEstimator):
    """Of every column of dates the days, and of the other ``PARTS`` those that differ in it."""

    def fit(self, X, y=None):
        parts = [_parts(values) for values in _columns(X)]
        self.varies_ = [np.nanmax(p, axis=0) > np.nanmin(p, axis=0) + 1e-9 for p in parts]
        for varies in self.varies_:
            varies[0] = True
        return self

    def transform(self, X):
        parts = [p[:, v] for p, v in zip(map(_parts, _columns(X)), self.varies_, strict=True)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(X), 0))

    def get_feature_names_out(self, names):
        pairs = zip(names, self.varies_, strict=True)
        return np.array([f"{name}_{PARTS[i]}" for name, v in pairs for i in np.flatnonzero(v)])


def _parts(values):
    """Columns ``PARTS`` of dates; of a missing one, only the first is missing."""
    days = _seconds(values) / DAY
    angle = 2 * np.pi * np.nan_to_num(days)[:, None] / PERIODS
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(len(days), -1)
    return np.column_stack([days, waves])
