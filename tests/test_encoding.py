"""Tables as they come, as numbers."""

import datetime
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.estimator_checks import check_estimator

from sklearn_meta import TableEncoder

pd = pytest.importorskip("pandas", reason="most tables are dataframes")


def frame():
    return pd.DataFrame(
        {
            "price": [1.0, None, 3.0, 4.0],
            "kind": ["a", "b", None, "a"],
            "day": ["2024-01-01", "2024-02-03", None, "2025-07-01"],
            "at": pd.to_datetime(["2024-01-01", "2024-02-03", None, "2024-01-02"]),
            "zone": pd.to_datetime(["2024-01-01"] * 3 + ["2024-01-02"]).tz_localize("Asia/Tokyo"),
            "count": pd.array([1, None, 2, 3], dtype="Int64"),
            "open": [True, False, True, True],
            "size": pd.Categorical(["s", "m", "s", "l"]),
            "empty": [None] * 4,
        }
    )


def test_check_estimator():
    assert all(r["status"] != "failed" for r in check_estimator(TableEncoder(), on_fail="raise"))


def test_every_kind_of_column():
    encoder = TableEncoder().fit(frame())
    assert encoder.kinds_ == {
        "numbers": ["price", "count", "open", "empty"],
        "dates": ["day", "at", "zone"],
        "categories": ["kind", "size"],
    }
    Z = encoder.transform(frame())
    assert np.isfinite(Z).all() and Z.shape == (4, len(encoder.get_feature_names_out()))
    named = dict(zip(encoder.get_feature_names_out(), Z.T, strict=True))
    assert_array_equal(named["price"], [1, 3, 3, 4])
    assert_array_equal(named["missingindicator_price"], [0, 1, 0, 0])
    assert_array_equal(named["kind_missing"], [0, 0, 1, 0])
    assert named["day_days"][1] - named["day_days"][0] == 33
    assert_allclose(named["at_days"][[0, 1]], named["day_days"][[0, 1]])
    assert "at_day_sin" not in named  # no times of the day


def test_a_date_that_is_the_same_in_all_rows():
    X = pd.DataFrame({"size": [1.0, 2.0], "day": ["2026-01-31"] * 2})
    assert TableEncoder().fit(X).get_feature_names_out().tolist() == ["size", "day_days"]


def test_what_comes_later():
    encoder = TableEncoder().fit(frame())
    later = frame().iloc[[0]].assign(kind="never seen", price=None)
    Z = dict(zip(encoder.get_feature_names_out(), encoder.transform(later)[0], strict=True))
    assert Z["kind_a"] == Z["kind_b"] == 0 and Z["price"] == 3


def test_rare_categories_share_a_column():
    X = pd.DataFrame({"word": [f"w{i % 50}" for i in range(500)]})
    assert TableEncoder(max_categories=5).fit_transform(X).shape == (500, 5)


def test_numbers_stay():
    X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    encoder = TableEncoder().fit(X)
    assert encoder.transform(X).dtype == np.float32
    assert_array_equal(encoder.transform(X), X)
    assert_allclose(encoder.transform([[np.nan, 1, 2]]), [[np.median(X[:, 0]), 1, 2]])


def test_times_of_the_day_and_dates_of_python():
    noon = [datetime.datetime(2024, 1, 1, hour) for hour in (0, 6, 12)]
    X = pd.DataFrame({"at": noon, "on": [t.date() for t in noon]})
    encoder = TableEncoder().fit(X.astype(object))
    assert "at_day_sin" in encoder.get_feature_names_out()
    assert encoder.kinds_["dates"] == ["at", "on"]


def test_polars():
    pl = pytest.importorskip("polars", reason="reads its dataframes, too")
    X = pl.DataFrame({"price": [1.0, None, 3.0], "kind": ["a", "b", None]})
    Z = TableEncoder().fit_transform(X)
    assert_array_equal(Z, TableEncoder().fit_transform(pd.DataFrame(X.to_dict(as_series=False))))


@pytest.mark.parametrize(
    "value, error, match",
    [
        ({"a": 1}, TypeError, "column 'x' holds {'a': 1}"),
        (np.inf, ValueError, "infinity"),
        (1 + 2j, ValueError, "Complex"),
    ],
)
def test_what_is_refused(value, error, match):
    X = pd.DataFrame({"x": [1.0, 2.0, value]})
    with pytest.raises(error, match=match):
        TableEncoder().fit(X).transform(X)


def test_missing_values_of_nullable_dtypes():
    X = pd.DataFrame({"kind": ["a", None, "b"], "price": [1, None, 3], "open": [True, None, False]})
    Z = TableEncoder().fit_transform(X)
    assert_array_equal(Z, TableEncoder().fit_transform(X.convert_dtypes()))
    assert_array_equal(Z, TableEncoder().fit(X).transform(X.convert_dtypes()))


def test_names_that_are_numbers():
    """Those of a file without a header, of which the id column is taken out."""
    X = pd.DataFrame({"kind": ["a", "b", "a"], "price": [1.0, 2.0, 4.0]})
    named = X.set_axis([2, 0], axis=1)
    assert_array_equal(TableEncoder().fit_transform(named), TableEncoder().fit_transform(X))


def test_a_categorical_dtype_is_categories():
    X = pd.DataFrame({"zip": [7, 9, 9, 8], "price": pd.cut(pd.Series([1.0, 2.0, 3.0, 4.0]), 2)})
    X["zip"] = X["zip"].astype("category")
    encoder = TableEncoder().fit(X)
    assert encoder.kinds_["categories"] == ["zip", "price"]
    assert_array_equal(encoder.transform(X), encoder.transform(X.astype({"zip": int})))


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("price", "high", "'high', which is no number"),
        ("price", pd.Timestamp("2026-05-01"), "'2026-05-01.*', which is no number"),
        ("day", "31.12.2026", "'31.12.2026', which is no date"),
        ("day", "2026-02-30", "'2026-02-30', which is no date"),
        ("day", 20260501, "'20260501', which is no date"),
    ],
)
def test_a_cell_that_is_not_of_the_kind_of_its_column(column, value, words):
    X = pd.DataFrame({"price": [1.0, 2.0], "day": ["2026-01-01", "2026-01-02"]})
    encoder = TableEncoder().fit(X)
    with pytest.raises(ValueError, match=f"column '{column}' of X holds {words}"):
        encoder.transform(X.assign(**{column: value}))


def test_a_date_that_does_not_exist():
    with pytest.raises(ValueError, match="column 'day' of X holds '2026-02-30', which is no date"):
        TableEncoder().fit(pd.DataFrame({"day": ["2026-01-01", "2026-02-30"]}))


@pytest.mark.parametrize("text", ["31/01/2026", "31.1.2026 10:00", "1-31-2026", "2026/01/31"])
def test_text_that_looks_like_dates_is_told_of(text):
    X = pd.DataFrame({"price": [1.0, 2.0, 3.0], "day": [text, None, text]})
    with pytest.warns(UserWarning, match=f"column 'day' of X looks like dates, such as '{text}'"):
        assert TableEncoder().fit(X).kinds_["categories"] == ["day"]


@pytest.mark.parametrize("text", ["1/2", "10.0.0.1", "3-4-5", "2026-01", "12/2026 x"])
def test_text_that_does_not_look_like_dates_is_not_told_of(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableEncoder().fit(pd.DataFrame({"day": [text, "a"], "code": [text, None]}))
