"""Figures of a head of instances: overlap by slice, time and group, and how well objects are found and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visionlab.drawing import style
from visionlab.drawing.population import population_figure
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, measure, metric_label, shorten
from visionlab.reports.cell_tables import Cells, frames_word
from visionlab.reports.dense import score_by_group, score_histogram

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

OBJECT_METRICS = ("f1", "seg", "det")
"""Of a time point, in the order in which they are shown."""
FEW = 40
"""Of as few values single ones are seen as well as their quartiles."""
MAX_BINS = 30


def histogram(c: Cells) -> Figure:
    """Distribution of the slices' overlaps."""
    return score_histogram(c.scores)


def by_group(c: Cells) -> Figure:
    """The overlaps of each group's slices, the best group first."""
    return score_by_group(c.scores)


@styled
def by_place(c: Cells) -> Figure:
    """Overlap by the slice's place in its volume and by time: where along the axes it falls."""
    assert c.places is not None
    known = [
        (at, words)
        for at, words in zip(c.places.T, ("slice z", "time point"), strict=True)
        if len(np.unique(at[np.isfinite(at)])) > 1
    ] or [(np.nan_to_num(c.places[:, 0]), "slice z")]
    figure = style.new(3.6 + 2.2 * len(known), 4.6)
    grid: list[Axes] = list(figure.subplots(1, len(known), sharey=True, squeeze=False)[0])
    for axes, (at, words) in zip(grid, known, strict=True):
        good = np.isfinite(at)
        centre, member = _bins(at[good])
        parts = [c.scores.values[good][member == i] for i in range(len(centre))]
        low, middle, high = np.array([np.quantile(part, [0.25, 0.5, 0.75]) for part in parts]).T
        axes.fill_between(centre, low, high, color=BLUE, alpha=0.2, linewidth=0, label="middle half of the slices")
        axes.plot(centre, middle, color=BLUE, marker="o", markersize=4, label="median")
        if max(map(len, parts)) <= FEW:
            axes.scatter(at[good], c.scores.values[good], s=8, color=INK, alpha=0.3, linewidths=0, zorder=3)
        axes.set_xlabel(words)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.set_ylim(-0.02, 1.02)
    grid[0].set_ylabel(c.scores.score)
    where = " and ".join({"slice z": "slice", "time point": "time"}[words] for _, words in known)
    style.legend_above(grid[0], f"{c.scores.score} of {c.head} by {where}")
    return style.finish(figure, c.scores.caption)


