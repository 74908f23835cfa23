"""Evaluation in the user's units: metrics, intervals that respect groups, ``metrics.json``.

Numpy only, torch-free, but for ``depth_rows``, ``histogram_rows`` and ``mask_rows``, which sum over maps on their
device.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "DEPTH_COLUMNS": "dense",
    "INSTANCE_COLUMNS": "instance_sums",
    "MASK_COLUMNS": "dense",
    "METRICS": "kinds",
    "Metric": "metric",
    "WHILE_TRAINING": "instances",
    "at_threshold": "histograms",
    "best_threshold": "histograms",
    "calibrate": "calibration",
    "class_table": "multilabel",
    "confusion": "labels",
    "cooccurrence": "labels",
    "depth_rows": "maps",
    "ece": "calibration",
    "expected_f1": "calibration",
    "f1_thresholds": "thresholds",
    "fit_calibration": "calibration",
    "fit_thresholds": "thresholds",
    "frame_sums": "instance_sums",
    "group_interval": "bootstrap",
    "histogram_rows": "histograms",
    "mask_rows": "maps",
    "measure": "summary",
    "nested_folds": "thresholds",
    "per_image": "dense",
    "ratio_thresholds": "thresholds",
    "reliability": "calibration",
    "shares": "dense",
    "shrunken_thresholds": "thresholds",
    "summarise": "summary",
    "wilson": "calibration",
}

__all__ = [
    "DEPTH_COLUMNS",
    "INSTANCE_COLUMNS",
    "MASK_COLUMNS",
    "METRICS",
    "WHILE_TRAINING",
    "Metric",
    "at_threshold",
    "best_threshold",
    "calibrate",
    "class_table",
    "confusion",
    "cooccurrence",
    "depth_rows",
    "ece",
    "expected_f1",
    "f1_thresholds",
    "fit_calibration",
    "fit_thresholds",
    "frame_sums",
    "group_interval",
    "histogram_rows",
    "mask_rows",
    "measure",
    "nested_folds",
    "per_image",
    "ratio_thresholds",
    "reliability",
    "shares",
    "shrunken_thresholds",
    "summarise",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.metrics.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.metrics' has no attribute '{name}'")
