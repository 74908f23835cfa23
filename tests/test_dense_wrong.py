"""Wrong files of a dense data set, through ``train`` and ``prepare``: status 1, the file named, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import dense, shell
from tests.dense import png

WRONG = "bg2/fg2/0"
Y, X = np.mgrid[:32, :32]


def other_size(root: Path) -> None:
    png(root / "fgbgmask" / f"{WRONG}.png", np.where(X[:20] > 9, 255, 0).astype(np.uint8))


def no_mask(root: Path) -> None:
    (root / "fgbgmask" / f"{WRONG}.png").unlink()


def no_background(root: Path) -> None:
    (root / "bg" / "bg2.png").unlink()


def one_depth(root: Path) -> None:
    png(root / "dense" / f"{WRONG}.png", np.full((32, 32), 1500, np.uint16))


def all_holes(root: Path) -> None:
    png(root / "dense" / f"{WRONG}.png", np.zeros((32, 32), np.uint16))


def coloured_depth(root: Path) -> None:
    png(root / "dense" / f"{WRONG}.png", np.stack([X, Y, X * Y], axis=2).astype(np.uint16))


def grey_mask(root: Path) -> None:
    png(root / "fgbgmask" / f"{WRONG}.png", (X * 8).astype(np.uint8))


def too_small(root: Path) -> None:
    image, mask, depth = dense.scene(50, (10, 40))
    mask[:2] = 255
    for folder, content in (("fgbg", image), ("fgbgmask", mask), ("dense", depth)):
        png(root / folder / f"{WRONG}.png", content)


def cut_image(root: Path) -> None:
    path = root / "fgbg" / f"{WRONG}.png"
    path.write_bytes(path.read_bytes()[:500])


def mixed_depth(root: Path) -> None:
    png(root / "dense" / f"{WRONG}.png", dense.scene(2)[2].astype(np.uint8))


# What is wrong -> the file that must be named, and what must be said of it.
CASES: dict[Callable[[Path], None], tuple[str, str]] = {
    other_size: (f"fgbgmask/{WRONG}.png", "20 x 32 pixels, but its image"),
    no_mask: (f"fgbg/{WRONG}.png", f"has no mask: expected 'fgbgmask/{WRONG}.png'"),
    no_background: (f"fgbg/{WRONG}.png", "has no background: expected 'bg/bg2.png'"),
    one_depth: (f"dense/{WRONG}.png", "every known value of the depth map is 1500, which teaches nothing"),
    all_holes: (f"dense/{WRONG}.png", "a depth map without a known value in 1024 pixels"),
    coloured_depth: (f"dense/{WRONG}.png", "expected a depth map of one value a pixel, found 3 channels that differ"),
    grey_mask: (f"fgbgmask/{WRONG}.png", "expected a mask of two values, found 30 more"),
    too_small: (f"fgbg/{WRONG}.png", "10 x 40 pixels, smaller than the window of SSIM (11 x 11)"),
    cut_image: (f"fgbg/{WRONG}.png", "truncated PNG file"),
    mixed_depth: (f"dense/{WRONG}.png", "uint8"),
}


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
def test_a_wrong_file_is_named(
    change: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = dense.write_nested(tmp_path / "data", backgrounds=4, places=1)
    change(root)
    path, what = CASES[change]
    runs = tmp_path / "runs"
    for verb in ("train", "prepare"):
        settings = [*dense.SMALL, f"data.root={root}", f"hydra.run.dir={runs / verb}"]
        assert shell.run(verb, *settings) == 1
        said = capsys.readouterr()
        assert said.out == ""
        # `prepare` names each file as it goes, and sums up in the end.
        text = said.err if verb == "train" else (runs / "prepare" / "prepare.log").read_text()
        assert "Traceback" not in said.err + text
        assert any(path in line and what in line for line in text.splitlines()), text
        errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
        if verb == "train":
            assert len(errors) == 1
        else:
            assert "cannot be used, as listed above and in" in errors[-1]
    # Of the training nothing is left; the check leaves what it found.
    assert [folder.name for folder in runs.iterdir()] == ["prepare"]
    assert sorted(entry.name for entry in (runs / "prepare").iterdir()) == ["prepare.log", "problems.csv"]
    problems = pd.read_csv(runs / "prepare" / "problems.csv")
    found = problems[(problems["path"] == path) & (problems["severity"] == "error")]
    assert len(found) == 1
    assert what.split(": expected")[0].split(" pixels, but")[0] in found["what"].iloc[0]


@pytest.mark.parametrize("verb", ["train", "prepare"])
def test_geometry_in_the_list_for_images_is_refused(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*dense.SMALL, f"hydra.run.dir={tmp_path / 'run'}", "augment.image=[{transform:Rotate}]"]
    assert shell.run(verb, *settings, f"data.root={tmp_path}") == 2
    said = capsys.readouterr().err
    assert "error: augment.image: Rotate moves pixels, so maps must follow it; write it in augment.joint" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_is_good_passes(tmp_path: Path) -> None:
    """The set that the wrong ones are made from has nothing else wrong with it."""
    root = dense.write_nested(tmp_path / "data", backgrounds=4, places=1)
    assert shell.run("prepare", *dense.SMALL, f"data.root={root}", f"hydra.run.dir={tmp_path / 'prepare'}") == 0
    assert (tmp_path / "prepare" / "problems.csv").read_text() == "path,severity,what,advice\n"
    assert {"splits.json", "data_index.csv", "report.html", "plots"} <= {
        p.name for p in (tmp_path / "prepare").iterdir()
    }
    card = (tmp_path / "prepare" / "data_index.csv").read_text()
    assert card.startswith("id,group,split,path,")
    for column in ("mask_share", "depth_min", "depth_max", "depth_known"):
        assert column in card.splitlines()[0]
