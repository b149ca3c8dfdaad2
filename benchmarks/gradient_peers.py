"""One meta-iteration of MAML in other libraries, for bench_gradient.py.

Each function takes the parameters of a multi-layer perceptron with ReLU, a list of ``(W, b)``, the
settings, and episodes, and returns a function that does one meta-iteration (the next episode, the
meta-gradient, Adam) and returns its loss. Losses are halves of mean squares. A library that is not
installed raises ImportError.
"""

import itertools

import numpy as np


def jax_step(layers, episodes, n_steps, second_order, inner_lr, outer_lr, guard=False):
    """JAX: the whole meta-iteration, Adam included, is one compiled function.

    With ``guard``, steps that raise the loss are halved, as in this package.
    """
    import jax
    import jax.numpy as jnp
    from jax_network import adam, adam_start, loss

    def share(own, gradient, x, y):
        own, gradient = jax.lax.stop_gradient((own, gradient))
        most = loss(own, x, y)
        most = most + 4 * jnp.finfo(most.dtype).eps * jnp.abs(most)

        def rises(share):
            trial = jax.tree.map(lambda p, g: p - share * inner_lr * g, own, gradient)
            return (share > 2.0**-41) & ~(loss(trial, x, y) <= most)

        return jax.lax.while_loop(rises, lambda share: 0.5 * share, 1.0)

    def task_loss(params, x, y, x_query, y_query):
        own = params
        for _ in range(n_steps):
            gradient = jax.grad(loss)(own, x, y)
            if not second_order:
                gradient = jax.lax.stop_gradient(gradient)
            rate = inner_lr * share(own, gradient, x, y) if guard else inner_lr
            own = jax.tree.map(lambda p, g, rate=rate: p - rate * g, own, gradient)
        return loss(own, x_query, y_query)

    def meta_loss(params, *episode):
        return jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *episode).mean()

    @jax.jit
    def update(state, *episode):
        value, gradient = jax.value_and_grad(meta_loss)(state[0], *episode)
        return adam(state, gradient, outer_lr), value

    state = adam_start(jax.tree.map(jnp.asarray, layers))
    episodes = itertools.cycle([tuple(map(jnp.asarray, episode)) for episode in episodes])

    def step():
        nonlocal state
        state, value = update(state, *next(episodes))
        jax.block_until_ready((state, value))
        return value

    return step


def torch_func_step(layers, episodes, n_steps, second_order, inner_lr, outer_lr):
    """PyTorch: ``torch.func`` differentiates, ``vmap`` runs all tasks at once."""
    import torch
    from torch.func import grad, vmap

    torch.set_num_threads(1)

    def predict(params, x):
        for W, b in zip(params[:-2:2], params[1:-2:2], strict=True):
            x = torch.relu(x @ W + b)
        return x @ params[-2] + params[-1]

    def loss(params, x, y):
        return 0.5 * ((predict(params, x) - y) ** 2).mean()

    def task_loss(params, x, y, x_query, y_query):
        own = params
        for _ in range(n_steps):
            gradient = grad(loss)(own, x, y)
            if not second_order:
                gradient = [g.detach() for g in gradient]
            own = [p - inner_lr * g for p, g in zip(own, gradient, strict=True)]
        value = loss(own, x_query, y_query)
        return value, value

    meta_gradients = vmap(grad(task_loss, has_aux=True), in_dims=(None, 0, 0, 0, 0))
    params = [torch.tensor(part, requires_grad=True) for layer in layers for part in layer]
    optimizer = torch.optim.Adam(params, lr=outer_lr)
    episodes = itertools.cycle([tuple(map(torch.tensor, episode)) for episode in episodes])

    def step():
        gradients, values = meta_gradients([p.detach() for p in params], *next(episodes))
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.mean(dim=0)
        optimizer.step()
        return values.mean()

    return step


def learn2learn_step(layers, episodes, n_steps, second_order, inner_lr, outer_lr):
    """learn2learn's MAML: a clone per task, tasks in a loop."""
    import torch
    from learn2learn.algorithms import MAML
    from torch import nn

    torch.set_num_threads(1)
    modules = []
    for W, b in layers:
        linear = nn.Linear(*W.shape)
        linear.weight.data, linear.bias.data = torch.tensor(W.T.copy()), torch.tensor(b)
        modules += [linear, nn.ReLU()]
    maml = MAML(nn.Sequential(*modules[:-1]), lr=inner_lr, first_order=not second_order)
    optimizer = torch.optim.Adam(maml.parameters(), lr=outer_lr)
    mean_square = nn.MSELoss()
    episodes = itertools.cycle([tuple(map(torch.tensor, episode)) for episode in episodes])

    def step():
        optimizer.zero_grad()
        total = 0.0
        tasks = list(zip(*next(episodes), strict=True))
        for x, y, x_query, y_query in tasks:
            own = maml.clone()
            for _ in range(n_steps):
                own.adapt(0.5 * mean_square(own(x), y))
            total = total + 0.5 * mean_square(own(x_query), y_query)
        total = total / len(tasks)
        total.backward()
        optimizer.step()
        return total.detach()

    return step


def guarded_jax_step(*settings):
    return jax_step(*settings, guard=True)


PEERS = {
    "jax": jax_step,
    "jax, guarded": guarded_jax_step,
    "torch.func": torch_func_step,
    "learn2learn": learn2learn_step,
}


def available():
    """The peers that are installed."""
    found = {}
    for name, peer in PEERS.items():
        layers = [(np.zeros((1, 1), np.float32), np.zeros(1, np.float32))]
        try:
            peer(layers, [], 1, False, 0.1, 0.1)
        except ImportError:
            continue
        found[name] = peer
    return found
