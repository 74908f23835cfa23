"""Evaluation in the user's units: metrics, intervals that respect groups, ``metrics.json``. Numpy only."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "confusion": "multilabel",
    "f1_thresholds": "thresholds",
    "group_interval": "bootstrap",
    "reliability": "calibration",
    "wilson": "calibration",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.metrics.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.metrics' has no attribute '{name}'")
