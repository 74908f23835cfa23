"""``python -m visionlab.prepare task=T data.root=DIR``: index, check every file, split, cache, data report."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from visionlab.console import LOG


def run(cfg: DictConfig, folder: Path, command: str) -> Path:
    """Prepare the data of a task and write the report, see :func:`visionlab.training.preparation.prepare`."""
    from visionlab.reports import write_data_report
    from visionlab.training import preparation

    preparation.prepare(cfg, folder, command)
    LOG.info("report: %s", write_data_report(folder))
    return folder


def main() -> None:
    """Run the command line (``sys.argv``)."""
    from visionlab.config.hydra_app import hydra_app
    from visionlab.training.registry import REGISTRY

    hydra_app(run, REGISTRY, root="prepare")


if __name__ == "__main__":
    main()
