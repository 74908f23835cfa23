"""Predictions for a whole labelled split: what heads fit on them, and what they are worth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from visionlab.console import progress
from visionlab.data.frames import Frame
from visionlab.data.module import ImageDataModule
from visionlab.files import write_text
from visionlab.heads.head import Array, Evaluation, Head, Split
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.predictor import Predictor
from visionlab.inference.tiles import predict_frame
from visionlab.training.checkpoints import AtomicCheckpointIO

# The split on whose scores heads fit what they fit after training.
FITTED_ON = "val"

# Columns of an index that say where a sample stands in a recording; data sets of single images have none.
PLACES = ("frame", "sequence", "time", "z")

Rows = dict[str, tuple[Array, Array]]


def measure_split(predictor: Predictor, data: ImageDataModule, split: str) -> Rows:
    """Return {head: (rows of the model's predictions, of the baseline's)} of a split, N x S each, see ``Head.rows``.

    Heads ``by_time_point`` are left out.
    """
    parts: dict[str, tuple[list[Any], list[Any]]] = {
        head.name: ([], []) for head in predictor.heads if not head.by_time_point
    }
    if not parts:
        return {}
    loader = data.loader(split)
    for batch in progress(loader, len(loader), f"predicting {split}"):
        for name, rows in predictor.measure(batch["image"], batch["target"]).items():
            for part, found in zip(parts[name], rows, strict=True):
                part.append(found.double().numpy())
    return {name: (np.concatenate(model), np.concatenate(base)) for name, (model, base) in parts.items()}


def split_of(head: Head, predictor: Predictor, data: ImageDataModule, split: str, rows: Rows) -> Split:
    """Return what a head is fitted on and evaluated by.

    Args:
        head: of the predictor.
        predictor: whose maps of time points are asked for.
        data: set up.
        split: of the run's own data; only its ``val`` is what heads are fitted on.
        rows: of :func:`measure_split`.
    """
    table = data.table.iloc[data.rows[split]]
    names = table["frame"].drop_duplicates().tolist() if "frame" in table else []

    def frames(only: Collection[str] | None) -> Iterator[Frame]:
        count = len(names) if only is None else len(only)
        yield from progress(data.frames(split, only), count, f"finding {head.name} in {split}")

    none = np.zeros((0, 0))
    return Split(
        table["group"].tolist(),
        *rows.get(head.name, (none, none)),
        fitted_on=split == FITTED_ON,
        samples={int(row): number for number, row in enumerate(data.rows[split])},
        times=names,
        frames=frames,
        maps=lambda frame: predict_frame(predictor, frame.image)[head.name],
    )


def fit_heads(checkpoint: Path, predictor: Predictor, data: ImageDataModule, rows: Rows) -> None:
    """Let the heads that fit something do so on the validation split, and write it into their checkpoint.

    Args:
        checkpoint: that ``predictor`` was loaded from.
        predictor: whose heads are changed.
        data: set up.
        rows: of the validation split, see :func:`measure_split`.
    """
    heads = [head for head in predictor.heads if head.fits]
    if not heads:
        return
    content = read_checkpoint(checkpoint)
    for head in heads:
        head.fit(split_of(head, predictor, data, FITTED_ON, rows))
        for name, value in head.state_dict().items():
            content["state_dict"][f"model.heads.{head.name}.{name}"] = value.cpu()
    AtomicCheckpointIO().save_checkpoint(content, checkpoint)


def predictions_table(
    heads: Sequence[Head], found: dict[str, Evaluation], data: ImageDataModule, split: str
) -> pd.DataFrame:
    """Return one row a sample of a split: id, group, split, path, ``PLACES`` that the index has, and what heads say."""
    named = ["id", "group", "split", "path", *(name for name in PLACES if name in data.table)]
    table = data.table.iloc[data.rows[split]][named].reset_index(drop=True)
    columns = {column: values for head in heads for column, values in head.table(found[head.name].model).items()}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def describe_heads(heads: Sequence[Head]) -> dict[str, dict[str, Any]]:
    """Return {head: kind, columns, unit, metrics, ...} for ``run.json`` and the metrics."""
    return {head.name: head.describe() for head in heads}


def evaluate_split(
    predictor: Predictor, data: ImageDataModule, split: str, folder: Path, rows: Rows | None = None
) -> dict[str, Any]:
    """Predict a split, write ``predictions/<split>.csv`` into ``folder`` and return its entries of ``metrics.json``.

    Heads' tables of something else than samples (classes, time points) become ``predictions/<split>_<table>.csv``.

    Args:
        predictor: with what is fitted, where there is any, fitted already.
        data: set up.
        split: of the run's own data.
        folder: a run folder.
        rows: of :func:`measure_split`, if they are known already.

    Returns:
        ``split/head/metric`` (and ``split/head/column/metric``) -> see :func:`visionlab.metrics.summary.entry`.
    """
    rows = measure_split(predictor, data, split) if rows is None else rows
    groups = data.table["group"].iloc[data.rows[split]].tolist()
    found = {head.name: head.evaluate(split_of(head, predictor, data, split, rows)) for head in predictor.heads}
    tables = {split: predictions_table(predictor.heads, found, data, split)}
    tables |= {f"{split}_{name}": table for one in found.values() for name, table in one.tables.items()}
    for name, table in tables.items():
        write_text(folder / "predictions" / f"{name}.csv", table.to_csv(index=False, float_format="%.7g"))
    return {
        f"{split}/{head.name}/{name}": {**entry, "data": data.name}
        for head in predictor.heads
        for name, entry in head.summarise(found[head.name], groups).items()
    }
