"""The algorithms, one or close relatives a file; none knows of another."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .baselines import Independent, Pooled
    from .batch import BatchMetaLearner
    from .gaussian_process import GaussianProcessMeta
    from .hierarchical import HierarchicalBayes
    from .imaml import IMAML
    from .maml import ANIL, FOMAML, MAML, MetaSGD
    from .prototypes import PrototypeClassifier
    from .reptile import Reptile
    from .ridge_head import RidgeHead
    from .transfer import TransferMetaLearner

__all__ = [
    "ANIL",
    "BatchMetaLearner",
    "FOMAML",
    "GaussianProcessMeta",
    "HierarchicalBayes",
    "IMAML",
    "Independent",
    "MAML",
    "MetaSGD",
    "Pooled",
    "PrototypeClassifier",
    "Reptile",
    "RidgeHead",
    "TransferMetaLearner",
]

_FILES = {
    "baselines": ("Independent", "Pooled"),
    "batch": ("BatchMetaLearner",),
    "gaussian_process": ("GaussianProcessMeta",),
    "hierarchical": ("HierarchicalBayes",),
    "imaml": ("IMAML",),
    "maml": ("ANIL", "FOMAML", "MAML", "MetaSGD"),
    "prototypes": ("PrototypeClassifier",),
    "reptile": ("Reptile",),
    "ridge_head": ("RidgeHead",),
    "transfer": ("TransferMetaLearner",),
}


def __getattr__(name):
    """Import a class when it is asked for: one algorithm needs no other."""
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f".{file}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
