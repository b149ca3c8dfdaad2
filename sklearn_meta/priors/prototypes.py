r"""Classes as Gaussian clouds, whose means have a Gaussian prior that is learned over tasks.

    x | class c of task t  ~  N(mu_tc, W_t),     mu_tc  ~  N(m_c, B),     W_t  ~  IW(W, nu)

With class labels that mean the same in every task there is one prior mean ``m_c`` for each; where
every task has classes of its own, all have the same m. IW(W, nu) is the inverse Wishart
distribution with mean W and ``nu + d + 1`` degrees of freedom: W counts as much as nu rows of a
task. W, B and m are estimated by moments from the rows of G groups (a class of a task each, of K
prior means), N rows in all:

    W = sum_g S_g / (N - G),    B = (sum_g n_g d_g d_g' - (G - K) W) / n0,    d_g = xbar_g - m_c(g)
    n0 = N - sum_c sum_{g of c} n_g² / N_c

and are pulled: W towards a multiple of D, which is the identity, or the identity in the units that
features had before they were standardised, and B towards a multiple of W,

    (1 - lambda) W + lambda w D,  w = mean_j W_jj / D_jj
    (1 - rho) B + rho b W,        b = tr(W^{-1} B) / d

Given n rows of class c with mean xbar, S the scatter of all rows of a task within its classes and f
its degrees of freedom, rows less classes, the posterior has the means

    E W_t = (nu W + S) / (nu + f),    E mu = m + B (B + W/n)^{-1} (xbar - m)

the latter as if ``W_t = W``, when it has the covariance ``V = B - B (B + W/n)^{-1} B``: prototypes
shrunken by shots; with B infinite those of Snell et al. A new row is N(E mu, E W_t + V). With the
mean of V over the classes of the task the log-odds are linear in x,

    s_c(x) = tau (x' P^{-1} mu_c - mu_c' P^{-1} mu_c / 2) + log pi_c,     P = E W_t + V,

tau a temperature for the number of rows: clouds are not Gaussian, and features not as many as they
seem. D, lambda, rho, nu and tau are those that predict classes best that were left out (tasks,
where classes are shared). All is done in the basis R of the generalised eigenvectors, ``R'WR = I,
R'BR = diag(b)``, where all but S is elementwise.

References
----------
Ioffe (2006), Probabilistic linear discriminant analysis, ECCV. Snell, Swersky, Zemel (2017),
Prototypical networks for few-shot learning, NeurIPS. Bateni, Goyal, Masrani, Wood, Sigal (2020),
Improved few-shot visual classification, CVPR (Simple CNAPS). Searle, Casella, McCulloch (1992),
Variance components, section 3.6 (n0). Gelman et al. (2013), Bayesian data analysis, section 3.6
(inverse Wishart priors).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.linalg
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

__all__ = ["Clouds", "Prototypes", "concentration", "learn_prototypes", "temperature"]

LAMBDAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
RHOS = (1.0, 0.7, 0.3, 0.1, 0.0)
NUS = (np.inf, 1000.0, 300.0, 100.0, 30.0, 10.0)  # the first: one W for all tasks
RIDGE = 1e-6  # on W, so that columns without variance do no harm
LOG_TAU = (-7.0, 3.0)


@dataclass(frozen=True, eq=False)
class Clouds:
    """Moments of the groups of rows."""

    n: np.ndarray  # (G,): total weights, all positive
    mean: np.ndarray  # (G, d)
    label: np.ndarray  # (G,): which of the K prior means a group has
    fold: np.ndarray  # (G,): with which others it is left out, at the least
    within: np.ndarray  # (n_folds, d, d): sums of ``S_g``

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

    def moments(self, K, out=()):
        """m of shape (K, d), B and W, without some folds."""
        kept = ~np.isin(self.fold, out)
        n, mean, label = self.n[kept], self.mean[kept], self.label[kept]
        within = np.delete(self.within, out, axis=0).sum(axis=0)
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
    """A learned prior of class means."""

    R: np.ndarray  # (d, d): generalised eigenvectors, in columns
    b: np.ndarray  # (d,): variances of class means in this basis; those within classes are 1
    m: np.ndarray  # (K, d): prior means, in this basis
    shots: np.ndarray = None  # (n_levels,): numbers of rows of a class,
    log_tau: np.ndarray = None  # (n_levels,): and the logarithm of tau for each
    # (K,): log shares of classes that tasks share; None: those of a task are equally likely
    log_prior: np.ndarray = None
    kappa: float = 0.0  # rows that these count as
    nu: float = np.inf  # rows of a task that W counts as

    @classmethod
    def of(cls, m, B, W, lam=0.0, D=1.0):
        """Of moments, W pulled towards a diagonal D by lam."""
        D = D * np.ones(len(W))
        target = lam * np.mean(np.diag(W) / D) * D + RIDGE * (np.trace(W) / len(W) or 1.0)
        b, R = scipy.linalg.eigh(B, (1 - lam) * W + np.diag(target))
        return cls(R, np.maximum(b, 0.0), m @ R)

    def pulled(self, rho):
        """The same with B pulled towards W."""
        return replace(self, b=(1 - rho) * self.b + rho * self.b.mean())

    def covariances(self):
        """B and W."""
        inverse = np.linalg.inv(self.R)
        return inverse.T * self.b @ inverse, inverse.T @ inverse

    def heads(self, n, mean, apart):
        """Scores of classes as linear functions of x, without tau and class shares.

        Parameters
        ----------
        n : ndarray of shape (n_tasks, n_classes)
            Total weight of the rows of every class; negative for classes that a task lacks.
        mean : ndarray of shape (n_tasks, n_classes, d)
            Their means; anything where there are no rows.
        apart : ndarray of shape (n_tasks, n_rows, d)
            Rows less the means of their classes, times the root of their weights; 0 where there is
            no row.

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
        f = np.maximum(n.sum(axis=(1, 2)) - (n > 0).sum(axis=(1, 2)), 0.0)
        if np.isinf(self.nu):
            scaled = mu / p[:, None]
        else:
            total = (self.nu + f)[:, None]
            A = apart @ self.R / np.sqrt(total)[..., None]
            scaled = _solved(p + self.nu / total - 1, A, mu)
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

    def posterior(self, n, mean, apart):
        """Scores of classes with everything, see :meth:`heads`."""
        coef, intercept = self.heads(n, mean, apart)
        tau = self.tau(n)[:, None]
        return tau[..., None] * coef, tau * intercept + self.log_shares(n)


