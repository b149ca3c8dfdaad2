"""Fitted sources: a model of each, their mixture of priors, a pooled model of each component."""

from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from ..kernels.evidence import Landmarks, Moments
from ..kernels.stacking import RawLoss, Stack
from ..learners import chunk_bounds, numeric_columns, numeric_places
from ..learners.refit import Rows
from ..priors.mixture import learn_mixture
from ..tasks.columns import View
from ..tasks.validation import plain, task_label

__all__ = ["Sources", "fit_sources", "pooled_models", "reasons", "task_ids"]

MAX_RANK = 30  # of landmarks that tell which sources agree
MAX_RANK_CLOSED = 100  # of landmarks in which targets adapt in closed form


@dataclass(frozen=True, eq=False)
class Sources:
    """Fitted sources.

    Parameters
    ----------
    fitter : Fitter
    data : list of Rows
        The rows of every source.
    ids : list
        By place where sources have none.
    refused : dict
        Id of a source that was left out -> why.
    rows : ndarray of shape (n_sources, n_params)
        Their models.
    numeric : ndarray of int
        Places of the columns that hold numbers.
    landmarks : Landmarks
    level : ndarray of shape (n_outputs,)
        Mean target.
    closed : bool
        Whether targets adapt by the posterior of the mixture.
    mixture : Mixture
    loss : RawLoss
    classes : ndarray or None
        Those of the sources.
    pools : ndarray of shape (K + 1, n_params)
        A model for each narrow component, and one of all sources.
    risk, risk_error : ndarray of shape (n_sources + K + 1,)
        Of the models of the sources, and of the pools, on other sources.
    stack : Stack or None
    frame : TaskTable or None
        The rows of the sources with NaN where a column is absent (``columns="shared"``).
    """

    fitter: object
    data: list
    ids: list
    refused: dict
    rows: np.ndarray
    numeric: np.ndarray
    landmarks: Landmarks
    level: np.ndarray
    closed: bool
    mixture: object
    loss: RawLoss
    classes: np.ndarray
    pools: np.ndarray = None
    risk: np.ndarray = None
    risk_error: np.ndarray = None
    stack: Stack = None
    frame: object = None

    def __len__(self):
        return len(self.rows)

    @property
    def unit(self):
        """A loss divided by this is a negative log-likelihood."""
        return 2 * self.mixture.s if self.loss.link == "identity" else 1.0

    def numbers(self, target):
        """Landmarks of the rows of a target, its outputs around the level, and its weights."""
        X = numeric_columns(target.X, self.numeric)
        Y = self.fitter.outputs(target.y)
        if Y.shape[1] > len(self.level):  # with further classes
            Y = Y[:, np.isin(self.fitter.classes, self.classes)]
        return self.landmarks(X), Y - self.level, target.weight

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
    places = [f"task {t}" if t in taken else t for t in range(len(ids))]
    return [place if i is None else i for i, place in zip(ids, places, strict=True)]


def fit_sources(fitter, table, extra, n_jobs, refused):
    """Fit all sources, without a stack; see :func:`.candidates.learn_sources`."""
    data, ids = Rows.of_tasks(table, extra), task_ids(table)
    kept = [t for t, id_ in enumerate(ids) if id_ not in refused]
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_fit_chunk)(fitter, [data[t] for t in kept[lo:hi]])
        for lo, hi in chunk_bounds(len(kept))
    )
    rows = dict(zip(kept, (row for part in parts for row in part), strict=True))
    refused = refused | {ids[t]: row for t, row in rows.items() if isinstance(row, str)}
    kept = [t for t in kept if not isinstance(rows[t], str)]
    if not kept:
        raise ValueError(f"no source could be fitted. {reasons(refused)}")
    data, rows, ids = ([part[t] for t in kept] for part in (data, rows, ids))
    every = Rows.concatenate(data)
    Y, weight, numeric = fitter.outputs(every.y), every.weight, numeric_places(every.X)
    X = numeric_columns(every.X, numeric)
    X[np.isinf(X)] = np.nan
    X = View.of_all(X).rows(X)
    closed = fitter.exact and X.shape[1] < MAX_RANK_CLOSED
    intercept = not closed or bool(fitter.learner.estimator.fit_intercept)
    landmarks = Landmarks.of(X, weight, intercept, MAX_RANK_CLOSED if closed else MAX_RANK)
    level = weight @ Y / weight.sum() if intercept else np.zeros(Y.shape[1])
    offsets = np.cumsum([0, *map(len, data)])
    moments = Moments.of(landmarks(X), Y - level, offsets, weight)
    mixture = learn_mixture(moments, intercept)
    link = "identity" if fitter.classes is None else "softmax"
    loss = RawLoss("log" if getattr(fitter.learner, "link", None) == "log" else link)
    fits = np.stack(rows), numeric, landmarks, level, closed, mixture, loss, fitter.classes
    sources = Sources(fitter, data, ids, refused, *fits)
    return replace(sources, pools=pooled_models(sources, np.arange(len(data))))


def reasons(refused):
    """Why some sources were refused, for a message."""
    some = [f"{task_label(i, 0)}: {why}" for i, why in list(refused.items())[:3]]
    return " ".join(some) + (" ..." if len(refused) > 3 else "")


def _fit_chunk(fitter, data):
    rows = []
    for part in data:
        try:
            rows.append(fitter.fit(part))
        except Exception as error:
            rows.append(f"{type(error).__name__}: {error}")
    return rows


def pooled_models(sources, kept):
    """A model of the rows of each narrow component, and one of all, of some sources."""
    fitter, mixture = sources.fitter, sources.mixture

    def fit(some):
        return fitter.fit(Rows.concatenate([sources.data[a] for a in some]))

    everyone = fit(kept)
    if sources.closed:
        return np.stack([*map(sources.as_model, mixture.means), everyone])
    component = mixture.member[kept].argmax(axis=1)
    own = [kept[component == k] for k in range(len(mixture.means))]
    return np.stack([*(fit(a) if 0 < len(a) < len(kept) else everyone for a in own), everyone])
