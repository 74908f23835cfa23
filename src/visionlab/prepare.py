"""``python -m visionlab.prepare task=T data.root=DIR``: index, check every file, split, cache, data report."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig


def _prepare(cfg: DictConfig, folder: Path, command: str) -> Path:
    from visionlab.training import preparation

    return preparation.prepare(cfg, folder, command)


def main() -> None:
    """Run the command line (``sys.argv``)."""
    from visionlab.config.hydra_app import hydra_app
    from visionlab.training.registry import REGISTRY

    hydra_app(_prepare, REGISTRY, root="prepare")


if __name__ == "__main__":
    main()
