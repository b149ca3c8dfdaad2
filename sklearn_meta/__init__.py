"""Meta-learning for scikit-learn: learn from many small related tasks, adapt to a new one."""

from importlib import import_module
from typing import TYPE_CHECKING

from .versions import __version__ as __version__

if TYPE_CHECKING:
    from . import datasets, descriptors, exceptions, io, learners
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
        IntervalDisplay,
        MetaLossDisplay,
        ShrinkageDisplay,
        TaskMapDisplay,
        TransferDisplay,
        WeightsDisplay,
        descriptor_importance,
    )
    from .model_selection import cross_validate_tasks, few_shot_scorer
    from .tasks import Task, summary_terms, task_summaries, tasks_from_table

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
    "IntervalDisplay",
    "MetaClassifier",
    "MetaLossDisplay",
    "MetaRegressor",
    "MetaSGD",
    "Pooled",
    "PrototypeClassifier",
    "Reptile",
    "RidgeHead",
    "ShrinkageDisplay",
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
    "io",
    "learners",
    "summary_terms",
    "task_summaries",
    "tasks_from_table",
]

_FOLDERS = ("datasets", "descriptors", "exceptions", "io", "learners")
# Where the other names above stand, each of these needs the one before.
_ROOMS = ("tasks", "algorithms", "model_selection", "ensemble", "inspection")


def __getattr__(name):
    """Import a name when it is asked for, so that the package itself costs next to nothing."""
    if name in __all__ and name not in _FOLDERS:
        for room in map(_room, _ROOMS):
            if name in room.__all__:
                globals()[name] = getattr(room, name)
                return globals()[name]
    try:
        return _room(name)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def _room(name):
    return import_module(f"{__name__}.{name}")


def __dir__():
    return sorted({*globals(), *__all__})
