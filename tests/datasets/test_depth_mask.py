"""The index of task ``depth_mask``: three layouts, every image with its own mask, depth map and background."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from visionlab.datasets import depth_mask
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan

Warnings = pytest.LogCaptureFixture


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def options(**changed: Any) -> dict[str, Any]:
    return {"layout": "auto", "table": None, "per_background": 4000, "group_pattern": None, **changed}


def index(root: Path, **changed: Any) -> pd.DataFrame:
    return depth_mask.scan(root, **options(**changed)).usable(root)


def scan(root: Path, **changed: Any) -> Scan:
    return depth_mask.scan(root, **options(**changed))


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


def write_table(root: Path, *lines: str, name: str = "list.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n")
    return root


# Flat ---------------------------------------------------------------------------------------------------------------


def test_published_names_pair_by_number_and_group_by_background(tmp_path: Path, caplog: Warnings) -> None:
    with caplog.at_level(logging.INFO, logger="visionlab"):
        table = index(published(tmp_path, 8000, 3999, 0, 4000))
    assert "images/ and masks/: paired by the numbers" in caplog.text
    assert "images/ and depth/" not in caplog.text
    assert "flat layout, 4 images in 3 groups, with mask, depth" in caplog.text
    assert table.to_dict("list") == {
        "id": ["fgbg000000", "fgbg003999", "fgbg004000", "fgbg008000"],
        "group": ["bg0", "bg0", "bg1", "bg2"],
        "path": [f"images/fgbg{number}.jpg" for number in ("000000", "003999", "004000", "008000")],
        "mask_path": [f"masks/mask{number}.jpg" for number in ("000000", "003999", "004000", "008000")],
        "depth_path": [f"depth/fgbg{number}.jpg" for number in ("000000", "003999", "004000", "008000")],
    }
    assert index(tmp_path, per_background=2000)["group"].tolist() == ["bg0", "bg1", "bg2", "bg4"]


def test_equal_names_of_any_type_pair(tmp_path: Path) -> None:
    touch(tmp_path, "Images/sub/b.PNG", "Images/a.jpeg", "MASKS/a.tif", "MASKS/sub/b.png", "dense/a.npy")
    touch(tmp_path, "dense/sub/b.tiff", "backgrounds/a.png", "backgrounds/sub/b.jpg")
    touch(tmp_path, "notes.txt", "fg/cut.png", "Images/.hidden.png", "MASKS/readme.md")
    assert index(tmp_path).to_numpy().tolist() == [
        ["a", "a", "Images/a.jpeg", "MASKS/a.tif", "dense/a.npy", "backgrounds/a.png"],
        ["sub/b", "sub/b", "Images/sub/b.PNG", "MASKS/sub/b.png", "dense/sub/b.tiff", "backgrounds/sub/b.jpg"],
    ]


@pytest.mark.parametrize(
    ("image", "mask", "depth", "background"),
    [
        ("images", "masks", "depth", "background"),
        ("image", "mask", "depths", "backgrounds"),
        ("fgbg", "fgbgmask", "dense", "bg"),
        ("fg_bg", "fg_bg_mask", "fg_bg_depth", "BG"),
    ],
)
def test_folder_names(tmp_path: Path, image: str, mask: str, depth: str, background: str) -> None:
    paths = [f"{folder}/x7.png" for folder in (image, mask, depth, background)]
    assert index(touch(tmp_path, *paths)).to_numpy().tolist() == [["x7", "bg0", *paths]]


def test_missing_partners_are_named_with_the_expected_path(tmp_path: Path) -> None:
    published(tmp_path, 1, 2, 3)
    (tmp_path / "masks/mask000002.jpg").unlink()
    (tmp_path / "depth/fgbg000002.jpg").unlink()
    (tmp_path / "depth/fgbg000003.jpg").unlink()
    table, problems = scan(tmp_path)
    assert table["id"].tolist() == ["fgbg000001"]
    assert [(problem.path, problem.what.split(",")[0], problem.severity) for problem in problems] == [
        ("images/fgbg000002.jpg", "has no mask: expected 'masks/mask000002.jpg'", "error"),
        ("images/fgbg000002.jpg", "has no depth: expected 'depth/fgbg000002.jpg'", "error"),
        ("images/fgbg000003.jpg", "has no depth: expected 'depth/fgbg000003.jpg'", "error"),
    ]
    with pytest.raises(DataError, match=r"3 problems, beside 1 samples .*\n  images/fgbg000002.jpg: has no mask"):
        index(tmp_path)


def test_files_without_image_are_a_warning(tmp_path: Path, caplog: Warnings) -> None:
    published(tmp_path, 1, 2)
    touch(tmp_path, "masks/mask000003.jpg", "masks/mask000004.jpg", "masks/thumb.png", "depth/fgbg000009.jpg")
    _, problems = scan(tmp_path)
    assert [(problem.path, problem.severity) for problem in problems] == [("masks/", "warning"), ("depth/", "warning")]
    assert problems[0].what.startswith("3 of its 5 files belong to no image")
    assert problems[0].what.endswith("masks/mask000003.jpg, masks/mask000004.jpg, masks/thumb.png")
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert len(index(tmp_path)) == 2
    assert "masks/: 3 of its 5 files belong to no image" in caplog.text
    assert "depth/: 1 of its 3 files belong to no image and are not used: depth/fgbg000009.jpg" in caplog.text


def test_a_stray_name_does_not_break_pairing_by_number(tmp_path: Path) -> None:
    touch(published(tmp_path, 1, 2, 3), "images/cover.jpg", "masks/legend2.png")
    table, problems = scan(tmp_path)
    assert table["mask_path"].tolist() == [f"masks/mask00000{number}.jpg" for number in (1, 2, 3)]
    assert [problem.what for problem in problems if problem.path == "images/cover.jpg"] == [
        "has no mask: expected 'masks/cover.png', of any suffix that is read",
        "has no depth: expected 'depth/cover.jpg', of any suffix that is read",
    ]


def test_names_that_are_equal_count_before_numbers(tmp_path: Path) -> None:
    """Number 0 ends two names: an image without mask must not get another one's."""
    twins(tmp_path, "cup-0", "cup-1", "pan-0")
    (tmp_path / "fg_bg_mask/pan-0.png").unlink()
    table, problems = scan(tmp_path)
    assert table["mask_path"].tolist() == ["fg_bg_mask/cup-0.png", "fg_bg_mask/cup-1.png"]
    assert [problem.path for problem in problems] == ["fg_bg/pan-0.jpg"]


