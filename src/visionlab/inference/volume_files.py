"""Predict the objects of many images, volumes and series, a file after the other, and go on where a command stopped."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionlab.console import LOG, progress
from visionlab.errors import DataError, UserError
from visionlab.inference.base import BasePredictor
from visionlab.inference.files import say_failed, write_predictions
from visionlab.inference.finished import Ledger, ledger, state_of
from visionlab.inference.label_files import LabelWriter
from visionlab.inference.objects import find_objects, object_heads, settings_of, summaries, table_of
from visionlab.inference.prediction import Prediction
from visionlab.inference.series import Item, arrange, open_scaled
from visionlab.inference.volume_pictures import FOLDER as OVERLAY
from visionlab.inference.volume_pictures import Pictures, draw_series
from visionlab.inference.volume_tables import predictions, write_curves, write_objects
from visionlab.io import StackWriter, Volume, VoxelSize

PROBABILITY = "probability"


@dataclass(frozen=True)
class Options:
    """What a user asks for.

    Attributes:
        axes: of files that do not tell, ``TYX`` and the like.
        voxel: micrometres along z, y and x, for files that do not tell.
        threshold: of the foreground, in place of that which was fitted.
        probabilities: write maps of the foreground.
        gif: write animations.
        tta: how views of each image are merged, in words; None for the image alone. It is the predictor's own.
    """

    axes: str | None = None
    voxel: VoxelSize | None = None
    threshold: float | None = None
    probabilities: bool = False
    gif: bool = False
    tta: str | None = None

    def results(self) -> dict[str, str | None]:
        """Return those that results depend on, as text."""
        sizes = None if self.voxel is None else ",".join(f"{size:g}" for size in self.voxel if size)
        threshold = None if self.threshold is None else f"{self.threshold:g}"
        return {"tta": self.tta, "axes": self.axes, "voxel_size": sizes, "threshold": threshold}

    def kinds(self) -> list[str]:
        """Return what is written beside the labels."""
        return [name for name, wanted in (("probabilities", self.probabilities), ("gif", self.gif)) if wanted]


def predict_volumes(
    predictor: BasePredictor[Any], checkpoints: Sequence[Path], files: Sequence[Path], out: Path, options: Options
) -> int:
    """Predict files and write labels, tables, curves and pictures; return how many files failed.

    Files that an earlier call with the same models and options finished, and that have not changed, are left as they
    are. At once there are in memory: of one time point the image and the labels (and the maps if they are wanted), and
    what the network needs for one tile (see :func:`visionlab.inference.stacks.peak_memory`).

    Args:
        predictor: of instances.
        checkpoints: that it was loaded from.
        files: what to predict.
        out: a folder that is there.
        options: see there.

    Raises:
        UsageError: see :func:`visionlab.inference.finished.ledger`.
        UserError: the device has too little memory, or the results cannot be written.
    """
    heads = [head.name for head in object_heads(predictor)]
    with ledger(out, checkpoints, options.results(), [*heads, PROBABILITY, OVERLAY]) as records:
        work = _Work(predictor, arrange(files), records, options)
        _, bad = write_predictions(work.results(), out)
        done = work.done()
        try:
            write_objects(records, done)
            if write_curves(out, done, heads):
                LOG.info("objects over time: %s", out / "population.png")
            work.draw()
        except OSError as error:
            raise UserError(f"{out}: the results cannot be written: {error.strerror or error}") from error
    frames = sum(len(record["moments"]) for record in work.records.values())
    points = f", {frames} time points" if frames > len(work.records) else ""
    print(f"{len(work.records)} files predicted{points}: {out / 'objects.csv'}")
    say_failed(bad, len(files), out)
    return bad


@dataclass(frozen=True)
class _Writers:
    """Where what is found in a file goes: labels and maps of each head, the table of objects, pictures."""

    labels: dict[str, LabelWriter]
    maps: dict[str, StackWriter]
    table: Path
    pictures: Pictures


class _Work:
    """The files of one command, and the records of those that are predicted."""

    def __init__(self, predictor: BasePredictor[Any], items: Sequence[Item], records: Ledger, options: Options) -> None:
        self.predictor, self.items, self.options, self._ledger = predictor, items, options, records
        self._objects = object_heads(predictor)
        self.heads = [head.name for head in self._objects]
        self.settings = settings_of(predictor, options.threshold)
        self.records: dict[Item, dict[str, Any]] = {}
        for item in items:
            record = records.find(item.path, item.name, options.kinds())
            if record is not None:
                self.records[item] = record
        self._todo = [item for item in items if item not in self.records]
        if self.records:
            LOG.info("%d of %d files were predicted before and are left as they are", len(self.records), len(items))

    def results(self) -> Iterator[tuple[Path, Prediction | DataError]]:
        """Predict what is to be done; yield all files' time points, or their errors, in order."""
        ready: list[tuple[Path, Prediction | DataError]] = []
        if self._todo:
            total = sum(self._planes(item) for item in self._todo)
            for _ in progress(self._steps(ready), total, "finding objects, planes"):
                yield from ready
                ready.clear()
        else:
            for _ in self._steps(ready):
                pass
        yield from ready

    def _planes(self, item: Item) -> int:
        try:
            volume = self._open(item)
        except DataError:
            return 1
        return volume.frames * volume.planes

    def _open(self, item: Item) -> Volume:
        return open_scaled(item.path, axes=self.options.axes, voxel=self.options.voxel)

    def _steps(self, ready: list[tuple[Path, Prediction | DataError]]) -> Iterator[None]:
        """Predict the files; yield after each plane, and put what is finished into ``ready``."""
        for item in self.items:
            if item not in self.records:
                try:
                    self.records[item] = yield from self._predict(item)
                except DataError as error:
                    text = str(error).removeprefix("image: ")
                    ready.append((item.path, DataError(text if str(item.path) in text else f"{item.path}: {text}")))
                    continue
            ready += list(predictions(item, self.records[item]))

    def done(self) -> dict[Item, dict[str, Any]]:
        """Return the files that are predicted, as what they turned out to be, and their records."""
        found = {item: self.records[item] for item in self.items if item in self.records}
        return {item.holding(len(record["moments"])): record for item, record in found.items()}

    def _predict(self, item: Item) -> Generator[None, None, dict[str, Any]]:
        state = state_of(item.path)
        volume = self._open(item)
        if volume.frames * volume.planes > 1:
            LOG.info("%s (%d of %d): %s", item.path, 1 + self._todo.index(item), len(self._todo), _words(volume))
        moments = []
        with self._ledger.work() as folder:
            # One of the frames of a series of files is a frame of the animation of that.
            gif = self.options.gif and item.holding(volume.frames).time is None
            pictures = Pictures(volume, self.heads, folder / OVERLAY / item.name, gif=gif)
            table = folder / self._ledger.objects(item.name).relative_to(self._ledger.out)
            table.parent.mkdir(parents=True)
            with contextlib.ExitStack() as stack:
                writers = _Writers(
                    {name: stack.enter_context(self._labels(folder, name, item, volume)) for name in self.heads},
                    {name: stack.enter_context(self._maps(folder, name, item, volume)) for name in self._kept()},
                    table,
                    pictures,
                )
                for t in range(volume.frames):
                    moments.append((yield from self._predict_frame(volume, t, writers)))
            pictures.save()
            about = {"planes": volume.planes, "interval": volume.interval, "moments": moments}
            return self._ledger.keep(item.name, state, self.options.kinds(), about)

    def _predict_frame(self, volume: Volume, t: int, writers: _Writers) -> Generator[None, None, dict[str, Any]]:
        """Predict and write a time point, of which nothing stays in memory."""
        image = volume.frame(t)
        wanted = bool(writers.maps)
        found = yield from find_objects(self.predictor, image, self.settings, volume="Z" in volume.axes, keep=wanted)
        for name, writer in writers.labels.items():
            writer.write(found.labels[name])
        for name, stack in writers.maps.items():
            stack.write(found.foreground[name])
        objects = table_of(self._objects, found, image, volume)
        summary = {"t": t, "heads": summaries(found, objects)}
        objects.insert(0, "t", t)
        objects.to_csv(writers.table, mode="a", header=t == 0, index=False, float_format="%.10g")
        writers.pictures.add(t, image, found.labels)
        return summary

    def _kept(self) -> list[str]:
        return self.heads if self.options.probabilities else []

    def _labels(self, folder: Path, head: str, item: Item, volume: Volume) -> LabelWriter:
        words = f"{head}: objects of {item.path.name}, 0 between them, numbered anew at each time point"
        return LabelWriter(folder / head / f"{item.name}.tif", volume, words)

    def _maps(self, folder: Path, head: str, item: Item, volume: Volume) -> StackWriter:
        path = folder / PROBABILITY / head / f"{item.name}.tif"
        return StackWriter(path, volume, "float32", description=f"{head}: probability of the foreground, 0..1")

    def draw(self) -> None:
        """Write the animations of series of several files, where one of them is new."""
        if not self.options.gif:
            return
        members: dict[str, list[Item]] = defaultdict(list)
        for item in self.done():
            if item.time is not None:
                members[item.series].append(item)
        for series, items in members.items():
            there = (self._ledger.out / OVERLAY / f"{series}.gif").is_file()
            if not there or any(item in self._todo for item in items):
                LOG.info("drawing %s", self._ledger.out / OVERLAY / f"{series}.gif")
                voxel = self.options.voxel
                draw_series(items, self.heads, self._ledger.out, self.options.axes, voxel[2] if voxel else None)


def _words(volume: Volume) -> str:
    counts = [(volume.frames, "time points"), (volume.planes, "planes")]
    said = " x ".join(f"{count} {what}" for count, what in counts if count > 1)
    return f"{said}, {volume.height} x {volume.width} px"
