"""Warnings of variances of a mixed model that the data do not determine.

With one row in every task, only the sum of the variances of intercept and noise is known; of labels
nothing. Where T tasks with r coefficients each that vary have no more than T r rows, these can
explain all of them, and the likelihood may be greatest without noise (lme4 refuses such data). With
no more rows than fixed effects, these can. A fit is singular, as in lme4, where a direction of
Lambda is below 1e-4.

References
----------
Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
Statistical Software 67.
"""

import warnings

import numpy as np

from ..exceptions import SingularFitWarning

__all__ = ["warn_of_singular_fit", "warn_of_singular_generalized"]

SINGULAR = 1e-4  # of the standard deviation of the noise, or of raw predictions: no variation
NOISE = "variance of the noise"
ONE_ROW = 1e-9  # share of the squares that may lie within tasks of one row: rounding


def warn_of_singular_fit(prior, names, plain):
    """Say which variances of a GaussianPrior are not identified, why, and what to do.

    The names are those of the coefficients. It is plain without regularisation, which identifies
    most of them.
    """
    M, model, T = prior.moments.M, prior.model, prior.moments.n_tasks
    n_rows, q = M[0, 0].sum(), len(prior.moments.S)
    n_effects = prior.n_coefs * (q if prior.settings.get("centred") else 1 + q)
    if n_rows <= n_effects:
        rest = "Leave regularization='auto', use" if plain else "It is that of its prior. Use"
        _warn(
            f"The {NOISE} is not identified: {n_effects} fixed effects can explain all {n_rows:g} "
            f"rows. {rest} fewer columns, or more rows."
        )
    if T < 2 or len(model.random) == 0:
        return  # which has a warning of its own
    if prior.intercept and 0 in model.random and _have_one_row(M):
        _warn_of_one_row(NOISE, plain)
    elif not plain:
        return
    elif n_rows <= T * len(model.random):
        _warn_of_rows(NOISE, len(model.random), T, n_rows)
    else:
        _warn_of_boundary(model.factor[:, None], [names[i] for i in model.random])


def warn_of_singular_generalized(prior, n_rows, names, plain):
    """The same of a ConditionalPrior; the names are those of the coefficients of one output."""
    model, T = prior.model, len(n_rows)
    noise = "dispersion" if model.family.dispersed else None
    n_effects = model.B.size // model.n_outputs
    if plain and n_rows.sum() <= n_effects:
        _warn(
            f"The variances are not identified: {n_effects} fixed effects can explain all "
            f"{n_rows.sum()} rows. Leave regularization='auto', use fewer columns, or more rows."
        )
    if T < 2 or len(model.random) == 0:
        return
    one_row = n_rows.max() < 2 and not model.family.overdisperses
    if model.intercept and 0 in model.random and one_row:
        _warn_of_one_row(noise, plain)
    elif not plain:
        return
    elif noise and n_rows.sum() <= T * len(model.random):
        _warn_of_rows(noise, len(model.random), T, n_rows.sum())
    else:
        factor = model.factor.reshape(len(model.random), model.n_outputs, -1)
        if model.family.differences:  # all classes alike is no variation
            to_differences = np.linalg.qr(np.eye(model.n_outputs) - 1 / model.n_outputs)[0]
            factor = np.einsum("kd,rkj->rdj", to_differences[:, :-1], factor)
        _warn_of_boundary(factor, [names[i] for i in model.random])


def _have_one_row(M):
    n, squares = M[0, 0], np.einsum("iit->it", M[1:, 1:])
    within = squares - M[0, 1:] ** 2 / np.where(n > 0, n, 1.0)
    return not (within > ONE_ROW * np.maximum(squares.max(axis=1, keepdims=True), 1e-300)).any()


def _warn_of_one_row(noise, plain):
    """Of intercept and noise, or of the intercept where labels have none."""
    if noise is None:
        which, rest = "is not identified", "It may be anything" if plain else "It is its prior's"
    else:
        which = f"and the {noise} are not identified, only what both are together is"
        rest = "Either may be 0" if plain else "Their shares are those of the prior"
    _warn(
        f"The variance of the intercept {which}: no task has more than one row. {rest}, and so is "
        "how far tasks adapt. Add rows to some tasks, or use Pooled."
    )


def _warn_of_rows(noise, n_random, n_tasks, n_rows):
    _warn(
        f"The {noise} is not identified: {n_random} coefficients that vary between {n_tasks} tasks "
        f"can explain all {n_rows:g} rows. Leave regularization='auto', or let fewer coefficients "
        "vary (random_effects)."
    )


def _warn_of_boundary(factor, names):
    """Of Lambda, a block of rows for every coefficient."""
    zero = [n for n, f in zip(names, factor, strict=True) if np.linalg.norm(f) < SINGULAR]
    if zero:
        which = "The variance of " + " and that of ".join(zero) + " is estimated as 0"
    elif np.linalg.svd(np.concatenate(factor), compute_uv=False).min() < SINGULAR:
        which = f"The correlations of {', '.join(names)} are estimated to be perfect"
    else:
        return
    _warn(
        f"{which}: tasks differ no more than chance would have it, or are too few to say. Take a "
        "coefficient out of random_effects, or leave regularization='auto'."
    )


def _warn(text):
    warnings.warn(text, SingularFitWarning, stacklevel=4)
