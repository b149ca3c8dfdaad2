r"""Zero-shot predictions of hierarchical generalised models, beside those of a pooled fit.

A row of a task without rows is predicted by

    b E[y | x; B, Sigma] + (1 - b) f0(x),

f0 the wrapped estimator fitted on all rows: for classes the probabilities, else the means. The
first is right where the model is. But its B is an average over tasks, coefficients may hang
together with where the rows of a task lie, and with a log link the mean depends on the tails of the
prior. So it must prove itself, as in ``priors/pull.py``: b is that of least loss on tasks that were
left out, by folds, times ``1 - (2 / z)²``, z its gain on f0 in standard errors over tasks, and 0
where z is below 2. B and f0 are fitted without a fold, Sigma is that of all tasks.

References
----------
Stone (1961), The opinion pool. Mundlak (1978), On the pooling of time series and cross section
data, Econometrica 46. James, Stein (1961), Estimation with quadratic loss.
"""

import warnings
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning

from ..kernels.losses import Gamma, Logistic, Multinomial, Poisson, Tweedie
from ..learners.base import TaskwiseLearner
from ..priors.pull import MIN_ERRORS, MIN_TASKS
from ..priors.regularization import N_FOLDS, gain
from ..tasks.table import rows_of_tasks

__all__ = ["LOG_LINK", "PROBABILITIES", "pooled_values", "with_pooled_fit"]

PROBABILITIES = (Logistic, Multinomial)
LOG_LINK = (Poisson, Gamma, Tweedie)


def pooled_values(learner, row, X):
    """f0(x), shape (n_rows,) or (n_rows, n_classes), of its parameter row."""
    method = "predict" if learner.classes is None else "predict_proba"
    return learner.predict(method, row[None], X, np.zeros(len(X), dtype=np.intp))


def with_pooled_fit(learner, prior, table, learned_without, values):
    """The prior with f0 and 1 - b.

    Parameters
    ----------
    learner : GradientLearner
    prior : ConditionalPrior
    table : TaskTable
        All tasks.
    learned_without : callable
        The prior with the B of a table.
    values : callable
        ``values(prior, table)``: means or probabilities of rows of tasks that nothing is known of.
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

    losses, own = _losses_of(learner, table), values(prior, table)
    order = np.argsort(losses(own), kind="stable")  # folds do not depend on the order of tasks
    pooled = np.empty_like(own)
    for f in range(N_FOLDS):
        out = np.sort(order[f::N_FOLDS])
        others = _some(table, np.delete(np.arange(table.n_tasks), out))
        if isinstance(loss, LOG_LINK) and not others.y.any():
            return prior
        rows = np.isin(table.codes, out)
        own[rows] = values(learned_without(others), _some(table, out))
        pooled[rows] = pooled_values(learner, fitted(others), table.X[rows])

    def of_tasks(b):
        return losses(pooled + b * (own - pooled))

    b = minimize_scalar(lambda b: of_tasks(b).mean(), bounds=(0, 1), method="bounded").x
    z = gain(of_tasks(0.0), of_tasks(b))
    b *= 1 - (MIN_ERRORS / max(z, MIN_ERRORS)) ** 2
    return replace(prior, pooled=fitted(table), pooled_share=1 - b)


def _some(table, tasks):
    return rows_of_tasks([table], np.column_stack([np.zeros_like(tasks), tasks]))


def _losses_of(learner, table):
    """Mean losses of the rows of every task, as a function of what is predicted for them."""
    loss, n_rows = learner.network.loss, len(table.y)
    weight = np.ones(n_rows) if table.sample_weight is None else table.sample_weight
    size = np.bincount(table.codes, weight, minlength=table.n_tasks)
    share = weight / np.where(size > 0, size, 1.0)[table.codes]

    def of_rows(values):
        if learner.classes is not None:
            p = values[np.arange(n_rows), np.searchsorted(learner.classes, table.y)]
            return -np.log(np.maximum(p, np.finfo(np.float64).tiny))
        if isinstance(loss, LOG_LINK):
            raw = np.log(np.maximum(values, np.finfo(np.float64).tiny))
        else:
            raw = learner.units.target(values)
        return loss.value(raw[:, None], learner.encode(table.y))

    return lambda values: np.bincount(table.codes, share * of_rows(values), minlength=table.n_tasks)
