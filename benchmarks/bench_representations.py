"""Learned representations with closed-form heads, and prototypes: errors, accuracies, time.

    python benchmarks/bench_representations.py            (all of the following)
    python benchmarks/bench_representations.py sinusoid   (a minute and a half)
    python benchmarks/bench_representations.py digits     (half an hour)
    python benchmarks/bench_representations.py speed      (with JAX, where it is installed)

Protocols:

sinusoid. Finn, Abbeel, Levine (2017), as in `bench_gradient.py`: 1,000 training curves of 20 points
    (fixed, not drawn anew), 600 fresh curves to judge by, 100 points of each after adaptation to 5.
    Mean squared error and half its 95 % interval; seconds of the processor.
digits. The 1,797 digits of scikit-learn in pixels from 0 to 1, 5 ways. Ten splits of the ten digits
    into five for training (200 tasks of 20 rows a class) and five that training never sees, 60
    episodes of each: 600 in all, the same for every method. K shots, the rows beyond the fifth of a
    class are asked for. Accuracy, half its 95 % interval over episodes, and the mean differences to
    NearestCentroid and MAML with their own, paired by episode.
speed. One meta-gradient and step of Adam on 25 sinusoid tasks, 10 + 10 rows, perceptron 1-40-40-1
    (RidgeHead: the body 1-40-40), float32, one thread; medians of seconds of the processor, methods
    take turns.
"""

import argparse
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
import sinusoid
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import NearestCentroid

from sklearn_meta import MAML, PrototypeClassifier, RidgeHead
from sklearn_meta.datasets import make_digits_tasks, make_sinusoid_tasks
from sklearn_meta.kernels.body import Body
from sklearn_meta.kernels.gradient import meta_gradient
from sklearn_meta.kernels.losses import Squared
from sklearn_meta.kernels.network import Batch, Network
from sklearn_meta.kernels.optimizers import adam
from sklearn_meta.kernels.ridge_head import Head, query_loss


class RandomFeatures(TransformerMixin, BaseEstimator):
    """80 random tanh features."""

    def fit(self, X, y=None):
        rng = np.random.default_rng(0)
        self.W_, self.b_ = rng.standard_normal((X.shape[1], 80)), rng.uniform(-5, 5, 80)
        return self

    def transform(self, X):
        return np.tanh(X @ self.W_ + self.b_)


def interval(values):
    values = np.asarray(values)
    return values.mean(), 1.96 * values.std(ddof=1) / np.sqrt(len(values))


def sinusoids(args):
    """Errors of RidgeHead after adaptation to five points."""
    train = make_sinusoid_tasks(1000, 20, random_state=0)
    new = make_sinusoid_tasks(600, 105, random_state=1)
    settings = dict(standardize=False, random_state=0)
    models = {
        "80 random tanh features": RidgeHead(LinearRegression(), body=RandomFeatures(), **settings)
    }
    for n in (300, 1000, 3000):
        models[f"body 40-40, {n} iterations"] = RidgeHead(max_iter=n, random_state=0)
    for name, model in models.items():
        start = time.process_time()
        model.meta_fit(train)
        took = time.process_time() - start
        errors = []
        for task in new:
            model.adapt(task.X[:5], task.y[:5])
            errors.append(np.mean((model.predict(task.X[5:]) - task.y[5:]) ** 2))
        mean, half = interval(errors)
        print(f"{name:32} {mean:.1e} ± {half:.0e}, largest {max(errors):.0e}, {took:.1f} s")


def digits(args):
    """Accuracies on classes that training has not seen, on the same episodes."""
    warnings.filterwarnings("ignore", module="sklearn.neighbors")
    kw = dict(classes="per_task", random_state=0)
    pixels = dict(standardize=False, **kw)
    rbf = Nystroem(n_components=200, random_state=0)
    trained = {
        "PrototypeClassifier": PrototypeClassifier(**kw),
        "  over Nystroem(200)": PrototypeClassifier(body=rbf, **kw),
        "RidgeHead over Nystroem(200)": RidgeHead(LogisticRegression(), body=rbf, **pixels),
        "MAML(LogisticRegression())": MAML(
            LogisticRegression(), max_iter=args.iterations, **pixels
        ),
    }
    single = {"NearestCentroid": NearestCentroid(), "LDA": LinearDiscriminantAnalysis()}
    single["LDA, shrinkage 'auto'"] = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    right = {(name, k): [] for name in (*single, *trained) for k in (1, 5)}
    rng = np.random.default_rng(0)
    for split in range(args.splits):
        order = rng.permutation(10)
        train = make_digits_tasks(200, 5, 20, classes=order[:5], random_state=split)
        new = make_digits_tasks(60, 5, 20, classes=order[5:], random_state=100 + split)
        for model in trained.values():
            model.meta_fit(train)
        for task in new:
            place = np.arange(100) % 20
            X, y = task.X[place >= 5], task.y[place >= 5]
            for k in (1, 5):
                support = task.X[place < k], task.y[place < k]
                for name, model in trained.items():
                    right[name, k].append(np.mean(model.adapt(*support).predict(X) == y))
                for name, model in single.items():
                    try:
                        predicted = model.fit(*support).predict(X)
                    except ValueError:  # a row a class is not enough for it
                        predicted = NearestCentroid().fit(*support).predict(X)
                    right[name, k].append(np.mean(predicted == y))
    for k in (1, 5):
        print(f"\n{k} shot{'s' if k > 1 else ''}")
        peers = [np.array(right[name, k]) for name in ("NearestCentroid", list(trained)[-1])]
        for name in (*single, *trained):
            own = np.array(right[name, k])
            mean, half = interval(own)
            more = "   ".join("{:+.4f} ± {:.4f}".format(*interval(own - peer)) for peer in peers)
            print(f"{name:32} {mean:.4f} ± {half:.4f}   {more}", flush=True)


