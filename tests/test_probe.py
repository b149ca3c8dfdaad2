"""How many episodes choices are judged on."""

from dataclasses import dataclass

import numpy as np
import pytest

from sklearn_meta.base.probe import MAX_QUERY, MAX_REPEATS, N_EPISODES, draw_probe


@dataclass(frozen=True)
class Recorder:
    """Instead of episodes, the tasks that were drawn and the numbers of rows."""

    n_shots: tuple = (0, 0)
    n_query: object = None

    def draw(self, tasks, rng):
        return tasks, self.n_shots, self.n_query


@pytest.mark.parametrize(
    ("n_tasks", "most", "expected"),
    [
        (5, N_EPISODES, 5 * MAX_REPEATS),
        (30, N_EPISODES, N_EPISODES),
        (700, N_EPISODES, N_EPISODES),
        (700, 1000, 700),
        (2000, 1000, 1000),
    ],
)
def test_tasks_are_drawn_as_equally_as_they_can(n_tasks, most, expected):
    tasks = np.arange(10, 10 + n_tasks)
    drawn, shots, _ = draw_probe(Recorder(), tasks, 3, np.random.default_rng(0), most)
    assert shots == (3, 3)
    assert len(drawn) == expected
    count = np.bincount(drawn - 10, minlength=n_tasks)
    assert count.max() - count.min() <= 1


@pytest.mark.parametrize(("asked", "drawn"), [(None, MAX_QUERY), (7, 7), (5000, MAX_QUERY)])
def test_no_episode_is_judged_by_many_rows(asked, drawn):
    sampler = Recorder(n_query=asked)
    assert draw_probe(sampler, np.arange(9), 3, np.random.default_rng(0))[2] == drawn
