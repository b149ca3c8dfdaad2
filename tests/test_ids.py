"""Task ids of every kind: brought to arrays, numbered, looked up, missing or not."""

import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_meta.tasks.ids import IdIndex, as_ids, factorize_ids, missing_ids

KINDS = {
    "int": [30, 10, 20],
    "float": [30.0, 10.0, 20.0],
    "str": ["store_30", "a", "store_20"],
    "bool": [True, False],
    "datetime64": np.array(["2024-03-01", "2023-01-01"], dtype="datetime64[D]"),
    "date": [date(2024, 3, 1), date(2023, 1, 1)],
    "datetime": [datetime(2024, 3, 1, 12), datetime(2023, 1, 1)],
    "tuple": [("a", 1), ("b", 2)],
    "mixed": ["a", 1, 2.5, date(2024, 3, 1)],
    "number and None": [3, 1, 2**60 + 1],
}


def column(values):
    """A 1-D array of ids, of Python objects where NumPy would look into them."""
    if isinstance(values[0], tuple):
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return as_ids(out)
    return as_ids(values if isinstance(values, np.ndarray) else np.array(values, dtype=object))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_numbered_and_found_again(kind):
    values = column(list(KINDS[kind]) if kind != "datetime64" else KINDS[kind])
    rows = np.concatenate([values, values[::-1], values])
    unique, codes = factorize_ids(rows)
    assert list(unique) == list(values)  # in order of first appearance
    assert [unique[c] for c in codes] == list(rows)
    index = IdIndex(unique)
    np.testing.assert_array_equal(index.positions(rows), codes)
    assert not missing_ids(rows).any()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(index)).positions(rows), codes)


@given(st.lists(st.integers(-3, 3) | st.sampled_from("abc")), st.booleans())
def test_factorize_equals_a_loop(values, as_text):
    ids = as_ids(np.array(list(map(str, values)) if as_text else values, dtype=object))
    unique, codes = factorize_ids(ids)
    number = {}
    assert codes.tolist() == [number.setdefault(v, len(number)) for v in ids.tolist()]
    assert unique.tolist() == list(number)


@given(st.lists(st.integers(-3, 3)), st.sampled_from(["int64", "float32", "U2", "M8[ns]"]))
def test_typed_ids_are_numbered_as_objects_are(values, dtype):
    ids = np.array(values, dtype="int64").astype(dtype)
    unique, codes = factorize_ids(ids)
    expected, numbers = factorize_ids(np.array([str(v) for v in ids] + [None], dtype=object)[:-1])
    assert codes.tolist() == numbers.tolist()
    assert [str(v) for v in unique] == expected.tolist()


@pytest.mark.parametrize("ids", [np.array([3, 1, 2]), np.array(["c", "a", "b"])])
def test_typed_arrays_stay_typed_and_keep_first_appearance(ids):
    rows = np.concatenate([ids, ids])
    unique, codes = factorize_ids(as_ids(rows))
    assert unique.dtype == ids.dtype
    np.testing.assert_array_equal(unique, ids)
    np.testing.assert_array_equal(codes, [0, 1, 2, 0, 1, 2])


def test_integers_and_floats_are_the_same_ids():
    index = IdIndex(as_ids(np.array([17, 4])))
    np.testing.assert_array_equal(index.positions(as_ids([4.0, np.nan, 17.0])), [1, -1, 0])
    index = IdIndex(as_ids([17.0, 4.0]))
    np.testing.assert_array_equal(index.positions(as_ids(np.array([4, 5, 17]))), [1, -1, 0])
    np.testing.assert_array_equal(
        index.positions(as_ids(np.array([4, None, 17], dtype=object))), [1, -1, 0]
    )


def test_large_integers_are_not_confused_by_rounding():
    index = IdIndex(as_ids(np.array([2**60, 2**60 + 1])))
    np.testing.assert_array_equal(index.positions(as_ids(np.array([2**60 + 1]))), [1])
    assert index.positions(as_ids(np.array([2**60 + 2])))[0] == -1


def test_text_and_numbers_are_different_ids():
    index = IdIndex(as_ids(["1", "2"]))
    np.testing.assert_array_equal(index.positions(as_ids([1, 2])), [-1, -1])


def test_longer_text_is_not_cut_to_known_text():
    index = IdIndex(as_ids(["store_1"]))
    np.testing.assert_array_equal(index.positions(as_ids(["store_11", "store_1"])), [-1, 0])


