"""The ``Predictor``: a trained model with the preprocessing that it was trained with."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

import cv2
import numpy as np
import torch

from visionlab.data.files import IMAGE
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError, UsageError, UserError, nearest
from visionlab.inference.checkpoint import read_checkpoint, rebuild
from visionlab.inference.files import find_checkpoint
from visionlab.inference.prediction import Array, Prediction, Ready, Source, make_ready
from visionlab.modules.heads import Head
from visionlab.modules.task_model import TaskModel


class Predictor:
    """Predict with a trained model.

    Args:
        model: with its weights.
        description: what the checkpoint says of task, data and preprocessing.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Attributes:
        preprocess: what is done to every image, as in training.
        inputs: names of what the network sees of each sample; the first is the image itself.
    """

    def __init__(self, model: TaskModel, description: Mapping[str, Any], device: str = "auto") -> None:
        self.device = _device(device)
        self.model = model.eval().to(self.device)
        self.description = dict(description)
        self.preprocess = Preprocess.from_spec(description["preprocess"])
        self.inputs: tuple[str, ...] = tuple(description["inputs"])

    @property
    def heads(self) -> list[Head]:
        """The model's heads, in order."""
        return self.model.each_head()

    @overload
    def predict(self, source: Source, **others: Any) -> Prediction: ...
    @overload
    def predict(self, source: list[Any] | tuple[Any, ...], **others: Any) -> list[Prediction]: ...
    def predict(self, source: Source | list[Any] | tuple[Any, ...], **others: Any) -> Prediction | list[Prediction]:
        """Predict for an image, or a list of images.

        Args:
            source: path of an image file, or an array H x W or H x W x C of uint8, uint16 or float32 as it was on disk;
                or a list of these.
            others: the further inputs of a network that takes several, e.g. ``background=...``: one for all images,
                or a list with one for each.

        Raises:
            DataError: a file cannot be read, or an array has another shape, kind or number of channels.
            UsageError: an input is missing, or there is no such input.
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

    def predict_files(
        self, samples: Iterable[Mapping[str, Path]], batch_size: int = 16
    ) -> Iterator[tuple[Path, Prediction | DataError]]:
        """Predict for many files, decoding on all cores; yield each image with its prediction or its error, in order.

        Args:
            samples: input name -> file.
            batch_size: images predicted at once.

        Raises:
            UserError: the device has too little memory for ``batch_size`` images.
        """
        workers = os.cpu_count() or 1
        todo = iter(samples)
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[tuple[Path, Future[Ready]]] = deque()
            while True:
                for sample in islice(todo, 2 * batch_size - len(waiting)):
                    waiting.append((sample[IMAGE], pool.submit(self._prepare, sample)))
                if not waiting:
                    return
                batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                yield from self._batch(batch)

    def decode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {head: values in the user's units, on the CPU} for preprocessed images B x C x H x W."""
        with self._guarded(len(images)):
            return {name: values.cpu() for name, values in self._decoded(images).items()}

    def measure(
        self, images: torch.Tensor, targets: Mapping[str, torch.Tensor]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return {head: rows of the model's predictions and of the baseline's}, B x S each, see ``Head.rows``.

        Args:
            images: preprocessed, B x C x H x W.
            targets: {head: in the user's units}.
        """
        with self._guarded(len(images)):
            decoded = self._decoded(images)
            found = {}
            for head in self.heads:
                target = targets[head.name].to(self.device, non_blocking=True)
                model, base = head.rows(decoded[head.name], target), head.rows(head.mean_like(target), target)
                found[head.name] = (model.cpu(), base.cpu())
            return found

    def _decoded(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.model.decode(self.model(images.to(self.device, non_blocking=True)))

    @contextlib.contextmanager
    def _guarded(self, count: int) -> Iterator[None]:
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self.device}: too little memory for {count} images at once; predict fewer (a smaller batch "
                "size), or on another device"
            ) from error

    def _batch(self, batch: list[tuple[Path, Future[Ready]]]) -> Iterator[tuple[Path, Prediction | DataError]]:
        results: list[Ready | DataError] = []
        for _, future in batch:
            try:
                results.append(future.result())
            except DataError as error:
                results.append(error)
        # Images of another size or depth than the others cannot share a batch with them.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for i, ready in enumerate(results):
            if isinstance(ready, Ready):
                alike.setdefault((ready.values.dtype, ready.values.shape), []).append(i)
        predicted: dict[int, Prediction] = {}
        for places in alike.values():
            together = [cast(Ready, results[i]) for i in places]
            predicted |= dict(zip(places, self._predict(together), strict=True))
        for i, (path, _) in enumerate(batch):
            result = results[i]
            yield path, result if isinstance(result, DataError) else predicted[i]

    def _one(self, sources: Mapping[str, Source]) -> Prediction:
        return self._predict([self._prepare(sources)])[0]

    def _prepare(self, sources: Mapping[str, Source]) -> Ready:
        ordered = {name: sources[name] for name in self.inputs}
        return make_ready(ordered, self.preprocess, whole=self.model.dense)

    def _predict(self, samples: Sequence[Ready]) -> list[Prediction]:
        """Predict for prepared samples of one size and type."""
        decoded = self.decode(torch.from_numpy(np.stack([sample.values for sample in samples])))
        return [
            self._result({name: values[row].numpy() for name, values in decoded.items()}, sample)
            for row, sample in enumerate(samples)
        ]

    def _result(self, decoded: Mapping[str, Array], sample: Ready) -> Prediction:
        values, units, maps = {}, {}, {}
        for head in self.heads:
            found = decoded[head.name]
            if self.model.dense:
                found = maps[head.name] = _enlarged(found[0], sample.size)
                units[head.name] = head.unit
            for name, (value, unit) in head.values(found).items():
                values[name], units[name] = value, unit
        return Prediction(values, units, sample.path, maps)


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


def _enlarged(values: Array, size: tuple[int, int]) -> Array:
    """Return a map, h x w, in the size of its image, H x W."""
    if values.shape == size:
        return values
    shrinks = size[0] <= values.shape[0] and size[1] <= values.shape[1]
    resized = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def load(run_or_checkpoint: str | os.PathLike[str], *, device: str = "auto") -> Predictor:
    """Return the predictor of a run folder (its best checkpoint) or of a checkpoint file.

    The file alone suffices: it holds the network's description, weights and preprocessing. It is loaded with
    ``weights_only=True``; nothing pickled is trusted.

    Raises:
        UsageError: there is no checkpoint, or no such device.
        DataError: the file is damaged or not a visionlab checkpoint.
    """
    path = find_checkpoint(Path(run_or_checkpoint))
    # Before the checkpoint, which may take a while.
    _device(device)
    content = read_checkpoint(path)
    return Predictor(rebuild(path, content), content["visionlab"], device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Some names are known to torch but not there (cuda), not complete (hpu) or hold no values (meta).
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        count = torch.cuda.device_count()
        there = ["auto", "cpu", *(f"cuda:{number}" for number in range(count))]
        raise UsageError(
            f"device '{name}': expected one that is there: {', '.join(there)}.{nearest(name, there)}"
        ) from error
    return device
