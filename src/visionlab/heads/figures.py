"""What is shown of a head: the tables that figures are drawn from, and figures that several kinds share.

Each kind has a module ``figures`` with an object ``FIGURES`` (:class:`Figures`): all that reports tell of it. It needs
tables only, no pixels and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, MARKERS, ORANGE, PALETTE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, metric_label, shorten, with_unit
from visionlab.heads import KINDS, load

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
Spec = Mapping[str, Any]
"""A head's entry of run.json."""
Entry = Mapping[str, Any]
"""An entry of metrics.json: value, low, high, baseline, unit, ..."""

MAX_POINTS, MAX_COLOURS, MAX_GROUPS = 4000, 10, 30
"""Of more points, colours and rows nobody sees single ones."""


@dataclass(frozen=True)
class HeadTables:
    """What is known of a head on one split.

    Attributes:
        head: its name.
        spec: its entry of run.json: kind, columns, unit, metrics, ...
        split: ``test``, ``val``.
        table: predictions/<split>.csv; without ``group`` while training.
        metrics: metric, or column/metric -> its entry of metrics.json; may lack any.
        data: name of the data; ``generated sample`` where it is one.
        classes: predictions/<split>_classes.csv, of a head of labels.
        frames: predictions/<split>_frames.csv, of a head of instances.
    """

    head: str
    spec: Spec
    split: str
    table: pd.DataFrame
    metrics: Mapping[str, Entry]
    data: str
    classes: pd.DataFrame | None = None
    frames: pd.DataFrame | None = None

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.spec["columns"]]

    @property
    def unit(self) -> str:
        return str(self.spec.get("unit") or "")

    @property
    def groups(self) -> npt.NDArray[np.str_] | None:
        return self.table["group"].to_numpy(str) if "group" in self.table else None

    def values(self, *ends: str) -> list[Array]:
        """Return the columns ``<column><end>`` of the table, N x K for each end."""
        return [self.table[[f"{name}{end}" for name in self.columns]].to_numpy(float) for end in ends]

    def caption(self, *notes: str, sample: str = "image") -> str:
        """Return the line under a figure: split, how many images of how many groups, notes, data."""
        groups = "" if self.groups is None else f" of {count(len(set(self.groups)), 'group')}"
        parts = [f"{self.split}: {count(len(self.table), sample)}{groups}", *notes, self.data]
        return " · ".join(filter(None, parts))


@dataclass(frozen=True)
class Drawing:
    """A figure: what draws it (None where the tables hold nothing of it), what it shows in words, whether it is as wide
    as a page, and whether it is drawn while training, too."""

    draw: Callable[[HeadTables], Figure | None]
    words: str
    wide: bool = False
    live: bool = True


@dataclass(frozen=True)
class Table:
    """A table of a report: title, headings, rows of texts, notes under it, a verdict in words and its key (``good``,
    ``unsure`` or ``bad``), and whether it is unfolded."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    verdict: tuple[str, str] | None = None
    open: bool = True


@dataclass(frozen=True)
class Figures:
    """All that reports tell of a kind of head.

    Attributes:
        key: the metric that says most.
        baseline: what its metrics are compared with, and the same in a few words.
        drawings: end of the file's name -> figure, in the order of a report.
        pictures: name of a picture of single samples that training leaves in ``plots/`` -> what it shows in words.
        words: (spec) -> names of metrics that mean something else here than usually, short and long.
        sample: (spec) -> what a row of its table is called.
        caveats: (head, spec, stage/metric -> entry, split -> table of classes) -> what to know before use.
        explained: metrics of which ``caveats`` says why they are undefined.
        tables: (split -> tables) -> further tables.
        beside: (folder of an old run, of a new one, head, their names, caption) -> the same samples in both, if kept.
    """

    key: str
    baseline: tuple[str, str]
    drawings: Mapping[str, Drawing]
    pictures: Mapping[str, str] = field(default_factory=lambda: {"best_worst": "Images predicted best and worst."})
    words: Callable[[Spec], Mapping[str, tuple[str, str]]] = lambda spec: {}
    sample: Callable[[Spec], str] = lambda spec: "image"
    caveats: Callable[[str, Spec, Mapping[str, Entry], Mapping[str, pd.DataFrame]], Iterator[str]] = (
        lambda head, spec, metrics, classes: iter(())
    )
    explained: Sequence[str] = ()
    tables: Callable[[Mapping[str, HeadTables]], list[Table]] = lambda splits: []
    beside: Callable[[Path, Path, str, Sequence[str], str], Figure | None] = lambda old, new, head, names, caption: None

    def key_metric(self, spec: Spec) -> str:
        """Return the metric that says most of a head: its kind's, else the first that it has."""
        listed = [str(name) for name in spec.get("metrics") or ()]
        return self.key if self.key in listed or not listed else listed[0]

    def label(self, name: str, spec: Spec, *, short: bool = False) -> str:
        """Return the words for ``head/metric`` or ``metric``."""
        return metric_label(name, self.words(spec), short=short)


