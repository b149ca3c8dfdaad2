"""Tasks: what is accepted, how long tables are split, padded batches, support and query."""

from dataclasses import FrozenInstanceError
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from sklearn_meta import Task, tasks_from_table
from sklearn_meta.tasks import (
    TaskTable,
    as_tasks,
    is_task_collection,
    padded_batches,
    split_support,
)
from sklearn_meta.tasks.side import stack_descriptors

X, Y = np.arange(8.0).reshape(4, 2), np.arange(4.0)


# -- Task ------------------------------------------------------------------------------------------


def test_task_is_frozen_and_no_sequence():
    task = Task(X, Y, id="a")
    with pytest.raises(FrozenInstanceError):
        task.id = "b"
    with pytest.raises(TypeError):
        len(task)
    with pytest.raises(TypeError):
        iter(task)
    with pytest.raises(TypeError):
        Task(X, Y, "a")  # all but X and y by keyword
    assert repr(task) == "Task(id='a', n_rows=4)"


def test_lists_of_tasks_go_through_splitters():
    tasks = [Task(X, Y, id=i) for i in range(6)]
    train, test = next(KFold(3).split(tasks))
    assert len(train) == 4
    assert len(test) == 2


@pytest.mark.parametrize("as_frame", [False, "pandas", "polars"])
def test_rows_of_a_task(as_frame):
    x = X
    if as_frame:
        frames = pytest.importorskip(as_frame, reason=f"tasks as {as_frame} frames")
        x = frames.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    task = Task(x, Y.tolist(), id="a", sample_weight=[1, 2, 3, 4], descriptor=[5], support=[0])
    part = task.rows(np.array([3, 1, 1]))
    np.testing.assert_array_equal(np.asarray(part.X), X[[3, 1, 1]])
    np.testing.assert_array_equal(part.y, Y[[3, 1, 1]])
    np.testing.assert_array_equal(part.sample_weight, [4, 2, 2])
    assert (part.id, part.descriptor, part.support) == ("a", [5], None)
    assert type(part.X) is type(x)


# -- as_tasks --------------------------------------------------------------------------------------


ACCEPTED = {
    "pairs": ([(X, Y), (X, Y)], [None, None]),
    "tuple of pairs and lists": (((X, Y), [X, Y]), [None, None]),
    "tasks": ([Task(X, Y, id="a"), Task(X, Y)], ["a", None]),
    "tasks and pairs": ([Task(X, Y, id="a"), (X, Y)], ["a", None]),
    "mapping of pairs": ({"a": (X, Y), 3: (X, Y)}, ["a", 3]),
    "mapping of tasks": ({"a": Task(X, Y), "b": Task(X, Y, id="own")}, ["a", "own"]),
    "iterator": (iter([(X, Y)]), [None]),
    "generator": (((X, Y) for _ in range(3)), [None] * 3),
    "array of tasks": (np.array([Task(X, Y, id=1)], dtype=object), [1]),
    "nothing": ([], []),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_everything_that_is_accepted(kind):
    tasks, ids = ACCEPTED[kind]
    out = list(as_tasks(tasks))
    assert [task.id for task in out] == ids
    assert all(isinstance(task, Task) and task.X is X and task.y is Y for task in out)


def test_tasks_stream():
    read = []

    def stream():
        for i in range(3):
            read.append(i)
            yield Task(X, Y, id=i)

    tasks = as_tasks(stream())
    next(tasks)
    assert read == [0]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (3, "sequence or an iterator.*got int"),
        ("ab", "sequence or an iterator.*got str"),
        ([(X, Y), X], r"task 1 \(counted from 0\) is of type ndarray.*groups"),
        ([(X, Y, Y)], r"task 0 .* is of type tuple"),
        ({"a": X}, "task 'a' is of type ndarray"),
    ],
)
def test_what_is_not_accepted(tasks, message):
    with pytest.raises(TypeError, match=message):
        list(as_tasks(tasks))


