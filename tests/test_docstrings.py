"""Docstrings that are made of parts."""

import inspect

import pytest

from sklearn_meta.base.docstrings import sharing_parts

documented = sharing_parts(
    {
        "outer": """
    a : int
        First.
    {inner}
    """,
        "inner": """
    b : {"x", "y"}
        Second.
    """,
    }
)


@documented
class Documented:
    """Some.

    Parameters
    ----------
    {outer}
    """

    @documented
    def method(self):
        """Other.

        {inner}
        """


def test_parts_stand_in_parts_and_at_any_depth():
    inner = 'b : {"x", "y"}\n    Second.'
    expected = f"Some.\n\nParameters\n----------\na : int\n    First.\n{inner}"
    assert inspect.getdoc(Documented) == expected
    assert inspect.getdoc(Documented.method) == f"Other.\n\n{inner}"


def test_parts_that_nobody_knows_are_refused():
    def function():
        """{unknown}"""

    with pytest.raises(KeyError, match="unknown"):
        documented(function)


def test_without_docstrings():
    """As with python -OO."""

    def function():
        pass

    assert documented(function) is function
