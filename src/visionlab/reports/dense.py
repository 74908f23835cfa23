"""Figures of heads that predict maps, from one score an image: how good the images are, and where the bad ones lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, ORANGE, styled
from visionlab.drawing.text import ALIGNED, axis_label, count, decimals, digits, key_metric, metric_label, with_unit
from visionlab.metrics import METRICS, per_image, shares
from visionlab.reports.groups import Grouped, draw_groups
from visionlab.reports.tables import Part, table_caption

Array = npt.NDArray[np.float64]
MAX_POINTS = 3000


@dataclass(frozen=True)
class Scores:
    """The key score of each image for one head.

    Attributes:
        head: its name.
        score: the metric in words, e.g. ``IoU``.
        unit: of the values; empty for none.
        rising: whether a high value is good.
        values: N finite values.
        group: N names.
        areas: true and predicted share of foreground, 0 to 1, 2 x N; None for heads that aren't masks.
        aligned: N values of the same score after scaling to the true median; None where nobody measured it.
        caption: the line under each figure.
    """

    head: str
    score: str
    unit: str
    rising: bool
    values: Array
    group: npt.NDArray[Any]
    areas: Array | None
    aligned: Array | None
    caption: str

    @classmethod
    def of(cls, part: Part) -> Scores:
        """Read ``<head>_<metric>`` of a table of predictions, and beside it what else it holds of the images.

        Raises:
            ValueError: no image has a value.
        """

        def column(name: str) -> Array | None:
            key = f"{part.head}_{name}"
            return part.table[key].to_numpy(dtype=float) if key in part.table else None

        values = part.table[f"{part.head}_{key_metric(part.spec)}"].to_numpy(dtype=float)
        true, pred, aligned = (column(name) for name in ("area_true", "area_pred", ALIGNED + key_metric(part.spec)))
        areas = None if true is None or pred is None else np.stack([true, pred])
        group = part.table["group"].astype(str).to_numpy()
        absent = _absent(values, part.spec)
        caption = table_caption(part.stage, len(values), len(set(group)), absent, part.synthetic)
        return cls._finite(part.head, part.spec, values, group, areas, aligned, caption)

    @classmethod
    def of_rows(cls, rows: Array, spec: Mapping[str, Any], data_name: str) -> Scores:
        """Take the values of the rows of sums from which the metrics are computed, N x K.

        Raises:
            ValueError: no image has a value.
        """
        kind, name = str(spec["kind"]), key_metric(spec)
        values = per_image(kind, name, rows)
        areas = np.stack(shares(rows)) if kind == "mask" else None
        aligned = per_image(kind, ALIGNED + name, rows) if ALIGNED + name in METRICS[kind] else None
        caption = [f"val: {count(len(rows), 'image')}", _absent(values, spec), data_name]
        group = np.full(len(rows), "validation")
        return cls._finite(
            str(spec["columns"][0]), spec, values, group, areas, aligned, " · ".join(filter(None, caption))
        )

    @classmethod
    def _finite(
        cls,
        head: str,
        spec: Mapping[str, Any],
        values: Array,
        group: npt.NDArray[Any],
        areas: Array | None,
        aligned: Array | None,
        caption: str,
    ) -> Scores:
        good, metric = np.isfinite(values), METRICS[str(spec["kind"])][key_metric(spec)]
        if not good.any():
            raise ValueError(f"no image has a finite {metric.name} of {head}")
        return cls(
            head=head,
            score=metric_label(metric.name, short=True),
            unit=str(spec.get("unit") or "") if metric.in_unit else "",
            rising=metric.better == "max",
            values=values[good],
            group=group[good],
            areas=None if areas is None else areas[:, good],
            aligned=None if aligned is None else aligned[good],
            caption=caption,
        )

    def words(self, value: float) -> str:
        """Return a value with two significant digits and its unit."""
        return with_unit(digits(value, decimals(value, 2)), self.unit)

    def axis(self, what: str) -> str:
        """Return an axis label with the score's unit."""
        return axis_label(what, self.unit)


def _absent(values: Array, spec: Mapping[str, Any]) -> str:
    """Return how many images have no value, in words: those without foreground have no IoU."""
    n = int((~np.isfinite(values)).sum())
    return f"{count(n, 'image')} without {metric_label(key_metric(spec), short=True)}, not drawn" if n else ""


