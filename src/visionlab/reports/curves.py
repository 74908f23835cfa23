"""Figures of training: curves of a run or of several, its learning-rate search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREEN, GREY, INK, MARKERS, ORANGE, PALETTE, styled
from visionlab.drawing.text import axis_label, digits, shorten, with_unit
from visionlab.reports.run import Run

Curves = Mapping[str, pd.DataFrame]
"""Tag -> its table of steps and values."""

_LOSSES: dict[str, dict[str, Any]] = {
    "train/loss": {"color": BLUE, "alpha": 0.3, "linewidth": 1, "label": "training, a step"},
    "train/loss_epoch": {"color": BLUE, "label": "training, an epoch"},
    "val/loss": {"color": ORANGE, "marker": ".", "label": "validation"},
}


def monitored(run: Run) -> tuple[str, str]:
    """Return the tag of the metric that chose the best checkpoint, and whether that is its ``min`` or ``max``."""
    return str(run.config.get("monitor")), str(run.config.get("mode"))


@styled
def training_curves(run: Run) -> Figure:
    """Losses, metrics (the best epoch marked) and the learning rate.

    Raises:
        ValueError: there is nothing to draw.
    """
    curves, (monitor, mode) = run.curves, monitored(run)
    tags = dict.fromkeys([monitor, *(f"val/{name}" for name in run.key_metrics())])
    panels: dict[str, dict[str, Any]] = {"loss": _LOSSES}
    panels |= {axis_label(tag, run.unit(tag)): {tag: {"color": GREEN, "marker": "."}} for tag in tags}
    panels["learning rate"] = {tag: {"color": GREY} for tag in curves if tag == "lr" or tag.startswith("lr-")}
    panels = {name: {tag: look for tag, look in of.items() if tag in curves} for name, of in panels.items()}
    panels = {name: lines for name, lines in panels.items() if lines}
    if not panels:
        raise ValueError("no loss, no monitored metric and no learning rate among the logged values")
    figure, rows = style.grid(len(panels), 1, 7, 1.9, sharex=True)
    best = best_point(curves, monitor, mode)
    for axes, (name, lines) in zip(rows, panels.items(), strict=True):
        for tag, look in lines.items():
            axes.plot(curves[tag]["step"], curves[tag]["value"], **look)
        axes.set_ylabel(name)
        values = pd.concat([curves[tag]["value"] for tag in lines]).dropna()
        # A linear axis would hide the end of losses that fall by a power of ten.
        if name == "loss" and values.min() > 0 and values.max() / values.min() > 10:
            style.plain_log(axes, "y")
        if best is not None:
            axes.axvline(best[0], color=ORANGE, linestyle="--")
            if monitor in lines:
                axes.plot(*best[:2], marker="*", markersize=17, color=ORANGE, markeredgecolor=INK, zorder=4)
    rows[-1].set_xlabel("training step")
    words = "no monitored metric logged"
    if best is not None:
        words = f"best {monitor} {with_unit(digits(best[1]), run.unit(monitor))} in epoch {best[2]}"
    legend = rows[0] if "loss" in panels else None
    return style.finish(figure, f"Training: {words}", run.data, legend=legend)


def best_point(curves: Curves, monitor: str, mode: str) -> tuple[int, float, int] | None:
    """Return step, value and epoch (counted from 1) of the best finite value of ``monitor``, the first if tied."""
    curve = curves[monitor].dropna() if monitor in curves else pd.DataFrame()
    if curve.empty:
        return None
    step, value = curve.sort_values("value", ascending=mode == "min", kind="stable").iloc[0]
    epochs = curves["epoch"][curves["epoch"]["step"] <= step]
    return int(step), float(value), int(epochs["value"].iloc[-1]) + 1


@styled
def learning_rate_finder(run: Run) -> Figure:
    """Loss over learning rate (columns ``lr`` and ``loss``, one row a step), as lr_find.csv has it."""
    chosen, table = float(run.config["optimizer"]["lr"]), pd.read_csv(run.path / "lr_find.csv")
    figure = style.new(7, 4.2)
    axes = figure.subplots()
    axes.plot(table["lr"], table["loss"], color=BLUE)
    axes.axvline(chosen, color=ORANGE, linestyle="--")
    style.plain_log(axes, "x")
    # The loss explodes at the end of the search: without a limit the fall before it is a flat line.
    low, first = float(table["loss"].min()), float(table["loss"].iloc[0])
    margin = 0.1 * (first - low) or 1.0
    axes.set_ylim(low - margin, max(first, float(np.nanmedian(table["loss"]))) + 3 * margin)
    axes.set(xlabel="learning rate", ylabel="loss")
    return style.finish(figure, f"Learning-rate search: {chosen:.2g} was taken", run.data)


@styled
def overlaid_curves(runs: Mapping[str, Curves], units: Mapping[str, str], caption: str) -> Figure | None:
    """The same curves of several runs (name -> curves), one panel a tag (tag -> unit); None if no run logged any."""
    panels = [tag for tag in units if any(tag in curves for curves in runs.values())]
    if not panels:
        return None
    figure, rows = style.grid(len(panels), 1, 10, 2.5, sharex=True)
    lines: dict[str, Any] = {}
    for axes, tag in zip(rows, panels, strict=True):
        for i, (name, curves) in enumerate(runs.items()):
            if tag in curves:
                look: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
                lines[name] = axes.plot(curves[tag]["step"], curves[tag]["value"], markersize=4, **look)[0]
        axes.set_ylabel(axis_label(tag, units[tag]))
    rows[-1].set_xlabel("training step")
    figure.legend(list(lines.values()), [shorten(name) for name in lines], loc="outside right upper")
    return style.finish(figure, "Training of the runs", caption)
