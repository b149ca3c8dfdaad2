"""Few-shot error on eight real tables, beside every method that was measured on them before.

    python benchmarks/bench_tables.py
    python benchmarks/bench_tables.py --tables exam oxboys --seeds 0 1 --methods pooled diag
    python benchmarks/bench_tables.py --csv results.csv

Protocol:

1. Tables, splits, support and query rows, scores: `tables.py`. Seeds 0 to 4.
2. Every method is meta-trained on the meta-train tasks only, then adapted at once to the first
   K = 0, 1, 2, 5, 10, 20 rows of all test tasks, and scored on their query rows.
3. All settings are the defaults of scikit-learn and of this package, but for those in
   HIERARCHICAL (`intercept`, `plain`, `nu...`, `auto`, `diag`; `auto` is the default) and more
   iterations for LogisticRegression.
4. `validated` and `validated_any` choose between their CANDIDATES: each is meta-trained on the
   meta-train tasks and scored on the validation tasks, at 1, 2, 5, 10 and 20 shots, with 10 random
   supports of each task (`--validation-seed` draws others). The one of least geometric mean of the
   five errors is used for all K. Test tasks take no part in the choice, and validation tasks none
   in training.
5. `--family gradient`: MAML, FOMAML and MetaSGD around linear models, boosting and perceptrons, all
   settings the defaults, compared with `Pooled` of the same estimator and with `Independent`.
6. `--meta`: MetaRegressor and MetaClassifier, all settings the defaults, on eighteen tables,
   compared with the best of the single classes and of the peers of `table_peers.py` that are
   installed, in the same run, and on the first eight tables with that of peers and prototypes
   (`peer_results.csv`, seeds 0 to 4).
7. Peers come from `peer_results.csv`, which was measured once on the same splits: the best method
   off the shelf, the best prototype ("reference"), and `eb`, linear empirical Bayes with all
   coefficients random (logistic for classification). Below each table are the ratios to `eb`:
   less than 1 is better. A ratio is that of the mean errors over seeds 0 to 4, which peers are
   means of, too: with other seeds it tells nothing.
"""

import argparse
import copy
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from table_peers import TABLE_PEERS
from tables import N_SHOTS, SPEC, episode, make_split

from sklearn_meta import (
    FOMAML,
    MAML,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaClassifier,
    MetaRegressor,
    MetaSGD,
    Pooled,
    few_shot_scorer,
)

PEERS = Path(__file__).with_name("peer_results.csv")
OFF_THE_SHELF = ("pooled_", "task_only_", "statsmodels_", "gpboost_", "merf", "sklego_", "adapt_")

LINEAR = {"regression": Ridge(), "classification": LogisticRegression(max_iter=1000)}
BOOSTING = {
    "regression": HistGradientBoostingRegressor(random_state=0),
    "classification": HistGradientBoostingClassifier(random_state=0),
}
PERCEPTRON = {
    "regression": MLPRegressor(random_state=0),
    "classification": MLPClassifier(random_state=0),
}
BODIES = {"linear": LINEAR, "boosting": BOOSTING, "mlp": PERCEPTRON}
GRADIENT = {"maml": MAML, "fomaml": FOMAML, "metasgd": MetaSGD}

HIERARCHICAL = {
    "intercept": {"random_effects": "intercept"},
    "plain": {"regularization": None},
    "nu5": {"regularization": 5},
    "nu20": {"regularization": 20},
    "nu80": {"regularization": 80},
    "auto": {"regularization": "auto"},
    "diag": {"covariance": "diag"},
}
CANDIDATES = {
    "validated": ["plain", "nu5", "nu20", "nu80", "diag"],
    "validated_any": ["intercept", "plain", "nu5", "nu20", "nu80", "diag"],
}
VALIDATION_SHOTS = (1, 2, 5, 10, 20)
VALIDATION_REPEATS = 10

FOR_ANY_KIND = ("pooled", "boosting", "independent")
PROCESS = {"process": LINEAR, "process_boosting": BOOSTING}
FOR_REGRESSION = (*HIERARCHICAL, *PROCESS, *CANDIDATES, *TABLE_PEERS)
GRADIENT_METHODS = tuple(f"{name}_{body}" for body in BODIES for name in ("pooled", *GRADIENT))
FAMILIES = {
    "closed": (*FOR_ANY_KIND, *FOR_REGRESSION),
    "gradient": ("independent", *GRADIENT_METHODS),
    "meta": ("meta", *FOR_ANY_KIND, "intercept", "diag", "auto", *TABLE_PEERS),
}
METHODS = tuple(dict.fromkeys(method for family in FAMILIES.values() for method in family))


