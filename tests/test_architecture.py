"""The layers of CONTRIBUTING.md, read from the source: what may import what, what is private."""

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sklearn_meta

# A room is a folder or module at the top level.
LOWER = ["versions", "kernels", "tasks", "learners", "descriptors", "priors", "base"]
MAY_IMPORT = {
    "versions": [],
    "exceptions": [],
    "kernels": [],
    "tasks": ["kernels"],
    "learners": ["versions", "kernels", "tasks"],
    "descriptors": ["versions", "kernels", "tasks", "learners"],
    "priors": ["kernels"],
    "base": [*LOWER[:-1], "exceptions"],
    "algorithms": LOWER,
    "model_selection": [*LOWER, "algorithms"],
    "ensemble": [*LOWER, "algorithms", "model_selection"],
    "inspection": [*LOWER, "algorithms", "model_selection", "ensemble"],
    "datasets": ["tasks"],
    "io": [*LOWER, "algorithms", "ensemble"],
}
FILES_APART = "algorithms"  # whose modules do not import each other
ARRAYS_ONLY = ["kernels", "priors"]  # NumPy, SciPy and the standard library
COMPILED = {"kernels/fast.py": {"numba", "llvmlite"}}  # imported where it is installed
SKLEARN_DOORS = ("learners/", "tasks/rows.py")  # only these know what scikit-learn keeps private
is_private = re.compile(r"(^|\.)_(?!_)").search
MAX_ROOMS = 16  # as many as a reader keeps in mind; what is new finds a place in one of them


def dotted(path):
    return path.removesuffix("__init__.py").removesuffix(".py").strip("/").replace("/", ".")


def imports(path, tree):
    """Line and dotted name of all that is imported; names of the package begin with a dot."""
    for node in ast.walk(tree):
        level, module = getattr(node, "level", 0), getattr(node, "module", None)
        above = ["sklearn_meta", *path.split("/")[:-level]] if level else []
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
            name = ".".join([*above, *filter(None, [module]), alias.name])
            yield node.lineno, name.removeprefix("sklearn_meta")


def of_an_import(path, name):
    here, (top, *below) = dotted(path).split(".")[0], f"{name}.".split(".")
    if top == "sklearn" and is_private(name) and not path.startswith(SKLEARN_DOORS):
        yield f"{name} is private to scikit-learn"
    arrays = {"", "numpy", "scipy"} | COMPILED.get(path, set()) | sys.stdlib_module_names
    if here in ARRAYS_ONLY and top not in arrays:
        yield f"{here} needs NumPy and SciPy only, not {name}"
    if top == "" and below[0] != here:
        if here and below[0] not in MAY_IMPORT.get(here, []):
            yield f"{here} may not import {below[0] or 'the whole package'}"
        if is_private(name):
            yield f"{name[1:]} is private to {below[0]}"
    if top == "" and below[0] == here == FILES_APART != dotted(path):
        yield f"{dotted(path)} may not import {below[1]}"


def of_attributes(trees):
    """Private ones of other objects that nothing in the package defines."""
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    own = {getattr(node, "name", getattr(node, "id", None)) for _, node in nodes}
    nodes = [(p, a) for p, a in nodes if isinstance(a, ast.Attribute) and is_private(a.attr)]
    of_self = {a for _, a in nodes if ast.unparse(a.value) in ("self", "cls", "super()")}
    own |= {a.attr for a in of_self if isinstance(a.ctx, ast.Store)}
    for path, a in nodes:  # of self: what a class inherits from scikit-learn it may use
        if a.attr not in own and a not in of_self and not path.startswith(SKLEARN_DOORS):
            yield path, a.lineno, f"{ast.unparse(a)} is private, and not of this package"


def of_circles(trees):
    modules = {"." + dotted(path): path for path in trees}
    uses = {module: {} for module in modules if module != "."}  # the package itself uses all
    for user in uses:
        for line, name in imports(modules[user], trees[modules[user]]):
            used = name if name in modules else name.rpartition(".")[0]
            uses[user] |= {used: line} if used in modules else {}
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        circle = error.args[1]
        yield modules[circle[1]], uses[circle[1]][circle[0]], f"a circle: {' <- '.join(circle)}"


