"""What the gradient family shares: episodes, the outer loop, adaptation.

An algorithm of the family says how a batch of episodes becomes a meta-gradient
(:meth:`GradientMetaEstimator._meta_gradient`) and, unless it is by inner steps, how a support
becomes parameters (:meth:`GradientMetaEstimator._adapted`); the mathematics is in
``kernels/gradient.py``.

Three things are decided by the query loss of a sample of episodes of the meta-train tasks (the
*probe*): the inner rate alpha, by a line search at the start,

    alpha = argmin over RATES of mean_t q_t(theta_K(alpha)),

whether training has diverged, in which case its best parameters are kept, and, at the end, the
number of steps of an adaptation to n rows (``adapt_steps.py``).
"""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.optimize
from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning

from ..kernels.chunks import keep_freed_memory, mean_over_chunks, thread_pool
from ..kernels.gradient import inner_steps
from ..kernels.optimizers import OPTIMIZERS
from ..learners.privates import Interval, StrOptions
from ..tasks.supports import check_shots
from .adapt_steps import choose_steps, steps_for, training_steps
from .algorithm import Needs
from .episodes import EpisodeSampler, all_rows
from .meta_estimator import BaseMetaEstimator, learned
from .parameters import with_parameters
from .probe import draw_probe, mean_loss

__all__ = ["EpisodicMetaEstimator", "GradientMetaEstimator", "Initialisation", "Outer"]

OUTER_LR = 0.01
RATES = 10.0 ** np.arange(-3, 1, 0.5)  # inner rates that "auto" chooses from
N_CHECKS = 20  # times that the probe is looked at in training
DIVERGED = 1.5  # a query loss so many times that of the start
PATIENCE = 10  # epochs without improvement before early stopping stops


@dataclass(frozen=True)
class Outer:
    """How episodes are drawn, and how what is learned is optimised."""

    n_shots: tuple  # fewest and most support rows
    n_query: int = None  # most query rows; None: all that are left
    keep_query: bool = True  # whether at least half of the rows of a task stay in the query
    solver: str = "sgd"  # or "adam", "lbfgs"
    schedule: str = "linear"  # or "constant"
    held_out: float = None  # share of the tasks that say when to stop, if any
    tol: float = 0.0  # what counts as improvement
    chooses_steps: bool = True  # whether training ends with the choice of the steps of ``adapt``


@dataclass(frozen=True, eq=False)
class Initialisation:
    """The meta-model: where every task starts, and how fast it moves.

    Steps (n_levels, 2) of an adaptation are numbers of rows and, for about so many, of steps; None:
    those of training.
    """

    theta: np.ndarray  # (n_params,), in standardised units
    alpha: np.ndarray  # (n_params,): inner rates
    optimizer_state: object = None  # where it stopped, for partial_meta_fit and warm_start
    loss_curve: tuple = ()  # mean query loss of every meta-iteration
    validation_curve: tuple = ()  # mean query loss of the held-out tasks after every epoch
    steps: np.ndarray = None
    regularization: float = None  # strength of the pull towards theta, where it is learned


