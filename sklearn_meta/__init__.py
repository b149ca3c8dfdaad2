"""Meta-learning for scikit-learn: learn from many small related tasks, adapt to a new one."""

from . import datasets
from .baselines import Independent, Pooled
from .hierarchical import HierarchicalBayes
from .inspection import AdaptationCurveDisplay
from .model_selection import cross_validate_tasks, few_shot_scorer
from .tasks import Task, tasks_from_table

__version__ = "0.1.0"

__all__ = [
    "AdaptationCurveDisplay",
    "HierarchicalBayes",
    "Independent",
    "Pooled",
    "Task",
    "cross_validate_tasks",
    "datasets",
    "few_shot_scorer",
    "tasks_from_table",
]
