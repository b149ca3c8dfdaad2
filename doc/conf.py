"""Sphinx builds the documentation from this; nothing is fetched from the network."""

import re
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from PIL import Image
from sklearn.utils import all_estimators
from sphinx.util.docutils import SphinxDirective

import sklearn_meta

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for gallery_order
pyproject = tomllib.loads((HERE.parent / "pyproject.toml").read_text())

project = pyproject["project"]["name"]
author = pyproject["project"]["authors"][0]["name"]
copyright = author
release = version = sklearn_meta.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "literal"
toc_object_entries_show_parents = "hide"

autodoc_typehints = "none"  # types stand in the docstrings
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them
numpydoc_validation_checks = set(pyproject["tool"]["numpydoc_validation"]["checks"])
numpydoc_validation_exclude = set(pyproject["tool"]["numpydoc_validation"]["exclude"])

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"/(?!plot_)[^/]*\.py$",
    "within_subsection_order": "gallery_order.by_topic",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_meta",),
    "abort_on_example_error": True,
    "parallel": 2,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = project
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}  # light or dark as the reader's system
PAGES = "benchmarks citing faq getting_started glossary install traps whats_new".split()
html_sidebars = {page: [] for page in PAGES}  # of no section
html_theme_options = {
    "logo": {
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
        "alt_text": f"{project}, to the front page",
        "text": project,
    },
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
}


def visit_math(self, node):
    r"""Write MathML, which browsers show without a script; docutils knows \Bigl, but not \Big."""
    tex = re.sub(r"\\Big(?=[(\[])", r"\\Bigl", node.astext())
    tex = re.sub(r"\\Big(?=[)\]])", r"\\Bigr", tex)
    self.body.append(tex2mathml(tex, as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


class Changelog(SphinxDirective):
    """CHANGELOG.md, of whose Markdown it is headings and links that differ from this markup."""

    def run(self):
        path = HERE.parent / "CHANGELOG.md"
        self.env.note_dependency(str(path))
        text = path.read_text().split("\n", 1)[1]
        text = re.sub(r"\[([^]]+)\]\((\S+)\)", r"`\1 <\2>`__", text)
        for hashes, mark in (("###", "-"), ("##", "=")):
            text = re.sub(
                rf"^{hashes} \[?(.+?)\]?$", lambda m, c=mark: f"{m[1]}\n{c * 40}", text, flags=re.M
            )
        self.state_machine.insert_input(text.split("\n"), str(path))
        return []


def link_scikit_learn(app, doctree):
    """Estimators of scikit-learn in ``literal`` text become links to its documentation."""
    for node in list(doctree.findall(nodes.literal)):
        name = re.fullmatch(r"(\w+)(\(.*\))?", node.astext())
        module = name and SCIKIT_LEARN.get(name[1])
        if module and isinstance(node.parent, nodes.paragraph | nodes.term):
            page = f"https://scikit-learn.org/stable/modules/generated/{module}.{name[1]}.html"
            node.replace_self(nodes.reference("", "", node.deepcopy(), refuri=page, internal=False))


SCIKIT_LEARN = {
    name: ".".join(part for part in kind.__module__.split(".") if part[0] != "_")
    for name, kind in all_estimators()
}


def crop_thumbnails(app):
    """Of wide figures a thumbnail shows the left part, large enough to be read."""
    images = HERE / "auto_examples" / "images"
    width, height = 560, 392
    for path in images.glob("thumb/sphx_glr_*_thumb.png"):
        figure = images / path.name.replace("_thumb", "_001")
        if figure.exists():
            with Image.open(figure) as image:
                share = min(image.width, round(image.height * width / height))
                thumb = image.convert("RGB").crop((0, 0, share, image.height))
                thumb.thumbnail((width, height))
                thumb.save(path)


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.add_directive("changelog", Changelog)
    app.connect("doctree-read", link_scikit_learn)
    app.connect("builder-inited", crop_thumbnails, priority=900)  # after the gallery