@pytest.mark.parametrize("ids", [("a", "b", "a"), (1, 2, 1.0)])
def test_an_id_twice_is_an_error(ids):
    with pytest.raises(ValueError, match=r"occurs twice, as tasks 0 and 2 .*merge the rows"):
        list(as_tasks([Task(X, Y, id=id_) for id_ in ids]))


def test_task_collections_are_told_from_tables():
    task = Task(X, Y)
    for tasks in ([task], (task,), np.array([task], dtype=object), {"a": (X, Y)}):
        assert is_task_collection(tasks)
    for table in (X, X.tolist(), [], Y):
        assert not is_task_collection(table)


# -- long tables -----------------------------------------------------------------------------------


def long_table(library=None):
    """Rows of tasks "b", "a", "c", interleaved; ``size`` belongs to the task."""
    data = {
        "id": ["b", "a", "b", "c", "a", "b"],
        "x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        "size": [10.0, 20.0, 10.0, 30.0, 20.0, 10.0],
    }
    if library is None:
        return np.array([*zip(*data.values(), strict=True)], dtype=object)
    return pytest.importorskip(library, reason=f"tables of {library}").DataFrame(data)


@pytest.mark.parametrize("library", [None, "pandas", "polars"])
def test_table_by_columns(library):
    names = ["id", "x", "size"] if library else [0, 1, 2]
    tasks = tasks_from_table(
        long_table(library), np.arange(6), task_column=names[0], descriptor_columns=[names[2]]
    )
    assert [task.id for task in tasks] == ["b", "a", "c"]
    assert [np.asarray(task.X).ravel().tolist() for task in tasks] == [[0, 2, 5], [1, 4], [3]]
    assert [task.y.tolist() for task in tasks] == [[0, 2, 5], [1, 4], [3]]
    assert [task.descriptor for task in tasks] == [{names[2]: v} for v in (10.0, 20.0, 30.0)]
    if library:
        assert list(tasks[0].X.columns) == ["x"]


def test_table_by_groups():
    tasks = tasks_from_table(X, Y, groups=[7, 5, 7, 7])
    assert [task.id for task in tasks] == [7, 5]
    assert all(type(task.id) is int for task in tasks)
    np.testing.assert_array_equal(tasks[0].X, X[[0, 2, 3]])
    assert tasks[0].descriptor is None


def test_table_by_timestamps():
    stamps = [
        datetime(2024, 3, 1),
        datetime(2023, 1, 1),
        datetime(2024, 3, 1),
        datetime(2024, 3, 1),
    ]
    tasks = tasks_from_table(X, Y, groups=stamps)
    assert [len(task.y) for task in tasks] == [3, 1]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_every_row_is_in_its_task(ids):
    rows = np.arange(len(ids))
    tasks = tasks_from_table(rows[:, None], rows, groups=ids)
    assert [task.id for task in tasks] == list(dict.fromkeys(ids))
    for task in tasks:
        np.testing.assert_array_equal(task.y, np.flatnonzero(np.array(ids) == task.id))
        np.testing.assert_array_equal(task.X[:, 0], task.y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "Pass the task ids"),
        ({"groups": [1, 2]}, "2 task ids for 4 rows"),
        ({"groups": [1, None, 2, None]}, r"2 row\(s\) is missing \(row numbers 1, 3\)"),
        ({"groups": [1, np.nan, 2, 2]}, r"1 row\(s\) is missing \(row numbers 1\)"),
        ({"task_column": 5}, "task_column=5 is out of range: X has 2 columns"),
        ({"task_column": "id"}, "'id' is a name, but X is an array"),
        ({"task_column": 0, "descriptor_columns": [0]}, "both task_column and descriptor_columns"),
        ({"task_column": 0, "descriptor_columns": [1]}, "no feature columns left"),
        ({"groups": [1, 1, 2, 2], "descriptor_columns": [1]}, "task 1: descriptor column 1 is not"),
    ],
    ids=str,
)
def test_wrong_tables_have_an_address(params, message):
    with pytest.raises(ValueError, match=message):
        tasks_from_table(X, Y, **params)


