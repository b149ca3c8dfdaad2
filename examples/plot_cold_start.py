"""
====================================
Cold start: predict before any row
====================================

A new shop opens tomorrow. No sale is known of it, but how large it will be is, and what kind of
street it is in. Side information about a task is all that tells it from other new tasks; here is
how much it is worth, before the first row and after it.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from sklearn_meta import BatchMetaLearner, Pooled, Task, TaskMapDisplay

# %%
# The shops
# ---------
# 250 shops, 30 days each. What a day sells depends on the discount and on the weather. How much a
# shop sells, and how strongly it answers to a discount, depends on its size (which is not known of
# every fifth shop) and on the kind of its street; and every shop has something of its own besides.

rng = np.random.default_rng(0)
LEVEL = {"market": 2.0, "mall": 0.0, "side street": -2.0}


def open_shop(id_):
    size, street = rng.gamma(4.0, 25.0), rng.choice(list(LEVEL))
    X = np.column_stack([rng.uniform(0, 20, 30), rng.standard_normal(30)])
    level = 10 + LEVEL[street] + 0.03 * size + rng.normal(0, 1.0)
    answer = (0.1 if street == "mall" else 0.4) * size / 100 + rng.normal(0, 0.05)
    y = level + answer * X[:, 0] + 1.0 * X[:, 1] + rng.normal(0, 1.5, 30)
    known = None if rng.random() < 0.2 else size
    return Task(X, y, id=f"shop {id_}", descriptor={"size": known, "street": str(street)})


shops = [open_shop(t) for t in range(250)]
old, new = shops[:200], shops[200:]

# %%
# The models
# ----------
# ``conditioning="features"`` hands boosting the side information as further columns, beside
# statistics of the known rows. ``conditioning="prior"`` lets it say where the coefficients of a
# linear model start, from where they adapt. Categories and missing values need no preparation.

boosting = HistGradientBoostingRegressor(max_iter=50, random_state=0)
models = {
    "pooled boosting": Pooled(boosting),
    "batch, no side information": BatchMetaLearner(boosting, n_estimators=3, random_state=0),
    "batch": BatchMetaLearner(boosting, n_estimators=3, random_state=0),
    "prior, no side information": BatchMetaLearner(
        LinearRegression(), conditioning="prior", random_state=0
    ),
    "prior": BatchMetaLearner(LinearRegression(), conditioning="prior", random_state=0),
}
informed = ("batch", "prior")
bare = [Task(shop.X, shop.y, id=shop.id) for shop in old]
for name, model in models.items():
    model.meta_fit(old if name in informed else bare)

# %%
# New shops
# ---------
# The last ten days of each new shop are predicted from the first 0, 1, 2, 5 and 20.

n_shots = (0, 1, 2, 5, 20)
rmse = {}
for name, model in models.items():
    errors = []
    for shop in new:
        side = {"descriptor": shop.descriptor} if name in informed else {}
        for k in n_shots:
            predicted = model.adapt(shop.X[:k], shop.y[:k], **side).predict(shop.X[20:])
            errors.append(np.mean((predicted - shop.y[20:]) ** 2))
    rmse[name] = np.sqrt(np.reshape(errors, (len(new), -1)).mean(axis=0))

print("RMSE on new shops" + "".join(f"{k:>12} days" for k in n_shots))
for name, values in rmse.items():
    print(f"{name:<28}" + "".join(f"{value:8.2f}" + " " * 9 for value in values).rstrip())
print(f"{'noise':<28}{1.5:8.2f}")

# %%
# One new shop
# ------------
# What the meta-model takes the shop for, before it opens: the old shops that it resembles most.
# With no rows the residuals of its support say nothing; only the side information counts.

shop = next(
    shop for shop in new if shop.descriptor["street"] == "market" and shop.descriptor["size"]
)
ids, _ = models["batch"].nearest_tasks(
    shop.X[:0], shop.y[:0], n_neighbors=3, descriptor=shop.descriptor
)
sizes = {task.id: task.descriptor for task in old}
print(f"\n{shop.id} ({shop.descriptor['street']}, size {shop.descriptor['size']:.0f}) resembles")
for id_ in ids:
    size = sizes[id_]["size"]
    print(f"  {id_} ({sizes[id_]['street']}, size {'unknown' if size is None else f'{size:.0f}'})")

# %%
# The pictures
# ------------
# Left, the error against known days. With side information the models start about where the others
# arrive after one day; after twenty the rows say nearly all. Right, the old shops by their
# descriptors, coloured by the kind of street; those of unknown size lie in rows of their own.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
styles = {
    "pooled boosting": ("#767676", "--"),
    "batch, no side information": ("#56B4E9", ":"),
    "batch": ("#0072B2", "-"),
    "prior, no side information": ("#F0C36D", ":"),
    "prior": ("#D98A00", "-"),
}
for name, (color, style) in styles.items():
    left.plot(range(len(n_shots)), rmse[name], style, color=color, marker="o", label=name)
left.axhline(1.5, color="#767676", lw=1)
left.text(0, 1.52, "noise", color="#767676", va="bottom")
left.set_xticks(range(len(n_shots)), [str(k) for k in n_shots])
left.set(xlabel="Known days of the new shop", ylabel="RMSE", title="50 new shops", ylim=(1.3, None))
left.legend(loc="upper right", bbox_to_anchor=(1.0, 0.92))
TaskMapDisplay.from_estimator(
    models["batch"],
    color=[task.descriptor["street"] for task in old],
    color_name="street",
    ax=right,
)
right.set_title("200 old shops by their descriptors")

path = Path("demo_output", "cold_start.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
