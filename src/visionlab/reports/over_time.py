"""Predicted numbers of images that are time points of sequences: as curves over time, beside the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from visionlab.drawing.population import population_figure

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

SHOWN = 4
"""Curves and points of more sequences hide each other."""


@dataclass(frozen=True)
class Times:
    """Which sequence and which of its time points each of N images shows; -1 where that is unknown."""

    sequence: npt.NDArray[np.str_]
    time: npt.NDArray[np.int64]


def read_times(table: pd.DataFrame) -> Times | None:
    """Return the columns ``sequence`` and ``time`` of a table; None if no sequence has two known time points."""
    if not {"sequence", "time"} <= set(table.columns):
        return None
    found = Times(table["sequence"].to_numpy(str), table["time"].to_numpy(np.int64))
    known = table[found.time >= 0]
    return found if (known.groupby("sequence")["time"].nunique() > 1).any() else None


def over_time(
    times: Times, columns: Sequence[str], true: Array, pred: Array, *, what: str, unit: str, caption: str
) -> Figure:
    """Draw a panel for each column, in it a curve of the predictions and points of the true values of each sequence.

    Of many sequences those of the smallest and the largest mean error are drawn, and some between.

    Args:
        times: of N images; several of one time point are drawn as their mean, those of an unknown one not at all.
        columns: K names.
        true, pred: N x K.
        what: the values' name.
        unit: of the values, empty for none.
        caption: the line under the figure.
    """
    known = np.flatnonzero(times.time >= 0)
    names = np.unique(times.sequence[known]).tolist()
    error = {name: float(np.abs(pred - true)[known[times.sequence[known] == name]].mean()) for name in names}
    ranked = sorted(names, key=lambda name: error[name])
    shown = [ranked[i] for i in np.linspace(0, len(ranked) - 1, min(SHOWN, len(ranked))).round().astype(int)]
    at: dict[str, Array] = {}
    given: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for sequence in shown if len(names) > SHOWN else names:
        rows = known[times.sequence[known] == sequence]
        points, place, count = np.unique(times.time[rows], return_inverse=True, return_counts=True)
        name = sequence or "the sequence"
        at[name] = points.astype(float)
        for values, curves in ((true, given), (pred, found)):
            curves[name] = {
                column: np.bincount(place, weights=values[rows, k]) / count for k, column in enumerate(columns)
            }
    where = next(iter(at)) if len(at) == 1 else "each sequence"
    if len(names) > SHOWN:
        where = f"{SHOWN} of {len(names)} sequences, from the best to the worst"
    title = f"{what[:1].upper()}{what[1:]} over time in {where}"
    return population_figure(at, found, true=given, title=title, what=what, unit=unit, caption=caption)
