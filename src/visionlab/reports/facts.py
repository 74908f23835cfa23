"""What a report says of a run, as plain data for the templates: results in words, tables, caveats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionlab.drawing.text import (
    digits,
    duration,
    key_metric,
    metric_label,
    number,
    with_unit,
)
from visionlab.metrics import METRICS
from visionlab.metrics.summary import AnyMetric
from visionlab.reports.run import SPLITS, Run

STAGE_WORDS = {"test": "test", "val": "validation", "train": "training"}
STATE_WORDS = {
    "finished": "finished",
    "interrupted": "interrupted",
    "failed": "failed",
    "running": "still running, or ended without a word",
}
MEAN = "always predicting the mean of the training images"
BASELINES = {
    "mask": "always predicting the mean of the training masks at every pixel",
    "depth": "always predicting the mean depth of the training images at every pixel",
    "instances": "Otsu's threshold of each time point (which learns nothing)",
    "multilabel": "always predicting every label (scored by its share of the training images; for micro F1 only those "
    "frequent enough to raise it, for Hamming loss and exact match only labels of at least half of the images)",
}
"""Kind of a head -> its baseline; of others it is the mean."""


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
    """Return the headline of each head: its key metric (over all columns) on the best split, against the baseline."""
    results = []
    for head, spec in run.heads.items():
        metric = key_metric(spec)
        for stage in SPLITS:
            entry = run.metrics.get(f"{stage}/{head}/{metric}", {})
            if number(entry.get("value")) is not None:
                results.append(
                    {
                        "head": head,
                        "stage": STAGE_WORDS[stage],
                        "metric": metric_label(metric, spec=spec),
                        "samples": samples_word(spec),
                        "entry": entry,
                        "verdict": verdict(entry, str(spec.get("kind")), metric_label(metric, short=True, spec=spec)),
                    }
                )
                break
    return results


def baseline_words(kind: str) -> str:
    """Return what the baseline of a head of this kind is."""
    return BASELINES.get(kind, MEAN)


def samples_word(spec: Mapping[str, Any]) -> str:
    """Return what one sample of a head is called: a slice of a volume, or an image."""
    return "slice" if spec.get("kind") == "instances" and spec.get("dimensions") == 3 else "image"


def verdict(entry: dict[str, Any], kind: str = "regression", metric: str = "MAE") -> dict[str, str]:
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
    words = baseline_words(kind)
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

    A row has the metric's name (without its head where there are several heads) and label, ``better``, and of each
    stage its entry of metrics.json or None.
    """
    entries = {split_metric(key): entry for key, entry in run.metrics.items()}
    stages = sorted({stage for stage, _, _ in entries}, key=lambda s: (SPLITS.index(s) if s in SPLITS else 9, s))
    names = list(dict.fromkeys((where, metric) for _, where, metric in entries))
    heads: dict[str, list[dict[str, Any]]] = {}
    for where, metric in names:
        head, _, column = where.partition("/")
        cells = [entries.get((stage, where, metric)) for stage in stages]
        known = _metric(run, head, metric)
        better = next((str(cell.get("better")) for cell in cells if cell), known.better if known else "")
        heads.setdefault(head, []).append(
            {"where": where, "column": column, "metric": metric, "better": better, "cells": cells}
        )
    several = len(heads) > 1
    for rows in heads.values():
        for row in rows:
            parts = [row["column"] if several else row["where"], row["metric"]]
            row["name"] = "/".join(part for part in parts if part)
            row["label"] = metric_label(row["name"], spec=run.heads.get(row["where"].partition("/")[0]))
    return {
        "stages": [STAGE_WORDS.get(stage, stage) for stage in stages],
        "heads": [
            {"name": head, "baseline": baseline_words(str(run.heads.get(head, {}).get("kind"))), "rows": rows}
            for head, rows in heads.items()
        ],
    }


def _metric(run: Run, head: str, metric: str) -> AnyMetric | None:
    return METRICS.get(str(run.heads.get(head, {}).get("kind")), {}).get(metric)


def tag_unit(run: Run, tag: str) -> str:
    """Return the unit of a logged metric such as ``val/distance/mae``; empty for a loss."""
    _, where, name = split_metric(tag)
    head = where.partition("/")[0]
    metric = _metric(run, head, name)
    return str(run.heads[head].get("unit") or "") if metric and metric.in_unit else ""


def key_tags(run: Run) -> list[str]:
    """Return the tag of each head's key metric while training."""
    return [f"val/{head}/{key_metric(spec)}" for head, spec in run.heads.items()]


def made(run: Run) -> list[tuple[str, str]]:
    """Return how the run was made: name and value."""
    info = run.info
    parameters = number(info.get("parameters"))
    field = number(info.get("receptive_field"))
    seed = run.config.get("seed", info.get("seed"))
    rows: list[tuple[str, Any]] = [
        ("Task", run.task),
        ("Model", run.model + (f", {parameters:,.0f} parameters" if parameters is not None else "")),
        ("Receptive field", f"{field:.0f} x {field:.0f} pixels" if field is not None else None),
        ("Seed", seed),
        ("Device", info.get("device")),
        ("Started", info.get("started")),
        ("Finished", info.get("finished")),
        ("Took", duration(info.get("seconds")) if info.get("seconds") is not None else None),
        ("Steps", run.status.get("step")),
        *((f"Objects of {head} found with", text) for head, text in object_parameters(run).items()),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def parameter_words(spec: Mapping[str, Any]) -> str:
    """Return what makes objects of the maps of a head of instances: ``threshold 0.41, min_planes 2``."""
    values = spec.get("parameters")
    known = {name: number(value) for name, value in values.items()} if isinstance(values, dict) else {}
    return ", ".join(f"{name} {value:g}" for name, value in known.items() if value is not None)


def object_parameters(run: Run) -> dict[str, str]:
    """Return, for each head of instances, what makes objects of its maps, in words."""
    found = {}
    for head, spec in run.heads.items():
        if spec.get("kind") == "instances" and isinstance(spec.get("parameters"), dict):
            origin = "fitted on the validation split" if spec.get("fitted") else "not fitted"
            found[head] = (
                f"{parameter_words(spec)} ({origin}; told apart by: {spec.get('separate')}, cells: {spec.get('cells')})"
            )
    return found


def versions(run: Run) -> list[tuple[str, str]]:
    """Return the versions of what made the run."""
    table = run.info.get("versions")
    return [(str(name), str(version)) for name, version in table.items()] if isinstance(table, dict) else []
