"""Peers of bench_hierarchical.py in Python, each optional: one fit of one table, timed.

    python benchmarks/hierarchical_peers.py mixedlm|gpboost|gpboost_logit FOLDER

prints a line of JSON; ``{}`` where the package is not installed. FOLDER holds X.npy, y.npy and
integer.npy. Importing the package is not timed.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def mixedlm(X, y, groups):
    """Y ~ x + (x | g) by REML in statsmodels."""
    import statsmodels
    from statsmodels.regression.mixed_linear_model import MixedLM

    Z = np.column_stack([np.ones(len(X)), X])
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MixedLM(y, Z, groups, exog_re=Z).fit(reml=True)
    return {
        "name": "mixedlm " + statsmodels.__version__,
        "seconds": time.perf_counter() - start,
        "fixef": fit.fe_params.tolist(),
        "varcorr": np.asarray(fit.cov_re).tolist(),
        "sigma2": float(fit.scale),
    }


def gpboost(X, y, groups):
    """Independent random intercepts and slopes by REML: GPBoost has no correlations of these."""
    import gpboost

    Z = np.column_stack([np.ones(len(X)), X])
    slopes = {"group_rand_coef_data": X, "ind_effect_group_rand_coef": [1]}
    start = time.perf_counter()
    model = gpboost.GPModel(
        group_data=groups, likelihood="gaussian", num_parallel_threads=1, **slopes
    )
    model.fit(y=y, X=Z)
    noise, v0, v1 = np.ravel(model.get_cov_pars())[:3]
    return {
        "name": "gpboost " + gpboost.__version__,
        "seconds": time.perf_counter() - start,
        "fixef": np.ravel(model.get_coef())[:2].tolist(),
        "varcorr": [[v0, 0.0], [0.0, v1]],
        "sigma2": noise,
    }


def gpboost_logit(X, y, groups):
    """Random intercepts of Bernoulli targets by Laplace's approximation."""
    import gpboost

    Z = np.column_stack([np.ones(len(X)), X])
    start = time.process_time()
    model = gpboost.GPModel(group_data=groups, likelihood="bernoulli_logit", num_parallel_threads=1)
    model.fit(y=y, X=Z)
    return {
        "name": "gpboost " + gpboost.__version__,
        "seconds": time.process_time() - start,
        "fixef": np.ravel(model.get_coef())[:2].tolist(),
        "varcorr": [[float(np.ravel(model.get_cov_pars())[0])]],
        "log_likelihood": -float(model.get_current_neg_log_likelihood()),
    }


if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    data = [np.load(folder / f"{part}.npy") for part in ("X", "y", "integer")]
    try:
        print(json.dumps(globals()[name](*data)))
    except ImportError:
        print("{}")
