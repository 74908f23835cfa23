"""The reports of a run and of prepared data: one HTML file with everything in it, made from the folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import PALETTE, styled
from visionlab.drawing.text import axis_label, count, digits, listed, shorten, with_unit
from visionlab.reports import facts
from visionlab.reports.curves import learning_rate_finder, training_curves
from visionlab.reports.page import Picture, Table, draw, ready, render
from visionlab.reports.run import SPLITS, Run, read_prepared, read_run

LISTED, PROBLEMS = 12, 100
"""Groups of a split, and problems of a data set, that are named; nobody reads more."""
FACTS = {"share": False, "objects": False, "min": True, "max": True}
"""Facts about maps in the columns ``<head>_<fact>``: whether they are in the head's unit."""


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


def write_data_report(folder: Path) -> Path:
    """Draw the figures of a data set that was prepared, write ``report.html`` and return its path.

    Raises:
        DataError: the folder is none of ``prepare``: a file is missing or damaged.
    """
    run, problems = read_prepared(folder)
    more = len(problems) - PROBLEMS
    notes = [f"and {more} more: all are in problems.csv"] if more > 0 else []
    return render(
        folder / "report.html",
        "data",
        run=run,
        title=f"{run.task} · data",
        problems=Table("Before you train on it", ("File", "What", "Advice"), problems[:PROBLEMS], notes),
        images={"data": data_figures(run)},
        card=data_card(run),
        commands=[("Train on these splits", run.info["train"]), ("Check the data again", run.info["command"])],
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


# The data -------------------------------------------------------------------------------------------------------


def described(run: Run) -> dict[str, dict[str, str]]:
    """Return, of each head, the columns of data_index.csv that are numbers of its target, and their unit.

    They are the numbers themselves, or facts about maps. Labels are none: they are counted.
    """
    found = {}
    for name, head in run.heads.items():
        unit = str(head.get("unit") or "")
        columns = {f"{name}_{fact}": unit if measured else "" for fact, measured in FACTS.items()}
        columns |= {} if name in (run.card.get("labels") or {}) else dict.fromkeys(head["columns"], unit)
        found[name] = {key: unit for key, unit in columns.items() if run.index is not None and key in run.index}
    return {name: columns for name, columns in found.items() if columns}


def data_figures(run: Run) -> list[Picture]:
    """Return the figures of what the data are: distributions of the targets, examples."""
    shown: list[Picture] = []
    for head, columns in (run.attempt("targets", lambda: described(run)) or {}).items():
        words = f"Distribution of {head} in each split."
        shown += draw(run, f"targets_{head}", words, partial(target_histograms, run, head, columns))
    return shown + ready(run, "examples", "Examples of each split.")


@styled
def target_histograms(run: Run, head: str, columns: Mapping[str, str]) -> Figure:
    """Distribution of numbers in each split, as a share of the split, so that small splits are seen as well."""
    assert run.index is not None
    figure, grid = style.grid(len(columns), 4, *((7, 3.4) if len(columns) == 1 else (3.4, 2.4)))
    for axes, (column, unit) in zip(grid, columns.items(), strict=True):
        parts = {split: run.index.loc[run.index["split"] == split, column].dropna() for split in SPLITS}
        shares = [np.full(len(part), 100 / max(len(part), 1)) for part in parts.values()]
        look: dict[str, Any] = {"color": PALETTE[: len(parts)], "label": list(parts)}
        # A bar a level where they are few: others hold 1 and 2 levels, or none, in turn.
        levels = run.index[column].nunique()
        bins = levels if levels <= 24 else 16
        axes.hist(list(parts.values()), bins=bins, weights=shares, **look)
        axes.set_xlabel(axis_label(shorten(column.replace("_", " "), 22), unit))
        axes.locator_params(axis="x", nbins=4)
    grid[0].set_ylabel("% of images")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper")
    return style.finish(figure, f"Distribution of {head} in each split", run.data)


def data_card(run: Run) -> dict[str, Any]:
    """Return the data card: ``facts`` (name, value), ``tables`` and ``notes``."""
    card = run.card
    groups = count(sum(len(part["groups"]) for part in card["splits"].values()), "group")
    listed_facts = [
        ("Data", run.data),
        ("Root", card.get("root")),
        ("Size", f"{count(card['n'], 'image')} of {groups}, {card['bytes'] / 1e6:,.1f} MB"),
        ("Image sizes", _counts(card["shapes"])),
        ("Pixel types", _counts(card.get("dtypes") or {})),
        ("Preprocessing", card.get("preprocess")),
        ("Split", run.splits.get("source")),
    ]
    return {
        "facts": [(name, str(value)) for name, value in listed_facts if value],
        "tables": [_split_table(run), *(_label_table(head, card) for head in card.get("labels") or {})],
        "notes": [str(note) for note in card.get("notes") or ()],
    }


def _split_table(run: Run) -> Table:
    units = {column: unit for columns in described(run).values() for column, unit in columns.items()}
    rows = []
    for split, part in run.card["splits"].items():
        targets = [f"{name}: {_range(stats, units.get(name))}" for name, stats in (part.get("targets") or {}).items()]
        names = f"{len(part['groups'])}: {listed(part['groups'], LISTED)}"
        rows.append([split, f"{part['samples']:,}", names, "; ".join(targets) or "–", _range(part["images"])])
    return Table("Splits", ("Split", "Images", "Groups", "Targets", "Pixel values"), rows)


def _label_table(head: str, card: Mapping[str, Any]) -> Table:
    """Return how many images have each class, in all and in each split, and how many an even split would have."""
    samples = {split: part["samples"] for split, part in card["splits"].items()}
    rows = []
    for name, by_split in card["labels"][head].items():
        total = sum(by_split.get(split, 0) for split in samples)
        even = {split: total * n / max(sum(samples.values()), 1) for split, n in samples.items()}
        rows.append([name, f"{total:,}", *(f"{by_split.get(s, 0):,} ({even[s]:,.1f})" for s in samples)])
    note = "In brackets: what the split would have of the class, were its images divided as all images are."
    return Table(f"Classes of {head}", ("Class", "All", *samples), rows, [note])


def _counts(table: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in table.items())


def _range(stats: Mapping[str, Any], unit: str | None = "") -> str:
    low, high, mean, std = (digits(stats.get(key)) for key in ("min", "max", "mean", "std"))
    return with_unit(f"{low} to {high}, mean {mean} ± {std}", unit)
