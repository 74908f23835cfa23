"""What a person sees while training: one line an epoch, which also stays in the log file."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytorch_lightning as pl

from visionlab.console import LOG


class EpochLines(pl.Callback):
    """Log one line after each validation: losses, metrics with their units, learning rate, time.

    Args:
        metrics: name -> unit of the metrics to show, e.g. ``val/distance/mae``; units may be empty.
        epochs: of the whole run.
    """

    def __init__(self, metrics: Mapping[str, str], epochs: int) -> None:
        self.shown = {"train/loss_epoch": "", "val/loss": "", **metrics}
        self.epochs = epochs
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        parts = [f"epoch {trainer.current_epoch + 1:3d}/{self.epochs}"]
        for name, unit in self.shown.items():
            if name in metrics:
                parts.append(f"{name.removesuffix('_epoch')} {float(metrics[name]):.4g}{' ' + unit if unit else ''}")
        parts.append(f"lr {trainer.optimizers[0].param_groups[0]['lr']:.3g}")
        parts.append(f"{time.monotonic() - self._started:.1f} s")
        LOG.info("  ".join(parts))
