"""Data: index, splits, cache, augmentation and batches of image sets, and the data module of each task.

Importing this does not import torch::

    from visionlab.data import FocusDataModule

    data = FocusDataModule(root="cells", batch_size=16)   # the rest as conf/task/focus.yaml says
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from visionlab import DATA_MODULES

if TYPE_CHECKING:
    from visionlab.datasets.celegans import CElegansDataModule, CElegansMembraneDataModule
    from visionlab.datasets.depth_mask import DepthMaskDataModule
    from visionlab.datasets.focus import FocusDataModule
    from visionlab.datasets.lineage import CElegansLineageDataModule
    from visionlab.datasets.protein_atlas import ProteinAtlasDataModule

__all__ = [
    "CElegansDataModule",
    "CElegansLineageDataModule",
    "CElegansMembraneDataModule",
    "DepthMaskDataModule",
    "FocusDataModule",
    "ProteinAtlasDataModule",
]


def __getattr__(name: str) -> Any:
    if name in DATA_MODULES:
        return getattr(importlib.import_module(DATA_MODULES[name]), name)
    raise AttributeError(f"module 'visionlab.data' has no attribute '{name}'")
