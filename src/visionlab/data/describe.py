"""Facts about a set-up data module, for the data card and index of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from visionlab.data.module import ImageDataModule

_FACTS = ["height", "width", "channels", "dtype", "min", "max", "mean", "std", "hash"]


def index_table(data: ImageDataModule) -> pd.DataFrame:
    """Return every indexed sample with its split, what its file holds, and its targets."""
    columns = [column for columns in data.targets.values() for column in columns]
    parts = [data.table[["id", "group", "split", "path"]], data.cache.facts[_FACTS], data.table[columns]]
    return pd.concat([part.reset_index(drop=True) for part in parts], axis=1)


def card(data: ImageDataModule) -> dict[str, Any]:
    """Return the data card as plain data: counts, sizes, depths; of each split its groups, intensities, targets."""
    table = index_table(data)
    shapes = (table["height"].astype(str) + "x" + table["width"].astype(str)).value_counts()
    return {
        "name": data.name,
        "root": str(data.root),
        "synthetic": data.synthetic,
        "n": len(table),
        "groups": int(table["group"].nunique()),
        "bytes": int(sum((data.root / path).stat().st_size for path in table["path"])),
        "dtypes": {str(name): int(count) for name, count in table["dtype"].value_counts().items()},
        "shapes": {str(name): int(count) for name, count in shapes.head(12).items()},
        "preprocess": data.cache.preprocess.sentence(),
        "notes": notes(data, table),
        "splits": {split: _split(data, split, table) for split, rows in data.rows.items() if len(rows)},
    }


def notes(data: ImageDataModule, table: pd.DataFrame) -> list[str]:
    """Return, in words, what a reader of the results should know about the data."""
    found = [f"split: {data.splits.source}"]
    if data.synthetic:
        found.append("the images are generated (synthetic): figures say nothing about real microscopes")
    unused = int((table["split"] == "").sum())
    if unused:
        found.append(f"{unused} images of {len(data.splits.unused)} groups are in no split")
    enlarged = int(((table["height"] < data.height) | (table["width"] < data.width)).sum())
    if enlarged and data.fit != "pad":
        found.append(f"{enlarged} images are smaller than {data.height} x {data.width} px and were enlarged")
    if table["dtype"].nunique() > 1:
        found.append("files of 8 and 16 bits are mixed: 8-bit values were multiplied by 257")
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
        "targets": {
            column: {
                "min": float(rows[column].min()),
                "max": float(rows[column].max()),
                "mean": float(rows[column].mean()),
                "std": float(rows[column].std(ddof=0)),
            }
            for columns in data.targets.values()
            for column in columns
        },
    }
