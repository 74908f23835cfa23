"""Figures of a regression head of many columns: all of them in one, where a figure of each would be too many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, INK, ORANGE, SOFT, styled
from visionlab.drawing.text import axis_label, count, digits, number, shorten, value
from visionlab.reports.groups import Grouped, draw_groups
from visionlab.reports.over_time import Times, over_time, read_times
from visionlab.reports.tables import Part, table_caption

Array = npt.NDArray[np.float64]

MANY = 3
"""Of more columns than that, figures of each would be more than anybody looks at."""
ACROSS = 4
MAX_POINTS = 3000
"""Of more nobody sees single ones."""


@dataclass(frozen=True)
class Outputs:
    """True and predicted values of N images in K columns, in the user's unit.

    Attributes:
        head: its name.
        columns: K names.
        unit: of all columns.
        true, pred: N x K, finite.
        group: N names.
        times: what each image is a time point of; None if that is unknown.
        metrics: of metrics.json, ``mae`` and ``<column>/mae`` among them; may lack any.
        caption: the line under each figure.
    """

    head: str
    columns: tuple[str, ...]
    unit: str
    true: Array
    pred: Array
    group: npt.NDArray[Any]
    times: Times | None
    metrics: Mapping[str, Mapping[str, Any]]
    caption: str

    @classmethod
    def of(cls, part: Part) -> Outputs:
        """Read ``<column>_true`` and ``<column>_pred`` of a table; rows that are not finite are left out, and said.

        Raises:
            ValueError: no row is finite.
        """
        columns = [str(name) for name in part.spec["columns"]]
        true, pred = (part.table[[f"{name}_{what}" for name in columns]].to_numpy(float) for what in ("true", "pred"))
        group = part.table["group"].astype(str).to_numpy()
        good = _finite(part.head, true, pred)
        left_out = "" if good.all() else f"{count(int((~good).sum()), 'image')} not finite, not drawn"
        return cls(
            head=part.head,
            columns=tuple(columns),
            unit=str(part.spec.get("unit") or ""),
            true=true[good],
            pred=pred[good],
            group=group[good],
            times=read_times(part.table[good]),
            metrics=part.metrics,
            caption=table_caption(part.stage, len(true), len(set(group)), left_out, part.synthetic),
        )

    @classmethod
    def of_rows(cls, rows: Array, spec: Mapping[str, Any], data_name: str) -> Outputs:
        """Take N x 2K rows, true and then predicted values, while training.

        Raises:
            ValueError: no row is finite.
        """
        true, pred = np.split(rows, 2, axis=1)
        head = str(spec.get("name") or "values")
        good = _finite(head, true, pred)
        n = int(good.sum())
        return cls(
            head=head,
            columns=tuple(map(str, spec["columns"])),
            unit=str(spec.get("unit") or ""),
            true=true[good],
            pred=pred[good],
            group=np.full(n, "validation"),
            times=None,
            metrics={},
            caption=f"val: {count(n, 'image')} · {data_name}",
        )

    def mae(self, place: int | None = None) -> dict[str, Any]:
        """Return the entry of metrics.json for the MAE of a column or of all, or the bare value."""
        entry = self.metrics.get("mae" if place is None else f"{self.columns[place]}/mae")
        error = np.abs(self.pred - self.true)
        mean = float((error if place is None else error[:, place]).mean())
        return dict(entry or {"value": mean, "unit": self.unit})

    @property
    def baselines(self) -> Array | None:
        """The MAE of always predicting a column's mean, K, NaN where it is right or unknown; None if all are."""
        found = np.array([number(self.mae(place).get("baseline")) for place in range(len(self.columns))], dtype=float)
        found[found <= 0] = np.nan
        return found if np.isfinite(found).any() else None


def _finite(head: str, true: Array, pred: Array) -> npt.NDArray[np.bool_]:
    good = np.isfinite(true).all(axis=1) & np.isfinite(pred).all(axis=1)
    if not good.any():
        raise ValueError(f"no sample has finite true and predicted values of {head}")
    return np.asarray(good)


