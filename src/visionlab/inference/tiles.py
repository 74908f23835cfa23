"""Maps of the planes of time points, however large: predicted in overlapping tiles, which are blended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import cv2
import numpy as np
import torch
from torch import nn

from visionlab.console import LOG
from visionlab.models.blocks import DenseNetwork
from visionlab.models.receptive_field import receptive_field
from visionlab.modules.task_model import Statistics

if TYPE_CHECKING:
    from visionlab.inference.predictor import Predictor

Array = np.ndarray[Any, Any]
Run = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]

# What networks over ResNet-18 say at a place depends on what is up to about 250 px away (see benchmarks/README.md), so
# in the middle of such an overlap both tiles say what the whole image would. Their memory there: 500 bytes a pixel.
# With ResNet-18 a tile takes 1.2 GB beyond the model, however large the plane; maps take 4 bytes a pixel and channel.
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


# Planes of time points ----------------------------------------------------------------------------------------------

# {head: maps}, float32 in the user's units: K x H x W of a plane, Z x K x H x W of a time point.
FrameMaps = dict[str, Array]

# Networks that have been looked at, for a series to be told only once.
_known: WeakSet[nn.Module] = WeakSet()


def predict_frame(
    predictor: Predictor, image: Array, planes: Sequence[int] | None = None, *, tile: int = TILE, overlap: int = OVERLAP
) -> FrameMaps:
    """Return {head: Z x K x H x W float32} of the planes of a time point; see :func:`predict_planes`."""
    chosen = range(len(image)) if planes is None else planes
    found: FrameMaps = {}
    for place, maps in enumerate(predict_planes(predictor, image, chosen, tile=tile, overlap=overlap)):
        if len(chosen) == 1:
            return {name: values[None] for name, values in maps.items()}  # not held twice, as they may be large
        for name, values in maps.items():
            if name not in found:
                found[name] = np.empty((len(chosen), *values.shape), np.float32)
            found[name][place] = values
    return found


def predict_planes(
    predictor: Predictor, image: Array, planes: Sequence[int] | None = None, *, tile: int = TILE, overlap: int = OVERLAP
) -> Iterator[FrameMaps]:
    """Yield {head: K x H x W float32} of one plane of a time point after the other, in the size of the image.

    Each plane is seen as in training: scaled by what the whole time point holds, and with its neighbours (at the ends
    of the volume the last plane stands in for those beyond it). One that is larger than a tile is predicted in several.

    Args:
        predictor: a model of maps.
        image: Z x H x W x C as on disk; a single image has Z = 1.
        planes: which of the Z, in this order; all by default. Their neighbours need not be among them.
        tile, overlap: see :func:`predict_tiled`. Planes that fit a tile go together, as many
            as make up its pixels.

    Raises:
        DataError: the image's channels or type can't be brought to those of the training set.
        UserError: the device has too little memory.
    """
    shown = _Planes(predictor, image)
    chosen = range(len(image)) if planes is None else planes
    way = _together if fits(*shown.size, shown.divisor, tile) else partial(_in_tiles, overlap=overlap)
    for maps in way(predictor, shown, chosen, tile):
        height, width = image.shape[1:3]
        yield {name: enlarged(values, (height, width)) for name, values in maps.items()}


def enlarged(values: Array, size: tuple[int, int]) -> Array:
    """Return maps, K x h x w, in the size of their image, K x H x W float32."""
    if values.shape[1:] != size:
        shrinks = size[0] <= values.shape[1] and size[1] <= values.shape[2]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        values = np.stack([cv2.resize(one, (size[1], size[0]), interpolation=method) for one in values])
    return np.asarray(values, np.float32)


class _Planes:
    """The planes of a time point, Z x H x W x C, as a network sees them.

    Attributes:
        size: height and width of what it sees.
        divisor: that it pads them to.
    """

    def __init__(self, predictor: Predictor, image: Array) -> None:
        self.preprocess = predictor.preprocess
        network = predictor.model.network
        self.divisor = network.stride if isinstance(network, DenseNetwork) else 1
        self.size = self.preprocess.size(image.shape[1], image.shape[2])
        self._limits = self.preprocess.limits(image) if self.preprocess.scale == "percentile" else None
        self._image, self._beside = image, predictor.neighbours
        self._resized = lru_cache(maxsize=2 * self._beside + 1)(lambda z: self.preprocess.resize(image[z]))

    def plane(self, z: int) -> Array:
        """Return a plane between its neighbours, C x h x w, on the scale of the files."""
        around = np.clip(np.arange(z - self._beside, z + self._beside + 1), 0, len(self._image) - 1)
        parts = [self._resized(int(one)) for one in around]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)).transpose(2, 0, 1)

    def scaled(self, values: Array) -> torch.Tensor:
        """Return planes or parts of them as the network is given them."""
        return torch.from_numpy(self.preprocess.unit(values, self._limits))


def _together(predictor: Predictor, shown: _Planes, planes: Sequence[int], tile: int) -> Iterator[FrameMaps]:
    count = max(1, tile**2 // (shown.size[0] * shown.size[1]))
    for first in range(0, len(planes), count):
        images = np.stack([shown.plane(z) for z in planes[first : first + count]])
        found = {name: maps.numpy() for name, maps in predictor.decode(shown.scaled(images)).items()}
        for place in range(len(images)):
            yield {name: maps[place] for name, maps in found.items()}


def _in_tiles(
    predictor: Predictor, shown: _Planes, planes: Sequence[int], tile: int, overlap: int
) -> Iterator[FrameMaps]:
    _warn_of_differences(predictor, shown.size)
    for z in planes:
        plane = shown.plane(z)
        statistics = None
        if predictor.model.normalizer.mode == "image":
            # Of the whole plane: each tile's own would make those without signal look like the others.
            statistics = predictor.model.normalizer.statistics(shown.scaled(plane[None]).to(predictor.device))
        run = partial(_tile, predictor, shown, statistics)
        yield predict_tiled(run, plane, divisor=shown.divisor, tile=tile, overlap=overlap)


def _tile(
    predictor: Predictor, shown: _Planes, statistics: Statistics | None, tile: torch.Tensor
) -> dict[str, torch.Tensor]:
    return predictor.decode(shown.scaled(tile.numpy()), statistics)


def _warn_of_differences(predictor: Predictor, size: tuple[int, int]) -> None:
    network, name = predictor.model.network, predictor.model.network_spec["name"]
    if network in _known:
        return
    _known.add(network)
    if reason := sees_all(network, predictor.model.network_spec["in_channels"]):
        advice = "model.norm=batch" if name == "fpn" and "Norm" in reason else "an encoder without, such as resnet18"
        LOG.warning(
            "%d x %d px are predicted in tiles, but the model (%s) has %s over the whole image, so tiles differ from "
            "one to the next; train with %s for images of this size",
            *(*size, name, reason, advice),
        )
