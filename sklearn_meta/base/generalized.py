r"""Between tables of tasks and a hierarchical generalised linear model of their learners' networks.

A parameter row is ``[coefficients in the units of the data | theta, those of the network | upper
triangle of the posterior covariance of its random entries | number of rows]``. Predictions average
over the posterior, where the mean is not linear in theta:

    E[p(y | x)] = integral of p(y | x' theta) N(theta; mode, covariance),

class probabilities by quadrature, means with a log link in closed form, with the share of the
covariance that the prior has learned to count there (``ConditionalPrior.spread``). Those of tasks
with few rows are averaged with a pooled fit, see :mod:`.few_shot`.
"""

import numpy as np

from ..kernels.losses import Poisson
from ..kernels.predictive import (
    predictive_mean,
    predictive_probabilities,
    predictive_softmax,
    predictor_moments,
)
from ..priors.conditional import fit_prior, posterior_modes, with_means_of
from ..priors.intervals import Calibration, quantiles
from .episodes import all_rows
from .few_shot import PROBABILITIES, pooled_values, proved

__all__ = ["GeneralizedPredictor", "generalized_rows", "learn_generalized"]


def learn_generalized(learner, table, *, plain=False, pooled=True, **settings):
    """Learn the prior of a network's parameters from a table of tasks, see :func:`fit_prior`.

    Unless that is all (``plain``), the prior must prove itself on tasks that are left out, and
    predictions of tasks with few rows may be averaged with a ``pooled`` fit.
    """

    def learned(fit, table, *args, **settings):
        batches = list(all_rows(learner, table))
        return fit(*args, learner.network, batches, _side(table, None), **settings)

    def predicted(prior, support, X, codes):
        rows = generalized_rows(learner, prior, support)
        predictor = GeneralizedPredictor(learner, prior)
        moments = predictor.moments(rows, X, codes)
        std = np.nan if learner.classes is not None else predictor.deviation(*moments)
        return predictor.values(rows, X, codes, moments), std

    prior = learned(fit_prior, table, **settings)
    if plain:
        return prior

    def without(others):
        return learned(with_means_of, others, prior)

    return proved(learner, prior, table, without, predicted, pooled=pooled)


def generalized_rows(learner, prior, table):
    """One parameter row for every task of a table."""
    n_rows = table.sums(table.weights)
    S = _side(table, prior.s_mean)
    theta, covariance = posterior_modes(prior, learner.network, all_rows(learner, table), S)
    i, j = np.triu_indices(covariance.shape[1])
    rows = [learner.rows(theta), theta, covariance[:, i, j], n_rows[:, None]]
    return np.concatenate(rows, axis=1).astype(learner.dtype, copy=False)


def _side(table, mean):
    """Side information of every task; its mean where it is not known."""
    if table.descriptors is not None:
        return table.descriptors
    return np.tile(np.zeros(0) if mean is None else mean, (table.n_tasks, 1))


class GeneralizedPredictor:
    """A GradientLearner's predictions, averaged over the posterior of its parameters."""

    def __init__(self, learner, prior):
        self.learner, self.prior = learner, prior

    def make_estimator(self, row):
        """The plain fitted estimator: its coefficients are averages of the mode and f0."""
        if self.prior.pull is not None:
            share, pooled = self.prior.pull(row[-1]), self.prior.pooled
            row = (1 - share) * row[: len(pooled)] + share * pooled
        return self.learner.make_estimator(row)

    def predict(self, method, params, X, index, moments=None):
        """Predict rows, each with its own parameter row; arguments as of the learner's."""
        if self.learner.classes is not None and not self._has_probabilities:
            return self.learner.predict(method, params, X, index)
        values, share = self.values(params, X, index, moments), np.zeros(len(X))
        if self.prior.pull is not None:
            share = self.prior.pull(params[index, -1])
        few = share > 0
        if few.any():
            pooled = pooled_values(self.learner, self.prior.pooled, X[few])
            share = share[few].reshape(-1, *[1] * (values.ndim - 1))
            values[few] += share * (pooled - values[few])
        if method == "predict_proba" or self.learner.classes is None:
            return values
        if method == "predict":
            return self.learner.classes[values.argmax(axis=1)]
        log_p = np.log(np.maximum(values, np.finfo(values.dtype).tiny))
        return log_p[:, 1] - log_p[:, 0] if values.shape[1] == 2 else log_p

    def with_deviation(self, params, X, index):
        """Predictions of targets, and standard deviations of new ones."""
        moments = self.moments(params, X, index)
        return self.predict("predict", params, X, index, moments), self.deviation(*moments)

    def values(self, params, X, index, moments=None):
        """Means, or probabilities, of the posterior alone; its moments, where they are known."""
        log_link = self.prior.model.family.log_link
        if not (self._has_probabilities or log_link):
            return self.learner.predict("predict", params, X, index).astype(
                params.dtype, copy=False
            )
        mean, variance = self.moments(params, X, index) if moments is None else moments
        if mean.shape[1] > 1:
            values = predictive_softmax(mean, variance)
        elif log_link:
            values = predictive_mean(mean[:, 0], variance[:, 0, 0])
        else:
            p = predictive_probabilities(mean[:, 0], variance[:, 0, 0])
            values = np.stack([1 - p, p], axis=1)
        return values.astype(params.dtype, copy=False)

    @property
    def _has_probabilities(self):
        return isinstance(self.learner.network.loss, PROBABILITIES)

    def deviation(self, mean, variance):
        """Standard deviations of new targets, of the moments of raw predictions."""
        loss, phi = self.learner.network.loss, self.prior.model.dispersion
        m, v = mean[:, 0], variance[:, 0, 0]
        if not self.prior.model.family.log_link:
            scale = getattr(self.learner.units, "y_scale", 1.0)
            return scale * np.sqrt(v + phi)
        power = 1 if isinstance(loss, Poisson) else getattr(loss, "power", 2)
        of_noise = phi * predictive_mean(power * m, power**2 * v)
        return np.sqrt(of_noise + predictive_mean(2 * m, 2 * v) * np.expm1(np.minimum(v, 50.0)))

    def interval(self, params, X, index, level):
        """Centres of intervals for new targets, and half their widths."""
        mean, deviation = self.with_deviation(params, X, index)
        calibration = self.prior.calibration or Calibration(0, {})
        half = quantiles(calibration, level, params[index, -1], np.inf) * deviation
        mean = mean.astype(np.float64)
        if self.learner.network.loss.allows(-1.0):
            return mean, half
        lower, upper = np.maximum(mean - half, 0.0), mean + half
        return 0.5 * (lower + upper), 0.5 * (upper - lower)

    def moments(self, params, X, index):
        """Means and covariances of raw predictions."""
        network, model = self.learner.network, self.prior.model
        n, size = network.n_params, len(model.factor)
        first = self.learner.rows(np.zeros((1, n))).shape[1]
        theta = params[:, first : first + n]
        covariance = np.zeros((len(params), size, size))
        i, j = np.triu_indices(size)
        covariance[:, i, j] = covariance[:, j, i] = params[:, first + n : -1]
        mean, variance = predictor_moments(
            self.learner.units.features(X),
            index,
            theta,
            covariance,
            model.random + (not network.intercept),
            n_outputs=network.sizes[-1],
        )
        offset = self.learner.offset(X)
        return (mean if offset is None else mean + offset), self.prior.spread * variance
