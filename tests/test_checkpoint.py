"""Long meta-training that is saved as it goes on: the same bits as without a stop."""

import os

import joblib
import pytest
from numpy.testing import assert_array_equal
from sklearn.neural_network import MLPRegressor

from sklearn_meta import MAML, MetaSGD, Reptile
from sklearn_meta.datasets import make_linear_tasks

TASKS = make_linear_tasks(n_tasks=30, n_features=2, random_state=0)
NEW = make_linear_tasks(n_tasks=1, n_features=2, random_state=1)[0]


def train(make, path, n_iter, stop=None):
    """The recipe of the user guide; a process that ends after ``stop`` parts."""
    model = joblib.load(path) if path.exists() else make()
    n_parts = 0
    while getattr(model, "n_iter_", 0) < n_iter and n_parts != stop:
        model.meta_fit(TASKS)
        joblib.dump(model, f"{path}.new")
        os.replace(f"{path}.new", path)
        n_parts += 1
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: MAML(max_iter=10, outer_schedule="constant", warm_start=True, random_state=0),
        lambda: MetaSGD(max_iter=10, outer_solver="sgd", warm_start=True, random_state=0),
        lambda: Reptile(
            MLPRegressor(hidden_layer_sizes=(4,)),
            max_iter=10,
            init="random",
            warm_start=True,
            random_state=0,
        ),
    ],
    ids=["MAML", "MetaSGD", "Reptile"],
)
def test_training_goes_on_where_it_was_stopped(make, tmp_path):
    whole = train(make, tmp_path / "whole", 40)
    train(make, tmp_path / "parts", 40, stop=1)
    train(make, tmp_path / "parts", 40, stop=2)
    parts = train(make, tmp_path / "parts", 40)
    assert whole.n_iter_ == parts.n_iter_ == 40
    assert_array_equal(parts.meta_model_.theta, whole.meta_model_.theta)
    assert_array_equal(parts.loss_curve_, whole.loss_curve_)
    predicted = [m.adapt(NEW.X[:5], NEW.y[:5]).predict(NEW.X) for m in (parts, whole)]
    assert_array_equal(*predicted)
    assert len(set(whole.loss_curve_)) == 40  # every part has episodes of its own
