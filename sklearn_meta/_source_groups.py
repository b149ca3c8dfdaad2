r"""Groups of sources that agree with each other.

A source may contradict the others, and pooling then helps nobody. The tasks of group k have linear
models around a common one, ``w_t ~ N(c_k, noise_k P_k^-1)`` in the model of :mod:`._evidence`.
Labels of a classifier are one-hot targets here. Groups are found by Lloyd's iteration on the
evidence; strangers (:mod:`._strangers`, :mod:`._scatter`) are set apart as the last group. A new
task of numbers has a noise of its own: after a few rows the noise would else say which group it is
of.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from ._evidence import (
    GRID,
    NU,
    Moments,
    evidence,
    noise_of,
    own_evidence,
    penalty_of,
    quadratic_parts,
    some_of,
)
from ._strangers import left_by_others
from .kernels.scaling import Scaling

__all__ = [
    "LEAST_SOURCES",
    "Groups",
    "cuts",
    "landmark_models",
    "ridge",
    "whitened",
    "with_labels",
]

MOST_LANDMARKS = 30
LEAST_SOURCES = 2  # of a group
LEAST_VARIANCE = 1e-6  # of a group, by that of all sources
MOST_CUTS = 20  # iterations of Lloyd


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of sources, each with a prior over the linear models of its tasks.

    In landmarks ``z = [1, (x - centre) @ whiten]``: coefficients of a task in group k are
    ``N(coef_k, noise_k diag(1 / kappa_k, 1 / m_k, ..., 1 / m_k))``.

    Parameters
    ----------
    centre : ndarray of shape (n_features,)
    whiten : ndarray of shape (n_features, rank)
    coef : ndarray of shape (n_groups, rank + 1, n_outputs)
    noise, kappa, m : ndarray of shape (n_groups,)
    typical, nu : ndarray of shape (n_groups,)
        The noise of a task of its own: around ``typical``, as if from nu rows.
    skill : ndarray of shape (n_groups,)
        Share of the variance of a source, not seen before, that the others of a group explain.
    labels : ndarray of shape (n_sources,)
        The group of every source.
    """

    centre: np.ndarray
    whiten: np.ndarray
    coef: np.ndarray
    noise: np.ndarray
    kappa: np.ndarray
    m: np.ndarray
    typical: np.ndarray
    nu: np.ndarray
    skill: np.ndarray
    labels: np.ndarray

    @property
    def n_groups(self):
        return len(self.coef)

    @property
    def shares(self):
        """What to expect of a target without rows: groups count as far as they explain."""
        share = np.bincount(self.labels, minlength=self.n_groups) * np.maximum(self.skill, 1e-3)
        return share / share.sum()

    @property
    def source_shares(self):
        """The shares of the groups, divided among their sources."""
        return self.shares[self.labels] / np.bincount(self.labels)[self.labels]

    def landmarks(self, X):
        X = np.where(np.isnan(X), self.centre, X)
        return np.column_stack([np.ones(len(X)), (X - self.centre) @ self.whiten])

    def chances(self, X, Y, weight):
        """Probability of every group given a support: (n_groups,)."""
        log_chance = np.log(self.shares)
        if len(X) and self.n_groups > 1:
            Z = self.landmarks(X)
            moments = Moments(Z, Y, np.array([0, len(Z)]), weight)
            for k in range(self.n_groups):
                parts = moments.residuals(self.coef[k], np.arange(1))
                noise = self.typical[k], self.nu[k]
                log_chance[k] += own_evidence(*parts, self.penalty(k), *noise)[0]
        return softmax(log_chance)

    def predict(self, X, Y, weight, query, strengths):
        """What a support and the groups say of other rows, for several multiples of ``P_k``:
        (n_strengths, n_query, n_outputs)."""
        chance = self.chances(X, Y, weight)
        Z, at = self.landmarks(X), self.landmarks(query)
        G = (Z * weight[:, None]).T @ Z
        guess = 0.0
        for k in range(self.n_groups):
            A = G + np.multiply.outer(strengths, np.diag(self.penalty(k)))
            step = np.linalg.solve(A, Z.T @ (weight[:, None] * (Y - Z @ self.coef[k])))
            guess = guess + chance[k] * (at @ (self.coef[k] + step))
        return guess

    def without(self, a, moments):
        """The groups as they are without source a."""
        k = self.labels[a]
        others = np.flatnonzero((self.labels == k) & (np.arange(len(self.labels)) != a))
        coef = self.coef.copy()
        coef[k] = _pooled_coef(moments, others)
        return replace(self, coef=coef)

    def penalty(self, k):
        """The diagonal of ``P_k``."""
        return penalty_of(self.kappa[k], self.m[k], self.coef.shape[1])


def landmark_models(groups, X, Y, offsets, weight):
    """A cheap model of every source: the posterior mean of its coefficients in its group.

    Returns
    -------
    ndarray of shape (n_sources, n_landmarks, n_outputs)
    """
    moments = Moments(groups.landmarks(X), Y, offsets, weight)
    models = np.empty(moments.C.shape)
    for k in range(groups.n_groups):
        own = np.flatnonzero(groups.labels == k)
        G, c, _, _ = moments.residuals(groups.coef[k], own)
        models[own] = groups.coef[k] + np.linalg.solve(G + np.diag(groups.penalty(k)), c)
    return models


def cuts(space, n_groups):
    """Cut sources into groups by Lloyd's iteration on their evidence: one, two, and so on.

    It starts from one group. A group is cut in two by the sign of the first principal component of
    the gradients of its sources; the cut that raises the evidence most is kept.

    Parameters
    ----------
    space : tuple
        As of :func:`whitened`.
    n_groups : int
        Most groups.

    Returns
    -------
    list of Groups
        Each with a group more, until the evidence rises no more. The first group of each has most
        sources.
    """
    moments = space[-1]
    labels = np.zeros(len(moments.n), dtype=np.intp)
    found = [_fit_group(moments, np.arange(len(labels)))]
    best = _scores(moments, found).max(axis=0).sum()
    finer = [_in_order(space, labels, found)]
    while len(found) < n_groups:
        trials = []
        for k in range(len(found)):
            members = np.flatnonzero(labels == k)
            if len(members) < 2 * LEAST_SOURCES:
                continue
            for side in _sides(moments, found[k][0], members):
                trial = labels.copy()
                trial[members[side]] = len(found)
                trials.append(_lloyd(moments, trial))
        trials = [t for t in trials if t is not None and t[2] > best]
        if not trials:
            break
        labels, found, best = max(trials, key=lambda t: t[2])
        finer.append(_in_order(space, labels, found))
    return finer


def _in_order(space, labels, found):
    """Groups, the largest first."""
    order = np.argsort(-np.bincount(labels, minlength=len(found)), kind="stable")
    return _groups(space, np.argsort(order)[labels], [found[k] for k in order])


def with_labels(space, labels):
    """Groups of known labels, in the space of :func:`whitened`."""
    found = [_fit_group(space[-1], np.flatnonzero(labels == k)) for k in range(labels.max() + 1)]
    return _groups(space, labels, found)


def _groups(space, labels, found):
    """Groups of known labels and fits."""
    centre, whiten, moments = space
    members = [np.flatnonzero(labels == k) for k in range(len(found))]
    coef, noise, kappa, m = (np.array(part) for part in zip(*found, strict=True))
    typical, nu = noise, np.full(len(noise), NU[-1])
    if moments.C.shape[-1] == 1:  # labels have no scale of their own
        noises = []
        for own, (model, one, *prior) in zip(members, found, strict=True):
            parts = moments.residuals(model, some_of(own))
            noises.append(noise_of(*parts, penalty_of(*prior, len(model)), one))
        typical, nu = np.array(noises).T
    skill = np.array([_skill(moments, own) for own in members])
    return Groups(centre, whiten, coef, noise, kappa, m, typical, nu, skill, labels)


def whitened(X, Y, offsets, weight):
    """Where landmarks are centred, how they are whitened, and the moments of every source.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    Y : ndarray of shape (n_rows, n_outputs)
    offsets : ndarray of shape (n_sources + 1,)
        Source a has the rows ``offsets[a]:offsets[a + 1]``.
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    centre : ndarray of shape (n_features,)
    whiten : ndarray of shape (n_features, rank)
    moments : Moments
    """
    with np.errstate(invalid="ignore"):
        known = (~np.isnan(X)).sum(axis=0)
        X = np.where(np.isnan(X), np.nansum(X, axis=0) / np.maximum(known, 1), X)
    _, centre, whiten = ridge(X, Y, weight, 0.0, True)
    whiten = whiten[:, -MOST_LANDMARKS:]  # of the directions of most variance
    Z = np.column_stack([np.ones(len(X)), (X - centre) @ whiten])
    return centre, whiten, Moments(Z, Y, offsets, weight)


