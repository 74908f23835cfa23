"""What a report says of a run, as plain data for the templates: results in words, tables, caveats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from visionlab.metrics.regression import METRICS
from visionlab.reports.run import SPLITS, Run
from visionlab.reports.text import count, decimals, digits, duration, number, size, unit_text, with_unit

STAGE_WORDS = {"test": "test", "val": "validation", "train": "training"}
STATE_WORDS = {
    "finished": "finished",
    "interrupted": "interrupted",
    "failed": "failed",
    "running": "still running, or ended without a word",
}


def data_name(run: Run) -> str:
    """Return what the run was trained on: ``generated sample`` or the data's root."""
    return "generated sample" if run.synthetic else str(run.info.get("data") or run.card.get("name") or "")


def state(run: Run) -> dict[str, str]:
    """Return ``key`` and ``words`` of the run's state."""
    key = str(run.status.get("state") or "unknown")
    words = STATE_WORDS.get(key, key)
    epoch = run.status.get("epoch")
    if key != "finished" and epoch is not None:
        words += f" after {epoch} full epoch{'' if epoch == 1 else 's'}"
    return {
        "key": key if key in STATE_WORDS else "unknown",
        "words": words,
        "message": str(run.status.get("message") or ""),
    }


def split_metric(key: str) -> tuple[str, str, str]:
    """Return stage, where (``head`` or ``head/column``) and metric of a metric's name."""
    stage, _, rest = key.partition("/")
    where, _, metric = rest.rpartition("/")
    return stage, where, metric


def key_results(run: Run) -> list[dict[str, Any]]:
    """Return the headline of each head: its MAE (over all columns) on the best split there is, against the baseline."""
    results = []
    for head in run.heads:
        for stage in SPLITS:
            entry = run.metrics.get(f"{stage}/{head}/mae", {})
            if number(entry.get("value")) is not None:
                results.append({"head": head, "stage": STAGE_WORDS[stage], "entry": entry, "verdict": verdict(entry)})
                break
    return results


def verdict(entry: dict[str, Any]) -> dict[str, str]:
    """Compare an error with its baseline, in words; ``key`` is ``good``, ``unsure`` or ``bad``."""
    value, low, high, baseline = (number(entry.get(key)) for key in ("value", "low", "high", "baseline"))
    if value is None or baseline is None:
        return {"key": "unsure", "words": "There is no baseline to compare with."}
    always = (
        f"Always predicting the mean of the training images would give {with_unit(digits(baseline), entry.get('unit'))}"
    )
    if value >= baseline:
        return {"key": "bad", "words": f"{always}: the model is no better than that."}
    ratio = f"{baseline / value:.2g}" if value > baseline / 1e6 else "more than a million"
    if high is None or low is None:
        return {
            "key": "unsure",
            "words": f"{always}, {ratio} times more; with one group nothing says how certain that is.",
        }
    if high >= baseline:
        return {"key": "unsure", "words": f"{always}, which lies inside the interval: the gain may be chance."}
    return {"key": "good", "words": f"{always}: the model's error is {ratio} times lower."}


def metric_table(run: Run) -> dict[str, Any]:
    """Return ``stages`` and ``rows`` (label, better, one entry or None a stage) of every metric."""
    entries = {split_metric(key): entry for key, entry in run.metrics.items()}
    stages = sorted({stage for stage, _, _ in entries}, key=lambda s: (SPLITS.index(s) if s in SPLITS else 9, s))
    names = list(dict.fromkeys(f"{where}/{metric}" if where else metric for _, where, metric in entries))
    rows = []
    for name in names:
        where, _, metric = name.rpartition("/")
        cells = [entries.get((stage, where, metric)) for stage in stages]
        known = METRICS.get(metric)
        better = next((str(cell.get("better")) for cell in cells if cell), known.better if known else "")
        rows.append({"name": name, "better": better, "cells": cells})
    return {"stages": [STAGE_WORDS.get(stage, stage) for stage in stages], "rows": rows}


def tag_unit(run: Run, tag: str) -> str:
    """Return the unit of a logged metric such as ``val/distance/mae``; empty for a loss."""
    _, where, metric = split_metric(tag)
    head = run.heads.get(where.partition("/")[0], {})
    return str(head.get("unit") or "") if metric in METRICS and METRICS[metric].in_unit else ""


def targets(run: Run, column: str) -> dict[str, npt.NDArray[np.float64]]:
    """Return the finite values of a target in each split of data_index.csv.

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


def card(run: Run) -> dict[str, Any] | None:
    """Return the data card: ``facts`` (name, value), ``splits`` (rows of a table) and ``notes``."""
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
    units = {str(c): head.get("unit") for head in run.heads.values() for c in head.get("columns") or ()}
    for split, part in content.get("splits", {}).items():
        ranges = [
            (str(name), _range(stats), unit_text(units.get(str(name)))) for name, stats in part["targets"].items()
        ]
        names = [str(name) for name in part["groups"]]
        rows.append(
            {
                "split": split,
                "samples": int(part["samples"]),
                "groups": names,
                "pixels": _range(part["images"]),
                "targets": ranges,
            }
        )
    return {
        "facts": [(name, str(value)) for name, value in listed if value not in (None, "")],
        "splits": rows,
        "notes": [str(note) for note in content.get("notes") or ()],
    }


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


def made(run: Run) -> list[tuple[str, str]]:
    """Return how the run was made: name and value."""
    info = run.info
    parameters = number(info.get("parameters"))
    seed = run.config.get("seed", info.get("seed"))
    rows = [
        ("Task", run.task),
        ("Model", run.model + (f", {parameters:,.0f} parameters" if parameters is not None else "")),
        ("Seed", seed),
        ("Device", info.get("device")),
        ("Started", info.get("started")),
        ("Finished", info.get("finished")),
        ("Took", duration(info.get("seconds")) if info.get("seconds") is not None else None),
        ("Steps", run.status.get("step")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def versions(run: Run) -> list[tuple[str, str]]:
    """Return the versions of what made the run."""
    table = run.info.get("versions")
    return [(str(name), str(version)) for name, version in table.items()] if isinstance(table, dict) else []
