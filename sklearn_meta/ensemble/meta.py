r"""One estimator for those who do not want to choose: a stack of the algorithms of this package.

After k rows of a task the prediction is that of a linear pool of candidates c,

    f(x) = sum_c a_c(k) f_c(x),    a(k) >= 0,  sum_c a_c(k) = 1,

whose weights were learned on tasks that the candidates had not seen (``kernels/pooling.py``), and
are linear in ``log(1 + k)`` between the numbers of rows at which they were.
"""

import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from ..base import BaseMetaEstimator, Needs
from ..kernels.pooling import bagged_weights
from ..learners.privates import Composition, Interval
from ..learners.sharing import sharing
from .candidates import check_candidates, default_candidates
from .encoding import TableEncoder
from .members import Member, Stack
from .out_of_fold import fold_list, leave_tasks_out

__all__ = ["MetaClassifier", "MetaRegressor"]

MIN_TASKS = 10  # for weights to be learned
MIN_WEIGHT = 0.02  # a candidate that never has more is left out


@dataclass(frozen=True, eq=False)
class MetaModel:
    """What was learned.

    Parameters
    ----------
    members : list of Member
        Candidates with a weight, fitted on all tasks.
    shots : ndarray of shape (n_shots,)
    weights : ndarray of shape (n_shots, n_members)
    record : dict
        What is told of candidates: names, weights of all of them, results.
    """

    members: list
    shots: np.ndarray
    weights: np.ndarray
    record: dict

    def weights_at(self, n_rows):
        """Weights after numbers of rows: shape (n, n_members)."""
        at, known = np.log1p(n_rows), np.log1p(self.shots)
        return np.stack([np.interp(at, known, column) for column in self.weights.T], axis=1)


class _MetaStack(Composition, BaseMetaEstimator):
    """What both kinds share."""

    _parameter_constraints: dict = {
        **BaseMetaEstimator._parameter_constraints,
        "estimators": [list, tuple, None],
        "n_shots": ["array-like"],
        "cv": ["cv_object"],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }
    del _parameter_constraints["estimator"]

    def __init__(
        self,
        estimators=None,
        *,
        n_shots=(0, 1, 2, 5, 10, 20),
        cv=5,
        time_budget=None,
        task_column=None,
        handle_unknown="prior",
        random_state=None,
        n_jobs=None,
    ):
        self.estimators = estimators
        self.n_shots = n_shots
        self.cv = cv
        self.time_budget = time_budget
        self.task_column = task_column
        self.handle_unknown = handle_unknown
        self.random_state = random_state
        self.n_jobs = n_jobs

    def get_params(self, deep=True):
        """Get the parameters, with ``deep`` those of the candidates, too.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters, of candidates as ``name__parameter``.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        self._set_params("estimators", **params)
        return self

    # -- what is wrapped: candidates see the table encoded, or as it is ----------------------------

    def _default_estimator(self):
        return self._wrapped()

    def _wrapped(self):
        encoder = "passthrough" if self.estimators is not None else TableEncoder()
        return Pipeline([("encoder", encoder), ("pool", self._placeholder())])

    def _needs(self):
        return Needs(fits=False, n_epochs=None)

    def _check_wrapped(self, estimator):
        shots = np.asarray(self.n_shots)
        if shots.ndim != 1 or len(shots) == 0 or shots.dtype.kind not in "iu" or shots.min() < 0:
            raise ValueError(
                f"n_shots must be numbers of rows, 0 or more, as in (0, 1, 5); got {self.n_shots!r}."
            )
        self._candidates()

    def _candidates(self):
        if self.estimators is None:
            return default_candidates(self._labelled)
        return check_candidates(self.estimators, self._labelled)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.estimators is None:
            tags.input_tags = TableEncoder().__sklearn_tags__().input_tags
        return tags

    # -- learn and adapt ---------------------------------------------------------------------------

    def _learn(self, learner, tables, meta_model, fit_params, report):
        if fit_params:
            raise TypeError(f"fit takes no further arguments; got {sorted(fit_params)}.")
        (table,) = tables
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        candidates = [(name, clone(model)) for name, model in self._candidates()]
        for _, model in candidates:
            if "random_state" in model.get_params(deep=False) and model.random_state is None:
                model.set_params(random_state=seed)
        shots = sorted({int(k) for k in self.n_shots})
        names = [name for name, _ in candidates]
        record = {"names": names, "results": None, "dropped": {}}
        if table.n_tasks < MIN_TASKS:
            warnings.warn(
                f"{table.n_tasks} tasks are too few to learn weights from, {MIN_TASKS} are needed: "
                f"the first candidate, {names[0]!r}, predicts alone.",
                UserWarning,
                stacklevel=2,
            )
            shots, weights = shots[:1], np.eye(len(names))[:1]
        else:
            shots, weights, record = self._learn_weights(candidates, table, shots, seed, record)
        used = np.flatnonzero(weights.max(axis=0) >= MIN_WEIGHT)
        record["weights"] = weights = _normalized(weights, used)
        members = []
        with sharing():
            for name, model in (candidates[c] for c in used):
                members.append(Member(name, model.meta_fit(replace(table, origin=None))))
                so_far = _normalized(weights, used[: len(members)])[:, used[: len(members)]]
                meta_model = MetaModel(tuple(members), np.array(shots), so_far, record)
                report(lambda made=meta_model: made)
        return meta_model

    def _learn_weights(self, candidates, table, shots, seed, record):
        """Numbers of rows, the weights of all candidates at each, and what is told of it."""
        folds = fold_list(self.cv, table.n_tasks, seed)
        settings = {"classes": self._labels.outputs, "seed": seed, "n_jobs": self.n_jobs}
        judged, seconds, failures = leave_tasks_out(candidates, table, shots, folds, **settings)
        names = [name for name, _ in candidates]
        for name, error in failures.items():
            record["dropped"][name] = str(error)
            warnings.warn(f"candidate {name!r} is left out: {error}", UserWarning, stacklevel=4)
        if len(failures) == len(names):
            raise ValueError(f"no candidate could be fitted: {record['dropped']}.")
        record["seconds"] = dict(zip(names, seconds.sum(axis=0), strict=True))
        able = np.array([c for c, name in enumerate(names) if name not in failures])
        weights = np.zeros((len(judged), len(names)))
        for row, (k, one) in zip(weights, judged.items(), strict=True):
            pool = one.of(able).pool(self._labels.outputs)
            row[able] = bagged_weights(pool, np.random.default_rng([seed, k]))
        return list(judged), weights, record

    def _adapt(self, learner, meta_model, table, fit_params):
        return self._predictor(learner, meta_model).rows(table)

    def _predictor(self, learner, meta_model):
        return Stack(learner, meta_model.members, meta_model.weights_at)


def _normalized(weights, used):
    """Weights of the candidates that are used, with a sum of 1; equal where all are 0."""
    kept = np.zeros_like(weights)
    kept[:, used] = weights[:, used]
    kept[np.ix_(kept.sum(axis=1) == 0, used)] = 1.0
    return kept / kept.sum(axis=1, keepdims=True)


class MetaRegressor(_MetaStack):
    """doc"""

    _labelled = False

    def _placeholder(self):
        return DummyRegressor()


class MetaClassifier(_MetaStack):
    """doc"""

    _labelled = True

    def _placeholder(self):
        return DummyClassifier()
