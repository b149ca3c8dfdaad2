"""Tasks that stream in: memory that does not grow with what has gone by."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

import sklearn_meta.base.meta_estimator
from sklearn_meta import FOMAML, HierarchicalBayes, Reptile

MEGABYTE = 2**20

SCRIPT = """
import json, sys, warnings
import numpy as np
from sklearn_meta import FOMAML, BatchMetaLearner, HierarchicalBayes, Reptile
warnings.simplefilter("ignore")

def stream(n_tasks, n_rows):
    rng = np.random.default_rng(0)
    for _ in range(n_tasks):
        X = rng.standard_normal((n_rows, 8))
        yield X, X @ (1 + rng.standard_normal(8)) + rng.standard_normal(n_rows)

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def learn(model, n_tasks, n_rows, n_parts=1):
    for _ in range(n_parts):
        model.partial_meta_fit(stream(n_tasks // n_parts, n_rows))
    return model

peaks = []
sizes = json.loads(sys.argv[2])
for size in [[100, 10], *sizes]:
    model = learn(eval(sys.argv[1]), *size)
    peaks.append(peak())
print(json.dumps([peak - peaks[0] for peak in peaks[1:]]))
"""


def peaks_of(model, *sizes):
    """Peak memory above that of a small fit, in bytes, after each of some streams."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, model, json.dumps(sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


@linux
@pytest.mark.parametrize("kind", ["Reptile", "FOMAML"])
def test_gradient_learners_keep_nothing_of_a_stream(kind):
    model = f"{kind}(max_iter=5, inner_steps=1, inner_lr=0.1)"
    few, many, parts = peaks_of(model, [8192, 20], [24_000, 20], [12_000, 20, 2])  # 12, 35 MB
    assert few < 60 * MEGABYTE
    assert max(many, parts) - few < 10 * MEGABYTE


@linux
def test_hierarchical_bayes_keeps_sums():
    model = "HierarchicalBayes(regularization=None, covariance='spherical')"
    few, many = peaks_of(model, [500, 100], [500, 6000])  # 4 and 216 MB of rows
    assert many < 120 * MEGABYTE


def table(n_tasks, n_rows):
    """A long table whose tasks stand one after the other, and the targets and ids."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_tasks * n_rows, 2))
    W = np.repeat(rng.standard_normal((n_tasks, 3)), n_rows, axis=0)
    y = W[:, 0] + (X * W[:, 1:]).sum(axis=1) + rng.standard_normal(len(X))
    return X, y, np.repeat(np.arange(n_tasks), n_rows)


def test_where_parts_end_changes_no_sums(monkeypatch):
    X, y, ids = table(40, 10)
    tasks = list(zip(np.split(X, 40), np.split(y, 40), strict=True))
    whole = HierarchicalBayes(regularization=None).meta_fit(tasks)
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_NUMBERS", 100)
    parts = HierarchicalBayes(regularization=None).meta_fit(iter(tasks))
    assert_allclose(parts.prior_mean_, whole.prior_mean_, rtol=1e-4, atol=1e-5)
    assert_allclose(parts.prior_covariance_, whole.prior_covariance_, rtol=1e-3, atol=1e-5)
    assert parts.n_tasks_ == 40


@pytest.mark.parametrize("model", [FOMAML(max_iter=2), Reptile(max_iter=2)])
def test_parts_of_large_tasks_are_few_tasks(monkeypatch, model):
    X, y, _ = table(40, 10)
    tasks = list(zip(np.split(X, 40), np.split(y, 40), strict=True))
    monkeypatch.setattr(sklearn_meta.base.meta_estimator, "STREAM_LEARNED", 400)
    model.meta_fit(iter(tasks))
    assert model.n_tasks_ == 40
    assert model.n_iter_ == 4  # of two parts


def test_mapped_tasks_are_read_a_part_at_a_time(tmp_path):
    n_tasks, n_rows = 50, 20_000  # 16 MB of X
    X, y, _ = table(n_tasks, n_rows)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    expected = HierarchicalBayes(regularization=None).meta_fit(
        list(zip(np.split(X, n_tasks), np.split(y, n_tasks), strict=True))
    )
    X, y = (np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "y.npy"))
    parts = ((X[i : i + n_rows], y[i : i + n_rows]) for i in range(0, len(X), n_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn_meta.base.meta_estimator, "STREAM_NUMBERS", 1)
        tracemalloc.start()
        model = HierarchicalBayes(regularization=None).meta_fit(parts)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < X.nbytes / 2
    assert_allclose(model.prior_covariance_, expected.prior_covariance_, rtol=1e-3)