def test_names_win_a_tie_with_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "images/cup1.png", "images/top.png", "masks/m1.png", "masks/top.png")
    table, problems = scan(tmp_path)
    assert table["mask_path"].tolist() == ["masks/top.png"]
    assert [problem.path for problem in problems] == ["images/cup1.png", "masks/"]


def test_one_number_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/img1.png", "images/img2.png", "masks/m1.png", "masks/m01.png", "masks/m2.png")
    _, problems = scan(tmp_path)
    assert ("masks/m1.png", "has the same number as masks/m01.png") in [(p.path, p.what) for p in problems]


def test_nothing_that_pairs_is_one_error(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/x.png", "masks/y.png")
    with pytest.raises(DataError, match=r"masks/: none of its 2 files .* expected e\.g\. masks/a\.png, found masks/x"):
        index(tmp_path)


def test_backgrounds_of_which_none_pairs_are_not_used(tmp_path: Path, caplog: Warnings) -> None:
    touch(published(tmp_path, 1, 2), "bg/bg000.jpg", "bg/bg001.jpg")
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert "background_path" not in index(tmp_path)
    assert "bg: not used, since none of its 2 files has the name of an image" in caplog.text


def test_some_backgrounds_missing_are_problems(tmp_path: Path) -> None:
    touch(published(tmp_path, 1, 2), "background/fgbg000001.png")
    _, problems = scan(tmp_path)
    (problem,) = problems
    assert (problem.path, problem.severity) == ("images/fgbg000002.jpg", "error")
    assert "has no background: expected 'background/fgbg000002.png'" in problem.what


# Groups -------------------------------------------------------------------------------------------------------------


def test_different_names_before_the_number_make_different_groups(tmp_path: Path, caplog: Warnings) -> None:
    twins(tmp_path, "cup-0", "cup-1", "cup-4000", "pan-0", "pan-1", "glass-a")
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        groups = index(tmp_path).set_index("id")["group"].to_dict()
    assert groups == {
        "cup-0": "cup-bg0",
        "cup-1": "cup-bg0",
        "cup-4000": "cup-bg1",
        "pan-0": "pan-bg0",
        "pan-1": "pan-bg0",
        "glass-a": "glass-a",
    }
    assert "1 of 6 images are each a group of their own" in caplog.text
    assert "data.group_pattern" in caplog.text


def test_a_pattern_names_the_group(tmp_path: Path, caplog: Warnings) -> None:
    twins(tmp_path, "cg-080-opaque", "cg-080-clear", "cg-130-clear", "ps-7")
    pattern = "^(.*)-[^-]+$"
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert index(tmp_path, group_pattern=pattern)["group"].tolist() == ["cg-080", "cg-080", "cg-130", "ps"]
    assert caplog.text == ""


def test_images_that_the_pattern_does_not_fit_are_problems(tmp_path: Path) -> None:
    twins(tmp_path, "cg-080", "ps-7", "x_")
    table, problems = scan(tmp_path, group_pattern="(?:cg-([0-9]+)|ps-([a-z]?))")
    assert table["group"].tolist() == ["080"]
    assert [problem.path for problem in problems] == ["fg_bg/ps-7.jpg", "fg_bg/x_.jpg"]
    with pytest.raises(DataError, match="finds no group in 'ps-7'"):
        index(tmp_path, group_pattern="(?:cg-([0-9]+)|ps-([a-z]?))")


@pytest.mark.parametrize(("pattern", "words"), [("(", "regular expression"), ("bg[0-9]+", "parenthesis")])
def test_a_pattern_that_cannot_be_used(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.group_pattern: .*{words}"):
        index(published(tmp_path, 1), group_pattern=pattern)


# Nested -------------------------------------------------------------------------------------------------------------


def test_nested_folders_give_group_foreground_and_one_background(tmp_path: Path) -> None:
    table = index(cells(tmp_path, "bg 002/017/003", "bg 001/017/001", "bg 001/018/001"))
    assert list(table) == ["id", "group", "path", "mask_path", "depth_path", "background_path", "foreground"]
    assert table.to_numpy().tolist() == [
        [
            f"{group}/{rest}",
            group,
            f"fgbg/{group}/{rest}.jpg",
            f"fgbgmask/{group}/{rest}.jpg",
            f"dense/{group}/{rest}.jpg",
            f"bg/{group}.jpg",
            rest[:3],
        ]
        for group, rest in (("bg 001", "017/001"), ("bg 001", "018/001"), ("bg 002", "017/003"))
    ]


def test_nesting_may_be_shallower_or_deeper(tmp_path: Path) -> None:
    table = index(cells(tmp_path, "b1/x", "b2/f/day1/x"))
    assert table[["group", "foreground", "background_path"]].to_numpy().tolist() == [
        ["b1", "", "bg/b1.jpg"],
        ["b2", "f", "bg/b2.jpg"],
    ]


def test_a_missing_background_is_one_problem(tmp_path: Path) -> None:
    cells(tmp_path, "b1/f/1", "b1/f/2", "b1/g/1", "b2/f/1")
    (tmp_path / "bg/b1.jpg").unlink()
    table, problems = scan(tmp_path)
    assert table["id"].tolist() == ["b2/f/1"]
    (problem,) = problems
    assert problem.path == "fgbg/b1/f/1.jpg"
    assert "has no background, nor have 2 other images: expected 'bg/b1.jpg'" in problem.what


def test_a_background_in_two_groups_is_a_warning(tmp_path: Path) -> None:
    cells(tmp_path, "b1/f1/1", "b1/f2/1", "b2/f1/1")
    _, problems = scan(tmp_path, group_pattern="/(f[0-9])/")
    assert [(problem.path, problem.severity) for problem in problems] == [("bg/b1.jpg", "warning")]


def test_images_beside_the_folders_are_problems_if_nested_is_asked_for(tmp_path: Path) -> None:
    touch(cells(tmp_path, "b1/f/1"), "fgbg/x.jpg")
    table, problems = scan(tmp_path, layout="nested")
    assert table["id"].tolist() == ["b1/f/1"]
    assert [(problem.path, problem.severity) for problem in problems] == [("fgbg/x.jpg", "error")]
    with pytest.raises(DataError, match=r"found files only; set data\.layout=flat"):
        index(published(tmp_path / "flat", 1), layout="nested")


def test_auto_takes_files_in_the_image_folder_as_flat(tmp_path: Path) -> None:
    touch(tmp_path, "fgbg/a/b/c.png", "fgbg/x.png", "masks/a/b/c.png", "masks/x.png")
    assert index(tmp_path)["id"].tolist() == ["a/b/c", "x"]
    assert "foreground" not in index(tmp_path)


# Table --------------------------------------------------------------------------------------------------------------


def test_a_table_gives_all_columns(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.png", "in/a.jpg", "m/1.png", "m/2.tif", "d/1.npy", "d/2.tif", "bg.png")
    write_table(
        tmp_path,
        "\ufeffnote, image ,mask,depth,background,group,foreground",
        "x,in/b.png,m/1.png,d/1.npy,bg.png,g2,cup",
        "",
        '"y, z",in/a.jpg,./m/2.tif,d/../d/2.tif,bg.png,g2,',
    )
    assert index(tmp_path, table="list.csv").to_dict("records") == [
        {
            "id": "in/a",
            "group": "g2",
            "path": "in/a.jpg",
            "mask_path": "m/2.tif",
            "depth_path": "d/2.tif",
            "background_path": "bg.png",
            "foreground": "",
        },
        {
            "id": "in/b",
            "group": "g2",
            "path": "in/b.png",
            "mask_path": "m/1.png",
            "depth_path": "d/1.npy",
            "background_path": "bg.png",
            "foreground": "cup",
        },
    ]


def test_groups_of_a_table_without_that_column(tmp_path: Path, caplog: Warnings) -> None:
    touch(tmp_path, "a1.png", "a2.png", "b1.png", "m.png", "x.png", "y.png")
    write_table(tmp_path, "image,mask,background", "a1.png,m.png,x.png", "a2.png,m.png,y.png", "b1.png,m.png,y.png")
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert index(tmp_path, table="list.csv")["group"].tolist() == ["x.png", "y.png", "y.png"]
    assert "1 of 3 images are each a group of their own" in caplog.text
    assert index(tmp_path, table="list.csv", group_pattern="^(.)")["group"].tolist() == ["a", "a", "b"]
    write_table(tmp_path, "image,mask", "a1.png,m.png", "b1.png,m.png")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert index(tmp_path, table="list.csv")["group"].tolist() == ["a1", "b1"]
    assert "2 of 2 images are each a group of their own" in caplog.text
    write_table(tmp_path, "image,mask,group", "a1.png,m.png,g")
    with pytest.raises(ConfigError, match=r"data\.group_pattern: not used"):
        index(tmp_path, table="list.csv", group_pattern="^(.)")


def test_layout_and_table_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.table: expected a csv file"):
        index(tmp_path, layout="table")
    with pytest.raises(ConfigError, match=r"data\.table: not used with data\.layout=flat"):
        index(tmp_path, layout="flat", table="x.csv")


# What is no layout --------------------------------------------------------------------------------------------------


def test_another_folder_is_told_the_three_layouts(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.png", "labels/a.png")
    with pytest.raises(DataError) as caught:
        index(tmp_path)
    for words in ("found labels/, photos/", "images/, masks/ and depth/", "fgbg/, fgbgmask/", "data.table=FILE.csv"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="found no folders"):
        index(touch(tmp_path / "photos", "b.png"))
    with pytest.raises(DataError, match="found images/"):
        index(touch(tmp_path / "alone", "images/a.png"))


def test_two_folders_for_one_thing_are_refused(tmp_path: Path) -> None:
    touch(published(tmp_path, 1), "fg_bg_mask/a.png")
    with pytest.raises(DataError, match="one folder for each mask, found fg_bg_mask and masks"):
        index(tmp_path)
