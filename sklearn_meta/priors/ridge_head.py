r"""The prior of a last layer, learned from the rows of tasks by expectation maximisation.

    y_k = Phi w_k + e,   w_k = m_k + L u_k,   u_k ~ N(0, I),   e ~ N(0, sigma² I)

with ``P = Phi L``, ``G = P P' + sigma² I`` and ``a = G^{-1} (y - Phi m)`` of a task, the posterior
of u is ``N(P'a, I - P'G^{-1}P)``. The expectations of ``uu'`` and of the squared residuals give

    M = mean of (u - mean u)(u - mean u)',   L <- L chol(M),   m <- m + L mean u
    sigma² <- (sigma⁴ |a|² + K sigma² (n - sigma² tr G^{-1})) / (n K),   summed over tasks.

In u the steps depend neither on the units of features nor on how they are correlated. Tasks with
fewer rows than features cost only solves of the size of their rows. Early steps are strongly
regularised, late ones fit noise where tasks are few: the number of steps is the one after which
tasks that were left out are most likely.

References
----------
Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm. Laird,
Ware (1982), Random-effects models for longitudinal data.
"""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["HeadPrior", "Rows", "learn_head"]

N_STEPS = 100
EVERY = 10  # steps after which the tasks that were left out are looked at
PATIENCE = 2  # looks without a gain
NOISE_FLOOR = 1e-12  # of the variance of the targets
MIN_TASKS = 10  # of which some can be left out
JITTER = 1e-14


@dataclass(frozen=True, eq=False)
class Rows:
    """Features and targets of some tasks, multiplied by the square roots of row weights."""

    Phi: np.ndarray  # (n_tasks, n_rows, d): with a one in front
    y: np.ndarray  # (n_tasks, n_rows, K)
    n: np.ndarray  # (n_tasks,): rows with a weight

    @classmethod
    def of(cls, phi, y, weight):
        root = np.sqrt(weight)[..., None]
        Phi = np.concatenate([np.ones((*phi.shape[:2], 1)), phi], axis=2)
        return cls(Phi * root, y * root, (weight > 0).sum(axis=1))

    def __getitem__(self, tasks):
        return Rows(self.Phi[tasks], self.y[tasks], self.n[tasks])


@dataclass(frozen=True, eq=False)
class HeadPrior:
    """The prior of the last layer."""

    m: np.ndarray  # (d, K) or (d, 1)
    L: np.ndarray  # (d, d)
    sigma2: float
    n_steps: int = 0
    # (n_levels,): of classes, numbers of rows, and logarithms of what scores are multiplied by
    shots: np.ndarray = None
    log_scale: np.ndarray = None
    gaussian: object = None  # GaussianPrior: the same as one of linear models, for intervals

    def _solved(self, rows):
        """Posterior of u, residuals ``sigma² a``, ``tr G^{-1}`` and ``log|G|`` of every task.

        By the rows where they are fewer than the features, else by ``A = sigma² I + P'P``.
        """
        P = rows.Phi @ self.L
        Pt, r, (n, d) = np.swapaxes(P, 1, 2), rows.y - rows.Phi @ self.m, P.shape[1:]
        if n <= d:
            inverse, log_det = _inverse(P @ Pt, self.sigma2)
            a = inverse @ r
            C = np.eye(d) - Pt @ (inverse @ P)
            return Pt @ a, C, self.sigma2 * a, np.einsum("tnn->t", inverse), log_det
        inverse, log_det = _inverse(Pt @ P, self.sigma2)
        u, C = inverse @ (Pt @ r), self.sigma2 * inverse
        trace = (n - d + np.einsum("tdd->t", C)) / self.sigma2
        return u, C, r - P @ u, trace, log_det + (n - d) * np.log(self.sigma2)

    def posterior(self, rows):
        """Means (n_tasks, d, K) and covariance (n_tasks, d, d) of the last layer of tasks."""
        u, C, *_ = self._solved(rows)
        return self.m + self.L @ u, self.L @ C @ self.L.T

    def log_density(self, rows):
        """Of all rows of all tasks; a row of weight w has the noise sigma² / w."""
        u, _, left, _, log_det = self._solved(rows)
        K, padded = left.shape[2], rows.Phi.shape[1] - rows.n
        log_det = log_det - padded * np.log(self.sigma2)
        square = np.sum(left**2) / self.sigma2 + np.sum(u**2)
        return -0.5 * float(square + K * np.sum(log_det + rows.n * np.log(2 * np.pi)))

    def step(self, batches, floor, diagonal=False):
        """One step of expectation maximisation."""
        d = len(self.L)
        uu, u_sum, T, n, square, K = np.zeros((d, d)), 0.0, 0, 0, 0.0, 1
        for rows in batches:
            u, C, left, trace, _ = self._solved(rows)
            K = u.shape[2]
            uu += np.tensordot(u, u, axes=([0, 2], [0, 2])) + K * C.sum(axis=0)
            u_sum = u_sum + u.sum(axis=0)
            square += np.sum(left**2)
            square += K * self.sigma2 * np.sum(rows.Phi.shape[1] - self.sigma2 * trace)
            T, n = T + len(u), n + int(rows.n.sum())
        mean, shared = u_sum / T, self.m.shape[1] < K
        if shared:
            mean = mean.mean(axis=1, keepdims=True)
        M = uu / (T * K) - mean @ mean.T / (1 if shared else K)
        if diagonal:
            root = np.diag(np.sqrt(np.maximum(np.diag(M), np.finfo(float).tiny)))
        else:
            root = np.linalg.cholesky(0.5 * (M + M.T) + JITTER * np.trace(M) / d * np.eye(d))
        sigma2 = max(square / max(n * K, 1), floor)
        return replace(self, m=self.m + self.L @ mean, L=self.L @ root, sigma2=sigma2)


def _inverse(G, sigma2):
    """``(G + sigma² I)^{-1}`` and its log determinant, for every task."""
    place = np.arange(G.shape[1])
    G[:, place, place] += sigma2
    return np.linalg.inv(G), np.linalg.slogdet(G)[1]


def learn_head(prior, batches, tasks, rng, diagonal=False):
    """Improve a prior by expectation maximisation.

    ``tasks`` are the numbers, from 0, of the tasks of every batch of Rows; ``rng`` draws the fifth
    of them that says how many steps to take. ``diagonal``: whether L is.
    """
    n_tasks = sum(map(len, tasks))
    floor = NOISE_FLOOR * sum(np.sum(rows.y**2) for rows in batches)
    floor = max(floor / max(sum(rows.n.sum() for rows in batches), 1), np.finfo(float).tiny)
    n_steps = 0
    if n_tasks >= MIN_TASKS:
        out = rng.permutation(n_tasks) < n_tasks // 5
        train = [rows[~out[own]] for rows, own in zip(batches, tasks, strict=True)]
        judges = [rows[out[own]] for rows, own in zip(batches, tasks, strict=True)]
        trial, best, waited = prior, sum(prior.log_density(rows) for rows in judges), 0
        for k in range(1, N_STEPS + 1):
            trial = trial.step(train, floor, diagonal)
            if k % EVERY == 0:
                found = sum(trial.log_density(rows) for rows in judges)
                waited = 0 if found > best else waited + 1
                if found > best:
                    best, n_steps = found, k
                if waited == PATIENCE:
                    break
    else:  # of a single one the mean is all there is to learn
        n_steps = N_STEPS if n_tasks == 1 else EVERY
    for _ in range(n_steps):
        prior = prior.step(batches, floor, diagonal)
    return replace(prior, n_steps=n_steps)
