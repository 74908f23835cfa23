"""A frozen trunk that learns in a later stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from tests.conftest import train
from visionlab.config.checks import check
from visionlab.config.compose import compose
from visionlab.errors import ConfigError
from visionlab.training.registry import REGISTRY

STAGES = "+stages={head:{epochs:1,freeze:true},all:{epochs:1,freeze:false,lr:1e-4}}"


def test_a_trunk_is_frozen_in_one_stage_and_learns_in_the_next(focus_root: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    torch.save(start.state_dict(), tmp_path / "start.pth")
    settings = [f"data.root={focus_root}", f"model.weights={tmp_path / 'start.pth'}", STAGES]
    run = train(tmp_path / "run", *settings, "callbacks.checkpoint.every_n_steps=1")
    trained = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    trunk = {name: value for name, value in start.state_dict().items() if "num_batches" not in name}
    assert any(not torch.equal(value, trained[f"model.network.backbone.{name}"]) for name, value in trunk.items())
    only = STAGES.replace("all:{epochs:1,freeze:false", "all:{epochs:1,freeze:true")
    run = train(tmp_path / "frozen", *settings[:2], only)
    trained = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, trained[f"model.network.backbone.{name}"]) for name, value in trunk.items())


def test_a_frozen_stage_needs_trained_weights() -> None:
    with pytest.raises(ConfigError, match=r"stages\.head: model\.freeze: expected trained weights"):
        check(compose(["task=protein_atlas", STAGES]), REGISTRY)


def test_networks_without_a_trunk_cannot_be_frozen() -> None:
    with pytest.raises(ConfigError, match=r"stages\.head: .*model\.freeze: unknown key"):
        check(compose(["task=protein_atlas", "model=small_cnn", STAGES]), REGISTRY)