def speed(args):
    """Time of a meta-iteration."""
    rng = np.random.default_rng(0)
    network = Network(sinusoid.WIDTHS, Squared(), "relu")
    body, head = Body(network), Head(40, 1)
    x = rng.standard_normal(network.n_params).astype(np.float32) / 6
    z = np.concatenate([x[: body.n_params], head.start(0.15, np.float32)])
    X, y = sinusoid.draw(25, 20, rng)
    weight = np.full((25, 10), 0.1, np.float32)
    support, query = Batch(X[:, :10], y[:, :10], weight), Batch(X[:, 10:], y[:, 10:], weight)
    alpha, n_rows = np.full((1, len(x)), 0.02, np.float32), np.full(25, 10.0)
    optimizer = adam()
    states = {"MAML, 1 step": optimizer.init(x), "RidgeHead": optimizer.init(z)}

    def maml():
        _, gradient, _ = meta_gradient(network, x[None], support, query, alpha, 1)
        states["MAML, 1 step"] = optimizer.update(x, gradient, states["MAML, 1 step"], 1e-3)[1]

    def ridge():
        _, gradient = query_loss(body, head, z, support, query, n_rows)
        states["RidgeHead"] = optimizer.update(z, gradient, states["RidgeHead"], 1e-3)[1]

    steps = {"MAML, 1 step": maml, "RidgeHead": ridge}
    try:
        steps["RidgeHead, JAX"] = jax_step(body, head, z, support, query)
    except ImportError as error:
        print(f"not compared with JAX: {error}")
    took = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            for _ in range(20):
                start = time.process_time()
                step()
                took[name].append(time.process_time() - start)
    base = np.median(took["MAML, 1 step"])
    for name, seconds in took.items():
        print(f"{name:20}{1e3 * np.median(seconds):8.3f} ms{np.median(seconds) / base:8.2f}")


def jax_step(body, head, z, support, query):
    """The same loss in JAX, jitted; its gradient must be that of this package."""
    import jax
    import jax.numpy as jnp

    (b1, W1), (b2, W2) = (
        pair for pair in Network((1, 40, 40), None).layers(z[None, : body.n_params])
    )
    m, L, log_sigma, _ = head.unpack(z)
    params = [jnp.asarray(p) for p in (b1[0], W1[0], b2[0], W2[0], m, L, log_sigma)]

    def task_loss(params, Xs, ys, Xq, yq):
        b1, W1, b2, W2, m, L, log_sigma = params

        def features(X):
            a = jax.nn.relu(jax.nn.relu(X @ W1 + b1) @ W2 + b2)
            return jnp.concatenate([jnp.ones((len(X), 1)), a], axis=1)

        P, Q, s2 = features(Xs) @ L, features(Xq) @ L, jnp.exp(2 * log_sigma)
        factor = jax.scipy.linalg.cho_factor(P @ P.T + s2 * jnp.eye(len(P)), lower=True)
        C = Q @ P.T
        mean = features(Xq) @ m + C @ jax.scipy.linalg.cho_solve(factor, ys - features(Xs) @ m)
        U = jax.scipy.linalg.cho_solve(factor, C.T)
        v = jnp.sum(Q * Q, axis=1) - jnp.sum(C * U.T, axis=1) + s2
        return 0.5 * jnp.mean((yq - mean)[:, 0] ** 2 / v + jnp.log(2 * jnp.pi * v))

    def loss(params, *data):
        return jax.vmap(lambda *rows: task_loss(params, *rows))(*data).mean()

    gradient = jax.jit(jax.grad(loss))
    data = [jnp.asarray(part) for part in (support.X, support.y, query.X, query.y)]
    found = gradient(params, *data)
    flat = np.concatenate([np.ravel(g) for g in found])
    _, ours = query_loss(body, head, z, support, query, np.full(25, 10.0))
    apart = np.linalg.norm(flat - ours[:-1]) / np.linalg.norm(ours)
    print(f"gradients differ by {apart:.0e} (float32)")
    state = (params, [(0 * p, 0 * p) for p in params])

    @jax.jit
    def step(state):
        params, moments = state
        new = []
        for p, g, (a, b) in zip(params, jax.grad(loss)(params, *data), moments, strict=True):
            a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g * g
            new.append((p - 1e-3 * a / (jnp.sqrt(b) + 1e-8), (a, b)))
        return [p for p, _ in new], [ab for _, ab in new]

    return lambda: jax.block_until_ready(step(state))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", help="all of them, if none is given")
    part = commands.add_parser("sinusoid", help=sinusoids.__doc__)
    part.set_defaults(run=sinusoids)
    part = commands.add_parser("digits", help=digits.__doc__)
    part.add_argument("--iterations", type=int, default=500, help="of MAML")
    part.add_argument("--splits", type=int, default=10)
    part.set_defaults(run=digits)
    part = commands.add_parser("speed", help=speed.__doc__)
    part.add_argument("--rounds", type=int, default=50)
    part.set_defaults(run=speed)
    args = parser.parse_args()
    for command in [args.command] if args.command else list(commands.choices):
        run = args if args.command else parser.parse_args([command])
        run.run(run)


if __name__ == "__main__":
    main()
