"""Which figures there are: of a head, by its kind (``FIGURES``), of training, of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing.text import count
from visionlab.reports import cell_figures
from visionlab.reports.cell_tables import Cells
from visionlab.reports.dense import Scores, area_scatter, scale_scatter, score_by_group, score_histogram
from visionlab.reports.label_matrices import taken_for, true_and_predicted
from visionlab.reports.multilabel import Labelled, calibration_curves, f1_by_class
from visionlab.reports.outputs import MANY, Outputs, curves, error_by_column, mean_error_by_group, panels
from visionlab.reports.precision_recall import precision_recall_curves
from visionlab.reports.progress import learning_rate_finder, training_curves
from visionlab.reports.regression import Predictions, curve, error_by_group, error_by_value, error_histogram, scatter
from visionlab.reports.side_by_side import metric_bars, overlaid_curves
from visionlab.reports.tables import Part

__all__ = [
    "FIGURES",
    "Drawing",
    "Figures",
    "Labelled",
    "Part",
    "Predictions",
    "Scores",
    "learning_rate_finder",
    "metric_bars",
    "overlaid_curves",
    "training_curves",
    "validation_figures",
]

Array = npt.NDArray[np.float64]


Width = Literal["half", "middle", "page"]


@dataclass(frozen=True)
class Drawing:
    """A figure of a head: the end of its file's name, what it shows in words, the function that draws it, whether it is
    about groups, the attribute without which there is nothing to draw, whether it is only drawn once training is done,
    and how wide a report shows it."""

    key: str
    words: str
    draw: Callable[[Any], Figure]
    of_groups: bool = False
    needs: str = ""
    at_end: bool = False
    width: Width = "half"


@dataclass(frozen=True)
class Figures:
    """The figures of a kind of head.

    Attributes:
        read: one column in a table of predictions -> what the drawings draw.
        read_rows: (rows of the metrics' sums, the head's entry of run.json, name of the data) -> the same while
            training, for each column of the head where it has finite values.
        drawings: in the order in which a report shows them.
        pictures: those of single images that evaluation leaves in ``plots/``: name -> what it shows in words.
        whole: whether a part is the whole head, not one of its columns.
        together: drawn of the whole head in place of ``drawings`` of each column, where columns are more than ``MANY``.
    """

    read: Callable[[Part], Any]
    read_rows: Callable[[Array, Mapping[str, Any], str], dict[str, Any]]
    drawings: tuple[Drawing, ...]
    pictures: Mapping[str, str]
    whole: bool = False
    together: tuple[Drawing, ...] = ()

    def joins(self, columns: Sequence[str]) -> bool:
        """Return whether the figures of a head are made of all its columns."""
        return self.whole or (bool(self.together) and len(columns) > MANY)

    def parts(self, head: str, columns: Sequence[str]) -> dict[str, str]:
        """Return what the drawings are made of each: name -> where ``metrics.json`` has it, behind the stage."""
        joined = self.joins(columns)
        if joined or len(columns) == 1:
            return {head if joined else columns[0]: head}
        return {column: f"{head}/{column}" for column in columns}

    def of(self, shown: Any) -> tuple[Drawing, ...]:
        """Return the drawings that can be made of what :attr:`read` returned."""
        drawings = self.together if isinstance(shown, Outputs) else self.drawings
        return tuple(d for d in drawings if not d.needs or getattr(shown, d.needs) is not None)


def _predictions(part: Part) -> Predictions | Outputs:
    if len(part.spec["columns"]) > MANY:
        return Outputs.of(part)
    mae = part.metrics.get("mae", {})
    return Predictions.of(part.table, part.column, dict(part.spec), part.stage, mae, synthetic=part.synthetic)


def _predictions_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Any]:
    """Take the columns of N x 2C rows: C true, then C predicted values."""
    if len(spec["columns"]) > MANY:
        return _outputs_of_rows(rows, spec, data_name)
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


def _outputs_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Outputs]:
    try:
        return {"": Outputs.of_rows(rows, spec, data_name)}
    except ValueError:  # a network that diverged predicts nothing finite
        return {}


def _scores_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Scores]:
    try:
        return {str(spec["columns"][0]): Scores.of_rows(rows, spec, data_name)}
    except ValueError:  # of no image: early in training nothing may be predicted as foreground
        return {}


def _labels_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Labelled]:
    try:
        return {"": Labelled.of_rows(rows, spec, data_name)}
    except ValueError:
        return {}


def _cells_of_rows(rows: Array, spec: Mapping[str, Any], data_name: str) -> dict[str, Cells]:
    try:
        return {str(spec["columns"][0]): Cells.of_rows(rows, spec, data_name)}
    except ValueError:  # of no window: no foreground in truth and prediction
        return {}


_BEST_WORST = {"best_worst": "The images that were predicted best and worst."}
_OVER_TIME = "True and predicted values of each sequence over time."
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
            Drawing("over_time", _OVER_TIME, curve, needs="times", at_end=True, width="page"),
        ),
        _BEST_WORST,
        together=(
            Drawing("over_time", _OVER_TIME, curves, needs="times", at_end=True, width="page"),
            Drawing("panels", "Predicted against true values of each output.", panels, width="page"),
            Drawing(
                "by_output",
                "Error of each output, next to that of always predicting its mean.",
                error_by_column,
                needs="baselines",
                at_end=True,
            ),
            Drawing(
                "by_group",
                "Each group's errors; the interval of the MAE comes from these differences.",
                mean_error_by_group,
                of_groups=True,
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
        _BEST_WORST,
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
        _BEST_WORST,
    ),
    "multilabel": Figures(
        Labelled.of,
        _labels_of_rows,
        (
            Drawing("f1", "How well each class is found, and what its threshold gains over 0.5.", f1_by_class),
            Drawing(
                "calibration",
                "Whether scores can be read as probabilities: on the line they can, above it they are too low.",
                calibration_curves,
                at_end=True,
            ),
            Drawing(
                "precision_recall",
                "What each class costs: the share of predictions that are right against the share of images found.",
                precision_recall_curves,
                width="page",
            ),
            Drawing(
                "together",
                "Which classes occur together, and whether predictions do so too.",
                true_and_predicted,
                needs="pairs",
                at_end=True,
                width="page",
            ),
            Drawing(
                "confusion",
                "Which classes are taken for which.",
                taken_for,
                needs="pairs",
                at_end=True,
                width="middle",
            ),
        ),
        {
            "most_wrong": "The images whose scores are most wrong, over all classes.",
            "most_uncertain": "The images whose scores lie nearest to the thresholds.",
            "label_errors": "Labels that the model contradicts most firmly: they may be wrong, or the model is.",
            "gradcam": "Where the network looked for a class that it found (Grad-CAM).",
        },
        whole=True,
    ),
    "instances": Figures(
        Cells.of,
        _cells_of_rows,
        (
            Drawing(
                "scores", "How well the foreground of single slices overlaps with the truth.", cell_figures.histogram
            ),
            Drawing(
                "by_group",
                "Each group's slices; the interval comes from these differences.",
                cell_figures.by_group,
                of_groups=True,
            ),
            Drawing(
                "by_place",
                "Where in the volume and in time slices are segmented well, and where not.",
                cell_figures.by_place,
                needs="places",
            ),
            Drawing(
                "counts",
                "Predicted against true number of objects; a perfect model is on the line.",
                cell_figures.counts,
                needs="frames",
                at_end=True,
            ),
            Drawing(
                "objects",
                "How well whole objects are found and segmented in each time point. These are no overlaps of slices.",
                cell_figures.objects,
                needs="frames",
                at_end=True,
            ),
            Drawing(
                "population",
                "How many objects there are over time: true (points) and predicted (lines).",
                cell_figures.population,
                needs="timed",
                at_end=True,
            ),
        ),
        {
            "best_worst": "The time points that were predicted best and worst, each in its slice with most foreground.",
            "slices": "Slices through one volume under the outlines of truth and prediction.",
            "volume": "All slices of that volume, one after the other (an animation).",
            "sizes": "Sizes of the objects in the time points that these pictures show.",
        },
    ),
}
"""Kind of a head -> its figures."""


def validation_figures(kind: str, rows: npt.ArrayLike, spec: Mapping[str, Any], data_name: str) -> dict[str, Figure]:
    """Return the figures that can be looked at while training, by name; none for a kind that has none.

    Args:
        kind: of the head.
        rows: one row a sample, what the head's metrics are made of: N x 2C true and predicted values in the unit for
            ``regression``, N x sums of each image for ``mask`` and ``depth`` (:func:`visionlab.metrics.per_image`),
            N x 2K labels and scores for ``multilabel``.
            Samples without a finite value are left out.
        spec: of the head: ``name``, ``kind``, ``columns``, ``unit``, ``metrics``.
        data_name: for the line under each figure.
    """
    if kind not in FIGURES:
        return {}
    figures = FIGURES[kind]
    given = figures.read_rows(np.asarray(rows, dtype=float), {**spec, "kind": kind}, data_name)
    return {
        f"{column}_{drawing.key}"
        if len(spec["columns"]) > 1 and not figures.joins(spec["columns"])
        else drawing.key: drawing.draw(shown)
        for column, shown in given.items()
        for drawing in figures.of(shown)
        if not (drawing.of_groups or drawing.at_end)
    }
