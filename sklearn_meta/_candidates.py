"""Candidates for a target: pooled models, sources, refits, the target alone; what each would say.

A candidate is a mixture of models and an offset. What it says of a support row comes from models
that have not seen this row: sources never have, refits and offsets leave it out. So every candidate
is judged as it would be on new rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from ._evidence import NEVER
from ._sources import risks
from ._transfer import deal_folds, moved, shifted
from .learners.blend import LEAST_PROBABILITY

__all__ = ["EVERYONE", "NO_POOL", "Candidates", "Settings", "alone", "candidates"]

NO_POOL, EVERYONE = -1, -2  # instead of a group
# Strengths of a move of pooled models, in rows: level first, slopes shrunk at least as much.
LEVELS = (NEVER, 10.0, 2.0, 0.5, 0.1, 0.01)
SLOPES = (NEVER, 100.0, 30.0, 10.0, 3.0, 0.5, 0.05)
OFFSETS = (NEVER, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
# Mixtures of sources: strength of their offset, and how much flatter than their likelihoods.
SIMILAR = ((NEVER, 1.0), (NEVER, 4.0), (1.0, 1.0), (1.0, 4.0), (0.1, 1.0), (0.1, 4.0))
SHARES = (1.0, 0.1)  # of a source row in a refit, where it is chosen
N_OFFSET_FOLDS = 5
LEAST_SHARE = 1e-3  # of a candidate that is worth fitting
LEAST_VOTE = 0.01  # of a source in a mixture, beside the largest


@dataclass(frozen=True)
class Settings:
    """Parameters of the user, see :class:`TransferMetaLearner`."""

    selection: str
    source_weight: object
    temperature: object
    max_sources: int

    @property
    def shares(self):
        return SHARES if self.source_weight == "auto" else (float(self.source_weight),)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates for one target.

    Parameters
    ----------
    rows : ndarray of shape (n_models, n_params)
        The models: first the sources that were looked at, then what was fitted for the target.
    mix : ndarray of shape (n_candidates, n_models)
        Shares of the models in each candidate.
    offset : ndarray of shape (n_candidates, n_outputs)
    left_out : ndarray of shape (n_candidates, n_rows, n_outputs)
        Raw predictions of support rows, not having seen them.
    group : ndarray of shape (n_candidates,)
        The group of sources whose pooled model it comes from; ``EVERYONE`` if that is of all
        sources, ``NO_POOL`` if it does not come from a pooled model.
    credit : ndarray of shape (n_candidates, n_kept + 2)
        Shares of the sources, of pooled models and of the target alone.
    chance : ndarray of shape (n_groups,)
        Probability that the target is of a group.
    kept : ndarray of shape (n_kept,)
        Positions of the sources that were looked at.
    risk, risk_error : ndarray of shape (n_kept,)
        Of the sources, on the support.
    """

    rows: np.ndarray
    mix: np.ndarray
    offset: np.ndarray
    left_out: np.ndarray
    group: np.ndarray
    credit: np.ndarray
    chance: np.ndarray
    kept: np.ndarray
    risk: np.ndarray
    risk_error: np.ndarray

    def raw(self, bank, X):
        """What the candidates say of other rows: (n_candidates, n_rows, n_outputs)."""
        raw = bank.raw(self.rows, X)
        known = ~np.isnan(raw)
        if known.all():
            return np.tensordot(self.mix, raw, axes=1) + self.offset[:, None]
        total = np.tensordot(self.mix, np.where(known, raw, 0.0), axes=1)
        mass = np.tensordot(self.mix, known.astype(float), axes=1)
        total = np.where(mass > 0, total / np.where(mass > 0, mass, 1), np.log(LEAST_PROBABILITY))
        return total + self.offset[:, None]


