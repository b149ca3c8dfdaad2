"""The contract that every algorithm of this package keeps, written once."""

from .meta_estimator import BaseMetaEstimator, transactional

__all__ = ["BaseMetaEstimator", "transactional"]
