"""The report of ``benchmark``: images a second by batch size and network, as table, figure and page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import GREY, INK, MARKERS, PALETTE, styled
from visionlab.drawing.text import digits
from visionlab.files import write_text
from visionlab.reports.html import environment, picture

if TYPE_CHECKING:
    import pandas as pd

CACHED, UNCACHED, STEP = "loading, cached", "loading, uncached", "training step"
COLUMNS = (
    "what",
    "model",
    "weights",
    "batch_size",
    "images_per_second",
    "ms",
    "forward_ms",
    "backward_ms",
    "optimizer_ms",
    "memory_mib",
    "repeats",
    "note",
)
"""Of throughput.csv, one row a measurement: medians for a batch, the most memory taken on a GPU, why there is none."""


def write_throughput_report(folder: Path, table: pd.DataFrame, facts: Mapping[str, Any], command: str) -> Path:
    """Draw ``throughput.png``, write ``report.html`` and return its path.

    Args:
        folder: where to.
        table: columns ``COLUMNS``.
        facts: ``task``, ``conditions`` (a line) and what it is made of.
        command: what was typed.
    """
    plot = style.save(throughput_figure(table, str(facts["conditions"])), folder / "throughput.png")
    sizes, rows = _matrix(table)
    steps = table[(table["what"] == STEP) & table["ms"].notna()]
    numbers = ["ms", "forward_ms", "backward_ms", "optimizer_ms", "memory_mib"]
    parts = [
        (f"{row['model']}, {row['batch_size']}", [*map(digits, row[numbers]), f"{row['repeats']:.0f}"])
        for _, row in steps.iterrows()
    ]
    words = "Images a second by batch size, and of each network by its weights."
    page = (
        environment()
        .get_template("throughput.html.j2")
        .render(
            title=f"{facts['task']} · throughput",
            conditions=facts["conditions"],
            sizes=sizes,
            rows=rows,
            parts=parts,
            images=[picture(plot, words, "page" if steps["model"].nunique() > 1 else "half")],
            command=command,
        )
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def text_table(table: pd.DataFrame) -> str:
    """Return the images a second as text: a row for each thing measured, a column for each batch size."""
    sizes, rows = _matrix(table)
    lines = [["images/s, by batch size", *map(str, sizes)], *([name, *cells] for name, cells in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(line) for line in aligned)


def _matrix(table: pd.DataFrame) -> tuple[list[int], list[tuple[str, list[str]]]]:
    """Return the batch sizes, and name and cells of each thing measured."""
    sizes = sorted(table["batch_size"].unique().tolist())
    cells: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        name = f"{row['what']}, {row['model']} ({row['weights']:,.0f} weights)" if row["model"] else row["what"]
        cells.setdefault(name, []).append(row["note"] or _rate(row["images_per_second"]))
    return sizes, list(cells.items())


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else digits(value)


@styled
def throughput_figure(table: pd.DataFrame, caption: str = "") -> Figure:
    """Images a second by batch size; with several networks also of each at its best batch size, by its weights.

    Args:
        table: columns ``COLUMNS``.
        caption: under what conditions it was measured.
    """
    measured = table[table["ms"].notna()]
    steps = measured[measured["what"] == STEP]
    several = steps["model"].nunique() > 1
    figure = style.new(14 if several else 8.5, 5.2)
    axes = figure.subplots(1, 1 + several, squeeze=False)[0]
    looks = {CACHED: ("--", GREY), UNCACHED: (":", GREY)}
    for what, (line, colour) in looks.items():
        _line(axes[0], measured[measured["what"] == what], what, color=colour, linestyle=line, marker=".")
    for i, (model, part) in enumerate(steps.groupby("model", sort=False)):
        look: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
        _line(axes[0], part, f"step, {model}", **look)
        if several:
            best = part.sort_values("images_per_second").iloc[-1]
            point = (best["weights"], best["images_per_second"])
            axes[1].plot(*point, linestyle="", markersize=9, **look)
            place: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
            axes[1].annotate(_rate(point[1]), point, fontsize=10, color=INK, **place)
    for each, label in zip(axes, ("batch size (images)", "weights of the network"), strict=False):
        style.plain_log(each, "x")
        style.plain_log(each, "y")
        each.set_xlabel(label)
        each.set_ylabel("images a second")
    sizes = sorted(table["batch_size"].unique())
    axes[0].set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes[0].set_xticks([], minor=True)
    axes[0].set_title("Throughput by batch size")
    figure.legend(loc="outside right upper")
    if several:
        axes[1].margins(0.15)
        axes[1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes[1].set_title("The step at its best batch size, by network")
    return style.finish(figure, caption)


def _line(axes: Axes, part: pd.DataFrame, name: str, **look: Any) -> None:
    if len(part):
        axes.plot(part["batch_size"], part["images_per_second"], label=style.label(name), **look)