class _Builder:
    """Collects candidates.

    Parameters
    ----------
    bank, sources, target, settings
        See :func:`candidates`.
    kept : ndarray of shape (n_kept,)
    honest : bool
        Whether ``left_out`` is wanted.
    """

    def __init__(self, bank, sources, target, settings, kept, honest):
        self.bank, self.sources, self.target, self.settings = bank, sources, target, settings
        self.kept, self.honest = kept, honest
        self.rows = [sources.rows[kept]]
        self.n_models = len(kept)
        self.parts = []

    @property
    def size(self):
        """Number of candidates so far."""
        return sum(len(part[0]) for part in self.parts)

    def add(self, rows, offset, left_out, group, credit):
        """Candidates with a model each, or one model for all of them."""
        start, size = self.n_models, len(left_out)
        self.rows.append(rows)
        self.n_models += len(rows)
        model = start + (np.arange(size) if len(rows) == size else np.zeros(size, dtype=int))
        shares = np.zeros((size, len(self.kept) + 2))
        shares[:, credit] = 1.0
        mix = (model[:, None] == np.arange(self.n_models)).astype(float)
        self._append(mix, offset, left_out, group, shares)

    def add_mixture(self, v, offset, left_out):
        """A mixture of the sources."""
        v = np.where(v >= LEAST_VOTE * v.max(), v, 0.0)
        v = v / v.sum()
        self._append(v[None], offset, left_out[None], NO_POOL, np.append(v, [0.0, 0.0])[None])

    def _append(self, mix, offset, left_out, group, shares):
        size, n_outputs = len(left_out), left_out.shape[2]
        offset = np.broadcast_to(offset, (size, n_outputs))
        self.parts.append((mix, offset, left_out, np.full(size, group), shares))

    def build(self, chance, risk, risk_error):
        mix, offset, left_out, group, shares = zip(*self.parts, strict=True)
        wide = [np.pad(m, ((0, 0), (0, self.n_models - m.shape[1]))) for m in mix]
        parts = [np.concatenate(part) for part in (wide, offset, left_out, group, shares)]
        return Candidates(np.concatenate(self.rows), *parts, chance, self.kept, risk, risk_error)

    # -- kinds of candidates --

    def moved_pool(self, k):
        """Moves of a pooled model, in closed form."""
        target = self.target
        row, (centre, whiten, n_rows) = self.sources.pools[k], self.sources.metric[k]
        coef, level = self.bank.learner.split(row)
        coef = np.concatenate([level, coef[0]]).astype(np.float64)
        levels = LEVELS if self.bank.penalty[1] else (NEVER,)
        if self.settings.source_weight == "auto":
            # Of the model pooled over groups only the level moves: a stack of few episodes is the
            # worse the more candidates it has.
            slopes = SLOPES if self._group(k) != EVERYONE else SLOPES[:1]
            grid = [(b, m) for b in levels for m in slopes if m >= b or len(levels) == 1]
        else:
            m = self.settings.source_weight * n_rows
            grid = [(NEVER, NEVER), (m if len(levels) > 1 else NEVER, m)]
        kappa, m = np.array(grid).T
        X = np.asarray(target.X, dtype=np.float64)
        r = target.y - X @ coef[1:] - coef[0]
        step, left_out = moved(X, r, target.weight, centre, whiten, kappa, m)
        moves = coef + step
        rows = self.bank.learner.join(moves[:, None, 1:], moves[:, :1])
        self.add(rows, 0.0, (target.y - left_out)[:, :, None], self._group(k), -2)

    def shifted_pool(self, k):
        """A pooled model with shrunken offsets."""
        row = self.sources.pools[k]
        f = self.bank.raw(row[None], self.target.X)[0]
        offset, left_out = self._offsets(f, np.array(OFFSETS))
        self.add(row[None], offset, left_out, self._group(k), -2)

    def _group(self, k):
        return k if k < self.sources.groups.n_groups else EVERYONE

    def _offsets(self, f, kappa):
        """Shrunken offsets (n_kappa, n_outputs), and predictions with offsets by other folds."""
        target, loss = self.target, self.sources.loss
        everyone = shifted(f, target.Y, target.weight, kappa[:, None], loss)
        if len(target) == 0 or not self.honest:
            return everyone, np.zeros((len(kappa), *f.shape))
        fold = deal_folds(target.y, N_OFFSET_FOLDS)
        masks = (fold != np.unique(fold)[:, None]) * target.weight
        without = shifted(f, target.Y, masks, kappa[:, None, None], loss)
        return everyone, f + without[:, fold]

    def mixtures(self, raw):
        """Mixtures of sources by their likelihood on the support."""
        target, loss, groups = self.target, self.sources.loss, self.sources.groups
        labels = groups.labels[self.kept]
        noise, prior = groups.noise[labels], groups.source_shares[self.kept]
        if not loss.quadratic:
            for temper in (1.0, 4.0):
                v, left_out = _by_loss(raw, target, prior, temper, loss)
                self.add_mixture(v, 0.0, left_out)
                offset, left_out = self._offsets(left_out, np.ones(1))
                self.add_mixture(v, offset, left_out[0])
            return
        for kappa, temper in SIMILAR:
            if kappa == NEVER or not self.bank.exact or self.bank.penalty[1]:
                self.add_mixture(*_by_evidence(raw, target, prior, noise, kappa, temper))

    def refits(self, best, wanted):
        """Refits of one source and the target, and the target alone."""
        target = self.target
        unwanted = self.sources.pools[0], np.zeros(target.Y.shape)
        for share in self.settings.shares:
            if wanted is not None and not wanted[self.size]:
                row, left_out = unwanted
            elif len(target):
                data = self.sources.data[self.kept[best]]
                row, left_out = self.bank.refit(data, target, share, self.honest)
            else:
                row = self.bank.mixable(self.sources.rows[self.kept[[best]]])[0]
                left_out = np.zeros(target.Y.shape)
            self.add(row[None], 0.0, left_out[None], NO_POOL, best)
        row, left_out = unwanted
        if wanted is None or wanted[self.size]:
            row, left_out = alone(self.bank, target, self.honest)
        self.add(row[None], 0.0, left_out[None], NO_POOL, -1)


