"""Calls that a method cannot take, as others of scikit-learn can, and the one to write instead."""

import functools
import inspect
from collections.abc import Callable
from typing import cast

from .typed import F

__all__ = ["BY_NAME", "otherwise"]

BY_NAME = "Ids and weights go by name: groups=ids, sample_weight=weights."


def otherwise(way: str) -> Callable[[F], F]:
    """Add a way out, what to write instead, to errors of calls that do not fit the method."""

    def decorate(method):
        signature = inspect.signature(method)

        @functools.wraps(method)
        def call(self, *args, **kwargs):
            try:
                return method(self, *args, **kwargs)
            except TypeError:
                try:
                    signature.bind(self, *args, **kwargs)
                except TypeError as error:
                    name = f"{type(self).__name__}.{method.__name__}"
                    raise TypeError(f"{name}: {error}. {way}") from None
                raise

        return cast(F, call)

    return cast(Callable[[F], F], decorate)
