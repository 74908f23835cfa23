"""Train, test, report: ``python -m visionlab.train task=T model=M ...``, or ``visionlab.train("task=T", ...)``.

The settings are those of ``conf/``; ``--help`` lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig

from visionlab.console import LOG


def run(cfg: DictConfig, run_dir: Path, command: str, *, resume: bool = False) -> Path:
    """Train, test and write the report, see :func:`visionlab.training.runner.run`; or print the network's summary."""
    from visionlab.reports import write_report
    from visionlab.training import runner

    if cfg.summary:
        return runner.summary(cfg, run_dir)
    runner.run(cfg, run_dir, command, resume=resume)
    if runner.first_rank():
        LOG.info("report: %s", write_report(run_dir))
    return run_dir


def _compare(runs: Sequence[Path]) -> None:
    """Write the comparison of the runs of a sweep into its folder and print its path."""
    from visionlab.reports import compare

    print(compare(runs))


def main() -> None:
    """Run the command line (``sys.argv``); configuration errors end it with status 2."""
    from visionlab.config.hydra_app import hydra_app
    from visionlab.training.registry import REGISTRY

    hydra_app(run, REGISTRY, after_sweep=_compare)


class _Callable(ModuleType):
    """The module itself, so that ``visionlab.train(...)`` and ``python -m visionlab.train`` have one name."""

    def __call__(self, *overrides: str) -> Path:
        """Train as the command line does with these overrides and return the run folder.

        Raises:
            UserError: for a reason that the caller can mend; ``ConfigError`` for a wrong setting.
        """
        from visionlab.config.hydra_app import call
        from visionlab.training.registry import REGISTRY

        folder: Path = call(run, overrides, REGISTRY)
        return folder


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()
