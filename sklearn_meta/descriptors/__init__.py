"""Task descriptors: transformers whose samples are tasks."""

from ._base import DescribedTable, TaskDescriptor, looks_at
from ._classes import ClassDescriptor
from ._function import FunctionDescriptor
from ._landmarks import LandmarkDescriptor
from ._moments import MomentsDescriptor
from ._quantiles import QuantileDescriptor
from ._ridge import RidgeDescriptor
from ._side import SideInformation

__all__ = [
    "ClassDescriptor",
    "DescribedTable",
    "FunctionDescriptor",
    "LandmarkDescriptor",
    "MomentsDescriptor",
    "QuantileDescriptor",
    "RidgeDescriptor",
    "SideInformation",
    "TaskDescriptor",
    "looks_at",
]
