"""Wrong files of data sets: ``prepare`` names all with advice, ``train`` ends with one error and leaves nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from tests.acceptance.conftest import TINY, Command, Ended

Array = np.ndarray[Any, Any]
STAINS = ("red", "green", "blue", "yellow")
RNG = np.random.default_rng(0)
Y, X = np.mgrid[:32, :32]


def noise(*shape: int, dtype: type = np.uint8) -> Array:
    return RNG.integers(0, np.iinfo(dtype).max, shape or (32, 32), dtype)


def png(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


# Sound sets ----------------------------------------------------------------------------------------------------------


def focus(root: Path) -> None:
    for number in range(20):
        png(root / f"well{number // 2}_{number}.00_{number % 2}.00.png", noise())


def labels(root: Path) -> None:
    rows = ["Id,Target"]
    for number in range(14):
        for stain in STAINS:
            png(root / "train" / f"s{number:02d}_{stain}.png", noise())
        rows.append(f"s{number:02d},{number % 3} {3 + number % 2}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")


def maps(root: Path) -> None:
    for number in range(12):
        background = number % 6
        mask = np.where(np.hypot(Y - 12 - number, X - 15) < 8, 255, 0).astype(np.uint8)
        depth = (1000 + number + 40 * Y + 10 * X).astype(np.uint16)
        for folder, image in (("fgbg", noise(32, 32, 3)), ("fgbgmask", mask), ("dense", depth)):
            png(root / folder / f"bg{background}" / "fg" / f"{number}.png", image)
        png(root / "bg" / f"bg{background}.png", np.full((32, 32, 3), 10 * background + 5, np.uint8))


def embryos(root: Path) -> None:
    ids = np.zeros((4, 32, 40), np.uint16)
    ids[1:3, 4:12, 4:12], ids[1:3, 4:12, 20:28] = 1, 2
    for sequence in ("01", "02", "03"):
        for time in range(2):
            write_tiff(root / sequence / f"t{time:03d}.tif", noise(4, 32, 40, dtype=np.uint16) // 4 + 400 * (ids > 0))
            write_tiff(root / f"{sequence}_ST" / "SEG" / f"man_seg{time:03d}.tif", ids)


def write_tiff(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values.astype(np.uint16), photometric="minisblack", metadata={"axes": "ZYX"})


# What is spoilt: the file that must be named, and a word that must be said of it --------------------------------------


def spoil_focus(root: Path) -> dict[str, str]:
    (root / "well0_0.00_0.00.png").rename(root / "noname.png")
    cut(root / "well1_2.00_0.00.png")
    tifffile.imwrite(root / "hole_1_2.tif", np.full((32, 32), np.nan, np.float32))
    shutil.copy(root / "well2_4.00_0.00.png", root / "zcopy_1_2.png")
    png(root / "alpha_1_2.png", noise(32, 32, 4))
    tifffile.imwrite(root / "float_1_2.tif", noise() / np.float32(255))
    tifffile.imwrite(root / "stack_1_2.tif", noise(2, 32, 32), photometric="minisblack")
    return {
        "noname.png": "name",
        "well1_2.00_0.00.png": "truncated",
        "hole_1_2.tif": "NaN",
        "zcopy_1_2.png": "well2_4.00_0.00.png",
        "alpha_1_2.png": "alpha",
        "float_1_2.tif": "float",
        "stack_1_2.tif": "2 (pages|planes)",
    }


def spoil_rows(root: Path) -> dict[str, str]:
    train, table = root / "train", root / "train.csv"
    (train / "s00_yellow.png").unlink()
    (train / "s01_green.png").rename(train / "s01_green.jpg")
    (train / "s02_blue.png").rename(train / "s02_Blue.png")
    shutil.copy(train / "s03_yellow.png", train / "s03_yellow.tif")
    text = table.read_text()
    for old, new in (
        ("s04,1 3", "s04,28 3"),
        ("s05,2 4", "s05,Cytosol"),
        ("s06,0 3", "s06,0 0"),
        ("s07,1 4", "s07,1,4"),
    ):
        assert old in text
        text = text.replace(old, new)
    table.write_text(text.replace("s08,", "s09,"))
    return {
        "train/s00_blue.png": "s00_yellow.png",
        "train/s01_blue.png": "s01_green.png",
        "train/s02_green.png": "s02_blue.png",
        "train/s03_yellow.tif": "s03_yellow.png",
        "train.csv line 6": "'28'",
        "train.csv line 7": "'Cytosol'",
        "train.csv line 8": "twice",
        "train.csv line 9": "3 cells",
        "train.csv line 11": "'s09'",
    }


def spoil_stains(root: Path) -> dict[str, str]:
    png(root / "train/s00_yellow.png", noise(30, 32))
    png(root / "train/s01_green.png", noise(dtype=np.uint16))
    png(root / "train/s02_blue.png", noise(32, 32, 3))
    cut(root / "train/s03_yellow.png")
    (root / "train/s05_yellow.png").write_bytes(b"")
    return {
        "train/s00_yellow.png": "30 x 32",
        "train/s01_green.png": "uint16",
        "train/s02_blue.png": "3",
        "train/s03_yellow.png": "truncated",
        "train/s05_yellow.png": "empty",
    }


def spoil_pairs(root: Path) -> dict[str, str]:
    (root / "fgbgmask/bg0/fg/0.png").unlink()
    (root / "bg/bg1.png").unlink()
    return {"fgbg/bg0/fg/0.png": "fgbgmask/bg0/fg/0.png", "fgbg/bg1/fg/1.png": "bg/bg1.png"}


def spoil_maps(root: Path) -> dict[str, str]:
    png(root / "fgbgmask/bg0/fg/0.png", np.where(X[:20] > 9, 255, 0).astype(np.uint8))
    png(root / "dense/bg1/fg/1.png", np.full((32, 32), 1500, np.uint16))
    png(root / "dense/bg2/fg/2.png", np.zeros((32, 32), np.uint16))
    png(root / "dense/bg3/fg/3.png", np.stack([X, Y, X * Y], axis=2).astype(np.uint16))
    png(root / "fgbgmask/bg4/fg/4.png", (X * 8).astype(np.uint8))
    cut(root / "fgbg/bg5/fg/5.png")
    return {
        "fgbgmask/bg0/fg/0.png": "20 x 32",
        "dense/bg1/fg/1.png": "1500",
        "dense/bg2/fg/2.png": "known",
        "dense/bg3/fg/3.png": "3 channels",
        "fgbgmask/bg4/fg/4.png": "two values",
        "fgbg/bg5/fg/5.png": "truncated",
    }


def spoil_embryos(root: Path) -> dict[str, str]:
    write_tiff(root / "01_ST/SEG/man_seg001.tif", np.ones((4, 30, 40)))
    cut(root / "02_ST/SEG/man_seg000.tif")
    cut(root / "03/t001.tif")
    said = {"01_ST/SEG/man_seg001.tif": "30 x 40"}
    return said | {"02_ST/SEG/man_seg000.tif": "truncated|damaged", "03/t001.tif": "truncated|damaged"}


SETS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "focus": (focus, TINY["focus"]),
    "labels": (labels, TINY["protein_atlas"]),
    "maps": (maps, (*TINY["depth_mask"], "model=shuffle_unet")),
    "embryos": (embryos, TINY["celegans_nuclei"]),
}
SPOILT = [
    ("focus", spoil_focus),
    ("labels", spoil_rows),
    ("labels", spoil_stains),
    ("maps", spoil_pairs),
    ("maps", spoil_maps),
    ("embryos", spoil_embryos),
]


def typed(command: Command, verb: str, name: str, root: Path, out: Path, *words: str) -> Ended:
    return command(verb, *SETS[name][1], f"data.root={root}", *words, f"hydra.run.dir={out}")


@pytest.mark.acceptance
@pytest.mark.parametrize("name", SETS)
def test_the_sets_that_are_spoilt_below_are_sound(name: str, command: Command, tmp_path: Path) -> None:
    SETS[name][0](tmp_path / "data")
    ended = typed(command, "prepare", name, tmp_path / "data", tmp_path / "out")
    assert ended.status == 0, ended.err
    problems = pd.read_csv(tmp_path / "out" / "problems.csv")
    assert not (problems["severity"] == "error").any()


@pytest.mark.parametrize(("name", "spoil"), SPOILT, ids=[spoil.__name__ for _, spoil in SPOILT])
def test_every_wrong_file_is_named(
    name: str, spoil: Callable[[Path], dict[str, str]], command: Command, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    SETS[name][0](root)
    expected = spoil(root)
    ended = typed(command, "prepare", name, root, tmp_path / "out")
    assert ended.status == 1 and "Traceback" not in ended.err and ended.out == ""
    problems = pd.read_csv(tmp_path / "out" / "problems.csv")
    wrong = problems[problems["severity"] == "error"].set_index("path")
    assert sorted(wrong.index) == sorted(expected)
    assert wrong["advice"].notna().all()
    said = wrong["what"].to_dict()
    assert [path for path, word in expected.items() if not re.search(word, said[path])] == [], said
    assert f"{len(expected)} of " in ended.err.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["prepare.log", "problems.csv"]
    ended = typed(command, "train", name, root, tmp_path / "run")
    assert ended.status == 1 and "Traceback" not in ended.err
    assert sum(line.startswith("error: ") for line in ended.err.splitlines()) == 1
    assert any(path in ended.err for path in expected)
    assert not (tmp_path / "run").exists()


def remove(root: Path, pattern: str) -> None:
    for path in root.glob(pattern):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def rewrite(root: Path, old: str, new: str) -> None:
    table = root / "train.csv"
    table.write_text(table.read_text().replace(old, new))


# A set that can't be used at all: what is done to it, and what must be said.
WHOLE: dict[str, tuple[str, Callable[[Path], None], tuple[str, ...]]] = {
    "no image": ("focus", lambda root: remove(root, "*"), ("data",)),
    "one group": ("focus", lambda root: remove(root, "well[1-9]*"), ("group",)),
    "semicolons": ("labels", lambda root: rewrite(root, ",", ";"), ("train.csv", "';'", "commas")),
    "no file of any row": ("labels", lambda root: rewrite(root, "\ns", "\nt"), ("t00_red.png", "data.images")),
    "no mask": ("maps", lambda root: remove(root, "fgbgmask"), ("mask",)),
    "no depth": ("maps", lambda root: remove(root, "dense"), ("~heads.depth",)),
    "no labels": ("embryos", lambda root: remove(root, "0?_ST"), ("01",)),
}


@pytest.mark.acceptance
@pytest.mark.parametrize("case", WHOLE)
def test_a_set_that_cannot_be_used_is_one_sentence(case: str, command: Command, tmp_path: Path) -> None:
    name, spoil, words = WHOLE[case]
    root = tmp_path / "data"
    SETS[name][0](root)
    spoil(root)
    for verb in ("prepare", "train"):
        ended = typed(command, verb, name, root, tmp_path / verb)
        assert ended.status in (1, 2) and "Traceback" not in ended.err and ended.out == ""
        sentence = ended.err[ended.err.index("error: ") :]
        assert [word for word in words if word not in sentence] == [], sentence
    assert not (tmp_path / "train").exists()


def test_copies_of_samples_are_named_and_classes_need_a_validation_image(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "data"
    labels(root)
    ended = typed(command, "train", "labels", root, tmp_path / "run", "data.classes=[7,9]")
    assert ended.status == 1 and "Golgi apparatus" in ended.err and not (tmp_path / "run").exists()
    for path in sorted(root.glob("train/*")):
        shutil.copy(path, path.with_name(f"copy{path.name}"))
    with (root / "train.csv").open("a") as table:
        table.writelines(f"copys{number:02d},0\n" for number in range(14))
    for verb in ("prepare", "train"):
        ended = typed(command, verb, "labels", root, tmp_path / verb)
        assert ended.status == 1 and "train/copys" in ended.err and "Traceback" not in ended.err


@pytest.mark.acceptance
def test_samples_may_differ_in_size_and_depth(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "data"
    labels(root)
    for stain in STAINS:
        png(root / f"train/s02_{stain}.png", noise(40, 48, dtype=np.uint16))
        (root / f"train/s03_{stain}.png").unlink()
    assert typed(command, "prepare", "labels", root, tmp_path / "out").status == 0
    index = pd.read_csv(tmp_path / "out" / "data_index.csv")
    assert len(index) == 13, "a row without any file is left out"
    assert sorted(set(index["dtype"])) == ["uint16", "uint8"]
