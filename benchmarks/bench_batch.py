"""Batch mode: synthetic tasks with side information, real tables, and the speed of descriptors.

    python benchmarks/bench_batch.py                       # all of it
    python benchmarks/bench_batch.py synthetic --seeds 3
    python benchmarks/bench_batch.py tables --tables exam oxboys --seeds 0 1
    python benchmarks/bench_batch.py lenk --data PATH/TO/lenk_data.mat
    python benchmarks/bench_batch.py speed

synthetic: the four protocols of Denevi, Pontil, Ciliberto (2020), "The advantage of conditional
meta-learning". Their text leaves some of it open; this is what is done here, line by line:

1. d = 20 features, no intercept, neither in the truth nor in the models.
2. Coefficients of a task: w ~ N(m_t, I), independent entries of variance 1.
   *One cluster*: m_t = 4 in all entries. *Two clusters*, equally likely: m_t = 4 or -4 ("mean 0"),
   8 or 0 ("mean 4"). *Circle*: m_t = 8 (cos 2 pi s, sin 2 pi s, 0, ..., 0), s ~ U[0, 1].
3. Inputs: x ~ N(c, I) with unit variances, c = 1 in all entries, of the second cluster -1; on the
   circle 0. With `--inputs sphere` the centroid is kept and the Gaussian part is scaled to norm 1.
4. Noise: normal. "Signal-to-noise ratio 1" is read as the variance of the coefficients about m_t
   over that of the noise: the standard deviation of the noise is 1. With `--noise rows` it is the
   standard deviation of w'x over the rows of the task, another reading, under which noise
   dominates: even the oracle then misses the published ratios, since 10 rows are not worth much to
   anybody.
5. 20 rows a task. Meta-train tasks (300) are used with all 20; the 100 validation tasks are not
   used, there is nothing to choose; of the 80 test tasks 10 rows are known, 10 are scored.
6. Score: mean absolute error over the scored rows, mean over tasks; then mean and standard error
   over 10 seeds. Models minimise squared error; the published ones absolute error.
7. Side information: on the circle the published map (cos 2 pi s, sin 2 pi s), and a generic one
   that is not told of the circle, 20 random Fourier features of s (scikit-learn's RBFSampler,
   gamma 10). Of the clusters nothing is told but the inputs of the known rows: the map is their
   mean over rows and features, one number.
8. `conditional` and `generic map`: BatchMetaLearner with conditioning="prior" and a diagonal
   covariance, its default. `oracle`: the posterior mean under the prior and noise that made the
   data. `independent`: least squares on the 10 known rows (minimum norm). `ridge`: Ridge, its
   penalty chosen for the test tasks, which no user could do. `unconditional`: HierarchicalBayes,
   diagonal covariance.

tables: the eight tables of `tables.py`, as in `bench_tables.py`. `boosting` is scikit-learn's
histogram gradient boosting on the pooled rows; `bagged` is BaggingRegressor or BaggingClassifier
around it (10, all features), since BatchMetaLearner averages 10, too; `batch` is BatchMetaLearner
around it with all defaults, `prior` the same with `conditioning="prior"` around Ridge or
LogisticRegression. Printed are errors and ratios to `boosting`.

lenk: the protocol of `bench_lenk.py`; the descriptor is RidgeDescriptor of the known rows and
side information there is none.

speed: 10,000 tasks with 1,000,000 rows of 10 features in all, uneven sizes; seconds to fit and to
transform, one thread, beside a loop over tasks in NumPy that computes means only.
"""

import argparse
import copy
import time
import warnings

import numpy as np
import pandas as pd
from bench_lenk import (
    N_PEOPLE,
    N_SPLITS,
    N_TEST,
    N_TRAIN,
    N_VALIDATION,
    absolute_errors,
    find_data,
    load_people,
    support_of,
)
from bench_tables import BOOSTING, LINEAR, few_shot_errors
from joblib import Parallel, delayed
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from tables import SPEC, make_split

