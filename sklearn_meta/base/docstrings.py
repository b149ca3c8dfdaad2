"""Docstrings with parts that several classes share."""

__all__ = ["sharing_parts"]


def sharing_parts(parts):
    """Make a decorator that fills lines ``{name}`` of the docstring of a class.

    Parameters
    ----------
    parts : dict of str to str
    """

    def documented(cls):
        for name, text in parts.items():
            cls.__doc__ = cls.__doc__.replace(f"{{{name}}}", text.strip())
        return cls

    return documented
