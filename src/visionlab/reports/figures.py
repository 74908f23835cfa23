"""Which figures there are: of a head, by its kind (``FIGURES``), of training, of data, of several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.reports import style
from visionlab.reports.progress import learning_rate_finder, metric_bars, overlaid_curves, training_curves
from visionlab.reports.regression import Predictions, error_by_group, error_by_value, error_histogram, scatter
from visionlab.reports.style import INK, styled
from visionlab.reports.text import count, with_unit

__all__ = [
    "FIGURES",
    "Drawing",
    "Predictions",
    "error_by_group",
    "error_by_value",
    "error_histogram",
    "learning_rate_finder",
    "metric_bars",
    "overlaid_curves",
    "scatter",
    "target_histogram",
    "training_curves",
    "validation_figures",
]


@dataclass(frozen=True)
class Drawing:
    """A figure of a head: the end of its file's name, what it shows in words, the function that draws it, and whether
    it is about groups."""

    key: str
    words: str
    draw: Callable[[Predictions], Figure]
    of_groups: bool = False


FIGURES: dict[str, tuple[Drawing, ...]] = {
    "regression": (
        Drawing("scatter", "Predicted against true values; a perfect model is on the line.", scatter),
        Drawing("errors", "Distribution of the errors; the mean is the bias.", error_histogram),
        Drawing(
            "by_group",
            "Each group's errors; the interval of the MAE comes from these differences.",
            error_by_group,
            True,
        ),
        Drawing("by_value", "Where in the range the model is good, and in which direction it errs.", error_by_value),
    ),
}


def validation_figures(
    kind: str, true: npt.ArrayLike, pred: npt.ArrayLike, columns: Sequence[str], unit: str, data_name: str
) -> dict[str, Figure]:
    """Return the figures that can be looked at while training, by name; none for a kind that has none.

    Args:
        kind: of the head.
        true, pred: N x C in ``unit``, C the number of ``columns``; rows that are not finite are left out.
        data_name: for the line under each figure.
    """
    figures: dict[str, Figure] = {}
    t, p = np.asarray(true, dtype=float), np.asarray(pred, dtype=float)
    for k, column in enumerate(columns):
        good = np.isfinite(t[:, k]) & np.isfinite(p[:, k])
        if not good.any():
            continue
        shown = Predictions(
            column=column,
            unit=unit,
            step=None,
            stage="val",
            true=t[good, k],
            pred=p[good, k],
            group=np.full(int(good.sum()), "validation"),
            mae={"value": float(np.abs(p - t)[good, k].mean()), "unit": unit},
            caption=f"val: {count(int(good.sum()), 'image')} · {data_name}",
        )
        for drawing in FIGURES.get(kind, ()):
            if not drawing.of_groups:
                figures[f"{column}_{drawing.key}" if len(columns) > 1 else drawing.key] = drawing.draw(shown)
    return figures


@styled
def target_histogram(
    values: dict[str, npt.NDArray[np.float64]], column: str, unit: str, step: float | None, caption: str
) -> Figure:
    """Distribution of a target in each split, as a share of the split, so that small splits are seen as well."""
    figure = style.new(7, 1.3 + 1.35 * max(len(values), 1))
    rows: list[Axes] = list(figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0])
    every = np.concatenate(list(values.values()))
    low, high = float(every.min()), float(every.max())
    width = (high - low) / 24 or 1.0
    if step:
        # Whole levels in each bar, and levels in its middle: else bars hold 1 and 2 levels in turn.
        width, low = step * max(1, round(width / step)), low - step / 2
    edges = low + width * np.arange(int(np.ceil((high - low) / width + 1e-9)) + 1)
    for axes, (split, data), colour in zip(rows, values.items(), style.PALETTE, strict=False):
        share = np.full(len(data), 100 / max(len(data), 1))
        axes.hist(data, bins=edges.tolist(), weights=share, color=colour, edgecolor="white", linewidth=0.6)
        axes.set_ylabel("% of images", fontsize=10)
        axes.text(1, 1.02, f"{split} (n = {len(data):,})", transform=axes.transAxes, ha="right", color=INK, fontsize=11)
        axes.grid(axis="x", visible=False)
    shown = with_unit("", unit).strip()
    rows[-1].set_xlabel(f"{column} ({shown})" if shown else column)
    rows[0].set_title(f"Distribution of {column} in each split")
    return style.finish(figure, caption)
