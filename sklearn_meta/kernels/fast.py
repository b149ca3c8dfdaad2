r"""The meta-gradients of ``gradient.py``, compiled by numba: task by task, in the cache.

For each task, with the symbols of ``gradient.py`` and ``network.py``, from theta_0 = theta on:

    [1, a_l] = [1, phi([1, a_{l-1}] [b_l; W_l])],    delta_{l-1} = (delta_l W_l') * phi'(z_{l-1})
    g_k = [1, a_{l-1}]' delta_l + lambda (theta_k - theta),    theta_{k+1} = theta_k - alpha * g_k

and back from ``v = grad q(theta_K)`` by ``v <- v - (H_k + lambda)(alpha * v)``, with the R{.} of
``network.py``. Tasks are summed in their order, and what is computed for one depends on no other.
NumPy makes dozens of calls for a step, each of which passes over the numbers of all tasks.

Losses are those with the derivative ``mean(r) - y``. The forward pass leaves the mean where the raw
predictions r were, and nothing else is needed of them:

    squared, logistic, multinomial:    mean = r,    1 / (1 + exp(-r)),    exp(r) / sum exp(r)
                        loss'' u = u,    mean (1 - mean) u,    mean * (u - sum(mean * u))

All numbers are in one array x; a matrix is where it begins (a, b, c) and what lies between its rows
(lda, ldb, ldc). Parameters are one matrix ``[b; W]`` after the other, a *block* has ``[1, a_l]`` of
every hidden layer and the means, or likewise their deltas. Zeros fill up matrices to whole tiles of
ROWS x LANES; they may be written to, and are never summed over. Indices are unsigned (``U``): where
they might count from the end, loops do not become vector instructions.
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .losses import Logistic, Multinomial, Squared

__all__ = ["ends", "meta_gradient", "takes"]

if config.DISABLE_JIT:
    raise ImportError("numba is told not to compile")

ACTIVATIONS = {"identity": 0, "relu": 1, "tanh": 2, "logistic": 3}
LOSSES = {Squared: 0, Logistic: 1, Multinomial: 2}
ROWS, LANES = 6, 8  # of a product that is held in registers
U = np.uintp
# no literals, for each of which numba would compile another version of a function
NEW, ADD, FIRST, SECOND, ONE = np.False_, np.True_, np.intp(0), np.intp(1), np.intp(1)

# Where things are. Of a layer: [b; W] in parameters, W' if transposed, [1, a_{l-1}], z_l in blocks.
LAYER = np.dtype([(name, np.intp) for name in "n_in n_out W ldw T ldt a lda z ldz".split()])
Point = namedtuple("Point", "theta a delta")  # parameters, block of activations, block of deltas
Rows = namedtuple("Rows", "inputs row column y weight offset n")  # inputs have their own strides
KIND, LENGTHS = "activation loss intercept", "n_params n_block n_transposed n_rows"
HOW = "n_steps second_order learn_rates guard max_halvings"
Settings = namedtuple("Settings", f"{KIND} {LENGTHS} {HOW}")

options = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def takes(network, penalty):
    """Whether this file computes for a network and a penalty."""
    return (
        type(network.loss) in LOSSES
        and network.activation in ACTIVATIONS
        and (penalty is None or penalty.strength.shape[1] == 1)
    )


# -- products --------------------------------------------------------------------------------------


def _vectors(context, builder, signature, x, lanes):
    """How vectors of the array are loaded and stored, and numbers loaded into all lanes."""
    data = context.make_array(signature.args[0])(context, builder, x).data
    number = context.get_data_type(signature.args[0].dtype)
    vector = ir.VectorType(number, lanes)
    align = context.get_abi_sizeof(number)

    def place(kind, start, stride, k):
        k = start.type(k) if isinstance(k, int) else k
        at = builder.add(start, builder.mul(stride, k))
        return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

    def load(*where):
        return builder.load(place(vector, *where), align=align)

    def store(value, *where):
        builder.store(value, place(vector, *where), align=align)

    def repeated(*where):
        one = builder.load(place(number, *where), align=align)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), one, ir.IntType(32)(0))
        return builder.shuffle_vector(one, one, _indices([0] * lanes))

    return load, store, repeated, ir.Constant(vector, [0.0] * lanes)


def _indices(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _tile(lanes):
    """``C = A B``, or ``C += A B``, where registers hold C: of ROWS rows and so many columns."""

    @intrinsic
    def tile(typing, x, c, ldc, a, row, column, b, ldb, n, add):
        def generate(context, builder, signature, args):
            x, c, ldc, a, row, column, b, ldb, n, add = args
            load, store, repeated, zero = _vectors(context, builder, signature, x, lanes)
            exact = {"flags": ("contract",)}
            sums = [builder.select(add, load(c, ldc, r), zero) for r in range(ROWS)]
            sums = [cgutils.alloca_once_value(builder, s) for s in sums]
            starts = [builder.add(a, builder.mul(row, row.type(r))) for r in range(ROWS)]
            with cgutils.for_range(builder, n) as loop:
                B = load(b, ldb, loop.index)
                for s, start in zip(sums, starts, strict=True):
                    AB = builder.fmul(repeated(start, column, loop.index), B, **exact)
                    builder.store(builder.fadd(builder.load(s), AB, **exact), s)
            for r, s in enumerate(sums):
                store(builder.load(s), c, ldc, r)
            return context.get_dummy_value()

        return types.void(x, *[types.intp] * 8, types.boolean), generate

    return tile


@intrinsic
def _turn(typing, x, to, ldt, a, lda):
    """Transpose LANES x LANES numbers: swap halves, quarters and eighths of pairs of rows."""

    def generate(context, builder, signature, args):
        x, to, ldt, a, lda = args
        load, store, _, _ = _vectors(context, builder, signature, x, LANES)
        rows = [load(a, lda, i) for i in range(LANES)]
        for s in (1, 2, 4):
            low = _indices([LANES + j - s if j & s else j for j in range(LANES)])
            high = _indices([LANES + j if j & s else j + s for j in range(LANES)])
            for i in [i for i in range(LANES) if not i & s]:
                pair = rows[i], rows[i + s]
                rows[i] = builder.shuffle_vector(*pair, low)
                rows[i + s] = builder.shuffle_vector(*pair, high)
        for i, row in enumerate(rows):
            store(row, to, ldt, i)
        return context.get_dummy_value()

    return types.void(x, *[types.intp] * 4), generate


_narrow, _broad = _tile(LANES), _tile(2 * LANES)


@compiled
def _column(x, c, ldc, a, row, column, b, ldb, m, n, add):
    """A product with a single column; loops run along what is contiguous."""
    zero = x.dtype.type(0)
    for i in range(0 if add else m):
        x[U(c + i * ldc)] = zero
    if column == 1:
        for i in range(m):
            total = zero
            for j in range(n):
                total += x[U(a + i * row + j)] * x[U(b + j * ldb)]
            x[U(c + i * ldc)] += total
    else:
        for j in range(n):
            factor = x[U(b + j * ldb)]
            for i in range(m):
                x[U(c + i * ldc)] += x[U(a + i + j * column)] * factor


@compiled
def _product(x, c, ldc, a, row, column, b, ldb, m, n, k, add):
    """``C = A B``, or ``C += A B``, A of shape (m, n), B of shape (n, k)."""
    if k == 1:
        _column(x, c, ldc, a, row, column, b, ldb, m, n, add)
        return
    for i in range(0, m, ROWS):
        c_i, a_i = c + i * ldc, a + i * row
        for j in range(0, k - LANES, 2 * LANES):
            _broad(x, c_i + j, ldc, a_i, row, column, b + j, ldb, n, add)
        if (k - 1) // LANES % 2 == 0:
            j = (k - 1) // LANES * LANES
            _narrow(x, c_i + j, ldc, a_i, row, column, b + j, ldb, n, add)


@compiled
def _transposed(x, layers, theta, to):
    """``W_l'`` of all layers but the first."""
    for l in range(1, len(layers)):
        layer = layers[l]
        W, T = theta + layer.W + layer.ldw, to + layer.T
        for i in range(0, layer.n_in, LANES):
            for j in range(0, layer.n_out, LANES):
                _turn(x, T + j * layer.ldt + i, layer.ldt, W + i * layer.ldw + j, layer.ldw)


