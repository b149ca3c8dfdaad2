"""Meta-learning for scikit-learn: learn from many small related tasks, adapt to a new one."""

from . import datasets
from .baselines import Independent, Pooled
from .hierarchical import HierarchicalBayes
from .imaml import IMAML
from .inspection import AdaptationCurveDisplay, MetaLossDisplay, TransferDisplay
from .maml import ANIL, FOMAML, MAML, MetaSGD
from .model_selection import cross_validate_tasks, few_shot_scorer
from .reptile import Reptile
from .tasks import Task, tasks_from_table
from .transfer import TransferMetaLearner

__version__ = "0.1.0"

__all__ = [
    "ANIL",
    "AdaptationCurveDisplay",
    "FOMAML",
    "HierarchicalBayes",
    "IMAML",
    "Independent",
    "MAML",
    "MetaLossDisplay",
    "MetaSGD",
    "Pooled",
    "Reptile",
    "Task",
    "TransferDisplay",
    "TransferMetaLearner",
    "cross_validate_tasks",
    "datasets",
    "few_shot_scorer",
    "tasks_from_table",
]
