"""Task ``protein_atlas``: tables of labels, the files of each sample, classes, splits, sampling, classes in parts."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests import shell
from tests.test_labels_run import LABELS, draw_nothing
from visionlab.config.compose import compose
from visionlab.data.channels import STAINS, Channels
from visionlab.datasets import choose_classes, protein_atlas
from visionlab.datasets.protein_atlas import NAMES, ProteinAtlasDataModule, sample_weights
from visionlab.errors import ConfigError, DataError
from visionlab.files import Scan


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


def scan(root: Path, *channels: str, **changed: Any) -> Scan:
    return protein_atlas.scan(root, Channels(channels or STAINS), NAMES, **changed)


def index(root: Path, *channels: str, **changed: Any) -> pd.DataFrame:
    return scan(root, *channels, **changed).usable(root)


# Rows and files -----------------------------------------------------------------------------------------------------


def test_a_sample_has_four_files_and_any_number_of_labels(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/b", "train/a", "train/stranger"), "b,16 0", "a,", "c,1")
    table = index(tmp_path)
    assert list(table.columns) == ["id", "group", "path", *(f"{stain}_path" for stain in STAINS), *NAMES, "set"]
    assert table[["id", "group", "path", "yellow_path", "set"]].to_numpy().tolist() == [
        [name, name, f"train/{name}_red.png", f"train/{name}_yellow.png", "train.csv"] for name in "ab"
    ]
    assert [np.flatnonzero(row).tolist() for row in table[list(NAMES)].to_numpy()] == [[], [0, 16]]


def test_only_the_files_of_needed_stains_are_needed(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/a", stains=["yellow", "green"], suffix="TIF"), "a,3")
    table = index(tmp_path, "green", "yellow/2+green")
    assert table["path"].tolist() == ["train/a_green.TIF"]
    assert not {"red_path", "blue_path"} & set(table.columns)


def test_where_the_images_are(tmp_path: Path) -> None:
    # In the folder named like the table, else beside the table, in any depth, else where data.images says.
    write(touch(tmp_path, "train/a"), "a,1")
    write(touch(tmp_path, "lists/deep/b"), "b,1", name="lists/some.csv")
    write(touch(tmp_path, "c"), "c,1", name="lists/more.csv")
    assert index(tmp_path)["path"].tolist() == ["train/a_red.png"]
    assert index(tmp_path, table=str(tmp_path / "lists/some.csv"))["path"].tolist() == ["lists/deep/b_red.png"]
    assert index(tmp_path, table="lists/more.csv", images=".")["path"].tolist() == ["c_red.png"]
    for changes, message in (
        ({"images": "trian"}, r"data\.images.*Did you mean 'train'"),
        ({"images": "lists"}, r"train\.csv: .* 1 rows in .*lists, such as a_red\.png .*found none of them"),
        ({"table": "../some.csv", "images": ".."}, r"expected the images of some\.csv in data\.root .* outside of it"),
    ):
        shutil.copy(tmp_path / "lists/some.csv", tmp_path.parent / "some.csv")
        with pytest.raises(DataError, match=message):
            index(tmp_path, **changes)


def test_further_tables_and_a_column_of_groups(tmp_path: Path) -> None:
    write(touch(tmp_path, "train/b", "train/c"), "b,1,p1", "c,1,p2", header="Id,Target,plate")
    write(touch(tmp_path, "extra/a", suffix="tif"), "a,7 2,p1", "b,1,p1", name="extra.csv", header="Id,Target,plate")
    found = scan(tmp_path, extra=["extra.csv"], group_column="plate")
    assert found.table[["id", "group", "path", "set"]].to_numpy().tolist() == [
        ["a", "p1", "extra/a_red.tif", "extra.csv"],
        ["b", "p1", "train/b_red.png", "train.csv"],
        ["c", "p2", "train/c_red.png", "train.csv"],
    ]
    (problem,) = found.problems
    assert str(problem).startswith("extra.csv line 3: the Id 'b' stands in train.csv line 2 as well")
    write(touch(tmp_path, "further/train/b"), "b,1,p1", name="further/train.csv", header="Id,Target,plate")
    (problem,) = scan(tmp_path, extra=["further/train.csv"]).problems
    assert str(problem).startswith("further/train.csv line 2: the Id 'b' stands in train.csv line 2 as well")
    with pytest.raises(DataError, match=r"column plates, .*data\.group_column names it.*Did you mean 'plate'"):
        index(tmp_path, group_column="plates")


# Classes ------------------------------------------------------------------------------------------------------------


def test_classes_are_chosen_by_number_or_by_part() -> None:
    assert len(NAMES) == 28 and (NAMES[0], NAMES[27]) == ("Nucleoplasm", "Rods & rings")
    assert choose_classes(NAMES, None, None) == list(range(28))
    assert choose_classes(NAMES, [25, 0], None) == [25, 0]
    assert choose_classes(NAMES, None, "2/4") == [7, 8, 9, 10, 11, 12, 13]
    for parts in (1, 3, 28):
        joined = [number for part in range(parts) for number in choose_classes(NAMES, None, f"{part + 1}/{parts}")]
        assert joined == list(range(28))


@pytest.mark.parametrize("group", ["5/4", "0/4", "1/29", "2", "1/0"])
def test_parts_that_there_are_not_are_refused(group: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.class_group: expected i/n.* found '{group}'"):
        choose_classes(NAMES, None, group)


@pytest.mark.parametrize("classes", [[28], [-1], [1, 1], []])
def test_classes_that_there_are_not_are_refused(classes: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"data\.classes: expected numbers from 0 to 27, each once"):
        choose_classes(NAMES, classes, None)


@pytest.mark.parametrize("names", [["a", "a"], ["group"], ["labels"], ["a;b"], [" a"]])
def test_names_that_cannot_be_columns_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"data\.class_names: "):
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


def module(root: Path, seed: int = 0, **changed: Any) -> ProteinAtlasDataModule:
    settings = {**defaults(), "root": str(root), "image_size": 12, "batch_size": 4, **changed}
    data = ProteinAtlasDataModule(seed, {"joint": [], "image": []}, **settings)
    data.setup()
    return data


def test_batches_hold_the_stains_and_the_labels(atlas: Path) -> None:
    data = module(atlas, channels=["red/2+yellow/2", "blue"])
    batch = next(iter(data.loader("test")))
    row = data.table.set_index("id").loc[batch["id"][0]]
    planes = {name: imagecodecs.png_decode((atlas / row[f"{name}_path"]).read_bytes()) for name in data.files.names}
    mixed = np.rint((planes["red"].astype(float) + planes["yellow"]) / 2)
    assert (batch["image"][0].numpy() == np.stack([mixed, planes["blue"]])).all()
    assert (batch["target"]["labels"][0].numpy() == row[list(NAMES)].to_numpy(float)).all()
    assert data.remarks() == [
        "channels: red/2+yellow/2, blue, of the stains red, yellow, blue",
        "2 images have no label of any class",
    ]


def test_some_classes_are_learnt_on_the_same_splits(atlas: Path) -> None:
    every, some = module(atlas), module(atlas, class_group="2/4")
    assert some.targets == {"labels": NAMES[7:14]} and some.ids("labels") == list(range(7, 14))
    assert (some.values("labels", "train") == every.values("labels", "train")[:, 7:14]).all()
    assert some.splits == every.splits != module(atlas, seed=1).splits
    assert some.remarks()[0] == f"7 of 28 classes are learnt ({', '.join(NAMES[7:14])}); 20 images have none of them"
    names = [f"class {number}" for number in range(30)]
    other = module(atlas, class_names=names, class_group="3/3")
    assert other.targets["labels"] == tuple(names[20:]) and other.table["class 27"].sum() == 3


def test_further_sets_are_trained_on_only(atlas: Path, tmp_path: Path) -> None:
    """s30 to s34 are of plates 15 to 17; the main table's last samples are made to be of these plates, too."""
    alone, joined = module(atlas), module(atlas, extra=["external.csv"])
    assert (joined.splits.val, joined.splits.test) == (alone.splits.val, alone.splits.test)
    assert joined.remarks()[-1] == "5 images are of external.csv: 5 are trained on"
    shutil.copytree(atlas, tmp_path / "atlas")
    table = tmp_path / "atlas" / "train.csv"
    table.write_text(table.read_text().replace(",p14", ",p15"))
    found = [module(tmp_path / "atlas", seed, extra=["external.csv"], group_column="plate") for seed in range(6)]
    places = [data.table.set_index("id")["split"].loc[["s28", "s30"]].tolist() for data in found]
    assert all(extra == ("train" if main == "train" else "") for main, extra in places)
    assert {main for main, _ in places} != {"train"}


