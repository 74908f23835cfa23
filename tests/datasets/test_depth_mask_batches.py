"""Data with maps: what is unknown, units of depth, several inputs, splits by background and foreground, batches."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from tests import dense, shell
from tests.dense import Array, data_module, png, task_module, write_nested
from visionlab.errors import DataError, UsageError

Y, X = np.mgrid[:64, :64]


def first(data: Any, split: str = "train", *, train: bool = False) -> dict[str, Any]:
    batch: dict[str, Any] = next(iter(data.loader(split, train=train)))
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


# What is unknown ----------------------------------------------------------------------------------------------------


def test_padding_is_unknown_in_maps_and_reflected_in_images(tmp_path: Path) -> None:
    data = data_module(write_nested(tmp_path, size=(20, 32)), "data.fit=pad")
    batch = first(data)
    inside = slice(6, 26)
    for target in (batch["target"]["mask"], batch["target"]["depth"]):
        assert target.shape == (4, 1, 32, 32)
        assert torch.isfinite(target[:, :, inside]).all()
        assert target[:, :, :6].isnan().all()
        assert target[:, :, 26:].isnan().all()
    image = batch["image"]
    assert torch.equal(image[:, :, :6], image[:, :, 7:13].flip(2))


def test_padding_counts_for_nothing(tmp_path: Path) -> None:
    """Neither in the loss nor in its gradient nor in the rows that metrics are made of, whatever is predicted there."""
    module, data = task_module(write_nested(tmp_path, size=(20, 32)), "data.fit=pad")
    batch = first(data)
    for head in module.model.each_head():
        target = batch["target"][head.name]
        raw = torch.randn(target.shape, requires_grad=True)
        other = torch.where(target.isnan(), torch.randn(target.shape) * 50, raw).detach().requires_grad_()
        losses = [head.loss(values, target, module.losses[head.name]) for values in (raw, other)]
        assert torch.equal(*losses)
        assert losses[0] > 0
        torch.stack(losses).sum().backward()
        assert raw.grad is not None and other.grad is not None
        assert torch.equal(raw.grad, other.grad)
        assert not raw.grad[target.isnan()].any()
        assert raw.grad[target.isfinite()].any()
        assert torch.equal(*(head.rows(head.decode(values), target) for values in (raw, other)))


def test_holes_in_depth_are_unknown(tmp_path: Path) -> None:
    depths = [np.where((X[:32, :32] < 8), 0, 1000 + 10 * i + Y[:32, :32]).astype(np.uint16) for i in range(6)]
    data = data_module(with_depth(tmp_path, depths))
    depth, mask = first(data)["target"]["depth"], first(data)["target"]["mask"]
    assert depth[..., :8].isnan().all()
    assert depth[..., 8:].isfinite().all()
    assert mask.isfinite().all(), "a hole in depth is none in the mask"
    # They shrink with the image, and don't lower what is measured beside them.
    small = data_module(tmp_path, "data.image_size=16", "loss=l1")
    depth = first(small)["target"]["depth"]
    assert depth[..., :4].isnan().all()
    assert depth[..., 4:].min() >= 1.0
    kept = data_module(tmp_path, "data.depth_invalid=none")
    assert (first(kept)["target"]["depth"][..., :8] == 0).all()


# Units --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "suffix", "overrides", "factor", "unit"),
    [
        ("uint8", "png", [], 1 / 255, ""),
        ("uint16", "png", [], 0.001, "m"),
        ("float32", "tif", [], 1.0, "m"),
        ("uint16", "png", ["data.depth_scale=0.01", "heads.depth.unit=cm"], 0.01, "cm"),
        ("uint8", "png", ["data.depth_scale=2"], 2.0, "m"),
    ],
)
def test_numbers_in_files_become_the_unit(
    dtype: str, suffix: str, overrides: list[str], factor: float, unit: str, tmp_path: Path
) -> None:
    depths = [(20 * i + 1 + Y[:32, :32] + X[:32, :32]).astype(dtype) for i in range(6)]
    module, data = task_module(with_depth(tmp_path, depths, suffix), *overrides)
    batch = first(data, "test")
    row = int(data.rows["test"][0])
    number = int(data.table["id"][row].split("/")[0].removeprefix("bg"))
    assert batch["target"]["depth"].dtype == torch.float32
    np.testing.assert_allclose(batch["target"]["depth"][0, 0].numpy(), depths[number] * factor, rtol=1e-6)
    head = {head.name: head for head in module.model.each_head()}["depth"]
    assert head.unit == unit
    trained = np.stack([depths[int(data.table["id"][i].split("/")[0][2:])] for i in data.rows["train"]]) * factor
    assert trained.min() <= float(head.low) < trained.min() + 3 * factor
    assert trained.max() - 3 * factor < float(head.high) <= trained.max()
    assert float(head.mean) == pytest.approx(trained.mean(), rel=1e-4)


def test_the_unit_that_is_assumed_is_said(tmp_path: Path) -> None:
    data = data_module(write_nested(tmp_path))
    assert "depth: uint16 files taken as millimetres (data.depth_scale=auto)" in data.remarks()
    assert not data_module(tmp_path, "data.depth_scale=0.001").remarks()


# Inputs -------------------------------------------------------------------------------------------------------------


def test_each_image_comes_with_its_own_background(tmp_path: Path) -> None:
    data = data_module(write_nested(tmp_path, places=3), "data.inputs=[image,background]")
    assert data.in_channels == 6
    assert [len(stored.cache) for stored in data.images] == [18, 6], "a background is kept once"
    for split in ("train", "val", "test"):
        for batch in data.loader(split):
            for name, image in zip(batch["id"], batch["image"], strict=True):
                number = int(name.split("/")[0].removeprefix("bg"))
                assert image.shape == (6, 32, 32)
                assert (image[3:] == 10 * number + 5).all()
                assert image[:3].float().std() > 50
    # The normaliser knows both: backgrounds are less varied than images.
    assert len(data.mean) == len(data.std) == 6
    assert max(data.std[3:]) < min(data.std[:3])


def test_a_table_may_give_images_any_background(tmp_path: Path) -> None:
    root, lines = write_nested(tmp_path, places=1), ["image,mask,depth,background"]
    of = {0: 4, 1: 4, 2: 0, 3: 5, 4: 1, 5: 3}
    for number, background in of.items():
        name = f"bg{number}/fg{number}/0.png"
        lines.append(f"fgbg/{name},fgbgmask/{name},dense/{name},bg/bg{background}.png")
    (root / "pairs.csv").write_text("\n".join(lines))
    data = data_module(root, "data.table=pairs.csv", "data.inputs=[image,background]")
    assert len(data.images[1].cache) == 5
    for row, name in enumerate(data.table["id"]):
        number = int(name.split("/")[1].removeprefix("bg"))
        image, mask, _ = dense.scene(number)
        assert np.array_equal(data.images[0].image(row, 0.5, 0.5), image)
        assert (data.images[1].image(row, 0.5, 0.5) == 10 * of[number] + 5).all()
        assert np.array_equal(data.stored_maps["mask"].map(row, 0.5, 0.5), mask / 255)


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


def test_workers_make_the_same_batches(depth_mask_root: Path) -> None:
    settings = ("data.inputs=[image,background]", "augment=fgbg_background")

    def epoch(workers: int) -> list[dict[str, Any]]:
        loader = data_module(depth_mask_root, *settings, f"data.num_workers={workers}").loader("train", train=True)
        loader.batches.set_epoch(2)
        return list(loader)

    alone, shared = epoch(0), epoch(2)
    assert len(alone) == len(shared) > 1
    for one, other in zip(alone, shared, strict=True):
        assert one["id"] == other["id"]
        assert torch.equal(one["image"], other["image"])
        for name in ("mask", "depth"):
            assert torch.equal(one["target"][name].nan_to_num(-1), other["target"][name].nan_to_num(-1))


# Splits -------------------------------------------------------------------------------------------------------------


def crossed(root: Path, count: int) -> Path:
    """Every foreground on every background."""
    names = [f"fg{number}" for number in range(count)]
    return write_nested(root, backgrounds=count, foregrounds=[names] * count, places=1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_foreground_is_in_two_splits(tmp_path: Path, seed: int) -> None:
    root = crossed(tmp_path, 5)
    data = data_module(root, "data.split_by=[background,foreground]", f"seed={seed}")
    used = data.table[data.table["split"] != ""]
    for column in ("group", "foreground"):
        assert used.groupby(column)["split"].nunique().max() == 1
    assert set(used["split"]) == {"train", "val", "test"}
    assert set(used["foreground"]) == {f"fg{number}" for number in range(5)}
    assert used["split"].value_counts().to_dict() == {"train": 9, "val": 1, "test": 1}
    assert sum(map(len, data.rows.values())) == len(used)
    # Without it they are in several, which is said.
    plain = data_module(root, f"seed={seed}")
    assert (plain.table["split"] != "").all()
    assert any("5 foregrounds are in several splits" in remark for remark in plain.remarks())
    assert not any("foregrounds are in several" in remark for remark in data.remarks())


def test_images_that_mix_splits_are_counted(tmp_path: Path) -> None:
    from visionlab.data.describe import card

    data = data_module(crossed(tmp_path, 5), "data.split_by=[background,foreground]")
    assert "14 images of 5 groups are in no split" in card(data)["notes"]


def test_foregrounds_of_one_background_stay_with_it(tmp_path: Path) -> None:
    data = data_module(write_nested(tmp_path), "data.split_by=[background,foreground]")
    assert (data.table["split"] != "").all(), "nothing is left out where nothing is mixed"


def test_unknown_foregrounds_cannot_be_kept_apart(tmp_path: Path) -> None:
    for number in range(12):
        image, mask, depth = dense.scene(number)
        for folder, content in (("images", image), ("masks", mask), ("depth", depth)):
            png(tmp_path / folder / f"{number:03d}.png", content)
    settings = ("data.per_background=2", "data.split_by=[background,foreground]")
    with pytest.raises(UsageError, match=r"data.split_by: expected the foreground of each image, which this data set"):
        data_module(tmp_path, *settings)
    assert set(data_module(tmp_path, "data.per_background=2").table["group"]) == {f"bg{number}" for number in range(6)}


# What is missing ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nested(tmp_path_factory.mktemp("masks") / "masks", depth=False)


def test_a_mask_alone_can_be_learnt(without_depth: Path) -> None:
    module, data = task_module(without_depth, "~heads.depth")
    assert [head.name for head in module.model.each_head()] == ["mask"]
    batch = first(data)
    assert set(batch["target"]) == {"mask"}
    losses, raw = module.each_loss(batch)
    assert set(losses) == set(raw) == {"mask"}
    assert torch.isfinite(losses["mask"])


def test_a_head_without_maps_is_refused_with_the_way_out(
    without_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"heads.depth: {without_depth} has no depth maps to learn from; add them, or leave the head out"
    with pytest.raises(UsageError, match=f"{message} with '~heads.depth'"):
        task_module(without_depth)
    for verb in ("train", "prepare"):
        folder = tmp_path / verb
        status = shell.run(verb, *dense.SMALL, f"data.root={without_depth}", f"hydra.run.dir={folder}")
        said = capsys.readouterr().err
        assert status == 2
        assert message in said
        assert "Traceback" not in said
        assert not (folder / "config.yaml").exists()


def test_an_input_without_files_is_refused(tmp_path: Path) -> None:
    root = write_nested(tmp_path)
    shutil.rmtree(root / "bg")
    with pytest.raises(DataError, match=r"data\.inputs asks for background"):
        data_module(root, "data.inputs=[image,background]")
