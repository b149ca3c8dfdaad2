"""Every algorithm around every kind of estimator, at the smallest sizes: the list of all tests."""

import copy
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import get_tags

from sklearn_meta import (
    ANIL,
    FOMAML,
    IMAML,
    MAML,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    MetaClassifier,
    MetaRegressor,
    MetaSGD,
    Pooled,
    PrototypeClassifier,
    Reptile,
    RidgeHead,
    Task,
    TransferMetaLearner,
)

PLAIN = [
    Pooled,
    Independent,
    HierarchicalBayes,
    GaussianProcessMeta,
    BatchMetaLearner,
    TransferMetaLearner,
]
GRADIENT = [MAML, FOMAML, ANIL, MetaSGD, IMAML, Reptile]
CLASSES = PLAIN + GRADIENT  # that wrap any estimator
FRONT = [MetaRegressor, MetaClassifier]  # which wrap no estimator, but are stacks
SMALL = {BatchMetaLearner: {"n_estimators": 2}}
SMALL |= {cls: {"max_iter": 3, "inner_lr": 0.1, "inner_steps": 2} for cls in GRADIENT}
SMALL |= {cls: {"max_iter": 3} for cls in (PrototypeClassifier, RidgeHead)}
AUTO = {"inner_lr": "auto", "inner_steps": "auto"}  # many times as dear, so for two of them


def make_meta(cls, wrapped=None, **params):
    """A new object of the smallest size, with a seed where it takes one."""
    params = SMALL.get(cls, {}) | params
    if "random_state" in cls().get_params():
        params.setdefault("random_state", 0)
    return cls(clone(wrapped, safe=False), **params)


def name_of(wrapped):
    if isinstance(wrapped, list):
        return "+".join(name for name, _ in wrapped)
    if isinstance(wrapped, Pipeline):
        return f"Pipeline({name_of(wrapped[-1])})"
    loss = "log_loss" if getattr(wrapped, "loss", None) == "log_loss" else ""
    return "None" if wrapped is None else f"{type(wrapped).__name__}({loss})"


@dataclass
class LongTable:
    """Rows of many tasks, shuffled, and who owns them."""

    X: np.ndarray
    y: np.ndarray
    ids: np.ndarray

    names = ("size", "price", "age")

    @property
    def tasks(self):
        """In the order in which the ids first appear, as ``fit`` finds them."""
        ids = list(dict.fromkeys(self.ids.tolist()))
        return [Task(self.X[self.ids == i], self.y[self.ids == i], id=i) for i in ids]

    def frame(self, library="pandas", column="store", X=None):
        """The table as a dataframe, the ids in its middle."""
        library = pytest.importorskip(library, reason="needs the dataframe library")
        X = self.X if X is None else X
        columns = {"size": X[:, 0], column: self.ids, "price": X[:, 1], "age": X[:, 2]}
        return library.DataFrame(columns)


