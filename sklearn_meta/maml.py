r"""Model-agnostic meta-learning and its relatives; the mathematics is in ``_gradient.py``."""

import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.utils import check_random_state

from ._episodes import EpisodeSampler, all_rows
from ._gradient import Penalty, implicit_meta_gradient, inner_steps, meta_gradient, proximal
from ._sklearn import Interval, StrOptions
from .base import BaseMetaEstimator
from .optimizers import OPTIMIZERS, clip_norm
from .tasks import padded_batches

__all__ = ["ANIL", "FOMAML", "MAML", "GradientMetaEstimator", "MetaSGD"]

SMALLEST_RATE = 1e-8  # a learned inner rate stays above it


@dataclass(frozen=True, eq=False)
class Initialisation:
    """The meta-model: where every task starts, and how fast it moves.

    Parameters
    ----------
    theta : ndarray of shape (n_params,)
    alpha : ndarray of shape (n_params,)
    optimizer_state : object
        Where the outer optimiser stopped, for ``partial_meta_fit`` and ``warm_start``.
    loss_curve : tuple of float
        Mean query loss of every meta-iteration.
    validation_curve : tuple of float
        Of the held-out tasks, after each epoch.
    """

    theta: np.ndarray
    alpha: np.ndarray
    optimizer_state: object = None
    loss_curve: tuple = ()
    validation_curve: tuple = ()


