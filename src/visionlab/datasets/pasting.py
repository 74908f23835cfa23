"""Read cut-outs and backgrounds, and paste the one onto the other: in linear light, without fringes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visionlab.errors import DataError
from visionlab.io import Image, dtype_range, read_image, to_channels
from visionlab.io.encoding import Array, eight_bits, to_light, to_srgb

# Light of 8-bit values, and 8-bit values of light in 65536 steps: fine enough that the one undoes the other exactly.
_LIGHT = to_light(np.arange(256) / 255)
_BYTE = eight_bits(to_srgb(np.arange(65536) / 65535))


def read_background(path: Path, size: int | None) -> NDArray[np.uint8]:
    """Return a background as H x W x 3 of 8 bits; with ``size`` resized and cut to a square around its middle.

    Raises:
        DataError: the file cannot be read, is not grey or colour, is partly transparent, or holds values beyond 0..1.
    """
    image = _unit(to_channels(read_image(path), 3, path), path)
    height, width = image.shape[:2]
    if size is not None:
        factor = size / min(height, width)
        image = resize(image, max(size, round(height * factor)), max(size, round(width * factor)))
        top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
        image = image[top : top + size, left : left + size]
    return eight_bits(image)


def read_cutout(path: Path, threshold: int) -> Array:
    """Return the visible part of a cut-out: h x w x 4, light (0..1) times alpha, and alpha (0..1).

    Raises:
        DataError: the file cannot be read, has no alpha, is opaque everywhere, or nowhere reaches the mask's
            ``threshold`` (of 255).
    """
    image = read_image(path)
    if image.shape[2] not in (2, 4):
        kind = {1: "grey", 3: "red, green and blue"}.get(image.shape[2], f"{image.shape[2]} channels")
        raise DataError(
            f"{path}: expected a cut-out with an alpha channel, found {kind} only; save it as PNG with transparency"
        )
    image = _unit(image, path)
    alpha = image[..., -1]
    if alpha.min() == 1:
        raise DataError(
            f"{path}: is opaque everywhere, so it has no outline; cut the object out, or move the file away if it is a"
            " background"
        )
    if np.rint(255 * alpha.max()) < threshold:
        raise DataError(
            f"{path}: its alpha is at most {np.rint(255 * alpha.max()):.0f} of 255, so no pixel is foreground"
            f" (make.mask_threshold={threshold}); remove it or lower the threshold"
        )
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    seen = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light = to_light(np.broadcast_to(seen[..., :-1], (*seen.shape[:2], 3)))
    return np.dstack([light * seen[..., -1:], seen[..., -1:]]).astype(np.float32)


def resize(image: Array, height: int, width: int) -> Array:
    """Return an image of another size: averaged over areas when it shrinks, interpolated when it grows."""
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.float32)


def fitted(size: tuple[int, int], image: tuple[int, int], share: float) -> tuple[int, int]:
    """Return height and width of a cut-out whose larger share of the image's height or width shall be ``share``."""
    factor = share * min(image[0] / size[0], image[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def foreground(cutout: Array, threshold: int) -> NDArray[np.bool_]:
    """Return where the alpha of a cut-out reaches the threshold (of 255)."""
    reached: NDArray[np.bool_] = np.rint(255 * cutout[..., 3]) >= threshold
    return reached


def paste(
    background: NDArray[np.uint8], cutout: Array, top: int, left: int, threshold: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a copy of the background with the cut-out on it, and the mask.

    Args:
        background: H x W x 3.
        cutout: h x w x 4 as :func:`read_cutout` gives it. Light times alpha was resized, so what lies hidden under
            alpha 0 (often black or white) leaves no fringe.
        top, left: where its upper left corner goes, such that all of it is inside.
        threshold: alpha (of 255) from which on a pixel is foreground.

    Returns:
        H x W x 3 of 8 bits, and H x W with 255 where alpha reaches the threshold, else 0.
    """
    inside = slice(top, top + cutout.shape[0]), slice(left, left + cutout.shape[1])
    light = cutout[..., :3] + (1 - cutout[..., 3:]) * _LIGHT[background[inside]]
    image = background.copy()
    image[inside] = _BYTE[np.minimum(light * 65535 + 0.5, 65535).astype(np.uint16)]
    mask = np.zeros(background.shape[:2], np.uint8)
    mask[inside] = 255 * foreground(cutout, threshold)
    return image, mask


def _unit(image: Image, path: Path) -> Array:
    """Return an image as float32 of 0..1."""
    values: Array = image.astype(np.float32) / np.float32(dtype_range(image.dtype))
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"{path}: expected values from 0 to 1 in a floating-point image, found {values.min():g} to"
            f" {values.max():g}; save it with 8 or 16 bits"
        )
    return values
