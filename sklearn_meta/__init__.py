"""Meta-learning for scikit-learn: learn from many small related tasks, adapt to a new one."""

from .baselines import Independent, Pooled
from .hierarchical import HierarchicalBayes
from .tasks import Task, tasks_from_table

__version__ = "0.1.0"

__all__ = [
    "HierarchicalBayes",
    "Independent",
    "Pooled",
    "Task",
    "tasks_from_table",
]
