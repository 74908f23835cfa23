"""Figures of training: curves of a run or of several, its learning-rate search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREEN, GREY, INK, MARKERS, ORANGE, PALETTE, styled
from visionlab.drawing.text import axis_label, digits, shorten, with_unit

if TYPE_CHECKING:
    import pandas as pd

Curves = Mapping[str, "pd.DataFrame"]
"""Tag -> its table of steps and values."""

_LOSSES: dict[str, dict[str, Any]] = {
    "train/loss": {"color": BLUE, "alpha": 0.3, "linewidth": 1, "label": "training, a step"},
    "train/loss_epoch": {"color": BLUE, "label": "training, an epoch"},
    "val/loss": {"color": ORANGE, "marker": ".", "markersize": 7, "label": "validation"},
}


@styled
def training_curves(curves: Curves, monitor: str, mode: str, units: Mapping[str, str], caption: str) -> Figure:
    """Losses, those of the heads, metrics (the best epoch marked) and the learning rate.

    Args:
        curves: of :func:`visionlab.reports.run.read_scalars`.
        monitor: tag of the metric that chose the best checkpoint.
        mode: whether that is its ``min`` or ``max``.
        units: tag -> unit of the metrics to draw, ``monitor`` among them.
        caption: the line under the figure.

    Raises:
        ValueError: there is nothing to draw.
    """
    rate = [tag for tag in curves if tag == "lr" or tag.startswith("lr-")][:1]
    heads = [tag for tag in curves if tag.count("/") == 2 and tag.endswith("/loss_epoch" if tag[0] == "t" else "/loss")]
    heads = heads if len({tag.split("/")[1] for tag in heads}) > 1 else []
    panels = {
        "loss": {tag: look for tag, look in _LOSSES.items() if tag in curves},
        "loss of each head": {tag: _of_head(tag, heads) for tag in heads},
        **{
            axis_label(tag, unit): {tag: _METRIC} for tag, unit in units.items() if tag in curves and tag not in _LOSSES
        },
        "learning rate": {tag: {"color": GREY} for tag in rate},
    }
    panels = {name: lines for name, lines in panels.items() if lines}
    if not panels:
        raise ValueError("no loss, no monitored metric and no learning rate among the logged values")
    ratios = [1 if name == "learning rate" else 2 for name in panels]
    figure = style.new(7, 1.4 + 1.15 * sum(ratios))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    best = best_point(curves, monitor, mode)
    stages = curves.get("stage")
    starts = [] if stages is None else stages["step"][stages["value"].diff().fillna(0) != 0].tolist()
    for axes, (name, lines) in zip(rows, panels.items(), strict=True):
        for tag, look in lines.items():
            axes.plot(curves[tag]["step"], curves[tag]["value"], **look)
        axes.set_ylabel(name)
        values = np.concatenate([curves[tag]["value"].to_numpy(float) for tag in lines])
        values = values[np.isfinite(values)]
        # A linear axis would hide the end of losses that fall by a power of ten.
        if "/" not in name and len(values) and values.min() > 0 and values.max() / values.min() > 10:
            style.plain_log(axes, "y")
        elif name == "learning rate":
            axes.set_ylim(bottom=0)
        if best is not None:
            axes.axvline(best[0], color=ORANGE, linestyle="--", linewidth=1.3)
            if monitor in lines:
                axes.plot(*best[:2], marker="*", markersize=17, color=ORANGE, markeredgecolor=INK, zorder=4)
        for step in starts:
            axes.axvline(step, color=INK, linewidth=0.8, zorder=0.5)
        if len(lines) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, borderaxespad=0.2)
    rows[-1].set_xlabel("training step")
    words = "no monitored metric logged"
    if best is not None:
        when = f"in epoch {best[2]}" if best[2] is not None else f"at step {best[0]}"
        words = f"best {monitor} {with_unit(digits(best[1]), units.get(monitor))} {when}"
    notes = ["dashed: training" if heads else "", "thin lines: the next stage begins" if starts else ""]
    return style.finish(figure, f"Training: {words}", " · ".join(filter(None, [caption, *notes])))


_METRIC: dict[str, Any] = {"color": GREEN, "marker": ".", "markersize": 7}


def _of_head(tag: str, tags: Sequence[str]) -> dict[str, Any]:
    """Return the look of a head's loss: a colour for the head, another line for training."""
    stage, head, _ = tag.split("/")
    place = list(dict.fromkeys(other.split("/")[1] for other in tags)).index(head)
    line = {"linestyle": "--"} if stage == "train" else {"marker": ".", "markersize": 7}
    label = "_" if stage == "train" else style.label(shorten(head))
    return {"color": PALETTE[(place + 2) % len(PALETTE)], "label": label, **line}


