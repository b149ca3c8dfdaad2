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
halved for that task until it does not (``halving.py``); the number of halvings counts as
constant in derivatives.

References
----------
Finn, Abbeel, Levine (2017), Model-agnostic meta-learning for fast adaptation of deep networks.
Li, Zhou, Chen, Li (2017), Meta-SGD: learning to learn quickly for few-shot learning.
Raghu, Raghu, Bengio, Vinyals (2020), Rapid learning or feature reuse? (ANIL).
Rajeswaran, Finn, Kakade, Levine (2019), Meta-learning with implicit gradients.
"""

from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from .halving import MAX_HALVINGS, halve, risen

__all__ = [
    "Path",
    "Penalty",
    "implicit_meta_gradient",
    "inner_steps",
    "mean_curvature",
    "meta_gradient",
    "proximal",
]


@dataclass(frozen=True)
class Penalty:
    """``strength_t / 2 * sum_j mask_j (theta_j - centre_j)²``."""

    strength: np.ndarray  # (n_tasks, 1)
    mask: np.ndarray  # (n_params,): 1 for parameters that are penalised (not intercepts), else 0

    def rows(self, tasks):
        """The penalty of some tasks."""
        return Penalty(self.strength[tasks], self.mask)

    def product(self, v):
        """Its Hessian times v; its gradient where v is the distance from the centre."""
        return self._curvature * v

    def value(self, distance):
        return 0.5 * self.inner(distance, distance)

    def inner(self, u, v):
        """``u`` times its Hessian times ``v``."""
        return np.einsum("tp,tp,tp->t", self._curvature, u, v)

    @cached_property
    def _curvature(self):
        return self.strength * self.mask


@dataclass(frozen=True)
class SupportLoss:
    """The support loss ``f_t``: the mean loss of the rows and the penalty."""

    objective: object  # Objective
    penalty: Penalty
    centre: np.ndarray  # (n_tasks or 1, n_params): where the penalty is zero
    guard: bool = True  # whether a gradient that overflows counts as 0, and its task stays

    def distance(self, theta):
        """How far theta is from the centre; None where nothing is penalised."""
        return None if self.penalty is None or theta is self.centre else theta - self.centre

    def value(self, point):
        distance = self.distance(point.theta)
        return point.value if distance is None else point.value + self.penalty.value(distance)

    def gradient(self, point):
        gradient, distance = point.gradient(), self.distance(point.theta)
        if distance is not None:
            gradient += self.penalty.product(distance)
        if self.guard and not np.isfinite(np.vdot(gradient, gradient)):
            gradient[~np.isfinite(gradient).all(axis=1)] = 0
        return gradient

    def rows(self, tasks):
        """The support loss of some tasks."""
        centre = self.centre if len(self.centre) == 1 else self.centre[tasks]
        penalty = None if self.penalty is None else self.penalty.rows(tasks)
        return SupportLoss(self.objective.rows(tasks), penalty, centre, self.guard)


@dataclass
class Path:
    """What inner steps went through."""

    loss: SupportLoss
    alpha: np.ndarray  # (1, n_params)
    end: np.ndarray  # (n_tasks or 1, n_params): theta_K
    points: list = field(default_factory=list)  # the network at theta_0 to theta_{K-1}
    share: list = field(default_factory=list)  # (n_tasks or 1, 1): what halvings left of alpha

    @property
    def theta(self):
        """theta_0 to theta_K."""
        return [point.theta for point in self.points] + [self.end]

    def gradient(self, k):
        """g_k, computed again: cheaper than keeping it."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.loss.gradient(self.points[k])

    def rate(self, k):
        """The accepted rates of step k."""
        return self.alpha * self.share[k]


def inner_steps(
    network, theta, support, alpha, n_steps, *, penalty=None, centre=None, guard=True, keep=True
):
    """Adapt to supports by gradient steps, along a Path.

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
    keep : bool, default=True
        Whether the path has more than its end.
    """
    centre = theta if centre is None else centre
    fast = _compiled(network, penalty)
    if fast and n_steps and not keep:
        settings = alpha, n_steps, penalty, centre, guard, MAX_HALVINGS
        return Path(None, alpha, fast.ends(network, theta, support, *settings))
    alpha = alpha[:, :1] if (alpha == alpha[0, 0]).all() else alpha  # a number is faster
    loss = SupportLoss(network.on(support), penalty, centre, guard)
    path = Path(loss, alpha, theta)
    with np.errstate(over="ignore", invalid="ignore"):
        point = loss.objective.at(theta) if n_steps else None
        value = loss.value(point) if n_steps and guard else None
        whole = np.ones((1, 1), alpha.dtype)
        for k in range(n_steps):
            share = whole
            path.end = _step(point.theta, alpha, loss.gradient(point))
            next_point = loss.objective.at(path.end) if guard or k < n_steps - 1 else None
            if guard:
                old, value = value, loss.value(next_point).copy()
                up = risen(value, old)
                if len(up):
                    share = np.ones((len(path.end), 1), alpha.dtype)
                    share[up], value[up] = halve(loss, point, next_point, up, old[up])
            if keep:
                path.points.append(point)
                path.share.append(share)
            point = next_point
    return path


