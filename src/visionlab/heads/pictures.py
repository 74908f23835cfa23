"""Pictures of single samples: what each kind of head shows of one, in one grid.

Each kind has a module ``pictures`` with ``show`` (what is shown of samples, :data:`Show`) and ``pictures`` (which of a
split's samples are worth a look once it is measured, :data:`Pictures`). They are given arrays and functions: none of
them predicts or reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from visionlab.drawing.gallery import CELL, Item, Panel, gallery
from visionlab.heads import KINDS, load
from visionlab.heads.figures import HeadTables, Scores, Spec

Array = npt.NDArray[Any]

BEST_WORST = 6
"""Samples predicted best, and worst, that are shown; half as many where a sample takes a row of pictures."""


@dataclass(frozen=True)
class Sample:
    """A sample for looking at.

    Attributes:
        name: its id.
        inputs: what the network sees, H x W or H x W x 3 each, 0 to 1.
        true: target -> K values, or a map, H x W: NaN where unknown.
        pred: head -> K decoded values, or maps, K x H x W; empty where nothing is predicted.
        scores: head -> a short text, e.g. ``IoU 0.93``.
        pixel: width of a pixel in um; None where unknown.
    """

    name: str
    inputs: Mapping[str, npt.NDArray[np.float32]]
    true: Mapping[str, Array]
    pred: Mapping[str, Array] = field(default_factory=dict)
    scores: Mapping[str, str] = field(default_factory=dict)
    pixel: float | None = None

    @property
    def image(self) -> npt.NDArray[np.float32]:
        """The first input."""
        return next(iter(self.inputs.values()))


@dataclass(frozen=True)
class Parts:
    """What is shown of samples for one head: pictures and lines of text of each, colours' meanings, a note."""

    panels: Sequence[Sequence[Panel]]
    lines: Sequence[Sequence[str]]
    legend: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    cell: float = CELL


Show = Callable[[str, Spec, Sequence[Sample]], Parts]


@dataclass(frozen=True)
class Measured:
    """A split that was measured, and how to look at its samples.

    Attributes:
        caption: what stands under pictures: split, data, how images are made visible.
        split: its name.
        folder: of the run.
        heads: the heads, name -> object; ``specs``: name -> entry of run.json.
        table: predictions/<split>.csv.
        frames: predictions/<split>_frames.csv; None where there is none.
        place: row of the index -> place in the table.
        sample: place in the table -> the sample with what is predicted for it.
        times: names of time points -> them, see :class:`visionlab.data.definition.Frame`.
        maps: (time point, head) -> its decoded maps, Z x K x H x W.
        attention: (place in the table, head, number of the column) -> where the network looked for it, H x W, 0 to 1.
    """

    caption: str
    split: str
    folder: Path
    heads: Mapping[str, Any]
    specs: Mapping[str, Spec]
    table: pd.DataFrame
    frames: pd.DataFrame | None
    place: Mapping[int, int]
    sample: Callable[[int], Sample]
    times: Callable[[set[str]], Iterator[Any]]
    maps: Callable[[Any, str], Array]
    attention: Callable[[int, str, int], Array]

    def tables(self, head: str) -> HeadTables:
        """Return the table as figures read it."""
        return HeadTables(head, self.specs[head], self.split, self.table, {}, "")


Pictures = Callable[[Measured], dict[str, Callable[[], Figure]]]


def pictures_of(kind: str) -> Any:
    """Return the module ``pictures`` of a kind."""
    return load(KINDS[kind].figures.replace(".figures", ".pictures"))


def grid(sections: Mapping[str, Sequence[Sample]], specs: Mapping[str, Spec], title: str, *notes: str) -> Figure:
    """Draw samples with what each head shows of them: their inputs, then truth and predictions.

    Args:
        sections: heading, may be empty -> samples, all with the same inputs and targets.
        specs: head -> its entry of run.json.
        title: over the figure.
        notes: under it; what the heads show is added.
    """
    samples = [sample for part in sections.values() for sample in part]
    parts = [pictures_of(str(spec["kind"])).show(head, spec, samples) for head, spec in specs.items()]
    items = []
    for i, sample in enumerate(samples):
        panels = [panel for part in parts for panel in part.panels[i]]
        several = len(sample.inputs) + len(panels) > 1
        inputs = [Panel(image, name if several else "", pixel=sample.pixel) for name, image in sample.inputs.items()]
        items.append(Item(sample.name, inputs + panels, [line for part in parts for line in part.lines[i]]))
    rest = iter(items)
    return gallery(
        {heading: [next(rest) for _ in part] for heading, part in sections.items()},
        title,
        *notes,
        *dict.fromkeys(part.note for part in parts),
        legend={words: colour for part in parts for words, colour in part.legend.items()},
        cell=max(part.cell for part in parts),
    )


def order(m: Measured) -> npt.NDArray[np.intp]:
    """Return the places of the samples from best to worst, by the mean of their ranks in each head."""
    ranks = []
    for head in m.specs:
        scores = Scores.of(m.tables(head))
        values = pd.Series(-scores.values if scores.rising else scores.values)
        ranks.append(values.rank().fillna(len(values) / 2))
    return np.argsort(np.mean(ranks, axis=0), kind="stable")


def best_worst(m: Measured) -> dict[str, Callable[[], Figure]]:
    """Return the picture of the samples that were predicted best and worst."""
    ranked = [int(place) for place in order(m)]

    def draw() -> Figure:
        wide = any(values.ndim > 1 for values in m.sample(0).true.values())
        count = min(BEST_WORST // (2 if wide else 1), len(ranked) // 2)
        sections = {"Predicted best": ranked[: max(1, count)], "Predicted worst": ranked[::-1][:count]}
        samples = {heading: [m.sample(place) for place in places] for heading, places in sections.items() if places}
        return grid(samples, m.specs, f"Best and worst images of the {m.split} split", m.caption)

    return {"best_worst": draw}


def spread(count: int, wanted: int) -> npt.NDArray[np.intp]:
    """Return up to ``wanted`` of the numbers below ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))
