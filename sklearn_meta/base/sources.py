"""Fitted sources: a model of each, their mixture of priors, a pooled model of each component."""

from dataclasses import dataclass, replace

import numpy as np

from ..kernels.evidence import Landmarks, Moments
from ..kernels.stacking import Stack
from ..learners import in_chunks, numeric_columns, numeric_places
from ..priors.mixture import learn_mixture
from ..tasks.columns import View
from ..tasks.validation import plain, task_label

__all__ = ["Sources", "fit_sources", "pooled_models", "reasons", "task_ids"]

MAX_RANK = 30  # of landmarks that only tell which sources agree


@dataclass(frozen=True, eq=False)
class Sources:
    """Fitted sources.

    Parameters
    ----------
    fitter : Fitter
    table : TaskTable
        Their rows; places are ids where they have none.
    refused : dict
        Id of a source that was left out -> why.
    rows : ndarray of shape (n_sources, n_params)
        Their models.
    numeric : ndarray of int
        Places of the columns that hold numbers.
    landmarks : Landmarks
    level : ndarray of shape (n_outputs,)
        Mean target.
    mixture : Mixture
    pools : ndarray of shape (K + 1, n_params)
        A model for each narrow component, and one of all sources.
    risk : ndarray of shape (2, n_sources + K + 1)
        Of the models of the sources, and of the pools, on other sources; its standard errors.
    stack : Stack or None
    frame : TaskTable or None
        All sources with NaN where a column is absent (``columns="shared"``),
    view : View or None
        and how the models see them.
    """

    fitter: object
    table: object
    refused: dict
    rows: np.ndarray
    numeric: np.ndarray
    landmarks: Landmarks
    level: np.ndarray
    mixture: object
    pools: np.ndarray = None
    risk: np.ndarray = None
    stack: Stack = None
    frame: object = None
    view: View = None

    @property
    def unit(self):
        """A loss divided by this is a negative log-likelihood."""
        return 2 * self.mixture.s if self.fitter.loss.link == "identity" else 1.0

    def posterior(self, target, source):
        """The linear model of a target, and the probabilities of its component."""
        Z = self.landmarks(numeric_columns(target.X, self.numeric))
        Y = self.fitter.outputs(target.y) - self.level
        return self.mixture.adapt(Z, Y, target.weights, source)

    def as_model(self, w):
        """The parameter row of a linear model ``w`` of landmarks."""
        coef, level = self.landmarks.unfold(w.T)
        return self.fitter.learner.join(coef, level + self.level)

    def with_classes(self, classes):
        """The same sources as models of tasks with further classes; of these no stack knows."""
        rows, pools = map(self.fitter.estimators, (self.rows, self.pools))
        fitter = self.fitter.with_classes(classes)
        return replace(self, fitter=fitter, rows=rows, pools=pools, stack=None)


def task_ids(table):
    """The ids of tasks, places where they have none; text where another's id is this number."""
    ids = [None if i is None else plain(i) for i in (() if table.ids is None else table.ids)]
    taken, ids = set(ids), ids or [None] * table.n_tasks
    out = np.empty(len(ids), dtype=object)
    for t, id_ in enumerate(ids):
        out[t] = id_ if id_ is not None else f"task {t}" if t in taken else t
    return out


def fit_sources(fitter, table, n_jobs, refused):
    """Fit all sources, without a stack; see :func:`.candidates.learn_sources`."""
    table = replace(table, ids=task_ids(table))
    tried = [t for t, id_ in enumerate(table.ids) if id_ not in refused]
    rows = in_chunks(_fitted, [table.block(t, t + 1) for t in tried], n_jobs, fitter)
    failed = [isinstance(row, str) for row in rows]
    refused = refused | {table.ids[tried[i]]: rows[i] for i in np.flatnonzero(failed)}
    kept = np.delete(tried, failed)
    if len(kept) == 0:
        raise ValueError(f"no source could be fitted. {reasons(refused)}")
    rows = np.stack([row for row in rows if not isinstance(row, str)])
    some, offsets = np.isin(table.codes, kept), np.append(0, np.cumsum(table.sizes[kept]))
    table = table.take(np.flatnonzero(some), offsets, kept)
    Y, weight, numeric = fitter.outputs(table.y), table.weights, numeric_places(table.X)
    X = numeric_columns(table.X, numeric)
    intercept = not fitter.closed or bool(fitter.learner.estimator.fit_intercept)
    landmarks = Landmarks.of(X, weight, intercept, len(numeric) if fitter.closed else MAX_RANK)
    level = weight @ Y / weight.sum() if intercept else np.zeros(Y.shape[1])
    moments = Moments.of(landmarks(X), Y - level, offsets, weight)
    mixture = learn_mixture(moments, intercept)
    sources = Sources(fitter, table, refused, rows, numeric, landmarks, level, mixture)
    return replace(sources, pools=pooled_models(np.arange(len(kept)), sources))


def reasons(refused):
    """Why some sources were refused, for a message."""
    some = [f"{task_label(i, 0)}: {why}" for i, why in list(refused.items())[:3]]
    return " ".join(some) + (" ..." if len(refused) > 3 else "")


def _fitted(part, fitter):
    """The model of the rows of a source, or why there is none."""
    try:
        return fitter.fit(part)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def pooled_models(kept, sources):
    """A model of the rows of each narrow component, and one of all, of some sources."""
    fitter, mixture, table = sources.fitter, sources.mixture, sources.table

    def fit(some):
        return fitter.fit(table.as_one(np.flatnonzero(np.isin(table.codes, some))))

    everyone = fit(kept)
    if fitter.closed:
        return np.stack([*map(sources.as_model, mixture.means), everyone])
    component = mixture.member[kept].argmax(axis=1)
    own = [kept[component == k] for k in range(len(mixture.means))]
    return np.stack([*(fit(a) if 0 < len(a) < len(kept) else everyone for a in own), everyone])