from sklearn_meta import BatchMetaLearner, HierarchicalBayes, Independent, Pooled, Task
from sklearn_meta.descriptors import (
    ClassDescriptor,
    FunctionDescriptor,
    LandmarkDescriptor,
    MomentsDescriptor,
    QuantileDescriptor,
    RidgeDescriptor,
    SideInformation,
)

# -- synthetic -------------------------------------------------------------------------------------

D, N_ROWS, N_KNOWN = 20, 20, 10
N_META_TRAIN, N_META_TEST = 300, 80
PUBLISHED = {  # independent, unconditional, conditional; conditional with random Fourier features
    "one cluster": (27.25, 15.57, 16.04),
    "two clusters, mean 0": (27.65, 27.72, 15.90),
    "two clusters, mean 4": (39.68, 31.34, 19.99),
    "circle": (4.28, 4.27, 2.69, 3.02),
}
CLUSTERS = {
    "one cluster": [(4.0, 1.0)],
    "two clusters, mean 0": [(4.0, 1.0), (-4.0, -1.0)],
    "two clusters, mean 4": [(8.0, 1.0), (0.0, -1.0)],
}


def draw_task(protocol, inputs, noise, rng):
    """A task, the mean of its coefficients, and the deviation of its noise."""
    if protocol == "circle":
        s, mean, centre = rng.uniform(), np.zeros(D), 0.0
        mean[:2] = 8 * np.cos(2 * np.pi * s), 8 * np.sin(2 * np.pi * s)
    else:
        clusters = CLUSTERS[protocol]
        s, (level, centre) = None, clusters[rng.integers(len(clusters))]
        mean = np.full(D, level)
    w = mean + rng.standard_normal(D)
    X = rng.standard_normal((N_ROWS, D))
    if inputs == "sphere":
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    X += centre
    sigma = 1.0 if noise == "coefficients" else (X @ w).std()
    y = X @ w + sigma * rng.standard_normal(N_ROWS)
    return Task(X, y, descriptor=None if s is None else {"s": s}), mean, sigma


def input_means(task):
    return task.X.mean()


def on_circle(task):
    angle = 2 * np.pi * task.descriptor["s"]
    return np.array([np.cos(angle), np.sin(angle)])


def posterior_mean(X, y, mean, variance):
    K = X @ X.T + variance * np.eye(len(X))
    return mean + X.T @ np.linalg.solve(K, y - X @ mean)


def synthetic_errors(protocol, inputs, noise, seed):
    rng = np.random.default_rng([seed, list(PUBLISHED).index(protocol)])
    train = [draw_task(protocol, inputs, noise, rng)[0] for _ in range(N_META_TRAIN)]
    test = [draw_task(protocol, inputs, noise, rng) for _ in range(N_META_TEST)]
    if protocol == "circle":
        maps = {
            "conditional": FunctionDescriptor(on_circle, uses="side"),
            "generic map": make_pipeline(
                SideInformation(), RBFSampler(gamma=10, n_components=20, random_state=0)
            ),
        }
    else:
        maps = {"conditional": FunctionDescriptor(input_means, uses="inputs")}
    models = {
        name: BatchMetaLearner(
            LinearRegression(fit_intercept=False),
            descriptor=descriptor,
            conditioning="prior",
            n_shots=N_KNOWN,
            random_state=0,
        )
        for name, descriptor in maps.items()
    }
    linear = LinearRegression(fit_intercept=False)
    models["unconditional"] = HierarchicalBayes(linear, covariance="diag")
    models["independent"] = Independent(linear)
    bare = [Task(task.X, task.y) for task in train]
    for name, model in models.items():
        model.meta_fit(train if name in maps else bare)
    penalties = 10.0 ** np.arange(-3, 5)
    errors = {name: [] for name in (*models, "oracle")}
    ridge = np.zeros((len(test), len(penalties)))
    for t, (task, mean, sigma) in enumerate(test):
        X, y, new, truth = task.X[:N_KNOWN], task.y[:N_KNOWN], task.X[N_KNOWN:], task.y[N_KNOWN:]
        for name, model in models.items():
            side = {"descriptor": task.descriptor} if name in maps else {}
            predicted = model.adapt(X, y, **side).predict(new)
            errors[name].append(np.abs(predicted - truth).mean())
        oracle = new @ posterior_mean(X, y, mean, sigma**2)
        errors["oracle"].append(np.abs(oracle - truth).mean())
        for j, penalty in enumerate(penalties):
            w = posterior_mean(X, y, np.zeros(D), penalty)
            ridge[t, j] = np.abs(new @ w - truth).mean()
    return {name: np.mean(values) for name, values in errors.items()} | {
        "ridge": ridge.mean(axis=0).min()
    }


