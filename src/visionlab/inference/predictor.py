"""Predict with a trained model, or with several as one, and load them from their checkpoints."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from visionlab.data.channels import Channels
from visionlab.data.preprocess import Preprocess
from visionlab.errors import UsageError, UserError, nearest
from visionlab.heads.head import Head
from visionlab.inference.base_predictor import BasePredictor
from visionlab.inference.checkpoint import read_checkpoint, rebuild
from visionlab.inference.files import find_checkpoint
from visionlab.inference.prediction import Array, Prepared, Sampling
from visionlab.inference.tiles import FrameMaps, enlarged, predict_planes
from visionlab.inference.tta import Views
from visionlab.modules.task_model import Statistics, TaskModel


class Predictor(BasePredictor):
    """Predict with a trained model, whose images are preprocessed as in training.

    Args:
        model: with its weights.
        description: what the checkpoint says of task, data and preprocessing.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        views: of each image, to merge the predictions of; None: the image alone.

    Attributes:
        preprocess: what is done to every image, as in training.
        neighbours: planes below and above its own that are seen of each image of a volume.
        sampling: how samples are taken, in one.

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
        self.stains = self.preprocess.stains
        self.inputs = tuple(description["inputs"])
        self.neighbours = int(description.get("neighbours", 0))
        self.sampling = Sampling(
            self.inputs, tuple(description.get("channels", ())), self.preprocess, model.dense, self.neighbours
        )
        self.channels = self.sampling.channels
        self.tasks = (str(description["task"]),)
        self.members = [self]
        self.views = views
        if views is not None:
            views.check(self.preprocess)

    @property
    def heads(self) -> list[Head]:
        """The model's heads, in order."""
        return self.model.each_head()

    def decode(self, images: torch.Tensor, statistics: Statistics | None = None) -> dict[str, torch.Tensor]:
        """Return {head: values in the user's units, on the CPU} for preprocessed images B x C x H x W.

        Of several views of the images the values are merged.

        Args:
            images: whole, or tiles of images.
            statistics: of the whole images that these are tiles of, see ``Normalizer.statistics``.
        """

        def decode(shown: torch.Tensor) -> dict[str, torch.Tensor]:
            with self._guarded(len(shown)):
                return {name: values.cpu() for name, values in self._outputs(shown, statistics).items()}

        return decode(images) if self.views is None else self.views.decode(decode, images)

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
            decoded = self._outputs(images)
            found = {}
            for head in (head for head in self.heads if not head.by_time_point):
                target = targets[head.name].to(self.device, non_blocking=True)
                model, base = head.rows(decoded[head.name], target), head.rows(head.baseline(target), target)
                found[head.name] = (model.cpu(), base.cpu())
            return found

    def decoded(self, samples: Sequence[Sequence[Prepared]]) -> list[dict[str, Array]]:
        return self.of_prepared([sample[0] for sample in samples])

    def of_prepared(self, samples: Sequence[Prepared]) -> list[dict[str, Array]]:
        """Return what :meth:`decoded` does, of samples prepared for this model."""
        # Images of another size or depth than the others cannot share a batch with them.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for number, sample in enumerate(samples):
            alike.setdefault((sample.values.dtype, sample.values.shape), []).append(number)
        found: list[dict[str, Array]] = [{} for _ in samples]
        for numbers in alike.values():
            decoded = self.decode(torch.from_numpy(np.stack([samples[number].values for number in numbers])))
            for head in self.heads:
                for number, values in zip(numbers, decoded[head.name].numpy(), strict=True):
                    found[number][head.name] = enlarged(values, samples[number].size) if values.ndim == 3 else values
        return found

    def planes(self, image: Array) -> Iterator[FrameMaps]:
        return predict_planes(self, image)

    def _outputs(self, images: torch.Tensor, statistics: Statistics | None = None) -> dict[str, torch.Tensor]:
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


# Several models -------------------------------------------------------------------------------------------------------


class Ensemble(BasePredictor):
    """Predict with several models, each with images prepared as it was trained; what they have in common is averaged.

    Heads of the same name become one. Each of its columns is the mean over the models that have it: of calibrated
    scores for labels (classes in the order of their numbers), of numbers, of maps in the size of the image. A class is
    decided by the mean of its thresholds, over the models that have one; if none has, it is never predicted.

    Args:
        members: the models, at least one.
        names: of the models, for messages; by default their numbers.

    Raises:
        UsageError: heads of the same name are of different kinds, units or classes, two heads have a column in common,
            or only some of the models take samples of several files.
    """

    def __init__(self, members: Sequence[Predictor], names: Sequence[str] | None = None) -> None:
        self.members = list(members)
        names = names or [f"model {number}" for number, _ in enumerate(members, start=1)]
        self.inputs = tuple(dict.fromkeys(name for member in members for name in member.inputs))
        self.tasks = tuple(dict.fromkeys(task for member in members for task in member.tasks))
        self.channels = _all_channels(members, names)
        # Each model sees its own; pictures show those of the first.
        self.stains = members[0].stains
        self._merged = merge([member.heads for member in members], names)

    @property
    def heads(self) -> list[Head]:
        """The merged heads, in the order of the models."""
        return [merged.head for merged in self._merged]

    def decoded(self, samples: Sequence[Sequence[Prepared]]) -> list[dict[str, Array]]:
        sums: list[dict[str, Array]] = [{} for _ in samples]
        for number, member in enumerate(self.members):
            # Added up at once: the maps of all models and images together would need much memory.
            for total, found in zip(sums, member.of_prepared([sample[number] for sample in samples]), strict=True):
                for merged in self._merged:
                    merged.add(number, found, total)
        return [{merged.head.name: merged.mean(total) for merged in self._merged} for total in sums]

    def planes(self, image: Array) -> Iterator[FrameMaps]:
        for found in zip(*(member.planes(image) for member in self.members), strict=True):
            names = dict.fromkeys(name for maps in found for name in maps)
            parts = {name: [maps[name] for maps in found if name in maps] for name in names}
            yield {name: np.mean(values, axis=0) if len(values) > 1 else values[0] for name, values in parts.items()}


