"""Evaluation in the user's units: metrics, intervals that respect groups, ``metrics.json``.

Numpy only, torch-free, but for ``depth_rows`` and ``mask_rows``, which sum over maps on their device.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "DEPTH_COLUMNS": "dense",
    "MASK_COLUMNS": "dense",
    "METRICS": "kinds",
    "Metric": "metric",
    "depth_rows": "maps",
    "group_interval": "bootstrap",
    "mask_rows": "maps",
    "measure": "summary",
    "per_image": "dense",
    "shares": "dense",
    "summarise": "summary",
}

__all__ = [
    "DEPTH_COLUMNS",
    "MASK_COLUMNS",
    "METRICS",
    "Metric",
    "depth_rows",
    "group_interval",
    "mask_rows",
    "measure",
    "per_image",
    "shares",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.metrics.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.metrics' has no attribute '{name}'")
