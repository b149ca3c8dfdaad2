"""Decorators of scikit-learn, which has no types, with theirs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["F", "available_if", "with_callbacks"]

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:

    def available_if(check: Callable[[Any], Any]) -> Callable[[F], F]: ...

    def with_callbacks(method: F) -> F: ...

else:
    from sklearn.callback import with_callbacks
    from sklearn.utils.metaestimators import available_if
