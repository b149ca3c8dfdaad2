"""Faults: a killed worker, a task that fails in one, an interruption, a full disk."""

import copy
import errno
import io
import os
import pickle
import signal
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from algorithms import make_meta
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.base import BaseEstimator, RegressorMixin

from sklearn_meta import (
    MAML,
    BatchMetaLearner,
    HierarchicalBayes,
    Independent,
    Pooled,
    TransferMetaLearner,
)

N_TASKS = 130  # more than one worker gets at a time
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3 * N_TASKS, 2))
IDS = np.repeat(np.arange(N_TASKS), 3)
Y = X[:, 0] + IDS


class Mean(RegressorMixin, BaseEstimator):
    """The mean of y; for a task with the number ``fatal`` it fails as ``how`` says.

    A worker leaves a file with its number in ``folder``.
    """

    def __init__(self, folder=None, fatal=None, how="raise"):
        self.folder = folder
        self.fatal = fatal
        self.how = how

    def fit(self, X, y):
        if self.folder is not None:
            (Path(self.folder) / str(os.getpid())).touch()
        if self.fatal is not None and self.fatal in np.round(y - X[:, 0]):
            if self.how == "raise":
                raise ValueError("this target cannot be")
            os.kill(os.getpid(), signal.SIGKILL)
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def alive(pid):
    """Whether a process runs; one that has ended may still wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("cls", [Independent, TransferMetaLearner])
def test_a_killed_worker_changes_nothing(cls, tmp_path, unchanged):
    rows = IDS < (N_TASKS if cls is Independent else 20)
    meta = cls(Mean(), **({} if cls is Independent else {"random_state": 0}))
    meta.fit(X[rows], Y[rows], groups=IDS[rows])
    expected = meta.predict(X, groups=IDS)
    meta.set_params(estimator=Mean(str(tmp_path), IDS[rows].max(), "kill"), n_jobs=2)
    with joblib.parallel_config("loky"):
        with unchanged(meta), pytest.raises(TerminatedWorkerError, match="was unexpectedly"):
            meta.fit(X[rows], Y[rows], groups=IDS[rows])
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert workers
        assert os.getpid() not in workers
        get_reusable_executor().shutdown(wait=True)
        for _ in range(200):  # no orphans: the others end, too
            if not any(map(alive, workers)):
                break
            time.sleep(0.05)
        assert not any(map(alive, workers))
        np.testing.assert_array_equal(meta.predict(X, groups=IDS), expected)
        meta.set_params(estimator=Mean()).fit(X[rows], Y[rows], groups=IDS[rows])  # new workers
    np.testing.assert_allclose(meta.predict(X, groups=IDS), expected, rtol=1e-12)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_task_that_fails_in_a_worker_is_named(n_jobs, unchanged):
    meta = Independent(Mean(fatal=127), n_jobs=n_jobs)
    with joblib.parallel_config("loky"), unchanged(meta):
        with pytest.raises(ValueError, match="^task 127: this target cannot be"):
            meta.fit(X, Y, groups=IDS)


METAS = [
    Pooled(),
    Independent(),
    HierarchicalBayes(),
    BatchMetaLearner(n_estimators=2),
    TransferMetaLearner(selection="weighted"),
    make_meta(MAML),
]


@pytest.mark.parametrize("meta", METAS, ids=lambda meta: type(meta).__name__)
def test_an_interruption_at_any_call_changes_nothing(meta, unchanged, monkeypatch):
    """Ctrl-C at the first, the second, ... call of a wrapped estimator."""
    rows = IDS < 6
    left, interruptions = np.inf, 0

    def interrupted(method):
        def call(self, *args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return method(self, *args, **kwargs)

        return call

    meta = copy.copy(meta).set_params(estimator=Mean())
    meta.fit(X[rows], Y[rows], groups=IDS[rows])
    expected = meta.predict(X, groups=IDS)
    calls = [
        lambda: meta.fit(X[rows], Y[rows] + 1, groups=IDS[rows]),
        lambda: meta.adapt(X[:3], Y[:3]),
        lambda: meta.predict(X),
    ]
    for method in ("fit", "predict"):
        monkeypatch.setattr(Mean, method, interrupted(getattr(Mean, method)))
    for call in calls:
        for n in RNG.integers(0, 12, size=4):
            before = dict(vars(meta))
            left = n
            try:
                call()
            except KeyboardInterrupt:
                interruptions += 1
                assert list(vars(meta)) == list(before)
                assert all(vars(meta)[name] is value for name, value in before.items())
            left = np.inf
            vars(meta).clear()
            vars(meta).update(before)
    assert interruptions
    np.testing.assert_array_equal(meta.predict(X, groups=IDS), expected)


class FullDisk(io.RawIOBase):
    """A file on a disk with room for some bytes."""

    def __init__(self, room):
        self.room = room

    def writable(self):
        return True

    def write(self, data):
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return memoryview(data).nbytes


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
@pytest.mark.parametrize("meta", METAS, ids=lambda meta: type(meta).__name__)
def test_a_full_disk_changes_nothing(meta, dump, unchanged):
    meta = copy.copy(meta).fit(X, Y, groups=IDS)
    with unchanged(meta):
        for room in (0, 100, 2000):
            with pytest.raises(OSError, match="No space left"):
                dump(meta, FullDisk(room))
    whole = io.BytesIO()
    dump(meta, whole)
    whole.seek(0)
    loaded = joblib.load(whole) if dump is joblib.dump else pickle.load(whole)
    np.testing.assert_array_equal(loaded.predict(X, groups=IDS), meta.predict(X, groups=IDS))
