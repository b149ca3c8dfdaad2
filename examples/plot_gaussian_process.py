"""
===================================
A curve of its own for every sensor
===================================

Each of 150 sensors answers to temperature by a curve of its own: it is off by some amount, the more
so the hotter it is, and it wobbles. A new one is calibrated from a few readings. What the curves of
other sensors look like, how far they are off and how fast they bend, says what to make of these.
"""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from sklearn_meta import GaussianProcessMeta, HierarchicalBayes, Independent, Pooled, Task

# %%
# The sensors
# -----------
# Forty readings each, between -20 and 60 degrees.

rng = np.random.default_rng(0)


def build_sensor(id_):
    temperature = rng.uniform(-20, 60, 40)
    off, phase = rng.normal(0, 1.0), rng.uniform(0, 2 * np.pi)
    error = off * (1 + temperature / 60) + 0.6 * np.sin(temperature / 10 + phase)
    reading = 5 + 0.1 * temperature + error + rng.normal(0, 0.2, 40)
    return Task(temperature[:, None], reading, id=f"sensor {id_}")


sensors = [build_sensor(t) for t in range(150)]
old, new = sensors[:100], sensors[100:]

# %%
# The models
# ----------
# The Gaussian process learns its kernel from the hundred old sensors. With ``Independent`` each new
# sensor has only its own few readings to learn one from.

warnings.simplefilter("ignore", ConvergenceWarning)  # from few rows a kernel cannot be learned
alone = GaussianProcessRegressor(
    ConstantKernel() * RBF(10.0) + WhiteKernel(0.1), normalize_y=True, random_state=0
)
models = {
    "one line for all": Pooled(),
    "a line for each sensor": HierarchicalBayes(),
    "a Gaussian process alone": Independent(alone),
    "a Gaussian process over sensors": GaussianProcessMeta(),
}
for model in models.values():
    model.meta_fit(old)

learned = models["a Gaussian process over sensors"]
print(f"noise: {np.sqrt(learned.noise_variance_):.2f}; what there is to learn: ", end="")
print(f"{learned.residual_scale_:.2f}")

# %%
# New sensors
# -----------
# The last twenty readings of each new sensor are predicted from its first 0 to 20.

n_shots = (0, 1, 2, 5, 10, 20)
rmse = {}
for name, model in models.items():
    errors = []
    for sensor in new:
        for k in n_shots:
            model.adapt(sensor.X[:k], sensor.y[:k])
            errors.append(np.mean((model.predict(sensor.X[20:]) - sensor.y[20:]) ** 2))
    rmse[name] = np.sqrt(np.reshape(errors, (len(new), -1)).mean(axis=0))

print("RMSE on new sensors" + " " * 13 + "".join(f"{k:>6}" for k in n_shots))
for name, values in rmse.items():
    print(f"{name:<32}" + "".join(f"{value:6.2f}" for value in values))

# %%
# The pictures
# ------------
# Left, the errors. Right, one new sensor: what is predicted before any reading and after eight,
# with intervals that hold nine of ten readings.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
styles = {
    "one line for all": ("#767676", "--"),
    "a line for each sensor": ("#D98A00", "-"),
    "a Gaussian process alone": ("#56B4E9", ":"),
    "a Gaussian process over sensors": ("#0072B2", "-"),
}
for name, (color, style) in styles.items():
    left.plot(range(len(n_shots)), rmse[name], style, color=color, marker="o", label=name)
left.axhline(0.2, color="#767676", lw=1)
left.text(0, 0.21, "noise", color="#767676", va="bottom")
left.set_xticks(range(len(n_shots)), [str(k) for k in n_shots])
left.set(xlabel="Readings of the new sensor", ylabel="RMSE", title="50 new sensors", ylim=(0, 3.5))
left.legend()

sensor, grid = new[3], np.linspace(-20, 60, 200)[:, None]
for k, color, label in ((0, "#B0B0B0", "no reading"), (8, "#0072B2", "8 readings")):
    learned.adapt(sensor.X[:k], sensor.y[:k])
    low, high = learned.predict_interval(grid).T
    right.fill_between(grid[:, 0], low, high, color=color, alpha=0.25, lw=0)
    right.plot(grid, learned.predict(grid), color=color, label=label)
right.plot(sensor.X[8:], sensor.y[8:], ".", color="#767676", label="later")
right.plot(sensor.X[:8], sensor.y[:8], "o", color="black", label="known")
right.set(xlabel="Temperature", ylabel="Reading", title="One new sensor")
right.legend()

path = Path("demo_output", "gaussian_process.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
