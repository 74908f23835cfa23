"""Which figures there are: of a head, by its kind (``FIGURES``), of training, of data, of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.reports import style
from visionlab.reports.dense import Scores, area_scatter, scale_scatter, score_by_group, score_histogram
from visionlab.reports.progress import learning_rate_finder, training_curves
from visionlab.reports.regression import Predictions, error_by_group, error_by_value, error_histogram, scatter
from visionlab.reports.side_by_side import metric_bars, overlaid_curves
from visionlab.reports.style import INK, styled
from visionlab.reports.tables import Part
from visionlab.reports.text import axis_label, count

__all__ = [
    "FIGURES",
    "Drawing",
    "Figures",
    "Part",
    "Predictions",
    "Scores",
    "learning_rate_finder",
    "metric_bars",
    "overlaid_curves",
    "target_histogram",
    "training_curves",
    "validation_figures",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """A figure of a head: the end of its file's name, what it shows in words, the function that draws it, whether it is
    about groups, and the attribute without which there is nothing to draw."""

    key: str
    words: str
    draw: Callable[[Any], Figure]
    of_groups: bool = False
    needs: str = ""


@dataclass(frozen=True)
class Figures:
    """The figures of a kind of head.

    Attributes:
        read: one column in a table of predictions -> what the drawings draw.
        read_rows: (rows of the metrics' sums, the head's entry of run.json, name of the data) -> the same while
            training, for each column of the head where it has finite values.
        drawings: in the order in which a report shows them.
    """

    read: Callable[[Part], Any]
    read_rows: Callable[[Array, Mapping[str, Any], str], dict[str, Any]]
    drawings: tuple[Drawing, ...]

    def of(self, shown: Any) -> tuple[Drawing, ...]:
        """Return the drawings that can be made of what :attr:`read` returned."""
        return tuple(d for d in self.drawings if not d.needs or getattr(shown, d.needs) is not None)


def _predictions(part: Part) -> Predictions:
    mae = part.metrics.get("mae", {})
    return Predictions.of(part.table, part.column, dict(part.spec), part.stage, mae, synthetic=part.synthetic)


def _predictions_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Predictions]:
    """Take the columns of N x 2C rows: C true, then C predicted values."""
    columns, unit = list(map(str, spec["columns"])), str(spec.get("unit") or "")
    true, pred = np.split(np.asarray(rows, dtype=float), 2, axis=1)
    found = {}
    for column, t, p in zip(columns, true.T, pred.T, strict=True):
        good = np.isfinite(t) & np.isfinite(p)
        if good.any():
            found[column] = Predictions(
                column=column,
                unit=unit,
                step=None,
                stage="val",
                true=t[good],
                pred=p[good],
                group=np.full(int(good.sum()), "validation"),
                mae={"value": float(np.abs(p - t)[good].mean()), "unit": unit},
                caption=f"val: {count(int(good.sum()), 'image')} · {data_name}",
            )
    return found


def _scores_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Scores]:
    try:
        return {str(spec["columns"][0]): Scores.of_rows(rows, spec, data_name)}
    except ValueError:  # of no image: early in training nothing may be predicted as foreground
        return {}


_BY_GROUP = Drawing(
    "by_group", "Each group's images; the interval comes from these differences.", score_by_group, of_groups=True
)

FIGURES: dict[str, Figures] = {
    "regression": Figures(
        _predictions,
        _predictions_of_rows,
        (
            Drawing("scatter", "Predicted against true values; a perfect model is on the line.", scatter),
            Drawing("errors", "Distribution of the errors; the mean is the bias.", error_histogram),
            Drawing(
                "by_group",
                "Each group's errors; the interval of the MAE comes from these differences.",
                error_by_group,
                of_groups=True,
            ),
            Drawing(
                "by_value", "Where in the range the model is good, and in which direction it errs.", error_by_value
            ),
        ),
    ),
    "mask": Figures(
        Scores.of,
        _scores_of_rows,
        (
            Drawing("scores", "How well the masks of single images overlap with the true ones.", score_histogram),
            _BY_GROUP,
            Drawing(
                "area",
                "Predicted against true share of foreground; above the line the mask is too large.",
                area_scatter,
                needs="areas",
            ),
        ),
    ),
    "depth": Figures(
        Scores.of,
        _scores_of_rows,
        (
            Drawing("scores", "How large the errors of single images are.", score_histogram),
            _BY_GROUP,
            Drawing(
                "scale",
                "Each image before and after scaling to its true median; far below the line only the scale was wrong.",
                scale_scatter,
                needs="aligned",
            ),
        ),
    ),
}
"""Kind of a head -> its figures."""


def validation_figures(kind: str, rows: npt.ArrayLike, spec: Mapping[str, Any], data_name: str) -> dict[str, Figure]:
    """Return the figures that can be looked at while training, by name; none for a kind that has none.

    Args:
        kind: of the head.
        rows: one row a sample, what the head's metrics are made of: N x 2C true and predicted values in the unit for
            ``regression``, N x sums of each image for ``mask`` and ``depth`` (:func:`visionlab.metrics.per_image`).
            Samples without a finite value are left out.
        spec: of the head: ``kind``, ``columns``, ``unit``, ``metrics``.
        data_name: for the line under each figure.
    """
    if kind not in FIGURES:
        return {}
    given = FIGURES[kind].read_rows(np.asarray(rows, dtype=float), {**spec, "kind": kind}, data_name)
    return {
        f"{column}_{drawing.key}" if len(spec["columns"]) > 1 else drawing.key: drawing.draw(shown)
        for column, shown in given.items()
        for drawing in FIGURES[kind].of(shown)
        if not drawing.of_groups
    }


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
    rows[-1].set_xlabel(axis_label(column, unit))
    rows[0].set_title(f"Distribution of {column} in each split")
    return style.finish(figure, caption)
