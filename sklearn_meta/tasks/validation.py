"""The border: every value that a user hands over is checked here, once.

Messages name the task, the column, the row, the value, and the way out: ``where(i)`` says in words
which row of which task row i is. Rows are checked for all tasks at a time; only when something is
wrong is the culprit looked for.
"""

import sys
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array

from .ids import as_ids, is_missing
from .libraries import in_memory
from .rows import get_feature_names, num_features, safe_indexing, unmasked

MAX_COUNT = 1e6  # what the mean of weights that are numbers of rows is at most, and 1 / at least
TOO_LARGE = "which is too large for float64. Use other units, or drop the row."

__all__ = [
    "addressed",
    "as_counts",
    "as_table",
    "as_weight",
    "check_columns",
    "check_features",
    "check_finite",
    "check_known",
    "check_no_text",
    "check_target",
    "check_times",
    "column_names",
    "concat_rows",
    "have_squares",
    "plain",
    "split_columns",
    "taken_columns",
    "task_label",
    "time_kind",
    "with_address",
    "with_hint",
]


def task_label(id_, position):
    """How messages call a task: by its id, else by its place."""
    return f"task {position} (counted from 0)" if id_ is None else f"task {plain(id_)!r}"


def with_address(error, label):
    """The same error, its message beginning with the task that it is about."""
    return error if str(error).startswith(label) else _retold(error, f"{label}: {error}")


def with_hint(error, hint):
    """The same error with a way out behind its message."""
    return _retold(error, f"{error}{hint}") if hint else error


def _retold(error, text):
    try:
        return type(error)(text)
    except TypeError:  # an exception class with other arguments
        return ValueError(text)


