"""HierarchicalBayes against lme4, mixedlm and GPBoost: speed, memory; coverage of its intervals.

    python benchmarks/bench_hierarchical.py
    python benchmarks/bench_hierarchical.py --sizes 1000x20 --repeats 1
    python benchmarks/bench_hierarchical.py --scikit-lego     (a peer, if it is installed)
    python benchmarks/bench_hierarchical.py --only glmm       (or speed, coverage, tables)
    python benchmarks/bench_hierarchical.py --peers-python ~/peers/bin/python

Protocol:

1. y = 1 + 2 x + u0 + u1 x + e; x, u0, e ~ N(0, 1), u1 ~ N(0, 0.25), all independent; tasks of
   equal size, rows in the order of the tasks, integer ids. Seed 0. Both programs read the same
   numbers.
2. One thread each, one program at a time.
3. HierarchicalBayes: `fit(X, y, groups=ids)`, which learns the prior by REML and adapts to every
   task. A fresh process loads the data, fits a few tasks to have everything imported, then
   measures. Seconds: the median of 3 such processes.
4. lme4 (R with the packages lme4 and jsonlite): `lmer(y ~ x + (x | g), REML = TRUE)`, timed once
   inside R by `lme4_speed.R`, reading the file not included. `ratio` is to its default, which ends
   with a check of the derivatives at the optimum; `ratio*` to the faster call without that check.
5. Memory: growth of the peak of that process during `fit`: what it needs above the data.
6. Ids as strings: the same tables with ids like "task_123", as a NumPy array of strings and as an
   array of Python strings ("object"), which is what columns of dataframes become. The memory that
   the latter take is not measured: making the array raises the peak before.
7. mixedlm (statsmodels) and GPBoost: `hierarchical_peers.py`, in processes of their own, by the
   Python of `--peers-python` (this one by default), on the same tables, of at most 1,000 and
   10,000 tasks.
   What is not installed is skipped. GPBoost has no correlation of intercept and slope.
8. GLMM: eta = 0.5 + x + u0 + u1 x, u0 ~ N(0, 1), u1 = 0 or ~ N(0, 0.25); y ~ Bernoulli(expit eta)
   or Poisson(exp(eta / 2)); Laplace's approximation. lme4 is `glmer(y ~ x + (1 | g), nAGQ = 1)` or
   with `(x | g)`, timed in R by `glmer_speed.R`: its defaults; "fast", with nloptwrap and without
   the check of derivatives; "tight", whose digits are those to compare with, since the defaults
   stop at 3 or 4. Processor time, ratios to the plain likelihood (`regularization=None`). GPBoost
   fits the first. More of glmer's digits are tests (`tests/test_glmer.py`).
9. Coverage of 90 % intervals for 20 new tasks after 0, 1, 5 and 20 rows, in COVERAGE; meta-train
   tasks have 20 rows, coefficients are N(mean, A A'), A = 0.8 N(0, 1) / sqrt(d + 1), noise 1 or, if
   it varies, of a standard deviation log-normal with sigma 0.7. "worst": the worst tenth of tasks,
   by 200 rows of each. "truth known": by who knows mean, A and sigma, and of a task its rows: the
   level is exact on average, and the worst tenth what it is for intervals as good as can be.
10. The same on the regression tables of `tables.py` (`--only tables`): by random splits, a fifth of
   the tasks is new, 200 or more over all splits of a table; of the others at most 300 are
   meta-trained on. movielens is without its features that are means of targets.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from sklearn_meta import HierarchicalBayes

R_SCRIPT = Path(__file__).with_name("lme4_speed.R")
GLMER = Path(__file__).with_name("glmer_speed.R")
GLMM = {"binomial": LogisticRegression(), "poisson": PoissonRegressor()}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SIZES = ("1000x20", "10000x20", "100000x10", "1000000x10")
LME4_MOST_TASKS = 100_000
MOST_TASKS = 300  # of a table
PEERS = Path(__file__).with_name("hierarchical_peers.py")
PEERS_MOST_TASKS = {"mixedlm": 1_000, "gpboost": 10_000}
COVERAGE = {  # meta-train tasks, features, whether noise varies, parameters
    "5 tasks, 3 features": (5, 3, False, {}),
    "10 tasks, 8 features": (10, 8, False, {}),
    "30 tasks, 3 features": (30, 3, False, {}),
    "30 tasks, varying noise": (30, 3, True, {}),
    "30 tasks, varying noise, per task": (30, 3, True, {"noise": "per_task"}),
    "varying noise, truth known": (30, 3, True, None),
}
LEVEL = 0.9
SPREAD = 0.7  # of the logarithm of the standard deviation of noise that varies
# Seconds of lme4 1.1.31, one core of an AMD EPYC: shown where R is not installed.
LME4_STORED = {"1000x20": 0.21, "10000x20": 3.3, "100000x10": 13.6}
LME4_SECONDS = ("seconds", "seconds_no_derivative_check")
MEGABYTE = 2**20


def make_data(size, folder):
    """Write the table for both programs."""
    n_tasks, n_rows = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(n_tasks), n_rows)
    x = rng.standard_normal(n_tasks * n_rows)
    u = rng.standard_normal((n_tasks, 2)) * [1.0, 0.5]
    y = 1.0 + 2.0 * x + u[task, 0] + u[task, 1] * x + rng.standard_normal(len(x))
    np.save(folder / "X.npy", x[:, None])
    np.save(folder / "y.npy", y)
    np.save(folder / "integer.npy", task)
    np.save(folder / "string.npy", np.strings.add("task_", task.astype(str)))
    if n_tasks <= LME4_MOST_TASKS:
        pd.DataFrame({"y": y, "x": x, "g": task}).to_csv(folder / "data.csv", index=False)


def read_data(folder, ids):
    groups = np.load(folder / ("integer.npy" if ids == "integer" else "string.npy"))
    if ids == "object":
        groups = groups.astype(object)
    return np.load(folder / "X.npy"), np.load(folder / "y.npy"), groups


def peak_memory():
    """The peak of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(folder, ids):
    """Fit once, in a fresh process."""
    X, y, groups = read_data(folder, ids)
    few = slice(0, 200)  # loads what is imported late
    HierarchicalBayes(regularization=None).fit(X[few], y[few], groups=groups[few])
    before = peak_memory()
    start = time.perf_counter()
    meta = HierarchicalBayes(regularization=None).fit(X, y, groups=groups)
    seconds = time.perf_counter() - start
    memory = peak_memory() - before
    start = time.perf_counter()
    meta.predict(X, groups=groups)
    return {
        "seconds": seconds,
        "predict_seconds": time.perf_counter() - start,
        "memory": memory,
        "fixef": meta.prior_mean_.tolist(),
        "varcorr": meta.prior_covariance_.tolist(),
        "sigma2": meta.noise_variance_,
    }


