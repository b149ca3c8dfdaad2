"""What a job will cost: processor time and peak memory against tasks, rows, features and shots.

    python benchmarks/bench_scaling.py                    # tables and checks; some minutes
    python benchmarks/bench_scaling.py HierarchicalBayes  # some of the classes
    python benchmarks/bench_scaling.py mapped --gigabytes 10  # memory for tasks in files

Every size is measured in a process of its own with one thread, the least of up to three fits. The
number of tasks grows fourfold until that costs a quarter more at least: before, the share of a task
is lost in what does not depend on tasks, and no fit to the costs could tell it from noise. The last
two sizes give the constant and the share of a task, which predict the time for ten times as many
tasks as the last; it is then measured. Exponents are the slopes of log cost against log size, of
tasks between the last two sizes; memory is what the fit adds to the data.

"mapped" writes tasks of 1000 rows to files, and streams them from memory maps: its memory is that
of the process, and of it the part that is no file's.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
from sklearn.linear_model import Ridge, SGDRegressor

from sklearn_meta import (
    ANIL,
    FOMAML,
    IMAML,
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaClassifier,
    MetaRegressor,
    MetaSGD,
    Pooled,
    PrototypeClassifier,
    Reptile,
    RidgeHead,
    TransferMetaLearner,
)

ITERATIONS = 100
GRADIENT = {"max_iter": ITERATIONS, "inner_lr": 0.1, "inner_steps": 5, "random_state": 0}
MODELS = {
    "HierarchicalBayes": HierarchicalBayes,
    "plain likelihood": lambda: HierarchicalBayes(regularization=None),
    "random intercept": lambda: HierarchicalBayes(random_effects=["intercept"]),
    "Pooled": Pooled,
    "Independent": Independent,
    "MAML": lambda shots=10: MAML(n_shots=shots, **GRADIENT),
    "FOMAML": lambda shots=10: FOMAML(n_shots=shots, **GRADIENT),
    "ANIL": lambda shots=10: ANIL(n_shots=shots, **GRADIENT),
    "MetaSGD": lambda shots=10: MetaSGD(n_shots=shots, **GRADIENT),
    "IMAML": lambda shots=10: IMAML(n_shots=shots, **GRADIENT),
    "Reptile": lambda shots=10: Reptile(inner_batch_size=shots, adapt_steps=5, **GRADIENT),
    "BatchMetaLearner": lambda: BatchMetaLearner(random_state=0),
    "TransferMetaLearner": lambda: TransferMetaLearner(Ridge(), random_state=0),
    "GaussianProcessMeta": lambda: GaussianProcessMeta(random_state=0),
    "RidgeHead": lambda shots=10: RidgeHead(n_shots=shots, max_iter=ITERATIONS, random_state=0),
    "PrototypeClassifier": lambda shots=10: PrototypeClassifier(
        n_shots=shots, max_iter=ITERATIONS, random_state=0
    ),
    "MetaRegressor": lambda: MetaRegressor(random_state=0),
    "MetaClassifier": lambda: MetaClassifier(random_state=0),
}
CLASSIFIERS = ("PrototypeClassifier", "MetaClassifier")
FEWEST, MOST = 1000, 32_000  # tasks that growth begins with, and ends with at last
BEGIN = {"TransferMetaLearner": 100, "MetaRegressor": 100, "MetaClassifier": 100}  # that cost more
BEGIN["GaussianProcessMeta"] = 8000  # beyond those that the kernel is learned from
BEGIN["RidgeHead"] = 8000
GROWTH, SHOWS = 4, 1.25
REPEATS, SECONDS = 3, 5  # fits to the same data, as long as they take no longer
ROWS_OF_TASK, COLUMNS, SHOTS = 20, 2, 10
WITH_SHOTS = (
    "MAML",
    "FOMAML",
    "ANIL",
    "MetaSGD",
    "IMAML",
    "Reptile",
    "RidgeHead",
    "PrototypeClassifier",
)


def make_data(n_tasks, n_rows, n_features, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_tasks), n_rows)
    X = rng.standard_normal((n_tasks * n_rows, n_features))
    w = 1 + rng.standard_normal((n_tasks, n_features + 1))
    y = w[ids, 0] + np.einsum("nd,nd->n", X, w[ids, 1:]) + rng.standard_normal(len(X))
    return X, y, ids


def peak_memory():
    """The peak of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(name, n_tasks, n_rows, n_features, shots):
    """One fit, after a small one that loads what is imported late."""
    warnings.simplefilter("ignore")
    make = (lambda: MODELS[name](shots)) if name in WITH_SHOTS else MODELS[name]
    as_target = (lambda y: y > 1) if name in CLASSIFIERS else np.asarray
    X, y, ids = make_data(25, n_rows, n_features)
    make().fit(X, as_target(y), groups=ids)
    X, y, ids = make_data(n_tasks, n_rows, n_features)
    y = as_target(y)
    before, seconds = peak_memory(), []
    while len(seconds) < REPEATS and sum(seconds) < SECONDS:
        start = time.process_time()
        make().fit(X, y, groups=ids)
        seconds.append(time.process_time() - start)
    return {"seconds": min(seconds), "bytes": peak_memory() - before}


