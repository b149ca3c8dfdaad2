"""Further arguments of ``fit``: which of them go to which step of the wrapped estimator."""

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import process_routing

__all__ = ["rows_in_order", "split_fit_params"]


def split_fit_params(meta, estimator, fit_params, groups):
    """Arguments for the transformers of the wrapped estimator by step, and for its last step."""
    steps = isinstance(estimator, Pipeline)
    if get_config()["enable_metadata_routing"]:
        groups = {} if groups is None else {"groups": groups}
        routed = process_routing(meta, "fit", **groups, **fit_params)
        if "estimator" not in routed:
            return {}, fit_params
        fit_params = dict(routed["estimator"]["fit"])
        if not steps:
            return {}, fit_params
        inner = process_routing(estimator, "fit", **fit_params)
        by_step = {
            name: dict(inner[name].get("fit_transform") or inner[name].get("fit") or {})
            for name, step in estimator.steps
            if step not in (None, "passthrough")
        }
    elif not steps:
        return {}, dict(fit_params)
    else:
        by_step = {name: {} for name, _ in estimator.steps}
        for key, value in fit_params.items():
            name, _, param = key.rpartition("__")
            name = name.replace("__", "-") or estimator.steps[-1][0]
            if name not in by_step:
                raise ValueError(
                    f"{key!r} names no step of the Pipeline; its steps are {list(by_step)}."
                )
            by_step[name][param] = value
    last = by_step.pop(estimator.steps[-1][0])
    return by_step, last


def rows_in_order(params, table, n_rows):
    """Bring fit parameters with one entry for each of the user's rows to the rows of the table."""
    if table.row_numbers is None:
        return params

    def in_order(value):
        is_many = hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0
        is_rows = is_many and not isinstance(value, (str, dict)) and len(value) == n_rows
        return np.asarray(value)[table.row_numbers] if is_rows else value

    return {key: in_order(value) for key, value in params.items()}
