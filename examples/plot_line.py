"""
====================================
One line, and three outer optimisers
====================================

The smallest case there is: every task is the same line, ``y = 2x + 3``, in noise. There is nothing
to adapt to, so the common start that MAML learns must be the line itself, the one that least
squares finds in all rows together, whichever optimiser takes the outer steps.
"""

from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LinearRegression

from sklearn_meta import MAML, MetaLossDisplay, Task

# %%
# The tasks
# ---------
# 25 tasks of 100 rows. The noise has standard deviation 1.

rng = np.random.default_rng(0)
tasks = []
for t in range(25):
    x = rng.uniform(-1, 1, 100)
    tasks.append(Task(x[:, None], 2 * x + 3 + rng.standard_normal(100), id=t))

# %%
# What can be known
# -----------------
# Least squares on the rows of all tasks, with its standard errors.

x = np.concatenate([task.X[:, 0] for task in tasks])
y = np.concatenate([task.y for task in tasks])
A = np.stack([np.ones_like(x), x], axis=1)
pooled = np.linalg.solve(A.T @ A, A.T @ y)
noise_variance = np.sum((y - A @ pooled) ** 2) / (len(y) - 2)
error = np.sqrt(noise_variance * np.diag(np.linalg.inv(A.T @ A)))

# %%
# The models
# ----------
# Half of the rows of a task are its support, the other half its query. ``init="random"`` starts
# linear models at 0, and ``standardize=False`` makes that the 0 of the data. ``"adam"`` and
# ``"sgd"`` see new halves in each iteration; ``"lbfgs"``, from scipy, minimises the loss of one
# fixed split of each task to convergence.

models = {
    solver: MAML(
        LinearRegression(),
        inner_lr=0.1,
        inner_steps=1,
        n_shots=50,
        outer_solver=solver,
        outer_lr=outer_lr,
        max_iter=300,
        init="random",
        standardize=False,
        random_state=0,
    )
    for solver, outer_lr in [("adam", 0.05), ("sgd", 0.1), ("lbfgs", 1.0)]  # lbfgs needs no rate
}


def print_row(name, intercept, slope, rest=""):
    print(f"{name:<15}{intercept:>18}{slope:>18}{rest}")


print_row("", "intercept", "slope", "   iterations   ms")
print_row("truth", "3", "2")
print_row("least squares", *(f"{w:.3f} ± {e:.3f}" for w, e in zip(pooled, error, strict=True)))
for solver, model in models.items():
    start = perf_counter()
    model.meta_fit(tasks)
    ms = 1000 * (perf_counter() - start)
    line = model.estimator_  # no task has been adapted to: the common start
    found = np.array([line.intercept_, line.coef_[0]])
    print_row(solver, *(f"{w:.3f}" for w in found), f"{model.n_iter_:>13}{ms:>5.0f}")
    assert (np.abs(found - pooled) < 2 * error).all()

# %%
# All three are within two standard errors of the least squares estimate. They need not meet it
# exactly: MAML adapts to one half of the rows and is judged on the other, so it weighs rows in
# another way; and ``"lbfgs"`` has drawn these halves only once.
#
# The picture
# -----------
# The query loss is half the mean squared error, so the noise alone costs 0.5. The curves of
# ``"adam"`` and ``"sgd"`` show the loss before each step, that of ``"lbfgs"`` the loss after it.
# Where all tasks fit in one batch, ``"lbfgs"`` needs few iterations and no rate.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for solver, color in [("adam", "#D98A00"), ("sgd", "#0072B2"), ("lbfgs", "black")]:
    ax.set_prop_cycle(color=[color])
    display = MetaLossDisplay.from_estimator(models[solver], name=solver, ax=ax)
display.lines_["running_mean"].set_marker("o")
ax.axhline(0.5, color="#767676", ls=":", lw=1)
ax.text(1, 0.53, "noise", color="#767676", va="bottom")
ax.set(xscale="log", ylim=(0, None), title="Meta-training on a line")

path = Path("demo_output", "line.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
