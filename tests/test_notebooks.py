"""Examples as notebooks: one here, all of them by ``make notebooks``."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def notebooks():
    for library in ("nbclient", "ipykernel", "sphinx_gallery"):
        pytest.importorskip(library, reason="the extra notebooks has what executes them")
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "doc" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs_of(notebook):
    return [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]


def test_an_example_runs_as_a_notebook_and_draws(notebooks, tmp_path):
    assert notebooks.n_pictures(notebooks.execute(ROOT / "examples" / "plot_line.py", tmp_path))


def test_what_was_learned_is_drawn_as_html(notebooks, tmp_path):
    script = tmp_path / "script" / "plot_fitted.py"
    script.parent.mkdir()
    script.write_text(
        '"""\nFitted\n======\n"""\n'
        "from sklearn.callback import ProgressBar\n"
        "from sklearn_meta import FOMAML, HierarchicalBayes, Pooled, cross_validate_tasks\n"
        "from sklearn_meta.datasets import make_linear_tasks\n"
        "tasks = make_linear_tasks(12, 10, 2, random_state=0)\n"
        "HierarchicalBayes(regularization=None).meta_fit(tasks)\n"
        "\n# %%\n# Results\n"
        "cross_validate_tasks(Pooled(), tasks, n_shots=(0, 5), cv=2)\n"
        "\n# %%\n# Progress\n"
        "FOMAML(max_iter=3, inner_lr=0.1).set_callbacks(ProgressBar()).meta_fit(tasks)\n"
    )
    outputs = outputs_of(notebooks.execute(script, tmp_path))
    html = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert any("sk-top-container" in part and "Tasks" in part for part in html)
    assert any("<table" in part and "n_shots" in part for part in html)
    told = "".join(str(o.get("text", "")) + str(o.get("data", "")) for o in outputs)
    assert "FOMAML" in told and not [o for o in outputs if o.output_type == "error"]
