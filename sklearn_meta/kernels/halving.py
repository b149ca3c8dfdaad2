r"""Steps that raise the loss of a task are halved for it until they do not.

The loss ``f_t`` of task t is that of raw predictions r and a penalty. Along a step d, of which a
share s is left, the penalty is quadratic and, without hidden layers, r is linear:

    r(theta + s d) = r(theta) + s (r(theta + d) - r(theta))
    lambda_t/2 |e + s d|² = lambda_t (|e|²/2 + s e'd + s² |d|²/2),  e = theta - centre

Both ends of the step are known, so that no trial needs a product over columns. Where an end has
overflowed, or with hidden layers, each trial is a pass through the network.
"""

import numpy as np

__all__ = ["MAX_HALVINGS", "halve", "risen"]

MAX_HALVINGS = 40


def risen(new, old):
    """Tasks whose loss has risen by more than rounding, or is not finite."""
    falls = new <= old
    if falls.all():
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(~(falls | (new - old <= 4 * np.finfo(old.dtype).eps * np.abs(old))))


def halve(loss, point, next_point, tasks, old):
    """Halve steps of some tasks, from ``point`` to ``next_point``, until none raises the loss.

    ``old`` are the losses of these tasks where the steps begin; ``next_point`` is moved. Returns
    what is left of the steps, shape (n_tasks, 1), and the losses where they end now.
    """
    trials = _OnLine(loss, point, next_point, tasks) if point.network.linear else None
    if trials is None or not trials.finite:
        trials = _Anywhere(loss, point, next_point, tasks)
    share, up = np.ones((len(tasks), 1), next_point.theta.dtype), np.arange(len(tasks))
    for k in range(MAX_HALVINGS + 1):
        share[up] *= 0.5
        if k == MAX_HALVINGS:
            share[up] = trials.step[up] = 0
        value = trials.value(share)
        up = risen(value, old)
        if len(up) == 0:
            break
    trials.accept(share)
    return share, value


class _Anywhere:
    """Trials by passes through the network."""

    def __init__(self, loss, point, next_point, tasks):
        self.next_point, self.tasks = next_point, tasks
        self.theta = _of(point.theta, tasks)
        self.step = next_point.theta[tasks] - self.theta
        self.loss = loss if len(tasks) == len(next_point.theta) else loss.rows(tasks)  # no copies

    def value(self, share):
        """The losses at shares of the steps."""
        self.trial = self.loss.objective.at(self.theta + share * self.step)
        return self.loss.value(self.trial)

    def accept(self, share):
        """Move to the last trial."""
        self.next_point.put(self.tasks, self.trial)


class _OnLine:
    """Trials between two points of a network without hidden layers."""

    def __init__(self, loss, point, next_point, tasks):
        self.point, self.next_point, self.tasks = point, next_point, tasks
        self.theta = _of(point.theta, tasks)
        self.step = next_point.theta[tasks] - self.theta
        self.r, self.change = point.r[tasks], next_point.r[tasks] - point.r[tasks]
        self.penalty = np.zeros((3, len(tasks)), self.r.dtype)  # of 1, s and s²
        if loss.penalty is not None:
            penalty, distance = loss.penalty.rows(tasks), loss.distance(point.theta)
            self.penalty[2] = penalty.value(self.step)
            if distance is not None:
                distance = _of(distance, tasks)
                self.penalty[0] = penalty.value(distance)
                self.penalty[1] = penalty.inner(distance, self.step)

    @property
    def finite(self):
        """Whether nothing has overflowed."""
        return np.isfinite(self.change).all() and np.isfinite(self.penalty).all()

    def value(self, share):
        """The losses at shares of the steps."""
        s, (constant, linear, square) = share[:, 0], self.penalty
        self.trial_r = self.r + share[:, :, None] * self.change
        self.trial_value = self.point.losses(self.trial_r, self.tasks)
        return self.trial_value + (constant + s * (linear + s * square))

    def accept(self, share):
        """Move to the last trial."""
        self.step *= share
        self.step += self.theta
        self.next_point.move(self.tasks, self.step, self.trial_r, self.trial_value)


def _of(theta, tasks):
    """The rows of some tasks, or the one that all share."""
    return theta if len(theta) == 1 else theta[tasks]
