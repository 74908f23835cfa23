"""A task is two files, one in datasets/ and one in conf/task/: added to a copy of the project, it works throughout."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest

from tests import shell
from tests.conftest import ROOT

DATA = '''
"""Grey squares and how bright they are: two targets an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from visionlab.data.module import ImageDataModule


class BrightnessDataModule(ImageDataModule):
    """Images named <plate>_<brightness>_<contrast>.png; groups are plates."""

    task: ClassVar[str] = "brightness"
    targets: Mapping[str, tuple[str, ...]] = {"light": ("brightness", "contrast")}

    def index(self, root: Path) -> pd.DataFrame:
        rows = []
        for path in sorted(Path(root).glob("*.png")):
            plate, brightness, contrast = path.stem.split("_")
            rows.append((path.stem, plate, path.name, float(brightness), float(contrast)))
        return pd.DataFrame(rows, columns=["id", "group", "path", "brightness", "contrast"])
'''
YAML = """
# @package _global_
# How bright an image is: an example with two numbers an image.
defaults:
  - override /model: resnet18
  - override /loss: huber

task: brightness
module: regressor

data:
  _target_: visionlab.datasets.brightness.BrightnessDataModule

heads:
  light:
    kind: regression
    metrics: [mae, rmse]

monitor: val/light/mae
mode: min
"""


@pytest.mark.slow
def test_two_files_make_a_task(tmp_path: Path) -> None:
    import imagecodecs
    import numpy as np

    project = tmp_path / "project"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "src" / "visionlab" / "datasets" / "brightness.py").write_text(DATA)
    (project / "conf" / "task" / "brightness.yaml").write_text(YAML)
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for plate in "abcdef":
        for brightness in range(40, 200, 30):
            contrast = int(rng.integers(5, 30))
            pixels = np.clip(rng.normal(brightness, contrast, (32, 32)), 0, 255).astype(np.uint8)
            (images / f"{plate}_{brightness}_{contrast}.png").write_bytes(imagecodecs.png_encode(pixels))

    def command(verb: str, *arguments: str) -> str:
        done = shell.separate(verb, *arguments, cwd=tmp_path, PYTHONPATH=str(project / "src"))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    where = command("train", "task=brightness", "--cfg", "job")
    assert "visionlab.datasets.brightness.BrightnessDataModule" in where
    run = tmp_path / "run"
    settings = textwrap.dedent(
        """model=timm model.name=test_resnet data.image_size=32 data.batch_size=8 trainer.max_epochs=1
        logger.graph=false trainer.accelerator=cpu"""
    ).split()
    output = command("train", "task=brightness", f"data.root={images}", f"hydra.run.dir={run}", *settings)
    assert "test/light/brightness/mae" in output
    assert "test/light/mae" in output
    command("resume", str(run), "trainer.max_epochs=2")
    command("predict", str(run), str(images), "--out", str(tmp_path / "out"))
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(list(images.iterdir()))
    assert {line.split(",")[1] for line in lines[1:]} == {"brightness", "contrast"}
    assert (run / "report.html").is_file()
