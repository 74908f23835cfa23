"""Labels of an image, any number of them."""

from visionlab.heads.kind import Kind, Option
from visionlab.metrics.multilabel import METRICS

_MEDIAN = "is smallest where a class that is mostly absent is never given (its median is 0)"

KIND = Kind(
    name="multilabel",
    head="visionlab.heads.labels.head.MultilabelHead",
    target="visionlab.heads.labels.head.TARGET",
    figures="visionlab.heads.labels.figures",
    module="multilabel",
    activations=("sigmoid",),
    metrics=METRICS,
    gives="labels",
    losses="bce, focal or asymmetric",
    binary=True,
    classes=True,
    unsuited={"visionlab.losses.elementwise.l1": _MEDIAN, "visionlab.losses.elementwise.huber": _MEDIAN},
    options={
        # How thresholds are found (visionlab.metrics.thresholds), or one for all classes.
        "thresholds": Option("shrunken", ("f1", "ratio", "shrunken"), between=(0.0, 1.0)),
        # How scores are calibrated (visionlab.metrics.calibration).
        "calibration": Option("none", ("none", "temperature", "platt")),
    },
)
