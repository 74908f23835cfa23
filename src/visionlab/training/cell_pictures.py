"""Which time points with instances are looked at, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.data.frames import Frame
from visionlab.data.module import ImageDataModule
from visionlab.drawing.animation import through_z
from visionlab.drawing.outlines import PREDICTED, TRUE, limits, shade
from visionlab.drawing.text import digits, metric_label
from visionlab.heads.instances.head import InstanceHead
from visionlab.inference import Predictor
from visionlab.inference.stacks import predict_frame
from visionlab.reports.cell_figures import sizes
from visionlab.reports.cell_panes import CellView
from visionlab.reports.cells import cell_collage, cell_slices
from visionlab.reports.kept import Kept, window, write_kept

Array = np.ndarray[Any, Any]
COUNT = 3
"""Of time points that were predicted best, and worst."""
KEPT = 6
"""Of slices that are kept for comparisons with other runs, evenly spread over the split."""
SLICES = 8
"""Of a volume."""


@dataclass(frozen=True)
class _Found:
    """A time point and what was predicted for it: labels and foreground, Z x H x W."""

    frame: Frame
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


class CellPictures:
    """Pictures of a split's time points; those that are shown are predicted once more, from their files.

    Args:
        predictor: with what it finds objects with fitted already.
        data: set up.
        table: ``predictions/<split>.csv``.
        frames: ``predictions/<split>_frames.csv``; None where there is none.
        split: its name.
        head: of the predictor.
    """

    def __init__(
        self,
        predictor: Predictor,
        data: ImageDataModule,
        table: pd.DataFrame,
        frames: pd.DataFrame | None,
        split: str,
        head: InstanceHead,
    ) -> None:
        self.predictor, self.data, self.split, self.head = predictor, data, split, head
        self.spec = head.describe()
        self.overlap = dict(zip(table["id"].astype(str), table[f"{head.name}_iou"].to_numpy(float), strict=True))
        named = table["frame"].astype(str)
        self.scores, self.metric = _frame_scores(table, named, frames, head.name)
        order = sorted(self.scores, key=lambda name: -self.scores[name])
        count = min(COUNT, len(order) // 2)
        self.best, self.worst = order[: max(1, count)], order[::-1][:count]
        names = list(dict.fromkeys(named))
        self.kept = [names[k] for k in spread(len(names), KEPT)]
        # One that is typical.
        self.typical = order[len(order) // 2] if order else ""
        self.found = self._predicted({*self.best, *self.worst, *self.kept, self.typical})

    def _predicted(self, wanted: set[str]) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        for frame in self.data.frames(self.split):
            if frame.id in wanted:
                maps = predict_frame(self.predictor, frame.image)[self.head.name]
                labels = self.head.segment(maps, volume=frame.volume)
                found[frame.id] = _Found(frame, labels, maps[:, 0] >= self.head.found.threshold)
                if len(found) == len(wanted):
                    break
        return {name: one for name, one in found.items() if one.known}

    @property
    def instances(self) -> bool:
        """Whether the truth tells objects apart, and the prediction the same ones."""
        return all(one.frame.instances for one in self.found.values()) and self.head.cells == "filled"

    def draws(self) -> dict[str, Callable[[], Any]]:
        """Return the pictures that there is something for, by name, each drawn when called."""
        if not self.found:
            return {}
        drawn: dict[str, Callable[[], Any]] = {"best_worst": self.best_worst}
        if self.volume is not None:
            drawn["slices"] = self.slices
        if self.instances:
            drawn["sizes"] = self.sizes
        return drawn

    def best_worst(self) -> Any:
        """Return the time points predicted best and worst, each in the slice with most foreground."""
        sections = []
        for title, names in (("Predicted best", self.best), ("Predicted worst", self.worst)):
            chosen = [self.found[name] for name in names if name in self.found]
            sections.append((title, [self._view(one, one.fullest, whole=True) for one in chosen]))
        words = "the slice with most foreground of each time point" if self.head.dimensions == 3 else ""
        whole = (
            f"{metric_label('f1', short=True, spec=self.spec)} of the whole time point" if self.metric == "f1" else ""
        )
        return cell_collage(sections, self._caption(words, whole), instances=self.instances)

    @property
    def volume(self) -> _Found | None:
        """The volume whose slices are shown, the one of middling quality if it has several; None: there is none."""
        volumes = [one for one in self.found.values() if one.frame.volume and len(one.frame.image) > 1]
        return self.found[self.typical] if self.found.get(self.typical) in volumes else next(iter(volumes), None)

    def slices(self) -> Any:
        """Return slices through one volume."""
        one = self.volume
        assert one is not None
        chosen = [one.known[k] for k in spread(len(one.known), SLICES)]
        views = [self._view(one, z) for z in chosen]
        title = f"Slices of {one.frame.id}{self._words(one.frame.id)}"
        caption = self._caption(f"{len(chosen)} of {len(one.frame.image)} slices")
        return cell_slices(views, title, caption, instances=self.instances)

    def sizes(self) -> Any:
        """Return the distributions of the objects' sizes: of whole ones, or of their cuts where no more is known."""
        whole = all((one.frame.truth >= 0).all() for one in self.found.values())
        volume = whole and self.head.dimensions == 3
        voxels = [one.frame.voxel for one in self.found.values()]
        true, pred = [], []
        for one in self.found.values():
            voxel = one.frame.voxel if all(voxels) and one.frame.voxel is not None else (1.0, 1.0, 1.0)
            unit = float(np.prod(voxel if volume else voxel[1:]))
            stacks = [slice(None)] if volume else [slice(z, z + 1) for z in one.known]
            for z in stacks:
                known = one.frame.truth[z] >= 0
                true.append(unit * _areas(np.where(known, one.frame.truth[z], 0)))
                pred.append(unit * _areas(np.where(known, one.labels[z], 0)))
        words = ("µm³" if volume else "µm²") if all(voxels) else ("voxels" if volume else "px")
        cuts = "" if volume or self.head.dimensions == 2 else "cuts through objects in single slices"
        caption = f"{len(self.found)} time points, those best, worst and evenly spread"
        line = " · ".join(filter(None, [f"{self.split}: {self.data.name}", caption, cuts]))
        return sizes(np.concatenate(true), np.concatenate(pred), words, line)

    def write_animation(self, path: Path) -> None:
        """Write a volume's slices as an animated GIF, if there is a volume."""
        one = self.volume
        if one is None:
            return
        ids = {"true": one.frame.truth, "predicted": one.labels}
        colours = {"true": TRUE, "predicted": PREDICTED}
        if not self.instances:
            del ids["true"], colours["true"]
        pixel = None if one.frame.voxel is None else one.frame.voxel[2]
        through_z(one.frame.image, ids, colours, name=one.frame.id, pixel=pixel).save(path)

    def write_kept(self, path: Path) -> None:
        """Write the slices that comparisons of runs look at."""
        kept = []
        for name in self.kept:
            if name not in self.found:
                continue
            one = self.found[name]
            z, frame = one.fullest, one.frame
            part = window(frame.truth[z])
            pred = one.labels[z] if self.instances else one.mask[z]
            grey = shade(frame.image[z], limits(frame.image))[part]
            kept.append(
                Kept(
                    name=self._id(one, z),
                    image=np.round(255 * grey).astype(np.uint8),
                    true=frame.truth[z][part].astype(np.int32),
                    pred=pred[part].astype(np.int32),
                    pixel=float("nan") if frame.voxel is None else float(frame.voxel[2]),
                    score=self._overlap(one, z),
                )
            )
        write_kept(path, kept)

    def _id(self, one: _Found, z: int) -> str:
        return str(self.data.table["id"].iloc[one.frame.rows[z]])

    def _overlap(self, one: _Found, z: int) -> float:
        return float(self.overlap.get(self._id(one, z), float("nan")))

    def _view(self, one: _Found, z: int, *, whole: bool = False) -> CellView:
        """Return a slice; ``whole``: with its time point's name and score."""
        frame = one.frame
        name = f"z {z}" if frame.volume else ""
        score = f"{metric_label('iou', short=True, spec=self.spec)} {digits(self._overlap(one, z), 2)}"
        return CellView(
            name=" ".join(filter(None, [frame.id, name])) if whole else name,
            image=shade(frame.image[z], limits(frame.image)),
            true=frame.truth[z],
            pred=one.labels[z],
            mask=one.mask[z],
            pixel=None if frame.voxel is None else float(frame.voxel[2]),
            score=f"{score}{self._words(frame.id) if whole and self.metric == 'f1' else ''}",
        )

    def _words(self, name: str) -> str:
        """Return the score of a time point."""
        label = metric_label(self.metric, short=True, spec=self.spec)
        words = label if self.metric == "f1" else f"mean {label}"
        return f" · {words} {digits(self.scores[name], 2)}" if name in self.scores else ""

    def _caption(self, *words: str) -> str:
        grey = "each volume stretched from dark to bright as one" if self.head.dimensions == 3 else ""
        return " · ".join(filter(None, [f"{self.split}: {self.data.name}", *words, grey]))


