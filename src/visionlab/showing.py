"""Samples of a data module as reports and TensorBoard show them: numbers under images, maps beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from visionlab.data.module import ImageDataModule
from visionlab.inference import Predictor
from visionlab.metrics import METRICS
from visionlab.modules.heads import Head
from visionlab.reports.images import best_worst, examples
from visionlab.reports.maps import MapShown, Shown, best_worst_maps, map_examples
from visionlab.reports.text import digits, key_metric, metric_label, with_unit

Array = np.ndarray[Any, Any]

_ROWS = 4  # best and worst samples with maps


def shown(
    data: ImageDataModule,
    row: int,
    units: Mapping[str, str],
    predicted: Mapping[str, Array] | None = None,
    scores: Mapping[str, str] | None = None,
) -> Shown:
    """Return a sample with its maps, as it stands in the index.

    Args:
        data: set up.
        row: of the index.
        units: head -> unit of its map.
        predicted: head -> H x W, decoded.
        scores: head -> a short text.
    """
    maps = {
        name: MapShown(
            kind=data.maps[name],
            unit=units.get(name, ""),
            true=stored.map(row, 0.5, 0.5),
            pred=predicted[name] if predicted else None,
        )
        for name, stored in data.stored_maps.items()
        if name in units
    }
    inputs = {name: stored.image(row, 0.5, 0.5) for name, stored in zip(data.inputs, data.images, strict=True)}
    return Shown(name=str(data.table["id"].iloc[row]), inputs=inputs, maps=maps, scores=scores or {})


def example_figure(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    """Return a mosaic of a few samples of each split, evenly spread, as the network sees them but for augmentation.

    Args:
        data: set up.
        units: head -> its unit.
    """
    target = next(iter(data.targets), None)
    chosen = [
        (split, place, int(rows[place]))
        for split, rows in data.rows.items()
        for place in _spread(len(rows), 6 if target else 3)
    ]
    if target is None:
        samples = [shown(data, row, units) for _, _, row in chosen]
        return map_examples(
            samples,
            [f"{split}: {sample.name}" for (split, _, _), sample in zip(chosen, samples, strict=True)],
            caption=f"{data.name}: samples of each split",
        )
    images = [data.images[0].image(row, 0.5, 0.5) for _, _, row in chosen]
    titles = [f"{split}: {data.values(target, split)[place, 0]:.4g}" for split, place, _ in chosen]
    return examples(images, titles, caption=f"{data.name}: images of each split with {target}")


def best_worst_figure(folder: Path, predictor: Predictor, data: ImageDataModule, split: str) -> Any:
    """Return the samples whose predictions in ``predictions/<split>.csv`` are best and worst."""
    table = pd.read_csv(folder / "predictions" / f"{split}.csv", dtype={"id": str})
    rows = data.rows[split]
    caption = f"{split}: {data.name}"
    if predictor.model.dense:
        order = _by_score(table, predictor.heads)
        count = min(_ROWS, len(order) // 2)
        best, worst = order[: max(1, count)], order[::-1][:count]
        return best_worst_maps(
            [predicted_sample(predictor, data, table, int(place), int(rows[place])) for place in best],
            [predicted_sample(predictor, data, table, int(place), int(rows[place])) for place in worst],
            caption=caption,
        )
    head = predictor.heads[0]
    column = head.columns[0]
    windows = _Lazy(lambda place: data.images[0].image(int(rows[place]), 0.5, 0.5))
    true, pred = table[f"{column}_true"].to_numpy(), table[f"{column}_pred"].to_numpy()
    return best_worst(windows, true, pred, table["id"].tolist(), head.unit, caption=caption)


def predicted_sample(predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, place: int, row: int) -> Shown:
    """Return a sample with what is predicted for it.

    Args:
        predictor: of a dense network.
        data: set up.
        table: of predictions.
        place: of the sample in the table.
        row: of the sample in the index.
    """
    from visionlab.data.stored import joined

    images = [stored.image(row, 0.5, 0.5) for stored in data.images]
    decoded = predictor.decode(torch.from_numpy(joined(images))[None])
    scores = {head.name: _score(head, table, place) for head in predictor.heads}
    maps = {name: values[0, 0].numpy() for name, values in decoded.items()}
    return shown(data, row, {head.name: head.unit for head in predictor.heads}, maps, scores)


def _score(head: Head, table: pd.DataFrame, place: int) -> str:
    metric = key_metric(head.describe())
    value = table[f"{head.name}_{metric}"].iloc[place]
    unit = head.unit if METRICS[head.kind][metric].in_unit else ""
    return f"{metric_label(metric, short=True)} {with_unit(digits(value), unit)}"


def _by_score(table: pd.DataFrame, heads: Sequence[Head]) -> Array:
    """Return the places of the samples from best to worst, by the mean of their ranks in each head's key metric."""
    ranks = []
    for head in heads:
        metric = key_metric(head.describe())
        values = table[f"{head.name}_{metric}"]
        ascending = METRICS[head.kind][metric].better == "min"
        ranks.append(values.rank(ascending=ascending, na_option="keep").fillna(len(values) / 2))
    return np.argsort(np.mean(ranks, axis=0), kind="stable")


def _spread(count: int, wanted: int) -> Array:
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))


class _Lazy:
    """Images that are read when asked for."""

    def __init__(self, read: Callable[[int], Any]) -> None:
        self._read = read

    def __getitem__(self, index: int, /) -> Any:
        return self._read(index)
