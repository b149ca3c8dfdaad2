"""Episodes: how many rows, which rows, and that no row is in support and query."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_meta import FOMAML, BatchMetaLearner, Pooled, cross_validate_tasks
from sklearn_meta.base.episodes import EpisodeSampler, all_rows
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels.network import Batch
from sklearn_meta.tasks import TaskTable
from sklearn_meta.tasks.supports import check_shots

SIZES = np.array([9, 1, 4, 12])
OFFSETS = np.concatenate([[0], np.cumsum(SIZES)])
LEARNER = SimpleNamespace(batch=Batch, encode=lambda y: y[..., None])


def sampler(n_shots, n_query=None, role=None, sample_weight=None, **options):
    """Of tasks whose only feature is the number of the row."""
    X = np.arange(OFFSETS[-1], dtype=float)[:, None]
    table = TaskTable(X, X[:, 0], OFFSETS, role=role, sample_weight=sample_weight)
    return EpisodeSampler(LEARNER, table, X, n_shots, n_query, **options)


def rows(batch):
    """The rows of each task that have weight; targets must go with them."""
    assert_array_equal(batch.X, batch.y)
    return [set(x[w > 0]) for x, w in zip(batch.X[..., 0], batch.weight, strict=True)]


ALL = [set(range(lo, hi)) for lo, hi in zip(OFFSETS[:-1], OFFSETS[1:], strict=True)]
TASKS = np.arange(4)


@pytest.mark.parametrize("n_shots", [0, 1, 3, 100])
@pytest.mark.parametrize("n_query", [None, 2])
def test_sizes(n_shots, n_query):
    support, query, n_support = sampler((n_shots, n_shots), n_query).draw(
        TASKS, np.random.default_rng(0)
    )
    expected = np.minimum(n_shots, SIZES // 2)  # at least half stays in the query
    assert [len(s) for s in rows(support)] == expected.tolist()
    assert_array_equal(n_support, expected)
    left = SIZES - expected
    assert [len(q) for q in rows(query)] == np.minimum(left, n_query or 100).tolist()
    for s, q, own in zip(rows(support), rows(query), ALL, strict=True):
        assert not s & q
        assert s | q <= own


@pytest.mark.parametrize("each", [False, True])
def test_a_range_of_shots(each):
    tasks, rng = np.full(30, 3), np.random.default_rng(0)
    draws = [sampler((0, 4), each=each).draw(tasks, rng)[2] for _ in range(40)]
    assert {len(np.unique(n)) > 1 for n in draws} == {each}
    assert set(np.concatenate(draws)) == {0, 1, 2, 3, 4}


def test_no_column_is_wasted():
    support, query, _ = sampler((3, 3), 2).draw(TASKS, np.random.default_rng(0))
    assert support.X.shape == (4, 3, 1)
    assert query.weight.shape[1] <= 5  # queries start where the supports of their tasks end


def test_order_of_tasks_is_that_asked_for():
    support, query, _ = sampler((2, 2)).draw(np.array([3, 0]), np.random.default_rng(0))
    assert rows(support)[0] | rows(query)[0] == ALL[3]
    assert rows(support)[1] | rows(query)[1] == ALL[0]


def test_range_of_shots():
    rng, episodes = np.random.default_rng(0), sampler((1, 4))
    seen = {len(rows(episodes.draw(TASKS, rng)[0])[3]) for _ in range(50)}
    assert seen == {1, 2, 3, 4}


def test_every_row_is_drawn_equally_often():
    rng, episodes = np.random.default_rng(0), sampler((1, 1))
    drawn = [rows(episodes.draw(np.array([2]), rng)[0])[0].pop() for _ in range(400)]
    _, count = np.unique(drawn, return_counts=True)
    assert len(count) == 4
    assert (np.abs(count - 100) < 40).all()


def test_deterministic():
    first, again, other = (
        sampler((3, 3)).draw(TASKS, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert_array_equal(first[0].X, again[0].X)
    assert_array_equal(first[1].X, again[1].X)
    assert rows(first[0]) != rows(other[0])


@pytest.mark.parametrize("n_shots", [1, 2, 9])
def test_fixed_supports(n_shots):
    role = np.zeros(OFFSETS[-1], dtype=np.int8)
    role[:9] = 2
    role[[1, 4, 5]] = 1
    support, query, n_support = sampler((n_shots, n_shots), role=role).draw(
        TASKS, np.random.default_rng(0)
    )
    assert rows(support)[0] <= {1, 4, 5}
    assert len(rows(support)[0]) == n_support[0] == min(n_shots, 3)
    assert rows(query)[0] == {0, 2, 3, 6, 7, 8}
    assert n_support[3] == min(n_shots, 6)  # free as ever
    assert rows(support)[3] | rows(query)[3] == ALL[3]


def test_fixed_support_may_be_more_than_half():
    role = np.where(np.arange(OFFSETS[-1]) == 0, 2, 1).astype(np.int8)
    support, query, _ = sampler((8, 8), role=role).draw(TASKS[:1], np.random.default_rng(0))
    assert rows(support) == [set(range(1, 9))]
    assert rows(query) == [{0}]


def test_without_queries_all_rows_may_be_support():
    support, query, _ = sampler((100, 100), keep_query=False).draw(TASKS, np.random.default_rng(0))
    assert rows(support) == ALL
    assert rows(query) == [set()] * 4


def test_weights_go_with_rows():
    weight = 1.0 + np.arange(OFFSETS[-1])
    support, query, total = sampler((3, 3), sample_weight=weight).draw(
        TASKS, np.random.default_rng(0)
    )
    for batch in (support, query):
        real = batch.weight > 0
        expected = np.where(real, batch.X[..., 0] + 1, 0)
        assert_allclose(batch.weight * expected.sum(axis=1, keepdims=True), expected)
        assert_allclose(batch.weight.sum(axis=1), real.any(axis=1))  # one task has no support
    support_weight = np.where(support.weight > 0, support.X[..., 0] + 1, 0)
    assert_allclose(total, support_weight.sum(axis=1))


def test_all_rows():
    table = sampler((1, 1)).table
    seen = {}
    for tasks, batch, n_rows in all_rows(LEARNER, table):
        assert_array_equal(n_rows, SIZES[tasks])
        seen |= dict(zip(tasks.tolist(), rows(batch), strict=True))
    assert [seen[t] for t in range(4)] == ALL


def test_ranges_of_shots():
    """``range`` means in training what it means where each of its numbers is evaluated."""
    assert check_shots(3) == check_shots(range(3, 4)) == (3, 3)
    assert check_shots((0, 10)) == check_shots(range(11)) == check_shots([0, 10]) == (0, 10)
    for wrong in ((1, 2, 5), (5, 1), (-1, 2), (0, 2.5), range(0), range(0, 10, 2), (True, 3)):
        with pytest.raises(ValueError, match=r"For 0 to 10 rows pass range\(0, 11\)"):
            check_shots(wrong)


@pytest.mark.parametrize("make", [FOMAML, BatchMetaLearner])
def test_a_range_is_the_pair_of_its_ends(make):
    tasks = make_linear_tasks(n_tasks=8, n_rows=8, random_state=0)
    models = [
        make(n_shots=shots, random_state=0).meta_fit(tasks) for shots in (range(1, 5), (1, 4))
    ]
    assert_array_equal(
        *(model.adapt(tasks[0].X, tasks[0].y).predict(tasks[0].X) for model in models)
    )
    results = cross_validate_tasks(Pooled(), tasks, n_shots=range(1, 3), cv=2)
    assert set(results["n_shots"]) == {1, 2}
