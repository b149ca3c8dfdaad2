"""Turn examples of the gallery into notebooks, as its download links do, and execute them.

python doc/notebooks.py             all of them
python doc/notebooks.py line meta   some
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import nbclient
import nbformat
from joblib import Parallel, delayed
from sphinx_gallery.notebook import python_to_jupyter_cli

EXAMPLES = Path(__file__).parents[1] / "examples"


def execute(path, folder):
    """The notebook of an example, executed in a folder; an error of a cell is an error."""
    copied = shutil.copy(path, folder)
    python_to_jupyter_cli([str(copied)])
    notebook = nbformat.read(Path(copied).with_suffix(".ipynb"), as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"})  # draw inline
    return notebook


def n_pictures(notebook):
    """How many pictures its cells show."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in o.get("data", {}) for o in outputs)


def run(path):
    """Execute an example, which must draw; its name and how long it took."""
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if n_pictures(execute(path, folder)) == 0:
            raise ValueError(f"{path.name} shows no picture in a notebook.")
    return f"{path.stem:<24}{perf_counter() - start:8.1f} s"


def main(names):
    """Execute some examples, all where none is named, two at a time."""
    paths = sorted(EXAMPLES.glob("plot_*.py"))
    paths = [p for p in paths if not names or p.stem.removeprefix("plot_") in names]
    for told in Parallel(n_jobs=2, return_as="generator")(delayed(run)(path) for path in paths):
        print(told, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