def test_a_sample_is_drawn_as_its_rarest_label(atlas: Path) -> None:
    # Label 0: four samples, label 1: two, label 2: one; the last sample has none and weighs as label 0.
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
    balanced = np.array([1 / 4, 1 / 2, 1, 1 / 4, 1 / 4])
    np.testing.assert_allclose(sample_weights(labels, "balanced"), balanced / balanced.sum())
    root = np.sqrt(balanced)
    np.testing.assert_allclose(sample_weights(labels, "sqrt"), root / root.sum())
    np.testing.assert_allclose(sample_weights(np.zeros((4, 0)), "sqrt"), 0.25)
    data = module(atlas, sampling="balanced")
    weights, rare = data.sample_weights(), data.values("labels", "train")[:, 27] == 1
    assert weights is not None and rare.any() and weights[rare].min() > weights[~rare].max()
    assert module(atlas).sample_weights() is None


def test_classes_learnt_in_two_parts_are_joined_by_name(
    atlas_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_nothing(monkeypatch)
    sweep, test = tmp_path / "sweep", atlas_root / "test"
    parts = ["data.class_group=1/2,2/2", f"hydra.sweep.dir={sweep}"]
    assert shell.run("train", "-m", *LABELS, "trainer.max_epochs=1", f"data.root={atlas_root}", *parts) == 0
    runs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert len({(run / "splits.json").read_text() for run in runs}) == 1
    scores = {}
    for name, members in {"all": runs, "0": runs[:1], "1": runs[1:]}.items():
        out = tmp_path / name
        submission = ("--submission", tmp_path / "out.csv") if name == "all" else ()
        assert shell.run("predict", *members, test, "--out", out, *submission, "--device", "cpu") == 0
        table = pd.read_csv(out / "predictions.csv")
        scores[name] = table.pivot_table(index="path", columns="name", values="value")
    assert sorted(scores["all"].columns) == sorted(NAMES)
    for name, run in zip("01", runs, strict=True):
        about = json.loads((run / "run.json").read_text())["heads"]["labels"]
        assert about["columns"] == [NAMES[number] for number in about["ids"]]
        own = scores[name]
        pd.testing.assert_frame_equal(scores["all"][sorted(own.columns)], own[sorted(own.columns)], rtol=1e-6)
    predicted = pd.read_csv(tmp_path / "out.csv", keep_default_na=False).set_index("Id")["Predicted"]
    found = pd.read_csv(tmp_path / "all" / "labels.csv", keep_default_na=False).set_index("id")["labels"]
    for image, text in predicted.items():
        assert {NAMES[int(number)] for number in text.split()} == set(found[str(image)].split("; ")) - {""}
