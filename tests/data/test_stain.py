"""What is done to images of microscopes in training is done in measuring and predicting: channel, percentiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import visionlab
from tests import shell
from tests.conftest import TINY, train
from tests.datasets.test_lineage import Write, make
from visionlab import samples
from visionlab.errors import ConfigError
from visionlab.io import read_image
from visionlab.training.evaluation import evaluate_other


def stained(source: Path, root: Path) -> Path:
    """Write a focus set as hyperstacks of two channels, of which the second is the image."""
    rng = np.random.default_rng(0)
    for path in source.rglob("*.png"):
        image = read_image(path)[..., 0]
        other = rng.integers(0, np.iinfo(image.dtype).max, image.shape, image.dtype)
        target = root / path.relative_to(source).with_suffix(".ome.tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        told: Any = {"axes": "CYX", "Channel": {"Name": ["noise", "GFP"]}}
        tifffile.imwrite(target, np.stack([other, image]), ome=True, photometric="minisblack", metadata=told)
    return root


@pytest.fixture(scope="module")
def stained_root(focus_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stained(focus_root, tmp_path_factory.mktemp("stained"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hyperstacks that no run has seen."""
    folder = tmp_path_factory.mktemp("others")
    samples.write("focus", folder / "plain", seed=9, fields=2, heights=5, image_size=32)
    return stained(folder / "plain", folder / "stained")


@pytest.fixture(scope="module")
def stained_run(stained_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "stained", f"data.root={stained_root}", "data.stain=GFP")


def test_without_a_choice_training_names_the_channels(
    stained_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["task=focus", f"data.root={stained_root}", f"hydra.run.dir={tmp_path / 'run'}"]
    for command in ("train", "prepare"):
        assert shell.run(command, *settings) == 1
        assert "holds the channels 0 (noise), 1 (GFP), which are no colours" in capsys.readouterr().err
    assert shell.run("train", *settings, "data.channels=[0,1]", "data.stain=0") == 2
    assert "data.stain: expected null with data.channels=[0, 1]" in capsys.readouterr().err
    assert shell.run("prepare", *settings, "data.stain=DAPI") == 1
    assert "has no channel DAPI" in capsys.readouterr().err
    assert shell.run("prepare", *settings, "data.stain=1") == 0


def test_what_is_learnt_of_a_channel_is_what_is_learnt_of_it_alone(
    stained_run: Path, tiny_run: Path, stained_root: Path, focus_root: Path, others: Path, tmp_path: Path
) -> None:
    names = ["distance_true", "distance_pred"]
    one, other = (pd.read_csv(run / "predictions" / "test.csv") for run in (stained_run, tiny_run))
    assert one[names].to_numpy().tolist() == other[names].to_numpy().tolist()
    predictor, plain = visionlab.load(stained_run), visionlab.load(tiny_run)
    assert predictor.description["preprocess"]["stains"] == ["GFP"]
    assert plain.description["preprocess"]["stains"] == []
    path = next(stained_root.rglob("*.tif"))
    single = next(focus_root.rglob(f"{path.name.removesuffix('.ome.tif')}.png"))
    assert predictor.predict(path).values == plain.predict(single).values
    # Files of one channel, and arrays, are taken as that channel.
    assert (
        predictor.predict(single).values == predictor.predict(read_image(single)).values == plain.predict(single).values
    )
    assert shell.run("evaluate", stained_run, "--data", others, "--out", tmp_path / "measured") == 0
    assert shell.run("predict", stained_run, path, "--out", tmp_path / "out") == 0


def test_samples_of_a_file_for_each_stain_have_none_to_choose() -> None:
    from visionlab.datasets.protein_atlas import ProteinAtlasDataModule

    with pytest.raises(ConfigError, match=r"data\.stain: expected null where each stain has a file"):
        ProteinAtlasDataModule(root="sample", stain=0)  # type: ignore[call-arg]


def test_percentiles_are_those_of_training_on_another_folder(
    tmp_path: Path, write_png: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = make(tmp_path / "embryos", write_png)
    settings = [text for text in TINY if text != "task=focus"]
    options = ["task=celegans_lineage", f"data.root={root}", "data.normalize=percentile", "data.batch_size=4"]
    run = visionlab.train(*settings, *options, f"hydra.run.dir={tmp_path / 'run'}")  # type: ignore[operator]
    own = json.loads((run / "metrics.json").read_text())
    held = json.loads((run / "splits.json").read_text())["test"]
    table = pd.read_csv(root / "lineage.csv", dtype=str)
    other = tmp_path / "other"
    for name in held:
        shutil.copytree(root / name, other / name)
    table[table["sequence"].isin(held)].to_csv(other / "lineage.csv", index=False)
    again = json.loads((evaluate_other(run, other, None, "cpu") / "metrics.json").read_text())
    for name, entry in again.items():
        if entry["value"] is not None:
            assert entry["value"] == pytest.approx(own[name]["value"], rel=1e-4), name
