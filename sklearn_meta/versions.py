"""The version of this package, and of the state that its objects save.

``FORMAT`` is the number of what a saved object consists of: names and meaning of its attributes and
of those of the records in it. It goes up by one whenever a state written before can no longer be
read, and only then.
"""

import warnings

__all__ = ["FORMAT", "Versioned", "__version__"]

__version__ = "0.1.0"
FORMAT = 4


class Versioned:
    """An estimator whose saved state tells which version wrote it, and is read by none that cannot.

    It stands before ``BaseEstimator`` among the bases of a class.
    """

    def __getstate__(self):
        return {**super().__getstate__(), "_saved_by": (FORMAT, __version__)}

    def __setstate__(self, state):
        state = dict(state)
        number, version = state.pop("_saved_by", (0, "of an unknown version"))
        name = f"this {type(self).__name__} was saved by sklearn_meta {version}"
        if number != FORMAT:
            way_out = f"read it with sklearn_meta {version}"
            if number > FORMAT:
                way_out = f"install sklearn_meta {version} or newer"
            raise ValueError(
                f"{name} in format {number}, and sklearn_meta {__version__} reads format {FORMAT}: "
                f"{way_out}, or fit and save it again with this version."
            )
        if version != __version__:
            warnings.warn(
                f"{name}, and is read by sklearn_meta {__version__}. It predicts as before; what "
                "adapt and fit make of it may differ.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
