"""What every command shares: messages on stderr, exit statuses, logging."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from visionlab.errors import UserError

LOG = logging.getLogger("visionlab")

T = TypeVar("T")


class Lines(logging.Handler):
    """Print to what ``sys.stderr`` is at the time: rich replaces it while it shows a bar, and puts lines above that."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def setup_logging() -> None:
    """Send visionlab's messages to stderr, one plain line each, unless a handler (Hydra's) is there already."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Lines()])
    LOG.setLevel(logging.INFO)


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Turn a ``UserError`` into one message on stderr and its exit status; Ctrl-C into status 130.

    ``VISIONLAB_TRACEBACK=1`` lets the exception through, for debugging.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("VISIONLAB_TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not our error; keep Python from complaining at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def progress(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Yield ``items`` while showing how far along ``total`` they are.

    A rich bar on a terminal; elsewhere (a log file, a batch system) a line at the start and every 15 seconds.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, total=total, description=doing)
        return
    LOG.info("%s: %d", doing, total)
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > 15:
            last = time.monotonic()
            LOG.info("%s: %d of %d", doing, done, total)


def command(app: Callable[[], object]) -> None:
    """Run a typer application: plain log lines, user's errors as messages, exit status 2 for wrong usage."""
    setup_logging()
    with guard():
        app()
