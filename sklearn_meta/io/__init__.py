"""Saving and exporting fitted objects: types that skops may load, converters to ONNX.

Every object of this package pickles. A pickle runs code when it is loaded; ``skops`` loads without,
and asks which types may be made. :data:`TRUSTED_TYPES` are those of this package and of the
scikit-learn estimators that it wraps; all hold data only.
"""

from .onnx import register_onnx

__all__ = ["TRUSTED_TYPES", "register_onnx"]

_OWN = {
    "algorithms.baselines": "Independent Pooled",
    "algorithms.batch": "BatchMetaLearner MetaModel",
    "algorithms.gaussian_process": "GaussianProcessMeta GaussianProcessModel MetaModel "
    "ProcessPredictor ScikitLearnKernel",
    "algorithms.hierarchical": "HierarchicalBayes MetaModel",
    "algorithms.imaml": "IMAML",
    "algorithms.maml": "ANIL FOMAML MAML MetaSGD",
    "algorithms.prototypes": "ClassMeans PrototypeClassifier",
    "algorithms.reptile": "Reptile",
    "algorithms.ridge_head": "RidgeHead",
    "algorithms.transfer": "Adapted AdaptedLearner OpenClasses TransferMetaLearner",
    "base.embedding": "EmbeddedPredictor Representation",
    "base.generalized": "GeneralizedPredictor",
    "base.gradient_family": "Initialisation",
    "base.labels": "Numbers OwnClasses SharedClasses",
    "base.memory": "Memory",
    "base.sources": "Sources",
    "descriptors._classes": "ClassDescriptor",
    "descriptors._landmarks": "LandmarkDescriptor",
    "descriptors._moments": "MomentsDescriptor",
    "descriptors._quantiles": "QuantileDescriptor",
    "descriptors._ridge": "RidgeDescriptor",
    "descriptors._side": "SideInformation",
    "ensemble.encoding": "TableEncoder _DateParts _as_numbers _as_text",
    "ensemble.members": "Member Stack",
    "ensemble.meta": "MetaClassifier MetaModel MetaRegressor Record",
    "kernels.covariance": "TaskKernel",
    "kernels.evidence": "Landmarks",
    "kernels.families": "Bernoulli Categorical EpsilonDensity GammaFamily Gaussian HingeFamily "
    "HuberDensity ModifiedHuberFamily PoissonFamily QuasiPoissonFamily TweedieFamily",
    "kernels.gaussian_process": "Posterior",
    "kernels.losses": "EpsilonInsensitive Gamma Hinge Huber Logistic ModifiedHuber Multinomial "
    "Poisson Squared Tweedie",
    "kernels.mixed_model": "MixedModel Moments",
    "kernels.network": "Network",
    "kernels.optimizers": "AdamState",
    "kernels.scaling": "Scaling",
    "kernels.stacking": "RawLoss Stack",
    "learners.blackbox": "BlackBoxLearner Fitted",
    "learners.blend": "BlendClassifier BlendRegressor PoolClassifier",
    "learners.conditional": "Conditional",
    "learners.conditioned": "ConditionedClassifier ConditionedLearner ConditionedRegressor",
    "learners.encoded": "EncodedClassifier",
    "learners.head": "BodyAndHeadClassifier BodyAndHeadRegressor HeadLearner",
    "learners.linear": "LinearLearner",
    "learners.mlp": "MLPLearner",
    "learners.refit": "Fitter",
    "priors.conditional": "ConditionalPrior",
    "priors.context": "Context",
    "priors.gaussian": "GaussianPrior",
    "priors.intervals": "Calibration",
    "priors.laplace": "LaplaceModel",
    "priors.mixture": "Mixture",
    "priors.process": "ProcessPrior",
    "priors.prototypes": "Prototypes",
    "priors.pull": "Pull",
    "priors.regularization": "Held",
    "priors.ridge_head": "HeadPrior",
    "tasks.classes": "TaskClasses",
    "tasks.columns": "View",
    "tasks.ids": "IdIndex",
    "tasks.table": "TaskTable",
}
# What estimators of scikit-learn hold that skops does not know.
_WRAPPED = {
    "functools": "partial",  # of functions that are trusted, too
    "numpy": "dtype",
    "sklearn._loss.loss": "HalfTweedieLoss HalfTweedieLossIdentity",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.gaussian_process.kernels": "ConstantKernel DotProduct ExpSineSquared Exponentiation "
    "Matern Product RBF RationalQuadratic Sum WhiteKernel",
    "sklearn.metrics._dist_metrics": "EuclideanDistance64",
    "sklearn.neighbors._kd_tree": "KDTree",
    "sklearn.tree._tree": "Tree",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.utils.validation": "check_array",
}

TRUSTED_TYPES: tuple[str, ...] = tuple(
    f"{module}.{name}"
    for module, names in [*((f"sklearn_meta.{m}", n) for m, n in _OWN.items()), *_WRAPPED.items()]
    for name in names.split()
)
"""Names of types for the argument ``trusted`` of :func:`skops.io.load`."""
