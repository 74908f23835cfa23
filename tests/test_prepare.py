"""``prepare``: what is wrong with a data set is said before anything is trained on it, all of it at once."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from tests import celegans, shell
from visionlab.config.compose import compose_run
from visionlab.errors import DataError, UsageError
from visionlab.prepare import run as prepare
from visionlab.training.registry import REGISTRY

COMMAND = "python -m visionlab.prepare"
RNG = np.random.default_rng(0)


def run(root: Path, out: Path, *overrides: str) -> Path:
    """Prepare ``root`` as the command does, in this process."""
    settings = ["task=focus", "data.image_size=32", f"data.root={root}", *overrides]
    cfg, _ = compose_run(settings, REGISTRY, root="prepare")
    out.mkdir(exist_ok=True)
    return prepare(cfg, out, " ".join([COMMAND, *settings]))


def problems(out: Path) -> dict[str, dict[str, str]]:
    with (out / "problems.csv").open(newline="") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def prepared(focus_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a good set leaves."""
    return run(focus_root, tmp_path_factory.mktemp("prepared"), "data.folds=3", "data.fold=1")


@pytest.fixture
def bad(focus_root: Path, tmp_path: Path) -> Path:
    """A copy of the set in which one file after the other is spoilt."""
    root = tmp_path / "bad"
    shutil.copytree(focus_root, root)
    first, second, third, fourth, fifth = sorted((root / "images").glob("field000*.png"))[:5]
    first.write_bytes(first.read_bytes()[:150])
    second.write_bytes(b"")
    third.rename(root / "images" / "noname.png")
    fourth.unlink()
    tifffile.imwrite(fourth.with_name("hole_1_2.tif"), np.full((32, 32), np.nan, np.float32))
    fifth.write_text("text")
    copied = min((root / "images").glob("field001*.png"))
    shutil.copy(copied, root / "images" / "zcopy_1_2.png")
    noise = RNG.integers(0, 255, (32, 32, 5), np.uint8)
    (root / "images" / "alpha_1_2.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(noise[:, :, :4])))
    tifffile.imwrite(root / "images" / "five_1_2.tif", noise, planarconfig="contig")
    tifffile.imwrite(root / "images" / "float_1_2.tif", noise[:, :, 0] / np.float32(255))
    tifffile.imwrite(root / "images" / "stack_1_2.tif", noise[:2])
    return root


def test_the_report_is_of_the_data(prepared: Path, focus_root: Path) -> None:
    page = (prepared / "report.html").read_text()
    for text in ("every file can be used", str(focus_root), "Image sizes", "32x32 (42)", "data:image/png;base64,"):
        assert text in page
    for text in ("Metrics", "not finished", "visionlab.resume", "visionlab.predict", "not available"):
        assert text not in page
    # The command to go on with keeps the settings, but for how the splits were drawn.
    train = next(line for line in page.splitlines() if "visionlab.train" in line)
    assert "data.image_size=32" in train
    assert f"data.split_file={prepared / 'splits.json'}" in train
    assert "fold" not in train


def test_only_chosen_groups_are_checked(bad: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    (bad / "images" / "noname.png").unlink()
    only_bad = "data.exclude=[field000,hole,alpha,five,float,stack,zcopy]"
    out = run(bad, tmp_path / "out", only_bad)
    assert problems(out) == {}
    assert len(pd.read_csv(out / "data_index.csv")) == 35
    other = run(bad, tmp_path / "other", "data.include=[field00*]", "data.exclude=[field000]")
    assert set(pd.read_csv(other / "data_index.csv")["group"]) == {"field001", "field003", "field004"}
    with pytest.raises(DataError, match="3 of 5 files cannot be used"):
        run(bad, tmp_path / "third", "data.include=[field000]")
    assert {name[:8] for name in problems(tmp_path / "third")} == {"field000"}
    with pytest.raises(DataError, match=r"data.include: 'plate9' matches none"):
        run(bad, tmp_path / "fourth", "data.include=[plate9]")


def test_warnings_do_not_stop_it(
    focus_root: Path, tmp_path: Path, write_png: Callable[[Path, object], None], caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    root = tmp_path / "data"
    shutil.copytree(focus_root, root)
    # The same in two splits, as when a lamp failed twice: equal, but no copies of an image.
    for group in ("field000", "field001"):
        write_png(root / "images" / f"{group}_1_2.png", np.full((32, 32), 7, np.uint8))
    out = run(root, tmp_path / "out")
    assert problems(out)["field001_1_2.png"]["severity"] == "warning"
    assert "warning: images/field001_1_2.png: all values are 7" in caplog.text
    assert "all values are 7" in (out / "report.html").read_text()


def test_colour_is_judged_by_what_the_network_takes(focus_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(focus_root, root)
    path = root / "images" / "field001_1_2.png"
    path.write_bytes(imagecodecs.png_encode(RNG.integers(0, 255, (32, 32, 3), np.uint8)))
    assert problems(run(root, tmp_path / "gray")) == {}
    assert problems(run(root, tmp_path / "colour", "data.channels=3")) == {}
    with pytest.raises(DataError, match="43 of 43 files cannot be used"):
        run(root, tmp_path / "four", "data.channels=4")


@pytest.mark.parametrize("name", ["splits.json", "config.yaml"])
def test_what_is_there_is_kept(name: str, focus_root: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match="expected a new folder"):
        run(focus_root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_prepare_says_what_it_found_once_and_names_files_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    celegans.challenge(tmp_path / "a", {"01": 2, "02": 2, "03": 2})
    settings = ["task=celegans_nuclei", "data.image_size=8", "data.num_workers=0", f"data.cache_dir={tmp_path / 'c'}"]
    settings.append(f"data.root={tmp_path / 'a'}")
    assert shell.run("prepare", *settings, f"hydra.run.dir={tmp_path / 'one'}") == 0
    assert capsys.readouterr().err.count("ctc layout") == 1
    path = tmp_path / "a" / "01_ST" / "SEG" / "man_seg001.tif"
    tifffile.imwrite(path, tifffile.imread(path) * 0.3, photometric="minisblack", metadata={"axes": "ZYX"})
    assert shell.run("prepare", *settings, f"hydra.run.dir={tmp_path / 'two'}") == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if "whole numbers" in line)
    assert line.count("man_seg001.tif") == 1
