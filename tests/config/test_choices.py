"""Every choice in conf/ is built and trains for a step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from pytorch_lightning import Trainer

from tests.conftest import ROOT, TINY, chosen
from visionlab.config.compose import compose
from visionlab.config.stages import each_stage
from visionlab.training import assembly

CHOICES = [
    (path.parent.name, path.stem)
    for path in sorted((ROOT / "conf").glob("*/*.yaml"))
    if path.parent.name not in ("callbacks", "logger", "make")
]
# What a choice needs that has no sensible default.
NEEDS = {("model", "timm"): ["model.name=test_resnet"]}

SIDES = {"inception_resnet_v2": 80, "inception_resnet_v2_flat": 80, "small_cnn": 64}


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=lambda value: value)
def test_choice_trains_for_a_step(group: str, choice: str, roots: Callable[[str], Path], tmp_path: Path) -> None:
    overrides = [*chosen(group, choice), *NEEDS.get((group, choice), [])]
    task = compose(overrides).task
    small = [text for text in TINY if not text.startswith(("task=", "model"))]
    dense = compose(overrides).module == "dense"
    network = ["model=shuffle_unet"] if dense else ["model=timm", "model.name=test_resnet"]
    network = [] if group in ("model", "experiment") else network
    if choice == "ddp":
        overrides.append("trainer.devices=1")
    whole = compose([*small, *network, *overrides, f"data.root={roots(task)}"])
    cfg = list(each_stage(whole).values())[-1]
    # Some networks shrink images so much that of 32 pixels nothing is left.
    cfg.data.batch_size, cfg.data.image_size = 4, SIDES.get(cfg.model.name, 32)
    data = assembly.make_data(cfg)
    data.setup()
    module = assembly.make_module(cfg)
    module.build(data)
    options = {**assembly.trainer_options(cfg), "max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
    trainer = Trainer(
        **options, logger=False, enable_checkpointing=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    before = [parameter.detach().clone() for parameter in module.parameters()]
    # Ranks are told of each other by variables, which would go on to every process that later tests start.
    with patch.dict(os.environ):
        trainer.fit(module, train_dataloaders=data.loader("train", train=True), val_dataloaders=data.loader("val"))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    assert trainer.global_step == 1
    assert torch.isfinite(trainer.callback_metrics[cfg.monitor])
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
