"""A head of depth maps. Pure torch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import tifffile
import torch
from pytorch_msssim import ssim

from visionlab.console import LOG
from visionlab.files import write_bytes
from visionlab.heads.depth import KIND
from visionlab.heads.head import Array, Head
from visionlab.heads.kind import Kind
from visionlab.heads.map_head import MapHead, comparable, sums_of_images, total
from visionlab.io.encoding import png
from visionlab.losses.structural import WINDOW, SSIMLoss
from visionlab.metrics.dense import DEPTH_COLUMNS

if TYPE_CHECKING:
    from visionlab.data.module import ImageDataModule


class DepthHead(MapHead):
    """A distance at each pixel, learnt on the scale on which the training range is 0 to 1.

    Args:
        name, unit, options: see :class:`visionlab.heads.head.Head`.
        activation: ``none``; or ``sigmoid``, which keeps predictions within the training range.
        low, high, mean: of the training split, in the user's unit.
    """

    kind: ClassVar[Kind] = KIND
    overlay_rank: ClassVar[int] = 1

    low: torch.Tensor
    high: torch.Tensor
    mean: torch.Tensor

    def __init__(
        self, name: str, *, low: float = 0.0, high: float = 1.0, mean: float = 0.0, unit: str = "", **options: Any
    ) -> None:
        super().__init__(name, (name,), unit=unit, **options)
        for key, value in (("low", low), ("high", high), ("mean", mean)):
            self.register_buffer(key, torch.tensor(value, dtype=torch.float32))
        self._clipped = False

    @classmethod
    def statistics(cls, name: str, data: ImageDataModule) -> dict[str, Any]:
        scale = data.map_scale(name)
        # Of one depth everywhere there is nothing to learn, but nothing may be divided by zero.
        high = scale.high if scale.high > scale.low else scale.low + 1.0
        return {"low": scale.low, "high": high, "mean": scale.mean}

    def normalized(self, target: torch.Tensor) -> torch.Tensor:
        return (target - self.low) / (self.high - self.low)

    def decode(self, raw: torch.Tensor) -> torch.Tensor:
        return self.activated(raw) * (self.high - self.low) + self.low

    def baseline(self, target: torch.Tensor) -> torch.Tensor:
        return self.mean.to(target).expand_as(target)

    def rows(self, decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        low, high, mean = (buffer.item() for buffer in (self.low, self.high, self.mean))
        # Ratios and logarithms need positive predictions: a thousandth of the usual depth is next to nothing.
        return depth_rows(decoded, target, data_range=high - low, low=low, floor=max(1e-3 * mean, 1e-12))

    def values(self, decoded: Array) -> dict[str, tuple[float, str]]:
        return {f"{self.name}_median": (float(np.median(decoded)), self.unit)}

    @classmethod
    def merge(cls, heads: Sequence[Self]) -> Head:
        # Files of depth are scaled so that they hold the largest.
        return max(heads, key=lambda head: float(head.high))

    # Files ------------------------------------------------------------------------------------------------------

    def about_files(self, tif: bool) -> dict[str, Any]:
        if tif:
            return {"values": "distance", "unit": self.unit}
        step = self._step()
        return {"values": f"distance in steps of {step:g} {self.unit}".rstrip(), "step": step, "unit": self.unit}

    def write(self, shown: Array, path: Path, tif: bool) -> None:
        """Write a float32 TIFF in the head's unit, or a 16-bit PNG in whole numbers of a step.

        The step is a millimetre for metres, else a power of ten; 0 is never written: it means unknown.
        """
        if tif:
            # Bytes, as text would have to be ASCII, which µm is not.
            about = f"{self.name} in {self.unit or 'no unit'}".encode()
            content = io.BytesIO()
            tifffile.imwrite(content, shown.astype(np.float32), compression="zlib", description=about)
            write_bytes(path.with_name(f"{path.name}.tif"), content.getvalue())
            return
        counts = np.rint(shown / self._step())
        if counts.max() > 65535 and not self._clipped:
            self._clipped = True
            most = 65535 * self._step()
            LOG.warning(
                "%s: values beyond %g cannot be held by 16 bits: cut off; use --depth-format tif", self.name, most
            )
        write_bytes(path.with_name(f"{path.name}.png"), png(np.clip(counts, 1, 65535).astype(np.uint16)))

    def _step(self) -> float:
        """Return what one count of a 16-bit PNG stands for: a millimetre, or a power of ten that suffices."""
        if self.unit == "m":
            return 0.001
        return float(10.0 ** math.ceil(math.log10(max(1.5 * self.high.item(), 1e-30) / 65535)))

    def overlay(self, image: Array, shown: Array) -> Array:
        """Return the image, faint, under the depth in colour."""
        from matplotlib import colormaps

        low, high = np.percentile(shown, [1, 99])
        coloured = colormaps["viridis_r"]((shown - low) / max(float(high - low), 1e-12))[:, :, :3]
        return np.asarray(0.4 * image + 0.6 * coloured)


@torch.no_grad()
def depth_rows(
    pred: torch.Tensor, target: torch.Tensor, *, data_range: float, floor: float, low: float = 0.0
) -> torch.Tensor:
    """Return the sums of B images, B x ``DEPTH_COLUMNS``, float64, on the maps' device.

    Args:
        pred: B x 1 x H x W, in the depth's unit.
        target: the same, NaN unknown.
        data_range: what 1 on the scale from 0 to 1 that is learnt is wide, in the unit; structural similarity is
            measured on that scale.
        floor: above 0, in the unit: lower predictions are raised to it before they are scaled to the true median, and
            for ratios and logarithms, which have no value for depths of 0 or below.
        low: what is 0 on the scale that is learnt, in the unit.

    Each prediction is aligned by the medians over the pixels with true depth above 0 (of an even count, the lower of
    the two in the middle).
    """
    pred, target, known, measurable = comparable(pred, target)
    error = (pred - target).abs()
    sums = {
        "known": total(known),
        "absolute": total(error),
        "squared": total(error.square()),
        "ssim": _similarity(pred - low, target - low, known, data_range),
    }
    positive = target > 0
    true, pred = torch.where(positive, target, torch.nan), torch.where(positive, pred.clamp_min(floor), torch.nan)
    ratio = _ratio(pred, true)
    sums |= {"positive": total(positive), "relative": total(error / true), "log10": total(ratio.log10())}
    for power in (1, 2, 3):
        sums[f"delta{power}"] = total(ratio < 1.25**power)  # exact in binary
    pred = pred * (_median(true) / _median(pred))
    error = (pred - true).abs()
    sums |= {
        "aligned_absolute": total(error),
        "aligned_squared": total(error.square()),
        "aligned_relative": total(error / true),
        "aligned_delta1": total(_ratio(pred, true) < 1.25),
    }
    return sums_of_images(sums, DEPTH_COLUMNS, measurable)


def _ratio(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.maximum(a / b, b / a)


def _median(maps: torch.Tensor) -> torch.Tensor:
    """Return the median of each B x H x W map, B x 1 x 1, NaN left out; NaN if there is nothing else."""
    return maps.flatten(1).nanmedian(dim=1).values[:, None, None]


def _similarity(pred: torch.Tensor, target: torch.Tensor, known: torch.Tensor, data_range: float) -> torch.Tensor:
    """Return the structural similarity of each image, B; 0 where nothing is known.

    Of images that are wholly known and at least 11 pixels wide and high it is that of pytorch-msssim, whose window
    knows no gaps and no smaller images; of the others that of the loss of this name, which is equal where both are
    defined.
    """
    pred, target = (torch.where(known, maps, 0.0)[:, None] for maps in (pred, target))
    whole = known.flatten(1).all(dim=1) & (min(known.shape[1:]) >= WINDOW)
    found = pred.new_zeros(len(pred))
    # In half precision the differences of squares that similarity is made of have no digits left.
    with torch.autocast(known.device.type, enabled=False):
        if whole.any():
            found[whole] = ssim(pred[whole], target[whole], data_range=data_range, size_average=False)
        if not whole.all():
            loss, gaps = SSIMLoss(data_range=data_range), ~whole
            found[gaps] = loss.similarity(pred[gaps], target[gaps], known[gaps][:, None])[:, 0]
    return torch.where(known.flatten(1).any(dim=1), found, 0.0)
