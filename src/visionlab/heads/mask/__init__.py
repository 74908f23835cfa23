"""The foreground of an image."""

from visionlab.heads.kind import Kind
from visionlab.metrics.dense import MASK

KIND = Kind(
    name="mask",
    head="visionlab.heads.mask.head.MaskHead",
    target="visionlab.heads.mask.target.TARGET",
    figures="visionlab.heads.mask.figures",
    module="dense",
    activations=("sigmoid", "none"),
    metrics=MASK,
    gives="masks",
    losses="bce, dice or bce_dice",
    binary=True,
)
