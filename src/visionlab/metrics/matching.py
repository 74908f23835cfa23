"""Matching of true and predicted objects: the sums of a slice and of a frame that their metrics are made of.

Slices are counted one by one, so memory stays that of a slice beside the two volumes. SEG and DET are those of the Cell
Tracking Challenge.

Both ask first which reference object R a predicted object S stands for: S **matches** R where |R ∩ S| > 0.5 |R|. So a
reference object has at most one match, while one predicted object can match several reference objects (merged cells).

- **SEG** (https://public.celltrackingchallenge.net/documents/SEG.pdf; Ulman et al. 2017, "An objective comparison of
  cell-tracking algorithms", Nature Methods 14): each reference object has the Jaccard index |R ∩ S| / |R ∪ S| with its
  match, 0 without; SEG is the mean over all reference objects of all frames. Predicted objects that match nothing cost
  nothing.
- **DET** (https://celltrackingchallenge.net/evaluation-methodology/): 1 - min(AOGM-D, AOGM-D0) / AOGM-D0. AOGM-D is
  what it costs to make the predicted set of objects into the true one (Matula et al. 2015, "Cell Tracking Accuracy
  Measurement Based on Comparison of Acyclic Oriented Graphs", PLoS ONE 10:e0144959): 10 for each true object that
  nothing matches, 1 for each predicted object that matches none, and for each that matches m > 1 of them the m - 1
  splits that it takes, 5 each. AOGM-D0 is the cost of an empty prediction, 10 for each true object.

The challenge takes hand-drawn regions for SEG and small markers, its tracking truth, for DET, and gives each sequence a
value. Here both are of the regions that there are, and of whichever frames are summed up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.metrics.metric import Array

Ints = npt.NDArray[np.int64]
Labels = npt.NDArray[np.integer[Any]]

SPLIT_COST = 5
MISSED_COST = 10
FALSE_COST = 1
"""Weights of AOGM-D: w_NS, w_FN and w_FP."""

_SHIFT = 32
_MASK = (1 << _SHIFT) - 1

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
        true: Z x H x W ids, 0 background, -1 unknown; Z = 1 for a 2D image. Ids are below 2 ** 31.
        pred: the same, from 0.
        objects: whether the truth tells objects apart; without it only pixels are counted.

    Returns:
        Z x ``PIXEL_COLUMNS`` sums of slices; ``OBJECT_COLUMNS`` -> sum, all 0 without ``objects`` or a known voxel.
    """
    pixels = np.array([_pixel_sums(*planes) for planes in zip(true, pred, strict=True)], np.float64)
    known = pixels[:, 0] > 0
    total = dict.fromkeys(OBJECT_COLUMNS, 0.0)
    if objects and known.any():
        pairs = [_count_pairs(*planes) for planes in zip(true, pred, strict=True)]
        complete = bool(known.all())
        for part in [pairs] if complete else [[pair] for pair in pairs]:
            for name, value in _object_sums(_overlaps(part), complete=complete).items():
                total[name] += value
    return pixels, total


def _pixel_sums(true: Labels, pred: Labels) -> tuple[int, ...]:
    """Return the ``PIXEL_COLUMNS`` of one slice."""
    there, found, known = true > 0, pred > 0, true >= 0
    parts = (known, there & found, found & known & ~there, there & ~found)
    return tuple(int(np.count_nonzero(part)) for part in parts)


def _count_pairs(true: Labels, pred: Labels) -> tuple[Ints, Ints]:
    """Return which pairs, true id * 2 ** 32 + predicted id, the known voxels of a slice have, and how often each.

    Those of two backgrounds, most of all, are left out.
    """
    some = (true > 0) | ((pred > 0) & (true == 0))
    return np.unique(true[some].astype(np.int64) << _SHIFT | pred[some].astype(np.int64), return_counts=True)


