r"""The marginal likelihood of generalised linear mixed models by Laplace's approximation.

    y_i ~ family(eta_i),   eta_i = x_i'(B s_t + u_t),   u_t = Lambda v_t on R,   v_t ~ N(0, I)

for rows i of task t, with ``s_t = [1, side information]`` and u_t zero but in the random
coefficients R. With several outputs B and u have a row per pair (coefficient, output). In terms of
v nothing is singular where a variance is 0. With ``G_i = z_i' Lambda, z = x_R``, log-density l of a
row, ``W = -l''`` and the mode v of a task by Newton's method,

    h(v) = sum_i l(eta_i) - |v|²/2,      A = I + G'WG,      L_t = h(v) - log|A| / 2.

Gradients are exact; the mode moves with the parameters (Skaug 2002; Kristensen et al. 2016). With

    a_i = d(log|A| / 2) / d eta_i = - l'''_i G_i' A^{-1} G_i / 2,    q = A^{-1} G'a,
    e = l' - a + W G q

they are

    dL/d(B s_t) = X'e,     dL/dLambda = Z'e v' - Z'l' q' - Z'W G A^{-1}.

``l`` is ``-loss / phi + c(y, phi)``, so that ``d l'/d log phi = -l'`` and ``dW/d log phi = -W``:

    dL/d log phi = sum_i [loss_i / phi + dc_i/d log phi + (G A^{-1} G')_ii W_i / 2 + l'_i (G q)_i].

Families whose second derivative jumps have M, something smooth, in A but not in Newton's method;
then q has ``(I + G'WG)^{-1}``.

With one random coefficient, adaptive Gauss-Hermite quadrature replaces L_t (Pinheiro, Bates 1995):
with nodes x_j, weights w_j and ``v_j = v + sqrt(2/A) x_j``,

    L_t = log sum_j w_j exp(h(v_j) + x_j²) - log(pi A) / 2,

1 node being Laplace's approximation. With ``pi_j`` the share of node j, 0 and -1/2 give way to

    dL/dv = sum_j pi_j h'(v_j),    dL/d log A = -(1 + sum_j pi_j h'(v_j) (v_j - v)) / 2.

References
----------
Breslow, Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88.
Pinheiro, Bates (1995), Approximations to the log-likelihood function in the nonlinear mixed-effects
model. Pinheiro, Chao (2006), Efficient Laplacian and adaptive Gaussian quadrature algorithms for
multilevel generalized linear mixed models, JCGS 15. Skaug (2002), Automatic differentiation to
facilitate maximum likelihood estimation in nonlinear random effects models, JCGS 11. Kristensen,
Nielsen, Berg, Skaug, Bell (2016), TMB: automatic differentiation and Laplace approximation. Bates,
Mächler, Bolker, Walker (2015), Fitting linear mixed-effects models using lme4. Vehtari, Mononen,
Tolvanen, Sivula, Winther (2016), Bayesian leave-one-out cross-validation approximations for
Gaussian latent variable models, JMLR 17.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from .predictive import normal_nodes, symmetric_roots
from .stacked import (
    SMALL,
    cholesky,
    log_det,
    matmul,
    plus_identity,
    solve_lower,
    solve_positive,
    solve_upper,
    transpose,
)

__all__ = [
    "Mode",
    "Rows",
    "design",
    "gram",
    "left_out_densities",
    "marginal",
    "mode_of",
    "read_rows",
]

MAX_STEPS = 200
MAX_HALVINGS = 40
# The square of a Newton step in units of the posterior's standard deviation. Steps below the second
# that do not become half as long are rounding.
SETTLED, NEARLY = 1e-20, 1e-12


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a batch of tasks, columns first."""

    tasks: np.ndarray  # (n_tasks,): places of the tasks
    X: np.ndarray  # (n_coefs, n_tasks, n_rows): the design, ones first if there is an intercept
    y: np.ndarray  # (n_outputs, n_tasks, n_rows)
    weight: np.ndarray  # (n_tasks, n_rows): how often each row counts; 0 where it is padding
    offset: np.ndarray = None  # (n_outputs, n_tasks, n_rows): added to the raw predictions

    def predictor(self, B, s):
        """x'(B s_t), shape (n_outputs, n_tasks, n_rows)."""
        d = len(self.X)
        if len(s) == 1:  # the same for all tasks
            eta = np.tensordot(B[:, 0].reshape(d, -1).T, self.X, axes=1)
        else:
            eta = np.einsum("jtn,jkt->ktn", self.X, (B @ s).reshape(d, -1, s.shape[1]))
        return eta if self.offset is None else eta + self.offset

    def gradient(self, e, s):
        """sum_t (X'e_t) s_t', shape (n_coefs * n_outputs, 1 + n_descriptors)."""
        if len(s) == 1:
            return np.tensordot(self.X, e, axes=([1, 2], [1, 2])).reshape(-1, 1)
        return np.einsum("jtn,ktn->jkt", self.X, e).reshape(-1, s.shape[1]) @ s.T


