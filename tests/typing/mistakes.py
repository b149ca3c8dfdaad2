"""Mistakes that a checker of types finds; each line says which."""

import numpy as np

from sklearn_meta import HierarchicalBayes, cross_validate_tasks

X, y = np.zeros((6, 2)), np.zeros(6)
model = HierarchicalBayes().fit(X, y)
model.predict(X, return_sdt=True)  # E: call-overload
model.predict_interval(X, confidence_level="0.9")  # E: arg-type
model.meta_fit(3)  # E: arg-type
model.adapt(X)  # E: call-arg
cross_validate_tasks(model, [(X, y)], n_shots=2.5)  # E: arg-type