def test_missing_column_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no column 'store'.*its columns are id, x, size"):
        tasks_from_table(long_table("pandas"), np.arange(6), task_column="store")


# -- descriptors -----------------------------------------------------------------------------------


def test_descriptors_are_stacked():
    table, names = stack_descriptors([[1, 2], np.array([3.0, 4.0])], ["t0", "t1"])
    np.testing.assert_array_equal(table, [[1, 2], [3, 4]])
    assert names is None
    table, names = stack_descriptors([{"a": 1, "b": 2}, {"b": 4, "a": 3}], ["t0", "t1"])
    np.testing.assert_array_equal(table, [[1, 2], [3, 4]])
    assert names == ["a", "b"]
    table, _ = stack_descriptors([{"a": 1, "b": 2}], ["t0"], names=["b", "a"])
    np.testing.assert_array_equal(table, [[2, 1]])
    np.testing.assert_array_equal(stack_descriptors([3.0, 4.0], ["t0", "t1"])[0], [[3], [4]])
    assert stack_descriptors([None, None], ["t0", "t1"]) == (None, None)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (None, "t1 has no descriptor, but others have"),
        ({"a": 1, "c": 2}, r"t1: its descriptor has the keys \['a', 'c'\], expected \['a', 'b'\]"),
        ([1, 2], "t1: descriptors must be all mappings or all arrays"),
        ({"a": 1, "b": "red"}, "t1: its descriptor is not numeric"),
        ({"a": 1, "b": np.nan}, "t1: entry 'b' of its descriptor is nan"),
    ],
    ids=str,
)
def test_wrong_descriptors_have_an_address(second, message):
    with pytest.raises(ValueError, match=message):
        stack_descriptors([{"a": 1, "b": 2}, second], ["t0", "t1"])


def test_descriptors_of_other_lengths_have_an_address():
    with pytest.raises(ValueError, match="t1: its descriptor has 1 entries, expected 2"):
        stack_descriptors([[1, 2], [1]], ["t0", "t1"])
    with pytest.raises(ValueError, match=r"t1: its descriptor has shape \(1, 2\)"):
        stack_descriptors([[1, 2], [[1, 2]]], ["t0", "t1"])


# -- stored form -----------------------------------------------------------------------------------


def test_task_table_sorts_rows_by_task():
    ids = np.array(["b", "a", "b", "a"])
    table = TaskTable.from_rows(X, Y, ids, sample_weight=Y + 1, side=Y[[1, 2, 1, 2], None])
    assert table.ids.tolist() == ["b", "a"]
    np.testing.assert_array_equal(table.row_numbers, [0, 2, 1, 3])
    np.testing.assert_array_equal(table.X, X[[0, 2, 1, 3]])
    np.testing.assert_array_equal(table.sample_weight, [1, 3, 2, 4])
    np.testing.assert_array_equal(table.descriptors, [[1], [2]])
    np.testing.assert_array_equal(table.sizes, [2, 2])
    np.testing.assert_array_equal(table.codes, [0, 0, 1, 1])
    assert table.where(1) == "task 'b', row 2"
    np.testing.assert_array_equal(table.task(1)[1], [1, 3])
    block = table.block(1, 2)
    assert (block.n_tasks, block.ids.tolist()) == (1, ["a"])
    np.testing.assert_array_equal(block.task(0)[0], table.task(1)[0])


sizes_lists = st.lists(st.integers(0, 12), min_size=1, max_size=12)


def make_table(sizes, weighted):
    n = sum(sizes)
    rows = np.arange(1.0, n + 1)
    weight = rows % 3 if weighted else None
    offsets = np.append(0, np.cumsum(sizes))
    return TaskTable(np.column_stack([rows, -rows]), 10 * rows, offsets, sample_weight=weight)