def in_fresh_process(*arguments):
    """Run this file with one thread and read the JSON that it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return run_json(command)


def run_json(command):
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def lme4(size, folder):
    """Time lme4 in R; None without R or where it would take too long."""
    n_tasks, n_rows = size.split("x")
    if shutil.which("Rscript") is None or int(n_tasks) > LME4_MOST_TASKS:
        return None
    return run_json(["Rscript", str(R_SCRIPT), n_tasks, n_rows, str(folder / "data.csv")])


def estimates(fit):
    """Fixed effects, variances, correlation and noise variance, in one line."""
    (v0, cov), (_, v1) = fit["varcorr"]
    b0, b1 = fit["fixef"].values() if isinstance(fit["fixef"], dict) else fit["fixef"]
    return (
        f"mean {b0:.5f} {b1:.5f}  variances {v0:.5f} {v1:.5f}  "
        f"correlation {cov / np.sqrt(v0 * v1):.5f}  noise {fit['sigma2']:.5f}"
    )


def peer(name, folder, python):
    """Time a peer in Python, and say so where it is not installed."""
    fit = run_json([python, str(PEERS), name, str(folder)])
    if not fit:
        print(f"  {name.split('_')[0]}: not installed, skipped")
    return fit


def compare(size, repeats, python):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        in_fresh_process("--make", size, folder)  # its peak must not become that of this process
        fits = [in_fresh_process("--measure", folder, "integer") for _ in range(repeats)]
        ours = {**fits[0], "seconds": statistics.median(fit["seconds"] for fit in fits)}
        print(f"\n{size.replace('x', ' tasks x ')} rows")
        print(f"  sklearn_meta  {estimates(ours)}")
        report_lme4(size, lme4(size, folder), ours["seconds"])
        for name, most in PEERS_MOST_TASKS.items():
            if int(size.split("x")[0]) <= most and (fit := peer(name, folder, python)):
                print(f"  {fit['name']:13} {estimates(fit)}")
                print(f"  {fit['name']:13} {fit['seconds']:.3f} s, ", end="")
                print(f"ratio {fit['seconds'] / ours['seconds']:.1f}")
        for ids in ("integer", "string", "object"):
            fit = ours if ids == "integer" else in_fresh_process("--measure", folder, ids)
            memory = f"{fit['memory'] / MEGABYTE:.0f} MB above the data, "
            print(
                f"  sklearn_meta  {ids} ids: fit {fit['seconds']:.3f} s, "
                f"{'' if ids == 'object' else memory}"
                f"predict all rows {fit['predict_seconds']:.3f} s"
            )


def report_lme4(size, fit, seconds):
    if fit is not None:
        name, slow, fast = "lme4 " + fit["lme4_version"], *map(fit.get, LME4_SECONDS)
        print(f"  {name:13} {estimates(fit)}")
        print(f"  {name:13} {slow:.3f} s; without its check {fast:.3f} s")
        print(f"  ratio {slow / seconds:.1f}, ratio* {fast / seconds:.1f}")
    elif size in LME4_STORED:
        stored = LME4_STORED[size]
        print("  lme4 is not installed here. Version 1.1.31 on another machine, one core of an AMD")
        print(f"  EPYC, took {stored} s, {stored / seconds:.1f} times as long: a rough guide only.")
    else:
        print("  lme4: not run at this size.")


def measure_glmm(folder, family, effects, regularization):
    """Fit a generalised linear mixed model once, in a fresh process."""
    X, y, groups = read_data(folder, "integer")
    params = {"random_effects": effects}
    if not regularization:
        params |= {"regularization": None, "contextual_effects": False}
    few = slice(0, 200)  # loads what is imported late
    HierarchicalBayes(GLMM[family], **params).fit(X[few], y[few], groups=groups[few])
    start = time.process_time()
    meta = HierarchicalBayes(GLMM[family], **params).fit(X, y, groups=groups)
    seconds = time.process_time() - start
    varcorr = meta.prior_covariance_
    return {
        "seconds": seconds,
        "fixef": meta.prior_mean_.tolist(),
        "varcorr": varcorr[: 1 + (effects == "all"), : 1 + (effects == "all")].tolist(),
        "log_likelihood": meta.log_likelihood_,
    }


def glmm_line(name, fit, seconds=None):
    numbers = np.concatenate([fit["fixef"], np.ravel(fit["varcorr"])])
    print(f"  {name:28} {' '.join(f'{v:8.4f}' for v in numbers)}", end="")
    print(f"  {fit['log_likelihood']:.3f}" if "log_likelihood" in fit else "", end="")
    if "seconds" in fit:
        print(f"  {fit['seconds']:.3f} s", end="")
        print(f", ratio {fit['seconds'] / seconds:.1f}" if seconds else "", end="")
    print()


def compare_glmm(n_tasks, repeats, python, n_rows=10):
    """Laplace's approximation, binomial and Poisson, random intercepts and slopes."""
    for family, effects in itertools.product(GLMM, ("intercept", "all")):
        rng = np.random.default_rng(0)
        groups, x = np.repeat(np.arange(n_tasks), n_rows), rng.standard_normal(n_tasks * n_rows)
        u = rng.standard_normal((n_tasks, 2)) * [1.0, 0.5 * (effects == "all")]
        eta = 0.5 + x + u[groups, 0] + u[groups, 1] * x
        if family == "binomial":
            y = (rng.uniform(size=len(x)) < 1 / (1 + np.exp(-eta))).astype(float)
        else:
            y = rng.poisson(np.exp(eta / 2)).astype(float)
        print(f"\nGLMM, {family}, {n_tasks} tasks x {n_rows} rows, random {effects}")
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            for name, values in (("X", x[:, None]), ("y", y), ("integer", groups)):
                np.save(folder / f"{name}.npy", values)
            pd.DataFrame({"y": y, "x": x, "g": groups}).to_csv(folder / "data.csv", index=False)
            fits = {
                regularised: [
                    in_fresh_process("--measure-glmm", folder, family, effects, regularised)
                    for _ in range(repeats)
                ]
                for regularised in ("", "auto")
            }
            plain, default = (
                {**f[0], "seconds": statistics.median(fit["seconds"] for fit in f)}
                for f in fits.values()
            )
            glmm_line("sklearn_meta, likelihood", plain)
            glmm_line("sklearn_meta, default", default)
            if shutil.which("Rscript"):
                table = str(folder / "data.csv")
                lme4 = run_json(["Rscript", str(GLMER), family, effects, table])
                name = "lme4 " + lme4["lme4_version"]
                glmm_line(name, lme4["default"], plain["seconds"])
                glmm_line(name + ", fast", lme4["fast"], plain["seconds"])
                glmm_line(name + ", tight", lme4["tight"], plain["seconds"])
            else:
                print("  lme4: not installed, skipped")
            if (family, effects) == ("binomial", "intercept"):
                if fit := peer("gpboost_logit", folder, python):
                    glmm_line(fit["name"], fit, plain["seconds"])


