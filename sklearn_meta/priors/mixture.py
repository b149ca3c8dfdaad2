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
information criterion asks (Schwarz 1978). Sources whose inputs hang together in another way
(:mod:`..kernels.scatter`) are likely to be of the broad component before their targets are seen.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from ..kernels.evidence import Moments, log_det, posterior, student
from ..kernels.scatter import scatter_evidence

__all__ = ["Mixture", "fit_mixture", "learn_mixture"]

NU = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e6])  # to one noise for all
MAX_ITER = 40
TOLERANCE = 0.02  # of the score
MIN_NOISE = 1e-10  # beside the mean square of all targets
MIN_SIZE = 0.5  # of a component, in sources
MAX_LOG_ODDS = np.log(100.0)  # of what inputs say of the component of a source
MAX_BROAD = 0.01  # probability that a target agrees with no source, before its rows are seen


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture of K narrow components and a broad one, which is the last.

    Parameters
    ----------
    means : ndarray of shape (K, rank, n_outputs)
    left_out_means : ndarray of shape (n_sources, K, rank, n_outputs)
        The means without each source.
    P, P_broad : ndarray of shape (rank, rank)
        ``Omega^-1`` and ``B^-1``.
    s, nu : float
        Of the noise.
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
    nu: float
    share: np.ndarray
    member: np.ndarray
    score: float

    @property
    def narrow(self):
        """Probability that each source is of a narrow component."""
        return 1 - self.member[:, -1]

    @property
    def criterion(self):
        """The score less what each mean costs by the Bayesian information criterion."""
        n_sources, _, d, o = self.left_out_means.shape
        return self.score - 0.5 * d * o * len(self.means) * np.log(n_sources)

    def adapt(self, Z, Y, weight, source=None, strength=1.0):
        """Posterior of a target, mixed over the components by their evidence.

        Parameters
        ----------
        Z : ndarray of shape (n_rows, rank)
            Its landmarks.
        Y : ndarray of shape (n_rows, n_outputs)
        weight : ndarray of shape (n_rows,)
        source : int, default=None
            A source that is the target, and shall not have been seen.
        strength : float, default=1.0
            Factor of the precision of the priors.

        Returns
        -------
        w : ndarray of shape (rank, n_outputs)
        p : ndarray of shape (K + 1,)
            Probability of the components.
        """
        moments = Moments.of(Z, Y, np.array([0, len(Z)]), weight)
        means = self.means if source is None else self.left_out_means[source]
        share = np.append(self.share[:-1], min(self.share[-1], MAX_BROAD))
        found, evidence = [], np.log(share / share.sum())
        for k, (m, P) in enumerate([*((m, self.P) for m in means), (0 * means[0], self.P_broad)]):
            w, q = posterior(moments, m, strength * P)
            det = log_det(moments, strength * P)
            evidence[k] += student(q, det, moments.n_values, self.s, self.nu)[0]
            found.append(w[0])
        p = softmax(evidence)
        return np.tensordot(p, np.stack(found), axes=1), p


def learn_mixture(moments, intercept=True):
    """The mixture of least criterion among the starts.

    Parameters
    ----------
    moments : Moments
        Of targets around their mean.
    intercept : bool, default=True
        Whether the first landmark is 1.

    Returns
    -------
    Mixture
    """
    n_sources, d, _ = moments.C.shape
    first = int(intercept)
    gate = np.zeros((n_sources, 2))
    if intercept and d > 2 and n_sources > 2:
        gate = scatter_evidence(moments)
        gate = np.maximum(gate - gate.max(axis=1, keepdims=True), -MAX_LOG_ODDS)
    near = (gate[:, 0] >= gate[:, 1]).astype(float)
    gate = np.zeros_like(gate) if near.all() else gate
    found = fit_mixture(moments, np.column_stack([near, 1 - near]), intercept, gate)
    slopes, _ = posterior(moments, np.zeros_like(moments.C[0]), found.P_broad)
    slopes = slopes[:, first:].reshape(n_sources, -1)
    side = slopes @ np.linalg.svd(slopes, full_matrices=False)[2][0] > 0 if d > first else near
    if 2 <= np.sum(side) <= n_sources - 2:
        start = np.column_stack([near * side, near * ~side, 1 - near])
        two = fit_mixture(moments, start, intercept, gate[:, [0, 0, 1]])
        found = max(found, two, key=lambda mixture: mixture.criterion)
    return found


