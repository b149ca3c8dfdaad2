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


def main(names):
    """Execute some examples, all where none is named, and say how long each took."""
    for path in sorted(EXAMPLES.glob("plot_*.py")):
        if names and path.stem.removeprefix("plot_") not in names:
            continue
        start = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            execute(path, folder)
        print(f"{path.stem:<24}{perf_counter() - start:8.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
