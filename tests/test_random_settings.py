"""Random values of all parameters, as each class declares them: no prediction is not finite.

``N_SETTINGS=34 pytest tests/test_random_settings.py`` makes 10,200 adaptations.
"""

import os
from numbers import Integral

import numpy as np
import pytest
from algorithms import CLASSES, make_table
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils._param_validation import Interval, Options, make_constraint

from sklearn_meta import PrototypeClassifier

N_SETTINGS = int(os.environ.get("N_SETTINGS", "1"))
N_ADAPTATIONS = 25
NETWORK = {"hidden_layer_sizes": (3,), "max_iter": 5}
WRAPPED = [
    LinearRegression(),
    Ridge(),
    PoissonRegressor(),
    DecisionTreeRegressor(max_depth=2),
    HistGradientBoostingRegressor(max_iter=2),
    MLPRegressor(**NETWORK),
    LogisticRegression(),
    DecisionTreeClassifier(max_depth=2),
    HistGradientBoostingClassifier(max_iter=2),
    MLPClassifier(**NETWORK),
]
OTHERS = ("estimator", "body", "descriptor", "descriptor_columns", "kernel", "task_column")
OTHERS += ("random_state", "n_jobs", "columns", "classes")

pytestmark = pytest.mark.filterwarnings("ignore")


def drawn(constraint, rng):
    """A value that a constraint of a parameter allows; None where it is of another kind."""
    constraint = make_constraint(constraint)
    if isinstance(constraint, Options):
        return rng.choice(sorted(constraint.options)).item()
    if isinstance(constraint, Interval) and constraint.type is Integral:
        return int(constraint.left + rng.integers(0 if constraint.closed == "left" else 1, 5))
    if isinstance(constraint, Interval):
        value = float(10 ** rng.uniform(-6, 3))
        return value if constraint.right is None else min(value, 0.5 * constraint.right)
    return bool(rng.integers(2)) if constraint == make_constraint("boolean") else None


def settings_of(cls, rng):
    """A random value for every parameter that has options or a range."""
    settings = {}
    for name, constraints in cls._parameter_constraints.items():
        if name in cls().get_params(deep=False) and name not in OTHERS:
            values = [drawn(constraint, rng) for constraint in constraints]
            values = [value for value in values if value is not None]
            if values:
                settings[name] = values[rng.integers(len(values))]
    return settings


@pytest.mark.parametrize("seed", range(N_SETTINGS))
@pytest.mark.parametrize("cls", CLASSES)
def test_predictions_are_finite(cls, seed):
    rng = np.random.default_rng([CLASSES.index(cls), seed])
    wrapped = [e for e in WRAPPED if is_classifier(e) or cls is not PrototypeClassifier]
    n_adaptations = 0
    while n_adaptations < N_ADAPTATIONS:
        estimator = wrapped[rng.integers(len(wrapped))]
        table = make_table(estimator, seed=rng.integers(2**31))
        X = table.X * 10 ** rng.uniform(-3, 3, 3)
        meta = cls(estimator, random_state=0) if "random_state" in cls().get_params() else cls()
        meta.set_params(**settings_of(cls, rng))
        try:
            meta.fit(X, table.y, groups=table.ids)
        except (TypeError, ValueError) as error:
            assert len(str(error)) > 20, error  # settings that do not go together
            continue
        for _ in range(N_ADAPTATIONS):
            rows = rng.integers(len(X), size=rng.integers(12))
            meta.adapt(X[rows], table.y[rows])
            for method in ("predict", "predict_proba"):
                if hasattr(meta, method):
                    values = getattr(meta, method)(X)
                    assert values.dtype.kind != "f" or np.isfinite(values).all(), meta
            n_adaptations += 1
