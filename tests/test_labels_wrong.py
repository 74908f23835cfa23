"""Wrong tables and files of labelled samples, through ``train`` and ``prepare``: status 1, the file named, no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import shell
from tests.conftest import SHARED, TINY
from tests.untrained import STAINS, write_png

SMALL = (*(text for text in TINY if text != "task=focus"), "task=protein_atlas")


def noise(number: int, height: int = 32, width: int = 32, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, np.iinfo(dtype).max, (height, width), dtype)


def write_set(root: Path, count: int = 14) -> Path:
    """Write ``count`` samples of four stains, s00 to s13, with two labels each."""
    rows = ["Id,Target"]
    for number in range(count):
        for place, stain in enumerate(STAINS):
            write_png(root / f"train/s{number:02d}_{stain}.png", noise(4 * number + place))
        rows.append(f"s{number:02d},{number % 3} {3 + number % 2}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    return root


def edit(root: Path, old: str, new: str) -> None:
    table = root / "train.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))


def incomplete(root: Path) -> dict[str, str]:
    """Spoil rows and names; return what must be named and what must be said of it."""
    (root / "train/s00_yellow.png").unlink()
    (root / "train/s01_green.png").rename(root / "train/s01_green.jpg")
    (root / "train/s02_blue.png").rename(root / "train/s02_Blue.png")
    shutil.copy(root / "train/s03_yellow.png", root / "train/s03_yellow.tif")
    edit(root, "s04,1 3", "s04,28 3")
    edit(root, "s05,2 4", "s05,Cytosol")
    edit(root, "s06,0 3", "s06,0 0")
    edit(root, "s07,1 4", "s07,1,4")
    edit(root, "s08,2 3", "s09,2 3")
    return {
        "train/s00_blue.png": "3 of 4 channels found, no s00_yellow.png",
        "train/s01_blue.png": "3 of 4 channels found, no s01_green.png",
        "train/s02_green.png": "3 of 4 channels found, no s02_blue.png",
        "train/s03_yellow.tif": "there is train/s03_yellow.png as well",
        "train.csv line 6": "there is no label '28'",
        "train.csv line 7": "there is no label 'Cytosol'",
        "train.csv line 8": "the Target '0 0' names a label twice",
        "train.csv line 9": "3 cells where the header has 2",
        "train.csv line 11": "the Id 's09' stands in train.csv line 10 as well",
    }


def spoilt(root: Path) -> dict[str, str]:
    """Spoil what files hold; return what must be named and what must be said of it."""
    write_png(root / "train/s00_yellow.png", noise(99, height=30))
    write_png(root / "train/s01_green.png", noise(99, dtype=np.uint16))
    write_png(root / "train/s02_blue.png", np.dstack([noise(97), noise(98), noise(99)]))
    for name in ("s03_yellow", "s04_red"):
        path = root / f"train/{name}.png"
        path.write_bytes(path.read_bytes()[:300])
    (root / "train/s05_yellow.png").write_bytes(b"")
    return {
        "train/s00_yellow.png": "30 x 32 pixels, where 32 x 32 were expected as in s00_red.png",
        "train/s01_green.png": "uint16 values, where uint8 were expected as in s01_red.png",
        "train/s02_blue.png": "expected one grey channel, found 3 that differ",
        "train/s03_yellow.png": "truncated PNG file: 300 bytes found, and its end is missing",
        "train/s04_red.png": "truncated PNG file: 300 bytes found, and its end is missing",
        "train/s05_yellow.png": "the file is empty",
    }


@pytest.mark.parametrize("spoil", [incomplete, spoilt])
def test_every_wrong_sample_is_named(
    spoil: Callable[[Path], dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "data")
    expected = spoil(root)
    said = refused(root, tmp_path / "runs", capsys)
    for text in said.values():
        for path, what in expected.items():
            assert any(f"{path}: {what}" in line for line in text.splitlines()), (path, text)
    assert f"{len(expected)} of 14 files cannot be used, as listed above and in" in said["prepare"].splitlines()[-1]
    assert sorted(entry.name for entry in (tmp_path / "runs/prepare").iterdir()) == ["prepare.log", "problems.csv"]
    problems = pd.read_csv(tmp_path / "runs/prepare/problems.csv").set_index("path")
    assert sorted(problems.index) == sorted(expected)
    assert set(problems["severity"]) == {"error"}
    assert problems["advice"].notna().all()
    assert all(expected[str(path)] in what for path, what in problems["what"].items())


def semicolons(root: Path) -> str:
    edit(root, ",", ";")
    return "data/train.csv: expected a table whose cells are divided by commas, found ';'; save it as CSV with commas"


def no_file_of_any_row(root: Path) -> str:
    edit(root, "\ns", "\nt")
    return "data/train, such as t00_red.png (or .tif), found none of them; data.images sets another folder"


@pytest.mark.parametrize("spoil", [semicolons, no_file_of_any_row])
def test_a_table_that_cannot_be_used_is_said_at_once(
    spoil: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "data", count=2)
    expected = spoil(root)
    for text in refused(root, tmp_path / "runs", capsys).values():
        assert text.splitlines()[-1].startswith("error: ")
        assert text.endswith(f"{expected}\n")


def test_copies_of_samples_in_two_splits_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "data", count=4)
    for path in sorted(root.glob("train/*")):
        shutil.copy(path, path.with_name(f"copy{path.name}"))
    with (root / "train.csv").open("a") as table:
        table.writelines(f"copys{number:02d},0\n" for number in range(4))
    said = refused(root, tmp_path / "runs", capsys)
    for number in range(4):
        copy = f"train/s{number:02d}_red.png: has the same pixels as train/copys{number:02d}_red.png"
        assert copy in said["prepare"]
    assert "error: " in said["train"]
    assert "train/copys" in said["train"]


def test_classes_that_no_validation_image_has_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"data.root={write_set(tmp_path / 'data')}", "data.classes=[7,9]", f"hydra.run.dir={tmp_path / 'run'}")
    assert shell.run("train", *SMALL, *words) == 1
    said = capsys.readouterr().err
    assert "error: heads.labels: expected a validation image of at least one class that is learnt" in said
    assert "found none of Golgi apparatus, Endosomes" in said
    assert not (tmp_path / "run").exists()


def refused(root: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Train and prepare, which must end with status 1, one error and nothing trained; return what each said."""
    said = {}
    for verb in ("train", "prepare"):
        assert shell.run(verb, *SMALL, f"data.root={root}", f"hydra.run.dir={runs / verb}") == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        said[verb] = captured.err
        assert "Traceback" not in captured.err
    assert len([line for line in said["train"].splitlines() if line.startswith("error: ")]) == 1
    assert [folder.name for folder in runs.iterdir()] == ["prepare"], "of the training nothing is left"
    return said