def synthetic(args):
    print(f"synthetic: inputs {args.inputs}, noise {args.noise}; {args.seeds} seeds")
    print("mean absolute error ± standard error; published numbers from the paper")
    for protocol, published in PUBLISHED.items():
        runs = pd.DataFrame(
            Parallel(args.jobs)(
                delayed(synthetic_errors)(protocol, args.inputs, args.noise, seed)
                for seed in range(args.seeds)
            )
        )
        print(f"\n{protocol}")
        for name, values in runs.items():
            over = values.mean() / runs["oracle"].mean()
            print(f"  {name:14} {values.mean():7.3f} ± {values.sem():.3f}   {over:.3f} x oracle")
        own, theirs = runs.mean(), published[2] / published[0]
        print(f"  conditional / independent {own['conditional'] / own['independent']:.3f}", end="")
        print(f" (oracle {own['oracle'] / own['independent']:.3f}, published {theirs:.3f})", end="")
        print(f"; / ridge {own['conditional'] / own['ridge']:.3f}")


# -- tables ----------------------------------------------------------------------------------------

BAGGING = {"regression": BaggingRegressor, "classification": BaggingClassifier}
METHODS = ("boosting", "bagged", "batch", "prior")


def make_method(method, kind):
    if method == "boosting":
        return Pooled(BOOSTING[kind])
    if method == "bagged":
        return Pooled(BAGGING[kind](BOOSTING[kind], random_state=0))
    if method == "batch":
        return BatchMetaLearner(BOOSTING[kind], random_state=0)
    return BatchMetaLearner(LINEAR[kind], conditioning="prior", random_state=0)


def table_errors(name, seed, methods):
    warnings.simplefilter("ignore", ConvergenceWarning)
    split, rows = make_split(name, seed), []
    for method in methods:
        start = time.perf_counter()
        meta = make_method(method, SPEC[name].kind).meta_fit(split.meta_train)
        seconds = time.perf_counter() - start
        for n_shots, score in few_shot_errors(meta, split.test, SPEC[name].kind).items():
            rows.append((name, seed, method, n_shots, score, seconds))
    return rows


def tables(args):
    parts = Parallel(args.jobs)(
        delayed(table_errors)(name, seed, args.methods)
        for name in args.tables
        for seed in range(args.seeds)
    )
    columns = ["table", "seed", "method", "n_shots", "score", "fit_seconds"]
    results = pd.DataFrame([row for part in parts for row in part], columns=columns)
    if args.csv:
        results.to_csv(args.csv, index=False)
    means = results.groupby(["table", "n_shots", "method"])["score"].mean().unstack()
    means = means[[method for method in METHODS if method in means]]
    ratios = means.div(means["boosting"], axis=0).drop(columns="boosting")
    both = means.join(ratios.add_suffix(" / boosting"))
    for name in args.tables:
        print(f"\n{name}: error, mean of {args.seeds} seeds, and ratio to boosting")
        print(both.loc[name].to_string(float_format="{:.4g}".format))
    seconds = results.groupby(["table", "method"])["fit_seconds"].mean().unstack()
    print("\nseconds to meta-train")
    print(seconds.to_string(float_format="{:.2g}".format))
    if "batch" in ratios:
        batch = ratios["batch"].unstack()
        wins = batch.reindex(columns=[1, 5, 10]).lt(1) | batch.reindex(columns=[1, 5, 10]).isna()
        print(
            f"\nbatch better than boosting at 1, 5 and 10 shots: {wins.all(axis=1).sum()}", end=""
        )
        print(f" of {len(batch)} tables; largest ratio at 0 shots: {batch[0].max():.3f}")


