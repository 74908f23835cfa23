"""Predict the objects of many images, volumes and series, a file after the other, and go on where a command stopped."""

from __future__ import annotations

import contextlib
import math
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from visionlab.console import LOG, progress
from visionlab.drawing.animation import MOST, Animation
from visionlab.drawing.outlines import PREDICTED, SECOND, TRUE, limits, rim, shade
from visionlab.drawing.style import rgb
from visionlab.errors import DataError, UserError
from visionlab.files import write_bytes
from visionlab.inference.base_predictor import BasePredictor
from visionlab.inference.output_folder import OVERLAY, POPULATION, OutputFolder, fault_of, open_output, state_of
from visionlab.inference.prediction import Array, Prediction
from visionlab.inference.series import InputFile, arrange, open_scaled
from visionlab.inference.tables import object_curves, object_values, write_objects, write_predictions
from visionlab.inference.volumes import find_objects, object_heads, settings_of, summaries, table_of
from visionlab.io import StackWriter, Volume, VoxelSize, open_volume
from visionlab.io.encoding import eight_bits, png

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
        """Return what is written of each file beside the labels."""
        return ["probabilities"] if self.probabilities else []


def predict_objects(
    predictor: BasePredictor, checkpoints: Sequence[Path], files: Sequence[Path], out: Path, options: Options
) -> int:
    """Predict files and write labels, tables, curves and pictures; return how many files failed.

    Files that an earlier call with the same models and options finished, and that have not changed, are left as they
    are. At once there are in memory: of one time point the image and the labels (and the maps if they are wanted), and
    what the network needs for one tile (see :mod:`visionlab.inference.tiles`).

    Args:
        predictor: of instances.
        checkpoints: that it was loaded from.
        files: what to predict.
        out: a folder that is there.
        options: see there.

    Raises:
        UsageError: see :func:`visionlab.inference.output_folder.open_output`.
        UserError: the device has too little memory, or the results cannot be written.
    """
    heads = [head.name for head in object_heads(predictor)]
    with open_output(out, checkpoints, options.results(), [*heads, PROBABILITY, OVERLAY]) as folder:
        work = _Work(predictor, arrange(files), folder, options)
        _, bad = write_predictions(work.results(), out)
        done = work.done()
        try:
            write_objects(folder, done)
            if object_curves(out, done, heads):
                LOG.info("objects over time: %s", out / f"{POPULATION}.png")
            work.draw()
        except OSError as error:
            raise UserError(f"{out}: the results cannot be written: {error.strerror or error}") from error
    frames = sum(len(record["moments"]) for record in work.records.values())
    points = f", {frames} time points" if frames > len(work.records) else ""
    print(f"{len(work.records)} files predicted{points}: {out / 'objects.csv'}")
    return bad


@dataclass(frozen=True)
class _Writers:
    """Where what is found in a file goes: labels and maps of each head, the table of objects, the overlay."""

    labels: dict[str, LabelWriter]
    maps: dict[str, StackWriter]
    table: Path
    overlay: Path


