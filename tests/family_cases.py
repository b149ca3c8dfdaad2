"""Targets of every family, and fits of arrays, for tests."""

import numpy as np
from scipy.special import expit

from sklearn_meta.kernels.families import (
    Bernoulli,
    Categorical,
    EpsilonDensity,
    GammaFamily,
    Gaussian,
    HingeFamily,
    HuberDensity,
    ModifiedHuberFamily,
    PoissonFamily,
    TweedieFamily,
)
from sklearn_meta.priors.laplace import fit_laplace
from sklearn_meta.tasks import TaskTable, padded_batches

FAMILIES = {
    "bernoulli": (Bernoulli(), 1),
    "one against the rest": (Bernoulli(), 2),
    "categorical": (Categorical(), 3),
    "poisson": (PoissonFamily(), 1),
    "gamma": (GammaFamily(), 1),
    "tweedie": (TweedieFamily(1.5), 1),
    "inverse gaussian": (TweedieFamily(3.0), 1),
    "gaussian": (Gaussian(), 1),
    "huber": (HuberDensity(), 1),
    "epsilon": (EpsilonDensity(0.1), 2),
    "hinge": (HingeFamily(), 2),
    "modified huber": (ModifiedHuberFamily(), 1),
}


def draw(family, r, rng):
    """Targets with raw predictions r."""
    match family:
        case Bernoulli():
            return (rng.random(r.shape) < expit(r)).astype(float)
        case Categorical():
            labels = (r + rng.gumbel(size=r.shape)).argmax(axis=-1)
            return np.eye(r.shape[-1])[labels]
        case PoissonFamily():
            return rng.poisson(np.exp(r)).astype(float)
        case GammaFamily() | TweedieFamily(power=3.0):
            return rng.gamma(2.0, np.exp(r) / 2) + 0.05
        case TweedieFamily():
            return rng.gamma(2.0, np.exp(r) / 2) * (rng.random(r.shape) < 0.7)
        case HingeFamily():
            return np.where(rng.random(r.shape) < expit(2 * r), 1.0, -1.0)
    return r + 0.7 * rng.standard_normal(r.shape)


def as_batches(X, y, groups, weight=None):
    X, y, groups = np.asarray(X, float), np.asarray(y, float), np.asarray(groups)
    _, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    offsets = np.append(0, np.cumsum(np.bincount(codes)))
    weight = None if weight is None else np.asarray(weight, float)[order]
    table = TaskTable(X[order], y[order], offsets, sample_weight=weight)
    return list(padded_batches(table)), np.zeros((table.n_tasks, 0))


def fit(X, y, groups, family, *, weight=None, **kwargs):
    return fit_laplace(*as_batches(X, y, groups, weight), family, **kwargs)