def _frame_scores(
    table: pd.DataFrame, named: pd.Series, frames: pd.DataFrame | None, head: str
) -> tuple[dict[str, float], str]:
    """Return the score of each time point that has one, and which: the F1 of its objects, or its slices' mean IoU."""
    if frames is not None and "f1" in frames and frames["f1"].notna().any():
        found, metric = dict(zip(frames["frame"].astype(str), frames["f1"].to_numpy(float), strict=True)), "f1"
    else:
        means = table[f"{head}_iou"].groupby(named).mean()
        found, metric = {str(name): float(value) for name, value in means.items()}, "iou"
    return {name: value for name, value in found.items() if np.isfinite(value)}, metric


def instance_draws(
    folder: Path, predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, split: str
) -> dict[str, Callable[[], Any]]:
    """Return the pictures of a split; write its animation and what comparisons of runs look at.

    Args:
        folder: of a run or an evaluation.
        predictor: with what it finds objects with fitted already.
        data: set up.
        table: ``predictions/<split>.csv``.
        split: its name; an animation of another one than ``test`` replaces none.
    """
    head = next(head for head in predictor.heads if isinstance(head, InstanceHead))
    path = folder / "predictions" / f"{split}_frames.csv"
    frames = pd.read_csv(path, dtype={"frame": str, "sequence": str}) if path.is_file() else None
    pictures = CellPictures(predictor, data, table, frames, split, head)
    pictures.write_kept(folder / "predictions" / f"{split}_{head.name}_slices.npz")
    moving = folder / "plots" / "volume.gif"
    if split == "test" or not moving.is_file():
        pictures.write_animation(moving)
    return pictures.draws()


def _areas(labels: Array) -> Array:
    counts = np.unique(labels[labels > 0], return_counts=True)[1]
    return counts.astype(float)


def spread(count: int, wanted: int) -> Array:
    """Return up to ``wanted`` of the numbers below ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))