def plain(value):
    """A NumPy scalar as the Python object that a user would type."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return value.item()
    return value


def as_table(X):
    """Anything with rows and columns; lists become arrays, sparse matrices are refused."""
    if sp.issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but dense data is required: use X.toarray(), or reduce "
            "the columns first, for example with TruncatedSVD."
        )
    if type(X).__name__.endswith("GroupBy"):
        raise TypeError(
            "X is a groupby, which has no rows of its own: pass the table itself, and the ids by "
            "groups= or task_column=."
        )
    X = in_memory(X, "X")
    if isinstance(X, np.ma.MaskedArray):
        numbers = X.dtype.kind in "biu"
        X = unmasked(X).astype(np.float64) if numbers else unmasked(X)
    if not hasattr(X, "shape"):
        X = np.asarray(X)
        if X.dtype.kind in "US":  # numbers among strings stay numbers
            X = np.asarray(X, dtype=object)
    names = column_names(X) or []
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"X has {names.count(name)} columns named {name!r}. Drop or rename all but one of them."
        )
    if len(X.shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(X.shape)}D array instead. Reshape your data either using "
            "array.reshape(-1, 1) if your data has a single feature or array.reshape(1, -1) if it "
            "contains a single sample."
        )
    return X


# -- columns ---------------------------------------------------------------------------------------


def column_names(X):
    """The column names of a dataframe as a list; None for arrays."""
    names = getattr(X, "columns", None)
    return None if names is None else list(names)


def _column_position(X, column, role):
    """Where the column stands in X; an error that names it and the columns that X has."""
    names = column_names(X)
    if isinstance(column, (bool, np.bool_)):
        raise ValueError(
            f"{role} holds {column!r}, which is no column: pass the name of a column, or its index."
        )
    if isinstance(column, (int, np.integer)) and (names is None or column not in names):
        n_features = num_features(X)
        if not -n_features <= column < n_features:
            raise ValueError(f"{role}={column} is out of range: X has {n_features} columns.")
        return int(column) % n_features
    if names is None:
        raise ValueError(
            f"{role}={column!r} is a name, but X is an array without column names. "
            "Pass a dataframe, or the index of the column. If a Pipeline outside made the array, "
            "put its transformers inside, as in HierarchicalBayes(make_pipeline(StandardScaler(), "
            "Ridge()), task_column=...); BaggingRegressor makes arrays of dataframes: give it the "
            "index."
        )
    if column not in names:
        raise ValueError(
            f"X has no column {column!r} ({role}={column!r}); its columns are "
            f"{_shortened(names)}. Add the column, or name the right one in {role}."
        )
    return names.index(column)


def _shortened(names, most=12):
    names = [str(n) for n in names]
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def taken_columns(X, task_column=None, descriptor_columns=None):
    """Places of the id column and of the descriptor columns: two lists of int."""
    of_task, side = [], []
    if task_column is not None:
        of_task = [_column_position(X, task_column, "task_column")]
    if descriptor_columns:
        side = [_column_position(X, c, "descriptor_columns") for c in descriptor_columns]
        if set(side) & set(of_task):
            raise ValueError(
                f"column {task_column!r} is named in both task_column and descriptor_columns; "
                "it can be only one of them."
            )
    return of_task, side


def split_columns(X, task_column=None, descriptor_columns=None):
    """Take the id column and the descriptor columns out of a table.

    Returns
    -------
    X : the table without these columns
    ids : ndarray of shape (n_rows,) or None
    descriptors : the descriptor columns as a table, or None
    """
    if task_column is None and not descriptor_columns:
        return X, None, None
    of_task, side = taken_columns(X, task_column, descriptor_columns)
    ids = descriptors = None
    if of_task:
        ids = as_ids(safe_indexing(X, of_task[0], axis=1))
    if side:
        descriptors = safe_indexing(X, side, axis=1)
    taken = of_task + side
    kept = [j for j in range(num_features(X)) if j not in taken]
    if not kept:
        raise ValueError("X has no feature columns left besides the task id and the descriptors.")
    return safe_indexing(X, kept, axis=1), ids, descriptors


def check_columns(X, reference, label):
    """Check that the X of a task has the columns of the first task (or of meta-training)."""
    names, n_features = reference
    found, own = num_features(X), column_names(X)
    if names is not None and own is not None:
        missing = _shortened([n for n in names if n not in own])
        unknown = _shortened([n for n in own if n not in list(names)])
    if found != n_features:
        extra = ""
        if names is not None and own is not None:
            extra = f" (missing: {missing or 'none'}; unknown: {unknown or 'none'})"
        raise ValueError(
            f"{label}: X has {found} features, expected {n_features}{extra}. All tasks need the "
            "same columns."
        )
    if names is None:
        return
    own = get_feature_names(X)
    if own is not None and list(own) != list(names):
        if missing or unknown:
            what = f"column {missing} is missing and {unknown} is unknown"
        else:
            what = f"the columns are in another order, {_shortened(own)}"
        raise ValueError(
            f"{label}: {what}; expected {_shortened(names)}. Select the columns by name, "
            "X[[...]], in the order of the first task."
        )


def concat_rows(blocks):
    """Stack tables of one kind (dataframes or arrays) on top of each other.

    Whole numbers in one and fractions in another are of one type then, as are categories.
    """
    if len(blocks) == 1:
        return blocks[0]
    blocks = _with_common_categories(blocks)
    for library, how in (("pandas", {}), ("polars", {"how": "vertical_relaxed"})):
        module = sys.modules.get(library)
        if module is not None and isinstance(blocks[0], module.DataFrame):
            if all(isinstance(b, module.DataFrame) for b in blocks):
                return module.concat(blocks, **how)
    arrays = [np.asarray(block) for block in blocks]
    try:
        return np.concatenate(arrays)
    except TypeError:  # numbers and times
        return np.concatenate([array.astype(object) for array in arrays])


def _with_common_categories(blocks):
    """Dataframes of pandas whose columns of categories have those of all; else text remains."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not all(isinstance(b, pandas.DataFrame) for b in blocks):
        return blocks
    for name, dtype in blocks[0].dtypes.items():
        if not isinstance(dtype, pandas.CategoricalDtype):
            continue
        kinds = [b.dtypes.get(name) for b in blocks]
        if all(isinstance(k, pandas.CategoricalDtype) for k in kinds) and len(set(kinds)) > 1:
            every = dict.fromkeys(category for k in kinds for category in k.categories)
            kind = pandas.CategoricalDtype(list(every))
            blocks = [b.astype({name: kind}) for b in blocks]
    return blocks


