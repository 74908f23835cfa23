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
from visionlab.modules.task_model import Head


def predict_split(predictor: Predictor, data: ImageDataModule, split: str) -> pd.DataFrame:
    """Return one row a sample of a split: id, group, split, path, ``<column>_true`` and ``_pred`` in user's units."""
    table = data.table.iloc[data.rows[split]][["id", "group", "split", "path"]].reset_index(drop=True)
    parts: dict[str, list[np.ndarray[Any, Any]]] = {head.name: [] for head in predictor.heads}
    loader = data.loader(split)
    for batch in progress(loader, len(loader), f"predicting {split}"):
        for name, values in predictor.decode(batch["image"]).items():
            parts[name].append(values.numpy())
    for head in predictor.heads:
        predicted = np.concatenate(parts[head.name])
        true = data.values(head.name, split)
        for k, column in enumerate(head.columns):
            table[f"{column}_true"] = true[:, k]
            table[f"{column}_pred"] = predicted[:, k]
    return table


def describe_heads(heads: Sequence[Head]) -> dict[str, dict[str, Any]]:
    """Return {head: kind, columns, unit, metrics, step} for ``run.json`` and the metrics."""
    return {
        head.name: {
            "kind": head.kind,
            "columns": list(head.columns),
            "unit": head.unit,
            "metrics": list(head.metrics),
            "step": head.step,
            "margin": head.step,
        }
        for head in heads
    }


def evaluate_split(predictor: Predictor, data: ImageDataModule, split: str, folder: Path) -> dict[str, Any]:
    """Predict a split, write ``predictions/<split>.csv`` into ``folder`` and return its entries of ``metrics.json``."""
    table = predict_split(predictor, data, split)
    write_text(folder / "predictions" / f"{split}.csv", table.to_csv(index=False, float_format="%.7g"))
    heads = describe_heads(predictor.heads)
    means = {
        column: float(mean)
        for head in predictor.heads
        for column, mean in zip(head.columns, head.mean.cpu().tolist(), strict=True)
    }
    metrics: dict[str, Any] = summarise(table, heads, split, means, data.name)
    return metrics