def _solved(p, A, mu):
    """``(diag(p) + A'A)^{-1} mu'`` of every task, transposed."""
    transposed = np.swapaxes(A, 1, 2)
    if A.shape[1] >= A.shape[2]:
        whole = transposed @ A + p[:, None] * np.eye(A.shape[2])
        return np.swapaxes(np.linalg.solve(whole, np.swapaxes(mu, 1, 2)), 1, 2)
    scaled, Ap = mu / p[:, None], A / p[:, None]
    inner = np.eye(A.shape[1]) + Ap @ transposed
    return scaled - np.swapaxes(np.linalg.solve(inner, A @ np.swapaxes(scaled, 1, 2)), 1, 2) @ Ap


def temperature(scores, offset, target, weight):
    """Log tau that makes ``softmax(tau * scores + offset)`` fit labels best, and the mean log loss.

    Scores and offsets have the shape (n, n_classes), offsets of -inf take classes out; ``target``
    are the places of the true classes.
    """
    there = np.isfinite(offset)
    offset = np.where(there, offset, -np.inf)
    scores = np.where(there, scores, 0.0)
    at = np.arange(len(target)), target
    total = weight.sum()

    def loss(log_tau):
        r = np.exp(log_tau) * scores + offset
        r -= r.max(axis=1, keepdims=True)
        return float(weight @ (np.log(np.exp(r).sum(axis=1)) - r[at]) / total)

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


