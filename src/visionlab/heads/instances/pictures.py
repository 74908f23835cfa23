"""Pictures of slices with objects: outlines of truth and prediction, through a volume, and in two runs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import ndimage

from visionlab.drawing.animation import through_z
from visionlab.drawing.gallery import Item, Panel, gallery
from visionlab.drawing.outlines import (
    FALSE,
    MISSED,
    OVERLAP,
    PREDICTED,
    SECOND,
    TRUE,
    limits,
    outlined,
    overlap,
    painted,
    shade,
)
from visionlab.drawing.style import GREEN
from visionlab.drawing.text import digits
from visionlab.files import write_bytes
from visionlab.heads.figures import Spec, figures_of
from visionlab.heads.pictures import Measured, Parts, Sample, grid, spread

Array = npt.NDArray[Any]

COUNT, SLICES = 3, 8
"""Of time points that were predicted best, and worst; of slices of a volume."""
KEPT, SIDE = 6, 768
"""Slices that are kept for comparisons with other runs, evenly spread over the split, and their largest size."""
_MOST, _BYTES = 32, 256_000_000  # slices and bytes that are read of a file, whoever wrote it
_HALF = 0.5
_CHANGES = {"only second right": GREEN, "only first right": FALSE, "both wrong": MISSED}


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return outlines of truth and prediction, and what was found, falsely found and missed of the foreground.

    Predictions are ids of objects and the foreground (integers, 2 x H x W), or probabilities, of which the connected
    parts from 0.5 on are objects.
    """
    panels = []
    for sample in samples:
        image = next(iter(sample.inputs.values()))
        true = np.where(np.isfinite(sample.true[head]), sample.true[head], -1).astype(np.int64)
        found = sample.pred.get(head)
        if found is None:
            panels.append([Panel(outlined(image, [(true, TRUE)]), "objects")])
            continue
        if found.dtype.kind == "f":
            foreground = found[0] >= _HALF
            found = np.stack([ndimage.label(foreground)[0], foreground])
        title = "\n".join(filter(None, [sample.scores.get(head), "outlines"]))
        both = outlined(image, [(true, TRUE), (found[0], PREDICTED)])
        panels.append([Panel(both, title), Panel(overlap(image, true > 0, found[1] > 0, true >= 0), "difference")])
    predicted = any(sample.pred for sample in samples)
    legend = {"true outline": TRUE} | ({"predicted outline": PREDICTED, **OVERLAP} if predicted else {})
    return Parts(panels, [()] * len(samples), legend)


@dataclass(frozen=True)
class _Predicted:
    """A time point and what was predicted for it: labels and foreground, Z x H x W."""

    frame: Any
    labels: Array
    mask: Array

    @property
    def known(self) -> list[int]:
        """The slices that have labels and are in the split."""
        return [z for z in sorted(self.frame.rows) if (self.frame.truth[z] >= 0).any()]

    @property
    def fullest(self) -> int:
        """The slice with the largest true foreground."""
        return max(self.known, key=lambda z: int((self.frame.truth[z] > 0).sum()))


def pictures(m: Measured) -> dict[str, Callable[[], Figure]]:
    """Return the pictures of a split's time points; those that are shown are predicted once more, from their files.

    ``predictions/<split>_<head>_slices.npz`` is written, which comparisons of runs look at, and ``plots/volume.gif``,
    which of another split than ``test`` replaces none.
    """
    head = next(name for name, spec in m.specs.items() if spec["kind"] == "instances")
    shown = _TimePoints(m, head)
    write_slices(m.folder / "predictions" / f"{m.split}_{head}_slices.npz", shown.kept())
    if not shown.found:
        return {}
    volume, moving = shown.volume, m.folder / "plots" / "volume.gif"
    if volume is None:
        return {"best_worst": shown.best_worst}
    if m.split == "test" or not moving.is_file():
        pixel = None if volume.frame.voxel is None else volume.frame.voxel[2]
        ids = {"true": volume.frame.truth, "predicted": volume.labels}
        colours = {"true": TRUE, "predicted": PREDICTED}
        through_z(volume.frame.image, ids, colours, name=volume.frame.id, pixel=pixel).save(moving)
    return {"best_worst": shown.best_worst, "slices": shown.slices}