def _usable(value, gradient):
    """Whether loss and gradient are finite, its square included, which optimisers need."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(value) and np.isfinite(np.square(gradient).sum())


class GradientMetaEstimator(BaseMetaEstimator):
    """Base of the gradient family."""

    _parameter_constraints: dict = {
        "classes": [StrOptions({"shared", "per_task"})],
        "inner_lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "inner_steps": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "adapt_steps": [Interval(Integral, 0, None, closed="left"), None],
        "n_shots": [Interval(Integral, 0, None, closed="left"), range, tuple, list],
        "n_query": [Interval(Integral, 1, None, closed="left"), None],
        "tasks_per_batch": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "outer_solver": [StrOptions({"adam", "sgd", "lbfgs"})],
        "outer_lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "outer_schedule": [StrOptions({"linear", "constant"})],
        "init": [StrOptions({"pooled", "random"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "standardize": ["boolean"],
    }

    # -- what an algorithm provides ----------------------------------------------------------------

    def _outer(self):
        """How episodes are drawn and what is learned is optimised, see :class:`Outer`."""
        return Outer(
            check_shots(self.n_shots),
            self.n_query,
            solver=self.outer_solver,
            schedule=self.outer_schedule,
            held_out=self.validation_fraction if self.early_stopping else None,
            tol=self.tol,
        )

    @abstractmethod
    def _meta_gradient(self, learner, meta_model, episode):
        """Mean query loss of an episode and its gradient in what is learned (:meth:`_pack`)."""

    def _adapted(self, learner, meta_model, support, penalty, n_steps):
        """Parameters after some steps on a batch of supports, shape (n_tasks or 1, n_params)."""
        theta, alpha = meta_model.theta[None], meta_model.alpha[None]
        path = inner_steps(
            learner.network, theta, support, alpha, n_steps, penalty=penalty, keep=False
        )
        return path.end

    def _pack(self, meta_model):
        """What is learned as one vector."""
        return meta_model.theta

    def _unpack(self, meta_model, x):
        """The meta-model with what is learned replaced."""
        return replace(meta_model, theta=x)

    def _feasible(self, x):
        """What is learned, moved back to where it makes sense."""
        return x

    def _draw(self, sampler, tasks, rng):
        """An episode of some tasks."""
        return sampler.draw(tasks, rng)

    def _rate(self, learner, i):
        """The outer rate of meta-iteration i."""
        rate = self.outer_lr
        if rate == "auto":
            rate = learner.outer_lr if self._starts_pooled else OUTER_LR
        return rate * (1 - i / self.max_iter if self._outer().schedule == "linear" else 1)

    @property
    def _starts_pooled(self):
        return self.init == "pooled" and not self._own_classes

    def _adapting(self, learner):
        """Mask of the parameters that inner steps move."""
        if learner.network.intercept:
            return np.ones(learner.network.n_params, dtype=bool)
        return ~learner.network.intercepts()

    def _probe_shots(self):
        """Smallest and largest number of support rows that the probe stands for."""
        return self._shot_range()

    # -- the outer loop ----------------------------------------------------------------------------

    def _needs(self):
        return Needs(
            gradients=True,
            standardized=self.standardize,
            fits=False,
            goes_on=True,
            streams=True,
            own_classes=self.classes == "per_task",
            n_epochs=None,
        )

    def _learn(self, learner, tables, meta_model, fit_params, report):
        if fit_params:
            raise TypeError(
                f"{type(self).__name__}.fit takes no further arguments besides sample_weight; got "
                f"{sorted(fit_params)}."
            )
        seed = self._seed()
        n_before = 0 if meta_model is None else len(meta_model.loss_curve)
        rng = np.random.default_rng([seed, n_before] if n_before else seed)  # other episodes
        for table in tables:
            meta_model = self._train(learner, table, meta_model, rng, report)
        return meta_model

    def _train(self, learner, table, meta_model, rng, report):
        """Learn from the tasks of a table; from the start if there is no meta-model yet."""
        if meta_model is None:
            theta = learner.pooled(table) if self._starts_pooled else learner.random(rng)
        outer, shots = self._outer(), self._shot_range()
        y = learner.encode(table.y)
        codes = None if table.own_classes is None else table.y
        sampler = EpisodeSampler(learner, table, y, shots, outer.n_query, outer.keep_query, codes)
        tasks, held_out = self._split(table.n_tasks, outer, rng)
        if meta_model is None:
            probe = None
            if self._searches():  # without rows no rate is better than another
                probe = self._probe(sampler, tasks, rng, fewest=1)
            meta_model = self._first_model(theta, learner, probe)
        meta_model = replace(meta_model, steps=None)
        keep_freed_memory()
        # joblib itself looks for results only every few milliseconds, as long as an iteration takes
        n_threads = 1 if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        with thread_pool(n_threads) as pool:

            def meta_gradient(meta_model, episode):
                function = partial(self._meta_gradient, learner, meta_model)
                return mean_over_chunks(function, learner.network, episode, pool)

            settings = (meta_gradient, learner, sampler, tasks, meta_model, rng, report)
            judges = held_out if len(held_out) else tasks
            if outer.solver == "lbfgs":
                meta_model = self._minimise(*settings)
            else:
                probe = None  # a stream, or a few iterations, are not watched
                watched = self.max_iter >= N_CHECKS and not meta_model.loss_curve
                if outer.held_out or watched:
                    probe = self._probe(sampler, judges, rng)
                meta_model = self._descend(*settings, probe)
        if outer.chooses_steps and self.inner_steps == "auto" and self.adapt_steps is None:
            theta, alpha = meta_model.theta[None], meta_model.alpha[None]
            n_trained = self.max_iter * min(self.tasks_per_batch, len(tasks))
            n_steps = self._training_steps(learner)
            steps = choose_steps(learner, theta, alpha, sampler, judges, n_trained, n_steps, rng)
            meta_model = replace(meta_model, steps=steps)
        return meta_model

    def _searches(self):
        """Whether training begins with a search on the probe."""
        return self.inner_lr == "auto"

    def _starts(self, theta, learner, probe):
        """What training may start from: one meta-model for each inner rate."""
        adapting = self._adapting(learner).astype(theta.dtype)
        rates = RATES if self.inner_lr == "auto" else [self.inner_lr]
        return [Initialisation(theta, theta.dtype.type(rate) * adapting) for rate in rates]

    def _first_model(self, theta, learner, probe):
        """The meta-model that training starts from: the one that is best on the probe."""
        starts = self._starts(theta, learner, probe)
        if len(starts) == 1:
            return starts[0]
        losses = [self._query_loss(learner, start, probe) for start in starts]
        return starts[int(np.argmin(losses))]

    def _probe(self, sampler, tasks, rng, fewest=0):
        """Episodes with few, some and many shots."""
        low, high = (max(fewest, n) for n in self._probe_shots())
        shots = np.unique([low, (low + high) // 2, high]).tolist()
        sampler = replace(sampler, keep_query=True)
        return [draw_probe(sampler, tasks, k, rng) for k in shots]

    def _query_loss(self, learner, meta_model, episodes):
        """Mean query loss after adaptation; infinite if it is not a number."""
        losses = []
        n_steps = self._training_steps(learner)
        for support, query, n_rows in episodes:
            penalty = learner.penalty(n_rows)
            theta = self._adapted(learner, meta_model, support, penalty, n_steps)
            losses.append(mean_loss(learner.network, theta, query))
        return float(np.mean(losses))

    def _shot_range(self):
        low, high = self._outer().n_shots
        if self._own_classes and high == 0:
            raise ValueError(
                f"n_shots={self.n_shots!r}: with classes='per_task' a task is not known without "
                "support rows; set it to 1 or more."
            )
        return (max(low, 1), high) if self._own_classes else (low, high)

    def _split(self, n_tasks, outer, rng):
        """Tasks to train on, and tasks that are held out to know when to stop."""
        tasks = np.arange(n_tasks)
        if not outer.held_out:
            return tasks, tasks[:0]
        if outer.solver == "lbfgs":
            raise ValueError(
                "early_stopping needs outer_solver='adam' or 'sgd'; 'lbfgs' runs to convergence on "
                "fixed episodes."
            )
        n_held_out = max(1, round(outer.held_out * n_tasks))
        if n_held_out >= n_tasks:
            raise ValueError(
                f"early_stopping holds tasks out, and there is only {n_tasks}. Pass more tasks, or "
                "early_stopping=False."
            )
        tasks = rng.permutation(tasks)
        return np.sort(tasks[n_held_out:]), np.sort(tasks[:n_held_out])

    def _descend(self, meta_gradient, learner, sampler, tasks, meta_model, rng, report, probe):
        """Stochastic descent; one epoch is about as many tasks as there are."""
        outer = self._outer()
        optimizer, stops_early = OPTIMIZERS[outer.solver](), outer.held_out is not None
        x, state = self._pack(meta_model), meta_model.optimizer_state
        if type(state) is not type(optimizer.init(x)):  # none yet, or that of another solver
            state = optimizer.init(x)
        losses, validation = list(meta_model.loss_curve), list(meta_model.validation_curve)
        n_batch = min(self.tasks_per_batch, len(tasks))
        per_epoch = max(1, len(tasks) // n_batch)
        n_check = per_epoch if stops_early else max(1, self.max_iter // N_CHECKS)
        start = best = np.inf if probe is None else self._query_loss(learner, meta_model, probe)
        best_x, since_best, margin = x, 0, outer.tol if stops_early else 0
        waiting, before = tasks[:0], x

        def state_now(x):
            return replace(
                self._unpack(meta_model, x),
                optimizer_state=state,
                loss_curve=tuple(losses),
                validation_curve=tuple(validation),
            )

        for i in range(self.max_iter):
            if len(waiting) < n_batch:
                waiting = rng.permutation(tasks)
            chosen, waiting = waiting[:n_batch], waiting[n_batch:]
            now = self._unpack(meta_model, x)
            value, gradient = meta_gradient(now, self._draw(sampler, chosen, rng))
            if not _usable(value, gradient):
                self._warn_not_finite(learner, now, sampler, chosen, rng, i)
                x = before  # the step that led here is taken back
                break
            before = x
            x, state = optimizer.update(x, gradient, state, self._rate(learner, i))
            x = self._feasible(x)
            losses.append(value)
            if probe is not None and (i + 1) % n_check == 0:
                loss = self._query_loss(learner, self._unpack(now, x), probe)
                since_best += 1
                if stops_early:
                    validation.append(loss)
                if loss < best - margin:
                    best, best_x, since_best = loss, x, 0
            epoch_ends = (i + 1) % per_epoch == 0
            if epoch_ends and report(lambda x=x: state_now(x)):
                break
            if stops_early and since_best >= PATIENCE:
                break
        if stops_early:
            return state_now(best_x)
        if probe is None:
            return state_now(x)
        return state_now(self._checked_end(learner, meta_model, probe, x, start, best_x))

    def _checked_end(self, learner, meta_model, probe, x, start, best_x):
        """The last parameters, or the best ones if training has diverged."""
        if x is best_x:
            return x
        end = self._query_loss(learner, self._unpack(meta_model, x), probe)
        if end <= DIVERGED * start:
            return x
        warnings.warn(
            f"{type(self).__name__} diverged: the query loss on meta-train tasks is {start:.3g} at "
            f"the start and {end:.3g} after training. The best parameters on the way are kept. "
            "Lower outer_lr or inner_lr.",
            ConvergenceWarning,
            stacklevel=2,
        )
        return best_x

    def _warn_not_finite(self, learner, meta_model, sampler, tasks, rng, i):
        culprits = []
        for task in tasks:
            episode = self._draw(sampler, np.array([task]), rng)
            value, gradient = self._meta_gradient(learner, meta_model, episode)
            if not _usable(value, gradient):
                culprits.append(sampler.table.label(task))
        where = ", ".join(culprits[:3]) or "a batch of tasks"
        warnings.warn(
            f"{type(self).__name__} met a meta-gradient that is not finite after {i} "
            f"meta-iterations, in {where}. Training stops with the last finite parameters; lower "
            "inner_lr or outer_lr.",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _minimise(self, meta_gradient, learner, sampler, tasks, meta_model, rng, report):
        """Minimise the meta-loss of one fixed episode per task by L-BFGS."""
        episode = self._draw(replace(sampler, each=True), tasks, rng)
        losses = list(meta_model.loss_curve)
        dtype = meta_model.theta.dtype

        def objective(x):
            now = self._unpack(meta_model, x.astype(dtype))
            value, gradient = meta_gradient(now, episode)
            return value, gradient.astype(np.float64)

        def state_at(x):
            return replace(self._unpack(meta_model, x.astype(dtype)), loss_curve=tuple(losses))

        def after_iteration(intermediate_result):
            losses.append(float(intermediate_result.fun))
            x = intermediate_result.x.copy()
            if report(lambda: state_at(x)):
                raise StopIteration

        if self.max_iter == 0:
            return meta_model
        result = scipy.optimize.minimize(
            objective,
            self._pack(meta_model).astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            callback=after_iteration,
            options={"maxiter": self.max_iter, "gtol": 1e-7, "ftol": 1e-14},
        )
        if not np.isfinite(result.fun):
            self._warn_not_finite(learner, meta_model, sampler, tasks, rng, 0)
            return meta_model
        return state_at(result.x)

    # -- adaptation --------------------------------------------------------------------------------

    def _adapt(self, learner, meta_model, table, fit_params):
        rows = np.empty((table.n_tasks, learner.network.n_params), dtype=learner.dtype)
        for tasks, support, n_rows in all_rows(learner, table):
            n_steps = steps_for(self._steps(learner, meta_model), n_rows)
            theta = np.empty((len(n_rows), learner.network.n_params), dtype=learner.dtype)
            for k in np.unique(n_steps).tolist():
                part = np.flatnonzero(n_steps == k)
                penalty = learner.penalty(n_rows[part])
                theta[part] = self._adapted(learner, meta_model, support.rows(part), penalty, k)
            rows[tasks] = learner.rows(theta)
        return rows

    def _training_steps(self, learner):
        return training_steps(learner.network) if self.inner_steps == "auto" else self.inner_steps

    def _steps(self, learner, meta_model):
        """The number of steps of ``adapt``, or those for some numbers of rows."""
        if self.adapt_steps is not None:
            return self.adapt_steps
        if self.inner_steps == "auto" and meta_model.steps is not None:
            return meta_model.steps
        return self._training_steps(learner)

    # -- what was learned --------------------------------------------------------------------------

    def _facts(self):
        last = self.loss_curve_[-(self.n_iter_ // 10 + 1) :]
        return super()._facts() | {
            "Meta-iterations": self.n_iter_,
            "Query loss, last tenth of them": np.mean(last) if last else None,
            "Steps to adapt": str(self.adapt_steps_),
        }

    inner_lr_ = learned("alpha", "The inner rate.", lambda alpha: float(alpha.max(initial=0)))

    @property
    def adapt_steps_(self):
        """The number of steps of ``adapt``, by the number of rows if it depends on it."""
        self._learned("steps")
        steps = self._steps(self.learner_, self.meta_model_)
        return dict(steps.tolist()) if np.ndim(steps) else steps

    loss_curve_ = learned("loss_curve", "Mean query loss of every meta-iteration.", list)
    validation_loss_curve_ = learned(
        "validation_curve", "Mean query loss of the held-out tasks after every epoch.", list
    )
    n_iter_ = learned("loss_curve", "Number of meta-iterations.", len)


@with_parameters
class EpisodicMetaEstimator(GradientMetaEstimator):
    """Base of what learns from supports and queries by inner steps."""

    estimator: Any = None
    _: KW_ONLY
    inner_lr: float | str = "auto"
    inner_steps: int | str = "auto"
    adapt_steps: int | None = None
    n_shots: int | range | Sequence[int] = (0, 10)
    n_query: int | None = None
    tasks_per_batch: int = 25
    max_iter: int = 1000
    outer_solver: str = "adam"
    outer_lr: float | str = "auto"
    outer_schedule: str = "linear"
    init: str = "pooled"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    tol: float = 1e-4
    warm_start: bool = False
    classes: str = "shared"
    task_column: str | int | None = None
    handle_unknown: str = "prior"
    standardize: bool = True
    random_state: int | np.random.RandomState | None = None
    n_jobs: int | None = None
