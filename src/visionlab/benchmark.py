"""``python -m visionlab.benchmark task=T model=M``: throughput by batch size, of the loader and of the step apart."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from visionlab.console import LOG


def _benchmark(cfg: DictConfig, folder: Path, command: str) -> Path:
    from visionlab.reports import write_throughput_report
    from visionlab.reports.throughput import text_table
    from visionlab.training import throughput

    throughput.benchmark(cfg, folder, command)
    report = write_throughput_report(folder)
    print(text_table(folder))
    LOG.info("report: %s", report)
    return folder


def main() -> None:
    """Run the command line (``sys.argv``)."""
    from visionlab.config.hydra_app import hydra_app
    from visionlab.training.registry import REGISTRY

    hydra_app(_benchmark, REGISTRY, root="benchmark")


if __name__ == "__main__":
    main()
