"""Outlines, overlaps and scales of segmented objects, for pictures of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.segmentation import find_boundaries

from visionlab.drawing.images import grey
from visionlab.drawing.style import rgb

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# Okabe & Ito's: told apart by everyone, on grey as well.
TRUE, PREDICTED, SECOND = "#56B4E9", "#E69F00", "#CC79A7"
"""Colours of the outlines of true objects, of predicted ones, and of those of a second model."""
FOUND, FALSE, MISSED = "#56B4E9", "#D55E00", "#F0E442"
"""Colours of foreground that was found, background that was taken for it, foreground that was missed."""
OVERLAP = {"foreground found": FOUND, "background taken for it": FALSE, "foreground missed": MISSED}

LOW, HIGH = 1.0, 99.8
"""Percentiles of the slices that become black and white."""
_FINE = 360
"""Pixels across that outlines are drawn at, so that they are thin."""


def limits(volume: Array) -> tuple[float, float]:
    """Return the intensities that are shown black and white, the same for all slices of a volume.

    Black is the median of the slices' 1st percentiles, white the largest of their 99.8th.

    Args:
        volume: Z x H x W x C.
    """
    found = np.array([np.percentile(plane, [LOW, HIGH]) for plane in volume])
    return float(np.median(found[:, 0])), float(found[:, 1].max())


def shade(image: Array, ends: tuple[float, float]) -> Floats:
    """Return an image for looking at, H x W (one or two channels) or H x W x 3, 0 to 1.

    Args:
        image: H x W x C; of more than three channels the first three are shown.
        ends: of :func:`limits`.
    """
    low, high = ends
    values = np.nan_to_num(image[..., :3] if image.shape[-1] >= 3 else image[..., 0]).astype(np.float32)
    return np.clip((values - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)


def rim(labels: Array, width: int = 1) -> npt.NDArray[np.bool_]:
    """Return the pixels of objects that lie next to another object or the background, so many deep.

    Args:
        labels: H x W ids, 0 and less is no object.
        width: in pixels.
    """
    inner = np.maximum(labels, 0)
    found = np.zeros(inner.shape, bool)
    for _ in range(width):
        found |= find_boundaries(np.where(found, 0, inner), connectivity=1, mode="inner")
    return found


def outlined(image: Floats, objects: Sequence[tuple[Array, str]]) -> Floats:
    """Return an image, enlarged, under the outlines of objects: H' x W' x 3, or x 4 where pixels are unknown.

    Args:
        image: H x W or H x W x 3, 0 to 1.
        objects: ids of objects (0 none, -1 unknown, which is transparent) and the colour of their outlines; the first
            are the widest, so that all are seen where they agree.
    """
    factor = max(1, round(_FINE / image.shape[1]))
    shown = np.repeat(np.repeat(_colours(image), factor, axis=0), factor, axis=1)
    unknown = np.zeros(image.shape[:2], bool)
    for place, (ids, colour) in enumerate(objects):
        fine = np.repeat(np.repeat(ids, factor, axis=0), factor, axis=1)
        shown[rim(fine, len(objects) - place + (factor > 1))] = rgb(colour)
        unknown |= ids < 0
    return _known(shown, np.repeat(np.repeat(~unknown, factor, axis=0), factor, axis=1))


def overlap(image: Floats, true: Array, pred: Array, known: Array) -> Floats:
    """Return an image in grey under the colours of what was found, falsely found and missed, H x W x 3 or 4.

    Args:
        image: H x W or H x W x 3, 0 to 1; may be of another size than the masks.
        true, pred: H x W, whether a pixel is foreground.
        known: H x W, whether that is known; pixels of which it isn't are transparent.
    """
    height, width = known.shape
    dark = grey(image)
    dark = dark[np.arange(height) * len(dark) // height][:, np.arange(width) * dark.shape[1] // width]
    shown = _colours(0.12 + 0.6 * dark)
    for where, colour, opaque in ((true & pred, FOUND, 0.45), (~true & pred, FALSE, 0.9), (true & ~pred, MISSED, 0.9)):
        shown[where] = (1 - opaque) * shown[where] + opaque * rgb(colour)
    return _known(shown, known)


def _colours(image: Array) -> Floats:
    return np.array(np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image, np.float32)


def _known(shown: Floats, known: Array) -> Floats:
    """Return the pixels, those that are unknown transparent."""
    return shown if known.all() else np.concatenate([shown, known[..., None]], axis=2).astype(np.float32)


def bar_length(across: float) -> tuple[float, str]:
    """Return a scale bar for a picture: its share of the width (0.12 to 0.3) and its length in words.

    Args:
        across: width of the picture in um.
    """
    most = 0.3 * across
    power = 10.0 ** math.floor(math.log10(most))
    length = next(step * power for step in (5, 2, 1) if step * power <= most)
    words = f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm"
    return length / across, words
