"""Every operation on stacks of matrices against NumPy, matrix by matrix."""

import numpy as np
import pytest

from sklearn_meta.kernels.stacked import SMALL, cholesky, matmul, solve_lower, stack, transpose

SIZES = range(1, 10)
N_TASKS = 7


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_stack(rng, *shape, n_tasks=N_TASKS):
    return stack(rng.standard_normal((n_tasks, *shape)))


def positive_definite(rng, size):
    A = rng.standard_normal((N_TASKS, size, size + 2))
    return stack(A @ np.swapaxes(A, 1, 2))


def test_sizes_are_on_both_sides_of_small():
    assert min(SIZES) < SMALL < max(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_stack_keeps_the_values(rng, size):
    A = rng.standard_normal((N_TASKS, size, 3))
    stacked = stack(A)
    assert stacked.shape == (size, 3, N_TASKS)
    for t in range(N_TASKS):
        np.testing.assert_array_equal(stacked[:, :, t], A[t])


@pytest.mark.parametrize("size", SIZES)
def test_transpose(rng, size):
    A = random_stack(rng, size, 2)
    for t in range(N_TASKS):
        np.testing.assert_array_equal(transpose(A)[:, :, t], A[:, :, t].T)


@pytest.mark.parametrize("inner", [1, 3, 8])
@pytest.mark.parametrize("size", SIZES)
def test_matmul(rng, size, inner):
    A, B = random_stack(rng, size, inner), random_stack(rng, inner, 2)
    AB = matmul(A, B)
    assert AB.shape == (size, 2, N_TASKS)
    for t in range(N_TASKS):
        np.testing.assert_allclose(AB[:, :, t], A[:, :, t] @ B[:, :, t], atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
def test_matmul_by_one_matrix_for_all(rng, size):
    A, M = random_stack(rng, size, size), rng.standard_normal((size, size))
    left, right = matmul(M, A), matmul(A, M)
    for t in range(N_TASKS):
        np.testing.assert_allclose(left[:, :, t], M @ A[:, :, t], atol=1e-13)
        np.testing.assert_allclose(right[:, :, t], A[:, :, t] @ M, atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
def test_cholesky(rng, size):
    A = positive_definite(rng, size)
    L = cholesky(A)
    for t in range(N_TASKS):
        np.testing.assert_allclose(L[:, :, t], np.linalg.cholesky(A[:, :, t]), atol=1e-12)


@pytest.mark.parametrize("n_columns", [1, 4])
@pytest.mark.parametrize("size", SIZES)
def test_solve_lower(rng, size, n_columns):
    L, B = cholesky(positive_definite(rng, size)), random_stack(rng, size, n_columns)
    X = solve_lower(L, B)
    for t in range(N_TASKS):
        expected = np.linalg.solve(L[:, :, t], B[:, :, t])
        np.testing.assert_allclose(X[:, :, t], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [2, SMALL, SMALL + 1])
def test_inputs_are_not_changed(rng, size):
    A, B = positive_definite(rng, size), random_stack(rng, size, 2)
    before = A.copy(), B.copy()
    solve_lower(cholesky(A), matmul(A, B))
    np.testing.assert_array_equal(A, before[0])
    np.testing.assert_array_equal(B, before[1])


@pytest.mark.parametrize("size", [2, SMALL + 1])
def test_no_tasks(rng, size):
    A = random_stack(rng, size, size, n_tasks=0)
    for result in (matmul(A, A), cholesky(A), solve_lower(A, A)):
        assert result.shape == (size, size, 0)
