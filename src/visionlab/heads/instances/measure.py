"""A table of objects: where they are, how large and how bright, in pixels and in micrometres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage.measure import regionprops_table

Labels = npt.NDArray[np.integer[Any]]
Voxel = tuple[float | None, float | None, float | None]

AXES = ("z", "y", "x")


def measure(labels: Labels, image: npt.NDArray[Any] | None, voxel: Voxel | None, *, volume: bool) -> pd.DataFrame:
    """Return one row for each object of a frame, by id.

    Positions count from the centre of the first pixel (0, 0, 0), in pixels and, as ``_um``, times the voxel's size. An
    object cut by the border is measured as far as it is seen. What isn't known is left out: micrometres along an axis
    without a size, brightness without an image.

    Args:
        labels: Z x H x W ids, 0 background; ids may have gaps, but the largest takes 8 bytes times its number.
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
    if not volume:
        labels, image = labels[0], None if image is None else image[0]
    axes = AXES if volume else AXES[1:]
    found = regionprops_table(
        labels,
        image,
        properties=("label", "centroid", "area", "bbox", *(() if image is None else ("intensity_max",))),
        extra_properties=(*((_planes,) if volume else ()), *(() if image is None else (_total,))),
    )
    columns = {"object": found["label"], **{axis: found[f"centroid-{k}"] for k, axis in enumerate(axes)}}
    size = dict(zip(AXES, voxel or (None, None, None), strict=True))
    known = {axis: unit for axis in axes if (unit := size[axis]) is not None}
    columns |= {f"{axis}_um": columns[axis] * unit for axis, unit in known.items()}
    area = found["area"].astype(np.int64)
    name, unit_name = ("volume", "um3") if volume else ("area", "um2")
    columns[f"{name}_px"] = area
    if len(known) == len(axes):
        columns[f"{name}_{unit_name}"] = area * math.prod(known.values())
    if volume:
        columns["planes"] = found["_planes"]
    n_channels = 0 if image is None else image.shape[-1]
    for channel in range(n_channels):
        suffix = f"_{channel + 1}" if n_channels > 1 else ""
        total, highest = found[f"_total-{channel}"], found[f"intensity_max-{channel}"]
        columns[f"intensity_mean{suffix}"] = total / area
        columns[f"intensity_max{suffix}"] = highest if image is None else highest.astype(image.dtype)
        columns[f"intensity_sum{suffix}"] = total
    columns |= {f"{axis}{end}": found[f"bbox-{k + end * len(axes)}"] for end in (0, 1) for k, axis in enumerate(axes)}
    return pd.DataFrame(columns)


def _planes(mask: npt.NDArray[np.bool_]) -> int:
    return int(mask.any(axis=(1, 2)).sum())


def _total(mask: npt.NDArray[np.bool_], image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(image[mask].sum(axis=0, dtype=np.float64))