# -- activations and losses ------------------------------------------------------------------------


@compiled
def _activate(x, z, n, activation):
    one, zero = x.dtype.type(1), x.dtype.type(0)
    if activation == 1:
        for j in range(n):
            x[U(z + j)] = max(x[U(z + j)], zero)
    elif activation == 2:
        for j in range(n):
            x[U(z + j)] = np.tanh(x[U(z + j)])
    elif activation == 3:
        for j in range(n):
            x[U(z + j)] = one / (one + np.exp(-x[U(z + j)]))


@compiled
def _times_slope(x, z, a, n, activation):
    """``z <- z * phi'``, as a function of a = phi."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    if activation == 1:
        for j in range(n):
            x[U(z + j)] *= one if x[U(a + j)] > zero else zero
    elif activation == 2:
        for j in range(n):
            x[U(z + j)] *= one - x[U(a + j)] * x[U(a + j)]
    elif activation == 3:
        for j in range(n):
            x[U(z + j)] *= x[U(a + j)] * (one - x[U(a + j)])


@compiled
def _mean_loss(x, r, layer, rows, loss):
    """The mean loss of raw predictions, which become means."""
    one, zero, half = x.dtype.type(1), x.dtype.type(0), x.dtype.type(0.5)
    value = zero
    for i in range(rows.n):
        at, y_i, offset = r + i * layer.ldz, rows.y + i * layer.ldz, rows.offset + i * layer.ldz
        total, top, norm = zero, x.dtype.type(-np.inf), zero
        for j in range(layer.n_out):
            x[U(at + j)] += x[U(offset + j)]
            z, y = x[U(at + j)], x[U(y_i + j)]
            if loss == 0:
                total += half * (z - y) * (z - y)
                continue
            total -= y * z
            top = max(top, z)
            if loss == 1:
                e = np.exp(-abs(z))
                total += max(z, zero) + np.log1p(e)
                x[U(at + j)] = (one if z >= zero else e) / (one + e)
        if loss == 2:
            for j in range(layer.n_out):
                x[U(at + j)] = np.exp(x[U(at + j)] - top)
                norm += x[U(at + j)]
            for j in range(layer.n_out):
                x[U(at + j)] /= norm
            total += np.log(norm) + top
        value += total * x[U(rows.weight + i)]
    return value


@compiled
def _times_curvature(x, u, mean, layer, rows, loss):
    """``u <- w * loss'' u``."""
    one = x.dtype.type(1)
    for i in range(rows.n):
        u_i, mean_i, w, sum_ = u + i * layer.ldz, mean + i * layer.ldz, rows.weight + i, one - one
        for j in range(layer.n_out):
            sum_ += x[U(mean_i + j)] * x[U(u_i + j)]
        for j in range(layer.n_out):
            mu = x[U(mean_i + j)]
            if loss == 1:
                x[U(u_i + j)] *= mu * (one - mu)
            elif loss == 2:
                x[U(u_i + j)] = mu * (x[U(u_i + j)] - sum_)
            x[U(u_i + j)] *= x[U(w)]


# -- forward, backward, derivatives ----------------------------------------------------------------


@compiled
def _through(x, layers, l, rows, a, theta, z, add):
    """``[1, a_{l-1}] [b_l; W_l]``, added or not."""
    layer = layers[l]
    a, row, column = (a + layer.a, layer.lda, 1) if l else (rows.inputs, rows.row, rows.column)
    b, n, k = theta + layer.W, 1 + layer.n_in, layer.n_out
    _product(x, z, layer.ldz, a, row, column, b, layer.ldw, rows.n, n, k, add)


@compiled
def _back(x, layers, l, rows, to, delta, T, add):
    """``delta_l W_l'``, added or not."""
    layer, c = layers[l], to + layers[l - 1].z
    a, b, n, k = delta + layer.z, T + layer.T, layer.n_out, layer.n_in
    _product(x, c, layer.lda, a, layer.ldz, ONE, b, layer.ldt, rows.n, n, k, add)


