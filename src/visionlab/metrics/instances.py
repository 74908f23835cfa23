"""Metrics of segmented objects, functions of ``rows``: the sums of each slice, N x ``INSTANCE_COLUMNS``.

A slice is a row: pixels are counted in it, so overlap (``iou``, ``dice``) is that of 2D slices. Objects belong to the
whole frame (a volume, or a 2D image, at one time point), whose sums stand in the row of its first slice: an object that
many slices cut counts once, and what is compared is its volume. Overlap of slices and ``seg`` of volumes are therefore
no figures of one kind.

While training, histograms of probabilities stand in for the sums of pixels: N x 2 ``BINS`` counts, of the known
foreground pixels of a slice, then of its known background pixels; bin k holds probabilities from k / ``BINS`` on. So
overlap at a threshold of k / ``BINS`` is exactly that of the maps, at every threshold, without the maps.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from visionlab.metrics.matching import INSTANCE_COLUMNS, PIXEL_COLUMNS
from visionlab.metrics.metric import Array, Metric, by_name, of_sums

BINS = 100
"""Of a histogram of probabilities, for foreground and for background each."""

WHILE_TRAINING = ("iou", "dice")
"""Metrics of pixels, which histograms are enough for; those of objects take whole frames."""

_metric = partial(of_sums, INSTANCE_COLUMNS)


def pixel_areas(rows: Array) -> tuple[Array, Array]:
    """Return the true and the predicted foreground, in known pixels, of each of N slices.

    Args:
        rows: N x ``INSTANCE_COLUMNS``.
    """
    sums = by_name(rows, INSTANCE_COLUMNS)
    return sums["tp"] + sums["fn"], sums["tp"] + sums["fp"]


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
        _metric("det", "max", lambda s: (s["det_cost"], s["det_worst"]), finish=_det),
        _metric("count_error", "min", lambda s: (s["count_error"], s["frames"])),
    )
}
"""Metrics of segmented objects, over all slices and frames together: sums first, then one ratio.

- ``iou``, ``dice``: overlap of the foreground of 2D slices, whichever object a pixel belongs to, over the union and
  over the mean of both. A slice without foreground, true or predicted, changes nothing.
- ``precision``, ``recall``, ``f1``: of objects; one is found if a predicted one, which counts for no other, overlaps it
  with IoU >= 0.5.
- ``seg``, ``det``: of the Cell Tracking Challenge, see :mod:`visionlab.metrics.matching`. The challenge gives
  each sequence a value and then their mean; over the frames of one sequence these are its values.
- ``count_error``: mean over frames of |predicted - true objects|.
"""


def at_threshold(histograms: Array, threshold: float) -> Array:
    """Return the sums of pixels of N slices, N x ``INSTANCE_COLUMNS``, those of objects 0.

    Args:
        histograms: N x 2 ``BINS``, see above.
        threshold: 0..1, the probability from which on a pixel is foreground, brought to the nearest k / ``BINS``.
    """
    first = round(threshold * BINS)
    true, background = histograms[:, :BINS], histograms[:, BINS:]
    rows = np.zeros((len(histograms), len(INSTANCE_COLUMNS)))
    tp, fp, fn = true[:, first:].sum(axis=1), background[:, first:].sum(axis=1), true[:, :first].sum(axis=1)
    rows[:, : len(PIXEL_COLUMNS)] = np.stack([histograms.sum(axis=1), tp, fp, fn], axis=1)
    return rows


def best_threshold(histograms: Array) -> float:
    """Return the threshold k / ``BINS``, 0 < k < ``BINS``, of the highest IoU (and Dice) in all slices together.

    Where a whole range of thresholds is best (a network that is sure), its middle, the lower of two: the largest room
    for other images on both sides. 0.5 where overlap is undefined, without a true foreground pixel or with one whose
    probability isn't finite.

    Args:
        histograms: N x 2 ``BINS``, see above.
    """
    total = histograms.sum(axis=0, keepdims=True)
    rows = np.concatenate([at_threshold(total, k / BINS) for k in range(1, BINS)])
    iou = np.nan_to_num(METRICS["iou"].each(rows))
    if not iou.any():
        return 0.5
    best = iou >= iou.max() - 1e-12
    start = int(best.argmax())
    length = int(np.append(~best[start:], True).argmax())
    return (1 + start + (length - 1) // 2) / BINS
