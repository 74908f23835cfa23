"""What a report says of the classes of a head of labels, as plain data for the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from visionlab.drawing.text import digits, measure, number, value
from visionlab.reports.facts import STAGE_WORDS
from visionlab.reports.run import SPLITS, Run

PLACES = 3


def label_heads(run: Run) -> dict[str, dict[str, Any]]:
    """Return the heads of labels of run.json."""
    return {name: spec for name, spec in run.heads.items() if spec.get("kind") == "multilabel"}


def class_tables(run: Run) -> list[dict[str, Any]]:
    """Return the table of the classes of each head and split: ``title``, ``rows`` of texts, and ``open``, the main one.

    A row has ``class``, ``id``, ``threshold`` (``undefined``, if there is none), ``train``, ``support``, ``precision``,
    ``recall``, ``f1``, ``f1_range``, ``f1_half``, ``ap`` and ``expected_f1``.
    """
    found: list[dict[str, Any]] = []
    for head, spec in label_heads(run).items():
        tables = {stage: run.classes[stage] for stage in SPLITS if stage in run.classes}
        own = {stage: table for stage, table in tables.items() if list(table["class"].astype(str)) == spec["columns"]}
        for stage, table in own.items():
            rows = [_row(row) for row in table.to_dict("records")]
            title = f"{STAGE_WORDS[stage].capitalize()} images, {head}"
            found.append({"title": title, "rows": rows, "open": stage == next(iter(own))})
    return found


def _row(row: Mapping[Any, Any]) -> dict[str, str]:
    threshold = number(row["threshold"])
    low, high = number(row["f1_low"]), number(row["f1_high"])
    texts = {key: digits(row[key], PLACES) for key in ("precision", "recall", "f1", "f1_half", "ap", "expected_f1")}
    return {
        **texts,
        "class": str(row["class"]),
        "id": str(row["id"]),
        "threshold": "undefined" if threshold is None else digits(threshold, PLACES),
        "train": _whole(row["train"]),
        "support": _whole(row["support"]),
        "f1_range": "" if low is None or high is None else f"[{digits(low, PLACES)}, {digits(high, PLACES)}]",
    }


def _whole(value_: Any) -> str:
    known = number(value_)
    return "–" if known is None else f"{known:,.0f}"


def gains(run: Run) -> list[dict[str, Any]]:
    """Return what the thresholds of each head gain over 0.5, on images that they were not fitted on.

    Each has ``head``, ``words``, ``key`` (``good``, ``unsure``, ``bad``), ``rows`` (``where``, ``own``, ``half``,
    ``gain``, ``classes``) and ``notes``.
    """
    found = []
    for head, spec in label_heads(run).items():
        rows, entries = [], {}
        for stage in ("test", "val"):
            own, half, gain = (run.metrics.get(f"{stage}/{head}/f1_macro{end}", {}) for end in ("", "_half", "_gain"))
            if number(own.get("value")) is None:
                continue
            entries[stage] = gain
            rows.append(
                {
                    "where": _where(stage, spec, own.get("groups")),
                    "own": value(own),
                    "half": value(half) if half else "–",
                    "gain": measure(gain) if gain else "–",
                    "classes": f"{own['classes']} of {own['of']}" if own.get("classes") and own.get("of") else "–",
                }
            )
        if rows:
            stage, gain = next(iter(entries.items()))
            found.append({"head": head, "rows": rows, **_verdict(stage, gain), "notes": _notes(spec, rows)})
    return found


def _fits(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("fitted")) and isinstance(spec.get("method"), str)


def _where(stage: str, spec: Mapping[str, Any], groups: int | None) -> str:
    if not _fits(spec):
        return f"{STAGE_WORDS[stage]} images; the thresholds were given, not fitted"
    if stage == "val" and groups == 1:
        return "validation images, all of one group, on which the thresholds were fitted themselves: they flatter"
    if stage == "val":
        return "validation images, each fifth of the groups judged by thresholds from the others (nested folds)"
    return f"{STAGE_WORDS[stage]} images, thresholds fitted on validation images"


def _verdict(stage: str, gain: Mapping[str, Any]) -> dict[str, str]:
    amount, low, high = (number(gain.get(key)) for key in ("value", "low", "high"))
    if amount is None:
        return {"key": "unsure", "words": "What the thresholds gain over 0.5 was not measured."}
    way = "gain" if amount >= 0 else "lose"
    words = (
        f"On {STAGE_WORDS[stage]} images the thresholds {way} {digits(abs(amount))} macro F1 over 0.5 for all classes"
    )
    if low is None or high is None:
        return {"key": "unsure", "words": f"{words}; with one group nothing says how certain that is."}
    if low <= 0 <= high:
        return {"key": "unsure", "words": f"{words}, which may be chance: 0 lies inside the interval."}
    return {"key": "good" if low > 0 else "bad", "words": f"{words}."}


def _notes(spec: Mapping[str, Any], rows: list[dict[str, str]]) -> list[str]:
    notes = []
    if any(row["classes"].split(" of ")[0] != row["classes"].split(" of ")[-1] for row in rows):
        notes.append("Classes without an image in a split have no F1 there and are left out of its means.")
    thresholds = np.array([number(item) is None for item in spec.get("thresholds") or ()], dtype=bool)
    absent = [name for name, undefined in zip(spec["columns"], thresholds, strict=False) if undefined]
    if absent:
        notes.append(f"No threshold, because no validation image has it, so never predicted: {', '.join(absent)}.")
    return notes
