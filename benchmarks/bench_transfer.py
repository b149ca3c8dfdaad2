"""Transfer from many sources to one small target, on eighteen real tables, against ADAPT.

    python benchmarks/bench_transfer.py
    python benchmarks/bench_transfer.py --adapt TrAdaBoostR2 --tables exam oxboys
    python benchmarks/bench_transfer.py --harm negated permuted
    python benchmarks/bench_transfer.py --speed

Protocol:

1. Tables, splits, support and query rows, scores: `tables.py`; each meta-train task is a source,
   each test task a target. Ridge() for regression, LogisticRegression(max_iter=1000) for
   classification, in every method; else all settings are defaults.
2. `transfer` is TransferMetaLearner, `pooled` and `independent` are the baselines of this package.
   `regular` is ADAPT's RegularTransferLR or RegularTransferLC as `peer_results.csv` has it, which
   was measured once on the same splits, with all five seeds.
3. With `--adapt` and the package `adapt` installed (it needs TensorFlow to be imported),
   TrAdaBoostR2 or TwoStageTrAdaBoostR2 are fitted on all source rows and the support of one target
   at a time, 10 boosting rounds, in regression; their time is per target. `--most-targets` limits
   the targets of every method: the second may need 16 s for one.
4. With `--harm`, half of the sources, drawn with seed 0, get their targets negated (classes
   reversed) or the columns of their rows shuffled, each source in its own way; the reference is
   the run without these sources ("dropped").
5. With `--speed`, 300 sources of 50 rows and 10 columns (regression, and classification), and 1,000
   sources of 1,000 rows: seconds to meta-train, median milliseconds to adapt to 10 rows, both of
   processor time.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from bench_tables import LINEAR, few_shot_errors
from joblib import Parallel, delayed
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from tables import SPEC, episode, make_split

from sklearn_meta import Independent, Pooled, Task, TransferMetaLearner
from sklearn_meta.datasets import make_linear_tasks

PEERS = Path(__file__).with_name("peer_results.csv")
REGULAR = ["adapt_RegularTransferLR", "adapt_RegularTransferLC"]
HARM = ("negated", "permuted")
ADAPT = ("TrAdaBoostR2", "TwoStageTrAdaBoostR2")


def harmful(n_sources, rng):
    """Which half of the sources is spoiled."""
    return set(rng.permutation(n_sources)[: n_sources // 2].tolist())


def harmed(tasks, how):
    """The sources with half of them spoiled, or left out."""
    rng = np.random.default_rng(0)
    bad = harmful(len(tasks), rng)
    greatest = max(task.y.max() for task in tasks)
    out = []
    for t, task in enumerate(tasks):
        if t in bad and how == "dropped":
            continue
        if t in bad and how == "negated":
            y = -task.y if task.y.dtype.kind == "f" else greatest - task.y
            task = Task(task.X, y, id=task.id)
        elif t in bad:
            task = Task(task.X[:, rng.permutation(task.X.shape[1])], task.y, id=task.id)
        out.append(task)
    return out


def adapt_errors(tasks, sources, shots, names):
    """Mean errors and seconds per target of ADAPT's boosting methods."""
    import adapt.instance_based

    X = np.concatenate([task.X for task in sources])
    y = np.concatenate([task.y for task in sources])
    rows = []
    for name in names:
        kind = getattr(adapt.instance_based, name)
        for k in shots:
            errors, seconds = [], []
            for task in tasks:
                found = episode(task, k)
                if found is None:
                    continue
                support, query = found
                start = time.perf_counter()
                settings = {"n_estimators": 10, "verbose": 0, "random_state": 0}
                model = kind(Ridge(), Xt=support.X, yt=support.y, **settings).fit(X, y)
                seconds.append(time.perf_counter() - start)
                errors.append(mean_squared_error(query.y, np.ravel(model.predict(query.X))))
            if errors:
                rows.append((name, k, np.mean(errors), np.mean(seconds)))
    return rows


def run(name, seed, args, harm=None):
    """One row per method and number of shots."""
    warnings.simplefilter("ignore")
    kind = SPEC[name].kind
    split = make_split(name, seed)
    sources = split.meta_train if harm is None else harmed(split.meta_train, harm)
    tasks = split.test[: args.most_targets]
    methods = {"transfer": TransferMetaLearner(LINEAR[kind], random_state=0)}
    if harm is None:
        methods |= {"pooled": Pooled(LINEAR[kind]), "independent": Independent(LINEAR[kind])}
    rows = []
    for method, meta in methods.items():
        start = time.perf_counter()
        meta.meta_fit(sources)
        fitted = time.perf_counter() - start
        start = time.perf_counter()
        scores = few_shot_errors(meta, tasks, kind)
        n_adapted = sum(len([t for t in tasks if len(t.y) >= k + 3]) for k in scores if k)
        seconds = (time.perf_counter() - start) / max(n_adapted, 1)
        rows += [(method, k, score, seconds, fitted) for k, score in scores.items()]
    if args.adapt and kind == "regression" and harm is None:
        shots = [k for k in (5, 10) if k in scores]
        rows += [(*row, 0.0) for row in adapt_errors(tasks, sources, shots, args.adapt)]
    return [(name, seed, harm or "clean", *row) for row in rows]


