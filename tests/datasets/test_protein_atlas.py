"""The index of task ``protein_atlas``: tables of labels, the files of each sample, classes, splits and batches."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from visionlab.config.compose import compose
from visionlab.data.channels import STAINS, Channels
from visionlab.data.describe import check_files
from visionlab.datasets import protein_atlas
from visionlab.datasets.classes import choose_classes
from visionlab.datasets.protein_atlas import NAMES, ProteinAtlasDataModule, Sources
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan

Warnings = pytest.LogCaptureFixture


def touch(root: Path, *samples: str, stains: Sequence[str] = STAINS, suffix: str = "png") -> Path:
    """Make the (empty) files of samples, named FOLDER/ID."""
    for sample in samples:
        for stain in stains:
            path = root / f"{sample}_{stain}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def write(root: Path, *rows: str, name: str = "train.csv", header: str = "Id,Target") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def sources(*channels: str, **changed: Any) -> Sources:
    return Sources(Channels(channels or STAINS), NAMES, **changed)


def index(root: Path, *channels: str, **changed: Any) -> pd.DataFrame:
    return protein_atlas.scan(root, sources(*channels, **changed)).usable(root)


def scan(root: Path, *channels: str, **changed: Any) -> Scan:
    return protein_atlas.scan(root, sources(*channels, **changed))


def labels(table: pd.DataFrame) -> dict[str, list[int]]:
    """Return Id -> numbers of its labels."""
    values = table[list(NAMES)].to_numpy()
    return {str(name): np.flatnonzero(row).tolist() for name, row in zip(table["id"], values, strict=True)}


# Rows and files -----------------------------------------------------------------------------------------------------


def test_a_sample_has_four_files_and_any_number_of_labels(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/b", "train/a"), "b,16 0", "a,27")
    table = index(tmp_path)
    assert list(table.columns) == ["id", "group", "path", *(f"{stain}_path" for stain in STAINS), *NAMES, "set"]
    assert labels(table) == {"a": [27], "b": [0, 16]}
    assert set(table.dtypes[list(NAMES)].astype(str)) == {"int8"}
    row = table.iloc[1]
    assert (row["id"], row["group"], row["set"]) == ("b", "b", "train.csv")
    assert row["path"] == row["red_path"] == "train/b_red.png"
    assert row["yellow_path"] == "train/b_yellow.png"


def test_only_the_files_of_needed_stains_are_needed(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/a", stains=["yellow", "green"], suffix="TIF"), "a,3")
    table = index(tmp_path, "green", "yellow/2+green")
    assert table["path"].tolist() == ["train/a_green.TIF"]
    assert not {"red_path", "blue_path"} & set(table.columns)


def test_rows_without_files_and_files_without_rows_are_counted(tmp_path: Path, caplog: Warnings) -> None:
    write(touch(tmp_path, "train/a", "train/stranger"), "a,1", "b,2", "c,3")
    (tmp_path / "train/overview.png").touch()
    (tmp_path / "train/a_red.jpg").touch()
    with caplog.at_level(logging.INFO, logger="visionlab"):
        assert index(tmp_path)["id"].tolist() == ["a"]
    assert f"train.csv: 2 of 3 rows have no image in {tmp_path / 'train'} and are left out" in caplog.text
    assert "5 image files are of no row and not used, for instance train/overview.png" in caplog.text
    assert "not used: .jpg 1, for instance 'a_red.jpg'" in caplog.text
    assert "1 samples of red, green, blue, yellow in 1 groups" in caplog.text


def test_a_table_without_any_image_says_where_was_looked(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/a", suffix="jpg"), "b,2", "c,3")
    with pytest.raises(DataError, match=r"train\.csv: .*2 rows in .*train, such as b_red\.png .*found images of other"):
        index(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match=r"in .*elsewhere, such as .*found none of them; data\.images sets another"):
        index(tmp_path, images="elsewhere")
    write(touch(tmp_path, "train/b"), "d,2", name="external.csv")
    with pytest.raises(DataError, match=r"external\.csv: .*such as d_red\.png .*; move them there"):
        index(tmp_path, extra=["external.csv"])


def test_a_sample_of_three_of_four_channels_is_a_problem(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/a", "train/b", "train/c"), "a,1", "b,2", "c,3")
    (tmp_path / "train/b_yellow.png").unlink()
    (tmp_path / "train/c_blue.tif").touch()
    found = scan(tmp_path)
    assert found.table["id"].tolist() == ["a"]
    assert [str(problem) for problem in found.problems] == [
        "train/b_blue.png: 3 of 4 channels found, no b_yellow.png; add what is missing, or take the row out of the "
        "table",
        "train/c_blue.tif: there is train/c_blue.png as well; keep one of the two",
    ]
    with pytest.raises(
        DataError, match=r"(?s)2 problems, beside 1 samples.*b_yellow\.png; add .*as well; keep.*\nmend"
    ):
        index(tmp_path)
    assert index(tmp_path, "red").shape[0] == 3


def test_where_the_images_are(tmp_path: Path) -> None:
    # In the folder named like the table, else beside the table, in any depth, else where data.images says.
    write(touch(tmp_path, "train/a"), "a,1")
    write(tmp_path, "a,1", name="subset.csv")
    write(touch(tmp_path, "lists/deep/b"), "b,1", name="lists/some.csv")
    write(touch(tmp_path, "c"), "c,1", name="lists/more.csv")
    assert index(tmp_path)["path"].tolist() == ["train/a_red.png"]
    assert index(tmp_path, table="subset.csv")["path"].tolist() == ["train/a_red.png"]
    assert index(tmp_path, table=str(tmp_path / "lists/some.csv"))["path"].tolist() == ["lists/deep/b_red.png"]
    assert index(tmp_path, table="lists/more.csv", images=".")["path"].tolist() == ["c_red.png"]
    with pytest.raises(DataError, match=r"data\.images.*Did you mean 'train'"):
        index(tmp_path, images="trian")
    with pytest.raises(
        DataError, match=r"expected the images of some\.csv in data\.root .* outside of it; set data\.r"
    ):
        index(tmp_path / "train", table="../lists/some.csv")


# Tables -------------------------------------------------------------------------------------------------------------


def test_further_tables_are_joined(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/b"), "b,1")
    write(touch(tmp_path, "external/a", suffix="tif"), "a,7 2", name="external.csv")
    table = index(tmp_path, extra=["external.csv"])
    assert labels(table) == {"a": [2, 7], "b": [1]}
    assert table["set"].tolist() == ["external.csv", "train.csv"]
    assert table["path"].tolist() == ["external/a_red.tif", "train/b_red.png"]
    write(touch(tmp_path, "external/b", suffix="tif"), "a,7 2", "b,1", name="external.csv")
    assert [str(problem) for problem in scan(tmp_path, extra=["external.csv"]).problems] == [
        "external.csv line 3: the Id 'b' stands in train.csv line 2 as well; keep one of the two rows"
    ]


def test_a_column_may_tell_what_belongs_together(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/a", "train/b", "train/c"), "a,1,p1", "b,2,p2", "c,3,p1", header="Id,Target,plate")
    assert index(tmp_path, group_column="plate")["group"].tolist() == ["p1", "p2", "p1"]
    with pytest.raises(DataError, match=r"column plates, .*data\.group_column names it.*Did you mean 'plate'"):
        index(tmp_path, group_column="plates")
    write(tmp_path, "a,1,p1", "b,2,", header="Id,Target,plate")
    assert "line 3: the cell 'plate' is empty" in str(scan(tmp_path, group_column="plate").problems[0])


# Classes ------------------------------------------------------------------------------------------------------------


def test_the_classes_are_those_of_the_competition() -> None:
    assert len(NAMES) == len(set(NAMES)) == 28
    assert (NAMES[0], NAMES[15], NAMES[25], NAMES[27]) == (
        "Nucleoplasm",
        "Microtubule ends",
        "Cytosol",
        "Rods & rings",
    )
    assert ProteinAtlasDataModule.stains == STAINS


def test_classes_are_chosen_by_number_or_by_part() -> None:
    assert choose_classes(NAMES, None, None) == list(range(28))
    assert choose_classes(NAMES, [25, 0], None) == [25, 0]
    assert choose_classes(NAMES, None, "2/4") == [7, 8, 9, 10, 11, 12, 13]
    for parts in (1, 2, 3, 4, 28):
        joined = [number for part in range(parts) for number in choose_classes(NAMES, None, f"{part + 1}/{parts}")]
        assert joined == list(range(28))


@pytest.mark.parametrize(
    ("classes", "group", "message"),
    [
        (None, "5/4", r"data\.class_group: expected i/n.*28 classes, e\.g\. 2/4; found '5/4'"),
        (None, "0/4", "found '0/4'"),
        (None, "1/29", "found '1/29'"),
        (None, "2", "found '2'"),
        (None, "1/0", "found '1/0'"),
        ([0, 28], None, r"data\.classes: expected numbers from 0 to 27, found 28"),
        ([-1], None, "from 0 to 27, found -1"),
        ([3, 1, 3], None, r"each class once, found 3 \(Nucleoli fibrillar center\) twice"),
        ([], None, "found none; leave it null for all"),
        ([0], "1/2", r"data\.classes and data\.class_group: expected one of them"),
    ],
)
def test_classes_that_there_are_not_are_refused(classes: list[int] | None, group: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_classes(NAMES, classes, group)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found none"),
        (["a", "b", "a"], "'a' for 0 and 2"),
        (["a", "group"], "'group' is a column of the tables already"),
        (["labels", "b"], "'labels' is a column of the tables already"),
        (["a;b"], "without ';'"),
        ([" a"], "found ' a'"),
    ],
)
def test_names_that_cannot_be_columns_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.class_names: .*{message}"):
        choose_classes(names, None, None)


# The data module ----------------------------------------------------------------------------------------------------


def png(path: Path, image: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.asarray(image)))


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 samples of 12 x 12 pixels (label 0 in half of them, 7 in a third, 27 in three, none in two) and 5 extra."""
    root = tmp_path_factory.mktemp("atlas")
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {"train": [], "external": []}
    for number in range(35):
        folder = "train" if number < 30 else "external"
        target = [name for name, every in (("7", 3), ("0", 2), ("27", 10)) if number % every == 0]
        target = [] if number in (1, 5) else target or ["4"]
        rows[folder].append(f"s{number:02},{' '.join(target)},p{number // 2}")
        for stain in STAINS:
            png(root / folder / f"s{number:02}_{stain}.png", rng.integers(0, 256, (12, 12), np.uint8))
    for name, lines in rows.items():
        write(root, *lines, name=f"{name}.csv", header="Id,Target,plate")
    return root


