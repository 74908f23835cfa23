"""From light to the bytes of an image file: sRGB, JPEG, PNG."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating]

JPEG_QUALITY = 95


def to_light(srgb: ArrayLike) -> Array:
    """Return the light (0..1, float32) of values encoded as sRGB (0..1); IEC 61966-2-1."""
    value = np.asarray(srgb, np.float32)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(light: ArrayLike) -> Array:
    """Return light (cut to 0..1) encoded as sRGB (0..1, float32), the inverse of :func:`to_light`."""
    value = np.clip(np.asarray(light, np.float32), 0, 1)
    return np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055).astype(np.float32)


def eight_bits(values: ArrayLike) -> NDArray[np.uint8]:
    """Return values (cut to 0..1) as 0..255, rounded."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode an H x W x 3 image as JPEG of quality 95, its colours at full resolution so that outlines keep theirs."""
    return bytes(imagecodecs.jpeg8_encode(image, level=JPEG_QUALITY, subsampling="444"))


def png(image: NDArray[Any]) -> bytes:
    """Encode an image of 8 or 16 bits as PNG, without loss."""
    return bytes(imagecodecs.png_encode(image))
