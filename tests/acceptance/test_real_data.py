"""Real images through the commands: every sample is found, grouped, checked and cached. Skipped where they are not."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tests.acceptance.conftest import Command
from tests.conftest import SHARED

pytestmark = pytest.mark.shared_data

SCENES = "^(.*?)(?:-[0-9]+|-opaque|-transparent)$"
# What is prepared -> samples, groups.
SETS = {
    ("focus", "focus"): (303, 13),
    ("depth_mask", "depth_mask"): (26, 10),
    ("depth_mask", "depth_mask", f"data.group_pattern='{SCENES}'"): (26, 7),
    ("protein_atlas", "protein_atlas"): (83, 83),
    ("protein_atlas", "protein_atlas", "data.table=subset.csv"): (83, 83),
    ("celegans_nuclei", "celegans/BBBC050_ctc"): (22 * 51, 20),
}


def prepare(command: Command, folder: Path, task: str, root: Path, *settings: str) -> pd.DataFrame:
    """Return the index that ``prepare`` writes, of a set in which nothing is wrong."""
    ended = command("prepare", f"task={task}", f"data.root={root}", *settings, f"hydra.run.dir={folder}")
    assert ended.status == 0, ended.err
    problems = pd.read_csv(folder / "problems.csv")
    assert problems.loc[problems["severity"] == "error", "path"].tolist() == []
    return pd.read_csv(folder / "data_index.csv", dtype={"id": str, "group": str})


def pixels(path: Path) -> npt.NDArray[np.int64]:
    decode = imagecodecs.jpeg_decode if path.suffix == ".jpg" else imagecodecs.png_decode
    return np.asarray(decode(path.read_bytes()), np.int64)


@pytest.mark.parametrize("what", SETS, ids=" ".join)
def test_every_sample_can_be_used(what: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    task, name, *settings = what
    index = prepare(command, tmp_path / "prepared", task, SHARED / name, "data.image_size=64", *settings)
    assert (len(index), index["group"].nunique()) == SETS[what]
    assert index.groupby("group")["split"].nunique().max() == 1


def test_float_depth_through_a_table(command: Command, tmp_path: Path) -> None:
    root = (SHARED / "depth_mask").resolve()
    suffixes = {path.stem: path.suffix for path in (root / "fg_bg").iterdir()}
    rows = [
        f"{root}/fg_bg/{path.stem}{suffixes[path.stem]},{root}/fg_bg_mask/{path.stem}.png,{path},{path.stem}"
        for path in sorted((root / "depth_float").iterdir())
    ]
    (tmp_path / "list.csv").write_text("\n".join(["image,mask,depth,group", *rows]))
    settings = (f"data.table={tmp_path / 'list.csv'}", "data.image_size=64")
    assert len(prepare(command, tmp_path / "prepared", "depth_mask", root, *settings)) == 26


def test_samples_of_one_stain_each_are_all_named(command: Command, tmp_path: Path) -> None:
    files = sorted((SHARED / "protein_atlas" / "incomplete_single_channel").iterdir())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(files[0].parent.resolve())
    rows = [f"{path.stem.rpartition('_')[0]},0" for path in files]
    (tmp_path / "data" / "train.csv").write_text("\n".join(["Id,Target", *rows]) + "\n")
    folder = tmp_path / "prepared"
    ended = command("prepare", "task=protein_atlas", f"data.root={tmp_path / 'data'}", f"hydra.run.dir={folder}")
    assert ended.status == 1
    assert [path.name in ended.err for path in files] == [True] * 6
    assert len(pd.read_csv(folder / "problems.csv")) == 6


def test_photographs_are_composed_with_exact_masks(command: Command, tmp_path: Path) -> None:
    parts = SHARED / "depth_mask" / "eva4_parts"
    for kind in ("bg", "fg"):
        (tmp_path / kind).mkdir()
        for path in sorted((parts / kind).iterdir())[:3]:
            (tmp_path / kind / path.name).symlink_to(path.resolve())
    made = (f"make.backgrounds={tmp_path / 'bg'}", f"make.cutouts={tmp_path / 'fg'}", "make.per_pair=1", "~heads.depth")
    prepare(command, tmp_path / "prepared", "depth_mask", tmp_path / "set", "make=composite", *made)
    for path in sorted((tmp_path / "set" / "fgbg").rglob("*.jpg")):
        part = path.relative_to(tmp_path / "set" / "fgbg")
        mask = pixels((tmp_path / "set" / "fgbgmask" / part).with_suffix(".png")) > 0
        before = pixels(tmp_path / "set" / "bg" / f"{part.parts[0]}.jpg")
        change = np.abs(pixels(path) - before).max(2)
        assert 0.005 < mask.mean() < 0.6
        assert np.median(change[mask]) > 20
        assert np.median(change[~mask]) < 4
