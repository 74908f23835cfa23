"""One run from a composed configuration to a report: the only place that assembles data, module and trainer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig
from pytorch_lightning.loggers import TensorBoardLogger

from visionlab import assembly
from visionlab.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.callbacks.interruption import Interrupted, Interruption
from visionlab.callbacks.pictures import Pictures
from visionlab.callbacks.progress import EpochLines
from visionlab.console import LOG
from visionlab.data.module import SAMPLE, ImageDataModule
from visionlab.errors import UsageError, UserError
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.records import RunRecord


def run(cfg: DictConfig, run_dir: Path, command: str, *, resume: bool = False) -> Path:
    """Train, test on the best checkpoint and write the report.

    Args:
        cfg: composed and checked.
        run_dir: where everything is written; Hydra has made it.
        command: the line that starts this run again, for the report.
        resume: go on from ``checkpoints/last.ckpt`` of ``run_dir``.

    Returns:
        ``run_dir``.

    Raises:
        UserError: for a reason that the user can mend.
        SystemExit: 128 + the signal's number, after SIGINT or SIGTERM, with everything saved.
    """
    # Started by Lightning for a further rank: the first one has written these files already.
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    first_rank = all(int(os.environ.get(name, "0")) == 0 for name in ranks)
    if first_rank and not resume and (run_dir / "config.yaml").exists():
        raise UsageError(
            f"hydra.run.dir={run_dir}: expected a new folder, found a run in it; "
            f"go on with it by `python -m visionlab.resume {run_dir}`, or choose another folder"
        )
    if not first_rank:
        LOG.setLevel("WARNING")
    if not resume:
        _make_absolute(cfg)
    record = RunRecord(run_dir, cfg, command, write=first_rank)
    interruption = Interruption()
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with interruption, _alone(run_dir) if first_rank else contextlib.nullcontext():
            if first_rank:
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


def _work(cfg: DictConfig, run_dir: Path, record: RunRecord, interruption: Interruption, resume: bool) -> None:
    assembly.quiet()
    torch.manual_seed(cfg.seed)
    options = assembly.trainer_options(cfg)
    data = assembly.make_data(cfg)
    record.follow(data)
    data.setup()
    record.check_data(data)
    last = run_dir / "checkpoints" / "last.ckpt"
    step = int(read_checkpoint(last)["global_step"]) if resume and last.is_file() else 0
    module = assembly.make_module(cfg, data, begun=step > 0)
    if cfg.init_from and not step:
        assembly.init_from(module, cfg.init_from)
    if cfg.lr_find and not step:
        assembly.find_learning_rate(cfg, module, data, run_dir)
        record.save_config()
    if record.write:
        record.describe(data, module)
    logger = Events(run_dir, name="", version="", purge_step=step or None)
    checkpoints = Checkpoints(
        run_dir / "checkpoints",
        cfg.monitor,
        cfg.mode,
        every_n_steps=cfg.callbacks.checkpoint.every_n_steps,
        every_minutes=cfg.callbacks.checkpoint.every_minutes,
        interruption=interruption,
    )
    trainer = make_trainer(cfg, data, logger, options, [interruption, checkpoints])
    if cfg.compile:
        # In place, so that the names of the weights stay as they are.
        module.model.network.compile()
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last if step else None, weights_only=True)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"data.batch_size={cfg.data.batch_size}: batch normalisation needs more than one value a channel; "
            "use larger batches or images"
        ) from error
    finally:
        record.epoch, record.step = trainer.current_epoch, trainer.global_step
    if not trainer.is_global_zero:
        return
    if not checkpoints.best_path.is_file():
        raise UserError(
            f"{cfg.monitor} was never a number, so there is no best checkpoint; lower optimizer.lr, see {run_dir}"
        )
    record.finish(data, logger, str(trainer.strategy.root_device))


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


class Events(TensorBoardLogger):
    """TensorBoard's event files, without Lightning's hparams.yaml beside them: config.yaml holds the settings."""

    def save(self) -> None:
        self.experiment.flush()


def make_trainer(
    cfg: DictConfig,
    data: ImageDataModule,
    logger: TensorBoardLogger,
    options: dict[str, Any],
    callbacks: list[pl.Callback],
) -> pl.Trainer:
    """Return the trainer of a run: the configured one with the callbacks that every run has."""
    from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar

    head = cfg.monitor.split("/")[1]
    unit = cfg.heads[head].unit if head in cfg.heads else ""
    pictures = cfg.callbacks.images
    callbacks = [
        *callbacks,
        EpochLines(cfg.monitor, unit),
        Pictures(
            data,
            count=pictures.count,
            every_n_epochs=pictures.every_n_epochs,
            graph=cfg.logger.graph,
            histograms=cfg.logger.histograms,
        ),
    ]
    if cfg.callbacks.ema.decay is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.callbacks.ema.decay))
    if cfg.callbacks.early_stopping.patience is not None:
        callbacks.append(
            EarlyStopping(
                cfg.monitor,
                mode=cfg.mode,
                patience=cfg.callbacks.early_stopping.patience,
                min_delta=cfg.callbacks.early_stopping.min_delta,
                # With validation, whose end a resumed run passes again.
                check_on_train_epoch_end=False,
            )
        )
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    return pl.Trainer(
        **options,
        logger=logger,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=True,
        enable_progress_bar=sys.stderr.isatty(),
        default_root_dir=logger.save_dir,
    )
