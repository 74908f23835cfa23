"""Metrics of predicted masks and depth maps, functions of ``rows``: the sums of each image, N x K.

The heads of masks and depth make the rows; here is what is made of them. Pixels whose target is unknown count for
nothing. Unless a metric says otherwise it is a metric of the whole set: sums over all images first, then one
ratio, so every known pixel weighs the same and an image with little foreground cannot dominate. The one row of a single
image gives that image's own value.

**Scale-aligned depth.** A single image does not show how large a scene is, so depth is also judged after the prediction
of each image was multiplied by median(true) / median(predicted), as Zhou et al. 2017, "Unsupervised Learning of Depth
and Ego-Motion from Video" (CVPR) do. The alternative, a scale and a shift by least squares (Ranftl et al. 2020,
"Towards Robust Monocular Depth Estimation", TPAMI), is meant for inverse depth known up to both. Here depth is in a
unit and has a true zero: a shift would forgive errors that are errors (an offset, a lack of contrast), could make
depth negative, and least squares lets the farthest pixels choose the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from visionlab.metrics.metric import Array, Metric, Sums, by_name, of_sums, root_mean

MASK_COLUMNS = (
    "known",  # pixels whose target is known
    "tp",  # of them, foreground in both
    "fp",  # predicted foreground only
    "fn",  # true foreground only
    "absolute",  # sum of |probability - target|
    "true_edge",  # pixels of the true boundary
    "true_edge_met",  # of them, those with predicted boundary within the tolerance
    "pred_edge",
    "pred_edge_met",
)
"""The sums of an image that the metrics of masks are made of."""

DEPTH_COLUMNS = (
    "known",  # pixels whose target is known
    "absolute",  # sum of |predicted - true|
    "squared",
    "ssim",  # structural similarity of the image
    "positive",  # pixels with true depth above 0; the rest is of these
    "relative",  # sum of |predicted - true| / true
    "log10",  # sum of |log10(predicted) - log10(true)|
    "delta1",  # pixels whose larger ratio of the two is below 1.25
    "delta2",
    "delta3",
    "aligned_absolute",  # the same after scaling to the true median
    "aligned_squared",
    "aligned_relative",
    "aligned_delta1",
)
"""The sums of an image that the metrics of depth are made of."""

_mask = partial(of_sums, MASK_COLUMNS)
_depth = partial(of_sums, DEPTH_COLUMNS)


def _ratio(total: str, count: str) -> Callable[[Sums], tuple[Array, Array]]:
    return lambda sums: (sums[total], sums[count])


def _boundary_f1(sums: Sums) -> tuple[Array, Array]:
    true, pred = sums["true_edge"], sums["pred_edge"]
    precision = sums["pred_edge_met"] / np.maximum(pred, 1)
    recall = sums["true_edge_met"] / np.maximum(true, 1)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.where(np.isnan(both), np.nan, 0.0), where=both > 0)
    return f1, (true + pred > 0).astype(np.float64)


MASK: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _mask("iou", "max", lambda s: (s["tp"], s["tp"] + s["fp"] + s["fn"])),
        _mask("dice", "max", lambda s: (2 * s["tp"], 2 * s["tp"] + s["fp"] + s["fn"])),
        _mask("mae", "min", _ratio("absolute", "known")),
        _mask("boundary_f1", "max", _boundary_f1),
    )
}
"""Metrics of masks.

- ``iou``, ``dice``: overlap of the foregrounds, over their union and over the mean of their areas. An image without any
  foreground, true or predicted, has nothing to overlap: its own value is undefined (``nan``), neither 0 nor 1, and it
  changes nothing in the whole set's. If foreground was predicted there, it counts as false in the whole set's.
- ``mae``: mean of ``|probability - mask|``, 0 to 1.
- ``boundary_f1``: harmonic mean of boundary precision (share of the predicted boundary near the true one) and recall
  (the other way round), of Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?" (BMVC):
  of each image, then the mean over the images that have a boundary, true or predicted; 0 where only one has.
"""

DEPTH: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _depth("mae", "min", _ratio("absolute", "known"), in_unit=True),
        _depth("rmse", "min", _ratio("squared", "known"), finish=root_mean, in_unit=True),
        _depth("abs_rel", "min", _ratio("relative", "positive")),
        _depth("log10", "min", _ratio("log10", "positive")),
        _depth("delta1", "max", _ratio("delta1", "positive")),
        _depth("delta2", "max", _ratio("delta2", "positive")),
        _depth("delta3", "max", _ratio("delta3", "positive")),
        _depth("ssim", "max", lambda s: (s["ssim"], (s["known"] > 0).astype(np.float64))),
        _depth("aligned_mae", "min", _ratio("aligned_absolute", "positive"), in_unit=True),
        _depth("aligned_rmse", "min", _ratio("aligned_squared", "positive"), finish=root_mean, in_unit=True),
        _depth("aligned_abs_rel", "min", _ratio("aligned_relative", "positive")),
        _depth("aligned_delta1", "max", _ratio("aligned_delta1", "positive")),
    )
}
"""Metrics of depth.

- ``mae``, ``rmse``: over known pixels, in the depth's unit.
- ``abs_rel``: mean of ``|predicted - true| / true``; ``log10``: mean of ``|log10 predicted - log10 true|``;
  ``delta1`` to ``delta3``: share of the pixels with ``max(predicted / true, true / predicted) < 1.25 ** k`` (Eigen et
  al. 2014, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NeurIPS). Over pixels with true
  depth above 0.
- ``ssim``: structural similarity (Wang et al. 2004, "Image Quality Assessment", IEEE TIP) on the scale that is learnt:
  of each image, windows counting by how much of them is known, then the mean over images; at most 1.
- ``aligned_``: the same after scaling each image's prediction to the true median, see above.
"""


def shares(rows: Array) -> tuple[Array, Array]:
    """Return the true and the predicted share of foreground, 0 to 1, in the known pixels of each of N images.

    Args:
        rows: N x ``MASK_COLUMNS``. Images without a known pixel have ``nan``.
    """
    sums = by_name(rows, MASK_COLUMNS)
    with np.errstate(invalid="ignore"):
        return (sums["tp"] + sums["fn"]) / sums["known"], (sums["tp"] + sums["fp"]) / sums["known"]