def _skill(moments, members):
    """Share of the variance of a source that the others of a group explain."""
    inside = np.isin(np.arange(len(moments.n)), members).astype(float)
    left, total = left_by_others(moments, inside)
    floor = max(LEAST_VARIANCE * total.sum(), 1e-300)  # sources that do not vary show no skill
    return 1 - (left[members].sum() + floor) / (total[members].sum() + floor)


def _lloyd(moments, labels):
    best = None
    for _ in range(MOST_CUTS):
        if np.bincount(labels).min() < LEAST_SOURCES:
            break
        found = [_fit_group(moments, np.flatnonzero(labels == k)) for k in range(labels.max() + 1)]
        scores = _scores(moments, found)
        scores += np.log(np.bincount(labels) / len(labels))[:, None]
        total = scores.max(axis=0).sum()
        if best is not None and total <= best[2] + 1e-9 * abs(total):
            break
        best = labels, found, total
        labels = scores.argmax(axis=0)
        if len(np.unique(labels)) < len(found):
            break
    return best


def _fit_group(moments, members):
    """Pooled model of some sources, and the noise, kappa and m of greatest evidence."""
    coef = _pooled_coef(moments, members)
    G, c, squares, n = moments.residuals(coef, some_of(members))
    n_outputs, n_values = c.shape[-1], n.sum() * c.shape[-1]
    floor = max(1e-12 * moments.squares.sum() / max(moments.n.sum(), 1e-300), 1e-300)
    best = None
    for kappa, m in GRID:
        quadratic, log_det = quadratic_parts(G, c, squares, penalty_of(kappa, m, len(coef)))
        noise = max(quadratic.sum() / n_values, floor)
        score = -n_values * np.log(noise) - n_outputs * log_det.sum()
        if best is None or score > best[0]:
            best = score, noise, kappa, m
    return coef, *best[1:]


def _pooled_coef(moments, members):
    total = moments.G[members].sum(axis=0)
    ridge_ = 1e-9 * np.trace(total) / len(total) * np.eye(len(total))
    return np.linalg.solve(total + ridge_, moments.C[members].sum(axis=0))


def _scores(moments, found):
    """Log-evidence of every group for every source."""
    everyone = np.arange(len(moments.n))
    scores = []
    for coef, noise, kappa, m in found:
        penalty = penalty_of(kappa, m, len(coef))
        scores.append(evidence(*moments.residuals(coef, everyone), penalty, noise))
    return np.array(scores)


def _sides(moments, coef, members):
    """Masks of members to begin a cut with: one side of the first principal components of the
    gradients, and those that the model fits badly."""
    _, c, squares, n = moments.residuals(coef, members)
    n = np.maximum(n, 1e-300)
    gradients = c.reshape(len(members), -1) / np.sqrt(n)[:, None]
    _, _, axes = np.linalg.svd(gradients, full_matrices=False)
    sides = [gradients @ axis > 0 for axis in axes[:3]]
    sides += [squares / n > np.quantile(squares / n, q) for q in (0.5, 0.75)]
    return [side for side in sides if 0 < side.sum() < len(side)]


def ridge(X, Y, weight, alpha, intercept):
    """Least squares with an L2 penalty; mean and square root of the covariance of the rows."""
    total = weight.sum()
    # columns like years would be nothing beside those like money
    units = Scaling.of(np.asarray(X, dtype=np.float64), weight=weight, centred=intercept)
    centre, unit = units.x_mean, units.x_scale[:, None]
    level = weight @ Y / total if intercept else np.zeros(Y.shape[1])
    Z = units.features(X)
    G = (Z * weight[:, None]).T @ Z
    penalty = np.diag(alpha / units.x_scale**2 + 1e-10 * total)
    w = np.linalg.solve(G + penalty, (Z * weight[:, None]).T @ (Y - level)) / unit
    values, vectors = np.linalg.eigh(G)
    kept = values > max(values[-1], 0) * 1e-10
    whiten = vectors[:, kept] * np.sqrt(total / values[kept]) / unit
    return np.vstack([level - centre @ w, w]), centre, whiten
