"""Products and factors of many small matrices at once, the task axis last.

A stack of T matrices is an array ``(i, j, T)``. For the small matrices of most mixed models each
operation is then a few vector operations over all tasks; larger ones (:data:`SMALL`) are kept in
memory with the task axis first, and BLAS and LAPACK take them one by one. :func:`stack` chooses.
"""

import math

import numpy as np

__all__ = [
    "CELLS",
    "cholesky",
    "in_cache",
    "log_det",
    "matmul",
    "matvec",
    "plus_identity",
    "solve_lower",
    "solve_positive",
    "solve_upper",
    "stack",
    "sum_of_products",
    "transpose",
    "zeros",
]

SMALL = 6
SUBSTITUTED = 12  # to here triangular matrices are inverted row by row, all tasks at once
CELLS = 2**17  # numbers that are worked on at a time, so that they stay in the cache


def stack(A):
    """Lay a stack ``(T, i, j)`` out as ``(i, j, T)``, in memory as is best for its size."""
    if max(A.shape[1:]) <= SMALL:
        return np.ascontiguousarray(_last(A))
    return _last(np.ascontiguousarray(A))


def _first(A):
    """With the task axis first; ``np.moveaxis`` takes longer than small products do."""
    return A.transpose(2, 0, 1)


def _last(A):
    return A.transpose(1, 2, 0)


def zeros(n, n_tasks):
    """A stack of square matrices in the same layout."""
    return _last(np.zeros((n_tasks, n, n))) if n > SMALL else np.zeros((n, n, n_tasks))


def in_cache(A):
    """Slices of the tasks of a stack of which each fits into the cache."""
    step = max(1, CELLS // max(1, A[..., 0].size))
    return [slice(a, a + step) for a in range(0, A.shape[-1], step)]


def transpose(A):
    """Transpose every matrix."""
    return np.swapaxes(A, 0, 1)


def matmul(A, B):
    """``A_t B_t`` for every task; a matrix ``(i, j)`` stands for the same one in every task."""
    if max(*A.shape[:2], *B.shape[:2]) <= SMALL:
        a, b = "ij" + "t" * (A.ndim - 2), "jk" + "t" * (B.ndim - 2)
        return np.einsum(f"{a},{b}->ikt", A, B)
    a = _first(A) if A.ndim == 3 else A
    if B.ndim == 2:  # one large product
        rows = a.reshape(math.prod(a.shape[:-1]), len(B))
        return _last((rows @ B).reshape(*a.shape[:-1], B.shape[1]))
    return _last(np.matmul(a, _first(B)))


def matvec(A, x):
    """``A_t x_t`` for every task, x of shape (j, T)."""
    return matmul(A, x[:, None])[:, 0]


def sum_of_products(A, B):
    """sum_t ``A_t'B_t``."""
    if max(*A.shape[:2], *B.shape[:2]) <= SMALL:
        a, b = (transpose(X).reshape(X.shape[1], len(X) * X.shape[2]) for X in (A, B))
        return a @ b.T
    a, b = (_first(X).reshape(len(X) * X.shape[2], X.shape[1]) for X in (A, B))
    return a.T @ b


def plus_identity(A):
    """``I + A_t``, in the place of A."""
    A[np.diag_indices(len(A))] += 1.0
    return A


def log_det(L):
    """``log|L_t L_t'|`` of triangular matrices, shape (T,)."""
    return 2 * np.log(L[np.diag_indices(len(L))]).sum(axis=0)


def cholesky(A, least=0.0):
    """Lower factors ``L_t`` with ``L_t L_t' = A_t``.

    ``least`` is a bound that the squared pivots keep but for rounding: 1 for ``A = I + B`` with a
    semidefinite B.
    """
    if len(A) > SMALL:
        try:
            return _last(np.linalg.cholesky(_first(A)))
        except np.linalg.LinAlgError:
            if not least:
                raise
    L = np.zeros_like(A)
    for j in range(len(A)):
        column = A[j:, j] - np.einsum("ikt,kt->it", L[j:, :j], L[j, :j])
        column[0] = np.maximum(column[0], least)
        L[j:, j] = column / np.sqrt(column[0])
    return L


def solve_lower(L, B):
    """``L_t^{-1} B_t`` for lower triangular ``L_t``."""
    if len(L) > SMALL:
        return matmul(_last(_inverse(_first(L))), B)
    X = np.empty_like(B)
    for i in range(len(L)):
        X[i] = (B[i] - np.einsum("kt,kjt->jt", L[i, :i], X[:i])) / L[i, i]
    return X


def solve_upper(L, b):
    """``L_t'^{-1} b_t`` for lower triangular ``L_t``, b of shape (n, T)."""
    if len(L) > SMALL:
        return np.linalg.solve(_first(transpose(L)), b.T[..., None])[..., 0].T
    x = np.empty_like(b)
    for i in range(len(L) - 1, -1, -1):
        x[i] = (b[i] - np.einsum("kt,kt->t", L[i + 1 :, i], x[i + 1 :])) / L[i, i]
    return x


def solve_positive(A, b):
    """``A_t^{-1} b_t`` for ``A = I + B`` with a semidefinite B, b of shape (n, T)."""
    if len(A) > SMALL:
        try:
            return np.linalg.solve(_first(A), b.T[..., None])[..., 0].T
        except np.linalg.LinAlgError:  # singular by rounding
            pass
    L = cholesky(A, least=1.0)
    return solve_upper(L, solve_lower(L, b[:, None])[:, 0])


def _inverse(L):
    """The inverses of lower triangular matrices, shape (n_tasks, n, n), by halves."""
    if L.shape[-1] <= SUBSTITUTED:
        L = np.ascontiguousarray(_last(L))
        inverse = np.zeros_like(L)
        for i, row in enumerate(L):
            inverse[i, i] = 1 / row[i]
            inverse[i, :i] = -inverse[i, i] * np.einsum("kt,kjt->jt", row[:i], inverse[:i, :i])
        return _first(inverse)
    h = L.shape[-1] // 2
    inverse = np.zeros_like(L)
    inverse[:, :h, :h], inverse[:, h:, h:] = _inverse(L[:, :h, :h]), _inverse(L[:, h:, h:])
    inverse[:, h:, :h] = -inverse[:, h:, h:] @ (L[:, h:, :h] @ inverse[:, :h, :h])
    return inverse