def cost(name, size):
    return in_process("--measure", [name, *size])


def in_process(what, arguments):
    """A measurement in a process of its own."""
    command = [sys.executable, __file__, what, json.dumps(arguments)]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, "1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes, costs):
    """The slope of log cost against log size."""
    return np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0]


def grow(name, start, axis, factors):
    """Costs where one number grows; the sizes and the measurements."""
    sizes = [[n * f if i == axis else n for i, n in enumerate(start)] for f in factors]
    return [size[axis] for size in sizes], [cost(name, size) for size in sizes]


def grow_tasks(name):
    """Costs of more and more tasks, until they show; numbers of tasks and the measurements."""
    sizes, costs = [], []
    while True:
        sizes.append(sizes[-1] * GROWTH if sizes else BEGIN.get(name, FEWEST))
        costs.append(cost(name, (sizes[-1], ROWS_OF_TASK, COLUMNS, SHOTS)))
        seconds = [c["seconds"] for c in costs]
        if len(sizes) > 1 and (seconds[-1] >= SHOWS * seconds[-2] or sizes[-1] >= MOST):
            return sizes, costs


def row(name):
    """One line of the table; the last two numbers of tasks and what they cost."""
    sizes, costs = grow_tasks(name)
    seconds = [c["seconds"] for c in costs]
    found = [f"{exponent(sizes[-2:], seconds[-2:]):.2f}"]
    for axis in range(1, 4):
        if axis == 3 and name not in WITH_SHOTS:
            found.append("")
            continue
        base = (sizes[0], ROWS_OF_TASK if axis < 3 else 100, COLUMNS, SHOTS)
        grown, grown_costs = grow(name, base, axis, (1, 2, 4))
        found.append(f"{exponent(grown, [c['seconds'] for c in grown_costs]):.2f}")
    cells = "".join(f"{value:>9}" for value in found)
    memory = costs[-1]["bytes"] / 2**20
    print(f"{name:20} {sizes[-1]:>9,} {seconds[-1]:8.2f} {memory:8.0f}{cells}", flush=True)
    return sizes, seconds


def predicted(sizes, seconds, n_tasks):
    """A constant and a share of each task, through the last two sizes."""
    each = (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2])
    return seconds[-1] + each * (n_tasks - sizes[-1])


def check(name, sizes, seconds):
    """Whether the cost at ten times the largest size is as predicted within a factor of 2."""
    n_tasks = 10 * sizes[-1]
    expected = predicted(sizes, seconds, n_tasks)
    measured = cost(name, (n_tasks, ROWS_OF_TASK, COLUMNS, SHOTS))["seconds"]
    ratio = measured / expected
    print(
        f"{name:20} {n_tasks:>9,} tasks: predicted {expected:7.2f} s, measured {measured:7.2f}"
        f" s, ratio {ratio:.2f} {'' if 0.5 <= ratio <= 2 else 'MORE THAN A FACTOR OF 2'}",
        flush=True,
    )


