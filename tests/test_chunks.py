"""Chunks of tasks: the mean over all, and the same digits for any number of threads."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor

from sklearn_meta import FOMAML, IMAML, MAML, MetaSGD, Reptile
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels import chunks
from sklearn_meta.kernels.chunks import mean_over_chunks, thread_pool
from sklearn_meta.kernels.losses import Squared
from sklearn_meta.kernels.network import Batch, Network, mean_weight

TASKS = make_linear_tasks(n_tasks=23, n_rows=(4, 12), random_state=0)
NETWORK = Network((2, 1), Squared())


def episode(n_tasks=23):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n_tasks, 5, 2)), rng.standard_normal((n_tasks, 5, 1))
    return Batch(X, y, np.full((n_tasks, 5), 0.2)), [rng.random(n_tasks)]


def mean_loss(episode):
    """A mean over tasks of something that differs between them, and its gradient."""
    batch, (scale,) = episode
    value, gradient = NETWORK.gradient(np.ones((1, 3)), batch)
    return float((scale * value).mean()), (scale[:, None] * gradient).mean(axis=0)


@pytest.mark.parametrize("numbers", [1, 100, 300])
def test_mean_over_chunks_is_that_of_all(monkeypatch, numbers):
    expected = mean_loss(episode())
    seen = []

    def counted(part):
        seen.append(len(part[0].X))
        return mean_loss(part)

    monkeypatch.setattr(chunks, "CHUNK_NUMBERS", numbers)
    value, gradient = mean_over_chunks(counted, NETWORK, episode())
    assert len(seen) > 1 and sum(seen) == 23 and max(seen) - min(seen) <= 1
    assert max(seen) <= max(1, numbers // (3 + 5 * 3))
    assert_allclose(value, expected[0])
    assert_allclose(gradient, expected[1])


def test_few_tasks_are_one_chunk():
    whole = episode()
    assert mean_over_chunks(lambda part: part is whole, NETWORK, whole)


def test_no_threads_unless_asked_for():
    with thread_pool(1) as pool:
        assert pool is None


@pytest.mark.parametrize(
    "estimator",
    [Ridge(), MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", alpha=0.1)],
    ids=["linear", "mlp"],
)
@pytest.mark.parametrize(
    "kind, options",
    [(kind, {}) for kind in (MAML, FOMAML, MetaSGD, IMAML, Reptile)]
    + [(kind, {"outer_solver": "lbfgs"}) for kind in (MAML, MetaSGD)]
    # two steps are far from a minimum with a weak pull: rounding would lead the line search astray
    + [(IMAML, {"outer_solver": "lbfgs", "regularization": 1.0})],
)
def test_threads_change_nothing(monkeypatch, kind, options, estimator):
    settings = dict(inner_steps=2, max_iter=5, tasks_per_batch=20, init="random", random_state=0)
    settings |= options
    whole = kind(estimator, **settings).meta_fit(TASKS).meta_model_
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS", 300)
    one, two, all_cores = (
        kind(estimator, n_jobs=n_jobs, **settings).meta_fit(TASKS).meta_model_
        for n_jobs in (1, 2, -1)
    )
    assert_array_equal(one.theta, two.theta)
    assert_array_equal(one.theta, all_cores.theta)
    assert one.loss_curve == two.loss_curve == all_cores.loss_curve
    assert_allclose(one.loss_curve, whole.loss_curve, rtol=1e-6)


def test_an_error_in_a_thread_is_an_error(monkeypatch):
    def broken(part):
        raise FloatingPointError("no")

    monkeypatch.setattr(chunks, "CHUNK_NUMBERS", 1)
    with thread_pool(2) as pool, pytest.raises(FloatingPointError, match="no"):
        mean_over_chunks(broken, NETWORK, episode(), pool)


def test_chunks_are_padded_to_their_own_largest_task():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 50, 2)), rng.standard_normal((8, 50, 1))
    n_rows = np.array([3, 50, 4, 4, 0, 2, 5, 1])
    weight = mean_weight((np.arange(50) < n_rows[:, None]).astype(float))
    batch, seen = Batch(X, y, weight), []
    for t in range(8):
        part = batch.rows(slice(t, t + 1)).without_padding()
        seen.append(part.X.shape[1])
        k = min(n_rows[t], 50)
        np.testing.assert_array_equal(part.X[0, :k], X[t, :k])
        np.testing.assert_array_equal(part.weight[0, :k], weight[t, :k])
    assert seen == [3, 50, 4, 4, 1, 2, 5, 1]
