"""Parts of docstrings that the gradient family shares, and algorithms with a learned body."""

from .docstrings import sharing_parts

__all__ = ["documented"]

SHARED = {
    # -- of all --
    "held_out": """
    validation_fraction : float, default=0.1
        Share of the tasks that is held out.
    tol : float, default=1e-4
        What counts as improvement.
    """,
    "current": """
    estimator_ : estimator
        The adapted model of the current task.
    validation_loss_curve_ : list of float
        Loss of the held-out tasks after every epoch, with ``early_stopping``.
    {task_ids_}
    classes_ : ndarray of shape (n_classes,)
        The classes over all tasks, of a classifier; those of the current task, with
        ``classes="per_task"``.
    {table}
    """,
    "tasks_per_batch": """
    tasks_per_batch : int, default=25
        Tasks of a meta-iteration; all, if there are fewer.
    """,
    "seeds": """
    random_state : int, RandomState instance or None, default=None
        Seeds the wrapped estimator, the start and the episodes.
    n_jobs : int, default=None
        Number of threads, as in joblib: for batches of so many tasks and rows that they are worked
        on in chunks, and to adapt more than 16,384 tasks. Results do not depend on it.
    """,
    # -- of the gradient family --
    "maml": """
    Parameters
    ----------
    {estimator}
    {inner_lr}
    {steps}
    {episodes}
    {outer}
    {border}

    Attributes
    ----------
    {inner_lr_}
    {adapt_steps_}
    {attributes}
    """,
    "estimator": """
    estimator : estimator, default=None
        Any scikit-learn regressor or classifier, a Pipeline included. Linear estimators and
        multi-layer perceptrons adapt all their parameters; of every other estimator, fitted once
        on the pooled rows, a linear head on its predictions adapts. None: ``Ridge()``.
    """,
    "inner_lr": """
    inner_lr : float or "auto", default="auto"
        Rate alpha of the inner steps. "auto": the one, of a grid from 0.001 to 3.2, that leads from
        the start to the least mean query loss on episodes of the meta-train tasks.
    """,
    "steps": """
    inner_steps : int or "auto", default="auto"
        Number K of inner steps. "auto": in training 10 of perceptrons and 30 of all others; in
        ``adapt`` the number, of a grid from 0 to 300, that leads to the least mean query loss on
        episodes of the meta-train tasks with about as many rows.
    adapt_steps : int, default=None
        Number of steps of ``adapt``; None: as ``inner_steps`` says.
    """,
    "episodes": """
    n_shots : int, range or (int, int), default=(0, 10)
        Support rows of an episode; of a range, each batch draws one number (with ``"lbfgs"``, each
        task). At least half of the rows of a task stay in the query. Episodes with 0 rows teach
        what to predict for a task that nothing is known of.
    n_query : int, default=None
        Most query rows of an episode; None: all that are left.
    {tasks_per_batch}
    """,
    "outer": """
    max_iter : int, default=1000
        Meta-iterations; 0 leaves the start as it is.
    outer_solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Optimiser of the meta-loss. ``"lbfgs"`` (scipy) runs on one fixed episode of every task, to
        convergence or ``max_iter``.
    outer_lr : float or "auto", default="auto"
        Rate of ``"adam"`` and ``"sgd"``. "auto": 0.01; of perceptrons that start from a pooled fit,
        their ``learning_rate_init``, so that they do not leave it at once.
    outer_schedule : {"linear", "constant"}, default="linear"
        Whether the outer rate falls linearly to 0 over ``max_iter`` meta-iterations, so that the
        noise of the last batches does not stay in the result.
    {init}
    early_stopping : bool, default=False
        Whether to hold tasks out, stop when their loss has not fallen for 10 epochs, and keep the
        best (not with ``"lbfgs"``).
    {held_out}
    {warm_start}
    """,
    "init": """
    init : {"pooled", "random"}, default="pooled"
        Where meta-training starts: at the wrapped estimator fitted on the pooled rows, or as it
        draws its own first parameters (0 of linear ones).
    """,
    "warm_start": """
    warm_start : bool, default=False
        Whether another fit goes on from the last one.
    """,
    "border": """
    classes : {"shared", "per_task"}, default="shared"
        Whether all tasks have the same classes, or every task has labels of its own (N-way tasks);
        then ``n_shots`` counts the support rows of each class, at least 1, and the start is always
        that of ``init="random"``. "per_task" works with ``LogisticRegression``, ``SGDClassifier``
        with log loss, and ``MLPClassifier``.
    {ids}
    standardize : bool, default=True
        Whether linear estimators and perceptrons work on features (and, with squared loss,
        targets) standardised over the meta-train rows. Rates are meant in these units;
        coefficients and predictions are always in those of the data.
    {seeds}
    """,
    "inner_lr_": """
    inner_lr_ : float
        The inner rate.
    """,
    "adapt_steps_": """
    adapt_steps_ : int or dict
        The number of steps of ``adapt``; if it depends on the number of rows, by this number: that
        of the nearest one holds, on a logarithmic scale.
    """,
    "attributes": """
    loss_curve_ : list of float
        Mean query loss before every meta-iteration (after it, of ``"lbfgs"``).
    n_iter_ : int
        Number of meta-iterations.
    {current}
    """,
    # -- of a learned body with a head in closed form --
    "body": """
    body : transformer, default=None
        A transformer or a Pipeline of some, whose output the estimator sees instead of the rows:
        ``Nystroem()``, ``SplineTransformer()``, embeddings of texts. It is fitted once on the
        pooled meta-train rows, as the transformers of a Pipeline are, unless it stands in a
        ``FrozenEstimator``. The same as a Pipeline of both as ``estimator``.
    """,
    "training": """
    n_query : int, default=None
        Most query rows of an episode of training; None: all that are left.
    {tasks_per_batch}
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
    {held_out}
    {ids}
    """,
    "trained": """
    loss_curve_ : list of float
        Loss before every meta-iteration.
    n_iter_ : int
        Number of meta-iterations; 1 where no representation is trained.
    {current}
    """,
}

documented = sharing_parts(SHARED)
