r"""Classes as Gaussian clouds, whose means have a Gaussian prior that is learned over tasks.

    x | class c of task t  ~  N(mu_tc, W),     mu_tc  ~  N(m_c, B)

With class labels that mean the same in every task there is one prior mean ``m_c`` for each; where
every task has classes of its own, all have the same m. W, B and m are estimated by moments from the
rows of G groups (a class of a task each, of K prior means), N rows in all:

    W = sum_g S_g / (N - G),    B = (sum_g n_g d_g d_g' - (G - K) W) / n0,    d_g = xbar_g - m_c(g)
    n0 = N - sum_c sum_{g of c} n_g² / N_c

and both are pulled towards multiples of the identity, ``W + lambda tr(W)/d I`` and ``B + rho
tr(B)/d I``, by as much as predicts classes (or tasks, where classes are shared) that were left out
best. Given n rows of class c with mean xbar,

    mu | rows ~ N(m + B (B + W/n)^{-1} (xbar - m),  V),    V = B - B (B + W/n)^{-1} B:

prototypes shrunken by shots; with B infinite those of Snell et al. A new row is N(E mu, W + V).
With the mean of V over the classes of the task the log-odds are linear in x,

    s_c(x) = tau (x' P^{-1} mu_c - mu_c' P^{-1} mu_c / 2) + log pi_c,     P = W + V,

tau a temperature for the number of rows, learned like lambda and rho: clouds are not Gaussian, and
features not as many as they seem. All is done in the basis R of the generalised eigenvectors,
``R'WR = I, R'BR = diag(b)``, where it is elementwise.

References
----------
Ioffe (2006), Probabilistic linear discriminant analysis, ECCV. Snell, Swersky, Zemel (2017),
Prototypical networks for few-shot learning, NeurIPS. Bateni, Goyal, Masrani, Wood, Sigal (2020),
Improved few-shot visual classification, CVPR (Simple CNAPS). Searle, Casella, McCulloch (1992),
Variance components, section 3.6 (n0).
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, logsumexp

__all__ = ["Clouds", "Prototypes", "concentration", "learn_prototypes", "temperature"]

LAMBDAS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RHOS = (1e4, 10.0, 1.0, 0.1, 0.0)  # the first: class means as they are
RIDGE = 1e-6  # least lambda, so that columns without variance do no harm
LOG_TAU = (-7.0, 3.0)


@dataclass(frozen=True, eq=False)
class Clouds:
    """Moments of the groups of rows.

    Parameters
    ----------
    n : ndarray of shape (G,)
        Total weights, all positive.
    mean : ndarray of shape (G, d)
    label : ndarray of shape (G,)
        Which of the K prior means a group has.
    fold : ndarray of shape (G,)
        With which others it is left out.
    within : ndarray of shape (n_folds, d, d)
        Sums of ``S_g``.
    """

    n: np.ndarray
    mean: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, X, group, weight, label, fold):
        """Of rows, each of a group; ``label`` and ``fold`` have an entry for each group."""
        G, d = len(label), X.shape[1]
        n = np.bincount(group, weight, minlength=G)
        mean = np.zeros((G, d))
        np.add.at(mean, group, weight[:, None] * X)
        mean /= np.maximum(n, np.finfo(float).tiny)[:, None]
        apart = np.sqrt(weight)[:, None] * (X - mean[group])
        within = np.zeros((fold.max() + 1, d, d))
        for f in range(len(within)):
            part = apart[fold[group] == f]
            within[f] = part.T @ part
        kept = n > 0
        return cls(n[kept], mean[kept], label[kept], fold[kept], within)

    def moments(self, K, out=None):
        """m of shape (K, d), B and W, without a fold if one is left out."""
        kept = np.ones(len(self.n), dtype=bool) if out is None else self.fold != out
        n, mean, label = self.n[kept], self.mean[kept], self.label[kept]
        within = self.within.sum(axis=0) - (0 if out is None else self.within[out])
        N, total = n.sum(), np.bincount(label, n, minlength=K)
        m = np.zeros((K, mean.shape[1]))
        np.add.at(m, label, n[:, None] * mean)
        overall = m.sum(axis=0) / max(N, np.finfo(float).tiny)
        seen = total > 0
        m[seen] /= total[seen, None]
        m[~seen] = overall
        apart = np.sqrt(n)[:, None] * (mean - m[label])
        between = apart.T @ apart
        if N > len(n):
            W = within / (N - len(n))
        else:  # a row a group: nothing tells rows from classes
            W = (between + within) / max(N, 1.0)
        dof = len(n) - seen.sum()
        if dof < 1 or not len(n):
            return m, np.zeros_like(W), W
        square = np.bincount(label, n**2, minlength=K)[seen] / total[seen]
        B = (between - dof * W) / max(N - square.sum(), np.finfo(float).tiny)
        values, vectors = np.linalg.eigh(B)
        return m, (vectors * np.maximum(values, 0.0)) @ vectors.T, W


@dataclass(frozen=True, eq=False)
class Prototypes:
    """A learned prior of class means.

    Parameters
    ----------
    R : ndarray of shape (d, d)
        Generalised eigenvectors, in columns.
    b : ndarray of shape (d,)
        Variances of class means in this basis, in which those within classes are 1.
    m : ndarray of shape (K, d)
        Prior means, in this basis.
    shots : ndarray of shape (n_levels,)
        Numbers of rows of a class,
    log_tau : ndarray of shape (n_levels,)
        and the logarithm of tau for each.
    log_prior : ndarray of shape (K,), default=None
        Log shares of classes that are shared; None: the classes of a task are equally likely.
    kappa : float, default=0
        Rows that these count as.
    settings : tuple of (float, float), default=(0, 0)
        lambda and rho.
    """

    R: np.ndarray
    b: np.ndarray
    m: np.ndarray
    shots: np.ndarray = None
    log_tau: np.ndarray = None
    log_prior: np.ndarray = None
    kappa: float = 0.0
    settings: tuple = (0.0, 0.0)

    @classmethod
    def of(cls, m, B, W, lam=0.0, rho=0.0):
        identity = np.eye(len(W))
        W = W + max(lam, RIDGE) * (np.trace(W) / len(W) or 1.0) * identity
        B = B + rho * np.trace(B) / len(B) * identity
        b, R = scipy.linalg.eigh(B, W)
        return cls(R, np.maximum(b, 0.0), m @ R, settings=(lam, rho))

    def covariances(self):
        """B and W."""
        inverse = np.linalg.inv(self.R)
        return inverse.T * self.b @ inverse, inverse.T @ inverse

    def heads(self, n, mean):
        """Scores of classes as linear functions of x, without tau and class shares.

        Parameters
        ----------
        n : ndarray of shape (n_tasks, n_classes)
            Total weight of the rows of every class; negative for classes that a task lacks.
        mean : ndarray of shape (n_tasks, n_classes, d)
            Their means; anything where there are no rows.

        Returns
        -------
        coef : ndarray of shape (n_tasks, n_classes, d)
        intercept : ndarray of shape (n_tasks, n_classes)
        """
        there = (n >= 0)[..., None]
        n = np.maximum(n, 0.0)[..., None]
        known = 1 + self.b * n
        mu = self.m + np.where(n > 0, self.b * n / known * (mean @ self.R - self.m), 0.0)
        p = 1 + (there * self.b / known).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        mu = mu * there
        scaled = mu / p[:, None]
        return scaled @ self.R.T, -0.5 * np.einsum("tcd,tcd->tc", scaled, mu)

    def tau(self, n):
        """Temperatures of tasks with counts n, shape (n_tasks,)."""
        rows = np.log1p(_rows_of_classes(n))
        return np.exp(np.interp(rows, np.log1p(self.shots), self.log_tau))

    def log_shares(self, n):
        """Log shares of the classes of tasks with counts n, shape (n_tasks, n_classes)."""
        if self.log_prior is None:
            return np.zeros_like(n)
        total = n.sum(axis=1, keepdims=True) + self.kappa
        return np.log((n + self.kappa * np.exp(self.log_prior)) / total)

    def posterior(self, n, mean):
        """Scores of classes with everything, see :meth:`heads`."""
        coef, intercept = self.heads(n, mean)
        tau = self.tau(n)[:, None]
        return tau[..., None] * coef, tau * intercept + self.log_shares(n)


def temperature(scores, offset, target, weight):
    """Tau that makes ``softmax(tau * scores + offset)`` fit labels best, and the mean log loss.

    Parameters
    ----------
    scores, offset : ndarray of shape (n, n_classes)
        Offsets of -inf take classes out.
    target : ndarray of shape (n,)
        Places of the true classes.
    weight : ndarray of shape (n,)

    Returns
    -------
    log_tau, loss : float
    """
    there = np.isfinite(offset)
    offset = np.where(there, offset, -np.inf)
    scores = np.where(there, scores, 0.0)
    at = np.arange(len(target)), target
    total = weight.sum()

    def loss(log_tau):
        r = np.exp(log_tau) * scores + offset
        return float(weight @ (logsumexp(r, axis=1) - r[at]) / total)

    best = minimize_scalar(loss, bounds=LOG_TAU, method="bounded", options={"xatol": 0.01})
    return float(best.x), float(best.fun)


def concentration(n):
    """Class shares and kappa of a Dirichlet prior from counts of tasks, shape (n_tasks, K)."""
    share = (n.sum(axis=0) + 1.0) / (n.sum() + len(n.T))
    total = n.sum(axis=1)

    def loss(log_kappa):
        kappa = np.exp(log_kappa)
        a = kappa * share
        whole = gammaln(kappa) - gammaln(kappa + total)
        return -float(whole.sum() + (gammaln(n + a) - gammaln(a)).sum())

    best = minimize_scalar(loss, bounds=(-3.0, 8.0), method="bounded", options={"xatol": 0.01})
    return share, float(np.exp(best.x))


def learn_prototypes(clouds, K, episodes, log_prior=None, kappa=0.0):
    """Learn the prior: moments of all groups, pulled by as much as episodes say.

    Parameters
    ----------
    clouds : Clouds
    K : int
        Number of prior means.
    episodes : list of (fold, n_shots, n, mean, X, target, weight)
        Supports as counts and means of classes (see :meth:`Prototypes.heads`), and queries: rows of
        shape (n_tasks, n_rows, d), the places of their classes and their weights. The fold is left
        out of the moments that predict it. Of every number of shots in every fold at most one.
    log_prior, kappa
        See :class:`Prototypes`.

    Returns
    -------
    Prototypes
    """
    moments = {f: clouds.moments(K, f) for f in sorted({episode[0] for episode in episodes})}
    whole, shares = clouds.moments(K), {"log_prior": log_prior, "kappa": kappa}
    by_shots = {}
    for episode in episodes:
        by_shots.setdefault(episode[1], []).append(episode)
    found = {}

    def tried(lam, rho):
        """Mean log loss, and for each number of shots that of rows of a class and log tau."""
        if (lam, rho) not in found:
            priors = {
                f: replace(Prototypes.of(*parts, lam, rho), **shares)
                for f, parts in moments.items()
            }
            levels = np.array([_calibrated(priors, some) for _, some in sorted(by_shots.items())])
            found[lam, rho] = float(levels[:, 2].mean()), levels[:, :2]
        return found[lam, rho][0]

    if not episodes:  # nothing can be left out
        prior = Prototypes.of(*whole, 1.0, 0.0)
        return replace(prior, shots=np.zeros(1), log_tau=np.zeros(1), **shares)
    rho = RHOS[0]
    for _ in range(2):
        lam = min(LAMBDAS, key=lambda lam: tried(lam, rho))
        rho = min(RHOS, key=lambda rho: tried(lam, rho))
    levels = found[lam, rho][1]
    prior = Prototypes.of(*whole, lam, rho)
    return replace(prior, shots=levels[:, 0], log_tau=levels[:, 1], **shares)


def _calibrated(priors, episodes):
    """Rows of a class in the supports of some episodes, the best temperature, and its log loss."""
    parts, rows = [], []
    for fold, _, n, mean, X, target, weight in episodes:
        coef, intercept = priors[fold].heads(n, mean)
        scores = X @ np.swapaxes(coef, 1, 2) + intercept[:, None]
        offset = np.where(n >= 0, priors[fold].log_shares(np.maximum(n, 0)), -np.inf)
        offset = np.broadcast_to(offset[:, None], scores.shape)
        real = weight > 0
        parts.append((scores[real], offset[real], target[real], weight[real]))
        rows.append(_rows_of_classes(n))
    log_tau, loss = temperature(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return np.concatenate(rows).mean(), log_tau, loss


def _rows_of_classes(n):
    """Mean number of rows of the classes of a task."""
    return np.maximum(n, 0).sum(axis=1) / np.maximum((n >= 0).sum(axis=1), 1)
