"""What every data set keeps: its index, whole groups, named problems, the same again, and the contract of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visionlab import samples
from visionlab.config.compose import compose
from visionlab.data.describe import check_files
from visionlab.data.module import ImageDataModule
from visionlab.errors import DataError
from visionlab.io import split_plane
from visionlab.training.assembly import make_data

SETS: dict[str, dict[str, int]] = {
    "focus": {"fields": 6, "heights": 3, "image_size": 32},
    "depth_mask": {"backgrounds": 6, "per_background": 2, "image_size": 32},
    "protein_atlas": {"images": 40, "test_images": 1, "image_size": 48},
    "celegans_nuclei": {"sequences": 2, "frames": 8, "planes": 12, "width": 48},
    "celegans_membrane": {"embryos": 4, "planes": 4, "width": 48},
    "celegans_lineage": {"embryos": 6, "frames": 3, "image_size": 32},
}
every = pytest.mark.parametrize("task", SETS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return {task: samples.write(task, folder / task, **size) for task, size in SETS.items()}


def module(task: str, root: Path, *overrides: str) -> ImageDataModule:
    settings = ("data.batch_size=4", "data.num_workers=0", "data.image_size=32", f"data.root={root}")
    return make_data(compose([f"task={task}", *settings, *overrides]))


@pytest.fixture(scope="module")
def data(roots: dict[str, Path]) -> dict[str, ImageDataModule]:
    found = {task: module(task, root) for task, root in roots.items()}
    for one in found.values():
        one.setup()
    return found


@every
def test_the_index_has_a_row_a_sample(data: dict[str, ImageDataModule], task: str) -> None:
    one = data[task]
    table = one.table
    assert {"id", "group", "path", "split"} <= set(table.columns)
    assert table["id"].is_unique
    assert len(table) > 10
    files = [column for column in table if str(column) == "path" or str(column).endswith("_path")]
    assert {f"{name}_path" for name in one.maps} <= set(files)
    for path in np.unique(table[files].to_numpy(str)):
        assert split_plane(one.root / path)[0].is_file(), path
    for name, columns in one.targets.items():
        assert len(one.values(name, "train")[0]) == len(columns)


@every
def test_no_group_is_in_two_splits(data: dict[str, ImageDataModule], task: str) -> None:
    table = data[task].table
    used = table[table["split"] != ""]
    assert (used.groupby("group")["split"].nunique() == 1).all()
    assert set(used["split"]) == {"train", "val", "test"}


@every
def test_the_same_folder_gives_the_same_data(
    data: dict[str, ImageDataModule], roots: dict[str, Path], task: str
) -> None:
    again = module(task, roots[task])
    again.setup()
    assert again.fingerprint == data[task].fingerprint
    assert again.table.equals(data[task].table)
    assert again.splits == data[task].splits
    mine, other = (next(iter(one.loader("train", train=True))) for one in (data[task], again))
    assert mine["id"] == other["id"]
    assert torch.equal(mine["image"], other["image"])


@every
def test_another_seed_gives_another_order(roots: dict[str, Path], task: str) -> None:
    # The test of six embryos, and the order of the training images, are drawn.
    orders = []
    for seed in (0, 1):
        one = module(task, roots[task], f"seed={seed}")
        one.setup()
        orders.append((one.splits.test, [key[1] for batch in one.loader("train", train=True).batches for key in batch]))
    assert orders[0] != orders[1]


@every
def test_a_batch_is_what_the_contract_says(data: dict[str, ImageDataModule], task: str) -> None:
    one = data[task]
    for loader in (one.loader("train", train=True), one.predict_dataloader()):
        batch: dict[str, Any] = next(iter(loader))
        image, target = batch["image"], batch["target"]
        count = len(batch["id"])
        assert 0 < count <= 4
        assert image.shape == (count, one.in_channels, 32, 32)
        assert image.dtype == (torch.uint8 if one.normalize != "percentile" else torch.float32)
        assert set(target) == {*one.targets, *one.learnt}
        for name, columns in one.targets.items():
            assert target[name].shape == (count, len(columns))
        for name in one.learnt:
            assert target[name].shape == (count, 1, 32, 32)
        assert all(values.dtype == torch.float32 for values in target.values())
        assert set(batch["id"]) <= set(one.table["id"])


@every
def test_a_broken_image_is_named(roots: dict[str, Path], task: str, tmp_path: Path) -> None:
    import shutil

    root = Path(shutil.copytree(roots[task], tmp_path / "set"))
    one = module(task, root)
    table = one.scan(root).table
    path = table["path"].iloc[len(table) // 2]
    file = split_plane(root / path)[0]
    file.write_bytes(file.read_bytes()[:-40])
    errors = [problem for problem in check_files(one)[0] if problem.severity == "error"]
    assert {split_plane(root / problem.path)[0] for problem in errors} == {file}
    with pytest.raises(DataError, match=file.name):
        one.setup()


@every
def test_a_folder_that_is_not_there_or_holds_nothing(task: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("empti", "Did you mean 'empty'"), ("empty", "expected|cannot be read")):
        with pytest.raises(DataError, match=message):
            one = module(task, tmp_path / name)
            one.scan(one.locate())


@every
def test_an_archive_is_named_with_the_command_that_unpacks_it(task: str, tmp_path: Path) -> None:
    archive = tmp_path / "cells.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"cells\.zip: expected a folder with .*, found an archive; unpack it: unzip "):
        module(task, archive).locate()


@every
def test_copies_of_an_image_in_two_splits_are_refused(roots: dict[str, Path], task: str, tmp_path: Path) -> None:
    import shutil

    root = Path(shutil.copytree(roots[task], tmp_path / "set"))
    one = module(task, root)
    one.setup()
    first, last = (one.table.iloc[one.rows[split][0]] for split in ("train", "test"))
    columns = [f"{stain}_path" for stain in one.stains] or ["path"]
    for column in columns:
        source, target = (split_plane(root / row[column])[0] for row in (first, last))
        shutil.copyfile(source, target)
    with pytest.raises(DataError, match="lie in two splits with equal pixels"):
        module(task, root).setup()


@every
def test_a_data_module_takes_the_rest_from_its_task(roots: dict[str, Path], task: str) -> None:
    import visionlab.data
    from visionlab.config import defaults

    composed = module(task, roots[task])
    own = getattr(visionlab.data, type(composed).__name__)(root=str(roots[task]), batch_size=3)
    settings = defaults(task)
    assert (own.batch_size, own.fit, own.seed) == (3, settings["data"]["fit"], settings["seed"])
    own.asked = composed.asked
    own.prepare_data()
    own.setup("fit")
    assert len(next(iter(own.train_dataloader()))["id"]) == 3
    composed.setup()
    assert own.splits == composed.splits
