"""The LightningModules and heads by the names that configurations use. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A LightningModule.

    Attributes:
        target: dotted name of the class.
        kind: of the networks it takes: ``image`` (a vector an image) or ``dense`` (a map an image).
    """

    target: str
    kind: str


@dataclass(frozen=True)
class HeadEntry:
    """A kind of head.

    Attributes:
        target: dotted name of the class.
        dense: whether it is of a network that gives a map an image.
        activations: what may stand between the network and the decoded values; the first is the default.
    """

    target: str
    dense: bool
    activations: tuple[str, ...]


MODULES = {
    "regressor": Entry("visionlab.modules.regressor.Regressor", "image"),
    "dense": Entry("visionlab.modules.dense.DensePredictor", "dense"),
}
HEADS = {
    "regression": HeadEntry("visionlab.modules.heads.RegressionHead", False, ("none",)),
    "mask": HeadEntry("visionlab.modules.dense_heads.MaskHead", True, ("sigmoid", "none")),
    "depth": HeadEntry("visionlab.modules.dense_heads.DepthHead", True, ("none", "sigmoid")),
}