class _Work:
    """The files of one command, and the records of those that are predicted."""

    def __init__(
        self, predictor: BasePredictor, items: Sequence[InputFile], folder: OutputFolder, options: Options
    ) -> None:
        self.predictor, self.items, self.options, self._folder = predictor, items, options, folder
        self._objects = object_heads(predictor)
        self.heads = [head.name for head in self._objects]
        self.settings = settings_of(predictor, options.threshold)
        self.records: dict[InputFile, dict[str, Any]] = {}
        for item in items:
            record = folder.record(item.path, item.name, options.kinds())
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

    def _planes(self, item: InputFile) -> int:
        try:
            volume = self._open(item)
        except DataError:
            return 1
        return volume.frames * volume.planes

    def _open(self, item: InputFile) -> Volume:
        return open_scaled(item.path, axes=self.options.axes, voxel=self.options.voxel, stains=self.predictor.stains)

    def _steps(self, ready: list[tuple[Path, Prediction | DataError]]) -> Iterator[None]:
        """Predict the files; yield after each plane, and put what is finished into ``ready``."""
        for item in self.items:
            if item not in self.records:
                try:
                    with fault_of(item.path):
                        self.records[item] = yield from self._predict(item)
                except DataError as error:
                    text = str(error).removeprefix("image: ")
                    ready.append((item.path, DataError(text if str(item.path) in text else f"{item.path}: {text}")))
                    continue
            ready += list(object_values(item, self.records[item]))

    def done(self) -> dict[InputFile, dict[str, Any]]:
        """Return the files that are predicted, as what they turned out to be, and their records."""
        found = {item: self.records[item] for item in self.items if item in self.records}
        return {item.holding(len(record["moments"])): record for item, record in found.items()}

    def _predict(self, item: InputFile) -> Generator[None, None, dict[str, Any]]:
        state = state_of(item.path)
        volume = self._open(item)
        if volume.frames * volume.planes > 1:
            LOG.info("%s (%d of %d): %s", item.path, 1 + self._todo.index(item), len(self._todo), _words(volume))
        moments = []
        with self._folder.work() as folder:
            table = folder / self._folder.objects(item.name).relative_to(self._folder.out)
            table.parent.mkdir(parents=True)
            with contextlib.ExitStack() as stack:
                writers = _Writers(
                    {name: stack.enter_context(self._labels(folder, name, item, volume)) for name in self.heads},
                    {name: stack.enter_context(self._maps(folder, name, item, volume)) for name in self._mapped()},
                    table,
                    folder / OVERLAY / f"{item.name}.png",
                )
                for t in range(volume.frames):
                    moments.append((yield from self._predict_frame(volume, t, writers)))
            self._animation_of(item.holding(volume.frames)).unlink(missing_ok=True)
            about = {"planes": volume.planes, "interval": volume.interval, "moments": moments}
            return self._folder.keep(item.name, state, self.options.kinds(), about)

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
        if volume.frames * volume.planes == 1:
            write_bytes(writers.overlay, png(_outlined(image[0], {name: ids[0] for name, ids in found.labels.items()})))
        return summary

    def _mapped(self) -> list[str]:
        return self.heads if self.options.probabilities else []

    def _labels(self, folder: Path, head: str, item: InputFile, volume: Volume) -> LabelWriter:
        words = f"{head}: objects of {item.path.name}, 0 between them, numbered anew at each time point"
        return LabelWriter(folder / head / f"{item.name}.tif", volume, words)

    def _maps(self, folder: Path, head: str, item: InputFile, volume: Volume) -> StackWriter:
        path = folder / PROBABILITY / head / f"{item.name}.tif"
        return StackWriter(path, volume, "float32", description=f"{head}: probability of the foreground, 0..1")

    def _animation_of(self, item: InputFile) -> Path:
        return self._folder.out / OVERLAY / f"{item.series}.gif"

    def draw(self) -> None:
        """Write the animations that are not there: of series, and of volumes by themselves."""
        if not self.options.gif:
            return
        members: dict[Path, list[InputFile]] = defaultdict(list)
        for item, record in self.done().items():
            if item.time is not None or len(record["moments"]) * record["planes"] > 1:
                members[self._animation_of(item)].append(item)
        for path, items in members.items():
            if not path.is_file():
                LOG.info("drawing %s", path)
                try:
                    self._draw(sorted(items, key=lambda item: item.time or 0), path)
                except DataError as error:
                    LOG.warning("%s; so there is no animation of it", error)

    def _draw(self, items: Sequence[InputFile], path: Path) -> None:
        """Write the animation of a series, or of one file, with the labels that are written.

        It goes through the time points, with the maximum over z, or of a file of one time point through z. Of many
        files at most ``MOST`` are shown, evenly spread.
        """
        animation: Animation | None = None
        size: tuple[int, int] | None = None
        for item in items[:: math.ceil(len(items) / MOST)]:
            volume = self._open(item)
            if size is not None and (volume.height, volume.width) != size:
                LOG.warning("%s: time points of several sizes, so there is no animation of them", item.series)
                return
            size = (volume.height, volume.width)
            animation = animation or Animation(_colours(self.heads), pixel=volume.voxel_size[2])
            written = {name: open_volume(self._folder.out / name / f"{item.name}.tif") for name in self.heads}
            for t in range(volume.frames):
                image = volume.frame(t)
                labels = {name: of_head.frame(t)[..., 0] for name, of_head in written.items()}
                if volume.frames > 1 or item.time is not None:
                    seconds = t * volume.interval if volume.interval and volume.frames > 1 else None
                    passed = f", {seconds / 60:.4g} min" if seconds is not None else ""
                    animation.add(image, labels, f"t {item.time_point(t)}{passed}")
                else:
                    for z, plane in enumerate(image):
                        animation.add(plane, {name: ids[z] for name, ids in labels.items()}, f"z {z}")
        if animation is not None:
            animation.save(path)


def _words(volume: Volume) -> str:
    counts = [(volume.frames, "time points"), (volume.planes, "planes")]
    said = " x ".join(f"{count} {what}" for count, what in counts if count > 1)
    return f"{said}, {volume.height} x {volume.width} px"


class LabelWriter:
    """Writes a TIFF file of labels with the axes, shape, voxel size and interval of another file, for use in ``with``.

    Its type is the smallest of uint8, uint16 and uint32 that holds all numbers, which is known when the last time point
    is: until then they are kept compressed in a temporary file, so that no more than a time point is held in memory.
    The file appears when it is complete; after an error nothing is left.

    Args:
        path: of the file; its folder is made.
        volume: whose axes and sizes it has; channels do not count.
        description: a line that is kept in the file.
    """

    def __init__(self, path: Path, volume: Volume, description: str) -> None:
        self.path, self._volume, self._description = path, volume, description
        self._frames: list[tuple[int, str]] = []
        self._highest = 0

    def __enter__(self) -> LabelWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Without a name: it goes with its process, however that ends.
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def write(self, labels: Array) -> None:
        """Write the next time point, Z x H x W, 0 and more."""
        highest = int(labels.max())
        dtype = np.min_scalar_type(highest)
        content = zlib.compress(labels.astype(dtype).tobytes(), 1)
        self._file.write(content)
        self._frames.append((len(content), str(dtype)))
        self._highest = max(self._highest, highest)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                shape = (self._volume.planes, self._volume.height, self._volume.width)
                dtype = np.min_scalar_type(self._highest)
                with StackWriter(self.path, self._volume, dtype, description=self._description) as writer:
                    for size, stored in self._frames:
                        values = np.frombuffer(zlib.decompress(self._file.read(size)), stored)
                        writer.write(values.reshape(shape).astype(dtype, copy=False))


def _colours(heads: Sequence[str]) -> dict[str, str]:
    """Return the colour of the outlines of each head; of more than three the first three are shown."""
    return dict(zip(heads, (PREDICTED, SECOND, TRUE), strict=False))


def _outlined(image: Array, labels: Mapping[str, Array]) -> Array:
    """Return an image, H x W x C, with the outlines of objects, H x W ids of each head: H x W x 3 uint8."""
    shown = shade(image, limits(image[None]))
    shown = np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
    for name, colour in _colours(list(labels)).items():
        shown[rim(labels[name], max(1, round(min(image.shape[:2]) / 400)))] = rgb(colour)
    return eight_bits(shown)