def read_rows(batches, *, intercept, max_cells):
    """Rows of padded batches, cut so that ``max_cells`` rows are in each (or one task).

    Batches have ``tasks`` (places), X of shape (n_tasks, n_rows, n_features), y of shape (n_tasks,
    n_rows) or (n_tasks, n_rows, n_outputs), ``weight`` (n_tasks, n_rows), and maybe ``offset``, of
    the shape of y.
    """
    for batch in batches:
        n_tasks, n_rows, n_features = batch.X.shape
        step = max(1, max_cells // max(1, n_rows))
        offset = getattr(batch, "offset", None)
        for part in (slice(i, i + step) for i in range(0, n_tasks, step)):
            real = batch.weight[part] > 0
            X = np.empty((intercept + n_features, *real.shape))
            X[:intercept] = 1.0
            X[intercept:] = np.where(real, np.moveaxis(batch.X[part], -1, 0), 0.0)
            y = np.where(real, _outputs_first(batch.y[part]), 1.0)  # 1: in every family's range
            at = None if offset is None else np.where(real, _outputs_first(offset[part]), 0.0)
            weight = np.asarray(batch.weight[part], dtype=np.float64)
            yield Rows(batch.tasks[part], X, y, weight, at)


def _outputs_first(y):
    y = np.asarray(y, dtype=np.float64)
    return y[None] if y.ndim == 2 else np.moveaxis(y, -1, 0)


# -- small stacks: vectors (q, n_tasks), matrices (q, q, n_tasks), designs (q, outputs, tasks, rows)


def design(X, factor, n_outputs):
    """G, shape (q, n_outputs, n_tasks, n_rows), from random columns X and a factor.

    ``factor`` of shape (n_random * n_outputs, q) has a row per pair (coefficient, output).
    """
    q = factor.shape[1]
    by_column = factor.reshape(len(X), n_outputs, q).transpose(2, 1, 0)
    if q <= SMALL:
        return np.tensordot(by_column, X, axes=1)
    G = by_column.reshape(q * n_outputs, len(X)) @ np.moveaxis(X, 1, 0)
    return np.moveaxis(G.reshape(len(G), q, n_outputs, -1), 0, 2)


def _by_task(G):
    """The same as matrices of shape (n_tasks, q, n_outputs * n_rows)."""
    return np.moveaxis(G, 2, 0).reshape(G.shape[2], len(G), -1)


def gram(G, H):
    """G'H of every task, shape (q_G, q_H, n_tasks)."""
    if max(len(G), len(H)) <= SMALL:
        product = np.empty((len(G), len(H), G.shape[2]))
        for i, g in enumerate(G):
            for j, h in enumerate(H):
                np.einsum("ktn,ktn->t", g, h, out=product[i, j])
        return product
    return np.moveaxis(_by_task(G) @ np.swapaxes(_by_task(H), 1, 2), 0, -1)


def _times(G, v):
    """G v of every row."""
    if len(G) > SMALL:
        rows = v.T[:, None] @ _by_task(G)
        return np.moveaxis(rows.reshape(G.shape[2], G.shape[1], -1), 0, 1)
    total = np.zeros(G.shape[1:])
    for g, coefficient in zip(G, v, strict=True):
        total += g * coefficient[:, None]
    return total


def _transposed_times(G, e):
    """G'e of every task."""
    if len(G) > SMALL:
        return (_by_task(G) @ _by_task(e[None]).swapaxes(1, 2))[..., 0].T
    return np.einsum("qktn,ktn->qt", G, e)


def _solve_rows(S, G):
    """S_t g_i of every row, in the shape of G."""
    if len(G) <= SMALL:
        return np.stack([_combination(row, G) for row in S])
    solved = (np.moveaxis(S, -1, 0) @ _by_task(G)).reshape(G.shape[2], len(G), G.shape[1], -1)
    return np.moveaxis(solved, 0, 2)


def _combination(coefficients, G):
    total = coefficients[0][:, None] * G[0]
    for c, g in zip(coefficients[1:], G[1:], strict=True):
        total += c[:, None] * g
    return total


# -- the mode --------------------------------------------------------------------------------------


@dataclass(eq=False)
class Mode:
    """The mode of a batch of tasks and what was computed there.

    ``loss``, ``first`` and ``second`` are of rows, without weights and dispersion; ``scale`` is
    their quotient, WG is ``scale`` times second derivative times G, L the factor of
    ``I + G'WG``, and ``h`` the objective without constants.
    """

    v: np.ndarray
    h: np.ndarray
    eta: np.ndarray
    loss: np.ndarray
    first: np.ndarray
    second: np.ndarray
    scale: np.ndarray
    G: np.ndarray
    WG: np.ndarray = None
    L: np.ndarray = None
    settled: bool = True

    @cached_property
    def inverse(self):
        """A^{-1}, shape (q, q, n_tasks)."""
        return _inverse(self.L)


def _inverse(L):
    q, _, n_tasks = L.shape
    root = solve_lower(L, np.repeat(np.eye(q)[:, :, None], n_tasks, axis=2))
    return matmul(transpose(root), root)


def _factor(family, A):
    return cholesky(A, least=1.0 if family.log_concave else 0.01)


def _at(family, v, eta0, y, scale, G):
    with np.errstate(over="ignore", invalid="ignore"):
        eta = eta0 + _times(G, v)
        loss, first, second = family.derivatives(eta, y)
        h = -(scale * loss).sum(axis=1) - 0.5 * (v * v).sum(axis=0)
    return Mode(v, h, eta, loss, first, second, scale, G)


def mode_of(family, eta0, y, scale, G, v):
    """The posterior mode of every task, by Newton's method from v, as a Mode.

    Parameters
    ----------
    family : Family
    eta0, y : ndarray of shape (n_outputs, n_tasks, n_rows)
        The raw predictions of the prior mean, and the targets.
    scale : ndarray of shape (n_tasks, n_rows)
        Weights over the dispersion.
    G : ndarray of shape (q, n_outputs, n_tasks, n_rows)
    v : ndarray of shape (q, n_tasks)
    """
    now = _at(family, v, eta0, y, scale, G)
    bad = ~np.isfinite(now.h)
    if bad.any():  # where an earlier mode makes no sense, begin at the prior mean
        now = _at(family, np.where(bad, 0.0, v), eta0, y, scale, G)
    before = np.full(v.shape[1], np.inf)
    for _ in range(MAX_STEPS):
        now.WG = scale * family.product(now.second, G)
        A = plus_identity(gram(G, now.WG))
        gradient = -_transposed_times(G, scale * now.first) - now.v
        step, now.L = _newton_step(family, A, gradient)
        size = np.abs((gradient * step).sum(axis=0))
        active = (size > SETTLED) & ~((size < NEARLY) & (size > 0.25 * before))
        before = size
        if not active.any():
            now.L = _factor(family, A) if now.L is None else now.L
            return now
        rate = np.where(active, 1.0, 0.0)
        least = now.h - 1e-12 * (1 + np.abs(now.h))
        for _ in range(MAX_HALVINGS):
            new = _at(family, now.v + rate * step, eta0, y, scale, G)
            worse = ~(new.h >= least)
            if not worse.any():
                break
            rate = np.where(worse, 0.5 * rate, rate)
        if worse.any():  # not by rounding, but for an objective that is not finite anywhere
            new = _at(family, np.where(worse, now.v, new.v), eta0, y, scale, G)
        now = new
    now.WG = scale * family.product(now.second, G)
    now.L = _factor(family, plus_identity(gram(G, now.WG)))
    now.settled = False
    return now


def _newton_step(family, A, gradient):
    """``A^{-1}`` gradient, and the factor of A, which large matrices without a floor do without."""
    if len(A) > SMALL and family.log_concave:
        return solve_positive(A, gradient), None
    L = _factor(family, A)
    return solve_upper(L, solve_lower(L, gradient[:, None])[:, 0]), L


# -- the likelihood --------------------------------------------------------------------------------


def marginal(rows, s, B, factor, random, family, phi, v, *, n_quadrature=1):
    """Approximate log-likelihoods of the tasks of a batch, and the gradient of their sum.

    Parameters
    ----------
    rows : Rows
    s : ndarray of shape (1 + n_descriptors, n_tasks)
    B : ndarray of shape (n_coefs * n_outputs, 1 + n_descriptors)
    factor : ndarray of shape (n_random * n_outputs, q)
        Lambda.
    random : ndarray of shape (n_random,)
        R: positions of the random coefficients.
    family : Family
    phi : float
    v : ndarray of shape (q, n_tasks)
        Where Newton's method begins.
    n_quadrature : int, default=1
        Nodes; more than 1 with ``q = 1`` only.

    Returns
    -------
    L : ndarray of shape (n_tasks,)
    gradient : tuple
        With respect to B, Lambda and log phi, in their shapes.
    mode : Mode
    """
    scale, Z = rows.weight / phi, rows.X[random]
    G = design(Z, factor, len(rows.y))
    mode = mode_of(family, rows.predictor(B, s), rows.y, scale, G, v)
    constant, constant_slope = family.constant(rows.y, phi)
    smooth = family.information(mode.eta, rows.y, phi)
    if smooth is None:
        MG, L = mode.WG, mode.L
    else:
        MG = scale * smooth[0] * G
        L = _factor(family, plus_identity(gram(G, MG)))
    inverse = mode.inverse if smooth is None else _inverse(L)
    SG = _solve_rows(inverse, G) if len(G) else G
    log_A = log_det(L)
    value = mode.h - 0.5 * log_A + (rows.weight * constant).sum(axis=1)
    first = -scale * mode.first  # l'
    explained = scale * mode.loss  # sum_j pi_j d l/d log phi, but for the constant
    expected, crossed = first, first * mode.v[:, None, :, None]  # sum_j pi_j l'_j (v_j')
    by_mode, by_log_A = 0.0, np.full(len(value), -0.5)
    if n_quadrature > 1:
        gain, expected, crossed, explained, by_mode, by_log_A = _quadrature(
            family, mode, rows.y, log_A, n_quadrature
        )
        value = value + gain
    if smooth is None:
        a = scale * family.slope(rows.y, mode.first, mode.second, G, SG)
    else:
        a = 0.5 * scale * smooth[1] * np.einsum("qktn,qktn->ktn", G, SG)
    share = -2 * by_log_A[:, None]
    a = share * a
    q = solve_upper(mode.L, solve_lower(mode.L, (_transposed_times(G, a) - by_mode)[:, None])[:, 0])
    Gq = _times(G, q)
    indirect = _times(mode.WG, q) - a
    to_factor = crossed + indirect * mode.v[:, None, :, None]
    to_factor -= first * q[:, None, :, None]
    to_factor -= share * (_solve_rows(inverse, MG) if len(G) else G)
    d_factor = np.tensordot(Z, to_factor, axes=([1, 2], [2, 3])).transpose(0, 2, 1)
    d_log_phi = (rows.weight * constant_slope).sum() + explained.sum() + (first * Gq).sum()
    if smooth is None:
        d_log_phi += 0.5 * (share * np.einsum("qktn,qktn->ktn", SG, mode.WG)).sum()
    else:
        change = scale * (smooth[0] - smooth[2])
        d_log_phi += 0.5 * (share * change * np.einsum("qktn,qktn->ktn", G, SG)).sum()
    d_B = rows.gradient(expected + indirect, s)
    return value, (d_B, d_factor.reshape(factor.shape), d_log_phi), mode


def _quadrature(family, mode, y, log_A, n_nodes):
    """What adaptive quadrature adds to L, and what it puts in the place of values at the mode."""
    x, w = np.polynomial.hermite.hermgauss(n_nodes)
    sd = np.exp(-0.5 * log_A)
    points = [
        _at(family, mode.v + np.sqrt(2) * sd * node, mode.eta - _times(mode.G, mode.v), y,
            mode.scale, mode.G)
        for node in x
    ]  # fmt: skip
    terms = np.stack([p.h for p in points]) - mode.h + (x**2 + np.log(w))[:, None]
    top = terms.max(axis=0)
    pi = np.exp(terms - top)
    total = pi.sum(axis=0)
    pi /= total
    expected, explained, crossed, by_mode, along = 0.0, 0.0, 0.0, 0.0, 0.0
    for p, share in zip(points, pi, strict=True):
        weighted = -share[:, None] * mode.scale * p.first
        expected = expected + weighted
        crossed = crossed + weighted * p.v[:, None, :, None]
        explained = explained + share[:, None] * mode.scale * p.loss
        slope = _transposed_times(mode.G, weighted) - share * p.v  # pi_j h'(v_j)
        by_mode = by_mode + slope
        along = along + (slope * (p.v - mode.v))[0]
    gain = np.log(total) + top - 0.5 * np.log(np.pi)
    return gain, expected, crossed, explained, by_mode, -0.5 * (1 + along)


# -- rows left out ---------------------------------------------------------------------------------


def left_out_densities(rows, s, B, factor, random, family, phi):
    """Log predictive densities of rows without any, and given all others, of their task.

    Without any, ``eta_i ~ N(x_i'B s_t, G_i G_i')``. Given all, it is ``N(eta, V)`` at the mode,
    with ``V = G_i A^{-1} G_i'``; without what the row itself has added (once, if it counts for
    several),

        eta_i ~ N(eta - C l', C),    C = V (I - W V)^{-1},

    and the density of the row is ``E p(y_i | eta_i)``. That holds where the approximation of
    the likelihood is too great, since variances tell all labels of a task apart. Arguments as of
    :func:`marginal`; the shape is (2, n_tasks, n_rows).
    """
    scale = rows.weight / phi
    G = design(rows.X[random], factor, len(rows.y))
    eta0 = rows.predictor(B, s)
    mode = mode_of(family, eta0, rows.y, scale, G, np.zeros((len(factor), len(rows.tasks))))
    prior, V = (np.einsum("qktn,qltn->tnkl", H, G) for H in (G, _solve_rows(mode.inverse, G)))
    once = np.minimum(rows.weight, 1.0) / phi
    identity = np.eye(len(rows.y))
    units = np.broadcast_to(identity[:, :, None, None], (*identity.shape, *once.shape))
    W = np.moveaxis(once * family.product(mode.second, units), (0, 1), (-1, -2))
    C = np.linalg.solve(identity - V @ W, V)
    change = np.einsum("tnkl,ltn->ktn", C, once * mode.first)
    constant = family.constant(rows.y, phi)[0]
    means, variances = (eta0, mode.eta + change), (prior, C)
    return constant + [
        _log_mean_density(family, rows.y, phi, *at) for at in zip(means, variances, strict=True)
    ]


def _log_mean_density(family, y, phi, mean, variance):
    """``log E exp(-loss(y, eta) / phi)`` for ``eta ~ N(mean, variance)``."""
    root = symmetric_roots(0.5 * (variance + np.swapaxes(variance, 2, 3)))
    points, weights = normal_nodes(len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        terms = [
            np.log(weight) - family.derivatives(mean + np.moveaxis(root @ z, -1, 0), y)[0] / phi
            for z, weight in zip(points, weights, strict=True)
        ]
    return logsumexp(np.nan_to_num(terms, nan=-np.inf), axis=0)
