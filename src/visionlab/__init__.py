"""visionlab: train, test and report on image tasks in microscopy and dense prediction.

Importing the package is light; torch comes with the first use::

    import visionlab
    run = visionlab.train("task=focus", "model=resnet34")   # the overrides of the command line -> run folder
    predictor = visionlab.load(run)                         # or a .ckpt
    predictor.predict("image.png").distance                 # in the unit of the training files

With a Lightning trainer of your own::

    data, module = visionlab.compose("task=focus", "data.root=cells", "model=resnet18")
    pl.Trainer(max_epochs=5).fit(module, datamodule=data)
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

from visionlab.version import __version__

# albumentations asks the network for its newest version when imported; set before anything can import it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


_SUBMODULES = ("data", "losses", "metrics", "models", "modules", "reports", "samples", "train")

DATA_MODULES = {
    "CElegansDataModule": "visionlab.datasets.celegans",
    "CElegansLineageDataModule": "visionlab.datasets.lineage",
    "CElegansMembraneDataModule": "visionlab.datasets.celegans",
    "DepthMaskDataModule": "visionlab.datasets.depth_mask",
    "FocusDataModule": "visionlab.datasets.focus",
    "ProteinAtlasDataModule": "visionlab.datasets.protein_atlas",
}
"""The data modules that :mod:`visionlab.data` hands out, and where each stands; that room knows none."""

__all__ = [
    "DATA_MODULES",
    "__version__",
    "compose",
    "data",
    "load",
    "losses",
    "metrics",
    "models",
    "modules",
    "reports",
    "samples",
    "train",
]


def load(
    run_or_checkpoint: Any,
    *more: Any,
    device: str = "auto",
    tta: str | None = None,
    tta_merge: str = "mean",
    trust: Sequence[str] = (),
) -> Any:
    """Return the ``Predictor`` of a run folder or checkpoint, of several their ``Ensemble``.

    See :func:`visionlab.inference.load`.
    """
    from visionlab.inference import load as load_predictor

    return load_predictor(run_or_checkpoint, *more, device=device, tta=tta, tta_merge=tta_merge, trust=trust)


def compose(*overrides: str, trust: Sequence[str] = ()) -> Any:
    """Return ``(data, module)`` of a configuration, a LightningDataModule and a LightningModule, for your own trainer.

    See :func:`visionlab.training.assembly.compose`.
    """
    from visionlab.training.assembly import compose as compose_objects
    from visionlab.training.evaluation import time_points

    data, module = compose_objects(overrides, trust)
    module.time_points = time_points
    return data, module


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"visionlab.{name}")
    raise AttributeError(f"module 'visionlab' has no attribute '{name}'")