def fit_mixture(moments, member, intercept=True, gate=0.0, max_iter=MAX_ITER):
    """Fit by EM from a start.

    Parameters
    ----------
    moments : Moments
        Of targets around their mean.
    member : ndarray of shape (n_sources, K + 1)
        Where EM starts.
    intercept : bool, default=True
        Whether the first landmark is 1.
    gate : ndarray of shape (n_sources, K + 1), default=0
        Log-evidence of what else is known of a source.
    max_iter : int

    Returns
    -------
    Mixture
    """
    n_sources, d, o = moments.C.shape
    N, K = moments.n_values, member.shape[1] - 1
    gate = np.broadcast_to(gate, member.shape)
    s, nu, score = moments.yy.sum() / N.sum() or 1.0, NU[-1], -np.inf
    floor = MIN_NOISE * s
    P = B = np.diag(np.r_[[1.0] * intercept, np.full(d - intercept, 10.0)])
    precision = np.full(member.shape, 1 / s)
    for _ in range(max_iter):
        share = np.maximum(member.sum(axis=0), MIN_SIZE)
        share = share / share.sum()
        V, V_broad = np.linalg.inv(moments.G + P), np.linalg.inv(moments.G + B)
        means, without = _means(moments, member[:, :K] * precision[:, :K], P, V, B / s)
        found = [posterior(moments, without[:, k], P, V) for k in range(K)]
        found.append(posterior(moments, np.zeros((d, o)), B, V_broad))
        w, q = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        s, nu = _noise(q, member, N, s, floor)
        det = np.stack([log_det(moments, P)] * K + [log_det(moments, B)], axis=1)
        prior = np.log(share) + gate
        evidence = prior + student(q, det, N[:, None], s, nu)
        member = softmax(evidence, axis=1)
        precision = (N[:, None] + nu) / (nu * s + q)
        before, score = score, np.sum(logsumexp(evidence, axis=1) - logsumexp(prior, axis=1))
        if abs(score - before) < TOLERANCE:
            break
        u = np.sqrt(member * precision)[:, :, None, None]
        e = u[:, :K] * (w[:, :K] - without)
        S = np.einsum("akio,akjo->ij", e, e) + o * np.tensordot(1 - member[:, K], V, axes=1)
        size = max(o * np.sum(1 - member[:, K]), 1e-12)
        P = np.linalg.inv((S + o * _two_variances(S / size, intercept)) / (size + o))
        spread = np.einsum("a,aii->i", member[:, K], V_broad)
        spread = spread + np.einsum("a,aii->i", 1 - member[:, K], V)
        square = np.sum((u * w) ** 2, axis=(0, 1, 3)) / o + spread
        B = np.linalg.inv(_two_variances(np.diag(square / n_sources), intercept))
    return Mixture(means, without, P, B, s, nu, share, member, float(score))


def _means(moments, weight, P, V, ridge):
    """Means of the components by generalised least squares; and without each source."""
    H = P @ V
    A, b = H @ moments.G, H @ moments.C
    means, without = [], []
    for v in weight.T:
        total, right = np.tensordot(v, A, axes=1) + ridge, np.tensordot(v, b, axes=1)
        own = v[:, None, None]
        means.append(np.linalg.solve(total, right))
        without.append(np.linalg.solve(total - own * A, right - own * b))
    return np.stack(means), np.stack(without, axis=1)


def _two_variances(S, intercept):
    """``diag(S_00, t, ..., t)`` with t the mean of the other variances."""
    variance = np.diag(S).copy()
    if len(variance) > intercept:
        variance[int(intercept) :] = variance[int(intercept) :].mean()
    return np.diag(np.maximum(variance, 1e-8))


def _noise(q, member, N, s, floor):
    """s by a step of EM, and the best of NU."""
    found = []
    for nu in NU:
        t = s
        for _ in range(3):
            t = max(len(N) / np.sum(member * (N[:, None] + nu) / (nu * t + q)), floor)
        found.append((np.sum(member * student(q, 0.0, N[:, None], t, nu)), t, nu))
    return max(found)[1:]
