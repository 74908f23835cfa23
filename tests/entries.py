"""Entries of ``metrics.json`` from rows alone, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionlab.heads import KINDS
from visionlab.metrics.multilabel import counted_classes
from visionlab.metrics.regression import sign_accuracy
from visionlab.metrics.summary import entry

Array = np.ndarray[Any, Any]


def arrays(kind: str, rows: Array) -> tuple[Array, ...]:
    """Return what the metrics of a kind take: of numbers the true and the predicted ones, of others the rows."""
    true, pred = np.split(rows, 2, axis=1) if kind == "regression" else (rows, rows)
    return (true, pred) if kind == "regression" else (rows,)


def summarise(
    rows: Mapping[str, tuple[Array, Array]],
    heads: Mapping[str, Mapping[str, Any]],
    groups: Sequence[Any],
    stage: str,
    data: str,
) -> dict[str, dict[str, Any]]:
    """Return ``stage/head/metric`` (and ``stage/head/column/metric`` of several columns) -> entry.

    Args:
        rows: head -> rows of the model's predictions and of the baseline's, one a sample.
        heads: of each ``kind``, ``columns``, ``unit``, ``metrics`` and perhaps ``margin``.
        groups: of the samples.
        stage: of the run.
        data: what the numbers are about.
    """
    found = {}
    for head, spec in heads.items():
        kind, columns = spec["kind"], spec["columns"]
        model, base = (arrays(kind, part) for part in rows[head])
        for name in spec["metrics"]:
            metric = KINDS[kind].metrics[name]
            if name == "sign_accuracy" and spec.get("margin") is not None:
                metric = sign_accuracy(spec["margin"])
            parts = {name: slice(None)}
            if kind == "regression" and len(columns) > 1:
                parts |= {f"{column}/{name}": slice(k, k + 1) for k, column in enumerate(columns)}
            for key, part in parts.items():
                own, other = ([array[:, part] for array in of] for of in (model, base))
                about = entry(metric, own, other, groups, spec.get("unit") or "")
                if kind == "multilabel":
                    about |= {"classes": counted_classes(name, model[0]), "of": len(columns)}
                found[f"{stage}/{head}/{key}"] = {**about, "data": data}
    return found
