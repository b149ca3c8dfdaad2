"""Callbacks of scikit-learn, so that algorithms need not know of them."""

__all__ = ["Reporter"]


class Reporter:
    """Tells the callbacks of a fit, which has a CallbackContext, how learning goes on.

    ``state(meta_model)`` gives the fitted attributes of an object that knows the meta-model; the
    data are the X and y that callbacks may score on.
    """

    def __init__(self, estimator, state, context, data):
        self.estimator, self.state, self.context, self.data = estimator, state, context, data
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

    def part(self, name):
        """A part of learning is over, before there is a meta-model."""
        context = self.context.subcontext(task_name=name)
        context.call_on_fit_task_begin(estimator=self.estimator)
        context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes={})

    def end(self):
        """Learning is over."""
        self.context.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )
