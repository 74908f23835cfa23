"""The report of a run: one HTML file with everything in it, made from the run folder alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml
from matplotlib.figure import Figure

from visionlab.drawing.text import digits
from visionlab.reports import facts
from visionlab.reports.curves import learning_rate_finder, training_curves
from visionlab.reports.data import data_card, data_figures
from visionlab.reports.page import Picture, Table, draw, ready, render
from visionlab.reports.run import Run, read_run


def write_report(run_dir: Path | str) -> Path:
    """Draw ``plots/*.png`` of a run folder, write its ``report.html`` and return that path.

    Reads nothing but the run folder. What is missing or unreadable is named in the report with the reason.

    Raises:
        DataError: not a run folder (no config.yaml).
    """
    run = read_run(Path(run_dir))
    drawn = {"results": _result_figures, "training": _training_figures, "data": data_figures}
    parts = {
        "key_results": facts.key_results,
        "metrics": facts.metric_tables,
        "tables": _tables,
        "caveats": facts.caveats,
        "card": data_card,
        "commands": facts.commands,
        "made": facts.made,
    }
    return render(
        run.path / "report.html",
        "report",
        run=run,
        title=f"{run.task} · {run.model}",
        state=facts.state(run),
        images={name: run.attempt(name, partial(make, run)) for name, make in drawn.items()},
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        **{name: run.attempt(name, partial(make, run)) for name, make in parts.items()},
    )


def _result_figures(run: Run) -> list[Picture]:
    shown: list[Picture] = []
    pictures: dict[str, str] = {}
    for head, spec in run.heads.items():
        pictures |= run.figures(head).pictures
        for split in run.predicted[:1]:
            name = spec["columns"][0] if len(spec["columns"]) == 1 else head
            for key, drawing in run.figures(head).drawings.items():
                make = partial(_drawing, run, head, split, key)
                shown += draw(run, f"{split}_{name}_{key}", drawing.words, make)
    return shown + [image for name, words in pictures.items() for image in ready(run, name, words)]


def _drawing(run: Run, head: str, split: str, key: str) -> Figure | None:
    return run.figures(head).drawings[key].draw(run.of_head(head, split))


def _tables(run: Run) -> list[Table]:
    """Return the tables of classes that heads of labels leave."""
    found = []
    for name, table in run.tables.items():
        if name.endswith("_classes"):
            rows = [[digits(x) if isinstance(x, float) else str(x) for x in row] for row in table.to_numpy(object)]
            found.append(Table(f"Classes: predictions/{name}.csv", [str(column) for column in table], rows))
    return found


def _training_figures(run: Run) -> list[Picture]:
    words = "Losses, metrics and learning rate; the star is the checkpoint that was kept."
    shown = draw(run, "training", words, lambda: training_curves(run)) if run.curves else []
    if (run.path / "lr_find.csv").is_file():
        words = "Learning-rate search before training; the rate where the loss falls fastest was taken."
        shown += draw(run, "lr_find", words, lambda: learning_rate_finder(run))
    if (run.path / "plots" / "weights.png").is_file():
        shown += ready(run, "weights", "Distribution of the weights of each layer.")
    return shown
