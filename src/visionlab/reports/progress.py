"""Figures of training, and of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.reports import style
from visionlab.reports.style import BLUE, GREEN, GREY, INK, ORANGE, styled
from visionlab.reports.text import digits, measure, metric_label, number, shorten, unit_text, with_unit

if TYPE_CHECKING:
    import pandas as pd


@styled
def training_curves(
    curves: Mapping[str, pd.DataFrame], monitor: str, mode: str = "min", unit: str = "", caption: str = ""
) -> Figure:
    """Losses, the monitored metric with its best epoch marked, and the learning rate under them.

    Args:
        curves: of :func:`visionlab.reports.curves.read_scalars`.
        monitor: tag of the metric that chose the best checkpoint; ``mode``: ``min`` or ``max``; ``unit``: its unit.

    Raises:
        ValueError: there is nothing to draw.
    """
    rate = next((tag for tag in curves if tag == "lr" or tag.startswith("lr-")), "")
    panels = [tag for tag in ("loss", monitor, rate) if tag in curves or (tag == "loss" and _losses(curves))]
    panels = list(dict.fromkeys(panels))
    if not panels:
        raise ValueError("no loss, no monitored metric and no learning rate among the logged values")
    ratios = [1 if tag == rate else 2 for tag in panels]
    figure = style.new(7, 1.2 + 1.35 * sum(ratios))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    best = best_point(curves, monitor, mode)
    for axes, tag in zip(rows, panels, strict=True):
        if tag == "loss":
            _draw_losses(axes, curves)
        elif tag == rate:
            axes.plot(curves[tag]["step"], curves[tag]["value"], color=GREY)
            axes.set_ylabel("learning rate")
            low, high = curves[tag]["value"].min(), curves[tag]["value"].max()
            if low > 0 and high > 3 * low:
                style.plain_log(axes, "y")
            else:
                axes.set_ylim(0, 1.2 * high or 1)
        else:
            axes.plot(curves[tag]["step"], curves[tag]["value"], color=GREEN, marker=".", markersize=7)
            axes.set_ylabel(f"{tag} ({unit_text(unit)})" if unit else tag)
            if best:
                axes.plot(best[0], best[1], marker="*", markersize=17, color=ORANGE, markeredgecolor="white")
        if best:
            axes.axvline(best[0], color=ORANGE, linestyle="--", linewidth=1.3)
    rows[-1].set_xlabel("training step")
    words = f"best {monitor} {with_unit(digits(best[1]), unit)}{_at(best)}" if best else "no monitored metric logged"
    if panels[0] == "loss":
        style.legend_above(rows[0], f"Training: {words}")
    else:
        rows[0].set_title(f"Training: {words}")
    return style.finish(figure, caption)


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
        "train/loss": {"color": BLUE, "alpha": 0.3, "linewidth": 1, "label": "training, single steps"},
        "train/loss_epoch": {"color": BLUE, "label": "training, mean of an epoch"},
        "val/loss": {"color": ORANGE, "marker": ".", "markersize": 7, "label": "validation"},
    }
    tags = _losses(curves)
    for tag in tags:
        axes.plot(curves[tag]["step"], curves[tag]["value"], **looks[tag])
    axes.set_ylabel("loss")
    values = np.concatenate([curves[tag]["value"].to_numpy(dtype=float) for tag in tags])
    values = values[np.isfinite(values)]
    # Losses that fall by more than a power of ten hide their end on a linear axis.
    if len(values) and values.min() > 0 and values.max() / values.min() > 10:
        style.plain_log(axes, "y")
        axes.set_ylabel("loss (log)")


@styled
def overlaid_curves(
    runs: Mapping[str, Mapping[str, pd.DataFrame]], tags: Sequence[str], units: Mapping[str, str], caption: str = ""
) -> Figure:
    """The same curves of several runs, one panel a tag.

    Raises:
        ValueError: no run has logged any of the tags.
    """
    panels = [tag for tag in tags if any(tag in curves for curves in runs.values())]
    if not panels:
        raise ValueError(f"no run has logged {' or '.join(tags)}")
    figure = style.new(8, 1.4 + 2.5 * len(panels))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, tag in zip(rows, panels, strict=True):
        for i, (name, curves) in enumerate(runs.items()):
            if tag in curves:
                look = {"color": style.PALETTE[i % len(style.PALETTE)], "marker": style.MARKERS[i % len(style.MARKERS)]}
                line = ("-", "--", ":")[i // len(style.PALETTE) % 3]
                label = style.label(shorten(name))
                axes.plot(curves[tag]["step"], curves[tag]["value"], linestyle=line, markersize=4, label=label, **look)
        unit = unit_text(units.get(tag))
        axes.set_ylabel(f"{tag} ({unit})" if unit else tag)
    rows[0].set_title("Training of the runs")
    rows[-1].set_xlabel("training step")
    handles = {text: line for axes in rows for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside right upper")
    return style.finish(figure, caption)


@styled
def metric_bars(
    entries: Mapping[str, Mapping[str, Any]], metric: str, best: Sequence[str], caption: str = ""
) -> Figure:
    """One metric of several runs: bars with intervals, and each run's baseline as a tick.

    Args:
        entries: run name -> its entry of metrics.json; runs without a value have no bar.
        metric: ``head/metric``.
        best: the runs that are drawn as best; none where the runs cannot be compared.

    Raises:
        ValueError: no run has a value.
    """
    names = [name for name, entry in entries.items() if number(entry.get("value")) is not None]
    if not names:
        raise ValueError(f"no run has a value of {metric}")
    figure = style.new(7, 1.9 + 0.55 * len(names))
    axes = figure.subplots()
    for y, name in enumerate(names):
        entry = entries[name]
        value, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
        assert value is not None
        axes.barh(y, value, height=0.58, color=BLUE if name in best else "#9DB8CC")
        if low is not None and high is not None:
            # Percentile intervals need not hold the value: draw the line itself, not errors to either side.
            axes.plot([low, high], [y, y], color=INK, linewidth=2, solid_capstyle="butt")
        baseline = number(entry.get("baseline"))
        if baseline is not None:
            axes.plot([baseline, baseline], [y - 0.36, y + 0.36], color=ORANGE, linewidth=3)
    axes.plot([], [], color=INK, label="95% interval")
    axes.plot([], [], color=ORANGE, linewidth=3, label="baseline: the training mean")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), [f"{shorten(name)}\n{measure(entries[name])}" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    unit = unit_text(next((str(entries[name].get("unit") or "") for name in names), ""))
    axes.set_xlabel(f"{metric_label(metric)} ({unit})" if unit else metric_label(metric))
    axes.grid(axis="y", visible=False)
    label = metric_label(metric)
    style.legend_above(axes, f"{label[0].upper()}{label[1:]}, test split")
    return style.finish(figure, caption)


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
