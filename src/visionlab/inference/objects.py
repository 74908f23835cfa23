"""Objects of whole time points: found in the maps of a model or of several, and measured."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from visionlab.errors import UsageError
from visionlab.heads.head import Head
from visionlab.inference.base import BasePredictor
from visionlab.inference.ensemble import Ensemble
from visionlab.inference.labels import say_warnings
from visionlab.inference.prediction import Array
from visionlab.inference.predictor import Predictor
from visionlab.inference.stacks import predict_planes
from visionlab.io import Volume


@dataclass(frozen=True)
class Found:
    """What was found in a time point, by the name of the head.

    Attributes:
        labels: Z x H x W int32, 1..n in each object and 0 between them.
        foreground: Z x H x W float32, its probability; empty unless it was to be kept.
    """

    labels: dict[str, Array]
    foreground: dict[str, Array]


def object_heads(predictor: BasePredictor[Any]) -> list[Head]:
    """Return the heads that find objects in whole time points, none of a model of something else.

    Raises:
        UsageError: it has other heads too, or takes more than one file an image.
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
    return heads


def settings_of(predictor: BasePredictor[Any], threshold: float | None = None) -> dict[str, Any]:
    """Return {head: what its objects are found with}, and say it.

    Args:
        predictor: of objects.
        threshold: in place of that which was fitted.
    """
    heads = object_heads(predictor)
    say_warnings(predictor)
    return {head.name: head.settings(threshold) for head in heads}


def find_objects(
    predictor: BasePredictor[Any],
    image: Array,
    settings: Mapping[str, Any],
    *,
    volume: bool,
    keep: bool = False,
) -> Generator[None, None, Found]:
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
    for z, maps in enumerate(_planes(predictor, image)):
        for head in heads:
            name, values = head.name, maps[head.name]
            labels[name][z] = head.find(values, settings[name])
            if keep:
                foreground[name][z] = values[0]
        yield
    if volume:
        for head in heads:
            labels[head.name] = head.link(labels[head.name], settings[head.name])
    return Found(labels, foreground)


def _planes(predictor: BasePredictor[Any], image: Array) -> Iterator[dict[str, Array]]:
    """Yield {head: K x H x W} of each plane, the mean over the models that have the head."""
    members = predictor.members if isinstance(predictor, Ensemble) else [predictor]
    ways = [predict_planes(member, image) for member in members if isinstance(member, Predictor)]
    for found in zip(*ways, strict=True):
        names = dict.fromkeys(name for maps in found for name in maps)
        parts = {name: [maps[name] for maps in found if name in maps] for name in names}
        yield {name: np.mean(values, axis=0) if len(values) > 1 else values[0] for name, values in parts.items()}


def table_of(heads: Sequence[Head], found: Found, image: Array, volume: Volume) -> pd.DataFrame:
    """Return a row for each object of a time point: ``head``, and what that says of it."""
    tables = []
    for head in heads:
        table = head.objects(found.labels[head.name], image, volume.voxel_size, volume="Z" in volume.axes)
        table.insert(0, "head", head.name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summaries(found: Found, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each head of a time point ``head``, ``objects``, and the sums of ``volume_px``, ``area_um2``, ..."""
    sizes = [name for name in table if name in ("volume_px", "volume_um3", "area_px", "area_um2")]
    rows = []
    for head in found.labels:
        own = table[table["head"] == head]
        rows.append({"head": head, "objects": len(own), **{name: float(own[name].sum()) for name in sizes}})
    return rows
