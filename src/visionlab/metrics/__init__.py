"""Evaluation in the user's units: metrics, intervals that respect groups, ``metrics.json``. Numpy only."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "DEPTH_COLUMNS": "dense",
    "INSTANCE_COLUMNS": "matching",
    "MASK_COLUMNS": "dense",
    "Metric": "metric",
    "WHILE_TRAINING": "instances",
    "at_threshold": "instances",
    "best_threshold": "instances",
    "calibrate": "calibration",
    "class_table": "multilabel",
    "confusion": "multilabel",
    "cooccurrence": "multilabel",
    "ece": "calibration",
    "expected_f1": "calibration",
    "f1_thresholds": "thresholds",
    "fit_calibration": "calibration",
    "fit_thresholds": "thresholds",
    "frame_sums": "matching",
    "group_interval": "bootstrap",
    "ratio_thresholds": "thresholds",
    "reliability": "calibration",
    "shares": "dense",
    "shrunken_thresholds": "thresholds",
    "wilson": "calibration",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.metrics.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.metrics' has no attribute '{name}'")
