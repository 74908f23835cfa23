"""Figures of training: curves of a run, its learning-rate search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREEN, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, digits, with_unit

if TYPE_CHECKING:
    import pandas as pd


@styled
def training_curves(
    curves: Mapping[str, pd.DataFrame],
    monitor: str,
    mode: str = "min",
    unit: str = "",
    caption: str = "",
    also: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Losses, those of the heads, the monitored metric with its best epoch marked, others, and the learning rate.

    Args:
        curves: of :func:`visionlab.reports.curves.read_scalars`.
        monitor: tag of the metric that chose the best checkpoint; ``mode``: ``min`` or ``max``; ``unit``: its unit.
        also: tag -> unit of further metrics to draw where they were logged.

    Raises:
        ValueError: there is nothing to draw.
    """
    rate = next((tag for tag in curves if tag == "lr" or tag.startswith("lr-")), "")
    units = {**also, monitor: unit}
    panels = ["loss"] if _losses(curves) else []
    panels += ["heads"] if len(_head_losses(curves)) > 1 else []
    # A loss that is monitored has its star among the losses.
    panels += [tag for tag in dict.fromkeys([monitor, *also, rate]) if tag in curves and tag not in _losses(curves)]
    if not panels:
        raise ValueError("no loss, no monitored metric and no learning rate among the logged values")
    ratios = [1 if tag == rate else 2 for tag in panels]
    figure = style.new(7, 1.2 + (1.35 if len(panels) <= 3 else 1.1) * sum(ratios))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    best = best_point(curves, monitor, mode)
    for axes, tag in zip(rows, panels, strict=True):
        if tag == "loss":
            _draw_losses(axes, curves)
        elif tag == "heads":
            _draw_head_losses(axes, curves)
        elif tag == rate:
            _draw_rate(axes, curves[tag])
        else:
            axes.plot(curves[tag]["step"], curves[tag]["value"], color=GREEN, marker=".", markersize=7)
            axes.set_ylabel(axis_label(tag, units[tag]))
        if best and monitor in (_losses(curves) if tag == "loss" else [tag]):
            axes.plot(best[0], best[1], marker="*", markersize=17, color=ORANGE, markeredgecolor=INK, zorder=4)
        if best:
            axes.axvline(best[0], color=ORANGE, linestyle="--", linewidth=1.3)
        for i, step in enumerate(_stage_starts(curves)):
            axes.axvline(step, color=INK, linewidth=0.8, zorder=0.5, label="next stage" if i == 0 else None)
    rows[-1].set_xlabel("training step")
    words = f"best {monitor} {with_unit(digits(best[1]), unit)}{_at(best)}" if best else "no monitored metric logged"
    if panels[0] == "loss":
        style.legend_above(rows[0], f"Training: {words}")
    else:
        rows[0].set_title(f"Training: {words}")
    return style.finish(figure, caption)


def _draw_rate(axes: Axes, curve: pd.DataFrame) -> None:
    axes.plot(curve["step"], curve["value"], color=GREY)
    axes.set_ylabel("learning rate")
    low, high = curve["value"].min(), curve["value"].max()
    if low > 0 and high > 3 * low:
        style.plain_log(axes, "y")
    else:
        axes.set_ylim(0, 1.2 * high or 1)


def best_point(curves: Mapping[str, pd.DataFrame], monitor: str, mode: str) -> tuple[int, float, int | None] | None:
    """Return step, value and epoch (counted from 1) of the best finite value of ``monitor``, the first if tied."""
    if monitor not in curves:
        return None
    curve = curves[monitor]
    curve = curve[np.isfinite(curve["value"])]
    if not len(curve):
        return None
    row = curve.loc[curve["value"].idxmin() if mode == "min" else curve["value"].idxmax()]
    epoch = None
    if "epoch" in curves:
        before = curves["epoch"][curves["epoch"]["step"] <= row["step"]]
        epoch = int(before["value"].iloc[-1]) + 1 if len(before) else None
    return int(row["step"]), float(row["value"]), epoch


def _at(best: tuple[int, float, int | None]) -> str:
    return f" in epoch {best[2]}" if best[2] is not None else f" at step {best[0]}"


