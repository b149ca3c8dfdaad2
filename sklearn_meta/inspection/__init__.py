"""Pictures of what was learned, and what it rests on."""

from .displays import AdaptationCurveDisplay, MetaLossDisplay, TransferDisplay
from .importance import descriptor_importance
from .task_map import TaskMapDisplay

__all__ = [
    "AdaptationCurveDisplay",
    "MetaLossDisplay",
    "TaskMapDisplay",
    "TransferDisplay",
    "descriptor_importance",
]
