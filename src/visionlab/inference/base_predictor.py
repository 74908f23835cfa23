"""What predictors of one model and of several have in common: from images, arrays and files to predictions."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from visionlab.console import LOG
from visionlab.data.channels import Channels
from visionlab.errors import DataError, UsageError
from visionlab.files import IMAGE
from visionlab.heads.head import Head
from visionlab.inference.prediction import Array, Prediction, Prepared, Source, Sources, check_inputs, prepare
from visionlab.inference.tiles import FrameMaps
from visionlab.inference.volumes import VolumePrediction, predict_volume
from visionlab.io import Stains

if TYPE_CHECKING:
    from visionlab.inference.predictor import Predictor


class BasePredictor(ABC):
    """Predict for images, with a model or with several.

    Attributes:
        members: the models.
        inputs: names of what is seen of each sample; the first is the image itself.
        channels: of samples that are several files, one for each stain: which files are needed. None: one file each.
        tasks: that it was trained for.
        stains: which channels are seen of files with an axis of them; empty: files have none.
    """

    members: Sequence[Predictor]
    inputs: tuple[str, ...]
    channels: Channels | None
    tasks: tuple[str, ...]
    stains: Stains

    @property
    @abstractmethod
    def heads(self) -> list[Head]:
        """What is predicted, in order."""

    @abstractmethod
    def decoded(self, samples: Sequence[Sequence[Prepared]]) -> list[dict[str, Array]]:
        """Return {head: K values, or maps K x H x W in the size of the image} of samples, each prepared for each model.

        Sizes and types may differ from sample to sample.
        """

    @abstractmethod
    def planes(self, image: Array) -> Iterator[FrameMaps]:
        """Yield {head: maps K x H x W} of one plane of a time point, Z x H x W x C as on disk, after the other."""

    def heads_in_words(self) -> str:
        """Return e.g. ``distance (regression), mask (mask)``."""
        return ", ".join(f"{head.name} ({head.kind})" for head in self.heads)

    def say_warnings(self) -> None:
        """Warn of what a user should know of the heads: what was never fitted, and classes without a threshold."""
        for head in self.heads:
            for text in head.warnings():
                LOG.warning("%s", text)

    @overload
    def predict(self, source: Source | Mapping[str, Source], **others: Any) -> Prediction: ...
    @overload
    def predict(self, source: list[Any] | tuple[Any, ...], **others: Any) -> list[Prediction]: ...
    def predict(
        self, source: Source | Mapping[str, Source] | list[Any] | tuple[Any, ...], **others: Any
    ) -> Prediction | list[Prediction]:
        """Predict for an image, or a list of images.

        Args:
            source: path of an image file, or an array H x W or H x W x C of uint8, uint16 or float32 as it was on disk;
                or a list of these. For samples of several files (see ``channels``) the path is that of any one of them,
                or without the stain (``folder/Id``); ``{"red": path or array, ...}`` names each; and an array, or a
                single file of another name, holds ``channels.names`` as its channels.
            others: the further inputs of a network that takes several, e.g. ``background=...``: one for all images,
                or a list with one for each.

        Raises:
            DataError: a file cannot be read or is missing, or an array has another shape, kind or number of channels.
            UsageError: an input or stain is missing, or there is no such input or stain.
            TypeError: it is something else.
        """
        check_inputs(self.inputs, others)
        if not isinstance(source, list | tuple):
            return self._predict([self._prepare({IMAGE: source, **others})])[0]
        columns = {}
        for name, other in others.items():
            columns[name] = other if isinstance(other, list | tuple) else [other] * len(source)
            if len(columns[name]) != len(source):
                raise UsageError(f"{name}: expected one or {len(source)}, one an image; found {len(columns[name])}")
        samples = [
            {IMAGE: item, **{name: column[i] for name, column in columns.items()}} for i, item in enumerate(source)
        ]
        return [self._predict([self._prepare(sample)])[0] for sample in samples]

    def predict_volume(
        self,
        source: str | os.PathLike[str] | Array,
        voxel_size: Sequence[float] | None = None,
        *,
        axes: str | None = None,
        threshold: float | None = None,
    ) -> VolumePrediction:
        """Find the objects of a volume, a series or an image; see :mod:`visionlab.inference.volumes`."""
        return predict_volume(self, source, voxel_size, axes=axes, threshold=threshold)

    def predict_files(
        self, samples: Iterable[Mapping[str, Path]], batch_size: int = 16
    ) -> Iterator[tuple[Path, Prediction | DataError]]:
        """Predict for many files, decoding on all cores; yield each image with its prediction or its error, in order.

        Args:
            samples: input name -> file; of a sample of several files any one.
            batch_size: images predicted at once.

        Raises:
            UserError: the device has too little memory for ``batch_size`` images.
        """
        todo = iter(samples)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            waiting: deque[tuple[Path, Future[list[Prepared]]]] = deque()
            while True:
                for sample in islice(todo, 2 * batch_size - len(waiting)):
                    waiting.append((sample[IMAGE], pool.submit(self._prepare, sample)))
                if not waiting:
                    return
                yield from self._batch([waiting.popleft() for _ in range(min(batch_size, len(waiting)))])

    def _batch(self, batch: list[tuple[Path, Future[list[Prepared]]]]) -> Iterator[tuple[Path, Prediction | DataError]]:
        prepared: list[list[Prepared]] = []
        errors: dict[int, DataError] = {}
        for number, (_, future) in enumerate(batch):
            try:
                prepared.append(future.result())
            except DataError as error:
                errors[number] = error
        predictions = iter(self._predict(prepared))
        for number, (path, _) in enumerate(batch):
            yield path, errors[number] if number in errors else next(predictions)

    def _prepare(self, sources: Sources) -> list[Prepared]:
        """Return a sample as each model takes it; called in threads."""
        return prepare(
            sources, [member.sampling for member in self.members], self.channels.names if self.channels else ()
        )

    def _predict(self, samples: Sequence[Sequence[Prepared]]) -> list[Prediction]:
        return [
            _prediction(self.heads, decoded, sample[0].path)
            for sample, decoded in zip(samples, self.decoded(samples), strict=True)
        ]


def _prediction(heads: Iterable[Head], decoded: Mapping[str, Array], path: str | None) -> Prediction:
    values, units, maps, decided = {}, {}, {}, {}
    for head in heads:
        shown, classes = head.map(decoded[head.name]), head.decided(decoded[head.name])
        if shown is not None:
            maps[head.name], units[head.name] = shown, head.unit
        if classes is not None:
            decided[head.name] = classes
        for name, (value, unit) in head.values(decoded[head.name]).items():
            values[name], units[name] = value, unit
    return Prediction(values, units, path, maps, decided)
