r"""Families of densities of a target given a raw prediction r, with the derivatives of each.

    log p(y | r) = -loss(r, y) / phi + c(y, phi)

Each family has side by side the loss with its first, second and third derivative in r (the last
from the two before it, so that no exponential is taken again), the constant c with its derivative
in log phi, and where r starts. ``phi`` is the dispersion, 1 where a family has none.

================== ================================================== ======================
family             loss                                               phi
================== ================================================== ======================
Gaussian           (r - y)² / 2                                       variance
HuberDensity       (r - y)² / 2, linear beyond epsilon                scale, squared
EpsilonDensity     max(0, \|r - y\| - epsilon)²                       scale, squared
PoissonFamily      exp(r) - y r                                       1
QuasiPoissonFamily exp(r) - y r                                       of Var y = phi mean
GammaFamily        r + y exp(-r)                                      1 / shape
TweedieFamily      exp(a r)/a - y exp(b r)/b, a = 2 - p, b = 1 - p    of Var y = phi mean^p
Bernoulli          log(1 + exp(r)) - y r                              1
Categorical        log sum_c exp(r_c) - sum_c y_c r_c                 1
HingeFamily        max(0, threshold - y r)²                           1 (pseudo-likelihood)
ModifiedHuberFamily max(0, 1 - y r)², linear below y r = -1           1 (pseudo-likelihood)
================== ================================================== ======================

Arrays have the outputs first, (n_outputs, n_tasks, n_rows); but for :class:`Categorical` the losses
of the outputs are summed (one against the rest). The second derivative of a row is a matrix over
outputs; ``product`` applies it, and ``slope`` is half the derivative of its trace with a matrix.

Laplace's approximation has a log-determinant of second derivatives. Those of Huber's loss and its
like jump, and so would the approximation; they have instead the expected ones, which depend on phi
alone, and hinges a ramp of width :data:`RAMP` (``information``).

The density of a Tweedie variable with 1 < p < 2 is a series in j, summed where its terms matter.
Other powers, and phi so small that the largest term is beyond :data:`MAX_TERMS`, have the
saddlepoint's constant, which is exact for p = 0 and p = 3.

References
----------
McCullagh, Nelder (1989), Generalized linear models. Dunn, Smyth (2005), Series evaluation of
Tweedie exponential dispersion model densities, Statistics and Computing 15. Nelder, Pregibon
(1987), An extended quasi-likelihood function, Biometrika 74.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, expit, gammaln, ndtr, xlogy

from . import losses

__all__ = [
    "Bernoulli",
    "Categorical",
    "EpsilonDensity",
    "Family",
    "GammaFamily",
    "Gaussian",
    "HingeFamily",
    "HuberDensity",
    "ModifiedHuberFamily",
    "PoissonFamily",
    "QuasiPoissonFamily",
    "TweedieFamily",
    "family_of",
]

RAMP = 0.2
MAX_TERMS = 1e5
SERIES_CELLS = 2**14  # terms that are summed at a time
NEGLIGIBLE = 37.0  # terms of a series below exp(-37) of the largest change no digit


class Family:
    """Losses that are summed over outputs, with densities that have no dispersion."""

    dispersed = False  # whether phi is estimated
    log_concave = True  # whether the second derivative is never negative
    differences = False  # whether only differences between outputs count
    overdisperses = False  # whether rows of a task each tell how r varies between tasks
    log_link = False  # whether the mean is exp(r)

    def derivatives(self, r, y):
        """Loss of every row, (n_tasks, n_rows); its first and second derivative in r."""
        raise NotImplementedError

    def third(self, y, first, second):
        """The third derivative from the first and the second; 0 of pieces of parabolas."""
        return np.zeros_like(first)

    def constant(self, y, phi):
        """c(y, phi) of every row and its derivative in log phi."""
        return np.zeros(y.shape[1:]), np.zeros(y.shape[1:])

    def information(self, r, y, phi):
        """What stands for the second derivative in log-determinants, if not itself.

        Returns it, its derivative in r, and its derivative in log phi.
        """
        return None

    def product(self, second, G):
        """The second derivative of every row times vectors G, (n, n_outputs, n_tasks, n_rows)."""
        return second * G

    def slope(self, y, first, second, G, SG):
        """Half the derivative in r of ``tr(second G' S G)``, G and SG as in ``product``."""
        third = self.third(y, first, second)
        return 0.5 * third * np.einsum("qktn,qktn->ktn", G, SG)

    def start(self, mean):
        """Raw predictions, (n_outputs,), where all rows have this mean."""
        return mean

    def unit(self, deviation):
        """A typical difference of raw predictions, given the standard deviation of y."""
        return 1.0

    def start_dispersion(self, mean, deviation):
        return 1.0


def _of_all_rows(y, value, slope):
    """A constant, and its derivative, that depend on phi alone."""
    return np.full(y.shape[1:], value), np.full(y.shape[1:], slope)


@dataclass(frozen=True)
class Gaussian(Family):
    dispersed = True

    def derivatives(self, r, y):
        z = r - y
        return 0.5 * (z * z).sum(axis=0), z, np.ones_like(z)

    def constant(self, y, phi):
        half = 0.5 * len(y)
        return _of_all_rows(y, -half * np.log(2 * np.pi * phi), -half)

    def unit(self, deviation):
        return deviation

    def start_dispersion(self, mean, deviation):
        return 0.5 * deviation**2


@dataclass(frozen=True)
class HuberDensity(Gaussian):
    epsilon: float = 1.35

    def derivatives(self, r, y):
        z = r - y
        near = np.clip(z, -self.epsilon, self.epsilon)
        inside = (np.abs(z) <= self.epsilon).astype(z.dtype)
        return (near * (z - 0.5 * near)).sum(axis=0), near, inside

    def _integrals(self, phi):
        """Of exp(-loss / phi) below and beyond epsilon, and the density's edge."""
        c = self.epsilon / np.sqrt(phi)
        edge = np.exp(-0.5 * c * c)
        core = np.sqrt(2 * np.pi * phi) * (2 * ndtr(c) - 1)
        return core, 2 * phi / self.epsilon * edge, self.epsilon * edge

    def constant(self, y, phi):
        core, tail, _ = self._integrals(phi)
        Z = core + tail
        return _of_all_rows(y, -len(y) * np.log(Z), -len(y) * (0.5 * core + tail) / Z)

    def information(self, r, y, phi):
        core, tail, edge = self._integrals(phi)
        Z = core + tail
        change = 0.5 * core - edge - core * (0.5 * core + tail) / Z
        return np.full_like(r, core / Z), np.zeros_like(r), np.full_like(r, change / Z)


@dataclass(frozen=True)
class EpsilonDensity(Gaussian):
    epsilon: float = 0.1

    def derivatives(self, r, y):
        z = r - y
        beyond = z - np.clip(z, -self.epsilon, self.epsilon)
        return (beyond * beyond).sum(axis=0), 2 * beyond, 2.0 * (beyond != 0)

    def constant(self, y, phi):
        root = np.sqrt(np.pi * phi)
        Z = 2 * self.epsilon + root
        return _of_all_rows(y, -len(y) * np.log(Z), -len(y) * 0.5 * root / Z)

    def information(self, r, y, phi):
        root = np.sqrt(np.pi * phi)
        share = root / (2 * self.epsilon + root)
        return np.full_like(r, 2 * share), np.zeros_like(r), np.full_like(r, share * (1 - share))


class LogLink(Family):
    """Families with mean exp(r) and ``Var y = phi mean^power``."""

    log_link = True
    power = 1
    least = 1e-6  # mean of rows, where r starts
    dispersions = 1e-6, 1e3  # twice what phi starts within

    def start(self, mean):
        return np.log(np.maximum(mean, self.least))

    def start_dispersion(self, mean, deviation):
        if not self.dispersed:
            return 1.0
        ratio = deviation**2 / max(np.mean(mean), self.least) ** self.power
        return 0.5 * float(np.clip(ratio, *self.dispersions))


@dataclass(frozen=True)
class PoissonFamily(LogLink):
    overdisperses = True

    def derivatives(self, r, y):
        mean = np.exp(r)
        return (mean - y * r).sum(axis=0), mean - y, mean

    def third(self, y, first, second):
        return second

    def constant(self, y, phi):
        return -gammaln(y + 1).sum(axis=0), np.zeros(y.shape[1:])


@dataclass(frozen=True)
class QuasiPoissonFamily(PoissonFamily):
    """``Var y = phi mean``: the extended quasi-likelihood, its variance at ``y + 1/6``."""

    dispersed = True
    dispersions = 2.0, 1e6

    def constant(self, y, phi):
        saturated = (y - xlogy(y, y)) / phi
        value = saturated - 0.5 * np.log(2 * np.pi * phi * (y + 1 / 6))
        return value.sum(axis=0), (-saturated - 0.5).sum(axis=0)


@dataclass(frozen=True)
class GammaFamily(LogLink):
    dispersed = True
    power = 2
    least = 1e-150  # whose square is a number

    def derivatives(self, r, y):
        ratio = y * np.exp(-r)
        return (r + ratio).sum(axis=0), 1 - ratio, ratio

    def third(self, y, first, second):
        return -second

    def constant(self, y, phi):
        k, log_y = 1 / phi, np.log(y)
        value = k * np.log(k) + (k - 1) * log_y - gammaln(k)
        return value.sum(axis=0), (-k * (np.log(k) + 1 + log_y - digamma(k))).sum(axis=0)


@dataclass(frozen=True)
class TweedieFamily(LogLink):
    dispersed = True
    power: float = 1.5

    @property
    def log_concave(self):
        return 1 <= self.power <= 2

    @property
    def _ab(self):
        return 2 - self.power, 1 - self.power

    def derivatives(self, r, y):
        a, b = self._ab
        up, down = np.exp(a * r), y * np.exp(b * r)
        return (up / a - down / b).sum(axis=0), up - down, a * up - b * down

    def third(self, y, first, second):
        a, b = self._ab
        return a * a * (second - b * first) - b * b * (second - a * first)

    def constant(self, y, phi):
        a, b = self._ab
        if 1 < self.power < 2 and y.max(initial=0.0) ** a < MAX_TERMS * a * phi:
            value, slope = _tweedie_series(y, phi, self.power)
            return value.sum(axis=0), slope.sum(axis=0)
        log_y = np.log(np.maximum(y, 1e-300))
        saturated = np.exp(a * log_y) * (1 / a - 1 / b) / phi
        value = saturated - 0.5 * (np.log(2 * np.pi * phi) + self.power * log_y)
        return value.sum(axis=0), (-saturated - 0.5).sum(axis=0)


def _tweedie_series(y, phi, power):
    """log sum_j W_j - log y of y > 0, 0 of y = 0, and its derivative in log phi.

    ``W_j = z^j / (j! Gamma(-j alpha))``, ``log z = -alpha log y + alpha log(p - 1)
    - (1 - alpha) log phi - log(2 - p)``, ``alpha = (2 - p) / (1 - p)``. The largest term is near
    ``j = y^(2 - p) / ((2 - p) phi)``; terms decay at least as those of a Gaussian whose variance
    is that j (Dunn and Smyth).
    """
    alpha = (2 - power) / (1 - power)
    distinct, where = np.unique(y, return_inverse=True)
    log_y = np.log(np.maximum(distinct, 1e-300))
    log_z = -alpha * (log_y - np.log(power - 1)) - (1 - alpha) * np.log(phi) - np.log(2 - power)
    top = np.exp((2 - power) * log_y) / ((2 - power) * phi)
    reach = 5 + np.sqrt(2 * NEGLIGIBLE * (top + NEGLIGIBLE / 8))
    first = np.maximum(np.floor(top - reach), 1.0)

    def log_term(j):
        return j * log_z - gammaln(j + 1) - gammaln(-j * alpha)

    largest = log_term(np.maximum(np.rint(top), 1.0))
    total, weighted = np.zeros((2, len(distinct)))
    last = np.ceil(top + reach)
    n_steps = int((last - first).max(initial=0)) + 1
    size = max(1, SERIES_CELLS // max(1, len(distinct)))
    for lo in range(0, n_steps, size):
        j = first + np.arange(lo, min(lo + size, n_steps))[:, None]
        term = np.where(j <= last, np.exp(log_term(j) - largest), 0.0)
        total += term.sum(axis=0)
        weighted += (j * term).sum(axis=0)
    positive = distinct > 0
    value = np.where(positive, np.log(total) + largest - log_y, 0.0)
    slope = np.where(positive, -(1 - alpha) * weighted / total, 0.0)
    return value[where].reshape(y.shape), slope[where].reshape(y.shape)


@dataclass(frozen=True)
class Bernoulli(Family):
    def derivatives(self, r, y):
        small = np.exp(-np.abs(r))
        p = np.where(r >= 0, 1.0, small) / (1 + small)
        loss = np.log1p(small) + np.maximum(r, 0) - y * r
        return loss.sum(axis=0), p - y, small / (1 + small) ** 2

    def third(self, y, first, second):
        return second * (1 - 2 * (y + first))

    def start(self, mean):
        p = np.clip(mean, 1e-3, 1 - 1e-3)
        return np.log(p / (1 - p))


@dataclass(frozen=True)
class Categorical(Family):
    """``second`` is the vector of probabilities p, the second derivative ``diag(p) - p p'``."""

    differences = True

    def derivatives(self, r, y):
        top = r.max(axis=0)
        e = np.exp(r - top)
        total = e.sum(axis=0)
        p = e / total
        return np.log(total) + top - (y * r).sum(axis=0), p - y, p

    def product(self, second, G):
        pG = second * G
        return pG - second * pG.sum(axis=1, keepdims=True)

    def slope(self, y, first, second, G, SG):
        diagonal = np.einsum("qktn,qktn->ktn", G, SG)
        with_p = np.einsum("qktn,qtn->ktn", G, np.einsum("qktn,ktn->qtn", SG, second))
        return 0.5 * self.product(second, (diagonal - 2 * with_p)[None])[0]

    def start(self, mean):
        r = np.log(np.clip(mean, 1e-3, 1))
        return r - r.mean()


@dataclass(frozen=True)
class HingeFamily(Family):
    threshold: float = 1.0

    def derivatives(self, r, y):
        z = np.maximum(self.threshold - y * r, 0)
        return (z * z).sum(axis=0), -2 * y * z, 2.0 * (z > 0)

    def information(self, r, y, phi):
        p = expit((self.threshold - y * r) / RAMP)
        return 2 * p, -2 * y * p * (1 - p) / RAMP, np.zeros_like(r)

    def start(self, mean):
        return np.zeros_like(mean)


@dataclass(frozen=True)
class ModifiedHuberFamily(HingeFamily):
    def derivatives(self, r, y):
        z = y * r
        near = np.clip(1 - z, 0, 2)
        loss = near * (near + 2 * (1 - z - near))  # (1 - z)², then -4 z
        return loss.sum(axis=0), -2 * y * near, 2.0 * ((z >= -1) & (z < 1))

    def information(self, r, y, phi):
        p, q = expit((1 - y * r) / RAMP), expit((-1 - y * r) / RAMP)
        return 2 * (p - q), -2 * y * (p * (1 - p) - q * (1 - q)) / RAMP, np.zeros_like(r)


def family_of(loss):
    """The family of a loss of :mod:`.losses` that has curvature."""
    match loss:
        case losses.Tweedie(power=1):
            return PoissonFamily()
        case losses.Tweedie(power=2):
            return GammaFamily()
        case losses.Tweedie(power=power):
            return TweedieFamily(power)
        case losses.Huber(epsilon=epsilon):
            return HuberDensity(epsilon)
        case losses.EpsilonInsensitive(epsilon=epsilon, squared=True):
            return EpsilonDensity(epsilon)
        case losses.Hinge(threshold=threshold, squared=True):
            return HingeFamily(threshold)
    families = {
        losses.Squared: Gaussian,
        losses.Poisson: PoissonFamily,
        losses.Gamma: GammaFamily,
        losses.Logistic: Bernoulli,
        losses.Multinomial: Categorical,
        losses.ModifiedHuber: ModifiedHuberFamily,
    }
    if type(loss) not in families:
        raise ValueError(f"{loss} has no curvature, and so no approximation of Laplace.")
    return families[type(loss)]()
