"""What a report says of a run, as plain data for the templates: results in words, tables."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from visionlab.drawing.text import SPLIT_WORDS, digits, duration, number, with_unit
from visionlab.heads.figures import Figures
from visionlab.reports.run import SPLITS, Run

STATE_WORDS = {
    "finished": "finished",
    "interrupted": "interrupted",
    "failed": "failed",
    "running": "still running, or ended without a word",
}


def state(run: Run) -> dict[str, str]:
    """Return ``key``, ``words`` and ``message`` of the run's state."""
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
    """Return the headline of each head: its key metric (over all columns) on the best split, against the baseline."""
    results = []
    for name in run.key_metrics():
        head, _, metric = name.partition("/")
        found = {split: run.metrics.get(f"{split}/{name}", {}) for split in SPLITS}
        split = next((split for split, entry in found.items() if number(entry.get("value")) is not None), None)
        if split is None:
            continue
        kind = run.figures(head)
        short = kind.label(metric, run.heads[head], short=True)
        results.append(
            {
                "head": head,
                "stage": SPLIT_WORDS[split],
                "metric": kind.label(metric, run.heads[head]),
                "samples": kind.sample(run.heads[head]),
                "entry": found[split],
                "verdict": verdict(found[split], kind, short),
            }
        )
    return results


def verdict(entry: dict[str, Any], kind: Figures, metric: str) -> dict[str, str]:
    """Compare a metric with its baseline, in words; ``key`` is ``good``, ``unsure`` or ``bad``.

    Args:
        entry: of metrics.json; where ``better`` isn't ``max``, the value is an error.
        kind: of the head, which says what the baseline is.
        metric: its short name.
    """
    value, low, high, baseline = (number(entry.get(key)) for key in ("value", "low", "high", "baseline"))
    if value is None or baseline is None:
        return {"key": "unsure", "words": "There is no baseline to compare with."}
    rising = entry.get("better") == "max"
    words = kind.baseline[0]
    always = f"{words[0].upper()}{words[1:]} would give {with_unit(digits(baseline), entry.get('unit'))}"
    if (value <= baseline) if rising else (value >= baseline):
        return {"key": "bad", "words": f"{always}: the model is no better than that."}
    if rising:
        more, gain = f"{with_unit(digits(value - baseline), entry.get('unit'))} less", f"the model's {metric} is higher"
    else:
        ratio = f"{baseline / value:.2g}" if value > baseline / 1e6 else "more than a million"
        more, gain = f"{ratio} times more", f"the model's error is {ratio} times lower"
    if high is None or low is None:
        return {"key": "unsure", "words": f"{always}, {more}; with one group nothing says how certain that is."}
    if (low <= baseline) if rising else (high >= baseline):
        return {"key": "unsure", "words": f"{always}, which lies inside the interval: the gain may be chance."}
    return {"key": "good", "words": f"{always}: {gain}."}


def metric_table(run: Run) -> dict[str, Any]:
    """Return ``stages`` and ``heads``: of each head name, words of its baseline, and ``rows`` of its metrics.

    A row has the metric's label, ``better``, and of each stage its entry of metrics.json or None.
    """
    entries = {split_metric(key): entry for key, entry in run.metrics.items()}
    stages = sorted({stage for stage, _, _ in entries}, key=lambda s: (SPLITS.index(s) if s in SPLITS else 9, s))
    heads: dict[str, list[dict[str, Any]]] = {}
    names = list(dict.fromkeys((where, metric) for _, where, metric in entries))
    several = len({where.partition("/")[0] for where, _ in names}) > 1
    for where, metric in names:
        head, _, column = where.partition("/")
        cells = [entries.get((stage, where, metric)) for stage in stages]
        known = run.metric(head, metric)
        better = next((str(cell.get("better")) for cell in cells if cell), known.better if known else "")
        name = "/".join(part for part in (column if several else where, metric) if part)
        label = run.figures(head).label(name, run.heads.get(head, {}))
        heads.setdefault(head, []).append({"label": label, "better": better, "cells": cells})
    return {
        "stages": [SPLIT_WORDS.get(stage, stage) for stage in stages],
        "heads": [
            {"name": head, "baseline": run.figures(head).baseline[0], "rows": rows} for head, rows in heads.items()
        ],
    }


def tag_unit(run: Run, tag: str) -> str:
    """Return the unit of a logged metric such as ``val/distance/mae``; empty for a loss."""
    _, where, name = split_metric(tag)
    head = where.partition("/")[0]
    metric = run.metric(head, name)
    return str(run.heads[head].get("unit") or "") if metric and metric.in_unit else ""


def made(run: Run) -> list[tuple[str, str]]:
    """Return how the run was made: name and value."""
    info = run.info
    parameters = number(info.get("parameters"))
    field = number(info.get("receptive_field"))
    rows: list[tuple[str, Any]] = [
        ("Task", run.task),
        ("Model", run.model + (f", {parameters:,.0f} parameters" if parameters is not None else "")),
        ("Receptive field", f"{field:.0f} x {field:.0f} pixels" if field is not None else None),
        ("Seed", run.config.get("seed", info.get("seed"))),
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


def commands(run: Run) -> list[tuple[str, str]]:
    """Return what to type for what."""
    path = run.path.resolve()
    folder = shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    found = [("Make it again", str(run.info["command"]))] if run.info.get("command") else []
    if run.status.get("state") != "finished":
        resume = run.status.get("resume") or f"python -m visionlab.resume {folder}"
        found.append(("Go on where it stopped", str(resume)))
    # An evaluation has no checkpoints of its own.
    model = shlex.quote(str(run.info.get("evaluation_of"))) if run.info.get("evaluation_of") else folder
    inputs = (run.config.get("data") or {}).get("inputs", [])[1:]
    others = "".join(f" --with {name}={name.upper()}S" for name in inputs)
    return [
        *found,
        ("Predict new images", f"python -m visionlab.predict {model} IMAGES{others} --out predictions"),
        ("Write this report again", f"python -m visionlab.report {folder}"),
    ]
