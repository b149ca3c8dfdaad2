"""What tasks have been adapted to, and what came of it: stacked arrays with an index of ids."""

from dataclasses import dataclass

import numpy as np

from ..tasks.classes import TaskClasses
from ..tasks.ids import IdIndex
from ..tasks.table import rows_of_tasks

__all__ = ["Memory"]

MAX_BLOCKS = 64


@dataclass(frozen=True, eq=False)
class Memory:
    """Parameter rows of tasks by id."""

    ids: IdIndex = IdIndex(np.empty(0))
    params: np.ndarray = None  # (n_tasks, n_params); None where nothing is remembered yet
    classes: TaskClasses = None  # the labels of every task, where each has its own
    blocks: tuple = ()  # tables of transformed rows that were adapted to, as they came
    at: np.ndarray = None  # (n_tasks, 2): the block of every task, and its place there

    def __len__(self):
        return len(self.ids)

    def put(self, table, params, rows=None):
        """The memory that knows these tasks, too; those known already are replaced.

        The table is as learners take it; ``rows`` is the same with labels as they came, if it is to
        be remembered.
        """
        ids, place = self.ids.union(table.ids)
        stack = np.empty((len(ids), params.shape[1]), dtype=params.dtype)
        if self.params is not None:
            stack[: len(self.params)] = self.params
        stack[place] = params
        classes = table.own_classes
        if classes is not None:
            before = classes[:0] if self.classes is None else self.classes
            classes = before.put(place, len(ids), classes)
        if rows is None:
            return Memory(ids, stack, classes)
        blocks, at = self.blocks, np.full((len(ids), 2), -1)
        if self.at is not None:
            at[: len(self.at)] = self.at
        if len(blocks) == MAX_BLOCKS:  # rows that were replaced go, too
            blocks = (rows_of_tasks(blocks, at),)
            at = np.stack([np.zeros(len(ids), dtype=int), np.arange(len(ids))], axis=1)
        at[place] = np.stack([np.full(len(place), len(blocks)), np.arange(len(place))], axis=1)
        return Memory(ids, stack, classes, (*blocks, rows), at)

    def rows_of(self, ids):
        """The rows of tasks by id, in a table of all of them; None if there are none."""
        place = self.ids.positions(ids)
        if self.at is None:
            return None
        return rows_of_tasks(self.blocks, np.where(place[:, None] < 0, -1, self.at[place]))
