"""Callbacks of scikit-learn, so that algorithms need not know of them."""

__all__ = ["Reporter"]


class Reporter:
    """Tells the callbacks how learning goes on.

    Parameters
    ----------
    estimator : BaseMetaEstimator
    state : callable
        ``state(meta_model)`` gives the fitted attributes of an object that knows the meta-model.
    n_epochs : int or None
    data : dict
        The X and y that callbacks may score on.
    """

    def __init__(self, estimator, state, n_epochs, data):
        self.estimator, self.state, self.data = estimator, state, data
        self.context = estimator._init_callback_context(max_subtasks=n_epochs)
        self.context.call_on_fit_task_begin(estimator=estimator, **data)

    def __call__(self, meta_model):
        """An epoch is over; whether a callback wants to stop.

        ``meta_model`` is a function that returns it, called only if a callback wants to see it.
        """
        epoch = self.context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(estimator=self.estimator)
        return epoch.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            reconstruction_attributes=lambda: self.state(meta_model()),
        )

    def end(self):
        """Learning is over."""
        self.context.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )
