r"""Groups of sources that agree with each other.

A source may contradict the others, and pooling then helps nobody. The tasks of group k have linear
models around a common one, ``w_t ~ N(c_k, noise_k P_k^-1)`` in the model of :mod:`._evidence`.
Labels of a classifier are one-hot targets here. Groups are found by Lloyd's iteration on the
evidence; strangers (:mod:`._strangers`, :mod:`._scatter`) are set apart as the last group. A new
task of numbers has a noise of its own: after a few rows the noise would else say which group it is
of.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import t as student_t

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
from ._scatter import find_odd
from ._strangers import find_strangers, left_by_others
from .learners import Scaling

__all__ = ["Groups", "group_sources", "grouped", "landmark_models", "ridge", "worth_grouping"]

MOST_LANDMARKS = 30
LEAST_SOURCES = 2  # of a group
MOST_CUTS = 20  # iterations of Lloyd
MOST_JUDGED = 200  # sources that judge whether groups help
FEW_ROWS = 5  # of each, that say which group it is
LEAST_GAIN = 0.05  # of groups in the squared error
# Of the others when strangers leave (as logarithms): the start of EM has seen the rows that judge.
LEAST_GAINS = (LEAST_GAIN, 0.01)
SURE = 0.99  # probability, by Student's t, that they gain at all
N_JUDGED = 1000  # draws of rows that judge strangers, of all sources together


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

    def predict(self, X, Y, weight, query):
        """What a support and the groups say of other rows."""
        chance = self.chances(X, Y, weight)
        Z, at = self.landmarks(X), self.landmarks(query)
        guess = np.zeros((len(query), Y.shape[1]))
        for k in range(self.n_groups):
            A = (Z * weight[:, None]).T @ Z + np.diag(self.penalty(k))
            step = np.linalg.solve(A, Z.T @ (weight[:, None] * (Y - Z @ self.coef[k])))
            guess += chance[k] * (at @ (self.coef[k] + step))
        return guess

    def penalty(self, k):
        """The diagonal of ``P_k``."""
        return penalty_of(self.kappa[k], self.m[k], self.coef.shape[1])


def worth_grouping(X, Y, offsets, weight, n_groups, rng):
    """The groups of sources, as many as lower the error on a source after a few of its rows.

    Strangers make a group of their own, the last one, where that lowers this error on the others by
    more than chance would; then the others are cut anew.

    Parameters
    ----------
    X, Y, offsets, weight, n_groups
        See :func:`group_sources`.
    rng : numpy.random.Generator
        Draws the rows.

    Returns
    -------
    Groups
    """
    data = X, Y, offsets, weight
    space = _whitened(*data)
    groups = _worth(space, data, n_groups, rng)
    strange = _strangers(groups, space, data, rng)
    if strange is None:
        return groups
    sizes = np.diff(offsets)
    rows = np.repeat(~strange, sizes)
    bounds = np.append(0, np.cumsum(sizes[~strange]))
    data = X[rows], Y[rows], bounds, weight[rows]
    rest = _worth(_whitened(*data), data, n_groups, rng)
    labels = np.full(len(strange), rest.n_groups)
    labels[~strange] = rest.labels
    return _with_labels(space, labels)


def _worth(space, data, n_groups, rng):
    """One group, or several where they lower the error on all sources."""
    one, several = _cut(space, 1), _cut(space, n_groups)
    if several.n_groups == 1:
        return one
    judges = rng.permutation(len(several.labels))[:MOST_JUDGED]
    errors = _few_row_errors((one, several), data, judges, 1, rng).sum(axis=1)
    return several if errors[1] < (1 - LEAST_GAIN) * errors[0] else one


def _strangers(groups, space, data, rng):
    """A mask of the strangers without whom the other sources surely do better, or None."""
    rng = rng.spawn(1)[0]  # where there are no strangers, nothing else shall change
    moments = Moments(groups.landmarks(data[0]), *data[1:])
    masks = find_strangers(moments, groups.noise @ groups.shares)
    trials = list(zip(masks, LEAST_GAINS, strict=False))  # there may be none
    odd = find_odd(moments)
    trials += [(strange | odd, least) for strange, least in trials]
    best, found = 0.0, None
    for strange, least in {mask.tobytes(): (mask, least) for mask, least in trials}.values():
        others = np.flatnonzero(~strange)
        if min(strange.sum(), len(others)) < LEAST_SOURCES:
            continue
        apart = _with_labels(space, strange.astype(np.intp))
        if strange.sum() > len(others) and apart.skill[1] > 0:  # who is a stranger to whom?
            continue
        judges = rng.permutation(others)[:MOST_JUDGED]
        n_draws = -(-N_JUDGED // len(judges))  # the fewer sources, the less may chance decide
        errors = _few_row_errors((groups, apart), data, judges, n_draws, rng)
        errors = np.maximum(errors, max(1e-12 * errors.max(), 1e-300))
        gains = np.log(errors[0] / errors[1])  # a noisy source shall not outvote the others
        spread = gains.std(ddof=1) / np.sqrt(len(gains))
        sure = gains.mean() - student_t.ppf(SURE, len(gains) - 1) * spread
        if sure > 0 and gains.mean() > max(least, best):
            best, found = gains.mean(), strange
    return found


def _few_row_errors(groupings, data, judges, n_draws, rng):
    """Squared errors on some sources after a few of their rows: (n_groupings, n_judges)."""
    X, Y, offsets, weight = data
    errors = np.zeros((len(groupings), len(judges)))
    for j, a in enumerate(judges):
        size = offsets[a + 1] - offsets[a]
        n = min(FEW_ROWS, size // 2)
        for _ in range(n_draws):
            rows = offsets[a] + rng.permutation(size)
            support, query = rows[:n], rows[n:]
            for g, groups in enumerate(groupings):
                guess = groups.predict(X[support], Y[support], weight[support], X[query])
                errors[g, j] += np.mean((Y[query] - guess) ** 2) / n_draws
    return errors


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


def group_sources(X, Y, offsets, weight, n_groups):
    """Cut sources into groups by Lloyd's iteration on their evidence.

    It starts from one group. A group is cut in two by the sign of the first principal component of
    the gradients of its sources; the cut that raises the evidence most is kept.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    Y : ndarray of shape (n_rows, n_outputs)
    offsets : ndarray of shape (n_sources + 1,)
        Source a has the rows ``offsets[a]:offsets[a + 1]``.
    weight : ndarray of shape (n_rows,)
    n_groups : int
        Most groups.

    Returns
    -------
    Groups
        The first group has most sources.
    """
    return _cut(_whitened(X, Y, offsets, weight), n_groups)


def _cut(space, n_groups):
    """:func:`group_sources` of what :func:`_whitened` returns."""
    moments = space[-1]
    labels = np.zeros(len(moments.n), dtype=np.intp)
    found = [_fit_group(moments, np.arange(len(labels)))]
    best = _scores(moments, found).max(axis=0).sum()
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
    order = np.argsort(-np.bincount(labels, minlength=len(found)), kind="stable")
    return _groups(space, np.argsort(order)[labels], [found[k] for k in order])


def grouped(X, Y, offsets, weight, labels):
    """Groups of known labels; the parameters are those of :func:`group_sources`."""
    return _with_labels(_whitened(X, Y, offsets, weight), labels)


def _with_labels(space, labels):
    """:func:`grouped` of what :func:`_whitened` returns."""
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


def _whitened(X, Y, offsets, weight):
    """Where landmarks are centred, how they are whitened, and the moments of every source."""
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
    return 1 - left[members].sum() / max(total[members].sum(), 1e-300)


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
    total = moments.G[members].sum(axis=0)
    ridge_ = 1e-9 * np.trace(total) / len(total) * np.eye(len(total))
    coef = np.linalg.solve(total + ridge_, moments.C[members].sum(axis=0))
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
