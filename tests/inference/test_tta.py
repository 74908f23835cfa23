"""Test-time augmentation: which views there are, how they are merged, and that maps are turned back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import visionlab
from tests import shell
from tests.untrained import labels, numbers, planes, predictor, write_run, write_samples
from visionlab.errors import UsageError
from visionlab.heads.mask.head import MaskHead
from visionlab.inference.tta import Views

IMAGE = np.dstack(list(planes(3).values()))
FLIPS = [lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1], lambda a: a[::-1, ::-1]]
# The transposes: all that mirrors and turns by 90 degrees can make of a square.
ALL = [*FLIPS, *(lambda a, flip=flip: flip(a.swapaxes(0, 1)) for flip in FLIPS)]


class Place(nn.Module):
    """Knows where things are: weights of each pixel."""

    def __init__(self, outputs: int, dense: bool = False, size: tuple[int, int] = (16, 16)) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.weights = nn.Parameter(torch.from_numpy(rng.normal(size=(outputs, 4, *size)).astype(np.float32)))
        self.dense = dense

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = image[:, None] * self.weights
        return found.sum(dim=2) if self.dense else found.sum(dim=(2, 3, 4))


def mask() -> MaskHead:
    return MaskHead("mask", share=0.5, metrics=[], weight=1.0, activation="sigmoid")


def seen(one: Any, views: list[Any], image: Any = IMAGE) -> Any:
    """Return what a predictor without augmentation says of each view, N x K."""
    return np.array([list(one.predict(np.ascontiguousarray(view(image))).values.values()) for view in views])


@pytest.mark.parametrize("name", ["flips", "all"])
def test_calibration_and_thresholds_come_after_merging(name: str) -> None:
    head = labels((0, 1), [0.3, 0.7])
    raw = predictor([head], Place(2), channels=4, views=Views(name)).predict(IMAGE).values
    head.calibration.copy_(torch.tensor([[0.5, 1.0], [2.0, -1.0]]))
    found = predictor([head], Place(2), channels=4, views=Views(name)).predict(IMAGE)
    logits = np.log(np.array(list(raw.values())) / (1 - np.array(list(raw.values()))))
    expected = 1 / (1 + np.exp(-(logits * [0.5, 2.0] + [1.0, -1.0])))
    np.testing.assert_allclose(list(found.values.values()), expected, rtol=1e-4)
    assert found.labels == tuple(c for c, p, t in zip(head.columns, expected, [0.3, 0.7], strict=True) if p >= t)


@pytest.mark.parametrize("merge", ["mean", "max"])
@pytest.mark.parametrize(("name", "views"), [("flips", FLIPS), ("all", ALL)])
def test_maps_are_turned_back(name: str, views: list[Any], merge: str) -> None:
    network = Place(1, dense=True)
    plain = predictor([mask()], network, channels=4)
    found = predictor([mask()], network, channels=4, views=Views(name, merge)).predict(IMAGE).mask
    where = np.arange(256).reshape(16, 16)
    each = []
    for view in views:
        values = np.empty(256, np.float32)
        # Where each pixel of the view lies in the image.
        values[view(where)] = plain.predict(np.ascontiguousarray(view(IMAGE))).mask
        each.append(values.reshape(16, 16))
    np.testing.assert_allclose(found, getattr(np.array(each), merge)(axis=0), rtol=1e-5)


def test_transposes_need_square_images() -> None:
    network = Place(1, size=(8, 16))
    with pytest.raises(
        UsageError, match="tta 'all': expected a model of square images, found one of 8 x 16 pixels; us"
    ):
        predictor([numbers("x")], network, channels=4, size=(8, 16), views=Views("all"))
    wide = predictor([numbers("x")], network, channels=4, size=(8, 16), views=Views("flips")).predict(IMAGE[:8])
    plain = predictor([numbers("x")], network, channels=4, size=(8, 16))
    assert wide.x == pytest.approx(seen(plain, FLIPS, IMAGE[:8]).mean(), rel=1e-5)


def test_the_shell_augments_as_python_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", [labels((0, 1))])
    folder = write_samples(tmp_path / "test", ["a", "b"])
    tables = {}
    for options in ((), ("--tta", "flips"), ("--tta", "all", "--tta-merge", "max")):
        assert shell.run("predict", run, folder, "--out", tmp_path / "out", "--device", "cpu", *options) == 0
        tables[options] = pd.read_csv(tmp_path / "out" / "predictions.csv")["value"].tolist()
    for options, more in zip(tables, ({}, {"tta": "flips"}, {"tta": "all", "tta_merge": "max"}), strict=True):
        loaded = visionlab.load(run, device="cpu", **more)
        expected = [v for name in "ab" for v in loaded.predict(folder / name).values.values()]
        assert tables[options] == pytest.approx(expected, abs=1e-5)
    assert len({tuple(values) for values in tables.values()}) == 3
    capsys.readouterr()
    for options, message in (
        (("--tta", "flip"), "'flip' is not one of 'flips', 'all'"),
        (("--tta-merge", "max"), "--tta-merge: it goes with --tta"),
    ):
        assert shell.run("predict", run, folder, "--out", tmp_path / "out", *options) == 2
        assert message in capsys.readouterr().err
    for wrong, message in (
        ({"tta": "flip"}, "tta 'flip': expected flips or all. Did you mean 'flips'"),
        ({"tta": "all", "tta_merge": "median"}, "tta_merge 'median': expected mean or max"),
    ):
        with pytest.raises(UsageError, match=message):
            visionlab.load(run, **wrong)
