"""Objects of a volume, a series or an image in Python: ``predictor.predict_volume``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.errors import DataError, UsageError
from visionlab.inference.objects import find_objects, object_heads, settings_of, table_of
from visionlab.inference.prediction import Array
from visionlab.inference.series import open_scaled, voxel_of
from visionlab.io import Volume, VoxelSize, check_axes, native

if TYPE_CHECKING:
    from visionlab.inference.base import BasePredictor

_AXES = {2: "YX", 3: "ZYX", 4: "TZYX"}


@dataclass(frozen=True)
class VolumePrediction:
    """The objects of a volume, a series or an image.

    Attributes:
        labels: name of the head -> int32 in the shape of the image without channels; 0 between objects, which are
            numbered anew at each time point.
        maps: name of the head -> float32 of that shape, the probability of the foreground.
        objects: a row for each object: ``head``, ``time`` (from 0), ``object`` (its number in the labels), ``z``,
            ``y``, ``x`` and what else :func:`visionlab.heads.instances.measure.measure` says.
        axes: of the labels and maps: ``YX``, ``ZYX``, ``TYX`` or ``TZYX``.
        voxel: size in z, y and x in micrometres, None where unknown.
        interval: seconds between time points, None if unknown.
    """

    labels: Mapping[str, Array]
    maps: Mapping[str, Array]
    objects: pd.DataFrame
    axes: str
    voxel: VoxelSize
    interval: float | None


def predict_volume(
    predictor: BasePredictor[Any],
    source: str | os.PathLike[str] | Array,
    voxel_size: Sequence[float] | None = None,
    *,
    axes: str | None = None,
    threshold: float | None = None,
) -> VolumePrediction:
    """Find the objects of a file or an array; everything found is held in memory.

    Args:
        predictor: of instances, a model or several.
        source: path of an image, volume, series or video; or an array of uint8, uint16 or float32.
        voxel_size: z, y, x in micrometres, or y, x, for what does not tell.
        axes: of files that do not tell, and of arrays: ``YX``, ``ZYX``, ``TYX`` or ``TZYX``, with ``C`` at the end if
            there are channels. Arrays of 2, 3 and 4 dimensions are taken as the first, second and last of these.
        threshold: of the foreground, in place of that which was fitted.

    Raises:
        DataError: the file cannot be read, or the array is of another shape or kind.
        UsageError: the model finds no objects, or an argument is none of these.
    """
    heads = object_heads(predictor)
    if not heads:
        found = ", ".join(f"{head.name} ({head.kind})" for head in predictor.heads)
        raise UsageError(f"predict_volume: expected a model with a head of instances, found {found}; use predict")
    voxel = None if voxel_size is None else voxel_of(voxel_size, "voxel_size")
    if isinstance(source, np.ndarray):
        volume = _of_array(source, axes, voxel or (None, None, None))
    else:
        volume = open_scaled(Path(source), axes=check_axes(axes), voxel=voxel)
    settings = settings_of(predictor, threshold)
    shape = (volume.frames, volume.planes, volume.height, volume.width)
    labels = {name: np.zeros(shape, np.int32) for name in settings}
    maps = {name: np.zeros(shape, np.float32) for name in settings}
    tables = []

    def steps() -> Any:
        for t in range(volume.frames):
            image = volume.frame(t)
            frame = yield from find_objects(predictor, image, settings, volume="Z" in volume.axes, keep=True)
            for name in settings:
                labels[name][t], maps[name][t] = frame.labels[name], frame.foreground[name]
            table = table_of(heads, frame, image, volume)
            table.insert(1, "time", t)
            tables.append(table)

    for _ in progress(steps(), volume.frames * volume.planes, "finding objects, planes"):
        pass
    plain = volume.axes.removesuffix("C")
    form = [volume.shape[volume.axes.index(axis)] for axis in plain]
    return VolumePrediction(
        {name: values.reshape(form) for name, values in labels.items()},
        {name: values.reshape(form) for name, values in maps.items()},
        pd.concat(tables, ignore_index=True),
        plain,
        volume.voxel_size,
        volume.interval,
    )


@dataclass(frozen=True)
class _ArraySource:
    """The planes of an array, N x H x W x C."""

    planes: Array
    lossy: str = ""

    def plane(self, index: int) -> Array:
        return np.asarray(self.planes[index])


def _of_array(array: Array, axes: str | None, voxel: VoxelSize) -> Volume:
    colour = axes is not None and axes.upper().endswith("C")
    plain = check_axes(axes) or _AXES.get(array.ndim, "TZYX")
    if array.ndim != len(plain) + colour or 0 in array.shape:
        raise DataError(f"array: expected {plain}{'C' * colour}, found shape {array.shape}; say which axes it has")
    array = native(array)
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"array: expected uint8, uint16 or float32 as in the files, found {array.dtype}; convert it, keeping the "
            "scale"
        )
    channels = array.shape[-1] if colour else 1
    planes = array.reshape(-1, *array.shape[len(plain) - 2 : len(plain)], channels)
    name = plain + "C" * colour
    return Volume(Path("array"), name, array.shape, str(array.dtype), voxel, None, "array", _ArraySource(planes))
