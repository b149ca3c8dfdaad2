"""Rows that come later: adapt to some, partial_adapt to the rest, is adapt to all of them."""

import numpy as np
import pytest
from algorithms import PLAIN, make_meta
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_meta import ANIL, FOMAML, IMAML, MAML, BatchMetaLearner, MetaSGD, Pooled, Reptile
from sklearn_meta.datasets import make_digits_tasks, make_linear_tasks

CLASSES = [*PLAIN, MAML, FOMAML, ANIL, MetaSGD, IMAML, Reptile]
CLASSES.remove(Pooled)
TASKS = make_linear_tasks(n_tasks=8, n_rows=12, n_features=2, random_state=0)
NEW = make_linear_tasks(n_tasks=3, n_rows=12, n_features=2, random_state=1)
each_class = pytest.mark.parametrize("cls", CLASSES)


def table(tasks, rows=slice(None)):
    X = np.concatenate([t.X[rows] for t in tasks])
    y = np.concatenate([t.y[rows] for t in tasks])
    ids = np.concatenate([[t.id] * len(t.y[rows]) for t in tasks])
    return X, y, ids


@each_class
def test_of_the_current_task(cls):
    meta, expected = (make_meta(cls, Ridge()).meta_fit(TASKS) for _ in range(2))
    X, y = NEW[0].X, NEW[0].y
    meta.adapt(X[:3], y[:3]).partial_adapt(X[3:5], y[3:5]).partial_adapt(X[5:], y[5:])
    assert_allclose(meta.predict(X), expected.adapt(X, y).predict(X))
    meta.adapt(X[:2], y[:2])  # starts from the meta-model again
    assert_allclose(meta.predict(X), expected.adapt(X[:2], y[:2]).predict(X))


@each_class
def test_without_an_adaptation_before(cls):
    meta = make_meta(cls, Ridge()).meta_fit(TASKS)
    X, y = NEW[0].X, NEW[0].y
    expected = make_meta(cls, Ridge()).meta_fit(TASKS).adapt(X, y).predict(X)
    assert_allclose(meta.partial_adapt(X, y).predict(X), expected)


@each_class
def test_of_tasks_by_id(cls):
    meta, expected = (make_meta(cls, Ridge()).meta_fit(TASKS) for _ in range(2))
    X, y, ids = table(NEW)
    first, rest = table(NEW[:2], slice(0, 4)), table(NEW[:2], slice(4, None))
    last = table(NEW[2:])  # not known before
    meta.adapt(first[0], first[1], groups=first[2])
    later = [np.concatenate(part) for part in zip(rest, last, strict=True)]
    order = np.random.default_rng(0).permutation(len(later[1]))
    meta.partial_adapt(later[0][order], later[1][order], groups=later[2][order])
    expected.adapt(X, y, groups=ids)
    assert_allclose(
        meta.predict(X, groups=ids), expected.predict(X, groups=ids), rtol=1e-5, atol=1e-7
    )


def test_rows_of_fit_count():
    """What a task was fitted on is part of what it has seen."""
    X, y, ids = table(TASKS)
    for cls in (c for c in CLASSES if c.__name__ in ("HierarchicalBayes", "Independent")):
        meta = make_meta(cls, Ridge()).fit(X, y, groups=ids)
        own = ids == TASKS[0].id
        meta.partial_adapt(NEW[0].X, NEW[0].y, groups=[TASKS[0].id] * 12)
        expected = make_meta(cls, Ridge()).fit(X, y, groups=ids)
        expected.adapt(np.concatenate([X[own], NEW[0].X]), np.concatenate([y[own], NEW[0].y]))
        assert_allclose(meta.predict(X, groups=[TASKS[0].id] * len(X)), expected.predict(X))


def test_many_times():
    """Blocks of rows are put together now and then."""
    meta = make_meta(CLASSES[0], Ridge()).meta_fit(TASKS)
    X, y, ids = table(NEW)
    for i in np.random.default_rng(0).permutation(np.repeat(np.arange(len(y)), 5)):
        meta.partial_adapt(X[[i]], y[[i]], groups=ids[[i]])
    expected = make_meta(CLASSES[0], Ridge()).meta_fit(TASKS)
    expected.adapt(np.repeat(X, 5, axis=0), np.repeat(y, 5), groups=np.repeat(ids, 5))
    assert_allclose(meta.predict(X, groups=ids), expected.predict(X, groups=ids))
    assert len(meta._memory.blocks) <= 65


def test_weights_and_labels():
    tasks = [(t.X, (t.y > t.y.mean()).astype(int)) for t in TASKS]
    meta = make_meta(BatchMetaLearner, LogisticRegression()).meta_fit(tasks)
    X, y = tasks[0]
    w = np.arange(1.0, 13.0)
    meta.adapt(X[:5], y[:5], sample_weight=w[:5])
    meta.partial_adapt(X[5:], y[5:], sample_weight=w[5:])
    expected = make_meta(BatchMetaLearner, LogisticRegression()).meta_fit(tasks)
    expected.adapt(X, y, sample_weight=w)
    assert_allclose(meta.predict_proba(X), expected.predict_proba(X))


def test_tasks_with_their_own_classes():
    tasks = make_digits_tasks(n_tasks=6, n_way=3, n_rows=18, random_state=0)
    params = dict(classes="per_task", max_iter=3, inner_steps=3)
    meta = make_meta(MAML, LogisticRegression(), **params).meta_fit(tasks[:5])
    new = tasks[5]
    first = np.flatnonzero(new.y == new.y[0])[:2]  # a class that is met alone
    rest = np.setdiff1d(np.arange(len(new.y)), first)
    meta.adapt(new.X[first], new.y[first]).partial_adapt(new.X[rest], new.y[rest])
    order = np.append(first, rest)
    expected = make_meta(MAML, LogisticRegression(), **params).meta_fit(tasks[:5])
    expected.adapt(new.X[order], new.y[order])
    assert list(meta.classes_) == list(expected.classes_)
    assert_allclose(meta.predict_proba(new.X), expected.predict_proba(new.X), rtol=1e-6)


def test_pooled_has_nothing_to_add_to():
    assert not hasattr(Pooled(), "partial_adapt")


def test_a_failure_changes_nothing():
    meta = make_meta(CLASSES[0], Ridge()).meta_fit(TASKS).adapt(NEW[0].X, NEW[0].y)
    before = dict(vars(meta))
    with pytest.raises(ValueError, match="features"):
        meta.partial_adapt(NEW[0].X[:, :1], NEW[0].y)
    assert vars(meta) == before
