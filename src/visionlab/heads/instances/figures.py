"""Figures of a head of instances: overlap by slice, time and group, and how well objects are found and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.population import population_figure
from visionlab.drawing.style import styled
from visionlab.drawing.text import count, measure, number
from visionlab.heads.figures import (
    Drawing,
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


def _counted(t: HeadTables) -> pd.DataFrame | None:
    """Return the time points whose objects are known; None: there are none."""
    if t.frames is None or "objects_true" not in t.frames:
        return None
    known = t.frames[t.frames["objects_true"].notna()]
    return known if len(known) else None


def _timed(t: HeadTables) -> pd.DataFrame | None:
    """Return the same if there are several of one sequence."""
    known = _counted(t)
    if known is None:
        return None
    known = known[known["time"] >= 0]
    return known if (known.groupby("sequence")["time"].nunique() > 1).any() else None


def _caption(t: HeadTables, frames: pd.DataFrame) -> str:
    what = "volume" if t.spec.get("dimensions") == 3 else "image"
    return f"{t.split}: {count(len(frames), what)} of {count(frames['group'].nunique(), 'group')} · {t.data}"


@styled
def by_place(t: HeadTables) -> Figure | None:
    """Overlap by the slice's place in its volume and by time; F1, SEG and DET of whole objects by time."""
    scores = Scores.of(t)
    places = []
    for name, axis in (("z", "slice z"), ("time", "time point")):
        at = t.table[name].to_numpy(float) if name in t.table else np.full(len(t.table), -1.0)
        good = np.isfinite(scores.values) & (at >= 0)
        if len(np.unique(at[good])) > 1:
            places.append((at[good], scores.values[good], axis))
    frames = _timed(t)
    panels = len(places) + (frames is not None)
    if not panels:
        return None
    figure, grid = style.grid(panels, panels, 3.8, 3, sharey=True)
    for axes, (at, values, axis) in zip(grid, places, strict=False):
        quartile_band(axes, at, values)
        axes.set(xlabel=axis, title=f"{scores.name} of {sample(t.spec)}s")
    if frames is not None:
        means = frames.groupby("time")[[name for name in OBJECT_METRICS if name in frames]].mean()
        for metric, marker in zip(means.columns, style.MARKERS, strict=False):
            grid[-1].plot(means.index, means[metric], marker=marker, markersize=4, label=metric.upper())
        grid[-1].set(xlabel="time point", title="objects")
        grid[-1].legend(loc="best")
    for axes in grid:
        style.whole(axes.xaxis)
        axes.set_ylim(-0.02, 1.02)
    note = "line: median; band: middle half; objects: mean of the sequences"
    return style.finish(figure, f"{t.head} through the volume and in time", t.caption(), note)


@styled
def counts(t: HeadTables) -> Figure | None:
    """Predicted against true number of objects in each time point."""
    frames = _counted(t)
    if frames is None:
        return None
    true, pred = frames["objects_true"].to_numpy(float), frames["objects_pred"].to_numpy(float)
    figure = style.new(7.6, 4.8)
    axes = figure.subplots()
    square(axes, true, pred, frames["sequence"].to_numpy(str))
    axes.set(xlabel="true objects of a time point", ylabel="predicted objects")
    style.whole(axes.xaxis, axes.yaxis)
    entry = t.metrics.get("count_error") or {"value": float(np.abs(pred - true).mean())}
    title = f"Count of {t.head}: mean error {measure(entry)}"
    return style.finish(figure, title, _caption(t, frames), "on the line predicted = true")


def population(t: HeadTables) -> Figure | None:
    """True and predicted number of objects over time, a curve for each sequence."""
    frames = _timed(t)
    if frames is None:
        return None
    parts = {str(name): part for name, part in frames.groupby("sequence")}
    return population_figure(
        {name: part["time"] for name, part in parts.items()},
        {name: {"objects": part["objects_pred"]} for name, part in parts.items()},
        true={name: {"objects": part["objects_true"]} for name, part in parts.items()},
        title=f"Objects of {t.head} over time",
        caption=_caption(t, frames),
    )


def caveats(splits: Mapping[str, HeadTables]) -> Iterator[str]:
    """Yield what the numbers are, and how the objects came about."""
    t = next(iter(splits.values()))
    if t.spec.get("dimensions") == 3:
        yield (
            f"2D IoU of {t.head} counts pixels slice by slice, SEG and DET judge whole 3D objects: they are "
            "different things, and a value of one cannot be set beside a value of the other."
        )
    if t.spec.get("fitted"):
        text = ", ".join(f"{name} {x:g}" for name, x in t.spec.get("parameters", {}).items() if number(x) is not None)
        yield (
            f"What turns maps into objects of {t.head} ({text}) was fitted on the validation split: "
            "validation figures of objects are optimistic, those of the test split are not."
        )
    found = [part.metrics["f1"] for part in splits.values() if "f1" in part.metrics]
    if found and all(entry.get("value") is None for entry in found):
        yield f"The labels of {t.head} don't tell objects apart: only pixels are compared, no objects."


FIGURES = Figures(
    key="iou",
    baseline="Otsu's threshold of each time point (which learns nothing)",
    drawings={
        "scores": Drawing(score_histogram, "How well the foreground of single slices overlaps with the truth."),
        "by_group": Drawing(scores_by_group, "Each group's slices; the interval comes from these differences."),
        "by_place": Drawing(by_place, "Where in the volume and in time slices are segmented well, and objects found."),
        "counts": Drawing(counts, "Predicted against true number of objects; a perfect model is on the line."),
        "population": Drawing(population, "How many objects there are over time: true (points), predicted (lines)."),
    },
    pictures={
        "best_worst": "The time points predicted best and worst, each in the slice with most foreground.",
        "slices": "The same slices in every run on these data, with the outlines of truth and prediction.",
        "volume": "All slices of one volume.",
    },
    words=words,
    sample=sample,
    caveats=caveats,
    shared=("slices",),
)
