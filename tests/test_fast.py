"""The compiled meta-gradients: those of NumPy to rounding, for all that numba computes."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import LOSSES
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import HuberRegressor, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_meta import ANIL, FOMAML, MAML, MetaSGD
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels import chunks, gradient
from sklearn_meta.kernels.gradient import Penalty, inner_steps, meta_gradient
from sklearn_meta.kernels.losses import Logistic, Multinomial, Squared
from sklearn_meta.kernels.network import ACTIVATIONS, Batch, Network

pytest.importorskip("numba", reason="numba is not installed: make test-extras installs it")

COMPILED = (Squared(), Logistic(), Multinomial())
each_loss = pytest.mark.parametrize("loss", COMPILED, ids=repr)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def problem(sizes, loss, activation="tanh", n_rows=(7, 3, 1, 0), seed=0, dtype=np.float64):
    """Network, start, weighted supports and queries of unequal sizes, rates, penalty."""
    rng, n_tasks = np.random.default_rng(seed), len(n_rows)
    network = Network(sizes, loss, activation)

    def rows(n_rows):
        shape = n_tasks, max(1, *n_rows)
        y = rng.standard_normal((*shape, sizes[-1]))
        if isinstance(loss, Multinomial):
            y = np.eye(sizes[-1])[y.argmax(axis=-1)]
        elif isinstance(loss, Logistic):
            y = (y > 0).astype(float)
        weight = rng.uniform(0.1, 1, shape) * (np.arange(shape[1]) < np.array(n_rows)[:, None])
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        arrays = (
            rng.standard_normal((*shape, sizes[0])),
            y,
            weight,
            0.1 * rng.standard_normal(y.shape),
        )
        return Batch(*(a.astype(dtype) for a in arrays))

    theta = (rng.standard_normal((1, network.n_params)) / np.sqrt(sizes[-2])).astype(dtype)
    alpha = rng.uniform(0.01, 0.2, theta.shape).astype(dtype)
    penalty = Penalty(rng.random((n_tasks, 1)).astype(dtype), (~network.intercepts()).astype(dtype))
    return network, theta, rows(n_rows), rows([3 + n for n in n_rows]), alpha, penalty


def both(function, *args, **kwargs):
    """What numba and what NumPy compute."""
    with pytest.MonkeyPatch.context() as patch:
        called = []
        patch.setattr(gradient, "_numba", lambda: None)
        expected = function(*args, **kwargs)
        patch.undo()
        fast = gradient._numba()
        for name in fast.__all__[:2]:
            compiled = getattr(fast, name)
            patch.setattr(fast, name, lambda *a, f=compiled: called.append(f) or f(*a))
        found = function(*args, **kwargs)
        assert called
    return found, expected


def assert_same(found, expected, tolerance=1e-11):
    for a, b in zip(found, expected, strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert_allclose(a, b, rtol=0, atol=tolerance * (1 + np.abs(b).max()))


@each_loss
@each_activation
@pytest.mark.parametrize("hidden", [(), (5,), (9, 1, 4)], ids=str)
@pytest.mark.parametrize("order", ["MAML", "FOMAML", "Meta-SGD", "first-order Meta-SGD"])
def test_meta_gradients_are_those_of_numpy(loss, activation, hidden, order):
    how = {"second_order": order in ("MAML", "Meta-SGD"), "learn_rates": "SGD" in order}
    for n_outputs in {2, 3} if isinstance(loss, Multinomial) else {1, 3}:
        *args, alpha, penalty = problem((2, *hidden, n_outputs), loss, activation)
        for n_steps in (0, 1, 4):
            for pull in (penalty, None):
                found, expected = both(meta_gradient, *args, alpha, n_steps, penalty=pull, **how)
                assert_same(found, expected)


@each_loss
@pytest.mark.parametrize("activation", ["relu", "logistic"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)  # the first call compiles
def test_shapes(loss, activation, data):
    """Those of all tiles, with and without a rest; a task is what it is alone."""
    width, rows = st.integers(1, 26), st.lists(st.integers(0, 20), min_size=1, max_size=4)
    sizes = tuple(data.draw(st.lists(width, min_size=2, max_size=4), label="sizes"))
    args = problem(
        sizes, loss, activation, data.draw(rows, label="rows"), data.draw(st.integers(0, 9))
    )
    network, theta, support, _, alpha, penalty = args
    assert_same(*both(meta_gradient, *args[:5], 2, penalty=penalty, learn_rates=True))
    ends = inner_steps(network, theta, support, alpha, 2, penalty=penalty, keep=False).end
    for t in range(len(ends)):
        one = slice(t, t + 1)
        n = max(1, np.count_nonzero(support.weight[t]))
        alone = Batch(*(a[:, :n] for a in vars(support.rows(one)).values()))
        end = inner_steps(
            network, theta, alone, alpha, 2, penalty=penalty.rows(one), keep=False
        ).end
        assert_array_equal(end[0], ends[t])


@each_loss
@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
def test_many_rows_and_a_common_rate(loss, hidden):
    args = problem((3, *hidden, 2 if isinstance(loss, Multinomial) else 1), loss, n_rows=(90, 2))
    alpha = np.full_like(args[4], 0.1)
    assert_same(*both(meta_gradient, *args[:4], alpha, 3, penalty=args[5]))


@each_loss
@pytest.mark.parametrize("hidden", [(), (40, 40)], ids=str)
def test_float32(hidden, loss):
    sizes = (1, *hidden, 2 if isinstance(loss, Multinomial) else 1)
    args = problem(sizes, loss, "relu", (10, 10, 4), dtype=np.float32)
    found, expected = both(meta_gradient, *args[:5], 3, penalty=args[5], learn_rates=True)
    assert_same(found[1:], expected[1:], 1e-5)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)


@each_loss
@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
@pytest.mark.parametrize("size", [10.0, 1e3, 1e6, 1e200, 1e305])
@pytest.mark.filterwarnings("error")
def test_steps_that_raise_the_loss_are_halved(loss, hidden, size):
    n_outputs = 2 if isinstance(loss, Multinomial) else 1
    network, theta, support, query, _, penalty = problem((2, *hidden, n_outputs), loss)
    alpha = np.full_like(theta, size)
    steps = network, theta, support, alpha, 3
    found, expected = both(lambda: inner_steps(*steps, penalty=penalty, keep=False).end)
    assert np.isfinite(found).all()
    assert_same([found], [expected], 1e-9)
    before, after = (
        network.value(now, support) + penalty.value(now - theta)
        for now in (np.repeat(theta, 4, axis=0), found)
    )
    assert (after <= before * (1 + 1e-12)).all()
    assert_array_equal(found[3], theta[0])  # no rows: it stays
    gradients, expected = both(meta_gradient, network, theta, support, query, alpha, 3)
    assert np.isfinite(gradients[1]).all()
    assert_same(gradients, expected, 1e-9)


def test_a_gradient_that_overflows_leaves_its_task_where_it_is():
    network, theta, support, _, alpha, _ = problem((2, 1), Squared())
    support.X[0] = 1e200
    ends = inner_steps(network, theta, support, alpha, 3, keep=False).end
    assert_array_equal(ends[0], theta[0])
    assert np.isfinite(ends).all() and (ends[1] != theta).any()


@each_loss
def test_without_intercepts_and_without_the_guard(loss):
    sizes = (2, 3, 2 if isinstance(loss, Multinomial) else 1)
    network, *args = problem(sizes, loss)
    without = Network(sizes, loss, "tanh", intercept=False)
    how = {"penalty": args.pop(), "learn_rates": True, "guard": False}
    found, expected = both(meta_gradient, without, *args, 2, **how)
    assert_same(found, expected)
    assert not found[1][network.intercepts()].any() and found[1].any()


@pytest.mark.parametrize("guard", [True, False])
def test_steps_go_on_from_where_they_were(guard):
    network, theta, support, _, alpha, penalty = problem((2, 3, 1), Squared())
    starts = theta + np.linspace(0, 0.1, 4)[:, None]

    def ends():
        how = {"penalty": penalty, "centre": theta, "guard": guard, "keep": False}
        return inner_steps(network, starts, support, alpha, 3, **how).end

    assert_same(*both(lambda: [ends()]))


def test_what_it_does_not_take_is_left_to_numpy(monkeypatch):
    fast, network = gradient._numba(), Network((2, 1), Squared())
    for loss in LOSSES:
        assert fast.takes(Network((2, 1), loss), None) == isinstance(loss, COMPILED_TYPES)
    assert fast.takes(network, Penalty(np.ones((3, 1)), np.ones(3)))
    assert not fast.takes(network, Penalty(np.ones((3, 3)), np.ones(3)))
    monkeypatch.setattr(fast, "meta_gradient", None)
    tasks = make_linear_tasks(n_tasks=10, random_state=0)
    MAML(HuberRegressor(), max_iter=2, random_state=0).meta_fit(tasks)
    with pytest.raises(TypeError, match="not callable"):
        MAML(Ridge(), max_iter=2, random_state=0).meta_fit(tasks)


COMPILED_TYPES = tuple(map(type, COMPILED))
ESTIMATORS = [
    Ridge(),
    LogisticRegression(C=10.0),
    MLPRegressor(hidden_layer_sizes=(6,), activation="relu", alpha=0.1),
    MLPClassifier(hidden_layer_sizes=(6,), activation="logistic"),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", [MAML, FOMAML, MetaSGD, ANIL])
def test_meta_models(kind, estimator, monkeypatch):
    """As by NumPy; the same bits with any number of threads, and from memory that is read-only."""
    tasks = make_linear_tasks(n_tasks=23, n_rows=(4, 12), random_state=0)
    if hasattr(estimator, "predict_proba"):
        tasks = [(task.X, task.y > 0) for task in tasks]
    for task in tasks:
        for array in task[:2] if isinstance(task, tuple) else (task.X, task.y):
            array.flags.writeable = False
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS", 300)
    how = dict(inner_steps=2, max_iter=20, tasks_per_batch=20, init="random", random_state=0)

    def fitted(n_jobs=None):
        return kind(estimator, n_jobs=n_jobs, **how).meta_fit(tasks)

    found, expected = both(lambda: [fitted().meta_model_.theta])
    assert_same(found, expected, 1e-7)
    for n_jobs in (2, -1):
        assert_array_equal(fitted(n_jobs).meta_model_.theta, found[0])
    saved = pickle.dumps(fitted())
    assert b"numba" not in saved
    X, y = tasks[0][:2] if isinstance(tasks[0], tuple) else (tasks[0].X, tasks[0].y)
    predictions = pickle.loads(saved).adapt(X, y).predict(X)
    assert_array_equal(predictions, fitted().adapt(X, y).predict(X))


SCRIPT = """
import sys
if sys.argv[1:] == ["numba"]:
    sys.modules["numba"] = None
elif sys.argv[1:]:
    from numba.core import caching
    caching.CacheImpl._locator_classes = []
from sklearn_meta import MAML
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.kernels import gradient
assert sys.argv[1:] or "numba" not in sys.modules, "imported before it is needed"
MAML(max_iter=1).meta_fit(make_linear_tasks(n_tasks=5, random_state=0))
print("NumPy" if gradient._numba() is None else "numba")
"""


@pytest.mark.parametrize(
    "missing, variables, expected",
    [
        ([], {}, "numba"),
        (["numba"], {}, "NumPy"),
        (["a place for what is compiled"], {}, "NumPy"),
        ([], {"NUMBA_DISABLE_JIT": "1"}, "NumPy"),
    ],
)
def test_numba_is_left_out_where_it_cannot_or_shall_not_compile(missing, variables, expected):
    command = [sys.executable, "-c", SCRIPT, *missing]
    run = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    assert run.stdout.strip() == expected, run.stderr
