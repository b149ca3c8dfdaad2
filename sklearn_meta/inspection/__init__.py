"""Pictures of what was learned, and what it rests on."""

from .displays import AdaptationCurveDisplay, MetaLossDisplay, TransferDisplay
from .importance import descriptor_importance
from .stack import ComparisonDisplay, WeightsDisplay
from .task_map import TaskMapDisplay

__all__ = [
    "AdaptationCurveDisplay",
    "ComparisonDisplay",
    "MetaLossDisplay",
    "TaskMapDisplay",
    "TransferDisplay",
    "WeightsDisplay",
    "descriptor_importance",
]
