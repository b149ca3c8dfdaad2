"""Parts of docstrings that algorithms with a learned body share."""

from .docstrings import sharing_parts

__all__ = ["documented_embedding"]

SHARED = {
    "body": """
    body : transformer, default=None
        A transformer or a Pipeline of some, whose output the estimator sees instead of the rows:
        ``Nystroem()``, ``SplineTransformer()``, embeddings of texts. It is fitted once on the
        pooled meta-train rows, as the transformers of a Pipeline are, unless it stands in a
        ``FrozenEstimator``. The same as a Pipeline of both as ``estimator``.
    """,
    "n_query": """
    n_query : int, default=None
        Most query rows of an episode of training; None: all that are left.
    """,
    "training": """
    tasks_per_batch : int, default=25
        Tasks of a meta-iteration; all, if there are fewer.
    max_iter : int, default=1000
        Meta-iterations that train a perceptron, by Adam. 0 leaves it at its start.
    outer_lr : float or "auto", default="auto"
        Rate of Adam. "auto": 0.01; of perceptrons that start from a pooled fit, their
        ``learning_rate_init``.
    outer_schedule : {"linear", "constant"}, default="linear"
        Whether this rate falls linearly to 0 over ``max_iter`` meta-iterations.
    """,
    "early": """
    early_stopping : bool, default=False
        Whether to hold tasks out, stop when their loss has not fallen for 10 epochs, and keep the
        best.
    validation_fraction : float, default=0.1
        Share of the tasks that is held out.
    tol : float, default=1e-4
        What counts as improvement.
    """,
    "border": """
    {ids}
    """,
    "seeds": """
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator, the start and the episodes.
    n_jobs : int, default=None
        Number of threads, as in joblib: for large batches of tasks, and to adapt more than 16,384
        tasks. Results do not depend on it.
    """,
    "attributes": """
    estimator_ : estimator
        The adapted model of the current task.
    loss_curve_ : list of float
        Loss before every meta-iteration.
    validation_loss_curve_ : list of float
        Loss of the held-out tasks after every epoch, with ``early_stopping``.
    n_iter_ : int
        Number of meta-iterations; 1 where no representation is trained.
    task_ids_ : ndarray of shape (n_tasks,)
        Ids of the remembered tasks.
    classes_ : ndarray of shape (n_classes,)
        The classes over all tasks, of a classifier; those of the current task, with
        ``classes="per_task"``.
    {table}
    """,
}

documented_embedding = sharing_parts(SHARED)
