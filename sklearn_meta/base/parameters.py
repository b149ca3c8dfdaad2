"""Parameters of estimators as fields of a dataclass, which writes the ``__init__`` they need."""

from dataclasses import dataclass, fields
from typing import TypeVar, dataclass_transform

__all__ = ["with_parameters"]

T = TypeVar("T")


@dataclass_transform(eq_default=False)
def with_parameters(cls: type[T]) -> type[T]:
    """Make fields parameters, with the constraints that the class and its bases have of them."""
    cls = dataclass(eq=False, repr=False)(cls)
    constraints = {}
    for base in reversed(cls.__mro__):
        constraints |= vars(base).get("_parameter_constraints", {})
    names = [field.name for field in fields(cls)]
    cls._parameter_constraints = {name: constraints[name] for name in names}
    return cls
