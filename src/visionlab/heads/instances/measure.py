"""A table of objects: where they are, how large and how bright, in pixels and in micrometres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Labels = npt.NDArray[np.integer[Any]]
Voxel = tuple[float | None, float | None, float | None]

AXES = ("z", "y", "x")


def measure(labels: Labels, image: npt.NDArray[Any] | None, voxel: Voxel | None, *, volume: bool) -> pd.DataFrame:
    """Return one row for each object of a frame, by id.

    Positions count from the centre of the first pixel (0, 0, 0), in pixels and, as ``_um``, times the voxel's size. An
    object cut by the border is measured as far as it is seen. What isn't known is left out: micrometres along an axis
    without a size, brightness without an image.

    Args:
        labels: Z x H x W ids, 0 background; ids may have gaps and any size.
        image: Z x H x W x C, the values on disk.
        voxel: micrometres along z, y, x, each ``None`` if unknown.
        volume: whether there is a z axis; without it Z is 1.

    Returns:
        Columns ``object`` (id); ``z``, ``y``, ``x`` (centroid in pixels); ``z_um``, ``y_um``, ``x_um``; ``volume_px``
        (voxels), ``volume_um3`` and ``planes`` (slices that hold it) of volumes, else ``area_px`` and ``area_um2``;
        ``intensity_mean``, ``intensity_max``, ``intensity_sum`` (with several channels of each, ``intensity_mean_1``
        and so on); ``z0``, ``y0``, ``x0``, ``z1``, ``y1``, ``x1``, the box with its ends excluded. Those of z only for
        volumes.

    Raises:
        ValueError: the arrays don't fit each other.
    """
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer) or (not volume and len(labels) != 1):
        expected = "Z x H x W ids" if volume else "1 x H x W ids"
        raise ValueError(f"labels: expected {expected}, found {labels.dtype} of shape {labels.shape}")
    if image is not None and (image.ndim != 4 or image.shape[:3] != labels.shape):
        raise ValueError(f"image: expected Z x H x W x C of {labels.shape}, found {image.shape}")
    sums = _Sums(np.unique([i for plane in labels for i in np.unique(plane) if i > 0]).astype(np.int64))
    for z, plane in enumerate(labels):
        sums.add(z, plane, None if image is None else image[z])
    axes = AXES if volume else AXES[1:]
    size = dict(zip(AXES, voxel or (None, None, None), strict=True))
    return pd.DataFrame(dict(_columns(sums, axes, size)))


@dataclass
class _Sums:
    """What is summed up over planes, of each object; ``low`` and ``high`` are along z, y, x."""

    ids: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64] = field(init=False)
    planes: npt.NDArray[np.int64] = field(init=False)
    position: npt.NDArray[np.float64] = field(init=False)
    low: npt.NDArray[np.int64] = field(init=False)
    high: npt.NDArray[np.int64] = field(init=False)
    bright: list[npt.NDArray[np.float64]] = field(init=False, default_factory=list)
    brightest: list[npt.NDArray[Any]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.ids)
        self.count, self.planes = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.position = np.zeros((3, n))
        self.low, self.high = np.full((3, n), np.iinfo(np.int64).max), np.zeros((3, n), np.int64)

    def add(self, z: int, plane: Labels, image: npt.NDArray[Any] | None) -> None:
        at = np.flatnonzero(plane > 0)
        codes, here = pd.factorize(plane.ravel()[at])
        rows = np.searchsorted(self.ids, here)
        which = rows[codes]
        n = len(self.ids)
        self.planes[rows] += 1
        count = np.bincount(which, minlength=n)
        self.count += count
        self.position[0] += z * count
        self.low[0, rows] = np.minimum(self.low[0, rows], z)
        self.high[0, rows] = z
        for axis, along in zip((1, 2), np.divmod(at, plane.shape[1]), strict=True):
            self.position[axis] += np.bincount(which, along, minlength=n)
            np.minimum.at(self.low[axis], which, along)
            np.maximum.at(self.high[axis], which, along)
        if image is None:
            return
        for channel in range(image.shape[-1]):
            values = image[..., channel].ravel()[at]
            if len(self.bright) == channel:
                self.bright.append(np.zeros(n))
                lowest = np.iinfo(values.dtype).min if np.issubdtype(values.dtype, np.integer) else -np.inf
                self.brightest.append(np.full(n, lowest, values.dtype))
            self.bright[channel] += np.bincount(which, values, minlength=n)
            np.maximum.at(self.brightest[channel], which, values)


def _columns(
    sums: _Sums, axes: tuple[str, ...], size: dict[str, float | None]
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    yield "object", sums.ids
    centre = {axis: sums.position[AXES.index(axis)] / sums.count for axis in axes}
    yield from centre.items()
    for axis in axes:
        unit = size[axis]
        if unit is not None:
            yield f"{axis}_um", centre[axis] * unit
    name, unit_name = ("volume", "um3") if "z" in axes else ("area", "um2")
    yield f"{name}_px", sums.count
    sides = [unit for axis in axes if (unit := size[axis]) is not None]
    if len(sides) == len(axes):
        yield f"{name}_{unit_name}", sums.count * math.prod(sides)
    if "z" in axes:
        yield "planes", sums.planes
    for channel, (total, highest) in enumerate(zip(sums.bright, sums.brightest, strict=True), start=1):
        suffix = f"_{channel}" if len(sums.bright) > 1 else ""
        yield f"intensity_mean{suffix}", total / sums.count
        yield f"intensity_max{suffix}", highest
        yield f"intensity_sum{suffix}", total
    for axis in axes:
        yield f"{axis}0", sums.low[AXES.index(axis)]
    for axis in axes:
        yield f"{axis}1", sums.high[AXES.index(axis)] + 1
