"""One run from a composed configuration to a tested model: the only place that assembles data, module and trainer."""

from __future__ import annotations

import contextlib
import copy
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig
from pytorch_lightning.loggers import TensorBoardLogger

from visionlab.config import build
from visionlab.config.stages import each_stage, stage_in_words, total_epochs
from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError, UserError, show
from visionlab.files import write_text
from visionlab.heads.head import Head
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.files import find_checkpoint
from visionlab.modules.task_model import TaskModel, build_model, probe
from visionlab.modules.task_module import Stage, TaskModule
from visionlab.samples import SAMPLE
from visionlab.training import assembly
from visionlab.training.checkpoints import AtomicCheckpointIO, Checkpoints, Interrupted, Interruption
from visionlab.training.pictures import TensorBoardPictures
from visionlab.training.records import RunRecord


def run(cfg: DictConfig, run_dir: Path, command: str, *, resume: bool = False) -> Path:
    """Train and test on the best checkpoint.

    Args:
        cfg: composed and checked.
        run_dir: where everything is written; Hydra has made it.
        command: the line that starts this run again.
        resume: go on from ``checkpoints/last.ckpt`` of ``run_dir``.

    Returns:
        ``run_dir``.

    Raises:
        UserError: for a reason that the user can mend.
        SystemExit: 128 + the signal's number, after SIGINT or SIGTERM, with everything saved.
    """
    first = first_rank()
    # Further ranks find what the first one has written already.
    if first and not resume and (run_dir / "config.yaml").exists():
        raise UsageError(
            f"hydra.run.dir={run_dir}: expected a new folder, found a run in it; "
            f"go on with it by `python -m visionlab.resume {shlex.quote(str(run_dir))}`, or choose another folder"
        )
    if not first:
        LOG.setLevel("WARNING")
    if not resume:
        _make_absolute(cfg)
    record = RunRecord(run_dir, cfg, command, write=first)
    interruption = Interruption()
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with interruption, _alone(run_dir) if first else contextlib.nullcontext():
            if first:
                record.start(resume)
            _work(cfg, run_dir, record, interruption, resume)
    except Interrupted as stop:
        how = "everything saved" if stop.saved else "at once, so the last saved state may be earlier"
        message = f"stopped by {signal.Signals(stop.signum).name}, {how}"
        record.stopped("interrupted", message)
        LOG.info("%s; go on with: %s", message, record.resume_command)
        sys.exit(128 + stop.signum)
    except BusyError:
        raise
    except BaseException as error:
        if isinstance(error, UserError) and not (run_dir / "run.json").exists():
            record.discard()
        record.stopped("failed", f"{type(error).__name__}: {error}")
        raise
    return run_dir