def _bins(values: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the centres of the bins that hold values, and each value's bin: one a value where they are few."""
    levels, member = np.unique(values, return_inverse=True)
    if len(levels) <= MAX_BINS:
        return levels, member
    width = np.ptp(levels) / MAX_BINS
    place = np.minimum((values - levels[0]) // width, MAX_BINS - 1)
    _, member = np.unique(place, return_inverse=True)
    return np.bincount(member, weights=values) / np.bincount(member), member


@styled
def counts(c: Cells) -> Figure:
    """Predicted against true number of objects in each time point."""
    assert c.frames is not None
    known = c.frames[c.frames["objects_true"].notna()]
    true, pred = known["objects_true"].to_numpy(float), known["objects_pred"].to_numpy(float)
    figure = style.new(7, 5.4)
    axes = figure.subplots()
    end = 1.06 * float(max(true.max(), pred.max(), 1))
    axes.plot([0, end], [0, end], color=GREY, linewidth=1.3, zorder=1)
    for name, at, look in _sequences(known):
        axes.scatter(true[at], pred[at], s=34, alpha=0.75, linewidths=0, label=name, zorder=2, **look)
    axes.set(xlim=(0, end), ylim=(0, end))
    axes.set_aspect("equal")
    axes.set(xlabel=f"true objects in a {frames_word(c.spec)}", ylabel="predicted objects")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    if len(set(known["sequence"])) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, title="sequence")
    entry = c.metrics.get("count_error") or {"value": float(np.abs(pred - true).mean())}
    off = float((pred - true).mean())
    way = f", {digits(abs(off), decimals(off, 2))} too {'many' if off > 0 else 'few'}" if off else ""
    style.write_title(axes, f"Count: mean error {measure(entry)}{way}")
    return style.finish(figure, c.caption)


@styled
def objects(c: Cells) -> Figure:
    """How well the objects of each time point are found: F1, SEG and DET, over time where it is known."""
    assert c.frames is not None
    names = [name for name in OBJECT_METRICS if name in c.frames and c.frames[name].notna().any()]
    if not names:
        raise ValueError(f"no time point has a metric of the objects of {c.head}")
    timed = c.timed
    figure = style.new(8, 1.5 + 1.85 * len(names))
    rows: list[Axes] = list(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0])
    shown = c.frames if timed is None else timed
    rank = np.arange(1, len(shown) + 1)
    for axes, name in zip(rows, names, strict=True):
        values = shown[name].to_numpy(dtype=float)
        if timed is None:
            axes.plot(rank, np.sort(values)[::-1], color=BLUE, marker="o", markersize=4)
        else:
            times = shown["time"].to_numpy(dtype=float)
            for sequence, at, look in _sequences(shown):
                order = at[np.argsort(times[at], kind="stable")]
                axes.plot(times[order], values[order], markersize=4, linewidth=1.6, label=sequence, **look)
        entry = c.metrics.get(name)
        label = metric_label(name, short=True, spec=c.spec)
        axes.set_title(f"{label}: {measure(entry)}" if entry else label, fontsize=11.5, pad=5)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(f"of a {frames_word(c.spec)}", fontsize=10.5)
    many = f"the {len(shown)} {frames_word(c.spec)}s, best first, each metric by itself"
    rows[-1].set_xlabel("time point" if timed is not None else many)
    rows[-1].xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    if timed is not None and len(set(shown["sequence"])) > 1:
        handles, labels = rows[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", title="sequence")
    return style.finish(figure, c.caption)


def population(c: Cells) -> Figure:
    """True and predicted number of objects over time, a curve for each sequence."""
    assert c.timed is not None
    times, true, pred = {}, {}, {}
    for name, part in c.timed.groupby(c.timed["sequence"].astype(str)):
        times[str(name)] = part["time"].to_numpy(dtype=float)
        true[str(name)] = {"objects": part["objects_true"].to_numpy(dtype=float)}
        pred[str(name)] = {"objects": part["objects_pred"].to_numpy(dtype=float)}
    title = f"Objects of {c.head} over time"
    return population_figure(times, pred, true=true, title=title, caption=c.caption)


def _sequences(table: pd.DataFrame) -> list[tuple[str, npt.NDArray[np.intp], dict[str, Any]]]:
    """Return name, rows and look of each sequence."""
    names = table["sequence"].astype(str).to_numpy()
    found = []
    for i, name in enumerate(dict.fromkeys(sorted(names))):
        look = {"color": style.PALETTE[i % len(style.PALETTE)], "marker": style.MARKERS[i % len(style.MARKERS)]}
        found.append((style.label(shorten(name)), np.flatnonzero(names == name), look))
    return found


@styled
def sizes(true: Array, pred: Array, unit: str, caption: str) -> Figure:
    """Distributions of the sizes of true and predicted objects, on a logarithmic axis.

    Args:
        true, pred: sizes above 0.
        unit: of them, e.g. ``µm³``.
        caption: the line under the figure.

    Raises:
        ValueError: there is no object at all.
    """
    every = np.concatenate([true, pred])
    if not len(every):
        raise ValueError("expected at least one object")
    figure = style.new(7, 4.6)
    axes = figure.subplots()
    edges = np.geomspace(every.min() * 0.9, every.max() * 1.1, 26)
    for values, colour, words in ((true, BLUE, "true"), (pred, ORANGE, "predicted")):
        look: dict[str, Any] = {"histtype": "stepfilled", "facecolor": (*style.rgb(colour), 0.18), "edgecolor": colour}
        label = f"{words}: {count(len(values), 'object')}" + (
            f", median {digits(float(np.median(values)))}" if len(values) else ""
        )
        axes.hist(values, bins=edges.tolist(), linewidth=2, label=label, **look)
    style.plain_log(axes, "x")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.set(xlabel=axis_label("size of an object", unit), ylabel="objects")
    style.legend_above(axes, "Sizes of true and predicted objects")
    axes.grid(axis="x", which="minor", visible=False)
    return style.finish(figure, caption)
