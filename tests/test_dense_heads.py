"""The step that trains heads of maps: weights and balances of losses, and the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from tests import dense
from visionlab.errors import DataError
from visionlab.inference.checkpoint import read_checkpoint, rebuild

# The step -----------------------------------------------------------------------------------------------------------


def steps(root: Path, *overrides: str) -> tuple[dict[str, float], Any]:
    """Train for one batch, validate, and return what was logged, and the module."""
    module, data = dense.task_module(root, *overrides)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=root,
    )
    trainer.fit(module, train_dataloaders=data.loader("train", train=True), val_dataloaders=data.loader("val"))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, module


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense.write_nested(tmp_path_factory.mktemp("data") / "step")


def test_weights_of_heads(root: Path) -> None:
    plain, _ = steps(root, "heads.depth.loss=l1", "heads.mask.loss=bce")
    found, _ = steps(
        root, "heads.depth.loss=l1", "heads.mask.loss=bce", "heads.mask.weight=3", "heads.depth.weight=0.5"
    )
    for part in ("train", "val"):
        for values, mask, depth in ((plain, 1, 1), (found, 3, 0.5)):
            parts = mask * values[f"{part}/mask/loss"] + depth * values[f"{part}/depth/loss"]
            assert values[f"{part}/loss"] == pytest.approx(parts, rel=1e-5)
    # Losses of the heads are shown as they are, without their weights.
    assert found["train/mask/loss"] == pytest.approx(plain["train/mask/loss"], rel=1e-5)
    assert found["train/loss_epoch"] == pytest.approx(found["train/loss"], rel=1e-5)
    assert found["train/mask/loss_epoch"] == pytest.approx(found["train/mask/loss"], rel=1e-5)


def test_clamp_raises_one_loss_in_training_only(root: Path) -> None:
    settings = ("heads.mask.loss=dice", "heads.mask.weight=0.01", "heads.depth.loss=mse", "balance=clamp")
    found, _ = steps(root, *settings, "balance.raised=mask", "balance.by=depth", "balance.factor=4")
    mask, depth = 0.01 * found["train/mask/loss"], found["train/depth/loss"]
    factor = np.clip(depth / max(1e-3, mask), 1, 4)
    assert factor > 1.5
    assert found["train/loss"] == pytest.approx(factor * mask + depth, rel=1e-5)
    expected = 0.01 * found["val/mask/loss"] + found["val/depth/loss"]
    assert found["val/loss"] == pytest.approx(expected, rel=1e-5), "the best epoch is chosen by the plain sum"


def test_uncertainty_learns_its_weights(root: Path) -> None:
    found, module = steps(
        root, "balance=uncertainty", "optimizer=adamw", "optimizer.weight_decay=0.5", "scheduler=none"
    )
    scales = dict(module.balance.log_variances.items())
    assert set(scales) == {"mask", "depth"}
    # Losses are above 1 or below: the weights follow at the pace of the others, the first step with that of Adam.
    for name, scale in scales.items():
        assert abs(scale.item()) == pytest.approx(module.trainer.optimizers[0].param_groups[0]["lr"], rel=1e-3)
        assert scale.item() * (found[f"train/{name}/loss"] - 1) > 0
    decays = [group["weight_decay"] for group in module.trainer.optimizers[0].param_groups]
    assert decays == [0.5, 0.0], "the balance does not decay"
    assert found["val/loss"] == pytest.approx(found["val/mask/loss"] + found["val/depth/loss"], rel=1e-5)


def test_a_learnt_balance_is_stored_and_the_best_checkpoint_predicts(
    two_input_run: Path, depth_mask_root: Path
) -> None:
    import visionlab

    for name in ("best", "last"):
        weights = read_checkpoint(two_input_run / "checkpoints" / f"{name}.ckpt")["state_dict"]
        assert weights["balance.log_variances.mask"] != 0
        assert weights["balance.log_variances.depth"] != 0
        predictor = visionlab.load(two_input_run / "checkpoints" / f"{name}.ckpt", device="cpu")
        assert predictor.inputs == ("image", "background")
        assert not any("balance" in key for key in predictor.model.state_dict())


# The checkpoint -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["heads"]["mask"].update(kind="regression", step=None), "heads.mask.activation|heads.mask.metrics"),
        (lambda d: d["heads"]["mask"].update(columns=["a"]), r"heads.mask.columns: expected \['mask'\], one map"),
        (lambda d: d["heads"]["depth"].update(activation="relu"), "heads.depth.activation: expected one of none, sigm"),
        (lambda d: d["heads"]["depth"].update(metrics=["iou"]), "heads.depth.metrics: expected some of mae"),
        (lambda d: d.update(inputs=["image", "background"]), "preprocess.channels: expected as many as the network"),
        (lambda d: d["network"].update(name="resnet18"), "expected one for a network of kind 'image', found mask"),
        (
            # It would become a folder, anywhere.
            lambda d: d.update(heads={**d["heads"], "/tmp/x": {**d["heads"].pop("mask"), "columns": ["/tmp/x"]}}),
            "heads: expected names of letters, digits and _, found /tmp/x",
        ),
    ],
)
def test_descriptions_of_maps_are_checked(change: Any, message: str, dense_run: Path, tmp_path: Path) -> None:
    content = torch.load(dense_run / "checkpoints" / "best.ckpt", weights_only=True)
    change(content["visionlab"])
    path = tmp_path / "changed.ckpt"
    torch.save(content, path)
    with pytest.raises(DataError, match=message):
        rebuild(path, read_checkpoint(path))
