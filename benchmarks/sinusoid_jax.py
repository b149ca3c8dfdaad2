"""MAML, FOMAML and Meta-SGD on sinusoids in JAX: what ratios of their errors the protocol gives.

    python benchmarks/sinusoid_jax.py
    python benchmarks/sinusoid_jax.py --seeds 3 --schedule linear
    python benchmarks/sinusoid_jax.py --start-rate 0.1

The protocol is that of `bench_gradient.py sinusoid`, without the guard against rising losses. Mean
squared error after adaptation to 10 rows, on 100 points of each of 4,000 fresh tasks, at the end
and every 5,000 iterations from 25,000 on. Meta-SGD starts with the rate of the protocol,
unless `--start-rate` gives another.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
import numpy as np
import sinusoid
from jax_network import adam, adam_start, loss

N_TEST, N_POINTS, TEST_SEED = 4000, 100, 99
PART = 1000  # iterations in one compiled loop


def query_loss(model, second_order, X, y):
    """The loss of the other rows after one step on the first ones."""
    params, rates = model
    at = sinusoid.N_SHOTS
    gradient = jax.grad(loss)(params, X[:at], y[:at])
    if not second_order:
        gradient = jax.lax.stop_gradient(gradient)
    adapted = jax.tree.map(lambda p, g, a: p - a * g, params, gradient, rates)
    return loss(adapted, X[at:], y[at:])


def train(method, seed, n_iterations, schedule, start_rate):
    """Errors during training."""
    rng, test = np.random.default_rng(seed), np.random.default_rng(TEST_SEED)
    params = []
    for i, o in zip(sinusoid.WIDTHS[:-1], sinusoid.WIDTHS[1:], strict=True):
        bound = np.sqrt(6 / (i + o))
        params.append((jnp.asarray(rng.uniform(-bound, bound, (i, o)), jnp.float32), jnp.zeros(o)))
    second_order, learn_rates = method != "FOMAML", method == "Meta-SGD"
    rate = start_rate if learn_rates else sinusoid.INNER_LR
    rates = jax.tree.map(lambda p: jnp.full_like(p, rate), params)

    def meta_loss(model, X, y):
        params, rates = model
        model = params, rates if learn_rates else jax.lax.stop_gradient(rates)
        return jax.vmap(lambda X, y: query_loss(model, second_order, X, y))(X, y).mean()

    def step(state, batch):
        X, y, rate = batch
        return adam(state, jax.grad(meta_loss)(state[0], X, y), rate), None

    many = jax.jit(lambda state, batches: jax.lax.scan(step, state, batches)[0])
    error = jax.jit(lambda model, X, y: 2 * meta_loss(model, X, y))
    held_out = sinusoid.draw(N_TEST, sinusoid.N_SHOTS + N_POINTS, test)
    state, found = adam_start((params, rates)), []
    n_rows = sinusoid.N_SHOTS + sinusoid.N_QUERY
    for done in range(0, n_iterations, PART):
        drawn = sinusoid.draw(PART * sinusoid.N_TASKS, n_rows, rng)
        X, y = (part.reshape(PART, sinusoid.N_TASKS, n_rows, 1) for part in drawn)
        left = 1 - np.arange(done, done + PART) / n_iterations
        rate = sinusoid.OUTER_LR * (left if schedule == "linear" else np.ones(PART))
        state = many(state, (X, y, jnp.asarray(rate, jnp.float32)))
        done += PART
        if done == n_iterations or (done >= 25_000 and done % 5000 == 0):
            found.append(float(error(state[0], *held_out)))
    return np.array(found)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=60_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--schedule", choices=["constant", "linear"], default="constant")
    parser.add_argument("--start-rate", type=float, default=sinusoid.INNER_LR)
    args = parser.parse_args()
    for seed in range(args.seeds):
        found = {}
        for method in ("MAML", "FOMAML", "Meta-SGD"):
            found[method] = train(method, seed, args.iterations, args.schedule, args.start_rate)
            ratio = found[method][-1] / found["MAML"][-1]
            errors = " ".join(f"{e:.3f}" for e in found[method])
            print(f"seed {seed} {method:9} {errors}   / MAML {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
