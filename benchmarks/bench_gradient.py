"""Gradient-based meta-learning against other libraries: correctness, speed, sinusoids, threads.

    python benchmarks/bench_gradient.py                 (all of the following, half an hour)
    python benchmarks/bench_gradient.py correctness     (JAX: the extra "bench")
    python benchmarks/bench_gradient.py speed           (JAX, PyTorch, learn2learn: those installed)
    python benchmarks/bench_gradient.py sizes           (numba: the extra "fast")
    python benchmarks/bench_gradient.py sinusoid        (about 10 minutes a seed)
    python benchmarks/bench_gradient.py threads

Protocols:

correctness. Meta-gradients of 16 learners after 1, 3 and 5 inner steps against JAX in double
    precision (`gradient_oracle.py`): tasks of unequal sizes, one of them of a single row, random
    row weights, penalties of the estimators. Relative differences of norms. The guard against
    rising losses is off. iMAML is compared with a solve with the whole Hessian at the same phi_t,
    the solutions of 3,000 guarded inner steps; `phi` is how far they are from those of JAX.
speed. One meta-iteration of 25 sinusoid tasks, 10 + 10 rows, perceptron 1-40-40-1 with ReLU,
    float32, Adam, one thread, one process on one core. `numpy`: meta-gradient and Adam on episodes
    drawn before, which all libraries share; `numba`: the same with the extra "fast"; `unguarded`:
    without the check that no inner step raises the loss, which the others do not make either, but
    for `jax, guarded`, which halves steps in the same way; `meta_fit`: a whole iteration as
    meta_fit runs it, episodes drawn included (the difference of runs of 500 iterations and of none,
    over 500). Seconds of the processor, not of the clock, so that other programs on the machine
    count less. Rounds of all libraries take turns; the table has the median over all iterations,
    and the 10th percentile, which other programs disturb less still.
sizes. Meta-gradients of MAML for other networks, losses and numbers of rows, float64, NumPy and
    numba in turn; medians of processor time.
sinusoid. Finn, Abbeel, Levine (2017): amplitude U[0.1, 5], phase U[0, pi], x U[-5, 5]; perceptron
    1-40-40-1 with ReLU; inner rate 0.01 on the mean square (0.02 on its half, the loss of this
    package), 1 step, 10 + 10 rows, 25 fresh tasks in each of 60,000 iterations, Adam 0.001. Mean
    squared error on 100 points of each of 1,000 fresh tasks after adaptation to 10 rows, six times
    in training; at its end on 10,000 tasks after 1 to 10 steps. With `--schedule linear` the rate
    of Adam falls to 0 during training, as it does by default in this package.
threads. One meta-iteration of MAML, 3 steps, with n_jobs=1 and 2 on large batches of tasks, with
    NumPy and numba; so few iterations that meta_fit does not look at a probe in between.
"""

import argparse
import itertools
import os
import time
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import gradient_peers
import numpy as np
import sinusoid

from sklearn_meta import FOMAML, MAML, MetaSGD
from sklearn_meta.kernels import gradient
from sklearn_meta.kernels.losses import Logistic, Multinomial, Squared
from sklearn_meta.kernels.network import Batch, Network
from sklearn_meta.kernels.optimizers import adam

CASES = {"FOMAML, 1 step": (1, False), "MAML, 1 step": (1, True)}
CASES |= {"FOMAML, 5 steps": (5, False), "MAML, 5 steps": (5, True)}


def correctness(args):
    """Relative differences of meta-gradients from JAX."""
    try:
        import gradient_oracle as oracle
    except ImportError as error:
        print(f"not compared with JAX: {error}")
        return
    head = ("loss", "MAML", "Meta-SGD", "FOMAML", "iMAML", "phi")
    print(f"{'learner':32}{'steps':>6}" + "".join(f"{name:>10}" for name in head))
    worst = 0.0
    for name in [name for name in oracle.CASES if args.learners in name]:
        for n_steps in (1, 3, 5):
            found = oracle.differences(name, n_steps)
            if n_steps == 5:
                found |= oracle.implicit_differences(name)
            worst = max(worst, *(value for key, value in found.items() if key != "phi"))
            cells = "".join(f"{found[key]:10.0e}" for key in head if key in found)
            print(f"{name:32}{n_steps:>6}{cells}", flush=True)
    print(f"largest: {worst:.1e}")


