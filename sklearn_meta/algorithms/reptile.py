r"""Reptile: move the start towards where training on tasks leads.

    theta <- theta + epsilon (mean_t W_t - theta)

``W_t`` is theta after k steps of minibatch SGD on task t, and epsilon falls linearly to 0 over
training. With one task at a time (serial) and k = 1 this is SGD; with larger k it maximises, to
leading order, the inner product of gradients of different minibatches of a task, as MAML does.
"""

from dataclasses import KW_ONLY
from numbers import Integral
from typing import Any

import numpy as np

from ..base import with_parameters
from ..base.gradient_docs import documented
from ..base.gradient_family import GradientMetaEstimator, Outer
from ..kernels.gradient import inner_steps
from ..learners.privates import Interval, StrOptions

__all__ = ["Reptile"]


@documented
@with_parameters
class Reptile(GradientMetaEstimator):
    """Reptile: first-order meta-learning without supports and queries.

    Every meta-iteration trains a copy of the start on each of some tasks by a few steps of
    minibatch SGD, and moves the start towards the mean of the results.

    Parameters
    ----------
    {estimator}
    {inner_lr}
    inner_steps : int or "auto", default="auto"
        Number k of SGD steps on each task. "auto": 10, and in ``adapt`` the number, of a grid from
        0 to 300, that leads to the least mean loss on other rows of meta-train tasks with about as
        many rows.
    inner_batch_size : int, default=10
        Rows of a minibatch, drawn anew for each step; all rows of tasks that have fewer.
    adapt_steps : int, default=None
        Number of steps of ``adapt``, on all support rows; None: as ``inner_steps`` says.
    tasks_per_batch : int, default=5
        Tasks of a meta-iteration; 1 is the serial version.
    max_iter : int, default=1000
        Meta-iterations; 0 leaves the start as it is.
    outer_lr : float, default=1.0
        The step epsilon at the start of training; it falls linearly to 0.
    {init}
    {warm_start}
    {border}

    Attributes
    ----------
    {inner_lr_}
    {adapt_steps_}
    {attributes}

    See Also
    --------
    FOMAML : First-order, with supports and queries.

    References
    ----------
    Nichol, Achiam, Schulman (2018), On first-order meta-learning algorithms.

    Examples
    --------
    >>> from sklearn_meta import Reptile
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> Reptile(max_iter=100, random_state=0).meta_fit(tasks).n_iter_
    100
    """

    estimator: Any = None
    _: KW_ONLY
    inner_lr: float | str = "auto"
    inner_steps: int | str = "auto"
    inner_batch_size: int = 10
    adapt_steps: int | None = None
    tasks_per_batch: int = 5
    max_iter: int = 1000
    outer_lr: float = 1.0
    init: str = "pooled"
    warm_start: bool = False
    classes: str = "shared"
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    standardize: bool = True
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None

    _parameter_constraints = {
        "inner_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "inner_batch_size": [Interval(Integral, 1, None, closed="left")],
    }

    def _outer(self):
        return Outer((self.inner_batch_size,) * 2, keep_query=False)

    def _probe_shots(self):
        return 1, self.inner_batch_size

    def _training_steps(self, learner):
        return 10 if self.inner_steps == "auto" else self.inner_steps

    def _draw(self, sampler, tasks, rng):
        """One minibatch for each inner step."""
        outputs = sampler.permutations(tasks, rng)  # the same in all steps
        n_steps = self._training_steps(sampler.learner)
        draws = [sampler.draw(tasks, rng, outputs) for _ in range(n_steps)]
        return [(support, n_rows) for support, _, n_rows in draws]

    def _meta_gradient(self, learner, meta_model, episode):
        """Mean loss before each inner step, and ``theta - mean_t W_t``."""
        theta, alpha = meta_model.theta[None], meta_model.alpha[None]
        W, losses = theta, []
        for support, n_rows in episode:
            penalty = learner.penalty(n_rows)
            path = inner_steps(learner.network, W, support, alpha, 1, penalty=penalty, centre=theta)
            losses.append(path.points[0].value.mean())
            W = path.end
        return float(np.mean(losses)), meta_model.theta - W.mean(axis=0)
