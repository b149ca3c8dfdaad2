"""Side information of tasks as numbers: categories one-hot, missing values filled and marked."""

from numbers import Number

import numpy as np

from ._base import TaskDescriptor

__all__ = ["SideInformation"]


class SideInformation(TaskDescriptor):
    """What is known of a task besides its rows: ``Task(descriptor=...)`` or descriptor columns.

    Numbers stay as they are; a missing one becomes the mean over the tasks of ``fit``, and where
    some were missing there, too, an entry ``..._missing`` says so. Other values are categories:
    one 0/1 entry for each; a category that was not seen in ``fit``, or a missing one, has 0 in all.

    Attributes
    ----------
    categories_ : list of (list or None)
        The categories of every column; None where it is numbers.
    fill_ : ndarray of shape (n_side,)
        What a missing number counts as.
    marked_ : ndarray of shape (n_side,), dtype bool
        Which columns of numbers have an entry that marks missing values.

    See Also
    --------
    FunctionDescriptor : Any function of a task.

    Notes
    -----
    It does not look at rows, so it is all that tells new tasks without rows apart. Put a feature
    map behind it, such as ``make_pipeline(SideInformation(), RBFSampler())``.

    Examples
    --------
    >>> from sklearn_meta import Task
    >>> from sklearn_meta.descriptors import SideInformation
    >>> tasks = [
    ...     Task([[0.0]], [1.0], descriptor={"size": 3.0, "town": "Aix"}),
    ...     Task([[0.0]], [1.0], descriptor={"size": None, "town": "Bonn"}),
    ... ]
    >>> descriptor = SideInformation().fit(tasks)
    >>> descriptor.get_feature_names_out()
    array(['size', 'size_missing', 'town=Aix', 'town=Bonn'], dtype=object)
    >>> descriptor.transform(tasks)
    array([[3., 0., 1., 0.],
           [3., 1., 0., 1.]])
    """

    uses = "side"

    _parameter_constraints: dict = {}

    def _fit(self, table):
        side = self._table(table)
        self.names_ = self.side_names_ or [f"s{j}" for j in range(side.shape[1])]
        self.categories_, fill, marked = [], [], []
        for j in range(side.shape[1]):
            known = [v for v in side[:, j] if v is not None]
            numbers = all(isinstance(v, Number) for v in known)
            if numbers:
                self._check_finite(table, side, j)
            distinct = dict.fromkeys(known)
            self.categories_.append(None if numbers else sorted(distinct, key=str))
            fill.append(np.mean(known) if numbers and known else 0.0)
            marked.append(numbers and 0 < len(known) < len(side))
        self.fill_, self.marked_ = np.array(fill, dtype=float), np.array(marked, dtype=bool)

    def _table(self, table):
        if table.descriptors is None:
            return np.full((table.n_tasks, len(getattr(self, "names_", []))), None, dtype=object)
        return table.descriptors

    def _check_finite(self, table, side, j):
        for t, value in enumerate(side[:, j]):
            if value is None:
                continue
            if not isinstance(value, Number) or isinstance(value, complex):
                way = "meta-training had numbers there"
            elif not np.isfinite(value := _as_float(value)):
                way = "it must be finite, or None where it is not known"
            else:
                continue
            raise ValueError(
                f"{table.label(t)}: entry {self.names_[j]!r} of its descriptor is {value!r}; {way}."
            )

    def _describe(self, table):
        side = self._table(table)
        if side.shape[1] != len(self.names_):
            raise ValueError(
                f"{table.label(0)}: its descriptor has {side.shape[1]} entries, expected "
                f"{len(self.names_)}."
            )
        columns = [np.zeros((len(side), 0))]
        for j, categories in enumerate(self.categories_):
            missing = np.array([v is None for v in side[:, j]], dtype=bool)
            if categories is None:
                self._check_finite(table, side, j)
                columns.append(np.where(missing, self.fill_[j], side[:, j])[:, None])
                if self.marked_[j]:
                    columns.append(missing[:, None])
            else:
                columns.append(np.array([[v == c for c in categories] for v in side[:, j]]))
        return np.concatenate(columns, axis=1).astype(np.float64)

    def _names(self):
        names = []
        for name, categories, marked in zip(
            self.names_, self.categories_, self.marked_, strict=True
        ):
            names += [name] if categories is None else [f"{name}={c}" for c in categories]
            names += [f"{name}_missing"] if marked else []
        return list(map(str, names))


def _as_float(value):
    """A number; infinity if it is beyond all floating-point numbers."""
    try:
        return float(value)
    except OverflowError:
        return np.inf