@styled
def score_histogram(s: Scores) -> Figure:
    """Distribution of the images' scores, with the median and the border of the worst tenth."""
    figure = style.new(7, 4.6)
    axes = figure.subplots()
    middle, border = np.quantile(s.values, [0.5, 0.1 if s.rising else 0.9])
    bins = int(np.clip(np.sqrt(len(s.values)) * 2, 10, 50))
    low, high = float(s.values.min()), float(s.values.max())
    spread = (low, high) if high > low else (low - 0.5, high + 0.5)
    axes.hist(s.values, bins=bins, range=spread, color=BLUE, alpha=0.85, edgecolor="white", linewidth=0.6)
    axes.axvline(middle, color=INK, linewidth=1.4, label="median")
    axes.axvline(border, color=ORANGE, linestyle="--", label="border of the worst tenth")
    axes.set(xlabel=s.axis(f"{s.score} of {s.head} in an image"), ylabel="images")
    beyond = "below" if s.rising else "above"
    style.legend_above(axes, f"{s.score} of {s.head}: median {s.words(middle)}, worst tenth {beyond} {s.words(border)}")
    axes.grid(axis="x", visible=False)
    return style.finish(figure, s.caption)


@styled
def score_by_group(s: Scores) -> Figure:
    """The scores of each group's images, the best group first."""
    return draw_groups(
        Grouped(
            values=s.values,
            group=s.group,
            score=f"mean {s.score}",
            axis=s.axis(f"{s.score} of {s.head} in an image"),
            unit=s.unit,
            rising=s.rising,
            title=f"{s.head} by group",
            caption=s.caption,
        )
    )


@styled
def area_scatter(s: Scores) -> Figure:
    """Predicted against true share of foreground, the colour an image's score: whether masks come out too large."""
    assert s.areas is not None
    true, pred = 100 * s.areas
    axes, figure = _square(true, pred)
    if len(true) > MAX_POINTS:
        _density(axes, true, pred)
    else:
        points = axes.scatter(true, pred, s=40, c=s.values, cmap=style.DENSITY.removesuffix("_r"), alpha=0.85)
        points.set_linewidth(0)
        bar = figure.colorbar(points, cax=axes.inset_axes((1.05, 0.05, 0.04, 0.7)), label=s.axis(s.score))
        bar.outline.set_visible(False)
    axes.set(xlabel=f"true share of {s.head} (%)", ylabel=f"predicted share of {s.head} (%)")
    off = float(np.mean(pred - true))
    way = "too large" if off > 0 else "too small"
    style.write_title(axes, f"Area of {s.head}: on average {digits(abs(off), 1)} % of the image {way}")
    return style.finish(figure, s.caption)


@styled
def scale_scatter(s: Scores) -> Figure:
    """The error that is left after scaling each image to the true median, against the error as it is."""
    assert s.aligned is not None
    axes, figure = _square(s.values, s.aligned)
    if len(s.values) > MAX_POINTS:
        _density(axes, s.values, s.aligned)
    else:
        axes.scatter(s.values, s.aligned, s=36, color=BLUE, alpha=0.5, linewidths=0)
    axes.set(xlabel=s.axis(s.score), ylabel=s.axis(f"{s.score} after scaling to the true median"))
    before, after = (s.words(float(np.nanmedian(values))) for values in (s.values, s.aligned))
    style.write_title(axes, f"Scale of {s.head}: median {s.score} {before}, after scaling {after}")
    return style.finish(figure, s.caption)


def _square(x: Array, y: Array) -> tuple[Any, Figure]:
    """Return axes from 0 on that are alike in both directions, with the line on which both are equal."""
    figure = style.new(7, 5.6)
    axes = figure.subplots()
    end = 1.04 * float(np.nanmax([x, y])) or 1.0
    halo = [withStroke(linewidth=3, foreground="white")]  # seen on dark cells as well
    axes.plot([0, end], [0, end], color=GREY, linewidth=1.3, zorder=3, path_effects=halo)
    axes.set(xlim=(0, end), ylim=(0, end))
    axes.set_aspect("equal")
    return axes, figure


def _density(axes: Any, x: Array, y: Array) -> None:
    good = np.isfinite(x) & np.isfinite(y)
    cells = axes.hist2d(
        x[good], y[good], bins=60, range=[axes.get_xlim(), axes.get_ylim()], cmap=style.DENSITY, norm=LogNorm(), cmin=1
    )[3]
    bar = axes.figure.colorbar(cells, cax=axes.inset_axes((1.05, 0.05, 0.04, 0.7)), label="images per cell")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bar.outline.set_visible(False)