def make_method(method, kind):
    if method == "meta":
        return (MetaRegressor if kind == "regression" else MetaClassifier)(random_state=0)
    if method in TABLE_PEERS:
        return TABLE_PEERS[method]()
    if method in HIERARCHICAL:
        return HierarchicalBayes(**HIERARCHICAL[method])
    if method in PROCESS:
        return GaussianProcessMeta(PROCESS[method][kind])
    if method in GRADIENT_METHODS:
        name, body = method.split("_")
        estimator = BODIES[body][kind]
        if name != "pooled":
            return GRADIENT[name](estimator, random_state=0)
        return Pooled(make_pipeline(StandardScaler(), estimator) if body == "mlp" else estimator)
    baselines = {
        "pooled": Pooled(LINEAR[kind]),
        "boosting": Pooled(BOOSTING[kind]),
        "independent": Independent(LINEAR[kind]),
    }
    return baselines[method]


def validation_errors(split, seed):
    """Geometric mean over shots of the error on the validation tasks, of every candidate."""
    most_rows = max(len(task.y) for task in split.validation)
    shots = [k for k in VALIDATION_SHOTS if k < most_rows]
    settings = {"n_repeats": VALIDATION_REPEATS, "random_state": seed}
    search = GridSearchCV(
        HierarchicalBayes(),
        [{key: [value] for key, value in params.items()} for params in HIERARCHICAL.values()],
        scoring={
            str(k): few_shot_scorer("neg_mean_squared_error", n_shots=k, **settings) for k in shots
        },
        cv=PredefinedSplit([-1] * len(split.meta_train) + [0] * len(split.validation)),
        refit=False,
    )
    results = search.fit([*split.meta_train, *split.validation]).cv_results_
    errors = np.array([-results[f"mean_test_{k}"] for k in shots])
    return dict(zip(HIERARCHICAL, np.exp(np.log(errors).mean(axis=0)), strict=True))


def meta_train(methods, split, kind, validation_seed):
    """Meta-train all methods; the name of what each of them is, the model, and the seconds."""
    names = {method: method for method in methods}
    validated = [method for method in methods if method in CANDIDATES]
    if validated:
        errors = validation_errors(split, validation_seed)
        names.update({method: min(CANDIDATES[method], key=errors.get) for method in validated})
    fitted = {}
    for name in set(names.values()):
        start = time.perf_counter()
        meta = make_method(name, kind).meta_fit(split.meta_train)
        fitted[name] = name, meta, time.perf_counter() - start
    return {method: fitted[name] for method, name in names.items()}


def few_shot_errors(meta, tasks, kind, covered=None):
    """Mean error over tasks for every number of shots that some task has rows for.

    The dict ``covered`` takes how much of the query rows 90 % intervals cover.
    """
    errors = {}
    for n_shots in N_SHOTS:
        episodes = {t.id: e for t in tasks if (e := episode(t, n_shots)) is not None}
        if not episodes:
            continue
        support, query = zip(*episodes.values(), strict=True)
        adapted = copy.copy(meta)
        if n_shots > 0:
            X, y, groups = long_table(support)
            adapted.adapt(X, y, groups=groups)
        X, y, groups = long_table(query)
        if kind == "regression":
            predicted, loss, options = adapted.predict(X, groups=groups), mean_squared_error, {}
        else:
            predicted = adapted.predict_proba(X, groups=groups)
            loss, options = log_loss, {"labels": adapted.classes_}
        bounds = np.cumsum([len(task.y) for task in query])[:-1]
        parts = zip(np.split(y, bounds), np.split(predicted, bounds), strict=True)
        errors[n_shots] = np.mean([loss(*part, **options) for part in parts])
        if covered is not None and hasattr(adapted, "predict_interval"):
            low, high = adapted.predict_interval(X, groups=groups).T
            parts = np.split((low <= y) & (y <= high), bounds)
            covered[n_shots] = np.mean([part.mean() for part in parts])
    return errors


