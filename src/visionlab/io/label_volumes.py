"""Instance ids in label images and volumes, exactly or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from visionlab.errors import DataError
from visionlab.io.images import to_channels
from visionlab.io.volume import Array, Volume

Labels = npt.NDArray[np.int32]


def labels_of(volume: Volume, index: int | None) -> Labels:
    """Return the ids of an opened file; see :func:`visionlab.io.volumes.read_labels`."""
    lossy = volume.source.lossy if volume.source is not None else ""
    if lossy:
        raise DataError(
            f"{volume.path}: labels stored as {lossy}, which changes ids; save them as PNG or TIFF without it"
        )
    if index is not None:
        return _ids(volume.stored(index), volume.path)
    if volume.frames > 1:
        raise DataError(
            f"{volume.path}: holds {volume.frames} time points ({volume.axes}); expected labels of one; save them apart"
        )
    if "Z" not in volume.axes:
        return _ids(volume.stored(0), volume.path)
    labels = np.empty((volume.planes, volume.height, volume.width), np.int32)
    for z in range(volume.planes):
        labels[z] = _ids(volume.stored(z), volume.path)
    return labels


def _ids(image: Array, path: Path) -> Labels:
    """Return H x W ids of an H x W x C image as it is stored."""
    if image.shape[2] in (2, 4):
        image = to_channels(image, image.shape[2] - 1, path)
    plane = image[..., 0]
    if image.shape[2] > 1 and (image != plane[..., None]).any():
        row, column = np.argwhere((image != plane[..., None]).any(axis=2))[0]
        raise DataError(
            f"{path}: expected labels with one id a pixel, found {image.shape[2]} channels that differ, e.g."
            f" {image[row, column].tolist()} in row {row}, column {column}; save the ids themselves in gray"
        )
    if plane.dtype.kind == "f" and not (np.isfinite(plane) & (plane == np.round(plane))).all():
        wrong = plane[~(np.isfinite(plane) & (plane == np.round(plane)))]
        raise DataError(
            f"{path}: expected labels with whole numbers, found {wrong.size} others, e.g. {wrong[0]:g}; save ids, not"
            " probabilities or resized labels"
        )
    low, high = (int(plane.min()), int(plane.max()))
    if low < 0 or high > np.iinfo(np.int32).max:
        raise DataError(
            f"{path}: expected ids from 0 (background) to {np.iinfo(np.int32).max}, found {low} to {high}; set what is"
            " not labelled to 0 and number the instances from 1"
        )
    return plane.astype(np.int32)