class _TimePoints:
    """Time points of a split: best, worst, one of middling quality, and those that are kept."""

    def __init__(self, m: Measured, head: str) -> None:
        self.m, self.name, self.head = m, head, m.heads[head]
        table, named = m.table, m.table["frame"].astype(str)
        self.overlap = dict(zip(table["id"].astype(str), table[f"{head}_iou"].to_numpy(float), strict=True))
        if m.frames is not None and "f1" in m.frames and m.frames["f1"].notna().any():
            values, self.metric = m.frames.set_index("frame")["f1"], "f1"
        else:
            values, self.metric = table[f"{head}_iou"].groupby(named).mean(), "iou"
        self.scores = {str(name): float(value) for name, value in values.items() if np.isfinite(value)}
        order = sorted(self.scores, key=lambda name: -self.scores[name])
        count = min(COUNT, len(order) // 2)
        self.best, self.worst = order[: max(1, count)], order[::-1][:count]
        names = list(dict.fromkeys(named))
        self.chosen = [names[k] for k in spread(len(names), KEPT)]
        self.typical = order[len(order) // 2] if order else ""
        self.found: dict[str, _Predicted] = {}
        wanted = {*self.best, *self.worst, *self.chosen, *filter(None, [self.typical])}
        for frame in m.times(wanted):
            maps = m.maps(frame, head)
            labels = self.head.segment(maps, volume=frame.volume)
            self.found[frame.id] = _Predicted(frame, labels, maps[:, 0] >= self.head.post_processing.threshold)
        self.found = {name: one for name, one in self.found.items() if one.known}

    @property
    def volume(self) -> _Predicted | None:
        """The volume whose slices are shown, the one of middling quality if it has several; None: there is none."""
        volumes = {name: one for name, one in self.found.items() if one.frame.volume and len(one.frame.image) > 1}
        return volumes.get(self.typical) or next(iter(volumes.values()), None)

    def best_worst(self) -> Figure:
        """Return the time points predicted best and worst, each in the slice with most foreground."""
        sections = {"Predicted best": self.best, "Predicted worst": self.worst}
        samples = {
            heading: [self._sample(self.found[name], self.found[name].fullest) for name in names if name in self.found]
            for heading, names in sections.items()
        }
        most = "the slice with most foreground of each time point" if self.head.dimensions == 3 else ""
        return self._grid(samples, f"Best and worst time points of the {self.m.split} split", most)

    def slices(self) -> Figure:
        """Return slices through one volume."""
        one = self.volume
        assert one is not None
        chosen = [one.known[k] for k in spread(len(one.known), SLICES)]
        score = f": {self._score(one.frame.id)}" if one.frame.id in self.scores else ""
        samples = {"": [self._sample(one, z) for z in chosen]}
        words = f"{len(chosen)} of {len(one.frame.image)} slices, each with its own overlap"
        return self._grid(samples, f"Slices of {one.frame.id}{score}", words)

    def kept(self) -> list[Slice]:
        """Return the slices that comparisons of runs look at, the same whatever was predicted."""
        slices = []
        for one in [self.found[name] for name in self.chosen if name in self.found]:
            z, frame = one.fullest, one.frame
            part = _window(frame.truth[z])
            grey = shade(frame.image[z], limits(frame.image))[part]
            slices.append(
                Slice(
                    name=self._id(one, z),
                    image=np.round(255 * grey).astype(np.uint8),
                    true=frame.truth[z][part].astype(np.int32),
                    pred=one.labels[z][part].astype(np.int32),
                    pixel=float("nan") if frame.voxel is None else float(frame.voxel[2]),
                    score=self.overlap.get(self._id(one, z), float("nan")),
                )
            )
        return slices

    def _grid(self, samples: Mapping[str, Sequence[Sample]], title: str, *notes: str) -> Figure:
        grey = "each volume stretched from dark to bright as one" if self.head.dimensions == 3 else ""
        pixels = [one.frame.voxel for one in self.found.values()]
        unknown = "" if any(pixels) else "pixel size unknown"
        caption = " · ".join(filter(None, [f"{self.m.split}: {self.m.data}", *notes, grey, unknown]))
        return grid(samples, {self.name: self.m.specs[self.name]}, title, caption)

    def _id(self, one: _Predicted, z: int) -> str:
        return str(self.m.table["id"].iloc[self._place(one, z)])

    def _place(self, one: _Predicted, z: int) -> int:
        """Return the place of a slice in the table, whose rows stand in the order of the data's."""
        return self.m.place[one.frame.rows[z]]

    def _label(self, metric: str) -> str:
        figures = figures_of("instances")
        assert figures is not None
        return figures.label(metric, self.m.specs[self.name], short=True)

    def _score(self, name: str) -> str:
        label = self._label(self.metric)
        return f"{label if self.metric == 'f1' else f'mean {label}'} {digits(self.scores[name], 2)}"

    def _sample(self, one: _Predicted, z: int) -> Sample:
        frame = one.frame
        score = f"{self._label('iou')} {digits(self.overlap.get(self._id(one, z)), 2)}"
        if self.metric == "f1" and frame.id in self.scores:
            score += f" · {self._score(frame.id)}"
        true = np.where(frame.truth[z] < 0, np.nan, frame.truth[z])
        return Sample(
            name=f"{frame.id} z {z}" if frame.volume else frame.id,
            inputs={"image": shade(frame.image[z], limits(frame.image))},
            true={self.name: true},
            pred={self.name: np.stack([one.labels[z], one.mask[z].astype(one.labels.dtype)])},
            scores={self.name: score},
            pixel=None if frame.voxel is None else float(frame.voxel[2]),
        )


# The same slices in two runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """A slice that is kept with what was predicted for it, so that runs can be compared from their folders.

    Attributes:
        name: its id.
        image: H x W or H x W x 3, bytes.
        true: H x W, ids of objects or foreground 1, 0 none, -1 unknown.
        pred: H x W, ids of the objects predicted.
        pixel: width of a pixel in um; NaN where unknown.
        score: overlap of the slice; NaN where undefined.
    """

    name: str
    image: npt.NDArray[np.uint8]
    true: npt.NDArray[np.int32]
    pred: npt.NDArray[np.int32]
    pixel: float
    score: float


def _window(true: Array) -> tuple[slice, slice]:
    """Return the part of a slice that is kept: all of it, or a window around the true foreground."""
    marked = np.argwhere(true > 0)
    middle = marked.mean(axis=0) if len(marked) else np.array(true.shape) / 2
    starts = [int(np.clip(m - SIDE / 2, 0, max(n - SIDE, 0))) for m, n in zip(middle, true.shape, strict=True)]
    return slice(starts[0], starts[0] + SIDE), slice(starts[1], starts[1] + SIDE)


def write_slices(path: Path, slices: Sequence[Slice]) -> None:
    """Write slices into one compressed file."""
    arrays: dict[str, Array] = {
        "names": np.array([one.name for one in slices], dtype=str),
        "pixels": np.array([one.pixel for one in slices], dtype=float),
        "scores": np.array([one.score for one in slices], dtype=float),
    }
    for i, one in enumerate(slices):
        arrays |= {f"image_{i}": one.image, f"true_{i}": one.true, f"pred_{i}": one.pred}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


def read_slices(path: Path) -> dict[str, Slice]:
    """Return {name: slice} of a file.

    Raises:
        ValueError: it isn't such a file, or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _BYTES:
                raise ValueError(f"{path.name}: expected up to {_BYTES:,} bytes, found more")
        with np.load(path, allow_pickle=False) as held:
            names = [str(name) for name in held["names"][:_MOST]]
            found = {
                name: Slice(
                    name,
                    held[f"image_{i}"],
                    held[f"true_{i}"],
                    held[f"pred_{i}"],
                    float(held["pixels"][i]),
                    float(held["scores"][i]),
                )
                for i, name in enumerate(names)
            }
    except (OSError, zipfile.BadZipFile, KeyError, IndexError, EOFError) as error:
        raise ValueError(f"{path.name}: it cannot be read: {error}") from None
    for one in found.values():
        same = one.true.ndim == 2 and one.pred.shape == one.true.shape == one.image.shape[:2]
        whole = one.image.dtype == np.uint8 and one.true.dtype == one.pred.dtype == np.int32
        if not (same and whole and one.image.ndim in (2, 3) and one.true.size):
            raise ValueError(f"{path.name}: expected image, truth and prediction of one size, found others")
    return found


def beside(old: Path, new: Path, head: str, names: Sequence[str], caption: str) -> Figure | None:
    """Return the slices that two runs kept and that are alike in image and truth, under the outlines of both.

    Raises:
        ValueError: a file is damaged.
    """
    paths = [run / "predictions" / f"test_{head}_slices.npz" for run in (old, new)]
    if not all(path.is_file() for path in paths):
        return None
    first, second = map(read_slices, paths)
    items = []
    for name, one in first.items():
        other = second.get(name)
        if other is None or not (np.array_equal(one.image, other.image) and np.array_equal(one.true, other.true)):
            continue
        image = one.image.astype(np.float32) / np.float32(255)
        gain = other.score - one.score
        panels = [Panel(image, "input", pixel=one.pixel if one.pixel > 0 else None)]
        for part, colour, title in (
            (one, PREDICTED, f"first: IoU {digits(one.score, 2)}"),
            (other, SECOND, f"second: IoU {digits(other.score, 2)} ({'+' if gain >= 0 else ''}{digits(gain, 2)})"),
        ):
            panels.append(Panel(outlined(image, [(one.true, TRUE), (part.pred, colour)]), title))
        right = [(part.pred > 0) == (one.true > 0) for part in (one, other)]
        masks = (~right[0] & right[1], right[0] & ~right[1], ~right[0] & ~right[1])
        changes = [(mask, colour, 0.9) for mask, colour in zip(masks, _CHANGES.values(), strict=True)]
        panels.append(Panel(painted(image, changes, one.true >= 0), "difference"))
        items.append(Item(name, panels))
    if not items:
        return None
    legend = {"true": TRUE, "first": PREDICTED, "second": SECOND, **_CHANGES}
    words = f"first: {names[0]} · second: {names[1]}"
    return gallery({"": items}, "The same slices in both runs", f"{words} · {caption}", legend=legend, cell=2.3)
