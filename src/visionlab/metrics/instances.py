"""Metrics of segmented objects, functions of ``rows``: the sums of each slice, N x ``INSTANCE_COLUMNS``; numpy only.

A slice is a row: pixels are counted in it, so overlap (``iou``, ``dice``) is that of 2D slices. Objects belong to the
whole frame (a volume, or a 2D image, at one time point), whose sums stand in the row of its first slice: an object that
many slices cut counts once, and what is compared is its volume. Overlap of slices and ``seg`` of volumes are therefore
no figures of one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from visionlab.metrics.histograms import BINS, at_threshold, best_threshold, histogram_rows
from visionlab.metrics.instance_sums import INSTANCE_COLUMNS, OBJECT_COLUMNS, PIXEL_COLUMNS, frame_sums
from visionlab.metrics.metric import Array, Metric, mean, stack

__all__ = [
    "BINS",
    "INSTANCE_COLUMNS",
    "METRICS",
    "OBJECT_COLUMNS",
    "PIXEL_COLUMNS",
    "WHILE_TRAINING",
    "at_threshold",
    "best_threshold",
    "frame_sums",
    "histogram_rows",
    "pixel_areas",
]

WHILE_TRAINING = ("iou", "dice")
"""Metrics of pixels, which histograms are enough for; those of objects take whole frames."""

_Sums = Mapping[str, Array]


def pixel_areas(rows: Array) -> tuple[Array, Array]:
    """Return the true and the predicted foreground, in known pixels, of each of N slices.

    Args:
        rows: N x ``INSTANCE_COLUMNS``.
    """
    sums = _named(rows)
    return sums["tp"] + sums["fn"], sums["tp"] + sums["fp"]


def _metric(
    name: str,
    better: Literal["min", "max"],
    terms: Callable[[_Sums], tuple[Array, Array]],
    finish: Callable[[Array], Array] = mean,
) -> Metric:
    return Metric(name, better, False, lambda rows: stack(*terms(_named(rows))), finish)


def _named(rows: Array) -> _Sums:
    if rows.ndim != 2 or rows.shape[1] != len(INSTANCE_COLUMNS):
        raise ValueError(
            f"rows: expected N x {len(INSTANCE_COLUMNS)} ({', '.join(INSTANCE_COLUMNS)}), found shape {rows.shape}"
        )
    return dict(zip(INSTANCE_COLUMNS, rows.T, strict=True))


def _det(sums: Array) -> Array:
    cost, worst = sums[..., 0], sums[..., 1]
    return 1 - np.minimum(cost, worst) / worst


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("iou", "max", lambda s: (s["tp"], s["tp"] + s["fp"] + s["fn"])),
        _metric("dice", "max", lambda s: (2 * s["tp"], 2 * s["tp"] + s["fp"] + s["fn"])),
        _metric("precision", "max", lambda s: (s["objects_hit"], s["objects_pred"])),
        _metric("recall", "max", lambda s: (s["objects_hit"], s["objects_true"])),
        _metric("f1", "max", lambda s: (2 * s["objects_hit"], s["objects_true"] + s["objects_pred"])),
        _metric("seg", "max", lambda s: (s["seg_sum"], s["seg_n"])),
        _metric("det", "max", lambda s: (s["det_cost"], s["det_worst"]), _det),
        _metric("count_error", "min", lambda s: (s["count_error"], s["frames"])),
    )
}
"""Metrics of segmented objects, over all slices and frames together: sums first, then one ratio.

- ``iou``, ``dice``: overlap of the foreground of 2D slices, whichever object a pixel belongs to, over the union and
  over the mean of both. A slice without foreground, true or predicted, changes nothing.
- ``precision``, ``recall``, ``f1``: of objects; one is found if a predicted one, which counts for no other, overlaps it
  with IoU >= 0.5.
- ``seg``, ``det``: of the Cell Tracking Challenge, see :mod:`visionlab.metrics.tracking_challenge`. The challenge gives
  each sequence a value and then their mean; over the frames of one sequence these are its values.
- ``count_error``: mean over frames of |predicted - true objects|.
"""
