"""A head of foreground masks. Pure torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
import torch
from torch.nn import functional

from visionlab.files import write_bytes
from visionlab.heads.head import Array
from visionlab.heads.kind import Kind
from visionlab.heads.map_head import MapHead, comparable, sums_of_images, total
from visionlab.heads.mask import KIND
from visionlab.io.encoding import png
from visionlab.metrics.dense import MASK_COLUMNS, shares

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule

THRESHOLD = 0.5
"""Probability from which on a pixel is foreground."""

BOUNDARY_TOLERANCE = 0.0075
"""How far apart boundaries may lie and still agree, as a share of the image's diagonal (Csurka et al. 2013)."""

# The foreground in overlays: vermillion of Okabe & Ito 2008, seen apart from nearly everything.
_TINT = np.array([213, 94, 0], np.float32) / 255


class MaskHead(MapHead):
    """The foreground: 1 in the mask, 0 elsewhere; decoded to a probability.

    Args:
        name, unit, options: see :class:`visionlab.heads.head.Head`.
        activation: ``sigmoid``; or ``none``, where the network's values are the probability as they are.
        share: of the foreground in the training split, 0..1.
    """

    kind: ClassVar[Kind] = KIND
    overlay_rank: ClassVar[int] = 2

    share: torch.Tensor

    def __init__(self, name: str, *, share: float = 0.0, unit: str = "", **options: Any) -> None:
        super().__init__(name, (name,), unit=unit, **options)
        self.register_buffer("share", torch.tensor(share, dtype=torch.float32))

    @classmethod
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        return {"share": data.map_scale(name).mean}

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return target

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.activated(raw).clamp(0, 1)

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return self.share.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return mask_rows(decoded, target)

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


@torch.no_grad()
def mask_rows(probability: torch.Tensor, target: torch.Tensor, threshold: float = THRESHOLD) -> torch.Tensor:
    """Return the sums of B images, B x ``MASK_COLUMNS``, float64, on the maps' device.

    The boundary of a mask is its foreground pixels beside a background pixel (up, down, left or right; both known): the
    image's edge is none. Two boundaries agree where they are at most 0.75% of the image's diagonal apart, at least 1
    pixel.

    Args:
        probability: of the foreground, B x 1 x H x W.
        target: 1 foreground, 0 background, NaN unknown.
        threshold: probability from which on a pixel is foreground.
    """
    probability, target, known, measurable = comparable(probability, target)
    true = target >= 0.5  # not where unknown: comparisons with NaN are false
    pred = (probability >= threshold) & known
    true_edge, pred_edge = (mask & _within(known & ~mask, 1) for mask in (true, pred))
    tolerance = max(1.0, BOUNDARY_TOLERANCE * math.hypot(*target.shape[1:]))
    sums = {
        "known": total(known),
        "tp": total(true & pred),
        "fp": total(pred & ~true),
        "fn": total(true & ~pred),
        "absolute": total((probability - target).abs()),
        "true_edge": total(true_edge),
        "true_edge_met": total(true_edge & _within(pred_edge, tolerance)),
        "pred_edge": total(pred_edge),
        "pred_edge_met": total(pred_edge & _within(true_edge, tolerance)),
    }
    return sums_of_images(sums, MASK_COLUMNS, measurable)


def _within(mask: torch.Tensor, radius: float) -> torch.Tensor:
    """Return the pixels, B x H x W bool, at most ``radius`` from a pixel of the mask: dilation by a disk.

    The disk is taken row by row, from its ends, where it is narrow, to its middle: 4096 x 4096 pixels with a radius
    of 43 take 0.15 s, with a shift for each pixel of the disk 3.4 s.
    """
    reach, x, (height, width) = int(radius), 0, mask.shape[1:]
    padded = functional.pad(mask, (reach, reach, reach, reach))
    near, wide = torch.zeros_like(mask), padded.narrow(2, reach, width).clone()
    for y in range(reach, -1, -1):
        while (x + 1) ** 2 + y**2 <= radius**2:
            x += 1
            wide |= padded.narrow(2, reach - x, width)
            wide |= padded.narrow(2, reach + x, width)
        near |= wide.narrow(1, reach - y, height)
        near |= wide.narrow(1, reach + y, height)
    return near
