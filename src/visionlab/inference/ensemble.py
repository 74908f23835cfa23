"""Several models as one: folds, seeds, groups of classes, or models of different things."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import overload

from visionlab.data.channels import Channels
from visionlab.errors import UsageError
from visionlab.heads.head import Head
from visionlab.inference.base import BasePredictor, to_prediction
from visionlab.inference.checkpoint import read_checkpoint, rebuild
from visionlab.inference.files import find_checkpoint
from visionlab.inference.merging import merge
from visionlab.inference.prediction import Array, Prediction, Ready, Sources, prepare
from visionlab.inference.predictor import Predictor, find_device
from visionlab.inference.tta import Views


class Ensemble(BasePredictor[list[Ready]]):
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
        self._merged = merge([member.heads for member in members], names)

    @property
    def heads(self) -> list[Head]:
        """The merged heads, in the order of the models."""
        return [merged.head for merged in self._merged]

    def _prepare(self, sources: Sources) -> list[Ready]:
        stains = self.channels.names if self.channels else ()
        return prepare(sources, [member.intake for member in self.members], stains)

    def _predict(self, samples: Sequence[list[Ready]]) -> list[Prediction]:
        sums: list[dict[str, Array]] = [{} for _ in samples]
        for number, member in enumerate(self.members):
            # Added up at once: the maps of all models and images together would need much memory.
            outcomes = member.outcomes([sample[number] for sample in samples])
            for total, found in zip(sums, outcomes, strict=True):
                for merged in self._merged:
                    merged.add(number, found, total)
        return [
            to_prediction(self.heads, {merged.head.name: merged.mean(total) for merged in self._merged}, sample[0].path)
            for sample, total in zip(samples, sums, strict=True)
        ]


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
    run_or_checkpoint: str | os.PathLike[str], *, device: str = ..., tta: str | None = ..., tta_merge: str = ...
) -> Predictor: ...
@overload
def load(
    run_or_checkpoint: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: str = ...,
    tta: str | None = ...,
    tta_merge: str = ...,
) -> Predictor | Ensemble: ...
def load(
    run_or_checkpoint: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    device: str = "auto",
    tta: str | None = None,
    tta_merge: str = "mean",
) -> Predictor | Ensemble:
    """Return the predictor of a run folder (its best checkpoint) or of a checkpoint file; of several, their ensemble.

    The files alone suffice: each holds a network's description, weights and preprocessing. They are loaded with
    ``weights_only=True``; nothing pickled is trusted.

    Args:
        run_or_checkpoint, more: the models.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: test-time augmentation, ``flips`` or ``all``; see :class:`visionlab.inference.tta.Views`.
        tta_merge: of its views, ``mean`` or ``max``.

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
        members.append(Predictor(rebuild(path, content), content["visionlab"], device, views=views))
    return Ensemble(members, names) if more else members[0]
