"""Predictions for a whole labelled split, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.module import ImageDataModule
from visionlab.data.store import write_text
from visionlab.inference.predictor import Predictor
from visionlab.metrics.summary import summarise
from visionlab.modules.heads import Head

Rows = dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def measure_split(predictor: Predictor, data: ImageDataModule, split: str) -> Rows:
    """Return {head: (rows of the model's predictions, rows of the baseline's)} of a split, N x S each, see ``Head``."""
    parts: dict[str, tuple[list[Any], list[Any]]] = {head.name: ([], []) for head in predictor.heads}
    loader = data.loader(split)
    for batch in progress(loader, len(loader), f"predicting {split}"):
        for name, rows in predictor.measure(batch["image"], batch["target"]).items():
            for part, found in zip(parts[name], rows, strict=True):
                part.append(found.double().numpy())
    return {name: (np.concatenate(model), np.concatenate(base)) for name, (model, base) in parts.items()}


def predictions_table(heads: Sequence[Head], rows: Rows, data: ImageDataModule, split: str) -> pd.DataFrame:
    """Return one row a sample of a split: id, group, split, path, and what each head says of it."""
    table = data.table.iloc[data.rows[split]][["id", "group", "split", "path"]].reset_index(drop=True)
    columns = {column: values for head in heads for column, values in head.table(rows[head.name][0]).items()}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def describe_heads(heads: Sequence[Head]) -> dict[str, dict[str, Any]]:
    """Return {head: kind, columns, unit, metrics, ...} for ``run.json`` and the metrics."""
    return {head.name: head.describe() for head in heads}


def evaluate_split(predictor: Predictor, data: ImageDataModule, split: str, folder: Path) -> dict[str, Any]:
    """Predict a split, write ``predictions/<split>.csv`` into ``folder`` and return its entries of ``metrics.json``."""
    rows = measure_split(predictor, data, split)
    table = predictions_table(predictor.heads, rows, data, split)
    write_text(folder / "predictions" / f"{split}.csv", table.to_csv(index=False, float_format="%.7g"))
    metrics: dict[str, Any] = summarise(
        rows, describe_heads(predictor.heads), table["group"].tolist(), split, data.name
    )
    return metrics
