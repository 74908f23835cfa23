"""Checkpoints: when they are saved, atomically, so that a resumed run goes on bit for bit; stopping on a signal."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from visionlab.console import LOG

# What prediction does not need: left out of best.ckpt, which is a third of the size then.
_TRAINING_ONLY = (
    "optimizer_states",
    "lr_schedulers",
    "loops",
    "callbacks",
    "progress",
    "current_model_state",
    "averaging_state",
)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a temporary file beside the target, flush it to the disk, then rename: never a half checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Save ``checkpoint``; ``storage_options="inference"`` leaves out what only training needs."""
        target = Path(path)
        if storage_options == "inference":
            checkpoint = {key: value for key, value in checkpoint.items() if key not in _TRAINING_ONLY}
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Load tensors and plain data; anything pickled is refused, whatever the caller asks for."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return loaded


class Interrupted(BaseException):
    """A signal asked the run to stop. Not an ``Exception``, so that nothing mistakes it for a failure.

    Attributes:
        signum: the signal.
        saved: whether the state of this very step was saved first.
    """

    def __init__(self, signum: int, *, saved: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.saved = signum, saved


class Interruption(pl.Callback):
    """Catch SIGINT and SIGTERM while the ``with`` block runs.

    Outside of training the block ends at once with :class:`Interrupted`. During training the first signal is only
    noted, and :class:`Checkpoints` saves and raises at the next possible point; a
    second one ends the block at once.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Python allows handlers in the main thread only; elsewhere (a notebook's worker) signals stay as they are.
        if threading.current_thread() is threading.main_thread():
            self._previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
            self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _install(self) -> None:
        for signum in self._previous:
            signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._training and self.requested is None:
            self.requested = signum
            LOG.info("%s received: saving, then stopping (once more to stop at once)", signal.Signals(signum).name)
            return
        raise Interrupted(signum)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Again, because Lightning has put its own handler for SIGTERM over ours, which would not save.
        self._install()
        self._training = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training = False
        if self.requested is not None:
            raise Interrupted(self.requested)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._training = False

    def agreed(self, trainer: pl.Trainer) -> int | None:
        """Return the signal if any rank received one, so that all ranks save and stop at the same step."""
        if trainer.world_size == 1:
            return self.requested
        stop = trainer.strategy.reduce_boolean_decision(self.requested is not None, all=False)
        return (self.requested or signal.SIGTERM) if stop else None


class Checkpoints(Checkpoint):
    """Save ``last.ckpt`` to resume from and ``best.ckpt`` to predict with.

    ``last.ckpt`` is saved within an epoch every so many steps or minutes, on a signal, and always just *before*
    validation. A run resumed from there does the validation again. Lightning offers later points, but between
    validation and the end of an epoch its restored loops leave out steps (schedules on plateaus, for one).

    Args:
        folder: where to save.
        monitor: name of the validation metric, e.g. ``val/distance/mae``.
        mode: ``min`` or ``max``.
        every_n_steps: save after so many optimizer steps, or None.
        every_minutes: and after so many minutes.
        interruption: says whether a signal asked to stop.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        *,
        every_n_steps: int | None,
        every_minutes: float,
        interruption: Interruption,
    ) -> None:
        self.folder, self.monitor, self.sign = folder, monitor, 1.0 if mode == "min" else -1.0
        self.every_n_steps, self.every_seconds = every_n_steps, every_minutes * 60
        self.interruption = interruption
        self.best: dict[str, Any] = {"value": None, "epoch": None, "step": None}
        self._saved = time.monotonic()
        self._before_validation = False

    def state_dict(self) -> dict[str, Any]:
        return dict(self.best)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = dict(state_dict)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        # Gradients summed so far are not in a checkpoint; after the last batch of an epoch validation follows anyway.
        if accumulating or batch_idx + 1 >= trainer.num_training_batches:
            return
        signum = self.interruption.agreed(trainer)
        if signum is not None or self._due(trainer):
            self._save_last(trainer)
        if signum is not None:
            raise Interrupted(signum, saved=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._before_validation = True
        try:
            self._save_last(trainer)
        finally:
            self._before_validation = False
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.world_size == 1:
            # Ranks may have different numbers of validation batches and so cannot agree here.
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.monitor])
        best = self.best["value"]
        if not math.isnan(value) and (best is None or self.sign * value < self.sign * best):
            self.best = {"value": value, "epoch": trainer.current_epoch, "step": trainer.global_step}
            trainer.save_checkpoint(self.folder / "best.ckpt", weights_only=False, storage_options="inference")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._before_validation:
            # Lightning resumes with the whole validation if it believes it was stopped in the first of its batches.
            counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"] = {
                "total": dict(counts),
                "current": dict(counts),
                "is_last_batch": False,
            }

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        signum = self.interruption.agreed(trainer)
        if signum is not None:
            raise Interrupted(signum, saved=True)

    def _due(self, trainer: pl.Trainer) -> bool:
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            return True
        elapsed = time.monotonic() - self._saved > self.every_seconds
        # Saving is a common act of all ranks, whose clocks differ.
        return trainer.strategy.broadcast(elapsed) if trainer.world_size > 1 else elapsed

    def _save_last(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        self._saved = time.monotonic()