def make_table(estimator=None, n_tasks=6, n_rows=10, seed=0, n_classes=3):
    """Six tasks with the kind of target that the estimator wants."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat([f"store_{t}" for t in range(n_tasks)], n_rows))
    X = rng.standard_normal((len(ids), 3))
    _, task = np.unique(ids, return_inverse=True)
    slopes = [1.0, -0.5, 0.25] + 0.3 * rng.standard_normal((n_tasks, 3))
    raw = rng.standard_normal(n_tasks)[task] + np.sum(X * slopes[task], axis=1)
    raw += 0.1 * rng.standard_normal(len(raw))
    if estimator is not None and get_tags(estimator).estimator_type == "classifier":
        bins = [0.4, 0.7] if n_classes == 3 else [0.5]
        y = np.array(["low", "mid", "high"])[np.digitize(raw, np.quantile(raw, bins))]
    else:
        y = raw - raw.min() + 1.0  # positive, for Poisson and Gamma
    return LongTable(X, y, ids)


@dataclass(frozen=True, eq=False)
class Case:
    """An algorithm around an estimator: ``case()`` is a new object; what it fits first is kept."""

    cls: type
    wrapped: object = None
    n_classes: int = 3
    params: dict = field(default_factory=dict)

    def __call__(self, **params):
        return make_meta(self.cls, self.wrapped, **self.params | params)

    def __str__(self):
        mode = "".join(f"-{value}" for value in dict.fromkeys(map(str, self.params.values())))
        two = "-binary" if self.n_classes == 2 else ""
        return f"{self.cls.__name__}{mode}-{name_of(self.wrapped)}{two}"

    @cached_property
    def table(self):
        # Weights of stacks take three tasks; the default ones fit all that they know many times.
        n_tasks = 3 if self.wrapped is None and self.cls in FRONT else 6
        return make_table(self(), n_tasks=n_tasks, n_classes=self.n_classes)

    def new_tasks(self, n_tasks):
        return make_table(self(), n_tasks=n_tasks, seed=1, n_classes=self.n_classes).tasks

    @cached_property
    def _fitted(self):
        return self().fit(self.table.X, self.table.y, groups=self.table.ids)

    @cached_property
    def _trained(self):
        return self().meta_fit(self.table.tasks)

    def fitted(self):
        """Knows the tasks of the table by their ids. A copy: adapting only rebinds attributes."""
        return copy.copy(self._fitted)

    def trained(self):
        """Meta-trained on the same tasks, none of them remembered."""
        return copy.copy(self._trained)


# Lasso() and ElasticNet() explain too little for scikit-learn's own check_regressors_train, which
# sets alpha=0.01 on estimators that have this parameter themselves.
SQUARED = [
    None,
    LinearRegression(),
    Ridge(),
    Lasso(alpha=0.01),
    ElasticNet(alpha=0.01),
    SGDRegressor(),
    make_pipeline(StandardScaler(), Ridge()),
]
OTHER_LINEAR = [
    HuberRegressor(),
    PoissonRegressor(),
    GammaRegressor(),
    TweedieRegressor(power=1.5),
    LinearSVR(),
    LogisticRegression(),
    SGDClassifier(),
    SGDClassifier(loss="log_loss"),
    RidgeClassifier(),
    LinearSVC(),
    Perceptron(),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
NEIGHBORS = KNeighborsClassifier(algorithm="brute")  # a tree of neighbours counts its queries
BLACK_BOXES = [
    DecisionTreeClassifier(),
    HistGradientBoostingRegressor(max_iter=5),
    KNeighborsClassifier(),
]
CANDIDATES = {
    MetaRegressor: [
        ("pooled", Pooled()),
        ("boosting", HierarchicalBayes(HistGradientBoostingRegressor(max_iter=3))),
        ("trees", Independent(DecisionTreeRegressor(max_depth=2))),
    ],
    MetaClassifier: [
        ("pooled", Pooled(LogisticRegression())),
        ("own", Independent(LogisticRegression())),
    ],
}
WRAPPED = {
    Pooled: [
        *SQUARED,
        *OTHER_LINEAR,
        *BLACK_BOXES,
        BayesianRidge(),
        ExtraTreesRegressor(n_estimators=3),
        GaussianNB(),
        GradientBoostingClassifier(n_estimators=2),
        SVC(),
    ],
    Independent: SQUARED + OTHER_LINEAR + BLACK_BOXES,
    HierarchicalBayes: [
        *SQUARED,
        HuberRegressor(),
        PoissonRegressor(),
        GammaRegressor(),
        TweedieRegressor(power=1.5),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        DecisionTreeClassifier(),
        HistGradientBoostingRegressor(max_iter=5),
    ],
    BatchMetaLearner: [
        Ridge(),
        SGDRegressor(),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        DecisionTreeClassifier(),
        HistGradientBoostingRegressor(max_iter=5),
        NEIGHBORS,
        SVR(),  # distances suffer from columns that leave the range of training
    ],
    TransferMetaLearner: [
        None,
        LogisticRegression(),
        make_pipeline(StandardScaler(), Ridge()),
        HistGradientBoostingRegressor(max_iter=5),
    ],
    GaussianProcessMeta: [  # weights are repetition where no transformer learns from rows
        None,
        LinearRegression(),
        make_pipeline(Normalizer(), Ridge()),
        HistGradientBoostingRegressor(max_iter=5),
    ],
    MAML: [
        LogisticRegression(),
        MLPClassifier(hidden_layer_sizes=(8,), max_iter=100),
        HistGradientBoostingRegressor(max_iter=5),
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), Ridge()),
    ],
    Reptile: [LogisticRegression()],
    MetaRegressor: [None, CANDIDATES[MetaRegressor]],
    MetaClassifier: [None, CANDIDATES[MetaClassifier]],
    RidgeHead: [
        MLPRegressor(hidden_layer_sizes=(16,), max_iter=100),
        Ridge(),
        LogisticRegression(),
        make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(8,), max_iter=100)),
    ],
    PrototypeClassifier: [
        None,
        LogisticRegression(),
        MLPClassifier(hidden_layer_sizes=(8,), max_iter=100),
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
    ],
} | {cls: [None, LogisticRegression()] for cls in (FOMAML, ANIL, MetaSGD, IMAML)}
PRIORS = [None, HuberRegressor(), LogisticRegression(), make_pipeline(StandardScaler(), Ridge())]

# For scikit-learn's checks, and what an adapted object looks like.
PAIRS = [Case(cls, wrapped) for cls in WRAPPED for wrapped in WRAPPED[cls]]
PAIRS += [Case(BatchMetaLearner, wrapped, params={"conditioning": "prior"}) for wrapped in PRIORS]
PAIRS += [Case(MAML, params=AUTO), Case(Reptile, params=AUTO)]

# The whole contract: every algorithm with every kind of learner, each kind once. Kinds are closed
# forms, other losses, labels with and without probabilities, networks, what has no gradients, and
# pipelines.
KINDS = {
    Pooled: [
        None,
        PoissonRegressor(),
        SGDClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        DecisionTreeClassifier(),
        HistGradientBoostingRegressor(max_iter=5),
    ],
    HierarchicalBayes: [
        None,
        make_pipeline(StandardScaler(), SGDRegressor()),
        PoissonRegressor(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        DecisionTreeClassifier(),
        HistGradientBoostingRegressor(max_iter=3),
        NEIGHBORS,
    ],
    BatchMetaLearner: [
        SGDRegressor(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingRegressor(max_iter=5),
        NEIGHBORS,
    ],
    TransferMetaLearner: WRAPPED[TransferMetaLearner],
    GaussianProcessMeta: [
        None,
        make_pipeline(StandardScaler(), Ridge()),
        HistGradientBoostingRegressor(max_iter=3),
    ],
    MAML: [
        None,
        PoissonRegressor(),
        LogisticRegression(),
        MLPRegressor(hidden_layer_sizes=(4,), max_iter=20),
        HistGradientBoostingRegressor(max_iter=3),
        RandomForestClassifier(n_estimators=3),
        SVC(),
        make_pipeline(StandardScaler(), NEIGHBORS),
    ],
}
KINDS |= {cls: [CANDIDATES[cls]] for cls in CANDIDATES}
KINDS[RidgeHead] = [
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=20),
    make_pipeline(StandardScaler(), LinearRegression()),
    MLPClassifier(hidden_layer_sizes=(4,), max_iter=20),
    LinearDiscriminantAnalysis(),
]
KINDS[PrototypeClassifier] = [
    None,
    MLPClassifier(hidden_layer_sizes=(4,), max_iter=20),
    make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")),
]
KINDS[Independent] = [*KINDS[Pooled], LogisticRegression(), KNeighborsClassifier()]
EACH_GRADIENT = [
    (None, 3),
    (LogisticRegression(), 2),
    (MLPClassifier(hidden_layer_sizes=(4,), max_iter=20), 3),
    (make_pipeline(StandardScaler(), DecisionTreeClassifier()), 2),
]
CASES = [Case(cls, wrapped) for cls in KINDS for wrapped in KINDS[cls]]
CASES += [Case(BatchMetaLearner, wrapped, params={"conditioning": "prior"}) for wrapped in PRIORS]
CASES += [Case(GaussianProcessMeta, params={"kernel": RBF()})]
CASES += [Case(cls, *kind) for cls in GRADIENT for kind in EACH_GRADIENT[cls is MAML :]]
