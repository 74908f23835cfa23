"""Outlines, partners and scales of segmented objects, for pictures of them. NumPy only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# Okabe & Ito's: told apart by everyone, on grey as well.
TRUE, PREDICTED, SECOND = "#56B4E9", "#E69F00", "#CC79A7"
"""Colours of the outlines of true objects, of predicted ones, and of those of a second model."""

LOW, HIGH = 1.0, 99.8
"""Percentiles of the slices that become black and white."""


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


def edges(labels: Array) -> Floats:
    """Return the lines between pixels of different objects, L x 2 x 2: x and y of both ends, in pixels.

    They run along the borders of the pixels exactly, straight pieces in one; the image's own border is none.

    Args:
        labels: H x W ids, 0 and less is no object.
    """
    ids = np.maximum(labels, 0)
    rows, starts, ends = _runs(ids[1:] != ids[:-1])
    lying = np.stack([np.stack([starts, rows + 1], axis=1), np.stack([ends, rows + 1], axis=1)], axis=1)
    columns, starts, ends = _runs((ids[:, 1:] != ids[:, :-1]).T)
    standing = np.stack([np.stack([columns + 1, starts], axis=1), np.stack([columns + 1, ends], axis=1)], axis=1)
    return np.concatenate([lying, standing]).astype(np.float32)


def _runs(flags: Array) -> tuple[Array, Array, Array]:
    """Return row, first and last (exclusive) column of each run of set flags."""
    padded = np.pad(flags.astype(np.int8), ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    return rows, starts, np.nonzero(change == -1)[1]


def rim(labels: Array, width: int = 1) -> npt.NDArray[np.bool_]:
    """Return the pixels of objects that lie next to another object or the background, so many deep.

    Args:
        labels: H x W ids, 0 and less is no object.
        width: in pixels.
    """
    inner = np.maximum(labels, 0)
    found = np.zeros(inner.shape, bool)
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        for part in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            found |= (part != inner) & (inner > 0)
        inner = np.where(found, 0, inner)
    return found


def partners(true: Array, pred: Array, least: float = 0.5) -> dict[int, int]:
    """Return {predicted object: true object} of those that overlap enough, each object once.

    Args:
        true: ids of any shape, 0 none, -1 unknown: what lies there counts for nothing.
        pred: ids of the same shape.
        least: intersection over union from which on they are partners; the best pairs are taken first.
    """
    known = true >= 0
    t, p = true[known].astype(np.int64), pred[known].astype(np.int64)
    # Numbered anew: ids may be as large as int32 holds.
    inside = t > 0
    ids, number = np.unique(t[inside], return_inverse=True)
    t[inside] = number + 1
    of_true, of_pred = np.bincount(t), np.bincount(np.maximum(p, 0))
    both = (t > 0) & (p > 0)
    codes, counts = np.unique(t[both] * len(of_pred) + p[both], return_counts=True)
    a, b = np.divmod(codes, len(of_pred)) if len(codes) else (codes, codes)
    overlap = counts / (of_true[a] + of_pred[b] - counts)
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for i in np.argsort(-overlap, kind="stable"):
        if overlap[i] >= least and b[i] not in partner and a[i] not in taken:
            partner[int(b[i])] = int(ids[a[i] - 1])
            taken.add(int(a[i]))
    return partner


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