# -- rows ------------------------------------------------------------------------------------------


def check_features(X, *, where, dtype=(np.float64, np.float32), allow_nan=False, min_rows=1):
    """Bring a table of features to a 2-D float array.

    ``allow_nan``: the wrapped estimator copes with missing values itself; ``min_rows=0`` allows an
    empty support.
    """
    check_times(X)
    try:
        out = check_array(
            X, dtype=list(dtype), ensure_all_finite=False, ensure_min_samples=min_rows
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise addressed(error, X, where, numeric=True) from error
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(np.sum(out, dtype=np.float64))
    if not finite:
        bad = np.isinf(out) if allow_nan else ~np.isfinite(out)
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise _not_finite(where(i), _column_name(X, j), out[i, j])
    _check_size(out, lambda j: f"column {_column_name(X, j)} of X", where)
    return out


TIMES = {np.datetime64, np.timedelta64}  # NumPy makes numbers of them in an array of objects


def check_times(X):
    """Refuse columns of times, which would be counted in an unknown unit."""
    dtypes = getattr(X, "dtypes", None)
    if dtypes is None:
        dtypes = [X.dtype] * num_features(X) if hasattr(X, "dtype") else []
    kinds = [str(dtype).lower() for dtype in dtypes]
    cells = np.asarray(X) if "object" in kinds and np.ndim(X) == 2 else None
    for j, (dtype, kind) in enumerate(zip(dtypes, kinds, strict=True)):
        if kind == "object" and cells is not None:
            of_times = {type(value) for value in cells[:, j]} & TIMES
            dtype = kind = next((cls.__name__ for cls in of_times), kind)
        if kind.startswith(("date", "time", "duration", "period")):
            raise TypeError(
                f"column {_column_name(X, j)} of X holds times ({dtype}), and numbers are needed. "
                "Convert it, with TableEncoder in a Pipeline inside, or as in "
                "(t - t.min()) / np.timedelta64(1, 'D'); if it is the task id, pass "
                f"task_column={_column_name(X, j)}."
            )


def have_squares(values):
    """Which numbers of float64 are finite, as are their squares."""
    return np.abs(values) <= np.sqrt(np.finfo(np.float64).max)


def _check_size(values, name, where):
    """Refuse numbers whose squares overflow: variances, distances and losses would not be finite.

    ``name(j)`` is what messages call a column.
    """
    if values.dtype.kind != "f" or values.size == 0:
        return
    largest = np.sqrt(np.finfo(values.dtype).max)
    if -largest <= values.min() and values.max() <= largest:
        return
    large = np.abs(values) > largest
    if large.any():  # else there is a NaN that may be there
        i, j = np.argwhere(large)[0]
        way = "Use other units" + (", or float64" if values.dtype == np.float32 else "")
        raise ValueError(
            f"{where(i)}: {name(j)} holds {values[i, j]:g}, whose square is not a finite number in "
            f"{values.dtype}. {way}, or drop the row."
        )


def check_finite(X, where):
    """Check the columns of a dataframe for NaN, infinity and complex numbers."""
    for j, name in enumerate(column_names(X)):
        column = np.asarray(X[name])
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            i = int(np.argmin(np.isfinite(column)))
            raise _not_finite(where(i), _column_name(X, j), column[i])
        if column.dtype.kind == "c":
            raise addressed(ValueError("Complex data not supported"), X, where)
        _check_size(column[:, None], lambda _, j=j: f"column {_column_name(X, j)} of X", where)


def check_no_text(X, where):
    """Refuse numbers that a dataframe holds as text."""
    for j, name in enumerate(column_names(X)):
        column = np.asarray(X[name])
        text = [isinstance(v, str) for v in column] if column.dtype.kind in "OU" else []
        if any(text):
            i = text.index(True)
            raise ValueError(
                f"{where(i)}: column {_column_name(X, j)} of X holds {_shown(column[i])}, a number "
                f"as text. Convert the column, as in X.astype(float)."
            )


def check_known(y, classes, where, saying):
    """Refuse labels that are none of the classes; ``saying`` introduces these in the message."""
    same = time_kind(y) == time_kind(classes)  # NumPy makes times of integers beside times
    unknown = ~np.isin(y, classes) if same else np.ones(len(y), dtype=bool)
    if unknown.any():
        i = int(np.argmax(unknown))
        raise ValueError(f"{where(i)}: y is {plain(y[i])!r}{saying} {classes.tolist()}.")


def time_kind(y):
    """Which times labels are; empty if they are none."""
    return y.dtype.kind if y.dtype.kind in "mM" else ""


def _not_finite(where, column, value):
    kind, way = "infinity", "Replace it, or drop the row."
    if value is None or value != value:
        kind = "NaN"
        way = (
            "Impute it, with TableEncoder or SimpleImputer in a Pipeline inside, drop the row, or "
            "use an estimator that accepts NaN."
        )
    return ValueError(f"{where}: column {column} of X contains {kind}. {way}")


def _column_name(X, j):
    names = column_names(X)
    return repr(names[j]) if names is not None else str(j)


def addressed(error, X, where, numeric=False, transformed=False):
    """An error about a table, with the cell that it is about, where that can be found.

    Parameters
    ----------
    error : Exception
        Of scikit-learn or of a wrapped estimator.
    X : array or dataframe
    where : callable
    numeric : bool, default=False
        Whether all cells must be numbers; else only cells that the error quotes are blamed.
    transformed : bool, default=False
        Whether the error is about what transformers made of X: a cell of X is a better address
        than the one it has.
    """
    if isinstance(error, OverflowError):
        error = ValueError(f"a number is too large for float64. ({error})")
    text, values = str(error), np.asarray(X)
    has_address = " of X holds " in text or " of X contains " in text
    if has_address and not transformed:
        return error
    if isinstance(error, np.linalg.LinAlgError):
        return _of_size(error, X, values, where)
    if text.startswith("Sparse data") and column_names(X) is not None:
        return TypeError(
            f"{where(0)}: the columns of X are sparse, and must be dense: X.sparse.to_dense()."
        )
    if text.startswith("Complex data") and values.dtype.kind == "c" and not values.imag.any():
        return ValueError("Complex data not supported: no imaginary part is needed, pass X.real.")
    finite = values.dtype.kind in "biu" or values.dtype.kind == "f" and np.isfinite(values).all()
    if values.ndim != 2 or finite:  # no cell is to blame
        return error
    for i, j in np.ndindex(*values.shape):
        value = plain(values[i, j])
        if not _is_blamed(value, text, numeric):
            continue
        column = _column_name(X, j)
        at = f"{where(i)}: column {column} of X holds {_shown(value)}"
        if isinstance(value, int):
            return ValueError(f"{at}, {TOO_LARGE}")
        if isinstance(value, complex):
            return ValueError(
                f"{at}. Complex data not supported: use its real and imaginary parts as two "
                "columns."
            )
        if value is None or isinstance(value, float):
            return _not_finite(where(i), column, value)
        way = "Encode it, with TableEncoder or a ColumnTransformer in a Pipeline inside"
        if "unknown categor" in text:
            way = "Set handle_unknown='ignore' on the encoder to let new categories pass"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return kind(
            f"{at}, a {type(value).__name__}. {way}; if it is the task id, pass "
            f"task_column={column}. ({text[:200]})"
        )
    return error


def _of_size(error, X, values, where):
    """What a matrix that cannot be solved says of the rows: the largest number is named."""
    at = "X holds numbers"
    if values.dtype.kind in "biuf" and values.size:
        size = np.nan_to_num(np.abs(values.astype(np.float64)))
        i, j = np.unravel_index(np.argmax(size), size.shape)
        if size[i, j] * np.sqrt(np.finfo(np.float64).eps) < 1:  # products with 1 keep their digits
            return ValueError(
                f"{error}: the rows, or how far they are from those of meta-training, leave no "
                "digits to compute with. Use the units of meta-training, or a StandardScaler in a "
                "Pipeline."
            )
        at = f"{where(i)}: column {_column_name(X, j)} of X holds {values[i, j]:g}"
    return ValueError(
        f"{at}, too far from the other rows, or from those of meta-training, to compute with. Use "
        f"the same units for all rows, or a StandardScaler in a Pipeline. ({error})"
    )


def _shown(value):
    """A value in a message, the middle left out where it is long."""
    if isinstance(value, int) and abs(value) > 10**30:  # Python may refuse to print it
        return f"an integer of {value.bit_length()} bits"
    text = repr(plain(value))
    return text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"


def _is_blamed(value, text, numeric):
    """Whether an error is about this cell."""
    if isinstance(value, complex):
        return value.imag != 0
    if value is None:
        return "NaN" in text
    if isinstance(value, float):
        return value != value and "NaN" in text or abs(value) == np.inf and "infinity" in text
    if numeric or isinstance(value, (int, np.number)):
        return not _is_number(value)
    if isinstance(value, (str, bytes)):
        return repr(value) in text
    return type(value).__name__ in text


def _is_number(value):
    if isinstance(value, (complex, np.complexfloating)):
        return value.imag == 0
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def check_target(y, *, classifier, where):
    """Bring the targets to a 1-D array: numbers for a regressor, labels for a classifier."""
    values = np.asarray(unmasked(in_memory(y, "y")))
    if values.ndim == 2 and values.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_rows,), for example using ravel().",
            DataConversionWarning,
            stacklevel=4,
        )
        values = values[:, 0]
    if values.ndim == 0:
        raise ValueError(
            f"y should be a 1d array, and {_shown(values.item())} is a single value: pass one "
            "target for every row of X."
        )
    if values.dtype.kind == "V":
        raise ValueError(f"y is a structured array ({values.dtype}): pass one of its fields.")
    if values.ndim != 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {values.shape} instead; several "
            "targets at a time are not supported: make one task, or one model, of each."
        )
    missing = [i for i, v in enumerate(values) if is_missing(v)] if values.dtype.kind == "O" else []
    if missing:
        raise ValueError(
            f"{where(missing[0])}: Input y contains NaN. Drop the rows without a target."
        )
    if values.dtype.kind in "cO":
        bad = [i for i, v in enumerate(values) if isinstance(v, (complex, np.complexfloating))]
        bad = [i for i in bad if values[i].imag] or bad
        if bad:
            raise ValueError(
                f"{where(bad[0])}: Complex data not supported: y is {plain(values[bad[0]])!r}."
            )
    if classifier:
        return _labels(values, where)
    if values.dtype.kind in "mM":
        example = "y" if values.dtype.kind == "m" else "(y - y.min())"
        raise ValueError(
            f"y holds times ({values.dtype}), and a regressor needs numbers: convert them, as in "
            f"{example} / np.timedelta64(1, 'D')."
        )
    if values.dtype.kind in "OUS":
        text = (str, bytes)
        bad = [i for i, v in enumerate(values) if isinstance(v, text) or not _is_number(v)]
        if bad:
            at = f"{where(bad[0])}: y is {_shown(values[bad[0]])}"
            if isinstance(values[bad[0]], int):
                raise ValueError(f"{at}, {TOO_LARGE}")
            raise ValueError(
                f"{at}, and a regressor needs numbers. Convert it, as in y.astype(float); for "
                "labels, take MetaClassifier or wrap a classifier."
            )
        values = values.astype(np.float64)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    _check_finite_target(values, where)
    _check_size(values[:, None], lambda j: "y", where)
    return values


