"""Tables and curves of what changes in time: objects of each series, or values that are predicted for its images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionlab.errors import UserError
from visionlab.files import write_text
from visionlab.inference.files import printable

if TYPE_CHECKING:
    from visionlab.inference.base import BasePredictor
    from visionlab.inference.prediction import Prediction
    from visionlab.inference.series import Moment

TABLE, FIGURE = "population.csv", "population.png"


def merged_columns(headers: Iterable[Sequence[str]]) -> list[str]:
    """Return the columns of all tables, each in its place between those that it has beside it."""
    columns: list[str] = []
    for header in headers:
        place = 0
        for name in header:
            if name in columns:
                place = columns.index(name) + 1
            else:
                columns.insert(place, name)
                place += 1
    return columns


def write_population(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float | None, float]]]],
    *,
    title: str,
    what: str,
    unit: str = "",
) -> bool:
    """Write ``population.csv``, and ``population.png`` if a series has more than one time point.

    Args:
        out: the folder.
        rows: of the table, column -> value; a column may be missing, and one that is nowhere is left out.
        curves: series -> column -> number of the time point, seconds or None, and value.
        title, what, unit: of the figure, see :func:`visionlab.drawing.population.population_figure`.

    Returns:
        Whether there is a figure.

    Raises:
        UserError: they cannot be written.
    """
    from visionlab.drawing.population import population_figure, readable_times
    from visionlab.drawing.style import save

    columns = merged_columns(list(row) for row in rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    shown = {
        series: {name: sorted(points) for name, points in of.items()}
        for series, of in curves.items()
        if max(len({point[0] for point in points}) for points in of.values()) > 1
    }
    try:
        write_text(out / TABLE, text.getvalue())
        if not shown:
            (out / FIGURE).unlink(missing_ok=True)
            return False
        every = [point for of in shown.values() for points in of.values() for point in points]
        if all(seconds is not None for _, seconds, _ in every):
            longest = np.array([seconds for _, seconds, _ in every], float)
            scaled, label = readable_times(longest)
            place = dict(zip(longest.tolist(), scaled.tolist(), strict=True))
            at = {name: [place[float(point[1] or 0)] for point in _first(of)] for name, of in shown.items()}
        else:
            label = "time point"
            at = {name: [point[0] for point in _first(of)] for name, of in shown.items()}
        values = {name: {column: [p[2] for p in points] for column, points in of.items()} for name, of in shown.items()}
        save(population_figure(at, values, title=title, what=what, unit=unit, time=label), out / FIGURE)
    except OSError as error:
        raise UserError(f"{out}: {TABLE} cannot be written: {error.strerror or error}") from error
    return True


def _first(columns: Mapping[str, Any]) -> Any:
    return next(iter(columns.values()))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.7g}"
    return "" if value is None else printable(value)


class Curves:
    """``population.csv`` and ``population.png`` of numbers that are predicted for the images of series.

    Args:
        predictor: whose predictions come.
        moments: image -> which time point it is, of the images that belong to series.
        out: the folder.
    """

    def __init__(self, predictor: BasePredictor[Any], moments: Mapping[str, Moment], out: Path) -> None:
        heads = [head for head in predictor.heads if head.curves]
        self._columns = [column for head in heads for column in head.curves]
        units = {head.unit for head in heads}
        self._unit = units.pop() if len(units) == 1 else ""
        self._moments, self.out = moments, out
        self._found: list[tuple[Moment, dict[str, float]]] = []

    def __call__(self, prediction: Prediction) -> None:
        """Add an image."""
        moment = self._moments.get(str(prediction.path))
        if moment is not None and self._columns:
            self._found.append((moment, {column: prediction.values[column] for column in self._columns}))

    def write(self) -> None:
        """Write the files, if any image belongs to a series."""
        if not self._found:
            return
        order = {name: place for place, name in enumerate(dict.fromkeys(moment.series for moment, _ in self._found))}
        self._found.sort(key=lambda one: (order[one[0].series], one[0].time))
        timed = any(moment.seconds is not None for moment, _ in self._found)
        rows = []
        curves: dict[str, dict[str, list[tuple[float, float | None, float]]]] = {}
        for moment, values in self._found:
            seconds = {"time_s": moment.seconds} if timed else {}
            rows.append({"series": moment.series, "time": moment.time, **seconds, **values})
            of = curves.setdefault(moment.series, {column: [] for column in self._columns})
            for column, value in values.items():
                of[column].append((moment.time, moment.seconds, value))
        what = self._columns[0] if len(self._columns) == 1 else ""
        write_population(self.out, rows, curves, title="Predictions over time", what=what, unit=self._unit)
