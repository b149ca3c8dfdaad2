"""What notebooks show: what was learned, below scikit-learn's diagram, and tables of results."""

from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, metadata
from numbers import Real

import numpy as np
from sklearn.utils import estimator_html_repr

__all__ = ["NotebookMixin", "Results", "documentation_template", "facts_html", "table_html"]

MAX_ROWS = 20  # of a table, and the rest is counted
MAX_ITEMS = 10  # of a list
STYLE = """<style>
.sk-top-container.sk-global {overflow-x: auto !important;}
.sk-top-container.sk-global :is(div.sk-item:last-child, div:has(div.sk-serial)) {
    background-image: none;}
.sk-top-container.sk-global div.sk-serial {
    background-position: center top; background-size: 2px calc(100% - 1.2em);}
table.sk-meta {border-collapse: collapse; font-size: 0.85em; margin: 0.5em 0;}
table.sk-meta caption {text-align: left; font-weight: bold; padding: 0.3em 0;}
table.sk-meta th, table.sk-meta td {text-align: right; padding: 0.1em 0.7em;}
table.sk-meta th:first-child, table.sk-meta td:first-child {text-align: left;}
</style>"""


def table_html(caption, columns):
    """A table in HTML, of columns by their headings; no more than MAX_ROWS rows are shown."""
    rows = list(zip(*columns.values(), strict=True))
    head = "".join(f"<th>{escape(str(name))}</th>" for name in columns)
    body = [
        "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row) + "</tr>"
        for row in rows[:MAX_ROWS]
    ]
    if len(rows) > MAX_ROWS:
        body.append(f'<tr><td colspan="{len(columns)}">and {len(rows) - MAX_ROWS} more</td></tr>')
    return (
        f'<table class="sk-meta"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def facts_html(facts):
    """What is learned in HTML, by labels, to stand below a diagram.

    A dict of columns becomes a table of its own, and None is left out.
    """
    facts = {label: fact for label, fact in facts.items() if fact is not None}
    single = {label: fact for label, fact in facts.items() if not isinstance(fact, dict)}
    parts = [table_html("Learned", {"": list(single), " ": list(single.values())})]
    parts += [table_html(label, fact) for label, fact in facts.items() if isinstance(fact, dict)]
    return "".join(parts)


def _text(value):
    if isinstance(value, Real) and not isinstance(value, (bool, np.bool_, int, np.integer)):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple, np.ndarray)):
        items = [_text(item) for item in list(value)[:MAX_ITEMS]]
        return ", ".join(items) + (f", ... ({len(value)})" if len(value) > MAX_ITEMS else "")
    return str(value)


class Results(dict):
    """Columns of results by name: a dict that notebooks show as a table.

    ``pandas.DataFrame(results)`` has them all.
    """

    @classmethod
    def of_rows(cls, names, rows):
        """The columns of rows of values; of Python objects where NumPy would make text of them."""
        return cls(zip(names, map(_column, zip(*rows, strict=True)), strict=True))

    def _repr_html_(self):
        return STYLE + table_html(f"{len(next(iter(self.values()), ()))} rows", self)


def _column(values):
    column = np.array(values) if not isinstance(values[0], tuple) else None
    if column is None or column.dtype.kind in "US" and not all(isinstance(v, str) for v in values):
        column = np.empty(len(values), dtype=object)
        column[:] = values
    return column


@cache
def documentation_template():
    """The address of the page of a class, with ``{estimator_name}`` in it; "" if there is none.

    It is that of the project's metadata, where the package was installed with one.
    """
    try:
        urls = metadata("sklearn_meta").get_all("Project-URL") or ()
    except PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    if "Documentation" not in named:
        return ""
    return named["Documentation"].rstrip("/") + "/generated/sklearn_meta.{estimator_name}.html"


class NotebookMixin:
    """The diagram of scikit-learn, and below it what was learned, where ``_facts`` says."""

    _doc_link_module = "sklearn_meta"

    @property
    def _doc_link_template(self):
        return documentation_template()

    def _html_repr(self):
        facts = facts_html(self._facts()) if self.__sklearn_is_fitted__() else ""
        return estimator_html_repr(self) + STYLE + facts
