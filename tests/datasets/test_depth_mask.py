"""Task ``depth_mask``: three layouts, files that fit their image, what is unknown, units, inputs and splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from tests.dense import Array, data_module, png, scene, task_module, write_nested
from visionlab.config.compose import compose
from visionlab.data.describe import check_files
from visionlab.data.splits import Splits
from visionlab.datasets import depth_mask
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.files import Scan
from visionlab.training.assembly import make_data

Y, X = np.mgrid[:32, :32]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def scan(root: Path, **changed: Any) -> Scan:
    options = {"layout": "auto", "table": None, "per_background": 4000, "group_pattern": None}
    return depth_mask.scan(root, **{**options, **changed})


def index(root: Path, **changed: Any) -> pd.DataFrame:
    return scan(root, **changed).usable(root)


def errors(root: Path, **changed: Any) -> dict[str, str]:
    return {problem.path: problem.what for problem in scan(root, **changed).problems if problem.severity == "error"}


def published(root: Path, *numbers: int) -> Path:
    for number in numbers:
        touch(root, f"images/fgbg{number:06d}.jpg", f"depth/fgbg{number:06d}.jpg", f"masks/mask{number:06d}.jpg")
    return root


def twins(root: Path, *stems: str) -> Path:
    for stem in stems:
        touch(root, f"fg_bg/{stem}.jpg", f"fg_bg_mask/{stem}.png", f"fg_bg_depth/{stem}.tif")
    return root


def cells(root: Path, *samples: str) -> Path:
    """Nested: each sample is BACKGROUND/FOREGROUND/NAME."""
    for sample in samples:
        touch(root, *(f"{folder}/{sample}.jpg" for folder in ("fgbg", "fgbgmask", "dense")))
        touch(root, f"bg/{sample.split('/')[0]}.jpg")
    return root


def write_table(root: Path, *lines: str) -> Path:
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


# Flat ---------------------------------------------------------------------------------------------------------------


def test_published_names_pair_by_number_and_group_by_background(tmp_path: Path) -> None:
    numbers = ("000000", "003999", "004000", "008000")
    assert index(published(tmp_path, 8000, 3999, 0, 4000)).to_dict("list") == {
        "id": [f"fgbg{number}" for number in numbers],
        "group": ["bg0", "bg0", "bg1", "bg2"],
        "path": [f"images/fgbg{number}.jpg" for number in numbers],
        "mask_path": [f"masks/mask{number}.jpg" for number in numbers],
        "depth_path": [f"depth/fgbg{number}.jpg" for number in numbers],
    }
    assert index(tmp_path, per_background=2000)["group"].tolist() == ["bg0", "bg1", "bg2", "bg4"]


@pytest.mark.parametrize(
    "folders",
    [
        ("images", "masks", "depth", "background"),
        ("Image", "mask", "depths", "backgrounds"),
        ("fgbg", "fgbgmask", "dense", "bg"),
        ("fg_bg", "fg_bg_mask", "fg_bg_depth", "BG"),
    ],
)
def test_equal_names_of_any_type_pair(tmp_path: Path, folders: tuple[str, ...]) -> None:
    image, mask, depth, background = folders
    paths = [f"{image}/sub/b.PNG", f"{mask}/sub/b.jpeg", f"{depth}/sub/b.npy", f"{background}/sub/b.tiff"]
    touch(tmp_path, *paths, f"{image}/a.jpeg", f"{mask}/a.tif", f"{depth}/a.png", f"{background}/a.png")
    touch(tmp_path, "notes.txt", "fg/cut.png", f"{image}/.hidden.png", f"{mask}/readme.md")
    table = index(tmp_path)
    assert table["id"].tolist() == ["a", "sub/b"]
    assert table.iloc[1].tolist() == ["sub/b", "sub/b", *paths]


def test_missing_partners_are_named_with_the_expected_path(tmp_path: Path) -> None:
    touch(published(tmp_path, 1, 2, 3), "depth/fgbg000009.jpg")
    (tmp_path / "masks/mask000002.jpg").unlink()
    found = scan(tmp_path)
    assert found.table["mask_path"].tolist() == ["masks/mask000001.jpg", "masks/mask000003.jpg"]
    assert [(problem.path, problem.what.split(",")[0]) for problem in found.problems] == [
        ("images/fgbg000002.jpg", "has no mask: expected 'masks/mask000002.jpg'"),
        ("depth/", "1 of its 4 files belong to no image and are not used: depth/fgbg000009.jpg"),
    ]
    touch(tmp_path / "a", "images/a.png", "masks/x.png")
    with pytest.raises(DataError, match=r"masks/: none of its 1 files .* expected e\.g\. masks/a\.png, found masks/x"):
        index(tmp_path / "a")


def test_no_image_gets_the_mask_of_another(tmp_path: Path) -> None:
    twins(tmp_path / "a", "cup-0", "cup-1", "pan-0")
    (tmp_path / "a/fg_bg_mask/pan-0.png").unlink()
    assert scan(tmp_path / "a").table["mask_path"].tolist() == ["fg_bg_mask/cup-0.png", "fg_bg_mask/cup-1.png"]
    assert list(errors(tmp_path / "a")) == ["fg_bg/pan-0.jpg"], "number 0 ends two names"
    touch(tmp_path / "b", "images/img1.png", "images/img2.png", "masks/m1.png", "masks/m01.png", "masks/m2.png")
    touch(tmp_path / "c", "images/img1.png", "images/img01.png", "masks/m1.png", "masks/m2.png", "masks/m3.png")
    touch(tmp_path / "d", "images/img1.png", "images/img2.png", "images/m1.png", *(f"masks/m{n}.png" for n in (1, 2)))
    for name in "bc":
        with pytest.raises(DataError, match="none of its 3 files belongs to an image by its name"):
            index(tmp_path / name)
    assert list(errors(tmp_path / "d")) == ["images/img1.png", "images/img2.png"]


def test_numbers_pair_whatever_their_zeros_and_strays(tmp_path: Path) -> None:
    touch(tmp_path / "a", "images/0000.png", "images/0010.png", "masks/0.png", "masks/10.png")
    assert index(tmp_path / "a")["mask_path"].tolist() == ["masks/0.png", "masks/10.png"]
    pairs = [f"{name}{number}.png" for number in range(3) for name in ("images/img", "masks/m")]
    touch(tmp_path / "b", "images/preview.png", *pairs)
    found = scan(tmp_path / "b")
    assert found.table["mask_path"].tolist() == ["masks/m0.png", "masks/m1.png", "masks/m2.png"]
    assert [problem.path for problem in found.problems] == ["images/preview.png"]


# Groups -------------------------------------------------------------------------------------------------------------


def test_groups_by_the_names_before_numbers_or_by_a_pattern(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    twins(tmp_path, "cup-0", "cup-1", "cup-4000", "pan-0", "glass-a")
    assert index(tmp_path)["group"].tolist() == ["cup-bg0", "cup-bg0", "cup-bg1", "glass-a", "pan-bg0"]
    assert "1 of 5 images are each a group of their own" in caplog.text and "data.group_pattern" in caplog.text
    assert index(tmp_path, group_pattern="^(.*)-[^-]+$")["group"].tolist() == ["cup", "cup", "cup", "glass", "pan"]
    assert list(errors(tmp_path, group_pattern="(?:cup-([0-9]+)|pan-([a-z]?))")) == [
        "fg_bg/glass-a.jpg",
        "fg_bg/pan-0.jpg",
    ]
    for pattern, words in (("(", "regular expression"), ("bg[0-9]+", "parenthesis")):
        with pytest.raises(ConfigError, match=rf"data\.group_pattern: .*{words}"):
            index(tmp_path, group_pattern=pattern)


# Nested and table ---------------------------------------------------------------------------------------------------


def test_nested_folders_give_group_foreground_and_one_background(tmp_path: Path) -> None:
    table = index(cells(tmp_path, "bg 002/017/003", "bg 001/017/001", "b1/x", "b2/f/day1/x"))
    assert list(table) == ["id", "group", "path", "mask_path", "depth_path", "background_path", "foreground"]
    assert table.to_numpy().tolist() == [
        [key, group, f"fgbg/{key}.jpg", f"fgbgmask/{key}.jpg", f"dense/{key}.jpg", f"bg/{group}.jpg", foreground]
        for key, group, foreground in (
            ("b1/x", "b1", ""),
            ("b2/f/day1/x", "b2", "f"),
            ("bg 001/017/001", "bg 001", "017"),
            ("bg 002/017/003", "bg 002", "017"),
        )
    ]
    touch(tmp_path, "fgbg/x.jpg")
    assert errors(tmp_path, layout="nested") == {"fgbg/x.jpg": "lies in no folder of a background"}


def test_backgrounds_that_are_missing_or_in_several_groups(tmp_path: Path) -> None:
    cells(tmp_path, "b1/f/1", "b1/f/2", "b1/g/1", "b2/f/1")
    warning = scan(tmp_path, group_pattern="/(f|g)/").problems[0]
    assert (warning.path, warning.severity) == ("bg/b1.jpg", "warning")
    (tmp_path / "bg/b1.jpg").unlink()
    assert scan(tmp_path).table["id"].tolist() == ["b2/f/1"]
    ((path, what),) = errors(tmp_path).items()
    assert path == "fgbg/b1/f/1.jpg"
    assert what.startswith("has no background, nor have 2 other images: expected 'bg/b1.jpg'")


def test_a_table_gives_all_columns(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.png", "in/a.jpg", "m/1.png", "m/2.tif", "d/1.npy", "d/2.tif", "bg.png")
    rows = ["in/b.png,m/1.png,d/1.npy,bg.png,g2,cup", "in/a.jpg,./m/2.tif,d/../d/2.tif,bg.png,g2,"]
    write_table(tmp_path, "image,mask,depth,background,group,foreground", *rows)
    assert index(tmp_path, table="list.csv").to_numpy().tolist() == [
        ["in/a", "g2", "in/a.jpg", "m/2.tif", "d/2.tif", "bg.png", ""],
        ["in/b", "g2", "in/b.png", "m/1.png", "d/1.npy", "bg.png", "cup"],
    ]
    with pytest.raises(ConfigError, match=r"data\.group_pattern: not used"):
        index(tmp_path, table="list.csv", group_pattern="^(.)")
    write_table(tmp_path, "image,mask,background", "in/a.jpg,m/1.png,bg.png", "in/b.png,m/1.png,bg.png")
    assert index(tmp_path, table="list.csv")["group"].tolist() == ["bg.png", "bg.png"]
    assert index(tmp_path, table="list.csv", group_pattern="/(.)")["group"].tolist() == ["a", "b"]
    write_table(tmp_path, "image,mask", "in/a.jpg,m/1.png")
    assert index(tmp_path, table="list.csv")["group"].tolist() == ["in/a"]


def test_what_is_no_layout(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.png", "labels/a.png")
    with pytest.raises(DataError) as caught:
        index(tmp_path)
    for words in ("found labels/, photos/", "images/, masks/ and depth/", "fgbg/, fgbgmask/", "data.table=FILE.csv"):
        assert words in str(caught.value)
    for changes in ({"layout": "table"}, {"layout": "flat", "table": "x.csv"}):
        with pytest.raises(ConfigError, match=r"data\.table: expected a csv file with data\.layout=table"):
            index(tmp_path, **changes)
    touch(published(tmp_path, 1), "fg_bg_mask/a.png")
    with pytest.raises(DataError, match="one folder for each mask, found fg_bg_mask and masks"):
        index(tmp_path)


def test_files_of_another_view_than_their_image_are_named(tmp_path: Path) -> None:
    root = write_nested(tmp_path)
    png(root / "bg/bg0.png", scene(0, (30, 32))[0])
    png(root / "fgbgmask/bg1/fg1/0.png", scene(1, (24, 32))[1])
    png(root / "dense/bg2/fg2/0.png", scene(2, (32, 16))[2])
    png(root / "dense/bg3/fg3/0.png", scene(2, (64, 64))[2])  # the same picture at another scale
    data = make_data(compose(["task=depth_mask", f"data.root={root}", "data.inputs=[image,background]"]))
    found = {problem.path: problem.what for problem in check_files(data)[0]}
    assert {path: what.split(";")[0] for path, what in found.items()} == {
        "bg/bg0.png": "30 x 32 pixels, but its image has 32 x 32",
        "fgbgmask/bg1/fg1/0.png": "24 x 32 pixels, but its image has 32 x 32",
        "dense/bg2/fg2/0.png": "32 x 16 pixels, but its image has 32 x 32",
    }
    with pytest.raises(DataError, match="smaller than the window of SSIM"):
        data_module(write_nested(tmp_path / "small", size=(10, 32)))


@pytest.mark.parametrize("more", [False, True])
def test_masks_of_two_groups_are_named_once(tmp_path: Path, more: bool) -> None:
    root = write_nested(tmp_path)
    png(root / "fgbgmask/bg1/fg1/0.png", scene(0)[1])
    png(root / "fgbgmask/bg0/fg0/0.png", scene(0)[1])
    for number in (2, 3):
        png(root / f"fgbgmask/bg{number}/fg{number}/0.png", np.zeros((32, 32), np.uint8))
    if more:
        for number in (4, 5):
            png(root / f"fgbgmask/bg{number}/fg{number}/0.png", scene(4)[1])
    (problem,) = check_files(make_data(compose(["task=depth_mask", f"data.root={root}"])))[0]
    assert (problem.path, problem.severity) == ("fgbgmask/bg1/fg1/0.png", "warning")
    assert "the same as fgbgmask/bg0/fg0/0.png, but of group 'bg1' where that is of 'bg0'" in problem.what
    assert ("(2 masks are of several groups)" in problem.what) is more


def test_a_mask_file_that_two_groups_share_is_named(tmp_path: Path) -> None:
    lines = ["image,mask,group"]
    for number, (image, mask, _) in enumerate(map(scene, range(3))):
        png(tmp_path / f"{number}.png", image)
        png(tmp_path / f"m{number}.png", mask)
        lines.append(f"{number}.png,m{min(number, 1)}.png,g{number}")
    write_table(tmp_path, *lines)
    overrides = ["task=depth_mask", f"data.root={tmp_path}", "data.table=list.csv", "~heads.depth"]
    (problem,) = check_files(make_data(compose(overrides)))[0]
    assert (problem.path, problem.severity) == ("m1.png", "warning")
    assert problem.what == "is of the groups 'g1' and 'g2'"


# What is unknown, and units -----------------------------------------------------------------------------------------


def first(data: Any, split: str = "train") -> dict[str, Any]:
    batch: dict[str, Any] = next(iter(data.loader(split)))
    return batch


def with_depth(root: Path, depths: Sequence[Array], suffix: str = "png") -> Path:
    """Write a set of one background an image with these depth maps."""
    write_nested(root, backgrounds=len(depths), places=1, size=depths[0].shape[:2], depth=False)
    for number, depth in enumerate(depths):
        path = root / "dense" / f"bg{number}" / f"fg{number}" / f"0.{suffix}"
        if suffix == "png":
            png(path, depth)
        else:
            path.parent.mkdir(parents=True)
            tifffile.imwrite(path, depth)
    return root


def test_padding_is_unknown_in_maps_and_reflected_in_images(tmp_path: Path) -> None:
    batch = first(data_module(write_nested(tmp_path, size=(20, 32)), "data.fit=pad"))
    assert torch.equal(batch["image"][:, :, :6], batch["image"][:, :, 7:13].flip(2))
    for target in batch["target"].values():
        assert target[:, :, 6:26].isfinite().all()
        assert target[:, :, :6].isnan().all() and target[:, :, 26:].isnan().all()


def test_holes_in_depth_are_unknown(tmp_path: Path) -> None:
    depths = [np.where(X < 8, 0, 1000 + 10 * i + Y).astype(np.uint16) for i in range(6)]
    target = first(data_module(with_depth(tmp_path, depths)))["target"]
    assert target["depth"][..., :8].isnan().all() and target["depth"][..., 8:].isfinite().all()
    assert target["mask"].isfinite().all(), "a hole in depth is none in the mask"
    # They shrink with the image, and don't lower what is measured beside them.
    depth = first(data_module(tmp_path, "data.image_size=16", "loss=l1"))["target"]["depth"]
    assert depth[..., :4].isnan().all() and depth[..., 4:].min() >= 1.0
    assert (first(data_module(tmp_path, "data.depth_invalid=none"))["target"]["depth"][..., :8] == 0).all()


@pytest.mark.parametrize(
    ("dtype", "suffix", "overrides", "factor", "unit"),
    [
        ("uint8", "png", [], 1 / 255, ""),
        ("uint16", "png", [], 0.001, "m"),
        ("float32", "tif", [], 1.0, "m"),
        ("uint16", "png", ["data.depth_scale=0.01", "heads.depth.unit=cm"], 0.01, "cm"),
    ],
)
def test_numbers_in_files_become_the_unit(
    dtype: str, suffix: str, overrides: list[str], factor: float, unit: str, tmp_path: Path
) -> None:
    depths = [(20 * i + 1 + Y + X).astype(dtype) for i in range(6)]
    module, data = task_module(with_depth(tmp_path, depths, suffix), *overrides)
    number = int(first(data, "test")["id"][0].split("/")[0].removeprefix("bg"))
    target = first(data, "test")["target"]["depth"][0, 0].numpy()
    np.testing.assert_allclose(target, depths[number] * factor, rtol=1e-6)
    head = {head.name: head for head in module.model.each_head()}["depth"]
    assert head.unit == unit
    assert any("files taken as" in remark for remark in data.remarks()) is not bool(overrides), "it is said"


# Inputs -------------------------------------------------------------------------------------------------------------


def test_each_image_comes_with_its_own_background(tmp_path: Path) -> None:
    root, lines = write_nested(tmp_path, places=1), ["image,mask,depth,background"]
    of = {0: 4, 1: 4, 2: 0, 3: 5, 4: 1, 5: 3}
    for number, background in of.items():
        name = f"bg{number}/fg{number}/0.png"
        lines.append(f"fgbg/{name},fgbgmask/{name},dense/{name},bg/bg{background}.png")
    (root / "pairs.csv").write_text("\n".join(lines))
    data = data_module(root, "data.table=pairs.csv", "data.inputs=[image,background]")
    assert data.in_channels == 6 and len(data.mean) == len(data.std) == 6
    assert [len(stored.cache) for stored in data.images] == [6, 5], "a background is kept once"
    for row, name in enumerate(data.table["id"]):
        number = int(name.split("/")[1].removeprefix("bg"))
        image, mask, _ = scene(number)
        assert np.array_equal(data.images[0].image(row, 0.5, 0.5), image)
        assert (data.images[1].image(row, 0.5, 0.5) == 10 * of[number] + 5).all()
        assert np.array_equal(data.stored_maps["mask"].map(row, 0.5, 0.5), mask / 255)
    (root / "pairs.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    with pytest.raises(DataError, match=r"data\.inputs asks for background"):
        data_module(root, "data.table=pairs.csv", "data.inputs=[image,background]")


@pytest.mark.parametrize("scale", [1, 2])
def test_image_background_mask_and_depth_are_shrunk_cut_and_turned_alike(tmp_path: Path, scale: int) -> None:
    """A window of a larger image, augmented: each pixel of all four still tells the same place."""
    width = 64 * scale
    y, x = np.mgrid[: width // 2, :width]
    for number in range(6):
        grid = np.stack([4 // scale * x, 4 // scale * y, np.full_like(x, 250)], axis=2).astype(np.uint8)
        grid[..., 2] -= number  # no two images are equal
        name = f"bg{number}/fg/0.png"
        png(tmp_path / "fgbg" / name, grid)
        png(tmp_path / "bg" / f"bg{number}.png", grid)
        png(tmp_path / "fgbgmask" / name, np.where((x // scale + y // scale) % 2, 255, 0).astype(np.uint8))
        png(tmp_path / "dense" / name, (1 + x + width * y).astype(np.uint16))
    settings = ("data.inputs=[image,background]", "data.fit=crop", "augment=fgbg", "augment.image=[]")
    loader = data_module(tmp_path, *settings).loader("train", train=True)
    # What 1 x 1 or 2 x 2 pixels have on average.
    corner = 1 + (scale - 1) / 2 * (1 + width)
    beginnings, unknown = set(), 0
    for epoch in range(8):
        loader.batches.set_epoch(epoch)
        for batch in loader:
            image, mask, depth = (part.numpy() for part in (batch["image"], *batch["target"].values()))
            assert np.array_equal(image[:, :3], image[:, 3:])
            known = np.isfinite(depth[:, 0])
            place = np.where(known, (depth[:, 0] * 1000 - corner) / scale, 0)
            rows, columns = np.divmod(np.rint(place).astype(int), width)
            assert np.array_equal(mask[:, 0][known], ((rows + columns) % 2)[known])
            inner = known & (image[:, 2] == image[:, 2].max(axis=(1, 2), keepdims=True))
            for values, where in ((image[:, 0], columns), (image[:, 1], rows)):
                assert np.abs(values / 4 - (scale - 1) / 4 - where)[inner].max() <= 0.75
            beginnings |= set(columns[:, 16, 16].tolist())
            unknown += int((~known).sum())
    assert len(beginnings) > 3, "windows differ"
    assert unknown > 0, "turned images have corners that nobody knows"


# Splits and heads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_no_foreground_is_in_two_splits(tmp_path: Path, seed: int) -> None:
    names = [f"fg{number}" for number in range(5)]
    root = write_nested(tmp_path, backgrounds=5, foregrounds=[names] * 5, places=1)
    data = data_module(root, "data.split_by=[background,foreground]", f"seed={seed}")
    used = data.table[data.table["split"] != ""]
    assert all(used.groupby(column)["split"].nunique().max() == 1 for column in ("group", "foreground"))
    assert set(used["foreground"]) == set(names)
    assert used["split"].value_counts().to_dict() == {"train": 9, "val": 1, "test": 1}
    # Without it they are in several, which is said.
    plain = data_module(root, f"seed={seed}")
    assert (plain.table["split"] != "").all()
    assert any("5 foregrounds are in several splits" in remark for remark in plain.remarks())


def test_unknown_foregrounds_cannot_be_kept_apart(tmp_path: Path) -> None:
    root = write_nested(tmp_path / "nested")
    assert (data_module(root, "data.split_by=[background,foreground]").table["split"] != "").all()
    touch(tmp_path, *(f"{folder}/{number}.png" for folder in ("images", "masks") for number in range(12)))
    data = make_data(compose(["task=depth_mask", f"data.root={tmp_path}", "data.split_by=[background,foreground]"]))
    with pytest.raises(UsageError, match=r"data.split_by: expected the foreground of each image, which this data set"):
        data.assign(index(tmp_path, per_background=2), Splits((), (), (), (), ""))


def test_a_mask_alone_can_be_learnt(tmp_path: Path) -> None:
    root = write_nested(tmp_path, depth=False)
    module, data = task_module(root, "~heads.depth")
    assert [head.name for head in module.model.each_head()] == ["mask"] and set(first(data)["target"]) == {"mask"}
    with pytest.raises(UsageError, match=r"heads\.depth: .* has no depth maps to learn from; .* with '~heads.depth'"):
        task_module(root)
