"""Warnings of variances of a mixed model that the data do not determine.

With one row in every task, only the sum of the variances of intercept and noise is known. Where T
tasks with r coefficients each that vary have no more than T r rows, these can explain all of them,
and the likelihood may be greatest without noise (lme4 refuses such data). With no more rows than
fixed effects, these can. A fit is singular, as in lme4, where a direction of Lambda is below 1e-4.

References
----------
Bates, Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4, Journal of
Statistical Software 67.
"""

import warnings

import numpy as np

from ..exceptions import SingularFitWarning

__all__ = ["warn_of_singular_fit"]

SINGULAR = 1e-4  # of the standard deviation of the noise, and no variation
ONE_ROW = 1e-9  # share of the squares that may lie within tasks of one row: rounding


def warn_of_singular_fit(prior, names, plain):
    """Say which variances are not identified, why, and what to do.

    Parameters
    ----------
    prior : GaussianPrior
    names : list of str
        Of the coefficients.
    plain : bool
        Whether there is no regularisation, which identifies most of them.
    """
    M, random, T = prior.moments.M, prior.model.random, prior.moments.n_tasks
    n_rows, n_effects = M[0, 0].sum(), prior.n_coefs * (1 + len(prior.moments.S))
    if n_rows <= n_effects:
        _warn(
            f"The variance of the noise is not identified: {n_effects} fixed effects can explain "
            f"all {n_rows:g} rows. "
            + ("Leave regularization='auto', " if plain else "It is that of its prior. ")
            + "Use fewer columns, or more rows.",
        )
    if T < 2 or len(random) == 0:
        return  # which has a warning of its own
    if prior.intercept and 0 in random and _have_one_row(M):
        _warn(
            "The variance of the intercept and that of the noise are not identified, only their "
            "sum is: no task has more than one row. "
            + ("Either may be 0" if plain else "Their shares are those of the prior")
            + ", and so is how far tasks adapt. Add rows to some tasks, or use Pooled.",
        )
    elif plain and n_rows <= T * len(random):
        _warn(
            f"The variance of the noise is not identified: {len(random)} coefficients that vary "
            f"between {T} tasks can explain all {n_rows:g} rows. Leave regularization='auto', or "
            "let fewer coefficients vary (random_effects).",
        )
    elif plain:
        _warn_of_boundary(prior.model.factor, [names[i] for i in random])


def _have_one_row(M):
    n, squares = M[0, 0], np.einsum("iit->it", M[1:, 1:])
    within = squares - M[0, 1:] ** 2 / np.where(n > 0, n, 1.0)
    return not (within > ONE_ROW * np.maximum(squares.max(axis=1, keepdims=True), 1e-300)).any()


def _warn_of_boundary(factor, names):
    zero = [n for n, f in zip(names, factor, strict=True) if np.linalg.norm(f) < SINGULAR]
    if zero:
        which = "The variance of " + " and that of ".join(zero) + " is estimated as 0"
    elif np.linalg.svd(factor, compute_uv=False).min() < SINGULAR:
        which = f"The correlations of {', '.join(names)} are estimated to be perfect"
    else:
        return
    _warn(
        f"{which}: tasks differ no more than chance would have it, or are too few to say. Take a "
        "coefficient out of random_effects, or leave regularization='auto'."
    )


def _warn(text):
    warnings.warn(text, SingularFitWarning, stacklevel=3)