@given(sizes_lists, st.booleans(), st.sampled_from([2, 20, 2**20]))
def test_padded_batches_hold_every_row_once(sizes, weighted, max_cells):
    table = make_table(sizes, weighted)
    seen = []
    for batch in padded_batches(table, max_cells):
        n_tasks, n_rows, n_features = batch.X.shape
        assert batch.y.shape == batch.weight.shape == (n_tasks, n_rows)
        assert n_features == 2
        assert batch.X.size <= max_cells or n_tasks == 1
        sizes_here = table.sizes[batch.tasks]
        assert sizes_here.max() <= n_rows <= sizes_here.min() + max(1, sizes_here.min() // 4)
        for i, t in enumerate(batch.tasks):
            X, y, weight = table.task(t)
            weight = np.ones(len(y)) if weight is None else weight
            np.testing.assert_array_equal(batch.X[i, : len(y)], X)
            np.testing.assert_array_equal(batch.y[i, : len(y)], y)
            np.testing.assert_array_equal(batch.weight[i, : len(y)], weight)
            for part in (batch.X, batch.y, batch.weight):
                assert not part[i, len(y) :].any()
            seen.append(t)
    assert sorted(seen) == list(range(len(sizes)))


def test_equal_tasks_are_not_copied():
    table = make_table([3, 3, 3], False)
    (batch,) = padded_batches(table)
    assert np.shares_memory(batch.X, table.X)


# -- episodes --------------------------------------------------------------------------------------


@given(st.integers(0, 20), st.integers(0, 25), st.integers(0, 99))
def test_support_and_query_part_the_rows(n_rows, n_shots, seed):
    task = Task(np.zeros((n_rows, 1)), np.zeros(n_rows))
    support, query = split_support(task, n_shots, np.random.default_rng(seed))
    assert len(support) == min(n_shots, n_rows)
    assert sorted([*support, *query]) == list(range(n_rows))


@pytest.mark.parametrize(
    "fixed", [None, [1, 4, 2, 7], np.arange(10) % 3 == 0], ids=["free", "list", "mask"]
)
def test_supports_are_nested(fixed):
    task = Task(np.zeros((10, 1)), np.zeros(10), support=fixed)
    supports = [split_support(task, k, np.random.default_rng(3))[0] for k in range(5)]
    for few, more in zip(supports[:-1], supports[1:], strict=True):
        np.testing.assert_array_equal(more[: len(few)], few)


@pytest.mark.parametrize(
    "fixed",
    [[1, 4, 7], np.array([1, 4, 7]), np.isin(np.arange(10), [1, 4, 7])],
    ids=["list", "array", "mask"],
)
@pytest.mark.parametrize("n_shots", [0, 2, 3, 5])
def test_fixed_support_is_never_query(fixed, n_shots):
    task = Task(np.zeros((10, 1)), np.zeros(10), support=fixed)
    support, query = split_support(task, n_shots, np.random.default_rng(0))
    assert set(support) <= {1, 4, 7}
    assert len(support) == min(n_shots, 3)
    np.testing.assert_array_equal(query, [0, 2, 3, 5, 6, 8, 9])


def test_draws_depend_on_the_generator_only():
    task = Task(np.zeros((30, 1)), np.zeros(30))
    draws = [split_support(task, 5, np.random.default_rng(s))[0].tolist() for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("y", [[0.0, 1.0], [0.0] * 4, 1.0, None])
def test_a_long_table_has_a_target_in_every_row(y):
    with pytest.raises(ValueError, match="^X has 3 rows, and y (has|is) "):
        tasks_from_table(np.eye(3), y, groups=[0, 0, 1])


def test_a_long_table_without_rows_has_no_tasks():
    assert tasks_from_table(np.empty((0, 2)), [], groups=[]) == []
