"""What all displays share: they draw on axes that are given or made, and keep them."""

from abc import ABC, abstractmethod
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from ..base.docstrings import sharing_parts

__all__ = ["Display", "check_has", "documented"]

SHARED = {
    "attributes": """
    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    """,
    "ax": """
    ax : matplotlib Axes, default=None
        Where to draw; a new figure if None.
    """,
    "of_stack": """
    estimator : MetaRegressor or MetaClassifier
        Fitted.
    {drawn}
    """,
    "drawn": """
    {ax}

    Returns
    -------
    self : object
        The display.
    """,
}
documented = sharing_parts(SHARED)


def check_has(estimator, attribute, what):
    """Whether a fitted estimator has what a display shows; an error that says what it lacks."""
    check_is_fitted(estimator)
    if not hasattr(estimator, attribute):
        raise TypeError(f"{type(estimator).__name__} has no {what}.")


class Display(ABC):
    """A picture of results that are computed."""

    @abstractmethod
    def _draw(self, ax):
        """Draw on axes."""

    @documented
    def plot(self, ax: Any = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        {drawn}

        Raises
        ------
        ImportError
            If matplotlib is not installed, which only displays need.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(self).__name__} needs matplotlib: pip install 'sklearn_meta[plot]'."
            ) from error
        ax = plt.subplots()[1] if ax is None else ax
        self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