MAPPED = {
    "HierarchicalBayes": lambda: HierarchicalBayes(regularization=None),
    "FOMAML": lambda: FOMAML(max_iter=10, inner_lr=0.1, random_state=0),
    "Reptile": lambda: Reptile(max_iter=10, inner_lr=0.1, random_state=0),
    "BatchMetaLearner": lambda: BatchMetaLearner(
        SGDRegressor(), n_estimators=1, tasks_per_batch=256, n_epochs=1, random_state=0
    ),
}
ROWS, FEATURES, AT_A_TIME = 1000, 10, 100  # tasks that are mapped at a time


def mapped(gigabytes):
    """Peak memory of fits to tasks that lie in files."""
    n_tasks = int(gigabytes * 1e9 / (8 * ROWS * (FEATURES + 1)))
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < gigabytes * 1.1e9:
            sys.exit(f"There is no room for {gigabytes:g} GB in {folder}; set TMPDIR.")
        with open(f"{folder}/X", "wb") as X_file, open(f"{folder}/y", "wb") as y_file:
            for lo in range(0, n_tasks, AT_A_TIME):
                X, y, _ = make_data(min(AT_A_TIME, n_tasks - lo), ROWS, FEATURES, seed=lo)
                X.tofile(X_file)
                y.tofile(y_file)
        print(
            f"{n_tasks:,} tasks of {ROWS} rows and {FEATURES} features, {gigabytes:g} GB in files:"
        )
        for name in MAPPED:
            found = in_process("--measure-mapped", [name, folder, n_tasks])
            print(
                f"{name:20} {found['seconds']:7.1f} s, {found['peak'] / 1e6:.0f} MB, of it "
                f"{found['anonymous'] / 1e6:.0f} MB of no file",
                flush=True,
            )


def stream(folder, n_tasks):
    """Tasks whose rows are mapped, and no longer mapped once nothing holds them."""
    for lo in range(0, n_tasks, AT_A_TIME):
        n, at = min(AT_A_TIME, n_tasks - lo), 8 * ROWS * lo
        X_shape, X_at = (n, ROWS, FEATURES), at * FEATURES
        X = np.memmap(f"{folder}/X", np.float64, "r", offset=X_at, shape=X_shape)
        y = np.memmap(f"{folder}/y", np.float64, "r", offset=at, shape=(n, ROWS))
        yield from zip(X, y, strict=True)


def measure_mapped(name, folder, n_tasks):
    """One fit, and the peaks of what /proc says, sampled."""
    peaks, done, start = {}, threading.Event(), time.process_time()

    def watch():
        while not done.wait(0.005):
            with open("/proc/self/status") as file:
                now = dict(line.split(":") for line in file)
            for key in ("RssAnon", "VmRSS"):
                peaks[key] = max(peaks.get(key, 0), int(now[key].split()[0]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    MAPPED[name]().partial_meta_fit(stream(folder, n_tasks))
    done.set()
    watcher.join()
    seconds = time.process_time() - start
    return {"seconds": seconds, "peak": peaks["VmRSS"], "anonymous": peaks["RssAnon"]}


def million():
    found = cost("plain likelihood", (1_000_000, 10, 1, 10))
    memory = found["bytes"] / 1e6
    print(
        f"1,000,000 tasks of 10 rows, plain likelihood: {found['seconds']:.1f} s, {memory:.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all; or: mapped"
    )
    parser.add_argument("--no-check", action="store_true", help="the table only")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--gigabytes", type=float, default=10, help='of "mapped"')
    parser.add_argument("--measure-mapped", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for function, given in ((measure, args.measure), (measure_mapped, args.measure_mapped)):
        if given:
            print(json.dumps(function(*json.loads(given))))
            return
    if args.models == ["mapped"]:
        mapped(args.gigabytes)
        return
    unknown = set(args.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    names = args.models or list(MODELS)
    print(
        f"{ROWS_OF_TASK} rows a task, {COLUMNS} features; of what learns by gradients {ITERATIONS} "
        "meta-iterations. Exponents of time in:"
    )
    heads = ("tasks", "rows", "features", "shots")
    print(f"{'':20} {'tasks':>9} {'s':>8} {'MB':>8}" + "".join(f"{h:>9}" for h in heads))
    for name in names:
        measured = row(name)
        if not args.no_check:
            check(name, *measured)
    if "HierarchicalBayes" in names and not args.no_check:
        million()


if __name__ == "__main__":
    main()
