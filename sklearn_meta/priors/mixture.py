r"""A mixture of Gaussian priors over the linear models of source tasks.

    w_a ~ sum_k pi_k N(m_k, sigma_a² Omega) + pi_0 N(0, sigma_a² B),  B = diag(b_0, b_1, ..., b_1).

Sources that agree share a narrow component; those that contradict them all in one way (flipped
labels) have a mean of their own; those that agree with nobody (shuffled columns) fall to the broad
component, of which nothing but the scale is known: ``b_0`` and ``b_1`` are the mean squares of
levels and slopes over all sources. (A broad component for outliers: Banfield and Raftery 1993.)

It is fitted by EM (Dempster, Laird, Rubin 1977) on the moments of :mod:`..kernels.evidence`. The
mean that judges source a is fitted without a, by generalised least squares, so the sum over sources
of ``log sum_k pi_k p_k(y_a)`` is a leave-one-source-out score. The covariance is shrunk to a
two-variance fit ``D = diag(Omega_00, t, ..., t)``, as by an inverse Wishart prior that counts for
one source.

EM starts from one narrow component, and from two: the signs of the sources along the leading
direction of their slopes, around 0. Two remain if the score gains more than the Bayesian
information criterion asks (Schwarz 1978).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from ..kernels.evidence import NU, Moments, posterior, student

__all__ = ["Mixture", "fit_mixture", "learn_mixture"]

MAX_ITER = 40
TOLERANCE = 0.02  # of the score
MIN_NOISE = 1e-10  # beside the mean square of all targets
MIN_SIZE = 0.5  # of a component, in sources
MIN_NARROW = 1e-3  # probability that a source agrees with others
MAX_BROAD = 0.01  # probability that a target agrees with no source, before its rows are seen


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture of K narrow components and a broad one, which is the last.

    Parameters
    ----------
    means : ndarray of shape (K, rank, n_outputs)
    left_out_means : ndarray of shape (K, n_sources, rank, n_outputs)
        The means without each source.
    P, P_broad : ndarray of shape (rank, rank)
        ``Omega^-1`` and ``B^-1``.
    s : float
        Scale of the noise.
    share : ndarray of shape (K + 1,)
    member : ndarray of shape (n_sources, K + 1)
        Probability of each component given the rows of a source.
    score : float
        Leave-one-source-out log-evidence.
    """

    means: np.ndarray
    left_out_means: np.ndarray
    P: np.ndarray
    P_broad: np.ndarray
    s: float
    share: np.ndarray
    member: np.ndarray
    score: float

    @property
    def narrow(self):
        """Probability that each source is of a narrow component, at least ``MIN_NARROW``."""
        return np.maximum(1 - self.member[:, -1], MIN_NARROW)

    def adapt(self, Z, Y, weight, source=None):
        """Posterior means of a target, and the probabilities (K + 1,) of its component.

        A ``source`` that is the target itself shall not have been seen.
        """
        moments = Moments.of(Z, Y, np.array([0, len(Z)]), weight)
        means = self.means if source is None else self.left_out_means[:, source]
        share = np.append(self.share[:-1], min(self.share[-1], MAX_BROAD))
        w, *evidence = _under_each(moments, means, self.P, self.P_broad)
        evidence = student(*evidence, moments.n[:, None], self.s)
        p = softmax(np.log(share / share.sum()) + evidence[0])
        return np.tensordot(p, w[0], axes=1), p


def learn_mixture(moments, intercept=True):
    """The mixture of one narrow component, or of two where the criterion asks for them.

    Moments are of targets around their mean; with an intercept the first landmark is 1.
    """
    n_sources, first = len(moments.G), int(intercept)
    found = fit_mixture(moments, np.tile([1.0, 0.0], (n_sources, 1)), intercept)
    slopes, *_ = posterior(moments, np.zeros_like(moments.C[0]), found.P_broad)
    slopes = slopes[:, first:].reshape(n_sources, -1)
    side = (slopes @ np.linalg.svd(slopes, full_matrices=False)[2][:1].T > 0).any(axis=1)
    if 2 <= np.sum(side) <= n_sources - 2:
        start = np.column_stack([side, ~side, np.zeros(n_sources)]).astype(float)
        two = fit_mixture(moments, start, intercept)
        cost = 0.5 * found.means.size * np.log(n_sources)  # of one mean more
        found = two if two.score - found.score > cost else found
    return found


def fit_mixture(moments, member, intercept=True, max_iter=MAX_ITER):
    """Fit by EM, see :func:`learn_mixture`, from ``member`` of shape (n_sources, K + 1)."""
    n_sources, d, o = moments.C.shape
    N = moments.n[:, None]
    s, score = moments.yy.sum() / N.sum() or 1.0, -np.inf
    floor = MIN_NOISE * s
    P = B = np.diag(np.r_[[1.0] * intercept, np.full(d - intercept, 10.0)])
    precision = np.full(member.shape, 1 / s)
    for _ in range(max_iter):
        share = np.maximum(member.sum(axis=0), MIN_SIZE)
        share = share / share.sum()
        means, without = _means(moments, (member * precision)[:, :-1], P, B / s)
        w, q, det = _under_each(moments, without, P, B)
        for _ in range(3):
            s = max(n_sources / np.sum(member * (N + NU) / (NU * s + q)), floor)
        evidence = np.log(share) + student(q, det, N, s)
        member = softmax(evidence, axis=1)
        precision = (N + NU) / (NU * s + q)
        before, score = score, np.sum(logsumexp(evidence, axis=1))
        if abs(score - before) < TOLERANCE:
            break
        narrow = member[:, :-1].sum(axis=1)
        V = np.tensordot(narrow, np.linalg.inv(moments.G + P), axes=1)
        V_broad = np.tensordot(member[:, -1], np.linalg.inv(moments.G + B), axes=1)
        u = np.sqrt(member * precision)[:, :, None, None]
        e = u[:, :-1] * (w[:, :-1] - np.moveaxis(without, 0, 1))
        S, size = np.einsum("akio,akjo->ij", e, e) + o * V, max(o * narrow.sum(), 1e-12)
        P = np.linalg.inv((S + o * _two_variances(S / size, intercept)) / (size + o))
        square = np.sum((u * w) ** 2, axis=(0, 1, 3)) / o + np.diag(V + V_broad)
        B = np.linalg.inv(_two_variances(np.diag(square / n_sources), intercept))
    return Mixture(means, without, P, B, s, share, member, float(score))


def _under_each(moments, means, P, P_broad):
    """Posterior means, squares and log-determinants of tasks under each component."""
    priors = [*((m, P) for m in means), (np.zeros_like(means[0]), P_broad)]
    parts = zip(*(posterior(moments, *prior) for prior in priors), strict=True)
    return [np.stack(part, axis=1) for part in parts]


def _means(moments, weight, P, ridge):
    """Means of the components by generalised least squares; and without each source."""
    H = P @ np.linalg.inv(moments.G + P)
    A, b, own = H @ moments.G, H @ moments.C, weight.T[:, :, None, None]
    total, right = (np.tensordot(weight, part, axes=(0, 0)) for part in (A, b))
    total = total + ridge
    without = np.linalg.solve(total[:, None] - own * A, right[:, None] - own * b)
    return np.linalg.solve(total, right), without


def _two_variances(S, intercept):
    """``diag(S_00, t, ..., t)`` with t the mean of the other variances."""
    variance = np.diag(S).copy()
    if len(variance) > intercept:
        variance[int(intercept) :] = variance[int(intercept) :].mean()
    return np.diag(np.maximum(variance, 1e-8))