def _losses(curves: Mapping[str, pd.DataFrame]) -> list[str]:
    return [tag for tag in ("train/loss", "train/loss_epoch", "val/loss") if tag in curves]


def _draw_losses(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    looks: dict[str, dict[str, Any]] = {
        "train/loss": {"color": BLUE, "alpha": 0.3, "linewidth": 1, "label": "training, a step"},
        "train/loss_epoch": {"color": BLUE, "label": "training, an epoch"},
        "val/loss": {"color": ORANGE, "marker": ".", "markersize": 7, "label": "validation"},
    }
    tags = _losses(curves)
    for tag in tags:
        axes.plot(curves[tag]["step"], curves[tag]["value"], **looks[tag])
    axes.set_ylabel("loss")
    _log_if_falling(axes, [curves[tag] for tag in tags], "loss (log)")


def _log_if_falling(axes: Axes, drawn: Sequence[pd.DataFrame], name: str) -> None:
    """Make the axis logarithmic where a linear one would hide the end of losses that fall by a power of ten."""
    values = np.concatenate([curve["value"].to_numpy(dtype=float) for curve in drawn])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > 10:
        style.plain_log(axes, "y")
        axes.set_ylabel(name)


def _head_losses(curves: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Return the tags of each head's own losses: training first, then validation."""
    heads: dict[str, list[str]] = {}
    for stage, last in (("train", "loss_epoch"), ("val", "loss")):
        for tag in curves:
            parts = tag.split("/")
            if len(parts) == 3 and parts[0] == stage and parts[2] == last:
                heads.setdefault(parts[1], []).append(tag)
    return heads


def _draw_head_losses(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    heads = _head_losses(curves)
    for (head, tags), colour in zip(heads.items(), cycle(style.PALETTE[2:]), strict=False):
        for tag in tags:
            train = tag.startswith("train/")
            look: dict[str, Any] = {"linestyle": "--"} if train else {"marker": ".", "markersize": 7}
            label = None if train and len(tags) > 1 else style.label(head)
            axes.plot(curves[tag]["step"], curves[tag]["value"], color=colour, label=label, **look)
    axes.plot([], [], color=GREY, linestyle="--", label="training")
    axes.plot([], [], color=GREY, marker=".", markersize=7, label="validation")
    axes.set_ylabel("loss of each head")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(heads) + 2, borderaxespad=0.2, borderpad=0.2)
    _log_if_falling(axes, [curves[tag] for tags in heads.values() for tag in tags], "loss of each head (log)")


def _stage_starts(curves: Mapping[str, pd.DataFrame]) -> list[int]:
    """Return the steps at which another stage of the training began."""
    if "stage" not in curves:
        return []
    stage = curves["stage"]
    return [int(step) for step in stage["step"][stage["value"].diff().fillna(0) != 0]]


@styled
def learning_rate_finder(table: pd.DataFrame, chosen: float, caption: str = "") -> Figure:
    """Loss over learning rate (columns ``lr`` and ``loss``, one row a step), as lr_find.csv has it.

    Args:
        table: see above.
        chosen: the rate that was taken, where the loss falls fastest.

    Raises:
        ValueError: fewer than two rows are usable.
    """
    good = table[(table["lr"] > 0) & np.isfinite(table["loss"])]
    if len(good) < 2:
        raise ValueError("lr_find.csv has fewer than two rows with a finite loss")
    figure = style.new(7, 4.4)
    axes = figure.subplots()
    loss = good["loss"].to_numpy(dtype=float)
    axes.plot(good["lr"], loss, color=BLUE)
    lowest = int(loss.argmin())
    axes.axvline(chosen, color=ORANGE, linestyle="--", label=f"taken: {chosen:.2g}")
    axes.legend()
    style.plain_log(axes, "x")
    # The loss explodes at the end of the search: without a limit the fall before it is a flat line.
    margin = 0.08 * (loss[0] - loss[lowest]) or 0.1 * abs(loss[lowest]) or 1.0
    axes.set_ylim(loss[lowest] - margin, max(loss[0], float(np.median(loss))) + 3 * margin)
    axes.set(xlabel="learning rate", ylabel="loss")
    axes.set_title(f"Learning-rate search: {chosen:.2g} was taken")
    return style.finish(figure, caption)
