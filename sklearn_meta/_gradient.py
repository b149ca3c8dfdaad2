r"""Gradient-based meta-learning on arrays: inner steps and the meta-gradients of its algorithms.

``f_t`` is the support loss of task t, ``q_t`` its query loss, theta the meta-initialisation. Inner
steps, elementwise in the rates alpha (0 where a parameter does not adapt):

    theta_0 = theta,   theta_{k+1} = theta_k - alpha * g_k,   g_k = grad f_t(theta_k)

where ``f_t`` includes the estimator's own penalty, centred on theta: ``lambda_t/2 |theta_k -
theta|²`` over penalised parameters. With ``v_K = grad q_t(theta_K)``:

    MAML     v_k = v_{k+1} - (H_k + lambda_t)(alpha * v_{k+1}),  k = K-1..0, and
             d q_t(theta_K)/d theta = v_0 + sum_k lambda_t alpha * v_{k+1}
    Meta-SGD besides, d q_t(theta_K)/d alpha = - sum_k g_k * v_{k+1}
    ANIL     MAML with alpha = 0 but in the last layer
    FOMAML   v_0 = v_K
    iMAML    phi = argmin f_t + lambda/2 |phi - theta|²,  (I + H/lambda) v_0 = grad q_t(phi)

The meta-gradient is the mean over tasks. A step that would raise the support loss of a task is
halved for that task until it does not; the number of halvings counts as constant in derivatives.

References
----------
Finn, Abbeel, Levine (2017), Model-agnostic meta-learning for fast adaptation of deep networks.
Li, Zhou, Chen, Li (2017), Meta-SGD: learning to learn quickly for few-shot learning.
Raghu, Raghu, Bengio, Vinyals (2020), Rapid learning or feature reuse? (ANIL).
Rajeswaran, Finn, Kakade, Levine (2019), Meta-learning with implicit gradients.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Path", "Penalty", "implicit_meta_gradient", "inner_steps", "meta_gradient", "proximal"]

MOST_HALVINGS = 40


@dataclass(frozen=True)
class Penalty:
    """``strength_t / 2 * sum_j mask_j (theta_j - centre_j)²``.

    Parameters
    ----------
    strength : ndarray of shape (n_tasks, 1)
    mask : ndarray of shape (n_params,)
        1 for parameters that are penalised (not intercepts), else 0.
    """

    strength: np.ndarray
    mask: np.ndarray

    def rows(self, tasks):
        """The penalty of some tasks."""
        return Penalty(self.strength[tasks], self.mask)

    def product(self, v):
        """Its Hessian times v; its gradient where v is the distance from the centre."""
        return self.strength * self.mask * v

    def value(self, distance):
        return 0.5 * np.einsum("tp,tp->t", self.product(distance), distance)


@dataclass(frozen=True)
class Path:
    """What inner steps went through.

    Parameters
    ----------
    theta : list of ndarray of shape (n_tasks or 1, n_params)
        theta_0 to theta_K.
    gradient : list of ndarray of shape (n_tasks, n_params)
        g_0 to g_{K-1}.
    rate : list of ndarray of shape (n_tasks, n_params) or (1, n_params)
        The accepted rates.
    """

    theta: list
    gradient: list
    rate: list


def _take(batch, tasks):
    offset = None if batch.offset is None else batch.offset[tasks]
    return type(batch)(batch.X[tasks], batch.y[tasks], batch.weight[tasks], offset)


def _value_and_gradient(network, theta, batch, penalty, centre):
    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient = network.gradient(theta, batch)
    if penalty is not None:
        distance = theta - centre
        value = value + penalty.value(distance)
        gradient = gradient + penalty.product(distance)
    return value, gradient


def _value(network, theta, batch, penalty, centre):
    with np.errstate(over="ignore", invalid="ignore"):
        value = network.value(theta, batch)
    return value if penalty is None else value + penalty.value(theta - centre)


def inner_steps(
    network, theta, support, alpha, n_steps, *, penalty=None, centre=None, guard=True
):
    """Adapt to supports by gradient steps.

    Parameters
    ----------
    network : Network
    theta : ndarray of shape (1, n_params) or (n_tasks, n_params)
        Where to start: the meta-initialisation.
    support : Batch
    alpha : ndarray of shape (1, n_params)
        Inner rates.
    n_steps : int
        K.
    penalty : Penalty, default=None
    centre : ndarray of shape (1, n_params), default=None
        Where the penalty is zero; ``theta`` if None.
    guard : bool, default=True
        Whether to halve steps that raise the support loss.

    Returns
    -------
    Path
    """
    path = Path([theta], [], [])
    centre = theta if centre is None else centre
    now, value = theta, None
    for k in range(n_steps):
        if value is None or not guard:
            value, gradient = _value_and_gradient(network, now, support, penalty, centre)
        if guard:  # a task whose gradient overflows stays where it is
            finite = np.isfinite(gradient).all(axis=1, keepdims=True)
            gradient = np.where(finite, gradient, 0)
        rate = alpha
        new = now - rate * gradient
        path.gradient.append(gradient)
        if guard:
            last = k == n_steps - 1
            if last:
                new_value = _value(network, new, support, penalty, centre)
            else:
                new_value, gradient = _value_and_gradient(network, new, support, penalty, centre)
            bad = ~_not_above(new_value, value)
            if bad.any():
                rate = np.repeat(alpha, len(new), axis=0)
                _halve(network, now, path.gradient[-1], rate, bad, value, support, penalty, centre)
                new = now - rate * path.gradient[-1]
                new[~rate.any(axis=1)] = now if len(now) == 1 else now[~rate.any(axis=1)]
                if last:
                    new_value = _value(network, new, support, penalty, centre)
                else:
                    new_value, gradient = _value_and_gradient(
                        network, new, support, penalty, centre
                    )
            value = new_value
        path.rate.append(rate)
        path.theta.append(new)
        now = new
    return path


def _not_above(new, old):
    """Whether a loss has not risen by more than rounding."""
    return new <= old + 4 * np.finfo(old.dtype).eps * np.abs(old)


def _halve(network, now, gradient, rate, bad, value, support, penalty, centre):
    """Halve the rates of the bad tasks, in place, until their steps do not raise the loss."""
    tasks = np.flatnonzero(bad)
    for _ in range(MOST_HALVINGS):
        rate[tasks] *= 0.5
        start = now if len(now) == 1 else now[tasks]
        trial = start - rate[tasks] * gradient[tasks]
        part = None if penalty is None else penalty.rows(tasks)
        new_value = _value(network, trial, _take(support, tasks), part, centre)
        tasks = tasks[~_not_above(new_value, value[tasks])]
        if len(tasks) == 0:
            return
    rate[tasks] = 0.0


def meta_gradient(
    network,
    theta,
    support,
    query,
    alpha,
    n_steps,
    *,
    penalty=None,
    second_order=True,
    learn_rates=False,
    guard=True,
):
    """Mean query loss after adaptation and its gradient.

    Parameters
    ----------
    network : Network
    theta : ndarray of shape (1, n_params)
    support, query : Batch
    alpha : ndarray of shape (1, n_params)
    n_steps : int
    penalty : Penalty, default=None
    second_order : bool, default=True
        The exact gradient (MAML) or the first-order one (FOMAML).
    learn_rates : bool, default=False
        Whether to return the gradient in alpha, too (Meta-SGD).
    guard : bool, default=True
        Whether to halve steps that raise the support loss.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_params,)
    rate_gradient : ndarray of shape (n_params,) or None
    """
    path = inner_steps(network, theta, support, alpha, n_steps, penalty=penalty, guard=guard)
    with np.errstate(over="ignore", invalid="ignore"):
        value, v = network.gradient(path.theta[-1], query)
        direct, rate_gradient = 0.0, 0.0 if learn_rates else None
        for k in range(n_steps - 1, -1, -1):
            if learn_rates:
                share = np.ones_like(path.rate[k])  # of alpha, after halvings
                np.divide(path.rate[k], alpha, out=share, where=alpha != 0)
                rate_gradient = rate_gradient - share * path.gradient[k] * v
            if second_order:
                u = path.rate[k] * v
                v = v - network.hessian_product(path.theta[k], support, u)
                if penalty is not None:
                    # (theta_k - theta) moves with theta_k and, the other way, with theta
                    v = v - penalty.product(u)
                    direct = direct + penalty.product(u)
    v = v + direct
    if learn_rates:
        rate_gradient = np.broadcast_to(rate_gradient, v.shape).mean(axis=0)
    return float(value.mean()), v.mean(axis=0), rate_gradient


def proximal(network, theta, support, strength, alpha, n_steps, *, penalty=None):
    """Minimise ``f_t + strength/2 |phi - theta|²`` by guarded gradient steps (iMAML's inner level).

    Returns
    -------
    ndarray of shape (n_tasks, n_params)
    """
    pull = Penalty(np.full((len(support.X), 1), strength), np.ones(network.n_params))
    if penalty is not None:
        both = pull.strength + penalty.strength * penalty.mask
        pull = Penalty(both, np.ones(network.n_params))
    return inner_steps(network, theta, support, alpha, n_steps, penalty=pull).theta[-1]


def implicit_meta_gradient(
    network, theta, support, query, strength, alpha, n_steps, *, penalty=None, cg_steps=10
):
    """Mean query loss at the proximal solutions and its implicit gradient.

    ``(I + H/strength) x = grad q`` is solved for all tasks at once by conjugate gradients.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_params,)
    """
    phi = proximal(network, theta, support, strength, alpha, n_steps, penalty=penalty)
    value, v = network.gradient(phi, query)

    def product(u):
        Hu = network.hessian_product(phi, support, u)
        if penalty is not None:
            Hu = Hu + penalty.product(u)
        return u + Hu / strength

    x, r = np.zeros_like(v), v
    p, rr = r, np.einsum("tp,tp->t", r, r)
    for _ in range(cg_steps):
        Ap = product(p)
        pAp = np.einsum("tp,tp->t", p, Ap)
        step = np.divide(rr, pAp, out=np.zeros_like(rr), where=pAp > 0)[:, None]
        x, r = x + step * p, r - step * Ap
        rr, old = np.einsum("tp,tp->t", r, r), rr
        p = r + np.divide(rr, old, out=np.zeros_like(rr), where=old > 0)[:, None] * p
    gradient = x
    if penalty is not None:  # the estimator's own penalty is centred on theta, too
        gradient = x + penalty.product(x) / strength
    return float(value.mean()), gradient.mean(axis=0)
