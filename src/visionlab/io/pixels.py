"""What pixels may be: types, limits of size, orientation, and the channels that are made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from visionlab.errors import DataError

Image = np.ndarray[Any, Any]

MAX_PIXELS = 2**26
"""Most pixels (height x width) that are read, 8192 x 8192: the header of a small file may claim far more (a bomb)."""
MAX_VALUES = 4 * MAX_PIXELS
"""Most values (height x width x channels) that are read."""

# What a file may store, and what it is read as, if every value can be kept.
READ_AS = {
    "uint8": "uint8",
    "uint16": "uint16",
    "float32": "float32",
    "bool": "uint8",
    "int8": "uint8",
    "int16": "uint16",
    "int32": "uint16",
    "uint32": "uint16",
    "int64": "uint16",
    "uint64": "uint16",
    "float16": "float32",
    "float64": "float32",
}
_RANGES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
ORIENTATION = 274
"""The tag of TIFF and Exif that says how an image is turned for display, 1 (as stored) to 8."""


@contextlib.contextmanager
def decoding(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a ``DataError`` that names the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: not enough memory to decode it") from None
    # Damaged files make the decoders raise nearly anything (struct.error, KeyError, ZeroDivisionError, ...).
    except Exception as error:
        raise DataError(
            f"{path}: cannot be decoded: a damaged or truncated {kind} file ({error}); copy or export it again"
        ) from error


def check_size(height: int, width: int, channels: int, path: str | Path) -> None:
    """Refuse a size that a header claims before anything of it is decoded.

    Raises:
        DataError: a side is 0, or there are more than ``MAX_PIXELS`` pixels or ``MAX_VALUES`` values.
    """
    if min(height, width, channels) < 1:
        raise DataError(f"{path}: the image is {height} x {width} pixels; expected at least 1 x 1")
    if height * width > MAX_PIXELS or height * width * channels > MAX_VALUES:
        raise DataError(
            f"{path}: the image claims {height} x {width} pixels x {channels} channels; at most"
            f" {MAX_PIXELS} pixels and {MAX_VALUES} values are read; cut it into tiles"
        )


def supported(image: Image, path: str | Path, where: str = "") -> Image:
    """Return a decoded image in the type that is read: ``uint8``, ``uint16`` or ``float32``.

    Args:
        image: as the file stores it, of a type in ``READ_AS``.
        path: named in messages.
        where: is added to it for a part of a file, e.g. `` of plane 3``.

    Raises:
        DataError: it holds NaN or infinity, or values that the type cannot hold exactly.
    """
    stored, target = image.dtype.name, READ_AS[image.dtype.name]
    with np.errstate(over="ignore", invalid="ignore"):
        # Also brings the bytes into this machine's order.
        read = np.ascontiguousarray(image, dtype=target)
    if stored == "bool":
        return read * np.uint8(255)
    if stored != target and not np.array_equal(read, image, equal_nan=target == "float32"):
        raise DataError(
            f"{path}: holds {stored} values from {image.min()} to {image.max()}, which {target} cannot hold exactly;"
            " save it as uint8, uint16 or float32"
        )
    if target == "float32" and not np.isfinite(read).all():
        nans, infinite = int(np.isnan(read).sum()), int(np.isinf(read).sum())
        raise DataError(
            f"{path}: {nans} values are NaN and {infinite} infinite, of {read.size}{where}; mend or remove the image"
            " (nothing is filled in)"
        )
    return read


def native(array: Image) -> Image:
    """Return an array whose bytes are in this machine's order; those of a file that is mapped need not be."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def dtype_range(dtype: Any) -> float:
    """Return the value that counts as white: 255 (uint8), 65535 (uint16) or 1.0 (float32)."""
    name = np.dtype(dtype).name
    if name not in _RANGES:
        raise DataError(f"expected images of type {', '.join(_RANGES)}, found {name}")
    return _RANGES[name]


def upright(image: Image, orientation: int) -> Image:
    """Return an H x W x C image as it is displayed, given its orientation tag; unknown values mean as stored."""
    turned = image.swapaxes(0, 1) if swaps_sides(orientation) else image
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def swaps_sides(orientation: int) -> bool:
    """Return whether height and width of the displayed image are width and height of the stored one."""
    return 5 <= orientation <= 8


def to_channels(image: Image, channels: int, path: str | Path = "") -> Image:
    """Bring an H x W x C image to ``channels``, where that needs no guess; the type and range stay.

    Gray to RGB repeats the plane. RGB to gray takes one plane if the three are equal, else the Rec. 601 luma
    0.299 R + 0.587 G + 0.114 B, rounded for integers. The last of 2 or 4 channels is taken as alpha when 1 or 3 are
    wanted, and dropped if it is the same everywhere. All else raises ``DataError``; ``path`` is named in it.
    """
    found = image.shape[2]
    if found == channels:
        return image
    name = path or "image"
    if found in (2, 4) and channels in (1, 3):
        alpha = image[..., -1]
        if (alpha != alpha.flat[0]).any():
            raise DataError(
                f"{name}: {found} channels found, {channels} wanted, and the last (alpha) varies from {alpha.min()} to"
                f" {alpha.max()}: what lies behind it is unknown; save the image without transparency"
            )
        return to_channels(image[..., :-1], channels, path)
    if found == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if found == 3 and channels == 1:
        return _luma(image)
    raise DataError(
        f"{name}: {found} channels found, {channels} wanted; only gray to RGB, RGB to gray and dropping a constant"
        f" alpha are possible, so set data.channels={found} or convert the images"
    )


def _luma(image: Image) -> Image:
    red, green, blue = (image[..., i : i + 1] for i in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    planes = zip(_LUMA, (red, green, blue), strict=True)
    gray = np.asarray(sum(np.float32(weight) * plane.astype(np.float32) for weight, plane in planes))
    if image.dtype == np.float32:
        return gray
    return np.clip(np.rint(gray), 0, dtype_range(image.dtype)).astype(image.dtype)
