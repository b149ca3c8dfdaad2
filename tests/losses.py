"""One loss of each kind, for tests of what is built on losses."""

from sklearn_meta.kernels.losses import (
    EpsilonInsensitive,
    Gamma,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Multinomial,
    Poisson,
    Squared,
    Tweedie,
)

LOSSES = [
    Squared(),
    Huber(0.5),
    EpsilonInsensitive(),
    EpsilonInsensitive(squared=True),
    Poisson(),
    Gamma(),
    Tweedie(1.5),
    Logistic(),
    Multinomial(),
    Hinge(),
    Hinge(squared=True),
    ModifiedHuber(),
]
