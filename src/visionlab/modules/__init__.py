"""The LightningModules by the names that configurations use. Importing this does not import torch."""

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


MODULES = {
    "regressor": Entry("visionlab.modules.regressor.Regressor", "image"),
    "dense": Entry("visionlab.modules.dense.DensePredictor", "dense"),
    "multilabel": Entry("visionlab.modules.multilabel.MultilabelClassifier", "image"),
}
