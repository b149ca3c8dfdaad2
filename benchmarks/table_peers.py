"""Peers of bench_tables.py off the shelf, with the few methods of this package that it calls.

Each is a random intercept b of every task beside a fixed part f,

    y = f(x) + b + noise,    b ~ N(0, v),    noise ~ N(0, s),

of which a task with n rows has ``E[b | y] = n v / (n v + s) mean(y - f(x))``; a new one, 0. Where f
is linear this is ``HierarchicalBayes(random_effects="intercept")``, to the digits of lme4.
"""

import importlib.util
import logging
import warnings

import numpy as np
from sklearn.model_selection import GroupKFold

__all__ = ["TABLE_PEERS"]

MAX_ROUNDS = 500


class RandomIntercept:
    """What the peers share: `train` finds f, v and s; the rest is the formula above."""

    def meta_fit(self, tasks):
        X, y = (np.concatenate([getattr(t, part) for t in tasks]) for part in ("X", "y"))
        codes = np.repeat(np.arange(len(tasks)), [len(t.y) for t in tasks])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.fixed, self.v, self.s = self.train(X, y, codes)
        self.offsets = {}
        return self

    def adapt(self, X, y, *, groups):
        ids, codes = np.unique(groups, return_inverse=True)
        n, total = np.bincount(codes), np.bincount(codes, y - self.fixed(X))
        self.offsets = dict(zip(ids.tolist(), self.v * total / (n * self.v + self.s), strict=True))
        return self

    def predict(self, X, *, groups):
        return self.fixed(X) + np.array([self.offsets.get(g, 0.0) for g in groups.tolist()])


class GPBoost(RandomIntercept):
    """Boosted trees with random intercepts (Sigrist 2022); rounds by folds of tasks."""

    package = "gpboost"

    def train(self, X, y, codes):
        import gpboost

        params = {"verbose": -1, "num_threads": 1, "seed": 0}

        def model():
            return gpboost.GPModel(group_data=codes, num_parallel_threads=1)

        scores = gpboost.cv(
            params,
            gpboost.Dataset(X, y),
            num_boost_round=MAX_ROUNDS,
            gp_model=model(),
            folds=list(GroupKFold(min(5, codes[-1] + 1)).split(X, y, codes)),
            early_stopping_rounds=20,
            verbose_eval=False,
        )
        n_rounds = len(next(iter(scores.values())))
        fitted = model()
        booster = gpboost.train(params, gpboost.Dataset(X, y), n_rounds, gp_model=fitted)
        s, v = np.ravel(fitted.get_cov_pars())[:2]
        return lambda X: booster.predict(X, ignore_gp_model=True, num_threads=1), v, s


class MERF(RandomIntercept):
    """A random forest with random intercepts (Hajjem, Bellavance, Larocque 2014)."""

    package = "merf"

    def train(self, X, y, codes):
        import pandas as pd
        from merf import MERF
        from sklearn.ensemble import RandomForestRegressor

        logging.getLogger("merf").setLevel(logging.ERROR)
        forest = RandomForestRegressor(random_state=0)
        fit = MERF(forest, max_iterations=20).fit(X, np.ones((len(X), 1)), pd.Series(codes), y)
        v, s = fit.D_hat_history[-1], fit.sigma2_hat_history[-1]
        return fit.trained_fe_model.predict, float(np.squeeze(v)), float(s)


TABLE_PEERS = {
    peer.__name__.lower(): peer
    for peer in (GPBoost, MERF)
    if importlib.util.find_spec(peer.package)
}
