"""Numbers of an image."""

from visionlab.heads.kind import Kind
from visionlab.metrics.regression import METRICS

KIND = Kind(
    name="regression",
    head="visionlab.heads.regression.head.RegressionHead",
    target="visionlab.heads.regression.head.TARGET",
    figures="visionlab.heads.regression.figures",
    module="regressor",
    activations=("none", "nonnegative"),
    metrics=METRICS,
    gives="numbers",
    losses="l1, mse or huber",
)
