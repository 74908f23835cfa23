"""Models with known answers and runs that were never trained, for what comes after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from torch import nn

from visionlab import models
from visionlab.data.preprocess import Preprocess
from visionlab.heads.head import Head
from visionlab.heads.labels.head import MultilabelHead
from visionlab.heads.regression.head import RegressionHead
from visionlab.inference import Prediction, load
from visionlab.inference.predictor import Predictor
from visionlab.inference.tta import Views
from visionlab.modules.task_model import FORMAT, Normalizer, TaskModel

Array = np.ndarray[Any, Any]
STAINS = ("red", "green", "blue", "yellow")
NAMES = {0: "Nucleoplasm", 1: "Nuclear membrane", 2: "Nucleoli", 16: "Cytokinetic bridge", 25: "Cytosol"}
NAN = float("nan")


class Means(nn.Module):
    """The means of the channels times ``weights`` (K x C): the same for an image and its mirror images."""

    def __init__(self, weights: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        # In double precision, in which no order of the pixels gives another sum.
        means: torch.Tensor = image.double().mean(dim=(2, 3)).float() @ self.weights.T
        return means


def labels(ids: Sequence[int] = tuple(NAMES), thresholds: Sequence[float] | None = None) -> MultilabelHead:
    """Return a head for these classes; without ``thresholds`` none are fitted."""
    head = MultilabelHead("labels", [NAMES[n] for n in ids], ids=ids, positives=[1.0] * len(ids), total=10.0)
    if thresholds is not None:
        head.thresholds.copy_(torch.tensor(thresholds))
        head.fitted.fill_(True)
    return head


def numbers(*columns: str, unit: str = "um", name: str = "distance") -> RegressionHead:
    """Return a head of these numbers, whose raw channels are the values."""
    return RegressionHead(name, columns, mean=[0.0] * len(columns), std=[1.0] * len(columns), unit=unit)


def model(
    heads: Sequence[Head], network: nn.Module | str, stains: Sequence[str], channels: int, size: tuple[int, int]
) -> tuple[TaskModel, dict[str, Any]]:
    """Return a model and what its checkpoint says of it; a network by name gets weights that tell images apart."""
    channels = channels or len(stains)
    outputs = sum(head.channels for head in heads)
    name = network if isinstance(network, str) else "resnet18"
    if isinstance(network, str):
        network = models.build(network, channels, outputs)
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.3)
    spec = {"name": name, "in_channels": channels, "out_channels": outputs, "options": {}}
    found = TaskModel(network, spec, heads, Normalizer("dataset", [0.0] * channels, [1.0] * channels))
    about = {
        "format": FORMAT,
        "task": "protein_atlas",
        "module": "multilabel",
        "inputs": ["image"],
        "channels": list(stains),
        "preprocess": Preprocess(channels, *size, fit="stretch", dtype="uint8").spec(),
        "data": {"name": "a test", "synthetic": True, "fingerprint": ""},
    }
    return found, {**about, **found.spec()}


def predictor(
    heads: Sequence[Head],
    network: nn.Module,
    stains: Sequence[str] = (),
    *,
    channels: int = 0,
    size: tuple[int, int] = (16, 16),
    views: Views | None = None,
) -> Predictor:
    """Return a predictor with a network of known answers, of stains or of images with so many channels."""
    return Predictor(*model(heads, network, stains, channels, size), device="cpu", views=views)


def write_run(
    folder: Path,
    heads: Sequence[Head],
    stains: Sequence[str] = STAINS,
    *,
    network: str = "test_resnet",
    channels: int = 0,
    size: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> Path:
    """Write the checkpoint of a model that was never trained, where a run has it; return the run folder."""
    torch.manual_seed(seed)
    found, about = model(heads, network, stains, channels, size)
    weights = {f"model.{name}": value for name, value in found.state_dict().items()}
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"visionlab": about, "state_dict": weights}, folder / "checkpoints" / "best.ckpt")
    return folder


def write_png(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def planes(number: int, size: int = 16) -> dict[str, Array]:
    """Return the stains of a sample, like no other number's."""
    rng = np.random.default_rng(number)
    top = rng.integers(30, 256, 4)
    return {stain: rng.integers(0, top[k], (size, size)).astype(np.uint8) for k, stain in enumerate(STAINS)}


def write_samples(folder: Path, ids: Sequence[str]) -> Path:
    """Write four files for each Id; return the folder."""
    for number, name in enumerate(ids):
        for stain, plane in planes(number).items():
            write_png(folder / f"{name}_{stain}.png", plane)
    return folder


def write_decisive_run(folder: Path) -> Path:
    """Write a run by which each class but the last is decided for one of ``planes(0..5)``: some have none."""
    begun = load(write_run(folder / "begun", [labels()], seed=5), device="cpu")
    scores = np.sort([list(begun.predict(planes(number)).values.values()) for number in range(6)], axis=0)
    thresholds = [*scores[-2:, :-1].mean(axis=0).tolist(), NAN]
    return write_run(folder / "run", [labels(thresholds=thresholds)], seed=5)


def predicted(run: Path, folder: Path) -> dict[str, Prediction]:
    """Return {Id: prediction} of the samples a to f of a folder."""
    one = load(run, device="cpu")
    return {name: one.predict(folder / name) for name in "abcdef"}
