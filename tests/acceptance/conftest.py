"""How the acceptance tests call a command: in this process, or as a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

import pytest

# Before anything imports torch: results must not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Networks, images and plans so small that a run takes seconds.
PLAN = ("trainer.accelerator=cpu", "logger.graph=false", "callbacks.images.count=2", "data.image_size=32")
IMAGES = ("model=timm", "model.name=test_resnet", "data.batch_size=8", "trainer.max_epochs=2")
OBJECTS = ("model=atrous_shuffle", "data.batch_size=8", "trainer.max_epochs=1")
TINY: dict[str, tuple[str, ...]] = {
    "focus": ("task=focus", *PLAN, *IMAGES),
    "depth_mask": ("task=depth_mask", *PLAN, "model=shuffle_unet", "data.batch_size=4", "trainer.max_epochs=2"),
    "protein_atlas": ("task=protein_atlas", *PLAN, *IMAGES, "optimizer.lr=5e-3"),
    "celegans_nuclei": ("task=celegans_nuclei", *PLAN, *OBJECTS, "data.neighbours=1"),
    "celegans_membrane": ("task=celegans_membrane", *PLAN, *OBJECTS),
    "celegans_lineage": ("task=celegans_lineage", *PLAN, *IMAGES),
}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: killed by that signal) and what it printed."""

    status: int
    out: str
    err: str


class Command(Protocol):
    """Run ``python -m visionlab.VERB ARGUMENTS``.

    Args:
        verb: the command; ``cli`` is the console script.
        arguments: its words.
        process: in a process of its own, where imports, signals or the end of the process have a part in the test.
        cwd: the folder to run in.
        timeout: seconds that a process of its own may take.
        environment: variables to set.
    """

    def __call__(
        self,
        verb: str,
        *arguments: object,
        process: bool = False,
        cwd: Path | None = None,
        timeout: float = 250,
        **environment: str,
    ) -> Ended: ...


@pytest.fixture(scope="session", autouse=True)
def cache_of_acceptance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep generated sets and decoded images out of the user's cache folder."""
    with patch.dict(os.environ, VISIONLAB_CACHE=str(tmp_path_factory.mktemp("acceptance-cache"))):
        yield


@pytest.fixture(scope="session")
def command() -> Command:
    """Return the function that runs a command and says how it ended."""
    return run_command


def run_command(
    verb: str,
    *arguments: object,
    process: bool = False,
    cwd: Path | None = None,
    timeout: float = 250,
    **environment: str,
) -> Ended:
    """See :class:`Command`."""
    words = [str(argument) for argument in arguments]
    if process:
        ended = subprocess.run(
            [sys.executable, *_started(verb), *words],
            env={**os.environ, **environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [f"visionlab {verb}", *words]),
        patch.dict(os.environ, environment),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _as_in_a_new_process(),
    ):
        status = 0
        try:
            importlib.import_module(f"visionlab.{verb}").main()
        except SystemExit as end:
            status = _status(end, err)
    return Ended(status, out.getvalue(), err.getvalue())


def _started(verb: str) -> list[str]:
    """Return what Python is started with; the console script, which installing makes, is no module to be run."""
    if verb == "cli":
        return ["-c", "from visionlab.cli import main; main()"]
    return ["-m", f"visionlab.{verb}"]


def _status(end: SystemExit, err: io.StringIO) -> int:
    """Return what a shell would see; a message goes to ``err``, as Python prints it."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=err)
    return 1


@contextlib.contextmanager
def _as_in_a_new_process() -> Iterator[None]:
    """Give the command fresh loggers, a single thread and the default signals; put back what the test's process had."""
    loggers = [logging.getLogger(), logging.getLogger("visionlab")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for logger in loggers:
        logger.handlers = []
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for logger, handlers, level in before:
            for handler in logger.handlers:
                if handler not in handlers:
                    handler.close()
            logger.handlers = handlers
            logger.setLevel(level)
        for number, handler_before in signals.items():
            signal.signal(number, handler_before)
        if torch:
            torch.set_num_threads(threads)
