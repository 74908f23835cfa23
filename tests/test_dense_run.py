"""A run of masks and depth: its numbers are those of its maps, its losses are weighted and balanced, other data."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Trainer

import visionlab
from tests import dense, shell
from visionlab.data.cache import stack_channels
from visionlab.errors import DataError
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.reports.run import read_scalars
from visionlab.training.pictures import save_pictures

NAMES = {
    "mask": ["iou", "dice", "mae", "boundary_f1"],
    "depth": [
        *("mae", "rmse", "abs_rel", "log10", "delta1", "delta2", "delta3", "ssim"),
        *("aligned_mae", "aligned_rmse", "aligned_abs_rel", "aligned_delta1"),
    ],
}
ALL = [f"{head}/{metric}" for head, metrics in NAMES.items() for metric in metrics]


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionlab.reports.write_report", lambda folder: folder / "report.html")


@pytest.fixture(scope="module")
def data(dense_run: Path, depth_mask_root: Path) -> Any:
    return dense.data_module(depth_mask_root, f"data.split_file={dense_run / 'splits.json'}")


@pytest.fixture(scope="module")
def maps(dense_run: Path, data: Any) -> dict[str, tuple[Any, Any]]:
    """Of each head the true and predicted maps of the test split, N x H x W, NaN where unknown."""
    rows = data.rows["test"]
    images = np.stack([stack_channels([stored.image(row, 0.5, 0.5) for stored in data.images]) for row in rows])
    decoded = visionlab.load(dense_run, device="cpu").decode(torch.from_numpy(images))
    return {
        name: (np.stack([stored.map(row, 0.5, 0.5) for row in rows]).astype(np.float64), decoded[name].numpy()[:, 0])
        for name, stored in data.stored_maps.items()
    }


def test_samples_without_a_score_are_drawn(dense_run: Path, data: Any, tmp_path: Path) -> None:
    table = pd.read_csv(dense_run / "predictions" / "test.csv").assign(mask_iou=np.nan, depth_mae=np.inf)
    (tmp_path / "predictions").mkdir()
    table.to_csv(tmp_path / "predictions" / "test.csv", index=False)
    save_pictures(tmp_path, visionlab.load(dense_run, device="cpu"), data, "test")
    assert (tmp_path / "plots" / "best_worst.png").is_file()


# Numbers ------------------------------------------------------------------------------------------------------------


def test_metrics_are_those_of_the_maps(dense_run: Path, data: Any, maps: Any) -> None:
    """Recomputed in numpy: of the set from all known pixels together, of each image, and of the mean of training."""
    metrics = {name.removeprefix("test/"): entry for name, entry in read(dense_run / "metrics.json").items()}
    table = pd.read_csv(dense_run / "predictions" / "test.csv")
    true, probability = maps["mask"]
    foreground, found = true > 0.5, probability >= 0.5
    both, either = foreground & found, foreground | found
    depth, guess = maps["depth"]
    raised = np.maximum(guess, 1e-6)
    ratio = np.maximum(raised / depth, depth / raised)
    expected = {
        "mask/iou": both.sum() / either.sum(),
        "mask/dice": 2 * both.sum() / (both.sum() + either.sum()),
        "mask/mae": np.abs(probability - true).mean(),
        "depth/mae": np.abs(guess - depth).mean(),
        "depth/rmse": math.sqrt(np.square(guess - depth).mean()),
        "depth/delta1": (ratio < 1.25).mean(),
        "depth/delta3": (ratio < 1.25**3).mean(),
    }
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value, rel=1e-5), name
    of_mask = ["mask_area_true", "mask_area_pred", *(f"mask_{name}" for name in NAMES["mask"])]
    of_depth = [f"depth_{name}" for name in NAMES["depth"]]
    assert list(table.columns) == ["id", "group", "split", "path", *of_mask, *of_depth]
    whole = (1, 2)
    np.testing.assert_allclose(table["mask_area_true"], foreground.mean(axis=whole), rtol=1e-5)
    np.testing.assert_allclose(table["mask_iou"], both.sum(axis=whole) / either.sum(axis=whole), rtol=1e-5)
    errors = np.abs(depth - guess).mean(axis=whole)
    np.testing.assert_allclose(table["depth_mae"], errors, rtol=1e-4)
    for name, stored in data.stored_maps.items():
        mean = np.mean([stored.map(row, 0.5, 0.5) for row in data.rows["train"]], dtype=np.float64)
        assert metrics[f"{name}/mae"]["baseline"] == pytest.approx(np.abs(maps[name][0] - mean).mean(), rel=1e-4)
    # Intervals draw whole backgrounds: of two of them, each ends at the values of the single ones.
    alone = sorted(errors[(table["group"] == group).to_numpy()].mean() for group in set(table["group"]))
    assert (metrics["depth/mae"]["low"], metrics["depth/mae"]["high"]) == pytest.approx(alone, rel=1e-4)


def test_curves_of_losses_are_those_of_the_heads(dense_run: Path) -> None:
    curves = read_scalars(dense_run)
    for part, losses in (("train/loss_epoch", "train/{}/loss_epoch"), ("val/loss", "val/{}/loss")):
        total = sum(curves[losses.format(head)]["value"].to_numpy() for head in NAMES)
        np.testing.assert_allclose(curves[part]["value"], total, rtol=1e-5)
    assert all(curves[f"val/{name}"]["step"].tolist() == [2, 5] for name in ("loss", *ALL))
    assert "stage" not in curves, "which a run of one stage has no use for"


# Losses -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense.write_nested(tmp_path_factory.mktemp("data") / "step")


def step(root: Path, *overrides: str) -> tuple[dict[str, float], Any]:
    """Train for one batch, validate, and return what was logged, and the module."""
    module, data = dense.task_module(root, *overrides)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=1,
        accelerator="cpu",
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
        **quiet,  # type: ignore[arg-type]
    )
    trainer.fit(module, train_dataloaders=data.loader("train", train=True), val_dataloaders=data.loader("val"))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module


def test_weights_of_heads(root: Path) -> None:
    losses = ("heads.depth.loss=l1", "heads.mask.loss=bce")
    plain, _ = step(root, *losses)
    found, _ = step(root, *losses, "heads.mask.weight=3", "heads.depth.weight=0.5")
    for part in ("train", "val"):
        for values, mask, depth in ((plain, 1, 1), (found, 3, 0.5)):
            parts = mask * values[f"{part}/mask/loss"] + depth * values[f"{part}/depth/loss"]
            assert values[f"{part}/loss"] == pytest.approx(parts, rel=1e-5)
    # Losses of the heads are shown as they are, without their weights.
    assert found["train/mask/loss"] == pytest.approx(plain["train/mask/loss"], rel=1e-5)
    assert found["train/loss_epoch"] == pytest.approx(found["train/loss"], rel=1e-5)


def test_clamp_raises_one_loss_in_training_only(root: Path) -> None:
    settings = ("heads.mask.loss=dice", "heads.mask.weight=0.01", "heads.depth.loss=mse", "balance=clamp")
    found, _ = step(root, *settings, "balance.raised=mask", "balance.by=depth", "balance.factor=4")
    mask, depth = 0.01 * found["train/mask/loss"], found["train/depth/loss"]
    factor = np.clip(depth / max(1e-3, mask), 1, 4)
    assert factor > 1.5
    assert found["train/loss"] == pytest.approx(factor * mask + depth, rel=1e-5)
    expected = 0.01 * found["val/mask/loss"] + found["val/depth/loss"]
    assert found["val/loss"] == pytest.approx(expected, rel=1e-5), "the best epoch is chosen by the plain sum"


def test_uncertainty_learns_its_weights_without_decay(root: Path) -> None:
    settings = ("balance=uncertainty", "optimizer=adamw", "optimizer.weight_decay=0.5", "scheduler=none")
    found, module = step(root, *settings)
    # Losses are above 1 or below: the weights follow at the pace of the others, the first step with that of Adam.
    for name in NAMES:
        scale = module.balance.log_variances[name].item()
        assert abs(scale) == pytest.approx(module.trainer.optimizers[0].param_groups[0]["lr"], rel=1e-3)
        assert scale * (found[f"train/{name}/loss"] - 1) > 0
    assert [group["weight_decay"] for group in module.trainer.optimizers[0].param_groups] == [0.5, 0.0]


def test_a_learnt_balance_is_stored_and_is_none_of_the_model(two_input_run: Path) -> None:
    for name in ("best", "last"):
        path = two_input_run / "checkpoints" / f"{name}.ckpt"
        weights = read_checkpoint(path)["state_dict"]
        assert weights["balance.log_variances.mask"] != 0
        predictor = visionlab.load(path, device="cpu")
        assert predictor.inputs == ("image", "background")
        assert not any("balance" in key for key in predictor.model.state_dict())


# Other data ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_report")
def test_other_labelled_data_are_measured_as_they_are_told_to_be_read(
    dense_run: Path, two_input_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Depth in tenths of a millimetre: ten times too deep unless told; another layout; no maps, or others."""
    other = dense.write_nested(tmp_path / "other", backgrounds=3, size=(40, 48))
    assert shell.run("evaluate", two_input_run, "--data", other, "--out", tmp_path / "two") == 0
    metrics = read(tmp_path / "two" / "metrics.json")
    assert list(metrics) == [f"test/{name}" for name in ALL]
    assert (metrics["test/depth/mae"]["n"], metrics["test/depth/mae"]["groups"]) == (6, 3)
    found = {}
    for name, scale, setting in (("mm", 1, []), ("tenths", 10, ["data.depth_scale=0.0001"])):
        for number in range(4):
            image, mask, depth = dense.scene(100 + number)
            for folder, content in (("images", image), ("masks", mask), ("depth", depth * scale)):
                dense.png(tmp_path / name / folder / f"{number}.png", content)
        words = (*setting, "data.per_background=2", "--data", tmp_path / name, "--out", tmp_path / f"{name}_out")
        assert shell.run("evaluate", dense_run, *words) == 0
        found[name] = read(tmp_path / f"{name}_out" / "metrics.json")["test/depth/mae"]
    assert found["tenths"]["value"] == pytest.approx(found["mm"]["value"], rel=1e-5)
    assert found["mm"]["groups"] == 2
    capsys.readouterr()
    for wrong in ("data.image_size=64", "optimizer.lr=1", "data.root=x"):
        assert shell.run("evaluate", dense_run, wrong, "--data", other, "--out", tmp_path / "new") == 2
        assert wrong in capsys.readouterr().err
    masks = dense.write_nested(tmp_path / "masks", backgrounds=3, depth=False)
    relative = dense.write_nested(tmp_path / "relative", backgrounds=3)
    for path in (relative / "dense").rglob("*.png"):
        dense.png(path, dense.scene(int(path.parts[-3][2:]))[2].astype(np.uint8))
    for root, expected in ((masks, "expected depth maps"), (relative, "expected depth in m as in training")):
        assert shell.run("evaluate", dense_run, "--data", root, "--out", tmp_path / "new") == 1
        assert f"error: {root}: {expected}" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_maps_that_no_head_learns_are_left_alone(depth_mask_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(depth_mask_root, root)
    broken = next((root / "dense").rglob("*.png"))
    broken.write_bytes(b"no image")
    data = dense.data_module(root, "~heads.depth")
    assert list(data.stored_maps) == ["mask"]
    assert set(next(iter(data.loader("val")))["target"]) == {"mask"}
    with pytest.raises(DataError, match=broken.name):
        dense.data_module(root)


def test_a_background_shared_by_images_of_two_shapes_is_named(tmp_path: Path) -> None:
    rows = ["image,mask,depth,background,group"]
    for number in range(6):
        size = (32, 48) if number == 5 else (32, 32)
        for name, content in zip(("image", "mask", "depth"), dense.scene(number, size), strict=True):
            dense.png(tmp_path / name / f"{number}.png", content)
        # The third room is seen by two images of different shapes.
        rows.append(f"image/{number}.png,mask/{number}.png,depth/{number}.png,room{number // 2}.png,g{number // 2}")
    for room in range(3):
        dense.png(tmp_path / f"room{room}.png", dense.scene(10 + room)[0])
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"room2\.png: belongs to images of different shapes, .*4\.png and .*5\.png"):
        dense.data_module(tmp_path, "data.table=list.csv", "data.inputs=[image,background]")
