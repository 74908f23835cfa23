"""The post-processing's parameters, fitted on frames that the network wasn't trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.console import LOG, progress
from visionlab.heads.instances import Separate
from visionlab.heads.instances.objects import link_planes
from visionlab.heads.instances.segment import Parameters, drop_small, segment_plane
from visionlab.metrics.matching import frame_sums

GAIN = 0.001
"""What another setting must gain to be taken: less is chance, and the default is as good."""

_PROMINENCES = (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_AREAS = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the median area of a true object in a slice
_LINKS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_PLANES = (1, 2, 3, 4)

_COLUMNS = ("objects_true", "objects_pred", "objects_hit", "seg_sum", "seg_n")

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitFrame:
    """One frame to fit on.

    Attributes:
        maps: Z x K x H x W, perhaps mapped from a file.
        truth: Z x H x W ids of objects, 0 background, -1 unknown.
        volume: whether planes are slices of a volume.
    """

    maps: npt.NDArray[Any]
    truth: npt.NDArray[np.integer[Any]]
    volume: bool


def fit(frames: Sequence[FitFrame], *, separate: Separate, threshold: float) -> Parameters:
    """Return the parameters with the highest mean of object F1 (IoU of at least 0.5) and SEG over all frames.

    One parameter after the other is tried at up to eight values, the best one kept; the prominence once more, at half
    the step. At most 16 segmentations of each frame, one frame in memory at a time. Equals go to the default, so the
    result is never worse than that on these frames, and the same whenever it is called.

    Without true objects, or where nothing is found at any setting, the default is kept, which a warning says.

    Args:
        frames: gone through several times, in order.
        separate: as of :func:`visionlab.heads.instances.segment.segment`; objects are the foreground.
        threshold: the probability of the foreground, which is settled already.
    """
    found = Parameters(threshold=threshold)
    area = _median_area(frames)
    if area is None:
        LOG.warning("Post-processing: no objects in the truth of %d frames to fit on; defaults kept", len(frames))
        return found
    grids: dict[str, Sequence[float]] = {
        "prominence": _PROMINENCES,
        "min_area": [float(round(share * area)) for share in _AREAS],
    }
    if any(frame.volume for frame in frames):
        grids |= {"link": _LINKS, "min_planes": _PLANES}
    steps = [*grids, "prominence"]
    repeated = chain.from_iterable(frames for _ in steps)
    frame_by_frame = progress(repeated, len(steps) * len(frames), "fitting the post-processing")
    reached = 0.0
    for number, name in enumerate(steps):
        grid = grids[name] if number < len(grids) else _between(grids[name], getattr(found, name))
        settings = _around(found, name, grid)
        total = sum(_measured(frame, settings, separate) for frame in islice(frame_by_frame, len(frames)))
        found, reached = _best(settings, _scores(np.asarray(total)))
    if reached == 0:
        LOG.warning("Post-processing: no true object of %d frames is found at any setting; defaults kept", len(frames))
    return found


def _median_area(frames: Sequence[FitFrame]) -> float | None:
    # Counted by id, not up to the largest: ids may be as large as int32 holds.
    areas = [np.unique(plane[plane > 0], return_counts=True)[1] for frame in frames for plane in frame.truth]
    every = np.concatenate(areas) if areas else np.zeros(0)
    return float(np.median(every)) if every.size else None


def _between(grid: Sequence[float], now: float) -> list[float]:
    """Return the values halfway from the present one to its neighbours on the grid."""
    near = [max((v for v in grid if v < now), default=now), min((v for v in grid if v > now), default=now)]
    return [round((now + v) / 2, 4) for v in near]


def _around(found: Parameters, name: str, grid: Sequence[float]) -> list[Parameters]:
    """Return what to try, the present value first and then by how near it is."""
    now = getattr(found, name)
    others = sorted(set(grid) - {now}, key=lambda value: (abs(value - now), value))
    changes: list[dict[str, Any]] = [{name: value} for value in others]
    return [found, *(replace(found, **change) for change in changes)]


def _measured(frame: FitFrame, settings: Sequence[Parameters], separate: Separate) -> Sums:
    """Return the frame's sums at each setting, segmented only where settings differ in what that depends on."""
    rows, last, planes = [], None, []
    for parameters in settings:
        if parameters.prominence != last:
            last, all_sizes = parameters.prominence, replace(parameters, min_area=0)
            planes = [segment_plane(plane, all_sizes, separate=separate, cells="filled") for plane in frame.maps]
        # Small objects are dropped at last, so that it can be done here.
        labels = np.stack([drop_small(plane, parameters.min_area) for plane in planes])
        if frame.volume:
            labels = link_planes(labels, link=parameters.link, min_planes=parameters.min_planes)
        sums = frame_sums(frame.truth, labels, objects=True)[1]
        rows.append([sums[name] for name in _COLUMNS])
    return np.array(rows)


def _scores(sums: Sums) -> Sums:
    """Return the mean of F1 and SEG of each row; 0 where nothing is known."""
    true, predicted, hits, seg_sum, seg_n = sums.T
    return (2 * hits / np.maximum(true + predicted, 1) + seg_sum / np.maximum(seg_n, 1)) / 2


def _best(settings: Sequence[Parameters], scores: Sums) -> tuple[Parameters, float]:
    best = 0
    for k, score in enumerate(scores):
        if score > scores[best] + GAIN:
            best = k
    return settings[best], float(scores[best])
