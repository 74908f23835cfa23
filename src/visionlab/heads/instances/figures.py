"""Figures of a head of instances: overlap by slice, time and group, and how well objects are found and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.population import population_figure
from visionlab.drawing.style import styled
from visionlab.drawing.text import count, decimals, digits, measure, number
from visionlab.heads.figures import (
    Drawing,
    Entry,
    Figures,
    HeadTables,
    Scores,
    Spec,
    quartile_band,
    score_histogram,
    scores_by_group,
    square,
)

if TYPE_CHECKING:
    import pandas as pd

OBJECT_METRICS = ("f1", "seg", "det")
"""Of a time point, in the order in which they are shown."""


def words(spec: Spec) -> Mapping[str, tuple[str, str]]:
    """Return the names of metrics: the overlap of slices is no overlap of objects."""
    solid = spec.get("dimensions") == 3
    slices, volumes, d = ("slices", "3D volumes", "3D") if solid else ("images", "2D images", "2D")
    return {
        "iou": ("2D IoU", f"2D IoU of {slices}"),
        "dice": ("2D Dice", f"2D Dice coefficient of {slices}"),
        "seg": (f"SEG ({d})", f"SEG ({volumes})"),
        "det": (f"DET ({d})", f"DET ({volumes})"),
    }


def sample(spec: Spec) -> str:
    """Return what a row of the table is called."""
    return "slice" if spec.get("dimensions") == 3 else "image"


def _whole(spec: Spec) -> str:
    """Return what a time point is called."""
    return "volume" if spec.get("dimensions") == 3 else "image"


def _frames(t: HeadTables, *, timed: bool) -> pd.DataFrame | None:
    """Return the time points whose objects are known; ``timed``: if they are several of one sequence."""
    if t.frames is None or "objects_true" not in t.frames:
        return None
    known = t.frames[t.frames["objects_true"].notna()]
    if timed:
        known = known[known["time"].to_numpy(float) >= 0] if "time" in known else known.iloc[:0]
        if not (known.groupby("sequence")["time"].nunique() > 1).any():
            return None
    return known if len(known) else None


def _caption(t: HeadTables, frames: pd.DataFrame) -> str:
    groups = count(frames["group"].nunique(), "group")
    return f"{t.split}: {count(len(frames), _whole(t.spec))} of {groups} · {t.data}"


def scores(t: HeadTables) -> Figure:
    return score_histogram(Scores.of(t, FIGURES), t.head, sample(t.spec))


def by_group(t: HeadTables) -> Figure | None:
    return scores_by_group(Scores.of(t, FIGURES), t.head)


@styled
def by_place(t: HeadTables) -> Figure | None:
    """Overlap by the slice's place in its volume and by time; F1, SEG and DET of whole objects by time."""
    key = FIGURES.key_metric(t.spec)
    values = t.table[f"{t.head}_{key}"].to_numpy(float)
    places = []
    for name, axis in (("z", "slice z"), ("time", "time point")):
        at = t.table[name].to_numpy(float) if name in t.table else np.full(len(values), -1.0)
        good = np.isfinite(values) & (at >= 0)
        if len(np.unique(at[good])) > 1:
            places.append((at[good], values[good], axis))
    frames = _frames(t, timed=True)
    if not places and frames is None:
        return None
    number_of = len(places) + (frames is not None)
    figure = style.new(1.4 + 3.4 * number_of, 4)
    grid = list(figure.subplots(1, number_of, sharey=True, squeeze=False)[0])
    label = FIGURES.label(key, t.spec, short=True)
    for axes, (at, score, axis) in zip(grid, places, strict=False):
        quartile_band(axes, at, score)
        axes.set(xlabel=axis, ylabel=label, title=f"{label} of {sample(t.spec)}s")
    if frames is not None:
        means = frames.groupby("time")[[name for name in OBJECT_METRICS if name in frames]].mean()
        for metric, marker in zip(means.columns, style.MARKERS, strict=False):
            grid[-1].plot(means.index, means[metric], marker=marker, markersize=4, label=metric.upper())
        grid[-1].set(xlabel="time point", title=f"objects of {_whole(t.spec)}s")
        grid[-1].legend(loc="best")
    for axes in grid:
        style.whole(axes.xaxis)
        axes.set_ylim(-0.02, 1.02)
    note = "line: median; band: middle half; objects: mean of the sequences"
    return style.finish(figure, f"{t.head} through the volume and in time", t.caption(note, sample=sample(t.spec)))


