r"""Weights of a linear pool: non-negative, of sum one, learned on predictions out of fold.

Candidates c predict ``f_c``, and the pool ``sum_c a_c f_c`` (Breiman 1996, stacked regressions; for
probabilities the linear opinion pool of Stone 1961). Of tasks t with rows i the weights minimise

    sum_t v_t mean_i loss(sum_c a_c f_cti, y_ti),    a >= 0,  sum a = 1.

For squared loss this is a quadratic form in the residuals, ``a'Ga``, for log-loss the EM of a
mixture whose components are known. With few tasks the minimiser jumps from one candidate to the
next. So it is averaged over draws of the tasks' weights v from a flat Dirichlet distribution, the
Bayesian bootstrap (Rubin 1981), and half way shrunk towards how often each candidate is the best of
all by itself (as the pseudo-BMA+ of Yao, Vehtari, Simpson, Gelman 2018): what the tasks cannot tell
apart shares the weight.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

__all__ = ["LogPool", "SquaredPool", "bagged_weights"]

N_DRAWS = 100
MAX_ITER = 200  # of EM; a tenth of it is enough but at the borders
TOL = 1e-6
MIN_PROBABILITY = 1e-6
MAX_CELLS = 2**20  # rows times draws at once


@dataclass(frozen=True, eq=False)
class SquaredPool:
    """Squared loss of a pool of numbers."""

    G: np.ndarray  # (n_tasks, n_candidates, n_candidates): mean products of residuals of tasks

    @classmethod
    def of(cls, F, y, tasks, weight):
        """From predictions ``F`` of shape (n_rows, n_candidates), each row of weight ``weight``."""
        R = F - y[:, None]
        products = np.einsum("n,ni,nj->nij", weight, R, R).reshape(len(R), -1)
        n_tasks = tasks.max() + 1
        total = np.zeros((n_tasks, products.shape[1]))
        np.add.at(total, tasks, products)
        mass = np.bincount(tasks, weight, n_tasks)
        return cls((total / mass[:, None]).reshape(n_tasks, F.shape[1], F.shape[1]))

    @property
    def n_tasks(self):
        return len(self.G)

    def losses(self, a):
        """Of every task."""
        return np.einsum("i,tij,j->t", a, self.G, a)

    def of_candidates(self):
        """Losses of shape (n_tasks, n_candidates)."""
        return np.diagonal(self.G, axis1=1, axis2=2)

    def best(self, V):
        """The weights of least loss, for each row of V: weights of the tasks.

        With ``G = R'R`` the solution of ``min |Ra|² + (1'a - 1)²``, ``a >= 0``, has the conditions
        of optimality of the constrained problem, but for its sum.
        """
        G = np.tensordot(V, self.G, axes=1)
        G = G / np.maximum(np.trace(G, axis1=1, axis2=2), np.finfo(float).tiny)[:, None, None]
        values, vectors = np.linalg.eigh(G)
        root = np.sqrt(np.clip(values, 0.0, None))[:, :, None] * np.swapaxes(vectors, 1, 2)
        root = np.pad(root, ((0, 0), (0, 1), (0, 0)), constant_values=1.0)
        a = np.stack([nnls(R, np.eye(len(R))[-1])[0] for R in root])
        return a / a.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class LogPool:
    """Log-loss of a pool of probabilities."""

    P: np.ndarray  # (n_rows, n_candidates): probabilities of the true class, at least 1e-6
    tasks: np.ndarray  # (n_rows,)
    share: np.ndarray  # (n_rows,): of the row in its task; of sum 1 in each

    @classmethod
    def of(cls, P, tasks, weight):
        """From probabilities of the true class, each row of weight ``weight``."""
        share = weight / np.bincount(tasks, weight)[tasks]
        return cls(np.maximum(P, MIN_PROBABILITY), tasks, share)

    @property
    def n_tasks(self):
        return self.tasks.max() + 1

    def losses(self, a):
        """Of every task."""
        return np.bincount(self.tasks, -self.share * np.log(self.P @ a))

    def of_candidates(self):
        """Losses of shape (n_tasks, n_candidates)."""
        return np.stack([self.losses(e) for e in np.eye(self.P.shape[1])], axis=1)

    def best(self, V):
        """The weights of least loss, for each row of V: weights of the tasks."""
        n, K = self.P.shape
        a, size = np.full((len(V), K), 1 / K), max(1, MAX_CELLS // n)
        for lo in range(0, len(V), size):
            going = np.arange(lo, min(lo + size, len(V)))
            w = V[going][:, self.tasks] * self.share
            for _ in range(MAX_ITER):
                before = a[going]
                after = before * ((w / (before @ self.P.T)) @ self.P)
                a[going] = after = after / after.sum(axis=1, keepdims=True)
                moves = np.abs(after - before).max(axis=1) >= TOL
                if not moves.any():
                    break
                going, w = going[moves], w if moves.all() else w[moves]
        return a


def bagged_weights(pool, rng, importance=1.0):
    """Weights averaged over the Bayesian bootstrap of tasks, which count by their importance."""
    draws = rng.dirichlet(np.ones(pool.n_tasks), N_DRAWS) * importance
    losses = draws @ pool.of_candidates()
    alone = np.bincount(losses.argmin(axis=1), minlength=losses.shape[1]) / N_DRAWS
    return (pool.best(draws).mean(axis=0) + alone) / 2
