"""Docstrings with parts that several classes share."""

__all__ = ["documented", "sharing_parts"]

SHARED = {
    "ids": """
    task_column : str or int, default=None
        The column of X that holds the task id; it is taken out before the estimator sees X.
    handle_unknown : {"prior", "warn", "error"}, default="prior"
        What an id that was never seen means in ``predict``: the meta-model predicts, with a warning
        or without one, or it is an error.
    """,
    "table": """
    n_tasks_ : int
        Number of meta-train tasks.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where X is a dataframe.
    """,
}


def sharing_parts(parts):
    """Make a decorator that fills lines ``{name}`` of the docstring of a class.

    Parameters
    ----------
    parts : dict of str to str
        In which may be lines for the parts that all share.
    """

    def documented(cls):
        if cls.__doc__ is None:  # python -OO
            return cls
        for name, text in (parts | SHARED).items():
            cls.__doc__ = cls.__doc__.replace(f"{{{name}}}", text.strip())
        return cls

    return documented


documented = sharing_parts({})
