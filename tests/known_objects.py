"""A model of instances whose maps are known, and files of boxes whose centres are: for tests of what is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import torch
from torch import nn

from tests import shell
from visionlab.data.preprocess import Preprocess
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.segment import Parameters
from visionlab.inference.predictor import Predictor
from visionlab.inference.tta import Views
from visionlab.modules.task_model import FORMAT, Normalizer, TaskModel

Array = np.ndarray[Any, Any]
DARK, BRIGHT = 40, 200
VOXEL = (1.5, 0.25, 0.5)
"""Micrometres along z, y and x, where a file tells."""
CENTRES = [[(2, 10, 8), (4, 24, 30)], [(2, 12, 8), (4, 24, 26), (3, 5, 38)]]
"""z, y, x of the boxes of two time points, 3 x 7 x 5 voxels each."""


class Bright(nn.Module):
    """The logit of being brighter than ``level``, which lies halfway between the boxes and what is around them."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 10 * (image - self.level)


def head(name: str = "nuclei", *, fitted: bool = True) -> InstanceHead:
    """Return a head that finds connected bright pixels."""
    found = InstanceHead(
        name,
        share=0.1,
        separate="none",
        cells="filled",
        dimensions=3,
        metrics=["iou"],
        weight=1.0,
        activation="sigmoid",
    )
    found.set_parameters(Parameters(), fitted=fitted)
    return found


def predictor(
    level: float = 120 / 255,
    *,
    name: str = "nuclei",
    fitted: bool = True,
    views: Views | None = None,
    stains: tuple[int | str, ...] = (),
) -> Predictor:
    """Return a predictor of 8-bit gray images at their own scale."""
    spec = {"name": "known", "in_channels": 1, "out_channels": 1, "options": {}}
    model = TaskModel(Bright(level), spec, [head(name, fitted=fitted)], Normalizer("dataset", [0.0], [1.0]))
    about = {
        "format": FORMAT,
        "task": "celegans_nuclei",
        "module": "dense",
        "inputs": ["image"],
        "preprocess": Preprocess(1, 16, 16, "native", "uint8", stains=stains).spec(),
        "data": {"name": "a test", "synthetic": True, "fingerprint": ""},
        **model.spec(),
    }
    return Predictor(model, about, device="cpu", views=views)


def series(times: int = 2, planes: int = 7, height: int = 32, width: int = 44) -> Array:
    """Return T x Z x H x W uint8 with the boxes of ``CENTRES`` (those of the second time point from there on)."""
    values = np.full((times, planes, height, width), DARK, np.uint8)
    for time in range(times):
        for z, y, x in CENTRES[min(time, 1)]:
            values[time, z - 1 : z + 2, y - 3 : y + 4, x - 2 : x + 3] = BRIGHT
    return values


def write_run(folder: Path) -> Path:
    """Write what the command takes for a run, whose model is put in its place by the test."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"a model")
    return folder


def predict(monkeypatch: Any, found: Any, *arguments: object) -> int:
    """Run ``predict`` with this predictor in place of what the run's checkpoint holds; return the exit status."""
    monkeypatch.setattr("visionlab.inference.predictor.load", lambda *_, **__: found)
    return shell.run("predict", *arguments)


def imagej(path: Path, values: Array, axes: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    told = {"axes": axes, "spacing": VOXEL[0], "unit": "um", "finterval": 30.0}
    tifffile.imwrite(path, values, imagej=True, resolution=(1 / VOXEL[2], 1 / VOXEL[1]), metadata=told)
    return path


def plain(path: Path, values: Array, axes: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})
    return path


def table(out: Path, name: str = "objects") -> pd.DataFrame:
    return pd.read_csv(out / f"{name}.csv")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
