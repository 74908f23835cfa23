"""Figures of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import axis_label, measure, metric_label, number, shorten

if TYPE_CHECKING:
    import pandas as pd


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
        axes.set_ylabel(axis_label(tag, units.get(tag)))
    rows[0].set_title("Training of the runs")
    rows[-1].set_xlabel("training step")
    handles = {text: line for axes in rows for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside right upper")
    return style.finish(figure, caption)


@styled
def metric_bars(
    entries: Mapping[str, Mapping[str, Any]],
    metric: str,
    best: Sequence[str],
    caption: str = "",
    spec: Mapping[str, Any] | None = None,
) -> Figure:
    """One metric of several runs: bars with intervals, and each run's baseline as a tick.

    Args:
        entries: run name -> its entry of metrics.json; runs without a value have no bar.
        metric: ``head/metric``.
        best: the runs that are drawn as best; none where the runs cannot be compared.
        caption: the line under the figure.
        spec: the head's entry of run.json.

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
        simple = number(entry.get("baseline"))
        if simple is not None:
            axes.plot([simple, simple], [y - 0.36, y + 0.36], color=ORANGE, linewidth=3)
    baseline = "Otsu's threshold" if (spec or {}).get("kind") == "instances" else "the same for every image"
    axes.plot([], [], color=INK, label="95% interval")
    axes.plot([], [], color=ORANGE, linewidth=3, label=f"baseline: {baseline}")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), [f"{shorten(name)}\n{measure(entries[name])}" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(
        axis_label(metric_label(metric, spec=spec), next((str(entries[name].get("unit") or "") for name in names), ""))
    )
    axes.grid(axis="y", visible=False)
    label = metric_label(metric, spec=spec)
    style.legend_above(axes, f"{label[0].upper()}{label[1:]}, test split")
    return style.finish(figure, caption)
