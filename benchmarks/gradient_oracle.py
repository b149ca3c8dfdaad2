"""Meta-gradients by JAX in double precision, as a second oracle for bench_gradient.py.

Losses, networks and inner steps are written a second time, from the equations: task by task, with
the rows of each as they are (no padding), differentiated by JAX as a whole.
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVC

from sklearn_meta.kernels.gradient import Penalty, implicit_meta_gradient, meta_gradient, proximal
from sklearn_meta.kernels.network import Batch
from sklearn_meta.learners import make_learner

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

SIZES = (7, 4, 1, 9)  # of supports; queries have one row more
HIDDEN = (5, 4)


def _huber(r, y, epsilon=1.35):
    z = jnp.abs(r - y)
    return jnp.where(z <= epsilon, z**2 / 2, epsilon * z - epsilon**2 / 2).sum(-1)


def _modified_huber(r, y):
    z = y * r
    return jnp.where(z >= -1, jnp.maximum(0, 1 - z) ** 2, -4 * z).sum(-1)


def _cross_entropy(r, y):
    return -(y * jax.nn.log_softmax(r)).sum(-1)


LOSSES = {
    "squared": lambda r, y: ((r - y) ** 2).sum(-1) / 2,
    "huber": _huber,
    "squared epsilon": lambda r, y: (jnp.maximum(jnp.abs(r - y) - 0.1, 0) ** 2).sum(-1),
    "poisson": lambda r, y: (jnp.exp(r) - y * r).sum(-1),
    "gamma": lambda r, y: (r + y * jnp.exp(-r)).sum(-1),
    "tweedie": lambda r, y: (2 * jnp.exp(r / 2) + 2 * y * jnp.exp(-r / 2)).sum(-1),
    "logistic": lambda r, y: (jax.nn.softplus(r) - y * r).sum(-1),
    "multinomial": _cross_entropy,
    "squared hinge": lambda r, y: (jnp.maximum(0, 1 - y * r) ** 2).sum(-1),
    "modified huber": _modified_huber,
}


def _mlp(activation, kind=MLPRegressor, **options):
    return kind(hidden_layer_sizes=HIDDEN, activation=activation, alpha=0.1, **options)


# name: estimator, loss, kind of target
CASES = {
    "Ridge": (Ridge(), "squared", "number"),
    "HuberRegressor": (HuberRegressor(alpha=0.1), "huber", "number"),
    "SGDRegressor, squared epsilon": (
        SGDRegressor(loss="squared_epsilon_insensitive", alpha=0.1),
        "squared epsilon",
        "number",
    ),
    "PoissonRegressor": (PoissonRegressor(alpha=0.1), "poisson", "positive"),
    "GammaRegressor": (GammaRegressor(alpha=0.1), "gamma", "positive"),
    "TweedieRegressor(1.5)": (TweedieRegressor(power=1.5, alpha=0.1), "tweedie", "positive"),
    "LogisticRegression, 2 classes": (LogisticRegression(), "logistic", 2),
    "LogisticRegression, 3 classes": (LogisticRegression(), "multinomial", 3),
    "LinearSVC": (LinearSVC(), "squared hinge", 2),
    "SGDClassifier, modified Huber": (
        SGDClassifier(loss="modified_huber", alpha=0.1),
        "modified huber",
        3,
    ),
    "MLPRegressor, relu": (_mlp("relu"), "squared", "number"),
    "MLPRegressor, tanh": (_mlp("tanh"), "squared", "number"),
    "MLPRegressor, logistic": (_mlp("logistic"), "squared", "number"),
    "MLPRegressor, Poisson": (_mlp("tanh", loss="poisson"), "poisson", "positive"),
    "MLPClassifier, 2 classes": (_mlp("tanh", MLPClassifier), "logistic", 2),
    "MLPClassifier, 3 classes": (_mlp("relu", MLPClassifier), "multinomial", 3),
}


def _problem(estimator, target, rng):
    """Learner, start, rates, penalty, and the rows of tasks of unequal sizes with weights."""
    X = rng.standard_normal((60, 3))
    if target == "number":
        y = 2 * rng.standard_normal(60)
    else:
        y = rng.gamma(2.0, size=60) if target == "positive" else np.arange(60) % target
    classes = np.unique(y) if isinstance(target, int) else None
    learner, _ = make_learner(estimator, X, y, classes=classes, codes=np.arange(60) % 5)
    n_params = learner.network.n_params
    theta, alpha = 0.5 * rng.standard_normal(n_params), rng.uniform(0.01, 0.05, n_params)
    strength = learner.penalty_strength(np.maximum(np.array(SIZES, dtype=float), 1))
    mask = (~learner.network.intercepts()).astype(float)
    penalty = Penalty(np.broadcast_to(strength, len(SIZES))[:, None], mask)

    def rows(extra):
        tasks = []
        for n in SIZES:
            at = rng.integers(60, size=n + extra)
            weight = rng.uniform(0.1, 1, len(at))
            tasks.append((X[at], learner.encode(y[at]), weight / weight.sum()))
        return tasks

    return learner.network, theta, alpha, penalty, rows(0), rows(1)


def _padded(tasks):
    n_rows = max(len(weight) for _, _, weight in tasks)
    pad = [
        [np.pad(part, [(0, n_rows - len(part))] + [(0, 0)] * (part.ndim - 1)) for part in task]
        for task in tasks
    ]
    return Batch(*map(np.stack, zip(*pad, strict=True)))


class Oracle:
    """The objective of MAML, Meta-SGD and iMAML, in JAX."""

    def __init__(self, network, loss, penalty, support, query, n_steps):
        self.sizes, self.activation = network.sizes, network.activation
        self.loss, self.n_steps = LOSSES[loss], n_steps
        self.mask, self.strength = penalty.mask, penalty.strength[:, 0]
        self.tasks = list(zip(support, query, self.strength, strict=True))

    def mean_loss(self, theta, task):
        X, y, weight = task
        phi = {"relu": jax.nn.relu, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid}
        at, a = 0, X
        for l, (i, o) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            b, W = theta[at : at + o], theta[at + o : at + o + i * o].reshape(i, o)
            at += (1 + i) * o
            a = a @ W + b
            if l < len(self.sizes) - 2:
                a = phi[self.activation](a)
        return (weight * self.loss(a, y)).sum()

    def support_loss(self, now, theta, task, strength):
        return self.mean_loss(now, task) + strength / 2 * (self.mask * (now - theta) ** 2).sum()

    def meta_loss(self, theta, alpha, first_order=False):
        total = 0.0
        for support, query, strength in self.tasks:
            now = theta
            for _ in range(self.n_steps):
                g = jax.grad(self.support_loss)(now, theta, support, strength)
                now = now - alpha * (jax.lax.stop_gradient(g) if first_order else g)
            total = total + self.mean_loss(now, query)
        return total / len(self.tasks)


def _relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def differences(name, n_steps, seed=0):
    """Relative differences of the meta-gradients of this package from those of JAX.

    The guard is off: it would halve steps, which the oracle does not.
    """
    estimator, loss, target = CASES[name]
    network, theta, alpha, penalty, support, query = _problem(
        estimator, target, np.random.default_rng(seed)
    )
    oracle = Oracle(network, loss, penalty, support, query, n_steps)
    settings = dict(penalty=penalty, guard=False)
    arrays = network, theta[None], _padded(support), _padded(query), alpha[None], n_steps
    value, gradient, rates = meta_gradient(*arrays, learn_rates=True, **settings)
    first = meta_gradient(*arrays, second_order=False, **settings)[1]
    expected = jax.value_and_grad(oracle.meta_loss, argnums=(0, 1))(theta, alpha)
    # of FOMAML the gradient at the adapted parameters only: the start of the penalty is constant
    end = jax.grad(lambda t: oracle.meta_loss(t, alpha, first_order=True))(theta)
    return {
        "loss": abs(value / float(expected[0]) - 1),
        "MAML": _relative(gradient, expected[1][0]),
        "Meta-SGD": _relative(rates, expected[1][1]),
        "FOMAML": _relative(first, end),
    }


def implicit_differences(name, strength=2.0, seed=0):
    """The same of iMAML at converged inner steps: of the solutions phi_t, and of the meta-gradient.

    JAX finds solutions of its own, but differentiates at those of this package, with the whole
    Hessian. At a kink of relu the guarded steps come to rest and others go to and fro: there the
    solutions differ.
    """
    estimator, loss, target = CASES[name]
    network, theta, alpha, penalty, support, query = _problem(
        estimator, target, np.random.default_rng(seed)
    )
    n_steps, rate = 3000, np.full_like(theta, 0.05)
    inner = network, theta[None], _padded(support)
    settings = strength, rate[None], n_steps
    found = proximal(*inner, *settings, penalty=penalty)
    cg_steps = 4 * network.n_params
    gradient = implicit_meta_gradient(
        *inner, _padded(query), *settings, penalty=penalty, cg_steps=cg_steps
    )[1]
    oracle, expected, solutions = Oracle(network, loss, penalty, support, query, n_steps), 0.0, []
    for phi, (support_t, query_t, own) in zip(jnp.asarray(found), oracle.tasks, strict=True):

        def objective(now, centre, support_t=support_t, own=own):
            pull = strength / 2 * ((now - centre) ** 2).sum()
            return oracle.support_loss(now, centre, support_t, own) + pull

        def step(_, now, objective=objective):
            return now - rate * jax.grad(objective)(now, theta)

        solutions.append(jax.lax.fori_loop(0, n_steps, step, theta))
        hessian, mixed = jax.hessian(objective), jax.jacobian(jax.grad(objective), argnums=1)
        v = jax.grad(oracle.mean_loss)(phi, query_t)
        solved = jnp.linalg.solve(hessian(phi, theta), v)
        expected = expected - mixed(phi, theta).T @ solved / len(SIZES)
    return {"phi": _relative(found, np.stack(solutions)), "iMAML": _relative(gradient, expected)}
