"""From a configuration to the data module, the LightningModule and the trainer's own arguments."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from torch import nn

from visionlab import modules, samples
from visionlab.config import build, signature
from visionlab.config.compose import compose_run
from visionlab.data.module import ImageDataModule
from visionlab.errors import ConfigError, UsageError
from visionlab.heads import KINDS, head_class, load
from visionlab.modules import MODULES
from visionlab.modules.task_model import ORIGIN, TaskModel, own_options
from visionlab.modules.task_model import make_network as build_network
from visionlab.modules.task_module import SETTINGS, Stage, TaskModule
from visionlab.training.registry import REGISTRY

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
    # The model is there when training begins, whole on each device.
    ".*overrides the configure_model callback.*",
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


def compose(overrides: Sequence[str], trust: Sequence[str] = ()) -> tuple[ImageDataModule, TaskModule]:
    """Return the data module and the LightningModule of a configuration, for a trainer of the caller's own.

    Nothing is read or written yet: images are decoded by the data module's ``prepare_data``, and the network is built
    when a trainer has set the data up.

    Args:
        overrides: as on the command line, e.g. ``task=focus``.
        trust: packages whose classes the settings may name, as ``trust=[PACKAGE]`` on the command line.

    Raises:
        ConfigError: a setting is wrong, or is one of whole runs.
    """
    trusted = [f"trust=[{','.join(trust)}]"] if trust else []
    cfg, _ = compose_run([*overrides, *trusted], REGISTRY)
    for key in ("stages", "lr_find", "init_from", "summary"):
        if cfg[key]:
            raise ConfigError(
                f"{key}: expected to be left out, found it with a trainer of your own; visionlab.train(...) does that"
            )
    quiet()
    return make_data(cfg), make_module(cfg)


def make_data(cfg: DictConfig) -> ImageDataModule:
    """Return the data module, not set up yet; ``data.root=sample`` is a folder in the cache, made when it is set up."""
    settings = plain(cfg.data)
    generated = settings["root"] == samples.SAMPLE
    if generated:
        task = signature.literal(settings["_target_"], "task")
        settings["root"] = str(samples.cached(task, settings["cache_dir"]))
    data: ImageDataModule = build(settings, cfg.seed, plain(cfg.augment), trust=cfg.trust)
    if generated:
        data.name, data.generate = samples.NAME, partial(samples.provide, task)
    data.asked = {str(name): load(KINDS[head.kind].target) for name, head in cfg.heads.items()}
    return data


def make_module(cfg: DictConfig, model: TaskModel | None = None, stage: Stage | None = None) -> TaskModule:
    """Return the LightningModule of a configuration, of one stage of it, or of a model that is built already.

    Without ``model`` the network is built by :meth:`TaskModule.build`, which a trainer does by itself.
    """
    settings = {**plain(cfg), "channels_last": cfg.trainer.channels_last}
    kind: type[TaskModule] = getattr(modules, MODULES[cfg.module][0])
    return kind({key: settings[key] for key in SETTINGS}, model=model, stage=stage, trust=cfg.trust)


def make_network(cfg: DictConfig) -> tuple[nn.Module, int]:
    """Return the network of a configuration, with new weights, and its channels in; no data is looked at."""
    data = make_data(cfg)
    channels = 0
    for name, head in plain(cfg.heads).items():
        channels += len(head_class(head["kind"]).columns_of(name, data, own_options(head)))
    options = {key: value for key, value in plain(cfg.model).items() if key not in (*ORIGIN, "name")}
    return build_network(cfg.model.name, data.in_channels, channels, options, cfg.trust), data.in_channels


def make_loggers(cfg: DictConfig, run_dir: Path) -> list[Logger]:
    """Return the loggers of other packages; those that write into a folder, ``save_dir``, get the run's."""
    found = []
    for node in plain(cfg.logger.extra).values():
        place = {} if signature.annotation(node["_target_"], "save_dir") is None else {"save_dir": str(run_dir)}
        found.append(build({**place, **node}, trust=cfg.trust))
    return found


def trainer_options(cfg: DictConfig) -> dict[str, Any]:
    """Return the trainer's own arguments."""
    options: dict[str, Any] = dict(plain(cfg.trainer))
    del options["channels_last"]
    # The loader shares samples out over ranks itself.
    return {**options, "use_distributed_sampler": False, "enable_model_summary": False}


def bare_trainer(cfg: DictConfig) -> pl.Trainer:
    """Return a trainer that writes nothing, which knows the devices.

    Raises:
        UsageError: there is no such accelerator, or there are fewer devices.
    """
    try:
        return pl.Trainer(**trainer_options(cfg), logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except MisconfigurationException as error:
        given = f"trainer.accelerator={cfg.trainer.accelerator} trainer.devices={cfg.trainer.devices}"
        auto = "devices" if cfg.trainer.accelerator == "auto" else "accelerator"
        said = f"{' '.join(str(error).split())} trainer.{auto}=auto takes what there is"
        raise UsageError(f"{given}: {said}") from error
