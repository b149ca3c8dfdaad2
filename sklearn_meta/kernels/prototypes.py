r"""Prototypical networks on arrays: the loss of embeddings by the class means of the support.

    c_k = sum_{i of class k} w_i z_i / n_k,    log p(k | z) = s_k(z) - log sum_l exp s_l(z),
    s_k(z) = z'c_k - c_k'c_k / 2               (-|z - c_k|² / 2, up to what all classes share)

for embeddings z = phi(x) of a body (``body.py``). With ``G = w (p - y)`` of the query rows, the
gradients are ``G C`` in their embeddings, ``D = G'Z - diag(1'G) C`` in the means, and ``w_i D_k /
n_k`` in the embedding of a support row. Classes without support rows, and query rows of these, are
left out.

References
----------
Snell, Swersky, Zemel (2017), Prototypical networks for few-shot learning, NeurIPS.
"""

import numpy as np

__all__ = ["prototype_loss"]


def prototype_loss(body, theta, support, query):
    """Mean query loss and its gradient, shape (body.n_params,).

    Targets are one-hot; of two classes, whether it is the second.
    """
    n_tasks, n_support = support.X.shape[:2]
    phi, pullback = body.forward(theta, np.concatenate([support.X, query.X], axis=1))
    Zs, Zq = phi[:, :n_support], phi[:, n_support:]
    Ys, Y = (_one_hot(batch.y) for batch in (support, query))
    share = Ys * support.weight[..., None]
    n = share.sum(axis=1, keepdims=True)
    there = n > 0
    share = np.divide(share, n, out=np.zeros_like(share), where=there)
    C = np.swapaxes(share, 1, 2) @ Zs
    s = Zq @ np.swapaxes(C, 1, 2) - 0.5 * np.einsum("tkh,tkh->tk", C, C)[:, None]
    weight = query.weight * (Y * there).sum(axis=2)
    s = np.where(there, s, -np.inf)
    s -= np.where(there.any(axis=2, keepdims=True), s.max(axis=2, keepdims=True), 0)
    p = np.exp(s)
    total = p.sum(axis=2, keepdims=True)
    total[total == 0] = 1
    log_p = np.where(Y * there > 0, s, 0).sum(axis=2) - np.log(total[..., 0])
    value = -float(np.sum(weight * log_p)) / n_tasks
    G = (p / total - Y * there) * (weight / n_tasks)[..., None]
    D = np.swapaxes(G, 1, 2) @ Zq - G.sum(axis=1)[..., None] * C
    return value, pullback(np.concatenate([share @ D, G @ C], axis=1))


def _one_hot(y):
    return np.concatenate([1 - y, y], axis=2) if y.shape[2] == 1 else y
