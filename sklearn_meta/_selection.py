"""From candidates to one model of a target: the best, a weighted mean, or the stack."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from ._candidates import alone, candidates
from ._lessons import lesson_for, stack_weights, untaught
from ._sources import risks

__all__ = ["Adaptation", "adapted"]

LEAST_WEIGHT = 0.05  # of a source that is worth a refit
MOST_REFITS = 5


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Where the model of a target comes from.

    Parameters
    ----------
    risk, risk_error : ndarray of shape (n_sources,)
        Expected loss of every source and its standard error; NaN where it was not looked at.
    weight : ndarray of shape (n_sources,)
    pooled_weight, target_weight : float
        With these the weights sum to 1.
    """

    risk: np.ndarray
    risk_error: np.ndarray
    weight: np.ndarray
    pooled_weight: float
    target_weight: float
    refused: dict = field(default_factory=dict)

    def spread(self, ids, refused):
        """The same with entries for sources that this target refused: NaN, and no weight."""
        kept = [i for i, id_ in enumerate(ids) if id_ not in refused]
        full = np.full((3, len(ids)), np.nan)
        full[2] = 0.0
        full[:, kept] = self.risk, self.risk_error, self.weight
        return Adaptation(*full, self.pooled_weight, self.target_weight, refused)


def adapted(bank, sources, lessons, target, number, settings):
    """Adapt to one target.

    Parameters
    ----------
    bank : Bank
    sources : Sources
    lessons : tuple of Lesson
    target : Rows
    number : ndarray of shape (n_rows, n_numeric)
    settings : Settings

    Returns
    -------
    model : estimator
        Fitted, for transformed rows.
    adaptation : Adaptation
    """
    if settings.selection == "stack":
        lesson = lesson_for(lessons, len(target))
        found = candidates(bank, sources, target, number, settings, lesson)
        if lesson is None:  # only refits know a class that no source has
            lesson = untaught(found, len(settings.shares) + 1 if bank.widened else None)
        v = stack_weights(lesson, found, target, sources.loss)
        model = bank.blend(found.rows, v @ found.mix, v @ found.offset)
        return _report(model, sources, found.kept, found.risk, found.risk_error, v @ found.credit)
    return _chosen(bank, sources, lessons, target, number, settings)


def _report(model, sources, kept, risk, risk_error, credit):
    full = np.full((3, sources.n_sources), np.nan)
    full[2] = 0.0
    full[:, kept] = risk, risk_error, credit[:-2]
    credit = credit / credit.sum()
    full[2, kept] = credit[:-2]
    return model, Adaptation(*full, float(credit[-2]), float(credit[-1]))


def _chosen(bank, sources, lessons, target, number, settings):
    """The candidate of least risk, or all weighted by ``exp(-risk / temperature)``."""
    loss, Y, weight = sources.loss, target.Y, target.weight
    kept = sources.screened(number, Y, weight, settings.max_sources)
    rows = bank.mixable(sources.rows[kept])
    group = int(np.argmax(sources.groups.chances(number, Y, weight)))
    n_pools = len(sources.pools)
    which = [0] if n_pools == 1 else [group, n_pools - 1]
    pools = sources.pools[which]
    own, own_left_out = alone(bank, target)
    if len(target):
        left_out = np.concatenate(
            [bank.raw(rows, target.X), bank.raw(pools, target.X), own_left_out[None]]
        )
        risk, error = risks(left_out, Y, weight, loss)
    else:  # what a source is worth to the other sources; the target alone is worth nothing
        risk = np.concatenate([sources.mutual[kept], sources.pool_risk[which], [np.inf]])
        error = sources.mutual_error[kept]
    n_kept = len(kept)
    if settings.selection == "best":
        share = (np.arange(len(risk)) == np.argmin(risk)).astype(float)
    else:
        share = softmax(-risk / _temperature(settings, loss, weight.sum()))
    rows = np.concatenate([rows, pools, own[None]])
    worth = [a for a in np.argsort(-share[:n_kept], kind="stable") if share[a] >= LEAST_WEIGHT]
    for a in worth[:MOST_REFITS] if len(target) else ():
        trials = [bank.refit(sources.data[kept[a]], target, s) for s in settings.shares]
        refit_risk, _ = risks(np.stack([t[1] for t in trials]), Y, weight, loss)
        best = int(np.argmin(refit_risk))
        if len(settings.shares) == 1 or refit_risk[best] < risk[a]:
            rows[a] = trials[best][0]
    model = bank.blend(rows, share, np.zeros(Y.shape[1]))
    credit = np.append(share[:n_kept], [share[n_kept:-1].sum(), share[-1]])
    return _report(model, sources, kept, risk[:n_kept], error[:n_kept], credit)


def _temperature(settings, loss, n_rows):
    """A number in the units of risks; "auto" makes the weights proportional to likelihoods."""
    if settings.temperature == "auto":
        return loss.risk(loss.scale) / max(n_rows, 1.0)
    return float(settings.temperature)
