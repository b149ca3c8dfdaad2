r"""The last layer solved in closed form per task, and the exact gradient through the solve.

With features ``Phi = [1, phi(x)]`` of a body (``body.py``) and K outputs,

    y_k = Phi w_k + e,   w_k ~ N(m_k, L L'),   e ~ N(0, sigma² I),

of which the body, m, L and sigma are learned. In the space of the rows of a support, with ``P =
Phi_s L``, ``Q = Phi_q L`` and the residuals ``r = y_s - Phi_s m``,

    G = P P' + sigma² I,   a = G^{-1} r,   C = Q P',   U = G^{-1} C'
    mean = Phi_q m + C a,  v = |Q|² - diag(C U) + sigma²                       (of a query row)

The loss of a query row is ``(|y - mean|² / v + K log v) / 2``, its negative predictive log density
(``objective="query"``), or, of classes, the log loss of ``exp(s) mean``. That of the evidence is
the negative log density of all rows of the task together, per row: ``(r'a + K log|G|) / 2n``.

Reverse mode, bars for the derivatives of the loss: from ``mean_bar`` and ``v_bar``,

    a_bar = C' mean_bar,  r_bar = G^{-1} a_bar,  C_bar = mean_bar a' - 2 v_bar U'
    G_bar = -r_bar a' + U diag(v_bar) U'
    P_bar = (G_bar + G_bar') P + C_bar' Q,   Q_bar = 2 v_bar Q + C_bar P
    Phi_s_bar = P_bar L' - r_bar m',   Phi_q_bar = Q_bar L' + mean_bar m'
    L_bar = Phi_s' P_bar + Phi_q' Q_bar,   m_bar = Phi_q' mean_bar - Phi_s' r_bar
    sigma²_bar = sum v_bar + tr G_bar

A row of weight w has the noise sigma² / w: P and r are multiplied by sqrt(w). So rows of weight 0
are not there.

References
----------
Bertinetto, Henriques, Torr, Vedaldi (2019), Meta-learning with differentiable closed-form solvers,
ICLR. Harrison, Sharma, Pavone (2018), Meta-learning priors for efficient online Bayesian
regression (ALPaCA), WAFR.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Head", "evidence_loss", "query_loss"]

LOG_2PI = np.log(2 * np.pi)


@dataclass(frozen=True)
class Head:
    """The prior of the last layer in a vector, behind the body: m, L, log sigma, s."""

    n_features: int  # H, without the constant
    n_means: int  # columns of m: K, or 1 where outputs are exchangeable
    diagonal: bool = False  # whether L is

    @property
    def sizes(self):
        d = self.n_features + 1
        return d * self.n_means, d if self.diagonal else d * d

    def start(self, scale, dtype):
        """m = 0, L = scale I, sigma and exp(s) 1."""
        d = self.n_features + 1
        L = np.full(d, scale) if self.diagonal else (scale * np.eye(d)).ravel()
        return np.concatenate([np.zeros(self.sizes[0]), L, [0.0, 0.0]]).astype(dtype)

    def unpack(self, x):
        """m of shape (1 + H, n_means), L, log sigma and s, from the end of a vector."""
        d, (n_m, n_L) = self.n_features + 1, self.sizes
        m, L = x[-2 - n_L - n_m : -2 - n_L].reshape(d, self.n_means), x[-2 - n_L : -2]
        return m, np.diag(L) if self.diagonal else L.reshape(d, d), x[-2], x[-1]

    def pack(self, m, L, log_sigma, s):
        """Gradients as one vector."""
        m = m.sum(axis=1) if m.shape[1] != self.n_means else m
        L = np.diag(L) if self.diagonal else L
        return np.concatenate([m.ravel(), L.ravel(), [log_sigma, s]])


def _transposed(A):
    return np.swapaxes(A, 1, 2)


def _features(body, theta, X):
    """``[1, phi]``, and the pullback."""
    phi, pullback = body.forward(theta[: body.n_params], X)
    Phi = np.empty((*phi.shape[:2], phi.shape[2] + 1), dtype=phi.dtype)
    Phi[..., 0], Phi[..., 1:] = 1, phi
    return Phi, pullback


def _flat(A):
    return A.reshape(-1, A.shape[-1])


def _roots(batch, n_rows):
    """Square roots of row weights."""
    return np.sqrt(batch.weight * n_rows[:, None])[..., None].astype(batch.X.dtype, copy=False)


def _solved(Phi, y, m, L, sigma2):
    """P, G, its inverse, r and a, of rows that are multiplied by the roots of their weights."""
    P, r = Phi @ L, y - Phi @ m
    G = P @ _transposed(P)
    place = np.arange(G.shape[1])
    G[:, place, place] += sigma2
    inverse = np.linalg.inv(G)
    return P, G, inverse, r, inverse @ r


def query_loss(body, head, theta, support, query, n_rows, loss=None):
    """Mean loss of the queries given the supports, and its gradient, shape (n_params,).

    Parameters
    ----------
    body : Body
    head : Head
    theta : ndarray of shape (n_params,)
        Parameters of the body, then those of the head.
    support, query : Batch
    n_rows : ndarray of shape (n_tasks,)
        Total weights of the supports.
    loss : Loss, default=None
        That of classes, whose targets are 0 or 1; None: targets are numbers.
    """
    n_tasks, n_s = support.X.shape[:2]
    m, L, log_sigma, s = head.unpack(theta)
    sigma2 = np.exp(2 * log_sigma)
    X = np.concatenate([support.X, query.X], axis=1)
    Phi, pullback = _features(body, theta, X)
    root, y = _roots(support, n_rows), support.y if loss is None else codes(support.y)
    Phi_s, Phi_q = Phi[:, :n_s] * root, Phi[:, n_s:]
    P, _, inverse, r, a = _solved(Phi_s, y * root, m, L, sigma2)
    Q = Phi_q @ L
    C = Q @ _transposed(P)
    mean = Phi_q @ m + C @ a
    weight = query.weight / n_tasks
    if loss is None:
        U = inverse @ _transposed(C)
        v = np.einsum("tqd,tqd->tq", Q, Q) - np.einsum("tqn,tnq->tq", C, U) + sigma2
        v = np.maximum(v, sigma2)
        error, K = query.y - mean, query.y.shape[2]
        square = np.einsum("tqk,tqk->tq", error, error)
        value = 0.5 * np.sum(weight * (square / v + K * (np.log(v) + LOG_2PI)))
        mean_bar = -(weight / v)[..., None] * error
        v_bar = 0.5 * weight * (K / v - square / v**2)
        s_bar = 0.0
    else:
        scale = np.exp(s)
        value = np.sum(weight * loss.value(scale * mean, query.y))
        raw_bar = loss.gradient(scale * mean, query.y) * weight[..., None]
        mean_bar, s_bar = scale * raw_bar, scale * np.sum(raw_bar * mean)
    r_bar = inverse @ (_transposed(C) @ mean_bar)
    C_bar = mean_bar @ _transposed(a)
    G_bar = -r_bar @ _transposed(a)
    Q_bar = C_bar @ P
    sigma2_bar = 0.0
    if loss is None:
        C_bar -= 2 * v_bar[..., None] * _transposed(U)
        G_bar += (U * v_bar[:, None]) @ _transposed(U)
        Q_bar = C_bar @ P + 2 * v_bar[..., None] * Q
        sigma2_bar = v_bar.sum()
    P_bar = (G_bar + _transposed(G_bar)) @ P + _transposed(C_bar) @ Q
    sigma2_bar += np.einsum("tnn->", G_bar)
    m_t = np.broadcast_to(m, (m.shape[0], r.shape[2])).T
    Phi_s_bar = (P_bar @ L.T - r_bar @ m_t) * root
    Phi_q_bar = Q_bar @ L.T + mean_bar @ m_t
    L_bar = _flat(Phi_s).T @ _flat(P_bar) + _flat(Phi_q).T @ _flat(Q_bar)
    m_bar = _flat(Phi_q).T @ _flat(mean_bar) - _flat(Phi_s).T @ _flat(r_bar)
    Phi_bar = np.concatenate([Phi_s_bar, Phi_q_bar], axis=1)[..., 1:]
    of_head = head.pack(m_bar, L_bar, 2 * sigma2 * sigma2_bar, s_bar)
    return float(value), np.concatenate([pullback(Phi_bar), of_head]).astype(theta.dtype)


def evidence_loss(body, head, theta, batch, n_rows, is_class=False):
    """Negative log density per row of all rows of a task, mean over tasks, and its gradient.

    Arguments as of :func:`query_loss`, for the rows of tasks as one batch. Classes count by their
    codes; their scale has no part in it.
    """
    n_tasks, n = batch.X.shape[:2]
    m, L, log_sigma, _ = head.unpack(theta)
    sigma2 = np.exp(2 * log_sigma)
    Phi, pullback = _features(body, theta, batch.X)
    root, y = _roots(batch, n_rows), codes(batch.y) if is_class else batch.y
    Phi, K = Phi * root, y.shape[2]
    P, G, inverse, r, a = _solved(Phi, y * root, m, L, sigma2)
    share = 1 / (n_tasks * np.maximum(n_rows, 1.0))
    real = (root[..., 0] > 0).sum(axis=1)
    log_det = np.linalg.slogdet(G)[1] - 2 * log_sigma * (n - real)
    log_weight = np.where(root > 0, np.log(np.where(root > 0, root, 1.0)), 0.0).sum(axis=(1, 2))
    each = np.einsum("tnk,tnk->t", r, a) + K * (log_det - 2 * log_weight + real * LOG_2PI)
    value = 0.5 * float(share @ each)
    share = share[:, None, None]
    r_bar = share * a
    G_bar = 0.5 * share * (K * inverse - a @ _transposed(a))
    P_bar = 2 * G_bar @ P
    sigma2_bar = np.einsum("tnn->", G_bar)
    sigma2_bar -= 0.5 * K * (share[:, 0, 0] @ (n - real)) / sigma2
    m_t = np.broadcast_to(m, (m.shape[0], K)).T
    Phi_bar = (P_bar @ L.T - r_bar @ m_t) * root
    L_bar = _flat(Phi).T @ _flat(P_bar)
    of_head = head.pack(-_flat(Phi).T @ _flat(r_bar), L_bar, 2 * sigma2 * sigma2_bar, 0.0)
    gradient = np.concatenate([pullback(Phi_bar[..., 1:]), of_head])
    return value, gradient.astype(theta.dtype)


def codes(y):
    """Labels 0 or 1 as numbers to be regressed on: of two classes -1 or 1."""
    return 2 * y - 1 if y.shape[-1] == 1 else y
