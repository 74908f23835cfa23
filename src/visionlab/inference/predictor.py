"""The ``Predictor``: a trained model with the preprocessing that it was trained with."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch

from visionlab.data.images import read
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError, UsageError, UserError, nearest
from visionlab.inference.checkpoint import read_checkpoint, rebuild
from visionlab.inference.files import find_checkpoint
from visionlab.modules.task_model import Head, TaskModel

Array = np.ndarray[Any, Any]
Source = str | os.PathLike[str] | Array


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one image.

    Each value is also an attribute: ``prediction.distance``.

    Attributes:
        values: name of the quantity -> value, in the unit of the training files.
        units: name of the quantity -> its unit, empty if it has none.
        path: the file, or None for an array.
    """

    values: Mapping[str, float]
    units: Mapping[str, str]
    path: str | None = None

    def __getattr__(self, name: str) -> float:
        # Looked up in __dict__: copying asks for attributes before there are any.
        values = self.__dict__.get("values", {})
        if name in values:
            return float(values[name])
        raise AttributeError(f"no predicted value '{name}'; there are: {', '.join(values)}")


class Predictor:
    """Predict with a trained model.

    Args:
        model: with its weights.
        description: what the checkpoint says of task, data and preprocessing.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Attributes:
        preprocess: what is done to every image, as in training.
    """

    def __init__(self, model: TaskModel, description: Mapping[str, Any], device: str = "auto") -> None:
        self.device = _device(device)
        self.model = model.eval().to(self.device)
        self.description = dict(description)
        self.preprocess = Preprocess.from_spec(description["preprocess"])

    @property
    def heads(self) -> list[Head]:
        """The model's heads, in order."""
        return self.model.each_head()

    @overload
    def predict(self, source: Source) -> Prediction: ...
    @overload
    def predict(self, source: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    def predict(self, source: Source | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """Predict for an image, or a list of images.

        Args:
            source: path of an image file, or an array H x W or H x W x C of uint8, uint16 or float32 as it was on disk;
                or a list of these.

        Raises:
            DataError: a file cannot be read, or an array has another shape, kind or number of channels.
            TypeError: it is something else.
        """
        if isinstance(source, list | tuple):
            return [self._one(item) for item in source]
        return self._one(source)

    def predict_files(
        self, paths: Iterable[Path], batch_size: int = 16
    ) -> Iterator[tuple[Path, Prediction | DataError]]:
        """Predict for many files, decoding on all cores; yield each with its prediction or its error, in order.

        Raises:
            UserError: the device has too little memory for ``batch_size`` images.
        """
        workers = os.cpu_count() or 1
        todo = iter(paths)
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[tuple[Path, Future[Array]]] = deque()
            while True:
                for path in islice(todo, 2 * batch_size - len(waiting)):
                    waiting.append((path, pool.submit(self._read, path)))
                if not waiting:
                    return
                batch = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                yield from self._batch(batch)

    def decode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {head: values in the user's units, on the CPU} for preprocessed images B x C x H x W."""
        try:
            with torch.inference_mode():
                raw = self.model(images.to(self.device, non_blocking=True))
                return {name: values.cpu() for name, values in self.model.decode(raw).items()}
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self.device}: too little memory for {len(images)} images at once; predict fewer (a smaller batch "
                "size), or on another device"
            ) from error

    def _batch(self, batch: list[tuple[Path, Future[Array]]]) -> Iterator[tuple[Path, Prediction | DataError]]:
        results: list[Array | DataError] = []
        for _, future in batch:
            try:
                results.append(future.result())
            except DataError as error:
                results.append(error)
        # Images of another depth than the training set's come as float and cannot share a batch with bytes.
        predicted: dict[int, Prediction] = {}
        for dtype in {image.dtype for image in results if not isinstance(image, DataError)}:
            where = [i for i, image in enumerate(results) if not isinstance(image, DataError) and image.dtype == dtype]
            images = np.stack([cast(Array, results[i]) for i in where])
            decoded = self.decode(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
            for row, i in enumerate(where):
                predicted[i] = self._result({name: v[row] for name, v in decoded.items()}, str(batch[i][0]))
        for i, (path, _) in enumerate(batch):
            result = results[i]
            yield path, result if isinstance(result, DataError) else predicted[i]

    def _one(self, source: Source) -> Prediction:
        if isinstance(source, np.ndarray):
            path, image = None, self.preprocess(_checked(source), "array")
        elif isinstance(source, str | os.PathLike):
            path, image = str(source), self._read(Path(source))
        else:
            raise TypeError(
                f"expected an image's path, a NumPy array or a list of these, found {type(source).__name__}"
            )
        decoded = self.decode(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))
        return self._result({name: values[0] for name, values in decoded.items()}, path)

    def _read(self, path: Path) -> Array:
        return self.preprocess(read(path), str(path))

    def _result(self, decoded: Mapping[str, torch.Tensor], path: str | None) -> Prediction:
        values, units = {}, {}
        for head in self.heads:
            for column, value in zip(head.columns, decoded[head.name].tolist(), strict=True):
                values[column], units[column] = value, head.unit
        return Prediction(values, units, path)


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


def _checked(array: Array) -> Array:
    """Return an array as H x W x C.

    Raises:
        DataError: it is no image.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"array: expected H x W or H x W x C, found shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"array: expected uint8, uint16 or float32 as in the files, found {array.dtype}; convert it, keeping the "
            "scale"
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise DataError("array: expected finite values, found NaN or infinity")
    return array


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