def _labels(values, where):
    """Labels as an array of one type, where they are numbers or booleans of one type."""
    _check_finite_target(values, where)
    if values.dtype.kind == "S":
        raise TypeError(
            f"{where(0)}: y is {plain(values[0])!r}: labels that are bytes are not supported. "
            "Convert them to text, as in y.astype(str)."
        )
    if values.dtype.kind == "O" and len(values):
        kinds = {type(plain(value)) for value in values}
        if kinds == {bool}:
            return values.astype(bool)
        if kinds <= {int, float}:
            large = [
                i for i, v in enumerate(values) if isinstance(v, int) and not -(2**63) <= v < 2**63
            ]
            _check_whole(values, large, where)
            values = values.astype(np.int64 if kinds == {int} else np.float64)
            _check_finite_target(values, where)
            return values
    if values.dtype == np.uint64:
        _check_whole(values, np.flatnonzero(values >= 2**63), where)
        return values.astype(np.int64)
    return values


def _check_whole(values, large, where):
    """Refuse labels that 64 bits do not hold: among others, some would be taken for each other."""
    if len(large):
        raise ValueError(
            f"{where(large[0])}: y is {_shown(plain(values[large[0]]))}, too large for a label "
            "that is a number. Pass text, as in list(map(str, y))."
        )


