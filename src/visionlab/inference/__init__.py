"""From a checkpoint to predictions: on arrays, files and whole splits. Importing this does not import torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionlab.inference.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("visionlab.inference.predictor"), name)
    raise AttributeError(f"module 'visionlab.inference' has no attribute '{name}'")
