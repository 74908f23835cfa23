"""Pictures of dense predictions: inputs, target, prediction and difference side by side, one row a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from visionlab.drawing import style
from visionlab.drawing.images import stretch, stretch_words
from visionlab.drawing.sheet import Panel, Row, Scale, Section, sheet
from visionlab.drawing.style import styled
from visionlab.drawing.text import shorten

Array = npt.NDArray[np.float32]

THRESHOLD = 0.5
"""A probability from here on is foreground, in the differences of masks."""
DEPTH_COLOURS, ERROR_COLOURS = "viridis", "RdBu_r"
LOW, HIGH = 2.0, 98.0
"""Percentiles of the target between which depths are coloured, and of the error's size where its colours end."""
EXAMPLE_COLUMNS = 8

# Okabe & Ito's; errors are bright and opaque, what is right lets the image through.
FOUND, FALSE, MISSED = "#56B4E9", "#D55E00", "#F0E442"


@dataclass(frozen=True)
class MapShown:
    """One map of a sample.

    Attributes:
        kind: of its head, ``mask`` or ``depth``.
        unit: of a depth; empty for a mask.
        true: H x W target, NaN where unknown; a mask holds 0 and 1.
        pred: H x W prediction, a probability for a mask; None where nothing is predicted.
    """

    kind: str
    unit: str
    true: Array
    pred: Array | None = None


@dataclass(frozen=True)
class Shown:
    """A sample as it is shown.

    Attributes:
        name: its id.
        inputs: what the network sees, e.g. ``image`` and ``background``, each H x W x C; differences of masks are drawn
            on the first.
        maps: head -> its map.
        scores: head -> a short text, e.g. ``IoU 0.93``.
    """

    name: str
    inputs: Mapping[str, npt.NDArray[Any]]
    maps: Mapping[str, MapShown]
    scores: Mapping[str, str] = field(default_factory=dict)


@styled
def map_grid(samples: Sequence[Shown], caption: str, title: str = "") -> Figure:
    """One row a sample: its inputs, and of each map target, prediction and difference.

    Args:
        samples: all with the same inputs and maps.
        caption: the line under the figure; what the colours mean is added.
        title: over the figure.

    Raises:
        ValueError: no sample, or a kind of map that nobody can draw.
    """
    return _grid([(title, samples)], caption)


@styled
def best_worst_maps(best: Sequence[Shown], worst: Sequence[Shown], caption: str) -> Figure:
    """The samples predicted best over those predicted worst; errors have the same colours in all rows.

    Raises:
        ValueError: no sample, or a kind of map that nobody can draw.
    """
    return _grid([("Predicted best", best), ("Predicted worst", worst)], caption)


