"""Generalised linear mixed models against lme4's glmer and glmmTMB; see golden/README.md."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from family_cases import fit
from numpy.testing import assert_allclose
from scipy.special import gammaln, xlogy

from sklearn_meta.kernels.families import (
    Bernoulli,
    GammaFamily,
    PoissonFamily,
    TweedieFamily,
)

GOLDEN = Path(__file__).parent / "golden"


def read(name):
    return pd.read_csv(GOLDEN / "data" / name)


@pytest.fixture(scope="module")
def golden():
    table = pd.read_csv(GOLDEN / "glmer.csv")
    return {
        name: dict(zip(g["name"], g["value"], strict=True)) for name, g in table.groupby("model")
    }


def check(model, expected, *, relative_to=0.0):
    assert model.converged
    numbers = {f"b{i}": b for i, b in enumerate(model.B[:, 0], 1)}
    V = model.covariance
    for i, at in enumerate(zip(*np.triu_indices(len(V)), strict=True), 1):
        numbers[f"v{i}"] = V[at]
    numbers["log_likelihood"] = model.log_likelihood - relative_to
    if "dispersion" in expected:
        numbers["dispersion"] = model.dispersion
    assert set(numbers) == set(expected)
    for name, value in expected.items():
        assert_allclose(numbers[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert_allclose(numbers["log_likelihood"], expected["log_likelihood"], atol=1e-4)


def contraception(**kwargs):
    table = read("contraception.csv")
    X = table[["age", "age2", "urban"]]
    return fit(X, table["use"], table["district"], Bernoulli(), **kwargs)


@pytest.mark.parametrize(
    "name, options",
    [
        ("contraception_1", dict(random=[0])),
        ("contraception_9", dict(random=[0], n_quadrature=9)),
        ("contraception_slope", dict(random=[0, 3])),
        ("contraception_diag", dict(random=[0, 3], covariance="diag")),
    ],
)
def test_glmer_contraception(golden, name, options):
    check(contraception(**options), golden[name])


def test_glmer_cbpp(golden):
    """Counts are weights of a row of 1 and a row of 0."""
    table = read("cbpp.csv")
    k, n = table["incidence"], table["size"]
    X = np.concatenate([table["period"].to_numpy()[:, None] == [2, 3, 4]] * 2)
    y, herd = np.repeat([1.0, 0.0], len(k)), np.tile(table["herd"], 2)
    models = [
        fit(X, y, herd, Bernoulli(), weight=np.append(k, n - k), random=[0], n_quadrature=nodes)
        for nodes in (1, 9)
    ]
    coefficients = (gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)).sum()
    saturated = (xlogy(k, k / n) + xlogy(n - k, 1 - k / n)).sum()
    check(models[0], golden["cbpp_rows"])
    check(models[0], golden["cbpp_1"], relative_to=-coefficients)
    check(models[1], golden["cbpp_9"], relative_to=saturated)


def test_glmer_grouseticks(golden):
    table = read("grouseticks.csv")
    X, y = table[["year96", "year97", "cHEIGHT"]], table["TICKS"]
    one, nine = (
        fit(X, y, table["BROOD"], PoissonFamily(), random=[0], n_quadrature=n) for n in (1, 9)
    )
    check(one, golden["grouseticks_1"])
    check(nine, golden["grouseticks_9"], relative_to=(xlogy(y, y) - y - gammaln(y + 1)).sum())
    tweedie = fit(X, y, table["BROOD"], TweedieFamily(1.5), random=[0])
    check(tweedie, golden["grouseticks_tweedie"])


def test_glmmtmb_gamma(golden):
    table = read("sleepstudy.csv")
    model = fit(table[["Days"]], table["Reaction"], table["Subject"], GammaFamily(), random=[0])
    check(model, golden["sleepstudy_gamma"])
