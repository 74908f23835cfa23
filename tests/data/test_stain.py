"""A channel of microscope files is chosen once, for training, measuring and predicting alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import visionlab
from tests import shell
from tests.conftest import train
from visionlab import samples
from visionlab.errors import ConfigError
from visionlab.io import read_image


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
    assert "stains" not in plain.description["preprocess"]
    path = next(stained_root.rglob("*.tif"))
    single = next(focus_root.rglob(f"{path.name.removesuffix('.ome.tif')}.png"))
    assert predictor.predict(path).values == plain.predict(single).values
    # Files of one channel, and arrays, are taken as that channel.
    assert (
        predictor.predict(single).values == predictor.predict(read_image(single)).values == plain.predict(single).values
    )
    assert shell.run("evaluate", stained_run, "--data", others, "--out", tmp_path / "measured") == 0
    assert shell.run("predict", stained_run, path, "--out", tmp_path / "out") == 0


def test_several_channels_are_seen_side_by_side(stained_root: Path, others: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", f"data.root={stained_root}", "data.channels=[1,noise]", "trainer.max_epochs=1")
    predictor = visionlab.load(run)
    path = next(stained_root.rglob("*.tif"))
    array = np.concatenate([read_image(path, (1,)), read_image(path, (0,))], axis=2)
    assert predictor.predict(path).values == predictor.predict(array).values
    assert predictor.description["preprocess"]["channels"] == 2
    assert shell.run("evaluate", run, "--data", others, "--out", tmp_path / "measured") == 0


def test_samples_of_a_file_for_each_stain_have_none_to_choose() -> None:
    from visionlab.datasets.protein_atlas import ProteinAtlasDataModule

    with pytest.raises(ConfigError, match=r"data\.stain: expected null where each stain has a file"):
        ProteinAtlasDataModule(root="sample", stain=0)  # type: ignore[call-arg]
