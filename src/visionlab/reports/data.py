"""What reports say and draw of the data, and the report of a data set before any training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import PALETTE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, number, shorten, size, unit_text
from visionlab.files import write_text
from visionlab.reports.pages import Picture, draw, environment, ready
from visionlab.reports.run import Run, read_prepared

LISTED, PROBLEMS = 60, 100
"""Groups of a split, and problems of a data set, that are named; nobody reads more."""
MAP_FACTS = {"share": "{} share", "objects": "number of {}", "min": "smallest {}", "max": "largest {}"}
"""What data_index.csv and the data card hold of maps in ``<head>_<fact>``, in words."""
_COUNTS = ("share", "objects")  # have no unit
_SPLITS = ("train", "val", "test")


def write_data_report(folder: Path) -> Path:
    """Draw the figures of a data set that was prepared, write ``report.html`` and return its path.

    Raises:
        DataError: the folder is none of ``prepare``: a file is missing or damaged.
    """
    run, problems = read_prepared(folder)
    more = len(problems) - PROBLEMS
    rest = [{"path": f"and {more} more", "what": "", "advice": "all are in problems.csv"}] if more > 0 else []
    page = (
        environment()
        .get_template("data.html.j2")
        .render(
            run=run,
            title=f"{run.task} · data",
            problems=[*problems[:PROBLEMS], *rest],
            images={"data": data_figures(run)},
            card=data_card(run),
            commands=[("Train on these splits", run.info["train"]), ("Check the data again", run.info["command"])],
        )
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def described(run: Run) -> dict[str, dict[str, tuple[str, str]]]:
    """Return, of each head, the columns of data_index.csv that are numbers of its target: words and unit.

    They are the numbers themselves, or facts about maps. Labels are none: they are counted.
    """
    held = set(run.index.columns) if run.index is not None else set()
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name, head in run.heads.items():
        if name in run.labels:
            continue
        unit = str(head.get("unit") or "")
        facts = {f"{name}_{f}": (w.format(name), "" if f in _COUNTS else unit) for f, w in MAP_FACTS.items()}
        columns = {column: (column, unit) for column in head["columns"]}
        found[name] = {key: words for key, words in (facts if held & set(facts) else columns).items() if key in held}
    return {name: columns for name, columns in found.items() if columns}


def data_figures(run: Run) -> list[Picture]:
    """Return the figures of what the data are: distributions of the targets, examples."""
    drawn: list[Picture] = []
    for head, columns in described(run).items():
        words = f"Distribution of {head} in each split."
        drawn += draw(run, f"targets_{head}", words, partial(target_histograms, run, head, columns))
    for head, counts in run.labels.items():
        words = f"Images of each class of {head} in each split."
        drawn += draw(run, f"targets_{head}", words, partial(label_counts, counts, head, run.data))
    return drawn + ready(run, "examples", "Examples of each split.")


@styled
def target_histograms(run: Run, head: str, columns: Mapping[str, tuple[str, str]]) -> Figure:
    """Distribution of numbers in each split, as a share of the split, so that small splits are seen as well.

    Raises:
        ValueError: there is no finite number.
    """
    assert run.index is not None
    figure, grid = style.grid(len(columns), 4, *((7, 3.4) if len(columns) == 1 else (3.4, 2.4)))
    for axes, (column, (words, unit)) in zip(grid, columns.items(), strict=True):
        values = {split: run.index.loc[run.index["split"] == split, column].to_numpy(float) for split in _SPLITS}
        values = {split: data[np.isfinite(data)] for split, data in values.items()}
        every = np.concatenate(list(values.values()))
        if not len(every):
            raise ValueError(f"data_index.csv has no value of {column} in any split")
        levels = np.unique(every)
        # A bar a level where they are few: others hold 1 and 2 levels, or none, in turn.
        edges = np.histogram_bin_edges(every, 16)
        if 1 < len(levels) <= 16 and np.allclose(np.diff(levels), levels[1] - levels[0]):
            edges = np.append(levels, 2 * levels[-1] - levels[-2]) - (levels[1] - levels[0]) / 2
        shares = [np.full(len(data), 100 / max(len(data), 1)) for data in values.values()]
        labels = [f"{split}: {count(len(data), 'image')}" for split, data in values.items()]
        look: dict[str, Any] = {"color": PALETTE[: len(values)], "label": labels}
        axes.hist(list(values.values()), bins=edges.tolist(), weights=shares, **look)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel(axis_label(shorten(words, 22), unit))
        axes.set_ylabel("% of images" if axes.get_subplotspec().is_first_col() else "")  # type: ignore[union-attr]
        axes.locator_params(axis="x", nbins=4)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper")
    return style.finish(figure, f"Distribution of {head} in each split", run.data)


@styled
def label_counts(counts: Mapping[str, Mapping[str, int]], what: str, caption: str) -> Figure:
    """How many images of each class (class -> split -> images) each split has, on a logarithmic axis."""
    order = sorted(counts, key=lambda name: -sum(counts[name].values()))
    splits = list(dict.fromkeys(split for name in order for split in counts[name]))
    figure = style.new(7.6, 1.9 + 0.27 * max(len(order), 2))
    axes = figure.subplots()
    at, most = np.arange(len(order)), max(max(by.values(), default=1) for by in counts.values())
    # One below the other, for many counts of rare classes are the same.
    below = 0.2 * (np.arange(len(splits)) - (len(splits) - 1) / 2)
    for split, colour, marker, shift in zip(splits, PALETTE, style.MARKERS, below, strict=False):
        n = np.array([counts[name].get(split, 0) for name in order])
        # Nothing has no place on a logarithmic axis but its end.
        faces = [colour if some else "white" for some in n > 0]
        label = style.label(split)
        axes.scatter(np.maximum(n, 0.4), at + shift, s=46, marker=marker, c=faces, edgecolors=colour, label=label)
    style.plain_log(axes, "x")
    ticks = [10**power for power in range(len(str(most)))]
    axes.set_xticks([0.4, *ticks], ["0", *(f"{tick:,}" for tick in ticks)])
    axes.set_yticks(at, [shorten(name, 30) for name in order])
    axes.set(xlim=(0.3, most * 2), ylim=(len(at) - 0.4, -0.6), xlabel="images")
    axes.grid(axis="x", which="minor", visible=False)
    absent = sum(not all(counts[name].get(split) for split in splits) for name in order)
    note = f"hollow: no image, {absent} of {len(order)} classes" if absent else ""
    title = f"Images of each class of {what} in each split"
    return style.finish(figure, title, " · ".join(filter(None, [caption, note])), axes)


# The data card ----------------------------------------------------------------------------------------------------


def data_card(run: Run) -> dict[str, Any] | None:
    """Return the data card: ``facts`` (name, value), ``splits`` and ``labels`` (tables), ``numbers`` and ``notes``.

    ``numbers`` says whether there are targets that have a range.
    """
    content = run.card
    if not content:
        return None
    groups = content.get("groups")
    total = count(groups if isinstance(groups, int) else len(groups or ()), "group")
    listed = [
        ("Data", run.data),
        ("Root", content.get("root")),
        ("Size", f"{count(int(content['n']), 'image')} of {total}, {size(content.get('bytes'))}"),
        ("Image sizes", _counts(content.get("shapes"))),
        ("Pixel types", _counts(content.get("dtypes"))),
        ("Preprocessing", content.get("preprocess")),
        ("Split", run.splits.get("source")),
    ]
    known = {column: words for columns in described(run).values() for column, words in columns.items()}
    rows = []
    for split, part in content.get("splits", {}).items():
        targets = {name: known.get(str(name), (str(name), "")) for name in part.get("targets") or {}}
        names = [str(name) for name in part["groups"]]
        rows.append(
            {
                "split": split,
                "samples": int(part["samples"]),
                "groups": names[:LISTED],
                "n_groups": len(names),
                "pixels": _range(part["images"]),
                "targets": [(w, _range(part["targets"][n]), unit_text(u)) for n, (w, u) in targets.items()],
            }
        )
    return {
        "facts": [(name, str(value)) for name, value in listed if value not in (None, "")],
        "splits": rows,
        "numbers": any(row["targets"] for row in rows),
        "labels": [_label_table(head, counts, content) for head, counts in run.labels.items()],
        "notes": [str(note) for note in content.get("notes") or ()],
    }


def _label_table(head: str, counts: Mapping[str, Mapping[str, int]], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``head``, ``splits`` and ``rows``: of each class its name, images, and of each split count and share."""
    samples = {split: int(part["samples"]) for split, part in content["splits"].items()}
    everything = max(sum(samples.values()), 1)
    rows = []
    for name, by_split in counts.items():
        total = sum(int(by_split.get(split, 0)) for split in samples)
        cells = [(f"{by_split.get(s, 0):,}", f"{total * n / everything:,.1f}") for s, n in samples.items()]
        rows.append({"name": name, "total": f"{total:,}", "cells": cells})
    return {"head": head, "splits": list(samples), "rows": rows}


def _counts(table: Any) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in (table or {}).items())


def _range(stats: dict[str, Any]) -> str:
    low, high, mean, std = (number(stats.get(key)) for key in ("min", "max", "mean", "std"))
    if low is None or high is None:
        return "–"
    places = min(decimals(max(abs(low), abs(high), 1e-8)), 3)
    spread = f", mean {digits(mean, places)} ± {digits(std, places)}" if mean is not None and std is not None else ""
    return f"{digits(low, places)} to {digits(high, places)}{spread}"
