"""What the algorithms of the gradient family share beyond the contract of all."""

import algorithms
import numpy as np
import pytest
from numpy.testing import assert_array_equal

METHODS = ["predict", "predict_proba", "decision_function"]
CASES = [case for case in algorithms.CASES if case.cls in algorithms.GRADIENT]
each_case = pytest.mark.parametrize("make", CASES, ids=str)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@each_case
def test_the_seed_decides_on_the_loss_curve(make):
    again = make().meta_fit(make.table.tasks)
    assert again.loss_curve_ == make.trained().loss_curve_
    assert_array_equal(again.meta_model_.theta, make.trained().meta_model_.theta)


@each_case
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_tiny_supports_and_a_huge_rate(make):
    """The two rows of a classifier's support are of one class."""
    tasks = make.table.tasks
    meta = make(inner_lr=1e6, tasks_per_batch=1000).meta_fit(tasks)
    own = np.flatnonzero(tasks[0].y == tasks[0].y[0])
    for n_rows in (1, 2):
        part = tasks[0].rows(own[:n_rows])
        meta.adapt(part.X, part.y)
        for method in filter(lambda name: hasattr(meta, name), METHODS):
            values = getattr(meta, method)(tasks[1].X)
            assert values.dtype.kind == "U" or np.isfinite(values).all()
