"""Which sources give episodes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_meta._lessons import LEAST_SHARE, MOST_EPISODES, MOST_REPEATS, _episode_counts
from sklearn_meta._source_groups import whitened, with_labels

KINDS = list(MOST_EPISODES)


def groups_of(labels, n_rows=10):
    """Groups of sources with one slope for each label; those of label 1 are noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((len(labels) * n_rows, 2))
    rows = np.repeat(labels, n_rows)
    y = np.where(rows == 1, 2 * rng.standard_normal(len(X)), X @ [2.0, 1.0])
    offsets = n_rows * np.arange(len(labels) + 1)
    return with_labels(whitened(X, y[:, None], offsets, np.ones(len(X))), np.array(labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_sources", [4, 300])
def test_sources_of_one_group_share_the_episodes(kind, n_sources):
    order = np.random.default_rng(1).permutation(n_sources)
    count = _episode_counts(5, order, groups_of([0] * n_sources), kind)
    most = MOST_EPISODES[kind]
    assert set(count) <= {0, min(-(-most // n_sources), MOST_REPEATS[kind])}
    assert count.sum() <= most + n_sources
    assert_array_equal(np.flatnonzero(count), np.sort(order[:most]))


@pytest.mark.parametrize("kind", KINDS)
def test_strangers_leave_their_episodes_to_the_others(kind):
    labels = np.repeat([0, 1], 200)
    groups = groups_of(labels)
    count = _episode_counts(5, np.arange(400), groups, kind)
    assert count[labels == 1].sum() == np.ceil(LEAST_SHARE * MOST_EPISODES[kind])
    assert count[labels == 0].sum() > 0.9 * MOST_EPISODES[kind]


def test_without_rows_sources_count_as_they_come():
    groups = groups_of(np.repeat([0, 1], 20))
    assert_array_equal(_episode_counts(0, np.arange(40), groups, "closed form"), 1)
