"""N-way tasks on arrays: every task has its own labels, outputs carry no meaning.

The labels of task t in their order, ``c_0 < c_1 < ... < c_(n_t - 1)``, are outputs 0 to n_t - 1 of
a learner with ``N = max_t n_t`` outputs. In an episode of meta-training, output j is class
``pi(j)`` for a random permutation pi of 0..N-1, drawn anew for every task, so that no output can
stand for a label; what is learned is to tell apart whatever the support shows (Vinyals et al.
2016). A task with fewer than N classes leaves the last outputs unused: they are cut off before
predicting (:func:`narrow`).

References
----------
Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), Matching networks for one shot learning,
NeurIPS.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.dummy import DummyClassifier

from ._validation import plain

__all__ = [
    "TaskClasses",
    "make_narrow",
    "narrow",
    "of_one_type",
    "permuted",
    "predict_narrow",
    "predict_places",
    "shots_per_class",
    "task_classes",
]


# -- labels ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TaskClasses:
    """The labels of every task, in order.

    Parameters
    ----------
    labels : ndarray of shape (n_tasks, n_most)
        Rows of tasks with fewer classes end in copies of their last label.
    counts : ndarray of shape (n_tasks,)
        Number of classes of every task.
    """

    labels: np.ndarray
    counts: np.ndarray

    def __getitem__(self, tasks):
        return TaskClasses(self.labels[tasks], self.counts[tasks])

    def of(self, t):
        """The labels of task t."""
        return of_one_type(self.labels[t, : self.counts[t]])

    def put(self, at, n_tasks, other):
        """These labels for ``n_tasks`` tasks, those at the places ``at`` taken from ``other``."""
        width = max(self.labels.shape[1], other.labels.shape[1])
        old, new = _widened(self.labels, width), _widened(other.labels, width)
        same = old.dtype.kind == new.dtype.kind
        labels = np.empty((n_tasks, width), np.result_type(old, new) if same else object)
        labels[: len(old)] = old
        labels[at] = new
        counts = np.zeros(n_tasks, dtype=np.intp)
        counts[: len(old)] = self.counts
        counts[at] = other.counts
        return TaskClasses(labels, counts)


def _widened(labels, width):
    return labels[:, np.minimum(np.arange(width), labels.shape[1] - 1)]


def of_one_type(labels):
    """Labels in an array of their own type, where it was that of Python objects."""
    if labels.dtype.kind == "O" and len({isinstance(label, str) for label in labels}) == 1:
        return np.array(labels.tolist())
    return labels


def task_classes(table):
    """The labels of every task, and the place of each row's label among them.

    Parameters
    ----------
    table : TaskTable

    Returns
    -------
    classes : TaskClasses
    places : ndarray of shape (n_rows,)

    Raises
    ------
    ValueError
        For a task without rows, numbers that are no labels, and text beside numbers in a task.
    """
    if (table.sizes == 0).any():
        t = int(np.argmin(table.sizes))
        name = "the task" if table.n_tasks == 1 and table.ids is None else table.label(t)
        raise ValueError(
            f"{name} has no rows, and with classes='per_task' the labels of a task are known only "
            "from its rows. Adapt to at least one row of each of its classes."
        )
    rank = _ranks(table)
    _, row, position = np.unique(
        table.codes * (1 + rank.max(initial=0)) + rank, return_index=True, return_inverse=True
    )
    counts = np.bincount(table.codes[row], minlength=table.n_tasks)
    first = np.cumsum(counts) - counts
    column = np.minimum(np.arange(counts.max(initial=1)), counts[:, None] - 1)
    classes = TaskClasses(table.y[row[first[:, None] + column]], counts)
    return classes, position - first[table.codes]


def _ranks(table):
    """The place of every row's label among those of all tasks, numbers before text."""
    y = table.y
    if y.dtype.kind != "O":
        _check_numbers(y, np.arange(len(y)), table)
        return np.unique(y, return_inverse=True)[1]
    text = np.fromiter((isinstance(label, str) for label in y), dtype=bool, count=len(y))
    first = table.offsets[:-1][table.codes]
    odd = np.flatnonzero(text != text[first])
    if len(odd):
        i = odd[0]
        raise ValueError(
            f"{table.where(i)}: y is {plain(y[i])!r}, and {plain(y[first[i]])!r} in the first row "
            "of this task: labels of a task must be all strings or all numbers."
        )
    rank, n_before = np.empty(len(y), dtype=np.intp), 0
    for rows in (np.flatnonzero(~text), np.flatnonzero(text)):
        values = np.array(y[rows].tolist())
        _check_numbers(values, rows, table)
        distinct, own = np.unique(values, return_inverse=True)
        rank[rows] = own + n_before
        n_before += len(distinct)
    return rank


def _check_numbers(values, rows, table):
    """Check that labels are text, or numbers without fractions."""
    if values.ndim != 1 or values.dtype.kind not in "biufUMm":
        raise ValueError(f"{table.where(rows[0])}: y is neither a string nor a number.")
    odd = np.flatnonzero(values != np.round(values)) if values.dtype.kind == "f" else []
    if len(odd):
        raise ValueError(
            f"{table.where(rows[odd[0]])}: y is {plain(values[odd[0]])!r}. Unknown label type: "
            "continuous. For numbers, wrap a regressor."
        )


# -- episodes --------------------------------------------------------------------------------------


def shots_per_class(keys, codes, n_way, n_shots, half):
    """Which rows are the support: so many of each class, those with the smallest keys.

    Parameters
    ----------
    keys : ndarray of shape (n_tasks, n_rows)
        Random numbers.
    codes : ndarray of shape (n_tasks, n_rows)
        The class of every row; ``n_way`` for rows that cannot be drawn.
    n_way : int
    n_shots : ndarray of int of shape (n_tasks or 1, 1)
    half : ndarray of bool of shape (n_tasks,)
        Whether at least half of the rows of each class (of one row: none) stay out.

    Returns
    -------
    ndarray of bool of shape (n_tasks, n_rows)
    """
    counts = (codes[:, :, None] == np.arange(n_way)).sum(axis=1)
    most = np.where(half[:, None], np.maximum(counts // 2, np.minimum(counts, 1)), counts)
    most = np.pad(np.minimum(most, n_shots), ((0, 0), (0, 1)))
    first = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
    order = np.lexsort((keys, codes), axis=1)
    codes = np.take_along_axis(codes, order, axis=1)
    place = np.arange(codes.shape[1]) - np.take_along_axis(first, codes, axis=1)
    chosen = np.empty(codes.shape, dtype=bool)
    drawn = place < np.take_along_axis(most, codes, axis=1)
    np.put_along_axis(chosen, order, drawn, axis=1)
    return chosen


def permuted(batch, permutations):
    """A batch whose outputs j are the classes ``permutations[:, j]`` of each task."""
    if batch.y.shape[2] == 1:  # of two classes: is it the second?
        return replace(batch, y=np.where(permutations[:, :1, None] == 1, 1 - batch.y, batch.y))
    return replace(batch, y=np.take_along_axis(batch.y, permutations[:, None], axis=2))


# -- predictions -----------------------------------------------------------------------------------


def narrow(network, rows, n_classes):
    """Parameter rows of the first outputs, for tasks with fewer classes than outputs.

    Of two classes a learner has one output: the difference of theirs.

    Parameters
    ----------
    network : Network
    rows : ndarray of shape (n_tasks, n_params)
    n_classes : int
        At least 2.
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
