"""Pictures of slices with objects: outlines of truth and prediction of the best and worst, and through a volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy import ndimage

from visionlab.drawing.animation import Animation
from visionlab.drawing.gallery import Panel
from visionlab.drawing.outlines import OVERLAP, PREDICTED, TRUE, limits, outlined, overlap, shade
from visionlab.drawing.text import digits
from visionlab.heads.figures import Spec, figures_of
from visionlab.heads.pictures import Measured, Parts, Sample, grid, spread

Array = npt.NDArray[Any]

COUNT, SLICES = 3, 8
"""Of time points that were predicted best, and worst; of slices that are the same in every run."""
HALF = 0.5
"""The threshold of probabilities while training, when none is fitted yet."""


def show(head: str, spec: Spec, samples: Sequence[Sample]) -> Parts:
    """Return outlines of truth and prediction, and what was found, falsely found and missed of the foreground.

    Predictions are ids of objects and the foreground (integers, 2 x H x W), or probabilities, of which the connected
    parts from 0.5 on are objects.
    """
    panels, predicted = [], False
    for sample in samples:
        true = np.where(np.isfinite(sample.true[head]), sample.true[head], -1).astype(np.int64)
        if head not in sample.pred:
            panels.append([Panel(outlined(sample.image, [(true, TRUE)]), "objects")])
            continue
        predicted, (ids, foreground) = True, _objects(sample.pred[head])
        title = "\n".join(filter(None, [sample.scores.get(head), "outlines"]))
        both = outlined(sample.image, [(true, TRUE), (ids, PREDICTED)])
        difference = overlap(sample.image, true > 0, foreground > 0, true >= 0)
        panels.append([Panel(both, title), Panel(difference, "difference")])
    legend = {"true outline": TRUE} | ({"predicted outline": PREDICTED, **OVERLAP} if predicted else {})
    return Parts(panels, [()] * len(samples), legend)


def _objects(found: Array) -> Array:
    if found.dtype.kind != "f":
        return found
    return np.stack([ndimage.label(found[0] >= HALF)[0], found[0] >= HALF])


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

    ``plots/volume.gif`` is written, which of another split than ``test`` replaces none.
    """
    head = next(name for name, spec in m.specs.items() if spec["kind"] == "instances")
    shown = _TimePoints(m, head)
    found = {"best_worst": shown.best_worst} if len(shown.ranked) else {}
    with_objects = m.table[m.table[f"{head}_area_true"] > 0]
    # An image, or a slice by itself, is its own time point.
    volumes = with_objects["frame"][with_objects["frame"] != with_objects["id"]].unique()
    if not len(volumes):
        images = with_objects["frame"].iloc[spread(len(with_objects), SLICES)].tolist()
        alike = {"slices": lambda: shown.draw({"": [(one, one.fullest) for one in shown.predicted(images)]})}
        return found | (alike if images else {})
    (volume,), moving = shown.predicted([volumes[len(volumes) // 2]]), m.folder / "plots" / "volume.gif"
    if m.split == "test" or not moving.is_file():
        animation = Animation({"true": TRUE, "predicted": PREDICTED}, pixel=_pixel(volume.frame))
        for z, image in enumerate(volume.frame.image):
            ids = {"true": volume.frame.truth[z], "predicted": volume.labels[z]}
            animation.add(image, ids, f"{volume.frame.id} z {z}")
        animation.save(moving)
    slices = [volume.known[k] for k in spread(len(volume.known), SLICES)]
    return found | {"slices": lambda: shown.draw({"": [(volume, z) for z in slices]}, f"Slices of {volume.frame.id}")}


class _TimePoints:
    """Time points of a split, ranked by object F1, or by the overlap of pixels where objects aren't known."""

    def __init__(self, m: Measured, head: str) -> None:
        self.m, self.head = m, head
        table = m.table
        self.overlap = dict(zip(table["id"].astype(str), table[f"{head}_iou"].to_numpy(float), strict=True))
        if m.frames is not None and "f1" in m.frames and m.frames["f1"].notna().any():
            values, self.metric = m.frames.set_index("frame")["f1"], "f1"
        else:
            values, self.metric = table[f"{head}_iou"].groupby(table["frame"].astype(str)).mean(), "iou"
        self.ranked = values.dropna().sort_values(ascending=False, kind="stable")

    def predicted(self, names: Sequence[str]) -> list[_Predicted]:
        """Return time points with labels and what is predicted for them, in this order."""
        found, head = {}, self.m.heads[self.head]
        for frame in self.m.times(set(names)):
            maps = self.m.maps(frame, self.head)
            labels = head.segment(maps, volume=frame.volume)
            found[frame.id] = _Predicted(frame, labels, maps[:, 0] >= head.post_processing.threshold)
        return [found[name] for name in names if name in found and found[name].known]

    def best_worst(self) -> Figure:
        """Return the time points predicted best and worst, each in the slice with most foreground."""
        names = [str(name) for name in self.ranked.index]
        count = min(COUNT, len(names) // 2)
        sections = {"Predicted best": names[: max(1, count)], "Predicted worst": names[::-1][:count]}
        shown = {words: [(one, one.fullest) for one in self.predicted(part)] for words, part in sections.items()}
        title = f"Best and worst time points of the {self.m.split} split"
        return self.draw({words: part for words, part in shown.items() if part}, title)

    def draw(
        self, sections: Mapping[str, Sequence[tuple[_Predicted, int]]], title: str = "The same slices in every run"
    ) -> Figure:
        """Return slices of time points."""
        samples = {words: [self._sample(*slice_) for slice_ in part] for words, part in sections.items()}
        note = "each volume stretched from dark to bright as one"
        return grid(samples, {self.head: self.m.specs[self.head]}, title, self.m.caption, note)

    def _sample(self, one: _Predicted, z: int) -> Sample:
        frame, figures, spec = one.frame, figures_of("instances"), self.m.specs[self.head]
        # The rows of the table stand in the order of the data's.
        overlap = self.overlap[str(self.m.table["id"].iloc[self.m.place[frame.rows[z]]])]
        score = f"{figures.label('iou', spec, short=True)} {digits(overlap, 2)}"
        if self.metric == "f1" and frame.id in self.ranked:
            score += f" · {figures.label('f1', spec, short=True)} {digits(self.ranked[frame.id], 2)}"
        return Sample(
            name=f"{frame.id} z {z}" if frame.volume else frame.id,
            inputs={"image": shade(frame.image[z], limits(frame.image))},
            true={self.head: np.where(frame.truth[z] < 0, np.nan, frame.truth[z])},
            pred={self.head: np.stack([one.labels[z], one.mask[z].astype(one.labels.dtype)])},
            scores={self.head: score},
            pixel=_pixel(frame),
        )


def _pixel(frame: Any) -> float | None:
    return None if frame.voxel is None else float(frame.voxel[2])
