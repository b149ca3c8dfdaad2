"""What an algorithm says of itself: what it needs, how it learns, how it adapts.

An algorithm is three functions on arrays: *learn* (tables of tasks to a meta-model), *adapt* (the
meta-model and supports to one parameter row per task) and *predict* (parameter rows and query rows
to predictions; the learner's, or that of another learner that :meth:`Algorithm._predictor` makes).
Everything else is written once, in ``meta_estimator.py``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sklearn.linear_model import Ridge

__all__ = ["Algorithm", "Needs"]


@dataclass(frozen=True)
class Needs:
    """What an algorithm needs of its learner and its tasks, its parameters being as they are.

    Parameters
    ----------
    gradients : bool, default=False
        A learner with gradients: estimators whose parameters are not known become body and head.
    body : bool, default=False
        The wrapped estimator as the body of body and head, also where its parameters are known.
    standardized : bool, default=False
        A learner that works on standardised data, where its parameters are known.
    side : {"numbers", "objects"}, default=None
        Side information about tasks: as numbers, or as it comes, None where it is missing.
    fits : bool, default=True
        The ``fit`` of the wrapped estimator, to which further arguments of ``fit`` then go.
    goes_on : bool, default=False
        Nothing but a meta-model to go on learning from, so that there is ``partial_meta_fit``.
    why_not : str, default=""
        Why it cannot go on, for an error.
    streams : bool, default=False
        A part of the tasks at a time, where they come from an iterator.
    sums : bool, default=False
        Of streamed tasks only sums, so that it does not matter where a part ends.
    own_classes : bool, default=False
        Labels of its own for every task (N-way tasks).
    keeps_rows : bool, default=True
        The rows of adapted tasks kept, so that there is ``partial_adapt``.
    n_epochs : int, default=0
        How often it reports; None if that is not known before.
    """

    gradients: bool = False
    body: bool = False
    standardized: bool = False
    side: str = None
    fits: bool = True
    goes_on: bool = False
    why_not: str = ""
    streams: bool = False
    sums: bool = False
    own_classes: bool = False
    keeps_rows: bool = True
    n_epochs: int = 0


class Algorithm(ABC):
    """What a subclass of :class:`BaseMetaEstimator` provides, besides its parameters."""

    def _default_estimator(self):
        """The estimator that ``estimator=None`` stands for."""
        return Ridge()

    def _needs(self):
        """What the algorithm needs, see :class:`Needs`."""
        return Needs()

    def _check_wrapped(self, estimator):
        """Raise a clear error if the algorithm cannot use the wrapped estimator."""
        return

    @abstractmethod
    def _learn(self, learner, tables, meta_model, fit_params, report):
        """Learn the meta-model.

        Parameters
        ----------
        learner : Learner
        tables : iterator of TaskTable
            One table, or several where tasks stream in (``Needs.streams``).
        meta_model : object or None
            What to go on from, in ``partial_meta_fit``.
        fit_params : dict
            Further arguments for the ``fit`` of the wrapped estimator.
        report : callable
            ``report(lambda: meta_model)`` after each epoch tells the callbacks; True means stop.

        Returns
        -------
        meta_model : object
            An immutable record.
        """

    @abstractmethod
    def _adapt(self, learner, meta_model, table, fit_params):
        """Adapt to a batch of supports; one parameter row per task.

        A task without rows gets the zero-shot model. ``table.descriptors`` is None where side
        information is not known.

        Returns
        -------
        params : ndarray of shape (n_tasks, n_params)
        """

    def _predictor(self, learner, meta_model):
        """The learner that predicts from parameter rows."""
        return learner
