"""The report of a run: one HTML file with everything in it, made from the run folder alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml
from matplotlib.figure import Figure

from visionlab.files import write_text
from visionlab.heads.figures import Table
from visionlab.reports import facts
from visionlab.reports.caveats import caveats
from visionlab.reports.curves import learning_rate_finder, training_curves
from visionlab.reports.data import data_card, data_figures
from visionlab.reports.pages import Picture, draw, environment, ready
from visionlab.reports.run import SPLITS, Run, read_run


def write_report(run_dir: Path | str) -> Path:
    """Draw ``plots/*.png`` of a run folder, write its ``report.html`` and return that path.

    Reads nothing but the run folder. What is missing or unreadable is named in the report with the reason.

    Raises:
        DataError: not a run folder (no config.yaml).
    """
    run = read_run(Path(run_dir))
    images = {"results": _result_figures(run), "training": _training_figures(run), "data": data_figures(run)}
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            title=f"{run.task} · {run.model}",
            state=facts.state(run),
            key_results=facts.key_results(run),
            metrics=facts.metric_table(run),
            tables=_tables(run),
            images=images,
            card=run.attempt("data_card.json", lambda: data_card(run)),
            commands=facts.commands(run),
            made=facts.made(run),
            versions=facts.versions(run),
            config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
            caveats=caveats(run),
            leak=run.leak,
        )
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


def _result_figures(run: Run) -> list[Picture]:
    split = next((split for split in SPLITS if split in run.predictions), "")
    shown: list[Picture] = []
    pictures: dict[str, str] = {}
    for head, spec in run.heads.items():
        kind = run.figures(head)
        if not kind.drawings:
            run.missing[f"figures of {head}"] = f"there are none for heads of kind '{spec.get('kind')}'"
        pictures |= kind.pictures
        name = spec["columns"][0] if len(spec["columns"]) == 1 else head
        for key, drawing in kind.drawings.items() if split else ():
            make = partial(_drawing, run, head, split, key)
            shown += draw(run, f"{split}_{name}_{key}", drawing.words, make, wide=drawing.wide)
    return shown + [image for name, words in pictures.items() for image in ready(run, name, words)]


def _drawing(run: Run, head: str, split: str, key: str) -> Figure | None:
    return run.figures(head).drawings[key].draw(run.tables(head, split))


def _tables(run: Run) -> list[Table]:
    found: list[Table] = []
    for head in run.heads:
        splits = {split: run.tables(head, split) for split in SPLITS if split in run.predictions}
        found += run.attempt(f"tables of {head}", partial(run.figures(head).tables, splits)) or []
    return found


def _training_figures(run: Run) -> list[Picture]:
    shown: list[Picture] = []
    if run.curves:
        monitor, mode = str(run.config.get("monitor") or "val/loss"), str(run.config.get("mode") or "min")
        units = {tag: facts.tag_unit(run, tag) for tag in [monitor, *(f"val/{name}" for name in run.key_metrics())]}
        words = "Losses, metrics and learning rate; the star is the checkpoint that was kept."
        shown += draw(run, "training", words, lambda: training_curves(run.curves, monitor, mode, units, run.data))
    table = run.lr_find
    if table is not None:
        words = "Learning-rate search before training; the rate where the loss falls fastest was taken."
        rate = float(run.config["optimizer"]["lr"])
        shown += draw(run, "lr_find", words, lambda: learning_rate_finder(table, rate, run.data))
    if (run.path / "plots" / "weights.png").is_file():
        shown += ready(run, "weights", "Distribution of the weights of each layer.")
    return shown
