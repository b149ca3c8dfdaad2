"""Families of densities against differences, scipy.stats and integrals."""

import numpy as np
import pytest
from family_cases import FAMILIES, draw
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import gamma, invgauss, norm, poisson

from sklearn_meta.kernels import losses
from sklearn_meta.kernels.families import (
    EpsilonDensity,
    GammaFamily,
    Gaussian,
    HuberDensity,
    PoissonFamily,
    TweedieFamily,
    family_of,
)


@pytest.mark.parametrize("name", FAMILIES)
def test_derivatives_and_constants(name):
    family, K = FAMILIES[name]
    rng = np.random.default_rng(0)
    r, phi, h = 0.7 * rng.standard_normal((K, 5, 4)), 0.6, 1e-5
    y = np.moveaxis(draw(family, np.moveaxis(r, 0, -1), rng), -1, 0)
    loss, first, second = family.derivatives(r, y)
    assert loss.shape == (5, 4)
    S = rng.standard_normal((K, K))
    S = S @ S.T
    G = np.repeat(np.eye(K)[:, :, None, None], 5, axis=2).repeat(4, axis=3)
    SG = np.einsum("ab,bktn->aktn", S, G)
    slope = family.slope(y, first, second, G, SG)
    for k in range(K):
        step = h * (np.arange(K) == k)[:, None, None]
        up, down = family.derivatives(r + step, y), family.derivatives(r - step, y)
        assert_allclose((up[0] - down[0]) / (2 * h), first[k], atol=1e-8)
        if family.information(r, y, phi) is None:
            products = [family.product(part[2], SG) for part in (up, down)]
            traces = [np.einsum("aatn->tn", product) for product in products]
            assert_allclose((traces[0] - traces[1]) / (4 * h), slope[k], atol=1e-7)
        assert_allclose((up[1] - down[1]) / (2 * h), family.product(second, G)[k], atol=1e-8)
    smooth = family.information(r, y, phi)
    if smooth is not None:
        up, down = family.information(r + h, y, phi)[0], family.information(r - h, y, phi)[0]
        assert_allclose((up - down) / (2 * h), smooth[1], atol=1e-8)
    changed = [(f(phi * np.exp(s * h))) for s in (1, -1) for f in [lambda p: p]]
    up, down = (family.constant(y, p)[0] for p in changed)
    assert_allclose((up - down) / (2 * h), family.constant(y, phi)[1], atol=1e-7)
    if smooth is not None:
        up, down = (family.information(r, y, p)[0] for p in changed)
        assert_allclose((up - down) / (2 * h), smooth[2], atol=1e-8)


def log_density(family, r, y, phi):
    r, y = np.full((1, 1, 1), r), np.full((1, 1, 1), y)
    return float((-family.derivatives(r, y)[0] / phi + family.constant(y, phi)[0])[0, 0])


def test_densities_are_those_of_scipy_and_sum_to_one():
    r, y, phi = 0.3, 1.7, 0.4
    mean = np.exp(r)
    exact = {
        GammaFamily(): gamma(1 / phi, scale=mean * phi).logpdf(y),
        Gaussian(): norm(r, np.sqrt(phi)).logpdf(y),
        TweedieFamily(3.0): invgauss(mean * phi, scale=1 / phi).logpdf(y),
    }
    for family, value in exact.items():
        assert_allclose(log_density(family, r, y, phi), value)
    assert_allclose(log_density(PoissonFamily(), r, 3.0, 1.0), poisson(mean).logpmf(3))
    for power, phi in ((1.2, 0.5), (1.5, 0.05), (1.5, 2.0), (1.8, 1.0)):
        a, b = 2 - power, 1 - power  # y is a Poisson number of gamma variables
        rate, scale = mean**a / (phi * a), phi * -b * mean**-b
        n = np.arange(1, 400)
        terms = poisson(rate).logpmf(n) + gamma(n * a / -b, scale=scale).logpdf(y)
        family = TweedieFamily(power)
        assert_allclose(log_density(family, r, y, phi), logsumexp(terms), rtol=1e-10)
        assert_allclose(log_density(family, r, 0.0, phi), -rate)
    for family in (HuberDensity(0.8), EpsilonDensity(0.4)):
        total = quad(lambda y, f=family: np.exp(log_density(f, 0.0, y, 0.6)), -30, 30, points=[0])
        assert_allclose(total[0], 1.0)


def test_every_loss_with_curvature_has_a_family():
    rng = np.random.default_rng(0)
    r, coded = rng.standard_normal((3, 4, 1)), np.ones((3, 4, 1))
    for loss in (
        losses.Squared(),
        losses.Huber(1.1),
        losses.EpsilonInsensitive(0.3, squared=True),
        losses.Poisson(),
        losses.Gamma(),
        losses.Tweedie(1),
        losses.Tweedie(1.3),
        losses.Tweedie(2),
        losses.Logistic(),
        losses.Multinomial(),
        losses.Hinge(1.0, squared=True),
        losses.ModifiedHuber(),
    ):
        first = family_of(loss).derivatives(np.moveaxis(r, -1, 0), np.moveaxis(coded, -1, 0))[1]
        assert_allclose(np.moveaxis(first, 0, -1), loss.gradient(r, coded), err_msg=str(loss))
    for loss in (losses.Hinge(), losses.EpsilonInsensitive()):
        with pytest.raises(ValueError, match="no curvature"):
            family_of(loss)
