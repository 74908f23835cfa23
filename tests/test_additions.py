"""What an addition costs: two files make a task, a folder and a line a kind of head; tried in a copy of the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from tests import shell
from tests.conftest import ROOT
from tests.heads import new_kind

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
SETTINGS = (
    *("model=timm", "model.name=test_resnet", "data.image_size=32", "data.batch_size=8", "trainer.max_epochs=1"),
    *("logger.graph=false", "trainer.accelerator=cpu", "callbacks.images.count=2"),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's code."""
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def add_task(project: Path, name: str, data: str, yaml: str) -> None:
    (project / "src" / "visionlab" / "datasets" / f"{name}.py").write_text(data)
    (project / "conf" / "task" / f"{name}.yaml").write_text(yaml)


def write(folder: Path, name: str, image: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    (folder / f"{name}.png").write_bytes(imagecodecs.png_encode(pixels))


# Runs one command after the other in one process, which imports torch once.
DRIVER = """
import importlib, json, sys
for verb, *words in json.loads(sys.argv[1]):
    sys.argv = [verb, *words]
    try:
        importlib.import_module(f"visionlab.{verb}").main()
    except SystemExit as end:
        assert not end.code, verb
"""


def walk(project: Path, task: str, images: Path) -> tuple[str, Path]:
    """Train, resume, evaluate, predict and report; return what was said, and the run folder."""
    run, out = project / "run", project / "out"
    typed = (
        ("train", f"task={task}", f"data.root={images}", f"hydra.run.dir={run}", *SETTINGS),
        ("resume", str(run), "trainer.max_epochs=2"),
        ("evaluate", str(run), "--split", "val"),
        ("predict", str(run), str(images), "--out", str(out)),
        ("report", str(run)),
    )
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(typed)],
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, run


def test_two_files_make_a_task(project: Path, tmp_path: Path) -> None:
    add_task(project, "brightness", DATA, YAML)
    rng = np.random.default_rng(0)
    for plate in "abcdef":
        for brightness in range(40, 200, 30):
            contrast = int(rng.integers(5, 30))
            write(tmp_path / "images", f"{plate}_{brightness}_{contrast}", rng.normal(brightness, contrast, (32, 32)))
    said, run = walk(project, "brightness", tmp_path / "images")
    assert "test/light/brightness/mae" in said and "test/light/mae" in said
    table = pd.read_csv(project / "out" / "predictions.csv")
    assert len(table) == 2 * 36 and set(table["name"]) == {"brightness", "contrast"}
    assert (run / "report.html").is_file()


def test_a_folder_and_a_line_make_a_kind_of_head(project: Path, tmp_path: Path) -> None:
    heads = project / "src" / "visionlab" / "heads"
    (heads / "direction").mkdir()
    for name, content in new_kind.KIND.items():
        (heads / "direction" / name).write_text(content)
    table = (heads / "__init__.py").read_text()
    before = '    "multilabel": '
    assert table.count(before) == 1
    (heads / "__init__.py").write_text(table.replace(before, f"    {new_kind.LINE}\n{before}"))
    add_task(project, "compass", new_kind.DATA, new_kind.YAML)
    y, x = np.mgrid[:32, :32] / 31 - 0.5
    noise = np.random.default_rng(0)
    for plate in "abcdef":
        for degrees in range(0, 360, 45):
            angle = np.deg2rad(degrees)
            bright = noise.normal(128 + 160 * (np.cos(angle) * x - np.sin(angle) * y), 5)
            write(tmp_path / "images", f"{plate}_{degrees}", bright)
    said, run = walk(project, "compass", tmp_path / "images")
    assert "test/heading/turn" in said
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"val/heading/turn", "test/heading/turn"} == set(metrics)
    assert metrics["test/heading/turn"]["unit"] == "deg"
    assert metrics["test/heading/turn"]["value"] < 180
    assert {"degrees_true", "degrees_pred"} <= set(pd.read_csv(run / "predictions" / "test.csv"))
    table_of_all = pd.read_csv(project / "out" / "predictions.csv")
    assert len(table_of_all) == 48 and set(table_of_all["name"]) == {"degrees"}
    assert table_of_all["value"].between(0, 360).all() and set(table_of_all["unit"]) == {"deg"}
    about = json.loads((run / "run.json").read_text())["heads"]["heading"]
    assert about["kind"] == "direction"
    report = (run / "report.html").read_text()
    assert "How far heading is off" in report or "How far directions are off" in report
    settings = ("task=compass", f"data.root={tmp_path}", "heads.heading.start=south")
    wrong = shell.separate("train", *settings, cwd=project, PYTHONPATH=str(project / "src"))
    assert wrong.returncode == 2 and "heads.heading.start: expected one of east, north" in wrong.stderr