def candidates(bank, sources, target, number, settings, lesson=None):
    """All candidates of the stack for one target.

    Parameters
    ----------
    bank : Bank
    sources : Sources
    target : Rows
        Its support.
    number : ndarray of shape (n_rows, n_numeric)
        Its numeric columns.
    settings : Settings
    lesson : Lesson, default=None
        Models that it gives no weight are not fitted; where it does not ask the support, what
        refits say of rows that they have not seen is not computed either.

    Returns
    -------
    Candidates
    """
    kept = sources.screened(number, target.Y, target.weight, settings.max_sources)
    raw = bank.raw(sources.rows[kept], target.X)
    risk, risk_error = risks(raw, target.Y, target.weight, sources.loss)
    if len(target) == 0:
        risk, risk_error = sources.mutual[kept], sources.mutual_error[kept]
    chance = sources.groups.chances(number, target.Y, target.weight)
    honest = lesson is None or np.isfinite(lesson.strength)
    wanted = None if honest or not len(lesson.v0) else chance @ lesson.v0 > LEAST_SHARE
    builder = _Builder(bank, sources, target, settings, kept, honest)
    for k in range(len(sources.pools)):
        (builder.moved_pool if bank.exact else builder.shifted_pool)(k)
    builder.mixtures(raw)
    unlikely = risk
    if len(target):  # a source of a group that explains little must fit much better
        unlikely = target.weight.sum() * risk / sources.loss.risk(sources.loss.scale)
        unlikely = unlikely - np.log(sources.groups.source_shares[kept])
    builder.refits(int(np.argmin(unlikely)), wanted)
    return builder.build(chance, risk, risk_error)


def alone(bank, target, honest=True):
    """The model of the target alone, and what it says of rows that it has not seen."""
    if len(target):
        return bank.refit(None, target, 0.0, honest)
    return bank.learner.constant(bank.prior), np.zeros((0, target.Y.shape[1]))


def _by_evidence(raw, target, prior, noise, kappa, temper):
    """Weights of sources under squared loss, a level ``b ~ N(0, noise / kappa)`` off.

    Returns
    -------
    v : ndarray of shape (n_sources,)
    offset : ndarray of shape (n_outputs,)
    left_out : ndarray of shape (n_rows, n_outputs)
    """
    Y, weight = target.Y, target.weight
    r = Y - raw
    wr, wr2 = weight[:, None] * r, weight * np.sum(r**2, axis=2)
    n, S, SS = weight.sum(), wr.sum(axis=1), wr2.sum(axis=1)

    def evidence(n, S, SS, noise):
        fit = (SS - np.sum(S**2, axis=-1) / (n + kappa)) / (temper * noise)
        return -0.5 * (fit + Y.shape[1] * n * np.log(noise))

    v = softmax(np.log(prior) + evidence(n, S, SS, noise))
    n_, S_ = n - weight, S[:, None] - wr
    without = np.log(prior)[:, None] + evidence(n_, S_, SS[:, None] - wr2, noise[:, None])
    left_out = raw + S_ / (n_ + kappa)[:, None]
    votes = softmax(without, axis=0)[:, :, None]
    return v, v @ (S / (n + kappa)), np.sum(votes * left_out, axis=0)


def _by_loss(raw, target, prior, temper, loss):
    """Weights of sources by their loss, and the mixture by weights without each row."""
    known = ~np.isnan(raw)
    raw = np.where(known, raw, np.log(LEAST_PROBABILITY))
    value = target.weight * loss.value(raw, target.Y) / temper
    total = value.sum(axis=1)
    votes = softmax(np.log(prior)[:, None] + value - total[:, None], axis=0)[:, :, None] * known
    mass = votes.sum(axis=0)
    mean = np.sum(votes * raw, axis=0) / np.where(mass > 0, mass, 1.0)
    return softmax(np.log(prior) - total), np.where(mass > 0, mean, np.log(LEAST_PROBABILITY))