# -- lenk ------------------------------------------------------------------------------------------


def lenk(args):
    people, errors = load_people(find_data(args.data)), {}
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(N_PEOPLE)
        train = [people[i] for i in order[:N_TRAIN]]
        test = [people[i] for i in order[N_TRAIN + N_VALIDATION :][:N_TEST]]
        models = {
            "batch": BatchMetaLearner(descriptor=RidgeDescriptor(), random_state=0),
            "prior, side information": BatchMetaLearner(
                descriptor=SideInformation(), conditioning="prior", random_state=0
            ),
            "prior, RidgeDescriptor": BatchMetaLearner(
                descriptor=RidgeDescriptor(), conditioning="prior", random_state=0
            ),
        }
        for name, model in models.items():
            model.meta_fit(map(support_of, train))
            errors.setdefault(name, []).append(absolute_errors(model, test))
    print("lenk: mean absolute error ± standard error over 10 splits   (clipped to 0-10)")
    for name, values in errors.items():
        mean, se = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(N_SPLITS)
        print(f"  {name:28} {mean[0]:.3f} ± {se[0]:.3f}   {mean[1]:.3f} ± {se[1]:.3f}")


# -- speed -----------------------------------------------------------------------------------------


def speed(args):
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(np.arange(1, args.rows), args.tasks - 1, replace=False))
    X = rng.standard_normal((args.rows, 10))
    w = rng.standard_normal((args.tasks, 10))
    sizes = np.diff([0, *cuts, args.rows])
    y = np.einsum("nd,nd->n", X, np.repeat(w, sizes, axis=0)) + rng.standard_normal(args.rows)
    labels = np.array(["a", "b", "c"])[np.digitize(y, [-1.0, 1.0])]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    both = {
        target: [Task(X[lo:hi], v[lo:hi]) for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]
        for target, v in {"numbers": y, "labels": labels}.items()
    }
    start = time.perf_counter()
    for task in both["numbers"]:
        np.concatenate([task.X.mean(axis=0), [task.y.mean()]])
    loop = time.perf_counter() - start
    print(
        f"speed: {args.tasks:,} tasks, {args.rows:,} rows of 10 features, {sizes.min()} to", end=""
    )
    print(f" {sizes.max()} a task; means by a loop over tasks {loop:.2f} s")
    for descriptor, target in [
        (MomentsDescriptor(), "numbers"),
        (QuantileDescriptor(), "numbers"),
        (RidgeDescriptor(), "numbers"),
        (LandmarkDescriptor(), "numbers"),
        (MomentsDescriptor(), "labels"),
        (RidgeDescriptor(), "labels"),
        (ClassDescriptor(), "labels"),
    ]:
        start = time.perf_counter()
        fitted = copy.copy(descriptor).fit(both[target])
        middle = time.perf_counter()
        shape = fitted.transform(both[target]).shape
        end = time.perf_counter()
        print(f"  {type(descriptor).__name__:20} {target:8} fit {middle - start:5.2f} s", end="")
        print(f"   transform {end - middle:5.2f} s   {shape[1]} entries")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = {"synthetic": synthetic, "tables": tables, "lenk": lenk, "speed": speed}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; all")
    parser.add_argument("--inputs", choices=["gaussian", "sphere"], default="gaussian")
    parser.add_argument("--noise", choices=["coefficients", "rows"], default="coefficients")
    parser.add_argument("--tables", nargs="+", choices=SPEC, default=list(SPEC), metavar="TABLE")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, help="10 for synthetic, 5 for tables")
    parser.add_argument("--csv", help="write every score on the tables to this file")
    parser.add_argument("--data", help="where lenk_data.mat is")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=-1, help="processes, each with one thread")
    args = parser.parse_args()
    unknown = set(args.parts) - set(parts)
    if unknown:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    for name in args.parts or parts:
        own = copy.copy(args)
        own.seeds = args.seeds or {"synthetic": 10, "tables": 5}.get(name)
        parts[name](own)
        print()


if __name__ == "__main__":
    main()
