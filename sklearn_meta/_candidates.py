"""Candidates for a target: pooled models, sources, refits, the target alone; what each would say.

A candidate is a model and an offset. What it says of a support row comes from a model that has not
seen this row: sources never have, refits and offsets leave it out. So every candidate is judged as
it would be on new rows.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from ._source_groups import NEVER
from ._sources import risks
from ._transfer import deal_folds, moved, shifted
from .learners.blend import LEAST_PROBABILITY

__all__ = ["Candidates", "Settings", "alone", "candidates"]

# Strengths of a move of pooled models, in rows: level first, slopes shrunk at least as much.
LEVELS = (NEVER, 10.0, 2.0, 0.5, 0.1, 0.01)
SLOPES = (NEVER, 100.0, 30.0, 10.0, 3.0, 0.5, 0.05)
OFFSETS = (NEVER, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
SIMILAR = ((NEVER, 1.0), (NEVER, 4.0), (1.0, 1.0), (1.0, 4.0), (0.1, 1.0), (0.1, 4.0))
SHARES = (1.0, 0.1)  # of a source row in a refit, where it is chosen
N_OFFSET_FOLDS = 5
LEAST_SHARE = 1e-3  # of a candidate that is worth fitting


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
    model : ndarray of shape (n_candidates,)
        The model of each candidate.
    offset : ndarray of shape (n_candidates, n_outputs)
    left_out : ndarray of shape (n_candidates, n_rows, n_outputs)
        Raw predictions of support rows, not having seen them.
    group : ndarray of shape (n_candidates,)
        The group of sources that it comes from; -1 if from none in particular.
    chance : ndarray of shape (n_groups,)
        Probability that the target is of a group.
    kept : ndarray of shape (n_kept,)
        Positions of the sources that were looked at.
    credit : ndarray of shape (n_candidates, n_kept + 2)
        Shares of the sources, of pooled models and of the target alone.
    risk, risk_error : ndarray of shape (n_kept,)
        Of the sources, on the support.
    """

    rows: np.ndarray
    model: np.ndarray
    offset: np.ndarray
    left_out: np.ndarray
    group: np.ndarray
    chance: np.ndarray
    kept: np.ndarray
    credit: np.ndarray
    risk: np.ndarray
    risk_error: np.ndarray

    def raw(self, bank, X):
        """What the candidates say of other rows."""
        return bank.raw(self.rows, X)[self.model] + self.offset[:, None]


def similar(raw, Y, weight, noise, kappa, temper, loss):
    """Weights of sources by their likelihood on the support.

    Under squared loss a source may be off by a level ``b ~ N(0, noise / kappa)``.

    Parameters
    ----------
    raw : ndarray of shape (n_sources, n_rows, n_outputs)
    noise : ndarray of shape (n_sources,)
    kappa, temper : float

    Returns
    -------
    v : ndarray of shape (n_sources,)
    offset : ndarray of shape (n_outputs,)
    left_out : ndarray of shape (n_rows, n_outputs)
    """
    known = ~np.isnan(raw)
    raw = np.where(known, raw, np.log(LEAST_PROBABILITY))
    if loss.quadratic:
        r = Y - raw
        wr, wr2 = weight[:, None] * r, weight * np.sum(r**2, axis=2)
        n, S, SS = weight.sum(), wr.sum(axis=1), wr2.sum(axis=1)

        def evidence(n, S, SS, noise):
            fit = (SS - np.sum(S**2, axis=-1) / (n + kappa)) / (temper * noise)
            return -0.5 * (fit + Y.shape[1] * n * np.log(noise))

        v = softmax(evidence(n, S, SS, noise))
        n_, S_ = n - weight, S[:, None] - wr
        without = evidence(n_, S_, SS[:, None] - wr2, noise[:, None])
        offset = v @ (S / (n + kappa))
        raw = raw + S_ / (n_ + kappa)[:, None]
    else:
        value = weight * loss.value(raw, Y) / temper
        v = softmax(-value.sum(axis=1))
        without = value - value.sum(axis=1, keepdims=True)
        offset = np.zeros(Y.shape[1])
    votes = softmax(without, axis=0)[:, :, None] * known
    mass = votes.sum(axis=0)
    unknown = np.log(LEAST_PROBABILITY)
    mean = np.sum(votes * raw, axis=0) / np.where(mass > 0, mass, 1.0)
    return v, offset, np.where(mass > 0, mean, unknown)


