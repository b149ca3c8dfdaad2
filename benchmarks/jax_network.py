"""A perceptron with ReLU and Adam in JAX, for gradient_peers.py and sinusoid_jax.py."""

import jax
import jax.numpy as jnp


def loss(params, X, y):
    """Half of the mean square; ``params`` is a list of ``(W, b)``."""
    for W, b in params[:-1]:
        X = jax.nn.relu(X @ W + b)
    W, b = params[-1]
    return 0.5 * jnp.mean((X @ W + b - y) ** 2)


def adam_start(params):
    """The state ``params, m, v, t`` before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return params, zeros, zeros, jnp.float32(0)


def adam(state, gradient, rate):
    """The state after one more step."""
    params, m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    rate = rate / (1 - 0.9**t)
    params = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), params, m, v
    )
    return params, m, v, t