def _check_finite_target(values, where):
    """Refuse targets that are NaN or infinite."""
    if values.dtype.kind != "f" or np.isfinite(np.sum(values, dtype=np.float64)):
        return
    bad = ~np.isfinite(values)
    if bad.any():
        i = int(np.argmax(bad))
        kind = f"infinity or a value too large for dtype({str(values.dtype)!r})"
        kind = "NaN" if np.isnan(values[i]) else kind
        raise ValueError(f"{where(i)}: Input y contains {kind}. Drop the rows without a target.")


def as_weight(sample_weight, n_rows, *, where=lambda i: f"row {i}", all_zero=False):
    """Bring row weights to a float array: finite, not negative, one for each row; None stays.

    A single number is that of all rows; ``all_zero`` allows that no row has any weight.
    """
    if sample_weight is None:
        return None
    sample_weight = unmasked(sample_weight)
    try:
        weight = np.asarray(sample_weight)
        if weight.dtype.kind in "cmM":
            raise ValueError(f"sample_weight must be numbers, not {weight.dtype}.")
        weight = weight.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        bad = [i for i, w in enumerate(sample_weight) if isinstance(w, str) or not _is_number(w)]
        at = f"{where(bad[0])}: " if bad else ""
        raise ValueError(f"{at}sample_weight must be numbers. ({error})") from error
    if weight.ndim == 0:
        weight = np.full(n_rows, weight)
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D.")
    if len(weight) != n_rows:
        raise ValueError(f"sample_weight has {len(weight)} entries for {n_rows} rows of X.")
    bad = ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(
            f"{where(i)}: sample_weight is {weight[i]}; weights must be finite and not negative."
        )
    if n_rows and not all_zero and not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def as_counts(weight):
    """Weights as numbers of rows: scaled to a mean of 1 where they cannot be such.

    A weight of 2 means that a row is there twice; a mean of 1e20 or 1e-15 can only be a unit.
    """
    if weight is None or not weight.any():
        return weight
    largest = weight.max()
    mean = largest * np.mean(weight[weight > 0] / largest)
    return weight if 1 / MAX_COUNT <= mean <= MAX_COUNT else weight / mean