COMPILED = gradient._numba  # numba's version of the kernel, or None
KERNELS = ("numpy", "numba") if COMPILED() else ("numpy",)


def choose(kernel):
    """Have NumPy or numba compute."""
    gradient._numba = COMPILED if kernel == "numba" else lambda: None


def kernel_step(kernel, layers, episodes, n_steps, second_order, inner_lr, outer_lr, guard=True):
    """This package: the meta-gradient and Adam, on episodes as arrays."""
    sizes = (*(len(W) for W, _ in layers), layers[-1][0].shape[1])
    network, optimizer = Network(sizes, Squared(), "relu"), adam()
    x = np.concatenate([part.ravel() for W, b in layers for part in (b, W)])
    alpha, state = np.full((1, len(x)), inner_lr, x.dtype), optimizer.init(x)
    batches = []
    for X, y, X_query, y_query in episodes:
        weight = np.full(X.shape[:2], 1 / X.shape[1], X.dtype)
        weight_query = np.full(X_query.shape[:2], 1 / X_query.shape[1], X.dtype)
        batches.append((Batch(X, y, weight), Batch(X_query, y_query, weight_query)))
    i = 0

    def step():
        nonlocal x, state, i
        support, query = batches[i % len(batches)]
        i += 1
        how = {"second_order": second_order, "guard": guard}
        value, g, _ = gradient.meta_gradient(
            network, x[None], support, query, alpha, n_steps, **how
        )
        x, state = optimizer.update(x, g, state, outer_lr)
        return value

    return step


def seconds_of_meta_fit(n_steps, second_order, n_iterations=500):
    """Time of one iteration of meta_fit."""
    meta = (MAML if second_order else FOMAML)(
        sinusoid.network(), random_state=0, **sinusoid.settings(n_steps)
    )
    rng, took = np.random.default_rng(0), []
    tasks = sinusoid.pairs(1000, sinusoid.N_SHOTS + sinusoid.N_QUERY, rng)
    for max_iter in (0, n_iterations):
        meta.set_params(max_iter=max_iter)
        start = time.process_time()
        meta.meta_fit(tasks)
        took.append(time.process_time() - start)
    return (took[1] - took[0]) / n_iterations


