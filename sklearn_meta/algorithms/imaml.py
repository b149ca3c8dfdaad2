r"""MAML with implicit gradients (iMAML): adapt to convergence, differentiate the solution.

    phi_t = argmin_phi f_t(phi) + lambda/2 |phi - theta|²
    d q_t(phi_t)/d theta = (I + H_t/lambda)^{-1} grad q_t(phi_t)

The meta-gradient depends on the solution, not on the path to it; the linear systems of all tasks
are solved at once by conjugate gradients. See ``kernels/gradient.py``.
"""

from dataclasses import KW_ONLY, replace
from numbers import Integral, Real

import numpy as np

from ..base import learned, with_parameters
from ..base.gradient_docs import documented
from ..base.gradient_family import EpisodicMetaEstimator, Initialisation
from ..kernels.gradient import implicit_meta_gradient, mean_curvature, proximal
from ..learners.privates import Interval, StrOptions

__all__ = ["IMAML"]

STRENGTHS = 10.0 ** np.arange(-3, 3)  # of the pull, that "auto" chooses from


@documented
@with_parameters
class IMAML(EpisodicMetaEstimator):
    """Implicit MAML: tasks minimise their loss plus a pull towards the common start.

    Parameters
    ----------
    {estimator}
    inner_lr : float or "auto", default="auto"
        Rate of the inner steps. "auto": one over the curvature, lambda plus the mean over tasks of
        the largest eigenvalue of the Hessian of their support losses at the start.
    inner_steps : int or "auto", default="auto"
        Number of inner steps; more come closer to the minimum. "auto": 20 of perceptrons and 100 of
        all others.
    adapt_steps : int, default=None
        Number of steps of ``adapt``; None: ``inner_steps``.
    {episodes}
    {outer}
    {border}
    regularization : float or "auto", default="auto"
        Strength lambda of the pull ``lambda/2 |phi - theta|²`` against the mean support loss.
        "auto": the one, of a grid from 0.001 to 100, that leads from the start to the least mean
        query loss on episodes of the meta-train tasks.
    cg_steps : int, default=10
        Steps of conjugate gradients.

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

    _: KW_ONLY
    regularization: float | str = "auto"
    cg_steps: int = 10

    _parameter_constraints = {
        "regularization": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "cg_steps": [Interval(Integral, 1, None, closed="left")],
    }

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
