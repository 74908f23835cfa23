"""Stopping well: SIGINT and SIGTERM let the step finish and the state be saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import pytorch_lightning as pl

from visionlab.console import LOG


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
    noted, and :class:`visionlab.training.checkpoints.Checkpoints` saves and raises at the next possible point; a
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
