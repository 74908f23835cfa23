"""Read masks, depth maps and labels, one value a pixel, exactly or not at all; and bring them to another size.

A mask is H x W uint8 of 0 and 1. A depth map is H x W float32 in the numbers of its file, NaN where nothing is known.
Labels are int32, 0 or the id of an instance, of one plane or a volume.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from visionlab.errors import DataError
from visionlab.io.formats import open_labels, plane_of, split_plane
from visionlab.io.pixels import READ_AS, Image, to_channels
from visionlab.io.volume import Volume

Mask = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Size = tuple[int, int]

_HALF = {"uint8": 128, "uint16": 32768}
_EXACT = 2**24  # whole numbers up to here are exact in float32


def read_mask(path: str | Path, threshold: int | None) -> tuple[Mask, dict[str, Any]]:
    """Return a mask, H x W of 0 (background) and 1 (foreground), and what its file holds.

    The file is PNG, TIFF or JPEG, gray, or colour whose channels are equal. With a ``threshold``, values from there
    on are foreground. Without one, 0 is background and the only other value foreground; JPEG, which blurs masks, is
    cut at half of its range, 128.

    Returns:
        The mask, and ``grey`` (pixels that are neither of the two values and were cut), ``dtype`` (uint8, uint16 or
        float32) and ``hash`` (of the mask).

    Raises:
        DataError: the file cannot be read, its channels differ, it holds NaN or infinity, or, without ``threshold``,
            grey values in a file that is not JPEG, or two values of which none is 0.
    """
    volume, plane = _read(path, "a mask of one value a pixel", "save the mask in gray")
    jpeg = volume.form == "image" and volume.lossy == "JPEG"
    if not np.isfinite(plane).all():
        raise DataError(f"{path}: a mask with NaN or infinity; save it with 0 as background and 255 as foreground")
    low, high = (0, 255) if jpeg else (plane.min(), plane.max())
    grey = int(np.count_nonzero((plane != low) & (plane != high)))
    if threshold is None and jpeg:
        threshold = _HALF["uint8"]
    if threshold is None and (grey or (low != high and 0 not in (low, high))):
        half = _HALF.get(plane.dtype.name, 1)
        cut = f"{half} to cut at half of the range" if high >= half > 1 else "1 if all above 0 is foreground"
        cut = cut if grey else f"{high} if {high} is foreground"
        raise DataError(
            f"{path}: expected a mask of two values, 0 and another, found {low} to {high} with {grey} of"
            f" {plane.size} pixels in between; set data.mask_threshold={cut}, or save it so"
        )
    mask = ((plane != 0) if threshold is None else (plane >= threshold)).astype(np.uint8)
    return mask, {"grey": grey, "dtype": READ_AS[plane.dtype.name], "hash": _digest(mask)}


def read_depth(path: str | Path, invalid: str | float) -> tuple[Depth, dict[str, Any]]:
    """Return a depth map, H x W in the numbers of its file with NaN where nothing is known, and facts about it.

    The file is PNG, TIFF or JPEG of 8, 16 bits or float, gray, or colour whose channels are equal; or ``.npy``, H x W
    or H x W x 1. Wider whole numbers are taken where float32 holds them exactly; float64 is rounded to float32.

    Args:
        path: of the file.
        invalid: what marks a pixel that was not measured, beside NaN and infinity, which always do. ``auto``: 0 in 16
            bits and float, as depth cameras write it, and nothing in 8 bits; ``none``: nothing; a number: just that.

    Returns:
        The map, and ``min``, ``max`` (of what is known), ``known`` (share of the pixels, 0..1), ``dtype`` (uint8,
        uint16 or float32) and ``hash`` (of the map).

    Raises:
        DataError: the file cannot be read, its channels differ, a known value is negative, or it has no known value or
            only one, which teaches nothing.
    """
    advice = "a coloured picture of depth cannot be turned back into numbers, so export the numbers themselves"
    _, plane = _read(path, "a depth map of one value a pixel", advice)
    dtype = READ_AS[plane.dtype.name]
    if plane.dtype.kind in "iu" and max(-int(plane.min()), int(plane.max())) > _EXACT:
        raise DataError(
            f"{path}: holds {plane.dtype.name} values from {plane.min()} to {plane.max()}, too large to be exact in"
            " float32; save them in another unit"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is unknown
        depth = plane.astype(np.float32)
    unknown = ~np.isfinite(depth)
    if invalid == "auto":
        invalid = "none" if dtype == "uint8" else 0.0
    if invalid != "none":
        unknown |= depth == np.float32(invalid)
    depth[unknown] = np.nan
    known = depth[~unknown]
    if not known.size:
        raise DataError(f"{path}: a depth map without a known value in {depth.size} pixels; remove it with its image")
    low, high = float(known.min()), float(known.max())
    if low < 0:
        raise DataError(
            f"{path}: {np.count_nonzero(known < 0)} values are negative, the lowest {low:g}; depth is at least 0, so"
            f" set data.depth_invalid={low:g} if that marks what was not measured, or export it again"
        )
    if low == high:
        raise DataError(
            f"{path}: every known value of the depth map is {low:g}, which teaches nothing; remove it with its image"
        )
    share = known.size / depth.size
    return depth, {"min": low, "max": high, "known": share, "dtype": dtype, "hash": _digest(depth)}


def read_labels(path: str | Path, index: int | None = None) -> Labels:
    """Return instance ids, 0 for none: H x W of one plane or of a file without z, else Z x H x W.

    Bool and 0/255 are taken as they are. Of several variables in a MATLAB file ``membSeg`` is taken.

    Args:
        path: of the file.
        index: of the plane, time * planes + z, from 0.

    Raises:
        DataError: as :func:`visionlab.io.formats.open_volume` does; or it is stored as JPEG or video, which change ids,
            its channels differ, or it holds fractions, NaN, negative numbers or more than int32 holds.
    """
    volume = open_labels(path)
    if volume.lossy:
        raise DataError(
            f"{path}: labels stored as {volume.lossy}, which changes ids; save them as PNG or TIFF without it"
        )
    if index is not None:
        return _ids(volume.as_stored(*divmod(index, volume.planes)), volume.path)
    if volume.frames > 1:
        raise DataError(
            f"{path}: holds {volume.frames} time points ({volume.axes}); expected labels of one; save them apart"
        )
    if "Z" not in volume.axes:
        return _ids(volume.as_stored(), volume.path)
    labels = np.empty((volume.planes, volume.height, volume.width), np.int32)
    for z in range(volume.planes):
        labels[z] = _ids(volume.as_stored(0, z), volume.path)
    return labels


def _ids(image: Image, path: Path) -> Labels:
    """Return H x W ids of an H x W x C image as it is stored."""
    plane = _one_channel(image, path, "labels with one id a pixel", "save the ids themselves in gray")
    wrong = np.count_nonzero((plane != np.round(plane)) | np.isinf(plane)) if plane.dtype.kind == "f" else 0
    if wrong:
        raise DataError(
            f"{path}: expected labels with whole numbers, found {wrong} others; save ids, not probabilities or"
            " resized labels"
        )
    low, high = (int(plane.min()), int(plane.max()))
    if low < 0 or high > np.iinfo(np.int32).max:
        raise DataError(
            f"{path}: expected ids from 0 (background) to {np.iinfo(np.int32).max}, found {low} to {high}; set what is"
            " not labelled to 0 and number the instances from 1"
        )
    return plane.astype(np.int32)


def resize_mask(mask: Mask, size: Size) -> Mask:
    """Bring a mask (H x W of 0 and 1) to ``size`` (height, width).

    A pixel is foreground if at least half of the area that it stands for is; when enlarging, if the linear
    interpolation between its neighbours is at least 0.5.
    """
    if mask.shape == size:
        return mask
    # Half of an area must not be missed by the rounding of a sum.
    return (_scale(mask.astype(np.float32), size) >= 0.5 - 1e-5).astype(np.uint8)


def resize_depth(depth: Depth, size: Size) -> Depth:
    """Bring a depth map (H x W, NaN where unknown) to ``size`` (height, width).

    A pixel becomes the mean of the known values in the area that it stands for, each weighted by its share of that;
    when enlarging, the linear interpolation of its known neighbours. Unknown values add nothing. It is unknown where
    less than half of that weight is known, so that holes neither grow nor fill up.
    """
    if depth.shape == size:
        return depth
    known = np.isfinite(depth)
    weight = _scale(known.astype(np.float32), size)
    total = _scale(np.where(known, depth, np.float32(0)), size)
    enough = weight >= 0.5 - 1e-5
    return np.divide(total, weight, out=np.full(size, np.nan, np.float32), where=enough)


def same_view(image: Size, other: Size) -> bool:
    """Return whether two sizes (height, width) are of one picture: one common factor leads from one to the other.

    Either side may be off by less than a pixel of the smaller one, as rounding makes it.
    """
    (height, width), (small_height, small_width) = sorted(
        (image, other), key=lambda size: size[0] * size[1], reverse=True
    )
    # The factors that lead to within a pixel of each side; they must have one in common.
    low = max((small_height - 1) / height, (small_width - 1) / width)
    high = min((small_height + 1) / height, (small_width + 1) / width)
    return low < high


def _read(path: str | Path, what: str, advice: str) -> tuple[Volume, Image]:
    """Return a file, and its only plane as it is stored, H x W."""
    file, index = split_plane(path)
    volume = open_labels(file)
    return volume, _one_channel(volume.as_stored(*plane_of(volume, index)), path, what, advice)


def _one_channel(image: Image, path: str | Path, what: str, advice: str) -> Image:
    """Return H x W of an H x W x C image whose channels, but for a constant alpha, are equal.

    Raises:
        DataError: they differ; ``what`` was expected, and ``advice`` says what to do.
    """
    if image.shape[2] in (2, 4):
        image = to_channels(image, image.shape[2] - 1, path)
    plane = image[..., :1]
    if not np.array_equal(image, np.broadcast_to(plane, image.shape), equal_nan=image.dtype.kind == "f"):
        raise DataError(f"{path}: expected {what}, found {image.shape[2]} channels that differ; {advice}")
    return plane[..., 0]


def _scale(values: npt.NDArray[np.float32], size: Size) -> npt.NDArray[np.float32]:
    """Resize an H x W plane: first average by area what shrinks, then interpolate linearly what grows."""
    height, width = min(values.shape[0], size[0]), min(values.shape[1], size[1])
    small = cv2.resize(np.ascontiguousarray(values), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _digest(values: Image) -> str:
    digest = hashlib.blake2b(f"{values.shape}{values.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
