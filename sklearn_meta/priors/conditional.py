r"""A prior of linear coefficients that depends on side information, for losses without closed form.

    theta_t ~ N(B' [1, s_t], diag(v)),     p(y | theta) ~ exp(-loss(y, X theta) / phi)

by an approximate EM algorithm (Laplace). E step: the posterior mode of every task, with
``theta = h + sqrt(v) z, h = B' [1, s_t]``,

    z_t = argmin  n_t/phi f_t(h_t + sqrt(v) z) + |z|²/2,

by Newton's method for all tasks at once (f_t: mean loss of the n_t support rows; a step that would
raise the objective of a task is halved for that task), and its covariance
``sqrt(v) (I + n_t/phi sqrt(v) H_t sqrt(v))^{-1} sqrt(v)``. M step:

    B = least squares of the modes on [1, s_t],   v = mean of (theta_t - h_t)² + posterior variance.

``phi`` is 1 where the loss is a negative log-likelihood of labels or counts, and twice the mean
loss where it is of numbers (the variance of the noise, for squared loss). The meta-model's prior
takes the place of the estimator's own penalty.

References
----------
Breslow, Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88. Denevi,
Pontil, Ciliberto (2020), The advantage of conditional meta-learning for biased regularization and
fine tuning, NeurIPS.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["ConditionalPrior", "fit_prior", "posterior_modes"]

MOST_HALVINGS = 30
SMALLEST_VARIANCE = 1e-8  # in standardised units


@dataclass(frozen=True, eq=False)
class ConditionalPrior:
    """The meta-model.

    Parameters
    ----------
    B : ndarray of shape (1 + n_descriptors, n_params)
        In units of standardised data and descriptors.
    variance : ndarray of shape (n_params,)
        v; 0 of parameters that do not exist (intercepts of a model without).
    dispersion : float
        phi.
    s_mean, s_scale : ndarray of shape (n_descriptors,)
    n_iter : int
    converged : bool
    """

    B: np.ndarray
    variance: np.ndarray
    dispersion: float
    s_mean: np.ndarray
    s_scale: np.ndarray
    n_iter: int = 0
    converged: bool = False

    def means(self, S):
        """h_t of tasks with descriptors S."""
        return self.B[0] + (S - self.s_mean) / self.s_scale @ self.B[1:]


def _objective(network, theta, z, batch, strength):
    with np.errstate(over="ignore", invalid="ignore"):
        value = network.value(theta, batch)
    return strength * value + 0.5 * np.einsum("tp,tp->t", z, z)


def _curvature(network, theta, batch):
    """The Hessian of the mean loss of every task, shape (n_tasks, n_params, n_params).

    Of a linear model with rows ``u = [1, x]``: ``sum_i w_i u_i u_i' (x) loss''(r_i)``.
    """
    r = network.predict(theta, batch)
    ones = np.ones((*batch.X.shape[:2], 1))
    U, K = np.concatenate([ones, batch.X], axis=2), r.shape[2]
    H = np.empty((len(U), U.shape[2], K, U.shape[2], K))
    for k in range(K):
        unit = np.zeros_like(r)
        unit[..., k] = 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            second = network.loss.hessian_product(r, batch.y, unit) * batch.weight[..., None]
            for j in range(K):
                H[:, :, j, :, k] = np.swapaxes(U * second[..., [j]], 1, 2) @ U
    return H.reshape(len(U), network.n_params, network.n_params)


def posterior_modes(network, h, batch, n_rows, variance, dispersion, *, z=None, max_iter=50):
    """Posterior modes of a batch of tasks, and the diagonal of their covariances.

    Parameters
    ----------
    network : Network
    h : ndarray of shape (n_tasks, n_params)
        Prior means.
    batch : Batch
        The supports.
    n_rows : ndarray of shape (n_tasks,)
        Their total weights.
    variance : ndarray of shape (n_params,)
    dispersion : float
    z : ndarray of shape (n_tasks, n_params), default=None
        Where to start; 0 is the prior mean.
    max_iter : int, default=50
        Most Newton steps.

    Returns
    -------
    theta, covariance, z : ndarray of shape (n_tasks, n_params)
    """
    root, strength = np.sqrt(variance), n_rows / dispersion
    z = np.zeros_like(h) if z is None else z
    now = _objective(network, h + root * z, z, batch, strength)
    identity = np.eye(h.shape[1])
    for _ in range(max_iter):
        theta = h + root * z
        gradient = strength[:, None] * root * network.gradient(theta, batch)[1] + z
        A = strength[:, None, None] * root[:, None] * _curvature(network, theta, batch) * root
        A = np.where(np.isfinite(A), A, 0.0) + identity
        step = np.linalg.solve(A, gradient[..., None])[..., 0]
        step = np.where(np.isfinite(step).all(axis=1, keepdims=True), step, 0.0)
        rate = np.ones(len(h))
        for _ in range(MOST_HALVINGS):
            new = z - rate[:, None] * step
            value = _objective(network, h + root * new, new, batch, strength)
            worse = ~(value <= now)
            if not worse.any():
                break
            rate = np.where(worse, 0.5 * rate, rate)
        rate = np.where(worse, 0.0, rate)
        z = z - rate[:, None] * step
        now = np.where(worse, now, value)
        if np.abs(rate[:, None] * step).max(initial=0.0) < 1e-6:
            break
    theta = h + root * z
    A = strength[:, None, None] * root[:, None] * _curvature(network, theta, batch) * root
    A = np.where(np.isfinite(A), A, 0.0) + identity
    covariance = variance * np.einsum("tpp->tp", np.linalg.inv(A))
    return theta, np.clip(covariance, 0.0, variance), z


def fit_prior(
    network, theta, batches, S, *, estimate_dispersion, max_iter=100, tol=1e-2, report=None
):
    """Learn B and v.

    Parameters
    ----------
    network : Network
    theta : ndarray of shape (n_params,)
        Where to start: the pooled parameters.
    batches : list of (tasks, Batch, n_rows)
        Supports of all tasks, in batches.
    S : ndarray of shape (n_tasks, n_descriptors)
    estimate_dispersion : bool
    max_iter : int, default=100
    tol : float, default=1e-2
        Stop when no standard deviation and no coefficient of B changes by more than this share of
        the standard deviation.
    report : callable, default=None
        ``report(get_prior)`` after each iteration; True means stop.

    Returns
    -------
    ConditionalPrior
        Of a single task with v = 0.
    """
    n_tasks, n_params = len(S), len(theta)
    s_mean, s_scale = S.mean(axis=0), S.std(axis=0)
    s_scale = np.where(s_scale > 1e-12 * np.abs(s_mean), s_scale, 1.0)
    D = np.concatenate([np.ones((n_tasks, 1)), (S - s_mean) / s_scale], axis=1)
    free = np.ones(n_params, dtype=bool) if network.intercept else ~network.intercepts()
    B = np.zeros((D.shape[1], n_params))
    B[0] = np.where(free, theta, 0.0)
    variance = np.where(free, 1.0, 0.0)
    total = sum(n.sum() for _, _, n in batches)

    def mean_loss(modes):
        return sum(n @ network.value(modes[tasks], b) for tasks, b, n in batches) / total

    pooled = np.repeat(B[:1], n_tasks, axis=0)
    phi = max(2 * mean_loss(pooled), 1e-8) if estimate_dispersion else 1.0
    modes, spread, z = np.empty((3, n_tasks, n_params))
    z[:] = 0.0
    n_iter, converged = 0, False

    def prior():
        return ConditionalPrior(B, variance, phi, s_mean, s_scale, n_iter, converged)

    if n_tasks < 2:  # nobody knows how tasks differ
        variance, converged = np.zeros(n_params), True
    while n_iter < max_iter and not converged:
        h = D @ B
        root = np.sqrt(variance)
        for tasks, batch, n_rows in batches:
            modes[tasks], spread[tasks], z[tasks] = posterior_modes(
                network, h[tasks], batch, n_rows, variance, phi, z=z[tasks], max_iter=2
            )
        new_B = np.where(free, np.linalg.lstsq(D, modes, rcond=1e-10)[0], 0.0)
        new_variance = ((modes - D @ new_B) ** 2 + spread).mean(axis=0)
        new_variance = np.where(free, np.maximum(new_variance, SMALLEST_VARIANCE), 0.0)
        if estimate_dispersion:  # what the posterior spread adds to the expected loss is half of
            explained = np.where(free, 1 - spread / np.maximum(variance, 1e-300), 0.0).sum()
            phi = max(2 * mean_loss(modes) + phi * explained / total, 1e-8)
        change = np.abs(np.sqrt(new_variance) - root)[free].max(initial=0.0)
        moved = (np.abs(new_B - B) / np.maximum(root, 1e-300))[:, free].max(initial=0.0)
        z = np.where(free, (modes - D @ new_B) / np.sqrt(np.maximum(new_variance, 1e-300)), 0.0)
        converged = bool(moved <= tol and (change <= tol * root[free].max(initial=1.0)))
        B, variance, n_iter = new_B, new_variance, n_iter + 1
        if report is not None and report(prior):
            break
    return prior()