@compiled
def _outer(x, layers, s, rows, first, a, delta, to, add):
    """``[1, a_{l-1}]' delta_l`` of every layer, or of all but the first, added or not."""
    for l in range(first, len(layers)):
        layer = layers[l]
        a_l, row, column = (
            (a + layer.a, layer.lda, 1) if l else (rows.inputs, rows.row, rows.column)
        )
        W, d, m, k = to + layer.W, delta + layer.z, 1 + layer.n_in, layer.n_out
        _product(x, W, layer.ldw, a_l, column, row, d, layer.ldz, m, rows.n, k, add)
        for j in range(0 if s.intercept else k):
            x[U(W + j)] = 0


@compiled
def _forward(x, layers, s, rows, point):
    """``[1, a_l]`` of every layer, means for the last; the mean loss."""
    last = len(layers) - 1
    for l in range(last + 1):
        z, ldz = point.a + layers[l].z, layers[l].ldz
        _through(x, layers, l, rows, point.a, point.theta, z, NEW)
        for i in range(rows.n if l < last else 0):
            _activate(x, z + i * ldz, layers[l].n_out, s.activation)
    return _mean_loss(x, point.a + layers[last].z, layers[last], rows, s.loss)


@compiled
def _backward(x, layers, s, rows, point, T):
    """``delta_l`` of every layer; T has room for the transposed parameters."""
    last = layers[len(layers) - 1]
    for i in range(rows.n):
        for j in range(last.n_out):
            at = i * last.ldz + j
            slope = x[U(point.a + last.z + at)] - x[U(rows.y + at)]
            x[U(point.delta + last.z + at)] = slope * x[U(rows.weight + i)]
    _transposed(x, layers, point.theta, T)
    for l in range(len(layers) - 1, 0, -1):
        z = layers[l - 1].z
        _back(x, layers, l, rows, point.delta, point.delta, T, NEW)
        _times_slope(x, point.delta + z, point.a + z, rows.n * layers[l].lda, s.activation)


