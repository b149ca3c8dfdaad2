"""The meta-loss display shows the course of training that the estimator recorded."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from sklearn_meta import MAML, MetaLossDisplay, Pooled, Reptile
from sklearn_meta.datasets import make_linear_tasks


@pytest.fixture(scope="module")
def tasks():
    return make_linear_tasks(n_tasks=30, n_rows=8, random_state=0)


def test_curves_are_those_of_the_estimator(plt, tasks):
    model = MAML(max_iter=60, tasks_per_batch=9, early_stopping=True, random_state=0)
    model.meta_fit(tasks)
    display = MetaLossDisplay.from_estimator(model)
    assert list(display.lines_) == ["loss", "running_mean", "validation_loss"]
    assert_allclose(display.lines_["loss"].get_ydata(), model.loss_curve_)
    assert_allclose(display.lines_["loss"].get_xdata(), np.arange(1, model.n_iter_ + 1))
    held_out = display.lines_["validation_loss"]
    assert_allclose(held_out.get_ydata(), model.validation_loss_curve_)
    assert_allclose(held_out.get_xdata()[-1], model.n_iter_)
    assert display.ax_.figure is display.figure_
    assert display.ax_.get_xlabel() == "Meta-iteration"
    assert "loss" in display.ax_.get_ylabel()
    display.figure_.canvas.draw()


@pytest.mark.parametrize("estimator", [MAML(max_iter=5), Reptile(max_iter=5)])
def test_no_validation_curve_without_tasks_held_out(plt, tasks, estimator):
    display = MetaLossDisplay.from_estimator(estimator.set_params(random_state=0).meta_fit(tasks))
    assert list(display.lines_) == ["loss", "running_mean"]
    assert display.validation_loss_curve is None


def test_running_mean_is_over_a_twentieth(plt):
    loss = np.random.default_rng(0).random(100)
    mean = MetaLossDisplay(loss_curve=loss).plot().lines_["running_mean"].get_ydata()
    assert_allclose(mean[:3], [loss[0], loss[:3].mean(), loss[:5].mean()])
    assert_allclose(mean[2:98], [loss[i - 2 : i + 3].mean() for i in range(2, 98)])
    assert_allclose(mean[98:], [loss[96:].mean(), loss[97:].mean()])


def test_short_curves_are_not_smoothed(plt):
    lines = MetaLossDisplay(loss_curve=[3.0, 1.0, 2.0]).plot().lines_
    assert_allclose(lines["running_mean"].get_ydata(), [3.0, 1.0, 2.0])


def test_no_iterations_are_an_empty_picture(plt, tasks):
    display = MetaLossDisplay.from_estimator(MAML(max_iter=0).meta_fit(tasks))
    assert len(display.lines_["loss"].get_ydata()) == 0
    display.figure_.canvas.draw()


def test_names_tell_several_apart_in_one_picture(plt):
    _, ax = plt.subplots()
    for name in ("one", "two"):
        display = MetaLossDisplay(loss_curve=[1.0], validation_loss_curve=[1.0], name=name)
        assert display.plot(ax=ax) is display
        assert display.ax_ is ax
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["one", "one, held-out tasks", "two", "two, held-out tasks"]


def test_every_plot_without_axes_is_a_new_figure(plt):
    display = MetaLossDisplay(loss_curve=[1.0]).plot()
    before = len(plt.get_fignums())
    display.plot()
    assert len(plt.get_fignums()) == before + 1


def test_estimators_without_a_course_of_training(plt, tasks):
    with pytest.raises(NotFittedError):
        MetaLossDisplay.from_estimator(MAML())
    with pytest.raises(TypeError, match="Pooled has no loss_curve_"):
        MetaLossDisplay.from_estimator(Pooled().meta_fit(tasks))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn_meta\[plot\]'"):
        MetaLossDisplay(loss_curve=[1.0]).plot()
