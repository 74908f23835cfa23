"""Whole time points of a data set, as they are on disk: what objects are counted and measured in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab import io
from visionlab.errors import DataError
from visionlab.io import Stains, read_labels, split_plane

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Frame:
    """A time point: a volume, or an image with Z = 1.

    Attributes:
        id: its name, e.g. ``01_t005``.
        group: which is in one split with it.
        sequence: what it is a time point of; empty: unknown.
        time: its number in the sequence; -1: unknown.
        image: Z x H x W x C, in the numbers and the size of the files.
        truth: Z x H x W, 0 background and the number of an object elsewhere; -1 in slices without labels.
        gold: a second truth of the same form; None where there is none.
        rows: place of a slice in these arrays -> its row of the data's ``table``; only those in the split.
        voxel: its size in micrometres, z, y and x; None if unknown. Of an image z is 1, which stands for nothing.
        volume: whether the slices are of one volume, if perhaps the only one.
        instances: whether the labels tell objects apart; else all above 0 is foreground.
    """

    id: str
    group: str
    sequence: str
    time: int
    image: npt.NDArray[Any]
    truth: Labels
    gold: Labels | None
    rows: dict[int, int]
    voxel: tuple[float, float, float] | None
    volume: bool
    instances: bool


def read_image(planes: list[str], root: Path, stains: Stains = ()) -> npt.NDArray[Any]:
    """Return the planes of a time point, Z x H x W x C; of files with an axis of channels the ``stains``.

    Raises:
        DataError: one cannot be read, or they are not of one size and type.
    """
    found: list[npt.NDArray[Any]] = []
    for name in planes:
        image = io.read_image(root / name, stains)
        if found and (image.shape, image.dtype) != (found[0].shape, found[0].dtype):
            raise DataError(
                f"{root / name}: {_describe(image)}, but {planes[0]}, of the same time point, is {_describe(found[0])};"
                " export all slices alike"
            )
        found.append(image)
    return np.stack(found)


def read_truth(places: Mapping[int, str], shape: tuple[int, int, int], root: Path) -> Labels:
    """Return the labels of a time point, Z x H x W (``shape``), -1 in slices without labels.

    Args:
        places: place of a slice -> its labels, a file or a plane of one. Labels at another scale are brought to that of
            the image: each pixel gets the object at its middle.
        shape: of the image.
        root: that the names are relative to.

    Raises:
        DataError: one cannot be read.
    """
    truth = np.full(shape, -1, np.int32)
    for place, name in places.items():
        labels = read_labels(*split_plane(root / name))
        rows, columns = (_middles(mine, other) for mine, other in zip(shape[1:], labels.shape, strict=True))
        truth[place] = labels[rows[:, None], columns]
    return truth


def _middles(wanted: int, found: int) -> npt.NDArray[np.int64]:
    """Return in which of ``found`` equal parts of a side the middles of ``wanted`` parts lie."""
    return (2 * np.arange(wanted) + 1) * found // (2 * wanted)


def _describe(image: npt.NDArray[Any]) -> str:
    return f"{image.shape[0]} x {image.shape[1]} pixels, {image.shape[2]} channels, {image.dtype}"