def test_timestamps_of_every_library_are_the_same_ids():
    pd = pytest.importorskip("pandas", reason="timestamps of pandas need pandas")
    noon = datetime(2024, 3, 1, 12)
    forms = [
        np.array(["2024-03-01T12"], dtype="datetime64[h]"),
        np.array([noon], dtype=object),
        [noon.replace(tzinfo=UTC)],
        [(noon + timedelta(hours=2)).replace(tzinfo=timezone(timedelta(hours=2)))],
        pd.Series([pd.Timestamp(noon)]),
        [pd.Timestamp(noon)],
        [pd.Timestamp(noon, tz="UTC")],
        pd.Series([pd.Timestamp(noon, tz="UTC")]),
        pd.Series([pd.Timestamp(noon)], dtype=object),
    ]
    index = IdIndex(as_ids(forms[0]))
    for form in forms:
        ids = as_ids(form)
        assert ids.dtype == "datetime64[ns]", form
        np.testing.assert_array_equal(index.positions(ids), [0])
    midnight = IdIndex(as_ids([date(2024, 3, 1)]))
    assert midnight.positions(as_ids([datetime(2024, 3, 1)]))[0] == 0
    assert midnight.positions(as_ids([noon]))[0] == -1


def test_nanoseconds_of_pandas_are_kept():
    pd = pytest.importorskip("pandas", reason="timestamps of pandas need pandas")
    stamps = [pd.Timestamp("2024-03-01") + pd.Timedelta(k, "ns") for k in range(3)]
    unique, _ = factorize_ids(as_ids(stamps))
    assert len(unique) == 3


def test_missing_of_every_kind():
    pd = pytest.importorskip("pandas", reason="NA of pandas needs pandas")
    na = np.array(["a", None, np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), 0, ""], dtype=object)
    np.testing.assert_array_equal(missing_ids(as_ids(na)), [0, 1, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(missing_ids(as_ids([1.0, np.nan])), [False, True])
    stamps = pd.Series([pd.Timestamp("2024-03-01"), pd.NaT])
    np.testing.assert_array_equal(missing_ids(as_ids(stamps)), [False, True])
    nullable = pd.Series([1, None, 3], dtype="Int64")
    np.testing.assert_array_equal(missing_ids(as_ids(nullable)), [False, True, False])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_dataframes(library):
    frames = pytest.importorskip(library, reason=f"reads columns of {library}")
    frame = frames.DataFrame({"id": ["b", "a", None, "b"]})
    ids = as_ids(frame["id"])
    np.testing.assert_array_equal(missing_ids(ids), [False, False, True, False])
    np.testing.assert_array_equal(IdIndex(as_ids(["a", "b"])).positions(ids), [1, 0, -1, 1])


def test_categories_of_pandas_are_ids():
    pd = pytest.importorskip("pandas", reason="categories of pandas")
    unique, codes = factorize_ids(as_ids(pd.Series(["b", "a", "b"], dtype="category")))
    assert unique.tolist() == ["b", "a"]
    assert codes.tolist() == [0, 1, 0]


def test_a_missing_id_is_never_known():
    index = IdIndex(as_ids(np.array(["a", None], dtype=object)))
    np.testing.assert_array_equal(index.positions(as_ids(["a", None])), [0, -1])


def test_one_column_is_flattened_and_two_are_an_error():
    assert as_ids([[1], [2]]).shape == (2,)
    with pytest.raises(ValueError, match=r"one-dimensional.*\(2, 2\)"):
        as_ids([[1, 2], [3, 4]])


@given(
    st.lists(st.integers(0, 9), unique=True),
    st.lists(st.integers(0, 9) | st.sampled_from("abc"), unique=True, min_size=1),
)
def test_union_keeps_places_and_appends_the_new(old, new):
    index, positions = IdIndex(as_ids(np.array(old))).union(as_ids(np.array(new, dtype=object)))
    assert len(index) == len(set(old) | set(new))
    assert [index.ids[p] for p in positions] == new
    assert list(index.ids[: len(old)]) == old
    np.testing.assert_array_equal(index.positions(as_ids(np.array(new, dtype=object))), positions)


def test_union_of_integers_and_floats_meets():
    index, positions = IdIndex(as_ids(np.array([5, 6]))).union(as_ids([6.0, 7.0]))
    np.testing.assert_array_equal(positions, [1, 2])
    np.testing.assert_array_equal(index.ids.astype(float), [5, 6, 7])


def test_union_of_times_and_text():
    stamps = as_ids(np.array(["2024-03-01"], dtype="datetime64[D]"))
    index, positions = IdIndex(as_ids(["a"])).union(stamps)
    np.testing.assert_array_equal(positions, [1])
    np.testing.assert_array_equal(index.positions(stamps), [1])
    np.testing.assert_array_equal(index.positions(as_ids(["a"])), [0])


def test_empty_index_knows_nothing():
    np.testing.assert_array_equal(IdIndex(np.empty(0)).positions(as_ids(["a", "b"])), [-1, -1])
