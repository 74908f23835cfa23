"""Loss functions: pure torch modules, ``loss(input, target, valid=None)`` -> scalar. Importing this imports no torch.

How losses of several heads become one is in :mod:`visionlab.losses.balance`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Entry:
    """What a configuration is checked against before torch is imported.

    Attributes:
        takes: what its input is: ``values`` on the target's scale, ``probabilities`` in 0..1, or ``logits`` before the
            sigmoid. The loss has the same in its attribute ``takes``.
        dense: whether it needs maps, B x C x H x W; the others take B x K as well.
        labels: whether it needs labels of whole images, B x K of 0 and 1.
        smallest: least height and width of the maps.
    """

    takes: Literal["values", "probabilities", "logits"]
    dense: bool = False
    labels: bool = False
    smallest: int = 1


LOSSES: dict[str, Entry] = {
    "visionlab.losses.elementwise.l1": Entry("values"),
    "visionlab.losses.elementwise.mse": Entry("values"),
    "visionlab.losses.elementwise.huber": Entry("values"),
    "visionlab.losses.elementwise.BCELoss": Entry("logits"),
    "visionlab.losses.elementwise.FocalLoss": Entry("logits"),
    "visionlab.losses.labels.AsymmetricLoss": Entry("logits"),
    "visionlab.losses.labels.SoftF1Loss": Entry("probabilities", labels=True),
    "visionlab.losses.labels.LovaszLabelLoss": Entry("logits", labels=True),
    "visionlab.losses.overlap.DiceLoss": Entry("probabilities", dense=True),
    "visionlab.losses.overlap.LovaszLoss": Entry("logits", dense=True),
    "visionlab.losses.structural.SSIMLoss": Entry("values", dense=True),
    "visionlab.losses.structural.MSSSIMLoss": Entry("values", dense=True, smallest=32),
    "visionlab.losses.gradient.GradientLoss": Entry("values", dense=True, smallest=2),
    "visionlab.losses.mixed.L1MSSSIMLoss": Entry("values", dense=True, smallest=32),
    "visionlab.losses.mixed.DenseDepthLoss": Entry("values", dense=True, smallest=2),
    "visionlab.losses.mixed.BCEDiceLoss": Entry("logits", dense=True),
}

_EXPORTS = {
    "Loss": "visionlab.losses.base",
    "ElementwiseLoss": "visionlab.losses.elementwise",
    **{target.rpartition(".")[2]: target.rpartition(".")[0] for target in LOSSES},
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'visionlab.losses' has no attribute '{name}'")
