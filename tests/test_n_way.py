"""N-way tasks from a table of labelled rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression

from sklearn_meta import MAML, few_shot_scorer
from sklearn_meta.datasets import make_digits_tasks, make_n_way_tasks
from sklearn_meta.tasks.task import fixed_support

LABELS = np.array(["owl", "cat", "dog", "hen", "ape"])


def table(n_rows=12, n_classes=5, seed=0):
    """Clouds of points; the label of a row can be read from its first column."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(n_classes), n_rows))
    X = np.column_stack([codes, rng.standard_normal((len(codes), 2))])
    return X, LABELS[codes]


def test_tasks_show_some_classes_by_so_many_rows():
    X, y = table()
    tasks = make_n_way_tasks(X, y, 40, 3, 7, classes=["cat", "dog", "hen", "ape"], random_state=0)
    assert [task.id for task in tasks] == list(range(40))
    for task in tasks:
        labels, counts = np.unique(task.y, return_counts=True)
        assert counts.tolist() == [7, 7, 7]
        assert "owl" not in labels
        assert len(np.unique(task.X, axis=0)) == 21  # without replacement
        assert_array_equal(LABELS[task.X[:, 0].astype(int)], task.y)
    assert len({tuple(np.unique(task.y)) for task in tasks}) == 4  # all triples of four
    again = make_n_way_tasks(X, y, 40, 3, 7, classes=["ape", "hen", "dog", "cat"], random_state=0)
    assert_array_equal(again[7].X, tasks[7].X)  # classes are a set


def test_fixed_supports_are_what_scorers_adapt_to():
    X, y = table()
    tasks = make_n_way_tasks(X, y, 10, 2, 6, n_shots=2, random_state=0)
    for task in tasks:
        support = fixed_support(task)
        assert np.unique(task.y[support], return_counts=True)[1].tolist() == [2, 2]
        assert support.sum() == 4
    model = MAML(LogisticRegression(), classes="per_task", max_iter=5, random_state=0)
    model.meta_fit(tasks)
    score = few_shot_scorer("accuracy", n_shots=2)(model, tasks)
    right = [
        np.mean(model.adapt(t.X[s], t.y[s]).predict(t.X[~s]) == t.y[~s])
        for t, s in ((t, fixed_support(t)) for t in tasks)
    ]
    assert score == pytest.approx(np.mean(right))


@pytest.mark.parametrize(
    "labels", [[3, 1, 7], [True, False], [0.5, 2.0], ["a", 1, (2, 3)]], ids=str
)
def test_labels_of_any_type_stay_what_they_are(labels):
    y = np.empty(20, dtype=object)
    y[:] = [labels[i % len(labels)] for i in range(20)]
    if len({type(label) for label in labels}) == 1:
        y = np.array(y.tolist())
    X = np.arange(20.0)[:, None]
    for task in make_n_way_tasks(X, y, 5, 2, 3, random_state=0):
        assert task.y.dtype == y.dtype
        assert all(task.y[i] == y[int(task.X[i, 0])] for i in range(6))


def test_a_dataframe_stays_one():
    X, y = table()
    frame = pd.DataFrame(X, columns=["code", "size", "price"]).assign(town="north")
    task = make_n_way_tasks(frame, pd.Series(y), 3, random_state=0, n_rows=4)[2]
    assert task.X.columns.tolist() == ["code", "size", "price", "town"]
    plain = make_n_way_tasks(X, y.tolist(), 3, random_state=0, n_rows=4)[2]
    assert_array_equal(task.X[["code", "size", "price"]], plain.X)
    assert_array_equal(task.y, plain.y)


def test_digits_are_such_tasks():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    digits = make_digits_tasks(4, 3, 5, classes=(1, 3, 5, 7), random_state=0)
    tasks = make_n_way_tasks(X / 16, y, 4, 3, 5, classes=[7, 5, 3, 1], random_state=0)
    for a, b in zip(digits, tasks, strict=True):
        assert_array_equal(a.X, b.X)
        assert_array_equal(a.y, b.y)


MISSING = np.array(["cat"] * 5 + [None] + ["dog"] * 6, dtype=object)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"classes": ["cat", "bee"]}, "classes: 'bee' is not among the labels of y"),
        ({"n_way": 6}, r"n_way=6: there are 5 classes, \['ape', 'cat'"),
        ({"n_way": 0}, "n_way=0"),
        ({"n_rows": 13}, "n_rows=13: there are 12 rows of the class 'ape'. Lower n_rows"),
        ({"n_rows": 5, "n_shots": 5}, "n_shots=5: of n_rows=5 .* set it to 0 to 4"),
        ({"y": LABELS}, r"X has 60 rows, and y the shape \(5,\)"),
        ({"X": np.zeros((12, 1)), "y": MISSING}, "row 5: its label is missing"),
    ],
    ids=str,
)
def test_what_is_not_there_is_named(params, message):
    X, y = table()
    params = {"X": X, "y": y, "n_tasks": 2, "n_rows": 4} | params
    with pytest.raises(ValueError, match=message):
        make_n_way_tasks(**params)
