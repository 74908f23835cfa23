"""The sums of each image that the metrics of masks, depth and instances are made of, from the maps of a batch.

What is made of them is in :mod:`visionlab.metrics.dense` and :mod:`visionlab.metrics.instances`.

Everything stays on the maps' device. Pixels whose target is unknown (NaN) count for nothing,
whatever is predicted there. Counts are exact; sums are taken in float64 where the device has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pytorch_msssim import ssim
from torch.nn import functional

from visionlab.losses.structural import WINDOW, SSIMLoss
from visionlab.metrics.dense import DEPTH_COLUMNS, MASK_COLUMNS
from visionlab.metrics.instances import BINS

BOUNDARY_TOLERANCE = 0.0075
"""How far apart boundaries may lie and still agree, as a share of the image's diagonal (Csurka et al. 2013)."""


@torch.no_grad()
def mask_rows(probability: torch.Tensor, target: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """Return the sums of B images, B x ``MASK_COLUMNS``, float64.

    The boundary of a mask is its foreground pixels beside a background pixel (up, down, left or right; both known): the
    image's edge is none. Two boundaries agree where they are at most 0.75% of the image's diagonal apart, at least 1
    pixel.

    Args:
        probability: of the foreground, B x 1 x H x W.
        target: 1 foreground, 0 background, NaN unknown.
        threshold: probability from which on a pixel is foreground.

    Raises:
        ValueError: the shapes differ or aren't B x 1 x H x W.

    An image with a known pixel whose probability isn't finite has NaN in all its sums.
    """
    probability, target, known, finite = _prepared(probability, target)
    true = target >= 0.5  # not where unknown: comparisons with NaN are false
    pred = (probability >= threshold) & known
    true_edge, pred_edge = _boundary(true, known), _boundary(pred, known)
    radius = max(1.0, BOUNDARY_TOLERANCE * math.hypot(*target.shape[1:]))
    sums = {
        "known": _sum(known),
        "tp": _sum(true & pred),
        "fp": _sum(pred & ~true),
        "fn": _sum(true & ~pred),
        "absolute": _sum((probability - target).abs()),
        "true_edge": _sum(true_edge),
        "true_edge_met": _sum(true_edge & _within(pred_edge, radius)),
        "pred_edge": _sum(pred_edge),
        "pred_edge_met": _sum(pred_edge & _within(true_edge, radius)),
    }
    return _rows(sums, MASK_COLUMNS, finite)


@torch.no_grad()
def depth_rows(
    pred: torch.Tensor, target: torch.Tensor, *, data_range: float, floor: float, low: float = 0.0
) -> torch.Tensor:
    """Return the sums of B images, B x ``DEPTH_COLUMNS``, float64.

    Args:
        pred: B x 1 x H x W, in the depth's unit.
        target: the same, NaN unknown.
        data_range: what 1 on the scale from 0 to 1 that is learnt is wide, in the unit; structural similarity is
            measured on that scale.
        floor: above 0, in the unit: lower predictions are raised to it before they are scaled to the true median, and
            for ratios and logarithms, which have no value for depths of 0 or below.
        low: what is 0 on the scale that is learnt, in the unit.

    Raises:
        ValueError: the shapes differ or aren't B x 1 x H x W.

    Each prediction is aligned by the medians over the pixels with true depth above 0 (of an even count, the lower of
    the two in the middle). An image with a known pixel whose prediction isn't finite has NaN in all its sums.
    """
    pred, target, known, finite = _prepared(pred, target)
    error = (pred - target).abs()
    sums = {
        "known": _sum(known),
        "absolute": _sum(error),
        "squared": _sum(error.square()),
        "ssim": _similarity(pred - low, target - low, known, data_range),
    }
    positive = target > 0
    true, pred = torch.where(positive, target, torch.nan), torch.where(positive, pred.clamp_min(floor), torch.nan)
    ratio = _ratio(pred, true)
    sums |= {"positive": _sum(positive), "relative": _sum(error / true), "log10": _sum(ratio.log10())}
    for power in (1, 2, 3):
        sums[f"delta{power}"] = _sum(ratio < 1.25**power)  # exact in binary
    pred = pred * (_median(true) / _median(pred))
    error = (pred - true).abs()
    sums |= {
        "aligned_absolute": _sum(error),
        "aligned_squared": _sum(error.square()),
        "aligned_relative": _sum(error / true),
        "aligned_delta1": _sum(_ratio(pred, true) < 1.25),
    }
    return _rows(sums, DEPTH_COLUMNS, finite)


@torch.no_grad()
def histogram_rows(probability: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the histograms of B slices, B x 2 ``BINS`` counts, float64 where the device has it.

    Args:
        probability: of the foreground, B x 1 x H x W; below 0 counts as 0, above 1 as 1.
        ids: B x 1 x H x W, above 0 where there is an instance, 0 background, NaN unknown, which counts for nothing.

    Raises:
        ValueError: the shapes differ or aren't B x 1 x H x W.

    A slice with a known pixel whose probability isn't finite has NaN in all its bins.
    """
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


def _prepared(
    pred: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return both as float32, B x H x W; what is known; in which images all predictions for known pixels are finite."""
    if pred.shape != target.shape or target.ndim != 4 or target.shape[1] != 1:
        raise ValueError(
            f"maps: expected two of one shape, B x 1 x H x W, found {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    pred, target = pred[:, 0].float(), target[:, 0].float()
    known = ~target.isnan()
    return pred, target, known, (pred.isfinite() | ~known).flatten(1).all(dim=1)


def _sum(maps: torch.Tensor) -> torch.Tensor:
    """Return B sums over B x H x W numbers, NaN left out, or counts of what is true."""
    dtype = torch.float32 if maps.device.type == "mps" else torch.float64
    flat = maps.flatten(1)
    return flat.sum(dim=1, dtype=dtype) if maps.dtype == torch.bool else flat.nansum(dim=1, dtype=dtype)


def _rows(sums: Mapping[str, torch.Tensor], columns: Sequence[str], finite: torch.Tensor) -> torch.Tensor:
    return torch.where(finite[:, None], torch.stack([sums[column] for column in columns], dim=1), torch.nan)


# Masks --------------------------------------------------------------------------------------------------------------


def _boundary(mask: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the pixels of masks, B x H x W bool, with known background above, below, left or right of them."""
    background = known & ~mask
    beside = torch.zeros_like(mask)
    beside[:, 1:] |= background[:, :-1]
    beside[:, :-1] |= background[:, 1:]
    beside[:, :, 1:] |= background[:, :, :-1]
    beside[:, :, :-1] |= background[:, :, 1:]
    return mask & beside


def _within(mask: torch.Tensor, radius: float) -> torch.Tensor:
    """Return the pixels, B x H x W bool, at most ``radius`` from a pixel of the mask: dilation by a disk."""
    reach, (height, width) = int(radius), mask.shape[1:]
    padded = functional.pad(mask, (reach, reach, reach, reach))
    near = torch.zeros_like(mask)
    for dy in range(reach + 1):
        rows = padded[:, reach + dy : reach + dy + height] | padded[:, reach - dy : reach - dy + height]
        dx = int(math.sqrt(radius**2 - dy**2))
        near |= _any(rows[:, :, reach - dx : reach + dx + width], 2 * dx + 1, dim=2)
    return near


def _any(mask: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    """Return whether any pixel is set in each window of ``length`` along ``dim``, whose size shrinks by length - 1."""
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        size = mask.shape[dim] - step
        mask = mask.narrow(dim, 0, size) | mask.narrow(dim, step, size)
        covered += step
    return mask


# Depth --------------------------------------------------------------------------------------------------------------


def _ratio(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.maximum(a / b, b / a)


def _median(maps: torch.Tensor) -> torch.Tensor:
    """Return the median of each B x H x W map, B x 1 x 1, NaN left out; NaN if there is nothing else."""
    return maps.flatten(1).nanmedian(dim=1).values[:, None, None]


def _similarity(pred: torch.Tensor, target: torch.Tensor, known: torch.Tensor, data_range: float) -> torch.Tensor:
    """Return the structural similarity of each image, B; 0 where nothing is known.

    Of images that are wholly known and at least 11 pixels wide and high it is that of pytorch-msssim, whose window
    knows no gaps and no smaller images; of the others that of the loss of this name, which is equal where both are
    defined.
    """
    pred, target = (torch.where(known, maps, 0.0)[:, None] for maps in (pred, target))
    whole = known.flatten(1).all(dim=1) & (min(known.shape[1:]) >= WINDOW)
    found = pred.new_zeros(len(pred))
    # In half precision the differences of squares that similarity is made of have no digits left.
    with torch.autocast(known.device.type, enabled=False):
        if whole.any():
            found[whole] = ssim(pred[whole], target[whole], data_range=data_range, size_average=False)
        if not whole.all():
            loss, gaps = SSIMLoss(data_range=data_range), ~whole
            found[gaps] = loss.similarity(pred[gaps], target[gaps], known[gaps][:, None])[:, 0]
    return torch.where(known.flatten(1).any(dim=1), found, 0.0)