@styled
def map_examples(samples: Sequence[Shown], titles: Sequence[str], caption: str) -> Figure:
    """Samples with their targets, each under its title, several in a row where they fit.

    Raises:
        ValueError: no sample, not one title a sample, or a kind of map that nobody can draw.
    """
    if not samples or len(samples) != len(titles):
        raise ValueError(f"expected samples and one title for each, found {len(samples)} and {len(titles)}")
    tiles = [_panels(sample, {}, title) for sample, title in zip(samples, titles, strict=True)]
    across = max(1, EXAMPLE_COLUMNS // len(tiles[0]))
    rows = [list(chain.from_iterable(tiles[i : i + across])) for i in range(0, len(tiles), across)]
    return sheet([Section("", rows)], _caption(samples, caption), _legend(samples))


def _grid(sections: Sequence[tuple[str, Sequence[Shown]]], caption: str) -> Figure:
    samples = [sample for _, chosen in sections for sample in chosen]
    if not samples:
        raise ValueError("expected at least one sample")
    reach = _reach(samples)
    rows = [Section(title, [_panels(s, reach) for s in chosen]) for title, chosen in sections if chosen]
    return sheet(rows, _caption(samples, caption), _legend(samples))


def _panels(sample: Shown, reach: Mapping[str, float], title: str | None = None) -> Row:
    """Return what is shown of a sample: each input, then each head's panels, the first of which names the group."""
    room = 11 * len(sample.inputs) if title is None else 40
    label = shorten(sample.name if title is None else title, max(room, 20))
    first = next(iter(sample.inputs.values()))
    row = [Panel(name, stretch(image)) for name, image in sample.inputs.items()]
    row[0] = replace(row[0], group="", label=label)
    for head, shown in sample.maps.items():
        if shown.kind not in KINDS:
            raise ValueError(f"map '{head}': expected a kind of {', '.join(KINDS)}, found '{shown.kind}'")
        start, *others = KINDS[shown.kind](shown, first, reach.get(head, 0.0))
        row += [replace(start, group=head, label=sample.scores.get(head, "")), *others]
    return row


def _mask(shown: MapShown, image: npt.NDArray[Any], reach: float) -> Row:
    grey = Scale("gray", 0.0, 1.0)
    row = [Panel("target", shown.true, grey)]
    if shown.pred is not None:
        row.append(Panel("prediction", shown.pred, grey))
        row.append(Panel("difference", _overlay(image, shown.true, shown.pred)))
    return row


def _overlay(image: npt.NDArray[Any], true: Array, pred: Array) -> Array:
    """Return H x W x 4: the image in grey under the colours of what was found, falsely found and missed.

    Unknown pixels are transparent.
    """
    height, width = true.shape
    pixels = stretch(image)
    grey = pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    # Maps may be of another size than the image.
    grey = grey[np.arange(height) * len(grey) // height][:, np.arange(width) * grey.shape[1] // width]
    result = np.repeat(0.12 + 0.6 * grey[..., None], 4, axis=2)
    result[..., 3] = np.isfinite(true)
    foreground, marked = true >= THRESHOLD, pred >= THRESHOLD
    for where, colour, opaque in (
        (foreground & marked, FOUND, 0.45),
        (~foreground & marked, FALSE, 0.9),
        (foreground & ~marked, MISSED, 0.9),
    ):
        result[where, :3] = (1 - opaque) * result[where, :3] + opaque * style.rgb(colour)
    return result.astype(np.float32)


def _depth(shown: MapShown, image: npt.NDArray[Any], reach: float) -> Row:
    known = shown.true[np.isfinite(shown.true)]
    if not len(known) and shown.pred is not None:
        known = shown.pred[np.isfinite(shown.pred)]
    low, high = map(float, np.percentile(known, [LOW, HIGH])) if len(known) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    scale = Scale(DEPTH_COLOURS, low, high, shown.unit)
    if shown.pred is None:
        return [Panel("target", shown.true, scale, bar=1)]
    error = Panel("difference", shown.pred - shown.true, Scale(ERROR_COLOURS, -reach, reach, shown.unit), bar=1)
    return [Panel("target", shown.true, scale, bar=2), Panel("prediction", shown.pred, scale), error]


KINDS: dict[str, Callable[[MapShown, npt.NDArray[Any], float], Row]] = {"mask": _mask, "depth": _depth}
"""Kind of a head -> the panels of its map, given the first input and where the colours of its error end."""


def _reach(samples: Sequence[Shown]) -> dict[str, float]:
    """Return for each head where the colours of its error end: the same in all rows, so that rows can be compared."""
    errors: dict[str, list[Array]] = {}
    for sample in samples:
        for head, shown in sample.maps.items():
            if shown.pred is not None:
                error = np.abs(shown.pred - shown.true)
                errors.setdefault(head, []).append(error[np.isfinite(error)])
    ends = {head: np.concatenate(parts) for head, parts in errors.items()}
    return {head: float(np.percentile(every, HIGH)) if every.any() else 1.0 for head, every in ends.items()}


def _legend(samples: Sequence[Shown]) -> list[Patch]:
    maps = [shown for sample in samples for shown in sample.maps.values()]
    handles = []
    if any(shown.kind == "mask" and shown.pred is not None for shown in maps):
        words = ("foreground found", "background taken for foreground", "foreground missed")
        handles = [Patch(color=colour, label=text) for colour, text in zip((FOUND, FALSE, MISSED), words, strict=True)]
    if any(np.isnan(shown.true).any() for shown in maps):
        handles.append(Patch(**style.UNKNOWN, label="unknown"))
    return handles


def _caption(samples: Sequence[Shown], caption: str) -> str:
    notes = [caption, stretch_words(next(iter(samples[0].inputs.values())).shape[2])]
    depths = [shown for sample in samples for shown in sample.maps.values() if shown.kind == "depth"]
    if depths:
        notes.append(f"colours of a depth from the {LOW:.0f}nd to the {HIGH:.0f}th percentile of its target")
    if any(shown.pred is not None for shown in depths):
        notes.append("difference: predicted − target")
    return " · ".join(note for note in notes if note)
