"""What a user writes, for a checker of types: it is not run."""

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from sklearn_meta import (
    MAML,
    AdaptationCurveDisplay,
    BatchMetaLearner,
    GaussianProcessMeta,
    HierarchicalBayes,
    Independent,
    IntervalDisplay,
    MetaClassifier,
    MetaRegressor,
    Pooled,
    PrototypeClassifier,
    RidgeHead,
    ShrinkageDisplay,
    TableEncoder,
    Task,
    TransferMetaLearner,
    compare,
    cross_validate_tasks,
    few_shot_scorer,
    summary_terms,
    task_summaries,
    tasks_from_table,
)
from sklearn_meta.datasets import make_linear_tasks, make_sinusoid_tasks
from sklearn_meta.io import TRUSTED_TYPES, register_onnx
from sklearn_meta.learners import register_learner

rng = np.random.default_rng(0)
X, y, ids = rng.normal(size=(60, 3)), rng.normal(size=60), np.repeat(np.arange(6), 10)

# -- fit, adapt, predict --

model = HierarchicalBayes(random_effects="intercept", n_jobs=2).fit(X, y, groups=ids)
assert_type(model, HierarchicalBayes)
assert_type(model.predict(X), NDArray[Any])
mean, std = model.predict(X, return_std=True)
assert_type(std, NDArray[Any])
low, high = model.predict_interval(X, confidence_level=0.8, groups=ids).T
assert_type(model.adapt(X[:3], y[:3]), HierarchicalBayes)
assert_type(model.partial_adapt(X[3:5], y[3:5], sample_weight=[1.0, 2.0]), HierarchicalBayes)
assert_type(model.score(X, y, groups=ids), float)
model.adapt(X, y, groups=ids).predict([[1.0, 2.0, 3.0]], groups=["store_1"])
model.adapt(X[:3], y[:3], descriptor={"size": 3.0}).estimator_.predict(X)
print(model.prior_mean_, model.task_ids_, model.get_params())

for other in (GaussianProcessMeta(), RidgeHead()):
    mean, std = other.fit(X, y, groups=ids, sample_weight=np.ones(60)).predict(X, return_std=True)
MetaRegressor(n_shots=(0, 5)).fit(X, y, groups=ids).predict(X).mean()
labels = MetaClassifier().fit(X, y > 0, groups=ids).predict_proba(X)
assert_type(labels, NDArray[Any])
PrototypeClassifier(random_state=0).fit(X, y > 0, groups=ids).decision_function(X)

# -- tasks --

tasks = make_linear_tasks(n_tasks=40, n_rows=(5, 10), random_state=0)
assert_type(tasks, list[Task])
assert_type(tasks[0].rows([0, 1]), Task)
assert_type(tasks_from_table(X, y, groups=ids), list[Task])
model.meta_fit(tasks).meta_fit(iter(tasks)).meta_fit({"a": (X, y), "b": (X, y)})
Pooled().fit(tasks).meta_fit([(X, y)]).partial_meta_fit(make_sinusoid_tasks(phase=(0.0, 1.0)))
models = MAML(max_iter=10, n_shots=(1, 10), random_state=0).meta_fit(tasks).adapt_many(tasks)
predictions = [one.predict(X) for one in models]
BatchMetaLearner(n_estimators=2).meta_fit(tasks).nearest_tasks(X[:3], y[:3], n_neighbors=2)

# -- sums per task --

assert_type(summary_terms(["price", "size"], "sales"), dict[str, tuple[str, ...]])
HierarchicalBayes().meta_fit_summaries(task_summaries(X, y, groups=ids)).adapt(X[:3], y[:3])

# -- evaluation --

scorer = few_shot_scorer("r2", n_shots=5)
assert_type(scorer, Callable[..., float])
results = cross_validate_tasks({"a": Pooled(), "b": Independent()}, tasks, n_shots=(0, 5), cv=3)
assert_type(results, dict[str, NDArray[Any]])
AdaptationCurveDisplay.from_results(results).plot()
ShrinkageDisplay.from_estimator(HierarchicalBayes().meta_fit(tasks), tasks, coefs=(0, "x1")).plot()
IntervalDisplay.from_estimator(HierarchicalBayes().meta_fit(tasks), X[:5], y[:5]).plot()
compare(tasks, [("pooled", Pooled()), ("transfer", TransferMetaLearner())])

# -- the rest --

TableEncoder(max_categories=5).fit(X).transform(X)
register_onnx()
trusted: list[str] = [*TRUSTED_TYPES, "my_module.Mine"]


class Mine(Pooled):
    """A class of a user's own."""

    def doubled(self, X: NDArray[Any]) -> NDArray[Any]:
        return 2 * self.predict(X)


register_learner(Mine, MAML)