@functools.cache
def defaults() -> dict[str, Any]:
    data = OmegaConf.to_container(compose(["task=protein_atlas"]).data)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items() if key != "_target_"}


def make(root: Path, seed: int = 0, **changed: Any) -> ProteinAtlasDataModule:
    settings = {**defaults(), "root": str(root), "image_size": 12, "batch_size": 4, **changed}
    return ProteinAtlasDataModule(seed, {"joint": [], "image": []}, **settings)


def module(root: Path, seed: int = 0, **changed: Any) -> ProteinAtlasDataModule:
    data = make(root, seed, **changed)
    data.setup()
    return data


def test_batches_hold_the_stains_and_the_labels(atlas: Path) -> None:
    data = module(atlas, channels=["red/2+yellow/2", "blue"])
    assert (data.in_channels, data.channel_names) == (2, ("red/2+yellow/2", "blue"))
    assert data.ids("labels") == list(range(28))
    batch = next(iter(data.loader("test")))
    row = data.table.set_index("id").loc[batch["id"][0]]
    planes = {name: imagecodecs.png_decode((atlas / row[f"{name}_path"]).read_bytes()) for name in data.files.names}
    mixed = np.rint((planes["red"].astype(float) + planes["yellow"]) / 2)
    assert (batch["image"][0].numpy() == np.stack([mixed, planes["blue"]])).all()
    assert (batch["target"]["labels"][0].numpy() == row[list(NAMES)].to_numpy(float)).all()
    assert batch["target"]["labels"].shape[1] == 28
    assert data.remarks() == [
        "channels: red/2+yellow/2, blue, of the stains red, yellow, blue",
        "2 images have no label of any class",
    ]


