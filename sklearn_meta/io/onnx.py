"""Converters of adapted models of this package to ONNX.

Plain estimators of scikit-learn, which the adapted models of linear learners and perceptrons are,
``skl2onnx`` knows itself. These converters write the equations of the others as a graph: body and
head, Gaussian processes, models conditioned on a descriptor, blends and pools; of
:class:`TableEncoder` what it does with numbers; constants. The estimators inside are left to
``skl2onnx``.
"""

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from ..algorithms.gaussian_process import GaussianProcessModel
from ..ensemble.encoding import TableEncoder
from ..kernels.covariance import TaskKernel
from ..learners.blackbox import LIKELY, classes_of
from ..learners.blend import MIN_PROBABILITY as BLENDED
from ..learners.blend import BlendClassifier, BlendRegressor, PoolClassifier
from ..learners.conditioned import ConditionedClassifier, ConditionedRegressor
from ..learners.encoded import EncodedClassifier
from ..learners.head import MIN_PROBABILITY, BodyAndHeadClassifier, BodyAndHeadRegressor

__all__ = ["register_onnx"]


def register_onnx() -> None:
    """Let ``skl2onnx`` convert the adapted models of this package: ``estimator_``.

    Once is enough. ``skl2onnx`` comes with ``pip install "sklearn_meta[onnx]"``.

    Raises
    ------
    ImportError
        If ``skl2onnx`` is not installed.
    NotImplementedError
        When a model is converted that has no graph; the message says why and what has. Kernels of
        scikit-learn, dates and categories of :class:`TableEncoder`, and labels by vote have none.

    Examples
    --------
    >>> from sklearn_meta.io import register_onnx
    >>> register_onnx()  # doctest: +SKIP
    >>> skl2onnx.to_onnx(meta.adapt(X, y).estimator_, X[:1])  # doctest: +SKIP
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            'register_onnx needs skl2onnx: pip install "sklearn_meta[onnx]".'
        ) from error
    for kind, (shapes, write) in CONVERTERS.items():
        update_registered_converter(
            kind,
            f"SklearnMeta{kind.__name__}",
            shapes,
            _converter(write),
            options={"zipmap": [True, False, "columns"]} if shapes is _of_classes else None,
        )


# -- shapes of outputs -----------------------------------------------------------------------------


def _of_number(operator):
    operator.outputs[0].type = type(operator.inputs[0].type)([None, 1])


def _of_classes(operator):
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    classes = operator.raw_operator.classes_
    labels = Int64TensorType if classes.dtype.kind in "biu" else StringTensorType
    operator.outputs[0].type = labels([None])
    operator.outputs[1].type = type(operator.inputs[0].type)([None, len(classes)])


def _of_columns(operator):
    n_columns = len(operator.raw_operator.get_feature_names_out())
    operator.outputs[0].type = type(operator.inputs[0].type)([None, n_columns])


# -- graphs ----------------------------------------------------------------------------------------


class _Graph:
    """What the graph of one model is made with: ``graph.Add(a, b)`` is a node."""

    def __init__(self, operator, container):
        from skl2onnx.common.data_types import guess_numpy_type

        self.dtype = guess_numpy_type(operator.inputs[0].type)
        self.opset = container.target_opset

    def __getattr__(self, name):
        from skl2onnx.algebra import onnx_ops

        make = getattr(onnx_ops, f"Onnx{name}")

        def node(*inputs, **attributes):
            inputs = [self.constant(i) if isinstance(i, (float, np.ndarray)) else i for i in inputs]
            return make(*inputs, op_version=self.opset, **attributes)

        return node

    def constant(self, values):
        """Numbers in the type of the rows; integers and labels as they are."""
        values = np.asarray(values)
        return values.astype(self.dtype) if values.dtype.kind == "f" else values

    def model(self, model, X):
        """The outputs of a fitted estimator: targets, or labels and probabilities."""
        from skl2onnx.algebra.onnx_operator import OnnxSubEstimator

        last = model[-1] if isinstance(model, Pipeline) else model
        options = {"zipmap": False} if hasattr(last, "classes_") else None
        return OnnxSubEstimator(model, X, op_version=self.opset, options=options)

    def cast(self, node):
        """A node in the type of the rows; trees give float32."""
        return self.Cast(node, to=1 if self.dtype == np.float32 else 11)

    def numbers(self, model, X):
        """Predictions of a regressor as a column."""
        return self.cast(self.Reshape(self.model(model, X), np.array([-1, 1])))

    def probabilities(self, model, X, classes, absent=0.0, f=lambda p: p):
        """``f`` of the probabilities of a classifier that may not have seen all of ``classes``."""
        if not hasattr(model, "predict_proba"):
            raise NotImplementedError(
                f"{type(model).__name__} has no probabilities, and then this model has no graph; "
                "wrap a classifier with predict_proba."
            )
        p = f(self.cast(self.model(model, X)[1]))
        seen = (classes_of(model, classes)[:, None] == classes).astype(float)
        if len(seen) < len(classes):
            p = self.Add(self.MatMul(p, seen), absent * (1 - seen.sum(axis=0)))
        return p

    def label(self, scores, classes):
        """The classes with the highest scores."""
        best = self.ArgMax(scores, axis=1, keepdims=0)
        if classes.dtype.kind == "b":
            classes = classes.astype(np.int64)
        labels = classes.astype(str if classes.dtype.kind in "OU" else np.int64)
        return self.Reshape(self.ArrayFeatureExtractor(labels, best), np.array([-1]))

    def sum(self, nodes, weights):
        """The weighted sum of nodes."""
        total = None
        for node, weight in zip(nodes, weights, strict=True):
            part = self.Mul(node, np.array([float(weight)]))
            total = part if total is None else self.Add(total, part)
        return total


def _converter(write):
    def convert(scope, operator, container):
        graph = _Graph(operator, container)
        nodes = write(graph, operator.raw_operator, operator.inputs[0])
        for node, output in zip(nodes, operator.outputs, strict=True):
            graph.Identity(node, output_names=[output.full_name]).add_to(scope, container)

    return convert


def _body_features(graph, model, X):
    """``[f(x), x]`` of body and head, and f(x)."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        f = graph.numbers(model.body, X)
    else:
        if hasattr(model.body, "predict_proba"):
            p = graph.probabilities(model.body, X, classes)
        else:
            text = classes.dtype.kind in "OU"
            known = {"cats_strings" if text else "cats_int64s": classes.tolist()}
            p = graph.cast(graph.OneHotEncoder(graph.model(model.body, X)[0], **known))
            p = graph.Add(graph.Mul(p, np.array([2 * LIKELY - 1])), np.array([1 - LIKELY]))
        p = graph.Max(p, np.array([MIN_PROBABILITY]))
        f = graph.Log(graph.Div(p, graph.MatMul(p, np.ones((len(classes), 1)))))
        if len(classes) == 2:
            f = graph.MatMul(f, np.array([[-1.0], [1.0]]))
    known = graph.Where(graph.IsNaN(X), model.fill_, X)
    return graph.Concat(f, known, axis=1), f


