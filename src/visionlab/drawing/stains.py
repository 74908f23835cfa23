"""Pictures of several stains in the colours that a microscope shows them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LOW, HIGH = 0.5, 99.8
"""Percentiles of a stain that become black and full colour."""
COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (0.5, 0.5, 0.0),
    "cyan": (0.0, 0.5, 0.5),
    "magenta": (0.5, 0.0, 0.5),
}
"""Stain -> its colour. Those of two primary colours add half to each, so that they don't hide the stains of one."""
WORDS = f"each stain in its colour, stretched from its {LOW:g}th to its {HIGH:g}th percentile"
"""What :func:`composite` does, for a caption."""

Array = npt.NDArray[np.float32]
Mix = Sequence[tuple[str, float]]
"""Stains that are added up in a channel, each divided by its number: ``red/2+yellow/2``."""


def composite(image: npt.NDArray[Any], channels: Sequence[Mix]) -> Array:
    """Return one picture of all stains, H x W x 3 in 0 to 1.

    Each stain is stretched by itself, so that dark images and weak stains are seen, and adds its colour; a stain of one
    value adds nothing. A stain without a colour of its own takes the next one that no other has.

    Args:
        image: H x W x C of any type; what isn't finite counts as 0.
        channels: what each of the C channels holds.

    Raises:
        ValueError: not one mix a channel.
    """
    if image.ndim != 3 or image.shape[2] != len(channels):
        raise ValueError(f"image: expected H x W x {len(channels)}, found shape {image.shape}")
    planes = np.stack([_stretched(plane) for plane in np.moveaxis(image, 2, 0)], axis=2)
    return np.minimum(planes @ _colours(channels), 1).astype(np.float32)


def _stretched(plane: npt.NDArray[Any]) -> Array:
    values = np.nan_to_num(plane.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(values, [LOW, HIGH])
    if high <= low:  # a few bright points on an even ground
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


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
