"""Meta-learning for scikit-learn: learn from many small related tasks, adapt to a new one."""

from . import datasets, descriptors, exceptions, learners
from .algorithms import (
    ANIL,
    FOMAML,
    IMAML,
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaSGD,
    Pooled,
    PrototypeClassifier,
    Reptile,
    RidgeHead,
    TransferMetaLearner,
)
from .ensemble import MetaClassifier, MetaRegressor, TableEncoder, compare
from .inspection import (
    AdaptationCurveDisplay,
    ComparisonDisplay,
    MetaLossDisplay,
    TaskMapDisplay,
    TransferDisplay,
    WeightsDisplay,
    descriptor_importance,
)
from .model_selection import cross_validate_tasks, few_shot_scorer
from .tasks import Task, tasks_from_table

__version__ = "0.1.0"

__all__ = [
    "ANIL",
    "AdaptationCurveDisplay",
    "BatchMetaLearner",
    "ComparisonDisplay",
    "FOMAML",
    "GaussianProcessMeta",
    "HierarchicalBayes",
    "IMAML",
    "Independent",
    "MAML",
    "MetaClassifier",
    "MetaLossDisplay",
    "MetaRegressor",
    "MetaSGD",
    "Pooled",
    "PrototypeClassifier",
    "Reptile",
    "RidgeHead",
    "TableEncoder",
    "Task",
    "TaskMapDisplay",
    "TransferDisplay",
    "TransferMetaLearner",
    "WeightsDisplay",
    "compare",
    "cross_validate_tasks",
    "datasets",
    "descriptor_importance",
    "descriptors",
    "exceptions",
    "few_shot_scorer",
    "learners",
    "tasks_from_table",
]
