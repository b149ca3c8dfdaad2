"""A map of tasks: which are alike, by their descriptors or by their parameters."""

from typing import Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..kernels.scaling import mean_and_std, nonzero_scale
from ..learners.conditional import are_counts
from .display import Display, documented

__all__ = ["TaskMapDisplay", "map_positions"]


def map_positions(vectors):
    """Two coordinates for each vector: principal components, in standardised entries.

    Also their shares of the variance; None where vectors have two entries, which are the
    coordinates themselves.
    """
    if vectors.shape[1] == 2:
        return vectors.copy(), None
    mean, std = mean_and_std(vectors)
    Z = (vectors - mean) / nonzero_scale(std, mean)
    U, S, Vt = np.linalg.svd(Z, full_matrices=False)
    positions, share = np.zeros((len(Z), 2)), np.zeros(2)
    k = min(2, len(S))
    largest = np.abs(Vt[:k]).argmax(axis=1)
    sign = np.sign(Vt[np.arange(k), largest])  # of two opposite directions always the same
    positions[:, :k] = U[:, :k] * S[:k] * sign
    share[:k] = S[:k] ** 2 / max((S**2).sum(), np.finfo(float).tiny)
    return positions, share


@documented
class TaskMapDisplay(Display):
    """Tasks as points, near each other where they are alike, coloured by what you want to see.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    positions : array-like of shape (n_tasks, 2)
        Where the tasks are.
    axis_names : (str, str)
        What the axes show.
    ids : array-like of shape (n_tasks,)
        What the tasks are called.
    color : array-like of shape (n_tasks,), default=None
        Numbers (with a colour bar) or labels (with a legend).
    color_name : str, default=None
        What the colour shows.

    {attributes}
    scatter_ : dict of str to matplotlib PathCollection
        The points of every label; one entry, ``""``, without labels.

    See Also
    --------
    AdaptationCurveDisplay : How much is gained from rows of a new task.

    Examples
    --------
    >>> from sklearn_meta import BatchMetaLearner, TaskMapDisplay
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> from sklearn_meta.descriptors import RidgeDescriptor
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> model = BatchMetaLearner(descriptor=RidgeDescriptor(), random_state=0).meta_fit(tasks)
    >>> display = TaskMapDisplay.from_estimator(model, color="coef_x0_y")
    >>> display.positions.shape
    (50, 2)
    """

    def __init__(self, *, positions, axis_names, ids, color=None, color_name=None) -> None:
        self.positions = positions
        self.axis_names = axis_names
        self.ids = ids
        self.color = color
        self.color_name = color_name

    @classmethod
    @documented
    def from_estimator(cls, estimator, *, color=None, color_name=None, ax=None) -> Self:
        """Draw the tasks that a fitted estimator knows.

        Parameters
        ----------
        estimator : estimator
            A :class:`BatchMetaLearner`, whose meta-train tasks are drawn by their descriptors
            (numbers of rows are left out), or an estimator with ``task_coefs_``, whose remembered
            tasks are drawn by their coefficients.
        color : str or array-like of shape (n_tasks,), default=None
            The name of an entry of the descriptor, or one number or label for each task, in the
            order of ``task_vectors_`` or ``task_ids_``.
        color_name : str, default=None
            What the colour shows; the entry, if ``color`` names one.
        {drawn}
        """
        check_is_fitted(estimator)
        vectors, names, ids = _vectors_of(estimator)
        if isinstance(color, str):
            color_name = color if color_name is None else color_name
            color = vectors[:, _entry(color, names)]
        if color is not None and len(color) != len(vectors):
            raise ValueError(f"color has {len(color)} entries for {len(vectors)} tasks.")
        of_kind = np.flatnonzero(~are_counts(names))
        positions, shares = map_positions(vectors[:, of_kind])
        axis_names = [names[j] for j in of_kind]
        if shares is not None:
            parts = [f"{100 * share:.0f} % of the variance" for share in shares]
            axis_names = [f"component {i} ({part})" for i, part in enumerate(parts, 1)]
        return cls(
            positions=positions,
            axis_names=tuple(axis_names),
            ids=ids,
            color=color,
            color_name=color_name,
        ).plot(ax=ax)

    def _draw(self, ax):
        x, y = np.asarray(self.positions, dtype=float).T
        color = None if self.color is None else np.asarray(self.color)
        if color is None or color.dtype.kind in "biuf":
            self.scatter_ = {"": ax.scatter(x, y, c=color, s=22)}
            if color is not None:
                ax.figure.colorbar(self.scatter_[""], ax=ax, label=self.color_name)
        else:
            self.scatter_ = {}
            for label in dict.fromkeys(color.tolist()):
                own = np.array([value == label for value in color.tolist()])
                self.scatter_[str(label)] = ax.scatter(x[own], y[own], s=22, label=str(label))
            ax.legend(title=self.color_name)
        ax.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])


def _vectors_of(estimator):
    """Vectors of the tasks that an estimator knows, names of their entries, ids of the tasks."""
    if hasattr(estimator, "task_vectors_"):
        vectors = estimator.task_vectors_
        return vectors, estimator.descriptor_names_, estimator.meta_model_.ids
    if hasattr(estimator, "task_coefs_"):
        vectors = estimator.task_coefs_
        return vectors, [f"coefficient {j}" for j in range(vectors.shape[1])], estimator.task_ids_
    raise TypeError(
        f"{type(estimator).__name__} knows no vectors of tasks: pass a BatchMetaLearner, or a "
        "HierarchicalBayes that was fitted with task ids."
    )


def _entry(name, names):
    """The place of an entry by its name, or by what only one name ends with."""
    found = [j for j, full in enumerate(names) if full == name]
    found = found or [j for j, full in enumerate(names) if full.endswith(f"__{name}")]
    if len(found) != 1:
        raise ValueError(
            f"color={name!r} names {len(found)} entries of the descriptor; it has {list(names)}."
        )
    return found[0]
