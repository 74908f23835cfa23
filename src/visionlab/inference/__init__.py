"""From a checkpoint to predictions: on arrays, files and whole splits. Importing this does not import torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionlab.inference.prediction import Prediction
    from visionlab.inference.predictor import Ensemble, Predictor, load

_EXPORTS = {"Ensemble": "predictor", "Prediction": "prediction", "Predictor": "predictor", "load": "predictor"}
__all__ = ["Ensemble", "Prediction", "Predictor", "load"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.inference.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.inference' has no attribute '{name}'")
