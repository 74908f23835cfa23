"""``prepare``: what is wrong with a data set is said before anything is trained on it, all of it at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest

from tests import shell

RNG = np.random.default_rng(0)


def prepare(root: Path, out: Path, *overrides: str) -> int:
    """Run the command on a set of numbers; return the exit status."""
    return shell.run(
        "prepare", "task=focus", "data.image_size=32", f"data.root={root}", *overrides, f"hydra.run.dir={out}"
    )


def problems(out: Path) -> dict[str, str]:
    """Return {file: severity}."""
    table = pd.read_csv(out / "problems.csv")
    return {Path(path).name: severity for path, severity in zip(table["path"], table["severity"], strict=True)}


def test_the_report_is_of_the_data(focus_root: Path, tmp_path: Path) -> None:
    assert prepare(focus_root, tmp_path, "data.folds=3", "data.fold=1") == 0
    page = (tmp_path / "report.html").read_text()
    for text in ("every file can be used", str(focus_root), "Image sizes", "32x32 (42)", "data:image/png;base64,"):
        assert text in page
    for text in ("Metrics", "not finished", "visionlab.resume", "visionlab.predict", "not available"):
        assert text not in page
    # The command to go on with keeps the settings, but for how the splits were drawn.
    train = next(line for line in page.splitlines() if "visionlab.train" in line)
    assert "data.image_size=32" in train
    assert f"data.split_file={tmp_path / 'splits.json'}" in train
    assert "fold" not in train


def test_only_chosen_groups_are_checked_and_warnings_do_not_stop_it(
    focus_root: Path,
    tmp_path: Path,
    write_png: Callable[[Path, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    shutil.copytree(focus_root, root)
    next((root / "images").glob("field000*.png")).write_text("text")
    # The same in two splits, as when a lamp failed twice: equal, but no copies of an image.
    for group in ("field001", "field002"):
        write_png(root / "images" / f"{group}_1_2.png", np.full((32, 32), 7, np.uint8))
    out = tmp_path / "out"
    assert prepare(root, out, "data.exclude=[field000]") == 0
    assert problems(out) == {"field001_1_2.png": "warning", "field002_1_2.png": "warning"}
    assert "warning: images/field001_1_2.png: all values are 7" in capsys.readouterr().err
    assert "all values are 7" in (out / "report.html").read_text()
    assert len(pd.read_csv(out / "data_index.csv")) == 37
    assert prepare(root, tmp_path / "other", "data.include=[field000]") == 1
    assert "1 of 7 files cannot be used" in capsys.readouterr().err
    assert set(problems(tmp_path / "other").values()) == {"error"}


def test_colour_is_judged_by_what_the_network_takes(
    focus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(focus_root, root)
    path = root / "images" / "field001_1_2.png"
    path.write_bytes(imagecodecs.png_encode(RNG.integers(0, 255, (32, 32, 3), np.uint8)))
    assert prepare(root, tmp_path / "colour", "data.channels=3") == 0
    assert problems(tmp_path / "colour") == {}
    assert prepare(root, tmp_path / "four", "data.channels=4") == 1
    assert "43 of 43 files cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["splits.json", "config.yaml"])
def test_what_is_there_is_kept(name: str, focus_root: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    assert prepare(focus_root, tmp_path) == 2
    assert (tmp_path / name).read_text() == "{}"
