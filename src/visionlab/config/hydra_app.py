"""What the commands that need a composed configuration share: Hydra, with every mistake reported as one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from visionlab.config import compose as config
from visionlab.config.checks import Registry
from visionlab.config.head_checks import check_keys
from visionlab.config.overrides import first_line
from visionlab.console import LOG, guard, setup_logging
from visionlab.errors import UsageError, UserError

Task = Callable[[DictConfig, Path, str], Any]

# Of Hydra's options: one runs pickled code, the others exchange the configuration that the checks are made for.
_REFUSED = {
    "experimental_rerun": "give the overrides of that run again",
    "config_path": "add a folder with hydra.searchpath=[file:///DIR]",
    "config_dir": "add a folder with hydra.searchpath=[file:///DIR]",
    "config_name": "choose with task=, model=, experiment= and the others",
}


def hydra_app(
    task_function: Task,
    registry: Registry,
    *,
    root: str = "train",
    after_sweep: Callable[[Sequence[Path]], Any] | None = None,
) -> None:
    """Run a command of key=value arguments (``sys.argv``): compose, check, then call ``task_function``.

    A mistake in the configuration ends the program with status 2 and one message, before any folder is made and
    before ``task_function`` is called; so does one in any job of a sweep before the first job starts. A ``UserError``
    of ``task_function`` ends it with that error's status, in a sweep after the other jobs. Other exceptions pass.

    Args:
        task_function: called with the configuration, the run folder (which exists) and the command line that starts
            this run again.
        registry: what a configuration may name.
        root: the file of ``conf/`` to begin with; ``hydra.job.name`` there is the command's name.
        after_sweep: called with the folders of the runs of a sweep that are done.
    """
    # Hydra would print exceptions its own way; here they are either the user's (one sentence) or bugs (all of it).
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra's parser loses the settings that stand before -m.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda text: text not in ("-m", "--multirun"))
    with guard():
        arguments = _parse(sys.argv[1:])
        overrides = list(arguments.overrides)
        multirun = arguments.multirun or "hydra.mode=MULTIRUN" in overrides
        runs = not (arguments.help or arguments.hydra_help or arguments.cfg or arguments.info)
        total = 1
        if runs and not arguments.shell_completion:
            jobs = config.jobs(overrides) if multirun else [overrides]
            for job in jobs:
                config.compose_run(job, registry, root=root, multirun=multirun)
            total = len(jobs)
        elif not arguments.shell_completion:
            for name, head in config.compose(overrides, root=root).heads.items():
                check_keys(f"heads.{name}", head, registry.kinds)
        with _readable(root) if arguments.help else contextlib.nullcontext():
            failures, done = _run_hydra(task_function, root, total)
        if len(done) > 1 and after_sweep is not None:
            after_sweep(done)
        if len(failures) == 1 and total == 1:
            raise failures[0][1]
        if failures:
            listed = "".join(f"\n  {job}: {error}" for job, error in failures)
            raise UserError(f"{len(failures)} of {total} jobs failed:{listed}")


def call(task_function: Task, overrides: Sequence[str], registry: Registry) -> Any:
    """Do what the command line does with these overrides, from Python: one run, errors are raised.

    Returns:
        What ``task_function`` returns.

    Raises:
        UserError: as on the command line.
    """
    import logging

    cfg, folder = config.compose_run(overrides, registry)
    run_dir, number = folder, 1
    while run_dir.exists():
        # Two runs may start within the second that the folder's name can tell.
        number += 1
        run_dir = folder.with_name(f"{folder.name}_{number}")
    run_dir.mkdir(parents=True)
    setup_logging()
    handler = logging.FileHandler(run_dir / "train.log")
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOG.addHandler(handler)
    try:
        return task_function(cfg, run_dir, _command("train", overrides))
    finally:
        LOG.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _readable(root: str) -> Iterator[None]:
    """Wrap the long lines of Hydra's help, which lists all choices of a group in one, and leave out other commands'."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        for line in text.getvalue().splitlines():
            if root == "prepare" or not line.startswith("make: "):
                print(textwrap.fill(line, 120, subsequent_indent="    ") if len(line) > 120 else line)


def _run_hydra(task_function: Task, root: str, total: int) -> tuple[list[tuple[str, UserError]], list[Path]]:
    """Hand over to Hydra; return the jobs that failed for a reason the user can mend, and the folders of the others."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    failures: list[tuple[str, UserError]] = []
    bugs: list[Exception] = []
    done: list[Path] = []

    def job(cfg: DictConfig) -> Any:
        own = HydraConfig.get()
        command = _command(str(own.job.name).partition("_ddp_process_")[0], own.overrides.task)
        if total > 1:
            LOG.info("job %d of %d: %s", own.job.num + 1, total, shlex.join(own.overrides.task))
        try:
            result = task_function(
                config.complete(cfg, own.overrides.task, config.own_files(own)), Path(own.runtime.output_dir), command
            )
            if (Path(own.runtime.output_dir) / "config.yaml").is_file():
                done.append(Path(own.runtime.output_dir))
            return result
        except UserError as error:
            # Kept from Hydra, which would print the overrides and stop reading the results of a sweep.
            failures.append((shlex.join(own.overrides.task), error))
        except Exception as bug:
            bugs.append(bug)
            raise

    LOG.setLevel("INFO")
    try:
        hydra.main(version_base="1.3", config_path=str(config.conf_dir()), config_name=root)(job)()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error in bugs:
            raise
        raise UsageError(f"hydra.run.dir: expected a folder that can be made and written, found: {error}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # Not of the job: Hydra refuses, for example, two of its options together.
        if error in bugs:
            raise
        raise UsageError(first_line(error)) from error
    return failures, done


def _parse(arguments: Sequence[str]) -> Any:
    """Return Hydra's options and the overrides.

    Raises:
        UsageError: there is no such option, or it isn't offered here.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> None:
        raise UsageError(f"{message}; settings are written key=value, e.g. trainer.max_epochs=10; see --help")

    parser.error = refuse  # type: ignore[method-assign, assignment]
    parsed = parser.parse_args(arguments)
    for name, instead in _REFUSED.items():
        if getattr(parsed, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} isn't offered; {instead}")
    return parsed


def _command(name: str, overrides: Sequence[str]) -> str:
    return shlex.join(["python", "-m", f"visionlab.{name}", *overrides])
