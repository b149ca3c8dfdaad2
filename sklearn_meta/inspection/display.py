"""What all displays share: they draw on axes that are given or made, and keep them."""

from abc import ABC, abstractmethod
from typing import Any, Self

__all__ = ["Display"]


class Display(ABC):
    """A picture of results that are computed."""

    @abstractmethod
    def _draw(self, ax):
        """Draw on axes."""

    def plot(self, ax: Any = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        self : object
            The display.

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