def _body_and_head(graph, model, X):
    Z, f = _body_features(graph, model, X)
    raw = graph.Add(graph.Add(f, graph.MatMul(Z, model.coef_.T)), model.intercept_)
    if not hasattr(model, "classes_"):
        return (raw,)
    if len(model.classes_) == 2:
        p = graph.Concat(graph.Sigmoid(graph.Neg(raw)), graph.Sigmoid(raw), axis=1)
    else:
        p = graph.Softmax(raw, axis=1)
    return graph.label(p, model.classes_), p


def _gaussian_process(graph, model, X):
    meta, posterior = model.model_, model.posterior_
    prior, n = meta.prior, posterior.weight.sum()
    if not isinstance(prior.kernel, TaskKernel):
        raise NotImplementedError(
            "kernels of scikit-learn have no graph; use GaussianProcessMeta(kernel=None)."
        )
    Z, f = _body_features(graph, model, X)
    if n == 0:
        return (f,)
    units = meta.scaling
    Z = graph.Div(graph.Sub(Z, units.x_mean), units.x_scale)
    a2, b2, s2, length, c = prior.kernel.split(prior.psi[:-1])
    known = posterior.X
    h = graph.Add(graph.MatMul(Z, c[:, None]), np.ones(1))
    linear = graph.MatMul(Z, (b2 * known).T)
    tilted = graph.MatMul(h, a2 * (1 + known @ c)[None])
    U, V = graph.Div(Z, length), known / length
    apart = graph.MatMul(graph.Mul(U, U), np.ones((len(length), 1)))
    apart = graph.Add(graph.Add(apart, (V**2).sum(axis=1)), graph.MatMul(U, -2.0 * V.T))
    q = graph.Max(apart, np.zeros(1))
    root = graph.Sqrt(graph.Mul(q, np.full(1, 5.0)))
    matern = graph.Add(graph.Add(root, np.ones(1)), graph.Mul(q, np.full(1, 5.0 / 3.0)))
    matern = graph.Mul(graph.Mul(matern, graph.Exp(graph.Neg(root))), np.full(1, s2))
    K = graph.Add(graph.Add(linear, tilted), matern)
    mean, u = (graph.MatMul(K, posterior.alpha[:, [j]]) for j in (0, 1))
    slope = graph.MatMul(graph.Sub(Z, posterior.centre), prior.slopes[:, None] / (n + 1))
    own = graph.Add(mean, graph.Mul(slope, graph.Add(u, np.full(1, n))))
    return (graph.Add(f, graph.Mul(own, np.full(1, meta.scale))),)