def figures_of(kind: str) -> Figures | None:
    """Return what reports tell of a kind; None if there is no such kind."""
    return load(KINDS[kind].figures).FIGURES if kind in KINDS else None


def key_metric(spec: Spec) -> str:
    """Return the metric that says most of a head."""
    figures = figures_of(str(spec["kind"]))
    return figures.key_metric(spec) if figures else str(spec["metrics"][0])


# Scores of single images ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """One score an image: N finite values, groups, the metric's name and unit, whether high is good, a caption."""

    values: Array
    groups: npt.NDArray[Any] | None
    name: str
    unit: str
    rising: bool
    caption: str

    @classmethod
    def of(cls, t: HeadTables, figures: Figures) -> Scores:
        """Read ``<head>_<key metric>`` of a table.

        Raises:
            ValueError: no image has a value.
        """
        key = figures.key_metric(t.spec)
        metric, values = KINDS[str(t.spec["kind"])].metrics[key], t.table[f"{t.head}_{key}"].to_numpy(float)
        name, good = figures.label(key, t.spec, short=True), np.isfinite(values)
        if not good.any():
            raise ValueError(f"no {figures.sample(t.spec)} has a finite {key} of {t.head}")
        sample = figures.sample(t.spec)
        lost = "" if good.all() else f"{count(int((~good).sum()), sample)} without {name} (nothing there), not drawn"
        groups = None if t.groups is None else t.groups[good]
        unit = t.unit if metric.in_unit else ""
        return cls(values[good], groups, name, unit, metric.better == "max", t.caption(lost, sample=sample))

    def say(self, value: float) -> str:
        return with_unit(digits(value, decimals(value, 2)), self.unit)


@styled
def score_histogram(s: Scores, head: str, sample: str) -> Figure:
    """Distribution of the images' scores, with the median and the border of the worst tenth."""
    figure = style.new(7, 4.4)
    axes = figure.subplots()
    middle, border = np.quantile(s.values, [0.5, 0.1 if s.rising else 0.9])
    low, high = float(s.values.min()), float(s.values.max())
    ends = (low, high) if high > low else (low - 0.5, high + 0.5)
    bins = int(np.clip(np.sqrt(len(s.values)) * 2, 10, 50))
    axes.hist(s.values, bins=bins, range=ends, color=BLUE, alpha=0.85, edgecolor="white", linewidth=0.6)
    axes.axvline(middle, color=INK, linewidth=1.4, label="median")
    axes.axvline(border, color=ORANGE, linestyle="--", label="border of the worst tenth")
    axes.set(xlabel=axis_label(f"{s.name} of {head}", s.unit), ylabel=f"{sample}s")
    style.whole(axes.yaxis)
    axes.grid(axis="x", visible=False)
    beyond = "below" if s.rising else "above"
    title = f"{s.name} of {head}: median {s.say(middle)}, worst tenth {beyond} {s.say(border)}"
    return style.finish(figure, title, s.caption, axes)