@compiled
def _add_hessian_product(x, layers, s, rows, point, v, T, to, R):
    """Add ``H v``; R has room for three blocks, T for two lots of transposed parameters."""
    last, two = len(layers) - 1, x.dtype.type(2)
    Ra, Rdelta, bend, V = R, R + s.n_block, R + 2 * s.n_block, T + s.n_transposed
    for l in range(last + 1):
        z, n = layers[l].z, rows.n * layers[l].ldz
        _through(x, layers, l, rows, point.a, v, Ra + z, NEW)
        if l:
            _through(x, layers, l, rows, Ra, point.theta, Ra + z, ADD)
        if l < last and s.activation > 1:
            # (delta_l W_l') * phi'' is delta_{l-1} phi'' / phi', and that is 1 - 2a or - 2a
            shift = x.dtype.type(s.activation - 2)
            for j in range(z, z + n):
                second = shift - two * x[U(point.a + j)]
                x[U(bend + j)] = second * x[U(Ra + j)] * x[U(point.delta + j)]
        if l < last:
            _times_slope(x, Ra + z, point.a + z, n, s.activation)
    z, n = layers[last].z, rows.n * layers[last].ldz
    for j in range(z, z + n):
        x[U(Rdelta + j)] = x[U(Ra + j)]
    _times_curvature(x, Rdelta + z, point.a + z, layers[last], rows, s.loss)
    _transposed(x, layers, point.theta, T)
    _transposed(x, layers, v, V)
    for l in range(last, 0, -1):
        z, n = layers[l - 1].z, rows.n * layers[l].lda
        _back(x, layers, l, rows, Rdelta, Rdelta, T, NEW)
        _back(x, layers, l, rows, Rdelta, point.delta, V, ADD)
        _times_slope(x, Rdelta + z, point.a + z, n, s.activation)
        for j in range(z, z + n if s.activation > 1 else z):
            x[U(Rdelta + j)] += x[U(bend + j)]
    _outer(x, layers, s, rows, FIRST, point.a, Rdelta, to, ADD)
    _outer(x, layers, s, rows, SECOND, Ra, point.delta, to, ADD)


