"""What a report says of the data, as plain data for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.drawing.text import count, decimals, digits, number, size, unit_text
from visionlab.reports.facts import data_name
from visionlab.reports.run import Run

LISTED = 60
"""Groups of a split that are named; nobody reads more."""
MAP_FACTS = {"share": "{} share", "objects": "number of {}", "min": "smallest {}", "max": "largest {}"}
"""What data_index.csv and the data card hold of maps in ``<head>_<fact>``, in words."""
_COUNTS = ("share", "objects")  # have no unit


@dataclass(frozen=True)
class Described:
    """A number of each sample that says what is to be learnt: its name in words, unit and distance of levels."""

    words: str
    unit: str
    step: float | None = None


def described(run: Run) -> dict[str, Described]:
    """Return the columns of data_index.csv that describe the targets: the numbers themselves, or facts about maps.

    Labels are none: they are counted (:func:`card`).
    """
    held = set(run.index.columns) if run.index is not None else set()
    found: dict[str, Described] = {}
    for name, head in run.heads.items():
        if head.get("kind") == "multilabel":
            continue
        unit = str(head.get("unit") or "")
        facts = {
            f"{name}_{fact}": Described(words.format(name), "" if fact in _COUNTS else unit)
            for fact, words in MAP_FACTS.items()
        }
        if held & set(facts):
            found |= {column: about for column, about in facts.items() if column in held}
        elif head.get("kind") != "instances":
            step = number(head.get("step"))
            found |= {column: Described(column, unit, step) for column in head["columns"]}
    return found


def targets(run: Run, column: str) -> dict[str, npt.NDArray[np.float64]]:
    """Return the finite values of a column of data_index.csv in each split.

    Raises:
        ValueError: there are none.
    """
    assert run.index is not None
    values = {}
    for split in ("train", "val", "test"):
        data = run.index.loc[run.index["split"] == split, column].to_numpy(dtype=float)
        if np.isfinite(data).any():
            values[split] = data[np.isfinite(data)]
    if not values:
        raise ValueError(f"data_index.csv has no value of {column} in any split")
    return values


def labels(run: Run, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return the labels of data_index.csv of all images that are in a split, N x K."""
    assert run.index is not None
    return run.index.loc[run.index["split"] != "", list(columns)].to_numpy(dtype=float) > 0


def card(run: Run) -> dict[str, Any] | None:
    """Return the data card: ``facts`` (name, value), ``splits`` and ``labels`` (tables), ``numbers`` and ``notes``.

    ``numbers`` says whether there are targets that have a range.
    """
    content = run.card
    if not content:
        return None
    total = f"{count(int(content['n']), 'image')} of {count(_length(content.get('groups')), 'group')}"
    listed = [
        ("Data", data_name(run)),
        ("Root", content.get("root")),
        ("Size", f"{total}, {size(content.get('bytes'))}"),
    ]
    listed += [("Image sizes", _counts(content.get("shapes"))), ("Pixel types", _counts(content.get("dtypes")))]
    listed += [("Preprocessing", content.get("preprocess")), ("Split", run.splits.get("source"))]
    rows = []
    known = described(run)
    for split, part in content.get("splits", {}).items():
        ranges = []
        for name, stats in (part.get("targets") or {}).items():
            about = known.get(str(name), Described(str(name), ""))
            ranges.append((about.words, _range(stats), unit_text(about.unit)))
        names = [str(name) for name in part["groups"]]
        rows.append(
            {
                "split": split,
                "samples": int(part["samples"]),
                "groups": names[:LISTED],
                "n_groups": len(names),
                "pixels": _range(part["images"]),
                "targets": ranges,
            }
        )
    return {
        "facts": [(name, str(value)) for name, value in listed if value not in (None, "")],
        "splits": rows,
        "numbers": any(row["targets"] for row in rows),
        "labels": [_label_table(head, counts, content) for head, counts in (content.get("labels") or {}).items()],
        "notes": [str(note) for note in content.get("notes") or ()],
    }


def _label_table(head: str, counts: Mapping[str, Mapping[str, int]], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``head``, ``splits`` and ``rows``: of each class its name, images, and of each split count and share."""
    samples = {split: int(part["samples"]) for split, part in content["splits"].items()}
    everything = max(sum(samples.values()), 1)
    rows = []
    for name, by_split in counts.items():
        total = sum(int(by_split.get(split, 0)) for split in samples)
        cells = [(f"{by_split.get(s, 0):,}", f"{total * n / everything:,.1f}") for s, n in samples.items()]
        rows.append({"name": name, "total": f"{total:,}", "cells": cells})
    return {"head": head, "splits": list(samples), "rows": rows}


def _length(groups: Any) -> int:
    return groups if isinstance(groups, int) else len(groups or ())


def _counts(table: Any) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in (table or {}).items())


def _range(stats: dict[str, Any]) -> str:
    low, high, mean, std = (number(stats.get(key)) for key in ("min", "max", "mean", "std"))
    if low is None or high is None:
        return "–"
    places = min(decimals(max(abs(low), abs(high), 1e-8)), 3)
    spread = f", mean {digits(mean, places)} ± {digits(std, places)}" if mean is not None and std is not None else ""
    return f"{digits(low, places)} to {digits(high, places)}{spread}"
