"""From a checkpoint to predictions: on arrays, files and whole splits."""

from __future__ import annotations

from visionlab.inference.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
