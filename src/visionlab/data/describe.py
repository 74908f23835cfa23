"""Facts about a set-up data module, for the data card and index of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.data.module import ImageDataModule
from visionlab.io import split_plane, stored_file

_FACTS = ["height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"]


def index_table(data: ImageDataModule) -> pd.DataFrame:
    """Return every indexed sample with its split, what its file holds, and its targets."""
    columns = [column for columns in data.targets.values() for column in columns]
    parts = [data.table[["id", "group", "split", "path"]], data.facts[_FACTS], data.table[columns]]
    table = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
    for name, stored in data.stored_maps.items():
        facts = stored.facts
        for fact, factor in data.asked[name].facts.items():
            table[f"{name}_{fact}"] = facts[fact] * (stored.scale if factor else 1)
    return table


def card(data: ImageDataModule) -> dict[str, Any]:
    """Return the data card as plain data: counts, sizes, depths; of each split its groups, intensities, targets.

    Labels are counted: ``labels`` is {target: {class: {split: images}}}.
    """
    table = index_table(data)
    shapes = (table["height"].astype(str) + "x" + table["width"].astype(str)).value_counts()
    return {
        "name": data.name,
        "root": str(data.root),
        "synthetic": data.synthetic,
        "n": len(table),
        "groups": int(table["group"].nunique()),
        "bytes": sum(path.stat().st_size for path in _files(data)),
        "dtypes": {str(name): int(count) for name, count in table["dtype"].value_counts().items()},
        "shapes": {str(name): int(count) for name, count in shapes.head(12).items()},
        "preprocess": data.preprocess.sentence(),
        "notes": notes(data, table),
        "splits": {split: _split(data, split, table) for split, rows in data.rows.items() if len(rows)},
        "labels": {target: _counts(data, target) for target in _labels(data)},
    }


def _files(data: ImageDataModule) -> set[Path]:
    """Return every file of the data set that is used, once."""
    stains = [stain for stain in data.stains if f"{stain}_path" in data.table]
    columns = ["path", *(f"{name}_path" for name in (*data.inputs[1:], *data.stored_maps, *stains))]
    return {stored_file(split_plane(data.root / path)[0]) for column in columns for path in data.table[column].unique()}


def notes(data: ImageDataModule, table: pd.DataFrame) -> list[str]:
    """Return, in words, what a reader of the results should know about the data."""
    found = [f"split: {data.splits.source}"]
    if data.synthetic:
        found.append("the images are generated (synthetic): figures say nothing about real ones")
    unused = table.loc[table["split"] == "", "group"]
    if len(unused):
        found.append(f"{len(unused)} images of {unused.nunique()} groups are in no split")
    enlarged = int(((table["height"] < data.height) | (table["width"] < data.width)).sum())
    if enlarged and data.fit not in ("pad", "native"):
        found.append(f"{enlarged} images are smaller than {data.height} x {data.width} px and were enlarged")
    if table["dtype"].nunique() > 1:
        found.append("files of 8 and 16 bits are mixed: 8-bit values were multiplied by 257")
    found += data.remarks()
    copies = int(table["hash"].duplicated().sum())
    if copies:
        found.append(f"{copies} images repeat another one of the same split, pixel by pixel")
    return found


def _split(data: ImageDataModule, split: str, table: pd.DataFrame) -> dict[str, Any]:
    rows = table.iloc[data.rows[split]]
    return {
        "samples": len(rows),
        "groups": sorted(rows["group"].unique().tolist()),
        "images": {
            "min": float(rows["min"].min()),
            "max": float(rows["max"].max()),
            "mean": float(rows["mean"].mean()),
            # Of all pixels together: within the images and between them, each image counting alike.
            "std": float(np.sqrt((rows["std"] ** 2).mean() + rows["mean"].var(ddof=0))),
        },
        "targets": {column: _spread(rows[column]) for column in _numbers(data)},
    }


def _labels(data: ImageDataModule) -> list[str]:
    """Return the targets whose columns are labels."""
    return [target for target in data.targets if target in data.asked and data.asked[target].classes]


def _counts(data: ImageDataModule, target: str) -> dict[str, dict[str, int]]:
    sums = {split: data.values(target, split).sum(axis=0) for split, rows in data.rows.items() if len(rows)}
    return {
        column: {split: int(found[place]) for split, found in sums.items()}
        for place, column in enumerate(data.targets[target])
    }


def _numbers(data: ImageDataModule) -> list[str]:
    """Return the columns of the index that say what is to be learnt and have a range."""
    maps = [f"{name}_{fact}" for name in data.stored_maps for fact in data.asked[name].ranges]
    labels = _labels(data)
    return [column for name, columns in data.targets.items() if name not in labels for column in columns] + maps


def _spread(values: pd.Series) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std(ddof=0)),
    }