COLUMNS = ["table", "seed", "sources", "method", "n_shots", "score", "seconds", "fit_seconds"]


def report(results):
    regular = pd.read_csv(PEERS).query("method in @REGULAR")
    regular = regular.set_index(["dataset", "K"])["score"]
    clean = results[results["sources"] == "clean"]
    means = clean.groupby(["table", "n_shots", "method"])["score"].mean().unstack()
    wins = {}
    for name in clean["table"].unique():
        mean = means.loc[name].dropna(axis=1, how="all")
        if clean["seed"].nunique() == 5:
            mean = mean.assign(regular=[regular.get((name, k), np.nan) for k in mean.index])
        others = mean.drop(columns="transfer")
        best = mean[["pooled", "independent"]].min(axis=1)
        shown = mean.assign(**{"ratio to baselines": mean["transfer"] / best})
        print(f"\n{name}: error, mean of {clean['seed'].nunique()} seeds")
        print(shown.to_string(float_format="{:.4g}".format))
        for k in (5, 10):
            if k in others.index:
                for method, score in others.loc[k].dropna().items():
                    wins.setdefault((method, k), []).append(mean["transfer"][k] < score)
        own = clean[(clean["table"] == name) & (clean["method"] == "transfer")]
        print(
            f"meta-train {own['fit_seconds'].mean():.1f} s, "
            f"adapt {1e3 * own['seconds'].mean():.1f} ms"
        )
        for method in ADAPT:
            part = clean[(clean["table"] == name) & (clean["method"] == method)]
            if len(part):
                print(f"{method}: {1e3 * part['seconds'].mean():.0f} ms for each target")
    if wins:
        print("\ntransfer has the lower error on ... tables")
        for (method, k), won in sorted(wins.items()):
            print(f"{k:>3} shots, {method:>22}: {sum(won)} of {len(won)}")
    harm = results[results["sources"] != "clean"]
    if len(harm):
        table = harm.groupby(["table", "n_shots", "sources"])["score"].mean().unstack()
        print("\nhalf of the sources are harmful: error divided by that without them")
        spoiled = table.drop(columns="dropped")
        print(spoiled.div(table["dropped"], axis=0).to_string(float_format="{:.3f}".format))


def speed():
    for kind, n_sources, n_rows, n_features in (
        ("regression", 300, 50, 10),
        ("classification", 300, 50, 10),
        ("regression", 1000, 1000, 10),
    ):
        tasks = make_linear_tasks(n_sources + 20, n_rows, n_features, random_state=0)
        if kind == "classification":
            tasks = [Task(task.X, (task.y > 0).astype(int), id=task.id) for task in tasks]
        start = time.process_time()
        meta = TransferMetaLearner(LINEAR[kind], random_state=0).meta_fit(tasks[:n_sources])
        fitted = time.process_time() - start
        seconds = []
        for task in tasks[n_sources:]:
            start = time.process_time()
            meta.adapt(task.X[:10], task.y[:10])
            seconds.append(time.process_time() - start)
        print(
            f"{kind}, {n_sources} sources x {n_rows} rows: meta-train {fitted:.1f} s, adapt "
            f"{1e3 * np.median(seconds):.1f} ms of processor time"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=SPEC, default=list(SPEC), metavar="TABLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--adapt", nargs="+", choices=ADAPT, default=[], help="run ADAPT's boosting methods, too"
    )
    parser.add_argument(
        "--harm", nargs="+", choices=HARM, default=[], help="spoil half the sources"
    )
    parser.add_argument("--speed", action="store_true", help="only time generated sources")
    parser.add_argument("--most-targets", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=-1, help="processes, each with one thread")
    parser.add_argument("--csv", help="write every score to this file")
    args = parser.parse_args()
    if args.speed:
        speed()
        return
    kinds = ["dropped", *args.harm] if args.harm else [None]
    parts = Parallel(args.jobs)(
        delayed(run)(name, seed, args, harm)
        for name in args.tables
        for seed in args.seeds
        for harm in kinds
    )
    results = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)
    if args.csv:
        results.to_csv(args.csv, index=False)
    report(results)


if __name__ == "__main__":
    main()