@cache
def _numba():
    """The compiled functions of ``fast.py``; None without numba, or where it has no cache."""
    try:
        from . import fast
    except (ImportError, RuntimeError):
        return None
    return fast


def _compiled(network, penalty):
    """``fast.py`` where it computes what is asked for, else None."""
    fast = _numba()
    return fast if fast and fast.takes(network, penalty) else None


def _step(theta, rate, gradient):
    """``theta - rate * gradient``, in the place of the gradient."""
    np.multiply(rate, gradient, out=gradient)
    return np.subtract(theta, gradient, out=gradient)


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
    """Mean query loss after adaptation, its gradient (n_params,), and that in alpha.

    Arguments as of :func:`inner_steps`, with one row of theta.

    Parameters
    ----------
    second_order : bool, default=True
        The exact gradient (MAML) or the first-order one (FOMAML).
    learn_rates : bool, default=False
        Whether to compute the gradient in alpha (Meta-SGD); else it is 0.
    """
    if fast := _compiled(network, penalty):
        settings = n_steps, penalty, second_order, learn_rates, guard, MAX_HALVINGS
        return fast.meta_gradient(network, theta, support, query, alpha, *settings)
    exact = n_steps > 0 and (second_order or learn_rates)
    path = inner_steps(
        network, theta, support, alpha, n_steps, penalty=penalty, guard=guard, keep=exact
    )
    n_tasks = len(query.X)
    with np.errstate(over="ignore", invalid="ignore"):
        end = network.on(query).at(path.end)
        value = float(end.value.sum()) / n_tasks
        if not exact:
            return value, end.gradient_sum() / n_tasks, np.zeros_like(alpha[0])
        v, direct = end.gradient(), None
        rate_gradient = np.zeros_like(alpha[0])
        for k in range(n_steps - 1, -1, -1):
            if learn_rates:
                rate_gradient -= np.einsum("tp,tp->p", path.share[k] * path.gradient(k), v)
            if second_order and k:
                u = path.rate(k) * v
                v -= path.points[k].hessian_product(u)
                if penalty is not None:
                    # (theta_k - theta) moves with theta_k and, the other way, with theta
                    u = penalty.product(u)
                    v -= u
                    direct = u if direct is None else direct + u
        gradient = _mean(v)
        if second_order:  # theta_0 is the centre of the penalty, which has no share in it
            gradient -= path.points[0].hessian_product_sum(path.rate(0) * v) / n_tasks
            if direct is not None:
                gradient += _mean(direct)
    return value, gradient, rate_gradient / n_tasks


def _mean(rows):
    """Mean over tasks, as a product."""
    return np.full(len(rows), 1 / len(rows), rows.dtype) @ rows


def proximal(network, theta, support, strength, alpha, n_steps, *, penalty=None):
    """iMAML's inner level: minimise ``f_t + strength/2 |phi - theta|²`` by guarded steps."""
    pull = Penalty(np.full((len(support.X), 1), strength), np.ones(network.n_params))
    if penalty is not None:
        both = pull.strength + penalty.strength * penalty.mask
        pull = Penalty(both, np.ones(network.n_params))
    return inner_steps(network, theta, support, alpha, n_steps, penalty=pull, keep=False).end


@np.errstate(over="ignore", invalid="ignore")
def mean_curvature(network, theta, support, penalty=None, n_products=10):
    """Mean over tasks of the largest eigenvalue, in size, of the Hessian of ``f_t`` at theta.

    By power iteration for all tasks at once. Infinite where it overflows.
    """
    size = np.ones((len(support.X), 1), theta.dtype)
    v = np.ones((len(support.X), network.n_params), theta.dtype)
    point = network.on(support).at(theta)
    for _ in range(n_products):
        v = v / np.where(size > 0, size, 1)
        Hv = point.hessian_product(v)
        v = Hv if penalty is None else Hv + penalty.product(v)
        size = np.linalg.norm(v, axis=1, keepdims=True)
    found = float(size.mean())
    return found if np.isfinite(found) else np.inf


@np.errstate(over="ignore", invalid="ignore")
def implicit_meta_gradient(
    network, theta, support, query, strength, alpha, n_steps, *, penalty=None, cg_steps=10
):
    """Mean query loss at the proximal solutions and its implicit gradient, shape (n_params,).

    ``(I + H/strength) x = grad q`` is solved for all tasks at once by conjugate gradients.
    """
    phi = proximal(network, theta, support, strength, alpha, n_steps, penalty=penalty)
    value, v = network.gradient(phi, query)
    solution = network.on(support).at(phi)

    def product(u):
        Hu = solution.hessian_product(u)
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