def test_samples_of_other_sizes_and_depths_pass(tmp_path: Path) -> None:
    """Alike within a sample they may differ between them; the set that the wrong ones are made from is good, too."""
    root = write_set(tmp_path / "data")
    for place, stain in enumerate(STAINS):
        write_png(root / f"train/s02_{stain}.png", noise(90 + place, height=40, width=48, dtype=np.uint16))
        (root / f"train/s03_{stain}.png").unlink()
    folder = tmp_path / "prepare"
    assert shell.run("prepare", *SMALL, f"data.root={root}", f"hydra.run.dir={folder}") == 0
    assert (folder / "problems.csv").read_text() == "path,severity,what,advice\n"
    card = json.loads((folder / "data_card.json").read_text())
    assert card["shapes"] == {"32x32": 12, "40x48": 1}, "a row without any file is left out"
    assert card["dtypes"] == {"uint8": 12, "uint16": 1}
    assert card["labels"]["labels"]["Nucleoplasm"].keys() == {"train", "val", "test"}
    assert sum(card["labels"]["labels"]["Nucleoplasm"].values()) == 4
    assert "Nuclear membrane" in (folder / "report.html").read_text()


@pytest.mark.shared_data
def test_real_samples_of_one_channel_each_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((SHARED / "protein_atlas/incomplete_single_channel").iterdir())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(files[0].parent)
    rows = [f"{path.stem.rpartition('_')[0]},0" for path in files]
    (tmp_path / "data/train.csv").write_text("\n".join(["Id,Target", *rows]) + "\n")
    for text in refused(tmp_path / "data", tmp_path / "runs", capsys).values():
        for path in files:
            (line,) = (line for line in text.splitlines() if f"train/{path.name}: " in line)
            assert "1 of 4 channels found, no " in line
    assert len(pd.read_csv(tmp_path / "runs/prepare/problems.csv")) == len(files) == 6