# -- tasks -----------------------------------------------------------------------------------------


@compiled
def _loaded(x, layers, s, at, X, y, weight, offset):
    """Copy the rows of a task, up to the last that counts."""
    n = len(X)
    while n and weight[n - 1] == 0:
        n -= 1
    ld, ldz = layers[0].lda, layers[len(layers) - 1].ldz
    y_at = at + s.n_rows * ld
    weight_at, offset_at = y_at + s.n_rows * ldz, y_at + s.n_rows * (ldz + 1)
    row, column = ld, 1
    if len(layers) == 1 and y.shape[1] == 1 and n > ld:  # only _column takes them this way
        row, column = 1, s.n_rows
    for i in range(n):
        x[U(at + i * row)] = 1
        for j in range(X.shape[1]):
            x[U(at + i * row + (1 + j) * column)] = X[i, j]
        for j in range(y.shape[1]):
            x[U(y_at + i * ldz + j)] = y[i, j]
            x[U(offset_at + i * ldz + j)] = offset[i, j]
        x[U(weight_at + i)] = weight[i]
    return Rows(at, row, column, y_at, weight_at, offset_at, n)


@compiled
def _copied(x, layers, at, flat, back):
    """Copy parameters into the array, or back."""
    p = 0
    for l in range(len(layers)):
        layer = layers[l]
        for i in range(1 + layer.n_in):
            q = at + layer.W + i * layer.ldw
            for j in range(layer.n_out):
                if back:
                    flat[U(p + j)] = x[U(q + j)]
                else:
                    x[U(q + j)] = flat[U(p + j)]
            p += layer.n_out


@compiled
def _penalty(x, s, theta, centre, mask, strength):
    total = x.dtype.type(0)
    for j in range(s.n_params if strength else 0):
        distance = x[U(theta + j)] - x[U(centre + j)]
        total += x[U(mask + j)] * distance * distance
    return x.dtype.type(0.5) * strength * total


@compiled
def _stay_where_not_finite(x, g, n):
    """A gradient that is not finite becomes 0."""
    zero = x.dtype.type(0)
    total = zero
    for j in range(n):
        total += zero * x[U(g + j)]  # NaN where it is not
    for j in range(0 if total == zero else n):
        x[U(g + j)] = zero


@compiled
def _point(s, k):
    at = k * (s.n_params + 2 * s.n_block)
    return Point(at, at + s.n_params, at + s.n_params + s.n_block)


