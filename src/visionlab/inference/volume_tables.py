"""Tables of what was found in files: objects.csv, population.csv and its curves, and the rows of predictions.csv."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionlab.inference.files import printable
from visionlab.inference.finished import DONE, Ledger
from visionlab.inference.population import merged_columns, write_population
from visionlab.inference.prediction import Prediction
from visionlab.inference.series import Item
from visionlab.io import plane

Records = Mapping[Item, Mapping[str, Any]]
"""File -> ``planes``, ``interval`` and ``moments``: of each time point ``t`` and the summaries of its ``heads``."""

_COLUMNS = ("file", "head", "series", "time", "object")
_SIZES = ("volume_px", "volume_um3", "area_px", "area_um2")


def write_objects(ledger: Ledger, records: Records) -> None:
    """Write objects.csv of all files, row by row out of their own tables."""
    tables = {item: ledger.objects(item.name) for item in records}
    headers = []
    for table in tables.values():
        with table.open(encoding="utf-8", newline="") as file:
            headers.append([name for name in next(csv.reader(file)) if name not in ("t", "head", "object")])
    part = ledger.out / DONE / "objects.csv"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*_COLUMNS, *merged_columns(headers)], lineterminator="\n")
        writer.writeheader()
        for item, table in tables.items():
            with table.open(encoding="utf-8", newline="") as rows:
                for row in csv.DictReader(rows):
                    time = item.moment(int(row.pop("t")))
                    writer.writerow(
                        {"file": printable(item.path), "series": printable(item.series), "time": time, **row}
                    )
    part.replace(ledger.out / "objects.csv")


def write_curves(out: Path, records: Records, heads: Sequence[str]) -> bool:
    """Write population.csv, and population.png if a series has more than one time point; return whether it has.

    Raises:
        UserError: they cannot be written.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[tuple[float, float | None, float]]]] = defaultdict(lambda: defaultdict(list))
    order = {series: place for place, series in enumerate(dict.fromkeys(item.series for item in records))}
    for item in sorted(records, key=lambda item: (order[item.series], item.moment(0))):
        moments = records[item]["moments"]
        interval = records[item]["interval"] if len(moments) > 1 else None
        for moment in moments:
            time, seconds = item.moment(moment["t"]), interval and moment["t"] * interval
            for found in moment["heads"]:
                base = {"series": item.series, "time": time, **({"time_s": seconds} if interval else {})}
                count = found["objects"]
                means = {f"mean_{name}": found[name] / count if count else None for name in _SIZES if name in found}
                rows.append({**base, "head": found["head"], "objects": count, **means})
                curves[item.series][found["head"]].append((time, seconds, count))
    title = f"{heads[0].capitalize()} over time" if len(heads) == 1 else "Objects over time"
    return write_population(out, rows, curves, title=title, what="objects")


def predictions(item: Item, record: Mapping[str, Any]) -> Iterator[tuple[Path, Prediction]]:
    """Yield the values of each time point of a file; those of several are named by their first plane."""
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
