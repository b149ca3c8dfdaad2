"""What every display needs to draw."""

__all__ = ["axes_of"]


def axes_of(display, ax):
    """The axes to draw a display on, new ones if None.

    Raises
    ------
    ImportError
        If matplotlib is not installed, which only displays need.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__} needs matplotlib: pip install 'sklearn_meta[plot]'."
        ) from error
    return plt.subplots()[1] if ax is None else ax
