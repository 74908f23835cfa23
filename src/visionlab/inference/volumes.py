"""Objects of whole time points: found in the maps of a model or of several, measured, and given to Python."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.errors import DataError, UsageError
from visionlab.heads.head import Head
from visionlab.inference.prediction import Array, as_in_files
from visionlab.inference.series import open_scaled, voxel_of
from visionlab.io import Volume, VoxelSize, check_axes

if TYPE_CHECKING:
    from visionlab.inference.base_predictor import BasePredictor

_AXES = {2: "YX", 3: "ZYX", 4: "TZYX"}


@dataclass(frozen=True)
class VolumePrediction:
    """The objects of a volume, a series or an image.

    Attributes:
        labels: name of the head -> int32 in the shape of the image without channels; 0 between objects, which are
            numbered anew at each time point.
        maps: name of the head -> float32 of that shape, the probability of the foreground.
        objects: a row for each object: ``head``, ``time`` (from 0), ``object`` (its number in the labels), ``z``,
            ``y``, ``x`` and what else :func:`visionlab.heads.instances.objects.measure` says.
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
    predictor: BasePredictor,
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
        found = predictor.heads_in_words()
        raise UsageError(f"predict_volume: expected a model with a head of instances, found {found}; use predict")
    voxel = None if voxel_size is None else voxel_of(voxel_size, "voxel_size")
    if isinstance(source, np.ndarray):
        volume = _of_array(source, axes, voxel or (None, None, None))
    else:
        volume = open_scaled(Path(source), axes=check_axes(axes), voxel=voxel, stains=predictor.stains)
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


def _of_array(array: Array, axes: str | None, voxel: VoxelSize) -> Volume:
    colour = axes is not None and axes.upper().endswith("C")
    plain = check_axes(axes) or _AXES.get(array.ndim, "TZYX")
    if array.ndim != len(plain) + colour or 0 in array.shape:
        raise DataError(f"array: expected {plain}{'C' * colour}, found shape {array.shape}; say which axes it has")
    array = as_in_files(array)
    channels = array.shape[-1] if colour else 1
    planes = array.reshape(-1, *array.shape[len(plain) - 2 : len(plain)], channels)
    name = plain + "C" * colour
    return Volume(Path("array"), name, array.shape, str(array.dtype), voxel, None, "array", planes.__getitem__)


# A time point after the other -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameObjects:
    """What was found in a time point, by the name of the head.

    Attributes:
        labels: Z x H x W int32, 1..n in each object and 0 between them.
        foreground: Z x H x W float32, its probability; empty unless it was to be kept.
    """

    labels: dict[str, Array]
    foreground: dict[str, Array]


def object_heads(predictor: BasePredictor) -> list[Head]:
    """Return the heads that find objects in whole time points, none of a model of something else.

    Raises:
        UsageError: it has other heads too, takes more than one file an image, or its models see other channels.
    """
    heads = [head for head in predictor.heads if head.by_time_point]
    if not heads:
        return []
    others = [f"{head.name} ({head.kind})" for head in predictor.heads if head not in heads]
    if others:
        raise UsageError(
            f"{heads[0].name} ({heads[0].kind}) is predicted for volumes and series, {', '.join(others)} for images; "
            "predict with the runs of each by themselves"
        )
    if len(predictor.inputs) > 1 or predictor.channels:
        raise UsageError(f"{heads[0].name}: objects are found in single files; expected a model of the image alone")
    if len({tuple(member.stains) for member in predictor.members}) > 1:
        found = "; ".join(", ".join(map(str, member.stains)) or "none" for member in predictor.members)
        raise UsageError(f"{heads[0].name}: expected models that see the same channel of a file, found {found}")
    return heads


def settings_of(predictor: BasePredictor, threshold: float | None = None) -> dict[str, Any]:
    """Return {head: what its objects are found with}, and say it.

    Args:
        predictor: of objects.
        threshold: in place of that which was fitted.
    """
    predictor.say_warnings()
    return {head.name: head.settings(threshold) for head in object_heads(predictor)}


def find_objects(
    predictor: BasePredictor, image: Array, settings: Mapping[str, Any], *, volume: bool, keep: bool = False
) -> Generator[None, None, FrameObjects]:
    """Find the objects of a time point; yield after each plane, and return them.

    Of the maps only a plane's are held at once, but for the foreground if that is to be kept.

    Args:
        predictor: of objects.
        image: Z x H x W x C as on disk.
        settings: of each head, see :func:`settings_of`.
        volume: whether the planes are slices of one volume, through which objects are linked.
        keep: the probability of the foreground.

    Raises:
        DataError: the image's channels or type can't be brought to those of the training set.
        UserError: the device has too little memory.
    """
    heads = object_heads(predictor)
    labels = {head.name: np.empty(image.shape[:3], np.int32) for head in heads}
    foreground = {head.name: np.empty(image.shape[:3], np.float32) for head in heads if keep}
    for z, maps in enumerate(predictor.planes(image)):
        for head in heads:
            name, values = head.name, maps[head.name]
            labels[name][z] = head.find(values, settings[name])
            if keep:
                foreground[name][z] = values[0]
        yield
    if volume:
        for head in heads:
            labels[head.name] = head.link(labels[head.name], settings[head.name])
    return FrameObjects(labels, foreground)


def table_of(heads: Sequence[Head], found: FrameObjects, image: Array, volume: Volume) -> pd.DataFrame:
    """Return a row for each object of a time point: ``head``, and what that says of it."""
    tables = []
    for head in heads:
        table = head.objects(found.labels[head.name], image, volume.voxel_size, volume="Z" in volume.axes)
        table.insert(0, "head", head.name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summaries(found: FrameObjects, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each head of a time point ``head``, ``objects``, and the sums of ``volume_px``, ``area_um2``, ..."""
    sizes = [name for name in table if name in ("volume_px", "volume_um3", "area_px", "area_um2")]
    rows = []
    for head in found.labels:
        own = table[table["head"] == head]
        rows.append({"head": head, "objects": len(own), **{name: float(own[name].sum()) for name in sizes}})
    return rows
