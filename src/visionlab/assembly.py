"""From configuration nodes to objects: data, model, module, trainer options."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from visionlab import __version__, models
from visionlab.config import build
from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError, UserError
from visionlab.inference.checkpoint import FORMAT, ORIGIN, read_checkpoint
from visionlab.inference.files import find_checkpoint
from visionlab.modules import MODULES
from visionlab.modules.base import TaskModule
from visionlab.modules.schedulers import Plan
from visionlab.modules.task_model import Normalizer, TaskModel, head_class

# Lightning's remarks on what is meant to be so here.
_MEANT = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*in eval mode at the start of training.*",
    # Validation metrics are gathered from all ranks before they are logged.
    ".*when logging on epoch level in distributed setting.*",
    ".*lr_scheduler.step.. before .optimizer.step.*",
)


def quiet() -> None:
    """Silence Lightning's advertisements and remarks, not its warnings of things that are wrong."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in _MEANT:
        warnings.filterwarnings("ignore", message=text)


def plain(node: Any) -> Any:
    """Return a configuration node as plain, resolved data."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def make_data(cfg: DictConfig) -> ImageDataModule:
    """Return the data module, not set up yet."""
    data: ImageDataModule = build(plain(cfg.data), cfg.seed, plain(cfg.augment))
    return data


def make_model(cfg: DictConfig, data: ImageDataModule, *, begun: bool = False) -> TaskModel:
    """Return the model with heads and normaliser scaled by the training split.

    Args:
        cfg: composed and checked.
        data: set up.
        begun: whether its weights will come from ``last.ckpt``, so that pretrained ones need not be there any more.
    """
    heads = []
    for name, head in plain(cfg.heads).items():
        mean, std = data.scale(name)
        options = {key: head[key] for key in ("unit", "metrics", "weight")}
        kind = head_class(head["kind"])
        heads.append(kind(name, data.targets[name], mean=mean, std=std, step=data.step(name), **options))
    options = plain(cfg.model)
    name = options.pop("name")
    if begun:
        options |= {"pretrained": False, "weights": None}
    channels = sum(head.channels for head in heads)
    network = models.build(name, data.channels, channels, **options)
    spec = {
        "name": name,
        "in_channels": data.channels,
        "out_channels": channels,
        "options": {key: value for key, value in options.items() if key not in ORIGIN},
    }
    _probe(network, name, (1, data.channels, data.height, data.width))
    mode = "image" if data.normalize == "image" else "dataset"
    return TaskModel(network, spec, heads, Normalizer(mode, data.mean, data.std))


def _probe(network: nn.Module, name: str, shape: tuple[int, int, int, int]) -> None:
    """Refuse images that the network does not take; transformers, for one, are built for one size."""
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(shape))
    except Exception as error:
        size = f"data.image_size={shape[2]} x {shape[3]}"
        raise UsageError(f"{size}: model {name} does not take images of this size: {error}") from error
    network.train(training)


def make_module(cfg: DictConfig, data: ImageDataModule, *, begun: bool = False) -> TaskModule:
    """Return the LightningModule of a run; the arguments are those of :func:`make_model`."""
    model = make_model(cfg, data, begun=begun)
    if cfg.trainer.channels_last:
        model.channels_last()
    description = {
        "format": FORMAT,
        "version": __version__,
        "task": cfg.task,
        "module": cfg.module,
        "preprocess": data.cache.preprocess.spec(),
        "data": {"name": data.name, "synthetic": data.synthetic, "fingerprint": data.fingerprint},
    }
    losses = {name: build(plain(head.loss or cfg.loss)) for name, head in cfg.heads.items()}
    return build(
        {"_target_": MODULES[cfg.module].target},
        model,
        losses=losses,
        make_optimizer=lambda parameters, fused: build(plain(cfg.optimizer), parameters, fused),
        make_schedule=lambda optimizer, plan: build(plain(cfg.scheduler), optimizer, plan),
        plan=make_plan(cfg, data),
        monitor=cfg.monitor,
        seed=cfg.seed,
        description=description,
    )


def make_plan(cfg: DictConfig, data: ImageDataModule) -> Plan:
    """Return how many steps the training will have.

    Lightning's own estimate would set up the loaders early and drop their state when a run is resumed.
    """
    devices = world_size(cfg)
    batches = len(data.loader("train", train=True, world=devices))
    if cfg.trainer.limit_train_batches is not None:
        batches = min(batches, cfg.trainer.limit_train_batches)
    steps = -(-batches // cfg.trainer.accumulate_grad_batches)
    return Plan(steps, steps * cfg.trainer.max_epochs, cfg.trainer.max_epochs, cfg.mode)


def world_size(cfg: DictConfig) -> int:
    """Return the number of devices that train together."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1, "-1"):
        wants_gpu = cfg.trainer.accelerator in ("auto", "gpu")
        return max(1, torch.cuda.device_count()) if wants_gpu else 1
    return int(devices)


def trainer_options(cfg: DictConfig) -> dict[str, Any]:
    """Return the trainer's own arguments.

    Raises:
        UsageError: the accelerator is not there.
    """
    options: dict[str, Any] = dict(plain(cfg.trainer))
    options.pop("channels_last")
    if options["accelerator"] == "gpu" and not torch.cuda.is_available():
        raise UsageError("trainer.accelerator=gpu: expected a CUDA device, found none; use auto or cpu")
    if options["accelerator"] == "mps" and not torch.backends.mps.is_available():
        raise UsageError("trainer.accelerator=mps: expected an Apple GPU, found none; use auto or cpu")
    count = torch.cuda.device_count()
    if options["accelerator"] in ("auto", "gpu") and count and world_size(cfg) > count:
        raise UsageError(f"trainer.devices={cfg.trainer.devices}: this machine has {count} GPU(s)")
    return {
        **options,
        # The loader shares samples out over ranks itself, and validation needs no rehearsal.
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
    }


def init_from(module: TaskModule, source: str) -> None:
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
    expected = module.model.network.state_dict()
    other = [
        name
        for name in sorted({*found, *expected})
        if name not in found or name not in expected or found[name].shape != expected[name].shape
    ]
    if other:
        raise UsageError(
            f"init_from={source}: expected weights of {_words(module.model.network_spec)}, "
            f"found {_words(content['visionlab']['network'])}; {len(other)} tensors differ, the first is {other[0]}"
        )
    module.model.network.load_state_dict(found)
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

    from visionlab.data.store import write_text

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
