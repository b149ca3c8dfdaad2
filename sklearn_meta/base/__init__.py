"""The contract that every algorithm of this package keeps, written once."""

from .algorithm import Needs
from .meta_estimator import BaseMetaEstimator, learned, transactional
from .parameters import with_parameters

__all__ = ["BaseMetaEstimator", "Needs", "learned", "transactional", "with_parameters"]
