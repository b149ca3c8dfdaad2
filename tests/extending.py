"""An algorithm of one's own in 100 lines; doc/user_guide/extending.rst says how it came to be."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.linear_model import Ridge

from sklearn_meta.base import BaseMetaEstimator, Needs
from sklearn_meta.learners import is_squared_linear, last_step
from sklearn_meta.tasks import padded_batches


@dataclass(frozen=True, eq=False)
class MetaModel:
    """The centre that all tasks are pulled towards, how strongly, and the errors that say so."""

    centre: np.ndarray
    strength: float
    errors: dict


def sums(Z, y, weight):
    """``Z'Z`` and ``Z'y`` of every task; padding has weight 0."""
    WZ = weight[..., None] * Z
    return np.einsum("tni,tnj->tij", WZ, Z), np.einsum("tni,tn->ti", WZ, y)


def adapt(Z, y, weight, centre, strength):
    """Ridge regression towards a centre: one row of coefficients for each task."""
    G, g = sums(Z, y, weight)
    A = G + strength * np.eye(Z.shape[2])
    return centre + np.linalg.solve(A, g[..., None] - G @ centre[..., None])[..., 0]


def squares_left_out(Z, y, weight, centre, strength):
    """Squared errors on every row, adapted to the other rows of its task, summed."""
    G, _ = sums(Z, y, weight)
    A = G + strength * np.eye(Z.shape[2])
    leverage = weight * np.einsum("tni,tin->tn", Z, np.linalg.solve(A, np.swapaxes(Z, 1, 2)))
    residual = y - np.einsum("tni,ti->tn", Z, adapt(Z, y, weight, centre, strength))
    return np.sum(weight * (residual / (1 - leverage)) ** 2)


def learn(batches, strengths):
    """A fit of all tasks, and the strength of least error on tasks that are left out of it."""
    parts = [sums(*batch) for batch in batches]
    G, g = (np.concatenate(part) for part in zip(*parts, strict=True))
    others = np.linalg.pinv(G.sum(axis=0) - G, hermitian=True) @ (g.sum(axis=0) - g)[..., None]
    centres = np.split(others[..., 0], np.cumsum([len(Z) for Z, _, _ in batches])[:-1])
    errors = {}
    for strength in strengths:
        left_out = zip(batches, centres, strict=True)
        errors[strength] = sum(squares_left_out(*b, centre, strength) for b, centre in left_out)
    centre = np.linalg.pinv(G.sum(axis=0), hermitian=True) @ g.sum(axis=0)
    return MetaModel(centre, min(errors, key=errors.get), errors)


class RidgeTowardsPooled(BaseMetaEstimator):
    """Ridge regression of every task towards a fit of all tasks.

    Parameters
    ----------
    estimator : estimator, default=None
        A linear regressor with squared loss and an intercept. None: ``Ridge()``.
    strengths : array-like of float, default=(0.1, 1, 10, 100, 1000)
        Penalties to choose from, all positive, in rows of standardised features.
    task_column : str or int, default=None
        The column of X that holds the task id.
    n_jobs : int, default=None
        Number of threads that adapt tasks; used for more than 16,384 tasks.

    Attributes
    ----------
    strength_ : float
        The one of least error on tasks that were left out.

    Examples
    --------
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, random_state=0)
    >>> model = RidgeTowardsPooled().meta_fit(tasks[:99])
    >>> model.strength_
    1
    >>> new = tasks[99]
    >>> model.adapt(new.X[:5], new.y[:5]).estimator_
    Ridge()
    """

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "strengths": ["array-like"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self, estimator=None, *, strengths=(0.1, 1, 10, 100, 1000), task_column=None, n_jobs=None
    ):
        self.estimator = estimator
        self.strengths = strengths
        self.task_column = task_column
        self.n_jobs = n_jobs

    def _default_estimator(self):
        return Ridge()

    def _needs(self):
        return Needs(standardized=True, fits=False)

    def _check_wrapped(self, estimator):
        last = last_step(estimator)
        if not is_squared_linear(last) or not last.fit_intercept:
            raise ValueError(
                f"{last} is no linear regressor with squared loss and an intercept; wrap Ridge()."
            )
        strengths = np.asarray(self.strengths, dtype=float)
        if strengths.size == 0 or not (strengths > 0).all():
            raise ValueError(f"strengths={self.strengths!r} must be positive numbers.")

    def _rows(self, learner, table):
        """Rows ``[1, x]`` in standardised units, as padded batches of tasks of similar size."""
        units = learner.units
        for batch in padded_batches(table):
            X = units.features(batch.X)
            Z = np.concatenate([np.ones((*X.shape[:2], 1)), X], axis=2)
            yield batch.tasks, (Z, units.target(batch.y), batch.weight)

    def _learn(self, learner, tables, meta_model, fit_params, report):
        if fit_params:
            raise TypeError(f"the wrapped estimator is never fitted; got {sorted(fit_params)}.")
        return learn([batch for _, batch in self._rows(learner, next(tables))], self.strengths)

    def _adapt(self, learner, meta_model, table, fit_params):
        theta = np.empty((table.n_tasks, len(meta_model.centre)))
        for tasks, batch in self._rows(learner, table):
            theta[tasks] = adapt(*batch, meta_model.centre, meta_model.strength)
        return learner.rows(theta)

    @property
    def strength_(self):
        """The penalty that was chosen."""
        return self.meta_model_.strength
