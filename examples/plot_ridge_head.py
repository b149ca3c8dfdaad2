"""
=================================================
Sine curves: five points, and nothing left to do
=================================================

A task is a sine curve of unknown amplitude and phase, of which a few points are known
(Finn, Abbeel, Levine 2017). :class:`~sklearn_meta.MAML` learns where gradient steps should start.
:class:`~sklearn_meta.RidgeHead` learns features of which every curve is a linear combination, and
solves for its coefficients: an exact step instead of an inner loop. MAML is trained briefly here;
after 60,000 iterations its error with five points is 0.72.
"""

from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPRegressor

from sklearn_meta import MAML, RidgeHead
from sklearn_meta.datasets import make_sinusoid_tasks

train = make_sinusoid_tasks(1000, 20, random_state=0)
new = make_sinusoid_tasks(200, 120, random_state=1)

# %%
# Both wrap a perceptron with two hidden layers of 40.

network = MLPRegressor(hidden_layer_sizes=(40, 40), activation="relu", alpha=0)
models = {
    "MAML, one step": MAML(
        network,
        inner_lr=0.02,
        inner_steps=1,
        n_shots=10,
        max_iter=2000,
        outer_lr=0.001,
        init="random",
        standardize=False,
        random_state=0,
    ),
    "RidgeHead": RidgeHead(max_iter=500, random_state=0),
}

# %%
# Errors after adaptation to 1 to 20 points, on 100 other points of 200 new curves.

shots = [1, 2, 3, 5, 10, 20]
errors = {}
print("Mean squared error\n\npoints          " + "".join(f"{k:>10}" for k in shots) + "   seconds")
for name, model in models.items():
    start = perf_counter()
    model.meta_fit(train)
    seconds = perf_counter() - start
    errors[name] = []
    for k in shots:
        own = [
            np.mean((model.adapt(t.X[:k], t.y[:k]).predict(t.X[20:]) - t.y[20:]) ** 2) for t in new
        ]
        errors[name].append(np.mean(own))
    cells = "".join(f"{error:10.1e}" for error in errors[name])
    print(f"{name:<16}{cells}{seconds:10.0f}")

# %%
# RidgeHead also says what it does not know: with one point the band is wide, with three it is gone.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for (name, error), color in zip(errors.items(), ("#0072B2", "#D98A00"), strict=True):
    left.plot(shots, error, "o-", color=color, label=name)
left.set(xlabel="Known points", ylabel="Mean squared error", xscale="log", yscale="log")
left.set_xticks(shots, shots)
left.minorticks_off()
left.legend()
task, x = new[3], np.linspace(-5, 5, 200)[:, None]
order = np.argsort(task.X[:, 0])
right.plot(task.X[order], task.y[order], color="#767676", lw=4, alpha=0.4, label="the curve")
model = models["RidgeHead"]
for k, color in ((1, "#56B4E9"), (3, "black")):
    mean, std = model.adapt(task.X[:k], task.y[:k]).predict(x, return_std=True)
    right.plot(x, mean, color=color, label=f"{k} point{'s' if k > 1 else ''} known")
    right.fill_between(x[:, 0], mean - 1.64 * std, mean + 1.64 * std, color=color, alpha=0.15, lw=0)
right.scatter(task.X[:3], task.y[:3], color="black", zorder=3)
right.set(xlabel="x", ylabel="y", title="One of them, and 90 % bands")
right.legend()

path = Path("demo_output", "ridge_head.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
