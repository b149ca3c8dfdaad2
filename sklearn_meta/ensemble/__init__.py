"""The front door: a stack of the algorithms, with weights that depend on the number of rows."""

from .compare import compare
from .encoding import TableEncoder
from .meta import MetaClassifier, MetaRegressor

__all__ = ["MetaClassifier", "MetaRegressor", "TableEncoder", "compare"]
