"""The sums of a slice and of a frame that the metrics of segmented objects are made of; numpy only.

Slices are counted one by one, so memory stays that of a slice beside the two volumes.
"""

from __future__ import annotations

import numpy as np

from visionlab.metrics.metric import Array
from visionlab.metrics.tracking_challenge import Labels, Overlaps, PairCounts, det_terms, object_hits, seg_terms

PIXEL_COLUMNS = (
    "known",  # pixels of the slice whose truth is known
    "tp",  # of them, foreground in both
    "fp",  # predicted foreground only
    "fn",  # true foreground only
)

OBJECT_COLUMNS = (
    "objects_true",
    "objects_pred",
    "objects_hit",  # true objects with a predicted one of IoU >= 0.5, none counting twice
    "seg_sum",  # sum of the Jaccard indices of SEG
    "seg_n",  # reference objects of SEG
    "det_cost",  # AOGM-D
    "det_worst",  # AOGM-D of an empty prediction
    "count_error",  # |predicted - true objects|
    "frames",  # 1 where the frame's objects were counted
)

INSTANCE_COLUMNS = PIXEL_COLUMNS + OBJECT_COLUMNS
"""The sums of a slice; those of objects are of the whole frame, in the row of its first slice, and 0 in the others."""


def frame_sums(true: Labels, pred: Labels, *, objects: bool) -> tuple[Array, dict[str, float]]:
    """Return what the metrics of one frame are made of.

    A voxel whose truth is unknown counts for nothing: whatever is predicted there is neither right nor wrong, and a
    predicted object is only as large as what of it is known.

    Where whole slices of a volume are unknown, the truth is of single slices, as is the gold truth of the Cell Tracking
    Challenge. Objects are then compared slice by slice, as the challenge does for SEG: each cut through an object is an
    object. How many the volume holds isn't known: there are no sums for DET and for the count.

    Args:
        true: Z x H x W ids, 0 background, -1 unknown; Z = 1 for a 2D image.
        pred: the same, from 0.
        objects: whether the truth tells objects apart; without it only pixels are counted.

    Returns:
        Z x ``PIXEL_COLUMNS`` sums of slices; ``OBJECT_COLUMNS`` -> sum, all 0 without ``objects`` or a known voxel.

    Raises:
        ValueError: the arrays are not integers of one shape Z x H x W, or an id is out of range.
    """
    _check(true, pred)
    slices = [PairCounts.of(*both) for both in zip(true, pred, strict=True)]
    known = np.array([np.count_nonzero(plane >= 0) for plane in true])
    counted = [part.overlaps() for part in slices]
    pixels = np.array([(n, of.tp, of.fp, of.fn) for n, of in zip(known, counted, strict=True)], np.float64)
    total = dict.fromkeys(OBJECT_COLUMNS, 0.0)
    if objects and known.any():
        sparse = not known.all()
        parts = counted if sparse else [PairCounts.total(slices).overlaps()]
        for part in parts:
            for name, value in _object_sums(part, complete=not sparse).items():
                total[name] += value
    return pixels, total


def _object_sums(overlaps: Overlaps, *, complete: bool) -> dict[str, float]:
    n_true, n_pred = len(overlaps.true_sizes), len(overlaps.pred_sizes)
    sums: dict[str, float] = {"objects_true": n_true, "objects_pred": n_pred, "objects_hit": object_hits(overlaps)}
    sums["seg_sum"], sums["seg_n"] = seg_terms(overlaps)
    if complete:
        sums["det_cost"], sums["det_worst"] = det_terms(overlaps)
        sums |= {"count_error": abs(n_pred - n_true), "frames": 1}
    return sums


def _check(true: Labels, pred: Labels) -> None:
    if true.shape != pred.shape or true.ndim != 3 or not true.size:
        raise ValueError(f"labels: expected two of one shape Z x H x W, found {true.shape} and {pred.shape}")
    for name, labels, lowest in (("true", true, -1), ("predicted", pred, 0)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name} labels: expected integers, found {labels.dtype}")
        low, high = int(labels.min()), int(labels.max())
        if low < lowest or high >= 2**31:
            raise ValueError(f"{name} labels: expected ids from {lowest} to 2**31 - 1, found {low} to {high}")
