r"""Model-agnostic meta-learning (MAML) and three relatives that differ in a line each.

Learn an initialisation theta from which K gradient steps on the support of a task lead to a small
loss on its query (Finn, Abbeel, Levine 2017):

    min_theta  mean_t q_t(theta_K),   theta_{k+1} = theta_k - alpha grad f_t(theta_k)

MAML follows the exact gradient of this, FOMAML leaves its second derivatives out, ANIL moves only
the last layer in the inner steps, Meta-SGD learns alpha, too, one rate for each parameter.
The mathematics is in ``kernels/gradient.py``.
"""

from dataclasses import replace

import numpy as np

from ..base import learned
from ..base.gradient_docs import documented
from ..base.gradient_family import EpisodicMetaEstimator
from ..kernels.gradient import meta_gradient

__all__ = ["ANIL", "FOMAML", "MAML", "MetaSGD"]


@documented
class MAML(EpisodicMetaEstimator):
    """Model-agnostic meta-learning: a start from which few gradient steps suffice.

    The outer gradient is exact through any number of inner steps. An inner step that would raise
    the support loss of a task is halved for that task until it does not, so that adaptation never
    diverges, whatever the rate.

    {maml}

    See Also
    --------
    FOMAML : Without second derivatives.
    MetaSGD : With learned inner rates.
    ANIL : Only the last layer adapts.
    HierarchicalBayes : The closed form, for linear models with squared loss.

    References
    ----------
    Finn, Abbeel, Levine (2017), Model-agnostic meta-learning for fast adaptation of deep networks,
    ICML.

    Examples
    --------
    >>> from sklearn_meta import MAML
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=100, random_state=0)
    >>> model = MAML(max_iter=200, random_state=0).meta_fit(tasks[:99])
    >>> new = tasks[99]
    >>> before = model.score(new.X[5:], new.y[5:])
    >>> after = model.adapt(new.X[:5], new.y[:5]).score(new.X[5:], new.y[5:])
    >>> after > before
    True
    """

    _second_order = True

    def _meta_gradient(self, learner, meta_model, episode):
        return self._value_and_gradients(learner, meta_model, episode)[:2]

    def _value_and_gradients(self, learner, meta_model, episode, learn_rates=False):
        support, query, n_rows = episode
        return meta_gradient(
            learner.network,
            meta_model.theta[None],
            support,
            query,
            meta_model.alpha[None],
            self._training_steps(learner),
            penalty=learner.penalty(n_rows),
            second_order=self._second_order,
            learn_rates=learn_rates,
        )


@documented
class FOMAML(MAML):
    """First-order MAML: the outer gradient leaves the second derivatives out.

    ``d q_t(theta_K) / d theta`` is taken to be ``grad q_t(theta_K)``. An iteration costs a third
    (5 inner steps) to two thirds (1 step) of MAML's; the result is often as good.

    {maml}

    See Also
    --------
    MAML : With the exact gradient.
    Reptile : Another first-order algorithm.

    References
    ----------
    Finn, Abbeel, Levine (2017), section 5.2. Nichol, Achiam, Schulman (2018), On first-order
    meta-learning algorithms.

    Examples
    --------
    >>> from sklearn_meta import FOMAML
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> FOMAML(max_iter=100, random_state=0).meta_fit(tasks).n_iter_
    100
    """

    _second_order = False


@documented
class ANIL(MAML):
    """Almost no inner loop: MAML whose inner steps move the last layer only.

    The layers before it are one representation for all tasks, learned by the outer loop. Of linear
    estimators, and where a linear head adapts, everything is the last layer: ANIL is MAML there.

    {maml}

    See Also
    --------
    MAML : All layers adapt.

    References
    ----------
    Raghu, Raghu, Bengio, Vinyals (2020), Rapid learning or feature reuse? Towards understanding the
    effectiveness of MAML, ICLR.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn_meta import ANIL
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, random_state=0)
    >>> network = MLPRegressor(hidden_layer_sizes=(10,))
    >>> model = ANIL(network, init="random", max_iter=100, random_state=0).meta_fit(tasks)
    >>> before = model.estimator_.coefs_[0]
    >>> after = model.adapt(tasks[0].X, tasks[0].y).estimator_.coefs_[0]
    >>> bool((before == after).all())
    True
    """

    def _adapting(self, learner):
        return super()._adapting(learner) & learner.network.last_layer()


@documented
class MetaSGD(MAML):
    """MAML that learns its inner rates, one for each parameter, by the same meta-gradient.

    Parameters
    ----------
    {estimator}
    inner_lr : float or "auto", default="auto"
        Where the rates start. "auto": at the one, of a grid from 0.001 to 3.2, that leads from the
        start to the least mean query loss on episodes of the meta-train tasks.
    {steps}
    {episodes}
    {outer}
    {border}

    Attributes
    ----------
    inner_lr_ : ndarray of shape (n_params,)
        The learned rates, in the order of the parameters: of every layer the intercepts, then the
        weights.
    {adapt_steps_}
    {attributes}

    See Also
    --------
    MAML : With one fixed rate.

    References
    ----------
    Li, Zhou, Chen, Li (2017), Meta-SGD: learning to learn quickly for few-shot learning.

    Examples
    --------
    >>> from sklearn_meta import MetaSGD
    >>> from sklearn_meta.datasets import make_linear_tasks
    >>> tasks = make_linear_tasks(n_tasks=50, n_features=2, random_state=0)
    >>> MetaSGD(max_iter=100, random_state=0).meta_fit(tasks).inner_lr_.shape
    (3,)
    """

    def _pack(self, meta_model):
        return np.concatenate([meta_model.theta, meta_model.alpha])

    def _unpack(self, meta_model, x):
        theta, alpha = np.split(x, 2)
        return replace(meta_model, theta=theta, alpha=alpha)

    def _meta_gradient(self, learner, meta_model, episode):
        value, gradient, rates = self._value_and_gradients(learner, meta_model, episode, True)
        return value, np.concatenate([gradient, np.where(self._adapting(learner), rates, 0)])

    def _feasible(self, x):
        """Rates are not negative: such steps would raise the support loss."""
        theta, alpha = np.split(x, 2)
        return np.concatenate([theta, np.maximum(alpha, 0)])

    inner_lr_ = learned("alpha", "The learned inner rates.")