def draw_task(rng, A, mean, n_rows, varies):
    X, w = rng.normal(size=(n_rows, len(mean) - 1)), mean + A @ rng.normal(size=len(mean))
    sd = np.exp(SPREAD * rng.normal()) if varies else 1.0
    return X, w[0] + X @ w[1:] + sd * rng.normal(size=n_rows)


def covered_by_truth(A, mean, X, y, k):
    """Whether rows behind the first k lie in intervals of who knows what tasks are drawn from.

    The predictive distribution after k rows is a mixture over the standard deviation of the noise.
    """
    X = np.column_stack([np.ones(len(X)), X])
    log_weight, below = [], []
    for node in np.linspace(-4, 4, 61):
        sd = np.exp(SPREAD * node)
        H = X[:k] @ A @ A.T @ X[:k].T + sd**2 * np.eye(k)
        gain = np.linalg.solve(H, X[:k] @ A @ A.T).T
        error = y[:k] - X[:k] @ mean
        V = A @ A.T - gain @ X[:k] @ A @ A.T
        at = X[k:] @ (mean + gain @ error)
        below.append(ndtr((y[k:] - at) / np.sqrt(np.sum(X[k:] @ V * X[k:], axis=1) + sd**2)))
        log_det = np.linalg.slogdet(H)[1]
        log_weight.append(-0.5 * (node**2 + log_det + error @ np.linalg.solve(H, error)))
    weight = np.exp(log_weight - np.max(log_weight))
    return np.abs(2 * (weight @ below) / weight.sum() - 1) < LEVEL


def compare_coverage(n_repeats):
    """Coverage of 90 % intervals for new tasks, on average and in the worst tenth of tasks."""
    warnings.simplefilter("ignore", UserWarning)  # of few tasks
    print(f"\nCoverage of 90 % intervals: average (worst tenth of tasks), {n_repeats} repetitions")
    for name, (n_tasks, n_features, varies, params) in COVERAGE.items():
        inside = {k: [] for k in (0, 1, 5, 20)}
        for seed in range(n_repeats):
            rng = np.random.default_rng(seed)
            mean = rng.normal(size=n_features + 1)
            A = 0.8 * rng.normal(size=(n_features + 1,) * 2) / np.sqrt(n_features + 1)
            tasks = [draw_task(rng, A, mean, 20, varies) for _ in range(n_tasks)]
            meta = None if params is None else HierarchicalBayes(**params).meta_fit(tasks)
            for _ in range(20):
                X, y = draw_task(rng, A, mean, 220, varies)
                for k, shares in inside.items():
                    rest = np.r_[:k, 20:220]
                    if meta is None:
                        covered = covered_by_truth(A, mean, X[rest], y[rest], k)
                    else:
                        meta.adapt(X[:k], y[:k])
                        low, high = meta.predict_interval(X[20:], confidence_level=LEVEL).T
                        covered = (low <= y[20:]) & (y[20:] <= high)
                    shares.append(covered.mean())
        cells = (
            f"{np.mean(s):.3f} ({np.mean(np.sort(s)[: len(s) // 10]):.3f})" for s in inside.values()
        )
        print(f"  {name:34} {'  '.join(cells)}", flush=True)


