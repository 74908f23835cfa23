"""Looking at a data set before any training: every file checked, splits drawn, images cached, a report of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from visionlab.config import build
from visionlab.console import LOG
from visionlab.data.describe import card, check_files, index_table
from visionlab.data.module import ImageDataModule
from visionlab.drawing.style import save
from visionlab.errors import DataError, UsageError
from visionlab.files import write_json, write_text
from visionlab.training import assembly
from visionlab.training.pictures import example_figure


def prepare(cfg: DictConfig, folder: Path, command: str) -> Path:
    """Index, check, split and cache the data of a task; write what was found into ``folder``.

    Writes ``problems.csv`` (path, severity, what, advice), and if the data can be used ``splits.json``,
    ``data_index.csv``, ``data_card.json``, ``run.json`` and ``plots/``.

    Returns:
        ``folder``.

    Raises:
        UsageError: ``folder`` holds a run, or what this command wrote before.
        DataError: files cannot be used; each was named on the screen and in ``problems.csv``.
    """
    if (folder / "splits.json").exists() or (folder / "config.yaml").exists():
        raise UsageError(f"hydra.run.dir={folder}: expected a new folder, found splits.json or a run in it")
    if cfg.make is not None:
        build(assembly.plain(cfg.make), Path(cfg.data.root).expanduser(), cfg.seed).run()
    data = assembly.make_data(cfg)
    data.verify = True
    problems, total = check_files(data)
    rows = [(problem.path, problem.severity, problem.what, problem.advice) for problem in problems]
    table = pd.DataFrame(rows, columns=["path", "severity", "what", "advice"])
    write_text(folder / "problems.csv", table.to_csv(index=False))
    for problem in problems:
        LOG.info("%s: %s", problem.severity, problem)
    bad = {problem.path for problem in problems if problem.severity == "error"}
    if bad:
        raise DataError(
            f"{data.name}: {len(bad)} of {total} files cannot be used, as listed above and in "
            f"{folder / 'problems.csv'}; mend or remove them and run the command again"
        )
    data.setup()
    _write(data, cfg, folder, command)
    LOG.info(
        "%d images in %d groups can be used; cached in %s", total, data.table["group"].nunique(), data.cache.folder
    )
    LOG.info("splits: %s; train on them with data.split_file=%s", data.splits.source, folder / "splits.json")
    return folder


def write_data(folder: Path, data: ImageDataModule, heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what there is to know of data that are set up: ``data_card.json``, ``data_index.csv``, examples.

    Args:
        folder: of a run, an evaluation or a preparation.
        data: set up.
        heads: {name: kind, columns, unit, ...}, see ``Head.describe``.
    """
    write_json(folder / "data_card.json", card(data))
    write_text(folder / "data_index.csv", index_table(data).to_csv(index=False))
    save(example_figure(data, heads), folder / "plots" / "examples.png")


def _write(data: ImageDataModule, cfg: DictConfig, folder: Path, command: str) -> None:
    """Write what there is to know of usable data; ``splits.json`` last, for it says that all is there."""
    heads = {name: _head(data, name, head) for name, head in cfg.heads.items()}
    about = {"task": cfg.task, "data": data.name, "synthetic": data.synthetic, "heads": heads}
    # The command that trains on what this one prepared.
    drawn = ("data.folds=", "data.fold=", "data.split_file=")
    settings = [text for text in shlex.split(command)[3:] if not text.startswith(drawn)]
    train = ["python", "-m", "visionlab.train", *settings, f"data.split_file={folder / 'splits.json'}"]
    write_json(folder / "run.json", {**about, "command": command, "train": shlex.join(train)})
    write_data(folder, data, heads)
    data.splits.write(folder / "splits.json")


def _head(data: ImageDataModule, name: str, head: DictConfig) -> dict[str, Any]:
    """Return what the report is told of a head before there is one."""
    about = {"kind": head.kind, "unit": data.unit(name, head.unit)}
    if name in data.maps:
        return {**about, "columns": [name]}
    about |= {"columns": list(data.targets[name])}
    return about | ({"ids": data.ids(name)} if data.asked[name].classes else {"step": data.step(name)})
