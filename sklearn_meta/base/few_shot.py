r"""Few-shot predictions of hierarchical generalised models, averaged with those of a pooled fit.

A row of a task with n rows is predicted by

    (1 - a(n)) E[y | x; posterior] + a(n) f0(x),

f0 the wrapped estimator fitted on all rows: for classes the probabilities, else the means. The
first is right where the model is. But the prior mean B is an average over tasks, coefficients may
hang together with where the rows of a task lie, and with a log link means depend on the tails of
the prior. So a(n) is that of least loss on tasks that were left out, by folds, given n of their
rows, less what may be chance: the share ``1 - 1 / z²`` of it is used, z its gain in standard errors
over tasks, and nothing where z is below 1. Without rows it is the prior that must prove itself: the
share ``1 - (2 / z)²`` of ``1 - a(0)`` is used. It is as in ``priors/pull.py``, but for values in
place of coefficients. B and f0 are fitted without a fold, Sigma is that of all tasks.

The residuals of the same predictions, in units of their standard deviations, calibrate the
intervals of regressors, as in ``priors/intervals.py``.

References
----------
Stone (1961), The opinion pool. Mundlak (1978), On the pooling of time series and cross section
data, Econometrica 46. James, Stein (1961), Estimation with quadratic loss.
"""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning

from ..kernels.losses import Logistic, Multinomial
from ..learners.base import TaskwiseLearner
from ..priors.intervals import calibration_of, normal_scores
from ..priors.pull import MIN_ERRORS, MIN_TASKS, SHOTS, Pull, sure_share
from ..priors.regularization import N_FOLDS, gain
from ..tasks.table import rows_of_tasks

__all__ = ["PROBABILITIES", "pooled_values", "proved"]

PROBABILITIES = (Logistic, Multinomial)


def pooled_values(learner, row, X):
    """f0(x), shape (n_rows,) or (n_rows, n_classes), of its parameter row."""
    method = "predict" if learner.classes is None else "predict_proba"
    return learner.predict(method, row[None], X, np.zeros(len(X), dtype=np.intp))


def proved(learner, prior, table, learned_without, predicted, *, pooled):
    """The prior of the tasks of a table with f0, where it is pooled, a(n) and its calibration.

    ``learned_without(table)`` is the prior with the B of a table. ``predicted(prior, support, X,
    codes)`` are means or probabilities of rows X of tasks that have the rows of a table, and
    standard deviations of targets (NaN of classes).
    """
    loss = learner.network.loss
    margins = learner.classes is not None and not isinstance(loss, PROBABILITIES)
    if table.n_tasks < MIN_TASKS or margins:
        return prior
    shares = learner.prior(table) if isinstance(learner, TaskwiseLearner) else None

    def fitted(table):
        if shares is None:
            return learner.rows(learner.pooled(table)[None])[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is judged by its predictions
            return learner.fit_row(table.X, table.y, table.sample_weight, shares)

    log_link = prior.model.family.log_link
    place, losses = _places(table), _losses_of(learner, table, log_link)
    at_prior, _ = predicted(prior, _some_rows(table, place < 0), table.X, table.codes)
    order = np.argsort(losses(at_prior, place), kind="stable")  # whatever that of the tasks
    shots = np.array([k for k in SHOTS if not k or (table.sizes > k).mean() > 0.5])
    own, f0 = np.empty((len(shots), *at_prior.shape)), np.empty(at_prior.shape)
    stds = np.empty((len(shots), len(table.y)))
    for f in range(N_FOLDS):
        out = np.sort(order[f::N_FOLDS])
        others = _some_tasks(table, np.delete(np.arange(table.n_tasks), out))
        if log_link and not others.y.any():
            return prior
        rows, left_out = np.isin(table.codes, out), _some_tasks(table, out)
        of_others = learned_without(others)
        if pooled:
            f0[rows] = pooled_values(learner, fitted(others), table.X[rows])
        for i, k in enumerate(shots):
            support = _some_rows(left_out, place[rows] < k)
            own[i][rows], stds[i][rows] = predicted(of_others, support, left_out.X, left_out.codes)
    if pooled:
        of_shots = (partial(losses, place=place - k) for k in shots)
        a = [_share(k, of_k, o, f0) for k, of_k, o in zip(shots, of_shots, own, strict=True)]
        own += np.reshape(a, (-1, *[1] * f0.ndim)) * (f0 - own)
        pull = Pull(np.append(shots, 4 * shots[-1] + 1), np.array([*a, 0.0]))
        prior = replace(prior, pooled=fitted(table), pull=pull)
    if learner.classes is not None:
        return prior
    z = normal_scores(np.abs(table.y - own) / stds, np.inf)
    scores = {int(k): _of_tasks(table, z[i], place >= k) for i, k in enumerate(shots)}
    return replace(prior, calibration=calibration_of(scores, table.n_tasks))


def _of_tasks(table, values, kept):
    """Values of some rows, an array for each task that has any."""
    sizes = np.bincount(table.codes[kept], minlength=table.n_tasks)
    return [part for part in np.split(values[kept], np.cumsum(sizes)[:-1]) if len(part)]


def _share(n_shots, losses, own, f0):
    """a for a number of rows."""

    def of_tasks(a):
        return losses(own + a * (f0 - own))

    a = minimize_scalar(lambda a: np.nanmean(of_tasks(a)), bounds=(0, 1), method="bounded").x
    z = gain(of_tasks(0.0 if n_shots else 1.0), of_tasks(a))
    if n_shots:
        return a * sure_share(z, 1.0)
    return 1 - (1 - a) * sure_share(z, 1.0, MIN_ERRORS)


def _places(table):
    """Places of all rows in a random order of those of their task, whatever order they are in."""
    order = np.lexsort((table.y, *table.X.T, table.codes))
    key = np.empty(len(order))
    key[order] = np.random.default_rng(0).random(len(order))
    place = np.empty(len(order), dtype=np.intp)
    place[np.lexsort((key, table.codes))] = np.arange(len(order))
    return place - table.offsets[table.codes]


def _some_tasks(table, tasks):
    return rows_of_tasks([table], np.column_stack([np.zeros_like(tasks), tasks]))


def _some_rows(table, kept):
    """All tasks with some of their rows."""
    sizes = np.bincount(table.codes[kept], minlength=table.n_tasks)
    return table.take(np.flatnonzero(kept), np.concatenate([[0], np.cumsum(sizes)]), slice(None))


def _losses_of(learner, table, log_link):
    """Mean losses of tasks, NaN without rows, of values; rows count whose places are 0 or more."""
    loss, n_rows = learner.network.loss, len(table.y)

    def of_rows(values):
        if learner.classes is not None:
            p = values[np.arange(n_rows), np.searchsorted(learner.classes, table.y)]
            return -np.log(np.maximum(p, np.finfo(np.float64).tiny))
        if log_link:
            raw = np.log(np.maximum(values, np.finfo(np.float64).tiny))
        else:
            raw = learner.units.target(values)
        return loss.value(raw[:, None], learner.encode(table.y))

    def of_tasks(values, place):
        counted = np.where(place >= 0, table.weights, 0.0)
        size, total = table.sums(counted), table.sums(counted * of_rows(values))
        return np.where(size > 0, total, np.nan) / np.where(size > 0, size, 1.0)

    return of_tasks
