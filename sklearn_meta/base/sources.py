"""Fitted sources: a model of each, their mixture of priors, a pooled model of each component."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from ..kernels import losses
from ..kernels.evidence import Landmarks, Moments, posterior
from ..kernels.stacking import RawLoss
from ..learners import chunk_bounds, numeric_columns
from ..learners.refit import Rows
from ..priors.mixture import learn_mixture
from ..tasks.validation import plain, task_label

__all__ = ["Sources", "fit_sources", "pooled_models"]

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
    landmarks : Landmarks
    level : ndarray of shape (n_outputs,)
        Mean target.
    closed : bool
        Whether targets adapt by the posterior of the mixture.
    mixture : Mixture
    coefs : ndarray of shape (n_sources, rank, n_outputs)
        Linear models of the sources around the level: posterior means.
    pools : ndarray of shape (K + 1, n_params)
        A model for each narrow component, and one of all sources.
    loss : RawLoss
    """

    fitter: object
    data: list
    ids: list
    refused: dict
    rows: np.ndarray
    landmarks: Landmarks
    level: np.ndarray
    closed: bool
    mixture: object
    coefs: np.ndarray
    pools: np.ndarray
    loss: RawLoss

    def __len__(self):
        return len(self.rows)

    def numbers(self, target):
        """Landmarks of the rows of a target, and its outputs around the level."""
        X = numeric_columns(target.X)
        if len(X) == 0:  # of no rows the columns are not known
            X = np.empty((0, len(self.landmarks.centre)))
        return self.landmarks(X), target.Y - self.level

    def as_model(self, w):
        """The parameter row of a linear model ``w`` of landmarks."""
        coef, level = self.landmarks.unfold(w.T)
        return self.fitter.learner.join(coef, level + self.level)

    def misfit(self, target):
        """Squares that the linear models of the sources leave, with a level of the target's own."""
        Z, Y = self.numbers(target)
        r = Y - Z @ self.coefs
        squares = np.einsum("n,ano->a", target.weight, r**2)
        return squares - np.sum((target.weight @ r) ** 2, axis=1) / (target.weight.sum() + 1)

    def with_classes(self, classes):
        """The same sources as models of tasks with further classes."""
        known, place = self.fitter, np.searchsorted(classes, self.fitter.classes)

        def wider(values):
            out = np.zeros((*values.shape[:-1], len(classes)))
            out[..., place] = values
            return out

        return replace(
            self,
            fitter=known.with_classes(classes),
            data=[replace(rows, Y=wider(rows.Y)) for rows in self.data],
            rows=known.as_rows(known.estimators(self.rows)),
            pools=known.as_rows(known.estimators(self.pools)),
            level=wider(self.level),
            coefs=wider(self.coefs),
            mixture=replace(self.mixture, means=wider(self.mixture.means)),
        )


def fit_sources(fitter, table, fit_params, n_jobs):
    """Fit all sources.

    Parameters
    ----------
    fitter : Fitter
    table : TaskTable
    fit_params : dict
        Those with one entry per row of the table are cut to the rows of each fit.
    n_jobs : int or None

    Returns
    -------
    Sources
    """
    data = Rows.of_tasks(table, fitter.classes, fit_params)
    ids = list(range(table.n_tasks))
    if table.ids is not None:
        ids = [t if i is None else plain(i) for t, i in enumerate(table.ids)]
    rows, reasons = _fit_each(fitter, data, table, n_jobs)
    refused = {ids[t]: reason for t, reason in reasons.items()}
    if refused:
        some = [f"{task_label(i, 0)}: {reason}" for i, reason in list(refused.items())[:3]]
        named = " ".join(some) + (" ..." if len(refused) > 3 else "")
        kept = [t for t in range(len(ids)) if t not in reasons]
        if not kept:
            raise ValueError(f"no source could be fitted. {named}")
        message = f"{len(refused)} of {len(ids)} sources are left out. {named}"
        warnings.warn(message, UserWarning, stacklevel=2)
        ids, data, rows = ([part[t] for t in kept] for part in (ids, data, rows))
    X = np.concatenate([numeric_columns(part.X) for part in data])
    Y, weight = (np.concatenate([getattr(p, key) for p in data]) for key in ("Y", "weight"))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in data])])
    closed = fitter.exact and X.shape[1] < MAX_RANK_CLOSED
    intercept = not closed or bool(fitter.learner.estimator.fit_intercept)
    landmarks = Landmarks.of(X, weight, intercept, MAX_RANK_CLOSED if closed else MAX_RANK)
    level = weight @ Y / weight.sum() if intercept else np.zeros(Y.shape[1])
    moments = Moments.of(landmarks(X), Y - level, offsets, weight)
    mixture = learn_mixture(moments, intercept)
    coefs = posterior(moments, mixture.means[0], mixture.P_broad)[0]
    fits = np.stack(rows), landmarks, level, closed, mixture, coefs, None
    sources = Sources(fitter, data, ids, refused, *fits, _loss(fitter, mixture.s))
    return replace(sources, pools=pooled_models(sources, np.arange(len(data))))


def _loss(fitter, noise):
    """What judges: log-loss, deviance with a log link, else squared error."""
    if fitter.classes is not None:
        return RawLoss(losses.Multinomial())
    if getattr(fitter.learner, "link", "identity") == "log":
        return RawLoss(losses.Poisson())
    return RawLoss(losses.Squared(), noise)


def _fit_each(fitter, data, table, n_jobs):
    """A model of every source, and why there is none, by place."""
    if fitter.exact and sum(map(len, data)) == len(table.y) and not any(d.extra for d in data):
        return list(fitter.learner.fit_each(table, fitter.prior, {})), {}
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_fit_chunk)(fitter, data[lo:hi]) for lo, hi in chunk_bounds(len(data))
    )
    rows = [row for part in parts for row in part]
    return rows, {t: row for t, row in enumerate(rows) if isinstance(row, str)}


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
    fitter, mixture, kept = sources.fitter, sources.mixture, np.asarray(kept)
    component = mixture.member[kept].argmax(axis=1)

    def fit(some):
        rows = Rows.concatenate([sources.data[a] for a in some])
        if fitter.exact:
            return fitter.refit(None, rows, 1.0)[0]
        return fitter.fit(rows)

    everyone = fit(kept)
    pools = []
    for k, mean in enumerate(mixture.means):
        own = kept[component == k]
        if sources.closed:
            pools.append(sources.as_model(mean))
        else:
            pools.append(fit(own) if 0 < len(own) < len(kept) else everyone)
    return np.stack([*pools, everyone])
