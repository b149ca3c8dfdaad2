"""Bodies that several learners share are fitted once, and asked once.

Where several algorithms stand on the same estimator and the same rows, as the candidates of a stack
do, what one has fitted or predicted is there for the others, as long as :func:`sharing` lasts.
"""

import pickle
from contextlib import contextmanager
from contextvars import ContextVar

import joblib

__all__ = ["once", "sharing"]

_known = ContextVar("_known", default=None)


@contextmanager
def sharing():
    """While it lasts, :func:`once` remembers; in this thread only."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def once(compute, estimator, *data):
    """``compute()``, or what it gave before for an equal estimator and the same objects.

    Estimators are compared by class and parameters, and by themselves where they are fitted;
    ``data`` by identity.
    """
    known = _known.get()
    if known is None:
        return compute()
    key = (compute.__qualname__, _key_of(estimator), *map(id, data))
    if key not in known:
        known[key] = compute(), (estimator, data)  # kept alive, so that no id comes twice
    return known[key][0]


def _key_of(estimator):
    if hasattr(estimator, "n_features_in_"):
        return id(estimator)
    try:
        return joblib.hash((type(estimator), estimator.get_params()))
    except (AttributeError, TypeError, pickle.PicklingError):  # a class of a function's own
        return id(estimator)
