"""What is shown of a head: the tables that figures are drawn from, and figures that several kinds share.

Each kind has a module ``figures`` with an object ``FIGURES`` (:class:`Figures`): all that reports tell of it. It needs
tables only, no pixels and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from visionlab.drawing import style
from visionlab.drawing.style import BLUE, GREY, INK, MARKERS, ORANGE, PALETTE, styled
from visionlab.drawing.text import axis_label, count, decimals, digits, metric_label, shorten, with_unit
from visionlab.heads import KINDS, load

Array = npt.NDArray[np.float64]
Spec = Mapping[str, Any]
"""A head's entry of run.json."""
Entry = Mapping[str, Any]
"""An entry of metrics.json: value, low, high, baseline, unit, ..."""

MANY, COLOURS, GROUPS = 4000, 10, 30
"""Of more points, colours and rows nobody sees single ones."""
LEVELS = 20
"""More values than that of an axis are put into so many bins."""


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
        frames: predictions/<split>_frames.csv, of a head of instances.
    """

    head: str
    spec: Spec
    split: str
    table: pd.DataFrame
    metrics: Mapping[str, Entry]
    data: str
    frames: pd.DataFrame | None = None

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.spec["columns"]]

    @property
    def unit(self) -> str:
        return str(self.spec.get("unit") or "")

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """The group of each row; all are of one group where that isn't known."""
        return self.table["group"].to_numpy(str) if "group" in self.table else np.full(len(self.table), "")

    def values(self, *ends: str) -> list[Array]:
        """Return the columns ``<column><end>`` of the table, N x K for each end."""
        return [self.table[[f"{name}{end}" for name in self.columns]].to_numpy(float) for end in ends]

    def caption(self, drawn: int | None = None) -> str:
        """Return what stands under a figure: split, number of images, of groups, of those not drawn, data."""
        n, sample = len(self.table), figures_of(str(self.spec["kind"])).sample(self.spec)
        groups = f" of {count(len(set(self.groups)), 'group')}" if "group" in self.table else ""
        lost = "" if drawn in (None, n) else f"{count(n - (drawn or 0), sample)} without a finite value, not drawn"
        return " · ".join(filter(None, [f"{self.split}: {count(n, sample)}{groups}", lost, self.data]))


@dataclass(frozen=True)
class Drawing:
    """A figure: what draws it (None where the tables hold nothing of it), what it shows in words, and whether it is
    drawn while training, too."""

    draw: Callable[[HeadTables], Figure | None]
    words: str
    live: bool = True


@dataclass(frozen=True)
class Figures:
    """All that reports tell of a kind of head.

    Attributes:
        key: the metric that says most.
        baseline: what its metrics are compared with.
        drawings: end of the file's name -> figure, in the order of a report.
        pictures: name of a picture of single samples that training leaves in ``plots/`` -> what it shows in words.
        words: (spec) -> names of metrics that mean something else here than usually, short and long.
        sample: (spec) -> what a row of its table is called.
        caveats: (split -> tables) -> what to know before use.
        shared: names of the pictures that show the same samples in every run on the same data.
    """

    key: str
    baseline: str
    drawings: Mapping[str, Drawing]
    pictures: Mapping[str, str] = field(default_factory=lambda: {"best_worst": "Images predicted best and worst."})
    words: Callable[[Spec], Mapping[str, tuple[str, str]]] = lambda spec: {}
    sample: Callable[[Spec], str] = lambda spec: "image"
    caveats: Callable[[Mapping[str, HeadTables]], Iterator[str]] = lambda splits: iter(())
    shared: Sequence[str] = ()

    def key_metric(self, spec: Spec) -> str:
        """Return the metric that says most of a head: its kind's, else the first that it has."""
        listed = [str(name) for name in spec.get("metrics") or ()]
        return self.key if self.key in listed or not listed else listed[0]

    def label(self, name: str, spec: Spec, *, short: bool = False) -> str:
        """Return the words for ``head/metric`` or ``metric``."""
        return metric_label(name, self.words(spec), short=short)


def figures_of(kind: str) -> Figures:
    """Return what reports tell of a kind."""
    found: Figures = load(KINDS[kind].figures).FIGURES
    return found


# Scores of single images ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """One score an image: N values, NaN where undefined; the metric's name and unit, whether high is good."""

    values: Array
    name: str
    unit: str
    rising: bool

    @classmethod
    def listed(cls, t: HeadTables) -> Scores | None:
        """Read ``<head>_<key metric>`` of a table; None where it has no such column."""
        kind, figures = KINDS[str(t.spec["kind"])], figures_of(str(t.spec["kind"]))
        key = figures.key_metric(t.spec)
        if f"{t.head}_{key}" not in t.table:
            return None
        name, values = figures.label(key, t.spec, short=True), t.table[f"{t.head}_{key}"].to_numpy(float)
        metric = kind.metrics[key]
        return cls(values, name, t.unit if metric.in_unit else "", metric.better == "max")

    @classmethod
    def of(cls, t: HeadTables) -> Scores:
        """Return the same; of a head of numbers the mean absolute error of its columns, inf where one is NaN."""
        if (found := cls.listed(t)) is not None:
            return found
        true, pred = t.values("_true", "_pred")
        return cls(np.abs(np.where(np.isnan(pred), np.inf, pred) - true).mean(axis=1), "MAE", t.unit, rising=False)

    def say(self, value: float) -> str:
        return with_unit(digits(value, decimals(value, 2)), self.unit)


