"""Loss functions: pure torch modules, ``forward(input, target)``. Importing this does not import torch."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = dict.fromkeys(("ElementwiseLoss", "huber", "l1", "l2"), "elementwise")

__all__ = ["ElementwiseLoss", "huber", "l1", "l2"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"visionlab.losses.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'visionlab.losses' has no attribute '{name}'")
