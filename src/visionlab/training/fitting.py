"""Fitting a module to data: the trainer of a run or of one of its stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from visionlab.config import build
from visionlab.config.stages import total_epochs
from visionlab.data.module import ImageDataModule
from visionlab.errors import UsageError
from visionlab.heads.head import Head
from visionlab.modules.task_module import TaskModule
from visionlab.training.checkpoints import AtomicCheckpointIO, Checkpoints
from visionlab.training.interruption import Interruption
from visionlab.training.pictures import TensorBoardPictures
from visionlab.training.progress import EpochLines


class Events(TensorBoardLogger):
    """TensorBoard's event files, without Lightning's hparams.yaml beside them: config.yaml holds the settings."""

    def save(self) -> None:
        self.experiment.flush()

    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        # Lightning gives the module's before training; the run's come with their metrics, once it is done.
        if metrics is not None:
            super().log_hyperparams(params, metrics, step)


class Fit:
    """The training of one stage.

    Args:
        cfg: of the whole run.
        stage_cfg: of the stage; the same if there is only one.
        data: of the stage, set up.
        module: of the stage.
        run_dir: the run folder.
        loggers: of the run; the first is TensorBoard's.
        options: the trainer's own arguments.
        interruption: of the run.
    """

    def __init__(
        self,
        cfg: DictConfig,
        stage_cfg: DictConfig,
        data: ImageDataModule,
        module: TaskModule,
        run_dir: Path,
        loggers: list[Logger],
        options: dict[str, Any],
        interruption: Interruption,
    ) -> None:
        self.cfg, self.data, self.module = cfg, data, module
        self.checkpoints = Checkpoints(
            run_dir / "checkpoints",
            cfg.monitor,
            cfg.mode,
            every_n_steps=cfg.callbacks.checkpoint.every_n_steps,
            every_minutes=cfg.callbacks.checkpoint.every_minutes,
            interruption=interruption,
        )
        # Epochs are counted through all stages.
        options = {**options, "max_epochs": module.stage.first_epoch + stage_cfg.trainer.max_epochs}
        self.trainer = pl.Trainer(
            **options,
            logger=loggers,
            callbacks=[
                *(interruption, self.checkpoints, *self._callbacks()),
                *(build(node, trust=cfg.trust) for node in cfg.callbacks.extra.values()),
            ],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,
            enable_progress_bar=sys.stderr.isatty(),
            default_root_dir=run_dir,
        )

    def run(self, *, after: pl.Trainer | None = None, resume_from: Path | None = None) -> None:
        """Train.

        Args:
            after: the trainer of the stage before, whose counts of epochs and steps go on.
            resume_from: a ``last.ckpt`` of this stage.

        Raises:
            UsageError: batches of one value a channel can't be normalised.
        """
        if after is not None and resume_from is None:
            _count_on(self.trainer, after)
        try:
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=resume_from, weights_only=True)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            size, drawn = self.data.batch_size, self.data.samples_per_epoch
            cause = f"data.samples_per_epoch={drawn}" if drawn and drawn < size else f"data.batch_size={size}"
            raise UsageError(
                f"{cause}: batch normalisation needs more than one value a channel; use larger batches or images"
            ) from error

    def _callbacks(self) -> list[pl.Callback]:
        """Return the callbacks that every stage has."""
        from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar

        cfg = self.cfg
        pictures = cfg.callbacks.images
        callbacks: list[pl.Callback] = [
            EpochLines(_shown(self.module.model.each_head(), cfg.monitor), total_epochs(cfg)),
            TensorBoardPictures(
                self.data,
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
        return callbacks


def _shown(heads: Sequence[Head], monitor: str) -> dict[str, str]:
    """Return name -> unit of the metrics to show of each epoch: the first of each head and what is monitored."""
    shown = {}
    for head in heads:
        for metric in head.metrics:
            name = f"val/{head.name}/{metric}"
            if metric == head.metrics[0] or name == monitor:
                shown[name] = head.unit if head.kind.metrics[metric].in_unit else ""
    return shown


def _count_on(trainer: pl.Trainer, before: pl.Trainer) -> None:
    """Let epochs and steps of a trainer go on from those of another: curves are then continuous."""
    new, old = trainer.fit_loop, before.fit_loop
    new.epoch_progress.load_state_dict(old.epoch_progress.state_dict())
    new.epoch_loop._batches_that_stepped = old.epoch_loop._batches_that_stepped
    steps = old.epoch_loop.automatic_optimization.optim_progress.state_dict()
    new.epoch_loop.automatic_optimization.optim_progress.load_state_dict(steps)
