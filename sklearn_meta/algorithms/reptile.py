r"""Reptile: move the start towards where training on tasks leads.

    theta <- theta + epsilon (mean_t W_t - theta)

``W_t`` is theta after k steps of minibatch SGD on task t, and epsilon falls linearly to 0 over
training. With one task at a time (serial) and k = 1 this is SGD; with larger k it maximises, to
leading order, the inner product of gradients of different minibatches of a task, as MAML does.
"""

from numbers import Integral

import numpy as np

from ..base.gradient_docs import documented
from ..base.gradient_family import GradientMetaEstimator, Outer
from ..kernels.gradient import inner_steps
from ..learners.privates import Interval, StrOptions

__all__ = ["Reptile"]


@documented
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

    _parameter_constraints: dict = {
        **GradientMetaEstimator._parameter_constraints,
        "inner_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "inner_batch_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        inner_lr="auto",
        inner_steps="auto",
        inner_batch_size=10,
        adapt_steps=None,
        tasks_per_batch=5,
        max_iter=1000,
        outer_lr=1.0,
        init="pooled",
        warm_start=False,
        classes="shared",
        task_column=None,
        handle_unknown="prior",
        standardize=True,
        random_state=None,
        n_jobs=None,
    ) -> None:
        self.estimator = estimator
        self.inner_lr = inner_lr
        self.inner_steps = inner_steps
        self.inner_batch_size = inner_batch_size
        self.adapt_steps = adapt_steps
        self.tasks_per_batch = tasks_per_batch
        self.max_iter = max_iter
        self.outer_lr = outer_lr
        self.init = init
        self.warm_start = warm_start
        self.classes = classes
        self.task_column = task_column
        self.handle_unknown = handle_unknown
        self.standardize = standardize
        self.random_state = random_state
        self.n_jobs = n_jobs

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