@styled
def panels(o: Outputs) -> Figure:
    """Predicted against true values, a small panel for each column, with the line on which they are equal."""
    across = min(ACROSS, len(o.columns))
    rows = math.ceil(len(o.columns) / across)
    figure = style.new(2.55 * across, 2.75 * rows + 0.9)
    grid = figure.subplots(rows, across, squeeze=False)
    shown = np.unique(np.linspace(0, len(o.true) - 1, min(len(o.true), MAX_POINTS)).astype(int))
    for place, axes in enumerate(grid.ravel()):
        if place < len(o.columns):
            _panel(axes, o, place, shown)
            axes.set_xlabel(axis_label("true", o.unit) if place + across >= len(o.columns) else "")
            axes.set_ylabel(axis_label("predicted", o.unit) if place % across == 0 else "")
        else:
            axes.set_axis_off()
    title = f"Predicted against true values of {o.head}: MAE {value(o.mae())} over all {len(o.columns)}"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=13)
    thinned = f" · {len(shown):,} of them drawn" if len(shown) < len(o.true) else ""
    return style.finish(figure, f"{o.caption}{thinned} · on the line predicted = true")


def _panel(axes: Axes, o: Outputs, place: int, shown: npt.NDArray[np.intp]) -> None:
    true, pred = o.true[shown, place], o.pred[shown, place]
    low, high = float(min(true.min(), pred.min())), float(max(true.max(), pred.max()))
    pad = 0.05 * (high - low) or 1.0
    ends = (low - pad, high + pad)
    axes.plot(ends, ends, color=INK, linewidth=1.1, zorder=1)
    axes.scatter(true, pred, s=14, color=BLUE, alpha=0.45, linewidths=0, zorder=2)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    axes.locator_params(nbins=4)
    axes.set_title(f"{shorten(o.columns[place], 12)}: MAE {digits(o.mae(place).get('value'))}", fontsize=11.5, pad=5)


@styled
def error_by_column(o: Outputs) -> Figure:
    """MAE of each column with its interval, as a share of that of always predicting the training images' mean."""
    entries = [o.mae(place) for place in range(len(o.columns))]
    values, low, high = (
        np.array([number(entry.get(key)) for entry in entries], dtype=float) for key in ("value", "low", "high")
    )
    figure = style.new(7, 1.9 + 0.34 * len(entries))
    axes = figure.subplots()
    at, base = np.arange(len(entries)), o.baselines
    assert base is not None
    axes.axvline(100, color=ORANGE, linestyle="--", linewidth=1.6, label="always the mean of the training images")
    axes.hlines(at, 100 * low / base, 100 * high / base, color=BLUE, alpha=0.4, linewidth=5, zorder=2)
    axes.scatter(100 * values / base, at, s=60, color=BLUE, zorder=4, label="the model")
    for y, entry in enumerate(entries):
        words = value({**entry, "low": None, "high": None})
        axes.text(1.02, y, words, va="center", fontsize=11, transform=axes.get_yaxis_transform())
    axes.text(1.02, -1, "MAE", va="center", fontsize=10, color=SOFT, transform=axes.get_yaxis_transform())
    axes.set_yticks(at, [shorten(name) for name in o.columns])
    axes.set(ylim=(len(at) - 0.4, -0.6), xlabel="MAE, % of that of the mean")
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    share = 100 * float(np.nanmean(values / base))
    style.legend_above(axes, f"Error of each output of {o.head}: on average {digits(share, 0)}% of that of the mean")
    ends = " · bars are 95% intervals" if np.isfinite(low).any() else ""
    none = [name for name, known in zip(o.columns, np.isfinite(base), strict=True) if not known]
    return style.finish(figure, f"{o.caption}{ends}" + (f" · always the mean: {', '.join(none)}" if none else ""))


@styled
def mean_error_by_group(o: Outputs) -> Figure:
    """Absolute error of each group's images, the mean over the columns."""
    what = f"absolute error, mean of {len(o.columns)} columns"
    return draw_groups(
        Grouped(
            values=np.abs(o.pred - o.true).mean(axis=1),
            group=o.group,
            score="MAE",
            axis=axis_label(what, o.unit),
            unit=o.unit,
            rising=False,
            title="Error by group",
            caption=o.caption,
        )
    )


def curves(o: Outputs) -> Figure:
    """True and predicted values of each sequence over time, a panel for each column."""
    assert o.times is not None
    return over_time(o.times, o.columns, o.true, o.pred, what=o.head, unit=o.unit, caption=o.caption)
