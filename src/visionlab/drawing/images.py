"""Intensities of images for looking at: stretched, or of several stains in the colours that a microscope shows them in.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mix = Sequence[tuple[str, float]]
"""Stains that are added up in a channel, each divided by its number: ``red/2+yellow/2``."""

COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (0.5, 0.5, 0.0),
    "cyan": (0.0, 0.5, 0.5),
    "magenta": (0.5, 0.0, 0.5),
}
"""Stain -> its colour. Those of two primary colours add half to each, so that they don't hide the stains of one."""


def stretch(image: npt.NDArray[Any]) -> Array:
    """Return H x W or H x W x 3 in 0 to 1 for display, from the image's 1st to its 99th percentile.

    The channels are stretched together, so that colours keep their balance. A constant image is grey.

    Args:
        image: H x W x C; of 2 channels the first is shown as grey; of 4 and more the first three as red, green, blue.
    """
    data = np.nan_to_num(image[..., :3] if image.shape[2] >= 3 else image[..., 0]).astype(np.float32)
    return _scaled(data, 1.0, 99.0, constant=0.5)


def composite(image: npt.NDArray[Any], channels: Sequence[Mix]) -> Array:
    """Return one picture of all stains, H x W x 3 in 0 to 1.

    Each stain is stretched by itself, from its 0.5th to its 99.8th percentile, so that dark images and weak stains are
    seen, and adds its colour; a stain of one value adds nothing. A stain without a colour of its own takes the next one
    that no other has.

    Args:
        image: H x W x C of any type; what isn't finite counts as 0.
        channels: what each of the C channels holds.
    """
    data = np.nan_to_num(image.astype(np.float32), posinf=0, neginf=0)
    planes = np.stack([_scaled(plane, 0.5, 99.8, constant=0) for plane in np.moveaxis(data, 2, 0)], axis=2)
    return np.minimum(planes @ _colours(channels), 1).astype(np.float32)


def grey(image: npt.NDArray[Any]) -> Array:
    """Return H x W of an image for looking at, H x W or H x W x 3."""
    return image if image.ndim == 2 else np.asarray(image @ np.array([0.299, 0.587, 0.114], np.float32))


def _scaled(data: Array, low: float, high: float, *, constant: float) -> Array:
    """Return values in 0 to 1 between their percentiles; a few bright points on an even ground: between their ends."""
    ends = np.percentile(data, [low, high])
    if ends[1] <= ends[0]:
        ends = np.array([data.min(), data.max()])
    if ends[1] <= ends[0]:
        return np.full_like(data, constant)
    return np.clip((data - ends[0]) / (ends[1] - ends[0]), 0, 1).astype(np.float32)


def _colours(channels: Sequence[Mix]) -> Array:
    """Return the colour of each channel, C x 3; a mix has the mean of its stains' colours, made bright."""
    stains = dict.fromkeys(stain for terms in channels for stain, _ in terms)
    free = [colour for name, colour in COLOURS.items() if name not in stains]
    known = {stain: COLOURS.get(stain) or (free.pop(0) if free else (1.0, 1.0, 1.0)) for stain in stains}
    found = []
    for terms in channels:
        colour = np.sum([np.array(known[stain]) / number for stain, number in terms], axis=0)
        found.append(colour / colour.max() if len(terms) > 1 else colour)
    return np.array(found / np.max(found), dtype=np.float32)