@dataclass(frozen=True)
class Overlaps:
    """How many voxels true and predicted objects share, of which only those count whose truth is known.

    Attributes:
        true_sizes, pred_sizes: voxels of each of T true and P predicted objects, above 0.
        true, pred: of each of K pairs that overlap the index of the true and of the predicted object.
        shared: of each pair the voxels in both, above 0.
    """

    true_sizes: Ints
    pred_sizes: Ints
    true: Ints
    pred: Ints
    shared: Ints


def _overlaps(slices: Sequence[tuple[Ints, Ints]]) -> Overlaps:
    """Return the objects of these slices together and their overlaps, of the slices' pairs and their counts."""
    keys, counts = (np.concatenate(part) for part in zip(*slices, strict=True))
    true, pred = keys >> _SHIFT, keys & _MASK
    (of_true, true_sizes), (of_pred, pred_sizes) = _sizes(true, counts), _sizes(pred, counts)
    both = (true > 0) & (pred > 0)
    pairs, member = np.unique(keys[both], return_inverse=True)
    shared = np.bincount(member, counts[both]).astype(np.int64)
    at = np.searchsorted(of_true, pairs >> _SHIFT), np.searchsorted(of_pred, pairs & _MASK)
    return Overlaps(true_sizes, pred_sizes, *at, shared)


def _sizes(ids: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Return the different ids above 0, sorted, and the voxels of each."""
    found, member = np.unique(ids[ids > 0], return_inverse=True)
    return found, np.bincount(member, counts[ids > 0], len(found)).astype(np.int64)


def _object_sums(overlaps: Overlaps, *, complete: bool) -> dict[str, float]:
    n_true, n_pred = len(overlaps.true_sizes), len(overlaps.pred_sizes)
    sums: dict[str, float] = {"objects_true": n_true, "objects_pred": n_pred, "objects_hit": object_hits(overlaps)}
    sums["seg_sum"], sums["seg_n"] = seg_terms(overlaps)
    if complete:
        sums["det_cost"], sums["det_worst"] = det_terms(overlaps)
        sums |= {"count_error": abs(n_pred - n_true), "frames": 1}
    return sums


def seg_terms(overlaps: Overlaps) -> tuple[float, int]:
    """Return the sum of the reference objects' Jaccard indices and how many there are; SEG is their ratio."""
    matched = _matches(overlaps)
    shared = overlaps.shared[matched]
    union = overlaps.true_sizes[overlaps.true[matched]] + overlaps.pred_sizes[overlaps.pred[matched]] - shared
    return float((shared / union).sum()), len(overlaps.true_sizes)


def det_terms(overlaps: Overlaps) -> tuple[int, int]:
    """Return AOGM-D and AOGM-D0; DET is 1 - min of both / the second, of their sums over frames."""
    matched = _matches(overlaps)
    n_matched, n_matching = int(matched.sum()), len(np.unique(overlaps.pred[matched]))
    n_true, n_pred = len(overlaps.true_sizes), len(overlaps.pred_sizes)
    cost = (
        SPLIT_COST * (n_matched - n_matching) + MISSED_COST * (n_true - n_matched) + FALSE_COST * (n_pred - n_matching)
    )
    return cost, MISSED_COST * n_true


def object_hits(overlaps: Overlaps) -> int:
    """Return how many true objects have a predicted one of IoU >= 0.5, no object counting twice.

    Only where IoU is exactly 0.5 an object can have two partners: each is then half of it and overlaps nothing else. So
    taking the first partner of each true object, then of each predicted one, finds as many pairs as there can be.
    """
    sizes = overlaps.true_sizes[overlaps.true] + overlaps.pred_sizes[overlaps.pred]
    half = 3 * overlaps.shared >= sizes  # shared / (sizes - shared) >= 1 / 2, in integers
    _, first = np.unique(overlaps.true[half], return_index=True)
    return len(np.unique(overlaps.pred[half][first]))


def _matches(overlaps: Overlaps) -> npt.NDArray[np.bool_]:
    """Return which pairs match: more than half of the reference object is shared."""
    return 2 * overlaps.shared > overlaps.true_sizes[overlaps.true]
