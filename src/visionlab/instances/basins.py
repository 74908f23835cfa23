"""Basins: the parts of a mask around the peaks of a height, those that stand out enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Heights = npt.NDArray[np.float32]

EIGHT = np.ones((3, 3), dtype=bool)
"""Neighbours by side and by corner. Foreground is joined by sides only, so that corners join the background."""

_SIDES = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
)


def sides() -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the two pairs of windows that lay each pixel of a plane beside its right and its lower neighbour."""
    yield from _SIDES


def inner_distance(mask: Mask) -> Heights:
    """Return the distance in pixels of each pixel of a mask to the nearest one outside; beyond the edge is outside."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.asarray(distance, dtype=np.float32)


def basins(height: Heights, mask: Mask, prominence: float) -> tuple[Labels, Heights]:
    """Divide a mask among the peaks of a height that stand out by at least ``prominence``.

    That is the watershed of the height's h-maxima with h = prominence, in another order: first the watershed of all
    maxima, then of two neighbouring basins the lower one joins the higher if its peak is less than h above the highest
    saddle between them. Every connected part of the mask keeps its highest peak. (Najman and Schmitt 1996, "Geodesic
    saliency of watershed contours and hierarchical segmentation", IEEE TPAMI 18: h is the dynamics of a peak.)

    Args:
        height: H x W, finite in the mask.
        mask: H x W.
        prominence: in the height's unit, from 0; 0 keeps all maxima.

    Returns:
        H x W labels, 1..n without gaps, 0 outside the mask; the n + 1 peaks (of background 0).
    """
    seeds, n = _maxima(height, mask)
    if n == 0:
        return seeds, np.zeros(1, np.float32)
    # What a wide plateau surrounds needs no flooding.
    inner = ndimage.binary_erosion(seeds)
    labels = watershed(-height, np.where(inner, 0, seeds), mask=mask & ~inner).astype(np.int32, copy=False)
    labels[inner] = seeds[inner]
    peaks = np.zeros(n + 1, np.float32)
    np.maximum.at(peaks, seeds[seeds > 0], height[seeds > 0])
    # Kept by number of the peak, so that the result doesn't hang on how equal peaks are sorted.
    kept = _joined(peaks, *_saddles(height, labels), prominence)
    roots, number = np.unique(kept[1:], return_inverse=True)
    renumbered = np.concatenate([[0], number + 1]).astype(np.int32)
    return renumbered[labels], np.concatenate([peaks[:1], peaks[roots]])


def _maxima(height: Heights, mask: Mask) -> tuple[Labels, int]:
    """Return the local maxima, plateaus as one, numbered; one a plateau also where its pixels join by corners."""
    flat = np.where(mask, height, -np.inf).astype(np.float32)
    seeds, _ = ndimage.label((flat == ndimage.maximum_filter(flat, size=3)) & mask, structure=EIGHT)
    # Not across the corner where two parts of the mask touch.
    at = np.flatnonzero(seeds)
    pairs = ndimage.label(mask)[0].ravel()[at].astype(np.int64) << 32 | seeds.ravel()[at]
    numbers, inverse = np.unique(pairs, return_inverse=True)
    seeds.ravel()[at] = inverse + 1
    return seeds, len(numbers)


def _saddles(height: Heights, labels: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[Any], Heights]:
    """Return each pair of neighbouring basins once, the highest saddle between them, highest saddles first."""
    first, second, level = [], [], []
    for one, other in sides():
        a, b = labels[one], labels[other]
        apart = (a != b) & (a > 0) & (b > 0)
        first.append(np.minimum(a[apart], b[apart]))
        second.append(np.maximum(a[apart], b[apart]))
        level.append(np.minimum(height[one][apart], height[other][apart]))
    a, b, saddle = np.concatenate(first), np.concatenate(second), np.concatenate(level)
    order = np.lexsort((b, a, -saddle))
    a, b, saddle = a[order], b[order], saddle[order]
    _, once = np.unique(a.astype(np.int64) << 32 | b, return_index=True)
    once.sort()
    return a[once], b[once], saddle[once]


def _joined(
    peaks: Heights, first: npt.NDArray[Any], second: npt.NDArray[Any], saddles: Heights, prominence: float
) -> npt.NDArray[np.int64]:
    """Return for each basin the one whose peak it belongs to."""
    parent, height = list(range(len(peaks))), peaks.tolist()

    def root(of: int) -> int:
        while parent[of] != of:
            parent[of] = parent[parent[of]]
            of = parent[of]
        return of

    for a, b, saddle in zip(first.tolist(), second.tolist(), saddles.tolist(), strict=True):
        low, high = sorted((root(a), root(b)), key=lambda basin: (height[basin], -basin))
        if low != high and height[low] - saddle < prominence:
            parent[low] = high
    return np.array([root(basin) for basin in range(len(peaks))])
