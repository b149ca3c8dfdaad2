"""Parallel parts here and on a cluster: seconds of one process, processes, threads and Dask.

    python benchmarks/bench_distributed.py                # needs distributed
    python benchmarks/bench_distributed.py --workers 8

The Dask cluster is one of processes on this machine. All columns give the same predictions, bit for
bit; it is an error if they do not.
"""

import argparse
import logging
import time

import numpy as np
from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from sklearn_meta import (
    BatchMetaLearner,
    HierarchicalBayes,
    Independent,
    MetaRegressor,
    Pooled,
    TransferMetaLearner,
    cross_validate_tasks,
)
from sklearn_meta.datasets import make_linear_tasks

BACKENDS = {
    "serial": lambda: parallel_config(backend="sequential"),
    "loky": lambda: parallel_config(backend="loky"),
    "threads": lambda: parallel_config(backend="threading"),
    "dask": lambda: parallel_config(backend="dask"),
}


def adapted(model, tasks):
    new = tasks[-1]
    return model.meta_fit(tasks[:-1]).adapt(new.X[:5], new.y[:5]).predict(new.X)


def parts(tasks, n_jobs):
    """What is parallel, by name."""
    boosting = HistGradientBoostingRegressor(random_state=0)
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    members = [("pooled", Pooled(boosting)), ("hierarchical", HierarchicalBayes())]
    settings = {"random_state": 0, "n_jobs": n_jobs}
    return {
        "MetaRegressor": lambda: adapted(MetaRegressor(members, **settings), tasks),
        "BatchMetaLearner": lambda: adapted(BatchMetaLearner(boosting, **settings), tasks),
        "TransferMetaLearner": lambda: adapted(TransferMetaLearner(tree, **settings), tasks[-30:]),
        "cross_validate_tasks": lambda: cross_validate_tasks(
            Independent(tree), tasks, n_repeats=5, **settings
        )["score"],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=100)
    args = parser.parse_args()
    tasks = make_linear_tasks(n_tasks=args.tasks, n_rows=40, n_features=5, random_state=0)
    settings = {"n_workers": args.workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(silence_logs=logging.ERROR, **settings) as cluster, Client(cluster):
        for backend in BACKENDS.values():  # workers start, and import what they need
            with backend():
                parts(tasks[:20], args.workers)["BatchMetaLearner"]()
        print(f"seconds, {args.tasks} tasks, {args.workers} workers")
        print(f"{'':22}" + "".join(f"{name:>9}" for name in BACKENDS))
        for name, part in parts(tasks, args.workers).items():
            seconds, results = [], []
            for backend in BACKENDS.values():
                with backend():
                    start = time.perf_counter()
                    results.append(part())
                    seconds.append(time.perf_counter() - start)
            assert all(np.array_equal(result, results[0]) for result in results)
            print(f"{name:22}" + "".join(f"{s:9.2f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