def long_table(tasks):
    X = np.concatenate([task.X for task in tasks])
    y = np.concatenate([task.y for task in tasks])
    return X, y, np.repeat([task.id for task in tasks], [len(task.y) for task in tasks])


def run(name, seed, methods, validation_seed):
    """One row per method and number of shots."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # counted in the report instead
    kind = SPEC[name].kind
    if kind != "regression":
        methods = [method for method in methods if method not in FOR_REGRESSION]
    split = make_split(name, seed)
    rows = []
    for method, fitted in meta_train(methods, split, kind, validation_seed).items():
        chosen, meta, seconds = fitted
        converged = chosen not in HIERARCHICAL or meta.n_iter_ < meta.max_iter
        covered = {} if method == "meta" else None
        for n_shots, score in few_shot_errors(meta, split.test, kind, covered).items():
            share = (covered or {}).get(n_shots, np.nan)
            rows.append((name, seed, method, n_shots, score, chosen, converged, seconds, share))
    return rows


COLUMNS = "table seed method n_shots score chosen converged fit_seconds covered".split()


def peers():
    """Best off the shelf, best reference, and empirical Bayes, for every table and K."""
    results = pd.read_csv(PEERS).rename(columns={"dataset": "table", "K": "n_shots"})
    results = results.set_index(["table", "n_shots"])
    shelf = results["method"].str.startswith(OFF_THE_SHELF)
    eb = results["method"].isin(["eb_linear (reference)", "eb_logit (reference)"])
    best = {"shelf": results[shelf], "reference": results[~shelf], "eb": results[eb]}
    columns = {}
    for column, part in best.items():
        part = part.sort_values("score").groupby(level=[0, 1]).first()
        columns[column] = part["score"]
        if column != "eb":
            columns[f"{column}: which"] = part["method"].str.replace(" (reference)", "")
    return pd.DataFrame(columns)


def report_meta(results):
    """Ratio to the best of all that was measured, and how much of it is within its error."""
    peers = pd.read_csv(PEERS).rename(columns={"dataset": "table", "K": "n_shots"})
    per_cell = results.groupby(["table", "n_shots", "method"], sort=False)["score"]
    measured = per_cell.agg(["mean", "sem"]).set_axis(["score", "se"], axis=1).reset_index()
    others = measured[measured["method"] != "meta"]
    known = pd.concat([peers, others]).sort_values("score")
    best = known.groupby(["table", "n_shots"]).first()
    pooled = others[others["method"].isin(["pooled", "boosting"])]
    pooled = pooled.groupby(["table", "n_shots"])["score"].min()
    own = measured[measured["method"] == "meta"].set_index(["table", "n_shots"])["score"]
    rows = own.to_frame("meta").join(best[["method", "score", "se"]], how="inner")
    rows = rows[rows.index.isin((0, 1, 5, 10), level="n_shots")]
    rows["ratio"] = rows["meta"] / rows["score"]
    rows["within_se"] = rows["meta"] <= rows["score"] + rows["se"].fillna(0.0)
    rows["to_pooled"] = rows["meta"] / pooled.reindex(rows.index)
    print(rows.to_string(float_format="{:.4g}".format))
    ranks = [
        1 + (known.loc[(known["table"] == t) & (known["n_shots"] == k), "score"] < score).sum()
        for (t, k), score in rows["meta"].items()
    ]
    at_0 = rows["to_pooled"][rows.index.get_level_values("n_shots") == 0]
    fits = results[results["method"] == "meta"].drop_duplicates(["table", "seed"])
    seconds = fits["fit_seconds"]
    near, ratio = rows["ratio"] <= 1.05, rows["ratio"]
    print(f"\n{len(rows)} cells: within 5 % of the best in {near.mean():.2f}")
    print(f"within 5 % or its standard error in {(near | rows['within_se']).mean():.2f}")
    print(f"ratio at most {ratio.max():.3f}, geometric mean {np.exp(np.log(ratio).mean()):.3f}")
    print(f"mean rank {np.mean(ranks):.1f}; at 0 rows to Pooled at most {at_0.max():.3f}")
    in_all = per_cell.mean().unstack().loc[rows.index].dropna(axis=1).rank(axis=1)
    in_all = in_all.mean().sort_values()
    print("in this run: " + ", ".join(f"{name} {rank:.2f}" for name, rank in in_all.items()))
    covered = results.groupby("n_shots")["covered"].mean().dropna()
    print("90 % intervals cover " + ", ".join(f"{c:.3f} ({k} rows)" for k, c in covered.items()))
    print(f"seconds to meta-train: median {seconds.median():.0f}, most {seconds.max():.0f}")


def report(results):
    others = peers()
    means = results.groupby(["table", "n_shots", "method"])["score"].mean().unstack()
    means = means[[method for method in METHODS if method in means]]
    for name in results["table"].unique():
        table = SPEC[name]
        mean = means.loc[name].dropna(axis=1, how="all")
        other = others.loc[name].loc[mean.index]
        fits = results[results["table"] == name].drop_duplicates(["seed", "method"])
        measure = "mean squared error" if table.kind == "regression" else "log-loss"
        n_seeds = fits["seed"].nunique()
        print(f"\n{name} ({table.package}::{table.item}): {measure}, mean of {n_seeds} seeds")
        print(mean.join(other).to_string(float_format="{:.4g}".format))
        print(f"{name}: ratio to eb")
        ratio = mean.assign(shelf=other["shelf"]).div(other["eb"], axis=0)
        print(ratio.to_string(float_format="{:.3f}".format))
        report_fits(fits)
    report_gradient(means)
    hierarchical = [method for method in means if method in (*HIERARCHICAL, *CANDIDATES)]
    shown = means.loc[means.index.isin((1, 5, 10), level="n_shots"), hierarchical].dropna()
    if len(shown):
        worst = shown.div(others["eb"].loc[shown.index], axis=0).groupby(level="table").max()
        print("\nRegression tables: largest ratio to eb over 1, 5 and 10 shots")
        print(worst.to_string(float_format="{:.3f}".format))


def report_gradient(means):
    """Ratios to Pooled of the same estimator, and to the better of it and Independent."""
    shown = means[means.index.isin((5, 10), level="n_shots")]
    for body in BODIES:
        own = [f"{name}_{body}" for name in GRADIENT if f"{name}_{body}" in means]
        if not own or f"pooled_{body}" not in means or "independent" not in means:
            continue
        pooled = shown[f"pooled_{body}"]
        best = np.minimum(pooled, shown["independent"])
        ratios = {"pooled": shown[own].div(pooled, axis=0), "best": shown[own].div(best, axis=0)}
        print(f"\n{body}: ratio to Pooled, and to the better of Pooled and Independent")
        print(pd.concat(ratios, axis=1).to_string(float_format="{:.3f}".format))


def report_fits(fits):
    """Seconds of meta-training, choices, and what has not converged."""
    own = fits[~fits["method"].isin(CANDIDATES)]
    seconds = own.groupby("method", sort=False)["fit_seconds"].mean()
    if len(seconds):
        print("seconds to meta-train: " + ", ".join(f"{m} {s:.2g}" for m, s in seconds.items()))
    for method, part in fits[fits["method"].isin(CANDIDATES)].groupby("method"):
        times = part["chosen"].value_counts()
        print(f"{method} chose " + ", ".join(f"{m} {n} times" for m, n in times.items()))
    for method, part in own[~own["converged"]].groupby("method"):
        print(f"{method}: {len(part)} fits stopped at max_iter before they converged")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=SPEC, metavar="TABLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--family", choices=FAMILIES, default="closed", help="which methods")
    parser.add_argument("--meta", action="store_true", help="the stack, on eighteen tables")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="these instead")
    parser.add_argument("--validation-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=-1, help="processes, each with one thread")
    parser.add_argument("--csv", help="write every score to this file")
    args = parser.parse_args()
    if args.meta:
        args.family = "meta"
    with_peers = pd.read_csv(PEERS)["dataset"].unique()
    tables = args.tables or [name for name in SPEC if args.meta or name in with_peers]
    parts = Parallel(args.jobs)(
        delayed(run)(name, seed, args.methods or FAMILIES[args.family], args.validation_seed)
        for name in tables
        for seed in args.seeds
    )
    results = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)
    if args.csv:
        results.to_csv(args.csv, index=False)
    (report_meta if args.meta else report)(results)


if __name__ == "__main__":
    main()
