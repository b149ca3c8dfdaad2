"""Which tasks are left out together."""

import numpy as np
from sklearn.model_selection import KFold, check_cv

__all__ = ["task_folds"]


def task_folds(cv, tasks, seed):
    """Pairs (train, test) of positions of tasks; to a splitter by groups each task is one.

    ``cv`` is a number of folds, for which the seed shuffles the tasks, a splitter, or pairs.
    """
    if isinstance(cv, (int, np.integer)):
        cv = KFold(cv, shuffle=True, random_state=seed)
    splitter = check_cv(cv)
    try:
        return list(splitter.split(tasks))
    except ValueError as error:
        if "groups" not in str(error):
            raise
    return list(splitter.split(tasks, groups=np.arange(len(tasks))))