@dataclass(frozen=True)
class Merged:
    """The heads of one name of all models.

    Attributes:
        head: that stands for all.
        parts: number of the model -> its head, and where the columns of that stand in the merged head.
    """

    head: Head
    parts: Mapping[int, tuple[Head, list[int]]]

    def add(self, number: int, found: Mapping[str, Array], total: dict[str, Array]) -> None:
        """Add what a model has found in an image to the sums of that image, head name -> K, or K x H x W."""
        if number not in self.parts:
            return
        head, places = self.parts[number]
        values = head.averaged(found[head.name])
        if head.name not in total:
            total[head.name] = np.zeros((self.head.channels, *values.shape[1:]))
        total[head.name][places] += values

    def mean(self, total: Mapping[str, Array]) -> Array:
        """Return the mean of the models' values: K, or K x H x W."""
        sums = total[self.head.name]
        counts = np.zeros(self.head.channels)
        for _, places in self.parts.values():
            counts[places] += 1
        return np.asarray(sums / counts.reshape(-1, *[1] * (sums.ndim - 1)), np.float32)


def merge(models: Sequence[Sequence[Head]], names: Sequence[str]) -> list[Merged]:
    """Return the merged heads of all models, in the order of the models; refuse what says not the same thing."""
    found: dict[str, dict[int, Head]] = {}
    for number, heads_of_one in enumerate(models):
        for head in heads_of_one:
            found.setdefault(head.name, {})[number] = head
    merged = []
    owners: dict[str, str] = {}
    for name, heads in found.items():
        for one, other in itertools.combinations(heads, 2):
            heads[one].refuse_unlike(heads[other], names[one], names[other])
        joined = type(next(iter(heads.values()))).merge(list(heads.values()))
        places = {column: place for place, column in enumerate(joined.columns)}
        parts = {number: (head, [places[column] for column in head.columns]) for number, head in heads.items()}
        merged.append(Merged(joined, parts))
        for column in joined.columns:
            if column in owners:
                raise UsageError(
                    f"'{column}' is predicted by the head {owners[column]} of one run and by {name} of another; "
                    "expected heads of the same name for what is to be merged"
                )
            owners[column] = name
    return merged


def _all_channels(members: Sequence[Predictor], names: Sequence[str]) -> Channels | None:
    """Return the stains that any of the models needs."""
    found = [member.channels for member in members]
    needed = list(dict.fromkeys(stain for channels in found if channels for stain in channels.names))
    if needed and None in found:
        one = next(name for name, channels in zip(names, found, strict=True) if channels)
        raise UsageError(
            f"{names[found.index(None)]}: takes each image from one file, {one} from one file for each stain; expected "
            "runs that can be given the same files"
        )
    return Channels(needed) if needed else None


@overload
def load(
    run_or_checkpoint: str | os.PathLike[str],
    *,
    device: str = ...,
    tta: str | None = ...,
    tta_merge: str = ...,
    trust: Sequence[str] = ...,
) -> Predictor: ...
@overload
def load(
    run_or_checkpoint: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: str = ...,
    tta: str | None = ...,
    tta_merge: str = ...,
    trust: Sequence[str] = ...,
) -> Predictor | Ensemble: ...
def load(
    run_or_checkpoint: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: str = "auto",
    tta: str | None = None,
    tta_merge: str = "mean",
    trust: Sequence[str] = (),
) -> Predictor | Ensemble:
    """Return the predictor of a run folder (its best checkpoint) or of a checkpoint file; of several, their ensemble.

    The files alone suffice: each holds a network's description, weights and preprocessing. They are loaded with
    ``weights_only=True``; nothing pickled is trusted.

    Args:
        run_or_checkpoint, more: the models.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: test-time augmentation, ``flips`` or ``all``; see :class:`visionlab.inference.tta.Views`.
        tta_merge: of its views, ``mean`` or ``max``.
        trust: packages of which the networks may be, whose code is run then.

    Raises:
        UsageError: there is no checkpoint, no such device or augmentation, or the models cannot be merged.
        DataError: a file is damaged or not a visionlab checkpoint.
    """
    names = [str(path) for path in (run_or_checkpoint, *more)]
    paths = [find_checkpoint(name) for name in names]
    real = [path.resolve() for path in paths]
    if len(set(real)) < len(real):
        twice = next(name for name, path in zip(names, real, strict=True) if real.count(path) > 1)
        raise UsageError(f"{twice}: given twice; expected different runs to merge")
    views = Views(tta, tta_merge) if tta is not None else None
    # Before the checkpoints, which may take a while.
    find_device(device)
    members = []
    for path in paths:
        content = read_checkpoint(path)
        members.append(Predictor(rebuild(path, content, trust), content["visionlab"], device, views=views))
    return Ensemble(members, names) if more else members[0]
