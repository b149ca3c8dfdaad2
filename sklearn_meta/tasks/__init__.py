"""Tasks, and the border: everything that users hand over is read and checked here, once."""

from .summaries import summary_terms, task_summaries
from .table import PaddedBatch, TaskTable, padded_batches, tasks_from_table
from .task import Task, as_tasks, is_task_collection, split_support

__all__ = [
    "PaddedBatch",
    "Task",
    "TaskTable",
    "as_tasks",
    "is_task_collection",
    "padded_batches",
    "split_support",
    "summary_terms",
    "task_summaries",
    "tasks_from_table",
]
