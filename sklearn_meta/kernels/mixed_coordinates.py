r"""Coordinates of the mixed model's variances in which its information is about the identity.

References
----------
Nocedal, Wright (2006), Numerical optimization, chapter 7.
"""

from dataclasses import replace

import numpy as np

from .mixed_profile import LEAST

__all__ = ["Coordinates", "lbfgs_step"]

MIN_SHARE = 1e-3  # of the information on a direction, where sigma² is not known


class Coordinates:
    r"""``x -> (Lambda, tau)`` around a solution, in which the information is about the identity.

    ``Lambda = C F``, F lower triangular, and diagonal where it starts, ``F = diag(f)``. With
    ``S_t = C'K_t C``, whose average C makes the identity, the information on F is

        of F_ii and F_jj:  2 f_i f_j sum_t S_t,ij² - 2 v_i v_j / dof,   v_i = f_i sum_t S_t,ii,
        of F_ij, i > j:    f_j² sum_t (S_t,ii S_t,jj + S_t,ij²),

    the second term of the first line since sigma² is profiled out; other pairs are left out. The
    prior of Lambda adds that of nu tasks of ``S_t = diag(f)^{-2}``. Where f is 0 so is the
    information; then the size of a likelihood's slope by chance, ``(2 sum_t S_t,ii²)^{1/2}``,
    stands for it. Other covariances than full ones have no F_ij, and ``C = I``.
    """

    def __init__(self, profile, at, covariance):
        r = len(at.factor)
        self.C, self.f, self.tie = np.eye(r), np.diag(at.factor), np.eye(r)
        self.lower = np.tril_indices(r if covariance == "full" else 0, -1)
        if covariance == "full":
            root = _whitening(profile.information() / profile.s.shape[1])
            U, self.f, _ = np.linalg.svd(np.linalg.solve(root, at.factor))
            self.C = root @ U
        elif covariance != "diag":
            self.tie = np.eye(r, min(r, {"two": 2, "spherical": 1, "none": 0}[covariance]))
            self.tie[self.tie.shape[1] :, -1:] = 1.0
        self.at = at = replace(at, factor=self.C * self.f)
        J, SS, v = np.zeros((r, r)), np.zeros((r, r)), np.zeros(r)
        for part in profile.parts if r else ():
            S = profile.projected(part, self.C)
            d = np.diagonal(S).T
            J, SS, v = J + np.einsum("ijt,ijt->ij", S, S), SS + d @ d.T, v + d.sum(axis=1)
        by_chance = np.sqrt(2 * np.diag(J))
        nu = 0.0 if profile.shrinkage is None else profile.shrinkage.nu
        inverse = 1 / np.maximum(self.f, np.finfo(np.float64).eps * self.f.max(initial=LEAST))
        of_prior, v = nu * inverse**2, self.f * v + nu * inverse
        H = 2 * np.outer(self.f, self.f) * J + np.diag(2 * of_prior + by_chance)
        H, profiled = (self.tie.T @ M @ self.tie for M in (H, H - 2 * np.outer(v, v) / at.dof))
        self.root = _whitening(profiled, np.diag(H))
        h = self.f**2 * (SS + J) + (of_prior + by_chance)[:, None]
        self.unit = 1 / np.sqrt(np.maximum(h[self.lower], LEAST))
        self.size = self.root.shape[1], len(self.unit), int(at.omega > 0)
        self.of_tau = (abs(at.tau) + 1e-3) / np.sqrt(2 * len(profile.slopes)) if at.omega else 0.0

    def point(self, x):
        """Lambda and tau."""
        of_diagonal, of_lower, of_tau = np.split(x, np.cumsum(self.size)[:2])
        F = np.diag(self.f + self.tie @ (self.root @ of_diagonal))
        F[self.lower] = self.unit * of_lower
        return self.C @ F, self.at.tau + self.of_tau * of_tau.sum()

    def gradient(self, of_factor, of_tau):
        """The gradient in x."""
        F = self.C.T @ of_factor
        of_diagonal = self.root.T @ (self.tie.T @ np.diag(F))
        of_tau = [self.of_tau * of_tau] * self.size[2]
        return 0.5 * np.concatenate([of_diagonal, self.unit * F[self.lower], of_tau])


def _whitening(H, scale=None):
    """R with ``R'HR = I``, but for directions of no information."""
    scale = np.sqrt(np.maximum(np.diag(H) if scale is None else scale, LEAST))
    values, vectors = np.linalg.eigh(H / np.outer(scale, scale))
    return vectors / scale[:, None] / np.sqrt(np.maximum(values, MIN_SHARE))


def lbfgs_step(gradient, pairs):
    """The step of L-BFGS from pairs of steps and changes of the gradient."""
    direction, a = -gradient, []
    pairs = [(s, y) for s, y in pairs if s @ y > 0]
    for s, y in reversed(pairs):
        a.append((s @ direction) / (s @ y))
        direction = direction - a[-1] * y
    if pairs:
        s, y = pairs[-1]
        direction = direction * (s @ y) / (y @ y)
    for (s, y), c in zip(pairs, reversed(a), strict=True):
        direction = direction + (c - (y @ direction) / (s @ y)) * s
    return direction
