"""Maps of whole time points, from the planes of a volume or a single image as they are on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from weakref import WeakSet

import numpy as np
import torch
from torch import nn

from visionlab.console import LOG
from visionlab.inference.predictor import Predictor, enlarged
from visionlab.inference.tiles import OVERLAP, TILE, Array, fits, predict_tiled, sees_all
from visionlab.models.blocks import DenseNetwork
from visionlab.modules.task_model import Statistics

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
        tile, overlap: see :func:`visionlab.inference.tiles.predict_tiled`. Planes that fit a tile go together, as many
            as make up its pixels.

    Raises:
        DataError: the image's channels or type can't be brought to those of the training set.
        UserError: the device has too little memory.
    """
    shown = _Shown(predictor, image)
    chosen = range(len(image)) if planes is None else planes
    way = _together if fits(*shown.size, shown.divisor, tile) else partial(_in_tiles, overlap=overlap)
    for maps in way(predictor, shown, chosen, tile):
        height, width = image.shape[1:3]
        yield {name: enlarged(values, (height, width)) for name, values in maps.items()}


def peak_memory() -> str:
    """Say in words how much memory predicting takes."""
    return (
        f"Planes are predicted in tiles of at most {TILE} x {TILE} px that overlap by {OVERLAP} px or more. Beyond the "
        "model this takes about 500 bytes for each pixel of a tile with ResNet-18 (1.2 GB), however large the plane, "
        "and 4 bytes for each pixel and channel of the maps."
    )


class _Shown:
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


def _together(predictor: Predictor, shown: _Shown, planes: Sequence[int], tile: int) -> Iterator[FrameMaps]:
    count = max(1, tile**2 // (shown.size[0] * shown.size[1]))
    for first in range(0, len(planes), count):
        images = np.stack([shown.plane(z) for z in planes[first : first + count]])
        found = {name: maps.numpy() for name, maps in _decoded(predictor, shown.scaled(images)).items()}
        for place in range(len(images)):
            yield {name: maps[place] for name, maps in found.items()}


def _in_tiles(
    predictor: Predictor, shown: _Shown, planes: Sequence[int], tile: int, overlap: int
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
    predictor: Predictor, shown: _Shown, statistics: Statistics | None, tile: torch.Tensor
) -> dict[str, torch.Tensor]:
    return _decoded(predictor, shown.scaled(tile.numpy()), statistics)


def _decoded(
    predictor: Predictor, images: torch.Tensor, statistics: Statistics | None = None
) -> dict[str, torch.Tensor]:
    decode = partial(predictor.decode, statistics=statistics)
    return decode(images) if predictor.views is None else predictor.views.decode(decode, images)


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