@compiled
def _adapted(x, layers, s, rows, T, steps, share, alpha, mask, centre, strength):
    """Inner steps from point 0; where they end. Points take turns where there are too few."""
    one, n = x.dtype.type(1), len(share)
    tiny, old = x.dtype.type(4 * np.finfo(x.dtype).eps), one
    if s.n_steps:
        old = _forward(x, layers, s, rows, _point(s, 0))
        old += _penalty(x, s, _point(s, 0).theta, centre, mask, strength)
    for k in range(s.n_steps):
        point, to = _point(s, k % n), _point(s, (k + 1) % n)
        g = steps + (k * s.n_params if s.learn_rates else 0)
        _backward(x, layers, s, rows, point, T)
        _outer(x, layers, s, rows, FIRST, point.a, point.delta, g, NEW)
        for j in range(s.n_params if strength else 0):
            pull = strength * x[U(mask + j)]
            x[U(g + j)] += pull * (x[U(point.theta + j)] - x[U(centre + j)])
        if s.guard:
            _stay_where_not_finite(x, g, s.n_params)
        rate = one
        for halvings in range(s.max_halvings + 2):
            for j in range(s.n_params):
                step = rate * x[U(alpha + j)] * x[U(g + j)]
                x[U(to.theta + j)] = x[U(point.theta + j)] - step
            if not s.guard and k == s.n_steps - 1:
                break
            new = _forward(x, layers, s, rows, to)
            new += _penalty(x, s, to.theta, centre, mask, strength)
            if not s.guard or new <= old or new - old <= tiny * abs(old):
                break
            rate *= x.dtype.type(0.5 if halvings < s.max_halvings else 0)
        share[k % n], old = rate, new
    return _point(s, s.n_steps % n)


@njit(nogil=True, cache=True, **options)
def _sums(layers, s, support, query, starts, theta, alpha, mask, strength, ends):
    """Sums over tasks; or, where there is room for them, the ends of the inner steps."""
    exact = s.n_steps > 0 and (s.second_order or s.learn_rates) and len(ends) == 0
    n_points, p = s.n_steps + 1 if exact else 2, s.n_params
    n_steps = s.n_steps if s.learn_rates else 1
    n_inputs = s.n_rows * (layers[0].lda + 2 * layers[len(layers) - 1].ldz + 1)
    centre = n_points * (s.n_params + 2 * s.n_block)
    alphas, masks, u, v = centre + p, centre + 2 * p, centre + 3 * p, centre + 4 * p
    gradient, rates, g = centre + 5 * p, centre + 6 * p, centre + 7 * p
    T = g + n_steps * s.n_params
    R = T + 2 * s.n_transposed
    inputs = R + 3 * s.n_block
    x = np.zeros(inputs + 2 * n_inputs, theta.dtype)
    _copied(x, layers, centre, theta, False)
    _copied(x, layers, alphas, alpha, False)
    _copied(x, layers, masks, mask, False)
    for k in range(n_points):
        for l in range(len(layers) - 1):
            for i in range(s.n_rows):
                x[U(_point(s, k).a + layers[l].z - 1 + i * layers[l].ldz)] = 1
    share, value = np.ones(n_points, theta.dtype), 0.0
    for t in range(len(strength)):
        X, y, weight, offset = support
        rows = _loaded(x, layers, s, inputs, X[t], y[t], weight[t], offset[t])
        for j in range(s.n_params):
            x[U(j)] = x[U(centre + j)]
        if len(starts):
            _copied(x, layers, _point(s, 0).theta, starts[t], False)
        end = _adapted(x, layers, s, rows, T, g, share, alphas, masks, centre, strength[t])
        if len(ends):
            _copied(x, layers, end.theta, ends[t], True)
            continue
        X, y, weight, offset = query
        queries = _loaded(x, layers, s, inputs + n_inputs, X[t], y[t], weight[t], offset[t])
        value += _forward(x, layers, s, queries, end)
        _backward(x, layers, s, queries, end, T)
        to = v if exact else gradient
        _outer(x, layers, s, queries, FIRST, end.a, end.delta, to, not exact)
        for k in range(s.n_steps - 1 if exact else -1, -1, -1):
            rate = share[k]
            for j in range(s.n_params if s.learn_rates else 0):
                x[U(rates + j)] -= rate * x[U(g + k * s.n_params + j)] * x[U(v + j)]
            if s.second_order:
                for j in range(s.n_params):
                    x[U(u + j)] = -rate * x[U(alphas + j)] * x[U(v + j)]
                _add_hessian_product(x, layers, s, rows, _point(s, k), u, T, v, R)
                for j in range(s.n_params if k and strength[t] else 0):
                    pull = strength[t] * x[U(masks + j)] * x[U(u + j)]
                    x[U(v + j)] += pull
                    x[U(gradient + j)] -= pull
        for j in range(s.n_params if exact else 0):
            x[U(gradient + j)] += x[U(v + j)]
    _copied(x, layers, gradient, theta, True)
    _copied(x, layers, rates, alpha, True)
    return value


