"""A kind of head that visionlab hasn't: the files of its folder, and of a data set and task with it."""

from __future__ import annotations

INIT = '''
"""A direction in the plane of the image."""

import numpy as np

from visionlab.heads.kind import Kind, Option
from visionlab.metrics.metric import Metric, mean, stack


def _error(rows: np.ndarray) -> np.ndarray:
    true, pred = rows.T
    return stack(np.abs((pred - true + 180) % 360 - 180), np.ones_like(true))


KIND = Kind(
    name="direction",
    head="visionlab.heads.direction.head.DirectionHead",
    target="visionlab.heads.direction.target.TARGET",
    figures="visionlab.heads.direction.figures",
    module="regressor",
    activations=("none",),
    metrics={"turn": Metric("turn", "min", True, _error, mean)},
    gives="directions",
    losses="mse",
    options={"start": Option("east", ("east", "north"))},
)
'''
HEAD = '''
"""A head of directions: learnt as a point of the unit circle, given in degrees."""

import numpy as np
import torch

from visionlab.heads.direction import KIND
from visionlab.heads.head import Head

ZERO = {"east": 0.0, "north": 90.0}


class DirectionHead(Head):
    kind = KIND
    own_spec = {"start": str, "angle": str}

    def __init__(self, name, columns, *, angle, start, usual=0.0, **options):
        super().__init__(name, columns, **options)
        self.angle, self.start = angle, start
        self.register_buffer("usual", torch.tensor(usual))

    @classmethod
    def columns_of(cls, name, data, options):
        return (f"{name}_x", f"{name}_y")

    @classmethod
    def statistics(cls, name, data):
        radians = np.deg2rad(data.values(name, "train"))
        usual = np.rad2deg(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean()))
        return {"angle": data.targets[name][0], "usual": float(usual) % 360}

    def describe(self):
        return {**super().describe(), "columns": [self.angle]}

    def point(self, degrees):
        radians = torch.deg2rad(degrees - ZERO[self.start])
        return torch.cat([radians.cos(), radians.sin()], dim=1)

    def loss(self, raw, target, function):
        return function(raw, self.point(target))

    def decode(self, raw):
        return (torch.rad2deg(torch.atan2(raw[:, 1:], raw[:, :1])) + ZERO[self.start]) % 360

    def baseline(self, target):
        return self.usual.to(target).expand_as(target)

    def rows(self, decoded, target):
        return torch.cat([target.to(decoded.dtype), decoded], dim=1)

    def table(self, rows):
        return {f"{self.angle}_true": rows[:, 0], f"{self.angle}_pred": rows[:, 1]}

    def values(self, decoded):
        return {self.angle: (float(decoded[0]), self.unit)}
'''
TARGET = '''
"""Directions are columns of the index."""

from visionlab.data.definition import Target

TARGET = Target()
'''
FIGURES = '''
"""How far directions are off."""

from visionlab.drawing import style
from visionlab.heads.figures import Drawing, Figures


def errors(t):
    (true,), (pred,) = (values.T for values in t.values("_true", "_pred"))
    figure = style.new(7, 4)
    axes = figure.subplots()
    axes.hist((pred - true + 180) % 360 - 180)
    return style.finish(figure, f"How far {t.head} is off", t.caption())


FIGURES = Figures(
    key="turn",
    baseline="always predicting the mean direction",
    drawings={"errors": Drawing(errors, "How far directions are off.")},
)
'''
PICTURES = '''
"""Images with their direction under them."""

from visionlab.heads.pictures import Parts, best_worst

pictures = best_worst


def show(head, spec, samples):
    said = [f"{float(sample.true[head][0]):.0f}" for sample in samples]
    said = [
        f"{x} -> {float(sample.pred[head][0]):.0f}" if head in sample.pred else x
        for x, sample in zip(said, samples, strict=True)
    ]
    return Parts([()] * len(samples), [[x] for x in said], note="degrees")
'''
KIND = {
    "__init__.py": INIT,
    "head.py": HEAD,
    "target.py": TARGET,
    "figures.py": FIGURES,
    "pictures.py": PICTURES,
}
"""File of ``heads/direction/`` -> its content."""

LINE = '"direction": "visionlab.heads.direction",'
"""The one line by which the kind is known."""

DATA = '''
"""Images that are brighter towards one side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from visionlab.data.module import ImageDataModule


class CompassDataModule(ImageDataModule):
    """Images named <plate>_<degrees>.png; groups are plates."""

    task: ClassVar[str] = "compass"
    targets: Mapping[str, tuple[str, ...]] = {"heading": ("degrees",)}
    kinds: Mapping[str, str] = {"heading": "direction"}

    def index(self, root: Path) -> pd.DataFrame:
        rows = []
        for path in sorted(Path(root).glob("*.png")):
            plate, degrees = path.stem.split("_")
            rows.append((path.stem, plate, path.name, float(degrees)))
        return pd.DataFrame(rows, columns=["id", "group", "path", "degrees"])
'''
YAML = """
# @package _global_
# Where an image is brightest: an example with a kind of head of its own.
defaults:
  - override /model: resnet18
  - override /loss: mse

task: compass
module: regressor

data:
  _target_: visionlab.datasets.compass.CompassDataModule

heads:
  heading:
    kind: direction
    unit: deg
    start: north
    metrics: [turn]

monitor: val/heading/turn
mode: min
"""
