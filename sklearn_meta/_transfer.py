r"""The mathematics of transfer to one target, on arrays.

*Refit.* On the concatenation of source rows and n support rows, where the level of the target may
differ from that of the sources, a linear model of squared loss moves by the minimiser of

    sum_i (r_i - b - z_i' d)² + kappa b² + m d' S d,

``r`` its residuals on the support, ``z`` the centred rows, ``S`` their covariance in the sources, m
the weight of a source row times their number. Its leave-one-out residuals are exact,
``(r_i - b - z_i' d) / (1 - h_i)``.

*Offset.* Raw predictions ``f`` of any model are shifted by the minimiser of

    sum_i loss(f_i + b, y_i) + kappa / 2 |b|².

*Stack.* Weights ``v >= 0, sum v = 1`` of candidates minimise the loss of ``sum_s v_s f_s`` on
predictions of rows that the candidates have not seen, shrunk to known weights ``v0``.
"""

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import softmax

__all__ = [
    "deal_folds",
    "least_mixture",
    "loss_stack",
    "moved",
    "shifted",
    "squared_stack",
]


def moved(X, r, weight, centre, whiten, kappa, m):
    """Moves of a linear model to a support, for several strengths; see the module.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    r : ndarray of shape (n_rows,)
        Residuals of the model.
    weight : ndarray of shape (n_rows,)
        Positive.
    centre : ndarray of shape (n_features,)
    whiten : ndarray of shape (n_features, rank)
        ``(x - centre) @ whiten`` has the covariance I in the sources.
    kappa, m : ndarray of shape (n_candidates,)

    Returns
    -------
    step : ndarray of shape (n_candidates, n_features + 1)
        To be added to the coefficients, intercept first.
    left_out : ndarray of shape (n_candidates, n_rows)
        Residual of every row after a move to the others.
    """
    if len(X) == 0:
        return np.zeros((len(kappa), X.shape[1] + 1)), np.zeros((len(kappa), 0))
    root = np.sqrt(weight)
    A, s, Vt = np.linalg.svd(((X - centre) @ whiten) * root[:, None], full_matrices=False)
    D = np.column_stack([root, A * s])
    penalty = np.column_stack([kappa, np.repeat(m[:, None], len(s), axis=1)])
    inverse = np.linalg.inv(D.T @ D + penalty[:, :, None] * np.eye(D.shape[1]))
    beta = inverse @ (D.T @ (root * r))
    h = np.einsum("ni,sij,nj->sn", D, inverse, D)
    left_out = (r - (beta @ D.T) / root) / np.maximum(1 - h, 1e-12)
    slopes = beta[:, 1:] @ (whiten @ Vt.T).T
    return np.column_stack([beta[:, 0] - slopes @ centre, slopes]), left_out


def shifted(f, Y, weight, kappa, loss, n_iter=40):
    """Shrunken offsets of raw predictions, by steps of a quadratic bound of the loss.

    Parameters
    ----------
    f : ndarray of shape (..., n_rows, n_outputs)
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (..., n_rows)
        0 for rows that are not seen.
    kappa : ndarray of shape (..., 1)
        In rows.
    loss : TransferLoss

    Returns
    -------
    ndarray of shape (..., n_outputs)
    """
    shape = np.broadcast_shapes(f.shape[:-2], weight.shape[:-1], kappa.shape[:-1])
    b = np.zeros((*shape, Y.shape[-1]))
    prior = kappa * loss.unit
    for _ in range(1 if loss.quadratic else n_iter):
        raw = f + b[..., None, :]
        w = weight[..., None]
        gradient = np.sum(w * loss.gradient(raw, Y), axis=-2) + prior * b
        bound = np.sum(w * loss.bound(raw, Y), axis=-2) + prior
        step = np.clip(gradient / np.maximum(bound, 1e-300), -loss.most, loss.most)
        b = b - step
        if np.abs(step).max() < 1e-6:
            break
    return b


def deal_folds(y, n_folds):
    """A fold for every row: each class, or each range of a number, is dealt to all folds."""
    fold = np.empty(len(y), dtype=np.intp)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % max(1, min(n_folds, len(y)))
    return fold


def squared_stack(F, y, v0, factor, strength):
    """Weights of candidates under squared loss.

    Parameters
    ----------
    F : ndarray of shape (n_rows, n_candidates)
        Predictions of rows that the candidates have not seen.
    y : ndarray of shape (n_rows,)
    v0 : ndarray of shape (n_candidates,)
    factor : ndarray of shape (n_factors, n_candidates)
        ``|factor @ (v - v0)|²`` is the mean squared change of a prediction.
    strength : float
        How many rows ``v0`` counts for.
    """
    A = np.vstack([F - y[:, None], np.sqrt(strength) * (factor - (factor @ v0)[:, None])])
    return least_mixture(A)


def least_mixture(A, block=None):
    """The ``v >= 0`` of least ``|A v|``, by non-negative least squares.

    Parameters
    ----------
    A : ndarray of shape (n_rows, n_candidates)
    block : ndarray of int of shape (n_candidates,), default=None
        The weights of every block sum to 1. None: there is one.
    """
    block = np.zeros(A.shape[1], dtype=np.intp) if block is None else block
    own = (block == np.arange(block[-1] + 1)[:, None]).astype(float)
    scale = max(np.sqrt(np.mean(A**2)), 1e-300)
    sum_is_1 = 1e3 * np.sqrt(len(A))
    b = np.append(np.zeros(len(A)), np.full(len(own), sum_is_1))
    v, _ = nnls(np.vstack([A / scale, sum_is_1 * own]), b, maxiter=100 * A.shape[1])
    return v / (own @ v)[block]


def loss_stack(F, Y, weight, loss, v0, strength, block=None):
    """Weights of candidates under any loss: ``v = softmax(u)``, u shrunk to ``log v0``.

    Parameters
    ----------
    F : ndarray of shape (n_candidates, n_rows, n_outputs)
        Raw predictions of rows that the candidates have not seen.
    Y : ndarray of shape (n_rows, n_outputs)
    weight : ndarray of shape (n_rows,)
    loss : TransferLoss
    v0 : ndarray of shape (n_candidates,)
    strength : float or ndarray of shape (n_candidates,)
        In rows of unit loss.
    block : ndarray of int of shape (n_candidates,), default=None
        The weights of every block sum to 1. None: there is one.
    """
    if len(Y) == 0:
        return v0
    start = np.log(np.maximum(v0, 1e-6))
    block = np.zeros(len(v0), dtype=np.intp) if block is None else block
    blocks = [np.flatnonzero(block == k) for k in range(block[-1] + 1)]

    def weights(u):
        return np.concatenate([softmax(u[own]) for own in blocks])

    def objective(u):
        v, away = weights(u), u - start
        raw = np.tensordot(v, F, axes=1)
        value = weight @ loss.value(raw, Y) / loss.scale + 0.5 * np.sum(strength * away**2)
        slope = np.tensordot(F, weight[:, None] * loss.gradient(raw, Y), axes=2) / loss.scale
        mean = np.array([v[own] @ slope[own] for own in blocks])
        return value, v * (slope - mean[block]) + strength * away

    return weights(minimize(objective, start, jac=True, method="L-BFGS-B").x)
