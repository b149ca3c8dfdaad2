"""The candidates of the front door: a few of the suite that differ in what they assume of tasks.

Pooled models hold that tasks are alike, independent ones that they have nothing in common, and
hierarchical ones learn where between the two they are; linear models extrapolate and need few rows,
boosting finds what is not linear, forests find it in fewer rows. What a task differs in may be its
level, its slopes, or a smooth function. Further candidates (slopes without correlations, a head on
boosting with every effect, batch mode for numbers, forests for classes) were measured, and left
out, since they bought less than 2 %.
"""

from sklearn.base import is_classifier
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from ..algorithms import (
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    Pooled,
)
from ..base import BaseMetaEstimator

__all__ = ["check_candidates", "default_candidates"]

MAX_FOREST_ROWS = 5000  # a forest grows with the rows, and boosting catches up with it
N_BATCH_ESTIMATORS = 2  # draws of episodes: more cost more than they gain beside other candidates


def default_candidates(classifier, n_classes=2, n_rows=0):
    """The candidates of ``estimators=None``: a list of pairs (name, meta-estimator)."""
    if classifier:
        linear = LogisticRegression(max_iter=1000)
        boosting = HistGradientBoostingClassifier()
        special = [
            ("boosting, batch mode", BatchMetaLearner(boosting, n_estimators=N_BATCH_ESTIMATORS)),
        ]
        if n_classes == 2:  # slopes of every class cost much, and had no weight
            special.insert(0, ("random slopes", HierarchicalBayes(linear, covariance="diag")))
    else:
        linear = Ridge()
        boosting = HistGradientBoostingRegressor()
        special = [
            ("random slopes", HierarchicalBayes(linear)),
            ("Gaussian process", GaussianProcessMeta(linear)),
            ("boosting, Gaussian process", GaussianProcessMeta(boosting)),
        ]
        if n_rows <= MAX_FOREST_ROWS:
            forest = ExtraTreesRegressor(min_samples_leaf=3)
            forest = HierarchicalBayes(forest, random_effects="intercept")
            special.append(("forest, task level", forest))
    return [
        ("random intercept", HierarchicalBayes(linear, random_effects="intercept")),
        ("pooled linear", Pooled(linear, standardize=True)),
        ("one model per task", Independent(linear, standardize=True)),
        ("pooled boosting", Pooled(boosting)),
        ("boosting, task level", HierarchicalBayes(boosting, random_effects="intercept")),
        *special,
    ]


def pairs_of(estimators):
    """What users pass as ``estimators`` as a list of pairs."""
    try:
        return [(name, estimator) for name, estimator in estimators]
    except (TypeError, ValueError):
        raise TypeError(
            f"estimators must be a list of pairs (name, meta-estimator); got {estimators!r}."
        ) from None


def check_candidates(estimators, classifier):
    """Check what users pass as ``estimators``; a list of pairs (name, meta-estimator)."""
    kind, pairs = "classifier" if classifier else "regressor", pairs_of(estimators)
    names = [name for name, _ in pairs]
    if not pairs:
        raise ValueError("estimators is empty: pass candidates, or None for those of the suite.")
    if len(set(names)) < len(names):
        raise ValueError(f"names of estimators must be unique; got {names}.")
    for name, estimator in pairs:
        if not isinstance(estimator, BaseMetaEstimator):
            raise TypeError(
                f"candidate {name!r} is {type(estimator).__name__}, no meta-estimator of this "
                "package. Wrap it, for example as Pooled(...) or HierarchicalBayes(...); a "
                "Pipeline goes inside, as the estimator that is wrapped."
            )
        if is_classifier(estimator) != classifier:
            raise ValueError(f"candidate {name!r} is no {kind}: {estimator!r}.")
        if estimator.task_column is not None:
            raise ValueError(
                f"candidate {name!r} has task_column={estimator.task_column!r}; the stack takes "
                "the ids out: set task_column there, and None here."
            )
        if getattr(estimator, "classes", "shared") == "per_task":
            raise ValueError(
                f"candidate {name!r} has classes='per_task': probabilities of tasks with labels of "
                "their own cannot be averaged. Use it alone."
            )
        if classifier and not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"candidate {name!r} has no predict_proba, which is what is averaged. Wrap a "
                "classifier that has it, for example in CalibratedClassifierCV."
            )
    return pairs
