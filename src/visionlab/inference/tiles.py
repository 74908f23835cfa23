"""Maps of images that are too large for a network's memory: predicted in overlapping tiles, which are blended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from visionlab.models.receptive_field import receptive_field

Array = np.ndarray[Any, Any]
Run = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]

# What networks over ResNet-18 say at a place depends on what is up to about 250 px away (see benchmarks/README.md), so
# in the middle of such an overlap both tiles say what the whole image would. Their memory there: 500 bytes a pixel.
TILE, OVERLAP = 1536, 512
# How gradually one tile takes over from the other there: no seam, should a network see further.
_RAMP = 64


@dataclass(frozen=True)
class Span:
    """What one tile covers along one axis.

    Attributes:
        start, stop: in pixels of the image; the last tile may end beyond it.
        weights: of its pixels, 0..1; those of all tiles sum to 1 at each pixel.
    """

    start: int
    stop: int
    weights: Array


def spans(length: int, divisor: int, tile: int = TILE, overlap: int = OVERLAP) -> list[Span]:
    """Return how an axis of ``length`` pixels is cut into tiles.

    There are as few as can be, all of one size, which is no larger than it must be for that; each begins at a multiple
    of ``divisor``, where the network's grids of coarser features are those of the whole image.

    Args:
        length: of the image.
        divisor: of the sizes that the network takes.
        tile: the largest size, at least ``divisor``.
        overlap: the least that neighbours share.

    Raises:
        ValueError: the overlap leaves nothing of a tile.
    """
    # All in units of the divisor.
    whole, most, shared = -(-length // divisor), tile // divisor, -(-overlap // divisor)
    if not 0 < shared < most:
        raise ValueError(f"expected an overlap in 1..tile - divisor, found {overlap}, {tile} and {divisor}")
    count = 1 if whole <= most else -(-(whole - shared) // (most - shared))
    size = -(-(whole + (count - 1) * shared) // count)
    starts = [divisor * (number * (whole - size) // max(count - 1, 1)) for number in range(count)]
    size *= divisor
    # How much of each pixel belongs to this tile or one after it: from 0 to 1 in a ramp where it begins.
    place, ramp = np.arange(whole * divisor) + 0.5, min(_RAMP, shared * divisor / 2)
    middles = [(start + before + size) / 2 for start, before in zip(starts[1:], starts, strict=False)]
    ramps = [np.clip((place - middle) / ramp + 0.5, 0, 1) for middle in middles]
    later = [np.ones(len(place)), *ramps, np.zeros(len(place))]
    return [
        Span(start, start + size, (one - following)[start : start + size].astype(np.float32))
        for start, one, following in zip(starts, later[:-1], later[1:], strict=True)
    ]


def fits(height: int, width: int, divisor: int, tile: int = TILE) -> bool:
    """Return whether an image fits one tile."""
    return max(-(-height // divisor), -(-width // divisor)) <= tile // divisor


def predict_tiled(
    run: Run, image: Array, *, divisor: int, tile: int = TILE, overlap: int = OVERLAP
) -> dict[str, Array]:
    """Return {name: K x H x W float32} of an image, predicted tile by tile.

    The image is thought to be grown as :func:`visionlab.models.blocks.pad` does. An image that fits one tile is run as
    a whole. Beyond the image and what is returned, no more memory is used than ``run`` needs for one tile.

    Args:
        run: (1, C, h, w) of the image's type, h and w multiples of ``divisor`` -> {name: (1, K, h, w)}.
        image: C x H x W.
        divisor: what the sides of the network's images must be divisible by.
        tile: largest side of a tile, in pixels.
        overlap: least number of pixels that neighbouring tiles share. In its middle what they say is mixed, along a
            ramp from one to the other; nearer to an edge that isn't one of the image, a tile isn't listened to.

    Raises:
        ValueError: the overlap leaves nothing of a tile.
    """
    height, width = image.shape[1:]
    found: dict[str, Array] = {}
    for down in spans(height, divisor, tile, overlap):
        for across in spans(width, divisor, tile, overlap):
            part = image[:, down.start : down.stop, across.start : across.stop]
            kept = part.shape[1:]
            missing = (down.stop - down.start - kept[0], across.stop - across.start - kept[1])
            part = np.pad(part, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge")
            weights = down.weights[: kept[0], None] * across.weights[: kept[1]]
            for name, values in run(torch.from_numpy(np.ascontiguousarray(part[None]))).items():
                new = values[0, :, : kept[0], : kept[1]].float().cpu().numpy()
                if name not in found:
                    found[name] = np.zeros((len(new), height, width), np.float32)
                found[name][:, down.start : down.stop, across.start : across.stop] += new * weights
    return found


def sees_all(network: nn.Module, in_channels: int) -> str:
    """Return what makes a network's result at a place depend on all of the image; empty if nothing is known to.

    Such a network says something else of a tile than of the whole image, everywhere in it.

    Args:
        network: (B, C, H, W) -> (B, K, H, W).
        in_channels: C.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) or (
            isinstance(module, nn.InstanceNorm2d) and not module.track_running_stats
        ):
            return type(module).__name__
    if receptive_field(network, in_channels) is None:
        return "attention, squeeze-and-excitation or another kind of pooling"
    return ""
