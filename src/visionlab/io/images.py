"""Read one image file, exactly or not at all: PNG, TIFF or JPEG, never filled in or cut to 8 bits.

What a file is follows from its first bytes, not from its suffix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from visionlab.errors import DataError
from visionlab.io.formats import HEADERS, MAX_PIXELS, MAX_VALUES, READ_AS, READERS, Header, Image, decoding, kind_of

__all__ = [
    "MAX_PIXELS",
    "MAX_VALUES",
    "Header",
    "Image",
    "decode",
    "dtype_range",
    "header",
    "read",
    "supported",
    "to_channels",
]

_RANGES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def header(path: str | Path) -> Header:
    """Return an image file's size and type without decoding its pixels.

    Raises ``DataError`` as ``read`` does, except for what only the pixels or further pages show.
    """
    kind = kind_of(path)
    with decoding(path, kind):
        head = HEADERS[kind](path)
    return head  # noqa: RET504 - mypy does not know that nothing is swallowed


def decode(path: str | Path) -> Image:
    """Return the pixels of an image file as they are stored: height x width x channels, NaN and infinity among them.

    Raises ``DataError`` as ``read`` does, except for what the values are.
    """
    kind = kind_of(path)
    with decoding(path, kind):
        image, head = READERS[kind](path)
    image = image.reshape(image.shape[0], image.shape[1], -1)
    if image.shape != (head.height, head.width, head.channels):
        raise DataError(
            f"{path}: the header promises {head.height} x {head.width} x {head.channels}, found {image.shape}"
        )
    return image


def read(path: str | Path) -> Image:
    """Return the pixels of an image file: height x width x channels, ``uint8``, ``uint16`` or ``float32``.

    1, 2 and 4-bit PNG is scaled to 0..255, a palette becomes RGB, 16 bits stay 16 bits. Channels are as in the file: 1,
    2 (gray and alpha), 3, 4 or more. JPEG is turned upright as its Exif data say. From TIFF, bool becomes 0 and 255;
    int8, float16 and, where every value fits, int16 to uint64 (as uint16) and float64 (as float32) are converted.

    Raises ``DataError``, naming the file and what is wrong, if it is missing, empty, not an image of these kinds,
    truncated or damaged, has a side of 0, more than ``MAX_PIXELS`` pixels, several pages or frames, holds NaN or
    infinity, or if its values do not fit the types above.
    """
    return supported(decode(path), path)


def supported(image: Image, path: str | Path, where: str = "") -> Image:
    """Return a decoded image in the type that ``read`` gives.

    Args:
        image: as the file stores it, of a type in ``READ_AS``.
        path: named in messages.
        where: is added to it for a part of a file, e.g. `` of plane 3``.

    Raises:
        DataError: it holds NaN or infinity, or values that the type cannot hold exactly.
    """
    image = _converted(image, path)
    if image.dtype == np.float32 and not np.isfinite(image).all():
        nans, infinite = int(np.isnan(image).sum()), int(np.isinf(image).sum())
        raise DataError(
            f"{path}: {nans} values are NaN and {infinite} infinite, of {image.size}{where}; mend or remove the image"
            " (nothing is filled in)"
        )
    return image


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


def dtype_range(dtype: Any) -> float:
    """Return the value that counts as white: 255 (uint8), 65535 (uint16) or 1.0 (float32)."""
    name = np.dtype(dtype).name
    if name not in _RANGES:
        raise DataError(f"expected images of type {', '.join(_RANGES)}, found {name}")
    return _RANGES[name]


def _luma(image: Image) -> Image:
    red, green, blue = (image[..., i : i + 1] for i in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    gray = sum(
        np.float32(weight) * plane.astype(np.float32) for weight, plane in zip(_LUMA, (red, green, blue), strict=True)
    )
    if image.dtype == np.float32:
        return np.asarray(gray)
    return np.clip(np.rint(gray), 0, dtype_range(image.dtype)).astype(image.dtype)


def _converted(image: Image, path: str | Path) -> Image:
    stored = image.dtype.name
    if stored in _RANGES:
        return np.ascontiguousarray(image, dtype=stored)  # also brings the bytes into this machine's order
    if stored == "bool":
        return image.astype(np.uint8) * np.uint8(255)
    target = READ_AS[stored]
    with np.errstate(over="ignore", invalid="ignore"):
        converted = image.astype(target)
    if not np.array_equal(converted, image, equal_nan=target == "float32"):
        raise DataError(
            f"{path}: holds {stored} values from {image.min()} to {image.max()}, which {target} cannot hold exactly;"
            " save it as uint8, uint16 or float32"
        )
    return converted
