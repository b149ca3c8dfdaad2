"""Learners of N classes for tasks with fewer: the last outputs are cut off."""

import numpy as np
from sklearn.dummy import DummyClassifier

__all__ = ["make_narrow", "narrow", "predict_narrow", "predict_places"]


def narrow(network, rows, n_classes):
    """Parameter rows of the first outputs, for tasks with fewer classes than outputs: at least 2.

    Of two classes a learner has one output: the difference of theirs.
    """
    last = network.matrices(rows)[-1]
    if last.shape[2] in (1, n_classes):
        return rows
    cut = last[..., 1:2] - last[..., :1] if n_classes == 2 else last[..., :n_classes]
    before = rows[:, : rows.shape[1] - last[0].size]
    return np.concatenate([before, cut.reshape(len(rows), -1)], axis=1)


def predict_narrow(learner, method, params, X, index, classes):
    """Predict rows of tasks that all have these classes; arguments as of :func:`predict_places`."""
    if len(classes) > 1:
        params = narrow(learner.network, params, len(classes))
        return learner.with_classes(classes).predict(method, params, X, index)
    if method == "predict":
        return np.repeat(classes, len(X))
    return np.ones((len(X), 1)) if method == "predict_proba" else np.zeros(len(X))


def make_narrow(learner, row, classes):
    """The plain estimator of one parameter row, for a task with these classes.

    No linear classifier can be of one class: ``DummyClassifier`` is.
    """
    if len(classes) > 1:
        row = narrow(learner.network, row[None], len(classes))[0]
        return learner.with_classes(classes).make_estimator(row)
    constant = DummyClassifier().fit(np.zeros((1, learner.n_features)), classes)
    if learner.feature_names is not None:
        constant.feature_names_in_ = learner.feature_names
    return learner.wrap(constant)


def predict_places(learner, method, params, X, index, counts):
    """Predict rows of tasks with own classes, by the places of the labels.

    Parameters
    ----------
    learner : GradientLearner
        With N classes.
    method : {"predict", "predict_proba", "decision_function"}
    params : ndarray of shape (n_tasks, n_params)
    X : ndarray of shape (n_rows, n_features)
    index : ndarray of shape (n_rows,)
        The task of every row.
    counts : ndarray of shape (n_tasks,)
        Number of classes of every task.

    Returns
    -------
    ndarray of shape (n_rows,) or (n_rows, N)
        Places; or a column for each place, 0 (probabilities) or -inf (decision values) beyond the
        classes of a task. Decision values for N = 2 are those of the second place.
    """
    n_way, count = len(learner.classes), counts[index]
    if method == "predict":
        out = np.empty(len(X), dtype=np.intp)
    else:
        flat = method == "decision_function" and n_way == 2
        absent = 0 if method == "predict_proba" else -np.inf
        shape = (len(X),) if flat else (len(X), n_way)
        out = np.full(shape, absent, dtype=np.result_type(params, X))
    for n in np.unique(count).tolist():
        rows = np.flatnonzero(count == n)
        found = predict_narrow(learner, method, params, X[rows], index[rows], np.arange(n))
        if method == "predict" or (out.ndim == 1 and n == 2):
            out[rows] = found
        elif out.ndim == 2:
            if found.ndim == 1:  # of one or two classes
                found = np.stack([-found, found], axis=1)[:, :n]
            out[rows, :n] = found
    return out
