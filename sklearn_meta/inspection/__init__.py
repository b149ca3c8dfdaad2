"""Pictures of what was learned, and what it rests on."""

from .arrivals import IntervalDisplay
from .displays import AdaptationCurveDisplay, MetaLossDisplay, TransferDisplay
from .importance import descriptor_importance
from .shrinkage import ShrinkageDisplay
from .stack import ComparisonDisplay, WeightsDisplay
from .task_map import TaskMapDisplay

__all__ = [
    "AdaptationCurveDisplay",
    "ComparisonDisplay",
    "IntervalDisplay",
    "MetaLossDisplay",
    "ShrinkageDisplay",
    "TaskMapDisplay",
    "TransferDisplay",
    "WeightsDisplay",
    "descriptor_importance",
]
