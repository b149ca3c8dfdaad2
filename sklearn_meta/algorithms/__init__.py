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
    "Independent": "baselines",
    "Pooled": "baselines",
    "BatchMetaLearner": "batch",
    "GaussianProcessMeta": "gaussian_process",
    "HierarchicalBayes": "hierarchical",
    "IMAML": "imaml",
    "ANIL": "maml",
    "FOMAML": "maml",
    "MAML": "maml",
    "MetaSGD": "maml",
    "PrototypeClassifier": "prototypes",
    "Reptile": "reptile",
    "RidgeHead": "ridge_head",
    "TransferMetaLearner": "transfer",
}


def __getattr__(name):
    """Import a class when it is asked for: one algorithm needs no other."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_FILES[name]}", __name__), name)