def violations(sources):
    """``file:line: message`` for all that breaks a rule in ``{path: source}``."""
    trees = {path: ast.parse(source) for path, source in sources.items()}
    found = [*of_attributes(trees), *of_circles(trees)]
    for path, tree in trees.items():
        for line, name in imports(path, tree):
            found += [(path, line, text) for text in of_an_import(path, name)]
        if not is_private(path.replace("/", ".")) and not ast.get_docstring(tree):
            found.append((path, 1, "a docstring says what the module is for"))
        if path.startswith("_") and path != "__init__.py":
            found.append((path, 1, "only public rooms at the top level"))
    rooms = sorted({dotted(path).split(".")[0] for path in trees} - {""})
    found += [("__init__.py", 1, f"{room} has no layer") for room in {*rooms} - {*MAY_IMPORT}]
    if len(rooms) > MAX_ROOMS:
        found.append(("__init__.py", 1, f"{len(rooms)} rooms, more than {MAX_ROOMS}: {rooms}"))
    return "\n".join(f"{path}:{line}: {text}" for path, line, text in sorted(set(found)))


def test_the_package_keeps_the_rules():
    root = Path(sklearn_meta.__file__).parent
    files = {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*.py")}
    assert not (found := violations(files)), f"in {root}/\n{found}"


BAD = [
    ("kernels/a.py", "def f():\n    from .. import algorithms", "kernels/a.py:2: kernels may not"),
    ("priors/a.py", "from ..tasks import Task", "priors may not import tasks"),
    ("descriptors/a.py", "import sklearn_meta.priors.b", "descriptors may not import priors"),
    ("algorithms/a.py", "from .b import B", "algorithms.a may not import b"),
    ("tasks/a.py", "import sklearn_meta", "tasks may not import the whole package"),
    ("base/a.py", "from ..datasets import make_tasks", "base may not import datasets"),
    ("datasets/a.py", "from ..kernels import losses", "datasets may not import kernels"),
    ("priors/a.py", "import os, joblib", "priors needs NumPy and SciPy only, not joblib"),
    ("kernels/a.py", "from numba import njit", "kernels needs NumPy and SciPy only, not numba"),
    ("kernels/fast.py", "import numba, jax", "kernels needs NumPy and SciPy only, not jax"),
    ("base/a.py", "from ..kernels.b import _f", "kernels.b._f is private to kernels"),
    ("base/a.py", "from ..descriptors import _base", "descriptors._base is private"),
    ("base/a.py", "from sklearn.utils._b import C", "sklearn.utils._b.C is private"),
    ("algorithms/a.py", "def f(e):\n    return e._loss()", "a.py:2: e._loss is private, and"),
    ("_bank.py", "", "_bank.py:1: only public rooms at the top level"),
    ("algorithms/a.py", "x = 1", "algorithms/a.py:1: a docstring"),
    ("cellar/a.py", "", "cellar has no layer"),
]


@pytest.mark.parametrize("path, source, expected", BAD)
def test_what_is_not_allowed_is_named(path, source, expected):
    assert expected in violations({path: source})


def test_what_is_wrong_with_several_files_is_named():
    circle = {f"base/{a}.py": f"'''A.'''\nfrom .{b} import f" for a, b in ("ab", "bc", "ca")}
    assert "py:2: a circle: .base." in violations(circle)
    rooms = {f"room_{i}/__init__.py": "'''Room.'''" for i in range(MAX_ROOMS)}
    assert " rooms, " not in violations(rooms)
    assert f"{MAX_ROOMS + 1} rooms" in violations(rooms | {"tasks/a.py": "'''A.'''"})


def test_what_is_allowed_is_not_named():
    good = {
        "__init__.py": "'''A.'''\nfrom . import datasets",
        "kernels/a.py": "'''A.'''\nimport os, numpy.linalg\nfrom .b import _near",
        "kernels/fast.py": "'''A.'''\nfrom numba.extending import intrinsic",
        "tasks/rows.py": "'''A.'''\nfrom sklearn.utils import _safe_indexing as f",
        "algorithms/a.py": "'''A.'''\nfrom ..base import B\n\ndef f(self):\n    self._check()",
        "inspection/a.py": "'''A.'''\nfrom ..algorithms import M\nfrom ..model_selection import f",
    }
    assert violations(good) == ""
