"""Tables of predictions: predictions.csv, failed.csv, objects.csv, population.csv and its curves."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visionlab.console import LOG
from visionlab.drawing.population import population_figure, readable_times
from visionlab.drawing.style import save
from visionlab.errors import DataError, UserError
from visionlab.files import temporary
from visionlab.inference.output_folder import (
    DONE,
    HEADER,
    POPULATION,
    PREDICTIONS,
    OutputFolder,
    fault_of,
    printable,
    write_table,
)
from visionlab.inference.prediction import Prediction
from visionlab.inference.series import InputFile, TimePoint
from visionlab.io import plane

if TYPE_CHECKING:
    from visionlab.inference.base_predictor import BasePredictor

Records = Mapping[InputFile, Mapping[str, Any]]
"""File -> ``planes``, ``interval`` and ``moments``: of each time point ``t`` and the summaries of its ``heads``."""
Point = tuple[float, float | None, float]
"""Number of the time point, seconds or None, and value."""

_OBJECTS = ("file", "head", "series", "time", "object")
_SIZES = ("volume_px", "volume_um3", "area_px", "area_um2")


def write_predictions(
    results: Iterable[tuple[Path, Prediction | DataError]], out: Path, *writers: Callable[[Prediction], None]
) -> tuple[int, int]:
    """Write ``predictions.csv`` (path, name, value, unit) and, if there are any, ``failed.csv`` (path, reason).

    The files appear when complete; those of an earlier prediction are replaced. How many failed is said on stderr.

    Args:
        results: each image with its prediction or its error.
        out: the folder.
        writers: called with each prediction, to write its maps or note its labels; a ``DataError`` is the image's.

    Returns:
        How many files were predicted and how many failed.

    Raises:
        UserError: the files cannot be written.
    """
    part = temporary(out / PREDICTIONS)
    good, failed = 0, []
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for path, result in results:
                error = result if isinstance(result, DataError) else _write(path, result, writers)
                if error is not None:
                    LOG.warning("%s", error)
                    failed.append((printable(path), printable(str(error).removeprefix(f"{path}: "))))
                elif isinstance(result, Prediction):
                    good += 1
                    for name, value in result.values.items():
                        writer.writerow([printable(path), name, f"{value:.7g}", result.units[name]])
        part.replace(out / PREDICTIONS)
        (out / "failed.csv").unlink(missing_ok=True)
        if failed:
            write_table(out / "failed.csv", [("path", "reason"), *failed])
            count = good + len(failed)
            words = f"error: {len(failed)} of {count} files could not be predicted; see {out / 'failed.csv'}"
            print(words, file=sys.stderr)
    except OSError as error:
        raise UserError(f"{out}: the predictions cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return good, len(failed)


def _write(path: Path, prediction: Prediction, writers: Iterable[Callable[[Prediction], None]]) -> DataError | None:
    try:
        with fault_of(path):
            for write in writers:
                write(prediction)
    except DataError as error:
        return error
    return None


# Objects --------------------------------------------------------------------------------------------------------------


def write_objects(folder: OutputFolder, records: Records) -> None:
    """Write objects.csv of all files, row by row out of their own tables."""
    tables = {item: folder.objects(item.name) for item in records}
    headers = []
    for table in tables.values():
        with table.open(encoding="utf-8", newline="") as file:
            headers.append([name for name in next(csv.reader(file)) if name not in ("t", "head", "object")])
    part = folder.out / DONE / "objects.csv"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*_OBJECTS, *merged_columns(headers)], lineterminator="\n")
        writer.writeheader()
        for item, table in tables.items():
            of_file = {"file": printable(item.path), "series": printable(item.series)}
            with table.open(encoding="utf-8", newline="") as rows:
                for row in csv.DictReader(rows):
                    writer.writerow({**of_file, "time": item.time_point(int(row.pop("t"))), **row})
    part.replace(folder.out / "objects.csv")


def object_values(item: InputFile, record: Mapping[str, Any]) -> Iterator[tuple[Path, Prediction]]:
    """Yield count and sizes of each time point of a file; those of several are named by their first plane."""
    for moment in record["moments"]:
        path = item.path
        if len(record["moments"]) > 1:
            path = Path(plane(str(item.path), moment["t"] * record["planes"]))
        values: dict[str, float] = {}
        units: dict[str, str] = {}
        for found in moment["heads"]:
            size = "volume" if "volume_px" in found else "area"
            unit = "um3" if "volume_um3" in found else "px"
            total, count, name = found[f"{size}_{unit}"], found["objects"], found["head"]
            mean = total / count if count else float("nan")
            for key, value, of in (("count", count, ""), (size, total, unit), (f"mean_{size}", mean, unit)):
                values[f"{name}_{key}"], units[f"{name}_{key}"] = float(value), of
        yield path, Prediction(values, units, str(path))


# Curves over time -----------------------------------------------------------------------------------------------------


def object_curves(out: Path, records: Records, heads: Sequence[str]) -> bool:
    """Write the population of objects over time, see :func:`write_population`.

    Raises:
        UserError: it cannot be written.
    """
    rows: list[dict[str, Any]] = []
    for item, record in records.items():
        interval = record["interval"] if len(record["moments"]) > 1 else None
        for moment in record["moments"]:
            t = moment["t"]
            at = TimePoint(item.series, item.time_point(t), t * interval if interval else None)
            for found in moment["heads"]:
                count = found["objects"]
                means = {f"mean_{name}": found[name] / count if count else None for name in _SIZES if name in found}
                rows.append(_row(at, {"head": found["head"], "objects": count, **means}))
    title = f"{heads[0].capitalize()} over time" if len(heads) == 1 else "Objects over time"
    return write_population(out, rows, ["objects"], title=title, what="objects")


class ValueCurves:
    """The population of numbers that are predicted for the images of series, see :func:`write_population`.

    Args:
        predictor: whose predictions come.
        moments: image -> which time point it is, of the images that belong to series.
        out: the folder.
    """

    def __init__(self, predictor: BasePredictor, moments: Mapping[str, TimePoint], out: Path) -> None:
        heads = [head for head in predictor.heads if head.curves]
        self._columns = [column for head in heads for column in head.curves]
        units = {head.unit for head in heads}
        self._unit = units.pop() if len(units) == 1 else ""
        self._moments, self.out = moments, out
        self._rows: list[dict[str, Any]] = []

    def __call__(self, prediction: Prediction) -> None:
        """Add an image."""
        moment = self._moments.get(str(prediction.path))
        if moment is not None and self._columns:
            self._rows.append(_row(moment, {column: prediction.values[column] for column in self._columns}))

    def write(self) -> None:
        """Write the files, if any image belongs to a series."""
        if not self._rows:
            return
        what = self._columns[0] if len(self._columns) == 1 else ""
        write_population(self.out, self._rows, self._columns, title="Predictions over time", what=what, unit=self._unit)


def _row(at: TimePoint, values: Mapping[str, Any]) -> dict[str, Any]:
    seconds = {} if at.seconds is None else {"time_s": at.seconds}
    return {"series": at.series, "time": at.time, **seconds, **values}


def write_population(
    out: Path, rows: Sequence[Mapping[str, Any]], drawn: Sequence[str], *, title: str, what: str, unit: str = ""
) -> bool:
    """Write ``population.csv``, and ``population.png`` if a series has more than one time point.

    Args:
        out: the folder.
        rows: of the table, which has them by series, in their order, and time: ``series``, ``time``, ``time_s``
            (seconds) if known, and values; a column may be missing, and one that is nowhere is left out.
        drawn: columns of the figure, each a curve; of rows with a ``head`` each head is one.
        title, what, unit: of the figure, see :func:`visionlab.drawing.population.population_figure`.

    Returns:
        Whether there is a figure.

    Raises:
        UserError: they cannot be written.
    """
    order = {series: place for place, series in enumerate(dict.fromkeys(row["series"] for row in rows))}
    rows = sorted(rows, key=lambda row: (order[row["series"]], row["time"]))
    columns = merged_columns(list(row) for row in rows)
    table, figure = out / f"{POPULATION}.csv", out / f"{POPULATION}.png"
    write_table(table, [columns, *([_cell(row.get(name)) for name in columns] for row in rows)])
    curves: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for column in drawn:
            point = (row["time"], row.get("time_s"), row[column])
            curves[row["series"]][row.get("head", column)].append(point)
    shown = {
        series: {name: sorted(points) for name, points in of.items()}
        for series, of in curves.items()
        if max(len({point[0] for point in points}) for points in of.values()) > 1
    }
    try:
        if not shown:
            figure.unlink(missing_ok=True)
            return False
        times, label = _times({name: next(iter(of.values())) for name, of in shown.items()})
        values = {name: {column: [p[2] for p in points] for column, points in of.items()} for name, of in shown.items()}
        save(population_figure(times, values, title=title, what=what, unit=unit, time=label), figure)
    except OSError as error:
        raise UserError(f"{figure}: cannot be written: {error.strerror or error}") from error
    return True


def _times(series: Mapping[str, Sequence[Point]]) -> tuple[dict[str, Any], str]:
    """Return the times of each series, in seconds or a longer unit if all are known, and the label of their axis."""
    if any(seconds is None for points in series.values() for _, seconds, _ in points):
        return {name: [point[0] for point in points] for name, points in series.items()}, "time point"
    scaled, label = readable_times([seconds or 0.0 for points in series.values() for _, seconds, _ in points])
    ends = np.cumsum([len(points) for points in series.values()])[:-1]
    return dict(zip(series, np.split(scaled, ends), strict=True)), label


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


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.7g}"
    return "" if value is None else printable(value)
