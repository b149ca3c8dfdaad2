"""A sample of episodes of the meta-train tasks, on which choices are judged."""

from dataclasses import replace

import numpy as np

__all__ = ["N_EPISODES", "draw_probe", "mean_loss"]

N_EPISODES = 200
MAX_REPEATS = 20  # most episodes of one task
MAX_QUERY = 100  # rows that judge an episode: one large task does not make all of them large


def draw_probe(sampler, tasks, n_shots, rng, most=N_EPISODES):
    """About 200 episodes with the same number of shots, or one of each of more tasks, up to most.

    They are given as by :meth:`EpisodeSampler.draw`.
    """
    n_repeats = min(-(-N_EPISODES // len(tasks)), MAX_REPEATS)
    drawn = np.concatenate([rng.permutation(tasks) for _ in range(n_repeats)])
    n_episodes = max(N_EPISODES, min(len(tasks), most))
    n_query = MAX_QUERY if sampler.n_query is None else min(sampler.n_query, MAX_QUERY)
    sampler = replace(sampler, n_shots=(n_shots, n_shots), n_query=n_query)
    return sampler.draw(drawn[:n_episodes], rng)


def mean_loss(network, theta, batch):
    """Mean loss of some tasks; infinite if it is not a number."""
    with np.errstate(over="ignore", invalid="ignore"):
        loss = float(network.value(theta, batch).mean())
    return loss if np.isfinite(loss) else np.inf
