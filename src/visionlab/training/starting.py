"""Where a training starts: the weights of another run, a learning rate that was looked for."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError, UserError
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.files import find_checkpoint
from visionlab.modules.task_model import TaskModel
from visionlab.modules.task_module import TaskModule
from visionlab.training.assembly import trainer_options, world_size


def init_from(model: TaskModel, source: str) -> None:
    """Load the weights, and nothing else, of another run into the network.

    The scales of images and targets stay those of the new data.

    Raises:
        UsageError: the weights are of another network; the message names what differs.
    """
    path = find_checkpoint(source)
    content = read_checkpoint(path)
    found = {
        name.removeprefix("model.network."): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith("model.network.")
    }
    expected = model.network.state_dict()
    other = [
        name
        for name in sorted({*found, *expected})
        if name not in found or name not in expected or found[name].shape != expected[name].shape
    ]
    if other:
        raise UsageError(
            f"init_from={source}: expected weights of {_words(model.network_spec)}, "
            f"found {_words(content['visionlab']['network'])}; {len(other)} tensors differ, the first is {other[0]}"
        )
    model.network.load_state_dict(found)
    LOG.info("weights from %s", path)


def _words(network: Mapping[str, Any]) -> str:
    return f"{network['name']} with {network['in_channels']} channel(s) in and {network['out_channels']} out"


def find_learning_rate(cfg: DictConfig, module: TaskModule, data: ImageDataModule, run_dir: Path) -> None:
    """Raise the learning rate exponentially over a trial, save the curve and use the suggested rate (Smith 2017).

    The trial has its own trainer and copies of the weights, so nothing of it stays but the rate, which also becomes
    the ``max_lr`` of cycles.

    Raises:
        UserError: the curve has no falling part.
    """
    from pytorch_lightning.tuner.tuning import Tuner

    from visionlab.files import write_text

    if world_size(cfg) > 1:
        raise UsageError("lr_find=true: expected one device, for each would find its own rate; set optimizer.lr")
    steps = 100  # fewer make the smoothed curve follow single batches
    LOG.info("lr_find: trying learning rates over %d steps", steps)
    trial = copy.deepcopy(module)
    trial.learning_rate = float(cfg.optimizer.lr)
    options = {**trainer_options(cfg), "max_epochs": -1, "devices": 1, "strategy": "auto"}
    trainer = pl.Trainer(
        **options, logger=False, enable_checkpointing=False, enable_progress_bar=False, default_root_dir=run_dir
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        finder = Tuner(trainer).lr_find(
            trial, datamodule=data, min_lr=1e-6, max_lr=1.0, num_training=steps, attr_name="learning_rate"
        )
    data.trainer = None
    suggestion = finder.suggestion() if finder else None
    if finder is None or suggestion is None:
        raise UserError("lr_find: the loss never fell, so no learning rate can be suggested; set optimizer.lr yourself")
    rows = zip(finder.results["lr"], finder.results["loss"], strict=True)
    write_text(run_dir / "lr_find.csv", "lr,loss\n" + "".join(f"{lr:.8g},{loss:.8g}\n" for lr, loss in rows))
    LOG.info("lr_find: optimizer.lr %.3g -> %.3g (curve in lr_find.csv)", cfg.optimizer.lr, suggestion)
    cfg.optimizer.lr = float(suggestion)
