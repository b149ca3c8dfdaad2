"""The algorithms, one or close relatives a file; none knows of another."""

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