def first_rank() -> bool:
    """Return whether this process is the first of those that Lightning starts, which writes the files."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(int(os.environ.get(name, "0")) == 0 for name in ranks)


def summary(cfg: DictConfig, run_dir: Path) -> Path:
    """Print the network of a configuration: its parts, sizes, weights and receptive field; leave no folder behind.

    Returns:
        ``run_dir``, which Hydra had made.
    """
    from visionlab.models.receptive_field import summarise

    network, channels = assembly.make_network(cfg)
    size = cfg.data.image_size
    height, width = (size, size) if isinstance(size, int) else size
    print(summarise(network, channels, (height, width)))
    RunRecord(run_dir, cfg, "", write=True).discard()
    return run_dir


def _work(cfg: DictConfig, run_dir: Path, record: RunRecord, interruption: Interruption, resume: bool) -> None:
    assembly.quiet()
    torch.manual_seed(cfg.seed)
    bare = assembly.bare_trainer(cfg)
    devices = bare.num_devices * bare.num_nodes
    configs = each_stage(cfg)
    data = _data_of_stages(configs, record, devices)
    # The last stage is what is tested and what the run predicts with.
    final = list(data.values())[-1]
    record.check_data(final)
    last = run_dir / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(last) if resume and last.is_file() else {}
    step = int(saved.get("global_step", 0))
    model = build_model(assembly.plain(cfg), final, begun=step > 0, trust=cfg.trust)
    for other in data.values():
        probe(model.network, cfg.model.name, other)
    if cfg.init_from and not step:
        _init_from(model, cfg.init_from)
    if cfg.lr_find and not step:
        _find_learning_rate(cfg, model, final, run_dir, devices)
        record.save_config()
    if record.write:
        record.describe(final, model)
    events = Events(run_dir, name="", version="", purge_step=step or None)
    loggers = [events, *assembly.make_loggers(cfg, run_dir)]
    if cfg.compile:
        # In place, so that the names of the weights stay as they are.
        model.network.compile()
    begin, epochs = (saved["progress"]["stage"], saved["progress"]["first_epoch"]) if step else (0, 0)
    trainer: pl.Trainer | None = None
    for number, (name, stage_cfg) in list(enumerate(configs.items()))[begin:]:
        module = assembly.make_module(stage_cfg, model, Stage(number, len(configs), epochs))
        module.build(data[name])
        if name:
            LOG.info("stage %d of %d, %s: %s", number + 1, len(configs), name, stage_in_words(stage_cfg))
        checkpoints = Checkpoints(
            run_dir / "checkpoints", cfg.monitor, cfg.mode, **cfg.callbacks.checkpoint, interruption=interruption
        )
        before, trainer = (
            trainer,
            pl.Trainer(
                # Epochs are counted through all stages.
                **{**assembly.trainer_options(cfg), "max_epochs": epochs + stage_cfg.trainer.max_epochs},
                logger=loggers,
                callbacks=[interruption, checkpoints, *_callbacks(cfg, data[name], module)],
                plugins=[AtomicCheckpointIO()],
                enable_progress_bar=sys.stderr.isatty(),
                default_root_dir=run_dir,
            ),
        )
        if before is not None:
            _count_on(trainer, before)
        try:
            _fit(trainer, module, data[name], last if step and number == begin else None)
        finally:
            record.epoch, record.step = trainer.current_epoch, trainer.global_step
        epochs = trainer.current_epoch
        if "val/loss" not in trainer.callback_metrics:
            raise UserError(
                "training ended before the first validation, so there is no best checkpoint; raise trainer.max_steps, "
                "trainer.max_time or trainer.max_epochs, or validate earlier by trainer.val_check_interval"
            )
        if checkpoints.best["value"] is None:
            raise UserError(
                f"{cfg.monitor} was never a number, so there is no best checkpoint; lower optimizer.lr, see {run_dir}"
            )
    assert trainer is not None
    if trainer.is_global_zero:
        record.finish(final, events, str(trainer.strategy.root_device))


def _data_of_stages(configs: dict[str, DictConfig], record: RunRecord, devices: int) -> dict[str, ImageDataModule]:
    """Return the data of each stage, set up: what is wrong with any is said before the first training."""
    modules: dict[str, ImageDataModule] = {}
    for name, cfg in configs.items():
        data = assembly.make_data(cfg)
        record.follow(data)
        if modules:
            data.announced = False
            data.indexed = next(iter(modules.values())).indexed
        data.setup()
        if (limit := cfg.trainer.limit_test_batches) is not None:
            rows = data.rows["test"]
            data.rows["test"] = rows[: int(len(rows) * limit) if isinstance(limit, float) else limit * data.batch_size]
        if (found := data.loader("train", train=True).batches.drawn) < devices:
            # One device would wait for another without end.
            key = "data.samples_per_epoch" if data.samples_per_epoch else "training images"
            raise UsageError(f"{key}: expected at least {devices}, one for each of trainer.devices, found {found}")
        modules[name] = data
    return modules


# Starting -----------------------------------------------------------------------------------------------------------


def _init_from(model: TaskModel, source: str) -> None:
    """Load the weights, and nothing else, of another run into the network.

    The scales of images and targets stay those of the new data.

    Raises:
        UsageError: the weights are of another network; the message says what differs.
    """
    path = find_checkpoint(source)
    content = read_checkpoint(path)
    begin = "model.network."
    found = {key.removeprefix(begin): value for key, value in content["state_dict"].items() if key.startswith(begin)}
    expected = model.network.state_dict()
    shapes = [{name: value.shape for name, value in values.items()} for values in (expected, found)]
    other = [name for name in expected | found if shapes[0].get(name) != shapes[1].get(name)]
    if other:
        own, theirs = model.network_spec, content["visionlab"]["network"]
        raise UsageError(
            f"init_from={source}: expected weights of {_words(own, theirs)}, found {_words(theirs, own)}; "
            f"{len(other)} tensors differ, the first is {other[0]}"
        )
    model.network.load_state_dict(found)
    LOG.info("weights from %s", path)


def _words(network: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return what a network is like, with the options that another one has otherwise."""
    options = {key: value for key, value in network["options"].items() if other["options"].get(key) != value}
    said = f"{network['name']} with {network['in_channels']} channel(s) in and {network['out_channels']} out"
    return ", ".join([said, *(f"{key}={show(value)}" for key, value in options.items())])


