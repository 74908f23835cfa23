"""Samples of a data module as reports and TensorBoard show them: numbers under images, maps and labels beside them.

What is shown depends on the kind of a head: ``EXAMPLES`` and ``PICTURES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from visionlab.console import LOG
from visionlab.data.module import ImageDataModule
from visionlab.drawing.images import best_worst, examples
from visionlab.drawing.maps import MapShown, Shown, best_worst_maps, map_examples
from visionlab.drawing.stains import composite
from visionlab.drawing.style import save
from visionlab.drawing.text import digits, key_metric, metric_label, with_unit
from visionlab.errors import UsageError
from visionlab.files import write_text
from visionlab.heads.head import Head
from visionlab.inference import Predictor
from visionlab.reports.output_pictures import best_worst_outputs
from visionlab.training.cell_pictures import instance_draws
from visionlab.training.cell_windows import instance_examples
from visionlab.training.label_pictures import LabelPictures, label_examples

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
            true=stored.map(row, *data.window(row)),
            pred=predicted[name] if predicted else None,
        )
        for name, stored in data.stored_maps.items()
        if name in units
    }
    inputs = {name: view(data, row, place) for place, name in enumerate(data.inputs)}
    return Shown(name=str(data.table["id"].iloc[row]), inputs=inputs, maps=maps, scores=scores or {})


def view(data: ImageDataModule, row: int, place: int = 0) -> Array:
    """Return an input of a sample for looking at, H x W x C: several stains as one picture in their colours.

    Args:
        data: set up.
        row: of the index.
        place: of the input among those of the network.
    """
    image = data.images[place].image(row, *data.window(row))
    if data.neighbours:
        # The sample itself, without what is seen above and below it.
        image = image[:, :, data.channels * data.neighbours : data.channels * (data.neighbours + 1)]
    return composite(image, data.channel_names) if data.channel_names else image


def example_figure(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    """Return a mosaic of a few samples of each split, evenly spread, as the network sees them but for augmentation.

    Args:
        data: set up.
        units: head -> its unit.
    """
    target = next(iter(data.targets), None)
    if target is not None:
        kind = data.kinds.get(target, "regression")
    else:
        kind = "instances" if "instances" in data.maps.values() else "maps"
    return EXAMPLES[kind](data, units)


def _map_examples(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    chosen = _chosen(data, 3)
    samples = [shown(data, row, units) for _, _, row in chosen]
    titles = [f"{split}: {sample.name}" for (split, _, _), sample in zip(chosen, samples, strict=True)]
    return map_examples(samples, titles, caption=f"{data.name}: samples of each split")


def _number_examples(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    target = next(iter(data.targets))
    chosen = _chosen(data, 6)
    columns = data.targets[target]
    values = {split: data.values(target, split) for split in data.rows}
    titles = [f"{split}: {' '.join(f'{value:.4g}' for value in values[split][place])}" for split, place, _ in chosen]
    images = [view(data, row) for _, _, row in chosen]
    named = f"{target} ({', '.join(columns)})" if len(columns) > 1 else target
    return examples(images, titles, caption=f"{data.name}: images of each split with {named}")


def _label_examples(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    return label_examples(data, next(iter(data.targets)), _chosen(data, 6), partial(view, data))


def _instance_examples(data: ImageDataModule, units: Mapping[str, str]) -> Any:
    return instance_examples(data, partial(view, data))


def _chosen(data: ImageDataModule, wanted: int) -> list[tuple[str, int, int]]:
    """Return split, place in it and row of the index of so many samples of each split."""
    return [
        (split, int(place), int(rows[place]))
        for split, rows in data.rows.items()
        for place in _spread(len(rows), wanted)
    ]


EXAMPLES: dict[str, Callable[[ImageDataModule, Mapping[str, str]], Any]] = {
    "maps": _map_examples,
    "regression": _number_examples,
    "multilabel": _label_examples,
    "instances": _instance_examples,
}
"""Kind of the head of numbers or labels, or ``maps`` or ``instances`` -> the figure of a few samples of each split."""


def save_pictures(folder: Path, predictor: Predictor, data: ImageDataModule, split: str) -> None:
    """Draw the pictures of single samples that a split's predictions call for into ``plots/``.

    Those of another split than ``test`` replace none. For labels, ``predictions/<split>_suspects.csv`` is written too;
    for instances ``plots/volume.gif`` and ``predictions/<split>_<head>_slices.npz``, which comparisons read.

    Args:
        folder: of a run or an evaluation; holds ``predictions/<split>.csv``.
        predictor: with thresholds, where it has any, fitted already.
        data: set up.
        split: its name.
    """
    table = pd.read_csv(folder / "predictions" / f"{split}.csv", dtype=dict.fromkeys(("id", "frame", "sequence"), str))
    make = dict.fromkeys(PICTURES[head.kind.name] for head in predictor.heads)
    for name, draw in (pair for one in make for pair in one(folder, predictor, data, table, split).items()):
        path = folder / "plots" / f"{name}.png"
        if split != "test" and path.is_file():
            continue
        try:
            save(draw(), path)
        except UsageError as error:
            LOG.info("%s is not drawn: %s", path.name, error)


Draws = dict[str, Callable[[], Any]]


def _map_pictures(folder: Path, predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, split: str) -> Draws:
    rows = data.rows[split]
    order = _by_score(table, predictor.heads)
    count = min(_ROWS, len(order) // 2)
    best, worst = order[: max(1, count)], order[::-1][:count]

    def draw() -> Any:
        return best_worst_maps(
            [predicted_sample(predictor, data, table, int(place), int(rows[place])) for place in best],
            [predicted_sample(predictor, data, table, int(place), int(rows[place])) for place in worst],
            caption=f"{split}: {data.name}",
        )

    return {"best_worst": draw}


def _number_pictures(
    folder: Path, predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, split: str
) -> Draws:
    head, rows = predictor.heads[0], data.rows[split]
    windows = _Lazy(lambda place: view(data, int(rows[place])))
    true, pred = (table[[f"{column}_{what}" for column in head.columns]].to_numpy(float) for what in ("true", "pred"))
    ids, caption = table["id"].tolist(), f"{split}: {data.name}"
    if len(head.columns) == 1:
        return {"best_worst": lambda: best_worst(windows, true[:, 0], pred[:, 0], ids, head.unit, caption=caption)}
    names = head.columns
    return {"best_worst": lambda: best_worst_outputs(windows, true, pred, names, ids, head.unit, caption=caption)}


def _label_pictures(
    folder: Path, predictor: Predictor, data: ImageDataModule, table: pd.DataFrame, split: str
) -> Draws:
    of_split = LabelPictures(predictor, data, table, split, partial(view, data))
    write_text(folder / "predictions" / f"{split}_suspects.csv", of_split.suspects_table())
    return of_split.draws()


PICTURES: dict[str, Callable[[Path, Predictor, ImageDataModule, pd.DataFrame, str], Draws]] = {
    "regression": _number_pictures,
    "mask": _map_pictures,
    "depth": _map_pictures,
    "multilabel": _label_pictures,
    "instances": instance_draws,
}
"""Kind of a head -> the pictures of single samples, by name, each drawn when called; see :func:`save_pictures`."""


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

    images = [stored.image(row, *data.window(row)) for stored in data.images]
    decoded = predictor.decode(torch.from_numpy(joined(images))[None])
    scores = {head.name: _score(head, table, place) for head in predictor.heads}
    maps = {name: values[0, 0].numpy() for name, values in decoded.items()}
    return shown(data, row, {head.name: head.unit for head in predictor.heads}, maps, scores)


def _score(head: Head, table: pd.DataFrame, place: int) -> str:
    metric = key_metric(head.describe())
    value = table[f"{head.name}_{metric}"].iloc[place]
    unit = head.unit if head.kind.metrics[metric].in_unit else ""
    return f"{metric_label(metric, short=True)} {with_unit(digits(value), unit)}"


def _by_score(table: pd.DataFrame, heads: Sequence[Head]) -> Array:
    """Return the places of the samples from best to worst, by the mean of their ranks in each head's key metric."""
    ranks = []
    for head in heads:
        metric = key_metric(head.describe())
        values = table[f"{head.name}_{metric}"]
        ascending = head.kind.metrics[metric].better == "min"
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
