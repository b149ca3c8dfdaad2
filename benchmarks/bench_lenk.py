"""Lenk's computer survey: predict what a new person thinks of four computers.

    python benchmarks/bench_lenk.py [--data PATH/TO/lenk_data.mat]

180 people rated the same 20 personal computers from 0 to 10 (Lenk, DeSarbo, Green, Young 1996). The
file `lenk_data.mat` is used by many papers on multi-task learning. It is not part of this project;
it is looked for in `--data`, in the environment variable LENK_DATA, and in ../shared/data beside
the repository.

Protocol of Denevi, Pontil, Ciliberto (2020), "The advantage of conditional meta-learning":

1. A person is a task: 16 rows to adapt to, 4 to score; 13 attributes (the constant one is left to
   the intercept), the target is the rating.
2. 10 random splits of the people: 100 meta-train, 40 validation, 30 test (10 are not used).
   The splits here have the published sizes, but are not the published ones.
3. The meta-model learns from the 16 rows of the meta-train people. The covariance is the one with
   the least mean absolute error on the 4 rows of the validation people after adapting to their 16;
   these people take no further part.
4. It is adapted to the 16 rows of the test people. Score: mean absolute error on their 4 rows, mean
   over people; mean and standard error over the splits.
5. `clipped` are the same predictions clipped to the scale of the survey, 0 to 10. Published numbers
   are those of the paper, not measured here.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from sklearn_meta import HierarchicalBayes, Independent, Pooled, Task, few_shot_scorer

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "lenk_data.mat"
N_PEOPLE, N_SUPPORT, N_QUERY = 180, 16, 4
N_TRAIN, N_VALIDATION, N_TEST = 100, 40, 30
N_SPLITS = 10
PUBLISHED = {
    "independent learning": (3.556, 0.059),
    "unconditional meta-learning": (1.805, 0.032),
    "conditional meta-learning": (1.485, 0.029),
}


def load_people(path):
    """One task per person: 20 rows, of which the first 16 are the support."""
    data = loadmat(path)

    def by_person(name, n_rows):
        return data[name].astype(float).reshape(N_PEOPLE, n_rows, -1)

    rows = np.concatenate([by_person("Traindata", N_SUPPORT), by_person("Testdata", N_QUERY)], 1)
    support = np.arange(N_SUPPORT)
    return [
        Task(person[:, 1:-1], person[:, -1], id=i, support=support) for i, person in enumerate(rows)
    ]


def support_of(task):
    return task.rows(np.arange(N_SUPPORT))


def choose_covariance(train, validation):
    search = GridSearchCV(
        HierarchicalBayes(),
        {"covariance": ["full", "diag", "spherical"]},
        scoring=few_shot_scorer("neg_mean_absolute_error", n_shots=N_SUPPORT),
        cv=PredefinedSplit([-1] * len(train) + [0] * len(validation)),
        refit=False,
    ).fit([*map(support_of, train), *validation])
    return search.cv_results_["params"][search.cv_results_["rank_test_score"].argmin()]


def absolute_errors(meta, test):
    """Mean absolute error over people, as predicted and clipped to the scale."""
    X, y, person = (
        np.concatenate(part)
        for part in zip(*((t.X, t.y, np.repeat(t.id, len(t.y))) for t in test), strict=True)
    )
    is_query = np.tile(np.arange(N_SUPPORT + N_QUERY) >= N_SUPPORT, len(test))
    meta.adapt(X[~is_query], y[~is_query], groups=person[~is_query])
    predicted = meta.predict(X[is_query], groups=person[is_query])
    truth = y[is_query]
    return [np.abs(p - truth).mean() for p in (predicted, np.clip(predicted, 0, 10))]


def find_data(argument):
    path = Path(argument or os.environ.get("LENK_DATA") or BESIDE)
    if not path.exists():
        print(f"{path} does not exist: pass --data, or set LENK_DATA. Nothing is measured.")
        sys.exit()
    return path


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="where lenk_data.mat is")
    args = parser.parse_args()
    people = load_people(find_data(args.data))
    errors, chosen = {}, Counter()
    start = time.perf_counter()
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(N_PEOPLE)
        some = [people[i] for i in order]
        train, some = some[:N_TRAIN], some[N_TRAIN:]
        validation, test = some[:N_VALIDATION], some[N_VALIDATION : N_VALIDATION + N_TEST]
        best = choose_covariance(train, validation)
        chosen[best["covariance"]] += 1
        models = {
            "Pooled(Ridge)": Pooled(),
            "Independent(Ridge)": Independent(),
            "HierarchicalBayes, random intercept": HierarchicalBayes(random_effects="intercept"),
            "HierarchicalBayes": HierarchicalBayes(),
            "HierarchicalBayes, plain": HierarchicalBayes(regularization=None),
            "HierarchicalBayes, diag": HierarchicalBayes(covariance="diag"),
            "HierarchicalBayes, validated": HierarchicalBayes(**best),
        }
        for name, model in models.items():
            error = absolute_errors(model.meta_fit(map(support_of, train)), test)
            errors.setdefault(name, []).append(error)
    seconds = time.perf_counter() - start
    print(f"mean absolute error ± standard error over {N_SPLITS} splits   (clipped to 0-10)")
    for name, values in errors.items():
        mean = np.mean(values, axis=0)
        se = np.std(values, axis=0, ddof=1) / np.sqrt(N_SPLITS)
        print(f"{name:36} {mean[0]:.3f} ± {se[0]:.3f}   {mean[1]:.3f} ± {se[1]:.3f}")
    for name, (mean, se) in PUBLISHED.items():
        print(f"{'published: ' + name:36} {mean:.3f} ± {se:.3f}")
    print("chosen covariances: " + ", ".join(f"{c} {n} times" for c, n in chosen.items()))
    print(f"{seconds:.1f} s in all")


if __name__ == "__main__":
    main()