def best_point(curves: Curves, monitor: str, mode: str) -> tuple[int, float, int | None] | None:
    """Return step, value and epoch (counted from 1) of the best finite value of ``monitor``, the first if tied."""
    curve = curves.get(monitor)
    curve = None if curve is None else curve[np.isfinite(curve["value"])]
    if curve is None or not len(curve):
        return None
    row = curve.loc[curve["value"].idxmin() if mode == "min" else curve["value"].idxmax()]
    epoch = None
    if "epoch" in curves:
        before = curves["epoch"][curves["epoch"]["step"] <= row["step"]]
        epoch = int(before["value"].iloc[-1]) + 1 if len(before) else None
    return int(row["step"]), float(row["value"]), epoch


@styled
def learning_rate_finder(table: pd.DataFrame, chosen: float, caption: str) -> Figure:
    """Loss over learning rate (columns ``lr`` and ``loss``, one row a step), as lr_find.csv has it.

    Args:
        table: see above.
        chosen: the rate that was taken, where the loss falls fastest.
        caption: the line under the figure.

    Raises:
        ValueError: fewer than two rows are usable.
    """
    good = table[(table["lr"] > 0) & np.isfinite(table["loss"])]
    if len(good) < 2:
        raise ValueError("lr_find.csv has fewer than two rows with a finite loss")
    figure = style.new(7, 4.2)
    axes = figure.subplots()
    loss = good["loss"].to_numpy(dtype=float)
    axes.plot(good["lr"], loss, color=BLUE)
    axes.axvline(chosen, color=ORANGE, linestyle="--")
    style.plain_log(axes, "x")
    # The loss explodes at the end of the search: without a limit the fall before it is a flat line.
    margin = 0.08 * (loss[0] - loss.min()) or 0.1 * abs(loss.min()) or 1.0
    axes.set_ylim(loss.min() - margin, max(loss[0], float(np.median(loss))) + 3 * margin)
    axes.set(xlabel="learning rate", ylabel="loss")
    return style.finish(figure, f"Learning-rate search: {chosen:.2g} was taken", caption)


@styled
def overlaid_curves(runs: Mapping[str, Curves], units: Mapping[str, str], caption: str) -> Figure | None:
    """The same curves of several runs (name -> curves), one panel a tag (tag -> unit); None if no run logged any."""
    panels = [tag for tag in units if any(tag in curves for curves in runs.values())]
    if not panels:
        return None
    figure = style.new(10, 1.4 + 2.5 * len(panels))
    rows: list[Axes] = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    lines: dict[str, Any] = {}
    for axes, tag in zip(rows, panels, strict=True):
        for i, (name, curves) in enumerate(runs.items()):
            if tag in curves:
                look: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
                look["linestyle"] = ("-", "--", ":")[i // len(PALETTE) % 3]
                lines[name] = axes.plot(curves[tag]["step"], curves[tag]["value"], markersize=4, **look)[0]
        axes.set_ylabel(axis_label(tag, units[tag]))
    rows[-1].set_xlabel("training step")
    figure.legend(list(lines.values()), [shorten(name) for name in lines], loc="outside right upper")
    return style.finish(figure, "Training of the runs", caption)
