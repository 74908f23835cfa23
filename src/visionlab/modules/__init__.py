"""The LightningModules. Importing this does not import torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionlab.modules.task_module import DensePredictor, MultilabelClassifier, Regressor


@dataclass(frozen=True)
class Entry:
    """A LightningModule.

    Attributes:
        name: of its class in :mod:`visionlab.modules.task_module`.
        kind: of the networks it takes: ``image`` (a vector an image) or ``dense`` (a map an image).
    """

    name: str
    kind: str


MODULES = {
    "regressor": Entry("Regressor", "image"),
    "dense": Entry("DensePredictor", "dense"),
    "multilabel": Entry("MultilabelClassifier", "image"),
}

__all__ = ["MODULES", "DensePredictor", "MultilabelClassifier", "Regressor"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("visionlab.modules.task_module"), name)
    raise AttributeError(f"module 'visionlab.modules' has no attribute '{name}'")