@styled
def scores_by_group(s: Scores, what: str) -> Figure | None:
    """The scores of each group's images, the best group first; of many groups the worst."""
    if s.groups is None:
        return None
    names, member = np.unique(s.groups, return_inverse=True)
    means = np.bincount(member, weights=s.values) / np.bincount(member)
    order = np.argsort(-means if s.rising else means, kind="stable")
    shown = order[-MAX_GROUPS:]
    parts, at = [s.values[member == i] for i in shown], np.arange(len(shown))
    figure = style.new(7, 1.9 + 0.33 * max(len(shown), 2))
    axes = figure.subplots()
    line = {"color": BLUE}
    look: dict[str, Any] = {"boxprops": {"facecolor": "#CFE3F1", "edgecolor": BLUE}, "whiskerprops": line}
    look |= {"medianprops": line, "capprops": {"linewidth": 0}, "showfliers": False, "patch_artist": True}
    axes.boxplot(parts, positions=at, orientation="horizontal", widths=0.62, **look)
    jitter = np.random.default_rng(0)
    for y, part in zip(at, parts, strict=True):
        if len(part) <= 150:
            axes.scatter(part, y + jitter.uniform(-0.2, 0.2, len(part)), s=9, color=INK, alpha=0.4, linewidths=0)
    axes.scatter(means[shown], at, marker="D", s=34, color=ORANGE, zorder=4, label="mean of the group")
    axes.axvline(s.values.mean(), color=INK, linestyle=":", linewidth=1.5, label="mean of all")
    axes.set_yticks(at, [f"{shorten(names[i])}  (n = {len(part):,})" for i, part in zip(shown, parts, strict=True)])
    axes.set(ylim=(len(at) - 0.4, -0.6), xlabel=axis_label(f"{s.name} of {what}", s.unit))
    if not s.rising:
        axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    best, worst = s.say(means[order[0]]), s.say(means[order[-1]])
    title = f"{s.name} by group: from {best} to {worst}" if len(names) > 1 else f"{s.name} of the one group: {best}"
    left_out = f"the worst {len(shown)} of {len(names)} groups" if len(shown) < len(names) else ""
    return style.finish(figure, title, " · ".join(filter(None, [left_out, s.caption])), axes)


def square(axes: Axes, true: Array, pred: Array, groups: npt.NDArray[Any] | None = None) -> None:
    """Draw predicted against true values with the line on which they are equal; of very many their density."""
    low, high = float(min(true.min(), pred.min())), float(max(true.max(), pred.max()))
    pad = 0.05 * (high - low) or 1.0
    ends = (low - pad, high + pad)
    halo = [withStroke(linewidth=3, foreground="white")]  # seen on dark cells as well
    dense = len(true) > MAX_POINTS
    axes.plot(ends, ends, color=GREY, linewidth=1.3, zorder=3 if dense else 1, path_effects=halo if dense else [])
    names = [] if groups is None else sorted(set(groups))
    if dense:
        cells = axes.hexbin(true, pred, gridsize=50, bins="log", mincnt=1, cmap=style.DENSITY, extent=(*ends, *ends))
        bar = axes.figure.colorbar(cells, ax=axes, label="images in a cell", shrink=0.6)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.outline.set_visible(False)
    elif groups is not None and 1 < len(names) <= MAX_COLOURS:
        for i, name in enumerate(names):
            at = groups == name
            look: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
            words = style.label(shorten(name, 18))
            axes.scatter(true[at], pred[at], s=30, alpha=0.75, linewidths=0, label=words, **look)
        axes.figure.legend(loc="outside right upper")
    else:
        axes.scatter(true, pred, s=20 if len(true) > 50 else 40, color=BLUE, alpha=0.5, linewidths=0)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)
    axes.locator_params(nbins=6)


def binned(values: Array, most: int = 20) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the centres of the bins that hold values, and each value's bin: its levels if few, else equal widths."""
    levels, member = np.unique(values, return_inverse=True)
    if len(levels) > most:
        width = float(np.ptp(levels)) / most
        place = np.minimum((values - levels[0]) // width, most - 1)
        _, member = np.unique(place, return_inverse=True)
    return np.bincount(member, weights=values) / np.bincount(member), member


def quartile_band(axes: Axes, at: Array, values: Array) -> None:
    """Draw the median of values, and the band of their middle half, over binned places."""
    centre, member = binned(at)
    low, middle, high = np.array([np.quantile(values[member == i], [0.25, 0.5, 0.75]) for i in range(len(centre))]).T
    axes.fill_between(centre, low, high, color=BLUE, alpha=0.2, linewidth=0, label="middle half")
    axes.plot(centre, middle, color=BLUE, marker="o", markersize=4, label="median")