class _Builder:
    """Collects candidates."""

    def __init__(self, n_kept):
        self.n_kept = n_kept
        self.rows, self.parts = [], []

    @property
    def size(self):
        """Number of candidates so far."""
        return sum(len(part[2]) for part in self.parts)

    def add(self, rows, model, offset, left_out, group, credit):
        """Candidates of one kind; ``credit`` maps 'pool', 'target' or a source to its share."""
        shares = np.zeros(self.n_kept + 2)
        for what, share in credit.items():
            shares[{"pool": -2, "target": -1}.get(what, what)] = share
        start = sum(map(len, self.rows))
        self.rows.append(rows)
        size = len(left_out)
        self.parts.append(
            (
                start + model,
                np.broadcast_to(offset, (size, left_out.shape[2])),
                left_out,
                np.full(size, group),
                np.tile(shares, (size, 1)),
            )
        )

    def build(self, chance, kept, risk, risk_error):
        model, offset, left_out, group, credit = (
            np.concatenate(part) for part in zip(*self.parts, strict=True)
        )
        rows = np.concatenate(self.rows)
        return Candidates(
            rows, model, offset, left_out, group, chance, kept, credit, risk, risk_error
        )


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
    loss, Y, weight = sources.loss, target.Y, target.weight
    kept = sources.screened(number, Y, weight, settings.max_sources)
    rows = sources.rows[kept]
    raw = bank.raw(rows, target.X)
    risk, risk_error = risks(raw, Y, weight, loss)
    if len(target) == 0:
        risk, risk_error = sources.mutual[kept], sources.mutual_error[kept]
    chance, without = sources.groups.chances(number, Y, weight)
    builder = _Builder(len(kept))
    honest = lesson is None or np.isfinite(lesson.strength)
    wanted = None if honest or not len(lesson.v0) else chance @ lesson.v0 > LEAST_SHARE
    for k, row in enumerate(sources.pools):
        add = _moved_pool if bank.exact else _shifted_pool
        add(builder, bank, row, k, sources, target, settings)
    labels = sources.groups.labels[kept]
    noise = sources.groups.noise[labels] if loss.quadratic else np.ones(len(kept))
    for kappa, temper in SIMILAR:
        if kappa < NEVER and not _has_level(bank):
            continue
        v, offset, left_out = similar(raw, Y, weight, noise, kappa, temper, loss)
        mixed = bank.mixed(rows, v)[None]
        if not loss.quadratic and kappa < NEVER:
            offset, left_out = _offsets(left_out, target, np.array([kappa]), loss)
            offset, left_out = offset[0], left_out[0]
        builder.add(mixed, np.zeros(1, int), offset, left_out[None], -1, dict(enumerate(v)))
    best = int(np.argmin(risk))
    unwanted = sources.pools[0], np.zeros(Y.shape)
    for share in settings.shares:
        if wanted is not None and not wanted[builder.size]:
            row, left_out = unwanted
        elif len(target):
            row, left_out = bank.refit(sources.data[kept[best]], target, share, honest)
        else:
            row, left_out = bank.mixed(rows[[best]], np.ones(1)), np.zeros((0, Y.shape[1]))
        builder.add(row[None], np.zeros(1, int), 0.0, left_out[None], -1, {best: 1.0})
    row, left_out = unwanted
    if wanted is None or wanted[builder.size]:
        row, left_out = alone(bank, target, honest)
    builder.add(row[None], np.zeros(1, int), 0.0, left_out[None], -1, {"target": 1.0})
    return builder.build(chance, kept, risk, risk_error)


def alone(bank, target, honest=True):
    """The model of the target alone, and what it says of rows that it has not seen."""
    if len(target):
        return bank.refit(None, target, 0.0, honest)
    return bank.learner.constant(bank.prior), np.zeros((0, target.Y.shape[1]))


def _has_level(bank):
    return not bank.exact or bank.penalty[1]


def _moved_pool(builder, bank, row, k, sources, target, settings):
    """Moves of the pooled model of a group, in closed form."""
    centre, whiten, n_rows = sources.metric[k]
    coef, level = bank.learner.split(row)
    coef = np.concatenate([level, coef[0]]).astype(np.float64)
    levels = LEVELS if _has_level(bank) else (NEVER,)
    if settings.source_weight == "auto":
        grid = [(kappa, m) for kappa in levels for m in SLOPES if m >= kappa or len(levels) == 1]
    else:
        m = settings.source_weight * n_rows
        grid = [(NEVER, NEVER), (m if len(levels) > 1 else NEVER, m)]
    kappa, m = np.array(grid).T
    X = np.asarray(target.X, dtype=np.float64)
    r = target.y - X @ coef[1:] - coef[0]
    step, left_out = moved(X, r, target.weight, centre, whiten, kappa, m)
    moves = coef + step
    rows = bank.learner.join(moves[:, None, 1:], moves[:, :1])
    left_out = (target.y - left_out)[:, :, None]
    builder.add(rows, np.arange(len(rows)), 0.0, left_out, k, {"pool": 1.0})


def _shifted_pool(builder, bank, row, k, sources, target, settings):
    """The pooled model of a group with shrunken offsets."""
    f = bank.raw(row[None], target.X)[0]
    offset, left_out = _offsets(f, target, np.array(OFFSETS), sources.loss)
    builder.add(row[None], np.zeros(len(OFFSETS), int), offset, left_out, k, {"pool": 1.0})


def _offsets(f, target, kappa, loss):
    """Shrunken offsets (n_kappa, n_outputs), and predictions with offsets by the other folds."""
    everyone = shifted(f, target.Y, target.weight, kappa[:, None], loss)
    if len(target) == 0:
        return everyone, np.zeros((len(kappa), 0, f.shape[1]))
    fold = deal_folds(target.y, N_OFFSET_FOLDS)
    masks = (fold != np.unique(fold)[:, None]) * target.weight
    without = shifted(f, target.Y, masks, kappa[:, None, None], loss)
    return everyone, f + without[:, fold]
