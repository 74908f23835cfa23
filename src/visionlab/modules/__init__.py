"""The LightningModules. Importing this does not import torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionlab.modules.task_module import DensePredictor, MultilabelClassifier, Regressor


MODULES = {
    "regressor": ("Regressor", "image"),
    "dense": ("DensePredictor", "dense"),
    "multilabel": ("MultilabelClassifier", "image"),
}
"""Name in a configuration -> its class in :mod:`visionlab.modules.task_module`, and the networks that it takes.

These give a vector (``image``) or a map (``dense``) an image.
"""

__all__ = ["MODULES", "DensePredictor", "MultilabelClassifier", "Regressor"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("visionlab.modules.task_module"), name)
    raise AttributeError(f"module 'visionlab.modules' has no attribute '{name}'")