class GradientMetaEstimator(BaseMetaEstimator):
    """What the gradient family shares: episodes, the outer loop, adaptation by guarded steps.

    A subclass has the parameters below in ``__init__`` and implements :meth:`_meta_gradient`.
    """

    _incremental = True
    _gradient = True

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "inner_lr": [Interval(Real, 0, None, closed="neither")],
        "inner_steps": [Interval(Integral, 0, None, closed="left")],
        "adapt_steps": [Interval(Integral, 0, None, closed="left"), None],
        "n_shots": [Interval(Integral, 0, None, closed="left"), tuple],
        "n_query": [Interval(Integral, 1, None, closed="left"), None],
        "tasks_per_batch": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "outer_solver": [StrOptions({"adam", "sgd", "lbfgs"})],
        "outer_lr": [Interval(Real, 0, None, closed="neither")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "init": [StrOptions({"pooled", "random"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def _default_estimator(self):
        return Ridge()

    def _n_epochs(self):
        return None

    # -- the outer loop ----------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        for table in tables:
            if meta_model is None:
                meta_model = self._initialisation(learner, table, rng)
            meta_model = self._train(learner, table, meta_model, rng, report)
        return meta_model

    def _initialisation(self, learner, table, rng):
        theta = learner.random(rng) if self.init == "random" else learner.pooled(table)
        alpha = np.full_like(theta, self.inner_lr)
        if not learner.network.intercept:
            alpha[learner.network.intercepts()] = 0
        return Initialisation(theta, self._adapting(learner, alpha))

    def _adapting(self, learner, alpha):
        """Inner rates, 0 for parameters that do not adapt."""
        return alpha

    def _train(self, learner, table, meta_model, rng, report):
        tasks = np.arange(table.n_tasks)
        held_out = tasks[:0]
        if self.early_stopping:
            n_held_out = max(1, round(self.validation_fraction * len(tasks)))
            if n_held_out >= len(tasks):
                raise ValueError(
                    f"early_stopping holds tasks out, and there are only {len(tasks)}; pass more "
                    "tasks, or early_stopping=False."
                )
            tasks = rng.permutation(tasks)
            held_out, tasks = np.sort(tasks[:n_held_out]), np.sort(tasks[n_held_out:])
        low, high = self.n_shots if isinstance(self.n_shots, tuple) else (self.n_shots,) * 2
        y = learner.encode(table.y)
        sampler = EpisodeSampler(learner, table, y, (low, high), self.n_query)
        seed = int(rng.integers(2**31))
        fixed = None
        if len(held_out):
            fixed = sampler.draw(held_out, np.random.default_rng(seed))
        if self.outer_solver == "lbfgs":
            return self._minimise(learner, sampler, tasks, meta_model, rng, report)
        return self._descend(learner, sampler, tasks, fixed, meta_model, rng, report)

    def _penalty(self, learner, n_rows):
        strength = np.asarray(learner.penalty_strength(np.maximum(n_rows, 1.0)))[:, None]
        if not strength.any():
            return None
        return Penalty(strength.astype(learner.dtype), learner.penalty_mask())

    def _meta_gradient(self, learner, meta_model, episode):
        """Mean query loss, its gradient in theta, and that in alpha (None: not learned)."""
        raise NotImplementedError

    def _descend(self, learner, sampler, tasks, fixed, meta_model, rng, report):
        optimizer = OPTIMIZERS[self.outer_solver]()
        x = self._pack(meta_model)
        state = meta_model.optimizer_state
        state = optimizer.init(x) if state is None else state
        curve, validation = list(meta_model.loss_curve), list(meta_model.validation_curve)
        n_batch = min(self.tasks_per_batch, len(tasks))
        per_epoch = max(1, len(tasks) // n_batch)
        best, best_x, best_iter = np.inf, x, 0
        order = np.empty(0, dtype=np.intp)
        for i in range(self.max_iter):
            if len(order) < n_batch:
                order = rng.permutation(tasks)
            chosen, order = order[:n_batch], order[n_batch:]
            now = self._unpack(meta_model, x)
            value, gradient = self._flat_gradient(learner, now, sampler.draw(chosen, rng))
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                bad = self._culprit(learner, now, sampler, chosen, rng)
                warnings.warn(
                    f"{type(self).__name__} met a meta-gradient that is not finite after {i} "
                    f"meta-iterations, in {bad}; training stops with the parameters so far. Lower "
                    "outer_lr or inner_lr, or set max_grad_norm.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
                break
            x, state = optimizer.update(
                x, clip_norm(gradient, self.max_grad_norm), state, self.outer_lr
            )
            curve.append(value)
            if (i + 1) % per_epoch == 0:
                after = replace(
                    self._unpack(meta_model, x), loss_curve=tuple(curve), optimizer_state=state
                )
                if fixed is not None:
                    validation.append(self._flat_gradient(learner, after, fixed)[0])
                    if validation[-1] < best - self.tol:
                        best, best_x, best_iter = validation[-1], x, len(validation)
                    elif len(validation) - best_iter >= self.n_iter_no_change:
                        break
                if report(lambda after=after: after):
                    break
        if fixed is not None and np.isfinite(best):
            x = best_x
        return replace(
            self._unpack(meta_model, x),
            optimizer_state=state,
            loss_curve=tuple(curve),
            validation_curve=tuple(validation),
        )

    def _minimise(self, learner, sampler, tasks, meta_model, rng, report):
        """Minimise the meta-loss of fixed episodes, one for each task, by L-BFGS."""
        episode = sampler.draw(tasks, rng)
        curve = list(meta_model.loss_curve)

        def objective(x):
            now = self._unpack(meta_model, x.astype(learner.dtype))
            value, gradient = self._flat_gradient(learner, now, episode)
            return value, gradient.astype(np.float64)

        def after_iteration(intermediate_result):
            curve.append(float(intermediate_result.fun))
            x = intermediate_result.x.astype(learner.dtype)
            if report(lambda: self._unpack(meta_model, x)):
                raise StopIteration

        result = scipy.optimize.minimize(
            objective,
            self._pack(meta_model).astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            callback=after_iteration,
            options={"maxiter": self.max_iter, "gtol": 1e-6},
        )
        x = result.x.astype(learner.dtype)
        return replace(self._unpack(meta_model, x), loss_curve=tuple(curve))

    def _culprit(self, learner, meta_model, sampler, tasks, rng):
        """The first task of a batch whose meta-gradient is not finite, in words."""
        for task in tasks:
            episode = sampler.draw(np.array([task]), rng)
            value, gradient = self._flat_gradient(learner, meta_model, episode)
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                return sampler.table.label(task)
        return f"one of the tasks {[sampler.table.label(t) for t in tasks[:3]]} ..."

    # one flat vector of what is learned

    def _pack(self, meta_model):
        return meta_model.theta

    def _unpack(self, meta_model, x):
        return replace(meta_model, theta=x)

    def _flat_gradient(self, learner, meta_model, episode):
        value, gradient, _ = self._meta_gradient(learner, meta_model, episode)
        return value, gradient

    # -- adaptation --------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        rows = np.empty((table.n_tasks, learner.network.n_params), dtype=learner.dtype)
        for padded in padded_batches(table):
            support, n_rows = all_rows(learner, padded)
            theta = self._adapted(learner, meta_model, support, n_rows)
            if len(theta) == 1:
                theta = np.repeat(theta, len(padded.tasks), axis=0)
            rows[padded.tasks] = learner.rows(theta)
        return rows

    def _adapted(self, learner, meta_model, support, n_rows):
        n_steps = self.inner_steps if self.adapt_steps is None else self.adapt_steps
        return inner_steps(
            learner.network,
            meta_model.theta[None],
            support,
            meta_model.alpha[None],
            n_steps,
            penalty=self._penalty(learner, n_rows),
        ).theta[-1]

    # -- what was learned --------------------------------------------------------------------------

    @property
    def loss_curve_(self):
        """Mean query loss of every meta-iteration."""
        return list(self.meta_model_.loss_curve)

    @property
    def n_iter_(self):
        """Number of meta-iterations."""
        return len(self.meta_model_.loss_curve)


class MAML(GradientMetaEstimator):
    def __init__(
        self,
        estimator=None,
        *,
        inner_lr=0.1,
        inner_steps=5,
        adapt_steps=None,
        n_shots=(1, 10),
        n_query=None,
        tasks_per_batch=25,
        max_iter=500,
        outer_solver="adam",
        outer_lr=0.01,
        max_grad_norm=None,
        init="pooled",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        task_column=None,
        standardize=True,
        random_state=None,
        n_jobs=None,
    ):
        self.estimator = estimator
        self.inner_lr = inner_lr
        self.inner_steps = inner_steps
        self.adapt_steps = adapt_steps
        self.n_shots = n_shots
        self.n_query = n_query
        self.tasks_per_batch = tasks_per_batch
        self.max_iter = max_iter
        self.outer_solver = outer_solver
        self.outer_lr = outer_lr
        self.max_grad_norm = max_grad_norm
        self.init = init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.task_column = task_column
        self.standardize = standardize
        self.random_state = random_state
        self.n_jobs = n_jobs

    _second_order = True
    _learn_rates = False

    def _meta_gradient(self, learner, meta_model, episode):
        support, query, n_rows = episode
        return meta_gradient(
            learner.network,
            meta_model.theta[None],
            support,
            query,
            meta_model.alpha[None],
            self.inner_steps,
            penalty=self._penalty(learner, n_rows),
            second_order=self._second_order,
            learn_rates=self._learn_rates,
        )


class FOMAML(MAML):
    _second_order = False


class ANIL(MAML):
    def _adapting(self, learner, alpha):
        return np.where(learner.network.last_layer(), alpha, 0).astype(alpha.dtype)


class MetaSGD(MAML):
    _learn_rates = True

    def _pack(self, meta_model):
        return np.concatenate([meta_model.theta, meta_model.alpha])

    def _unpack(self, meta_model, x):
        theta, alpha = np.split(x, 2)
        return replace(meta_model, theta=theta, alpha=alpha)

    def _flat_gradient(self, learner, meta_model, episode):
        value, gradient, rate_gradient = self._meta_gradient(learner, meta_model, episode)
        return value, np.concatenate([gradient, rate_gradient])

