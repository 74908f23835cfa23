"""The report of ``benchmark``: images a second by batch size and network, as table, figure and page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import GREY, styled
from visionlab.drawing.text import digits
from visionlab.reports.page import Table, picture, render


def write_throughput_report(folder: Path) -> Path:
    """Draw ``throughput.png`` of what ``benchmark`` left, write ``report.html`` and return its path."""
    table, facts = _read(folder)
    steps = table[(table["model"] != "") & table["ms"].notna()]
    plot = style.save(throughput_figure(table, str(facts["conditions"])), folder / "throughput.png")
    words = "Images a second by batch size."
    names = ("ms", "forward_ms", "backward_ms", "optimizer_ms", "memory_mib", "repeats")
    parts = [
        [f"{row['model']}, {row['batch_size']}", *(digits(row[name]) for name in names)]
        for row in steps.to_dict("records")
    ]
    headings = ("Step (ms)", "Forward (ms)", "Backward (ms)", "Optimizer (ms)", "GPU memory (MiB)", "Batches")
    return render(
        folder / "report.html",
        "throughput",
        title=f"{facts['task']} · throughput",
        conditions=facts["conditions"],
        rates=rates(table),
        parts=Table("The training step in parts", ("Network, batch size", *headings), parts),
        images=[picture(plot.read_bytes(), words, wide=True)],
        command=facts["command"],
    )


def text_table(folder: Path) -> str:
    """Return the conditions and the images a second of a folder as text."""
    table, facts = _read(folder)
    found = rates(table)
    what, *sizes = found.headings
    text = pd.DataFrame([row[1:] for row in found.rows], [row[0] for row in found.rows], sizes).to_string()
    return f"{facts['conditions']}\n\n{what}\n{text}"


def _read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table and the facts that ``benchmark`` left."""
    table = pd.read_csv(folder / "throughput.csv").fillna({"model": "", "note": ""})
    return table, json.loads((folder / "throughput.json").read_text(encoding="utf-8"))


def rates(table: pd.DataFrame) -> Table:
    """Return the images a second: a row for each thing measured, a column for each batch size."""
    rows = table.assign(
        name=[
            f"{what}, {model} ({weights:,.0f} weights)" if model else what
            for what, model, weights in zip(table["what"], table["model"], table["weights"], strict=True)
        ],
        cell=[note or rate(n) for note, n in zip(table["note"], table["images_per_second"], strict=True)],
    )
    cells = rows.pivot_table("cell", "name", "batch_size", aggfunc="first", sort=False).sort_index(axis=1).fillna("–")
    headings = ("images/s, by batch size", *map(str, cells.columns))
    return Table("Images a second", headings, [[str(name), *row] for name, *row in cells.itertuples()])


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else digits(value)


@styled
def throughput_figure(table: pd.DataFrame, caption: str) -> Figure:
    """Images a second by batch size, of loading and of each network."""
    measured = table[table["ms"].notna()]
    figure = style.new(10, 5)
    axes = figure.subplots()
    for (what, model), part in measured.groupby(["what", "model"], sort=False):
        look: dict[str, Any] = {"marker": "o"} if model else {"color": GREY, "linestyle": "--", "marker": "."}
        words = f"step, {model}" if model else str(what)
        axes.plot(part["batch_size"], part["images_per_second"], label=words, **look)
    style.plain_log(axes, "x")
    style.plain_log(axes, "y")
    axes.set(xlabel="batch size (images)", ylabel="images a second")
    figure.legend(loc="outside right upper")
    return style.finish(figure, "Throughput by batch size", caption)