def speed(args):
    """Time of one meta-iteration, this package and the others in turn."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    peers = gradient_peers.available()
    steps = {}
    for kernel in KERNELS:
        steps[kernel] = partial(kernel_step, kernel)
        steps[f"{kernel}, unguarded"] = partial(kernel_step, kernel, guard=False)
    steps |= peers
    rng = np.random.default_rng(0)
    layers, episodes = first_layers(rng), [split(sinusoid, rng) for _ in range(50)]
    for case, (n_steps, second_order) in CASES.items():
        settings = (n_steps, second_order, sinusoid.INNER_LR, sinusoid.OUTER_LR)
        runs = {name: make(layers, episodes, *settings) for name, make in steps.items()}
        took = {name: [] for name in (*steps, *(f"{kernel}, meta_fit" for kernel in KERNELS))}
        for name, step in runs.items():
            choose(name.split(",")[0])
            for _ in range(20):
                step()
        for k in range(args.rounds):
            for name, step in runs.items():
                choose(name.split(",")[0])
                for _ in range(2 if name == "learn2learn" else 20):
                    start = time.process_time()
                    step()
                    took[name].append(time.process_time() - start)
            for kernel in KERNELS if k % 10 == 0 else ():
                choose(kernel)
                seconds = seconds_of_meta_fit(n_steps, second_order)
                took[f"{kernel}, meta_fit"].append(seconds)
        print(f"\n{case:18}{'median':>12}{'10 %':>12}{f'over {KERNELS[-1]} (median, 10 %)':>32}")
        ours = np.percentile(took[KERNELS[-1]], [50, 10])
        for name, seconds in took.items():
            own = np.percentile(seconds, [50, 10])
            times = "".join(f"{1e3 * t:9.3f} ms" for t in own)
            ratios = "".join(f"{ratio:16.2f}" for ratio in own / ours)
            print(f"{name:18}{times}{ratios}", flush=True)


def first_layers(rng):
    """Glorot-uniform weights, intercepts of 0."""
    layers = []
    for i, o in zip(sinusoid.WIDTHS[:-1], sinusoid.WIDTHS[1:], strict=True):
        bound = np.sqrt(6 / (i + o))
        W = rng.uniform(-bound, bound, (i, o)).astype(np.float32)
        layers.append((W, np.zeros(o, np.float32)))
    return layers


def split(data, rng):
    """An episode: rows and targets of supports, rows and targets of queries."""
    X, y = data.draw(data.N_TASKS, data.N_SHOTS + data.N_QUERY, rng)
    at = data.N_SHOTS
    return [np.ascontiguousarray(part) for part in (X[:, :at], y[:, :at], X[:, at:], y[:, at:])]


SIZES = [  # widths, activation, loss, tasks, rows, inner steps
    ((5, 1), "identity", Squared(), 25, 5, 30),
    ((5, 1), "identity", Logistic(), 25, 10, 30),
    ((50, 1), "identity", Squared(), 25, 20, 30),
    ((5, 4), "identity", Multinomial(), 25, 10, 30),
    ((5, 1), "identity", Squared(), 10, 1000, 30),
    ((1, 40, 40, 1), "relu", Squared(), 25, 10, 5),
    ((1, 40, 40, 1), "tanh", Squared(), 25, 10, 5),
    ((1, 40, 40, 1), "logistic", Squared(), 25, 10, 5),
    ((10, 100, 1), "relu", Squared(), 25, 10, 10),
    ((10, 100, 1), "relu", Squared(), 25, 100, 10),
    ((100, 100, 100, 10), "relu", Multinomial(), 25, 20, 5),
]


def sizes(args):
    """Time of meta-gradients of MAML, float64, by NumPy and by numba in turn."""
    rng = np.random.default_rng(0)
    for widths, activation, loss, n_tasks, n_rows, n_steps in SIZES:
        network = Network(widths, loss, activation)
        theta = 0.1 * rng.standard_normal((1, network.n_params))
        shape = n_tasks, n_rows
        y = rng.standard_normal((*shape, widths[-1]))
        if not isinstance(loss, Squared):
            y = (y >= (y.max(axis=-1, keepdims=True) if widths[-1] > 1 else 0)).astype(float)
        batch = Batch(rng.standard_normal((*shape, widths[0])), y, np.full(shape, 1 / n_rows))
        took = {kernel: [] for kernel in KERNELS}
        for _ in range(args.rounds):
            for kernel in KERNELS:
                choose(kernel)
                start = time.process_time()
                gradient.meta_gradient(
                    network, theta, batch, batch, np.full_like(theta, 0.02), n_steps
                )
                took[kernel].append(time.process_time() - start)
        medians = [1e3 * np.median(took[kernel]) for kernel in KERNELS]
        what = f"{widths} {activation} {type(loss).__name__}, {n_tasks} x {n_rows}, {n_steps} steps"
        times = " ".join(f"{t:9.2f} ms" for t in medians)
        print(f"{what:64}{times}{medians[0] / medians[-1]:7.2f}", flush=True)


def report(errors):
    return f"{errors.mean():.3f} ± {errors.std() / np.sqrt(len(errors)):.3f}"


def sinusoids(args):
    """Errors of MAML, FOMAML and Meta-SGD after the published training."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        found = {}
        for kind in (MAML, FOMAML, MetaSGD):
            rng, start = np.random.default_rng(seed), time.perf_counter()
            meta = kind(sinusoid.network(), random_state=seed, **sinusoid.settings(1))
            for k in range(1, 7):
                part = args.iterations * (k - 1) // 6, args.iterations * k // 6
                sinusoid.train(meta, range(*part, 200), args.iterations, args.schedule, rng)
                found[kind] = sinusoid.errors(meta, 1000)
                took = time.perf_counter() - start
                where = f"seed {seed}, {kind.__name__}, {k * args.iterations // 6} iterations"
                print(f"{where}: {report(found[kind])}, {took:.0f} s", flush=True)
            for n_steps in (1, 2, 5, 10):
                meta.set_params(adapt_steps=n_steps)
                many = sinusoid.errors(meta, 10_000, seed=1)
                print(
                    f"    {n_steps:2} steps, 10,000 tasks: {report(many)}, largest {many.max():.2f}"
                )
        base = found[MAML].mean()
        for kind in (FOMAML, MetaSGD):
            print(f"    {kind.__name__} / MAML: {found[kind].mean() / base:.3f}", flush=True)


