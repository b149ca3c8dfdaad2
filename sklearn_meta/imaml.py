r"""MAML with implicit gradients (iMAML): adapt to convergence, differentiate the solution.

    phi_t = argmin_phi f_t(phi) + lambda/2 |phi - theta|²
    d q_t(phi_t)/d theta = (I + H_t/lambda)^{-1} grad q_t(phi_t)

The meta-gradient depends on the solution, not on the path to it; the linear systems of all tasks
are solved at once by conjugate gradients. See ``_gradient.py``.
"""

from numbers import Integral, Real

from ._gradient import implicit_meta_gradient, proximal
from ._gradient_docs import documented
from ._sklearn import Interval
from .gradient_based import GradientMetaEstimator

__all__ = ["IMAML"]


@documented
class IMAML(GradientMetaEstimator):
    """Implicit MAML: tasks minimise their loss plus a pull towards the common start.

    Parameters
    ----------
    {estimator}
    regularization : float, default=1.0
        Strength lambda of the pull ``lambda/2 |phi - theta|²`` against the mean support loss.
    inner_lr : float, default=0.1
        Rate of the inner steps.
    inner_steps : int, default=20
        Most inner steps in training; more come closer to the minimum.
    adapt_steps : int, default=None
        Number of steps of ``adapt``; None: ``inner_steps``.
    cg_steps : int, default=10
        Steps of conjugate gradients.
    {episodes}
    {outer}
    {border}

    Attributes
    ----------
    {adapt_steps_}
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
        "inner_lr": [Interval(Real, 0, None, closed="neither")],
        "inner_steps": [Interval(Integral, 0, None, closed="left")],
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "cg_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        regularization=1.0,
        inner_lr=0.1,
        inner_steps=20,
        adapt_steps=None,
        cg_steps=10,
        n_shots=(0, 10),
        n_query=None,
        tasks_per_batch=25,
        max_iter=1000,
        outer_solver="adam",
        outer_lr="auto",
        outer_schedule="linear",
        max_grad_norm=None,
        init="pooled",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        classes="shared",
        task_column=None,
        standardize=True,
        random_state=None,
        n_jobs=None,
    ):
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
        self.max_grad_norm = max_grad_norm
        self.init = init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.classes = classes
        self.task_column = task_column
        self.standardize = standardize
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _meta_gradient(self, learner, meta_model, episode):
        support, query, n_rows = episode
        return implicit_meta_gradient(
            learner.network,
            meta_model.theta[None],
            support,
            query,
            self.regularization,
            meta_model.alpha[None],
            self.inner_steps,
            penalty=learner.penalty(n_rows),
            cg_steps=self.cg_steps,
        )

    def _adapted(self, learner, meta_model, support, penalty, n_steps):
        return proximal(
            learner.network,
            meta_model.theta[None],
            support,
            self.regularization,
            meta_model.alpha[None],
            n_steps,
            penalty=penalty,
        )