def covered_of_table(X, y, groups, seed, shots):
    """Shares of the rows of new tasks that lie in their intervals, by number of known rows."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(groups.max() + 1)
    new, train = np.split(order, [max(1, len(order) // 5)])
    own = np.isin(groups, train[:MOST_TASKS])
    meta = HierarchicalBayes().fit(X[own], y[own], groups=groups[own])
    shares = {k: [] for k in shots}
    for task in new[:MOST_TASKS]:
        rows = rng.permutation(np.flatnonzero(groups == task))
        for k in (k for k in shots if k + 3 <= len(rows)):
            meta.adapt(X[rows[:k]], y[rows[:k]])
            low, high = meta.predict_interval(X[rows[k:]], confidence_level=LEVEL).T
            shares[k].append(np.mean((low <= y[rows[k:]]) & (y[rows[k:]] <= high)))
    return shares


def compare_coverage_of_tables():
    from tables import SPEC, load  # which timed processes do without

    warnings.simplefilter("ignore", UserWarning)
    print("\nCoverage of 90 % intervals for new tasks of tables after 0, 1, 5, 20 rows")
    for name, table in SPEC.items():
        if table.kind != "regression":
            continue
        X, y, groups = load(name)
        X = X.drop(columns=["movieId", "movmean", "movlogn"], errors="ignore").to_numpy()
        inside, seed = {k: [] for k in (0, 1, 5, 20)}, 0
        while len(inside[0]) < 200:
            for k, shares in covered_of_table(X, y, groups, seed, tuple(inside)).items():
                inside[k] += shares
            seed += 1
        cells = "  ".join(f"{np.mean(s):.3f}" for s in inside.values() if s)
        print(f"  {name:12} {cells}  ({len(inside[0])} tasks, {seed} splits)", flush=True)


def compare_scikit_lego():
    """Fit and predict 8,000 groups of 10 rows; scikit-lego fits one model per group in a loop."""
    try:
        from sklego.meta import HierarchicalRegressor
    except ImportError:
        print("\nscikit-lego is not installed: pip install scikit-lego")
        return
    from sklearn.linear_model import LinearRegression

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        in_fresh_process("--make", "8000x10", folder)
        ours = in_fresh_process("--measure", folder, "integer")
        X, y, groups = read_data(folder, "integer")
    table = pd.DataFrame({"g": groups, "x": X[:, 0]})
    model = HierarchicalRegressor(LinearRegression(), groups=["g"])
    start = time.perf_counter()
    model.fit(table, y)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    model.predict(table)
    predict = time.perf_counter() - start
    print("\n8000 tasks x 10 rows")
    print(f"  scikit-lego   fit {fit:.2f} s, predict {predict:.2f} s")
    print(f"  sklearn_meta  fit {ours['seconds']:.3f} s, predict {ours['predict_seconds']:.3f} s")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="TASKSxROWS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scikit-lego", action="store_true")
    parser.add_argument("--only", choices=("speed", "glmm", "coverage", "tables"))
    parser.add_argument("--glmm-tasks", type=int, default=10_000)
    parser.add_argument("--coverage-repeats", type=int, default=40)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure-glmm", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make_data(args.make[0], Path(args.make[1]))
        print("{}")
    elif args.measure:
        print(json.dumps(measure(Path(args.measure[0]), args.measure[1])))
    elif args.measure_glmm:
        print(json.dumps(measure_glmm(Path(args.measure_glmm[0]), *args.measure_glmm[1:])))
    else:
        for size in args.sizes if args.only in (None, "speed") else ():
            compare(size, args.repeats, args.peers_python)
        if args.only in (None, "glmm"):
            compare_glmm(args.glmm_tasks, args.repeats, args.peers_python)
        if args.only in (None, "coverage"):
            compare_coverage(args.coverage_repeats)
        if args.only in (None, "tables"):
            compare_coverage_of_tables()
        if args.scikit_lego:
            compare_scikit_lego()


if __name__ == "__main__":
    main()