# -- from and to NumPy -----------------------------------------------------------------------------


def _up(n, k):
    return -(-n // k) * k


def _room(n):
    """Room for a one and n numbers, in products and in what they are transposed from."""
    return max(_up(1 + n, ROWS), 1 + _up(n, LANES))


@lru_cache
def _layout(sizes, n_rows):
    """Layers, and the lengths of parameters, blocks and transposed parameters."""
    layers, W, T, z, a, lda = [], 0, 0, 1, 0, _room(sizes[0])
    for l, (i, o) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        ldw, ldt = _up(o, LANES) if o > 1 else 1, _up(i, LANES)
        ldz = _room(o) if l < len(sizes) - 2 else ldw
        layers.append((i, o, W, ldw, T, ldt, a, lda, z, ldz))
        W, T = W + _room(i) * ldw, T + _up(o, LANES) * ldt
        a, lda, z = z - 1, ldz, z + n_rows * ldz
    return np.array(layers, LAYER).view(np.recarray), W, z, T


def _call(network, support, query, starts, centre, alpha, penalty, ends, *how):
    """Call the compiled function; value and gradients are sums over tasks."""
    dtype = centre.dtype

    def array(values):
        return np.require(values, dtype, "CAW")  # as it was compiled for

    def parts(batch):
        offset = np.zeros_like(batch.y) if batch.offset is None else batch.offset
        return tuple(map(array, (batch.X, batch.y, batch.weight, offset)))

    strength, mask = np.zeros(len(support.X), dtype), np.zeros(network.n_params, dtype)
    if penalty is not None:
        strength, mask = array(penalty.strength[:, 0]), array(penalty.mask)
    n_rows = _up(max(support.X.shape[1], query.X.shape[1]), ROWS)
    layers, *lengths = _layout(tuple(network.sizes), n_rows)
    kind = ACTIVATIONS[network.activation], LOSSES[type(network.loss)], bool(network.intercept)
    settings = Settings(*kind, *lengths, n_rows, *how)
    gradient = np.array(centre[0])
    rates = np.full(network.n_params, alpha[0], dtype)
    batches = parts(support), parts(query)
    value = _sums(layers, settings, *batches, starts, gradient, rates, mask, strength, ends)
    return value, gradient, rates


def ends(network, theta, support, alpha, n_steps, penalty, centre, guard, max_halvings):
    """Where inner steps end, shape (n_tasks, n_params), see ``gradient.inner_steps``."""
    found = np.empty((len(support.X), network.n_params), theta.dtype)
    starts = np.array(np.broadcast_to(theta, found.shape))
    how = n_steps, False, False, guard, max_halvings
    _call(network, support, support, starts, centre, alpha, penalty, found, *how)
    return found


def meta_gradient(
    network, theta, support, query, alpha, n_steps, penalty, second_order, learn_rates, guard,
    max_halvings,
):  # fmt: skip
    """Mean query loss, its gradient and that in the rates, see ``gradient.meta_gradient``."""
    none = np.empty((0, network.n_params), theta.dtype)
    how = n_steps, second_order, learn_rates, guard, max_halvings
    sums = _call(network, support, query, none, theta, alpha, penalty, none, *how)
    return tuple(total / len(query.X) for total in sums)
