"""How many pixels of a slice have which probability: enough to know overlap at every threshold without the maps.

A row holds ``BINS`` counts of the known foreground pixels, then as many of the known background pixels; bin k holds
probabilities from k / ``BINS`` on. So overlap at a threshold of k / ``BINS`` is exactly that of the maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from visionlab.errors import ConfigError, nearest
from visionlab.metrics.instance_sums import INSTANCE_COLUMNS, PIXEL_COLUMNS
from visionlab.metrics.metric import Array

if TYPE_CHECKING:
    import torch

BINS = 100


def histogram_rows(probability: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the histograms of B slices, B x 2 ``BINS`` counts, float64 where the device has it; nothing waits for it.

    Args:
        probability: of the foreground, B x 1 x H x W; below 0 counts as 0, above 1 as 1.
        ids: B x 1 x H x W, above 0 where there is an instance, 0 background, NaN unknown, which counts for nothing.

    Raises:
        ValueError: the shapes differ or aren't B x 1 x H x W.

    A slice with a known pixel whose probability isn't finite has NaN in all its bins.
    """
    import torch

    if probability.shape != ids.shape or ids.ndim != 4 or ids.shape[1] != 1:
        raise ValueError(
            f"maps: expected two of one shape, B x 1 x H x W, found {tuple(probability.shape)} and {tuple(ids.shape)}"
        )
    count, device = len(ids), ids.device
    given, ids = probability.detach().flatten(1).float(), ids.detach().flatten(1)
    known = ~ids.isnan()
    finite = (given.isfinite() | ~known).all(dim=1)
    # Compared with the limits themselves: floor(p * BINS) would put 0.29 and a few others one bin too low.
    limits = torch.arange(1, BINS, device=device) / BINS
    place = torch.bucketize(given.nan_to_num(), limits, right=True) + BINS * (ids == 0)
    # Unknown pixels go to a bin of their own behind the others, which is then left out.
    place = torch.where(known, place, 2 * BINS)
    place = place + (2 * BINS + 1) * torch.arange(count, device=device)[:, None]
    counts = torch.zeros(count * (2 * BINS + 1), dtype=torch.int32, device=device)
    counts.scatter_add_(0, place.flatten(), torch.ones_like(counts[:1]).expand(place.numel()))
    dtype = torch.float32 if device.type == "mps" else torch.float64
    rows = counts.view(count, 2 * BINS + 1)[:, :-1].to(dtype)
    return torch.where(finite[:, None], rows, torch.nan)


def at_threshold(histograms: Array, threshold: float) -> Array:
    """Return the sums of pixels of N slices, N x ``INSTANCE_COLUMNS``, those of objects 0.

    Args:
        histograms: N x 2 ``BINS``, as of :func:`histogram_rows`.
        threshold: 0..1, the probability from which on a pixel is foreground, brought to the nearest k / ``BINS``.

    Raises:
        ValueError: the shape doesn't fit or the threshold is out of range.
    """
    if histograms.ndim != 2 or histograms.shape[1] != 2 * BINS:
        raise ValueError(f"histograms: expected N x {2 * BINS}, found shape {histograms.shape}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1, found {threshold}")
    first = round(threshold * BINS)
    true, background = histograms[:, :BINS], histograms[:, BINS:]
    rows = np.zeros((len(histograms), len(INSTANCE_COLUMNS)))
    tp, fp, fn = true[:, first:].sum(axis=1), background[:, first:].sum(axis=1), true[:, :first].sum(axis=1)
    rows[:, : len(PIXEL_COLUMNS)] = np.stack([histograms.sum(axis=1), tp, fp, fn], axis=1)
    return rows


def best_threshold(histograms: Array, metric: str = "iou") -> float:
    """Return the threshold k / ``BINS``, 0 < k < ``BINS``, of the highest overlap in all slices together.

    Where a whole range of thresholds is best (a network that is sure), its middle, the lower of two: the largest room
    for other images on both sides. 0.5 where overlap is undefined, without a true foreground pixel or with one whose
    probability isn't finite.

    Args:
        histograms: N x 2 ``BINS``, as of :func:`histogram_rows`.
        metric: ``iou`` or ``dice``; as each grows with the other, both have their best at one threshold.

    Raises:
        ConfigError: another metric.
        ValueError: the shape doesn't fit.
    """
    choices = ("iou", "dice")
    if metric not in choices:
        raise ConfigError(f"metric: expected one of {', '.join(choices)}, found '{metric}'.{nearest(metric, choices)}")
    total = histograms.sum(axis=0, keepdims=True)
    _, tp, fp, fn = np.concatenate([at_threshold(total, k / BINS) for k in range(1, BINS)])[:, : len(PIXEL_COLUMNS)].T
    with np.errstate(invalid="ignore"):
        iou = np.nan_to_num(tp / (tp + fp + fn))
    if not iou.any():
        return 0.5
    best = iou >= iou.max() - 1e-12
    start = int(best.argmax())
    length = int((~best[start:]).argmax()) if not best[start:].all() else len(best) - start
    return (1 + start + (length - 1) // 2) / BINS
