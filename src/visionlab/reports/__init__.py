"""Figures and the self-contained HTML report of a run. Heavy imports (matplotlib, pandas) come with the first use."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "write_report": "html",
    "compare": "comparison",
    "write_data_report": "data",
    "write_throughput_report": "throughput",
}

__all__ = ["compare", "write_data_report", "write_report", "write_throughput_report"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.reports.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.reports' has no attribute '{name}'")
