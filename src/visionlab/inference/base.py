"""What a model and an ensemble of models have in common: from images and files to predictions."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from visionlab.data.channels import Channels
from visionlab.errors import DataError, UsageError, nearest
from visionlab.files import IMAGE
from visionlab.heads.head import Head
from visionlab.inference.prediction import Array, Prediction, Source, Sources

if TYPE_CHECKING:
    from visionlab.inference.volume_prediction import VolumePrediction

T = TypeVar("T")


class BasePredictor(ABC, Generic[T]):
    """Predict for images, whatever predicts; T is a sample as it is prepared for that.

    Attributes:
        inputs: names of what is seen of each sample; the first is the image itself.
        channels: of samples that are several files, one for each stain: which files are needed. None: one file each.
        tasks: that it was trained for.
    """

    inputs: tuple[str, ...]
    channels: Channels | None
    tasks: tuple[str, ...]

    @property
    @abstractmethod
    def heads(self) -> list[Head]:
        """What is predicted, in order."""

    @abstractmethod
    def _prepare(self, sources: Sources) -> T:
        """Return a sample as :meth:`_predict` needs it; called in threads."""

    @abstractmethod
    def _predict(self, samples: Sequence[T]) -> list[Prediction]:
        """Predict for prepared samples of any sizes and types."""

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
            return self._one({IMAGE: source, **others})
        columns = {}
        for name, other in others.items():
            columns[name] = other if isinstance(other, list | tuple) else [other] * len(source)
            if len(columns[name]) != len(source):
                raise UsageError(f"{name}: expected one or {len(source)}, one an image; found {len(columns[name])}")
        return [
            self._one({IMAGE: item, **{name: column[i] for name, column in columns.items()}})
            for i, item in enumerate(source)
        ]

    def predict_volume(
        self,
        source: str | os.PathLike[str] | Array,
        voxel_size: Sequence[float] | None = None,
        *,
        axes: str | None = None,
        threshold: float | None = None,
    ) -> VolumePrediction:
        """Find the objects of a volume, a series or an image; see :func:`volume_prediction.predict_volume`."""
        from visionlab.inference.volume_prediction import predict_volume

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
        workers = os.cpu_count() or 1
        todo = iter(samples)
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[tuple[Path, Future[T]]] = deque()
            while True:
                for sample in islice(todo, 2 * batch_size - len(waiting)):
                    waiting.append((sample[IMAGE], pool.submit(self._prepare, sample)))
                if not waiting:
                    return
                batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                yield from self._batch(batch)

    def _batch(self, batch: list[tuple[Path, Future[T]]]) -> Iterator[tuple[Path, Prediction | DataError]]:
        prepared: list[T] = []
        errors: dict[int, DataError] = {}
        for number, (_, future) in enumerate(batch):
            try:
                prepared.append(future.result())
            except DataError as error:
                errors[number] = error
        predictions = iter(self._predict(prepared))
        for number, (path, _) in enumerate(batch):
            yield path, errors[number] if number in errors else next(predictions)

    def _one(self, sources: Sources) -> Prediction:
        return self._predict([self._prepare(sources)])[0]


def to_prediction(heads: Iterable[Head], found: Mapping[str, Array], path: str | None) -> Prediction:
    """Return the prediction for one image.

    Args:
        heads: what was predicted.
        found: head -> K decoded values, or maps in the size of the image, K x H x W.
        path: of the image.
    """
    values, units, maps, decided = {}, {}, {}, {}
    for head in heads:
        decoded = found[head.name]
        shown, classes = head.map(decoded), head.decided(decoded)
        if shown is not None:
            maps[head.name], units[head.name] = shown, head.unit
        if classes is not None:
            decided[head.name] = classes
        for name, (value, unit) in head.values(decoded).items():
            values[name], units[name] = value, unit
    return Prediction(values, units, path, maps, decided)


def check_inputs(inputs: Sequence[str], others: Iterable[str]) -> None:
    """Check that the further inputs given are those that the network takes.

    Raises:
        UsageError: one is missing, or there is no such input.
    """
    given = set(others)
    wanted = set(inputs[1:])
    for name in sorted(given - wanted):
        takes = f"image and {', '.join(inputs[1:])}" if wanted else "the image alone"
        raise UsageError(f"'{name}': the model takes {takes}.{nearest(name, wanted)}")
    if wanted - given:
        name = min(wanted - given)
        raise UsageError(
            f"the model was trained with image and {', '.join(inputs[1:])}: give the {name} as well, in Python as "
            f"{name}=PATH, in the shell as --with {name}=PATH"
        )
