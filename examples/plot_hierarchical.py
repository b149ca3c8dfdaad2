"""
=================================================
Hierarchical Bayes: three things to look at twice
=================================================

Regularisation, where coefficients are many for the tasks; contextual effects, where slopes between
tasks are not those within; intervals, where the noise differs between tasks. All data are
generated, so that the truth is known.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sklearn_meta import HierarchicalBayes, Pooled
from sklearn_meta.datasets import make_linear_tasks
from sklearn_meta.exceptions import SingularFitWarning

rng = np.random.default_rng(0)

# %%
# 50 tasks of 8 rows and 6 features whose coefficients are independent. The plain likelihood finds
# correlations in noise. By default the covariance is pulled towards a fit with two variances, as
# strongly as predicts left-out tasks best. (The plain fit warns: its correlations are perfect.)

warnings.simplefilter("ignore", SingularFitWarning)
truth = np.diag([1.0] + [0.2] * 6)
tasks = make_linear_tasks(50, 8, 6, mean=np.zeros(7), covariance=truth, random_state=0)
models = {
    "plain likelihood": HierarchicalBayes(regularization=None).meta_fit(tasks),
    "default": HierarchicalBayes().meta_fit(tasks),
}
matrices = {name: model.prior_covariance_ for name, model in models.items()} | {"truth": truth}
figure, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for axis, (name, matrix) in zip(axes, matrices.items(), strict=True):
    image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    axis.set(title=name, xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="prior covariance")

# %%
# Within tasks y rises with x, between them it falls: tasks that lie further right are lower. A new
# task without rows is predicted by the slope of pooled least squares, and with a few by its own.


def contextual_task(n_rows):
    place = 3 * rng.normal()
    x = place + rng.normal(size=n_rows)
    return x[:, None], x - 3 * place + 0.5 * rng.normal(size=n_rows)


tasks = [contextual_task(12) for _ in range(40)]
model, pooled = HierarchicalBayes(contextual_effects=True), Pooled()
figure, axis = plt.subplots(layout="constrained")
for X, y in tasks:
    axis.plot(X[:, 0], y, ".", color="0.75")
grid = np.linspace(-9, 9, 50)[:, None]
axis.plot(grid, pooled.meta_fit(tasks).predict(grid), "k--", label="pooled")
axis.plot(grid, model.meta_fit(tasks).predict(grid), label="new task, no rows")
X, y = contextual_task(12)
near = X.mean() + np.linspace(-3, 3, 20)[:, None]
for k in (1, 5):
    axis.plot(near, model.adapt(X[:k], y[:k]).predict(near), label=f"after {k} of its rows")
axis.plot(X[:, 0], y, "o", color="C3", label="its rows")
axis.set(xlabel="x", ylabel="y", ylim=(-30, 30))
axis.legend()

# %%
# Noise of a standard deviation that is log-normal. Intervals of one width hold too much in quiet
# tasks and too little in loud ones; ``noise="per_task"`` learns how noise varies, and after some
# rows what it is in this task.


def noisy_task(n_rows, sd):
    x = rng.normal(size=n_rows)
    return x[:, None], rng.normal() + (1 + 0.5 * rng.normal()) * x + sd * rng.normal(size=n_rows)


tasks = [noisy_task(25, np.exp(0.7 * rng.normal())) for _ in range(100)]
figure, axis = plt.subplots(layout="constrained")
sds = np.exp(np.linspace(-1.4, 1.4, 40))
for noise in ("shared", "per_task"):
    model, inside = HierarchicalBayes(noise=noise).meta_fit(tasks), []
    for sd in sds:
        X, y = noisy_task(320, sd)
        low, high = model.adapt(X[:20], y[:20]).predict_interval(X[20:]).T
        inside.append(np.mean((low <= y[20:]) & (y[20:] <= high)))
    axis.semilogx(sds, inside, "o", label=f'noise="{noise}"')
axis.axhline(0.9, color="0.5")
axis.set(xlabel="standard deviation of the noise of a task", ylabel="coverage after 20 rows")
axis.legend()
plt.show()