def _conditioned(graph, model, X):
    s = model.descriptor
    d = model.n_features_in_
    Z = graph.Pad(X, np.array([0, 0, 0, len(s)]))
    Z = graph.Add(Z, np.concatenate([np.zeros(d), s]))
    models, shares = model.estimators, np.full(len(model.estimators), 1 / len(model.estimators))
    if not hasattr(model, "classes_"):
        return (graph.sum([graph.numbers(one, Z) for one in models], shares),)
    p = graph.sum([graph.probabilities(one, Z, model.classes_) for one in models], shares)
    return graph.label(p, model.classes_), p


def _blend(graph, model, X):
    if not hasattr(model, "classes_"):
        raw = graph.sum([graph.numbers(one, X) for one in model.models], model.weights)
        return (graph.Add(raw, model.offset_),)

    def log(p):
        return graph.Log(graph.Max(p, np.array([BLENDED])))

    classes = model.classes_
    raw = [graph.probabilities(m, X, classes, np.log(BLENDED), log) for m in model.models]
    p = graph.Softmax(graph.Add(graph.sum(raw, model.weights), model.offset_), axis=1)
    return graph.label(p, classes), p


def _pool(graph, model, X):
    parts = [graph.probabilities(one, X, model.classes_) for one in model.models]
    p = graph.sum(parts, model.weights)
    return graph.label(p, model.classes_), p


def _constant(graph, model, X):
    """What stands for a task with a single class, or for one without rows."""
    classes = getattr(model, "classes_", None)
    row = np.ravel(model.constant_) if classes is None else model.class_prior_
    shape = graph.Concat(graph.Gather(graph.Shape(X), np.array([0])), np.array([1]), axis=0)
    rows = graph.MatMul(graph.Expand(np.ones((1, 1)), shape), row[None].astype(float))
    return (rows,) if classes is None else (graph.label(rows, classes), rows)


def _encoded(graph, model, X):
    p = graph.probabilities(model.estimator, X, model.estimator.classes_)
    return graph.label(p, model.classes), p


def _table_encoder(graph, model, X):
    for kind in ("dates", "categories"):
        if model.kinds_[kind]:
            raise NotImplementedError(
                f"columns {model.kinds_[kind]} are {kind}: TableEncoder has a graph for numbers "
                "only. Encode them before, and export what comes after."
            )
    imputer = model.transformer_.named_transformers_["numbers"][-1]
    missing = graph.IsNaN(X)
    known = graph.Where(missing, imputer.statistics_, X)
    indicator = imputer.indicator_.features_
    if len(indicator) == 0:
        return (known,)
    indicator = graph.cast(graph.Gather(missing, indicator.astype(np.int64), axis=1))
    return (graph.Concat(known, indicator, axis=1),)


CONVERTERS = {
    BodyAndHeadRegressor: (_of_number, _body_and_head),
    BodyAndHeadClassifier: (_of_classes, _body_and_head),
    GaussianProcessModel: (_of_number, _gaussian_process),
    ConditionedRegressor: (_of_number, _conditioned),
    ConditionedClassifier: (_of_classes, _conditioned),
    BlendRegressor: (_of_number, _blend),
    BlendClassifier: (_of_classes, _blend),
    PoolClassifier: (_of_classes, _pool),
    EncodedClassifier: (_of_classes, _encoded),
    DummyRegressor: (_of_number, _constant),
    DummyClassifier: (_of_classes, _constant),
    TableEncoder: (_of_columns, _table_encoder),
}
