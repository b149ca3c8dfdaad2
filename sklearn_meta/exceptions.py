"""Warnings that have a class of their own, so that they can be caught or silenced by it."""

__all__ = ["SingularFitWarning"]


class SingularFitWarning(UserWarning):
    """A variance of a mixed model is not identified, or is estimated as 0.

    The message says which one, why, and what to do. :class:`~sklearn_meta.HierarchicalBayes` warns
    where the data cannot tell the variance of the intercept from that of the noise, where there are
    more fixed effects than rows, and, with ``regularization=None``, also where the coefficients
    that vary can explain all rows, or a variance is at its boundary of 0.

    Examples
    --------
    >>> import warnings
    >>> from sklearn_meta import HierarchicalBayes
    >>> from sklearn_meta.exceptions import SingularFitWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", SingularFitWarning)
    ...     HierarchicalBayes().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 2.0], groups=[1, 2, 3])
    Traceback (most recent call last):
    ...
    sklearn_meta.exceptions.SingularFitWarning: The variance of the intercept ...
    """
