"""Sinusoids with the protocol of Finn, Abbeel, Levine (2017), for bench_gradient.py."""

import numpy as np
from sklearn.neural_network import MLPRegressor

INNER_LR = 0.02  # 0.01 on the mean square, as published; the loss of this package is half of it
OUTER_LR = 0.001
N_TASKS, N_SHOTS, N_QUERY = 25, 10, 10
WIDTHS = (1, 40, 40, 1)


def network():
    """The published network, without weight decay."""
    return MLPRegressor(hidden_layer_sizes=WIDTHS[1:-1], activation="relu", alpha=0.0)


def settings(n_steps):
    """Parameters of the estimators of this package that make up the protocol."""
    return dict(
        inner_lr=INNER_LR,
        inner_steps=n_steps,
        n_shots=N_SHOTS,
        n_query=N_QUERY,
        tasks_per_batch=N_TASKS,
        outer_lr=OUTER_LR,
        outer_schedule="constant",
        init="random",
        standardize=False,
    )


def draw(n_tasks, n_rows, rng, dtype=np.float32):
    """Curves ``y = A sin(x - phase)``: X of shape (n_tasks, n_rows, 1) and y likewise."""
    amplitude = rng.uniform(0.1, 5.0, (n_tasks, 1, 1))
    phase = rng.uniform(0, np.pi, (n_tasks, 1, 1))
    X = rng.uniform(-5.0, 5.0, (n_tasks, n_rows, 1))
    return X.astype(dtype), (amplitude * np.sin(X - phase)).astype(dtype)


def pairs(n_tasks, n_rows, rng):
    """Tasks as this package takes them."""
    X, y = draw(n_tasks, n_rows, rng)
    return list(zip(X, y[..., 0], strict=True))


def long_table(X, y):
    """Rows of all tasks, their targets and the number of their task."""
    n_tasks, n_rows, _ = X.shape
    return X.reshape(-1, 1), y.ravel(), np.repeat(np.arange(n_tasks), n_rows)


def train(meta, starts, n_iterations, schedule, rng, n_at_once=200):
    """Go on meta-training, on fresh tasks in every iteration; `starts`: when parts of it begin."""
    for start in starts:
        rate = 1 - start / n_iterations if schedule == "linear" else 1
        meta.set_params(max_iter=n_at_once, outer_lr=OUTER_LR * rate)
        meta.partial_meta_fit(pairs(n_at_once * N_TASKS, N_SHOTS + N_QUERY, rng))


def errors(meta, n_tasks, n_shots=N_SHOTS, n_points=100, seed=12345):
    """Mean squared error of every one of some fresh tasks after adaptation to a few rows."""
    rng = np.random.default_rng(seed)
    X, y = draw(n_tasks, n_shots + n_points, rng)
    X_support, y_support, task = long_table(X[:, :n_shots], y[:, :n_shots])
    meta.adapt(X_support, y_support, groups=task)
    X_query, y_query, task = long_table(X[:, n_shots:], y[:, n_shots:])
    squares = (meta.predict(X_query, groups=task).astype(np.float64) - y_query) ** 2
    return squares.reshape(n_tasks, n_points).mean(axis=1)
