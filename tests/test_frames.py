"""Dataframes as arrays, and back."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_meta.tasks.frames import as_arrays, as_frame


def test_columns_of_pandas_come_back_with_their_types():
    pd = pytest.importorskip("pandas", reason="the tables are dataframes")
    kinds = pd.Categorical(["v", None, "u"], categories=["v", "u"], ordered=True)
    days = pd.date_range("2026-01-31", periods=3, tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "number": [1.0, np.nan, 3.0],
            "small": np.arange(3, dtype="int8"),
            "text": ["x", None, "z"],
            "object": pd.Series([1, "x", None], dtype=object),
            "category": kinds,
            "category of days": pd.Categorical(days),
            "day": days.tz_localize(None),
            "day with zone": days,
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "yes": pd.array([True, None, False], dtype="boolean"),
            "string": pd.array(["x", None, "z"], dtype="string"),
            "period": pd.period_range("2026-01", periods=3, freq="M"),
            7: [1, 2, 3],
            ("two", "levels"): [1, 2, 3],
        },
        index=[5, 6, 5],
    )
    for part in (frame, frame[:0], frame[[]]):
        back = as_frame(pickle.loads(pickle.dumps(as_arrays(part))))
        pd.testing.assert_frame_equal(back, part.reset_index(drop=True), check_freq=False)


def test_columns_of_polars_come_back_with_their_types():
    pl = pytest.importorskip("polars", reason="the table is of polars")
    frame = pl.DataFrame(
        {"number": [1.0, None], "kind": ["a", "b"], "day": pl.Series([0, 1]).cast(pl.Date)},
        schema_overrides={"kind": pl.Categorical},
    )
    back = as_frame(as_arrays(frame))
    assert back.equals(frame) and back.schema == frame.schema


def test_anything_else_stays_as_it_is():
    X = np.eye(2)
    assert as_arrays(X) is X and as_frame(X) is X
    assert_array_equal(as_frame(as_arrays([[1.0]])), [[1.0]])