def _finite_scores(t: HeadTables) -> tuple[Scores, pd.Series]:
    """Return the scores, and those that are finite by their groups.

    Raises:
        ValueError: none is.
    """
    scores = Scores.of(t)
    known = pd.Series(scores.values, index=t.groups)
    known = known[np.isfinite(known.to_numpy())]
    if known.empty:
        raise ValueError(f"no {scores.name} of {t.head} is finite")
    return scores, known


@styled
def score_histogram(t: HeadTables) -> Figure:
    """Distribution of the images' scores, with the median and the border of the worst tenth."""
    scores, known = _finite_scores(t)
    figure = style.new(7, 4.2)
    axes = figure.subplots()
    middle, border = (float(known.quantile(q)) for q in (0.5, 0.1 if scores.rising else 0.9))
    axes.hist(known, bins=int(np.clip(np.sqrt(len(known)) * 2, 10, 50)), color=BLUE, alpha=0.85, edgecolor="white")
    axes.axvline(middle, color=INK, label="median")
    axes.axvline(border, color=ORANGE, linestyle="--", label="border of the worst tenth")
    axes.set(xlabel=axis_label(f"{scores.name} of {t.head}", scores.unit), ylabel="number")
    beyond = "below" if scores.rising else "above"
    title = f"{scores.name} of {t.head}: median {scores.say(middle)}, worst tenth {beyond} {scores.say(border)}"
    return style.finish(figure, title, t.caption(len(known)), legend=axes)


@styled
def scores_by_group(t: HeadTables) -> Figure | None:
    """The scores of each group's images, the best group first; of many groups the worst."""
    scores, known = _finite_scores(t)
    if "group" not in t.table:
        return None
    means = known.groupby(level=0).mean().sort_values(ascending=not scores.rising, kind="stable")
    shown = means.index[-GROUPS:]
    parts = [known[[name]] for name in shown]
    figure = style.new(7, 1.9 + 0.33 * max(len(shown), 2))
    axes = figure.subplots()
    names = [f"{shorten(name)}  (n = {len(part):,})" for name, part in zip(shown, parts, strict=True)]
    marks = {"marker": "D", "markerfacecolor": ORANGE, "markeredgecolor": ORANGE}
    axes.boxplot(
        parts,
        orientation="horizontal",
        tick_labels=names,
        widths=0.6,
        showmeans=True,
        meanprops=marks,
        flierprops={"marker": ".", "markeredgecolor": GREY},
    )
    axes.plot([], [], linestyle="", color=ORANGE, marker="D", label="mean of the group")
    axes.axvline(known.mean(), color=INK, linestyle=":", label="mean of all")
    axes.set_xlabel(axis_label(f"{scores.name} of {t.head}", scores.unit))
    axes.invert_yaxis()
    title = f"{scores.name} by group: from {scores.say(means.iloc[0])} to {scores.say(means.iloc[-1])}"
    left_out = f"the worst {len(shown)} of {len(means)} groups" if len(shown) < len(means) else ""
    return style.finish(figure, title, left_out, t.caption(len(known)), legend=axes)


def square(axes: Axes, true: Array, pred: Array, names: npt.NDArray[Any]) -> None:
    """Draw predicted against true values with the line on which they are equal, each name in its colour if few."""
    low, high = min(true.min(), pred.min()), max(true.max(), pred.max())
    pad = 0.05 * (high - low) or 1.0
    ends = (low - pad, high + pad)
    axes.plot(ends, ends, color=GREY)
    look: dict[str, Any] = {"alpha": 0.6 if len(true) <= MANY else 0.1, "linewidths": 0}
    if 1 < len(every := np.unique(names)) <= COLOURS:
        for i, name in enumerate(every):
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            at, label = names == name, f" {shorten(name, 18)}"  # matplotlib hides labels that begin with _
            axes.scatter(true[at], pred[at], color=colour, marker=marker, label=label, **look)
        axes.figure.legend(loc="outside right upper")
    else:
        axes.scatter(true, pred, s=20, color=BLUE, **look)
    axes.set(xlim=ends, ylim=ends, box_aspect=1)


def quartile_band(axes: Axes, at: Array, values: Array) -> None:
    """Draw the median of values, and the band of their middle half, over places, which are binned if many."""
    places = pd.Series(at)
    if places.nunique() > LEVELS:
        edges = np.linspace(places.min(), places.max(), LEVELS + 1)
        places = pd.Series(edges[:-1] + np.diff(edges) / 2)[np.clip(np.digitize(at, edges), 1, LEVELS) - 1]
    parts = pd.Series(values).groupby(places.to_numpy()).quantile(np.array([0.25, 0.5, 0.75])).unstack()
    axes.fill_between(parts.index, parts[0.25], parts[0.75], color=BLUE, alpha=0.2, label="middle half")
    axes.plot(parts.index, parts[0.5], color=BLUE, marker="o", markersize=4, label="median")
