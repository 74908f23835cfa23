"""A head of foreground masks. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import cv2
import numpy as np
import torch

from visionlab.files import write_bytes
from visionlab.heads.head import Array
from visionlab.heads.kind import Kind
from visionlab.heads.map_head import MapHead
from visionlab.heads.map_sums import mask_rows
from visionlab.heads.mask import KIND
from visionlab.io.encoding import png
from visionlab.metrics.dense import shares

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule

THRESHOLD = 0.5
"""Probability from which on a pixel is foreground."""

# The foreground in overlays: vermillion of Okabe & Ito 2008, seen apart from nearly everything.
_TINT = np.array([213, 94, 0], np.float32) / 255


class MaskHead(MapHead):
    """The foreground: 1 in the mask, 0 elsewhere; decoded to a probability.

    Args:
        name, metrics, weight, unit: see :class:`visionlab.heads.head.Head`.
        activation: ``sigmoid``; or ``none``, where the network's values are the probability as they are.
        share: of the foreground in the training split, 0..1.
    """

    kind: ClassVar[Kind] = KIND
    overlay_rank: ClassVar[int] = 2

    share: torch.Tensor

    def __init__(
        self, name: str, *, share: float, metrics: Sequence[str], weight: float, activation: str, unit: str = ""
    ) -> None:
        super().__init__(name, (name,), unit=unit, metrics=metrics, weight=weight, activation=activation)
        self.register_buffer("share", torch.tensor(share, dtype=torch.float32))

    @classmethod
    def from_data(cls, name: str, data: ImageDataModule, **options: Any) -> Self:
        return cls(name, share=data.map_scale(name).mean, **options)

    @classmethod
    def from_spec(cls, name: str, spec: Mapping[str, Any]) -> Self:
        return cls(name, share=0.0, **cls.shared(spec))

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return target

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.activated(raw).clamp(0, 1)

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return self.share.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return mask_rows(decoded, target, THRESHOLD)

    def table(self, rows: Array) -> dict[str, Array]:
        true, pred = shares(rows)
        return {f"{self.name}_area_true": true, f"{self.name}_area_pred": pred, **super().table(rows)}

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        foreground = decoded >= THRESHOLD
        return {
            f"{self.name}_area": (float(foreground.sum()), "px"),
            f"{self.name}_share": (float(foreground.mean()), ""),
        }

    # Files ------------------------------------------------------------------------------------------------------

    def about_files(self, tif: bool) -> dict[str, Any]:
        return {"values": "255 foreground, 0 background", "threshold": THRESHOLD}

    def write(self, shown: Array, path: Path, tif: bool) -> None:
        """Write an 8-bit PNG of 0 and 255."""
        content = png(np.where(shown >= THRESHOLD, np.uint8(255), np.uint8(0)))
        write_bytes(path.with_name(f"{path.name}.png"), content)

    def overlay(self, image: Array, shown: Array) -> Array:
        """Return the image with the foreground tinted and outlined."""
        inside = shown >= THRESHOLD
        edge = inside & ~_eroded(inside)
        tinted = np.where(inside[:, :, None], 0.55 * image + 0.45 * _TINT, image)
        return np.where(edge[:, :, None], _TINT, tinted)


def _eroded(mask: Array) -> Array:
    width = max(1, round(min(mask.shape) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1)) > 0