def _find_learning_rate(cfg: DictConfig, model: TaskModel, data: ImageDataModule, run_dir: Path, devices: int) -> None:
    """Raise the learning rate exponentially over a trial, save the curve and use the suggested rate (Smith 2017).

    The trial has its own trainer and copies of the weights, so nothing of it stays but the rate, which also becomes
    the ``max_lr`` of cycles.

    Raises:
        UserError: there are several devices, or the curve has no falling part.
    """
    from pytorch_lightning.tuner.tuning import Tuner

    if devices > 1:
        raise UsageError("lr_find=true: expected one device, for each would find its own rate; set optimizer.lr")
    steps = 100  # fewer make the smoothed curve follow single batches
    LOG.info("lr_find: trying learning rates over %d steps", steps)
    trial = assembly.make_module(cfg, copy.deepcopy(model))
    trial.build(data)
    trial.learning_rate = float(cfg.optimizer.lr)
    trainer = pl.Trainer(
        **{**assembly.trainer_options(cfg), "max_epochs": -1, "devices": 1, "strategy": "auto"},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=run_dir,
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


# Fitting ------------------------------------------------------------------------------------------------------------


class Events(TensorBoardLogger):
    """TensorBoard's event files, without Lightning's hparams.yaml beside them: config.yaml holds the settings."""

    def save(self) -> None:
        self.experiment.flush()

    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        # Lightning gives the module's before training; the run's come with their metrics, once it is done.
        if metrics is not None:
            super().log_hyperparams(params, metrics, step)


class EpochLines(pl.Callback):
    """Log one line after each validation: losses, metrics with their units, learning rate, time.

    Args:
        heads: the first metric of each is shown.
        monitor: name of a metric that is shown, too.
        epochs: of the whole run.
    """

    def __init__(self, heads: Sequence[Head], monitor: str, epochs: int) -> None:
        self.epochs, self._started = epochs, time.monotonic()
        self.shown = {"train/loss_epoch": "", "val/loss": ""}
        for head in heads:
            for metric in head.metrics:
                name = f"val/{head.name}/{metric}"
                if metric == head.metrics[0] or name == monitor:
                    self.shown[name] = head.unit if head.kind.metrics[metric].in_unit else ""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1:3d}/{self.epochs}"]
        for name, unit in self.shown.items():
            if name in metrics:
                parts.append(f"{name.removesuffix('_epoch')} {float(metrics[name]):.4g} {unit}".rstrip())
        parts.append(f"lr {trainer.optimizers[0].param_groups[0]['lr']:.3g}")
        parts.append(f"{time.monotonic() - self._started:.1f} s")
        LOG.info("  ".join(parts))


def _callbacks(cfg: DictConfig, data: ImageDataModule, module: TaskModule) -> list[pl.Callback]:
    """Return the callbacks that every stage has."""
    from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar

    written = {"graph": cfg.logger.graph, "histograms": cfg.logger.histograms}
    callbacks: list[pl.Callback] = [
        EpochLines(module.model.each_head(), cfg.monitor, total_epochs(cfg)),
        TensorBoardPictures(data, **cfg.callbacks.images, **written),
    ]
    if cfg.callbacks.ema.decay is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.callbacks.ema.decay))
    if cfg.callbacks.early_stopping.patience is not None:
        # With validation, whose end a resumed run passes again.
        stopping = {**cfg.callbacks.early_stopping, "check_on_train_epoch_end": False}
        callbacks.append(EarlyStopping(cfg.monitor, mode=cfg.mode, **stopping))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    return callbacks + [build(node, trust=cfg.trust) for node in cfg.callbacks.extra.values()]


def _fit(trainer: pl.Trainer, module: TaskModule, data: ImageDataModule, resume_from: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"data.batch_size={data.batch_size}: batch normalisation needs more than one value a channel; "
            "use larger batches, images or data.samples_per_epoch"
        ) from error


def _count_on(trainer: pl.Trainer, before: pl.Trainer) -> None:
    """Let epochs and steps of a trainer go on from those of the stage before: curves are then continuous."""
    new, old = trainer.fit_loop, before.fit_loop
    new.epoch_progress.load_state_dict(old.epoch_progress.state_dict())
    new.epoch_loop._batches_that_stepped = old.epoch_loop._batches_that_stepped
    steps = old.epoch_loop.automatic_optimization.optim_progress.state_dict()
    new.epoch_loop.automatic_optimization.optim_progress.load_state_dict(steps)


# The folder ---------------------------------------------------------------------------------------------------------


class BusyError(UsageError):
    """Another process works in the run folder, whose files are therefore left alone."""


@contextlib.contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Refuse a second process in the same run folder; the lock goes with its process, however that ends."""
    try:
        with FileLock(run_dir / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise BusyError(f"{run_dir}: another process is training in this folder now; wait for it or stop it") from error


def _make_absolute(cfg: DictConfig) -> None:
    """Let the configuration name files from the root, so that resuming and evaluating work from any folder."""
    for node, key in ((cfg.data, "root"), (cfg.data, "split_file"), (cfg, "init_from"), (cfg.model, "weights")):
        if node.get(key) and node[key] != SAMPLE:
            node[key] = str(Path(node[key]).expanduser().resolve())
