"""From configuration nodes to objects: data, model, module, trainer options."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from visionlab import __version__, models
from visionlab.config import build
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError
from visionlab.heads import KINDS, head_class, load
from visionlab.inference.checkpoint import FORMAT, ORIGIN
from visionlab.losses.mixed import WeightedSum
from visionlab.modules import MODULES
from visionlab.modules.base import Stage, TaskModule
from visionlab.modules.schedulers import Plan
from visionlab.modules.task_model import Normalizer, TaskModel

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
    data.asked = {str(name): load(KINDS[head.kind].target) for name, head in cfg.heads.items()}
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
        options = {**own_options(head), **{key: head[key] for key in ("metrics", "weight")}}
        options["activation"] = head["activation"] or KINDS[head["kind"]].activations[0]
        options["unit"] = data.unit(name, head["unit"])
        heads.append(head_class(head["kind"]).from_data(name, data, **options))
    options = plain(cfg.model)
    name = options.pop("name")
    if begun:
        options = {key: value for key, value in options.items() if key not in ("pretrained", "weights")}
    channels = sum(head.channels for head in heads)
    network = models.build(name, data.in_channels, channels, **options)
    spec = {
        "name": name,
        "in_channels": data.in_channels,
        "out_channels": channels,
        "options": {key: value for key, value in options.items() if key not in ORIGIN},
    }
    probe(network, name, data)
    mode = "image" if data.normalize == "image" else "dataset"
    return TaskModel(network, spec, heads, Normalizer(mode, data.mean, data.std))


def make_network(cfg: DictConfig) -> tuple[nn.Module, int]:
    """Return the network of a configuration, with new weights, and its channels in; no data is looked at."""
    data = make_data(cfg)
    channels = 0
    for name, head in plain(cfg.heads).items():
        channels += len(head_class(head["kind"]).columns_of(name, data, own_options(head)))
    options = {key: value for key, value in plain(cfg.model).items() if key not in (*ORIGIN, "name")}
    return models.build(cfg.model.name, data.in_channels, channels, **options), data.in_channels


def own_options(head: dict[str, Any]) -> dict[str, Any]:
    """Return the options that only heads of this kind have, of a head's configuration; null is the kind's default."""
    return {
        key: option.default if head.get(key) is None else head[key]
        for key, option in KINDS[head["kind"]].options.items()
    }


def probe(network: nn.Module, name: str, data: ImageDataModule) -> None:
    """Refuse images that the network does not take; transformers, for one, are built for one size.

    Raises:
        UsageError: naming the size.
    """
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, data.in_channels, data.height, data.width))
    except Exception as error:
        size = f"data.image_size={data.height} x {data.width}"
        raise UsageError(f"{size}: model {name} does not take images of this size: {error}") from error
    network.train(training)


def make_loss(node: Any) -> Any:
    """Return the loss of a head: of a mapping with ``_target_``, or the weighted sum of a list of such."""
    if not isinstance(node, list):
        return build(node)
    return WeightedSum([(term["weight"], build(term["loss"])) for term in node])


def make_module(
    cfg: DictConfig, data: ImageDataModule, model: TaskModel | None = None, stage: Stage | None = None
) -> TaskModule:
    """Return the LightningModule of a run or of one of its stages.

    Args:
        cfg: of the stage.
        data: set up.
        model: to train; by default a new one.
        stage: which one this is; by default the only one.
    """
    model = model or make_model(cfg, data)
    if cfg.trainer.channels_last:
        model.channels_last()
    if cfg.model.get("freeze") is not None:
        # Stages may differ in it.
        model.network.set_frozen(cfg.model.freeze)  # type: ignore[operator]
    description = {
        "format": FORMAT,
        "version": __version__,
        "task": cfg.task,
        "module": cfg.module,
        "inputs": list(data.inputs),
        "neighbours": data.neighbours,
        "channels": list(data.channel_names),
        "preprocess": data.preprocess.spec(),
        "data": {"name": data.name, "synthetic": data.synthetic, "fingerprint": data.fingerprint},
    }
    losses = {name: make_loss(plain(head.loss or cfg.loss)) for name, head in cfg.heads.items()}
    for head in model.each_head():
        head.prepare(losses[head.name])
    return build(
        {"_target_": MODULES[cfg.module].target},
        model,
        losses=losses,
        balance=build(plain(cfg.balance), list(cfg.heads)),
        make_optimizer=lambda parameters, fused: build(plain(cfg.optimizer), parameters, fused),
        make_schedule=lambda optimizer, plan: build(plain(cfg.scheduler), optimizer, plan),
        plan=make_plan(cfg, data),
        monitor=cfg.monitor,
        seed=cfg.seed,
        description=description,
        stage=stage,
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


def check_epoch(cfg: DictConfig, data: ImageDataModule) -> None:
    """Refuse an epoch of fewer images than devices, one of which would wait for another without end.

    Raises:
        UsageError: with the number.
    """
    found, devices = data.loader("train", train=True).batches.drawn, world_size(cfg)
    if found < devices:
        key = "data.samples_per_epoch" if data.samples_per_epoch else "training images"
        raise UsageError(f"{key}: expected at least {devices}, one for each of trainer.devices, found {found}")


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