def test_a_changed_stain_is_not_served_from_the_cache(atlas: Path, tmp_path: Path) -> None:
    write(tmp_path, *(f"s{number:02},0" for number in range(6)))
    for path in sorted((atlas / "train").glob("s0[0-5]_*.png")):
        png(tmp_path / "train" / path.name, imagecodecs.png_decode(path.read_bytes()))
    before = module(tmp_path)
    png(tmp_path / "train/s03_yellow.png", np.full((12, 12), 9, np.uint8))
    after = module(tmp_path)
    assert before.cache.fingerprint != after.cache.fingerprint
    assert (after.cache[3][:, :, 3] == 9).all()
    assert before.fingerprint != after.fingerprint
    (tmp_path / "train/s03_yellow.png").unlink()
    with pytest.raises(DataError, match="no s03_yellow"):
        module(tmp_path)


def test_some_classes_are_learnt_on_the_same_splits(atlas: Path) -> None:
    every, some = module(atlas), module(atlas, class_group="2/4")
    assert some.targets == {"labels": NAMES[7:14]}
    assert some.ids("labels") == list(range(7, 14))
    assert (some.values("labels", "train") == every.values("labels", "train")[:, 7:14]).all()
    assert some.splits == every.splits
    assert every.splits != module(atlas, seed=1).splits
    assert some.remarks()[0] == (f"7 of 28 classes are learnt ({', '.join(NAMES[7:14])}); 20 images have none of them")
    assert module(atlas, classes=[27, 0]).targets == {"labels": ("Rods & rings", "Nucleoplasm")}


