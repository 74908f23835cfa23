"""A distance at each pixel."""

from visionlab.heads.kind import Kind
from visionlab.metrics.dense import DEPTH

KIND = Kind(
    name="depth",
    head="visionlab.heads.depth.head.DepthHead",
    target="visionlab.heads.depth.target.TARGET",
    figures="visionlab.heads.depth.figures",
    module="dense",
    activations=("none", "sigmoid"),
    metrics=DEPTH,
    gives="depths",
    losses="l1, mse or l1_msssim",
)