@styled
def counts(t: HeadTables) -> Figure | None:
    """Predicted against true number of objects in each time point."""
    frames = _frames(t, timed=False)
    if frames is None:
        return None
    true, pred = frames["objects_true"].to_numpy(float), frames["objects_pred"].to_numpy(float)
    figure = style.new(8.4, 5)
    axes = figure.subplots()
    square(axes, true, pred, frames["sequence"].to_numpy(str))
    axes.set(xlabel=f"true objects in a {_whole(t.spec)}", ylabel="predicted objects")
    style.whole(axes.xaxis, axes.yaxis)
    entry = t.metrics.get("count_error") or {"value": float(np.abs(pred - true).mean())}
    off = float((pred - true).mean())
    way = f", {digits(abs(off), decimals(off, 2))} too {'many' if off > 0 else 'few'}" if off else ""
    title = f"Count of {t.head}: mean error {measure(entry)}{way}"
    return style.finish(figure, title, f"{_caption(t, frames)} · on the line predicted = true")


def population(t: HeadTables) -> Figure | None:
    """True and predicted number of objects over time, a curve for each sequence."""
    frames = _frames(t, timed=True)
    if frames is None:
        return None
    parts = {str(name): part for name, part in frames.groupby(frames["sequence"].astype(str))}

    def curves(column: str) -> dict[str, dict[str, Any]]:
        return {name: {"objects": part[column].to_numpy(float)} for name, part in parts.items()}

    return population_figure(
        {name: part["time"].to_numpy(float) for name, part in parts.items()},
        curves("objects_pred"),
        true=curves("objects_true"),
        title=f"Objects of {t.head} over time",
        caption=_caption(t, frames),
    )


def caveats(head: str, spec: Spec, metrics: Mapping[str, Entry], classes: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield what the numbers are, and how the objects came about."""
    if spec.get("dimensions") == 3:
        yield (
            f"2D IoU of {head} counts pixels slice by slice, SEG and DET judge whole 3D objects: they are "
            "different things, and a value of one cannot be set beside a value of the other."
        )
    if spec.get("fitted"):
        found = spec.get("parameters")
        values = {name: number(value) for name, value in found.items()} if isinstance(found, dict) else {}
        text = ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
        yield (
            f"What turns maps into objects of {head} ({text}) was fitted on the validation split: "
            "validation figures of objects are optimistic, those of the test split are not."
        )
    else:
        yield f"Nothing of what turns maps into objects of {head} was fitted: a threshold of 0.5 and defaults."
    absent = [name for name in FIGURES.explained if _absent(name, metrics)]
    if "f1" in absent or "seg" in absent:
        yield f"The labels of {head} don't tell objects apart: only pixels are compared, no objects."
    elif absent:
        names = " and ".join(FIGURES.label(name, spec, short=True) for name in absent)
        yield f"Labels of {head} are of single slices, not of whole volumes: {names} cannot be known."


def _absent(metric: str, metrics: Mapping[str, Entry]) -> bool:
    """Return whether a metric was asked for, and is undefined in every split."""
    found = [entry for key, entry in metrics.items() if key.endswith(f"/{metric}")]
    return bool(found) and all(number(entry.get("value")) is None for entry in found)


def beside(old: Path, new: Path, head: str, names: Sequence[str], caption: str) -> Figure | None:
    """Return the slices that two runs kept, under the outlines of both."""
    from visionlab.heads.instances import pictures

    return pictures.beside(old, new, head, names, caption)


FIGURES = Figures(
    key="iou",
    baseline=("Otsu's threshold of each time point (which learns nothing)", "Otsu's threshold"),
    drawings={
        "scores": Drawing(scores, "How well the foreground of single slices overlaps with the truth."),
        "by_group": Drawing(by_group, "Each group's slices; the interval comes from these differences."),
        "by_place": Drawing(
            by_place, "Where in the volume and in time slices are segmented well, and objects found.", wide=True
        ),
        "counts": Drawing(counts, "Predicted against true number of objects; a perfect model is on the line."),
        "population": Drawing(population, "How many objects there are over time: true (points), predicted (lines)."),
    },
    pictures={
        "best_worst": "The time points predicted best and worst, each in the slice with most foreground.",
        "slices": "Slices of one volume, with the outlines of truth and prediction.",
        "volume": "All slices of one volume.",
    },
    words=words,
    sample=sample,
    caveats=caveats,
    beside=beside,
    explained=("precision", "recall", "f1", "seg", "det", "count_error"),
)