def test_classes_may_have_other_names(atlas: Path) -> None:
    names = [f"class {number}" for number in range(30)]
    data = module(atlas, class_names=names, class_group="3/3")
    assert data.targets["labels"] == tuple(names[20:])
    assert data.table["class 27"].sum() == 3


def test_labels_are_spread_evenly_and_groups_kept_whole(atlas: Path) -> None:
    data = module(atlas, group_column="plate")
    assert data.table.groupby("group")["split"].nunique().max() == 1
    for split in ("train", "val", "test"):
        assert data.values("labels", split)[:, 27].sum() == 1, "three images of that class, one in each split"


def test_further_sets_are_trained_on_only(atlas: Path) -> None:
    alone, joined = module(atlas), module(atlas, extra=["external.csv"])
    assert set(joined.table.loc[joined.table["set"] == "external.csv", "split"]) == {"train"}
    assert (joined.splits.val, joined.splits.test) == (alone.splits.val, alone.splits.test)
    assert joined.remarks()[-1] == "5 images are of external.csv: 5 are trained on"


def test_further_samples_of_a_tested_group_are_left_out(atlas: Path, tmp_path: Path) -> None:
    """s30 to s34 are of plates 15 to 17; the main table's last samples are made to be of these plates, too."""
    shutil.copytree(atlas, tmp_path / "atlas")
    table = tmp_path / "atlas" / "train.csv"
    table.write_text(table.read_text().replace(",p14", ",p15"))
    settings = {"extra": ["external.csv"], "group_column": "plate"}
    split = {seed: module(tmp_path / "atlas", seed, **settings) for seed in range(6)}
    places = {seed: data.table.set_index("id")["split"].loc[["s28", "s30"]].tolist() for seed, data in split.items()}
    assert all(extra == ("train" if main == "train" else "") for main, extra in places.values())
    assert {main for main, _ in places.values()} != {"train"}
    left = next(data for seed, data in split.items() if not places[seed][1])
    assert left.remarks()[-1] == (
        "5 images are of external.csv: 3 are trained on, 2 left out, as others of their group are not"
    )


def test_rare_classes_can_be_drawn_more_often(atlas: Path) -> None:
    data = module(atlas, sampling="balanced")
    weights = data.sample_weights()
    assert weights is not None
    assert weights.shape == (len(data.rows["train"]),)
    rare = data.values("labels", "train")[:, 27] == 1
    assert rare.any()
    assert weights[rare].min() > weights[~rare].max()
    assert module(atlas).sample_weights() is None


def test_prepare_is_told_what_is_wrong_with_the_other_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        for stain in STAINS:
            # Samples may differ in size.
            png(tmp_path / f"train/s{number}_{stain}.png", rng.integers(0, 256, (12 + number, 12), np.uint8))
    write(tmp_path, *(f"s{number},0" for number in range(5)))
    png(tmp_path / "train/s0_green.png", rng.integers(0, 256, (12, 13), np.uint8))
    png(tmp_path / "train/s1_blue.png", rng.integers(0, 65536, (13, 12), np.uint16))
    (tmp_path / "train/s2_yellow.png").write_bytes(b"")
    png(tmp_path / "train/s3_red.png", rng.integers(0, 256, (15, 12, 3), np.uint8))
    data = make(tmp_path)
    found = {(one.path, one.severity): f"{one.what}; {one.advice}" for one in check_files(data)[0]}
    assert found == {
        ("train/s0_green.png", "error"): "12 x 13 pixels, where 12 x 12 were expected as in s0_red.png; export all "
        "files of a sample alike",
        ("train/s1_blue.png", "error"): "uint16 values, where uint8 were expected as in s1_red.png; export all files "
        "of a sample alike",
        ("train/s2_yellow.png", "error"): "the file is empty (0 bytes); copy it again",
        ("train/s3_red.png", "error"): "expected one grey channel, found 3 that differ; save the stain as a grey image",
    }