def learn_prototypes(clouds, K, episodes, targets=(1.0,), log_prior=None, kappa=0.0):
    """Learn the prior: moments of all groups, pulled by as much as episodes say.

    Parameters
    ----------
    clouds : Clouds
    K : int
        Number of prior means.
    episodes : list of (out, n_shots, n, mean, apart, X, target, weight)
        Supports as moments of classes (see :meth:`Prototypes.heads`), and queries: rows of
        shape (n_tasks, n_rows, d), the places of their classes and their weights. The folds ``out``
        are left out of the moments that predict them.
    targets : sequence of float or ndarray of shape (d,), default=(1.0,)
        Diagonals of D to choose from.
    log_prior, kappa
        See :class:`Prototypes`.

    Returns
    -------
    prior : Prototypes
    settings : dict
        ``"lambda"``, ``"rho"``, ``"nu"``, and the place of D among the targets.
    """
    moments = {out: clouds.moments(K, out) for out in sorted({episode[0] for episode in episodes})}
    whole, shares = clouds.moments(K), {"log_prior": log_prior, "kappa": kappa}
    by_shots = {}
    for episode in episodes:
        by_shots.setdefault(episode[1], []).append(episode)
    if not episodes:  # nothing can be left out
        found = {"lambda": 0.5, "rho": 0.0, "nu": np.inf, "target": 0}
        prior = Prototypes.of(*whole, 0.5, targets[0])
        return replace(prior, shots=np.zeros(1), log_tau=np.zeros(1), **shares), found

    @lru_cache(None)
    def bases(target, lam):
        return {out: Prototypes.of(*parts, lam, targets[target]) for out, parts in moments.items()}

    @lru_cache(None)
    def tried(target, lam, rho, nu):
        """Mean log loss, and for each number of shots that of rows of a class and log tau."""
        priors = {
            out: replace(base.pulled(rho), nu=nu, **shares)
            for out, base in bases(target, lam).items()
        }
        levels = np.array([_calibrated(priors, some) for _, some in sorted(by_shots.items())])
        return float(levels[:, 2].mean()), levels[:, :2]

    def best(target):
        lam, rho, nu = 0.5, RHOS[0], NUS[0]
        for _ in range(2):
            lam = min(LAMBDAS, key=lambda lam: tried(target, lam, rho, nu)[0])
            nu = min(NUS, key=lambda nu: tried(target, lam, rho, nu)[0])
            rho = min(RHOS, key=lambda rho: tried(target, lam, rho, nu)[0])
        return target, lam, rho, nu

    chosen = min((best(target) for target in range(len(targets))), key=lambda at: tried(*at)[0])
    target, lam, rho, nu = chosen
    levels = tried(*chosen)[1]
    prior = replace(Prototypes.of(*whole, lam, targets[target]).pulled(rho), nu=nu, **shares)
    found = {"lambda": lam, "rho": rho, "nu": nu, "target": target}
    return replace(prior, shots=levels[:, 0], log_tau=levels[:, 1]), found


def _calibrated(priors, episodes):
    """Rows of a class in the supports of some episodes, the best temperature, and its log loss."""
    parts, rows = [], []
    for out, _, n, mean, apart, X, target, weight in episodes:
        coef, intercept = priors[out].heads(n, mean, apart)
        scores = X @ np.swapaxes(coef, 1, 2) + intercept[:, None]
        offset = np.where(n >= 0, priors[out].log_shares(np.maximum(n, 0)), -np.inf)
        offset = np.broadcast_to(offset[:, None], scores.shape)
        real = weight > 0
        parts.append((scores[real], offset[real], target[real], weight[real]))
        rows.append(_rows_of_classes(n))
    log_tau, loss = temperature(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return np.concatenate(rows).mean(), log_tau, loss


def _rows_of_classes(n):
    """Mean number of rows of the classes of a task."""
    return np.maximum(n, 0).sum(axis=1) / np.maximum((n >= 0).sum(axis=1), 1)
