"""Everything parallel on clusters: the same bits, with Dask also where a worker is lost."""

import logging
import os
import signal
import sys

import pytest
from joblib import parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.testing import assert_array_equal
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import (
    BatchMetaLearner,
    Independent,
    MetaRegressor,
    Pooled,
    TransferMetaLearner,
    cross_validate_tasks,
)
from sklearn_meta.datasets import make_linear_tasks

TASKS = make_linear_tasks(n_tasks=16, n_rows=20, n_features=2, random_state=0)


class Fragile(DecisionTreeRegressor):
    """A tree whose first fit in another process kills that process."""

    def __init__(self, marker=None, parent=None, *, max_depth=2, random_state=0):
        super().__init__(max_depth=max_depth, random_state=random_state)
        self.marker = marker
        self.parent = parent

    def fit(self, X, y, sample_weight=None):
        if self.marker is not None and os.getpid() != self.parent:
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return super().fit(X, y, sample_weight=sample_weight)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y, sample_weight=sample_weight)


def adapted(model):
    new = TASKS[-1]
    return model.meta_fit(TASKS[:-1]).adapt(new.X[:5], new.y[:5]).predict(new.X)


def stack(tree, n_jobs):
    members = [("pooled", Pooled(tree)), ("alone", Independent(tree))]
    return adapted(MetaRegressor(members, cv=2, n_shots=(0, 5), random_state=0, n_jobs=n_jobs))


def batch(tree, n_jobs):
    return adapted(BatchMetaLearner(tree, n_estimators=3, random_state=0, n_jobs=n_jobs))


def transfer(tree, n_jobs):
    return adapted(TransferMetaLearner(tree, random_state=0, n_jobs=n_jobs))


def cross_validated(tree, n_jobs):
    results = cross_validate_tasks(Independent(tree), TASKS, cv=3, random_state=0, n_jobs=n_jobs)
    return results["score"]


PARTS = [stack, batch, transfer, cross_validated]


def test_a_cluster_changes_nothing(tmp_path):
    distributed = pytest.importorskip("distributed", reason="a cluster needs distributed")
    expected = {part: part(Fragile(), None) for part in PARTS}
    settings = {"n_workers": 2, "threads_per_worker": 1, "silence_logs": logging.CRITICAL}
    with (
        distributed.LocalCluster(dashboard_address=":0", **settings) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        for part in PARTS:
            assert_array_equal(part(Fragile(), 2), expected[part])
        marker = tmp_path / "killed"
        fragile = Fragile(str(marker), os.getpid())
        assert_array_equal(batch(fragile, 2), expected[batch])
        assert marker.exists()  # a worker was lost


def test_ray_changes_nothing(tmp_path):
    """A worker that is lost ends the call, as a process of this machine does."""
    ray = pytest.importorskip("ray")
    register = pytest.importorskip("ray.util.joblib").register_ray
    expected = {part: part(Fragile(), None) for part in PARTS}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    quiet = {"include_dashboard": False, "log_to_driver": False}
    ray.init(num_cpus=2, runtime_env={"env_vars": path}, **quiet)
    register()
    try:
        with parallel_config(backend="ray"):
            for part in PARTS:
                assert_array_equal(part(Fragile(), 2), expected[part])
            killing = Fragile(str(tmp_path / "killed"), os.getpid())
            model = BatchMetaLearner(killing, n_estimators=2, random_state=0, n_jobs=2)
            with pytest.raises(ray.exceptions.RayActorError):
                model.meta_fit(TASKS)
            assert not hasattr(model, "meta_model_")
    finally:
        ray.shutdown()


def test_a_lost_process_of_this_machine_is_an_error(tmp_path):
    model = BatchMetaLearner(Fragile(), n_estimators=2, random_state=0).meta_fit(TASKS)
    model.set_params(estimator=Fragile(str(tmp_path / "killed"), os.getpid()), n_jobs=2)
    before = dict(vars(model))
    with pytest.raises(TerminatedWorkerError, match="terminated"):
        model.meta_fit(TASKS)
    assert vars(model) == before
