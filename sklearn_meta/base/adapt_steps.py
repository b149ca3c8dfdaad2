r"""How many inner steps an adaptation takes: early stopping, learned from the meta-train tasks.

Few steps from theta are a strong pull towards it, many a weak one, so the best number depends on
how many rows a task has. For n = 1, 2, 5, ... rows it is the one of least mean query loss,

    K(n) = argmin over STEPS of mean_t q_t(theta_K),

on episodes with n support rows of those meta-train tasks that have more.

References
----------
Santos (1996), Equivalence of regularization and truncated iteration for general ill-posed problems,
Linear Algebra and its Applications 236.
"""

from dataclasses import replace

import numpy as np

from ..kernels.gradient import inner_steps
from .probe import N_EPISODES, draw_probe, mean_loss

__all__ = ["choose_steps", "steps_for", "training_steps"]

STEPS = (0, 1, 3, 10, 30, 100, 300)
LEVELS = (1, 2, 5, 10, 20, 50)  # numbers of support rows (of each class, in N-way tasks)
MAX_EPISODES = 1000  # of a number of rows
MORE_STEPS = 10  # times those of training, that many episodes shall still allow
MIN_TASKS = 10  # that tell something about a number of rows
PATIENCE = 2  # after so many numbers of steps that are no better, more are not tried


def training_steps(network):
    """Steps in training: 30 of linear models and heads, 10 of perceptrons, where they cost more."""
    return 30 if network.linear else 10


def choose_steps(learner, theta, alpha, sampler, tasks, n_trained, n_steps, rng):
    """The best number of steps for several numbers of rows, judged on some tasks of a sampler.

    Training took ``n_trained`` adaptations of ``n_steps`` each: those of a level cost no more.
    Returns numbers of rows, increasing, and of steps, as columns; None if the tasks are too few or
    too small, or training was too short to be worth a choice.
    """
    if n_trained < N_EPISODES:
        return None
    most_episodes = min(MAX_EPISODES, n_trained // MORE_STEPS)
    n_way = sampler.codes is not None  # then a class keeps half of its rows for the query
    sampler = replace(sampler, keep_query=n_way)
    best = {}
    for shots in LEVELS:
        large = tasks if n_way else tasks[sampler.table.sizes[tasks] > shots]
        if len(large) < MIN_TASKS:
            break
        support, query, n_rows = draw_probe(sampler, large, shots, rng, most_episodes)
        most = n_trained * n_steps // len(n_rows)
        losses = _losses(learner, theta, alpha, support, query, learner.penalty(n_rows), most)
        best[round(n_rows.mean())] = _argmin(losses)
    return np.array(sorted(best.items())) if best else None


def _losses(learner, theta, alpha, support, query, penalty, most):
    """Mean query losses after each of STEPS."""
    W, before = theta, 0
    for k in [k for k in STEPS if k <= most]:
        settings = {"penalty": penalty, "centre": theta, "keep": False}
        W = inner_steps(learner.network, W, support, alpha, k - before, **settings).end
        before = k
        yield mean_loss(learner.network, W, query)


def _argmin(losses):
    """The number of steps of least loss, as far as it is worth looking."""
    least, found = np.inf, 0
    for i, loss in enumerate(losses):
        if loss < least:
            least, found = loss, i
        elif i - found >= PATIENCE:
            break
    return STEPS[found]


def steps_for(steps, n_rows):
    """Steps of every task: those of the number of rows that is nearest on a logarithmic scale.

    A single number is that of all tasks.
    """
    if np.ndim(steps) == 0:
        return np.full(len(n_rows), steps)
    levels = steps[:, 0].astype(float)
    return steps[np.searchsorted(np.sqrt(levels[:-1] * levels[1:]), n_rows), 1]
