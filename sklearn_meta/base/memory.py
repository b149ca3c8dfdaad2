"""What tasks have been adapted to, and what came of it: stacked arrays with an index of ids."""

from dataclasses import dataclass

import numpy as np

from ..tasks.classes import TaskClasses
from ..tasks.ids import IdIndex

__all__ = ["Memory"]


@dataclass(frozen=True, eq=False)
class Memory:
    """Parameter rows of tasks by id.

    Parameters
    ----------
    ids : IdIndex
    params : ndarray of shape (n_tasks, n_params), default=None
        None where nothing is remembered yet.
    classes : TaskClasses, default=None
        The labels of every task, where each has its own.
    """

    ids: IdIndex = IdIndex(np.empty(0))
    params: np.ndarray = None
    classes: TaskClasses = None

    def __len__(self):
        return len(self.ids)

    def put(self, table, params):
        """The memory that knows these tasks, too; those known already are replaced."""
        ids, at = self.ids.union(table.ids)
        stack = np.empty((len(ids), params.shape[1]), dtype=params.dtype)
        if self.params is not None:
            stack[: len(self.params)] = self.params
        stack[at] = params
        classes = table.own_classes
        if classes is not None:
            before = classes[:0] if self.classes is None else self.classes
            classes = before.put(at, len(ids), classes)
        return Memory(ids, stack, classes)
