"""Looking at a data set before any training: every file checked, splits drawn, images cached, a report of it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from visionlab import assembly
from visionlab.console import LOG
from visionlab.data.checks import check_files
from visionlab.data.describe import card, index_table
from visionlab.data.files import Problem
from visionlab.data.store import write_json, write_text
from visionlab.errors import DataError
from visionlab.records import example_figure
from visionlab.reports.html import write_report
from visionlab.reports.style import save


def prepare(cfg: DictConfig, folder: Path, command: str) -> Path:
    """Index, check, split and cache the data of a task; write what was found into ``folder``.

    Writes ``problems.csv`` (path, severity, what, advice), and if the data can be used ``splits.json``,
    ``data_index.csv``, ``data_card.json``, ``plots/examples.png`` and ``report.html``.

    Returns:
        ``folder``.

    Raises:
        DataError: files cannot be used; each was named on the screen and in ``problems.csv``.
    """
    data = assembly.make_data(cfg)
    root = data.locate()
    found = data.scan(root)
    table = data.choose(found.table, root) if len(found.table) else found.table
    report = check_files(table, root, known=found.problems)
    _write_problems(report.problems, folder)
    for problem in report.problems:
        LOG.info("%s: %s", problem.severity, problem)
    if report.errors:
        raise DataError(
            f"{root}: {len(report.errors)} of {len(found.table) + len(found.problems)} files cannot be used, as listed "
            f"above and in {folder / 'problems.csv'}; mend or remove them and run the command again"
        )
    data.setup()
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    data.splits.write(folder / "splits.json")
    write_json(folder / "data_card.json", card(data))
    write_text(folder / "data_index.csv", index_table(data).to_csv(index=False))
    about = {"command": command, "task": cfg.task, "data": data.name, "synthetic": data.synthetic, "seed": cfg.seed}
    write_json(folder / "run.json", about)
    write_json(folder / "status.json", {"state": "prepared", "epoch": 0, "step": 0, "message": "", "resume": ""})
    save(example_figure(data), folder / "plots" / "examples.png")
    LOG.info(
        "%d images in %d groups can be used; cached in %s", len(table), table["group"].nunique(), data.cache.folder
    )
    LOG.info("splits: %s (train on them with data.split_file=%s)", data.splits.source, folder / "splits.json")
    LOG.info("report: %s", write_report(folder))
    return folder


def _write_problems(problems: list[Problem], folder: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "severity", "what", "advice"])
    writer.writerows([problem.path, problem.severity, problem.what, problem.advice] for problem in problems)
    write_text(folder / "problems.csv", text.getvalue())
