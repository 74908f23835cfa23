"""Predictions for a whole labelled split, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.module import ImageDataModule
from visionlab.files import write_text
from visionlab.heads.head import Head
from visionlab.heads.instances.head import InstanceHead
from visionlab.inference.predictor import Predictor
from visionlab.metrics.summary import summarise
from visionlab.training.time_points import measure_frames

# The split on whose scores heads fit what they fit after training.
FITTED_ON = "val"

# Columns of an index that say where a sample stands in a recording; data sets of single images have none.
PLACES = ("frame", "sequence", "time", "z")

Rows = dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def measure_split(predictor: Predictor, data: ImageDataModule, split: str) -> Rows:
    """Return {head: (rows of the model's predictions, of the baseline's)} of a split, N x S each, see ``Head.rows``.

    Heads that are judged on whole time points are left out: :mod:`visionlab.training.time_points` is for them.
    """
    parts: dict[str, tuple[list[Any], list[Any]]] = {head.name: ([], []) for head in predictor.heads if not head.whole}
    if not parts:
        return {}
    loader = data.loader(split)
    for batch in progress(loader, len(loader), f"predicting {split}"):
        for name, rows in predictor.measure(batch["image"], batch["target"]).items():
            for part, found in zip(parts[name], rows, strict=True):
                part.append(found.double().numpy())
    return {name: (np.concatenate(model), np.concatenate(base)) for name, (model, base) in parts.items()}


def predictions_table(heads: Sequence[Head], rows: Rows, data: ImageDataModule, split: str) -> pd.DataFrame:
    """Return one row a sample of a split: id, group, split, path, ``PLACES`` that the index has, and what heads say."""
    named = ["id", "group", "split", "path", *(name for name in PLACES if name in data.table)]
    table = data.table.iloc[data.rows[split]][named].reset_index(drop=True)
    columns = {column: values for head in heads for column, values in head.table(rows[head.name][0]).items()}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def judged(heads: Sequence[Head], rows: Rows, groups: Sequence[str] | None) -> Rows:
    """Return what metrics and tables are made of, from the rows of :func:`measure_split`; see ``Head.judge``."""
    return {
        head.name: (head.judge(rows[head.name][0], groups), head.judge_baseline(rows[head.name][1]))
        for head in heads
        if head.name in rows
    }


def describe_heads(heads: Sequence[Head]) -> dict[str, dict[str, Any]]:
    """Return {head: kind, columns, unit, metrics, ...} for ``run.json`` and the metrics."""
    return {head.name: head.describe() for head in heads}


def evaluate_split(
    predictor: Predictor, data: ImageDataModule, split: str, folder: Path, rows: Rows | None = None
) -> dict[str, Any]:
    """Predict a split, write ``predictions/<split>.csv`` into ``folder`` and return its entries of ``metrics.json``.

    Of heads that are judged on whole time points, ``predictions/<split>_frames.csv`` is written too.

    Args:
        predictor: with thresholds, where it has any, fitted already.
        data: set up.
        split: of the run's own data; only its ``val`` is what thresholds were fitted on.
        folder: a run folder.
        rows: of :func:`measure_split`, if they are known already.
    """
    rows = measure_split(predictor, data, split) if rows is None else rows
    groups = data.table["group"].iloc[data.rows[split]].tolist()
    rows = judged(predictor.heads, rows, groups if split == FITTED_ON else None)
    for head in predictor.heads:
        if isinstance(head, InstanceHead):
            found = measure_frames(predictor, data, split, head)
            rows[head.name] = (found.model, found.baseline)
            path = folder / "predictions" / f"{split}_frames.csv"
            write_text(path, found.frames.to_csv(index=False, float_format="%.7g"))
    table = predictions_table(predictor.heads, rows, data, split)
    write_text(folder / "predictions" / f"{split}.csv", table.to_csv(index=False, float_format="%.7g"))
    for head in predictor.heads:
        details = head.details(rows[head.name][0], groups)
        if details is not None:
            path = folder / "predictions" / f"{split}_classes.csv"
            write_text(path, details.to_csv(index=False, float_format="%.7g"))
    metrics: dict[str, Any] = summarise(rows, describe_heads(predictor.heads), groups, split, data.name)
    return metrics
