"""What the figures of a head are drawn from: a table of predictions and what run.json says of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visionlab.drawing.text import count

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Part:
    """One column of one head in the table of one split; of a head of classes all of them.

    Attributes:
        table: predictions/<split>.csv.
        head, column: names.
        spec: the head's entry of run.json: kind, columns, unit, metrics.
        stage: ``test``, ``val``.
        metrics: metric -> its entry of metrics.json for this column; may lack any.
        synthetic: whether the data is a generated sample.
        classes: predictions/<split>_classes.csv, for a head of classes.
        frames: predictions/<split>_frames.csv, for a head of instances.
    """

    table: pd.DataFrame
    head: str
    column: str
    spec: Mapping[str, Any]
    stage: str
    metrics: Mapping[str, dict[str, Any]]
    synthetic: bool
    classes: pd.DataFrame | None = None
    frames: pd.DataFrame | None = None


def table_caption(stage: str, images: int, groups: int, left_out: str, synthetic: bool) -> str:
    """Return the line under a figure of predictions; ``left_out`` says what could not be drawn, if anything."""
    parts = [f"{stage}: {count(images, 'image')} of {count(groups, 'group')}", left_out]
    return " · ".join(filter(None, [*parts, "generated sample" if synthetic else ""]))
