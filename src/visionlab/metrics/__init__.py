"""Evaluation in the user's units: metrics, intervals that respect groups, ``metrics.json``. Numpy only, torch-free."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "METRICS": "regression",
    "Metric": "regression",
    "metric": "regression",
    "group_interval": "bootstrap",
    "summarise": "summary",
}

__all__ = ["METRICS", "Metric", "group_interval", "metric", "summarise"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.metrics.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.metrics' has no attribute '{name}'")
