"""One run from a composed configuration to a report: the only place that assembles data, module and trainer."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig

from visionlab.config.stages import describe, each_stage
from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError, UserError
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.modules.task_model import TaskModel, build_model, probe
from visionlab.modules.task_module import Stage
from visionlab.samples import SAMPLE
from visionlab.training import assembly
from visionlab.training.fitting import Events, Fit
from visionlab.training.interruption import Interrupted, Interruption
from visionlab.training.records import RunRecord
from visionlab.training.starting import find_learning_rate, init_from


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
    options = assembly.trainer_options(cfg)
    configs = each_stage(cfg)
    data = _data_of_stages(configs, record)
    # The last stage is what is tested and what the run predicts with.
    final = list(data.values())[-1]
    record.check_data(final)
    last = run_dir / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(last) if resume and last.is_file() else {}
    step = int(saved.get("global_step", 0))
    model = build_model(assembly.plain(cfg), final, begun=step > 0, trust=cfg.trust)
    for other in data.values():
        probe(model.network, cfg.model.name, other)
    if not step:
        _start(cfg, model, final, run_dir, record)
    if record.write:
        record.describe(final, model)
    logger = Events(run_dir, name="", version="", purge_step=step or None)
    loggers = [logger, *assembly.make_loggers(cfg, run_dir)]
    if cfg.compile:
        # In place, so that the names of the weights stay as they are.
        model.network.compile()
    begin, epochs = (saved["progress"]["stage"], saved["progress"]["first_epoch"]) if step else (0, 0)
    fit: Fit | None = None
    for number, (name, stage_cfg) in list(enumerate(configs.items()))[begin:]:
        stage = Stage(number, len(configs), epochs)
        module = assembly.make_module(stage_cfg, model, stage)
        module.build(data[name])
        if name:
            LOG.info("stage %d of %d, %s: %s", number + 1, len(configs), name, describe(stage_cfg))
        before = fit.trainer if fit else None
        fit = Fit(cfg, stage_cfg, data[name], module, run_dir, loggers, options, interruption)
        try:
            fit.run(after=before, resume_from=last if step and number == begin else None)
        finally:
            record.epoch, record.step = fit.trainer.current_epoch, fit.trainer.global_step
        epochs = fit.trainer.current_epoch
        if "val/loss" not in fit.trainer.callback_metrics:
            raise UserError(
                "training ended before the first validation, so there is no best checkpoint; raise trainer.max_steps, "
                "trainer.max_time or trainer.max_epochs, or validate earlier by trainer.val_check_interval"
            )
        if fit.checkpoints.best["value"] is None:
            raise UserError(
                f"{cfg.monitor} was never a number, so there is no best checkpoint; lower optimizer.lr, see {run_dir}"
            )
    assert fit is not None
    if fit.trainer.is_global_zero:
        record.finish(final, logger, str(fit.trainer.strategy.root_device))


def _data_of_stages(configs: dict[str, DictConfig], record: RunRecord) -> dict[str, ImageDataModule]:
    """Return the data of each stage, set up: what is wrong with any is said before the first training."""
    modules = {}
    for name, cfg in configs.items():
        modules[name] = assembly.make_data(cfg)
        record.follow(modules[name])
        if len(modules) > 1:
            modules[name].announced = False
            modules[name].indexed = next(iter(modules.values())).indexed
        modules[name].setup()
        _limit_test(cfg, modules[name])
        assembly.check_epoch(cfg, modules[name])
    return modules


def _limit_test(cfg: DictConfig, data: ImageDataModule) -> None:
    """Leave so many batches of the test split as ``trainer.limit_test_batches`` says."""
    limit, rows = cfg.trainer.limit_test_batches, data.rows["test"]
    if limit is not None:
        data.rows["test"] = rows[: int(len(rows) * limit) if isinstance(limit, float) else limit * data.batch_size]


def _start(cfg: DictConfig, model: TaskModel, data: ImageDataModule, run_dir: Path, record: RunRecord) -> None:
    """Do what only a new run does before its first step."""
    if cfg.init_from:
        init_from(model, cfg.init_from)
    if cfg.lr_find:
        module = assembly.make_module(cfg, model)
        module.build(data)
        find_learning_rate(cfg, module, data, run_dir)
        record.save_config()


@contextlib.contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Refuse a second process in the same run folder; the lock goes with its process, however that ends."""
    try:
        with FileLock(run_dir / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise BusyError(f"{run_dir}: another process is training in this folder now; wait for it or stop it") from error


class BusyError(UsageError):
    """Another process works in the run folder, whose files are therefore left alone."""


def _make_absolute(cfg: DictConfig) -> None:
    """Let the configuration name files from the root, so that resuming and evaluating work from any folder."""
    for node, key in ((cfg.data, "root"), (cfg.data, "split_file"), (cfg, "init_from"), (cfg.model, "weights")):
        if node.get(key) and node[key] != SAMPLE:
            node[key] = str(Path(node[key]).expanduser().resolve())
