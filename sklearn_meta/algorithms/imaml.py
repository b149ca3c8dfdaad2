r"""MAML with implicit gradients (iMAML): adapt to convergence, differentiate the solution.

    phi_t = argmin_phi f_t(phi) + lambda/2 |phi - theta|²
    d q_t(phi_t)/d theta = (I + H_t/lambda)^{-1} grad q_t(phi_t)

The meta-gradient depends on the solution, not on the path to it; the linear systems of all tasks
are solved at once by conjugate gradients. See ``kernels/gradient.py``.
"""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np

from ..base import learned
from ..base.gradient_docs import documented
from ..base.gradient_family import GradientMetaEstimator, Initialisation
from ..kernels.gradient import implicit_meta_gradient, mean_curvature, proximal
from ..learners.privates import Interval, StrOptions

__all__ = ["IMAML"]

STRENGTHS = 10.0 ** np.arange(-3, 3)  # of the pull, that "auto" chooses from


@documented
class IMAML(GradientMetaEstimator):
    """Implicit MAML: tasks minimise their loss plus a pull towards the common start.

    Parameters
    ----------
    {estimator}
    regularization : float or "auto", default="auto"
        Strength lambda of the pull ``lambda/2 |phi - theta|²`` against the mean support loss.
        "auto": the one, of a grid from 0.001 to 100, that leads from the start to the least mean
        query loss on episodes of the meta-train tasks.
    inner_lr : float or "auto", default="auto"
        Rate of the inner steps. "auto": one over the curvature, lambda plus the mean over tasks of
        the largest eigenvalue of the Hessian of their support losses at the start.
    inner_steps : int or "auto", default="auto"
        Number of inner steps; more come closer to the minimum. "auto": 20 of perceptrons and 100 of
        all others.
    adapt_steps : int, default=None
        Number of steps of ``adapt``; None: ``inner_steps``.
    cg_steps : int, default=10
        Steps of conjugate gradients.
    {episodes}
    {outer}
    {border}

    Attributes
    ----------
    regularization_ : float
        The strength lambda.
    {inner_lr_}
    adapt_steps_ : int
        The number of steps of ``adapt``.
    {attributes}

    See Also
    --------
    MAML : Differentiates through the steps.

    References
    ----------
    Rajeswaran, Finn, Kakade, Levine (2019), Meta-learning with implicit gradients, NeurIPS.

    Examples
    --------
    >>> from sklearn_meta import IMAML
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> model = IMAML(regularization=0.5, max_iter=100, random_state=0).meta_fit(tasks)
    >>> model.adapt(tasks[0].X, tasks[0].y).estimator_
    Ridge(random_state=...)
    """

    _parameter_constraints: dict = {
        **GradientMetaEstimator._parameter_constraints,
        "regularization": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "cg_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        regularization="auto",
        inner_lr="auto",
        inner_steps="auto",
        adapt_steps=None,
        cg_steps=10,
        n_shots=(0, 10),
        n_query=None,
        tasks_per_batch=25,
        max_iter=1000,
        outer_solver="adam",
        outer_lr="auto",
        outer_schedule="linear",
        init="pooled",
        early_stopping=False,
        validation_fraction=0.1,
        tol=1e-4,
        warm_start=False,
        classes="shared",
        task_column=None,
        handle_unknown="prior",
        standardize=True,
        random_state=None,
        n_jobs=None,
    ) -> None:
        self.estimator = estimator
        self.regularization = regularization
        self.inner_lr = inner_lr
        self.inner_steps = inner_steps
        self.adapt_steps = adapt_steps
        self.cg_steps = cg_steps
        self.n_shots = n_shots
        self.n_query = n_query
        self.tasks_per_batch = tasks_per_batch
        self.max_iter = max_iter
        self.outer_solver = outer_solver
        self.outer_lr = outer_lr
        self.outer_schedule = outer_schedule
        self.init = init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.warm_start = warm_start
        self.classes = classes
        self.task_column = task_column
        self.handle_unknown = handle_unknown
        self.standardize = standardize
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _outer(self):
        return replace(super()._outer(), chooses_steps=False)

    def _training_steps(self, learner):
        if self.inner_steps == "auto":
            return 100 if learner.network.linear else 20
        return self.inner_steps

    def _searches(self):
        return "auto" in (self.regularization, self.inner_lr)

    def _starts(self, theta, learner, probe):
        """What training may start from: one meta-model for each strength of the pull."""
        adapting, strengths = self._adapting(learner), [self.regularization]
        if self.regularization == "auto":
            strengths = STRENGTHS.tolist()
        curvature = self._curvature(theta, learner, probe) if self.inner_lr == "auto" else None
        starts = []
        for strength in strengths:
            rate = self.inner_lr if curvature is None else 1 / (curvature + strength)
            alpha = (rate * adapting).astype(theta.dtype)
            starts.append(Initialisation(theta, alpha, regularization=strength))
        return starts

    def _curvature(self, theta, learner, probe):
        found = [
            mean_curvature(learner.network, theta[None], support, learner.penalty(n_rows))
            for support, _, n_rows in probe
        ]
        return np.mean(found)

    def _meta_gradient(self, learner, meta_model, episode):
        support, query, n_rows = episode
        return implicit_meta_gradient(
            learner.network,
            meta_model.theta[None],
            support,
            query,
            meta_model.regularization,
            meta_model.alpha[None],
            self._training_steps(learner),
            penalty=learner.penalty(n_rows),
            cg_steps=self.cg_steps,
        )

    def _adapted(self, learner, meta_model, support, penalty, n_steps):
        return proximal(
            learner.network,
            meta_model.theta[None],
            support,
            meta_model.regularization,
            meta_model.alpha[None],
            n_steps,
            penalty=penalty,
        )

    regularization_ = learned("regularization", "The strength of the pull towards the start.")
