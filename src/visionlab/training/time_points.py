"""Heads that are judged on whole time points: objects found, compared with the labels on disk, and with a baseline."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from visionlab.console import LOG, progress
from visionlab.data.frames import Frame
from visionlab.data.module import ImageDataModule
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.parameters import Parameters
from visionlab.heads.instances.segment import otsu_maps, segment
from visionlab.heads.map_sums import histogram_rows
from visionlab.inference.predictor import Predictor
from visionlab.inference.stacks import predict_frame
from visionlab.metrics.instances import METRICS, best_threshold
from visionlab.metrics.matching import INSTANCE_COLUMNS, frame_sums

Array = np.ndarray[Any, Any]

# What the baseline makes objects with: less than these pixels of a slice are taken as noise.
_PLAIN = Parameters(min_area=10)
MOST_FITTED = 12
"""Time points of the validation split, evenly spread, that the finding of objects is fitted on."""


class FrameRows(NamedTuple):
    """What comes of a split: N x ``INSTANCE_COLUMNS`` of the model and of the baseline, and a table of time points."""

    model: Array
    baseline: Array
    frames: pd.DataFrame


def measure_frames(predictor: Predictor, data: ImageDataModule, split: str, head: InstanceHead) -> FrameRows:
    """Predict the time points of a split from their files, find objects and compare both with the labels.

    Pixels are compared in the slices that are in the split; objects in the whole time point, and stand in the first of
    its rows. The baseline is Otsu's threshold of the smoothed time point, with objects told apart by their shape.

    Args:
        predictor: with what it finds objects with fitted already.
        data: set up.
        split: its name.
        head: of the predictor.
    """
    place = {int(row): number for number, row in enumerate(data.rows[split])}
    model = np.zeros((len(place), len(INSTANCE_COLUMNS)))
    baseline = np.zeros_like(model)
    table = []
    count = data.table["frame"].iloc[data.rows[split]].nunique()
    for frame in progress(data.frames(split), count, f"finding objects in {split}"):
        maps = predict_frame(predictor, frame.image)[head.name]
        labels = head.segment(maps, volume=frame.volume)
        scores = _into(model, place, frame, maps[:, 0] >= head.found.threshold, labels)
        simple = otsu_maps(frame.image)
        found = segment(simple, _PLAIN, separate="none", cells=head.cells, volume=frame.volume)
        _into(baseline, place, frame, simple[:, 0] >= _PLAIN.threshold, found)
        about = {"frame": frame.id, "group": frame.group, "sequence": frame.sequence, "time": frame.time}
        table.append({**about, "objects_pred": len(np.unique(labels[labels > 0])), **scores})
    return FrameRows(model, baseline, pd.DataFrame(table))


def _into(rows: Array, place: dict[int, int], frame: Frame, mask: Array, labels: Array) -> dict[str, float]:
    """Write the sums of a time point into the rows of its slices; return what its table says of its objects."""
    pixels, _ = frame_sums(frame.truth, mask.astype(np.int32), objects=False)
    for z, row in frame.rows.items():
        rows[place[row], : pixels.shape[1]] = pixels[z]
    if not frame.instances:
        return {}
    _, objects = frame_sums(frame.truth, labels, objects=True)
    first = place[min(frame.rows.values())]
    for column, value in objects.items():
        rows[first, INSTANCE_COLUMNS.index(column)] = value
    own = np.zeros((1, len(INSTANCE_COLUMNS)))
    own[0, -len(objects) :] = list(objects.values())
    named = {"objects_true": "objects_true", "objects_hit": "hits", "seg_n": "seg_n"}
    about = {name: objects[column] for column, name in named.items()}
    return {**about, **{name: METRICS[name](own) for name in ("f1", "seg", "det")}}


def fit_on_frames(predictor: Predictor, data: ImageDataModule, split: str, head: InstanceHead) -> int:
    """Choose the threshold and what else objects are found with on a split, and keep it in the head.

    The threshold is that of the largest IoU of pixels; the rest maximises the mean of the F1 of objects and SEG.

    Args:
        predictor: whose maps are looked at.
        data: set up.
        split: the validation split.
        head: of the predictor; changed.

    Returns:
        How many time points were looked at.
    """
    names = data.table["frame"].iloc[data.rows[split]].drop_duplicates().tolist()
    chosen = {names[k] for k in np.unique(np.linspace(0, len(names) - 1, min(MOST_FITTED, len(names))).astype(int))}
    histograms: list[Array] = []
    kept: list[FitFrame] = []
    # Maps of many time points may be more than memory holds: they are read back where they are needed.
    with tempfile.TemporaryDirectory() as folder:
        for frame in progress(data.frames(split, chosen), len(chosen), f"looking at {split}"):
            maps = predict_frame(predictor, frame.image)[head.name]
            histograms.append(_histogram(maps[:, 0], frame.truth))
            stored = np.lib.format.open_memmap(
                Path(folder) / f"{len(kept)}.npy", mode="w+", dtype=np.float32, shape=maps.shape
            )
            stored[:] = maps
            if frame.instances and head.cells == "filled":
                kept.append(FitFrame(stored, frame.truth, frame.volume))
        threshold = best_threshold(np.stack(histograms))
        if kept:
            found = fit(kept, separate=head.separate, cells=head.cells, threshold=threshold)
        else:
            found = Parameters(threshold=threshold)
        kept.clear()
    head.set_parameters(found, fitted=True)
    LOG.info(
        "%s: fitted on %d validation time points: %s",
        *(head.name, len(histograms), ", ".join(f"{name} {value:g}" for name, value in found.describe().items())),
    )
    return len(histograms)


def _histogram(probability: Array, truth: Array) -> Array:
    """Return how often each probability was given to foreground and to background, 2 * ``BINS``."""
    ids = np.where(truth < 0, np.float32(np.nan), truth.astype(np.float32))
    rows = histogram_rows(torch.from_numpy(probability[:, None]), torch.from_numpy(ids[:, None]))
    return np.asarray(rows.sum(dim=0).numpy())
