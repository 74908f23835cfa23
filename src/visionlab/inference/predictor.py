"""The ``Predictor``: a trained model with the preprocessing that it was trained with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from visionlab.data.preprocess import Preprocess
from visionlab.errors import UsageError, UserError, nearest
from visionlab.heads.head import Head
from visionlab.inference.base import BasePredictor, to_prediction
from visionlab.inference.prediction import Array, Intake, Prediction, Ready, Sources, prepare
from visionlab.inference.tta import Views
from visionlab.modules.task_model import Statistics, TaskModel


class Predictor(BasePredictor[Ready]):
    """Predict with a trained model.

    Args:
        model: with its weights.
        description: what the checkpoint says of task, data and preprocessing.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        views: of each image, to merge the predictions of; None: the image alone.

    Attributes:
        preprocess: what is done to every image, as in training.
        neighbours: planes below and above its own that are seen of each image of a volume.
        intake: how samples are taken, in one.
        inputs, channels, tasks: see :class:`BasePredictor`.

    Raises:
        UsageError: there is no such device, or the model cannot be shown these views.
    """

    def __init__(
        self, model: TaskModel, description: Mapping[str, Any], device: str = "auto", *, views: Views | None = None
    ) -> None:
        self.device = find_device(device)
        self.model = model.eval().to(self.device)
        self.description = dict(description)
        self.preprocess = Preprocess.from_spec(description["preprocess"])
        self.inputs = tuple(description["inputs"])
        self.neighbours = int(description.get("neighbours", 0))
        self.intake = Intake(
            self.inputs, tuple(description.get("channels", ())), self.preprocess, model.dense, self.neighbours
        )
        self.channels = self.intake.channels
        self.tasks = (str(description["task"]),)
        self.views = views
        if views is not None:
            views.check(self.preprocess)

    @property
    def heads(self) -> list[Head]:
        """The model's heads, in order."""
        return self.model.each_head()

    def decode(self, images: torch.Tensor, statistics: Statistics | None = None) -> dict[str, torch.Tensor]:
        """Return {head: values in the user's units, on the CPU} for preprocessed images B x C x H x W.

        Args:
            images: whole, or tiles of images.
            statistics: of the whole images that these are tiles of, see ``Normalizer.statistics``.
        """
        with self._guarded(len(images)):
            return {name: values.cpu() for name, values in self._decoded(images, statistics).items()}

    def measure(
        self, images: torch.Tensor, targets: Mapping[str, torch.Tensor]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return {head: rows of the model's predictions and of the baseline's}, B x S each, see ``Head.rows``.

        Heads ``by_time_point`` are left out.

        Args:
            images: preprocessed, B x C x H x W.
            targets: {head: in the user's units}.
        """
        with self._guarded(len(images)):
            decoded = self._decoded(images)
            found = {}
            for head in (head for head in self.heads if not head.by_time_point):
                target = targets[head.name].to(self.device, non_blocking=True)
                model, base = head.rows(decoded[head.name], target), head.rows(head.baseline(target), target)
                found[head.name] = (model.cpu(), base.cpu())
            return found

    def outcomes(self, samples: Sequence[Ready]) -> list[dict[str, Array]]:
        """Return {head: K decoded values, or maps K x H x W in the size of the image} of each prepared sample."""
        # Images of another size or depth than the others cannot share a batch with them.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for number, sample in enumerate(samples):
            alike.setdefault((sample.values.dtype, sample.values.shape), []).append(number)
        found: list[dict[str, Array]] = [{} for _ in samples]
        for numbers in alike.values():
            images = torch.from_numpy(np.stack([samples[number].values for number in numbers]))
            decoded = self.decode(images) if self.views is None else self.views.decode(self.decode, images)
            for head in self.heads:
                for number, values in zip(numbers, decoded[head.name].numpy(), strict=True):
                    found[number][head.name] = enlarged(values, samples[number].size) if values.ndim == 3 else values
        return found

    def _prepare(self, sources: Sources) -> Ready:
        return prepare(sources, [self.intake], self.channels.names if self.channels else ())[0]

    def _predict(self, samples: Sequence[Ready]) -> list[Prediction]:
        outcomes = self.outcomes(samples)
        return [to_prediction(self.heads, found, sample.path) for sample, found in zip(samples, outcomes, strict=True)]

    def _decoded(self, images: torch.Tensor, statistics: Statistics | None = None) -> dict[str, torch.Tensor]:
        return self.model.decode(self.model(images.to(self.device, non_blocking=True), statistics))

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


def enlarged(values: Array, size: tuple[int, int]) -> Array:
    """Return maps, K x h x w, in the size of their image, K x H x W float32."""
    if values.shape[1:] != size:
        shrinks = size[0] <= values.shape[1] and size[1] <= values.shape[2]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        values = np.stack([cv2.resize(one, (size[1], size[0]), interpolation=method) for one in values])
    return np.asarray(values, np.float32)


def find_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is a GPU if there is one.

    Raises:
        UsageError: it is not there.
    """
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
