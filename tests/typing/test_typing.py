"""What a user writes passes a strict checker, and what is wrong is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_meta

pytest.importorskip("mypy", reason="it checks the types")
HERE, ROOT = Path(__file__).parent, Path(sklearn_meta.__file__).parents[1]


def mypy(name, tmp_path):
    """What mypy --strict says of a script; scikit-learn, SciPy and joblib have no types."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nignore_missing_imports = True\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={config}"]
    command += [f"--cache-dir={tmp_path}", HERE / name]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return run.stdout + run.stderr


def test_a_users_script(tmp_path):
    assert mypy("user_script.py", tmp_path).startswith("Success: no issues found")


def test_mistakes_are_found(tmp_path):
    lines = (HERE / "mistakes.py").read_text().splitlines()
    expected = {
        (i, kind) for i, line in enumerate(lines, 1) for kind in re.findall(r"# E: ([\w-]+)", line)
    }
    found = re.findall(r"mistakes\.py:(\d+): error: .*\[([\w-]+)\]", mypy("mistakes.py", tmp_path))
    assert {(int(line), kind) for line, kind in found} == expected


def test_the_package_says_that_it_is_typed():
    assert (Path(sklearn_meta.__file__).parent / "py.typed").exists()