def threads(args):
    """Time of a meta-iteration with one and two threads; the results must be the same."""
    print(f"{'tasks':>7}{'rows':>7}{'hidden':>9}{'1 thread':>12}{'2 threads':>12}{'ratio':>7}")
    shapes = (25, 20, 40), (400, 40, 40), (400, 200, 64), (2000, 100, 64)
    for kernel, (n_tasks, n_rows, hidden) in itertools.product(KERNELS, shapes):
        choose(kernel)
        rng = np.random.default_rng(0)
        tasks = sinusoid.pairs(n_tasks, n_rows, rng)
        MAML(sinusoid.network(), max_iter=1).meta_fit(tasks[:2])  # numba compiles
        metas, took = {}, {1: [], 2: []}
        for _ in range(args.repeats):
            for n_jobs in took:
                settings = {**sinusoid.settings(3), "tasks_per_batch": n_tasks, "n_query": None}
                settings["n_shots"] = n_rows // 2
                network = sinusoid.network().set_params(hidden_layer_sizes=(hidden, hidden))
                meta = MAML(network, random_state=0, n_jobs=n_jobs, **settings)
                per_iteration = []
                for max_iter in (0, args.iterations):
                    start = time.perf_counter()
                    metas[n_jobs] = meta.set_params(max_iter=max_iter).meta_fit(tasks)
                    per_iteration.append(time.perf_counter() - start)
                took[n_jobs].append((per_iteration[1] - per_iteration[0]) / args.iterations)
            one, two = (metas[n_jobs].meta_model_.theta for n_jobs in took)
        best = {n_jobs: min(seconds) for n_jobs, seconds in took.items()}
        same = "" if np.array_equal(one, two) else "  RESULTS DIFFER"
        print(
            f"{n_tasks:>7}{n_rows:>7}{hidden:>9}{1e3 * best[1]:9.1f} ms{1e3 * best[2]:9.1f} ms"
            f"{best[1] / best[2]:7.2f}  {kernel}{same}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", help="all of them, if none is given")
    part = commands.add_parser("correctness", help=correctness.__doc__)
    part.add_argument("--learners", default="", help="only those with this in their name")
    part.set_defaults(run=correctness)
    part = commands.add_parser("speed", help=speed.__doc__)
    part.add_argument("--rounds", type=int, default=50)
    part.set_defaults(run=speed)
    part = commands.add_parser("sizes", help=sizes.__doc__)
    part.add_argument("--rounds", type=int, default=25)
    part.set_defaults(run=sizes)
    part = commands.add_parser("sinusoid", help=sinusoids.__doc__)
    part.add_argument("--iterations", type=int, default=60_000)
    part.add_argument("--seeds", type=int, default=1)
    part.add_argument("--first-seed", type=int, default=0)
    part.add_argument("--schedule", choices=["constant", "linear"], default="constant")
    part.set_defaults(run=sinusoids)
    part = commands.add_parser("threads", help=threads.__doc__)
    part.add_argument("--iterations", type=int, default=15)
    part.add_argument("--repeats", type=int, default=3)
    part.set_defaults(run=threads)
    args = parser.parse_args()
    for command in [args.command] if args.command else list(commands.choices):
        run = args if args.command else parser.parse_args([command])
        run.run(run)


if __name__ == "__main__":
    main()
